"""Whatever rows are lost, a salvaged store agrees with itself, holds what waited, and goes on from there."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from router.nouns import Phase, Reason
from store.interface import StoreFormat
from store.layout import TABLES
from store.lmdb_store import LmdbStore
from store.options import StoreOptions
from store.salvage import salvage
from tests.store.golden.build import HERE
from tests.store.records_for_tests import Clock, claim, commit, lane_of, message, sent
from tests.store.test_golden import Golden

NAME = "format-1"
WAITING = (Phase.READY, Phase.SCHEDULED, Phase.DEFERRED, Phase.LEASED)


def options(clock: Clock) -> StoreOptions:
    return StoreOptions(
        map_size=64 << 20, archive_map_size=1 << 20, min_free_disk=0, clock=clock, announce=lambda line: None
    )


@pytest.fixture
def source(ram_path: Path) -> Path:
    """A store with everything in it, closed."""
    with tarfile.open(HERE / f"{NAME}.tar.xz") as archive:
        archive.extractall(ram_path / "store", filter="data")
    return ram_path / "store"


def lose(source: Path, tables: dict[str, float], chance: random.Random) -> None:
    """Delete rows of these tables, each with the probability given."""
    with lmdb.Environment(str(source), max_dbs=len(TABLES), map_size=64 << 20, lib_version=0) as env:
        for name, share in tables.items():
            handle = env.open_db(name.encode())
            with env.begin(write=True) as tx:
                with tx.cursor(handle) as cursor:
                    keys = [key for key in cursor.iternext(values=False) if chance.random() < share]
                for key in keys:
                    tx.delete(key, db=handle)


def damages() -> Iterator[tuple[str, dict[str, float]]]:
    yield "nothing", {}
    for name in TABLES:
        yield f"all of {name}", {name: 1.0}
    for share in (0.1, 0.5, 0.9):
        yield f"{share:.0%} of everything", dict.fromkeys(TABLES, share)


@pytest.mark.parametrize("lost", [pytest.param(lost, id=name) for name, lost in damages()])
def test_a_salvaged_store_is_sound_and_holds_what_waited(source: Path, lost: dict[str, float]) -> None:
    clock = Clock()
    clock.now_ms += 3_600_000 * 3
    for seed in range(3 if len(lost) > 1 else 1):
        lose(source, lost, random.Random(seed))
        target = source.parent / f"saved-{seed}"
        report = salvage(source, target, options(clock))
        assert report["findings"] == 0
        store = LmdbStore(target, options(clock))
        totals = store.totals()
        assert totals.accepted == sum(totals.messages)
        assert totals.accepted_segments == sum(totals.segments)
        assert [totals.messages[phase] for phase in WAITING] == [0, 0, 0, 0]
        assert totals.messages[Phase.HELD] == report["held"]
        go_on(store)
        store.close()


def go_on(store: LmdbStore) -> None:
    """New messages and old ones are sent as in any store."""
    lane = lane_of(store, "a", "b")
    fresh = message(store, lane)
    commit(store, lambda txn: txn.accept([fresh]))
    commit(store, lambda txn: txn.release_held(Reason.RESTORED, 100))
    asked = [claim(store, one, "a") for one in store.lanes()]
    leased = [one for result in commit(store, lambda txn: txn.claim(asked))[0] for one in result.leased]
    assert fresh.id in [one.message.id for one in leased]
    answers = [
        sent(store, one, "a", f"after-{one.message.id}-{part}", part, one.message.segments)
        for one in leased
        for part in range(one.first_part, one.message.segments)
    ]
    now_ms = store.options.clock()
    commit(store, lambda txn: txn.settle(answers, now_ms))
    assert store.totals().messages[Phase.LEASED] == 0
    commit(store, lambda txn: txn.move_due(now_ms + 86_400_000, 100))
    assert store.check() == []


def test_nothing_is_lost_where_nothing_was_damaged(source: Path, ram_path: Path) -> None:
    golden = Golden(NAME, ram_path / "intact")
    was, ids = golden.store.totals(), golden.ids
    clock = golden.clock
    golden.store.close()
    report = salvage(source, ram_path / "saved", options(clock))
    assert report["damaged"] == 0
    store = LmdbStore(ram_path / "saved", options(clock))
    totals = store.totals()
    assert (totals.accepted, totals.accepted_segments) == (was.accepted, was.accepted_segments)
    for phase in (Phase.FINAL, Phase.UNKNOWN, Phase.AWAITING_RECEIPT):
        assert totals.messages[phase] == was.messages[phase]
    missing = [id for id in ids if store.find_any(id) is None]
    assert [golden.words["messages"][str(id)] for id in missing] == [None] * len(missing)  # in quarantine
    assert len(missing) == 1
    store.close()


def test_what_may_have_been_sent_goes_out_again_as_a_possible_duplicate(source: Path, ram_path: Path) -> None:
    clock = Clock()
    lose(source, {"lease": 1.0}, random.Random(0))
    salvage(source, ram_path / "saved", options(clock))
    store = LmdbStore(ram_path / "saved", options(clock))
    commit(store, lambda txn: txn.release_held(Reason.RESTORED, 100))
    asked = claim(store, min(store.lanes()), "a")
    leased = commit(store, lambda txn: txn.claim([asked]))[0][0].leased
    doubtful = {one.message.text for one in leased if one.possible_duplicate}
    assert doubtful == {"in a carrier's hands", "half answered"}
    store.close()


def test_a_store_of_a_newer_release_is_not_salvaged(
    source: Path, ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.upgrade.FORMAT", 0)
    with pytest.raises(StoreFormat, match="has format 1"):
        salvage(source, ram_path / "saved", options(Clock()))
