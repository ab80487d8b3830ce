/* See ids.h. */
#include "ids.h"

#include "net.h"

#include <string.h>

enum { FIRST_CAPACITY = 1 << 12 };
static const uint64_t HASHED = 1ull << 63;

/* 0 where it is not the plain decimal form of a number below 2^63. */
static uint64_t decimal_key(const char *id) {
    uint64_t number = 0;
    size_t length = strlen(id);
    if (length == 0 || length > 19 || (id[0] == '0' && length > 1))
        return 0;
    for (; *id; id++) {
        if (*id < '0' || *id > '9')
            return 0;
        number = number * 10 + (uint64_t)(*id - '0');
    }
    return number + 1 < HASHED ? number + 1 : 0; /* a key of 0 means free */
}

static uint64_t key_of(const char *id) {
    uint64_t key = decimal_key(id);
    if (key)
        return key;
    uint64_t hash = 14695981039346656037ull; /* FNV-1a */
    for (; *id; id++)
        hash = (hash ^ (uint8_t)*id) * 1099511628211ull;
    return hash | HASHED;
}

static size_t home_of(uint64_t key, size_t capacity) {
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15ull;
    return (key >> 20) & (capacity - 1);
}

/* The key's fate, or the free place for it. */
static struct fate *place_in(struct table *table, uint64_t key) {
    size_t at = home_of(key, table->capacity);
    while (table->fates[at].key && table->fates[at].key != key)
        at = (at + 1) & (table->capacity - 1);
    return &table->fates[at];
}

static void add_table(struct ids *ids) {
    size_t capacity = ids->newest ? 2 * ids->newest->capacity : FIRST_CAPACITY;
    struct table *table = zeroed(1, sizeof *table + capacity * sizeof table->fates[0]);
    table->capacity = capacity;
    table->older = ids->newest;
    ids->newest = table;
}

static struct fate *fate_of(struct ids *ids, const char *id) {
    uint64_t key = key_of(id);
    for (struct table *table = ids->newest; table; table = table->older) {
        struct fate *fate = place_in(table, key);
        if (fate->key)
            return fate;
    }
    if (!ids->newest || ids->newest->used * 2 >= ids->newest->capacity)
        add_table(ids);
    struct fate *fate = place_in(ids->newest, key);
    fate->key = key;
    ids->newest->used++;
    return fate;
}

void ids_answered(struct ids *ids, const char *id, uint32_t sent_10us) {
    struct fate *fate = fate_of(ids, id);
    if (fate->answered) {
        ids->repeated++;
        return;
    }
    fate->answered = true;
    fate->sent_10us = sent_10us;
    ids->answered++;
    ids->settled += fate->told;
}

bool ids_told(struct ids *ids, const char *id, uint32_t *sent_10us) {
    struct fate *fate = fate_of(ids, id);
    if (fate->told) {
        ids->duplicated++;
        return false;
    }
    fate->told = true;
    ids->told++;
    ids->settled += fate->answered;
    *sent_10us = fate->sent_10us;
    return true;
}

uint64_t ids_lost(const struct ids *ids) {
    return ids->answered - ids->settled;
}

uint64_t ids_unknown(const struct ids *ids) {
    return ids->told - ids->settled;
}
