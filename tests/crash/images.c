/*
 * Records what a process does to the files below one directory, in order, for disk.py to rebuild the disk of
 * any moment. Preloaded (LD_PRELOAD); IMAGES_ROOT names the directory, IMAGES_LOG the log, which only grows.
 *
 * Seen: open with O_CREAT, O_TRUNC, O_DSYNC; write, writev, pwrite; ftruncate; fsync, fdatasync, msync; mkdir,
 * unlink, rmdir, rename and their -at forms. Syncs are recorded and not done: the log stands for the disk.
 * Lock files are left out, nothing in them is meant to last.
 *
 * Invariant: one record per call, written under one lock with the call itself, so that the log has the order
 * in which things happened. Whatever slips past (a shared writable map, copy_file_range) makes the rebuilt
 * files differ from the real ones, which images.py compares.
 *
 * A record: kind, flag (1 = durable at once), length of the path (u16), length of the data (u32), offset (u64),
 * path, data; little endian.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FDS 4096
#define MAX_PARTS 1024

static struct { char *path; int dsync; } files[MAX_FDS]; /* by descriptor: below the root, "." = the root */
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (real == NULL) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void fail(const char *what) {
    fprintf(stderr, "images.c: %s: %s\n", what, strerror(errno));
    abort();
}

static int real_open(int at, const char *path, int flags, mode_t mode) {
    REAL(int, "openat64", int, const char *, int, ...);
    return real(at, path, flags, mode);
}

static ssize_t real_writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return real(fd, parts, count);
}

__attribute__((constructor)) static void start(void) {
    const char *directory = getenv("IMAGES_ROOT"), *log = getenv("IMAGES_LOG");
    if (directory == NULL || log == NULL) return;
    if (realpath(directory, root) == NULL) fail("IMAGES_ROOT");
    root_length = strlen(root);
    log_fd = real_open(AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) fail("IMAGES_LOG");
}

/* The path below the root, to be freed; NULL = not ours, or a lock file. */
static char *below(int at, const char *path) {
    char whole[2 * PATH_MAX], base[PATH_MAX], link[64];
    size_t length;
    if (log_fd < 0 || path == NULL) return NULL;
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        if (at == AT_FDCWD) {
            if (getcwd(base, sizeof base) == NULL) return NULL;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t got = readlink(link, base, sizeof base - 1);
            if (got < 0) return NULL;
            base[got] = 0;
        }
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    length = strlen(whole);
    while (length > 1 && whole[length - 1] == '/') whole[--length] = 0;
    if (strncmp(whole, root, root_length) != 0) return NULL;
    if (whole[root_length] == 0) return strdup(".");
    if (whole[root_length] != '/') return NULL;
    const char *name = strrchr(whole, '/') + 1;
    if (strcmp(name, "lock.mdb") == 0 || strcmp(name, "owner.lock") == 0) return NULL;
    return strdup(whole + root_length + 1);
}

static void record(char kind, int flag, const char *path, uint64_t offset, const struct iovec *data, int count,
                   size_t length) {
    unsigned char head[16];
    struct iovec parts[MAX_PARTS + 2];
    uint16_t path_length = (uint16_t)strlen(path);
    uint32_t data_length = (uint32_t)length;
    size_t left = length;
    int used = 2;
    head[0] = (unsigned char)kind;
    head[1] = (unsigned char)flag;
    memcpy(head + 2, &path_length, 2);
    memcpy(head + 4, &data_length, 4);
    memcpy(head + 8, &offset, 8);
    parts[0] = (struct iovec){head, sizeof head};
    parts[1] = (struct iovec){(void *)path, path_length};
    for (int index = 0; index < count && left > 0; index++) { /* a short write: only what was taken */
        size_t size = data[index].iov_len < left ? data[index].iov_len : left;
        if (used == MAX_PARTS + 2) fail("too many parts in one write");
        parts[used++] = (struct iovec){data[index].iov_base, size};
        left -= size;
    }
    if (real_writev(log_fd, parts, used) != (ssize_t)(sizeof head + path_length + length)) fail("the log");
}

static int taken(int fd) { return fd >= 0 && fd < MAX_FDS && files[fd].path != NULL; }

/* open */

static int opened(int at, const char *path, int flags, mode_t mode) {
    char *name = below(at, path);
    if (name == NULL) return real_open(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int made = (flags & O_CREAT) && faccessat(at, path, F_OK, 0) != 0;
    int fd = real_open(at, path, flags, mode);
    int error = errno;
    if (fd >= MAX_FDS) fail("too many descriptors");
    if (fd < 0) {
        free(name);
    } else {
        if (made) record('C', 0, name, 0, NULL, 0, 0);
        else if (flags & O_TRUNC) record('T', 0, name, 0, NULL, 0, 0);
        files[fd].path = name;
        files[fd].dsync = (flags & (O_DSYNC | O_SYNC)) != 0;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(last) \
    mode_t mode = 0; \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
        va_list rest; \
        va_start(rest, last); \
        mode = (mode_t)va_arg(rest, unsigned int); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }

int close(int fd) {
    REAL(int, "close", int);
    if (taken(fd)) {
        pthread_mutex_lock(&lock);
        free(files[fd].path);
        files[fd].path = NULL;
        pthread_mutex_unlock(&lock);
    }
    return real(fd);
}

/* write */

static ssize_t wrote(int fd, ssize_t done, off_t offset, const struct iovec *parts, int count) {
    int error = errno;
    if (done > 0) {
        if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - done;
        record('W', files[fd].dsync, files[fd].path, (uint64_t)offset, parts, count, (size_t)done);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!taken(fd)) return real(fd, data, length);
    struct iovec part = {(void *)data, length};
    pthread_mutex_lock(&lock);
    return wrote(fd, real(fd, data, length), -1, &part, 1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!taken(fd)) return real_writev(fd, parts, count);
    pthread_mutex_lock(&lock);
    return wrote(fd, real_writev(fd, parts, count), -1, parts, count);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    if (!taken(fd)) return real(fd, data, length, offset);
    struct iovec part = {(void *)data, length};
    pthread_mutex_lock(&lock);
    return wrote(fd, real(fd, data, length, offset), offset, &part, 1);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return pwrite64(fd, data, length, offset);
}

/* size and sync */

int ftruncate64(int fd, off64_t length) {
    REAL(int, "ftruncate64", int, off64_t);
    if (!taken(fd)) return real(fd, length);
    pthread_mutex_lock(&lock);
    int done = real(fd, length);
    if (done == 0) record('T', 0, files[fd].path, (uint64_t)length, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(int fd) {
    pthread_mutex_lock(&lock);
    record('S', 1, files[fd].path, 0, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return taken(fd) ? synced(fd) : real(fd);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return taken(fd) ? synced(fd) : real(fd);
}

int msync(void *address, size_t length, int flags) {
    REAL(int, "msync", void *, size_t, int);
    if (log_fd >= 0) { /* nobody here should: disk.py refuses a log with one */
        pthread_mutex_lock(&lock);
        record('M', 1, ".", 0, NULL, 0, 0);
        pthread_mutex_unlock(&lock);
    }
    return real(address, length, flags);
}

/* names */

static int named(char kind, char *path, int done) {
    int error = errno;
    if (done == 0) record(kind, 0, path, 0, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    free(path);
    errno = error;
    return done;
}

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    char *name = below(at, path);
    if (name == NULL) return real(at, path, mode);
    pthread_mutex_lock(&lock);
    return named('D', name, real(at, path, mode));
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int unlinkat(int at, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    char *name = below(at, path);
    if (name == NULL) return real(at, path, flags);
    pthread_mutex_lock(&lock);
    return named('U', name, real(at, path, flags));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int renameat(int from, const char *old, int to, const char *new) {
    REAL(int, "renameat", int, const char *, int, const char *);
    char *before = below(from, old), *after = below(to, new);
    if (before == NULL || after == NULL) {
        if (before != NULL || after != NULL) fail("a rename across the directory's border");
        return real(from, old, to, new);
    }
    pthread_mutex_lock(&lock);
    int done = real(from, old, to, new), error = errno;
    struct iovec target = {after, strlen(after)};
    if (done == 0) record('R', 0, before, 0, &target, 1, target.iov_len);
    pthread_mutex_unlock(&lock);
    free(before);
    free(after);
    errno = error;
    return done;
}

int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }
