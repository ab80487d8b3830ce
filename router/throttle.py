"""The TPS limit of a carrier, a bind or a route: a sliding log, paced by a token bucket.

Guarantee: at most `rate + burst - 1` takes in any second as the far side sees it, although a network may
delay each of them by up to 12 ms differently, and whatever happens between (stalled loops, idle hours).
The log holds the takes of the last `WINDOW_S` (a second plus that jitter) and is the hard limit. The bucket
only shapes: it spreads takes evenly, and lets a late caller catch up with at most `burst` plus what
`CATCH_UP_S` would have allowed. Over time `rate` is reached to 98 % at burst 1 (the log gives
rate / WINDOW_S) when polled 100 times a second or woken at `next_at`, and fully from a burst of rate / 50.

The log is runs of (time, count): takes less than half a millisecond apart share a run, counted at its
newest moment, so memory is bounded by WINDOW_S / 0.5 ms runs at any rate.

Deliberately not here: what waits, adapting the rate to ESME_RTHROTTLED (router.judge says pauses), a clock.
"""

from __future__ import annotations

import math
from collections import deque

WINDOW_S = 1.0125  # a second, 12 ms of jitter, and room for rounding
CATCH_UP_S = 0.1
UNLIMITED = 1 << 30
_RUN_S = 0.0005
_ROUNDING = 1e-3  # tokens: what float arithmetic may lose


class Throttle:
    """`rate_per_s` ≥ 0 segments a second, 0 = no limit; `burst` ≥ 1. `now` is monotonic, in seconds.

    A fraction holds over time; within one second it counts as the next whole number.
    """

    __slots__ = ("_at", "_begun", "_cap", "_counts", "_in_window", "_most", "_rate", "_times", "_tokens")

    def __init__(self, rate_per_s: float, burst: int = 1) -> None:
        self._times: deque[float] = deque()
        self._counts: deque[int] = deque()
        self._begun = -math.inf  # when the newest run began
        self._in_window = 0
        self._at = -math.inf
        self._tokens = self._cap = 0.0
        self.change(rate_per_s, burst)

    def change(self, rate_per_s: float, burst: int = 1) -> None:
        """A new limit; what was taken in the last second still counts, and a full bucket stays full."""
        if rate_per_s < 0 or burst < 1:
            raise ValueError("rate must be at least 0 and burst at least 1")
        self._rate = rate_per_s
        self._most = max(1, math.ceil(rate_per_s)) + burst - 1
        full = self._tokens >= self._cap
        self._cap = burst + rate_per_s * CATCH_UP_S
        self._tokens = self._cap if full else min(self._tokens, self._cap)

    @property
    def rate_per_s(self) -> float:
        return self._rate

    def available(self, now: float) -> int:
        """How many may be taken now."""
        if not self._rate:
            return UNLIMITED
        self._advance(now)
        return max(0, min(self._most - self._in_window, int(self._tokens + _ROUNDING)))

    def take(self, n: int, now: float) -> None:
        """Count n as sent now. Taking more than `available` is counted too, and paid for later."""
        if not self._rate or n <= 0:
            return
        self._advance(now)
        self._tokens -= n
        self._in_window += n
        if self._at - self._begun < _RUN_S and self._times:
            self._times[-1] = self._at
            self._counts[-1] += n
        else:
            self._begun = self._at
            self._times.append(self._at)
            self._counts.append(n)

    def next_at(self, n: int, now: float) -> float:
        """The earliest time, ≥ now, at which n are available if nobody takes in between.

        More than can ever be available at once means as many as can.
        """
        if not self._rate:
            return now
        self._advance(now)
        n = max(1, min(n, self._most, int(self._cap + _ROUNDING)))
        at = max(now, self._at)
        if n > self._tokens + _ROUNDING:
            at += (n - self._tokens) / self._rate
        excess = self._in_window + n - self._most
        for time, count in zip(self._times, self._counts, strict=True):
            if excess <= 0:
                break
            excess -= count
            at = max(at, time + WINDOW_S)
        return at

    def _advance(self, now: float) -> None:
        """Add what the time earned and forget what left the window. Time never runs backwards."""
        if now > self._at:
            if self._at > -math.inf:
                self._tokens = min(self._cap, self._tokens + (now - self._at) * self._rate)
            self._at = now
        times, counts = self._times, self._counts
        while times and times[0] + WINDOW_S <= self._at:
            times.popleft()
            self._in_window -= counts.popleft()
