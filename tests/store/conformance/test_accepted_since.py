"""What an account submitted lately: for whoever must know it again after a start."""

from __future__ import annotations

from router.nouns import MessageState
from tests.store.conformance.subject import Subject, ids


def since(subject: Subject, ago_ms: int, account: int = 1, limit: int = 100) -> list[int]:
    return ids(subject.store.accepted_since(account, subject.now_ms - ago_ms, limit))


def test_the_messages_of_one_account_from_a_time_on_oldest_first(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.account(2)
    old = subject.accept(lane, 2)
    subject.wait(60_000)
    new = subject.accept(lane, 3)
    others = subject.accept(lane, 2, account=2)
    assert since(subject, 60_000) == ids([*old, *new])
    assert since(subject, 59_999) == ids(new)
    assert since(subject, 60_000, limit=4) == ids([*old, *new])[1:]
    assert since(subject, 60_000, account=2) == ids(others)
    assert since(subject, 60_000, account=3) == []


def test_those_that_have_ended_and_are_archived_are_among_them(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.account(2)
    done = [subject.send(lane, f"id{n}") for n in range(3)]
    foreign = subject.send(lane, "id9", account=2)
    for message, cid in zip([*done, foreign], ("id0", "id1", "id2", "id9"), strict=True):
        subject.receive(subject.receipt(cid, message.destination, MessageState.DELIVERED))
    subject.wait(subject.options.archive_after_s * 1000 + 1_000)
    ago_ms = subject.now_ms - done[0].accepted_ms
    rows = subject.store.pick_finished(subject.now_ms, 10)
    assert len(rows) == 4
    subject.store.write_finished(rows)
    assert since(subject, ago_ms) == ids(done)  # while they are in both places, too
    subject.do(lambda txn: txn.forget(rows))
    waiting = subject.accept(lane)
    assert since(subject, ago_ms) == ids([*done, *waiting])
    assert since(subject, ago_ms, limit=2) == ids([*done, *waiting])[-2:]
    assert since(subject, ago_ms - 1) == ids(waiting)
    assert subject.store.accepted_since(1, subject.now_ms - ago_ms, 1) == waiting
