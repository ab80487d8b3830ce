"""Begin and commit in one thread, verbs in another: sound on the pinned py-lmdb (SplitWriter)."""

from __future__ import annotations

from pathlib import Path

import trio

from gateway.writer import SplitWriter
from router.nouns import Phase
from store.check import check
from store.interface import StoreFull
from tests.store.records_for_tests import lane_of, message, open_store, with_account
from tests.trio_case import trio_test


@trio_test
async def test_transactions_that_move_between_threads_lose_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    writer = SplitWriter(store)
    for number in range(300):
        txn = await writer.begin()
        txn.accept([message(store, lane) for _ in range(10)])
        if number % 10 == 9:
            await writer.abort(txn)
        else:
            await writer.commit(txn, lambda: False)
        await trio.lowlevel.checkpoint()
    writer.close()
    assert store.totals().messages[Phase.READY] == 2700
    assert check(store) == []
    store.close()


@trio_test
async def test_under_load_the_next_transaction_begins_with_the_commit_of_the_last(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    writer = SplitWriter(store)
    txn = await writer.begin()
    for _ in range(50):
        txn.accept([message(store, lane)])
        following = await writer.commit(txn, lambda: True)
        assert following is not None
        txn = following
    txn.accept([message(store, lane)])
    assert await writer.commit(txn, lambda: False) is None
    writer.close()
    assert store.totals().messages[Phase.READY] == 51
    assert check(store) == []
    store.close()


@trio_test
async def test_a_failed_commit_leaves_the_writer_ready_for_the_next(tmp_path: Path) -> None:
    store = open_store(tmp_path, map_size=2 << 20)
    with_account(store)
    lane = lane_of(store, "a")
    writer = SplitWriter(store)
    txn = await writer.begin()
    refused = False
    try:
        txn.accept([message(store, lane, text="x" * 1000) for _ in range(5000)])
        await writer.commit(txn, lambda: False)
    except StoreFull:
        refused = True
        await writer.abort(txn)
    assert refused
    txn = await writer.begin()
    txn.accept([message(store, lane)])
    await writer.commit(txn, lambda: False)
    writer.close()
    assert store.totals().accepted == 1
    store.close()
