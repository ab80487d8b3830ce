"""Which messages went to a number: waiting, sent, ended and archived ones."""

from __future__ import annotations

import pytest

from router.nouns import MessageState
from store import finding
from tests.store.conformance.subject import Subject

NUMBER = "447700900555"


def found(subject: Subject, to: str, accounts: tuple[int, ...] = (1, 2), limit: int = 20) -> list[int]:
    messages, complete = subject.store.messages_to(accounts, to, 0, limit)
    assert complete
    return [message.id for message, _ in messages]


def test_messages_to_a_number_are_found_wherever_they_are_newest_first(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.account(2)
    archived = subject.send(lane, "id1", destination=NUMBER)
    subject.receive(subject.receipt("id1", NUMBER, MessageState.DELIVERED))
    subject.wait(subject.options.archive_after_s * 1000 + 1_000)
    rows = subject.store.pick_finished(subject.now_ms, 10)
    subject.store.write_finished(rows)
    assert found(subject, NUMBER) == [archived.id]  # in both places for a moment
    subject.do(lambda txn: txn.forget(rows))
    sent = subject.send(lane, "id2", account=2, destination=NUMBER)
    (waiting,) = subject.accept(lane, 1, destination=NUMBER)
    newest_first = [waiting.id, sent.id, archived.id]
    assert found(subject, NUMBER) == newest_first
    assert found(subject, NUMBER, limit=1) == newest_first[:1]
    assert found(subject, NUMBER, accounts=(2,)) == [sent.id]
    assert found(subject, "999999") == []
    messages, _ = subject.store.messages_to((1, 2), NUMBER, subject.now_ms, 20)
    assert archived.id not in [message.id for message, _ in messages]


def test_what_was_not_looked_at_for_its_cost_is_said(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 3)
    monkeypatch.setattr(finding, "MOST_LOOKED_AT", 2)
    assert subject.store.messages_to((1,), "999999", 0, 20) == ([], False)
