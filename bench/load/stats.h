/* Figures: latencies in a fixed-size histogram, and the highest count in any sliding second. */
#ifndef LOAD_STATS_H
#define LOAD_STATS_H

#include <stddef.h>
#include <stdint.h>

/* Microseconds up to 2^40, exact below 256, within 0.8 % above: quantiles are the upper bound of a bucket. */
enum { LATENCY_BUCKETS = 128 * 35 };

struct latencies {
    uint64_t count;
    double most_s;
    uint32_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latencies *latencies, double seconds);
double latency_quantile_ms(const struct latencies *latencies, double share); /* 0 when there are none */
void latency_clear(struct latencies *latencies);
void latency_print(const char *name, const struct latencies *latencies); /* into the JSON under way */

/* Times of the last second, oldest first, and the most that ever stood in it. */
struct sliding_second {
    double *times;
    size_t capacity, first, end; /* a ring; capacity is a power of two */
    size_t most;
};

size_t sliding_count(struct sliding_second *second, double now); /* events in (now - 1 s, now] */
void sliding_add(struct sliding_second *second, double now);

/* Events a second over a span; 0 where it has no length. */
double rate_per_s(uint64_t count, double span_s);

#endif
