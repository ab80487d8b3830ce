"""Following what has ended: every message once, in order, whatever the clock and the archiver do."""

from __future__ import annotations

from router.nouns import Phase, Settle
from tests.store.conformance.subject import Subject
from tests.store.records_for_tests import claim, message, outcome


def end(subject: Subject, lane: int) -> int:
    """A message that a carrier refuses for good, now; its id."""
    store = subject.store
    made = message(store, lane)
    subject.do(lambda txn: txn.accept([made]))
    (leased,) = subject.do(lambda txn: txn.claim([claim(store, lane, "a")]))[0].leased
    refused = outcome(store, leased, "a", Settle.FINAL, state=8)
    subject.do(lambda txn: txn.settle([refused], subject.now_ms))
    return made.id


def followed(subject: Subject, key: bytes, until_s: int, limit: int = 100) -> list[int]:
    rows = subject.store.finished_after(key, until_s, limit)
    return [row.message.id for row in rows if row.message is not None]


def test_what_ended_is_read_in_order_behind_a_row_and_up_to_a_second(steady: Subject) -> None:
    lane = steady.lane("a")
    first, second = end(steady, lane), end(steady, lane)
    steady.wait(5_000)
    third = end(steady, lane)
    until_s = steady.now_ms // 1000
    assert followed(steady, b"", until_s) == [first, second, third]
    assert followed(steady, b"", until_s - 1) == [first, second]
    key = steady.store.finished_after(b"", until_s, 1)[0].key
    assert followed(steady, key, until_s, 1) == [second]
    assert steady.store.finished_after(b"", until_s, 1)[0].progress.phase == Phase.FINAL


def test_nothing_ends_in_a_second_that_is_sealed_even_after_a_restart(steady: Subject) -> None:
    lane = steady.lane("a")
    first = end(steady, lane)
    sealed_ms = (steady.now_ms // 1000 + 1) * 1000
    steady.do(lambda txn: txn.seal_finished(sealed_ms))
    (row,) = steady.store.finished_after(b"", steady.now_ms // 1000, 10)
    steady.wait(-60_000)  # somebody set the clock back
    second = end(steady, lane)
    steady.reopen()
    third = end(steady, lane)
    assert followed(steady, row.key, sealed_ms // 1000) == [second, third]
    assert followed(steady, b"", sealed_ms // 1000) == [first, second, third]


def test_what_was_not_followed_yet_is_not_archived(steady: Subject) -> None:
    lane = steady.lane("a")
    first, second = end(steady, lane), end(steady, lane)
    rows = steady.store.finished_after(b"", steady.now_ms // 1000, 10)
    later_ms = steady.now_ms + 30 * 86_400_000

    def picked() -> list[int]:
        return [one.message.id for one in steady.store.pick_finished(later_ms, 10) if one.message is not None]

    steady.store.follow_finished(b"")
    assert picked() == []
    steady.store.follow_finished(rows[0].key)
    assert picked() == [first]
    steady.store.follow_finished(None)
    assert picked() == [first, second]
