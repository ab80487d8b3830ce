"""A day of the archive written anew, portion by portion, beside whoever reads and writes the old file.

LMDB keeps the bytes of a row that was changed or deleted, in pages that are free and in gaps of pages that
are not, and its own compacting copies the gaps along. So what has to be gone is left behind: every row that
stays is put into a new file, which takes the old one's place in one step. Readers of the old one keep it
until they look again.

Invariants: the new file has every row that the old one has at the moment of the exchange, changed or not; a
crash leaves one of both, whole (Archive tidies up when it is opened).

Deliberately not here: what is changed (erasing, retention), when (gateway).
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import lmdb
import msgspec

from store import customer
from store.layout import DATA, open_environment, sync_names, translated
from store.records import RECIPIENT, decode_pair, encode, number_of
from store.values import Damaged, seal, unseal

if TYPE_CHECKING:
    from router.nouns import Message
    from store.archive import Archive

NEW, OLD = ".new", ".old"  # behind a day's name, while it is being rewritten
TEXTS_GONE = b"texts"  # a row of the day's `told`: no message in it says anything any more
PORTION = 2_000  # rows in one step: some 20 ms
OF_AGE = "retention"  # the timeline's detail where a text went by age

_AT_FDCWD, _EXCHANGE = -100, 2
_NOT_THERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux


class Change(Protocol):
    """What becomes of a day's rows."""

    def row(self, key: bytes, value: bytes) -> bytes | None:
        """The value that stays under this message's key; None: the row goes."""

    def keeps(self, recipient: bytes) -> bool:
        """Whether this row stays, `records.RECIPIENT`, by which a recipient's messages are found."""


class WithoutTexts:
    """Messages lose what they said, by age."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def row(self, key: bytes, value: bytes) -> bytes | None:
        try:
            message, progress = decode_pair(unseal(key, value))
        except (Damaged, msgspec.DecodeError):
            return None  # nobody can read it, and it may say something
        if not says(message):
            return value
        return seal(key, encode(customer.redacted(message, progress, self._now_ms, OF_AGE)))

    def keeps(self, recipient: bytes) -> bool:
        return True


class AsItIs:
    """Nothing but the bytes that no row has any more goes."""

    def row(self, key: bytes, value: bytes) -> bytes | None:
        return value

    def keeps(self, recipient: bytes) -> bool:
        return True


class Rewriting:
    """`step` until nothing is left, then `finish`; or `drop` it. One thread at a time. Errors: StoreError."""

    def __init__(self, archive: Archive, day: str, change: Change, *, texts_gone: bool = False) -> None:
        """`texts_gone`: the change takes all texts out."""
        self.day = day
        self.changed = 0  # rows that are not as they were, or gone
        self._archive = archive
        self._change = change
        self._texts_gone = texts_gone or archive.texts_gone(day)
        self._path = archive.path_of(day + NEW)
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir(parents=True, mode=0o700)
        self._env = open_environment(self._path, map_size=archive.map_size)
        self._messages = self._env.open_db(b"message")
        self._recipients = self._env.open_db(b"recipient")
        self._told = self._env.open_db(b"told")
        self._table = 0  # messages, then recipients
        self._after = b""
        archive.watch(day)

    def step(self, rows: int = PORTION) -> bool:
        """Copy so many rows; False when all are there."""
        if self._table > 1:
            return False
        try:
            env, *tables = self._archive.opened(self.day)
            source = tables[self._table]
            with env.begin() as tx, tx.cursor(source) as cursor, self._env.begin(write=True) as out:
                self._copy(cursor, out, rows)
        except (lmdb.Error, OSError) as error:
            raise translated(error, self._path) from error
        return True

    def _copy(self, cursor: lmdb.Cursor[bytes], out: lmdb.Transaction[bytes], rows: int) -> None:
        there = cursor.set_range(self._after + b"\0") if self._after else cursor.first()
        target = (self._messages, self._recipients)[self._table]
        for _ in range(rows):
            if not there:
                self._table += 1
                self._after = b""
                return
            key, value = cursor.item()
            kept = self._kept(key, value) if not self._table else b"" if self._change.keeps(key) else None
            if kept is not None:
                out.put(key, kept, append=True, db=target)
            self._after = key
            there = cursor.next()

    def _kept(self, key: bytes, value: bytes) -> bytes | None:
        kept = self._change.row(key, value)
        self.changed += kept != value
        return kept

    def finish(self) -> bool:
        """It takes the old one's place. False: the day was dropped meanwhile, and this goes with it."""
        try:
            return self._archive.replace(self.day, self._path, self._last, self._close)
        except (lmdb.Error, OSError) as error:
            raise translated(error, self._path) from error

    def _last(self, ids: set[int]) -> None:
        """What was written to the old file since it was copied."""
        env, messages, _ = self._archive.opened(self.day)
        with env.begin() as tx, self._env.begin(write=True) as out:
            for id in sorted(ids):
                key = id.to_bytes(8, "big")
                value = tx.get(key, None, messages)
                kept = self._kept(key, value) if value is not None else None
                if kept is None:
                    continue
                out.put(key, kept, db=self._messages)
                row = _recipient_of(key, kept)
                if row and self._change.keeps(row):
                    out.put(row, b"", db=self._recipients)
            if self._texts_gone:
                out.put(TEXTS_GONE, b"", db=self._told)

    def _close(self) -> None:
        self._env.sync(True)
        self._env.close()
        sync_names(self._path, self._path.parent)

    def drop(self) -> None:
        """As if it had not begun."""
        self._archive.unwatch(self.day)
        self._env.close()
        shutil.rmtree(self._path, ignore_errors=True)


def _recipient_of(key: bytes, value: bytes) -> bytes:
    """The row by which a message's recipient leads to it; b"": it cannot be read, or has none any more."""
    try:
        message, _ = decode_pair(unseal(key, value))
    except (Damaged, msgspec.DecodeError):
        return b""
    if not message.destination:
        return b""
    return RECIPIENT.pack(number_of(message.destination), message.account, message.id)


def says(message: Message) -> bool:
    """Whether it has anything that its text is made of."""
    return bool(message.text or message.data or message.udh)


def exchange(one: Path, other: Path) -> None:
    """Two directories have each other's names, in one step where the file system can do that; else `one` is
    `one`.old for a moment. Errors: OSError."""
    if _renameat2 is not None:
        names = os.fsencode(one), os.fsencode(other)
        if not _renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE):
            return
        number = ctypes.get_errno()
        if number not in _NOT_THERE:
            raise OSError(number, os.strerror(number), str(other))
    aside = one.with_name(one.name + OLD)
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def tidy(directory: Path) -> None:
    """What a crash left of rewritings: each day is there once, as it was or as it is now."""
    for aside in directory.glob("*" + OLD):
        day = aside.with_name(aside.name.removesuffix(OLD))
        new = day.with_name(day.name + NEW)
        if not day.exists():
            (new if (new / DATA).is_file() else aside).rename(day)
        if aside.exists():
            shutil.rmtree(aside)
    for new in directory.glob("*" + NEW):
        shutil.rmtree(new)
