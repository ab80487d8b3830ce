/* See stats.h. */
#include "stats.h"

#include "json.h"
#include "net.h"

#include <stdlib.h>
#include <string.h>

enum { SUB_BITS = 7 }; /* 128 buckets for each power of two */

static size_t bucket_of(uint64_t microseconds) {
    if (microseconds < 2u << SUB_BITS)
        return microseconds;
    unsigned shift = 63 - (unsigned)__builtin_clzll(microseconds) - SUB_BITS;
    size_t bucket = ((size_t)shift << SUB_BITS) + (microseconds >> shift);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static uint64_t upper_bound_of(size_t bucket) {
    if (bucket < 2u << SUB_BITS)
        return bucket;
    unsigned shift = (unsigned)(bucket >> SUB_BITS) - 1;
    return (((bucket & ((1u << SUB_BITS) - 1)) + (1u << SUB_BITS) + 1) << shift) - 1;
}

void latency_add(struct latencies *latencies, double seconds) {
    if (seconds < 0)
        seconds = 0;
    latencies->count++;
    latencies->buckets[bucket_of((uint64_t)(seconds * 1e6))]++;
    if (seconds > latencies->most_s)
        latencies->most_s = seconds;
}

double latency_quantile_ms(const struct latencies *latencies, double share) {
    uint64_t wanted = (uint64_t)((double)latencies->count * share) + 1;
    uint64_t seen = 0;
    double bound_us = 0;
    for (size_t bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
        seen += latencies->buckets[bucket];
        if (seen >= wanted)
            break;
        bound_us = (double)upper_bound_of(bucket + 1);
    }
    return (bound_us < latencies->most_s * 1e6 ? bound_us : latencies->most_s * 1e6) / 1e3;
}

void latency_clear(struct latencies *latencies) {
    memset(latencies, 0, sizeof *latencies);
}

void latency_print(const char *name, const struct latencies *latencies) {
    json_open(name);
    json_count("count", latencies->count);
    json_number("p50_ms", latency_quantile_ms(latencies, 0.5));
    json_number("p99_ms", latency_quantile_ms(latencies, 0.99));
    json_number("p999_ms", latency_quantile_ms(latencies, 0.999));
    json_number("max_ms", latencies->most_s * 1e3);
    json_close();
}

size_t sliding_count(struct sliding_second *second, double now) {
    while (second->first < second->end && second->times[second->first & (second->capacity - 1)] <= now - 1.0)
        second->first++;
    return second->end - second->first;
}

static void grow(struct sliding_second *second) {
    size_t capacity = second->capacity ? 2 * second->capacity : 1024;
    double *times = zeroed(capacity, sizeof *times);
    for (size_t i = second->first; i < second->end; i++)
        times[i & (capacity - 1)] = second->times[i & (second->capacity - 1)];
    free(second->times);
    second->times = times;
    second->capacity = capacity;
}

void sliding_add(struct sliding_second *second, double now) {
    size_t count = sliding_count(second, now) + 1;
    if (count > second->capacity)
        grow(second);
    second->times[second->end++ & (second->capacity - 1)] = now;
    if (count > second->most)
        second->most = count;
}

double rate_per_s(uint64_t count, double span_s) {
    return span_s > 0 ? (double)count / span_s : 0;
}
