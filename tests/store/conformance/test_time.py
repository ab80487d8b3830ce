"""What time and operators do: due, expire, hold and release, cancel, archive."""

from __future__ import annotations

import msgspec
import pytest

from router.nouns import MessageState, Phase, Reason, Settle, Step
from store.interface import OtherLimits
from tests.store.conformance.subject import DAY_MS, Subject, ids


def test_due_messages_come_in_portions_oldest_first(subject: Subject) -> None:
    lane = subject.lane("a")
    later = subject.accept(lane, 2, send_at_ms=subject.now_ms + 2_000)
    sooner = subject.accept(lane, 2, send_at_ms=subject.now_ms + 1_000)
    subject.wait(5_000)
    assert subject.do(lambda txn: txn.move_due(subject.now_ms, 3)) == 3
    assert subject.store.next_due_ms() is not None
    assert subject.do(lambda txn: txn.move_due(subject.now_ms, 3)) == 1
    assert subject.do(lambda txn: txn.move_due(subject.now_ms, 3)) == 0
    assert ids(subject.claim(lane)) == ids([*sooner, *later])


def test_messages_past_their_validity_end_wherever_they_wait(subject: Subject) -> None:
    lane = subject.lane("a")
    end = subject.now_ms + 60_000
    ready = subject.accept(lane, expires_ms=end)
    scheduled = subject.accept(lane, send_at_ms=end - 1_000, expires_ms=end)
    subject.wait(180_000)
    assert subject.do(lambda txn: txn.expire(subject.now_ms, 1, 0)) == 1
    assert subject.do(lambda txn: txn.expire(subject.now_ms, 10, 0)) == 1
    assert sorted(subject.told()) == [(id, MessageState.EXPIRED) for id in sorted(ids([*ready, *scheduled]))]
    assert subject.claim(lane) == []
    assert subject.do(lambda txn: txn.move_due(subject.now_ms, 10)) == 0


def test_a_message_in_a_carriers_hands_outlives_its_validity(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"), expires_ms=subject.now_ms + 60_000)
    subject.wait(300_000)
    assert subject.do(lambda txn: txn.expire(subject.now_ms, 10, 60_000)) == 0
    subject.settle(subject.sent(leased, "c1"))
    assert subject.counts() == {"AWAITING_RECEIPT": 1}


@pytest.mark.parametrize("state", [MessageState.EXPIRED, MessageState.UNKNOWN])
def test_without_a_receipt_one_final_follows_validity_and_grace(
    subject: Subject, state: MessageState
) -> None:
    subject.account(1, no_receipt_state=state)
    message = subject.send(subject.lane("a"), "c1")
    subject.wait(DAY_MS + 120_000)
    subject.do(lambda txn: txn.expire(subject.now_ms, 10, 3_600_000))
    assert subject.counts() == {"AWAITING_RECEIPT": 1}
    subject.wait(3_720_000)
    for _ in range(2):
        subject.do(lambda txn: txn.expire(subject.now_ms, 10, 3_600_000))
    assert subject.told() == [(message.id, state)]
    assert subject.found(message).reason == Reason.NO_RECEIPT


def test_what_was_sent_in_time_waits_for_its_receipt_as_long_as_it_is_valid(subject: Subject) -> None:
    """A route's max_queue_age_s ends what waits unsent, not what a carrier has."""
    soon, late = subject.now_ms + 60_000, subject.now_ms + DAY_MS
    message = subject.send(subject.lane("a"), "c1", expires_ms=soon, valid_until_ms=late)
    (waiting,) = subject.accept(subject.lane("b"), expires_ms=soon, valid_until_ms=late)
    for _ in range(3):
        subject.wait(120_000)
        subject.do(lambda txn: txn.expire(subject.now_ms, 10, 3_600_000))
    assert subject.told() == [(waiting.id, MessageState.EXPIRED)]
    assert subject.counts() == {"AWAITING_RECEIPT": 1, "FINAL": 1}
    subject.wait(DAY_MS)
    subject.do(lambda txn: txn.expire(subject.now_ms, 10, 3_600_000))
    assert subject.counts() == {"AWAITING_RECEIPT": 1, "FINAL": 1}
    subject.wait(3_660_000)
    subject.do(lambda txn: txn.expire(subject.now_ms, 10, 3_600_000))
    assert [id for id, _ in subject.told()][-1] == message.id


def test_held_messages_are_released_in_portions_and_go_out_again(subject: Subject) -> None:
    lane = subject.lane("a")
    leased = subject.leased(lane, count=5)
    subject.settle(*(subject.outcome(one, Settle.UNKNOWN_HOLD) for one in leased))
    first = subject.do(lambda txn: txn.release_held(Reason.OUTCOME_UNKNOWN, 3))
    assert first.count == 3
    second = subject.do(lambda txn: txn.release_held(Reason.OUTCOME_UNKNOWN, 3, first.after))
    assert (second.count, second.after) == (2, None)
    again = subject.claim(lane)
    assert ids(again) == ids(leased)
    assert all(one.possible_duplicate for one in again)


def test_only_what_is_held_for_the_reason_is_released(subject: Subject) -> None:
    (leased,) = subject.leased(subject.lane("a"))
    subject.settle(subject.outcome(leased, Settle.UNKNOWN_HOLD))
    assert subject.do(lambda txn: txn.release_held(Reason.RESTORED, 10)).count == 0
    assert subject.counts() == {"UNKNOWN": 1}


def test_cancelling_says_what_could_still_be_done(subject: Subject) -> None:
    lane = subject.lane("a")
    (ready,) = subject.accept(lane)
    (scheduled,) = subject.accept(lane, send_at_ms=subject.now_ms + 1_000)

    def cancel(account: int, id: int) -> str:
        answer: str = subject.do(lambda txn: txn.cancel(account, id, subject.now_ms))
        return answer

    assert [cancel(1, one.id) for one in (ready, scheduled)] == ["cancelled", "cancelled"]
    assert cancel(1, ready.id) == "final"
    assert cancel(2, ready.id) == cancel(1, 1) == "unknown"
    message = subject.send(lane, "c1")
    assert cancel(1, message.id) == "sent"
    assert sorted(subject.told()) == [(one.id, MessageState.DELETED) for one in (ready, scheduled)]


def test_a_cancelled_message_in_a_carriers_hands_is_not_sent_again(subject: Subject) -> None:
    lane = subject.lane("a")
    (leased,) = subject.leased(lane)
    assert subject.do(lambda txn: txn.cancel(1, leased.message.id, subject.now_ms)) == "leased"
    subject.settle(subject.outcome(leased, Settle.RETRY, until_ms=subject.now_ms + 1_000))
    assert subject.told() == [(leased.message.id, MessageState.DELETED)]
    assert subject.phase(leased.message) == Phase.FINAL


def test_finished_messages_move_to_the_archive_and_are_still_found(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    subject.receive(subject.receipt("c1", message.destination))
    assert subject.store.pick_finished(subject.now_ms, 10) == []
    subject.wait(subject.options.archive_after_s * 1000 + 1_000)
    rows = subject.store.pick_finished(subject.now_ms, 10)
    for _ in range(2):
        subject.store.write_finished(rows)
    assert subject.do(lambda txn: txn.forget(rows)) == 1
    assert subject.store.pick_finished(subject.now_ms, 10) == []
    assert subject.found(message).state == MessageState.DELIVERED
    assert subject.store.find(2, message.id) is None
    found = subject.store.find_any(message.id)
    assert found is not None
    assert found[0] == message
    assert subject.store.latest_to(message.destination, "TEST", subject.now_ms - DAY_MS) == (1, message.id)
    assert subject.store.drop_old(subject.now_ms, 30) == []
    assert len(subject.store.drop_old(subject.now_ms + 40 * DAY_MS, 30)) == 1
    assert subject.store.find(1, message.id) is None
    assert subject.counts() == {"FINAL": 1}


def test_a_receipt_that_comes_while_its_message_is_archived_is_in_the_timeline(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    subject.receive(subject.receipt("c1", message.destination))
    subject.wait(subject.options.archive_after_s * 1000 + 1_000)
    rows = subject.store.pick_finished(subject.now_ms, 10)
    subject.store.write_finished(rows)
    subject.receive(subject.receipt("c1", message.destination))
    assert subject.do(lambda txn: txn.forget(rows)) == 0
    rows = subject.store.pick_finished(subject.now_ms, 10)
    subject.store.write_finished(rows)
    assert subject.do(lambda txn: txn.forget(rows)) == 1
    steps = [event[1] for event in subject.found(message).events]
    assert steps == [Step.SENT, Step.RECEIPT, Step.FINAL, Step.RECEIPT_REPEATED]
    assert subject.told() == [(message.id, MessageState.DELIVERED)]


def test_what_a_message_said_is_taken_out_once_it_has_ended(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")

    def redact(account: int = 1, id: int = message.id) -> str:
        answer: str = subject.do(lambda txn: txn.redact(account, id, subject.now_ms, "deleted"))
        return answer

    assert [redact(), redact(2), redact(1, 7)] == ["waits", "unknown", "unknown"]
    subject.receive(subject.receipt("c1", message.destination))
    before = subject.counts()
    assert redact() == "redacted"
    found = subject.store.find(1, message.id)
    assert found is not None
    assert found[0] == msgspec.structs.replace(message, text="")
    assert found[1].events[-1][1:] == (Step.REDACTED, 0, "deleted")
    assert found[1].state == MessageState.DELIVERED
    assert subject.counts() == before


def test_what_an_archived_message_said_is_taken_out(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    subject.receive(subject.receipt("c1", message.destination))
    assert not subject.store.redact_archived(1, message.id, subject.now_ms)
    subject.wait(subject.options.archive_after_s * 1000 + 1_000)
    rows = subject.store.pick_finished(subject.now_ms, 10)
    subject.store.write_finished(rows)
    assert subject.do(lambda txn: txn.redact(1, message.id, subject.now_ms)) == "redacted"
    assert subject.do(lambda txn: txn.forget(rows)) == 0, "the copy still has the text"
    rows = subject.store.pick_finished(subject.now_ms, 10)
    subject.store.write_finished(rows)
    assert subject.do(lambda txn: txn.forget(rows)) == 1
    found = subject.store.find(1, message.id)
    assert found is not None
    assert found[0].text == ""
    assert not subject.store.redact_archived(2, message.id, subject.now_ms)
    assert subject.store.redact_archived(1, message.id, subject.now_ms, "deleted")
    found = subject.store.find(1, message.id)
    assert found is not None
    assert [event[1] for event in found[1].events][-2:] == [Step.REDACTED, Step.REDACTED]


def test_a_crash_between_the_steps_of_archiving_loses_and_doubles_nothing(steady: Subject) -> None:
    message = steady.send(steady.lane("a"), "c1")
    steady.receive(steady.receipt("c1", message.destination))
    steady.wait(steady.options.archive_after_s * 1000 + 1_000)
    steady.store.write_finished(steady.store.pick_finished(steady.now_ms, 10))
    steady.reopen()
    rows = steady.store.pick_finished(steady.now_ms, 10)
    steady.store.write_finished(rows)
    steady.do(lambda txn: txn.forget(rows))
    assert steady.found(message).phase == Phase.FINAL
    assert steady.told() == [(message.id, MessageState.DELIVERED)]


def test_what_becomes_ready_goes_by_the_limits_that_there_are_by_then(subject: Subject) -> None:
    lane = subject.lane("a", "b")
    spec = subject.store.lane(lane)
    limited = subject.store.lane_id(msgspec.structs.replace(spec, limits=((spec.carriers[0], "uk"),)))
    (returned,) = subject.leased(lane)
    subject.settle(subject.outcome(returned, Settle.RETURNED))
    (returned,) = subject.claim(lane)
    (deferred,) = subject.leased(lane)
    until_ms = subject.now_ms + 2_000
    subject.settle(subject.outcome(deferred, Settle.RETRY, until_ms=until_ms, mark_tried=True))
    (held,) = subject.leased(lane)
    subject.settle(subject.outcome(held, Settle.HOLD, reason=Reason.REFUSED_HELD))
    subject.accept(lane, send_at_ms=subject.now_ms + 1_000)
    before = subject.store.next_ids(1)
    newer = subject.accept(lane, send_at_ms=subject.now_ms + 1_000)
    subject.store.other_limits(OtherLimits({lane}, before, lambda lane, message: limited))
    subject.settle(subject.outcome(returned, Settle.RETURNED))
    subject.store.other_limits(OtherLimits({lane}, before, lambda lane, message: limited))
    subject.wait(5_000)
    subject.do(
        lambda txn: txn.move_due(subject.now_ms, 10),
        lambda txn: txn.release_held(Reason.REFUSED_HELD, 10),
    )
    assert subject.store.check() == []
    assert ids(subject.claim(lane)) == ids(newer)
    taken = subject.claim(limited)
    assert len(taken) == 3, "that which the first carrier refused waits for the other"
    assert all(one.lane == limited for one in taken)
    subject.settle(*(subject.sent(one, f"c{one.message.id}") for one in taken))
    (left,) = subject.claim(limited, "b", index=1)
    assert left.message.id == deferred.message.id
    assert subject.store.check() == []


def test_what_a_full_queue_refused_comes_back_to_its_place(subject: Subject) -> None:
    lane = subject.lane("a")
    first, second = subject.leased(lane, count=2)
    later = subject.now_ms + 15_000
    subject.settle(
        subject.outcome(first, Settle.RETRY, until_ms=later, reason=Reason.RETRY),
        subject.outcome(second, Settle.RETRY, until_ms=later, reason=Reason.QUEUE_FULL),
    )
    subject.wait(10_000)
    younger = subject.accept(lane, 2)
    subject.wait(10_000)
    assert subject.do(lambda txn: txn.move_due(subject.now_ms, 10)) == 2
    assert subject.phase(second.message) == Phase.READY
    assert subject.store.check() == []
    taken = subject.claim(lane)
    assert ids(taken) == [second.message.id, *ids(younger), first.message.id]
    assert not taken[0].possible_duplicate
    assert not taken[0].lost
    subject.settle(subject.outcome(taken[0], Settle.RETRY, until_ms=later, reason=Reason.QUEUE_FULL))
    assert ids(subject.claim(lane)) == [second.message.id]
