"""The order in which a lane's carriers are tried for one message, where a route asks for more than its own.

The queue is the lane's, so an order that depends on the message is a lane of its own: the same carriers in
that order, interned like every lane, and chosen when the message is planned. Binding stays late: inside it a
lower choice takes over when no higher one is able, or overflows.

`sticky`: one carrier is preferred for each recipient, or sender, in the proportion of the weights, and always
the same one (router.lanes.preferred). `cheapest`: by what the carriers' rate cards say of the number now,
without those that cost more than the account pays. `best`: by the share of messages that they delivered
lately, to the number's country where they have enough of it, else anywhere; who has too few of either to tell
comes first, so that it gets some. Prices and ratios that change count for
messages that come then.

Invariants: at most `MOST_ORDERS` lanes for one route; beyond them the route's own order holds. Whom the
margin guard leaves out is in no lane that the message gets, not then either: beyond them it gets the order
that has the most of the others and nobody else, or the cheapest alone.

Deliberately not here: prices (router.rates), quality (router.health), queues, whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gateway.carriers.standing import code_of
from router.lanes import preferred
from router.nouns import LaneSpec
from router.rates import Offer, Rate, least_cost
from router.rates import Order as Cheapest

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST_ORDERS = 64
_LOOK_MS = 5_000
# (lane, recipient, sender, the account's rate card) → carriers; () when nobody may have it
Order = Callable[[LaneSpec, str, str, str], tuple[int, ...]]


class Margin(NamedTuple):
    """What the account pays for a segment, what each carrier asks, and why the guard leaves some out."""

    sold: Rate
    asked: dict[int, Rate | None]
    left_out: dict[int, str]


def by_recipient(spec: LaneSpec, destination: str, sender: str, pays: str) -> tuple[int, ...]:
    return _first(spec, preferred(destination, spec.carriers, spec.weights))


def by_sender(spec: LaneSpec, destination: str, sender: str, pays: str) -> tuple[int, ...]:
    return _first(spec, preferred(sender, spec.carriers, spec.weights))


def _first(spec: LaneSpec, first: int) -> tuple[int, ...]:
    """That one, then the others, those with more weight first; without those that drain."""
    others = [index for index, weight in enumerate(spec.weights) if index != first and weight]
    others.sort(key=lambda index: -spec.weights[index])
    return tuple(spec.carriers[index] for index in (first, *others))


def _ids(found: Cheapest) -> tuple[int, ...]:
    return tuple(int(carrier) for carrier in found.carriers)


class Choices:
    """Orders that need to know more than the message."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ratios: dict[int, dict[int, float]] = {}  # by calling code, for `_LOOK_MS`
        self._looked_at = -1.0

    def order(self, choose: str, sticky: str, allow_loss: bool = False) -> Order | None:
        """What a route asks for; None: its lane is its order."""
        if sticky:
            return by_recipient if sticky == "recipient" else by_sender
        if choose == "cheapest":
            return self.cheapest if allow_loss else self.guarded
        return self.best if choose == "best" else None

    def cheapest(self, spec: LaneSpec, destination: str, sender: str, pays: str) -> tuple[int, ...]:
        return _ids(least_cost(self._offers(spec, destination)))

    def guarded(self, spec: LaneSpec, destination: str, sender: str, pays: str) -> tuple[int, ...]:
        """The same without those that cost more than the account pays, as far as that is known."""
        return _ids(least_cost(self._offers(spec, destination), self._price(pays, destination)))

    def margin(self, spec: LaneSpec, destination: str, pays: str) -> Margin | None:
        """What the guard sees and does now; None where nobody knows what the account pays: no guard."""
        sold = self._price(pays, destination)
        if sold is None:
            return None
        offers = self._offers(spec, destination)
        asked = {int(one.carrier): one.rate for one in offers}
        return Margin(sold, asked, {int(one): why for one, why in least_cost(offers, sold).refused})

    def _offers(self, spec: LaneSpec, destination: str) -> list[Offer]:
        cards = {carrier.id: carrier.settings.rate_card for carrier in self._gateway.carriers}
        return [Offer(str(one), self._price(cards.get(one, ""), destination)) for one in spec.carriers]

    def _price(self, card: str, destination: str) -> Rate | None:
        """Of a segment, now, by a rate card ("" = none)."""
        gateway = self._gateway
        found = gateway.known.price(card, destination, gateway.world.wall_ms()) if card else None
        return found.rate if found is not None else None

    def best(self, spec: LaneSpec, destination: str, sender: str, pays: str) -> tuple[int, ...]:
        code = code_of(destination)
        now_ms = self._gateway.world.wall_ms()
        if self._looked_at < 0 or abs(now_ms - self._looked_at) >= _LOOK_MS:
            self._looked_at = now_ms
            self._ratios.clear()
        ratios = self._ratios.get(code)
        if ratios is None:
            ratios = self._ratios[code] = self._delivered(code)
        return tuple(sorted(spec.carriers, key=lambda carrier: -ratios.get(carrier, 1.0)))

    def _delivered(self, code: int) -> dict[int, float]:
        """Carrier → delivered ratio to a calling code, in steps of a twentieth."""
        found = {}
        for carrier in self._gateway.carriers:
            ratio = self._gateway.health.delivered_ratio(carrier, code)
            if ratio is not None:
                found[carrier.id] = round(ratio * 20) / 20
        return found
