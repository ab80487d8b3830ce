"""The admin verbs of carriers and of the event log: how they are, suspend, drain, rebind, rates, what was
decided.

On a stopped gateway they tell and change what is stored: who is suspended, what happened.

Deliberately not here: orders (gateway.orders), health (gateway.health), text for people (gateway.cli).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec

from gateway.admin import AdminError, Execute, Named, Nothing, Verb, bad_arguments, typed
from gateway.admin_shapes import iso
from gateway.audit import entry
from gateway.notices import notice_view
from gateway.orders import (
    CARRIER,
    DRAINED,
    LINK,
    LONGEST_S,
    RATE,
    Order,
    Orders,
    shown_value,
    told,
)
from gateway.previews import Preview, Previews
from store.interface import NO_ID
from store.lmdb_store import LmdbStore

HIGHEST_TPS = 1_000_000

Facts = Callable[[], dict[str, dict[str, object]]]  # of running carriers, by name


class NoSuchCarrier(AdminError):
    """There is no carrier of that name."""


class Suspension(msgspec.Struct, forbid_unknown_fields=True):
    """`for_s`: how long; 0: until it is resumed."""

    name: str
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0
    preview: bool = False


class Rate(msgspec.Struct, forbid_unknown_fields=True):
    """`tps`: segments a second, of each bind where the configuration says so; 0: the configured rate."""

    name: str
    tps: Annotated[float, msgspec.Meta(ge=0, le=HIGHEST_TPS)]
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0
    preview: bool = False


class Rebinding(msgspec.Struct, forbid_unknown_fields=True):
    """`name`: of a carrier, or of one of its links, as north/2."""

    name: str
    preview: bool = False


class Resumption(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    preview: bool = False


class Events(msgspec.Struct, forbid_unknown_fields=True):
    """Newest first. `subject`: a carrier or a route; `before`: the number behind which to go on."""

    subject: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    before: Annotated[int, msgspec.Meta(ge=0, le=NO_ID - 1)] = 0


class CarrierVerbs:
    """The verbs as methods. `facts` is None when no gateway runs; `close`: its circuit breaker, too."""

    def __init__(
        self,
        store: LmdbStore,
        orders: Orders,
        facts: Facts | None,
        close: Callable[[str], None],
        previews: Previews,
        rebind: Callable[[str, str], None] | None = None,
        execute: Execute[Any] | None = None,
        wall_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._store = store
        self._orders = orders
        self._facts = facts
        self._close = close
        self._previews = previews
        self._rebind = rebind
        self._execute = execute
        self._wall_ms = wall_ms

    def table(self) -> dict[str, Verb]:
        return {
            "carrier.list": typed(Nothing, self.carrier_list),
            "carrier.show": typed(Named, self.carrier_show),
            "carrier.drain": typed(Suspension, self.carrier_drain),
            "carrier.rate": typed(Rate, self.carrier_rate),
            "carrier.rebind": typed(Rebinding, self.carrier_rebind),
            "carrier.suspend": typed(Suspension, self.carrier_suspend),
            "carrier.resume": typed(Resumption, self.carrier_resume),
            "link.resume": typed(Resumption, self.link_resume),
            "link.suspend": typed(Suspension, self.link_suspend),
            "events.list": typed(Events, self.events_list),
        }

    async def carrier_list(self, _: Nothing) -> list[dict[str, object]]:
        """Those of the configuration in force; of a stopped gateway, all that there ever were."""
        facts = self._facts() if self._facts else {}
        return [self._view(name, facts) for name in self._names(facts)]

    async def carrier_show(self, wish: Named) -> dict[str, object]:
        facts = self._facts() if self._facts else {}
        self._check(wish.name, facts)
        return self._view(wish.name, facts)

    async def carrier_suspend(self, wish: Suspension) -> object:
        """It takes nothing new from now on; its binds stay and receipts go on coming."""
        self._check(wish.name, self._facts() if self._facts else {})
        if wish.preview:
            return self._previews.carrier_suspended(wish.name)
        with told():
            await self._orders.suspend(wish.name, wish.for_s)
        return await self.carrier_show(Named(wish.name))

    async def carrier_drain(self, wish: Suspension) -> object:
        """It takes nothing new, what is in flight is finished, then it has no bind until it is resumed."""
        self._check(wish.name, self._facts() if self._facts else {})
        if wish.preview:
            return self._previews.carrier_drained(wish.name)
        with told():
            await self._orders.give(DRAINED, wish.name, wish.for_s, instead_of=(CARRIER,))
        return await self.carrier_show(Named(wish.name))

    async def carrier_rate(self, wish: Rate) -> object:
        """It is sent so many segments a second at most, from the next one on."""
        if wish.tps or wish.name not in self._orders.of(RATE):
            self._check(wish.name, self._facts() if self._facts else {})
        if wish.preview:
            return self._previews.carrier_rate(wish.name, wish.tps)
        with told():
            if wish.tps:
                await self._orders.give(RATE, wish.name, wish.for_s, wish.tps)
            else:
                await self._orders.end(RATE, wish.name)
        return self._view(wish.name, self._facts() if self._facts else {})

    async def carrier_rebind(self, wish: Rebinding) -> object:
        """Binds are finished and unbound, and made anew at once."""
        name, link = self._running_link(wish.name)
        if wish.preview:
            return self._previews.carrier_rebound(name, link)
        if self._rebind is None or self._execute is None:
            raise AdminError("not_running", "the gateway is not running", "start it: signalbox run")
        if name in self._orders.of(DRAINED):
            raise AdminError(
                "drained", f"carrier {name!r} is drained, and has no bind", f"signalbox carrier resume {name}"
            )
        kept = entry(self._wall_ms(), "carrier.rebound", f"link:{link}" if link else f"carrier:{name}")
        await self._execute(lambda txn: txn.audit(kept))
        self._rebind(name, link)
        return await self.carrier_show(Named(name))

    async def link_suspend(self, wish: Suspension) -> object:
        """It takes nothing new and stays bound; its carrier's other links go on."""
        name, link = self._running_link(wish.name)
        if not link:
            raise bad_arguments("name", f"{name!r} is a carrier", "one of its links, as north/2")
        if wish.preview:
            return self._previews.link_suspended(name, link)
        with told():
            await self._orders.give(LINK, link, wish.for_s)
        return await self.carrier_show(Named(name))

    async def link_resume(self, wish: Resumption) -> object:
        """Again changes nothing; one that is gone may be resumed."""
        if wish.name in self._orders.of(LINK):
            name = wish.name.partition("/")[0]
        else:
            name, link = self._running_link(wish.name)
            if not link:
                raise bad_arguments("name", f"{name!r} is a carrier", "one of its links, as north/2")
        if wish.preview:
            return Preview([f"link {wish.name} takes messages again"])
        await self._orders.end(LINK, wish.name)
        return self._view(name, self._facts() if self._facts else {})

    def _running_link(self, wanted: str) -> tuple[str, str]:
        """A carrier, and its link where one is named. Errors: NoSuchCarrier, NoSuchLink."""
        facts = self._facts() if self._facts else {}
        name, slash, _ = wanted.partition("/")
        self._check(name, facts)
        if not slash:
            return name, ""
        links = facts.get(name, {}).get("links", {})
        if not isinstance(links, dict) or wanted not in links:
            known = ", ".join(links) if isinstance(links, dict) and links else "none now"
            raise AdminError("not_found", f"no link {wanted[:64]!r}; there are: {known}")
        return name, wanted

    async def carrier_resume(self, wish: Resumption) -> object:
        """Also what its circuit breaker took out. Once more changes nothing. A carrier that is gone from the
        configuration may be resumed."""
        if wish.name not in self._orders.by_carrier:
            self._check(wish.name, self._facts() if self._facts else {})
        if wish.preview:
            return self._previews.carrier_resumed(wish.name)
        await self._orders.resume(wish.name)
        self._close(wish.name)
        return self._view(wish.name, self._facts() if self._facts else {})

    async def events_list(self, wish: Events) -> list[dict[str, object]]:
        rows = self._store.notices(wish.limit, wish.before or NO_ID, wish.subject)
        return [notice_view(row) for row in rows]

    def _names(self, facts: dict[str, dict[str, object]]) -> Iterable[str]:
        return facts if self._facts else sorted(self._store.carriers())

    def _check(self, name: str, facts: dict[str, dict[str, object]]) -> None:
        names = self._names(facts)
        if name not in names:
            known = ", ".join(names) or "none"
            raise NoSuchCarrier("not_found", f"no carrier {name[:64]!r}; there are: {known}")

    def _view(self, name: str, facts: dict[str, dict[str, object]]) -> dict[str, object]:
        order = self._orders.by_carrier.get(name)
        stored = {
            "name": name,
            "suspended": order is not None,
            "drained": name in self._orders.of(DRAINED),
            "order": order_view(order),
            "rate_order": order_view(self._orders.find(RATE, name)),
        }
        return {**stored, **facts.get(name, {})}


def order_view(order: Order | None) -> dict[str, object] | None:
    """Who ordered it, why and until when ("": until it is ended); None: nobody did."""
    if order is None:
        return None
    return {
        "by": order.who,
        "reason": order.reason,
        "since": iso(order.since_ms),
        "until": iso(order.until_ms),
        "value": shown_value(order.value),
    }
