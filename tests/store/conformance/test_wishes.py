"""What customers and operators do to messages that wait: replace, find, join parts, plan anew."""

from __future__ import annotations

from typing import Any

import msgspec

from router.nouns import ALIAS_WANTED, Message, Phase, Reason, Relay, Settle
from store.interface import Replacement
from tests.store.conformance.subject import Subject, ids


def test_a_waiting_message_is_replaced_and_a_leased_or_ended_one_is_not(subject: Subject) -> None:
    lane = subject.lane("a")
    (message,) = subject.accept(lane)
    wish = Replacement(2, 2, "другой", b"")

    def replace(id: int) -> str:
        answer: str = subject.do(lambda txn: txn.replace(1, id, wish, subject.now_ms))
        return answer

    assert replace(message.id) == "replaced"
    found = subject.store.find(1, message.id)
    assert found is not None
    assert found[0] == msgspec.structs.replace(message, encoding=2, segments=2, text="другой")
    (leased,) = subject.claim(lane)
    assert leased.message == found[0]
    assert replace(message.id) == "leased"
    subject.settle(subject.outcome(leased, Settle.FINAL, total=2, state=5))
    subject.settle(subject.outcome(leased, Settle.FINAL, part=1, total=2, state=5))
    assert [replace(message.id), replace(1)] == ["final", "unknown"]


def test_waiting_messages_are_found_by_their_addresses(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.account(2)
    to = "447700900001"
    ready = subject.accept(lane, destination=to)
    scheduled = subject.accept(lane, destination=to, send_at_ms=subject.now_ms + 1_000)
    subject.accept(lane, destination="447700900002")
    subject.accept(lane, account=2, destination=to)
    assert sorted(subject.store.find_waiting(1, "TEST", to, "")) == ids([*ready, *scheduled])
    assert subject.store.find_waiting(1, "OTHER", to, "") == []


def test_an_alias_is_given_with_the_message_and_leads_to_it(subject: Subject) -> None:
    lane = subject.lane("a")
    messages = [subject.accept(lane, alias=ALIAS_WANTED)[0] for _ in range(2)]
    aliases = [message.alias for message in messages]
    assert len(set(aliases)) == 2
    assert [subject.store.find_alias(1, alias) for alias in aliases] == ids(messages)
    assert (subject.store.find_alias(2, aliases[0]), subject.store.find_alias(1, 999)) == (0, 0)


def test_messages_that_one_id_stands_for_have_one_alias(subject: Subject) -> None:
    lane = subject.lane("a")
    (first,) = subject.accept(lane, alias=ALIAS_WANTED)
    second, third = (
        subject.accept(lane, alias=ALIAS_WANTED, relay=Relay(shown=shown))[0] for shown in (first.id, 0)
    )
    assert first.alias == second.alias != third.alias
    assert subject.store.find_alias(1, first.alias) == first.id


def parts(subject: Subject, lane: int, *indexes: int) -> list[Message]:
    """Of a customer's own long message of three."""
    to: dict[str, Any] = {"destination": "447700900001"}
    return [
        subject.accept(lane, relay=Relay(reference=7, total=3, index=index), text=str(index), **to)[0]
        for index in indexes
    ]


def test_parts_of_a_customers_long_message_wait_for_one_another_and_go_in_order(subject: Subject) -> None:
    lane = subject.lane("a")
    parts(subject, lane, 3, 1)
    assert subject.claim(lane) == []
    parts(subject, lane, 2)
    assert [leased.message.text for leased in subject.claim(lane)] == ["1", "2", "3"]


def test_parts_whose_siblings_never_come_go_without_them(subject: Subject) -> None:
    lane = subject.lane("a")
    parts(subject, lane, 3, 1)
    before_ms = subject.now_ms + 1
    assert subject.do(lambda txn: txn.release_groups(before_ms, subject.now_ms, 10)) == 1
    assert [leased.message.text for leased in subject.claim(lane)] == ["1", "3"]


def test_messages_of_a_lane_are_planned_anew_in_portions(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b", "a")
    messages = subject.accept(old, 5)
    first = subject.do(lambda txn: txn.replan(old, lambda message: new, 3))
    assert (first.moved, first.handled) == (3, 3)
    assert subject.do(lambda txn: txn.replan(old, lambda message: new, 3)).moved == 2
    assert subject.store.ready_lanes() == {new}
    assert subject.store.lane_totals()[new][Phase.READY] == 5
    assert ids(subject.claim(new, "b")) == ids(messages)


def test_messages_without_a_lane_are_held_until_there_is_one(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b")
    messages = subject.accept(old, 2)
    assert subject.do(lambda txn: txn.replan(old, lambda message: 0, 10)).held == 2
    assert {subject.found(message).reason for message in messages} == {Reason.LANE_GONE}
    assert subject.do(lambda txn: txn.replan_held(lambda message: 0, (0, 0), 10)).count == 0
    assert subject.do(lambda txn: txn.replan_held(lambda message: new, (0, 0), 10)).count == 2
    assert ids(subject.claim(new, "b")) == ids(messages)


def test_lanes_say_how_many_messages_they_have_waiting_and_how(subject: Subject) -> None:
    one, other = subject.lane("a"), subject.lane("b")
    subject.accept(one, 3)
    subject.accept(other, 2, send_at_ms=subject.now_ms + 1_000)
    (leased,) = subject.claim(one, segments=1)
    subject.settle(subject.outcome(leased, Settle.UNKNOWN_HOLD))
    totals = subject.store.lane_totals()
    assert (totals[one][Phase.READY], totals[one][Phase.UNKNOWN]) == (2, 1)
    assert totals[other][Phase.SCHEDULED] == 2
    assert subject.store.outcome_unknown() == {subject.store.carrier_id("a"): 1}
