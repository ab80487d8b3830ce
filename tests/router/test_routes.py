"""router.routes: the first rule that matches wins, at any number of rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routes import Route, compile


def named(*rules: tuple[str, tuple[str, ...]]) -> list[Route]:
    return [Route(name, lane, prefixes) for lane, (name, prefixes) in enumerate(rules)]


def test_a_number_goes_to_the_rule_with_its_prefix() -> None:
    table = compile(named(("uk", ("44",)), ("de", ("49",)), ("rest", ())))
    for number, name in (("447700900123", "uk"), ("4915112345678", "de"), ("33612345678", "rest")):
        route = table.match(number)
        assert route is not None
        assert route.name == name


def test_the_first_rule_wins_even_over_a_longer_prefix_behind_it() -> None:
    table = compile(named(("uk", ("44",)), ("uk-mobile", ("447",))))
    route = table.match("447700900123")
    assert route is not None
    assert route.name == "uk"


def test_a_special_rule_before_a_general_one_takes_its_numbers_only() -> None:
    table = compile(named(("uk-mobile", ("447",)), ("uk", ("44",))))
    assert [getattr(table.match(n), "name", None) for n in ("447700900123", "442079460000", "4")] == [
        "uk-mobile",
        "uk",
        None,
    ]


def test_without_a_match_there_is_no_route() -> None:
    assert compile([]).match("447700900123") is None
    assert compile(named(("uk", ("44",)))).match("33612345678") is None


def test_the_routes_own_settings_come_with_it() -> None:
    route = compile([Route("uk", 7, ("44",), True, 300, 5)]).match("447700900123")
    assert route == Route("uk", 7, ("44",), True, 300, 5)


prefixes = st.lists(st.text("012", max_size=4), max_size=4).map(tuple)


@given(st.lists(prefixes, max_size=8), st.text("012", min_size=1, max_size=6))
def test_the_table_says_what_asking_each_rule_in_order_would(
    rules: list[tuple[str, ...]], number: str
) -> None:
    routes = [Route(str(order), order, tuple(p for p in each if p)) for order, each in enumerate(rules)]
    expected = next((r for r in routes if any(number.startswith(p) for p in r.prefixes or ("",))), None)
    assert compile(routes).match(number) == expected


def test_a_prefix_that_is_not_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="not digits"):
        compile([Route("uk", 1, ("+44",))])
