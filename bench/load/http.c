/* `load http`: requests over keep-alive connections, each with one request under way.
 *
 * Closed loop, or with --rate open loop: request i is meant for t0 + i/rate, on whichever connection is free,
 * and its latency counts from then. --target and --body are templates with {to}, {text} and {n}; one request
 * has one number. A connection that the server closes is opened again; what was under way on it is bad.
 *
 * Deliberately not here: TLS, redirects, cookies, retries.
 */
#include "commands.h"
#include "httpframe.h"
#include "json.h"
#include "options.h"
#include "stats.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { EVENTS_MOST = 256, SHOWN_MOST = 160 };

static const char *host = "127.0.0.1", *method = "GET", *target = "/", *body = "", *ok = "200";
static const char *prefix = "44770090";
static long port = 8080, wanted = 10000, connection_count = 16;
static double rate_wanted_per_s, wait_s = 30;
static struct list headers;
static bool close_each;

static const struct option options[] = {
    {"host", TEXT, &host, "address of the server"},
    {"port", WHOLE, &port, "its port"},
    {"n", WHOLE, &wanted, "requests in all"},
    {"conns", WHOLE, &connection_count, "connections"},
    {"method", TEXT, &method, "of every request"},
    {"target", TEXT, &target, "template of the request target; {text} is safe in a URL"},
    {"body", TEXT, &body, "template of the body"},
    {"header", LIST, &headers, "e.g. 'Content-Type: application/json'; repeatable"},
    {"ok", TEXT, &ok, "how the status of a good answer begins"},
    {"prefix", TEXT, &prefix, "{to} is this and four digits"},
    {"rate", DECIMAL, &rate_wanted_per_s, "requests a second, open loop; 0: closed loop"},
    {"wait", DECIMAL, &wait_s, "give up when nothing has come for so many seconds"},
    {"close", SWITCH, &close_each, "one request for each connection"},
    {0},
};

struct client {
    struct connection link; /* first: an event's pointer is the client's */
    bool busy;
    double since_s;
};

static struct dialling server;
static struct client *clients;
static uint64_t sent, done, good, bad;
static struct latencies latencies;
static double start_s, last_s;
static char first_bad[SHOWN_MOST + 1];

static double meant_s(void) {
    return start_s + (double)sent / rate_wanted_per_s;
}

static void append_text(struct buffer *out, const char *added) {
    buffer_append(out, added, strlen(added));
}

static void append_request(struct buffer *out, const struct values *values) {
    static struct buffer filled;
    char line[128];
    buffer_consume(&filled, buffer_length(&filled));
    template_append(&filled, body, values);
    append_text(out, method);
    append_text(out, " ");
    template_append(out, target, values);
    snprintf(line, sizeof line, " HTTP/1.1\r\nHost: %.40s:%ld\r\n", host, port);
    append_text(out, line);
    for (int i = 0; i < headers.count; i++) {
        append_text(out, headers.items[i]);
        append_text(out, "\r\n");
    }
    snprintf(line, sizeof line, "%sContent-Length: %zu\r\n\r\n", close_each ? "Connection: close\r\n" : "",
             buffer_length(&filled));
    append_text(out, line);
    if (buffer_length(&filled))
        buffer_append(out, filled.data + filled.start, buffer_length(&filled));
}

/* Sends the next request when one is due. */
static void go_on(struct client *client, double now) {
    if (client->busy || sent == (uint64_t)wanted || (rate_wanted_per_s > 0 && meant_s() > now))
        return;
    struct values values = {.n = sent};
    snprintf(values.to, sizeof values.to, "%.16s%04" PRIu64, prefix, sent % 10000);
    snprintf(values.text, sizeof values.text, "Msg%08" PRIu64 "+your+code+is+123456", sent);
    append_request(&client->link.out, &values);
    client->since_s = rate_wanted_per_s > 0 ? meant_s() : now;
    client->busy = true;
    sent++;
}

static void keep_first_bad(const char *shown, size_t length) {
    if (first_bad[0])
        return;
    memcpy(first_bad, shown, length < SHOWN_MOST ? length : SHOWN_MOST);
}

static void on_answer(struct client *client, const struct http_frame *frame, double now) {
    bool is_good = frame->first_line_length >= 12 && !strncmp(frame->first_line + 9, ok, strlen(ok));
    client->busy = false;
    done++;
    good += is_good;
    bad += !is_good;
    last_s = now;
    latency_add(&latencies, now - client->since_s);
    if (!is_good)
        keep_first_bad(frame->first_line, frame->length);
}

static void on_end(struct client *client, double now) {
    if (client->busy) {
        const char *why = why_ended(&client->link);
        keep_first_bad(why, strlen(why));
        client->busy = false;
        done++;
        bad++;
        last_s = now;
    }
    hang_up(&client->link);
    dial(&client->link, &server);
}

static void on_event(struct client *client, uint32_t events) {
    struct http_frame frame;
    bool alive = true;
    if (events & ~(uint32_t)EPOLLOUT)
        alive = receive(&client->link);
    double now = now_s();
    while (client->busy && http_next(&client->link.in, true, !alive, &frame)) {
        on_answer(client, &frame, now);
        buffer_consume(&client->link.in, frame.length);
        alive = alive && !frame.closes && !close_each;
    }
    if (!alive)
        on_end(client, now);
}

static double serve_clients(void) {
    double now = now_s();
    bool all_busy = true;
    for (long i = 0; i < connection_count; i++) {
        struct client *client = &clients[i];
        go_on(client, now);
        all_busy = all_busy && client->busy;
        if (!flush(&client->link))
            on_end(client, now);
    }
    return rate_wanted_per_s > 0 && sent < (uint64_t)wanted && !all_busy ? meant_s() : now + 1;
}

static void print_result(void) {
    json_begin(stdout);
    json_count("requests", done);
    json_count("ok", good);
    json_count("bad", bad);
    json_count("unanswered", sent - done);
    json_text("first_bad", first_bad);
    json_number("s", last_s - start_s);
    json_number("req_per_s", rate_per_s(done, last_s - start_s));
    latency_print("latency", &latencies);
    json_close();
}

int run_http(int count, char **arguments) {
    struct epoll_event events[EVENTS_MOST];
    read_options("http", options, count, arguments);
    if (connection_count < 1 || wanted < 1)
        fail("n and conns are at least 1");
    net_start();
    server = (struct dialling){.host = host, .port = port};
    clients = zeroed((size_t)connection_count, sizeof *clients);
    for (long i = 0; i < connection_count; i++)
        dial(&clients[i].link, &server);
    start_s = last_s = now_s();
    while (!stopping && done < (uint64_t)wanted && now_s() < last_s + wait_s) {
        int found = wait_for_events(events, EVENTS_MOST, serve_clients());
        for (int i = 0; i < found; i++)
            on_event(events[i].data.ptr, events[i].events);
    }
    print_result();
    return done == (uint64_t)wanted ? 0 : 1;
}
