"""How fast a carrier takes messages now, learned from what it answers: additive care, multiplicative retreat.

ESME_RTHROTTLED and ESME_RMSGQFUL (SMPP 3.4 section 5.1.3), congestion_state (5.0 section 4.8.4.18) and
response times that rise far above their usual lower the rate to nine tenths of what was accepted in the last
second: by a tenth at least, to a tenth at most. What had been sent before the rate was lowered says nothing
new. Then each second with success raises it: by 2 % at first, faster the longer nothing was refused, until
the configured rate is reached and nothing is held back any more.

Invariants: never below `FLOOR_PER_S` or a hundredth of the configured rate, never above that rate; nothing is
done for a message that is accepted: success is read off running totals, some times a second.

Deliberately not here: pauses and what becomes of a refused message (router.judge), the limit itself
(router.throttle), a clock.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum

FLOOR_PER_S = 1.0
_KEEP = 0.9  # of what was accepted in the last second
_MOST_DOWN = 0.1
_UP_A_S = 0.02
_FASTER_S = 10.0  # each so long without a refusal adds another _UP_A_S
_MOST_UP_A_S = 0.2
_MEASURE_S = 1.0
_SLOW_S = 1.0  # a response time below is never called slow
_SLOW_TIMES = 4.0  # as long as usual
_FEW = 5  # answers that say something of response times
_USUAL_DRIFT = 0.01  # how fast the usual response time follows a longer one
_SPARED_S = 2.0  # between two retreats that nobody asked for by a refusal
_OFF_S = 60.0
_HIGH, _NEAR = 80, 90  # congestion_state: above its optimum, nearing congestion
_MINUTE_S = 60


class Cause(Enum):
    """Why a rate was lowered. The values are metrics labels and words for people."""

    THROTTLED = "throttled"
    QUEUE_FULL = "queue_full"
    CONGESTED = "congested"
    SLOW = "slow"


_SAID = {
    Cause.THROTTLED: "throttled {} times in the last minute",
    Cause.QUEUE_FULL: "its queue was full {} times in the last minute",
    Cause.CONGESTED: "said {} times in the last minute that it is congested",
    Cause.SLOW: "answered far slower than usual {} times in the last minute",
}


class Adaptive:
    """One limit of one carrier or bind. Rates in segments a second; `limit` is the configured one, 0 = none.

    `rate` 0: not lowered. `accepted`, `answered`, `waited_s` are running totals: submits accepted, submits
    answered at all, and the sum of their response times.
    """

    __slots__ = (
        "_answers", "_held_until", "_lowered_at", "_refused", "_said", "_samples", "_usual_s", "rate",
    )  # fmt: skip

    def __init__(self) -> None:
        self.rate = 0.0
        self._samples: deque[tuple[float, int]] = deque()  # (when, accepted) of the last second
        self._answers = (0, 0.0)  # answered, waited_s at the last look
        self._usual_s = math.inf
        self._lowered_at = -math.inf
        self._held_until = -math.inf
        self._said = Cause.THROTTLED  # why it was lowered last
        self._refused: deque[list[float]] = deque()  # [second, cause's number, count] of the last minute

    def refused(self, now: float, sent_at: float, accepted: int, limit: float, cause: Cause) -> bool:
        """An answer said "slower"; `sent_at`: when what it answers was sent. True: the rate was lowered."""
        self._note(now, cause)
        if sent_at < self._lowered_at:
            return False
        return self._lower(now, accepted, limit, cause)

    def congested(self, now: float, state: int, accepted: int, limit: float) -> bool:
        """congestion_state of a response, 0 to 100. True: the rate was lowered."""
        if state >= _HIGH:
            self._held_until = now + _SPARED_S
        if state < _NEAR or now < self._lowered_at + _SPARED_S:
            return False
        self._note(now, Cause.CONGESTED)
        return self._lower(now, accepted, limit, Cause.CONGESTED)

    def look(self, now: float, accepted: int, answered: int, waited_s: float, limit: float) -> bool:
        """Some times a second: what succeeded since. True: the rate is another one."""
        before = self.rate
        since_s = now - self._samples[-1][0] if self._samples else 0.0
        grown = accepted - self._samples[-1][1] if self._samples else 0
        if self._slow(now, answered, waited_s):
            self._note(now, Cause.SLOW)
            self._lower(now, accepted, limit, Cause.SLOW)
        elif self.rate and grown > 0 and now >= self._held_until:
            self._raise(now, since_s, limit)
        self._samples.append((now, accepted))
        while len(self._samples) > 1 and self._samples[1][0] <= now - _MEASURE_S:
            self._samples.popleft()
        return self.rate != before

    def reason(self, now: float, limit: float) -> str:
        """Why it is lowered, for people: "rate 50/s of 500/s: throttled 12 times in the last minute"; "" if
        it is not."""
        if not self.rate:
            return ""
        of = f" of {limit:g}/s" if limit else ""
        return f"rate {self.rate:.3g}/s{of}: {_SAID[self._said].format(self.in_last_minute(now, self._said))}"

    @property
    def said(self) -> Cause:
        """Why it was lowered last."""
        return self._said

    def in_last_minute(self, now: float, cause: Cause) -> int:
        """How often it was told so."""
        number, since = _NUMBER[cause], now - _MINUTE_S
        return int(sum(count for at, which, count in self._refused if which == number and at > since))

    def _lower(self, now: float, accepted: int, limit: float, cause: Cause) -> bool:
        measured = self._measured(now, accepted)
        current = self.rate or limit or max(measured, FLOOR_PER_S)
        floor = max(FLOOR_PER_S, limit / 100)
        rate = min(current * _KEEP, max(measured * _KEEP, current * _MOST_DOWN))
        self.rate = max(floor, rate)
        if limit:
            self.rate = min(self.rate, limit)
        self._lowered_at = now
        self._said = cause
        return True

    def _raise(self, now: float, since_s: float, limit: float) -> None:
        quiet_s = now - self._lowered_at
        share = min(_MOST_UP_A_S, _UP_A_S * (1 + quiet_s / _FASTER_S))
        self.rate *= 1 + share * since_s
        unlimited = not limit and quiet_s > _OFF_S
        if (limit and self.rate >= limit) or unlimited:
            self.rate = 0.0

    def _slow(self, now: float, answered: int, waited_s: float) -> bool:
        """Whether response times have risen far above their usual, and it is time for another retreat."""
        count = answered - self._answers[0]
        if count < _FEW:
            return False
        mean_s = (waited_s - self._answers[1]) / count
        self._answers = (answered, waited_s)
        usual_s = self._usual_s
        self._usual_s = mean_s if mean_s < usual_s else usual_s + _USUAL_DRIFT * (mean_s - usual_s)
        if math.isinf(usual_s) or mean_s < _SLOW_S or mean_s < _SLOW_TIMES * usual_s:
            return False
        self._held_until = now + _SPARED_S
        return now >= self._lowered_at + _SPARED_S + mean_s

    def _measured(self, now: float, accepted: int) -> float:
        """Accepted in the last second or a little more."""
        if not self._samples:
            return float(accepted)
        at, before = self._samples[0]
        return (accepted - before) / max(_MEASURE_S, now - at)

    def _note(self, now: float, cause: Cause) -> None:
        second, number = math.floor(now), _NUMBER[cause]
        refused = self._refused
        for one in (refused[-1], refused[-2]) if len(refused) > 1 else tuple(refused):
            if one[0] == second and one[1] == number:
                one[2] += 1
                return
        refused.append([second, number, 1])
        while refused[0][0] <= now - _MINUTE_S:
            refused.popleft()


_NUMBER = {cause: number for number, cause in enumerate(Cause)}
