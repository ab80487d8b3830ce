"""MOs: kept, told, put together from parts, matched to what they answer."""

from __future__ import annotations

from typing import Any

from router.nouns import EventKind, InboundMessage
from store.interface import MoPart
from tests.store.conformance.subject import DAY_MS, Subject


def mo(subject: Subject, account: int, text: str = "hi") -> InboundMessage:
    id = subject.store.next_ids(1)
    carrier = subject.store.carrier_id("a")
    return InboundMessage(id, account, carrier, subject.now_ms, "447700900001", "12345", 0, text, b"")


def part(subject: Subject, index: int, total: int = 3, **fields: Any) -> MoPart:
    made = MoPart(1, "447700900001", "12345", 7, total, index, 0, b"part %d" % index, subject.now_ms)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def take(subject: Subject, *parts: MoPart) -> list[list[MoPart] | None]:
    results: list[list[MoPart] | None] = subject.do(lambda txn: txn.inbound_parts(parts, subject.now_ms))
    return results


def test_an_mo_is_kept_and_told_to_the_account_that_owns_it(subject: Subject) -> None:
    owned, stray = mo(subject, 1), mo(subject, 0, "stray")
    subject.do(lambda txn: txn.inbound([owned, stray], subject.now_ms))
    assert subject.store.inbox(1) == [owned]
    assert subject.store.inbox(0) == [stray]
    assert [(event.kind, event.message_id, event.text) for event in subject.events()] == [
        (EventKind.MO, owned.id, "hi")
    ]


def test_an_inbox_is_read_newest_first_page_by_page_of_one_account_or_several(subject: Subject) -> None:
    messages = [mo(subject, account) for account in (0, 1, 0, 1)]
    subject.do(lambda txn: txn.inbound(messages, subject.now_ms))
    newest_first = messages[::-1]
    assert subject.store.inbox((0, 1), 3) == newest_first[:3]
    assert subject.store.inbox((0, 1), 3, newest_first[2].id) == newest_first[3:]


def test_parts_come_in_any_order_and_leave_together_in_theirs(subject: Subject) -> None:
    assert take(subject, part(subject, 3)) == [None]
    assert take(subject, part(subject, 1), part(subject, 1)) == [None, None]
    (whole,) = take(subject, part(subject, 2))
    assert whole is not None
    assert [one.data for one in whole] == [b"part 1", b"part 2", b"part 3"]
    assert take(subject, part(subject, 2)) == [None]  # a new message with the same reference


def test_parts_of_different_messages_are_kept_apart(subject: Subject) -> None:
    others: list[dict[str, Any]] = [{"source": "4477"}, {"destination": "9"}, {"reference": 8}, {"total": 2}]
    assert take(subject, part(subject, 1), *(part(subject, 2, **other) for other in others)) == [None] * 5


def test_parts_whose_siblings_never_come_are_taken_out_by_age(subject: Subject) -> None:
    take(subject, part(subject, 1), part(subject, 3))
    subject.wait(60_000)
    take(subject, part(subject, 1, reference=8))
    before_ms = subject.now_ms
    (stale,) = subject.do(lambda txn: txn.take_stale_parts(before_ms, 10))
    assert [one.index for one in stale] == [1, 3]
    assert subject.do(lambda txn: txn.take_stale_parts(before_ms, 10)) == []


def test_an_mo_finds_the_newest_message_it_can_answer(subject: Subject) -> None:
    lane = subject.lane("a")
    to = "447700900001"
    subject.send(lane, "c1", destination=to)
    subject.wait(1_000)
    newest = subject.send(lane, "c2", destination=to)
    subject.send(lane, "c3", destination=to, source="OTHER")
    assert subject.store.latest_to(to, "TEST", 0) == (1, newest.id)
    assert subject.store.latest_to(to, "TEST", subject.now_ms + 1) is None
    assert subject.store.latest_to(to, "NOBODY", 0) is None
    assert subject.store.latest_to("447700900002", "TEST", 0) is None


def test_mos_leave_after_the_retention(subject: Subject) -> None:
    messages = [mo(subject, 0), mo(subject, 1)]
    subject.do(lambda txn: txn.inbound(messages, subject.now_ms))
    subject.wait((subject.options.retention_days + 1) * DAY_MS)
    subject.do(lambda txn: txn.housekeep(subject.now_ms, 10))
    assert subject.store.inbox((0, 1)) == []
