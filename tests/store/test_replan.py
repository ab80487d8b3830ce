"""Messages leave a lane that is gone: for another one, or held where no route takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router.nouns import Leased, Message, MessageState, Outcome, Phase, Reason, Relay, Settle, Step
from store.check import check
from store.interface import Claim, Replanned
from store.lmdb_store import LmdbStore
from tests.store.records_for_tests import (
    Clock,
    commit,
    lane_of,
    message,
    open_store,
    outcome,
    with_account,
)


class Yard:
    """A store with an old lane (north, south) and a new one (west, south)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.store = open_store(path, self.clock)
        with_account(self.store)
        self.old = lane_of(self.store, "north", "south")
        self.new = lane_of(self.store, "west", "south")

    def accept(self, count: int = 1, **fields: Any) -> list[Message]:
        made = [message(self.store, self.old, **fields) for _ in range(count)]
        commit(self.store, lambda txn: txn.accept(made))
        return made

    def claim(self, lane: int, name: str, index: int) -> list[Leased]:
        asked = Claim(self.store.carrier_id(name), ((lane, index, 100),), 100, self.clock.now_ms)
        leased: list[Leased] = commit(self.store, lambda txn: txn.claim([asked]))[0][0].leased
        return leased

    def settle(self, *outcomes: Outcome) -> None:
        commit(self.store, lambda txn: txn.settle(list(outcomes), self.clock.now_ms))

    def replan(self, lane: int, limit: int = 100) -> Replanned:
        done: Replanned = commit(self.store, lambda txn: txn.replan(self.old, lambda one: lane, limit))[0]
        return done

    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.path, self.clock)

    def phase(self, one: Message) -> int:
        found = self.store.find(one.account, one.id)
        assert found is not None
        return found[1].phase


def sound(store: LmdbStore) -> bool:
    totals = store.totals()
    return check(store) == [] and totals.accepted == sum(totals.messages)


def test_waiting_messages_go_to_the_new_lane_in_their_old_order(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    later = yard.accept(2, priority=1)
    first = yard.accept(1, priority=3)
    assert yard.replan(yard.new) == Replanned(moved=3)
    assert sound(yard.store)
    assert yard.store.ready_lanes() == {yard.new}
    assert yard.claim(yard.old, "north", 0) == []
    taken = yard.claim(yard.new, "west", 0)
    assert [one.message.id for one in taken] == [one.id for one in first + later]
    assert all(one.lane == yard.new for one in taken)
    yard.settle(*(outcome(yard.store, one, "west", Settle.SENT, carrier_message_id="x") for one in taken))
    assert sound(yard.store)


def test_replanning_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.accept(7)
    assert yard.replan(yard.new, limit=3).handled == 3
    txn = yard.store.begin()
    txn.replan(yard.old, lambda one: yard.new, 3)
    yard.store.abort(txn)
    assert sound(yard.store)
    yard.reopen()
    assert yard.store.ready_lanes() == {yard.old, yard.new}
    assert yard.replan(yard.new, limit=3).handled == 3
    assert yard.replan(yard.new, limit=3).handled == 1
    assert yard.store.ready_lanes() == {yard.new}
    assert sound(yard.store)
    assert len(yard.claim(yard.new, "south", 1)) == 7


def test_carriers_that_had_a_message_are_not_asked_again_in_the_new_lane(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.accept()
    (leased,) = yard.claim(yard.old, "south", 1)
    retry = outcome(yard.store, leased, "south", Settle.RETRY, mark_tried=True, until_ms=yard.clock.now_ms)
    yard.settle(retry)
    assert yard.replan(yard.new).moved == 1
    assert sound(yard.store)
    assert yard.claim(yard.new, "south", 1) == []
    (again,) = yard.claim(yard.new, "west", 0)
    assert again.attempts == 1


def test_what_falls_due_later_is_moved_when_it_does(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    (one,) = yard.accept(send_at_ms=yard.clock.now_ms + 60_000)
    assert yard.replan(yard.new).handled == 0
    yard.clock.now_ms += 60_000
    commit(yard.store, lambda txn: txn.move_due(yard.clock.now_ms, 10))
    assert yard.replan(yard.new).moved == 1
    assert yard.phase(one) == Phase.READY
    assert sound(yard.store)


def test_a_message_without_a_route_is_held_and_released_when_there_is_one(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    lost, found = yard.accept(2)
    assert yard.replan(0) == Replanned(held=2)
    assert yard.store.totals().messages[Phase.HELD] == 2
    stored = yard.store.find(1, lost.id)
    assert stored is not None
    assert stored[1].reason == Reason.LANE_GONE
    assert sound(yard.store)
    yard.reopen()

    def decide(one: Message) -> int:
        return yard.new if one.id == found.id else 0

    portion = commit(yard.store, lambda txn: txn.replan_held(decide, (0, 0), 1))[0]
    assert (portion.count, portion.after) == (0, (1, lost.id))
    portion = commit(yard.store, lambda txn: txn.replan_held(decide, portion.after, 1))[0]
    assert portion.count == 1
    assert (yard.phase(lost), yard.phase(found)) == (Phase.HELD, Phase.READY)
    assert sound(yard.store)
    (leased,) = yard.claim(yard.new, "west", 0)
    assert leased.message.id == found.id


def test_a_held_message_without_a_route_can_be_cancelled_and_expires(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    cancelled, expired = yard.accept(2, expires_ms=yard.clock.now_ms + 60_000)
    yard.replan(0)
    now_ms = yard.clock.now_ms
    assert commit(yard.store, lambda txn: txn.cancel(1, cancelled.id, now_ms)) == ["cancelled"]
    commit(yard.store, lambda txn: txn.expire(now_ms + 120_000, 10, 0))
    assert yard.phase(expired) == Phase.FINAL
    assert yard.store.totals().messages[Phase.FINAL] == 2
    assert sound(yard.store)


def half_sent(yard: Yard, name: str, index: int) -> Message:
    """Three parts, the first of which this carrier accepted."""
    (one,) = yard.accept(segments=3)
    (leased,) = yard.claim(yard.old, name, index)
    yard.settle(
        outcome(yard.store, leased, name, Settle.SENT, carrier_message_id="id1", part=0, total=3),
        outcome(yard.store, leased, name, Settle.RETURNED, part=1, total=3),
        outcome(yard.store, leased, name, Settle.RETURNED, part=2, total=3),
    )
    return one


def test_a_half_sent_message_stays_with_its_carrier_if_that_is_in_the_new_lane(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    half_sent(yard, "south", 1)
    assert yard.replan(yard.new).moved == 1
    assert sound(yard.store)
    assert yard.claim(yard.new, "west", 0) == []
    (leased,) = yard.claim(yard.new, "south", 1)
    assert leased.first_part == 1


def test_a_half_sent_message_whose_carrier_drains_in_the_new_lane_is_sent_whole(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    half_sent(yard, "south", 1)
    new = lane_of(yard.store, "west", "south", weights=(100, 0))
    yard.replan(new)
    (leased,) = yard.claim(new, "west", 0)
    assert leased.first_part == 0


def test_a_message_refused_by_all_but_one_that_drains_in_the_new_lane_starts_anew(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.accept()
    (leased,) = yard.claim(yard.old, "north", 0)
    yard.settle(outcome(yard.store, leased, "north", Settle.RETRY, mark_tried=True))
    new = lane_of(yard.store, "north", "south", weights=(100, 0))
    yard.replan(new)
    assert len(yard.claim(new, "north", 0)) == 1


def test_a_half_sent_message_whose_carrier_is_gone_is_sent_whole_and_says_so(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    one = half_sent(yard, "north", 0)
    assert yard.replan(yard.new).moved == 1
    found = yard.store.find(1, one.id)
    assert found is not None
    assert Step.RESENT in [event[1] for event in found[1].events]
    (leased,) = yard.claim(yard.new, "west", 0)
    assert leased.first_part == 0
    yard.settle(
        *(
            outcome(
                yard.store, leased, "west", Settle.SENT, carrier_message_id=f"w{part}", part=part, total=3
            )
            for part in range(3)
        )
    )
    found = yard.store.find(1, one.id)
    assert found is not None
    assert found[1].phase == Phase.AWAITING_RECEIPT
    assert found[1].state == MessageState.ENROUTE
    assert sound(yard.store)


def test_parts_of_a_customers_long_message_stay_together_in_the_new_lane(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    for index in (1, 2):
        relay = Relay(reference=7, total=2, index=index)
        yard.accept(destination="447700900123", relay=relay)
    assert yard.replan(yard.new).moved == 1
    first, second = yard.claim(yard.new, "west", 0)
    assert (first.lane, second.lane) == (yard.new, yard.new)
    yard.settle(
        outcome(yard.store, first, "west", Settle.SENT, carrier_message_id="id1"),
        outcome(yard.store, second, "west", Settle.RETURNED),
    )
    assert yard.store.ready_lanes() == {yard.new}
    assert sound(yard.store)


def test_a_suspended_accounts_messages_move_and_wait_on(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.accept(2)
    with_account(yard.store, suspended=True)
    yard.reopen()
    assert yard.replan(yard.new).moved == 2
    assert yard.store.ready_lanes() == set()
    with_account(yard.store, suspended=False)
    yard.reopen()
    assert len(yard.claim(yard.new, "west", 0)) == 2
    assert sound(yard.store)


def test_a_lane_that_is_right_after_all_keeps_its_messages(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.accept(2)
    assert yard.replan(yard.old) == Replanned()
    assert len(yard.claim(yard.old, "north", 0)) == 2
    assert sound(yard.store)
