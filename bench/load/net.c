/* See net.h. */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { READ_OCTETS = 128 * 1024, LISTEN_BACKLOG = 4096 };
static const double LONGEST_WAIT_S = 0.5;

volatile sig_atomic_t stopping = 0;
static int poller = -1;
static int timer = -1;

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void *zeroed(size_t count, size_t size) {
    void *made = calloc(count ? count : 1, size);
    if (!made)
        fail("out of memory");
    return made;
}

void *resized(void *held, size_t count, size_t size) {
    void *made = realloc(held, count * size);
    if (!made)
        fail("out of memory");
    return made;
}

/* --- buffers ---------------------------------------------------------------------------------------- */

size_t buffer_length(const struct buffer *buffer) {
    return buffer->end - buffer->start;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t octets) {
    if (buffer->capacity - buffer->end < octets && buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, buffer_length(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->capacity - buffer->end < octets) {
        buffer->capacity = 2 * (buffer->end + octets);
        buffer->data = resized(buffer->data, buffer->capacity, 1);
    }
    return buffer->data + buffer->end;
}

void buffer_append(struct buffer *buffer, const void *octets, size_t length) {
    memcpy(buffer_reserve(buffer, length), octets, length);
    buffer->end += length;
}

void buffer_consume(struct buffer *buffer, size_t length) {
    buffer->start += length;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

void buffer_free(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

/* --- time and events -------------------------------------------------------------------------------- */

double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static void allow_many_sockets(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

void net_start(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    allow_many_sockets();
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    /* Edge-triggered: setting it again is enough, nobody has to read it. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (poller < 0 || timer < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event))
        fail("cannot start: %s", strerror(errno));
}

int wait_for_events(struct epoll_event *events, int most, double until_s) {
    double left_s = until_s - now_s();
    int timeout_ms = left_s > 0 ? (int)(LONGEST_WAIT_S * 1000) : 0;
    if (left_s > 0 && left_s < LONGEST_WAIT_S) {
        struct itimerspec at = {
            .it_value.tv_sec = (time_t)until_s,
            .it_value.tv_nsec = (long)((until_s - (double)(time_t)until_s) * 1e9),
        };
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    }
    int found = epoll_wait(poller, events, most, timeout_ms);
    int kept = 0;
    for (int i = 0; i < found; i++)
        if (events[i].data.ptr)
            events[kept++] = events[i];
    return kept;
}

/* --- connections ------------------------------------------------------------------------------------ */

static struct sockaddr_in address_of(const char *host, long port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (port < 1 || port > 65535 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
        fail("%s:%ld is not an IPv4 address and a port", host, port);
    return address;
}

static int open_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("cannot open a socket: %s (ulimit -n?)", strerror(errno));
    return fd;
}

static void begin_watching(struct connection *link, int fd, uint32_t interest) {
    *link = (struct connection){.fd = fd, .interest = interest};
    struct epoll_event event = {.events = interest, .data.ptr = link};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        fail("cannot watch a socket: %s", strerror(errno));
}

static void send_at_once(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void listen_on(struct connection *listener, const char *host, long port) {
    struct sockaddr_in address = address_of(host, port);
    int fd = open_socket();
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, LISTEN_BACKLOG))
        fail("cannot listen on %s:%ld: %s", host, port, strerror(errno));
    begin_watching(listener, fd, EPOLLIN);
}

bool accept_next(struct connection *listener, struct connection *made) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return false;
    send_at_once(fd);
    begin_watching(made, fd, EPOLLIN);
    return true;
}

void dial(struct connection *link, const struct dialling *to) {
    struct sockaddr_in address = address_of(to->host, to->port);
    int fd = open_socket();
    send_at_once(fd);
    if (to->receive_octets > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &to->receive_octets, sizeof to->receive_octets);
    begin_watching(link, fd, EPOLLIN);
    if (to->from) {
        struct sockaddr_in from = address_of(to->from, 1);
        from.sin_port = 0;
        if (bind(fd, (struct sockaddr *)&from, sizeof from))
            fail("cannot connect from %s: %s", to->from, strerror(errno));
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        link->error = errno;
}

void hang_up(struct connection *link) {
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    buffer_free(&link->in);
    buffer_free(&link->out);
}

/* The first error says why; what follows from it does not. */
static void end_with(struct connection *link, int error) {
    if (!link->error)
        link->error = error;
}

bool receive(struct connection *link) {
    uint8_t *room = buffer_reserve(&link->in, READ_OCTETS);
    ssize_t got = read(link->fd, room, link->in.capacity - link->in.end);
    if (got > 0) {
        link->in.end += (size_t)got;
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    end_with(link, got < 0 ? errno : 0);
    return false;
}

static void watch(struct connection *link) {
    uint32_t interest = (link->muted ? 0 : EPOLLIN) | (buffer_length(&link->out) ? EPOLLOUT : 0);
    if (interest == link->interest)
        return;
    link->interest = interest;
    struct epoll_event event = {.events = interest, .data.ptr = link};
    epoll_ctl(poller, EPOLL_CTL_MOD, link->fd, &event);
}

bool flush(struct connection *link) {
    while (buffer_length(&link->out)) {
        ssize_t taken = write(link->fd, link->out.data + link->out.start, buffer_length(&link->out));
        if (taken >= 0) {
            buffer_consume(&link->out, (size_t)taken);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            end_with(link, errno);
            return false;
        }
    }
    watch(link);
    return true;
}

void mute(struct connection *link) {
    link->muted = true;
    watch(link);
}

const char *why_ended(const struct connection *link) {
    return link->error ? strerror(link->error) : "closed by the peer";
}
