"""What is counted since a store was opened: endings, delays until the receipt, receipts without a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.nouns import Leased, Message, MessageState, Phase, Reason, ReceiptIn, Settle
from store.lmdb_store import LmdbStore
from store.records import MESSAGE_KEY, UnknownHeld, encode
from store.tallies import DELAYS_S
from store.transaction import LmdbTransaction
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

DELIVERED, EXPIRED = int(MessageState.DELIVERED), int(MessageState.EXPIRED)


def opened(directory: Path) -> tuple[LmdbStore, int, int]:
    """A store with an account, its lane and the carrier's id."""
    store = open_store(directory)
    with_account(store)
    return store, lane_of(store, "a"), store.carrier_id("a")


def leased_one(store: LmdbStore, lane: int) -> tuple[Message, Leased]:
    made = message(store, lane)
    commit(store, lambda txn: txn.accept([made]))
    results = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0]
    return made, results[0].leased[0]


def unmatched_after(store: LmdbStore, receipts: list[ReceiptIn]) -> dict[tuple[int, str], int]:
    """What the tally says once these receipts have waited in vain."""
    commit(store, lambda txn: txn.receipts(receipts, NOW_MS))
    waited_ms = NOW_MS + store.options.park_s * 1000 + 1
    while commit(store, lambda txn: txn.housekeep(waited_ms, 10))[0]:
        pass
    return store.tallies().unmatched


def test_a_delivered_message_is_counted_once_with_its_carrier_and_its_delay(tmp_path: Path) -> None:
    store, lane, carrier = opened(tmp_path)
    made, leased = leased_one(store, lane)
    commit(store, lambda txn: txn.settle([sent(store, leased, "a", "c1")], NOW_MS))
    arrived = [receipt(store, "a", "c1", made.destination)]
    for _ in range(2):  # the second one is a repetition
        commit(store, lambda txn: txn.receipts(arrived, NOW_MS + 2_000))
    assert store.tallies().finished == {(carrier, DELIVERED): 1}
    delays = store.tallies().delivery[carrier]
    assert delays.counts[DELAYS_S.index(2.5)] == sum(delays.counts) == 1
    assert delays.total_ms == 2_000


def test_the_delay_of_a_scheduled_message_begins_at_its_own_time(tmp_path: Path) -> None:
    store, lane, carrier = opened(tmp_path)
    made = message(store, lane, send_at_ms=NOW_MS + 60_000)
    commit(store, lambda txn: txn.accept([made]))
    commit(store, lambda txn: txn.move_due(NOW_MS + 60_000, 10))
    (leased,) = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    commit(store, lambda txn: txn.settle([sent(store, leased, "a", "c1")], NOW_MS + 60_000))
    arrived = [receipt(store, "a", "c1", made.destination)]
    commit(store, lambda txn: txn.receipts(arrived, NOW_MS + 60_100))
    assert store.tallies().delivery[carrier].total_ms == 100


def test_what_ends_without_a_receipt_has_no_delay_and_perhaps_no_carrier(tmp_path: Path) -> None:
    store, lane, carrier = opened(tmp_path)
    commit(store, lambda txn: txn.accept([message(store, lane, expires_ms=NOW_MS - 60_000)]))
    commit(store, lambda txn: txn.expire(NOW_MS, 10, 0))
    _, leased = leased_one(store, lane)
    refused = outcome(
        store, leased, "a", Settle.FINAL, state=MessageState.REJECTED, reason=Reason.REFUSED_BY_CARRIER
    )
    commit(store, lambda txn: txn.settle([refused], NOW_MS))
    assert store.tallies().finished == {(0, EXPIRED): 1, (carrier, int(MessageState.REJECTED)): 1}
    assert store.tallies().delivery == {}


def test_a_commit_that_fails_counts_nothing(tmp_path: Path) -> None:
    store, lane, _ = opened(tmp_path)
    commit(store, lambda txn: txn.accept([message(store, lane, expires_ms=NOW_MS - 60_000)]))

    def fails(txn: LmdbTransaction) -> None:
        txn.expire(NOW_MS, 10, 0)
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="disk"):
        commit(store, fails)
    assert store.tallies().finished == {}


def test_a_message_whose_record_is_damaged_is_counted_as_ended(tmp_path: Path) -> None:
    store, lane, _ = opened(tmp_path)
    made = message(store, lane)
    commit(store, lambda txn: txn.accept([made]))
    key = MESSAGE_KEY.pack(1, made.id)
    commit(store, lambda txn: txn.batch.putter(store.tables.message)(key, b"not what it was"))
    store.memory.recent.clear()  # so that it is read
    commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))
    assert store.totals().messages[Phase.FINAL] == 1
    assert store.tallies().finished == {(0, int(MessageState.UNKNOWN)): 1}


def test_a_receipt_that_nobody_claims_is_counted_once_whatever_it_was_parked_under(tmp_path: Path) -> None:
    store, _, carrier = opened(tmp_path)
    arrived = [receipt(store, "a", "c1", "447700900123", ids=("c1", "C1"))]
    assert unmatched_after(store, arrived) == {(carrier, "unknown_id"): 1}


def test_a_receipt_that_was_parked_is_counted_once_it_is_claimed(tmp_path: Path) -> None:
    store, lane, carrier = opened(tmp_path)
    made, leased = leased_one(store, lane)
    arrived = [receipt(store, "a", "c1", made.destination)]
    commit(store, lambda txn: txn.receipts(arrived, NOW_MS))
    assert store.tallies().claimed == {}
    commit(store, lambda txn: txn.settle([sent(store, leased, "a", "c1")], NOW_MS))
    assert store.tallies().claimed == {carrier: 1}
    commit(store, lambda txn: txn.receipts(arrived, NOW_MS))
    assert store.tallies().claimed == {carrier: 1}, "the others are counted as they come"


def test_a_receipt_without_an_id_says_so(tmp_path: Path) -> None:
    store, _, carrier = opened(tmp_path)
    arrived = [receipt(store, "a", "", "447700900123", ids=())]
    assert unmatched_after(store, arrived) == {(carrier, "no_id"): 1}


def test_receipts_beyond_what_is_kept_under_one_id_are_counted(tmp_path: Path) -> None:
    store, _, carrier = opened(tmp_path)
    arrived = [receipt(store, "a", "c1", "447700900123") for _ in range(53)]
    assert unmatched_after(store, arrived) == {(carrier, "too_many"): 3, (carrier, "unknown_id"): 50}


def test_held_unknown_outcomes_are_known_by_carrier_also_after_a_restart(tmp_path: Path) -> None:
    store, lane, carrier = opened(tmp_path)
    made, leased = leased_one(store, lane)
    lost = outcome(store, leased, "a", Settle.UNKNOWN_HOLD, reason=Reason.OUTCOME_UNKNOWN)
    commit(store, lambda txn: txn.settle([lost], NOW_MS))
    assert store.outcome_unknown() == {carrier: 1}
    store.close()
    store = open_store(tmp_path)
    assert store.outcome_unknown() == {carrier: 1}
    commit(store, lambda txn: txn.cancel(1, made.id, NOW_MS))
    assert store.outcome_unknown() == {}


def test_a_damaged_row_of_an_unknown_outcome_keeps_no_store_from_opening(tmp_path: Path) -> None:
    store, *_ = opened(tmp_path)
    group, row = store.group_id("a"), encode(UnknownHeld("TEST", NOW_MS, "hello", 1))
    key = group.to_bytes(2, "big") + b"447700900123\0" + MESSAGE_KEY.pack(1, 2)
    commit(store, lambda txn: txn.batch.putter(store.tables.unknown)(key, b"damaged" + row))
    store.close()
    assert open_store(tmp_path).outcome_unknown() == {}
