"""router.routes: the first rule that matches wins, at any number of rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import rules
from router.routes import Route, RouteTable, compile
from router.rules import Facts, Match, Window, prefix_holds, why_not


def named(*rules: tuple[str, tuple[str, ...]]) -> list[Route]:
    return [Route(name, lane, Match(prefixes)) for lane, (name, prefixes) in enumerate(rules)]


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
    route = compile([Route("uk", 7, Match(("44",)), True, 300, 5)]).match("447700900123")
    assert route == Route("uk", 7, Match(("44",)), True, 300, 5)


prefixes = st.lists(st.text("012", max_size=4), max_size=4).map(tuple)


@given(st.lists(prefixes, max_size=8), st.text("012", min_size=1, max_size=6))
def test_the_table_says_what_asking_each_rule_in_order_would(
    rules: list[tuple[str, ...]], number: str
) -> None:
    routes = [
        Route(str(order), order, Match(tuple(p for p in each if p))) for order, each in enumerate(rules)
    ]
    expected = next((r for r in routes if any(number.startswith(p) for p in r.match.prefixes or ("",))), None)
    assert compile(routes).match(number) == expected


def test_a_prefix_that_is_not_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="not digits"):
        compile([Route("uk", 1, Match(("+44",)))])


# rules with more than prefixes


class Book:
    """Numbers of a small world, and how often each fact was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def country(self, digits: str) -> str:
        self.asked.append("country")
        return {"0": "GB", "1": "DE"}.get(digits[:1], "")

    def number_type(self, digits: str) -> str:
        self.asked.append("number_type")
        return "mobile" if digits[-1:] == "0" else "fixed"

    def mcc_mnc(self, digits: str) -> str:
        self.asked.append("mcc_mnc")
        return {"00": "23415", "01": "23410", "10": "26201"}.get(digits[:2], "")

    def ported(self, digits: str) -> bool:
        self.asked.append("ported")
        return "2" in digits


def decided(table: RouteTable, facts: Facts) -> Route | None:
    return table.decide(
        facts.destination, facts.source, facts.source_ton, facts.account, facts.group, facts.message_class,
        facts.tags, facts.text, facts.encoding, facts.segments, facts.at_ms,
    )  # fmt: skip


def few(*values: object) -> st.SearchStrategy[tuple[object, ...]]:
    return st.one_of(st.just(()), st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple))


MINUTES = st.sampled_from((0, 60, 600, 1439))
windows = st.builds(
    Window,
    hours=st.lists(st.tuples(MINUTES, MINUTES).filter(lambda pair: pair[0] != pair[1]), max_size=2).map(
        tuple
    ),
    days=st.lists(st.integers(0, 6), max_size=3, unique=True).map(tuple),
    dates=st.sampled_from(((), ((719_163, 719_164),), ((719_165, 719_165), (719_163, 719_163)))),
)
conditions: dict[str, st.SearchStrategy[object]] = {
    "countries": few("GB", "DE"),
    "number_types": few("mobile", "fixed"),
    "ported": st.sampled_from(((), (True,), (False,))),
    "mcc_mncs": few("234", "23415", "26201"),
    "senders": few("ACME", "AC*", "123#", "ACME?"),
    "sender_types": few("alphanumeric", "short_code", "long_code"),
    "accounts": few("shop", "bank"),
    "groups": few("retail", "gold"),
    "classes": few(0, 1, 3),
    "tags": few("x", "y"),
    "texts": few("code", "a*b", "##"),
    "encodings": few(0, 2),
    "min_segments": st.integers(0, 3),
    "max_segments": st.integers(0, 3),
    "window": st.one_of(st.none(), windows),
}
exclusions = st.builds(Match, **conditions)
matches = st.builds(
    Match, prefixes=prefixes.map(lambda each: tuple(p for p in each if p)),
    left_out=prefixes.map(lambda each: tuple(p for p in each if p)),
    none_of=st.one_of(st.none(), exclusions), **conditions,
)  # fmt: skip
messages = st.builds(
    Facts,
    destination=st.text("012", min_size=1, max_size=5),
    source=st.sampled_from(("ACME", "ACME1", "1234", "447700900123")),
    source_ton=st.sampled_from((0, 1, 5)),
    account=st.sampled_from(("shop", "bank", "other")),
    group=st.sampled_from(("", "retail", "gold")),
    message_class=st.sampled_from((0, 1, 2, 3)),
    tags=st.sampled_from(((), ("x",), ("z", "y"), ("x", "y"))),
    text=st.sampled_from(("", "your CODE is 12", "a and b", "nothing")),
    encoding=st.sampled_from((0, 2, 3)),
    segments=st.integers(1, 4),
    at_ms=st.integers(0, 4 * 86_400_000),
)


@given(st.lists(matches, max_size=6), st.lists(messages, min_size=1, max_size=4))
def test_the_compiled_rules_say_what_asking_each_in_order_would(
    rules: list[Match], several: list[Facts]
) -> None:
    table = compile([Route(str(order), order, match) for order, match in enumerate(rules)], Book())
    for facts in several:
        expected = next((r for r in table.routes if not why_not(r.match, facts, Book())), None)
        assert decided(table, facts) == expected
        asked = table.explain(facts)
        assert [one.route for one in asked] == list(table.routes[: len(asked)])
        assert all(one.why_not for one in asked[:-1])
        assert (asked[-1].route if asked and not asked[-1].why_not else None) == expected


def test_a_fact_of_the_number_is_asked_for_once_and_only_when_a_rule_that_is_left_needs_it() -> None:
    book = Book()
    routes = [
        Route("bank", 1, Match(accounts=("bank",), mcc_mncs=("234",))),
        Route("uk", 2, Match(countries=("GB",), accounts=("shop",))),
        Route("also-uk", 3, Match(countries=("GB",))),
        Route("rest", 4),
    ]
    table = compile(routes, book)
    assert decided(table, Facts("10", account="none")) == routes[3]
    assert book.asked == ["country"]
    book.asked.clear()
    assert decided(table, Facts("00", account="bank")) == routes[0]
    assert book.asked == ["mcc_mnc"]
    book.asked.clear()
    assert decided(compile([*routes[3:], *routes[:3]], book), Facts("00", account="bank")) == routes[3]
    assert book.asked == []


def test_of_prefixes_taken_and_left_out_the_longest_speaks() -> None:
    match = Match(prefixes=("44", "44770"), left_out=("447",))
    table = compile([Route("uk", 1, match)])
    for number, taken in (("441", True), ("4478", False), ("447701", True), ("49", False)):
        assert (decided(table, Facts(number)) is not None) is taken
        assert prefix_holds(match, number) is taken


def test_a_table_with_only_prefixes_stays_a_dictionary() -> None:
    assert compile(named(("uk", ("44",)), ("rest", ()))).prefix_only
    assert not compile([Route("uk", 1, Match(classes=(0,)))]).prefix_only


def test_explaining_compiles_each_rules_patterns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    class Counted(rules._Glob):
        def __init__(self, pattern: str, *, whole: bool) -> None:
            compiled.append(pattern)
            super().__init__(pattern, whole=whole)

    monkeypatch.setattr(rules, "_Glob", Counted)
    match = Match(senders=("SHOP*",), texts=("co?de",), none_of=Match(senders=("*X",), texts=("no*w",)))
    table = compile([Route("a", 1, match), Route("b", 2)])
    compiled.clear()  # what decides has its own
    asked = [("SHOP", "a co-de"), ("SHOP", "co1de no now"), ("OTHER", "x"), ("SHOPX", "co1de")]
    for source, text in asked:
        table.explain(Facts("447400123456", source, text=text))
    assert sorted(compiled) == ["*X", "SHOP*", "co?de", "no*w"]
    for source, text in asked:
        table.explain(Facts("447400123456", source, text=text))
    assert len(compiled) == 4
