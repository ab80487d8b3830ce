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

    __slots__ = ("_cursors", "_deletes", "_puts", "_tap", "_tx")

    def __init__(self, tx: lmdb.Transaction[bytes], tap: OnChange | None) -> None:
        self._tx = tx
        self._tap = tap
        self._cursors: list[lmdb.Cursor[bytes]] = []
        self._puts: dict[int, Put] = {}
        self._deletes: dict[int, Delete] = {}

    def putter(self, table: Table) -> Put:
        put = self._puts.get(table.index)
        if put is None:
            put = self._puts[table.index] = self._make_put(table)
        return put

    def deleter(self, table: Table) -> Delete:
        delete = self._deletes.get(table.index)
        if delete is None:
            delete = self._deletes[table.index] = self._make_delete(table)
        return delete

    def close(self) -> None:
        """Close every cursor: LMDB wants that done before the transaction ends."""
        self._puts.clear()
        self._deletes.clear()
        while self._cursors:
            self._cursors.pop().close()

    def _make_put(self, table: Table) -> Put:
        cursor = self._tx.cursor(table.handle)
        self._cursors.append(cursor)
        if self._tap is None:
            return cursor.put
        return partial(_tapped_put, cursor.put, self._tap, table.index)

    def _make_delete(self, table: Table) -> Delete:
        delete: Delete = partial(self._tx.delete, db=table.handle)
        if self._tap is None:
            return delete
        return partial(_tapped_delete, delete, self._tap, table.index)


def _tapped_put(put: Put, tap: OnChange, index: int, key: bytes, value: bytes) -> bool:
    tap(index, key, value)
    return put(key, value)


def _tapped_delete(delete: Delete, tap: OnChange, index: int, key: bytes) -> bool:
    tap(index, key, None)
    return delete(key)
