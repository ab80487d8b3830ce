"""Where operators may send a waiting message, and which carrier could take it now.

What is moved is planned anew through the route it is moved to, for its encoding, its parts and its sender;
the rules of that route are not asked, because an operator has decided. What goes to one carrier alone gets a
lane of its own (gateway.carriers.lanes), out of every route's TPS, but under the carrier's.

Invariant: nothing here moves anything.

Deliberately not here: moving (store.moving), who may (router.roles), the verbs (gateway.admin_queues).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import trio

from gateway.admin import AdminError, bad_arguments
from gateway.measures import name_of_lane
from gateway.watchdog import lane_facts
from router.nouns import Message
from router.waiting import Wait, why_carrier

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier

Decide = Callable[[Message], int | str]  # the lane, or why it cannot go there

_TAKES = {
    Wait.FREE, Wait.BUSY, Wait.THROTTLED, Wait.WINDOW_FULL, Wait.WINDOW_STUCK, Wait.PAUSED, Wait.TRIAL,
    Wait.COUNTRY_TRIAL,
}  # fmt: skip
_RANK = {Wait.FREE: 0, Wait.BUSY: 1}
GONE = "the route is gone"


class Taker(NamedTuple):
    """A carrier that a message is forced to. `waits`: what is still to end before it goes, "" nothing."""

    id: int
    name: str
    waits: str


class Rerouting:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def to_route(self, name: str) -> Decide:
        """Through this route, as it is when asked. Errors: AdminError."""
        replan = self._gateway.replan
        if replan.route_named(name) is None:
            known = ", ".join(route.name for route in self._gateway.routes.routes) or "none"
            raise bad_arguments("to", f"no route {name[:64]!r}", f"one of: {known}")

        def decide(message: Message) -> int | str:
            route = replan.route_named(name)
            return GONE if route is None else self._accepted(message, replan.lane_in(message, route.lane))

        return decide

    def to_carrier(self, name: str) -> Decide:
        """To this carrier alone. Errors: AdminError."""
        carrier = self._carrier(name)

        def decide(message: Message) -> int | str:
            lane = self._gateway.board.only(carrier.id)
            if not lane:
                return "the carrier is gone"
            return self._accepted(message, self._gateway.replan.lane_in(message, lane))

        return decide

    def warnings(self, to: str, to_carrier: str) -> list[str]:
        """What keeps messages waiting there, where it is not a matter of moments."""
        lane = self._lane_of(to, to_carrier)
        if lane is None:
            return []
        _, waits = self._states(lane)
        names = [self._gateway.store.carrier_name(one) for one in self._gateway.store.lane(lane).carriers]
        if any(wait in _TAKES for wait in waits):
            return []
        standing = ", ".join(f"{name}: {wait.value}" for name, wait in zip(names, waits, strict=True))
        return [f"nobody takes messages there now ({standing}): they wait"]

    def _lane_of(self, to: str, to_carrier: str) -> int | None:
        if to_carrier:
            return self._gateway.board.only(self._carrier(to_carrier).id) or None
        route = self._gateway.replan.route_named(to)
        return None if route is None else route.lane

    def taker(self, message: Message, lane: int, tried: int, name: str) -> Taker:
        """The carrier of its lane that a message is forced to: the one that is named, else the one that could
        take it soonest, of those that have not refused it first. Errors: AdminError."""
        gateway = self._gateway
        account = gateway.accounts.by_id.get(message.account)
        if account is not None and account.suspended:
            raise AdminError(
                "suspended",
                f"account {account.name!r} is suspended: nothing of it is sent",
                f"signalbox account resume {account.name}",
            )
        lane_text = name_of_lane(gateway.store, lane)
        if not gateway.board.in_force(lane) and not gateway.board.take_up(lane):
            raise AdminError(
                "no_lane",
                f"the lane of message {message.id} ({lane_text}) is gone from the configuration",
                f"signalbox message reroute {message.id} --to ROUTE",
            )
        ids, waits = self._states(lane)
        names = [gateway.store.carrier_name(one) for one in ids]
        if name and name not in names:
            raise AdminError(
                "elsewhere",
                f"carrier {name[:64]!r} is not in the lane of message {message.id} ({', '.join(names)})",
                f"signalbox message reroute {message.id} --carrier {name[:64]}",
            )
        able = [
            (bool(tried >> index & 1), _RANK.get(wait, 2), index)
            for index, wait in enumerate(waits)
            if wait in _TAKES and name in ("", names[index])
        ]
        if not able:
            told = ", ".join(
                f"{one}: {wait.value}" for one, wait in zip(names, waits, strict=True) if name in ("", one)
            )
            raise AdminError(
                "no_carrier",
                f"message {message.id} cannot be sent now: {told}",
                f"signalbox message reroute {message.id} --to ROUTE",
            )
        index = min(able)[2]
        waits_for = "" if waits[index] is Wait.FREE else waits[index].value
        if gateway.board.tokens(lane, trio.current_time()) <= 0:
            waits_for = Wait.ROUTE_THROTTLED.value
        if gateway.sending.left(message.account) <= 0:
            waits_for = Wait.ACCOUNT_THROTTLED.value
        return Taker(ids[index], names[index], waits_for)

    def _states(self, lane: int) -> tuple[tuple[int, ...], list[Wait]]:
        """A lane's carriers, and why each takes nothing more now."""
        gateway, now = self._gateway, trio.current_time()
        facts = lane_facts(
            gateway, lane, {one.id: one.facts(now) for one in gateway.carriers}, now, gateway.world.wall_ms()
        )
        waits = [
            Wait.LANE_GONE
            if one is None
            else Wait.DRAINS
            if facts.drains >> index & 1
            else why_carrier(one, now)
            for index, one in enumerate(facts.carriers)
        ]
        return gateway.store.lane(lane).carriers, waits

    def _accepted(self, message: Message, lane: int | str) -> int | str:
        """The lane, unless each of its carriers refuses the message's sender by its own rules."""
        if isinstance(lane, str) or message.relay is not None:
            return lane
        by_id = {one.id: one for one in self._gateway.carriers}
        refusal = ""
        for id in self._gateway.store.lane(lane).carriers:
            carrier = by_id.get(id)
            if carrier is None:
                continue
            refusal = _refusal(carrier, message)
            if not refusal:
                return lane
        return "the carriers there refuse its sender" if refusal else lane

    def _carrier(self, name: str) -> Carrier:
        names = {one.name for one in self._gateway.config.carriers}
        found = next((one for one in self._gateway.carriers if one.name == name and name in names), None)
        if found is None:
            raise bad_arguments(
                "to_carrier", f"no carrier {name[:64]!r}", f"one of: {', '.join(sorted(names)) or 'none'}"
            )
        return found


def _refusal(carrier: Carrier, message: Message) -> str:
    return carrier.renderer.written(
        message.text, message.encoding, message.source, message.source_ton, message.destination
    ).refusal
