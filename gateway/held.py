"""Which limit holds what waits: seen at each look at the lanes, told in words with whose limit it is.

A lane under a limit moves now and then, whenever a token is there; so the limit that was seen within the last
seconds is the one that holds it.

Memory follows lanes with ready messages. Deliberately not here: why a lane does not move at one moment
(router.waiting), what is a problem (gateway.troubles), the limits themselves.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from config.model import RouteConfig, RouteLimitsConfig
from gateway.orders import RATE, ROUTE_RATE
from router.waiting import LaneFacts, LaneWait, Side, Wait

if TYPE_CHECKING:
    from gateway.app import Gateway

LATELY_S = 10.0
_PACED_LANES = 20  # whose oldest message is looked up, at each look
_LIMITS = frozenset({Wait.ROUTE_THROTTLED, Wait.ACCOUNT_THROTTLED, Wait.THROTTLED, Wait.PAUSED})


class Limit(NamedTuple):
    """`words`: whose limit, and how much it is; `todo`: what an operator can do."""

    wait: Wait
    side: Side
    words: str
    todo: str


class _Seen(NamedTuple):
    """`by`: the carrier that is at a limit, "" = none is."""

    wait: Wait
    by: str
    at: float


class Held:
    """`saw` is told each lane of a look; `limit` says what holds it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen: dict[int, _Seen] = {}
        self._paced = 0  # lanes of this look whose oldest message was looked up

    def begin(self, lanes: Collection[int]) -> None:
        """A look begins; what was known of other lanes than these is let go of."""
        self._paced = 0
        if len(self._seen) > len(lanes):
            self._seen = {lane: seen for lane, seen in self._seen.items() if lane in lanes}

    def saw(self, lane: int, facts: LaneFacts, why: LaneWait, now: float) -> float:
        """A lane with ready messages, as it is now. Seconds that its oldest one waits; 0: nobody looked."""
        wait = why.reason
        if wait in _LIMITS:
            by = ""
            if wait in (Wait.THROTTLED, Wait.PAUSED):
                at_limit = (
                    one
                    for one, its in zip(facts.carriers, why.carriers, strict=True)
                    if one is not None and its is wait
                )
                by = next((one.name for one in at_limit), "")
            self._seen[lane] = _Seen(wait, by, now)
        if facts.queues:
            return max(queue.age_s for queue in facts.queues)
        if wait is Wait.ACCOUNT_THROTTLED and self._paced < _PACED_LANES:
            self._paced += 1
            oldest_ms = self._gateway.store.oldest_in_lane(lane)
            return max(0, self._gateway.world.wall_ms() - oldest_ms) / 1000 if oldest_ms else 0.0
        return 0.0

    def wait(self, lane: int, now: float) -> Wait | None:
        """The kind of limit that held it lately; None: none did."""
        seen = self._seen.get(lane)
        return seen.wait if seen is not None and now - seen.at <= LATELY_S else None

    def limit(self, lane: int, now: float) -> Limit | None:
        """The same in words. A pause of a carrier that does not say that it is sent too much is no limit."""
        seen, wait = self._seen.get(lane), self.wait(lane, now)
        if seen is None or wait is None:
            return None
        if wait is Wait.ROUTE_THROTTLED:
            route = self._gateway.store.lane(lane).route
            words = f"route {route} is at {self.of_route(route)}"
            return Limit(wait, "ours", words, f"signalbox route rate {route} TPS, or its tps")
        if wait is Wait.ACCOUNT_THROTTLED:
            todo = "signalbox queues --lane names them; signalbox account set"
            return Limit(wait, "ours", "accounts are at the limits of their own (send_tps)", todo)
        return self._of_a_carrier(seen, now)

    def _of_a_carrier(self, seen: _Seen, now: float) -> Limit | None:
        gateway = self._gateway
        carrier = next((one for one in gateway.carriers if one.name == seen.by), None)
        if carrier is None:
            return None
        slowed = gateway.troubles.slowed(carrier, now)
        if slowed:
            todo = "its contract's TPS against [[carriers]] tps; another carrier for the route"
            return Limit(seen.wait, "theirs", f"carrier {carrier.name} {slowed}", todo)
        if seen.wait is Wait.PAUSED:
            return None
        rate = carrier.settings.tps
        words = self.of_carrier(carrier.name, rate) if rate else "its limit on such messages"
        todo = f"signalbox carrier rate {carrier.name} TPS, or [[carriers]] tps"
        return Limit(seen.wait, "ours", f"carrier {carrier.name} is at {words}", todo)

    def of_carrier(self, name: str, tps: float) -> str:
        """`its limit of 2/s`, and who ordered that where somebody did."""
        configured = next((one.tps for one in self._gateway.config.carriers if one.name == name), 0.0)
        return f"its limit of {tps:.6g}/s" + self._ordered(RATE, name, configured)

    def of_route(self, name: str) -> str:
        """The same of a route."""
        route: RouteConfig | None = next(
            (one for one in self._gateway.config.routes if one.name == name), None
        )
        configured = route.tps if route is not None else 0.0
        order = self._gateway.orders.find(ROUTE_RATE, name)
        tps = order.value if order is not None and isinstance(order.value, int | float) else configured
        several = not tps or (route is not None and route.limits != RouteLimitsConfig())
        what = "its limits" if several else f"its limit of {tps:.6g}/s"
        return what + self._ordered(ROUTE_RATE, name, configured)

    def _ordered(self, kind: str, name: str, configured: float) -> str:
        order = self._gateway.orders.find(kind, name)
        if order is None:
            return ""
        usual = f"configured {configured:g}/s" if configured else "configured without a limit"
        return f", ordered {order.told} ({usual})"
