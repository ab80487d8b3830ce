/* What became of each message id: answered by a submit_sm_resp, told by how many final receipts.
 *
 * One `struct ids` for each customer, since ids are unique only there. Receipts may come before the response.
 * A decimal id below 2^63 is kept exactly; any other as a 63-bit hash (two of ten million meet once in
 * 180,000 runs). Ids are compared as written: "0007" is not "7".
 *
 * Tables are added, each twice as large as the one before, and never moved, so that no pause shows in the
 * latencies. 16 octets an id, for as long as the program runs.
 */
#ifndef LOAD_IDS_H
#define LOAD_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fate {
    uint64_t key; /* 0: free */
    uint32_t sent_10us;
    bool answered;
    bool told;
};

struct table {
    struct table *older;
    size_t capacity, used;
    struct fate fates[];
};

struct ids {
    struct table *newest;
    uint64_t answered;   /* different ids in responses */
    uint64_t repeated;   /* responses with an id that an earlier one had */
    uint64_t told;       /* different ids in final receipts */
    uint64_t settled;    /* ids with both */
    uint64_t duplicated; /* final receipts beyond an id's first */
};

/* A response accepted a message that was sent then: 10 us units of any clock, from 1. */
void ids_answered(struct ids *ids, const char *id, uint32_t sent_10us);

/* A final receipt came. True when it is the id's first; *sent_10us is 0 where no response has come yet. */
bool ids_told(struct ids *ids, const char *id, uint32_t *sent_10us);

uint64_t ids_lost(const struct ids *ids);    /* answered, never told */
uint64_t ids_unknown(const struct ids *ids); /* told, never answered */

#endif
