"""Messages with an unknown outcome, held: how an operator lets them go."""

from __future__ import annotations

from pathlib import Path

from router.nouns import Leased, MessageState, Phase, Reason, Settle, Step
from store.check import check
from store.interface import Released
from store.lmdb_store import LmdbStore
from tests.store.records_for_tests import (
    NOW_MS,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    outcome,
    receipt,
    sent,
    with_account,
)


def hold_unknown(store: LmdbStore, lane: int, carrier: str, count: int, segments: int = 1) -> list[Leased]:
    """Messages whose last part nobody answered."""
    commit(store, lambda txn: txn.accept([message(store, lane, segments=segments) for _ in range(count)]))
    asked = claim(store, lane, carrier, count * segments)
    leased: list[Leased] = commit(store, lambda txn: txn.claim([asked]))[0][0].leased
    assert len(leased) == count
    for one in leased:
        for part in range(segments):
            last = part == segments - 1
            settle = Settle.UNKNOWN_HOLD if last else Settle.SENT
            cid = "" if last else f"{one.message.id}-{part}"
            answer = outcome(store, one, carrier, settle, part=part, total=segments, carrier_message_id=cid)
            commit(store, lambda txn, answer=answer: txn.settle([answer], NOW_MS))  # type: ignore[misc]
    return leased


def phases(store: LmdbStore) -> tuple[int, int]:
    """(unknown, ready)"""
    totals = store.totals()
    assert totals.accepted == sum(totals.messages)
    assert totals.accepted_segments == sum(totals.segments)
    return totals.messages[Phase.UNKNOWN], totals.messages[Phase.READY]


def test_released_unknown_outcomes_are_claimed_again_as_possible_duplicates(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    held = hold_unknown(store, lane, "a", 3) + hold_unknown(store, lane, "a", 1, segments=3)
    assert phases(store) == (4, 0)
    result = commit(store, lambda txn: txn.release_held(Reason.OUTCOME_UNKNOWN, 100))
    assert result == [Released(4, None)]
    assert phases(store) == (0, 4)
    assert check(store) == []
    again = commit(store, lambda txn: txn.claim([claim(store, lane, "a", 100)]))[0][0].leased
    assert {one.message.id for one in again} == {one.message.id for one in held}
    assert all(one.possible_duplicate for one in again)
    found = store.find_any(held[0].message.id)
    assert found is not None
    assert (Step.RELEASED, "OUTCOME_UNKNOWN") in [(step, detail) for _, step, _, detail in found[1].events]
    store.close()


def test_only_what_one_carrier_had_is_released(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lanes = {name: lane_of(store, name) for name in ("a", "b")}
    for _ in range(3):
        hold_unknown(store, lanes["a"], "a", 2)
        hold_unknown(store, lanes["b"], "b", 1)
    b = store.carrier_id("b")
    released, portions, after = 0, 0, (0, 0)
    while True:
        (portion,) = commit(
            store,
            lambda txn, after=after: txn.release_held(Reason.OUTCOME_UNKNOWN, 2, after, b),  # type: ignore[misc]
        )
        released += portion.count
        portions += 1
        if portion.after is None:
            break
        after = portion.after
    assert (released, portions) == (3, 5)
    assert phases(store) == (6, 3)
    assert store.ready_lanes() == {lanes["b"]}
    assert check(store) == []
    store.close()


def test_a_restore_is_released_without_what_is_unknown_and_the_other_way_round(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    hold_unknown(store, lane_of(store, "a"), "a", 2)
    assert commit(store, lambda txn: txn.release_held(Reason.RESTORED, 100)) == [Released(0, None)]
    assert phases(store) == (2, 0)
    store.close()


def test_a_message_held_again_is_not_released_twice_by_one_walk(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    hold_unknown(store, lane, "a", 3)
    (first,) = commit(store, lambda txn: txn.release_held(Reason.OUTCOME_UNKNOWN, 2))
    assert first.count == 2
    for one in commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased:
        held = outcome(store, one, "a", Settle.UNKNOWN_HOLD)
        commit(store, lambda txn, held=held: txn.settle([held], NOW_MS))  # type: ignore[misc]
    (second,) = commit(store, lambda txn: txn.release_held(Reason.OUTCOME_UNKNOWN, 2, first.after))
    assert second == Released(1, None)
    assert phases(store) == (2, 1)
    store.close()


def test_a_receipt_that_comes_after_the_release_still_ends_nothing_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    (held,) = hold_unknown(store, lane, "a", 1)
    commit(store, lambda txn: txn.release_held(Reason.OUTCOME_UNKNOWN, 100))
    early = receipt(store, "a", "first", held.message.destination, text="hello")
    commit(store, lambda txn: txn.receipts([early], NOW_MS))
    (again,) = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    commit(store, lambda txn: txn.settle([sent(store, again, "a", "second")], NOW_MS))
    late = receipt(store, "a", "second", held.message.destination)
    commit(store, lambda txn: txn.receipts([late], NOW_MS))
    (endpoint,) = store.outbox_endpoints()
    assert [row.event.final for row in store.outbox_page(endpoint, 0, 10)] == [True]
    assert check(store) == []
    store.close()


def test_a_message_that_was_to_be_cancelled_ends_when_it_is_released(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane)]))
    (leased,) = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    assert commit(store, lambda txn: txn.cancel(1, leased.message.id, NOW_MS)) == ["leased"]
    lost = outcome(store, leased, "a", Settle.UNKNOWN_HOLD)
    commit(store, lambda txn: txn.settle([lost], NOW_MS))
    assert phases(store) == (1, 0)
    result = commit(store, lambda txn: txn.release_held(Reason.OUTCOME_UNKNOWN, 100))
    assert result == [Released(0, None)]
    assert phases(store) == (0, 0)
    found = store.find_any(leased.message.id)
    assert found is not None
    assert (found[1].state, found[1].reason) == (MessageState.DELETED, Reason.CANCELLED)
    assert check(store) == []
    store.close()
