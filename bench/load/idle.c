/* `load idle`: sessions that are bound and do nothing but answer, and sockets that never bind.
 *
 * Prints a line with "ready":1 when all are there, then holds them until SIGTERM. Sessions that the server
 * ends are counted and stay away; unbound sockets are opened again with --redial, as an attacker would.
 *
 * Deliberately not here: traffic.
 */
#include "commands.h"
#include "json.h"
#include "options.h"
#include "session.h"

#include <stdio.h>

enum { EVENTS_MOST = 256, BINDING_AT_ONCE = 16 };

static const char *host = "127.0.0.1", *system_id = "esme", *password = "secret";
static long port = 2775, session_count, customer_count = 1, unbound_count, address_count = 1;
static double dials_per_s = 1000;
static bool redial;

static const struct option options[] = {
    {"host", TEXT, &host, "address of the SMSC"},
    {"port", WHOLE, &port, "its port"},
    {"sessions", WHOLE, &session_count, "bound sessions"},
    {"customers", WHOLE, &customer_count, "system_ids the sessions are spread over"},
    {"system-id", TEXT, &system_id, "or a pattern as cust%02d, numbered from 1"},
    {"password", TEXT, &password, "or a pattern"},
    {"unbound", WHOLE, &unbound_count, "sockets that connect and say nothing"},
    {"addresses", WHOLE, &address_count, "loopback addresses that the unbound sockets come from, 127.77.x.y"},
    {"dials", DECIMAL, &dials_per_s, "unbound sockets opened a second, the first time and again"},
    {"redial", SWITCH, &redial, "open unbound sockets again when the server closes them"},
    {0},
};

/* The sessions first, then the unbound sockets, which use the link alone. */
static struct session *all;
static long opened_count, answered_count, bound_count, ended, links_answered;
static long dialled_count, unbound_closed, redialled;
static struct session **to_dial; /* a ring of unbound sockets that are not open, in turn */
static long first_to_dial, to_dial_count;
static double next_dial_s;
static uint32_t last_refusal;

static bool is_session(const struct session *session) {
    return session < all + session_count;
}

static void dial_unbound(struct session *unbound) {
    struct dialling to = {.host = host, .port = port};
    char from[24];
    long number = (unbound - all - session_count) % address_count;
    snprintf(from, sizeof from, "127.77.%ld.%ld", number / 250 % 250, number % 250 + 1);
    if (address_count > 1)
        to.from = from;
    dial(&unbound->link, &to);
}

static void dial_later(struct session *unbound) {
    to_dial[(first_to_dial + to_dial_count++) % unbound_count] = unbound;
}

static void open_more(void) {
    struct dialling to = {.host = host, .port = port};
    while (opened_count < session_count && opened_count - answered_count < BINDING_AT_ONCE)
        session_open(&all[opened_count++], &to);
    for (double now = now_s(); to_dial_count && next_dial_s <= now; next_dial_s += 1 / dials_per_s) {
        dial_unbound(to_dial[first_to_dial++ % unbound_count]);
        to_dial_count--;
        dialled_count++;
    }
    if (!to_dial_count && next_dial_s < now_s())
        next_dial_s = now_s();
}

static void on_end(struct session *session) {
    hang_up(&session->link);
    if (!is_session(session)) {
        unbound_closed++;
        if (redial) {
            redialled++;
            dial_later(session);
        }
        return;
    }
    if (session->bound)
        ended++;
    else
        answered_count++;
    bound_count -= session->bound;
    session->bound = false;
    last_refusal = session->refused ? session->refused : last_refusal;
}

static bool on_pdu(struct session *session, const struct pdu *pdu) {
    if (session_took(session, pdu)) {
        links_answered += pdu->command == ENQUIRE_LINK;
        if (pdu->command == (BIND_TRANSCEIVER | RESPONSE) && session->bound) {
            answered_count++;
            bound_count++;
        }
        return session->bound;
    }
    if (pdu->command == DELIVER_SM)
        write_simple(&session->link.out, DELIVER_SM | RESPONSE, ESME_ROK, pdu->sequence, "");
    return true;
}

static void on_event(struct session *session, uint32_t events) {
    struct pdu pdu;
    enum framing framing = PDU_PARTIAL;
    bool good = true;
    if (events & ~(uint32_t)EPOLLOUT)
        good = receive(&session->link);
    while (good && is_session(session) && (framing = next_pdu(&session->link.in, &pdu)) == PDU_READY)
        good = on_pdu(session, &pdu);
    if (!good || framing == PDU_BROKEN || !flush(&session->link))
        on_end(session);
}

static void print_counts(bool ready) {
    char refusal[16];
    snprintf(refusal, sizeof refusal, "0x%08x", last_refusal);
    json_begin(stdout);
    json_count("ready", ready);
    json_count("bound", (uint64_t)bound_count);
    json_count("not_bound", (uint64_t)(session_count - bound_count - ended));
    json_text("last_refusal", refusal);
    json_count("ended", (uint64_t)ended);
    json_count("enquire_links", (uint64_t)links_answered);
    json_count("unbound", (uint64_t)(dialled_count - unbound_closed));
    json_count("unbound_closed", (uint64_t)unbound_closed);
    json_count("redialled", (uint64_t)redialled);
    json_close();
}

int run_idle(int count, char **arguments) {
    struct epoll_event events[EVENTS_MOST];
    read_options("idle", options, count, arguments);
    if (session_count < 0 || unbound_count < 0 || customer_count < 1 || address_count < 1 || dials_per_s <= 0)
        fail("sessions and unbound are at least 0, customers, addresses and dials at least 1");
    net_start();
    all = zeroed((size_t)(session_count + unbound_count), sizeof *all);
    for (long i = 0; i < session_count; i++)
        session_name(&all[i], system_id, password, i % customer_count + 1);
    to_dial = zeroed((size_t)unbound_count, sizeof *to_dial);
    for (long i = 0; i < unbound_count; i++)
        dial_later(&all[session_count + i]);
    next_dial_s = now_s();
    for (bool ready = false; !stopping;) {
        open_more();
        if (!ready && answered_count == session_count && !to_dial_count) {
            ready = true;
            print_counts(true);
        }
        int found = wait_for_events(events, EVENTS_MOST, to_dial_count ? next_dial_s : now_s() + 1);
        for (int i = 0; i < found; i++)
            on_event(events[i].data.ptr, events[i].events);
    }
    print_counts(false);
    return 0;
}
