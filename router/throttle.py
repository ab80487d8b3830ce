"""A limit on what is sent, at several horizons at once: a sliding log, paced by a token bucket.

Per second, guarantee: at most `rate + burst - 1` takes in any second as the far side sees it, although a
network may delay each of them by up to 12 ms differently, and whatever happens between (stalled loops, idle
hours).
The log holds the takes of the last `WINDOW_S` (a second plus that jitter) and is the hard limit. The bucket
only shapes: it spreads takes evenly, and lets a late caller catch up with at most `burst` plus what
`CATCH_UP_S` would have allowed. Only lateness is caught up with: while the log is full the bucket fills to
`burst` and what `LATE_S` allows, or a crowd of takes would come back each second, with as long a gap.
Over time `rate` is reached to 98 % at burst 1 (the log gives rate / WINDOW_S) when polled 100 times a second
or woken at `next_at`, and fully from a burst of rate / 50.

The log is runs of (time, count): takes less than half a millisecond apart share a run, counted at its
newest moment, so memory is bounded by WINDOW_S / 0.5 ms runs at any rate.

Per minute, hour and day (`Limits`) there is a log each and no shaping: at most so many in any sliding
minute, hour or day. Their runs are a 120th of the horizon, counted at their newest moment: always on the
safe side, and 99 % of the limit is reached. What a log holds can be saved (`runs`) and put back (`restore`).

Deliberately not here: what waits, adapting the rate to what a carrier answers (router.adaptive), a clock,
where it is saved (gateway.spent).
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

WINDOW_S = 1.0125  # a second, 12 ms of jitter, and room for rounding
CATCH_UP_S = 0.1
LATE_S = 0.01  # by which callers may come late although the log was full before
UNLIMITED = 1 << 30
_RUN_S = 0.0005
_ROUNDING = 1e-3  # tokens: what float arithmetic may lose
_RUNS = 120  # of a horizon beyond the second


class Limits(NamedTuple):
    """Segments at the horizons beyond the second; 0 = no limit."""

    per_minute: int = 0
    per_hour: int = 0
    per_day: int = 0

    def horizons(self) -> dict[float, int]:
        """Seconds → most, of those that limit anything."""
        pairs = zip((60.0, 3_600.0, 86_400.0), self, strict=True)
        return {seconds: most for seconds, most in pairs if most}


NO_LIMITS = Limits()


class Horizon:
    """At most `most` takes in any `length_s` seconds."""

    __slots__ = ("_begun", "_counts", "_in_window", "_run_s", "_times", "_window_s", "length_s", "most")

    def __init__(self, length_s: float, most: int) -> None:
        self.length_s = length_s
        self.most = most
        self._window_s = length_s + WINDOW_S - 1.0
        self._run_s = length_s / _RUNS
        self._times: deque[float] = deque()
        self._counts: deque[int] = deque()
        self._begun = -math.inf  # when the newest run began
        self._in_window = 0

    def taken(self, now: float) -> int:
        """In the last `length_s` seconds."""
        times, counts = self._times, self._counts
        while times and times[0] + self._window_s <= now:
            times.popleft()
            self._in_window -= counts.popleft()
        return self._in_window

    def take(self, n: int, now: float) -> None:
        self.taken(now)
        self._in_window += n
        if self._times and now - self._begun < self._run_s:
            self._times[-1] = max(now, self._times[-1])
            self._counts[-1] += n
        else:
            self._begun = now
            self._times.append(now)
            self._counts.append(n)

    def next_at(self, n: int, now: float) -> float:
        """When n are available, if nobody takes in between."""
        excess = self.taken(now) + min(n, self.most) - self.most
        at = now
        for time, count in zip(self._times, self._counts, strict=True):
            if excess <= 0:
                break
            excess -= count
            at = max(at, time + self._window_s)
        return at

    def runs(self) -> list[tuple[float, int]]:
        """(newest moment, count), oldest first."""
        return list(zip(self._times, self._counts, strict=True))

    def restore(self, runs: list[tuple[float, int]]) -> None:
        """Instead of what it has; the times may lie before zero."""
        self._times = deque(time for time, _ in runs)
        self._counts = deque(count for _, count in runs)
        self._in_window = sum(self._counts)
        self._begun = -math.inf


class Throttle:
    """`rate_per_s` ≥ 0 segments a second, 0 = no limit; `burst` ≥ 1. `now` is monotonic, in seconds.

    A fraction holds over time; within one second it counts as the next whole number. `total`: all that was
    taken at the horizons beyond the second, since it was made.
    """

    __slots__ = (
        "_at", "_begun", "_cap", "_counts", "_full_cap", "_in_window", "_most", "_rate", "_times", "_tokens",
        "horizons", "limited", "total",
    )  # fmt: skip

    def __init__(self, rate_per_s: float, burst: int = 1, limits: Limits = NO_LIMITS) -> None:
        self.horizons: tuple[Horizon, ...] = ()
        self.total = 0
        self._times: deque[float] = deque()
        self._counts: deque[int] = deque()
        self._begun = -math.inf  # when the newest run began
        self._in_window = 0
        self._at = -math.inf
        self._tokens = self._cap = 0.0
        self.change(rate_per_s, burst, limits)

    def change(self, rate_per_s: float, burst: int = 1, limits: Limits | None = None) -> None:
        """A new limit in place; what was taken still counts, and a full bucket stays full. `limits` None: the
        horizons beyond the second stay as they are."""
        if rate_per_s < 0 or burst < 1:
            raise ValueError("rate must be at least 0 and burst at least 1")
        if limits is not None:
            known = {horizon.length_s: horizon for horizon in self.horizons}
            wanted = limits.horizons()
            self.horizons = tuple(known.get(length_s) or Horizon(length_s, 0) for length_s in wanted)
            for horizon in self.horizons:
                horizon.most = wanted[horizon.length_s]
        self.limited = bool(rate_per_s or self.horizons)
        self._rate = rate_per_s
        self._most = max(1, math.ceil(rate_per_s)) + burst - 1
        full = self._tokens >= self._cap
        self._full_cap = burst + rate_per_s * LATE_S
        self._cap = burst + rate_per_s * CATCH_UP_S
        self._tokens = self._cap if full else min(self._tokens, self._cap)

    @property
    def rate_per_s(self) -> float:
        return self._rate

    def available(self, now: float) -> int:
        """How many may be taken now."""
        if not self.limited:
            return UNLIMITED
        most = self.left(now) if self.horizons else UNLIMITED
        if not self._rate:
            return most
        self._advance(now)
        return max(0, min(most, self._most - self._in_window, int(self._tokens + _ROUNDING)))

    def idle(self, now: float) -> bool:
        """Whether nothing that was taken counts any more."""
        if self._rate:
            self._advance(now)
        return not (self._rate and self._in_window) and not any(one.taken(now) for one in self.horizons)

    def ready(self, now: float) -> bool:
        """Whether the second allows one more; for the rest of a message whose beginning was sent. What that
        takes of the longer horizons is paid back, so that no message hangs half sent for a day."""
        if not self._rate:
            return True
        self._advance(now)
        return self._in_window < self._most and self._tokens + _ROUNDING >= 1

    def left(self, now: float) -> int:
        """How many the horizons beyond the second allow now."""
        return max(0, min((one.most - one.taken(now) for one in self.horizons), default=UNLIMITED))

    def take(self, n: int, now: float) -> None:
        """Count n as sent now. Taking more than `available` is counted too, and paid for later."""
        if not self.limited or n <= 0:
            return
        if self.horizons:
            self.total += n
            for horizon in self.horizons:
                horizon.take(n, now)
            if not self._rate:
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

    def fill(self, now: float) -> None:
        """As if the last second had been used up: for a limit that is new to what was sent without one."""
        if self._rate:
            self._advance(now)
            self.take(max(0, self._most - self._in_window), now)

    def next_at(self, n: int, now: float) -> float:
        """The earliest time, ≥ now, at which n are available if nobody takes in between.

        More than can ever be available at once means as many as can.
        """
        if not self.limited:
            return now
        later = max((one.next_at(n, now) for one in self.horizons), default=now)
        if not self._rate:
            return later
        self._advance(now)
        n = max(1, min(n, self._most, int(self._cap + _ROUNDING)))
        at = max(now, self._at, later)
        if n > self._tokens + _ROUNDING:
            free_at = self._free_at()
            tokens = self._earned(free_at)
            if n > tokens + _ROUNDING:
                at = max(at, free_at + (n - tokens) / self._rate)
        excess = self._in_window + n - self._most
        for time, count in zip(self._times, self._counts, strict=True):
            if excess <= 0:
                break
            excess -= count
            at = max(at, time + WINDOW_S)
        return at

    def _free_at(self) -> float:
        """Until then the log is full; `_at` where it is not."""
        if self._in_window < self._most:
            return self._at
        return max(self._at, self._times[0] + WINDOW_S)

    def _earned(self, until: float) -> float:
        """The bucket after a time in which the log is full."""
        tokens = self._tokens
        return max(tokens, min(self._full_cap, tokens + (until - self._at) * self._rate))

    def _advance(self, now: float) -> None:
        """Add what the time earned and forget what left the window. Time never runs backwards."""
        if now > self._at:
            if self._at > -math.inf:
                since = self._at
                if self._in_window >= self._most:
                    since = min(now, self._free_at())
                    self._tokens = self._earned(since)
                self._tokens = min(self._cap, self._tokens + (now - since) * self._rate)
            self._at = now
        times, counts = self._times, self._counts
        while times and times[0] + WINDOW_S <= self._at:
            times.popleft()
            self._in_window -= counts.popleft()
