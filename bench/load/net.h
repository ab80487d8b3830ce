/* Sockets, their buffers and one epoll: what every command of the load tool stands on.
 *
 * One thread, non-blocking sockets. A connection is watched from dial() or accept_next() until hang_up(); an
 * event's data.ptr is the struct connection itself.
 * Units: seconds of the monotonic clock (now_s), octets.
 *
 * Deliberately not here: any protocol; TLS; names (addresses are numeric).
 */
#ifndef LOAD_NET_H
#define LOAD_NET_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Octets [start, end) are what is held. Pointers into it live until the next reserve or append. */
struct buffer {
    uint8_t *data;
    size_t start, end, capacity;
};

size_t buffer_length(const struct buffer *buffer);
uint8_t *buffer_reserve(struct buffer *buffer, size_t octets);
void buffer_append(struct buffer *buffer, const void *octets, size_t length);
void buffer_consume(struct buffer *buffer, size_t length);
void buffer_free(struct buffer *buffer);

struct connection {
    int fd;      /* -1: not open */
    int error;   /* errno of what ended it; 0: the peer closed */
    bool muted;  /* nothing more is read from it */
    uint32_t interest;
    struct buffer in, out;
};

/* Set by SIGINT and SIGTERM: stop what is under way and print the result. */
extern volatile sig_atomic_t stopping;

double now_s(void);
void net_start(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *zeroed(size_t count, size_t size);
void *resized(void *held, size_t count, size_t size);

void listen_on(struct connection *listener, const char *host, long port);
bool accept_next(struct connection *listener, struct connection *made);

struct dialling {
    const char *host;
    long port;
    const char *from;   /* source address; NULL: any */
    int receive_octets; /* bounds the kernel's receive buffer; 0: as it likes */
};

/* Begins to connect. A failure shows in receive(). */
void dial(struct connection *link, const struct dialling *to);
void hang_up(struct connection *link);

/* Both return false when the connection has ended. */
bool receive(struct connection *link);
bool flush(struct connection *link);

void mute(struct connection *link);
const char *why_ended(const struct connection *link);

/* Waits for events until a time (0.5 s at most). Returns how many of `events` are filled. */
int wait_for_events(struct epoll_event *events, int most, double until_s);

#endif
