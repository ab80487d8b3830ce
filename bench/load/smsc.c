/* `load smsc`: a carrier on a port. Any number of binds, whoever asks; each system_id is one account.
 *
 * A bind has two rings: responses that wait for --resp-delay, and receipts and MOs, which wait for
 * --dlr-delay, then for room in --dlr-window, then for their deliver_sm_resp. What was not answered when a
 * bind ended goes to another bind of the account, now or when one comes. Times are taken when octets are
 * read, so the highest count in a sliding second is what a carrier would have seen.
 *
 * Deliberately not here: passwords, states other than DELIVRD; `signalbox simulate` misbehaves in more ways.
 */
#include "commands.h"
#include "json.h"
#include "options.h"
#include "smpp.h"
#include "stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EXCERPT = 20, EVENTS_MOST = 256, BURST_MOST = 2000, LAST_READS = 16 };

static const char *host = "127.0.0.1";
static long port = 2775;
static double resp_delay_ms, dlr_delay_ms;
static long dlr_window = 1000, throttle_per_s, silent_after;
static const char *fail_every = "";
static long fail_each, fail_status;
static bool hex_ids, no_dlr, no_tlv;
static double mo_rate_per_s;
static const char *mo_to = "12345", *mo_text = "Hello from a handset";

static const struct option options[] = {
    {"host", TEXT, &host, "address to listen on"},
    {"port", WHOLE, &port, "port to listen on"},
    {"resp-delay", DECIMAL, &resp_delay_ms, "milliseconds before a submit_sm_resp"},
    {"dlr-delay", DECIMAL, &dlr_delay_ms, "milliseconds from the response to its receipt"},
    {"dlr-window", WHOLE, &dlr_window, "unanswered deliver_sm on one bind"},
    {"throttle", WHOLE, &throttle_per_s, "accept so many a second of one system_id, then 0x58; 0: all"},
    {"fail-every", TEXT, &fail_every, "N:STATUS refuses every Nth submit"},
    {"silent-after", WHOLE, &silent_after, "after so many submits answer nothing but binds; 0: never"},
    {"hex-ids", SWITCH, &hex_ids, "ids in hex in responses, in decimal in the receipts' text"},
    {"no-dlr", SWITCH, &no_dlr, "never send a receipt"},
    {"no-tlv", SWITCH, &no_tlv, "receipts as text alone"},
    {"mo-rate", DECIMAL, &mo_rate_per_s, "MOs a second, in turn over all binds that receive"},
    {"mo-to", TEXT, &mo_to, "number the MOs are sent to"},
    {"mo-text", TEXT, &mo_text, "their text"},
    {0},
};

/* A submit to be answered, then its receipt; or an MO, which has no id. */
struct entry {
    double due_s;
    uint64_t id;
    uint32_t sequence, status; /* of the submit and its answer */
    bool wants_receipt, answered;
    struct address source, destination; /* as submitted */
    char excerpt[EXCERPT + 1];
};

/* Entries [first, end) are held, [first, sent) of them are on their way. Indices only grow. */
struct ring {
    struct entry *entries;
    uint64_t capacity, first, sent, end; /* capacity is a power of two */
};

struct account {
    char system_id[SYSTEM_ID_MOST + 1];
    uint64_t submits, accepted, throttled, refused;
    struct sliding_second arrived, taken;
    struct ring homeless; /* what no bind can take now */
};

struct peer {
    struct connection link; /* first: an event's pointer is the peer's */
    struct account *account;
    bool receives, dead;
    struct ring responses, deliveries;
};

static struct peer **peers;
static size_t peer_count, peer_room;
static struct account **accounts;
static size_t account_count;

static uint64_t last_id, binds, submits, unanswered;
static uint64_t receipts, receipts_acked, receipts_nacked, moved, mos, mos_acked;
static double first_submit_s, last_submit_s, last_ack_s, next_mo_s;

/* --- rings ------------------------------------------------------------------------------------------ */

static struct entry *entry_at(const struct ring *ring, uint64_t index) {
    return &ring->entries[index & (ring->capacity - 1)];
}

static void ring_grow(struct ring *ring) {
    uint64_t capacity = ring->capacity ? 2 * ring->capacity : 256;
    struct entry *entries = zeroed(capacity, sizeof *entries);
    for (uint64_t i = ring->first; i < ring->end; i++)
        entries[i & (capacity - 1)] = *entry_at(ring, i);
    free(ring->entries);
    ring->entries = entries;
    ring->capacity = capacity;
}

static void ring_push(struct ring *ring, const struct entry *entry) {
    if (ring->end - ring->first == ring->capacity)
        ring_grow(ring);
    *entry_at(ring, ring->end++) = *entry;
}

/* A deliver_sm's sequence_number is its index in the ring, from 1 to 2^31 - 1. */
static uint32_t sequence_of(uint64_t index) {
    return (uint32_t)(index % 0x7fffffff) + 1;
}

static struct entry *entry_of(const struct ring *ring, uint32_t sequence) {
    uint64_t offset = (sequence + 0x7fffffffull - sequence_of(ring->first)) % 0x7fffffff;
    return offset < ring->sent - ring->first ? entry_at(ring, ring->first + offset) : NULL;
}

/* --- accounts and binds ----------------------------------------------------------------------------- */

static struct account *account_of(const char *system_id) {
    for (size_t i = 0; i < account_count; i++)
        if (!strcmp(accounts[i]->system_id, system_id))
            return accounts[i];
    struct account *account = zeroed(1, sizeof *account);
    strcpy(account->system_id, system_id);
    accounts = resized(accounts, account_count + 1, sizeof *accounts);
    accounts[account_count++] = account;
    return account;
}

static void add_peer(struct connection *listener) {
    struct peer *peer = zeroed(1, sizeof *peer);
    while (accept_next(listener, &peer->link)) {
        if (peer_count == peer_room) {
            peer_room = peer_room ? 2 * peer_room : 64;
            peers = resized(peers, peer_room, sizeof *peers);
        }
        peers[peer_count++] = peer;
        peer = zeroed(1, sizeof *peer);
    }
    free(peer);
}

/* Where the receipts of this bind's submits go: here, to another bind of the account, or nowhere yet. */
static struct ring *home_of(struct peer *peer) {
    if (peer->receives && !peer->dead)
        return &peer->deliveries;
    for (size_t i = 0; i < peer_count; i++)
        if (peers[i]->account == peer->account && peers[i]->receives && !peers[i]->dead)
            return &peers[i]->deliveries;
    return &peer->account->homeless;
}

static void queue_receipt(struct peer *peer, struct entry *entry) {
    entry->due_s += dlr_delay_ms / 1e3;
    if (entry->wants_receipt)
        ring_push(home_of(peer), entry);
}

static void move_entries(struct ring *from, struct ring *to) {
    for (; from->first < from->end; from->first++) {
        struct entry *entry = entry_at(from, from->first);
        if (!entry->answered) {
            moved += from->first < from->sent;
            ring_push(to, entry);
        }
    }
}

/* Takes peers[index] out. Its receipts find another bind, also those of submits not answered yet. */
static void bury(size_t index) {
    struct peer *peer = peers[index];
    peers[index] = peers[--peer_count];
    for (; peer->responses.first < peer->responses.end; peer->responses.first++)
        queue_receipt(peer, entry_at(&peer->responses, peer->responses.first));
    if (peer->account)
        move_entries(&peer->deliveries, home_of(peer));
    hang_up(&peer->link);
    free(peer->responses.entries);
    free(peer->deliveries.entries);
    free(peer);
}

static bool silent(void) {
    return silent_after && submits > (uint64_t)silent_after;
}

static void on_bind(struct peer *peer, const struct pdu *pdu) {
    const uint8_t *at = pdu->body;
    const char *system_id = take_text(&at, pdu->end, SYSTEM_ID_MOST);
    if (!system_id || peer->account) {
        peer->dead = true;
        return;
    }
    binds++;
    peer->account = account_of(system_id);
    peer->receives = pdu->command != BIND_TRANSMITTER;
    write_simple(&peer->link.out, pdu->command | RESPONSE, ESME_ROK, pdu->sequence, "load");
    if (peer->receives)
        move_entries(&peer->account->homeless, &peer->deliveries);
}

/* --- submits ---------------------------------------------------------------------------------------- */

static void print_id(char *out, size_t size, uint64_t id, bool hex) {
    snprintf(out, size, hex ? "%" PRIX64 : "%" PRIu64, id);
}

static void answer(struct peer *peer, struct entry *entry) {
    char id[MESSAGE_ID_MOST + 1] = "";
    if (entry->status == ESME_ROK)
        print_id(id, sizeof id, entry->id, hex_ids);
    write_simple(&peer->link.out, SUBMIT_SM | RESPONSE, entry->status, entry->sequence, id);
    queue_receipt(peer, entry);
}

static uint32_t verdict(struct account *account, bool readable, double now) {
    if (!readable) {
        account->refused++;
        return ESME_RINVCMDLEN;
    }
    if (throttle_per_s && sliding_count(&account->taken, now) >= (size_t)throttle_per_s) {
        account->throttled++;
        return ESME_RTHROTTLED;
    }
    if (fail_each && account->submits % (uint64_t)fail_each == 0) {
        account->refused++;
        return (uint32_t)fail_status;
    }
    if (throttle_per_s)
        sliding_add(&account->taken, now);
    account->accepted++;
    return ESME_ROK;
}

static void copy_excerpt(struct entry *entry, const struct message *message) {
    size_t length = message->text_length < EXCERPT ? message->text_length : EXCERPT;
    for (size_t i = 0; i < length; i++) {
        uint8_t octet = message->text[i];
        entry->excerpt[i] = octet >= ' ' && octet < 127 ? (char)octet : '.';
    }
    entry->excerpt[length] = 0;
}

static void on_submit(struct peer *peer, const struct pdu *pdu, double now) {
    struct account *account = peer->account;
    struct message message;
    account->submits++;
    sliding_add(&account->arrived, now);
    if (!first_submit_s)
        first_submit_s = now;
    last_submit_s = now;
    submits++;
    if (silent()) {
        unanswered++;
        return;
    }
    bool readable = read_message(pdu, &message);
    struct entry entry = {.sequence = pdu->sequence, .due_s = now + resp_delay_ms / 1e3};
    entry.status = verdict(account, readable, now);
    if (entry.status == ESME_ROK) {
        entry.id = ++last_id;
        entry.wants_receipt = (message.registered_delivery & 1) && !no_dlr;
        entry.source = message.source;
        entry.destination = message.destination;
        copy_excerpt(&entry, &message);
    }
    if (resp_delay_ms > 0)
        ring_push(&peer->responses, &entry);
    else
        answer(peer, &entry);
}

/* --- receipts and MOs ------------------------------------------------------------------------------- */

static const char *date_of_now(void) {
    static char date[16];
    static time_t written;
    time_t now = time(NULL);
    if (now != written) {
        struct tm parts;
        strftime(date, sizeof date, "%y%m%d%H%M", gmtime_r(&now, &parts));
        written = now;
    }
    return date;
}

static void send_receipt(struct buffer *out, const struct entry *entry, uint32_t sequence) {
    struct writer writer;
    char text[TEXT_MOST + 1], answered_id[MESSAGE_ID_MOST + 1], shown_id[MESSAGE_ID_MOST + 1];
    const char *date = date_of_now();
    print_id(answered_id, sizeof answered_id, entry->id, hex_ids);
    print_id(shown_id, sizeof shown_id, entry->id, false);
    int length = snprintf(text, sizeof text,
                          "id:%s sub:001 dlvrd:001 submit date:%s done date:%s stat:DELIVRD err:000 text:%s",
                          shown_id, date, date, entry->excerpt);
    struct message message = {
        .source = entry->destination,
        .destination = entry->source,
        .esm_class = ESM_RECEIPT,
        .text = (const uint8_t *)text,
        .text_length = (size_t)length,
    };
    write_header(&writer, DELIVER_SM, 0, sequence);
    write_message(&writer, &message);
    if (!no_tlv) {
        write_tlv(&writer, TLV_RECEIPTED_MESSAGE_ID, answered_id, strlen(answered_id) + 1);
        write_tlv(&writer, TLV_MESSAGE_STATE, (const uint8_t[]){STATE_DELIVERED}, 1);
    }
    write_end(&writer, out);
    receipts++;
}

static void send_mo(struct buffer *out, uint32_t sequence) {
    struct writer writer;
    struct message message = {
        .source = {.ton = 1, .npi = 1},
        .destination = {.npi = 1},
        .text = (const uint8_t *)mo_text,
        .text_length = strnlen(mo_text, TEXT_MOST),
    };
    snprintf(message.source.digits, sizeof message.source.digits, "4477009%05" PRIu64, mos % 100000);
    snprintf(message.destination.digits, sizeof message.destination.digits, "%s", mo_to);
    write_header(&writer, DELIVER_SM, 0, sequence);
    write_message(&writer, &message);
    write_end(&writer, out);
    mos++;
}

static void on_delivered(struct peer *peer, const struct pdu *pdu, double now) {
    struct ring *ring = &peer->deliveries;
    struct entry *entry = entry_of(ring, pdu->sequence);
    if (!entry || entry->answered)
        return;
    entry->answered = true;
    if (!entry->id)
        mos_acked++;
    else if (pdu->status == ESME_ROK)
        receipts_acked++;
    else
        receipts_nacked++;
    last_ack_s = now;
    while (ring->first < ring->sent && entry_at(ring, ring->first)->answered)
        ring->first++;
}

/* Sends what is due; returns when the next entry will be. */
static double release(struct peer *peer, double now) {
    struct ring *responses = &peer->responses, *deliveries = &peer->deliveries;
    double next = now + 1;
    for (; responses->first < responses->end; responses->first++) {
        struct entry *entry = entry_at(responses, responses->first);
        if (entry->due_s > now) {
            next = entry->due_s;
            break;
        }
        answer(peer, entry);
    }
    for (int sent = 0; deliveries->sent < deliveries->end && sent < BURST_MOST; deliveries->sent++, sent++) {
        struct entry *entry = entry_at(deliveries, deliveries->sent);
        if (deliveries->sent - deliveries->first >= (uint64_t)dlr_window)
            break;
        if (entry->due_s > now) {
            next = entry->due_s < next ? entry->due_s : next;
            break;
        }
        if (entry->id)
            send_receipt(&peer->link.out, entry, sequence_of(deliveries->sent));
        else
            send_mo(&peer->link.out, sequence_of(deliveries->sent));
        if (sent == BURST_MOST - 1)
            next = now;
    }
    return next;
}

static double push_mos(double now) {
    static size_t turn;
    if (mo_rate_per_s <= 0)
        return now + 1;
    for (; next_mo_s <= now; next_mo_s += 1 / mo_rate_per_s) {
        size_t tried = 0;
        while (tried < peer_count && !peers[turn++ % peer_count]->receives)
            tried++;
        if (tried == peer_count) {
            next_mo_s = now; /* nobody to send to: the rate begins when somebody is */
            return now + 0.1;
        }
        struct entry entry = {.due_s = now};
        ring_push(&peers[(turn - 1) % peer_count]->deliveries, &entry);
    }
    return next_mo_s;
}

/* --- the loop --------------------------------------------------------------------------------------- */

static void on_pdu(struct peer *peer, const struct pdu *pdu, double now) {
    switch (pdu->command) {
    case BIND_RECEIVER:
    case BIND_TRANSMITTER:
    case BIND_TRANSCEIVER:
        on_bind(peer, pdu);
        return;
    case SUBMIT_SM:
        if (peer->account)
            on_submit(peer, pdu, now);
        else
            peer->dead = true;
        return;
    case DELIVER_SM | RESPONSE:
        on_delivered(peer, pdu, now);
        return;
    case ENQUIRE_LINK:
    case UNBIND:
        if (!silent())
            write_simple(&peer->link.out, pdu->command | RESPONSE, ESME_ROK, pdu->sequence, NULL);
        return;
    default:
        if (!(pdu->command & RESPONSE) && !silent())
            write_simple(&peer->link.out, GENERIC_NACK, ESME_RINVCMDID, pdu->sequence, NULL);
    }
}

static void on_octets(struct peer *peer) {
    struct pdu pdu;
    enum framing framing;
    if (!receive(&peer->link))
        peer->dead = true;
    double now = now_s();
    while ((framing = next_pdu(&peer->link.in, &pdu)) == PDU_READY)
        on_pdu(peer, &pdu, now);
    if (framing == PDU_BROKEN)
        peer->dead = true;
}

static double serve_peers(void) {
    double now = now_s();
    double next = push_mos(now);
    for (size_t i = 0; i < peer_count;) {
        struct peer *peer = peers[i];
        if (!peer->dead && !silent()) {
            double due = release(peer, now);
            next = due < next ? due : next;
        }
        peer->dead = peer->dead || !flush(&peer->link);
        if (peer->dead)
            bury(i);
        else
            i++;
    }
    return next;
}

static void print_second(double now) {
    static double next_s;
    static uint64_t submits_before, receipts_before;
    if (now < next_s)
        return;
    json_begin(stderr);
    json_count("submits", submits - submits_before);
    json_count("receipts", receipts - receipts_before);
    json_count("binds", peer_count);
    json_close();
    submits_before = submits;
    receipts_before = receipts;
    next_s = now + 1;
}

static uint64_t held_receipts(void) {
    uint64_t held = 0;
    for (size_t i = 0; i < peer_count; i++)
        held += peers[i]->deliveries.end - peers[i]->deliveries.sent;
    for (size_t i = 0; i < account_count; i++)
        held += accounts[i]->homeless.end - accounts[i]->homeless.first;
    return held;
}

static void print_account(const struct account *account) {
    json_open(account->system_id);
    json_count("submits", account->submits);
    json_count("accepted", account->accepted);
    json_count("most_in_a_second", account->arrived.most);
    json_close();
}

static void print_result(void) {
    uint64_t accepted = 0, throttled = 0, refused = 0, most = 0;
    double span_s = last_submit_s - first_submit_s;
    for (size_t i = 0; i < account_count; i++) {
        accepted += accounts[i]->accepted;
        throttled += accounts[i]->throttled;
        refused += accounts[i]->refused;
        most = accounts[i]->arrived.most > most ? accounts[i]->arrived.most : most;
    }
    json_begin(stdout);
    json_count("binds", binds);
    json_count("submits", submits);
    json_count("accepted", accepted);
    json_count("throttled", throttled);
    json_count("refused", refused);
    json_count("unanswered", unanswered);
    json_number("span_s", span_s);
    json_number("submit_per_s", rate_per_s(submits, span_s));
    json_count("most_in_a_second", most);
    json_count("receipts", receipts);
    json_count("receipts_acked", receipts_acked);
    json_count("receipts_nacked", receipts_nacked);
    json_count("receipts_moved", moved);
    json_count("receipts_held", held_receipts());
    json_number("receipt_span_s", last_ack_s > first_submit_s ? last_ack_s - first_submit_s : 0);
    json_count("mos", mos);
    json_count("mos_acked", mos_acked);
    json_open("accounts");
    for (size_t i = 0; i < account_count; i++)
        print_account(accounts[i]);
    json_close();
    json_close();
}

static void read_fail_every(void) {
    char *end = NULL;
    if (!*fail_every)
        return;
    fail_each = strtol(fail_every, &end, 0);
    if (fail_each < 1 || *end != ':')
        fail("--fail-every %s: write it as N:STATUS, e.g. 100:0x08", fail_every);
    fail_status = strtol(end + 1, NULL, 0);
}

/* Waits until a time and deals with what came; false when nothing did. */
static bool serve_events(struct connection *listener, double until_s) {
    struct epoll_event events[EVENTS_MOST];
    int found = wait_for_events(events, EVENTS_MOST, until_s);
    for (int i = 0; i < found; i++) {
        if (events[i].data.ptr == listener)
            add_peer(listener);
        else if (events[i].events & ~(uint32_t)EPOLLOUT)
            on_octets(events[i].data.ptr);
    }
    return found > 0;
}

int run_smsc(int count, char **arguments) {
    struct connection listener;
    double next = 0;
    read_options("smsc", options, count, arguments);
    read_fail_every();
    last_id = (uint64_t)time(NULL) << 20; /* so that a second start does not give the first one's ids again */
    net_start();
    listen_on(&listener, host, port);
    while (!stopping) {
        serve_events(&listener, next);
        next = serve_peers();
        print_second(now_s());
    }
    for (int i = 0; i < LAST_READS && serve_events(&listener, 0); i++)
        serve_peers(); /* what was sent before the signal counts */
    print_result();
    return 0;
}
