"""What accounts are told: pages, done, retried, given up, and endpoints that do not delay one another."""

from __future__ import annotations

from typing import Any

import msgspec

from router.nouns import Event, EventKind, Login
from store.interface import SMPP_ORIGIN, OutboxRow
from tests.store.conformance.subject import Subject


def deliver(subject: Subject, count: int, **fields: Any) -> int:
    """Messages that were delivered, so that an event for each waits. The endpoint."""
    lane = subject.lane("a")
    for number in range(count):
        message = subject.send(lane, f"c{number}", **fields)
        subject.receive(subject.receipt(f"c{number}", message.destination))
    return max(subject.store.outbox_endpoints())


def test_events_are_read_in_pages_in_the_order_of_their_commits(subject: Subject) -> None:
    endpoint = deliver(subject, 5)
    first = subject.store.outbox_page(endpoint, 0, 3)
    second = subject.store.outbox_page(endpoint, first[-1].seq, 3)
    assert (len(first), len(second)) == (3, 2)
    times = [row.event.message_id for row in first + second]
    assert times == sorted(times)
    assert subject.store.outbox_backlog() == 5


def test_what_was_taken_is_not_told_again(subject: Subject) -> None:
    endpoint = deliver(subject, 3)
    rows = subject.store.outbox_page(endpoint, 0, 2)
    for _ in range(2):
        subject.do(lambda txn: txn.outbox_done(rows))
    assert len(subject.store.outbox_page(endpoint, 0, 10)) == 1
    assert subject.store.outbox_backlog() == 1


def test_a_retried_event_comes_back_at_its_time_behind_the_others_as_it_was_left(subject: Subject) -> None:
    endpoint = deliver(subject, 2)
    row, other = subject.store.outbox_page(endpoint, 0, 2)
    row.event.attempts = 1
    due_ms = subject.now_ms + 5_000
    subject.do(lambda txn: txn.outbox_retry([row], due_ms))
    assert subject.store.outbox_page(endpoint, 0, 10) == [other]
    assert (subject.store.next_due_ms(), subject.store.outbox_backlog()) == (due_ms, 2)
    assert subject.store.due_rows() == 1
    assert subject.do(lambda txn: txn.move_due(due_ms - 1, 10)) == 0
    assert subject.do(lambda txn: txn.move_due(due_ms, 10)) == 1
    page = subject.store.outbox_page(endpoint, other.seq, 10)
    assert [again.event for again in page] == [row.event]


def test_given_up_events_are_kept_listed_put_back_and_dropped_by_age(subject: Subject) -> None:
    endpoint = deliver(subject, 3)
    rows = subject.store.outbox_page(endpoint, 0, 2)
    subject.do(lambda txn: txn.outbox_give_up(rows, subject.now_ms))
    assert len(subject.store.outbox_page(endpoint, 0, 10)) == 1
    listed = subject.store.given_up([endpoint])
    assert [given.event for given in listed] == [row.event for row in reversed(rows)]
    assert subject.store.given_up_count() == 2
    later = subject.now_ms + 1
    assert subject.do(lambda txn: txn.replay_given_up([endpoint], later, 1)) == 1
    assert len(subject.store.outbox_page(endpoint, 0, 10)) == 2
    assert subject.do(lambda txn: txn.drop_given_up(later, 10)) == 1
    assert subject.do(lambda txn: txn.replay_given_up([endpoint], later, 10)) == 0


def test_each_origin_of_an_account_is_an_endpoint_of_its_own(subject: Subject) -> None:
    first = deliver(subject, 1)
    second = deliver(subject, 1, callback_url="https://other.example/x")
    endpoints = subject.store.outbox_endpoints()
    assert first != second
    assert endpoints[second].origin == "https://other.example:443"
    assert {endpoints[first].account, endpoints[second].account} == {1}
    subject.reopen()
    assert subject.store.outbox_endpoints() == endpoints
    assert subject.store.endpoint_for(1, "https://OTHER.example/y") == second


def test_an_account_that_wants_to_hear_nothing_is_told_nothing(subject: Subject) -> None:
    subject.account(1, callback_url="")
    lane = subject.lane("a")
    message = subject.send(lane, "c1")
    subject.receive(subject.receipt("c1", message.destination))
    assert subject.events() == []
    assert subject.counts() == {"FINAL": 1}


def test_events_for_an_accounts_own_sessions_are_announced_as_they_are_committed(steady: Subject) -> None:
    steady.account(1, logins=(Login("shop"),), receipts_via="smpp")
    steady.store.watch_events()
    endpoint = deliver(steady, 2)
    assert steady.store.outbox_endpoints()[endpoint].origin == SMPP_ORIGIN
    ((told, fresh),) = steady.store.take_fresh_events().items()
    assert told == endpoint
    assert [plain(row.whole()) for row in fresh] == [
        plain(row) for row in steady.store.outbox_page(endpoint, 0, 10)
    ]
    assert steady.store.take_fresh_events() == {}


def plain(row: OutboxRow) -> tuple[int, int, Event]:
    return row.endpoint, row.seq, msgspec.structs.replace(row.event)


def test_an_account_is_told_of_itself_where_it_has_a_url(subject: Subject) -> None:
    def tell(account: int) -> bool:
        answer: bool = subject.do(lambda txn: txn.tell_account(account, "suspended", b"{}", subject.now_ms))
        return answer

    subject.account(2, callback_url="")
    assert [tell(1), tell(2), tell(9)] == [True, False, False]
    (row,) = subject.store.outbox_page(max(subject.store.outbox_endpoints()), 0, 10)
    assert (row.event.kind, row.event.account, row.event.error) == (EventKind.ACCOUNT, 1, "suspended")
