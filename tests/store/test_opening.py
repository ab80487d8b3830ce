"""What opening the LMDB store costs: tests/store/conformance says what it must bring back."""

from __future__ import annotations

from pathlib import Path

from tests.store.records_for_tests import claim, commit, lane_of, message, open_store, with_account


def test_fm32_opening_a_store_reads_groups_and_not_its_backlog(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    for _ in range(20):
        commit(store, lambda txn: txn.accept([message(store, lane) for _ in range(500)]))
    store.close()
    store = open_store(tmp_path)
    assert len(store.memory.active.groups) == 1
    assert store.memory.leases == {}
    assert len(commit(store, lambda txn: txn.claim([claim(store, lane, "a", 5)]))[0][0].leased) == 5
    store.close()
