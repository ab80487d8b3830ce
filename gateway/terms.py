"""What operators' orders mean for carriers: rates, whether they have binds, links that take nothing new.

`apply` is called whenever an order begins or ends, and does at once what is ordered now. A reload of the
configuration changes nothing about it: the fleet knows both.

Deliberately not here: which orders there are (gateway.orders), carriers that are suspended (gateway.health).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.orders import DRAINED, LINK, RATE, Orders

if TYPE_CHECKING:
    from gateway.carriers.fleet import Fleet


class Terms:
    """Of one gateway; made before its carriers are."""

    def __init__(self, orders: Orders, fleet: Fleet) -> None:
        self._orders = orders
        self._fleet = fleet
        self.apply()
        orders.changed.append(self.apply)

    def apply(self) -> None:
        """As it is ordered now."""
        orders = self._orders
        rates = {
            name: float(order.value)
            for name, order in orders.of(RATE).items()
            if isinstance(order.value, int | float)
        }
        self._fleet.under(rates, frozenset(orders.of(DRAINED)), frozenset(orders.of(LINK)))
