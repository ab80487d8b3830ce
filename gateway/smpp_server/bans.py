"""Whom operators keep from binding, from everywhere or from some addresses, until when.

Invariant: a bind asks for its own system_id alone, however many are banned.

Deliberately not here: keeping bans (gateway.orders), what who is banned is answered (gate), ending the binds
that there are (gateway.admin_binds).
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.orders import BANNED, Order, Orders
from gateway.smpp_server.networks import Networks


class Bans:
    """Of one gateway; follows every change of the orders."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._of: dict[str, list[tuple[Networks | None, Order]]] = {}
        self._rebuild()
        orders.changed.append(self._rebuild)

    def _rebuild(self) -> None:
        self._of = {}
        for subject, order in self._orders.of(BANNED).items():
            system_id, address = parts(subject)
            where = Networks((address,)) if address else None
            self._of.setdefault(system_id, []).append((where, order))

    def why(self, system_id: str, address: str) -> str:
        """Why this one may not bind from there; "": no ban."""
        for where, order in self._of.get(system_id, ()):
            if where is None or address in where:
                return f"system_id {system_id!r} is banned {order.told}"
        return ""

    def of(self, system_ids: Iterable[str]) -> list[Order]:
        """The bans that these have."""
        return [order for system_id in system_ids for _, order in self._of.get(system_id, ())]


def subject(system_id: str, address: str) -> str:
    """A ban's name: of a system_id, or of it from an address or network."""
    return f"{system_id} from {address}" if address else system_id


def parts(subject: str) -> tuple[str, str]:
    """(system_id, address), the other way round. A system_id has no space in it."""
    system_id, _, address = subject.partition(" from ")
    return system_id, address
