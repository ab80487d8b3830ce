"""What power cuts and full disks leave of a store's files and names. All moments: tests/crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.nouns import MessageState, Outcome, Settle
from store.interface import StoreFull
from store.lmdb_store import LmdbStore
from tests.store.records_for_tests import (
    DAY_MS,
    NOW_MS,
    Clock,
    commit,
    lane_of,
    open_store,
    outcome,
    submitted,
    with_account,
)


def finished(tmp_path: Path, clock: Clock, count: int = 1, **options: object) -> tuple[LmdbStore, list[int]]:
    """A store whose messages, a thousand characters each, have just become old enough for the archive."""
    store = open_store(tmp_path, clock, **options)
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"), count=count, text="x" * 1000)

    def refused(one: int) -> Outcome:
        return outcome(store, leased[one], "a", Settle.FINAL, state=MessageState.REJECTED)

    commit(store, lambda txn: txn.settle([refused(number) for number in range(count)], clock.now_ms))
    clock.now_ms += 7_200_000
    return store, [one.id for one in made]


def test_fm30_a_store_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    aside = tmp_path / "store" / "creating"
    aside.mkdir(parents=True)
    (aside / "data.mdb").write_bytes(bytes(512))
    store = open_store(tmp_path)
    with_account(store)
    assert not aside.exists()
    store.close()


def test_fm30_a_day_left_without_its_file_reads_as_empty_is_written_and_is_dropped(tmp_path: Path) -> None:
    clock = Clock()
    store, ids = finished(tmp_path, clock)
    rows = store.pick_finished(clock.now_ms, 10)
    store.archive.write(rows)
    (day,) = store.archive.days()
    store.close()
    directory = tmp_path / "store" / "archive" / day
    (directory / "data.mdb").unlink()
    store = open_store(tmp_path, clock)
    assert store.archive.days() == []
    assert store.archive.find(ids[0]) is None
    assert store.archive.latest_to("447700900001", "TEST", NOW_MS - DAY_MS) is None
    assert not (directory / "data.mdb").exists()
    store.archive.write(rows)
    assert store.archive.find(ids[0]) is not None
    store.close()
    (directory / "data.mdb").unlink()
    store = open_store(tmp_path, clock)
    assert store.drop_old(clock.now_ms + 40 * DAY_MS, 30) == [day]
    assert not directory.exists()
    store.close()


def test_fm29_a_day_that_cannot_be_written_is_the_stores_own_error(tmp_path: Path) -> None:
    clock = Clock()
    store, _ = finished(tmp_path, clock, count=100, archive_map_size=32 << 10)
    with pytest.raises(StoreFull, match="map is full"):
        store.archive.write(store.pick_finished(clock.now_ms, 100))
    store.close()
