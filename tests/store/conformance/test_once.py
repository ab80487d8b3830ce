"""Requests that were carried out are remembered with what they did, for a day, by account."""

from __future__ import annotations

from functools import partial

from store.interface import Remembered, Transaction
from tests.store import records_for_tests as made
from tests.store.conformance.subject import DAY_MS, Subject

KEY, OTHER = b"k" * 16, b"o" * 16


def keep(account: int, key: bytes, row: Remembered, txn: Transaction) -> None:
    txn.remember(account, key, row)


def row(subject: Subject, what: bytes = b"request") -> Remembered:
    return Remembered(what, subject.now_ms, b"answer")


def test_what_was_carried_out_is_known_with_its_answer_and_to_its_account_alone(subject: Subject) -> None:
    lane = subject.lane("a")
    messages = [made.message(subject.store, lane)]
    kept = row(subject)
    subject.do(lambda txn: txn.remember(1, KEY, kept), lambda txn: txn.accept(messages))
    assert subject.store.remembered(1, KEY) == kept
    assert subject.store.remembered(2, KEY) is None
    assert subject.store.remembered(1, OTHER) is None
    subject.reopen()
    assert subject.store.remembered(1, KEY) == kept
    assert subject.store.find(1, messages[0].id) is not None


def test_a_transaction_that_is_not_committed_carried_nothing_out(steady: Subject) -> None:
    lane = steady.lane("a")
    messages = [made.message(steady.store, lane)]
    txn = steady.store.begin()
    txn.remember(1, KEY, row(steady))
    txn.accept(messages)
    steady.store.abort(txn)
    assert steady.store.remembered(1, KEY) is None
    assert steady.store.find(1, messages[0].id) is None


def test_after_a_day_it_is_forgotten_in_portions(subject: Subject) -> None:
    for number in range(5):
        subject.do(partial(keep, 1, bytes([number]) * 16, row(subject)))
        subject.wait(1_000)
    subject.wait(DAY_MS - 6_000)
    assert subject.store.remembered(1, bytes(16)) is not None
    assert subject.do(lambda txn: txn.housekeep(subject.now_ms, 100)) == 0
    subject.wait(3_500)
    assert subject.store.remembered(1, bytes(16)) is None, "it is as good as gone before it goes"
    assert [subject.do(lambda txn: txn.housekeep(subject.now_ms, 2)) for _ in range(3)] == [2, 1, 0]
    left = [subject.store.remembered(1, bytes([number]) * 16) is not None for number in range(5)]
    assert left == [False, False, False, True, True]


def test_a_key_that_is_used_anew_outlives_its_first_use(subject: Subject) -> None:
    first = row(subject, b"first")
    subject.do(lambda txn: txn.remember(1, KEY, first))
    subject.wait(DAY_MS)
    again = row(subject, b"again")
    subject.do(lambda txn: txn.remember(1, KEY, again))
    assert subject.do(lambda txn: txn.housekeep(subject.now_ms + 1, 100)) == 1
    assert subject.store.remembered(1, KEY) == again
