"""What the server counts, in plain integers: requests by endpoint and status, durations in buckets.

The label values are closed sets: route patterns and HTTP statuses. gateway.metrics exports them at scrape.

Deliberately not here: Prometheus.
"""

from __future__ import annotations

from bisect import bisect_left

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class EndpointCounts:
    """One endpoint. `buckets[i]` counts durations ≤ BUCKETS_S[i], not cumulative; the last is +Inf."""

    __slots__ = ("buckets", "by_status", "seconds")

    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0


class HttpCounts:
    """All endpoints, plus connections now, and turned away by reason."""

    def __init__(self) -> None:
        self.endpoints: dict[str, EndpointCounts] = {}
        self.connections = 0
        self.connections_refused = {"full": 0, "per_address": 0, "evicted": 0}

    def answered(self, endpoint: str, status: int, duration_s: float) -> None:
        counts = self.endpoints.get(endpoint)
        if counts is None:
            counts = self.endpoints[endpoint] = EndpointCounts()
        counts.by_status[status] = counts.by_status.get(status, 0) + 1
        counts.buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        counts.seconds += duration_s
