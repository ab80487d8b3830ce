"""Backup of a live store, restore, compact.

`backup` copies page by page in short read transactions, so that no long reader makes the file grow, while a
tap writes every change of the meantime to a spool file; applied at the end, the copy equals the store at one
commit. `restore` holds everything that waited, so that a restored store never sends a day's traffic again.

Deliberately not here: when to back up, copying to other machines.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from router.nouns import MessageState, Outcome, Phase, Progress, Reason, Settle, Step
from store.interface import StoreError
from store.layout import Tables, open_environment, sync_names
from store.queues import put_held, unpack_place
from store.records import DUE_KEY, ENTRY, MESSAGE_KEY, READY_KEY, Entry
from store.timeline import note

if TYPE_CHECKING:
    import lmdb

    from router.nouns import Message
    from store.batch import Batch
    from store.lmdb_store import LmdbStore
    from store.options import StoreOptions

PAGE = 2_000
_PORTION = 500
_HOT = "data.mdb"
_ARCHIVE = "archive"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, bytes, bytes | None]).decode


class _Spool:
    """A tap that keeps changes of committed transactions in a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending: list[bytes] = []

    def __call__(self, table: int, key: bytes, value: bytes | None) -> None:
        change = _encode((table, key, value))
        self._pending.append(len(change).to_bytes(4, "big") + change)

    def ended(self, committed: bool) -> None:
        if committed:
            self._file.write(b"".join(self._pending))
        self._pending.clear()


def backup(store: LmdbStore, target: Path) -> None:
    """Copy a live store into `target`, a new directory. Errors: StoreError, OSError."""
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(target.iterdir()):
        raise StoreError(f"{target} is not empty", "give a directory that does not exist yet")
    spool_path = target / "spool.tmp"
    env = open_environment(target, map_size=store.options.map_size)
    try:
        tables = Tables(env)
        with spool_path.open("w+b") as file:
            spool = _Spool(file)
            with store.quiet():
                store.core.taps.append(spool)
            try:
                for index in range(len(tables.all)):
                    _copy_table(store, env, tables, index)
            finally:
                with store.quiet():
                    store.core.taps.remove(spool)
            file.flush()
            file.seek(0)
            _apply(env, tables, file)
        spool_path.unlink()
        _copy_archives(store, target)
        sync_names(target.absolute(), target.absolute().parent)
    finally:
        env.close()


def _copy_table(store: LmdbStore, env: lmdb.Environment, tables: Tables, index: int) -> None:
    start = b""
    while True:
        rows: list[tuple[bytes, bytes]] = []
        with store.reading() as tx, tx.cursor(store.tables.all[index].handle) as cursor:
            found = cursor.set_range(start) if start else cursor.first()
            if found:
                for key, value in cursor.iternext():
                    if key != start:
                        rows.append((key, value))
                    if len(rows) >= PAGE:
                        break
        if not rows:
            return
        start = rows[-1][0]
        with env.begin(write=True) as tx:
            for key, value in rows:
                tx.put(key, value, db=tables.all[index].handle)


def _apply(env: lmdb.Environment, tables: Tables, file: BinaryIO) -> None:
    while True:
        count = 0
        with env.begin(write=True) as tx:
            while count < PAGE and (head := file.read(4)):
                table, key, value = _decode(file.read(int.from_bytes(head, "big")))
                if value is None:
                    tx.delete(key, db=tables.all[table].handle)
                else:
                    tx.put(key, value, db=tables.all[table].handle)
                count += 1
        if count < PAGE:
            return


def _copy_archives(store: LmdbStore, target: Path) -> None:
    for day in store.archive.days():
        directory = target / _ARCHIVE / day
        directory.mkdir(parents=True, mode=0o700)
        store.archive.copy(day, directory)
    _sync_archives(target)


def _sync_archives(top: Path) -> None:
    for copied in (top / _ARCHIVE).glob("*/" + _HOT):
        _fsync(copied)
        sync_names(copied.parent, top)


def restore(source: Path, directory: Path, options: StoreOptions | None = None) -> None:
    """Make `directory` a store from a backup, what waited is HELD. Errors: StoreError, OSError."""
    from store.lmdb_store import LmdbStore

    if not (source / _HOT).is_file():
        raise StoreError(f"{source} holds no backup", "name the directory that `store backup` made")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copyfile(source / _HOT, directory / _HOT)
    if (source / _ARCHIVE).is_dir():
        shutil.copytree(source / _ARCHIVE, directory / _ARCHIVE, dirs_exist_ok=True)
        _sync_archives(directory)
    store = LmdbStore(directory, options)
    try:
        store.recover(_hold_unknown(store), store.options.clock())
        for hold in (_hold_ready, _hold_due):
            while _commit(store, hold):
                pass
    finally:
        store.close()


def _hold_unknown(store: LmdbStore):  # type: ignore[no-untyped-def]
    def decide(message: Message, progress: Progress | None, carrier: int) -> Outcome:
        group = store.group_id(store.carrier_name(carrier))
        return Outcome(
            message.account, message.id, 0, carrier, group, 0, message.segments, Settle.UNKNOWN_HOLD,
            reason=Reason.OUTCOME_UNKNOWN, detail="in a carrier's hands when the backup was made",
        )  # fmt: skip

    return decide


def _commit(store: LmdbStore, verb) -> int:  # type: ignore[no-untyped-def]
    txn = store.begin()
    try:
        count: int = verb(txn.batch)
    except BaseException:
        store.abort(txn)
        raise
    store.commit(txn)
    return count


def _hold_ready(batch: Batch) -> int:
    rows = batch.scan(batch.tables.ready, b"\0", _PORTION)
    for key, payload in rows:
        lane, tried, inverted, account, _, id = READY_KEY.unpack(key)
        segments, attempts, flags, expires_ms, first_part = ENTRY.unpack(payload)
        entry = Entry(
            account, id, lane, tried, 3 - inverted, segments, attempts, flags, expires_ms, first_part
        )
        batch.delete(batch.tables.ready, key)
        _hold(batch, entry, Phase.READY)
    return len(rows)


def _hold_due(batch: Batch) -> int:
    rows = batch.scan(batch.tables.due, b"\0", _PORTION)
    for key, payload in rows:
        entry, phase = unpack_place(DUE_KEY.unpack(key)[1], payload)
        batch.delete(batch.tables.due, key)
        _hold(batch, entry, phase)
    return len(rows)


def _hold(batch: Batch, entry: Entry, before: int) -> None:
    key = MESSAGE_KEY.pack(entry.account, entry.id)
    progress = batch.progress(key) or Progress(before, MessageState.ENROUTE, lane=entry.lane)
    progress.phase, progress.reason, progress.until_ms = Phase.HELD, Reason.RESTORED, 0
    note(progress, batch.options.clock(), Step.HELD, 0, Reason.RESTORED.name)
    batch.put_progress(key, progress)
    put_held(batch, entry, Reason.RESTORED, Phase.HELD)
    batch.move(entry.account, entry.lane, entry.segments, before, Phase.HELD)


def compact(directory: Path) -> None:
    """Rewrite the files of a stopped store without free pages. Errors: StoreBusy, StoreError, OSError."""
    from store.lmdb_store import LmdbStore

    store = LmdbStore(directory)
    scratch = directory / "compact.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    try:
        store.copy_compact(scratch)
    finally:
        store.close()
    _fsync(scratch / _HOT)
    os.replace(scratch / _HOT, directory / _HOT)
    _fsync(directory)
    shutil.rmtree(scratch)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
