"""Finished messages by the day of their id: one environment a day, dropped as files by retention.

A batch moves in three steps, so that nothing blocks the loop and a crash between them only repeats work:
`finished.pick` (reads the hot store), `write` (fsynced into the day's environment, in a worker thread),
`finished.forget` (a verb of the next transaction). Day environments are opened, written and dropped here and
nowhere else, by one thread at a time; reading makes nothing. Where texts go before their messages
(options.texts_ms), those that are that old are archived without theirs, and whole days are rewritten
(rewriting.py).

Deliberately not here: when to move (gateway.timers).
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import msgspec

from router.nouns import Message, Progress
from store import customer, rewriting
from store.ids import first_id_at, ms_of
from store.layout import DATA, open_environment, sync_names, translated
from store.records import (
    RECIPIENT,
    decode_pair,
    encode,
    number_of,
)
from store.values import HEAD_SIZE, Damaged, seal, unseal

if TYPE_CHECKING:
    from store.finished import Finished
    from store.options import StoreOptions


_MOST_LOOKED_AT = 1_000_000  # some seconds
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_RETIRED_S = 60.0  # how long a file that was replaced stays open for those who read it just then


Numbered = tuple[int, tuple[Message, Progress] | None]  # a message by its id; None where it cannot be read


class Archive:
    """The dated environments under `directory`."""

    def __init__(self, directory: Path, options: StoreOptions, *, readonly: bool = False) -> None:
        """`readonly`: beside the process that writes; call `refresh` now and then."""
        self._readonly = readonly
        self._files: dict[str, int] = {}  # readonly: which file each open day is
        self._directory = directory
        self._options = options
        self._open: dict[str, tuple[lmdb.Environment, lmdb._Database, lmdb._Database]] = {}
        self._lasting: set[str] = set()  # days whose names are certain to last through a power cut
        self._changing = threading.RLock()
        self._written: dict[str, set[int]] = {}  # day that is being rewritten → ids written to it meanwhile
        self._retired: list[tuple[float, lmdb.Environment]] = []  # replaced files, and when they were
        if not readonly and directory.is_dir():
            rewriting.tidy(directory)

    def days(self) -> list[str]:
        return [day for day in self._names() if self._has(day)]

    def find(self, id: int, account: int | None = None) -> tuple[Message, Progress] | None:
        """By id alone, or only if it is this account's."""
        day = _day_of(id)
        if not self._has(day):
            return None
        try:
            env, messages, _ = self._environment(day)
        except lmdb.NotFoundError:
            return None  # readonly: a day without its first message yet
        with env.begin() as tx:
            value = tx.get(id.to_bytes(8, "big"), None, messages)
        if value is None:
            return None
        try:
            message, progress = decode_pair(unseal(id.to_bytes(8, "big"), value))
        except (Damaged, msgspec.DecodeError):
            return None
        return (message, progress) if account in (None, message.account) else None

    def page(self, after: int, to: int, limit: int) -> list[Numbered]:
        """Of all accounts' with after < id < to the first, in order; None for one that cannot be read."""
        found: list[Numbered] = []
        first = _day_of(after)
        with self._changing:
            for day in self.days():
                if day >= first and len(found) < limit:
                    self._page_of_day(day, after, to, limit, found)
        return found

    def forward(self, after: int, to: int) -> Iterator[Numbered]:
        """Of all accounts' with after < id <= to, the oldest first; None for one that cannot be read."""
        for day in self.days():
            if _day_of(max(after, 0)) <= day <= _day_of(to):
                yield from self._walk(day, after, to, newest_first=False)

    def backward(self, after: int, to: int) -> Iterator[Numbered]:
        """The same, the newest first."""
        for day in reversed(self.days()):
            if _day_of(max(after, 0)) <= day <= _day_of(to):
                yield from self._walk(day, after, to, newest_first=True)

    def _walk(self, day: str, after: int, to: int, *, newest_first: bool) -> Iterator[Numbered]:
        try:
            env, messages, _ = self._environment(day)
        except lmdb.NotFoundError:
            return  # readonly: a day without its first message yet
        with env.begin() as tx, tx.cursor(messages) as cursor:
            if newest_first:
                there = cursor.prev() if cursor.set_range((to + 1).to_bytes(8, "big")) else cursor.last()
            else:
                there = cursor.set_range((after + 1).to_bytes(8, "big"))
            while there:
                key, value = cursor.item()
                id = int.from_bytes(key, "big")
                if not after < id <= to:
                    return
                try:
                    pair = decode_pair(unseal(key, value))
                except (Damaged, msgspec.DecodeError):
                    pair = None
                yield id, pair
                there = cursor.prev() if newest_first else cursor.next()

    def refresh(self) -> None:
        """Readonly: give up what was dropped since."""
        for day, file in list(self._files.items()):
            path = self._directory / day / DATA
            if not path.is_file() or path.stat().st_ino != file:
                del self._files[day]
                self._open.pop(day)[0].close()

    def _page_of_day(
        self,
        day: str,
        after: int,
        to: int,
        limit: int,
        found: list[Numbered],
    ) -> None:
        env, messages, _ = self._environment(day)
        with env.begin() as tx, tx.cursor(messages) as cursor:
            there = cursor.set_range((after + 1).to_bytes(8, "big"))
            while there and len(found) < limit:
                key, value = bytes(cursor.key()), bytes(cursor.value())
                id = int.from_bytes(key, "big")
                if id >= to:
                    return
                try:
                    found.append((id, decode_pair(unseal(key, value))))
                except (Damaged, msgspec.DecodeError):
                    found.append((id, None))
                there = cursor.next()

    def latest_to(self, recipient: str, sender: str, since_ms: int) -> tuple[int, int] | None:
        """(account, id) of the newest archived message from `sender` to `recipient`."""
        number = number_of(recipient).to_bytes(8, "big")
        oldest = _day_of(first_id_at(since_ms))
        for day in reversed(self.days()):
            if day < oldest:
                break
            env, messages, recipients = self._environment(day)
            with env.begin() as tx, tx.cursor(recipients) as cursor:
                rows = _prefixed(cursor, number)
                for row in sorted(rows, key=lambda key: -RECIPIENT.unpack(key)[2]):
                    _, account, id = RECIPIENT.unpack(row)
                    if ms_of(id) < since_ms:
                        break
                    value = tx.get(id.to_bytes(8, "big"), None, messages)
                    if value is None:
                        continue
                    message, _ = decode_pair(value[5:])
                    if message.destination == recipient and message.source == sender:
                        return account, id
        return None

    def accepted_since(self, account: int, since_ms: int, limit: int) -> list[Message]:
        """An account's archived messages with ids from then on, newest first; looks at _MOST_LOOKED_AT."""
        first = first_id_at(since_ms).to_bytes(8, "big")
        oldest = _day_of(first_id_at(since_ms))
        found: list[Message] = []
        left = _MOST_LOOKED_AT
        for day in reversed(self.days()):
            if day < oldest:
                break
            env, messages, _ = self._environment(day)
            with env.begin() as tx, tx.cursor(messages) as cursor:
                for key, value in cursor.iterprev():
                    if key < first or len(found) >= limit or left <= 0:
                        return found
                    left -= 1
                    with suppress(Damaged, msgspec.DecodeError):
                        if _whose.decode(value[HEAD_SIZE:])[0].account == account:
                            found.append(decode_pair(unseal(key, value))[0])
        return found

    def write(self, rows: Sequence[Finished]) -> None:
        """Fsync these into their days, names and all. Repeating it changes nothing. Errors: StoreError."""
        by_day: dict[str, list[tuple[Message, Progress]]] = {}
        for row in rows:
            if row.message is not None and row.progress is not None:
                by_day.setdefault(_day_of(row.message.id), []).append((row.message, row.progress))
        with self._changing:
            for day, pairs in by_day.items():
                try:
                    self._write_day(day, pairs)
                except (lmdb.Error, OSError) as error:
                    raise translated(error, self._directory / day) from error

    def _write_day(self, day: str, pairs: list[tuple[Message, Progress]]) -> None:
        env, messages, recipients = self._environment(day)
        says = False
        with env.begin(write=True) as tx:
            for message, progress in map(self._aged, pairs):
                says = says or rewriting.says(message)
                key = message.id.to_bytes(8, "big")
                tx.put(key, seal(key, encode((message, progress))), db=messages)
                row_key = RECIPIENT.pack(number_of(message.destination), message.account, message.id)
                tx.put(row_key, b"", db=recipients)
        if day in self._written:
            self._written[day].update(message.id for message, _ in pairs)
        if says and self.texts_gone(day):
            with env.begin(write=True) as tx:
                tx.delete(rewriting.TEXTS_GONE, db=env.open_db(b"told", txn=tx))
        if day not in self._lasting:
            sync_names(self._directory / day, self._directory.parent)
            self._lasting.add(day)

    def _aged(self, pair: tuple[Message, Progress]) -> tuple[Message, Progress]:
        """Without what it said, if that is to be gone already."""
        message, progress = pair
        if not self._options.texts_ms or not rewriting.says(message):
            return pair
        now_ms = self._options.clock()
        if ms_of(message.id) + self._options.texts_ms > now_ms:
            return pair
        return customer.redacted(message, progress, now_ms, rewriting.OF_AGE)

    # days that are written anew (rewriting.py)

    @property
    def map_size(self) -> int:
        return self._options.archive_map_size

    def path_of(self, day: str) -> Path:
        return self._directory / day

    def opened(self, day: str) -> tuple[lmdb.Environment, lmdb._Database, lmdb._Database]:
        """Its environment, messages and recipients. Errors: lmdb.Error."""
        return self._environment(day)

    def texts_gone(self, day: str) -> bool:
        """Whether it is known that no message of this day says anything any more."""
        env, _, _ = self._environment(day)
        try:
            told = env.open_db(b"told", create=False)
        except lmdb.NotFoundError:
            return False
        with env.begin() as tx:
            return tx.get(rewriting.TEXTS_GONE, None, told) is not None

    def days_with_old_texts(self, now_ms: int) -> list[str]:
        """Days in which every text is to be gone, and may be there."""
        kept_ms = self._options.texts_ms
        if not kept_ms:
            return []
        past = _day_of(first_id_at(max(0, now_ms - kept_ms)))  # the texts of this day may stay, in part
        return [day for day in self.days() if day < past and not self.texts_gone(day)]

    def watch(self, day: str) -> None:
        """From now on it is known what is written to this day."""
        with self._changing:
            self._written[day] = set()

    def unwatch(self, day: str) -> None:
        with self._changing:
            self._written.pop(day, None)

    def replace(
        self, day: str, new: Path, last: Callable[[set[int]], None], close: Callable[[], None]
    ) -> bool:
        """The file in `new` is the day's from now on, after `last` has put in what was written since `watch`,
        and `close`. False: there is no such day any more."""
        with self._changing:
            there = self._has(day)
            if there:
                last(self._written.pop(day))
            self.unwatch(day)
            close()
            if there:
                rewriting.exchange(self._directory / day, new)
                sync_names(self._directory / day, self._directory)
                self._retired.append((time.monotonic(), self._open.pop(day)[0]))
            shutil.rmtree(new)
            self._close_retired(time.monotonic() - _RETIRED_S)
        return there

    def _close_retired(self, before: float) -> None:
        while self._retired and self._retired[0][0] <= before:
            self._retired.pop(0)[1].close()

    def copy(self, day: str, directory: Path) -> None:
        """A compact copy of one day."""
        self._environment(day)[0].copy(str(directory), compact=True)

    def drop_before(self, now_ms: int, retention_days: int) -> list[str]:
        """Unlink days older than the retention. Returns their names."""
        oldest = day_before(now_ms, retention_days)
        dropped = [day for day in self._names() if day < oldest]
        with self._changing:
            for day in dropped:
                if day in self._open:
                    self._open.pop(day)[0].close()
                self._lasting.discard(day)
                shutil.rmtree(self._directory / day)
            self._close_retired(time.monotonic() - _RETIRED_S)
        return dropped

    def close(self) -> None:
        self._close_retired(float("inf"))
        while self._open:
            self._open.popitem()[1][0].close()

    def _environment(self, day: str) -> tuple[lmdb.Environment, lmdb._Database, lmdb._Database]:
        known = self._open.get(day)
        return self._opened(day) if known is None else known

    def _opened(self, day: str) -> tuple[lmdb.Environment, lmdb._Database, lmdb._Database]:
        """Two threads may need a day first at once; LMDB forbids opening a file twice in a process."""
        with self._changing:
            if day not in self._open:
                path = self._directory / day
                if self._readonly:
                    self._open[day] = self._opened_to_read(day, path)
                    return self._open[day]
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
                env = open_environment(path, map_size=self._options.archive_map_size)
                self._open[day] = (env, env.open_db(b"message"), env.open_db(b"recipient"))
            return self._open[day]

    def _opened_to_read(
        self, day: str, path: Path
    ) -> tuple[lmdb.Environment, lmdb._Database, lmdb._Database]:
        """Errors: lmdb.NotFoundError while nothing has been written into it."""
        file = (path / DATA).stat().st_ino
        env = open_environment(path, map_size=self._options.archive_map_size, readonly=True)
        try:
            names = b"message", b"recipient"
            messages, recipients = (env.open_db(name, create=False) for name in names)
        except BaseException:
            env.close()
            raise
        self._files[day] = file
        return env, messages, recipients

    def _names(self) -> list[str]:
        """Every day's directory, also one that a power cut left without its file."""
        if not self._directory.is_dir():
            return []
        entries = self._directory.iterdir()
        return sorted(one.name for one in entries if _DAY.fullmatch(one.name) and one.is_dir())

    def _has(self, day: str) -> bool:
        return (self._directory / day / DATA).is_file()


class _Whose(msgspec.Struct, array_like=True, gc=False):
    """The beginning of a Message."""

    id: int
    account: int


_whose = msgspec.msgpack.Decoder(tuple[_Whose, msgspec.Raw])


def _day_of(id: int) -> str:
    return datetime.fromtimestamp(ms_of(id) / 1000, UTC).strftime("%Y-%m-%d")


def day_before(now_ms: int, days: int) -> str:
    """The day that was so many days ago."""
    return (datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(days=days)).strftime("%Y-%m-%d")


def _prefixed(cursor: lmdb.Cursor[bytes], prefix: bytes) -> list[bytes]:
    if not cursor.set_range(prefix):
        return []
    found = []
    for key in cursor.iternext(values=False):
        if not key.startswith(prefix):
            break
        found.append(key)
    return found
