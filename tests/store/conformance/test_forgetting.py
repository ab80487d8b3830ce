"""What is found and erased of one number, what texts go by age, and what stands longest."""

from __future__ import annotations

from functools import partial
from typing import Any

from router.nouns import Message, Phase
from store.person import KINDS, Answers, Number
from tests.store.conformance.subject import DAY_MS, Subject, ids

WHO = "447700900123"
OTHER = "447700900777"
ME = Number(WHO)
SAID = "meet me at the blue door"
NOTHING = Answers()


def ended(subject: Subject, **fields: Any) -> Message:
    """Cancelled while it waited."""
    (made,) = subject.accept(subject.lane("a"), **fields)
    assert subject.do(lambda txn: txn.cancel(1, made.id, subject.now_ms)) == "cancelled"
    return made


def archive(subject: Subject) -> list[str]:
    """All that has ended; days that have something in the archive, as they can be named."""
    subject.wait(10_000)
    while rows := subject.store.pick_finished(subject.now_ms, 100):
        subject.store.write_finished(rows)
        subject.do(lambda txn, rows=rows: txn.forget(rows))  # type: ignore[misc]
    return subject.store.days_with_old_texts(subject.now_ms + 30 * DAY_MS)


def rows_of(subject: Subject) -> list[tuple[str, bytes]]:
    """Everything of the hot store that is kept about the number."""
    found: list[tuple[str, bytes]] = []
    for kind in KINDS:
        after: bytes | None = b""
        while after is not None:
            looked = subject.store.look(ME, kind, after, NOTHING)
            found += [(one.kind, one.key) for one in looked.found]
            after = looked.after
    return found


def erase(rows: list[tuple[str, bytes]], now_ms: int, txn: Any) -> Any:
    return txn.erase(rows, ME, now_ms, True)


def test_the_oldest_of_each_lane_is_told(subject: Subject) -> None:
    one, two, empty = subject.lane("a"), subject.lane("b"), subject.lane("c")
    (first,) = subject.accept(one)
    subject.wait(5_000)
    subject.accept(one)
    (later,) = subject.accept(two)
    assert subject.store.oldest_by_lane() == {one: first.accepted_ms, two: later.accepted_ms}
    assert empty not in subject.store.oldest_by_lane()
    assert len(subject.store.oldest_by_lane(1)) == 1


def test_what_should_have_ended_is_told_oldest_first(subject: Subject) -> None:
    lane = subject.lane("a")
    late = subject.accept(lane, 3, expires_ms=subject.now_ms + 60_000)
    subject.accept(lane, expires_ms=subject.now_ms + DAY_MS)
    assert subject.store.expired_rows(subject.now_ms, 10) == []
    after_ms = subject.now_ms + 180_000
    assert {id for _, id in subject.store.expired_rows(after_ms, 10)} == set(ids(late))
    assert len(subject.store.expired_rows(after_ms, 2)) == 2


def test_a_number_is_found_and_erased_and_others_stay(subject: Subject) -> None:
    mine, theirs = ended(subject, destination=WHO, text=SAID), ended(subject, destination=OTHER, text=SAID)
    rows = rows_of(subject)
    assert "message" in {kind for kind, _ in rows}
    for kind in {kind for kind, _ in rows}:
        chosen = [row for row in rows if row[0] == kind]
        erased = subject.do(partial(erase, chosen, subject.now_ms))
        assert not erased.left
    assert rows_of(subject) == []
    found, other = subject.store.find(1, mine.id), subject.store.find(1, theirs.id)
    assert found is not None
    assert other is not None
    assert (WHO in found[0].destination, found[0].text) == (False, "")
    assert (other[0].destination, other[0].text) == (OTHER, SAID)


def test_what_has_not_ended_keeps_its_number_until_it_is_ended(steady: Subject) -> None:
    subject = steady
    lane = subject.lane("a")
    (waiting,) = subject.accept(lane, destination=WHO, text=SAID)
    rows = [row for row in rows_of(subject) if row[0] == "message"]
    assert subject.do(lambda txn: txn.erase(rows, ME, subject.now_ms, True)).left["unfinished"] == 1
    assert subject.phase(waiting) == Phase.READY
    (leased,) = subject.claim(lane)
    assert subject.do(lambda txn: txn.end_for_erasing(1, waiting.id, subject.now_ms)) == "leased"
    subject.settle(subject.sent(leased, "c1"))
    assert subject.do(lambda txn: txn.end_for_erasing(1, waiting.id, subject.now_ms)) == "ended"
    assert subject.do(lambda txn: txn.end_for_erasing(1, waiting.id, subject.now_ms)) == "final"
    assert subject.counts() == {"FINAL": 1}


def test_an_archived_day_is_written_anew_without_a_number(steady: Subject) -> None:
    subject = steady
    subject.reopen(archive_after_s=0, texts_ms=DAY_MS)
    mine, theirs = ended(subject, destination=WHO, text=SAID), ended(subject, destination=OTHER, text=SAID)
    (day,) = archive(subject)
    assert len(subject.store.look_at_archive(ME, day, b"").found) == 1
    anew = subject.store.without_number(day, ME, subject.now_ms)
    while anew.step():
        pass
    assert anew.finish()
    assert subject.store.look_at_archive(ME, day, b"").found == []
    found, other = subject.store.find(1, mine.id), subject.store.find(1, theirs.id)
    assert found is not None
    assert other is not None
    assert (WHO in found[0].destination, other[0].text) == (False, SAID)


def test_texts_of_an_archived_day_go_by_age_and_facts_stay(steady: Subject) -> None:
    subject = steady
    subject.reopen(archive_after_s=0, texts_ms=DAY_MS)
    made = ended(subject, destination=WHO, text=SAID)
    (day,) = archive(subject)
    assert subject.store.days_with_old_texts(subject.now_ms) == []
    then_ms = subject.now_ms + 3 * DAY_MS
    anew = subject.store.without_texts(day, then_ms)
    while anew.step():
        pass
    assert anew.finish()
    found = subject.store.find(1, made.id)
    assert found is not None
    assert (found[0].text, found[0].destination) == ("", WHO)
    assert subject.store.days_with_old_texts(then_ms) == []
