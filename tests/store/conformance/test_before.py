"""How many ready messages go before one in its lane."""

from __future__ import annotations

import pytest

from router.nouns import Message, Reason, Settle
from store import before as counting
from store.interface import Before
from tests.store.conformance.subject import Subject
from tests.store.conformance.test_moving import MINUTE_MS, force


def before(subject: Subject, message: Message, most: int = 100) -> Before | None:
    found: Before | None = subject.store.before(message.account, message.id, most)
    return found


def test_older_ones_of_its_account_and_higher_priorities_are_before_it(subject: Subject) -> None:
    lane = subject.lane("a", "b")
    subject.accept(subject.lane("c"), 9)  # another lane
    low = subject.accept(lane, 3, priority=1)
    high = subject.accept(lane, 4, priority=2)
    assert [before(subject, one) for one in high] == [(0, False), (1, False), (2, False), (3, False)]
    assert [before(subject, one) for one in low] == [(4, False), (5, False), (6, False)]


def test_what_was_tried_elsewhere_and_what_was_forced_is_before_it(subject: Subject) -> None:
    lane = subject.lane("a", "b")
    first, second, third = subject.accept(lane, 3)
    force(subject, third, "a")
    assert [before(subject, one) for one in (first, second, third)] == [(1, False), (2, False), (0, False)]


def test_other_accounts_take_turns_with_it(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 10, account=2)
    mine = subject.accept(lane, 3, account=1)
    assert [before(subject, one) for one in mine] == [(0, False), (2, False), (4, False)]


def test_it_is_counted_so_far(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 10, priority=3)
    *_, last = subject.accept(lane, 3, priority=0)
    assert before(subject, last, 12) == (12, False)
    assert before(subject, last, 11) == (11, True)
    assert before(subject, last, 1) == (1, True)
    monkeypatch.setattr(counting, "MOST_QUEUES", 1)
    assert before(subject, last) == (12, True)


def test_what_is_not_ready_has_none(subject: Subject) -> None:
    lane = subject.lane("a")
    (leased,) = subject.leased(lane)
    assert before(subject, leased.message) is None
    later = subject.now_ms + MINUTE_MS
    subject.settle(subject.outcome(leased, Settle.RETRY, reason=Reason.RETRY, until_ms=later))
    assert before(subject, leased.message) is None
