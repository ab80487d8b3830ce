"""accept, claim, settle: from the queue into a carrier's hands, and every way out of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.nouns import MessageState, Phase, Reason, Settle, Step
from store.interface import Claim
from tests.store import records_for_tests as made
from tests.store.conformance.subject import Subject, ids
from tests.store.records_for_tests import account, message

FLOOR = 20  # of router.turns: a lower priority is owed one segment in so many


def test_what_is_accepted_is_ready_and_comes_out_in_its_order(subject: Subject) -> None:
    lane = subject.lane("a")
    messages = subject.accept(lane, 5)
    assert subject.counts() == {"READY": 5}
    assert subject.store.ready_lanes() == {lane}
    assert subject.store.oldest_ready_ms(lane) == messages[0].accepted_ms
    assert [leased.message for leased in subject.claim(lane)] == messages
    assert subject.counts() == {"LEASED": 5}
    assert subject.claim(lane) == []
    assert subject.store.ready_lanes() == set()
    assert subject.store.oldest_ready_ms(lane) is None


def test_every_field_of_a_message_comes_back_as_it_was(subject: Subject) -> None:
    lane = subject.lane("a")
    fields: dict[str, Any] = {
        "source": "Grüße", "text": "", "data": b"\x00\xff", "encoding": 3, "udh": b"\x05\x00\x03",
        "receipt": 2, "message_class": 3, "priority": 0, "client_ref": "r", "tags": ("x", "y"),
        "callback_url": "https://shop.example/x",
    }  # fmt: skip
    (message,) = subject.accept(lane, **fields)
    found = subject.store.find(1, message.id)
    assert found is not None
    assert found[0] == message
    assert {name: getattr(found[0], name) for name in fields} == fields


def test_a_scheduled_message_waits_for_its_time(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.accept(lane, send_at_ms=subject.now_ms + 10_000)
    assert subject.counts() == {"SCHEDULED": 1}
    assert subject.claim(lane) == []
    assert subject.store.next_due_ms() == subject.now_ms + 10_000
    subject.wait(9_999)
    assert subject.do(lambda txn: txn.move_due(subject.now_ms, 10)) == 0
    subject.wait(1)
    assert subject.do(lambda txn: txn.move_due(subject.now_ms, 10)) == 1
    assert len(subject.claim(lane)) == 1
    assert subject.store.next_due_ms() is None


def test_a_claim_takes_no_more_segments_than_it_asked_for(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 10, segments=3)
    assert sum(leased.message.segments for leased in subject.claim(lane, segments=7)) == 6


def test_a_window_of_one_takes_a_long_message_whole(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 2, segments=5)
    assert len(subject.claim(lane, segments=1)) == 1


def test_a_higher_priority_goes_first_and_a_lower_one_is_not_starved(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 3 * FLOOR, priority=0)
    subject.accept(lane, 3 * FLOOR, priority=3)
    taken = [leased.message.priority for leased in subject.claim(lane, segments=3 * FLOOR)]
    assert taken[:5] == [3] * 5
    assert 0 < taken.count(0) <= 3


class Allowance:
    """What may be leased of account 1 now; the others have no limit of their own."""

    def __init__(self, left: int) -> None:
        self.rest = left
        self.told: list[int] = []

    def left(self, account: int) -> int:
        return self.rest if account == 1 else 1_000

    def took(self, account: int, segments: int) -> None:
        self.rest -= segments if account == 1 else 0

    def paused(self, account: int) -> None:
        self.told.append(account)


def test_an_account_at_its_limit_has_no_turn_until_it_is_resumed(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.account(2)
    subject.accept(lane, 5, account=1)
    subject.accept(lane, 5, account=2)
    allowance = Allowance(3)

    def taken() -> list[int]:
        claim = msgspec.structs.replace(made.claim(subject.store, lane, "a", 100), paced=allowance)
        leased = subject.do(lambda txn: txn.claim([claim]))[0].leased
        return sorted(one.message.account for one in leased)

    assert taken() == [1, 1, 1, 2, 2, 2, 2, 2]
    assert allowance.told == [1]
    allowance.rest = 1_000
    assert taken() == []
    subject.do(lambda txn: txn.resume_paced([1]))
    assert taken() == [1, 1]
    assert subject.counts() == {"LEASED": 10}


@pytest.mark.parametrize(("weight", "most", "least"), [(1, 24, 16), (3, 34, 26)])
def test_accounts_take_turns_by_weight_whatever_their_backlogs(
    subject: Subject, weight: int, most: int, least: int
) -> None:
    lane = subject.lane("a")
    subject.account(1, weight=weight)
    subject.account(2)
    subject.accept(lane, 500, account=1)
    subject.accept(lane, 60, account=2)
    taken = [leased.message.account for leased in subject.claim(lane, segments=40)]
    assert len(taken) == 40
    assert least <= taken.count(1) <= most


def test_a_suspended_accounts_messages_wait_until_it_is_resumed(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.account(2)
    (early,) = subject.accept(lane)
    subject.account(1, suspended=True)
    (late,) = subject.accept(lane)
    (other,) = subject.accept(lane, account=2)
    assert ids(subject.claim(lane)) == ids([other])
    assert (subject.store.ready_lanes(), subject.store.totals().messages[Phase.READY]) == (set(), 2)
    subject.account(1)
    assert ids(subject.claim(lane)) == ids([early, late])


def test_a_suspension_that_was_not_committed_suspends_nobody(subject: Subject) -> None:
    lane = subject.lane("a")
    (message,) = subject.accept(lane)
    txn = subject.store.begin()
    txn.put_account(account(1, suspended=True))
    subject.store.abort(txn)
    assert ids(subject.claim(lane)) == ids([message])


def test_one_claim_reads_several_lanes_and_several_carriers_claim_at_once(subject: Subject) -> None:
    lanes = [subject.lane("a", "b"), subject.lane("b")]
    for lane in lanes:
        subject.accept(lane, 4)
    a, b = (subject.store.carrier_id(name) for name in "ab")
    claims = [
        Claim(a, ((lanes[0], 0, 2),), 10, subject.now_ms),
        Claim(b, ((lanes[0], 1, 10), (lanes[1], 0, 1)), 10, subject.now_ms),
    ]
    first, second = subject.do(lambda txn: txn.claim(claims))
    assert [leased.message.lane for leased in first.leased] == [lanes[0]] * 2
    assert [leased.message.lane for leased in second.leased] == [lanes[0]] * 2 + [lanes[1]]


def test_what_expired_in_the_queue_ends_when_a_claim_meets_it(subject: Subject) -> None:
    lane = subject.lane("a")
    old = subject.accept(lane, 2, expires_ms=subject.now_ms + 60_000)
    subject.wait(60_000)
    fresh = subject.accept(lane, 1, expires_ms=subject.now_ms + 60_000)
    claim = Claim(subject.store.carrier_id("a"), ((lane, 0, 10),), 10, subject.now_ms)
    result = subject.do(lambda txn: txn.claim([claim]))[0]
    assert (ids(result.leased), result.expired) == (ids(fresh), 2)
    assert sorted(subject.told()) == [(id, MessageState.EXPIRED) for id in ids(old)]
    assert subject.found(old[0]).reason == Reason.EXPIRED_IN_QUEUE


def test_accepted_by_the_carrier_it_awaits_its_receipt(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    progress = subject.found(message)
    assert progress.phase == Phase.AWAITING_RECEIPT
    (part,) = progress.parts
    assert (part.carrier_message_id, part.state) == ("c1", MessageState.ENROUTE)
    assert (progress.attempts, progress.events[-1][1]) == (1, Step.SENT)
    assert subject.events() == []
    assert subject.store.queued(1) == 0


def test_accepted_where_no_receipt_comes_it_ends_accepted(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"))
    subject.settle(subject.outcome(leased, Settle.SENT, carrier_message_id="c1", receipt_expected=False))
    assert subject.told() == [(leased.message.id, MessageState.ACCEPTED)]
    assert subject.found(leased.message).reason == Reason.NO_RECEIPT_WANTED


def test_refused_for_good_it_ends_with_the_carriers_reason(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"))
    refusal = subject.outcome(leased, Settle.FINAL, state=MessageState.REJECTED, detail="ESME_RINVDSTADR")
    refusal.reason = Reason.REFUSED_BY_CARRIER
    subject.settle(refusal)
    assert subject.told() == [(leased.message.id, MessageState.REJECTED)]
    progress = subject.found(leased.message)
    assert (progress.phase, progress.reason) == (Phase.FINAL, Reason.REFUSED_BY_CARRIER)
    assert "ESME_RINVDSTADR" in str(progress.events)


def test_refused_for_now_it_comes_back_at_its_time_with_its_attempts(subject: Subject) -> None:
    lane = subject.lane("a")
    (leased,) = subject.leased(lane)
    later = subject.now_ms + 5_000
    subject.settle(subject.outcome(leased, Settle.RETRY, until_ms=later, reason=Reason.THROTTLED))
    assert (subject.counts(), subject.store.next_due_ms()) == ({"DEFERRED": 1}, later)
    assert (subject.found(leased.message).reason, subject.found(leased.message).until_ms) == (
        Reason.THROTTLED,
        later,
    )
    assert subject.claim(lane) == []
    subject.wait(5_000)
    subject.do(lambda txn: txn.move_due(subject.now_ms, 10))
    assert [again.attempts for again in subject.claim(lane)] == [1]


def test_never_written_to_a_socket_it_is_the_first_of_its_queue_again(subject: Subject) -> None:
    lane = subject.lane("a")
    first, second = subject.leased(lane, count=2)
    subject.accept(lane)
    subject.settle(subject.outcome(second, Settle.RETURNED), subject.outcome(first, Settle.RETURNED))
    again = subject.claim(lane)
    assert ids(again)[:2] == ids([first, second])
    assert [leased.attempts for leased in again] == [0, 0, 0]


def test_of_unknown_outcome_it_goes_again_as_a_possible_duplicate(subject: Subject) -> None:
    lane = subject.lane("a")
    (leased,) = subject.leased(lane)
    subject.settle(subject.outcome(leased, Settle.UNKNOWN_RESEND, until_ms=subject.now_ms + 1_000))
    assert subject.counts() == {"DEFERRED": 1}
    assert subject.found(leased.message).reason == Reason.OUTCOME_UNKNOWN
    subject.wait(1_000)
    subject.do(lambda txn: txn.move_due(subject.now_ms, 10))
    assert [again.possible_duplicate for again in subject.claim(lane)] == [True]


def test_of_unknown_outcome_it_is_held_until_it_expires_unknown(subject: Subject) -> None:
    lane = subject.lane("a")
    (leased,) = subject.leased(lane)
    subject.settle(subject.outcome(leased, Settle.UNKNOWN_HOLD))
    assert subject.counts() == {"UNKNOWN": 1}
    assert subject.claim(lane) == []
    subject.wait(2 * 86_400_000)
    subject.do(lambda txn: txn.expire(subject.now_ms, 10, 0))
    assert subject.told() == [(leased.message.id, MessageState.UNKNOWN)]


@pytest.mark.parametrize("settle", [Settle.UNKNOWN_RESEND, Settle.UNKNOWN_HOLD])
def test_a_late_answer_settles_an_unknown_outcome(subject: Subject, settle: Settle) -> None:
    lane = subject.lane("a")
    (leased,) = subject.leased(lane)
    subject.settle(subject.outcome(leased, settle, until_ms=subject.now_ms + 60_000))
    subject.settle(subject.sent(leased, "c1"))
    assert subject.counts() == {"AWAITING_RECEIPT": 1}
    subject.wait(60_000)
    subject.do(lambda txn: txn.move_due(subject.now_ms, 10))
    assert subject.claim(lane) == []
    assert subject.receive(subject.receipt("c1", leased.message.destination))[0].final


def test_the_same_answer_twice_changes_nothing(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"))
    answer = subject.sent(leased, "c1")
    subject.settle(answer, answer)
    subject.settle(answer)
    assert subject.counts() == {"AWAITING_RECEIPT": 1}
    assert len(subject.found(leased.message).parts) == 1


def test_a_carrier_that_had_it_does_not_get_it_again_but_the_next_one_does(subject: Subject) -> None:
    lane = subject.lane("a", "b")
    (leased,) = subject.leased(lane)
    subject.settle(subject.outcome(leased, Settle.RETRY, mark_tried=True))
    assert subject.store.oldest_ready_ms(lane, unseen_by=0b01) is None
    assert subject.store.oldest_ready_ms(lane, unseen_by=0b10) is not None
    assert subject.claim(lane, "a", index=0) == []
    (again,) = subject.claim(lane, "b", index=1)
    subject.settle(subject.outcome(again, Settle.RETRY, "b", mark_tried=True))
    assert len(subject.claim(lane, "a", index=0)) == 1  # all have had it: a new round


def test_the_queues_of_a_lane_say_who_had_their_messages_and_since_when_they_wait(subject: Subject) -> None:
    lane = subject.lane("a", "b")
    (leased,) = subject.leased(lane)
    later = subject.now_ms
    subject.settle(subject.outcome(leased, Settle.RETRY, until_ms=later, mark_tried=True))
    subject.wait(1_000)
    (fresh,) = subject.accept(lane)
    assert subject.store.ready_queues(lane) == {0b01: later, 0: fresh.accepted_ms}
    assert subject.store.ready_queues(999) == {}


def test_what_carriers_have_in_hand_is_listed_until_they_answer(subject: Subject) -> None:
    lane = subject.lane("a")
    first, second = subject.leased(lane, count=2)
    carrier = subject.store.carrier_id("a")
    listed = [(carrier, leased.lease, leased.message.id) for leased in (first, second)]
    assert sorted(subject.store.leases()) == listed
    subject.settle(subject.sent(first, "c1"))
    assert list(subject.store.leases()) == listed[1:]


def test_parts_are_answered_one_by_one_and_go_on_together(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"), segments=3)
    for part in (2, 0):
        subject.settle(subject.sent(leased, f"c{part}", part=part, total=3))
        assert subject.counts() == {"LEASED": 1}
    subject.settle(subject.sent(leased, "c1", part=1, total=3))
    assert subject.store.totals().segments[Phase.AWAITING_RECEIPT] == 3
    assert [part.carrier_message_id for part in subject.found(leased.message).parts] == ["c0", "c1", "c2"]


def test_parts_that_were_accepted_are_not_sent_again(subject: Subject) -> None:
    lane = subject.lane("a")
    (leased,) = subject.leased(lane, segments=3)
    subject.settle(
        subject.sent(leased, "c0", part=0, total=3),
        subject.outcome(leased, Settle.RETRY, part=1, total=3),
        subject.outcome(leased, Settle.RETRY, part=2, total=3),
    )
    (again,) = subject.claim(lane)
    assert again.first_part == 1
    subject.settle(
        subject.sent(again, "c1", part=1, total=3),
        subject.sent(again, "c2", part=2, total=3),
    )
    assert subject.counts() == {"AWAITING_RECEIPT": 1}


def test_one_part_refused_for_good_ends_the_whole_message(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"), segments=2)
    subject.settle(
        subject.outcome(leased, Settle.FINAL, part=0, total=2, state=MessageState.UNDELIVERABLE),
        subject.sent(leased, "c1", part=1, total=2),
    )
    assert subject.told() == [(leased.message.id, MessageState.UNDELIVERABLE)]


def test_an_aborted_transaction_leaves_everything_as_it_was(subject: Subject) -> None:
    lane = subject.lane("a")
    (message,) = subject.accept(lane)
    before = subject.store.totals()
    claim = Claim(subject.store.carrier_id("a"), ((lane, 0, 10),), 10, subject.now_ms)
    txn = subject.store.begin()
    (leased,) = txn.claim([claim])[0].leased
    txn.settle([subject.sent(leased, "c1")], subject.now_ms)
    txn.put_meta("name", b"value")
    subject.store.abort(txn)
    assert subject.store.totals() == before
    assert subject.store.meta("name") is None
    assert ids(subject.claim(lane)) == [message.id]


def test_totals_follow_each_message_through_its_phases(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.account(2)
    subject.accept(lane, 3, segments=2)
    subject.accept(lane, 2, account=2, send_at_ms=subject.now_ms + 1_000)
    totals = subject.store.totals()
    assert (totals.accepted, totals.accepted_segments) == (5, 8)
    assert (totals.segments[Phase.READY], totals.segments[Phase.SCHEDULED]) == (6, 2)
    assert (subject.store.queued(1), subject.store.queued(2), subject.store.queued(3)) == (3, 2, 0)
    subject.reopen()
    assert subject.store.totals() == totals
    assert (subject.store.queued(1), subject.store.queued(2)) == (3, 2)


def test_a_transaction_may_be_finished_before_it_is_committed(subject: Subject) -> None:
    lane = subject.lane("a")
    made = message(subject.store, lane)
    txn = subject.store.begin()
    txn.accept([made])
    txn.finish()
    txn.finish()
    subject.store.commit(txn)
    assert ids(subject.claim(lane)) == [made.id]


def test_how_many_links_ended_with_a_message_on_them_is_told_with_each_lease_until_one_answers(
    subject: Subject,
) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 2, segments=1)
    claim = Claim(carrier=subject.store.carriers()["a"], lanes=((lane, 0, 10),), segments=10, now_ms=0)

    def lost(count: int, settle: Settle = Settle.UNKNOWN_RESEND, **fields: Any) -> None:
        (result,) = subject.do(lambda txn: txn.claim([msgspec.structs.replace(claim, now_ms=subject.now_ms)]))
        assert result.lost == any(one.lost for one in result.leased)
        first = min(result.leased, key=lambda one: one.message.id)
        told = {"lost": first.lost + 1, "until_ms": subject.now_ms + 1_000, **fields}
        assert first.lost == count
        subject.settle(subject.outcome(first, settle, **told))
        subject.wait(2_000)
        subject.do(lambda txn: txn.move_due(subject.now_ms, 10))

    lost(0)
    lost(1)
    lost(2, Settle.RETURNED, lost=2)
    lost(2, Settle.UNKNOWN_HOLD, reason=Reason.SUSPECT)
    release = subject.do(lambda txn: txn.release_held(Reason.SUSPECT, 10))
    assert release.count == 1
    lost(3, Settle.RETRY, lost=0)
    lost(0)
    subject.sound()


def test_looks_that_find_nothing_to_do_leave_the_turns_of_accounts_as_they_are(steady: Subject) -> None:
    """A gateway drops a transaction whenever it was woken and no carrier had room."""
    lane = steady.lane("a")
    for id in range(1, 31):
        if id > 1:
            steady.account(id)
        steady.accept(lane, 3, account=id)
    served = []
    for _ in range(60):
        served += [leased.message.account for leased in steady.claim(lane, segments=1)]
        steady.store.abort(steady.store.begin())
    assert sorted(served) == sorted([*range(1, 31)] * 2)


@pytest.mark.parametrize("early", [True, False])
def test_receipts_of_the_carrier_that_a_long_message_has_left_are_recorded_and_not_told(
    subject: Subject, early: bool
) -> None:
    subject.account(1, per_part_receipts=True)
    lane = subject.lane("a", "b")
    (leased,) = subject.leased(lane, segments=2)
    returned = subject.outcome(leased, Settle.RETURNED, part=1, total=2)
    subject.settle(subject.sent(leased, "a0", total=2), returned)
    late = subject.receipt("a0", leased.message.destination)
    if early:
        subject.receive(late)
    b = subject.store.carrier_id("b")
    kept = Claim(b, ((lane, 1, 9),), 9, subject.now_ms, able={lane: 0b10})
    assert subject.do(lambda txn: txn.claim([kept]))[0].leased == []
    asked = Claim(b, ((lane, 1, 9),), 9, subject.now_ms, able={lane: 0b10}, gone={lane: 0b01})
    (whole,) = subject.do(lambda txn: txn.claim([asked]))[0].leased
    assert (whole.first_part, whole.fresh) == (0, False)
    subject.settle(*(subject.sent(whole, f"b{part}", "b", part, 2) for part in range(2)))
    if not early:
        (result,) = subject.receive(late)
        assert not result.final
    assert subject.told() == []
    subject.receive(subject.receipt("b0", leased.message.destination, carrier="b"))
    assert subject.phase(leased.message) == Phase.AWAITING_RECEIPT
    subject.receive(subject.receipt("b1", leased.message.destination, carrier="b"))
    finals = [told for told in subject.told() if told[1] == MessageState.DELIVERED]
    assert finals[-1][0] == leased.message.id
    steps = [event[1] for event in subject.found(leased.message).events]
    assert steps.count(Step.RESENT) == 1
    assert steps.count(Step.FINAL) == 1
    assert subject.store.check() == []


def test_queues_that_wait_are_counted_as_far_as_is_asked(subject: Subject) -> None:
    lane, other = subject.lane("a"), subject.lane("b")
    subject.account(2)
    subject.accept(lane, 3, priority=1)
    subject.accept(lane, 2, priority=3)
    subject.accept(lane, 1, account=2, priority=1)
    subject.accept(other, 1, priority=1)

    def counted(each: int, most: int) -> list[tuple[int, int, int, int, bool]]:
        rows = subject.store.waiting_queues(each, most)
        return [(row.lane, row.priority, row.account, row.count, row.more) for row in rows]

    assert counted(100, 100) == [
        (lane, 3, 1, 2, False),
        (lane, 1, 1, 3, False),
        (lane, 1, 2, 1, False),
        (other, 1, 1, 1, False),
    ]
    assert counted(2, 100)[1] == (lane, 1, 1, 2, True)
    assert len(counted(100, 2)) == 4, "each queue is told, with one message at least"
    assert sum(row[3] for row in counted(100, 2)) < 7
