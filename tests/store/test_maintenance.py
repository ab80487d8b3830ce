"""Check, backup, restore, compact, salvage: a store that can be looked after."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.nouns import Phase, Reason
from store.backup import backup, compact, restore
from store.check import check
from store.interface import Released, StoreError, StoreFull
from store.lmdb_store import LmdbStore
from store.options import StoreOptions
from store.salvage import salvage
from tests.store.records_for_tests import (
    NOW_MS,
    Clock,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    receipt,
    sent,
    with_account,
)


def busy_store(tmp_path: Path) -> tuple[LmdbStore, int]:
    """Messages in every phase but HELD and UNKNOWN."""
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane) for _ in range(6)]))
    commit(store, lambda txn: txn.accept([message(store, lane, send_at_ms=NOW_MS + 1_000_000)]))
    leased = commit(store, lambda txn: txn.claim([claim(store, lane, "a", 3)]))[0][0].leased
    commit(
        store,
        lambda txn: txn.settle([sent(store, leased[0], "a", "c0"), sent(store, leased[1], "a", "c1")], 0),
    )
    arrived = [receipt(store, "a", "c0", leased[0].message.destination)]
    commit(store, lambda txn: txn.receipts(arrived, NOW_MS))
    return store, lane


def test_a_sound_store_has_no_findings(tmp_path: Path) -> None:
    store, _ = busy_store(tmp_path)
    assert check(store) == []
    store.close()


def test_fm31_a_flipped_bit_is_found_set_aside_and_counted(tmp_path: Path) -> None:
    store, lane = busy_store(tmp_path)
    with store._env.begin(write=True) as tx, tx.cursor(store.tables.message.handle) as cursor:
        assert cursor.last()
        key, value = cursor.item()
        cursor.put(key, value[:-1] + bytes((value[-1] ^ 1,)))
    assert any("checksum" in finding.what for finding in check(store))
    commit(store, lambda txn: txn.claim([claim(store, lane, "a", 100)]))
    commit(store, lambda txn: txn.move_due(NOW_MS + 2_000_000, 10))
    commit(store, lambda txn: txn.claim([claim(store, lane, "a", 100)]))
    assert store.usage()["quarantined"] == 1
    store.close()


def test_a_wrong_counter_is_found(tmp_path: Path) -> None:
    store, _ = busy_store(tmp_path)
    txn = store.begin()
    txn.batch.messages[Phase.READY] += 1
    store.commit(txn)
    assert any("READY" in finding.where for finding in check(store))
    store.close()


def test_a_backup_of_a_store_under_writes_equals_it_at_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, lane = busy_store(tmp_path)
    monkeypatch.setattr("store.backup.PAGE", 2)
    reading = store.reading
    pages = iter(range(1_000_000))

    def writing_meanwhile():  # type: ignore[no-untyped-def]
        if next(pages) < 40:
            commit(store, lambda txn: txn.accept([message(store, lane)]))
            commit(store, lambda txn: txn.claim([claim(store, lane, "a", 1)]))
        return reading()

    monkeypatch.setattr(store, "reading", writing_meanwhile)
    backup(store, tmp_path / "copy")
    monkeypatch.setattr(store, "reading", reading)
    assert store.core.taps == []
    copy = LmdbStore(tmp_path / "copy", StoreOptions(map_size=256 << 20, min_free_disk=0))
    assert check(copy) == []
    assert copy.totals() == store.totals()
    copy.close()
    store.close()


def test_a_restored_store_holds_everything_until_it_is_released(tmp_path: Path) -> None:
    store, _ = busy_store(tmp_path)
    backup(store, tmp_path / "copy")
    store.close()
    options = StoreOptions(map_size=256 << 20, min_free_disk=0, clock=Clock())
    restore(tmp_path / "copy", tmp_path / "restored", options)
    store = LmdbStore(tmp_path / "restored", options)
    totals = store.totals()
    assert totals.messages[Phase.HELD] == 4
    assert totals.messages[Phase.UNKNOWN] == 1
    assert (
        totals.messages[Phase.READY] == totals.messages[Phase.SCHEDULED] == totals.messages[Phase.LEASED] == 0
    )
    assert store.ready_lanes() == set()
    assert check(store) == []
    assert commit(store, lambda txn: txn.release_held(Reason.RESTORED, 100)) == [Released(4, None)]
    assert store.totals().messages[Phase.READY] == 4
    assert check(store) == []
    store.close()


def test_a_restore_that_is_cut_short_leaves_nothing_that_would_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = busy_store(tmp_path)
    backup(store, tmp_path / "copy")
    store.close()

    def die(store: LmdbStore, why: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("store.backup.hold_everything", die)
    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "copy", tmp_path / "restored", StoreOptions(map_size=256 << 20))
    assert not (tmp_path / "restored" / "data.mdb").exists()
    monkeypatch.undo()
    restore(tmp_path / "copy", tmp_path / "restored", StoreOptions(map_size=256 << 20))
    with pytest.raises(StoreError, match="there is a store"):
        restore(tmp_path / "copy", tmp_path / "restored", StoreOptions(map_size=256 << 20))
    assert sorted(path.name for path in (tmp_path / "restored").iterdir()) == ["data.mdb"]


def test_compacting_keeps_every_record(tmp_path: Path) -> None:
    store, _ = busy_store(tmp_path)
    before = store.totals()
    store.close()
    compact(tmp_path / "store", NOW_MS)
    store = open_store(tmp_path)
    assert store.totals() == before
    assert check(store) == []
    store.close()


def test_salvage_saves_every_sound_row_and_counts_the_others(tmp_path: Path) -> None:
    store, _ = busy_store(tmp_path)
    with store._env.begin(write=True) as tx, tx.cursor(store.tables.message.handle) as cursor:
        assert cursor.first()
        key, value = cursor.item()
        cursor.put(key, value[:-1] + bytes((value[-1] ^ 1,)))
    store.close()
    report = salvage(tmp_path / "store", tmp_path / "saved")
    assert report["damaged"] == 1
    assert report["message"] == 6
    LmdbStore(tmp_path / "saved", StoreOptions(map_size=256 << 20, min_free_disk=0)).close()


def test_fm29_a_full_map_refuses_the_transaction_and_changes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path, map_size=2 << 20)
    with_account(store)
    lane = lane_of(store, "a")
    before = store.totals()
    txn = store.begin()
    too_much = [message(store, lane, text="x" * 1000) for _ in range(10_000)]
    with pytest.raises(StoreFull):
        txn.accept(too_much)
    store.abort(txn)
    assert store.totals() == before
    commit(store, lambda txn: txn.accept([message(store, lane)]))
    store.close()


def test_fm29_above_the_watermark_new_work_is_refused_with_a_hint(tmp_path: Path) -> None:
    store = open_store(tmp_path, map_size=2 << 20, accept_watermark=0.2)
    with_account(store)
    assert store.admission() is None
    lane = lane_of(store, "a")
    for _ in range(4):
        commit(store, lambda txn: txn.accept([message(store, lane, text="x" * 1000) for _ in range(100)]))
    store.refresh_usage()
    refusal = store.admission()
    assert refusal is not None
    assert "map_size" in refusal.hint
    store.close()
