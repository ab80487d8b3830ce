"""The power is cut instead of the process killed: every disk that can be left opens and lacks nothing."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.crash.disk import SECTOR, Disk, Record, pack, records
from tests.crash.images import Report, compiler, every_cut, judge_all, power_cuts, record

needs_recorder = pytest.mark.skipif(
    compiler() is None and not os.environ.get("CI"),
    reason="records a process with LD_PRELOAD: needs Linux and cc",
)


def nothing_lost(report: Report) -> None:
    assert report.complaints == []
    assert report.answered


@needs_recorder
def test_fm30_a_power_cut_at_every_boundary_of_a_short_run_loses_nothing(tmp_path: Path) -> None:
    log = record(tmp_path, 36, seed=1)
    cuts = every_cut(log)
    report = judge_all(log, cuts)
    nothing_lost(report)
    assert report.images == len(cuts) > report.boundaries > 200


@needs_recorder
def test_fm30_a_power_cut_at_300_boundaries_of_a_long_run_loses_nothing(tmp_path: Path) -> None:
    report = power_cuts(tmp_path, 300, seed=2)
    nothing_lost(report)
    assert report.images == 300


@needs_recorder
def test_a_sync_that_is_left_out_would_be_found(tmp_path: Path) -> None:
    """The same log without the syncs of LMDB's data pages: what the images must not look like."""
    log = record(tmp_path, 9, seed=3)
    careless = tmp_path / "careless"
    kept = (one for one in records(log) if one.kind != "S" or not one.path.endswith("data.mdb"))
    careless.write_bytes(b"".join(map(pack, kept)))
    assert judge_all(careless, every_cut(careless)[-20:]).complaints


def disk_of(*log: tuple[str, bool, str, int, bytes]) -> Disk:
    disk = Disk()
    for one in log:
        disk.feed(Record(*one))
    return disk


def test_a_name_is_certain_only_once_its_directory_is_synced() -> None:
    disk = disk_of(("C", False, "f", 0, b""), ("W", False, "f", 0, b"x"), ("S", True, "f", 0, b""))
    assert disk.certain() == {}
    disk.feed(Record("S", True, ".", 0, b""))
    assert disk.certain() == {"f": b"x"}
    disk.feed(Record("U", False, "f", 0, b""))
    assert disk.certain() == {"f": b"x"}
    assert disk.seen() == {}


def test_a_write_is_certain_only_once_synced_and_may_come_in_any_sectors_before() -> None:
    old, new = bytes(4 * SECTOR), b"n" * (4 * SECTOR)
    disk = disk_of(
        ("C", False, "f", 0, b""), ("W", False, "f", 0, old), ("S", True, "f", 0, b""),
        ("S", True, ".", 0, b""), ("W", False, "f", 0, new),
    )  # fmt: skip
    assert disk.certain() == {"f": old}
    assert disk.uncertain() == 4
    found = {disk.some(random.Random(seed))["f"] for seed in range(200)}
    assert {old, new} < found
    assert old[:SECTOR] + new[SECTOR:] in found
    disk.feed(Record("W", True, "f", SECTOR, b"!"))
    assert disk.certain() == {"f": old[:SECTOR] + b"!" + new[: SECTOR - 1] + old[2 * SECTOR :]}
