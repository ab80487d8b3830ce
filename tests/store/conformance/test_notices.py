"""The event log: in order, newest first, and bounded."""

from __future__ import annotations

import pytest

from store import notices
from store.interface import Notice
from tests.store.conformance.subject import Subject


def made(number: int, subject: str = "carrier:north") -> Notice:
    return Notice(1_000 + number, "carrier.opened", subject, f"event {number}", {"errors": number}, True)


def test_notices_are_numbered_and_listed_newest_first(subject: Subject) -> None:
    assert subject.store.notices() == []
    assert subject.do(lambda txn: txn.notice([made(1), made(2, "route:uk")])) == 2
    assert subject.do(lambda txn: txn.notice([made(3)])) == 3
    rows = subject.store.notices()
    assert [(row.number, row.notice.text) for row in rows] == [(3, "event 3"), (2, "event 2"), (1, "event 1")]
    assert rows[0].notice == made(3)
    assert [row.number for row in subject.store.notices(1)] == [3]
    assert [row.number for row in subject.store.notices(before=3)] == [2, 1]
    assert [row.number for row in subject.store.notices(subject="north")] == [3, 1]
    assert [row.number for row in subject.store.notices(subject="route:uk")] == [2]


def test_the_oldest_notices_make_room(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MOST", 20)
    for start in (0, 15, 30):
        rows = [made(number) for number in range(start, start + 15)]
        assert subject.do(lambda txn, rows=rows: txn.notice(rows)) == start + 15  # type: ignore[misc]
    kept = subject.store.notices(1_000)
    assert (len(kept), kept[0].number, kept[-1].number) == (20, 45, 26)
