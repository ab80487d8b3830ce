/* `load esme`: customers that bind, submit and count what comes back, message by message.
 *
 * C customers have B binds each. Closed loop: every bind keeps its window full. Open loop (--rate): message i
 * is meant for t0 + i/rate, on the binds in turn; its latency counts from then, so that a server that stalls
 * cannot hide it. Ends when --n (or --duration) is sent and every accepted message has its final receipt,
 * plus --linger for repeats; or when nothing has come for --wait.
 *
 * Figures: submit_per_s up to the last response, e2e_per_s up to the last first final receipt. lost,
 * duplicated and unknown are exact (ids.h). Customers that stop reading (--stall) count nowhere else.
 *
 * Deliberately not here: rebinding after a cut, retries of what was refused, TLVs of its own.
 */
#include "commands.h"
#include "ids.h"
#include "json.h"
#include "options.h"
#include "session.h"
#include "stats.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS_MOST = 256, BINDING_AT_ONCE = 16, STATUSES = 32 };
enum { UNSENT_MOST = 64 * 1024, STALLED_BUFFER = 4096 }; /* octets */
static const double BIND_WITHIN_S = 60;

static const char *host = "127.0.0.1", *system_id = "esme", *password = "secret";
static long port = 2775, customer_count = 1, binds_each = 1, stall, window = 100;
static long wanted = 10000, first, dlr = 1;
static double duration_s, rate_wanted_per_s, wait_s = 10, linger_s = 0.3;
static const char *source = "ACME", *prefix = "44770090";
static const char *text = "Msg {n} your code is 123456. Do not share it.";

static const struct option options[] = {
    {"host", TEXT, &host, "address of the SMSC"},
    {"port", WHOLE, &port, "its port"},
    {"customers", WHOLE, &customer_count, "different system_ids"},
    {"binds", WHOLE, &binds_each, "transceiver binds of each"},
    {"system-id", TEXT, &system_id, "or a pattern as cust%02d, numbered from 1"},
    {"password", TEXT, &password, "or a pattern"},
    {"window", WHOLE, &window, "unanswered submits on each bind"},
    {"n", WHOLE, &wanted, "messages in all"},
    {"first", WHOLE, &first, "number of the first message"},
    {"duration", DECIMAL, &duration_s, "send for so many seconds instead"},
    {"rate", DECIMAL, &rate_wanted_per_s, "messages a second in all, open loop; 0: closed loop"},
    {"dlr", WHOLE, &dlr, "registered_delivery"},
    {"wait", DECIMAL, &wait_s, "give up when nothing has come for so many seconds"},
    {"linger", DECIMAL, &linger_s, "seconds to listen for repeats after the last receipt"},
    {"stall", WHOLE, &stall, "the first so many customers fill their windows and stop reading"},
    {"source", TEXT, &source, "sender"},
    {"prefix", TEXT, &prefix, "recipients are this and four digits"},
    {"text", TEXT, &text, "text, with {n} and {to}"},
    {0},
};

struct customer {
    struct ids ids;
    bool stalls;
    uint64_t accepted;
};

/* A submit in the window. The ring of a bind has room for four windows, since answers come in any order. */
struct pending {
    uint32_t sequence;
    bool busy;
    double since_s; /* sent, or with --rate meant to be sent */
};

struct bind {
    struct session session; /* first: an event's pointer is the bind's */
    struct customer *customer;
    struct pending *pending;
    long in_flight;
    uint64_t sent, turn, quota; /* with --rate: its place among the binds, and how many are meant for it */
    bool ended;
};

static struct customer *customers;
static struct bind *binds;
static long bind_count, opened_count, bound_count, active_count;
static uint32_t pending_mask;

static uint64_t sent, in_flight, answered, accepted, refused, unanswered, closed, stray, stalled_sent;
static uint64_t finals, delivered, intermediate, ids_differed, unreadable, mos;
static struct { uint32_t status; uint64_t count; } statuses[STATUSES];
static struct latencies submit_latencies, receipt_latencies, second_latencies;
static double start_s, last_answer_s, last_final_s, last_progress_s;

/* --- what comes ------------------------------------------------------------------------------------- */

static uint32_t in_10us(double moment_s) {
    return (uint32_t)((moment_s - start_s) * 1e5) + 1;
}

static void count_status(uint32_t status) {
    for (size_t i = 0; i < STATUSES; i++) {
        if (statuses[i].count && statuses[i].status != status)
            continue;
        statuses[i].status = status;
        statuses[i].count++;
        return;
    }
}

static void on_answer(struct bind *bind, const struct pdu *pdu, double now) {
    struct pending *pending = &bind->pending[pdu->sequence & pending_mask];
    if (!pending->busy || pending->sequence != pdu->sequence) {
        stray++;
        return;
    }
    pending->busy = false;
    bind->in_flight--;
    in_flight--;
    answered++;
    last_answer_s = now;
    latency_add(&submit_latencies, now - pending->since_s);
    latency_add(&second_latencies, now - pending->since_s);
    const uint8_t *at = pdu->body;
    const char *id = take_text(&at, pdu->end, MESSAGE_ID_MOST);
    if (pdu->status == ESME_ROK && pdu->command != GENERIC_NACK && id) {
        accepted++;
        bind->customer->accepted++;
        ids_answered(&bind->customer->ids, id, in_10us(pending->since_s));
    } else {
        refused++;
        count_status(pdu->status);
    }
}

static void on_receipt(struct bind *bind, const struct message *message, double now) {
    struct receipt receipt;
    uint32_t sent_10us;
    if (!read_receipt(message, &receipt)) {
        unreadable++;
        return;
    }
    ids_differed += receipt.ids_differ;
    if (!receipt.final) {
        intermediate++;
        return;
    }
    finals++;
    delivered += receipt.delivered;
    if (!ids_told(&bind->customer->ids, receipt.id, &sent_10us))
        return;
    last_final_s = now;
    if (sent_10us)
        latency_add(&receipt_latencies, now - start_s - (sent_10us - 1) / 1e5);
}

static void on_deliver(struct bind *bind, const struct pdu *pdu, double now) {
    struct message message;
    if (!read_message(pdu, &message))
        unreadable++;
    else if (is_receipt(&message))
        on_receipt(bind, &message, now);
    else
        mos++;
    write_simple(&bind->session.link.out, DELIVER_SM | RESPONSE, ESME_ROK, pdu->sequence, "");
}

static void on_end(struct bind *bind) {
    struct session *session = &bind->session;
    const char *why = session->refused ? "refused" : why_ended(&session->link);
    if (!session->bound)
        fail("%s at %s:%ld: bind failed: %s (status 0x%08x)", session->system_id, host, port, why,
             session->refused);
    fprintf(stderr, "load: %s: session ended: %s\n", session->system_id, why);
    closed++;
    unanswered += (uint64_t)bind->in_flight;
    in_flight -= (uint64_t)bind->in_flight;
    bind->in_flight = 0;
    bind->ended = true;
    hang_up(&session->link);
}

static bool on_pdu(struct bind *bind, const struct pdu *pdu, double now) {
    if (session_took(&bind->session, pdu)) {
        bound_count += pdu->command == (BIND_TRANSCEIVER | RESPONSE);
        return bind->session.bound;
    }
    last_progress_s = now;
    if (pdu->command == (SUBMIT_SM | RESPONSE) || pdu->command == GENERIC_NACK)
        on_answer(bind, pdu, now);
    else if (pdu->command == DELIVER_SM)
        on_deliver(bind, pdu, now);
    else if (!(pdu->command & RESPONSE))
        write_simple(&bind->session.link.out, GENERIC_NACK, ESME_RINVCMDID, pdu->sequence, NULL);
    return true;
}

static void on_octets(struct bind *bind) {
    struct pdu pdu;
    enum framing framing = PDU_PARTIAL;
    bool alive = receive(&bind->session.link), good = true;
    double now = now_s();
    while (good && (framing = next_pdu(&bind->session.link.in, &pdu)) == PDU_READY)
        good = on_pdu(bind, &pdu, now);
    if (!alive || !good || framing == PDU_BROKEN)
        on_end(bind);
}

static void on_event(struct bind *bind, uint32_t events) {
    if (bind->session.link.muted && (events & (EPOLLHUP | EPOLLERR)))
        on_end(bind);
    else if (events & ~(uint32_t)EPOLLOUT)
        on_octets(bind);
}

/* --- what is sent ----------------------------------------------------------------------------------- */

static void submit(struct bind *bind, uint32_t sequence, uint64_t number) {
    static struct buffer body;
    struct values values = {.n = number};
    struct writer writer;
    snprintf(values.to, sizeof values.to, "%s%04" PRIu64, prefix, number % 10000);
    buffer_consume(&body, buffer_length(&body));
    template_append(&body, text, &values);
    struct message message = {
        .source = {.ton = 5},
        .destination = {.ton = 1, .npi = 1},
        .registered_delivery = (uint8_t)dlr,
        .text = body.data + body.start,
        .text_length = buffer_length(&body) < BODY_MOST ? buffer_length(&body) : BODY_MOST,
    };
    snprintf(message.source.digits, sizeof message.source.digits, "%s", source);
    snprintf(message.destination.digits, sizeof message.destination.digits, "%s", values.to);
    write_header(&writer, SUBMIT_SM, 0, sequence);
    write_message(&writer, &message);
    write_end(&writer, &bind->session.link.out);
}

/* When the bind's next message is meant to leave. */
static double meant_s(const struct bind *bind) {
    return start_s + (double)(bind->sent * (uint64_t)active_count + bind->turn) / rate_wanted_per_s;
}

static bool all_sent(double now) {
    return duration_s > 0 ? now >= start_s + duration_s : sent >= (uint64_t)wanted;
}

static bool may_send(const struct bind *bind, const struct pending *pending, double now) {
    if (bind->in_flight >= window || pending->busy || buffer_length(&bind->session.link.out) > UNSENT_MOST)
        return false;
    if (rate_wanted_per_s > 0)
        return bind->sent < bind->quota && meant_s(bind) <= now;
    return !all_sent(now);
}

/* Returns when it wants to go on. */
static double fill(struct bind *bind, double now) {
    for (;;) {
        uint32_t sequence = bind->session.last_sequence % 0x7fffffff + 1;
        struct pending *pending = &bind->pending[sequence & pending_mask];
        if (!may_send(bind, pending, now))
            break;
        *pending = (struct pending){sequence, true, rate_wanted_per_s > 0 ? meant_s(bind) : now};
        submit(bind, sequence, (uint64_t)first + sent);
        bind->session.last_sequence = sequence;
        bind->in_flight++;
        bind->sent++;
        in_flight++;
        sent++;
        last_progress_s = now;
    }
    bool waits_for_time = rate_wanted_per_s > 0 && bind->sent < bind->quota && bind->in_flight < window;
    return waits_for_time && meant_s(bind) > now ? meant_s(bind) : now + 1;
}

static void stall_bind(struct bind *bind) {
    for (long i = 0; i < window; i++, stalled_sent++)
        submit(bind, ++bind->session.last_sequence, stalled_sent);
    mute(&bind->session.link);
}

/* --- the run ---------------------------------------------------------------------------------------- */

/* With --rate: each bind's turn, and its part of --n. */
static void share_out(void) {
    uint64_t turn = 0, count = (uint64_t)wanted, among = (uint64_t)active_count;
    for (long i = 0; i < bind_count; i++) {
        struct bind *bind = &binds[i];
        if (bind->customer->stalls)
            continue;
        bind->turn = turn++;
        bind->quota = count / among + (bind->turn < count % among);
    }
}

static void make_binds(void) {
    if (customer_count < 1 || binds_each < 1 || window < 1 || wanted < 1)
        fail("customers, binds, window and n are at least 1");
    if (stall > customer_count || (stall == customer_count && duration_s <= 0))
        fail("with every customer stalled, --duration says how long");
    if (strlen(prefix) + 4 > ADDRESS_MOST || strlen(source) > ADDRESS_MOST)
        fail("an address has at most %d characters", ADDRESS_MOST);
    if (rate_wanted_per_s > 0 && duration_s > 0 && stall < customer_count) {
        wanted = (long)(rate_wanted_per_s * duration_s);
        duration_s = 0;
    }
    bind_count = customer_count * binds_each;
    active_count = (customer_count - stall) * binds_each;
    for (pending_mask = 4; pending_mask < 4 * (uint64_t)window; pending_mask *= 2)
        ;
    customers = zeroed((size_t)customer_count, sizeof *customers);
    binds = zeroed((size_t)bind_count, sizeof *binds);
    for (long i = 0; i < bind_count; i++) {
        struct bind *bind = &binds[i];
        long number = i % customer_count; /* customers in turn: with --rate each one's share is spread */
        bind->customer = &customers[number];
        bind->customer->stalls = number < stall;
        bind->pending = zeroed(pending_mask, sizeof *bind->pending);
        session_name(&bind->session, system_id, password, number + 1);
    }
    pending_mask--;
    share_out();
}

/* Opens more binds while few are unanswered: a server may hash every password. True once all are bound. */
static bool all_bound(double since_s) {
    while (opened_count < bind_count && opened_count - bound_count < BINDING_AT_ONCE) {
        struct bind *bind = &binds[opened_count++];
        struct dialling to = {.host = host, .port = port};
        to.receive_octets = bind->customer->stalls ? STALLED_BUFFER : 0;
        session_open(&bind->session, &to);
    }
    if (bound_count < bind_count && now_s() > since_s + BIND_WITHIN_S)
        fail("only %ld of %ld binds were answered within %.0f s", bound_count, bind_count, BIND_WITHIN_S);
    return bound_count == bind_count;
}

static void start(void) {
    start_s = last_answer_s = last_final_s = last_progress_s = now_s();
    for (long i = 0; i < bind_count; i++)
        if (binds[i].customer->stalls)
            stall_bind(&binds[i]);
}

static double serve_binds(double now, bool running) {
    double next = now + 1;
    for (long i = 0; i < opened_count; i++) {
        struct bind *bind = &binds[i];
        if (bind->ended)
            continue;
        if (running && !bind->customer->stalls) {
            double wish = fill(bind, now);
            next = wish < next ? wish : next;
        }
        if (!flush(&bind->session.link))
            on_end(bind);
    }
    return next;
}

static struct ids total_ids(void) {
    struct ids total = {0};
    for (long i = 0; i < customer_count; i++) {
        total.answered += customers[i].ids.answered;
        total.repeated += customers[i].ids.repeated;
        total.told += customers[i].ids.told;
        total.settled += customers[i].ids.settled;
        total.duplicated += customers[i].ids.duplicated;
    }
    return total;
}

static double latest(double one_s, double other_s) {
    return one_s > other_s ? one_s : other_s;
}

/* When the run ends if nothing more comes. */
static double end_s(double now) {
    if (closed == (uint64_t)bind_count)
        return now;
    if (!all_sent(now) || in_flight)
        return last_progress_s + wait_s;
    struct ids total = total_ids();
    if (dlr & 1 && total.settled < total.answered)
        return last_progress_s + wait_s;
    return latest(last_answer_s, last_final_s) + (dlr & 1 ? linger_s : 0);
}

static void print_second(double now) {
    static uint64_t sent_before, answered_before, finals_before;
    static long seconds = 1;
    if (now < start_s + (double)seconds)
        return;
    json_begin(stderr);
    json_count("t", (uint64_t)seconds);
    json_count("sent", sent - sent_before);
    json_count("answered", answered - answered_before);
    json_count("receipts", finals - finals_before);
    json_count("in_flight", in_flight);
    json_number("p50_ms", latency_quantile_ms(&second_latencies, 0.5));
    json_number("p99_ms", latency_quantile_ms(&second_latencies, 0.99));
    json_close();
    sent_before = sent;
    answered_before = answered;
    finals_before = finals;
    latency_clear(&second_latencies);
    seconds = (long)(now - start_s) + 1;
}

static void print_statuses(void) {
    char name[16];
    json_open("statuses");
    for (size_t i = 0; i < STATUSES && statuses[i].count; i++) {
        snprintf(name, sizeof name, "0x%08x", statuses[i].status);
        json_count(name, statuses[i].count);
    }
    json_close();
}

static void print_customers(void) {
    uint64_t least = stall < customer_count ? UINT64_MAX : 0, most = 0;
    for (long i = stall; i < customer_count; i++) {
        least = customers[i].accepted < least ? customers[i].accepted : least;
        most = customers[i].accepted > most ? customers[i].accepted : most;
    }
    json_count("customers", (uint64_t)customer_count);
    json_count("binds", (uint64_t)bind_count);
    json_count("least_of_a_customer", least);
    json_count("most_of_a_customer", most);
    json_count("stalled_customers", (uint64_t)stall);
    json_count("stalled_sent", stalled_sent);
}

static void print_receipts(const struct ids *ids) {
    json_count("receipts", finals);
    json_count("delivered", delivered);
    json_count("intermediate", intermediate);
    json_count("lost", dlr & 1 ? ids_lost(ids) : 0);
    json_count("duplicated", ids->duplicated);
    json_count("unknown", ids_unknown(ids));
    json_count("repeated_ids", ids->repeated);
    json_count("ids_differ", ids_differed);
    json_count("unreadable", unreadable);
    json_count("mos", mos);
}

static void print_result(void) {
    struct ids ids = total_ids();
    double submit_s = last_answer_s - start_s, e2e_s = last_final_s - start_s;
    json_begin(stdout);
    json_count("sent", sent);
    json_count("answered", answered);
    json_count("accepted", accepted);
    json_count("refused", refused);
    json_count("unanswered", unanswered + in_flight);
    json_count("stray", stray);
    json_count("closed", closed);
    print_statuses();
    json_number("submit_s", submit_s);
    json_number("submit_per_s", rate_per_s(answered, submit_s));
    json_number("e2e_s", e2e_s);
    json_number("e2e_per_s", rate_per_s(ids.settled, e2e_s));
    print_receipts(&ids);
    print_customers();
    latency_print("latency", &submit_latencies);
    latency_print("receipt_latency", &receipt_latencies);
    json_close();
}

int run_esme(int count, char **arguments) {
    struct epoll_event events[EVENTS_MOST];
    read_options("esme", options, count, arguments);
    net_start();
    make_binds();
    double began_s = now_s(), next_s = began_s, now = began_s;
    bool running = false;
    while (!stopping && !(running && now >= end_s(now))) {
        if (!running && all_bound(began_s)) {
            start();
            running = true;
        }
        next_s = serve_binds(now_s(), running);
        if (running && end_s(now) < next_s)
            next_s = end_s(now);
        int found = wait_for_events(events, EVENTS_MOST, next_s);
        for (int i = 0; i < found; i++)
            on_event(events[i].data.ptr, events[i].events);
        now = now_s();
        if (running)
            print_second(now);
    }
    print_result();
    return 0;
}
