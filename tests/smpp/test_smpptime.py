"""SMPP times and receipt dates: absolute, relative, quarter hours, limits, and the formats carriers use.

Deliberately not here: receipts around the dates (test_receipt).
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp import smpptime
from smpp.smpptime import BadTime


def ms(*moment: int) -> int:
    return smpptime.to_ms(datetime(*moment, tzinfo=UTC))  # type: ignore[arg-type,misc]


NOW = ms(2024, 1, 31, 12, 0, 0)


def test_fm34_an_absolute_time_is_moved_to_utc_by_its_quarter_hours() -> None:
    assert smpptime.parse(b"240131130000000+", NOW) == ms(2024, 1, 31, 13)
    assert smpptime.parse(b"240131130000004+", NOW) == ms(2024, 1, 31, 12)
    assert smpptime.parse(b"240131130000022-", NOW) == ms(2024, 1, 31, 18, 30)
    assert smpptime.parse(b"240131130000748+", NOW) == ms(2024, 1, 31, 1, 0, 0) + 700
    assert smpptime.parse("240131130000000+\0", NOW) == ms(2024, 1, 31, 13)


def test_fm34_a_relative_time_counts_from_now_by_the_calendar() -> None:
    assert smpptime.parse(b"000002000000000R", NOW) == NOW + 2 * 86_400_000
    assert smpptime.parse(b"000000013005000R", NOW) == NOW + 5_405_000
    assert smpptime.parse(b"000100000000000R", NOW) == ms(2024, 2, 29, 12)
    assert smpptime.parse(b"010100000000000r", NOW) == ms(2025, 2, 28, 12)
    assert smpptime.parse(b"001200000000000R", NOW) == ms(2025, 1, 31, 12)


def test_an_empty_time_is_none() -> None:
    assert smpptime.parse(b"", NOW) == 0
    assert smpptime.parse(b"\0", NOW) == 0


@pytest.mark.parametrize(
    "value",
    [
        *(b"x", b"2401311300", b"241331130000000+", b"240132130000000+", b"240131250000000+", b"\xff" * 16),
        *(b"240131130000049+", b"240131130000000", b"240131130000000Z", b"2401311300000000+"),
    ],
)
def test_fm34_what_is_no_time_is_refused(value: bytes) -> None:
    with pytest.raises(BadTime):
        smpptime.parse(value, NOW)


@given(st.integers(ms(2000, 1, 1), ms(2099, 12, 31)).map(lambda at: at // 100 * 100))
def test_absolute_times_round_trip_to_the_tenth(at_ms: int) -> None:
    written = smpptime.format_absolute(at_ms)
    assert len(written) == 16
    assert smpptime.parse(written, 0) == at_ms


@given(st.integers(0, 99 * 86_400 + 86_399))
def test_relative_times_round_trip_up_to_99_days(seconds: int) -> None:
    written = smpptime.format_relative(seconds)
    assert len(written) == 16
    assert smpptime.parse(written, NOW) == NOW + seconds * 1000


@given(st.floats(-1e12, 1e12))
def test_any_length_of_time_can_be_written(seconds: float) -> None:
    written = smpptime.format_relative(seconds)
    assert len(written) == 16
    assert smpptime.parse(written, NOW) >= NOW


@given(st.binary(max_size=17), st.integers(0, ms(2100, 1, 1)))
def test_any_octets_are_a_time_or_refused(value: bytes, now_ms: int) -> None:
    with contextlib.suppress(BadTime):
        assert isinstance(smpptime.parse(value, now_ms), int)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 10**10 - 1), st.integers(0, ms(2100, 1, 1)))
def test_any_relative_time_is_a_time(years: int, months: int, rest: int, now_ms: int) -> None:
    # DDhhmmss and two of the ignored digits
    value = f"{years:02}{months:02}{rest % 10**8:08}000R".encode()
    assert smpptime.parse(value, now_ms) >= now_ms - 4 * 86_400_000


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2401021304", ms(2024, 1, 2, 13, 4)),
        ("240102130459", ms(2024, 1, 2, 13, 4, 59)),
        ("201902261755", ms(2019, 2, 26, 17, 55)),  # reads as no YYMMDDhhmmss
        ("20240102130459", ms(2024, 1, 2, 13, 4, 59)),
        ("2024-01-02 13:04:59", ms(2024, 1, 2, 13, 4, 59)),
        ("2024-01-02T13:04", ms(2024, 1, 2, 13, 4)),
        ("180711070003912+", ms(2018, 7, 11, 4, 0, 3) + 900),
        ("180711070003908-", ms(2018, 7, 11, 9, 0, 3) + 900),
        ("0000000000", 0),
        ("7001010000", 0),
        ("2413021304", 0),
        ("24010213", 0),
        ("now", 0),
        ("", 0),
    ],
)
def test_a_receipts_date_is_read_in_every_form_carriers_use(raw: str, expected: int) -> None:
    assert smpptime.parse_receipt_date(raw) == expected


def test_fm33_twelve_digits_that_read_two_ways_are_decided_by_when_the_receipt_came() -> None:
    raw = "201010101010"
    assert smpptime.parse_receipt_date(raw) == ms(2020, 10, 10, 10, 10, 10)
    assert smpptime.parse_receipt_date(raw, UTC, ms(2020, 10, 11)) == ms(2020, 10, 10, 10, 10, 10)
    assert smpptime.parse_receipt_date(raw, UTC, ms(2010, 10, 11)) == ms(2010, 10, 10, 10, 10)


@given(st.integers(ms(2000, 1, 1), ms(2069, 12, 31)), st.integers(-14, 14))
def test_receipt_dates_round_trip_in_every_zone(at_ms: int, hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    minute = at_ms // 60_000 * 60_000
    assert smpptime.parse_receipt_date(smpptime.format_receipt_date(at_ms, zone), zone) == minute


@given(st.text(max_size=20))
def test_any_text_is_a_date_or_none(raw: str) -> None:
    assert isinstance(smpptime.parse_receipt_date(raw), int)
