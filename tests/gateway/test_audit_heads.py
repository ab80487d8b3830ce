"""The newest entry, noted outside the store, and what a verification does with it."""

from __future__ import annotations

import json
from pathlib import Path

import structlog.testing
import trio

from gateway.audit_heads import NAME, AuditHeads, noted_in
from gateway.cli.failure import FAILED, OK
from store.audit import HEAD_NAME
from store.lmdb_store import LmdbStore
from tests.gateway.conftest import Typed
from tests.gateway.house import inline
from tests.trio_case import trio_test

DAY_S = 86_400


class Trail:
    """A store's newest entry, and the time of day."""

    def __init__(self) -> None:
        self.number = 0

    def audit_head(self) -> tuple[int, str]:
        return (self.number, f"{self.number:064x}") if self.number else (0, "")

    def wall_ms(self) -> int:
        return int((20_000 * DAY_S + trio.current_time()) * 1000)


@trio_test(mock_clock=True)
async def test_the_newest_entry_is_noted_once_a_day_if_there_is_a_new_one(tmp_path: Path) -> None:
    trail, path = Trail(), tmp_path / "heads"
    heads = AuditHeads(trail, path, trail.wall_ms, inline)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heads.run)
        await trio.sleep(10)
        assert not path.exists()
        for number, day in ((3, 1), (3, 2), (8, 3)):
            trail.number = number
            await trio.sleep(DAY_S)
            assert noted_in(path)[0][-1][0] == number, day
        assert [number for number, _ in noted_in(path)[0]] == [3, 8]
        trail.number = 9
        await heads.note()  # at a stop
        nursery.cancel_scope.cancel()
    assert [number for number, _ in noted_in(path)[0]] == [3, 8, 9]
    assert path.stat().st_mode & 0o777 == 0o600


@trio_test(mock_clock=True)
async def test_a_file_that_takes_nothing_is_told_once_and_tried_again(tmp_path: Path) -> None:
    trail, path = Trail(), tmp_path / "later" / "heads"
    heads = AuditHeads(trail, path, trail.wall_ms, inline)
    trail.number = 1
    with structlog.testing.capture_logs() as logs:
        assert not await heads.note()
        assert not await heads.note()
        path.parent.mkdir()
        assert await heads.note()
    assert [one["event"] for one in logs] == ["audit head not noted"]
    assert noted_in(path) == ([(1, f"{1:064x}")], 0)


def forge(directory: Path) -> None:
    """Write the whole trail anew, so that it agrees with itself."""
    store = LmdbStore(directory)
    entries = [row.entry for row in reversed(store.audit_log())]
    with store._env.begin(write=True) as tx:
        for number in range(1, len(entries) + 1):
            tx.delete(number.to_bytes(8, "big"), db=store.tables.audit.handle)
        tx.delete(HEAD_NAME, db=store.tables.meta.handle)
    for one in entries:
        one.who = "nobody"
        txn = store.begin()
        txn.audit(one)
        store.commit(txn)
    store.close()


def test_verify_compares_with_what_was_noted_and_export_has_every_entry(typed: Typed, tmp_path: Path) -> None:
    typed("account", "create", "shop")
    typed("account", "set", "shop", "--tps", "5")
    lines = [json.loads(line) for line in typed("audit", "export")[1].splitlines()]
    assert [(one["number"], one["act"]) for one in lines] == [(1, "account.created"), (2, "account.changed")]
    assert [json.loads(typed("audit", "export", "--after", "1")[1])] == lines[1:]
    heads = tmp_path / "var" / NAME
    heads.write_text(f"2026-01-01T00:00:00.000Z {lines[0]['number']}:{lines[0]['hash']}\n")
    code, told = typed("audit", "verify")
    assert (code, "is whole: 2 entries. It agrees with 1 noted before." in told) == (OK, True), told
    forge(tmp_path / "var" / "store")
    code, told = typed("audit", "verify")
    assert (code, f"audit 1: its hash was {lines[0]['hash']}" in told) == (FAILED, True), told
    kept = heads.rename(tmp_path / "kept")
    assert typed("audit", "verify")[0] == OK  # nothing is noted there any more: keep it elsewhere
    assert typed("audit", "verify", "--heads", str(kept))[0] == FAILED
    heads.write_text("rubbish\n")
    code, told = typed("audit", "verify")
    assert (code, "1 of its lines are not as they were written" in told) == (FAILED, True)
