"""`store salvage`: read what can be read of a damaged store into a new one.

Every table is walked from its first row forward and, where the tree breaks, from its last row backward; rows
that do not carry their checksum stay behind, days of the archive are copied as they are. Then the new store
is mended: it agrees with itself, and everything that waited is HELD, because what is lost cannot be known.

Deliberately not here: guessing at damaged values, mending (mend.py).
"""

from __future__ import annotations

import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb

from router.nouns import Phase
from store import upgrade
from store.interface import StoreError
from store.layout import TABLES, Table, Tables, open_environment, translated
from store.lmdb_store import LmdbStore
from store.mend import mend
from store.values import Damaged, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.options import StoreOptions

_PAGE = 2_000
_DERIVED = frozenset({"quarantine"})


def salvage(source: Path, target: Path, options: StoreOptions | None = None) -> dict[str, int]:
    """Rows saved by table, `damaged`, and `findings` of a check of the new store.

    Errors: StoreError when nothing at all can be read, StoreFormat for a store of a newer release.
    """
    if target.exists() and any(target.iterdir()):
        raise StoreError(f"{target} is not empty", "give a directory that does not exist yet")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    report = _save_rows(source, target)
    if (source / "archive").is_dir():
        shutil.copytree(source / "archive", target / "archive", ignore=shutil.ignore_patterns("lock.mdb"))
    with closing(LmdbStore(target, options)) as store:
        mend(store)
    with closing(LmdbStore(target, options)) as store:
        report["held"] = store.totals().messages[Phase.HELD]
        report["findings"] = len(store.check())
    return report


def _save_rows(source: Path, target: Path) -> dict[str, int]:
    try:
        old = open_environment(source, map_size=1 << 40, readonly=True, lock=False)
        tables = _tables(old)
    except lmdb.Error as error:
        raise translated(error, source) from error
    try:
        if not tables:
            raise StoreError(f"{source} holds no table of a store", "name the directory that data.mdb is in")
        written = _format(old, tables)
        if written > upgrade.FORMAT:
            upgrade.refuse_unknown(written, written, source)
        new = open_environment(target, map_size=1 << 40)
        try:
            return _save_tables(old, tables, new)
        finally:
            new.close()
    finally:
        old.close()


def _format(env: lmdb.Environment, tables: dict[str, Table]) -> int:
    """What the store says of its format; this release's where that row is lost."""
    with suppress(lmdb.Error, Damaged, KeyError), env.begin() as tx:
        value = tx.get(upgrade.FORMAT_NAME, None, tables["meta"].handle)
        if value is not None:
            return int(unseal(upgrade.FORMAT_NAME, value))
    return upgrade.FORMAT


def _save_tables(old: lmdb.Environment, tables: dict[str, Table], new: lmdb.Environment) -> dict[str, int]:
    saved = Tables(new)
    report: dict[str, int] = {"damaged": 0}
    for other in saved.all:
        if other.name in tables and other.name not in _DERIVED:
            report[other.name] = _save(old, tables[other.name], new, other, report)
    with new.begin(write=True) as tx:
        format_ = seal(upgrade.FORMAT_NAME, b"%d" % upgrade.FORMAT)
        tx.put(upgrade.FORMAT_NAME, format_, db=saved.meta.handle, overwrite=False)
    return report


def _tables(env: lmdb.Environment) -> dict[str, Table]:
    """By name; those that the release which wrote the store did not have yet are left out."""
    found: dict[str, Table] = {}
    for index, name in enumerate(TABLES):
        with suppress(lmdb.NotFoundError):
            found[name] = Table(name, index, env.open_db(name.encode(), create=False))
    return found


def _save(
    old: lmdb.Environment, table: Table, new: lmdb.Environment, other: Table, report: dict[str, int]
) -> int:
    count = 0
    page: list[tuple[bytes, bytes]] = []
    for key, value in _rows(old, table):
        try:
            unseal(key, value)
        except Damaged:
            report["damaged"] += 1
            continue
        page.append((key, value))
        if len(page) >= _PAGE:
            count += _write(new, other, page)
    return count + _write(new, other, page)


def _write(new: lmdb.Environment, other: Table, page: list[tuple[bytes, bytes]]) -> int:
    with new.begin(write=True) as tx:
        for key, value in page:
            tx.put(key, value, db=other.handle)
    count = len(page)
    page.clear()
    return count


def _rows(env: lmdb.Environment, table: Table) -> Iterator[tuple[bytes, bytes]]:
    """Forward to the break, then backward to it."""
    last = b""
    broken = False
    with env.begin() as tx, tx.cursor(table.handle) as cursor:
        try:
            for key, value in cursor.iternext():
                last = bytes(key)
                yield key, value
        except lmdb.Error:
            broken = True
    if not broken:
        return
    with env.begin() as tx, tx.cursor(table.handle) as cursor:
        try:
            for key, value in cursor.iterprev():
                if bytes(key) <= last:
                    return
                yield key, value
        except lmdb.Error:
            return
