"""Receipts told again and events moved to another endpoint, in portions."""

from __future__ import annotations

from operator import methodcaller
from typing import Any

from router.nouns import InboundMessage, Login, MessageState, ReceiptWish
from store.interface import SMPP_ORIGIN, OutboxRow
from tests.store.conformance.subject import DAY_MS, Subject, ids

URL = "http://127.0.0.1:9000/1"


def ended(subject: Subject, count: int, **fields: Any) -> list[int]:
    """Delivered messages, and nothing left to tell of them."""
    lane = subject.lane("a")
    sent = [subject.send(lane, f"c{subject.now_ms}-{number}", **fields) for number in range(count)]
    for number, message in enumerate(sent):
        subject.receive(subject.receipt(f"c{subject.now_ms}-{number}", message.destination))
    endpoints = subject.store.outbox_endpoints()
    rows = [row for id in endpoints for row in subject.store.outbox_page(id, 0, 1_000)]
    subject.do(lambda txn: txn.outbox_done(rows))
    return ids(sent)


def archive(subject: Subject) -> None:
    rows = subject.store.pick_finished(subject.now_ms + DAY_MS, 1_000)
    subject.store.write_finished(rows)
    subject.do(lambda txn: txn.forget(rows))


def pages(subject: Subject, account: int = 1, limit: int = 2, **wish: int) -> list[int]:
    """Every id, page by page."""
    found: list[int] = []
    after: int | None = 0
    while after is not None:
        page = subject.store.finished_page(account, after, limit=limit, **wish)
        found += [message.id for message, _ in page.pairs]
        after = page.after
    return found


def test_finished_messages_are_paged_in_order_wherever_they_are(subject: Subject) -> None:
    subject.account(2)
    old = ended(subject, 3)
    other = ended(subject, 2, account=2)
    archive(subject)
    subject.wait(2 * DAY_MS)
    new = ended(subject, 3)
    waiting = subject.accept(subject.lane("a"))
    assert pages(subject) == pages(subject, limit=100) == [*old, *new]
    assert pages(subject, account=2) == other
    assert pages(subject, to=new[1]) == [*old, new[0]]
    assert pages(subject, state=MessageState.DELIVERED) == [*old, *new]
    assert pages(subject, state=MessageState.EXPIRED) == []
    assert waiting[0].id not in pages(subject)
    assert [one[0].id for one in subject.store.finished_page(1, old[1], limit=1).pairs] == [old[2]]


def test_a_receipt_is_told_again_as_it_was_where_one_was_wanted(subject: Subject) -> None:
    lane = subject.lane("a")
    wanted = subject.send(lane, "one")
    subject.receive(subject.receipt("one", wanted.destination, error="000"))
    (first,) = subject.events()
    ended(subject, 1, receipt=ReceiptWish.FAILURE)
    subject.wait(3_600_000)
    page = subject.store.finished_page(1, 0)
    assert subject.do(lambda txn: txn.tell_again(page.pairs, subject.now_ms)) == 1
    (again,) = subject.events()
    assert again.since_ms == subject.now_ms
    again.since_ms = first.since_ms
    assert again == first


def test_events_are_moved_to_sessions_and_back_in_order(subject: Subject) -> None:
    subject.account(1, logins=(Login("one", ("hash",)),), receipts_via="http")
    lane = subject.lane("a")
    sent = [subject.send(lane, f"c{number}") for number in range(5)]
    for number, message in enumerate(sent):
        subject.receive(subject.receipt(f"c{number}", message.destination))
    (http,) = subject.store.outbox_endpoints()
    retried, under_way, *_ = subject.store.outbox_page(http, 0, 100)
    retried.event.attempts = 3
    subject.do(lambda txn: txn.outbox_retry([retried], subject.now_ms + DAY_MS))
    after = b""
    counts = []
    while True:
        move = methodcaller("move_events", http, SMPP_ORIGIN, {under_way.seq}, 7, 2, after)
        part = subject.do(move)
        counts.append(part.count)
        after = part.after
        if not after:
            break
    assert sum(counts) == 4
    assert max(counts) <= 2
    assert subject.store.outbox_page(http, 0, 100) == [under_way]
    assert subject.store.has_event(under_way)
    (smpp,) = (id for id, one in subject.store.outbox_endpoints().items() if one.origin == SMPP_ORIGIN)
    rows = subject.store.outbox_page(smpp, 0, 100)
    assert [row.event.message_id for row in rows] == [*ids(sent)[2:], sent[0].id]
    assert {(row.event.attempts, row.event.since_ms) for row in rows} == {(0, 7)}
    assert not subject.store.has_event(OutboxRow(smpp, under_way.seq, under_way.event))
    back = subject.do(lambda txn: txn.move_events(smpp, URL, (), 8, 100))
    assert back.count == 4
    assert subject.store.outbox_page(smpp, 0, 100) == []
    assert len(subject.store.outbox_page(http, 0, 100)) == 5


def test_inbound_messages_are_paged_in_order_and_told_again(subject: Subject) -> None:
    mos = [
        InboundMessage(number, 1, 0, 5, "447700900123", "12345", 0, f"{number}", b"") for number in (3, 5, 9)
    ]
    other = InboundMessage(4, 2, 0, 5, "447700900123", "12345", 0, "other", b"")
    subject.account(1, callback_url=URL)
    subject.do(lambda txn: txn.inbound([*mos, other], 5))
    (endpoint,) = (one.id for one in subject.store.outbox_endpoints().values() if one.account == 1)
    subject.do(lambda txn: txn.outbox_done(subject.store.outbox_page(endpoint, 0, 100)))
    first = subject.store.inbound_page(1, 0, limit=2)
    assert ([one.id for one in first.messages], first.after) == ([3, 5], 5)
    last = subject.store.inbound_page(1, 5, limit=2)
    assert ([one.id for one in last.messages], last.after) == ([9], None)
    assert [one.id for one in subject.store.inbound_page(1, 0, 9).messages] == [3, 5]
    assert subject.do(lambda txn: txn.tell_inbound_again(first.messages, 77)) == 2
    rows = subject.store.outbox_page(endpoint, 0, 100)
    assert [(row.event.message_id, row.event.again, row.event.since_ms) for row in rows] == [
        (3, True, 77),
        (5, True, 77),
    ]
