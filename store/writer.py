"""The only way rows change: bound put and delete functions of one write transaction.

Cursors do the puts (half the price of tx.put for rows that arrive in order) and the deletes of many rows
(three quarters of tx.delete's for rows that lie side by side). They are closed before the commit. A tap, when
set, sees every change as (table, key, value or None): a live backup replays them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import lmdb

    from store.layout import Table

Delete = Callable[[bytes], bool]
T = TypeVar("T")


class Put(Protocol):
    """Writes a row. Without `overwrite` only what is not there yet: False, and nothing done, where it is.

    `dupdata` is LMDB's and stands here because by name `overwrite` takes half as long again.
    """

    def __call__(self, key: bytes, value: bytes, dupdata: bool = True, overwrite: bool = True, /) -> bool: ...


class Tap(Protocol):
    """Listens to every change, and to how its transaction ended."""

    def __call__(self, table: int, key: bytes, value: bytes | None) -> None: ...
    def ended(self, committed: bool) -> None: ...


OnChange = Callable[[int, bytes, bytes | None], None]


class _Made(dict["Table", T]):
    """What is made for a table when it is first asked for."""

    def __init__(self, make: Callable[[Table], T]) -> None:
        self._make = make

    def __missing__(self, table: Table) -> T:
        made = self[table] = self._make(table)
        return made


class Writer:
    """Put and delete functions by table, made on first use and good until `close`."""

    __slots__ = ("_cursors", "_deletes", "_puts", "_readers", "_tap", "_tx", "deleter", "putter")

    def __init__(self, tx: lmdb.Transaction[bytes], tap: OnChange | None) -> None:
        self._tx = tx
        self._tap = tap
        self._cursors: list[lmdb.Cursor[bytes]] = []
        self._readers: dict[int, lmdb.Cursor[bytes]] = {}
        self._puts = _Made(partial(_new_put, tx, tap, self._cursors))
        self._deletes = _Made(partial(_new_delete, tx, tap))
        self.putter: Callable[[Table], Put] = self._puts.__getitem__
        self.deleter: Callable[[Table], Delete] = self._deletes.__getitem__

    def reader(self, table: Table) -> lmdb.Cursor[bytes]:
        """A cursor to look around with; whoever wants it next moves it."""
        cursor = self._readers.get(table.index)
        if cursor is None:
            cursor = self._readers[table.index] = self._tx.cursor(table.handle)
            self._cursors.append(cursor)
        return cursor

    def delete_all(self, table: Table, keys: Iterable[bytes]) -> None:
        """Delete what there is of these rows, in the order of their keys."""
        tap = self._tap
        cursor = self.reader(table)
        find, delete, key_here = cursor.set_key, cursor.delete, cursor.key
        here = b""  # a deleted row leaves the cursor on the next one
        for key in sorted(keys):
            if tap is not None:
                tap(table.index, key, None)
            if key == here or find(key):
                delete()
                here = key_here()
            else:
                here = b""

    def close(self) -> None:
        """Close every cursor: LMDB wants that done before the transaction ends."""
        self._puts.clear()
        self._deletes.clear()
        self._readers.clear()
        while self._cursors:
            self._cursors.pop().close()


def _new_put(
    tx: lmdb.Transaction[bytes], tap: OnChange | None, cursors: list[lmdb.Cursor[bytes]], table: Table
) -> Put:
    cursor = tx.cursor(table.handle)
    cursors.append(cursor)
    return cursor.put if tap is None else partial(_tapped_put, cursor.put, tap, table.index)


def _new_delete(tx: lmdb.Transaction[bytes], tap: OnChange | None, table: Table) -> Delete:
    delete: Delete = partial(tx.delete, db=table.handle)
    return delete if tap is None else partial(_tapped_delete, delete, tap, table.index)


def _tapped_put(
    put: Put,
    tap: OnChange,
    index: int,
    key: bytes,
    value: bytes,
    dupdata: bool = True,
    overwrite: bool = True,
) -> bool:
    done = put(key, value, dupdata, overwrite)
    if done:
        tap(index, key, value)
    return done


def _tapped_delete(delete: Delete, tap: OnChange, index: int, key: bytes) -> bool:
    tap(index, key, None)
    return delete(key)
