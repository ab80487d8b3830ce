"""What is counted since a store was opened: endings, delays until the receipt, receipts without a message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.nouns import Leased, Message, MessageState, Part, Phase, Progress, Reason, ReceiptIn, Settle
from store.lmdb_store import LmdbStore
from store.records import MESSAGE_KEY, UnknownHeld, encode
from store.tallies import DELAYS_S, Tallies
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


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("447700900123", "447700900124", "33612345678", "12", "")),
            st.sampled_from((2, 3, 5)),
            st.sampled_from((Reason.RECEIPT, Reason.NO_RECEIPT_WANTED, Reason.EXPIRED_IN_QUEUE)),
            st.integers(0, 2),  # the carrier; 0: it went to none
            st.integers(-5_000, 100_000_000),  # ms from sending to its end
            st.integers(2, 4),  # steps of its timeline
            st.sampled_from(("", "absent_subscriber", "spam")),
            st.sampled_from((0, 1, NOW_MS - 1_000)),  # send_at
        ),
        max_size=30,
    )
)
def test_what_ends_together_is_counted_as_what_ends_one_by_one(
    kinds: list[tuple[str, int, int, int, int, int, str, int]],
) -> None:
    ended = []
    for number, state, reason, carrier, took_ms, steps, cause, send_at_ms in kinds:
        made = Message(
            1, 1, NOW_MS - 3_000, "x", 5, 0, number, 0, "", b"", 2, 1, 1, 1, send_at_ms, NOW_MS, 1, "all"
        )
        progress = Progress(
            Phase.FINAL, state, reason, cause=cause,
            parts=[Part(carrier, "c")] if carrier else [],
            events=[(NOW_MS - took_ms, 1, carrier, "")] * steps,
        )  # fmt: skip
        ended.append((made, progress, NOW_MS))
    together, one_by_one = Tallies(), Tallies()
    together.dead = one_by_one.dead = frozenset({"447700900123"})
    together.add_ended(ended)
    for one in ended:
        one_by_one.add_ended([one])
    assert together.finished == one_by_one.finished
    assert together.cells == one_by_one.cells
    assert together.unasked == one_by_one.unasked
    assert {of: (one.counts, one.total_ms) for of, one in together.delivery.items()} == {
        of: (one.counts, one.total_ms) for of, one in one_by_one.delivery.items()
    }
