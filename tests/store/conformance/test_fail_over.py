"""Fail over by receipts: to a carrier that has not had it, bounded, and told once whoever delivers it."""

from __future__ import annotations

import pytest

from router.judge import OnReceipt
from router.nouns import Leased, Message, MessageState, Phase, ReceiptFate, Relay, Settle, Step
from tests.store import records_for_tests as made
from tests.store.conformance.subject import Subject

DELIVERED, UNDELIVERABLE, REJECTED = 2, 5, 8
NEXT = OnReceipt(undelivered=True)
SILENT = OnReceipt(no_receipt_s=120)


def begin(subject: Subject, *carriers: str, policy: OnReceipt = NEXT) -> int:
    """A lane of a route that opted in. A subject that reopens its store is told anew by each verb."""
    told = subject.do

    def do(*verbs: object) -> object:
        subject.store.fail_over({"r": policy})
        result = told(*verbs)  # type: ignore[arg-type]
        subject.store.fail_over({"r": policy})
        return result

    subject.do = do  # type: ignore[method-assign]
    subject.store.fail_over({"r": policy})
    return subject.lane(*carriers)


def take(subject: Subject, lane: int, carrier: str, index: int, cid: str) -> None:
    """The carrier claims and accepts what waits."""
    (leased,) = subject.claim(lane, carrier, index=index)
    subject.settle(subject.sent(leased, cid, carrier))


def steps(subject: Subject, message: Message) -> list[tuple[str, str]]:
    name = subject.store.carrier_name
    return [(Step(step).name, name(by) if by else "") for _, step, by, _ in subject.found(message).events]


def test_a_negative_receipt_gives_the_message_to_the_next_carrier(subject: Subject) -> None:
    lane = begin(subject, "a", "b")
    message = subject.send(lane, "c1")
    (result,) = subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    assert (result.fate, result.final) == (ReceiptFate.MATCHED, False)
    assert (subject.phase(message), subject.told()) == (Phase.READY, [])
    assert subject.claim(lane, "a") == [], "not again to the one that had it"
    take(subject, lane, "b", 1, "d1")
    subject.receive(subject.receipt("d1", message.destination, DELIVERED, "b"))
    assert subject.told() == [(message.id, MessageState.DELIVERED)]
    assert steps(subject, message) == [
        ("SENT", "a"), ("RECEIPT", "a"), ("PASSED_ON", "a"), ("SENT", "b"), ("RECEIPT", "b"), ("FINAL", ""),
    ]  # fmt: skip
    assert subject.store.check() == []


def test_without_the_routes_wish_a_negative_receipt_is_final(subject: Subject) -> None:
    message = subject.send(subject.lane("a", "b"), "c1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    assert subject.told() == [(message.id, UNDELIVERABLE)]


def test_when_every_carrier_has_had_it_the_last_receipt_is_final(subject: Subject) -> None:
    lane = begin(subject, "a", "b")
    message = subject.send(lane, "c1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    take(subject, lane, "b", 1, "d1")
    subject.receive(subject.receipt("d1", message.destination, REJECTED, "b"))
    assert subject.told() == [(message.id, REJECTED)]


def test_no_more_carriers_than_the_route_allows(subject: Subject) -> None:
    lane = begin(subject, "a", "b", "c", policy=OnReceipt(undelivered=True, max_carriers=2))
    message = subject.send(lane, "c1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    take(subject, lane, "b", 1, "d1")
    subject.receive(subject.receipt("d1", message.destination, UNDELIVERABLE, "b"))
    assert subject.told() == [(message.id, UNDELIVERABLE)]


def test_again_only_where_the_route_says_so(subject: Subject) -> None:
    lane = begin(subject, "a", "b", policy=OnReceipt(undelivered=True, again=True))
    message = subject.send(lane, "c1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    take(subject, lane, "b", 1, "d1")
    subject.receive(subject.receipt("d1", message.destination, UNDELIVERABLE, "b"))
    assert subject.claim(lane, "b", index=1) == []
    take(subject, lane, "a", 0, "c2")
    subject.receive(subject.receipt("c2", message.destination, UNDELIVERABLE))
    assert subject.told() == [(message.id, UNDELIVERABLE)], "three carriers at most"


def test_a_refusal_by_the_second_does_not_lead_back_to_the_first(subject: Subject) -> None:
    lane = begin(subject, "a", "b")
    message = subject.send(lane, "c1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    (leased,) = subject.claim(lane, "b", index=1)
    subject.settle(subject.outcome(leased, Settle.RETRY, "b", mark_tried=True))
    assert subject.claim(lane, "a") == []
    take(subject, lane, "b", 1, "d1")
    subject.receive(subject.receipt("d1", message.destination, DELIVERED, "b"))
    assert subject.told() == [(message.id, DELIVERED)]


@pytest.mark.parametrize("cause", ["unknown_subscriber", "absent_subscriber", "opted_out"])
def test_what_blames_the_recipient_is_final(subject: Subject, cause: str) -> None:
    message = subject.send(begin(subject, "a", "b"), "c1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE, cause=cause))
    assert subject.told() == [(message.id, UNDELIVERABLE)]


def test_without_a_receipt_in_time_it_goes_on(subject: Subject) -> None:
    lane = begin(subject, "a", "b", policy=SILENT)
    message = subject.send(lane, "c1")
    assert subject.store.next_silence_ms() == subject.now_ms + 120_000
    subject.wait(119_000)
    assert subject.do(lambda txn: txn.after_silence(subject.now_ms, 10)) == 0
    subject.wait(1_000)
    assert subject.do(lambda txn: txn.after_silence(subject.now_ms, 10)) == 1
    assert subject.phase(message) == Phase.READY
    assert subject.found(message).possible_duplicate
    take(subject, lane, "b", 1, "d1")
    subject.wait(120_000)
    subject.do(lambda txn: txn.after_silence(subject.now_ms, 10))
    assert subject.phase(message) == Phase.AWAITING_RECEIPT, "nobody is left: it waits for its receipt"
    assert subject.store.next_silence_ms() is None
    assert subject.store.check() == []


def test_a_receipt_in_time_lets_the_message_be(subject: Subject) -> None:
    message = subject.send(begin(subject, "a", "b", policy=SILENT), "c1")
    subject.receive(subject.receipt("c1", message.destination))
    subject.wait(121_000)
    assert subject.do(lambda txn: txn.after_silence(subject.now_ms, 10)) == 1
    assert subject.told() == [(message.id, DELIVERED)]


def test_routes_that_did_not_ask_leave_nothing_to_look_at(subject: Subject) -> None:
    subject.send(begin(subject, "a", "b", policy=NEXT), "c1")
    subject.send(subject.lane("a", "b"), "c2", route="other")
    assert subject.store.next_silence_ms() is None


@pytest.mark.parametrize("where", ["ready", "sent"])
def test_a_late_receipt_of_the_first_carrier_ends_it_once(subject: Subject, where: str) -> None:
    lane = begin(subject, "a", "b", policy=SILENT)
    message = subject.send(lane, "c1")
    subject.wait(120_000)
    subject.do(lambda txn: txn.after_silence(subject.now_ms, 10))
    if where == "sent":
        take(subject, lane, "b", 1, "d1")
    (result,) = subject.receive(subject.receipt("c1", message.destination))
    assert (result.final, subject.told()) == (True, [(message.id, DELIVERED)])
    assert subject.claim(lane, "b", index=1) == [], "it is not sent any more"
    if where == "sent":
        (second,) = subject.receive(subject.receipt("d1", message.destination, UNDELIVERABLE, "b"))
        assert second.fate == ReceiptFate.CONTRADICTS
    assert subject.told() == [(message.id, DELIVERED)]
    assert subject.store.check() == []


@pytest.mark.parametrize("settle", [Settle.SENT, Settle.RETRY, Settle.FINAL])
def test_a_late_receipt_while_the_second_has_it_in_hand_ends_it_with_the_answer(
    steady: Subject, settle: Settle
) -> None:
    lane = begin(steady, "a", "b", policy=SILENT)
    message = steady.send(lane, "c1")
    steady.wait(120_000)
    steady.do(lambda txn: txn.after_silence(steady.now_ms, 10))
    (leased,) = steady.claim(lane, "b", index=1)
    steady.receive(steady.receipt("c1", message.destination))
    assert steady.told() == []
    outcome = steady.outcome(leased, settle, "b", state=UNDELIVERABLE)
    if settle == Settle.SENT:
        outcome = steady.sent(leased, "d1", "b")
    steady.settle(outcome)
    assert steady.told() == [(message.id, DELIVERED)]
    assert steady.phase(message) == Phase.FINAL
    assert steady.store.check() == []


def test_a_late_negative_receipt_of_the_first_carrier_is_only_recorded(subject: Subject) -> None:
    lane = begin(subject, "a", "b", policy=SILENT)
    message = subject.send(lane, "c1")
    subject.wait(120_000)
    subject.do(lambda txn: txn.after_silence(subject.now_ms, 10))
    take(subject, lane, "b", 1, "d1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    assert (subject.phase(message), subject.told()) == (Phase.AWAITING_RECEIPT, [])
    subject.receive(subject.receipt("d1", message.destination, DELIVERED, "b"))
    assert subject.told() == [(message.id, DELIVERED)]


def test_a_part_of_a_customers_long_message_is_not_failed_over(subject: Subject) -> None:
    lane = begin(subject, "a", "b")
    first, second = (Relay(reference=7, total=2, index=index) for index in (1, 2))
    (one,) = subject.accept(lane, relay=first)
    subject.accept(lane, relay=second, destination=one.destination)
    leased = subject.claim(lane)
    subject.settle(*(subject.sent(each, f"c{n}") for n, each in enumerate(leased)))
    subject.receive(subject.receipt("c0", one.destination, UNDELIVERABLE))
    assert subject.told() == [(leased[0].message.id, UNDELIVERABLE)]


def test_a_long_message_of_ours_goes_whole_when_no_part_was_delivered(subject: Subject) -> None:
    lane = begin(subject, "a", "b")
    (leased,) = subject.leased(lane, segments=2)
    subject.settle(*(subject.sent(leased, f"c{part}", part=part, total=2) for part in (0, 1)))
    message = leased.message
    for cid in ("c0", "c1"):
        subject.receive(subject.receipt(cid, message.destination, UNDELIVERABLE))
    (again,) = subject.claim(lane, "b", index=1)
    assert again.first_part == 0
    subject.settle(*(subject.sent(again, f"d{part}", "b", part=part, total=2) for part in (0, 1)))
    for cid in ("d0", "d1"):
        subject.receive(subject.receipt(cid, message.destination, DELIVERED, "b"))
    assert subject.told() == [(message.id, DELIVERED)]


def test_a_long_message_of_which_a_part_was_delivered_is_final(subject: Subject) -> None:
    lane = begin(subject, "a", "b")
    (leased,) = subject.leased(lane, segments=2)
    subject.settle(*(subject.sent(leased, f"c{part}", part=part, total=2) for part in (0, 1)))
    subject.receive(subject.receipt("c0", leased.message.destination, DELIVERED))
    subject.receive(subject.receipt("c1", leased.message.destination, UNDELIVERABLE))
    assert subject.told() == [(leased.message.id, UNDELIVERABLE)]


def test_an_account_that_is_told_of_each_part_is_told_once_of_each(subject: Subject) -> None:
    subject.account(1, per_part_receipts=True)
    lane = begin(subject, "a", "b")
    (leased,) = subject.leased(lane, segments=2)
    subject.settle(*(subject.sent(leased, f"c{part}", part=part, total=2) for part in (0, 1)))
    for cid in ("c0", "c1"):
        subject.receive(subject.receipt(cid, leased.message.destination, UNDELIVERABLE))
    assert subject.claim(lane, "b", index=1) == [], "the next carrier could only contradict what was told"
    assert [(event.part, event.state) for event in subject.events()] == [
        (1, UNDELIVERABLE), (2, UNDELIVERABLE), (0, UNDELIVERABLE),
    ]  # fmt: skip


def test_a_passed_on_message_survives_a_restart(steady: Subject) -> None:
    lane = begin(steady, "a", "b")
    message = steady.send(lane, "c1")
    steady.receive(steady.receipt("c1", message.destination, UNDELIVERABLE))
    steady.reopen()
    assert steady.claim(lane, "a") == []
    take(steady, lane, "b", 1, "d1")
    assert steady.phase(message) == Phase.AWAITING_RECEIPT


def test_a_carrier_that_had_it_is_not_given_it_again_while_the_others_are_out(subject: Subject) -> None:
    lane = begin(subject, "a", "b", "c")
    message = subject.send(lane, "c1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    (leased,) = subject.claim(lane, "b", index=1)
    subject.settle(subject.outcome(leased, Settle.RETRY, "b", mark_tried=True))

    def alone(carrier: str, index: int) -> list[Leased]:
        claim = made.claim(subject.store, lane, carrier, 100, index)
        claim.able = {lane: 1 << index}
        leased: list[Leased] = subject.do(lambda txn: txn.claim([claim]))[0].leased
        return leased

    assert subject.store.ready_masks(lane) == (0b011,)
    assert alone("a", 0) == [], "it accepted it"
    assert len(alone("b", 1)) == 1, "it refused it for now"


def test_two_carriers_that_give_the_same_id_are_told_apart(subject: Subject) -> None:
    lane = begin(subject, "a", "b", policy=SILENT)
    message = subject.send(lane, "c1")
    subject.wait(120_000)
    subject.do(lambda txn: txn.after_silence(subject.now_ms, 10))
    take(subject, lane, "b", 1, "c1")
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    assert subject.told() == [], "that was the first one's"
    subject.receive(subject.receipt("c1", message.destination, DELIVERED, "b"))
    assert subject.told() == [(message.id, DELIVERED)]
    assert subject.store.check() == []


def test_what_the_last_carrier_took_a_part_of_stays_with_it(subject: Subject) -> None:
    """It refuses the other part and names another carrier for it: there is none that has not had it."""
    lane = begin(subject, "a", "b")
    (leased,) = subject.leased(lane, segments=2)
    subject.settle(*(subject.sent(leased, f"c{part}", part=part, total=2) for part in (0, 1)))
    for cid in ("c0", "c1"):
        subject.receive(subject.receipt(cid, leased.message.destination, UNDELIVERABLE))
    (again,) = subject.claim(lane, "b", index=1)
    subject.settle(
        subject.sent(again, "d0", "b", part=0, total=2),
        subject.outcome(again, Settle.RETRY, "b", part=1, total=2, mark_tried=True),
    )
    assert subject.claim(lane, "a") == []
    (rest,) = subject.claim(lane, "b", index=1)
    assert rest.first_part == 1


def test_a_cancelled_message_that_was_sent_goes_to_nobody_else(subject: Subject) -> None:
    lane = begin(subject, "a", "b")
    message = subject.send(lane, "c1")
    subject.do(lambda txn: txn.cancel(message.account, message.id, subject.now_ms))
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    assert subject.told() == [(message.id, UNDELIVERABLE)]


def test_who_had_it_is_known_however_often_a_carrier_repeats_itself(subject: Subject) -> None:
    lane = begin(subject, "a", "b", "c", policy=SILENT)
    message = subject.send(lane, "c1")
    for carrier, index, cid in (("b", 1, "d1"), ("c", 2, "e1")):
        for _ in range(70):
            subject.receive(subject.receipt("c1", message.destination, 1))
        subject.wait(120_000)
        subject.do(lambda txn: txn.after_silence(subject.now_ms, 10))
        take(subject, lane, carrier, index, cid)
    for _ in range(70):
        subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE))
    assert [by for step, by in steps(subject, message) if step == "SENT"] == ["a", "b", "c"]


@pytest.mark.parametrize("by", ["time", "claim"])
def test_what_no_other_carrier_takes_in_time_ends_as_its_receipt_said(subject: Subject, by: str) -> None:
    lane = begin(subject, "a", "b")
    message = subject.send(lane, "c1", expires_ms=subject.now_ms + 60_000)
    subject.receive(subject.receipt("c1", message.destination, UNDELIVERABLE, cause="blocked"))
    subject.wait(180_000)
    if by == "claim":
        assert subject.claim(lane, "b", index=1) == []
    else:
        subject.do(lambda txn: txn.expire(subject.now_ms, 10, 0))
    assert subject.told() == [(message.id, UNDELIVERABLE)]
    assert subject.events()[0].cause == "blocked"
    assert subject.store.check() == []


def test_what_was_passed_on_without_a_receipt_and_expires_is_expired(subject: Subject) -> None:
    lane = begin(subject, "a", "b", policy=SILENT)
    message = subject.send(lane, "c1", expires_ms=subject.now_ms + 150_000)
    subject.wait(120_000)
    subject.do(lambda txn: txn.after_silence(subject.now_ms, 10))
    subject.wait(60_000)
    assert subject.claim(lane, "b", index=1) == []
    assert subject.told() == [(message.id, MessageState.EXPIRED)]
