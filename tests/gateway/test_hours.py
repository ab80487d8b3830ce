"""Hours that are compared with the same ones a week ago."""

from __future__ import annotations

from gateway.hours import HOUR_MS, KEPT, Hour, Hours
from router.health import RECEIPTS

WEEK_MS = 7 * 24 * HOUR_MS
NOW_MS = 500_000 * HOUR_MS


def counts(
    answered: int = 0, failed: int = 0, delivered: int = 0, undelivered: int = 0
) -> tuple[list[int], list[int]]:
    return [answered, failed, 0, 0], [delivered, undelivered, *[0] * (RECEIPTS - 2)]


class Kept:
    """Hours whose rows are kept as a store would."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.hours = Hours(self.rows.get)

    def hour(self, at_ms: int, **what: int) -> list[str]:
        """One hour's counts; what is said of it when it ends."""
        self.hours.add("north", at_ms, *counts(**what))
        ended = self.hours.add("north", at_ms + HOUR_MS, *counts())
        assert ended is not None
        told = [text for text, _ in self.hours.worse("north", ended, 300)]
        name, row = self.hours.keep("north", ended)
        self.rows[name] = row
        return told


def test_an_hour_much_worse_than_a_week_ago_is_told() -> None:
    kept = Kept()
    assert kept.hour(NOW_MS, answered=1_000, delivered=900, undelivered=100) == []
    kept.hours = Hours(kept.rows.get)  # a restart
    assert kept.hour(NOW_MS + WEEK_MS, answered=600, failed=400, delivered=500, undelivered=500) == [
        "more submits failed",
        "fewer messages were delivered",
    ]


def test_an_hour_as_a_week_ago_or_with_little_in_it_is_not() -> None:
    kept = Kept()
    kept.hour(NOW_MS, answered=1_000, delivered=900, undelivered=100)
    kept.hour(NOW_MS + 2 * HOUR_MS, answered=1_000, delivered=900)
    assert kept.hour(NOW_MS + WEEK_MS, answered=900, failed=100, delivered=700, undelivered=300) == []
    assert kept.hour(NOW_MS + WEEK_MS + 2 * HOUR_MS, delivered=1, undelivered=98) == []


def test_eight_days_are_kept() -> None:
    kept = Kept()
    for number in range(KEPT + 50):
        kept.hour(NOW_MS + number * HOUR_MS, answered=1)
    assert len(kept.hours.of("north")) == KEPT


def test_a_damaged_row_is_as_none() -> None:
    assert Hours({"hours:north": b"\xff"}.get).of("north") == []
    assert Hour(1).permille() == (-1, -1)
