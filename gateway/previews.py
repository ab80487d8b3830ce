"""What an act would touch, told before it is done: in sentences, with counts.

Invariants: nothing here changes anything; what is not counted in memory already is counted up to
gateway.overview.COUNTED, and `more` says that there is more.

Deliberately not here: the acts themselves (the verbs), which there are (gateway.acts).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from router.nouns import Account, Phase

if TYPE_CHECKING:
    from config.model import CarrierConfig, RouteConfig
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier

MOST_NAMED = 10  # lanes, accounts, binds in one sentence
_WAITING = (Phase.READY, Phase.DEFERRED)


class Preview(msgspec.Struct):
    """`touches`: sentences, what happens to what; `messages`: how many are concerned; `more`: there are more
    than were counted."""

    touches: list[str]
    messages: int = 0
    more: bool = False
    warnings: list[str] = []


class Previews:
    """`gateway` None: none runs, and nothing waits for anything but its start."""

    def __init__(self, gateway: Gateway | None = None) -> None:
        self._gateway = gateway

    def carrier_suspended(self, name: str) -> Preview:
        """Nothing new goes to it."""
        touches = [f"carrier {name} takes nothing new; its binds stay, and receipts go on coming"]
        carrier = self.carrier(name)
        if carrier is None:
            return Preview(touches, warnings=[] if self._gateway else [_STOPPED])
        warnings = [] if not carrier.suspended else [f"carrier {name} is suspended already"]
        if carrier.in_flight:
            touches.append(f"{of(carrier.in_flight, 'segment')} in flight there are finished as usual")
        return self._without(carrier, touches, warnings)

    def carrier_resumed(self, name: str) -> Preview:
        """It takes messages again."""
        touches = [f"carrier {name} takes messages again, also where its circuit breaker took it out"]
        carrier = self.carrier(name)
        if carrier is None or self._gateway is None:
            return Preview(touches, warnings=[] if self._gateway else [_STOPPED])
        warnings = [] if carrier.able() or carrier.suspended else [f"carrier {name} has no bind now"]
        waiting = sum(self._waiting(lane) for lane in self._lanes_of(carrier))
        if waiting:
            touches.append(f"{of(waiting, 'message')} in its lanes may go to it")
        return Preview(touches, waiting, warnings=warnings)

    def carrier_drained(self, name: str) -> Preview:
        """Nothing new goes to it, and it unbinds."""
        touches = [f"carrier {name} takes nothing new, finishes what is in flight, then unbinds"]
        carrier = self.carrier(name)
        if carrier is None:
            return Preview(touches, warnings=[] if self._gateway else [_STOPPED])
        bound = sum(link.bound for link in carrier.links)
        if bound:
            touches.append(f"{of(bound, 'bind')} of it end; {of(carrier.in_flight, 'segment')} are in flight")
        warnings = ["while it is unbound no receipts and no inbound messages come from it"]
        return self._without(carrier, touches, warnings)

    def carrier_rate(self, name: str, tps: float) -> Preview:
        """Another rate, or (0) the configured one."""
        carrier = self.carrier(name)
        configured = next((one.tps for one in self._configured() if one.name == name), None)
        usual = "as the configuration says"
        if configured is not None:
            usual = f"{configured:g} a second" if configured else "no limit"
        if not tps:
            return Preview([f"carrier {name} has its configured rate again: {usual}"])
        touches = [f"carrier {name} is sent at most {tps:g} segments a second"]
        if carrier is None or self._gateway is None or configured is None:
            return Preview(touches, warnings=[] if self._gateway else [_STOPPED])
        touches[0] += f" instead of {usual}" + (
            ", on each bind" if carrier.settings.throttle_scope == "bind" else ""
        )
        waiting = sum(self._waiting(lane) for lane in self._lanes_of(carrier))
        if waiting:
            touches.append(f"{of(waiting, 'message')} wait in its lanes")
        warnings = [f"that is more than it is configured for: {usual}"] if 0 < configured < tps else []
        binds = sum(link.bind != "receiver" for link in carrier.links)
        allowed = tps * binds if carrier.settings.throttle_scope == "bind" else tps
        figures = (one for one in self._gateway.figures.snapshot().carriers if one.name == name)
        passes = max((max(one.sent_per_s, one.sent_mean) for one in figures), default=0.0)
        if allowed < passes:
            warnings.append(
                f"that is less than passes now: {passes:,.1f} segments a second; the rest will wait"
            )
        return Preview(touches, waiting, warnings=warnings)

    def carrier_rebound(self, name: str, link: str) -> Preview:
        """All its binds, or one."""
        carrier = self.carrier(name)
        if carrier is None:
            return Preview([f"carrier {name} is bound anew"], warnings=[_STOPPED])
        links = [one for one in carrier.links if one.name == link or not link]
        names = named(one.name for one in links)
        touches = [f"{names}: what is in flight is finished, then unbound and bound again"]
        flying = sum(one.session.outstanding for one in links if one.session is not None)
        if flying:
            touches.append(f"{of(flying, 'request')} in flight there")
        others = [one for one in carrier.links if one not in links and one.can_submit]
        warnings = [] if others else [f"carrier {name} takes nothing until it is bound again"]
        return Preview(touches, flying, warnings=warnings)

    def link_suspended(self, name: str, link: str) -> Preview:
        """One bind takes nothing new."""
        touches = [f"link {link} takes nothing new; it stays bound, and receipts go on coming"]
        carrier = self.carrier(name)
        if carrier is None:
            return Preview(touches, warnings=[_STOPPED])
        if any(one.can_submit for one in carrier.links if one.name != link):
            return Preview([*touches, f"the other links of {name} take its messages"])
        return self._without(carrier, touches, [f"it is the last link of {name} that takes messages"])

    def account_suspended(self, account: Account, queued: int) -> Preview:
        """Nothing is taken from it, and what waits of it stands still."""
        touches = [f"account {account.name}: new messages are refused, and its sessions are unbound"]
        if queued:
            touches.append(f"{of(queued, 'message')} that wait stay where they are until it is resumed")
        binds = self.binds_of(account.id)
        if binds:
            touches.append(f"{of(binds, 'SMPP session')} of it end")
        warnings = [f"account {account.name} is suspended already"] if account.suspended else []
        return Preview(touches, queued, warnings=warnings)

    def account_resumed(self, account: Account, queued: int) -> Preview:
        """Its messages are taken again."""
        touches = [f"account {account.name}: messages are taken again, and it may bind again"]
        if queued:
            touches.append(f"{of(queued, 'message')} that wait are sent")
        warnings = [] if account.suspended else [f"account {account.name} is not suspended"]
        return Preview(touches, queued, warnings=warnings)

    def route_suspended(self, name: str) -> Preview:
        """None of its messages goes."""
        touches = [f"route {name}: new messages are taken and wait; none is given to a carrier"]
        waiting, shared = self._of_route(name, touches)
        return Preview(touches, waiting, warnings=shared)

    def route_resumed(self, name: str) -> Preview:
        """Its messages go again."""
        touches = [f"route {name}: its messages are given to carriers again"]
        waiting, shared = self._of_route(name, touches)
        return Preview(touches, waiting, warnings=shared)

    def route_rate(self, name: str, tps: float) -> Preview:
        """Another rate, or (0) the configured one."""
        configured = next((one.tps for one in self._routes() if one.name == name), 0.0)
        usual = f"{configured:g} a second" if configured else "what its carriers allow"
        if not tps:
            return Preview([f"route {name} has its configured rate again: {usual}"])
        touches = [f"route {name}: at most {tps:g} segments a second instead of {usual}"]
        waiting, warnings = self._of_route(name, touches)
        if 0 < configured < tps:
            warnings.append(f"that is more than it is configured for: {usual}")
        route = next((one for one in self._routes() if one.name == name), None)
        if self._gateway is not None and route is not None:
            taken = self._gateway.figures.taken_per_s
            passes = sum(taken(lane) for lane in self._lanes_of_route(route))
            if tps < passes:
                warnings.append(
                    f"that is less than passes now: {passes:,.1f} messages a second; the rest will wait"
                )
        return Preview(touches, waiting, warnings=warnings)

    def route_weights(self, name: str, weights: Mapping[str, int]) -> Preview:
        """Other shares, or (empty) the configured ones."""
        route = next((one for one in self._routes() if one.name == name), None)
        if route is None or not route.weights:
            return Preview([f"route {name} has its configured weights again"])
        usual = dict(zip(route.carriers, route.weights, strict=True))
        now = {**usual, **weights}
        shares = ", ".join(f"{one} {weight} (configured {usual[one]})" for one, weight in now.items())
        touches = [f"route {name}: {shares}"]
        touches += [f"carrier {one} takes nothing new of it" for one, weight in now.items() if not weight]
        waiting = sum(self._waiting(lane) for lane in self._lanes_of_route(route))
        if waiting:
            touches.append(f"{of(waiting, 'message')} wait in its queue, and are shared so as well")
        others = self._sharing(route)
        warnings = [f"routes {named(others)} share its queue, and its weights"] if others else []
        return Preview(touches, waiting, warnings=warnings)

    def _of_route(self, name: str, touches: list[str]) -> tuple[int, list[str]]:
        """What waits for it, told in `touches`; and a warning where others share its queue."""
        route = next((one for one in self._routes() if one.name == name), None)
        if route is None:
            return 0, []
        waiting = sum(self._waiting(lane) for lane in self._lanes_of_route(route))
        if waiting:
            touches.append(f"{of(waiting, 'message')} wait in its queue")
        others = self._sharing(route)
        if not others:
            return waiting, []
        touches.append("it has a queue of its own while this lasts; what waits for it goes there")
        return waiting, [f"that queue is shared with {named(others)} now, and their messages are counted too"]

    def _routes(self) -> tuple[RouteConfig, ...]:
        return self._gateway.config.routes if self._gateway is not None else ()

    def _sharing(self, route: RouteConfig) -> list[str]:
        """Other routes with the same lane."""
        assert self._gateway is not None
        spec = self._gateway.terms.spec
        return [one.name for one in self._routes() if one.name != route.name and spec(one) == spec(route)]

    def _lanes_of_route(self, route: RouteConfig) -> list[int]:
        """Its lane, and variants of it."""
        gateway = self._gateway
        assert gateway is not None
        spec = gateway.terms.spec(route)
        return [
            lane
            for lane in gateway.board.lanes()
            if (found := gateway.store.lane(lane)).route == spec.route
            and {*found.carriers} <= {*spec.carriers}
            and (found.route or found.carriers == spec.carriers)
        ]

    # facts

    def _configured(self) -> tuple[CarrierConfig, ...]:
        return self._gateway.config.carriers if self._gateway is not None else ()

    def carrier(self, name: str) -> Carrier | None:
        """One that runs."""
        carriers = self._gateway.carriers if self._gateway is not None else []
        return next((one for one in carriers if one.name == name), None)

    def binds_of(self, account: int) -> int:
        """How many SMPP sessions it has."""
        tenants = self._gateway.smpp.tenants.values() if self._gateway is not None else ()
        return sum(len(one.connections) for one in tenants if one.account.id == account)

    def _without(self, carrier: Carrier, touches: list[str], warnings: list[str]) -> Preview:
        """What becomes of what waits in the lanes of a carrier that takes nothing any more."""
        from gateway.measures import lane_name

        gateway = self._gateway
        assert gateway is not None
        members = {one.id: one for one in gateway.carriers}
        last: list[int] = []
        concerned = 0
        for lane in self._lanes_of(carrier):
            able = [
                one
                for one in gateway.store.lane(lane).carriers
                if one != carrier.id and one in members and members[one].able()
            ]
            if not able:
                last.append(lane)
            elif (waiting := self._waiting(lane)) > 0:
                concerned += waiting
                others = ", ".join(members[one].name for one in able)
                touches.append(
                    f"lane {lane_name(gateway, lane)}: {of(waiting, 'message')} that wait go to {others}"
                )
        routes = [one.name for one in gateway.config.routes if carrier.name in one.carriers]
        if routes:
            touches.append(f"routes that name it: {named(routes)}")
        for lane in last:
            waiting = self._waiting(lane)
            concerned += waiting
            if waiting:
                what = f"{of(waiting, 'message')} wait until a carrier takes them"
                touches.append(f"lane {lane_name(gateway, lane)}: {what}")
        if last:
            lanes = named([lane_name(gateway, lane) for lane in last])
            warnings.append(f"no other carrier takes messages now in: {lanes}")
        return Preview(touches, concerned, warnings=warnings)

    def _lanes_of(self, carrier: Carrier) -> list[int]:
        """Lanes in force that name it."""
        assert self._gateway is not None
        store, board = self._gateway.store, self._gateway.board
        return [lane for lane in board.lanes() if carrier.id in store.lane(lane).carriers]

    def _waiting(self, lane: int) -> int:
        """Messages that are ready, or wait for their next attempt."""
        assert self._gateway is not None
        counts = self._gateway.store.lane_totals().get(lane)
        return sum(counts[phase] for phase in _WAITING) if counts else 0


_STOPPED = "no gateway runs: it is kept for its next start"


def of(count: int, noun: str) -> str:
    """`1 message`, `1,200 messages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def named(names: Iterable[str]) -> str:
    """The first few, and how many more."""
    found = list(names)
    more = len(found) - MOST_NAMED
    return ", ".join(found[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
