"""Ends as people write them: the next such clock time, or a date and a time; UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.ends import MOST_S, seconds_until
from gateway.orders import LONGEST_S

NOW = datetime(2030, 1, 31, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("14:30", 1_800),
        (" 14:30Z ", 1_800),
        ("14:30 UTC", 1_800),
        ("14:00:01", 1),
        ("14:00", 86_400),
        ("9:30", 70_200),
        ("2030-01-31T14:30", 1_800),
        ("2030-01-31 15:30+01:00", 1_800),
        ("2030-02-01", 36_000),
    ],
)
def test_an_end_is_so_far_away(text: str, left: float) -> None:
    assert seconds_until(text, NOW) == left


@pytest.mark.parametrize("text", ["", "soon", "24:00", "14:60", "14", "2030-13-01", "\u0661\u0664:30"])
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="as 14:30"):
        seconds_until(text, NOW)


def test_what_is_over_or_farther_away_than_an_order_lasts_is_refused() -> None:
    with pytest.raises(ValueError, match="is over"):
        seconds_until("2030-01-31T14:00Z", NOW)
    with pytest.raises(ValueError, match="more than 366 days"):
        seconds_until("2031-03-01", NOW)
    assert MOST_S == LONGEST_S
