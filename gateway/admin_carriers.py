"""The admin verbs of carriers and of the event log: how they are, suspend, resume, what was decided.

On a stopped gateway they tell and change what is stored: who is suspended, what happened.

Deliberately not here: orders (gateway.orders), health (gateway.health), text for people (gateway.cli).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import msgspec

from gateway.admin import AdminError, Named, Nothing, Verb, typed
from gateway.admin_shapes import iso
from gateway.notices import notice_view
from gateway.orders import CarrierOrder, Orders
from gateway.previews import Previews
from store.interface import NO_ID
from store.lmdb_store import LmdbStore

LONGEST_S = 366 * 86_400

Facts = Callable[[], dict[str, dict[str, object]]]  # of running carriers, by name


class NoSuchCarrier(AdminError):
    """There is no carrier of that name."""


class Suspension(msgspec.Struct, forbid_unknown_fields=True):
    """`for_s`: how long; 0: until it is resumed."""

    name: str
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0
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
    ) -> None:
        self._store = store
        self._orders = orders
        self._facts = facts
        self._close = close
        self._previews = previews

    def table(self) -> dict[str, Verb]:
        return {
            "carrier.list": typed(Nothing, self.carrier_list),
            "carrier.show": typed(Named, self.carrier_show),
            "carrier.suspend": typed(Suspension, self.carrier_suspend),
            "carrier.resume": typed(Resumption, self.carrier_resume),
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
        await self._orders.suspend(wish.name, wish.for_s)
        return await self.carrier_show(Named(wish.name))

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
        stored = {"name": name, "suspended": order is not None, "order": order_view(order)}
        return {**stored, **facts.get(name, {})}


def order_view(order: CarrierOrder | None) -> dict[str, object] | None:
    """Who suspended it, why and until when ("": until it is resumed); None: nobody did."""
    if order is None:
        return None
    return {
        "by": order.who,
        "reason": order.reason,
        "since": iso(order.since_ms),
        "until": iso(order.until_ms),
    }
