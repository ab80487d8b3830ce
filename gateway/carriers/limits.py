"""A carrier's limits on some messages only: to numbers that begin so, from certain senders, from each sender.

Such a limit belongs to the queue's identity (architecture §3): what it concerns stands in a lane of its own
(gateway.carriers.lanes), with the same carriers, weights and route, so that a carrier without a token for it
skips that lane whole, and everything else goes on.

A token is taken when a segment is written to the socket, as the carrier's own TPS is, so the limit holds as
the far side sees it. What is leased and not written yet is *promised* its tokens, and a carrier leases only
while some are neither taken nor promised. The rest of a long message that has more segments than tokens waits
aside (`aside`), so that its link goes on with other messages; of limits per minute, hour and day it may take
a little more than there is, which is paid back (Throttle.ready).

A limit for each sender on its own would be a lane for each sender that there ever was. Instead there are
MOST_SENDERS places: a sender that comes gets one, which goes to another one when none of its messages waits
and nothing that it took counts any more. While all are taken, further senders share one more.

Deliberately not here: which lane a message gets, sending, what outlives a restart (gateway.spent).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

import trio

from config.model import EACH, LimitConfig
from router.throttle import Throttle

if TYPE_CHECKING:
    from gateway.carriers.carrier import Flight
    from gateway.carriers.link import Link


MOST_SENDERS = 100
_SWEEP_S = 1.0
_ON_ITS_WAY_S = 10.0  # until a message that was planned waits in its lane
_SHARED = 0  # the place of those that have none


class SomeLimit:
    """One `[[carriers.limits]]` with prefix or sender."""

    __slots__ = ("_begin_so", "_prefixes", "_senders", "claimed", "name", "promised", "throttle")

    def __init__(self, settings: LimitConfig, place: str = "") -> None:
        self.name = settings.name + place
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

    def name_for(self, sender: str, senders: Senders) -> str:
        """What is part of the lane of a message that it concerns."""
        return self.name

    def each(self, senders: Senders) -> Iterator[tuple[str, SomeLimit]]:
        """(whom it concerns, for people; what is counted)."""
        yield self.name, self

    def counted(self) -> Iterable[SomeLimit]:
        """Whatever may have something claimed."""
        return (self,)

    def named(self, name: str) -> SomeLimit | None:
        """The limit that is meant by this part of a lane's name."""
        return self if name == self.name else None

    def room(self, now: float) -> int:
        """Segments that may be leased now."""
        return self.throttle.available(now) - self.promised - self.claimed

    def exhausted(self, now: float) -> bool:
        """Whether a horizon beyond the second is used up: nothing more for some time."""
        throttle = self.throttle
        return bool(throttle.horizons) and throttle.left(now) - self.promised - self.claimed <= 0


class EachSender(SomeLimit):
    """One with `each_sender`: `places` by the number that Senders gives a sender."""

    __slots__ = ("_settings", "places")

    def __init__(self, settings: LimitConfig) -> None:
        super().__init__(settings)
        self._settings = settings
        self.places: dict[int, SomeLimit] = {}  # those that were ever needed

    def change(self, settings: LimitConfig) -> None:
        super().change(settings)
        self._settings = settings
        for place in self.places.values():
            place.change(settings)

    def name_for(self, sender: str, senders: Senders) -> str:
        return self._place(senders.number(sender)).name

    def each(self, senders: Senders) -> Iterator[tuple[str, SomeLimit]]:
        for sender, number in (*senders.known(), ("(others)", _SHARED)):
            if number in self.places:
                yield f"{self.name} {sender}", self.places[number]

    def counted(self) -> Iterable[SomeLimit]:
        return self.places.values()

    def named(self, name: str) -> SomeLimit | None:
        before, _, number = name.rpartition("#")
        known = before == self.name and number.isdecimal() and int(number) <= MOST_SENDERS
        return self._place(int(number)) if known else None

    def in_use(self, now: float) -> set[int]:
        """Numbers of places of which something still counts."""
        return {
            number
            for number, one in self.places.items()
            if one.promised or one.claimed or not one.throttle.idle(now)
        }

    def _place(self, number: int) -> SomeLimit:
        place = self.places.get(number)
        if place is None:
            place = self.places[number] = SomeLimit(self._settings, f"#{number}")
        return place


def place_of(name: str) -> int:
    """The number of the place that is meant by a part of a lane's name; the shared one's for limits that have
    no places."""
    number = name.rpartition("#")[2]
    return int(number) if name.startswith(EACH) and number.isdecimal() else _SHARED


def shared_place(name: str) -> str:
    """The same limit, for those that have no place of their own."""
    return f"{name.rpartition('#')[0]}#{_SHARED}" if place_of(name) else name


class Senders:
    """Who has which place, of all carriers' limits alike: so a lane has no more variants than places.

    `in_use`: (now) → numbers of places under which anything waits or counts.
    """

    def __init__(self, in_use: Callable[[float], Collection[int]]) -> None:
        self._in_use = in_use
        self._of: dict[str, int] = {}
        self._free = list(range(MOST_SENDERS, _SHARED, -1))
        self._asked_at: dict[int, float] = {}
        self._swept_at = -math.inf

    def number(self, sender: str) -> int:
        """Its place; one for all those that have none."""
        number, now = self._of.get(sender), trio.current_time()
        if number is None:
            if not self._free:
                self._sweep(now)
            if not self._free:
                return _SHARED
            number = self._of[sender] = self._free.pop()
        self._asked_at[number] = now
        return number

    def known(self) -> Iterable[tuple[str, int]]:
        return self._of.items()

    def _sweep(self, now: float) -> None:
        """Take places back from senders of which nothing is left. Looking costs a walk over all lanes."""
        if now < self._swept_at + _SWEEP_S:
            return
        self._swept_at = now
        in_use = self._in_use(now)
        for sender, number in list(self._of.items()):
            if number not in in_use and now > self._asked_at[number] + _ON_ITS_WAY_S:
                del self._of[sender]
                self._free.append(number)


def _limit(settings: LimitConfig) -> SomeLimit:
    return EachSender(settings) if settings.each_sender else SomeLimit(settings)


class SomeLimits:
    """All of one carrier. `of_lane`: those that the messages of a lane are under."""

    def __init__(
        self, settings: Iterable[LimitConfig], of_lane: Callable[[int], tuple[SomeLimit, ...]]
    ) -> None:
        self.limits = tuple(map(_limit, settings))
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
                limit = _limit(one)
            else:
                limit.change(one)
            limits.append(limit)
        self.limits = tuple(limits)

    def named(self, name: str) -> SomeLimit | None:
        """The one that is meant by a part of a lane's name."""
        return next((found for limit in self.limits if (found := limit.named(name)) is not None), None)

    def each(self, senders: Senders) -> Iterator[tuple[str, SomeLimit]]:
        """(whom it concerns, for people; what is counted) of all."""
        for limit in self.limits:
            yield from limit.each(senders)

    def places_in_use(self, now: float) -> set[int]:
        """Numbers of senders' places of which something still counts."""
        return {number for one in self.limits if isinstance(one, EachSender) for number in one.in_use(now)}

    def promise(self, lane: int, segments: int) -> None:
        """So many segments more, or fewer, are leased and not written."""
        for limit in self._of_lane(lane):
            limit.promised += segments

    def claims_ended(self, durable: bool) -> None:
        """The transaction that claimed them: leased now, or not at all."""
        for limit in self.limits:
            for one in limit.counted():
                if durable:
                    one.promised += one.claimed
                one.claimed = 0

    def sent(self, lane: int, now: float) -> None:
        """One segment was written."""
        for limit in self._of_lane(lane):
            limit.throttle.take(1, now)
            limit.promised -= 1

    def let(self, lane: int, now: float, whole: bool) -> bool:
        """Whether one segment of what is leased may be written now. `whole`: it is a whole message, which the
        horizons beyond the second keep back to the end; a part follows those that were sent before it."""
        return all(
            limit.throttle.ready(now) and (not whole or limit.throttle.left(now) > 0)
            for limit in self._of_lane(lane)
        )

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
