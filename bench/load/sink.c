/* `load sink`: an HTTP server that answers 200 to every request and counts the events in it.
 *
 * A body {"events":[…]} counts as many as the array has objects; any other request counts one.
 *
 * Deliberately not here: checking what the events say, or their signatures.
 */
#include "commands.h"
#include "httpframe.h"
#include "json.h"
#include "options.h"
#include "stats.h"

#include <stdlib.h>
#include <string.h>

enum { EVENTS_MOST = 256 };

static const char *host = "127.0.0.1";
static long port = 9999, fail_every;

static const struct option options[] = {
    {"host", TEXT, &host, "address to listen on"},
    {"port", WHOLE, &port, "port to listen on"},
    {"fail-every", WHOLE, &fail_every, "answer every Nth request with 503, its events not counted; 0: none"},
    {0},
};

static const char BATCH[] = "{\"events\":[";
static uint64_t requests, failed, told, connections;
static double first_s, last_s;

/* Objects that open directly inside the array behind BATCH. */
static uint64_t objects_in_array(const uint8_t *at, const uint8_t *end) {
    uint64_t objects = 0;
    int depth = 0;
    for (; at < end && depth >= 0; at++) {
        if (*at == '"') {
            for (at++; at < end && *at != '"'; at++)
                at += *at == '\\';
        } else if (*at == '{' || *at == '[') {
            objects += depth == 0 && *at == '{';
            depth++;
        } else if (*at == '}' || *at == ']') {
            depth--;
        }
    }
    return objects;
}

static uint64_t events_in(const struct http_frame *frame) {
    size_t head = sizeof BATCH - 1;
    if (frame->body_length < head || memcmp(frame->body, BATCH, head) != 0)
        return 1;
    return objects_in_array(frame->body + head, frame->body + frame->body_length);
}

static void on_request(struct connection *link, const struct http_frame *frame, double now) {
    static const char good[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
    static const char busy[] = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    requests++;
    last_s = now;
    if (!first_s)
        first_s = now;
    if (fail_every && requests % (uint64_t)fail_every == 0) {
        failed++;
        buffer_append(&link->out, busy, sizeof busy - 1);
    } else {
        told += events_in(frame);
        buffer_append(&link->out, good, sizeof good - 1);
    }
}

static void on_event(struct connection *link, uint32_t events) {
    struct http_frame frame;
    bool alive = true;
    if (events & ~(uint32_t)EPOLLOUT)
        alive = receive(link);
    double now = now_s();
    bool closes = false;
    while (!closes && http_next(&link->in, false, false, &frame)) {
        on_request(link, &frame, now);
        closes = frame.closes;
        buffer_consume(&link->in, frame.length);
    }
    if (flush(link) && alive && !closes)
        return;
    hang_up(link);
    free(link);
}

static void accept_all(struct connection *listener) {
    struct connection *link = zeroed(1, sizeof *link);
    while (accept_next(listener, link)) {
        connections++;
        link = zeroed(1, sizeof *link);
    }
    free(link);
}

static void print_result(void) {
    json_begin(stdout);
    json_count("requests", requests);
    json_count("events", told);
    json_count("failed", failed);
    json_count("connections", connections);
    json_number("span_s", last_s - first_s);
    json_number("per_s", rate_per_s(requests, last_s - first_s));
    json_number("events_per_s", rate_per_s(told, last_s - first_s));
    json_close();
}

int run_sink(int count, char **arguments) {
    struct connection listener;
    struct epoll_event events[EVENTS_MOST];
    read_options("sink", options, count, arguments);
    net_start();
    listen_on(&listener, host, port);
    while (!stopping) {
        int found = wait_for_events(events, EVENTS_MOST, now_s() + 1);
        for (int i = 0; i < found; i++) {
            if (events[i].data.ptr == &listener)
                accept_all(&listener);
            else
                on_event(events[i].data.ptr, events[i].events);
        }
    }
    print_result();
    return 0;
}
