"""The order in which a lane's carriers are tried for one message, where a route asks for more than its own.

The queue is the lane's, so an order that depends on the message is a lane of its own: the same carriers in
that order, interned like every lane, and chosen when the message is planned. Binding stays late: inside it a
lower choice takes over when no higher one is able, or overflows.

`sticky`: one carrier is preferred for each recipient, or sender, in the proportion of the weights, and always
the same one (router.lanes.preferred). `cheapest`: by what the carriers' rate cards say of the number now.
`best`: by the share of messages that they delivered lately; who has too few to tell comes first, so that it
gets some. Prices and ratios that change count for messages that come then.

Invariant: at most `MOST_ORDERS` lanes for one route; beyond them the route's own order holds.

Deliberately not here: prices (router.rates), quality (router.health), queues, whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from router.lanes import preferred
from router.nouns import LaneSpec
from router.rates import Offer, least_cost

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST_ORDERS = 64
_LOOK_MS = 5_000
Order = Callable[[LaneSpec, str, str], tuple[int, ...]]  # of (lane, recipient, sender) → carriers


def by_recipient(spec: LaneSpec, destination: str, sender: str) -> tuple[int, ...]:
    return _first(spec, preferred(destination, spec.carriers, spec.weights))


def by_sender(spec: LaneSpec, destination: str, sender: str) -> tuple[int, ...]:
    return _first(spec, preferred(sender, spec.carriers, spec.weights))


def _first(spec: LaneSpec, first: int) -> tuple[int, ...]:
    """That one, then the others, those with more weight first; without those that drain."""
    others = [index for index, weight in enumerate(spec.weights) if index != first and weight]
    others.sort(key=lambda index: -spec.weights[index])
    return tuple(spec.carriers[index] for index in (first, *others))


class Choices:
    """Orders that need to know more than the message."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ratios: dict[int, float] = {}
        self._looked_at = -1.0

    def order(self, choose: str, sticky: str) -> Order | None:
        """What a route asks for; None: its lane is its order."""
        if sticky:
            return by_recipient if sticky == "recipient" else by_sender
        return {"cheapest": self.cheapest, "best": self.best}.get(choose)

    def cheapest(self, spec: LaneSpec, destination: str, sender: str) -> tuple[int, ...]:
        gateway = self._gateway
        now_ms = gateway.world.wall_ms()
        cards = {carrier.id: carrier.settings.rate_card for carrier in gateway.carriers}
        offers: list[Offer] = []
        for carrier in spec.carriers:
            card = cards.get(carrier, "")
            found = gateway.known.price(card, destination, now_ms) if card else None
            offers.append(Offer(str(carrier), found.rate if found is not None else None))
        return tuple(int(carrier) for carrier in least_cost(offers).carriers)

    def best(self, spec: LaneSpec, destination: str, sender: str) -> tuple[int, ...]:
        ratios = self._delivered()
        return tuple(sorted(spec.carriers, key=lambda carrier: -ratios.get(carrier, 1.0)))

    def _delivered(self) -> dict[int, float]:
        """Carrier → delivered ratio, in steps of a twentieth, looked up every few seconds."""
        gateway = self._gateway
        now_ms = gateway.world.wall_ms()
        if self._looked_at < 0 or abs(now_ms - self._looked_at) >= _LOOK_MS:
            self._looked_at = now_ms
            self._ratios = {}
            for carrier in gateway.carriers:
                ratio = gateway.health.delivered_ratio(carrier)
                if ratio is not None:
                    self._ratios[carrier.id] = round(ratio * 20) / 20
        return self._ratios
