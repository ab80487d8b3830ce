"""What a segment costs at a carrier, and the order in which a lane's carriers are cheapest.

Money is exact: whole micro-units (a millionth of the currency's unit: 0.0325 EUR is 32,500), compared across
currencies by exact fractions. A card holds prices by network (MCC and MNC), by the beginning of the number
and by country (MCC), each with the moments from which it is valid; the price in force is the latest one that
has begun.

Invariants: nothing here rounds; a carrier whose price is not known is never called the cheapest; with a
margin guard nobody is chosen who costs more than the account pays.

Deliberately not here: where cards are kept (store.tables), who takes turns by it (lanes), bills.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol

import msgspec

MICRO = 1_000_000
_MCC = 3


class Rate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One price of a segment. Stored: fields are only appended."""

    price: int  # micro-units of `currency`
    currency: str  # ISO 4217, as "EUR"
    from_ms: int = 0  # valid from then on, UTC; 0 = always was


class Card(Protocol):
    """A rate card. Each list has the most specific price first, and of one key the latest first."""

    def by_prefix(self, digits: str) -> Iterable[tuple[str, Rate]]:
        """(prefix, rate) for every beginning of the number that has a price, longest first."""
        ...

    def by_network(self, mcc_mnc: str) -> Iterable[tuple[str, Rate]]:
        """The rates of exactly this MCC and MNC, or of an MCC alone."""
        ...


class Priced(NamedTuple):
    """A rate and what it was found by: an MCC and MNC, a prefix, or an MCC."""

    rate: Rate
    by: str


def price(card: Card, digits: str, mcc_mnc: str, at_ms: int) -> Priced | None:
    """What a segment to this number costs then; None where the card does not say.

    By the number's network first, where that is known (`mcc_mnc` not ""), then by the longest prefix that has
    a price in force, then by the country's MCC.
    """
    if mcc_mnc:
        found = _in_force(card.by_network(mcc_mnc), at_ms)
        if found is not None:
            return found
    found = _in_force(card.by_prefix(digits), at_ms)
    if found is None and mcc_mnc:
        found = _in_force(card.by_network(mcc_mnc[:_MCC]), at_ms)
    return found


def _in_force(rates: Iterable[tuple[str, Rate]], at_ms: int) -> Priced | None:
    for by, rate in rates:
        if rate.from_ms <= at_ms:
            return Priced(rate, by)
    return None


class Exchange:
    """What currencies are worth in one of them: `Exchange({"EUR": Fraction(1), "USD": Fraction("0.92")})`.

    Without rates, only prices of one currency can be compared.
    """

    def __init__(self, worth: Mapping[str, Fraction] | None = None) -> None:
        self._worth = dict(worth or {})

    def worth(self, rate: Rate, currency: str) -> Fraction | None:
        """A price in micro-units of `currency`, exact; None where that is not known."""
        if rate.currency == currency:
            return Fraction(rate.price)
        ours, theirs = self._worth.get(rate.currency), self._worth.get(currency)
        return None if ours is None or not theirs else rate.price * ours / theirs


ONE_CURRENCY = Exchange()


class Offer(NamedTuple):
    """What a carrier of a lane asks for this number; None: its card does not say, or it has none."""

    carrier: str
    rate: Rate | None


class Order(NamedTuple):
    """Carriers, cheapest first, and why others may not have it."""

    carriers: tuple[str, ...]
    refused: tuple[tuple[str, str], ...] = ()


def least_cost(
    offers: Sequence[Offer],
    sold: Rate | None = None,
    *,
    allow_loss: bool = False,
    exchange: Exchange = ONE_CURRENCY,
) -> Order:
    """The lane's carriers by price; equal ones stay in the lane's order, unknown prices come last.

    `sold` is what the account pays for the segment. With it, a carrier that costs more, or whose price is not
    known or cannot be compared, is refused unless `allow_loss`.
    """
    currency = sold.currency if sold is not None else _common(offers)
    priced: list[tuple[Fraction, str]] = []
    unknown: list[str] = []
    refused: list[tuple[str, str]] = []
    guarded = sold is not None and not allow_loss
    for carrier, rate in offers:
        worth = exchange.worth(rate, currency) if rate is not None else None
        if worth is None:
            if guarded:
                refused.append((carrier, _unknown(rate, currency)))
            else:
                unknown.append(carrier)
        elif guarded and sold is not None and worth > sold.price:
            refused.append((carrier, f"costs {told(rate)}, the account pays {told(sold)}"))
        else:
            priced.append((worth, carrier))
    priced.sort(key=lambda one: one[0])
    return Order((*(carrier for _, carrier in priced), *unknown), tuple(refused))


def _common(offers: Sequence[Offer]) -> str:
    """The currency that offers are compared in: the first one's."""
    return next((rate.currency for _, rate in offers if rate is not None), "")


def _unknown(rate: Rate | None, currency: str) -> str:
    if rate is None:
        return "its rate card has no price for this number"
    return f"its price is in {rate.currency}, which cannot be compared with {currency}"


def told(rate: Rate | None) -> str:
    """`0.0325 EUR`, without zeros at the end."""
    return "nothing known" if rate is None else f"{amount(rate)} {rate.currency}"


def amount(rate: Rate) -> str:
    """`0.0325`, exact."""
    whole, part = divmod(rate.price, MICRO)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")


def micro_units(text: str) -> int:
    """`0.0325` as 32500. ValueError: no price, or one that has more than six decimals."""
    whole, _, part = text.partition(".")
    if not (whole + part).isascii() or not (whole + part).isdigit():
        raise ValueError(f"{text!r} is no price; write it as 0.0325")
    part = part.rstrip("0")
    if len(part) > 6:
        raise ValueError(f"{text!r} has more than 6 decimals")
    if len(whole) > 9:
        raise ValueError(f"{text!r} is no price of a segment")
    return int(whole or "0") * MICRO + int(part.ljust(6, "0"))
