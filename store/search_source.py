"""Messages in the order of their ids, wherever they are: the hot store and the archive as one.

A message is in the archive before it leaves the hot store, so whoever looks at a snapshot of the hot store
first and into the archive after that misses none; one that is in both counts once, as the hot store has it.
The read transactions are short, and may be another process's: `Beside` opens a store that a gateway has open.

Deliberately not here: the index (search_files), queries (search).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb

from store import reads
from store.archive import Archive
from store.interface import NO_ID
from store.layout import Tables, open_environment, translated
from store.options import StoreOptions
from store.records import ACCOUNT_KEY, MESSAGE_KEY, decode_message
from store.search_files import day_of, last_of
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from router.nouns import Message, Progress
    from store.lmdb_store import LmdbStore
    from store.reads import Read

Pair = tuple["Message", "Progress"]


class View:
    """One short look at everything."""

    def __init__(self, tx: Read, tables: Tables, archive: Archive) -> None:
        self._tx, self._tables, self._archive = tx, tables, archive

    def accounts(self) -> list[int]:
        with self._tx.cursor(self._tables.account.handle) as cursor:
            return [ACCOUNT_KEY.unpack(key)[0] for key in cursor.iternext(values=False)]

    def find(self, account: int, id: int) -> Pair | None:
        return reads.find(self._tx, self._tables, account, id) or self._archive.find(id, account)

    def days(self) -> set[str]:
        """On which there are messages."""
        found = set(self._archive.days())
        with self._tx.cursor(self._tables.message.handle) as cursor:
            for account in self.accounts():
                at = 0
                while cursor.set_range(MESSAGE_KEY.pack(account, at)):
                    owner, id = MESSAGE_KEY.unpack(cursor.key())
                    if owner != account:
                        break
                    found.add(day_of(id))
                    at = last_of(day_of(id)) + 1
        return found

    def after(self, after: int, to: int, limit: int) -> list[Message]:
        """Those with after < id <= to, the oldest first; what cannot be read is left out."""
        hot = [self._forward(account, after, to) for account in self.accounts()]
        old = ((id, None if pair is None else pair[0]) for id, pair in self._archive.forward(after, to))
        found: list[Message] = []
        last = -1
        for id, message in merge(*hot, old, key=_id_of):
            if message is not None and id != last:
                last = id
                found.append(message)
                if len(found) >= limit:
                    break
        return found

    def before(self, after: int, to: int, accounts: Sequence[int]) -> Iterator[tuple[int, Pair | Message]]:
        """Those with after < id <= to, the newest first: (id, message), with its progress where that came
        along with it; `accounts` empty: of all."""
        owners = accounts or self.accounts()
        walks: list[Iterator[tuple[int, Pair | Message | None]]]
        walks = [self._backward(account, after, to) for account in owners]
        archived = self._archive.backward(after, to)
        last = -1
        for id, found in merge(*walks, archived, key=_id_of, reverse=True):
            if found is None or (accounts and isinstance(found, tuple) and found[0].account not in accounts):
                continue
            if id != last:
                last = id
                yield id, found

    def _forward(self, account: int, after: int, to: int) -> Iterator[tuple[int, Message]]:
        end = MESSAGE_KEY.pack(account, to)
        with self._tx.cursor(self._tables.message.handle) as cursor:
            there = cursor.set_range(MESSAGE_KEY.pack(account, after + 1))
            while there:
                key, value = cursor.item()
                if key > end:
                    return
                yield from _sound(key, value)
                there = cursor.next()

    def _backward(self, account: int, after: int, to: int) -> Iterator[tuple[int, Pair | Message | None]]:
        first, end = MESSAGE_KEY.pack(account, after + 1), MESSAGE_KEY.pack(account, min(to + 1, NO_ID))
        for key, value in reads.backward(self._tx, self._tables.message, first, end):
            yield from _sound(key, value)


def _sound(key: bytes, value: bytes) -> Iterable[tuple[int, Message]]:
    """Nothing for one that is damaged: `store check` names it."""
    try:
        return ((MESSAGE_KEY.unpack(key)[1], decode_message(unseal(key, value))),)
    except Damaged:
        return ()


def _id_of(row: tuple[int, object]) -> int:
    return row[0]


class Source:
    """Where views come from: an open store of this process."""

    def __init__(
        self, reading: Callable[[], AbstractContextManager[Read]], tables: Tables, archive: Archive
    ) -> None:
        self._reading, self._tables, self._archive = reading, tables, archive

    @classmethod
    def of(cls, store: LmdbStore) -> Source:
        return cls(store.reading, store.tables, store.archive)

    @contextmanager
    def view(self) -> Iterator[View]:
        with self._reading() as tx:
            yield View(tx, self._tables, self._archive)

    def refresh(self) -> None:
        """What was dropped since is given up."""

    def close(self) -> None:
        """Nothing is owned."""


class Beside(Source):
    """A store that another process has open, to read. Errors: StoreError."""

    def __init__(self, path: Path, options: StoreOptions) -> None:
        self._path = path
        self._env = open_environment(path, map_size=options.map_size, readonly=True)
        try:
            tables = Tables(self._env)
        except lmdb.Error as error:
            self._env.close()
            raise translated(error, path) from error
        super().__init__(self._transaction, tables, Archive(path / "archive", options, readonly=True))

    @contextmanager
    def _transaction(self) -> Iterator[Read]:
        try:
            with self._env.begin() as tx:
                yield tx
        except lmdb.Error as error:
            raise translated(error, self._path) from error

    def refresh(self) -> None:
        self._archive.refresh()

    def close(self) -> None:
        self._archive.close()
        self._env.close()
