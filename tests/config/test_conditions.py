"""config.conditions: what a rule asks for, read and refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.load import parse
from config.problems import ConfigErrors
from router.nouns import Encoding, MessageClass
from router.rules import Match
from tests.config.reading import CARRIER, only, problems, read


def rules(*matches: str) -> str:
    return CARRIER + "".join(
        f'[[routes]]\nname = "r{index}"\nlane = ["north"]\nmatch = {match}\n'
        for index, match in enumerate(matches)
    )


def rule(match: str) -> Match:
    return read(rules(match)).routes[0].rule


def test_every_condition_is_read() -> None:
    match = rule(
        '{ prefix = ["44", "!+4477"], country = ["GB"], mcc_mnc = ["234-15", "26201", "310"], ported = true, '
        'number_type = ["mobile"], sender = ["ACME", "+44 77*"], sender_type = ["long_code"], '
        'account = ["shop"], group = ["retail"], class = ["otp", "bulk"], tag = ["x"], text = ["code ####"], '
        'encoding = ["ucs2"], min_segments = 2, max_segments = 3, hours = ["22:00-06:00"], '
        'days = ["fri-sun", "tue"], dates = ["2026-12-24..2026-12-26"], zone = "Europe/London", '
        'not = { account = ["bank"], prefix = ["4420"] } }'
    )
    assert (match.prefixes, match.left_out) == (("44",), ("4477", "4420"))
    assert (match.countries, match.number_types) == (("GB",), ("mobile",))
    assert (match.mcc_mncs, match.ported) == (("23415", "26201", "310"), (True,))
    assert (match.senders, match.sender_types) == (("ACME", "4477*"), ("long_code",))
    assert (match.accounts, match.groups, match.tags) == (("shop",), ("retail",), ("x",))
    assert match.classes == (MessageClass.OTP, MessageClass.BULK)
    assert (match.texts, match.encodings) == (("code ####",), (Encoding.UCS2,))
    assert (match.min_segments, match.max_segments) == (2, 3)
    window = match.window
    assert window is not None
    assert (window.hours, window.days) == (((1320, 360),), (1, 4, 5, 6))
    assert window.said() == "22:00-06:00, tue, fri, sat, sun, 2026-12-24..2026-12-26 (Europe/London)"
    assert match.none_of == Match(accounts=("bank",))


@pytest.mark.parametrize(
    ("match", "key", "says"),
    [
        ('{ country = ["GB", "XX"] }', "country[1]", '"XX" is no country'),
        ('{ country = ["UK"] }', "country[0]", 'write "GB"'),
        ('{ country = ["de"] }', "country[0]", 'write "DE"'),
        ('{ sender = ["*"] }', "sender[0]", "fits every text"),
        ('{ text = ["**"] }', "text[0]", "fits every text"),
        ('{ text = ["a*b*c*d*e*f*g*h*i*j"] }', "text[0]", "9 stars, at most 8"),
        ('{ hours = ["8-20"] }', "hours[0]", "no time of day"),
        ('{ hours = ["08:00-25:00"] }', "hours[0]", "from 00:00 to 24:00"),
        ('{ hours = ["08:60-09:00"] }', "hours[0]", "from 00:00 to 24:00"),
        ('{ hours = ["08:00-08:00"] }', "hours[0]", "ends when it begins"),
        ('{ days = ["monday"] }', "days[0]", '"monday" is no day'),
        ('{ dates = ["2026-02-30"] }', "dates[0]", "is no date"),
        ('{ dates = ["2026-12-26..2026-12-24"] }', "dates[0]", "ends before it begins"),
        ('{ dates = ["2026-12-24"], days = ["mon"] }', "dates", "none of these is one of the days"),
        ('{ days = ["mon"], zone = "Europe/Lundon" }', "zone", 'did you mean "Europe/London"?'),
        ('{ class = ["otp"], zone = "Europe/London" }', "zone", "has no effect without hours"),
        ("{ min_segments = 3, max_segments = 2 }", "min_segments", "more than max_segments"),
        ('{ prefix = ["44", "!44"] }', "prefix", "taken and left out"),
        ('{ class = ["otp"], not = { prefix = ["!44"] } }', "not.prefix", "write it in match.prefix"),
        ('{ class = ["otp"], not = { country = ["XX"] } }', "not.country[0]", '"XX" is no country'),
        ('{ clas = ["otp"] }', "clas", 'did you mean "class"?'),
        ('{ class = ["otq"] }', "class[0]", 'did you mean "otp"?'),
        ('{ mcc_mnc = ["1234"] }', "mcc_mnc[0]", "does not fit"),
        ('{ prefix_file = "none.csv" }', "prefix_file", "cannot read /etc/signalbox/none.csv"),
        ("{}", "", "asks for nothing"),
        ("{ not = {} }", "", "asks for nothing"),
    ],
)
def test_what_can_never_be_meant_is_refused_by_its_key(match: str, key: str, says: str) -> None:
    problem = only(rules(match))
    assert problem.key == f"routes[0].match{'.' if key else ''}{key}"
    assert says in f"{problem.message} ({problem.hint})"
    assert problem.line == CARRIER.count("\n") + 4


def test_a_rule_that_asks_for_the_same_as_one_before_it_is_never_reached() -> None:
    problem = only(rules('{ class = ["otp"] }', '{ class = ["otp"] }'))
    assert problem.key == "routes[1].match"
    assert 'the same as the route "r0" (line 6)' in problem.message


def test_a_rule_with_more_conditions_hides_none_behind_it() -> None:
    assert problems(rules('{ prefix = ["44"], class = ["otp"] }', '{ prefix = ["44"] }')) == []
    assert problems(rules('{ prefix = ["44"], not = { account = ["a"] } }', '{ prefix = ["447"] }')) == []


def test_a_rule_with_more_conditions_behind_one_that_takes_its_numbers_is_never_reached() -> None:
    assert (
        "never reached" in only(rules('{ prefix = ["44"] }', '{ prefix = ["447"], class = ["otp"] }')).message
    )


def test_prefixes_are_read_from_the_first_column_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "uk.csv").write_text('prefix,operator\n44,UK\n\n# mobile\n!+44 77,"left out, here"\n')
    config = parse(rules('{ prefix = ["49"], prefix_file = "uk.csv" }'), tmp_path / "my.toml", {})
    match = config.routes[0].rule
    assert (match.prefixes, match.left_out) == (("49", "44"), ("4477",))


def test_a_wrong_line_of_a_file_of_prefixes_is_named(tmp_path: Path) -> None:
    (tmp_path / "uk.csv").write_text("44\n4x7\n45\n")
    with pytest.raises(ConfigErrors) as caught:
        parse(rules('{ prefix_file = "uk.csv" }'), tmp_path / "my.toml", {})
    (problem,) = caught.value.problems
    assert 'uk.csv, line 2: "4x7" is no prefix' in problem.message
    (tmp_path / "empty.csv").write_text("prefix\n")
    with pytest.raises(ConfigErrors, match="holds no prefix"):
        parse(rules('{ prefix_file = "empty.csv" }'), tmp_path / "my.toml", {})


def test_there_are_not_more_routes_than_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.rules.MOST_ROUTES", 2)
    wanted = [f'{{ account = ["a{index}"] }}' for index in range(3)]
    assert "there are 3 routes, at most 2" in only(rules(*wanted)).message
