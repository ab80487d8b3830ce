"""The only way rows change: bound put and delete functions of one write transaction.

Cursors do the puts (half the price of tx.put for rows that arrive in order) and are closed before the
commit. A tap, when set, sees every change as (table, key, value or None): a live backup replays them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import lmdb

    from store.layout import Table

Put = Callable[[bytes, bytes], bool]
Delete = Callable[[bytes], bool]


class Tap(Protocol):
    """Listens to every change, and to how its transaction ended."""

    def __call__(self, table: int, key: bytes, value: bytes | None) -> None: ...
    def ended(self, committed: bool) -> None: ...


OnChange = Callable[[int, bytes, bytes | None], None]


class Writer:
    """Put and delete functions by table, made on first use and good until `close`."""

    __slots__ = ("_cursors", "_deletes", "_inserts", "_puts", "_readers", "_tap", "_tx")

    def __init__(self, tx: lmdb.Transaction[bytes], tap: OnChange | None) -> None:
        self._tx = tx
        self._tap = tap
        self._cursors: list[lmdb.Cursor[bytes]] = []
        self._puts: dict[int, Put] = {}
        self._inserts: dict[int, Put] = {}
        self._readers: dict[int, lmdb.Cursor[bytes]] = {}
        self._deletes: dict[int, Delete] = {}

    def putter(self, table: Table) -> Put:
        put = self._puts.get(table.index)
        if put is None:
            put = self._puts[table.index] = self._make_put(table)
        return put

    def inserter(self, table: Table) -> Put:
        """Puts what is not there yet; False, and nothing done, where the key has a value."""
        insert = self._inserts.get(table.index)
        if insert is None:
            insert = self._inserts[table.index] = self._make_insert(table)
        return insert

    def deleter(self, table: Table) -> Delete:
        delete = self._deletes.get(table.index)
        if delete is None:
            delete = self._deletes[table.index] = self._make_delete(table)
        return delete

    def reader(self, table: Table) -> lmdb.Cursor[bytes]:
        """A cursor to look around with; whoever wants it next moves it."""
        cursor = self._readers.get(table.index)
        if cursor is None:
            cursor = self._readers[table.index] = self._tx.cursor(table.handle)
            self._cursors.append(cursor)
        return cursor

    def close(self) -> None:
        """Close every cursor: LMDB wants that done before the transaction ends."""
        self._puts.clear()
        self._inserts.clear()
        self._readers.clear()
        self._deletes.clear()
        while self._cursors:
            self._cursors.pop().close()

    def _make_put(self, table: Table) -> Put:
        cursor = self._tx.cursor(table.handle)
        self._cursors.append(cursor)
        if self._tap is None:
            return cursor.put
        return partial(_tapped_put, cursor.put, self._tap, table.index)

    def _make_insert(self, table: Table) -> Put:
        cursor = self._tx.cursor(table.handle)
        self._cursors.append(cursor)
        insert: Put = partial(cursor.put, overwrite=False)
        if self._tap is None:
            return insert
        return partial(_tapped_insert, insert, self._tap, table.index)

    def _make_delete(self, table: Table) -> Delete:
        delete: Delete = partial(self._tx.delete, db=table.handle)
        if self._tap is None:
            return delete
        return partial(_tapped_delete, delete, self._tap, table.index)


def _tapped_put(put: Put, tap: OnChange, index: int, key: bytes, value: bytes) -> bool:
    tap(index, key, value)
    return put(key, value)


def _tapped_insert(insert: Put, tap: OnChange, index: int, key: bytes, value: bytes) -> bool:
    done = insert(key, value)
    if done:
        tap(index, key, value)
    return done


def _tapped_delete(delete: Delete, tap: OnChange, index: int, key: bytes) -> bool:
    tap(index, key, None)
    return delete(key)
