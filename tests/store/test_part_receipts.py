"""Receipts of a long message's parts while other parts of it are not sent yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.nouns import MessageState, ReceiptFate, Settle
from tests.store.records_for_tests import (
    NOW_MS,
    Clock,
    commit,
    lane_of,
    open_store,
    outcome,
    receipt,
    receive,
    sent,
    settle,
    submitted,
    with_account,
)

DELIVERED, UNDELIVERABLE = MessageState.DELIVERED, MessageState.UNDELIVERABLE


def test_a_receipt_of_one_part_says_nothing_of_a_part_that_was_not_sent_yet(tmp_path: Path) -> None:
    store = open_store(tmp_path, Clock())
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"), segments=2)
    settle(store, sent(store, leased[0], "a", "c1", 0, 2))
    settle(store, outcome(store, leased[0], "a", Settle.RETRY, part=1, total=2, until_ms=NOW_MS + 5000))
    to = made[0].destination
    fates = [receive(store, [receipt(store, "a", "c1", to, state)])[0].fate for state in (2, 2, 5)]
    assert fates == [ReceiptFate.MATCHED, ReceiptFate.REPEATED, ReceiptFate.CONTRADICTS]
    found = store.find(1, made[0].id)
    assert found is not None
    assert [part.state for part in found[1].parts] == [DELIVERED, MessageState.SCHEDULED]
    store.close()


def test_a_part_that_was_accepted_without_an_id_ends_as_its_sibling(tmp_path: Path) -> None:
    store = open_store(tmp_path, Clock())
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"), segments=2)
    settle(store, sent(store, leased[0], "a", "c1", 0, 2))
    settle(store, sent(store, leased[0], "a", "", 1, 2))
    arrived = [receipt(store, "a", "c1", made[0].destination, UNDELIVERABLE)]
    assert commit(store, lambda txn: txn.receipts(arrived, NOW_MS))[0][0].final
    store.close()


@pytest.mark.parametrize("answered_last", [False, True])
def test_a_failure_is_told_with_the_code_of_the_part_that_failed(tmp_path: Path, answered_last: bool) -> None:
    """Not with that of the part whose receipt came last, nor with none when all receipts came early."""
    store = open_store(tmp_path)
    with_account(store)
    _, (leased,) = submitted(store, lane_of(store, "a"), segments=2)
    answers = [sent(store, leased, "a", f"c{part}", part, 2) for part in range(2)]
    to = leased.message.destination
    arrived = [receipt(store, "a", "c0", to, 5, error="001"), receipt(store, "a", "c1", to, 2, error="000")]
    commit(store, lambda txn: txn.settle(answers[:1], NOW_MS))
    if answered_last:
        commit(store, lambda txn: txn.receipts(arrived, NOW_MS))
    commit(store, lambda txn: txn.settle(answers[1:], NOW_MS))
    if not answered_last:
        commit(store, lambda txn: txn.receipts(arrived, NOW_MS))
    (endpoint,) = store.outbox_endpoints()
    (row,) = store.outbox_page(endpoint, 0, 10)
    assert (row.event.state, row.event.error) == (5, "001")
    store.close()
