"""receipts: every fate, every form of an id, the parts of a long message, what an account is told of it."""

from __future__ import annotations

import pytest

from router.nouns import MessageState, Phase, ReceiptFate, ReceiptWish, Settle
from tests.store.conformance.subject import Subject

DELIVERED, UNDELIVERABLE, ENROUTE = 2, 5, 1


def fates(subject: Subject, cid: str, to: str, *states: int) -> list[ReceiptFate]:
    return [ReceiptFate(subject.receive(subject.receipt(cid, to, state))[0].fate) for state in states]


def test_a_final_receipt_ends_the_message_and_is_told_once(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    (result,) = subject.receive(subject.receipt("c1", message.destination))
    assert (result.fate, result.account, result.message_id) == (ReceiptFate.MATCHED, 1, message.id)
    assert (result.matched_id, result.final, result.state) == ("c1", True, DELIVERED)
    assert subject.told() == [(message.id, MessageState.DELIVERED)]
    assert subject.phase(message) == Phase.FINAL


def test_fm13_the_first_final_state_stands(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    states = (ENROUTE, DELIVERED, DELIVERED, UNDELIVERABLE, ENROUTE)
    assert fates(subject, "c1", message.destination, *states) == [
        ReceiptFate.MATCHED,
        ReceiptFate.MATCHED,
        ReceiptFate.REPEATED,
        ReceiptFate.CONTRADICTS,
        ReceiptFate.REPEATED,
    ]
    assert subject.told() == [(message.id, MessageState.DELIVERED)]
    assert subject.found(message).state == MessageState.DELIVERED


def test_a_contradiction_is_told_to_an_account_that_wants_corrections(subject: Subject) -> None:
    subject.account(1, correction_events=True)
    message = subject.send(subject.lane("a"), "c1")
    fates(subject, "c1", message.destination, DELIVERED, UNDELIVERABLE)
    assert [(event.state, event.final) for event in subject.events()] == [
        (DELIVERED, True),
        (UNDELIVERABLE, False),
    ]


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (ReceiptWish.NONE, []),
        (ReceiptWish.FINAL, [UNDELIVERABLE]),
        (ReceiptWish.ALL, [ENROUTE, UNDELIVERABLE]),
        (ReceiptWish.SUCCESS, []),
        (ReceiptWish.FAILURE, [UNDELIVERABLE]),
    ],
)
def test_an_account_is_told_what_it_wished_for(subject: Subject, wish: ReceiptWish, told: list[int]) -> None:
    message = subject.send(subject.lane("a"), "c1", receipt=wish)
    fates(subject, "c1", message.destination, ENROUTE, UNDELIVERABLE)
    assert [event.state for event in subject.events()] == told


def test_fm14_another_form_of_the_id_matches_only_with_the_same_recipient(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.send(lane, "20000001")
    message = subject.send(lane, "1312D01")  # what 20000001 is in hexadecimal
    assert fates(subject, "0x1312D01", "447700999999", DELIVERED) == [ReceiptFate.PARKED]
    assert fates(subject, "001312d01", message.destination, DELIVERED) == [ReceiptFate.MATCHED]


def test_fm14_a_receipt_in_hex_finds_a_decimal_id(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "305419896")
    (result,) = subject.receive(subject.receipt("12345678", message.destination))
    assert (result.fate, result.matched_id) == (ReceiptFate.MATCHED, "305419896")


def test_a_receipt_known_by_its_text_alone_needs_the_recipient(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    forged = subject.receipt("c1", "447700999999", flagged=False)
    assert subject.receive(forged)[0].fate == ReceiptFate.PARKED
    honest = subject.receipt("c1", message.destination, flagged=False)
    assert subject.receive(honest)[0].fate == ReceiptFate.MATCHED


def test_fm10_a_receipt_before_the_response_waits_for_it(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"))
    assert fates(subject, "c1", leased.message.destination, DELIVERED) == [ReceiptFate.PARKED]
    assert len(subject.store.parked()) == 1
    subject.settle(subject.sent(leased, "c1"))
    assert subject.told() == [(leased.message.id, DELIVERED)]
    assert subject.store.parked() == []


def test_fm12_a_receipt_for_nobody_ends_on_the_unmatched_list_and_is_dropped_by_age(subject: Subject) -> None:
    subject.receive(subject.receipt("nobody", "447700900001"))
    subject.wait(subject.options.park_s * 1000 + 1)
    assert subject.do(lambda txn: txn.housekeep(subject.now_ms, 100)) == 1
    assert [row.ids for row in subject.store.unmatched()] == [("nobody",)]
    assert subject.store.parked() == []
    assert subject.do(lambda txn: txn.drop_unmatched(subject.now_ms + 1, 100)) == 1
    assert subject.store.unmatched() == []


def test_fm11_a_receipt_may_come_on_any_carrier_of_its_group(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"))
    shared = subject.store.group_id("together")
    answer = subject.sent(leased, "c1")
    answer.group = shared
    subject.settle(answer)
    to = leased.message.destination
    receipts = [subject.receipt("c1", to, carrier="b", group=shared), subject.receipt("c1", to, carrier="b")]
    assert [result.fate for result in subject.receive(*receipts)] == [ReceiptFate.MATCHED, ReceiptFate.PARKED]


def test_fm15_an_id_used_again_means_the_newest_message(subject: Subject) -> None:
    lane = subject.lane("a")
    to = "447700900001"
    subject.send(lane, "7", destination=to)
    subject.wait(8 * 3_600_000)
    again = subject.send(lane, "7", destination=to)
    assert subject.receive(subject.receipt("7", to))[0].message_id == again.id


def test_an_id_is_matchable_for_the_window_and_not_after(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1", expires_ms=subject.now_ms + 10 * 86_400_000)
    subject.wait((subject.options.window_h + 12) * 3_600_000)
    assert fates(subject, "c1", message.destination, DELIVERED) == [ReceiptFate.PARKED]


def test_parts_end_when_the_last_of_them_has_its_receipt(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"), segments=3)
    subject.settle(*(subject.sent(leased, f"c{part}", part=part, total=3) for part in range(3)))
    to = leased.message.destination
    finals = [subject.receive(subject.receipt(f"c{part}", to))[0].final for part in (2, 0, 1)]
    assert finals == [False, False, True]
    assert subject.told() == [(leased.message.id, DELIVERED)]


def test_one_failed_part_makes_the_message_fail(subject: Subject) -> None:
    subject.account(1, per_part_receipts=True)
    (leased,) = subject.leased(subject.lane("a"), segments=2)
    subject.settle(*(subject.sent(leased, f"c{part}", part=part, total=2) for part in range(2)))
    to = leased.message.destination
    subject.receive(subject.receipt("c0", to, UNDELIVERABLE, error="001"), subject.receipt("c1", to))
    whole = [event for event in subject.events() if event.final]
    assert [(event.state, event.error) for event in whole] == [(UNDELIVERABLE, "001")]
    assert [event.part for event in subject.events() if not event.final] == [1, 2]


def test_a_receipt_claims_the_one_unknown_outcome_it_can_belong_to(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"))
    subject.settle(subject.outcome(leased, Settle.UNKNOWN_HOLD))
    to = leased.message.destination
    assert subject.receive(subject.receipt("c1", to, text="another text"))[0].fate == ReceiptFate.PARKED
    claiming = subject.receipt("c2", to, text=leased.message.text)
    (result,) = subject.receive(claiming)
    assert (result.fate, result.message_id, result.final) == (ReceiptFate.CLAIMED, leased.message.id, True)
    assert subject.told() == [(leased.message.id, DELIVERED)]


def test_a_receipt_that_two_unknown_outcomes_could_own_claims_neither(subject: Subject) -> None:
    leased = subject.leased(subject.lane("a"), count=2, destination="447700900001")
    subject.settle(*(subject.outcome(one, Settle.UNKNOWN_HOLD) for one in leased))
    claiming = subject.receipt("c1", "447700900001", text="hello")
    assert subject.receive(claiming)[0].fate == ReceiptFate.PARKED
    assert subject.counts() == {"UNKNOWN": 2}


def test_a_receipt_about_a_message_that_was_archived_is_no_match(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    fates(subject, "c1", message.destination, DELIVERED)
    subject.wait(subject.options.archive_after_s * 1000 + 1_000)
    rows = subject.store.pick_finished(subject.now_ms, 10)
    subject.store.write_finished(rows)
    subject.do(lambda txn: txn.forget(rows))
    assert fates(subject, "c1", message.destination, DELIVERED) == [ReceiptFate.PARKED]


def test_what_ended_and_what_nobody_claimed_is_counted_since_the_opening(steady: Subject) -> None:
    message = steady.send(steady.lane("a"), "c1")
    steady.receive(steady.receipt("c1", message.destination), steady.receipt("nobody", "447700900001"))
    steady.wait(steady.options.park_s * 1000 + 1)
    steady.do(lambda txn: txn.housekeep(steady.now_ms, 100))
    tallies = steady.store.tallies()
    carrier = steady.store.carrier_id("a")
    assert tallies.finished == {(carrier, MessageState.DELIVERED): 1}
    assert sum(tallies.unmatched.values()) == 1
    steady.reopen()
    assert steady.store.tallies().finished == {}
