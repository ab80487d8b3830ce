"""router.rules: what one condition means, and how it says no."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from router.knowledge import PLAIN
from router.nouns import Encoding, MessageClass
from router.rules import (
    Facts,
    Match,
    Window,
    folded_text,
    pattern_problem,
    sender_found,
    sender_type,
    text_found,
    why_not,
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("code", "Your CODE is 123456", True),
        ("code is ######", "Your code is 123456", True),
        ("code is ######", "Your code is 12345", False),
        ("your*123", "Your code is 123456", True),
        ("123*your", "Your code is 123456", False),
        ("c?de", "Your cöde", True),
        ("straße", "STRASSE", True),
        ("(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", False),
        ("a.c", "abc", False),
        ("code", "", False),
    ],
)
def test_a_text_is_searched_for_a_glob_whatever_the_case(pattern: str, text: str, found: bool) -> None:
    assert text_found((pattern,))(folded_text(text)) is found


def test_only_the_beginning_of_a_very_long_text_is_looked_at() -> None:
    found = text_found(("end",))
    assert found(folded_text("x" * 1_990 + "end"))
    assert not found(folded_text("x" * 2_000 + "end"))


@pytest.mark.parametrize(
    ("pattern", "sender", "found"),
    [
        ("ACME", "ACME", True),
        ("ACME", "Acme", False),
        ("AC*", "ACME", True),
        ("AC*", "BAC", False),
        ("*ME", "ACME", True),
        ("*ME", "MEM", False),
        ("A*A", "A", False),
        ("A*B*C", "AxBxC", True),
        ("A?C", "ABC", True),
        ("4477######", "4477123456", True),
        ("4477######", "44771234567", False),
    ],
)
def test_a_sender_is_matched_as_a_whole(pattern: str, sender: str, found: bool) -> None:
    assert sender_found((pattern,))(sender) is found


@pytest.mark.parametrize(
    ("pattern", "wrong"), [("***", True), ("a" * 201, True), ("a*" * 9, True), ("", True), ("a*b", False)]
)
def test_a_pattern_has_limits(pattern: str, wrong: bool) -> None:
    assert bool(pattern_problem(pattern)) is wrong


@pytest.mark.parametrize(
    ("source", "ton", "kind"),
    [
        ("ACME", 5, "alphanumeric"),
        ("12345", 5, "alphanumeric"),
        ("12345", 3, "short_code"),
        ("12345", 0, "short_code"),
        ("447700900123", 1, "long_code"),
    ],
)
def test_a_sender_has_a_type(source: str, ton: int, kind: str) -> None:
    assert sender_type(source, ton) == kind


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_began() -> None:
    friday_night = Window(hours=((22 * 60, 6 * 60),), days=(4,))
    assert friday_night.holds(at("2026-11-20T23:00:00Z"))  # a Friday
    assert friday_night.holds(at("2026-11-21T05:59:59Z"))
    assert not friday_night.holds(at("2026-11-21T06:00:00Z"))
    assert not friday_night.holds(at("2026-11-20T05:00:00Z"))
    assert not friday_night.holds(at("2026-11-21T23:00:00Z"))


def test_hours_are_those_of_the_zone_in_summer_and_in_winter() -> None:
    day = Window(ZoneInfo("Europe/London"), "Europe/London", hours=((8 * 60, 20 * 60),))
    assert day.holds(at("2026-07-01T07:00:00Z"))
    assert not day.holds(at("2026-07-01T19:00:00Z"))
    assert not day.holds(at("2026-12-01T07:00:00Z"))
    assert day.holds(at("2026-12-01T19:59:00Z"))


def test_dates_include_their_last_day() -> None:
    holidays = Window(dates=((date(2026, 12, 24).toordinal(), date(2026, 12, 26).toordinal()),))
    assert holidays.holds(at("2026-12-26T23:59:59Z"))
    assert not holidays.holds(at("2026-12-27T00:00:00Z"))
    last_ms = holidays.last_ms()
    assert last_ms is not None
    assert not holidays.holds(last_ms)
    assert last_ms < at("2026-12-29T00:00:00Z")
    assert Window(UTC, "UTC", days=(1,)).last_ms() is None


MESSAGE = Facts(
    "447700900123", "ACME", 5, "shop", "retail", MessageClass.OTP, ("x",), "code 1", Encoding.GSM7, 1,
    at("2026-11-23T03:00:00Z"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("match", "why"),
    [
        (Match(), ""),
        (Match(prefixes=("49",)), "prefix: 447700900123 is not of its prefixes"),
        (Match(left_out=("4477",)), "prefix: 447700900123 is not of its prefixes"),
        (Match(countries=("DE",)), "country: GB, and not DE"),
        (Match(mcc_mncs=("234", "26201")), "mcc_mnc: unknown, and not 234, 26201"),
        (Match(number_types=("fixed",)), "number_type: unknown, and not fixed"),
        (Match(ported=(True,)), "ported: it is not"),
        (Match(senders=("BETA",)), "sender: ACME, and not BETA"),
        (Match(sender_types=("short_code",)), "sender_type: alphanumeric, and not short_code"),
        (Match(accounts=("bank", "secret")), "account: shop is not one of its accounts"),
        (Match(groups=("gold",)), "group: retail is not one of its groups"),
        (Match(classes=(MessageClass.BULK,)), "class: otp, and not bulk"),
        (Match(tags=("y",)), "tag: it has none of y"),
        (Match(texts=("sale",)), "text: nothing in it is as sale"),
        (Match(encodings=(Encoding.UCS2,)), "encoding: gsm7, and not ucs2"),
        (Match(min_segments=2), "segments: 1, and not at least 2"),
        (
            Match(window=Window(hours=((480, 1200),))),
            "time: Mon 2026-11-23 03:00 there is not in 08:00-20:00 (UTC)",
        ),
        (Match(none_of=Match(accounts=("shop",))), "not.account: it is one that the rule leaves out"),
        (Match(none_of=Match(accounts=("b",), tags=("x",))), "not.tag: it is one that the rule leaves out"),
        (Match(none_of=Match(countries=("DE",), mcc_mncs=("234",))), ""),
    ],
)
def test_a_rule_says_which_condition_keeps_a_message_out(match: Match, why: str) -> None:
    assert why_not(match, MESSAGE, PLAIN) == why
