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

from store.holding import hold_everything
from store.interface import StoreError
from store.layout import Tables, open_environment, sync_names
from store.rewriting import AsItIs, Rewriting
from store.values import seal

if TYPE_CHECKING:
    import lmdb

    from store.lmdb_store import LmdbStore
    from store.options import StoreOptions

PAGE = 2_000
COMPACTED = b"m:compacted"  # the meta row that says when it was done last
_ROWS = 20_000  # in one transaction
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
    """Make `directory` a store from a backup, what waited is HELD. Errors: StoreError, OSError.

    Built aside and moved in when it is whole: one that is cut short leaves nothing that could be opened.
    """
    from store.lmdb_store import LmdbStore

    if not (source / _HOT).is_file():
        raise StoreError(f"{source} holds no backup", "name the directory that `store backup` made")
    if (directory / _HOT).exists():
        raise StoreError(f"there is a store in {directory}", "give a directory without one")
    aside = directory / "restore.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True, mode=0o700)
    shutil.copyfile(source / _HOT, aside / _HOT)
    if (source / _ARCHIVE).is_dir():
        shutil.copytree(source / _ARCHIVE, aside / _ARCHIVE)
        _sync_archives(aside)
    store = LmdbStore(aside, options)
    try:
        hold_everything(store, "in a carrier's hands when the backup was made")
    finally:
        store.close()
    _fsync(aside / _HOT)
    for name in (_ARCHIVE, _HOT):
        if (aside / name).exists():
            os.replace(aside / name, directory / name)
    sync_names(directory, directory.parent)
    shutil.rmtree(aside)


def compact(directory: Path, now_ms: int, *, archive: bool = True) -> None:
    """Rewrite the files of a stopped store: no free pages, and no byte of what was changed or deleted.

    Row by row, as LMDB's own compacting copies pages as they are, with what lies between their rows. The
    archive's days, too, unless not wanted. Errors: StoreBusy, StoreError, OSError.
    """
    from store.lmdb_store import LmdbStore

    store = LmdbStore(directory)
    scratch = directory / "compact.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    try:
        _copy_rows(store, scratch, now_ms)
        if archive:
            for day in store.archive.days():
                anew = Rewriting(store.archive, day, AsItIs())
                while anew.step(_ROWS):
                    pass
                anew.finish()
    finally:
        store.close()
    _fsync(scratch / _HOT)
    os.replace(scratch / _HOT, directory / _HOT)
    _fsync(directory)
    shutil.rmtree(scratch)


def _copy_rows(store: LmdbStore, target: Path, now_ms: int) -> None:
    """Every row of the hot store, in the order of the keys, and when this was done."""
    env = open_environment(target, map_size=store.options.map_size)
    try:
        tables = Tables(env)
        for index, table in enumerate(tables.all):
            with store.reading() as source, source.cursor(store.tables.all[index].handle) as cursor:
                there = cursor.first()
                while there:
                    with env.begin(write=True) as tx:
                        for _ in range(_ROWS):
                            tx.put(*cursor.item(), db=table.handle, append=True)
                            there = cursor.next()
                            if not there:
                                break
        with env.begin(write=True) as tx:
            tx.put(COMPACTED, seal(COMPACTED, b"%d" % now_ms), db=tables.meta.handle)
    finally:
        env.close()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
