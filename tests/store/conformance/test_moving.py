"""What operators do to waiting messages: move, bounce, force, reroute; in portions, and cut off anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from router.judge import OnReceipt
from router.money import LedgerEntry
from router.nouns import Bill, Charge, LaneSpec, Message, MessageState, Phase, Reason, Relay, Settle, Step
from store.interface import Acted, OtherLimits, Waiting, Which
from tests.store.conformance.subject import Subject, ids
from tests.store.records_for_tests import message as made

SAID = "by ann: north is down"
MINUTE_MS = 60_000


def move(
    subject: Subject,
    to: int | Callable[[Message], int | str],
    which: Which | None = None,
    limit: int = 100,
    after: bytes = b"",
) -> Acted:
    def decide(message: Message) -> int | str:
        return to if isinstance(to, int) else to(message)

    done: Acted = subject.do(lambda txn: txn.move(which or Which(), decide, SAID, limit, after))
    return done


def bounce(
    subject: Subject,
    which: Which | None = None,
    limit: int = 100,
    after: bytes = b"",
    state: int = MessageState.UNDELIVERABLE,
) -> Acted:
    done: Acted = subject.do(
        lambda txn: txn.bounce(which or Which(), state, subject.now_ms, SAID, limit, after)
    )
    return done


def force(subject: Subject, message: Message, carrier: str) -> str:
    id = subject.store.carrier_id(carrier)
    answer: str = subject.do(lambda txn: txn.force(message.account, message.id, id, subject.now_ms, SAID))
    return answer


def reroute(subject: Subject, message: Message, lane: int) -> str:
    answer: str = subject.do(lambda txn: txn.reroute(message.account, message.id, lane, SAID))
    return answer


def steps(subject: Subject, message: Message) -> list[tuple[int, str]]:
    return [(step, detail) for _, step, _, detail in subject.found(message).events]


def deferred(subject: Subject, lane: int, carrier: str = "a", **fields: Any) -> Message:
    """One that this carrier wanted later."""
    (leased,) = subject.leased(lane, carrier, **fields)
    later = subject.now_ms + MINUTE_MS
    subject.settle(
        subject.outcome(leased, Settle.RETRY, carrier, reason=Reason.RETRY, until_ms=later, mark_tried=True)
    )
    return leased.message


# move


def test_what_waits_goes_to_the_other_lane_in_its_order_and_tells_of_it(subject: Subject) -> None:
    old, new = subject.lane("a", "b"), subject.lane("c")
    messages = subject.accept(old, 3)
    assert move(subject, new) == Acted(3, 3)
    assert subject.claim(old) == []
    assert subject.counts() == {"READY": 3}
    assert steps(subject, messages[0]) == [(Step.MOVED, f"a>b to c, {SAID}")]
    assert [leased.message for leased in subject.claim(new, "c")] == messages


def test_a_move_in_portions_meets_each_message_once_and_goes_on_after_a_cut(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b")
    subject.accept(old, 7)
    first = move(subject, new, limit=3)
    assert first.count == 3
    assert first.after
    txn = subject.store.begin()
    txn.move(Which(), lambda message: new, SAID, 3, first.after)
    subject.store.abort(txn)
    subject.reopen()
    subject.sound()
    moved, after, portions = 0, b"", 0
    while after or not portions:
        done = move(subject, new, limit=3, after=after)
        moved, after, portions = moved + done.count, done.after, portions + 1
    assert moved == 4
    assert len(subject.claim(new, "b")) == 7


def test_only_what_fits_is_moved(subject: Subject) -> None:
    old, other, new = subject.lane("a"), subject.lane("b"), subject.lane("c")
    subject.account(2)
    (low,) = subject.accept(old, priority=0)
    subject.accept(old, account=2)
    subject.accept(other)
    subject.wait(5_000)
    (young,) = subject.accept(old, destination="33612345678")
    assert move(subject, new, Which(lanes=frozenset({other}))).count == 1
    assert move(subject, new, Which(accounts=frozenset({2}))).count == 1
    assert move(subject, new, Which(phases=frozenset({Phase.HELD}))).count == 0
    assert move(subject, new, Which(fits=lambda one: one.destination.startswith("33"))).count == 1
    assert subject.found(young).lane == new
    assert move(subject, old, Which(first_id=young.id)).count == 1
    assert move(subject, new, Which(priorities=frozenset({0}), before_id=young.id)).count == 1
    assert subject.found(low).lane == new


def test_what_cannot_go_stays_where_it_is_and_is_counted_with_the_reason(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b")
    short, long = subject.accept(old) + subject.accept(old, segments=5)
    done = move(subject, lambda one: "too long" if one.segments > 3 else new)
    assert (done.count, done.stayed) == (1, {"too long": 1})
    assert ids(subject.claim(old)) == [long.id]
    assert ids(subject.claim(new, "b")) == [short.id]


def test_what_a_carrier_has_or_nobody_knows_the_outcome_of_stays(steady: Subject) -> None:
    old, new = steady.lane("a"), steady.lane("b")
    (unknown,) = steady.leased(old)
    steady.settle(steady.outcome(unknown, Settle.UNKNOWN_HOLD))
    (leased,) = steady.leased(old)
    assert move(steady, new) == Acted()
    assert bounce(steady) == Acted()
    assert steady.counts() == {"LEASED": 1, "UNKNOWN": 1}
    assert reroute(steady, unknown.message, new) == "outcome_unknown"
    assert reroute(steady, leased.message, new) == "leased"
    assert force(steady, unknown.message, "a") == "outcome_unknown"
    assert force(steady, leased.message, "a") == "leased"


def test_a_scheduled_message_keeps_its_time_in_the_new_lane(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b")
    (message,) = subject.accept(old, send_at_ms=subject.now_ms + MINUTE_MS)
    assert move(subject, new).count == 1
    assert subject.counts() == {"SCHEDULED": 1}
    subject.wait(MINUTE_MS)
    subject.do(lambda txn: txn.move_due(subject.now_ms, 10))
    assert ids(subject.claim(new, "b")) == [message.id]


def test_a_deferred_message_is_ready_where_there_is_a_carrier_that_did_not_defer_it(subject: Subject) -> None:
    old, new = subject.lane("a", "b"), subject.lane("c")
    message = deferred(subject, old)
    assert move(subject, new).count == 1
    assert subject.counts() == {"READY": 1}
    (leased,) = subject.claim(new, "c")
    assert leased.message == message
    assert leased.attempts == 1


def test_a_deferred_message_waits_on_among_the_carriers_it_had(subject: Subject) -> None:
    old, new = subject.lane("a", "b"), subject.lane("b")
    deferred(subject, old)
    assert move(subject, new).count == 1
    assert subject.counts() == {"DEFERRED": 1}
    subject.wait(MINUTE_MS)
    subject.do(lambda txn: txn.move_due(subject.now_ms, 10))
    assert len(subject.claim(new, "b")) == 1


def test_a_possible_duplicate_waits_on_in_the_new_lane_and_is_not_bounced(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b")
    (leased,) = subject.leased(old)
    again = subject.now_ms + MINUTE_MS
    subject.settle(subject.outcome(leased, Settle.UNKNOWN_RESEND, until_ms=again))
    assert move(subject, new).count == 1
    assert subject.counts() == {"DEFERRED": 1}
    done = bounce(subject)
    assert (done.count, sum(done.stayed.values())) == (0, 1)
    subject.wait(MINUTE_MS)
    subject.do(lambda txn: txn.move_due(subject.now_ms, 10))
    (again_leased,) = subject.claim(new, "b")
    assert again_leased.possible_duplicate


def test_what_is_held_stays_held_unless_its_lane_was_gone(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b")
    subject.accept(old)
    subject.do(lambda txn: txn.replan(old, lambda one: 0, 10))
    (refused,) = subject.leased(old)
    subject.settle(subject.outcome(refused, Settle.HOLD, reason=Reason.REFUSED_HELD))
    assert subject.counts() == {"HELD": 2}
    assert move(subject, new).count == 2
    assert subject.counts() == {"HELD": 1, "READY": 1}
    released = subject.do(lambda txn: txn.release_held(Reason.REFUSED_HELD, 10))
    assert released.count == 1
    assert len(subject.claim(new, "b")) == 2


def test_carriers_that_had_a_message_are_not_asked_again_in_the_new_lane(subject: Subject) -> None:
    old, new = subject.lane("a", "b"), subject.lane("c", "a")
    deferred(subject, old)
    move(subject, new)
    assert subject.claim(new, "a", index=1) == []
    assert len(subject.claim(new, "c")) == 1


def test_parts_of_a_long_message_go_where_the_first_one_goes(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b")
    for index in (1, 2, 3):
        relay = Relay(reference=7, total=3, index=index)
        subject.accept(old, destination="447700900123", relay=relay)
    done = move(subject, new)
    assert (done.count, sum(done.stayed.values())) == (1, 2)
    assert subject.counts() == {"HELD": 2, "READY": 1}
    assert len(subject.claim(new, "b")) == 3


# bounce


def test_bounced_messages_end_once_and_their_account_is_told_once(subject: Subject) -> None:
    lane = subject.lane("a")
    messages = subject.accept(lane, 2)
    waits = subject.accept(lane, 1, send_at_ms=subject.now_ms + MINUTE_MS)
    later = deferred(subject, subject.lane("b"), "b", segments=2)
    done = bounce(subject)
    assert (done.count, done.segments) == (4, 5)
    assert bounce(subject).count == 0
    assert subject.counts() == {"FINAL": 4}
    told = sorted(subject.told())
    assert told == sorted((one.id, MessageState.UNDELIVERABLE) for one in [*messages, *waits, later])
    found = subject.found(messages[0])
    assert found.reason == Reason.BOUNCED
    assert steps(subject, messages[0]) == [(Step.BOUNCED, SAID), (Step.FINAL, "UNDELIVERABLE")]
    assert {event.cause for event in subject.events()} == {"cancelled"}


def test_a_bounce_can_say_rejected(subject: Subject) -> None:
    (message,) = subject.accept(subject.lane("a"))
    bounce(subject, state=MessageState.REJECTED)
    assert subject.told() == [(message.id, MessageState.REJECTED)]


def test_bouncing_goes_on_where_it_was_cut(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 5)
    first = bounce(subject, limit=2)
    assert (first.count, bool(first.after)) == (2, True)
    txn = subject.store.begin()
    txn.bounce(Which(), MessageState.UNDELIVERABLE, subject.now_ms, SAID, 2, first.after)
    subject.store.abort(txn)
    subject.reopen()
    subject.sound()
    assert bounce(subject).count == 3
    assert len(subject.told()) == 5


def test_all_parts_of_a_long_message_are_bounced(subject: Subject) -> None:
    lane = subject.lane("a")
    for index in (1, 2):
        relay = Relay(reference=7, total=2, index=index)
        subject.accept(lane, destination="447700900123", relay=relay)
    relay = Relay(reference=8, total=2, index=1)
    subject.accept(lane, destination="447700900123", relay=relay)
    assert bounce(subject).count == 3
    assert subject.counts() == {"FINAL": 3}
    subject.accept(lane, destination="447700900123", relay=Relay(reference=8, total=2, index=2))
    assert len(subject.claim(lane)) == 1


def test_what_a_bounced_message_had_reserved_is_free_again(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.account(1, billing="prepaid", currency="EUR")
    subject.do(lambda txn: txn.credit(1, LedgerEntry(subject.now_ms, 100, "EUR", "for the test", "ann")))
    bill = Bill(30, "EUR", Charge.SENT)
    message = made(subject.store, lane, bill=bill)

    def put(txn: Any) -> None:
        refused: dict[int, str] = {}
        txn.accept(txn.reserve([message], refused))
        assert not refused

    subject.do(put)
    assert subject.store.wallet(1).reserved == 30
    new = subject.lane("b")
    assert move(subject, new).count == 1
    assert subject.store.wallet(1).reserved == 30
    assert bounce(subject).count == 1
    wallet = subject.store.wallet(1)
    assert (wallet.reserved, wallet.charged, wallet.balance) == (0, 0, 100)


# force


@pytest.mark.parametrize("carriers", [("a",), ("b", "a"), tuple("abcdefghijklmnop")])
def test_a_forced_message_overtakes_all_of_its_lane(subject: Subject, carriers: tuple[str, ...]) -> None:
    lane, index = subject.lane(*carriers), carriers.index("a")
    subject.accept(lane, 5, priority=3)
    (message,) = subject.accept(lane, priority=0)
    assert force(subject, message, "a") == "forced"
    assert steps(subject, message) == [(Step.FORCED, SAID)]
    assert ids(subject.claim(lane, "a", 1, index)) == [message.id]
    assert subject.counts() == {"LEASED": 1, "READY": 5}


def test_a_forced_message_is_for_its_carrier_alone(subject: Subject) -> None:
    lane = subject.lane("a", "b")
    (message,) = subject.accept(lane)
    assert force(subject, message, "b") == "forced"
    assert subject.claim(lane, "a") == []
    assert ids(subject.claim(lane, "b", index=1)) == [message.id]


@pytest.mark.parametrize("settle", [Settle.RETRY, Settle.RETURNED])
def test_what_its_carrier_gives_back_waits_as_any_other(steady: Subject, settle: Settle) -> None:
    lane = steady.lane("a", "b")
    (message,) = steady.accept(lane)
    force(steady, message, "b")
    (leased,) = steady.claim(lane, "b", index=1)
    steady.settle(steady.outcome(leased, settle, "b", mark_tried=True))
    assert ids(steady.claim(lane, "a")) == [message.id]


@pytest.mark.parametrize("carriers", [("a", "b"), ("a",)])
def test_a_forced_message_that_its_carrier_throttles_stays_in_front(
    subject: Subject, carriers: tuple[str, ...]
) -> None:
    """A refusal that says only "too fast" does not take the place that an operator gave."""
    lane = subject.lane(*carriers)
    subject.accept(lane, 5, priority=3)
    (message,) = subject.accept(lane, priority=0)
    force(subject, message, "a")
    for _ in range(2):
        (leased,) = subject.claim(lane, "a", 1)
        assert leased.message.id == message.id
        subject.settle(
            subject.outcome(leased, Settle.RETRY, "a", reason=Reason.THROTTLED, count_attempt=False)
        )
        assert subject.counts() == {"READY": 6}
    assert ids(subject.claim(lane, "a", 1)) == [message.id]


def test_a_forced_message_throttled_in_a_lane_of_as_many_carriers_as_there_may_be(steady: Subject) -> None:
    """Such a lane's masks have no bit for it: it stays for its carrier, in front of what nobody has had."""
    lane = steady.lane(*"abcdefghijklmnop")
    steady.accept(lane, 3)
    (message,) = steady.accept(lane)
    force(steady, message, "a")
    (leased,) = steady.claim(lane, "a", 1)
    steady.settle(steady.outcome(leased, Settle.RETRY, "a", reason=Reason.THROTTLED, count_attempt=False))
    assert ids(steady.claim(lane, "a", 1)) == [message.id]


def test_scheduled_deferred_and_held_messages_can_be_forced(subject: Subject) -> None:
    lane = subject.lane("a", "b")
    (waits,) = subject.accept(lane, send_at_ms=subject.now_ms + MINUTE_MS)
    later = deferred(subject, lane)
    (leased,) = subject.leased(lane)
    subject.settle(subject.outcome(leased, Settle.HOLD, reason=Reason.REFUSED_HELD))
    assert subject.counts() == {"SCHEDULED": 1, "DEFERRED": 1, "HELD": 1}
    for message in (waits, later, leased.message):
        assert force(subject, message, "a") == "forced"
    assert subject.counts() == {"READY": 3}
    assert len(subject.claim(lane, "a")) == 3
    subject.wait(MINUTE_MS)
    assert subject.do(lambda txn: txn.move_due(subject.now_ms, 10)) == 0


def test_the_parts_of_a_forced_long_message_come_along_and_nobody_has_refused_them(steady: Subject) -> None:
    lane = steady.lane("a")
    for index in (1, 2):
        relay = Relay(reference=7, total=2, index=index)
        steady.accept(lane, destination="447700900123", relay=relay)
    (row,) = [one for one in steady.store.waiting_page(Which(), b"", 10).found if one.phase == Phase.READY]
    (held,) = [one for one in steady.store.waiting_page(Which(), b"", 10).found if one.phase == Phase.HELD]
    assert force(steady, held.message, "a") == "parts"
    assert force(steady, row.message, "a") == "forced"
    first, second = steady.claim(lane, "a")
    for leased in (first, second):
        steady.settle(steady.outcome(leased, Settle.RETRY, "a", mark_tried=True))
    assert steady.counts() == {"READY": 2}
    assert len(steady.claim(lane, "a")) == 2


def test_force_says_why_not(subject: Subject) -> None:
    lane = subject.lane("a")
    (message,) = subject.accept(lane)
    assert force(subject, message, "z") == "elsewhere"
    sent = subject.send(subject.lane("b"), "x1", "b")
    assert force(subject, sent, "b") == "sent"
    subject.receive(subject.receipt("x1", sent.destination, carrier="b"))
    assert force(subject, sent, "b") == "final"
    subject.wait(2 * 86_400_000)
    assert force(subject, message, "a") == "expired"
    assert subject.do(lambda txn: txn.force(1, 7, 1, subject.now_ms, SAID)) == "unknown"


# one to another lane


def test_one_message_goes_to_another_lane(subject: Subject) -> None:
    old, new = subject.lane("a"), subject.lane("b")
    first, second = subject.accept(old, 2)
    assert reroute(subject, second, new) == "moved"
    assert reroute(subject, second, new) == "there"
    assert steps(subject, second) == [(Step.MOVED, f"a to b, {SAID}")]
    assert ids(subject.claim(old)) == [first.id]
    assert ids(subject.claim(new, "b")) == [second.id]


# what there is, before anything is done


def test_a_page_shows_what_an_act_would_look_at(subject: Subject) -> None:
    lane = subject.lane("a")
    subject.accept(lane, 4)
    subject.accept(lane, send_at_ms=subject.now_ms + MINUTE_MS)
    found: list[Waiting] = []
    after, pages = b"", 0
    while after or not pages:
        page = subject.store.waiting_page(Which(accounts=frozenset({1})), after, 2)
        found, after, pages = [*found, *page.found], page.after, pages + 1
    assert sorted(one.phase for one in found) == [Phase.SCHEDULED] + [Phase.READY] * 4
    assert len({one.message.id for one in found}) == 5
    assert subject.store.waiting_page(Which(accounts=frozenset({2})), b"", 10).found == []


# after a carrier had accepted it


def passed_on(subject: Subject, lane: int) -> Message:
    """Accepted by a, not delivered, and in its lane again for the others."""
    message = subject.send(lane, "x1")
    subject.receive(subject.receipt("x1", message.destination, MessageState.UNDELIVERABLE))
    assert subject.counts() == {"READY": 1}
    return message


def test_what_a_carrier_accepted_before_is_not_given_to_it_again(steady: Subject) -> None:
    steady.store.fail_over({"r": OnReceipt(undelivered=True)})
    old = steady.lane("a", "b")
    message = passed_on(steady, old)
    assert force(steady, message, "a") == "had"
    assert reroute(steady, message, steady.lane("a")) == "had"
    done = move(steady, steady.lane("a"))
    assert (done.count, sum(done.stayed.values())) == (0, 1)
    new = steady.lane("c", "a")
    assert move(steady, new).count == 1
    assert steady.claim(new, "a", index=1) == []
    assert len(steady.claim(new, "c")) == 1


def test_a_forced_message_follows_the_limits_that_there_are_by_now(steady: Subject) -> None:
    store = steady.store
    old = steady.lane("a", "b")
    carriers = store.lane(old).carriers
    under = store.lane_id(LaneSpec(carriers, limits=((carriers[0], "44"),)))
    (message,) = steady.accept(old, send_at_ms=steady.now_ms + MINUTE_MS)
    store.other_limits(OtherLimits({old}, store.next_ids(1), lambda lane, one: under))
    assert force(steady, message, "b") == "forced"
    assert store.ready_lanes() == {under}
    assert store.lane_totals()[under][Phase.READY] == 1
    assert ids(steady.claim(under, "b", index=1)) == [message.id]
