"""A carrier's limits on some messages only: to numbers that begin so, from certain senders.

Such a limit belongs to the queue's identity (architecture §3): what it concerns stands in a lane of its own
(gateway.carriers.lanes), with the same carriers, weights and route, so that a carrier without a token for it
skips that lane whole, and everything else goes on.

A token is taken when a segment is written to the socket, as the carrier's own TPS is, so the limit holds as
the far side sees it. What is leased and not written yet is *promised* its tokens, and a carrier leases only
while some are neither taken nor promised. The rest of a long message that has more segments than tokens waits
aside (`aside`), so that its link goes on with other messages; of limits per minute, hour and day it may take
a little more than there is, which is paid back (Throttle.ready).

Deliberately not here: which lane a message gets, sending, what outlives a restart (gateway.spent).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from config.model import LimitConfig
from router.throttle import Throttle

if TYPE_CHECKING:
    from gateway.carriers.carrier import Flight
    from gateway.carriers.link import Link


class SomeLimit:
    """One `[[carriers.limits]]` with prefix or sender."""

    __slots__ = ("_begin_so", "_prefixes", "_senders", "claimed", "name", "promised", "throttle")

    def __init__(self, settings: LimitConfig) -> None:
        self.name = settings.name
        self.throttle = Throttle(settings.tps, settings.burst, settings.horizons)
        self.promised = 0  # segments leased, not written
        self.claimed = 0  # segments that a transaction under way will lease
        self._take(settings)

    def change(self, settings: LimitConfig) -> None:
        """Others from now on; what was taken and promised still counts."""
        self.throttle.change(settings.tps, settings.burst, settings.horizons)
        self._take(settings)

    def _take(self, settings: LimitConfig) -> None:
        self._prefixes = tuple(one.removeprefix("+") for one in settings.prefix)
        self._senders = frozenset(one for one in settings.sender if not one.endswith("*"))
        self._begin_so = tuple(one[:-1] for one in settings.sender if one.endswith("*"))

    @property
    def terms(self) -> tuple[object, ...]:
        """Which messages it is for, to be compared."""
        return self.name, self._prefixes, self._senders, self._begin_so

    def concerns(self, destination: str, sender: str) -> bool:
        """`destination` in digits with country code."""
        if self._prefixes and not destination.startswith(self._prefixes):
            return False
        if not self._senders and not self._begin_so:
            return True
        return sender in self._senders or (bool(self._begin_so) and sender.startswith(self._begin_so))

    def room(self, now: float) -> int:
        """Segments that may be leased now."""
        return self.throttle.available(now) - self.promised - self.claimed

    def exhausted(self, now: float) -> bool:
        """Whether a horizon beyond the second is used up: nothing more for some time."""
        throttle = self.throttle
        return bool(throttle.horizons) and throttle.left(now) - self.promised - self.claimed <= 0


class SomeLimits:
    """All of one carrier. `of_lane`: those that the messages of a lane are under."""

    def __init__(
        self, settings: Iterable[LimitConfig], of_lane: Callable[[int], tuple[SomeLimit, ...]]
    ) -> None:
        self.limits = tuple(map(SomeLimit, settings))
        self.aside: deque[tuple[Link, Flight]] = deque()  # waits for tokens; in order
        self.blocked_until = math.inf  # when a lane that was skipped for want of tokens has some
        self._of_lane = of_lane

    def change(self, settings: Iterable[LimitConfig]) -> None:
        """Exactly these from now on; one that stays, by its name, keeps what it has counted."""
        known = {limit.name: limit for limit in self.limits}
        limits: list[SomeLimit] = []
        for one in settings:
            limit = known.get(one.name)
            if limit is None:
                limit = SomeLimit(one)
            else:
                limit.change(one)
            limits.append(limit)
        self.limits = tuple(limits)

    def named(self, name: str) -> SomeLimit | None:
        return next((limit for limit in self.limits if limit.name == name), None)

    def promise(self, lane: int, segments: int) -> None:
        """So many segments more, or fewer, are leased and not written."""
        for limit in self._of_lane(lane):
            limit.promised += segments

    def claims_ended(self, durable: bool) -> None:
        """The transaction that claimed them: leased now, or not at all."""
        for limit in self.limits:
            if durable:
                limit.promised += limit.claimed
            limit.claimed = 0

    def sent(self, lane: int, now: float) -> None:
        """One segment was written."""
        for limit in self._of_lane(lane):
            limit.throttle.take(1, now)
            limit.promised -= 1

    def let(self, lane: int, now: float) -> bool:
        """Whether one segment of what is leased may be written now."""
        return all(limit.throttle.ready(now) for limit in self._of_lane(lane))

    def due(self, now: float) -> float:
        """When to look again; inf: nothing waits for tokens."""
        at = self.blocked_until
        self.blocked_until = math.inf
        for _, flight in self.aside:
            lane = flight.leased.lane
            at = min(at, max((one.throttle.next_at(1, now) for one in self._of_lane(lane)), default=now))
        return at

    def take_aside(self, link: Link) -> list[Flight]:
        """What waits for tokens on a link that ended."""
        mine = [flight for other, flight in self.aside if other is link]
        self.aside = deque(pair for pair in self.aside if pair[0] is not link)
        return mine
