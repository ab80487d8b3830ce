"""router.rates: the price in force, exact money, the cheapest first, never below what the account pays."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.rates import Exchange, Offer, Order, Priced, Rate, least_cost, micro_units, price, told

DAY_MS = 86_400_000


class Rows:
    """A card of a test: key → rates."""

    def __init__(
        self, prefixes: dict[str, list[Rate]], networks: dict[str, list[Rate]] | None = None
    ) -> None:
        self.prefixes = prefixes
        self.networks = networks or {}

    def by_prefix(self, digits: str) -> Sequence[tuple[str, Rate]]:
        begun = (digits[:n] for n in range(len(digits), 0, -1))
        return [(one, rate) for one in begun for rate in latest(self.prefixes.get(one, []))]

    def by_network(self, mcc_mnc: str) -> Sequence[tuple[str, Rate]]:
        return [(mcc_mnc, rate) for rate in latest(self.networks.get(mcc_mnc, []))]


def latest(rates: list[Rate]) -> list[Rate]:
    return sorted(rates, key=lambda rate: -rate.from_ms)


def eur(micro: int, from_ms: int = 0) -> Rate:
    return Rate(micro, "EUR", from_ms)


def test_the_longest_prefix_with_a_price_in_force_counts() -> None:
    card = Rows({"44": [eur(40)], "447": [eur(30), eur(35, 2 * DAY_MS)], "4474": [eur(10, 9 * DAY_MS)]})
    assert price(card, "447400123456", "", 0) == Priced(eur(30), "447")
    assert price(card, "447400123456", "", 2 * DAY_MS - 1) == Priced(eur(30), "447")
    assert price(card, "447400123456", "", 2 * DAY_MS) == Priced(eur(35, 2 * DAY_MS), "447")
    assert price(card, "447400123456", "", 9 * DAY_MS) == Priced(eur(10, 9 * DAY_MS), "4474")
    assert price(card, "442079460000", "", 0) == Priced(eur(40), "44")
    assert price(card, "33612345678", "", 0) is None


def test_the_network_goes_before_the_prefix_and_the_prefix_before_the_country() -> None:
    card = Rows({"44": [eur(40)]}, {"23430": [eur(20, DAY_MS)], "234": [eur(50)], "208": [eur(60)]})
    assert price(card, "447400123456", "23430", DAY_MS) == Priced(eur(20, DAY_MS), "23430")
    assert price(card, "447400123456", "23430", 0) == Priced(eur(40), "44")
    assert price(card, "447400123456", "23415", 0) == Priced(eur(40), "44")
    assert price(card, "33612345678", "20801", 0) == Priced(eur(60), "208")
    assert price(card, "33612345678", "", 0) is None


def test_the_cheapest_carrier_comes_first_and_equals_stay_in_order() -> None:
    offers = [
        Offer("a", eur(30)),
        Offer("b", None),
        Offer("c", eur(10)),
        Offer("d", eur(30)),
        Offer("e", eur(0)),
    ]
    assert least_cost(offers) == Order(("e", "c", "a", "d", "b"))
    assert least_cost([]) == Order(())


def test_nobody_is_chosen_who_costs_more_than_the_account_pays() -> None:
    offers = [
        Offer("dear", eur(32_501)),
        Offer("same", eur(32_500)),
        Offer("unknown", None),
        Offer("low", eur(1)),
    ]
    order = least_cost(offers, eur(32_500))
    assert order.carriers == ("low", "same")
    assert order.refused == (
        ("dear", "costs 0.032501 EUR, the account pays 0.0325 EUR"),
        ("unknown", "its rate card has no price for this number"),
    )
    assert least_cost(offers, eur(32_500), allow_loss=True) == Order(("low", "same", "dear", "unknown"))


def test_currencies_are_compared_by_their_exact_worth_or_not_at_all() -> None:
    offers = [Offer("usd", Rate(100, "USD")), Offer("eur", eur(92)), Offer("gbp", Rate(1, "GBP"))]
    assert least_cost(offers[1:], eur(100)).refused == (
        ("gbp", "its price is in GBP, which cannot be compared with EUR"),
    )
    exchange = Exchange({"EUR": Fraction(1), "USD": Fraction("0.92")})
    assert least_cost(offers, exchange=exchange).carriers == ("usd", "eur", "gbp")
    assert least_cost(offers, eur(92), exchange=exchange).carriers == ("usd", "eur")
    assert least_cost([Offer("usd", Rate(101, "USD"))], eur(92), exchange=exchange).carriers == ()


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(["EUR", "USD"])), max_size=16),
    st.integers(0, 10**9),
)
def test_the_guard_holds_and_every_carrier_is_told_of_once(prices: list[tuple[int, str]], sold: int) -> None:
    exchange = Exchange({"EUR": Fraction(1), "USD": Fraction("0.913")})
    offers = [Offer(str(number), Rate(*one)) for number, one in enumerate(prices)]
    order = least_cost(offers, eur(sold), exchange=exchange)
    assert sorted([*order.carriers, *(name for name, _ in order.refused)]) == sorted(
        one.carrier for one in offers
    )
    worths = [exchange.worth(Rate(*prices[int(name)]), "EUR") for name in order.carriers]
    assert all(worth is not None and worth <= sold for worth in worths)
    assert worths == sorted(worths, key=lambda worth: worth or 0)


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0.0325", 32_500),
        ("1", 1_000_000),
        ("0", 0),
        ("0.0", 0),
        ("0.000001", 1),
        ("0.0000010", 1),
        ("12.5", 12_500_000),
        (".5", 500_000),
        ("3.", 3_000_000),
        ("0.00", 0),
        (".0", 0),
    ],
)
def test_prices_are_exact_micro_units(text: str, micro: int) -> None:
    assert micro_units(text) == micro


@pytest.mark.parametrize(
    "text", ["", ".", "-1", "1e3", "0.0000001", "1,5", "abc", "٣", "1.2.3", "1 000", "9999999999", "nan"]
)
def test_what_is_no_exact_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"price|decimals"):
        micro_units(text)


def test_prices_are_told_without_needless_zeros() -> None:
    assert [told(eur(one)) for one in (32_500, 1_000_000, 0, 1, 12_500_000)] == [
        "0.0325 EUR", "1 EUR", "0 EUR", "0.000001 EUR", "12.5 EUR",
    ]  # fmt: skip
    assert told(None) == "nothing known"
