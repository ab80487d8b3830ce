"""Messages by lane and phase: they follow every message, outlive a restart, are counted anew when lost."""

from __future__ import annotations

from pathlib import Path

from router.nouns import LaneSpec, Leased, MessageState, Phase, Reason, Settle
from store.check import check
from store.lanes import recount, row_name
from store.lmdb_store import LmdbStore
from tests.store.records_for_tests import (
    DAY_MS,
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


def waiting(store: LmdbStore, lane: int) -> dict[str, int]:
    """What the lane has, by phase, without the zeros; checked against the queues and against the totals."""
    with store.reading() as tx:
        counted = recount(tx, store.tables)
    assert {one: counts for one, counts in store.lane_totals().items() if any(counts)} == counted
    for phase in Phase:
        if phase not in (Phase.FINAL, Phase.AWAITING_RECEIPT):
            assert sum(counts[phase] for counts in counted.values()) == store.totals().messages[phase]
    assert check(store) == []
    counts = store.lane_totals().get(lane, [0] * len(Phase))
    return {phase.name: counts[phase] for phase in Phase if counts[phase]}


def filled(directory: Path) -> tuple[LmdbStore, int, int, list[Leased]]:
    """A store with two lanes: the first has three messages, two of them leased, and one for later."""
    store = open_store(directory)
    with_account(store)
    one, two = lane_of(store, "a", "b"), lane_of(store, "b")
    later = message(store, one, send_at_ms=NOW_MS + 60_000)
    commit(store, lambda txn: txn.accept([*(message(store, one) for _ in range(3)), later]))
    commit(store, lambda txn: txn.accept([message(store, two)]))
    leased = commit(store, lambda txn: txn.claim([claim(store, one, "a", 2)]))[0][0].leased
    return store, one, two, leased


def test_a_lane_has_its_own_messages_in_their_phases(tmp_path: Path) -> None:
    store, one, two, _ = filled(tmp_path)
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1, "LEASED": 2}
    assert waiting(store, two) == {"READY": 1}


def test_what_a_carrier_took_is_the_lanes_no_more(tmp_path: Path) -> None:
    store, one, _, leased = filled(tmp_path)
    commit(
        store, lambda txn: txn.settle([sent(store, each, "a", f"c{each.lease}") for each in leased], NOW_MS)
    )
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1}


def test_what_comes_back_or_is_unknown_stays_the_lanes(tmp_path: Path) -> None:
    store, one, _, (first, second) = filled(tmp_path)
    again = outcome(store, first, "a", Settle.RETRY, until_ms=NOW_MS + 5_000, reason=Reason.RETRY)
    lost = outcome(store, second, "a", Settle.UNKNOWN_HOLD, reason=Reason.OUTCOME_UNKNOWN)
    commit(store, lambda txn: txn.settle([again, lost], NOW_MS))
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1, "DEFERRED": 1, "UNKNOWN": 1}
    commit(store, lambda txn: txn.move_due(NOW_MS + DAY_MS, 10))
    assert waiting(store, one) == {"READY": 3, "UNKNOWN": 1}
    arrived = [receipt(store, "a", "c1", second.message.destination, text="hello", at_ms=NOW_MS)]
    commit(store, lambda txn: txn.receipts(arrived, NOW_MS))
    assert waiting(store, one) == {"READY": 3}


def test_what_ends_in_the_queue_or_is_cancelled_leaves_the_lane(tmp_path: Path) -> None:
    store, one, two, (first, second) = filled(tmp_path)
    refused = outcome(store, first, "a", Settle.FINAL, state=MessageState.REJECTED)
    commit(store, lambda txn: txn.settle([refused], NOW_MS))
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1, "LEASED": 1}
    commit(store, lambda txn: txn.expire(NOW_MS + 2 * DAY_MS, 10, 0))
    assert waiting(store, one) == {"LEASED": 1}
    assert waiting(store, two) == {}
    commit(store, lambda txn: txn.cancel(1, second.message.id, NOW_MS))
    back = outcome(store, second, "a", Settle.RETURNED)
    commit(store, lambda txn: txn.settle([back], NOW_MS))
    assert waiting(store, one) == {}


def test_what_comes_back_to_another_lane_is_of_that_one(tmp_path: Path) -> None:
    """As a carrier is out for its country. No attempt is counted, and it is taken from there."""
    store, one, _, (first, second) = filled(tmp_path)
    apart = store.lane_id(LaneSpec(store.lane(one).carriers, country=44))
    back = outcome(store, first, "a", Settle.RETURNED)
    back.lane = apart
    commit(store, lambda txn: txn.settle([back], NOW_MS))
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1, "LEASED": 1}
    assert waiting(store, apart) == {"READY": 1}
    (again,) = commit(store, lambda txn: txn.claim([claim(store, apart, "b", 5)]))[0][0].leased
    assert (again.message.id, again.attempts, again.lane) == (first.message.id, 0, apart)
    commit(store, lambda txn: txn.settle([sent(store, again, "b", "c1")], NOW_MS))
    assert waiting(store, apart) == {}
    ended = outcome(store, second, "a", Settle.RETURNED)
    ended.lane = apart
    commit(store, lambda txn: txn.cancel(1, second.message.id, NOW_MS))
    commit(store, lambda txn: txn.settle([ended], NOW_MS))
    assert (waiting(store, one), waiting(store, apart)) == ({"SCHEDULED": 1, "READY": 1}, {})


def test_messages_planned_anew_change_their_lane(tmp_path: Path) -> None:
    store, one, two, _ = filled(tmp_path)
    commit(store, lambda txn: txn.replan(one, lambda _: two, 10))
    assert waiting(store, one) == {"SCHEDULED": 1, "LEASED": 2}
    assert waiting(store, two) == {"READY": 2}
    commit(store, lambda txn: txn.replan(two, lambda _: 0, 10))
    assert waiting(store, two) == {"HELD": 2}
    commit(store, lambda txn: txn.replan_held(lambda _: one, (0, 0), 10))
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 2, "LEASED": 2}
    assert waiting(store, two) == {}


def test_they_are_there_again_after_a_restart(tmp_path: Path) -> None:
    store, one, two, _ = filled(tmp_path)
    store.close()
    store = open_store(tmp_path)
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1, "LEASED": 2}
    assert waiting(store, two) == {"READY": 1}


def test_a_store_of_an_older_release_is_counted_when_it_is_opened(tmp_path: Path) -> None:
    store, one, two, _ = filled(tmp_path)
    commit(
        store,
        *(lambda txn, lane=lane: txn.batch.delete(store.tables.meta, row_name(lane)) for lane in (one, two)),
    )
    store.close()
    store = open_store(tmp_path)
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1, "LEASED": 2}
    commit(store, lambda txn: txn.accept([message(store, two)]))
    assert waiting(store, two) == {"READY": 2}


def test_a_damaged_row_is_counted_anew(tmp_path: Path) -> None:
    store, one, _, _ = filled(tmp_path)
    commit(store, lambda txn: txn.batch.putter(store.tables.meta)(row_name(one), b"damaged"))
    store.close()
    store = open_store(tmp_path)
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1, "LEASED": 2}


def test_a_commit_that_fails_moves_nothing(tmp_path: Path) -> None:
    store, one, _, _ = filled(tmp_path)
    txn = store.begin()
    txn.accept([message(store, one)])
    store.abort(txn)
    assert waiting(store, one) == {"SCHEDULED": 1, "READY": 1, "LEASED": 2}
