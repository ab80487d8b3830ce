"""A carrier's rate follows what it answers: router.adaptive, applied to its throttle or to each bind's.

Deliberately not here: how much (router.adaptive), the pause after a refusal (router.judge, carrier).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.metrics import CarrierCounts
from router.adaptive import Adaptive, Cause
from router.nouns import Reason
from router.throttle import Throttle

if TYPE_CHECKING:
    from gateway.carriers.carrier import Carrier
    from gateway.carriers.link import Link

log = structlog.get_logger("carrier")

LOOK_S = 0.25
_REFUSALS = (Cause.THROTTLED, Cause.QUEUE_FULL)
_CAUSES = {Reason.THROTTLED: Cause.THROTTLED, Reason.QUEUE_FULL: Cause.QUEUE_FULL}


class Pacing:
    """Of one carrier."""

    def __init__(self, carrier: Carrier, counts: CarrierCounts) -> None:
        self._carrier = carrier
        self._counts = counts
        self._of: dict[Throttle, Adaptive] = {}
        self._told = False  # that it is slowed down, in the log
        self._counted = 0  # accepted, at the last look at them
        self._each = 0.0  # of these, by each of its limits

    def refused(self, link: Link | None, reason: Reason, now: float, sent_at: float) -> None:
        """ESME_RTHROTTLED or ESME_RMSGQFUL."""
        cause = _CAUSES.get(reason)
        if cause is None or not self._carrier.settings.adaptive:
            return
        links = self._carrier.links if link is None else [link]
        for throttle in dict.fromkeys(one.throttle for one in links):
            adaptive = self._adaptive(throttle)
            if adaptive.refused(now, sent_at, self._accepted(), self._carrier.settings.tps, cause):
                self._apply(throttle, adaptive, cause, now)

    def congested(self, link: Link, state: int, now: float) -> None:
        """congestion_state of a response."""
        if self._carrier.settings.adaptive:
            adaptive = self._adaptive(link.throttle)
            if adaptive.congested(now, state, self._accepted(), self._carrier.settings.tps):
                self._apply(link.throttle, adaptive, Cause.CONGESTED, now)

    def look(self, now: float) -> None:
        """Each LOOK_S."""
        carrier, counts = self._carrier, self._counts
        if not carrier.settings.adaptive:
            self._forget()
            return
        times = counts.response_seconds
        answered, limit = sum(times.counts), carrier.settings.tps
        for throttle in dict.fromkeys(link.throttle for link in carrier.links if link.can_submit):
            adaptive = self._adaptive(throttle)
            before = adaptive.rate
            if adaptive.look(now, self._accepted(), answered, times.total, limit):
                lowered = adaptive.rate and (not before or adaptive.rate < before)
                self._apply(throttle, adaptive, Cause.SLOW if lowered else None, now)

    def reason(self, now: float) -> str:
        """Why it is slower than configured, for people; "" if it is not."""
        lowered = [one for one in self._of.values() if one.rate]
        if not lowered:
            return ""
        return min(lowered, key=lambda one: one.rate).reason(now, self._carrier.settings.tps)

    @property
    def throttled(self) -> bool:
        """Whether it is lowered because the carrier said that it is sent too much."""
        return any(one.said in _REFUSALS for one in self._of.values() if one.rate)

    def lowered_lately(self, now: float) -> bool:
        """Whether the carrier said so, or was slow, in the last minute."""
        return any(one.in_last_minute(now, one.said) for one in self._of.values() if one.rate)

    @property
    def rate_per_s(self) -> float:
        """Segments a second that each of its limits allows now, the lowest; 0 = no limit."""
        lowered = [one.rate for one in self._of.values() if one.rate]
        return min(lowered, default=self._carrier.settings.tps)

    def _adaptive(self, throttle: Throttle) -> Adaptive:
        adaptive = self._of.get(throttle)
        if adaptive is None:
            known = {link.throttle for link in self._carrier.links}
            self._of = {one: kept for one, kept in self._of.items() if one in known}
            adaptive = self._of[throttle] = Adaptive()
        return adaptive

    def _accepted(self) -> int:
        """By each of its limits, as far as can be told: binds have equal parts of what came while they were
        there, so that one more or less of them changes nothing in what was."""
        binds = len({link.throttle for link in self._carrier.links if link.can_submit})
        accepted = self._counts.statuses.get(0, 0)
        self._each += (accepted - self._counted) / max(1, binds)
        self._counted = accepted
        return int(self._each)

    def _apply(self, throttle: Throttle, adaptive: Adaptive, cause: Cause | None, now: float) -> None:
        settings = self._carrier.settings
        rate = adaptive.rate or settings.tps
        share = rate / settings.tps if settings.tps else 1.0
        throttle.change(rate, max(1, int(settings.burst * share)))
        if cause is not None:
            self._counts.slowdowns[cause.value] = self._counts.slowdowns.get(cause.value, 0) + 1
        if bool(adaptive.rate) != self._told:
            self._told = bool(adaptive.rate)
            if self._told:
                log.warning("carrier slowed down", carrier=self._carrier.name, why=self.reason(now))
            else:
                log.info("carrier at its full rate again", carrier=self._carrier.name)

    def start_over(self) -> None:
        """Its limits are others now, and are set by whoever changes them."""
        self._of = {}

    def _forget(self) -> None:
        """It is switched off: the configured rate from now on."""
        settings = self._carrier.settings
        for throttle, adaptive in self._of.items():
            if adaptive.rate:
                throttle.change(settings.tps, settings.burst)
        self._of = {}
