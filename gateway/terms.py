"""What operators' orders mean for carriers and routes: rates, binds, queues that stand still, weights.

`apply` is called whenever an order begins or ends, and does at once what is ordered now. A route that is
suspended, or has a rate, has a queue of its own for as long: `follow_routes` plans its messages into it, and
back. Weights are put in place, in the queue there is. A reload of the configuration changes nothing about it.

Deliberately not here: which orders there are (gateway.orders), carriers that are suspended (gateway.health).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import trio

from config.routing import table_of
from gateway.orders import DRAINED, LINK, RATE, ROUTE, ROUTE_RATE, WEIGHTS, Orders
from router.nouns import LaneSpec

if TYPE_CHECKING:
    from config.model import Config, RouteConfig
    from gateway.app import Gateway


class Terms:
    """Of one gateway; made before its carriers and lanes are."""

    def __init__(self, gateway: Gateway, orders: Orders) -> None:
        self._gateway = gateway
        self._orders = orders
        self._one_at_a_time = trio.Lock()
        self.apply()
        orders.changed.append(self.apply)
        orders.after.append(self.follow_routes)

    def apply(self) -> None:
        """As it is ordered now."""
        orders, gateway = self._orders, self._gateway
        gateway.fleet.under(_rates(orders, RATE), frozenset(orders.of(DRAINED)), frozenset(orders.of(LINK)))
        apart = frozenset((*orders.of(ROUTE), *orders.of(ROUTE_RATE)))
        gateway.board.under(frozenset(orders.of(ROUTE)), apart, self._weights(gateway.config))

    def ordered(self, config: Config) -> Config:
        """The configuration with the rates that routes have now."""
        rates = _rates(self._orders, ROUTE_RATE)
        if not rates:
            return config
        routes = tuple(
            dataclasses.replace(one, tps=rates[one.name]) if one.name in rates else one
            for one in config.routes
        )
        return dataclasses.replace(config, routes=routes)

    def spec(self, one: RouteConfig) -> LaneSpec:
        """The lane of a route, with a queue of its own where that is ordered."""
        carriers = tuple(self._gateway.store.carrier_id(name) for name in one.carriers)
        return LaneSpec(carriers, one.weights, one.name if self.apart(one) else "")

    def apart(self, one: RouteConfig) -> bool:
        """Whether a route has a queue of its own, by the configuration or by an order."""
        orders = self._orders
        return one.own_queue or one.name in orders.of(ROUTE) or one.name in orders.of(ROUTE_RATE)

    async def follow_routes(self) -> None:
        """Routes have the queues and rates that are ordered now."""
        gateway = self._gateway
        async with self._one_at_a_time:
            config = gateway.config
            lanes = gateway.wishes(config)
            if [(one.id, one.tps) for one in lanes] == gateway.lanes_taken:
                return
            ids = [one.id for one in lanes]
            ordered = self.ordered(config)
            routes = await gateway.reload.in_thread(lambda: table_of(ordered, ids, gateway.known))
            if gateway.config is not config:  # a reload came between, and asked for this again
                return
            limited = gateway.board.throttles()
            gateway.take_lanes(config, lanes)
            gateway.change_routes(routes)
            for name, throttle in gateway.board.throttles().items():
                if name not in limited:  # nobody counted what was sent until now
                    throttle.fill(trio.current_time())
            gateway.committer.wake()

    def _weights(self, config: Config) -> dict[LaneSpec, tuple[int, ...]]:
        found = {}
        for one in config.routes:
            order = self._orders.find(WEIGHTS, one.name)
            if order is not None and isinstance(order.value, dict) and one.weights:
                ordered = tuple(
                    order.value.get(name, weight)
                    for name, weight in zip(one.carriers, one.weights, strict=True)
                )
                if any(ordered):
                    found[self.spec(one)] = ordered
        return found


def _rates(orders: Orders, kind: str) -> dict[str, float]:
    return {
        name: float(order.value)
        for name, order in orders.of(kind).items()
        if isinstance(order.value, int | float)
    }
