"""The files of the search index: an LMDB environment a day, of runs that are written once.

A run holds what can be searched of up to RUN messages in the order of their ids: their ids and accounts, and
for each kind of term its 32-bit hashes, sorted, with the places of the messages they stand for. A run is
appended whole; nothing is ever inserted between others. `through` is the id up to which a day is indexed.
Hashes may collide: whoever asks looks at the message itself.

Invariants: a day's runs follow each other without a gap from the day's first id to `through`; a value that
fails its CRC makes the whole day Spoilt, and a day can always be thrown away and built again from the
messages. CRCs are looked at when there is time (`verify`), not by look-ups, which touch a few pages of a run:
what is wrong until then hides a message and never shows a wrong one. Numbers are in the machine's own byte
order: `form` says which, and another one is built again.

Deliberately not here: reading messages (search_source), what to build when (search_build), queries (search).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

import lmdb

from store.ids import first_id_at, ms_of
from store.interface import StoreBusy, StoreError, StoreFull
from store.layout import DATA, free_disk, open_environment, sync_names, translated
from store.values import HEAD_SIZE, Damaged, seal, unseal

if TYPE_CHECKING:
    from router.nouns import Message

RUN = 65_536  # messages; places are 16 bits
TO, SENDER, ACCOUNT, CLIENT_REF, TAG = range(5)
KINDS = 5
_IDS, _ACCOUNTS, _TERMS = 0, 1, 2  # columns; of each kind two: hashes, places
_MAP_SIZE = 1 << 34  # address space: 400 million messages a day
_DAY_MS = 86_400_000
_READ_AHEAD = 1 << 30  # octets: 30 million messages
_FORM = b"1 " + sys.byteorder.encode()
_THROUGH, _FORM_NAME = b"through", b"form"


class Spoilt(Exception):
    """A day's file cannot be trusted: build it again."""

    def __init__(self, day: str) -> None:
        super().__init__(day)
        self.day = day


def day_of(id: int) -> str:
    return datetime.fromtimestamp(ms_of(id) / 1000, UTC).strftime("%Y-%m-%d")


def first_of(day: str) -> int:
    """The lowest id of a day."""
    return first_id_at(int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000)


def last_of(day: str) -> int:
    """The highest id of a day."""
    return first_of(day) + first_id_at(_DAY_MS) - 1


def term(text: str) -> int:
    """What stands for a number, a sender, a reference or a tag."""
    return crc32(text.encode("utf-8", "surrogatepass"))


class Run(Protocol):
    """Messages in the order of their ids; `places` in that order, too."""

    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def accounts(self) -> Sequence[int]: ...
    def places(self, kind: int, term: int) -> Sequence[int]: ...


Wanted = Sequence[tuple[int, Sequence[int]]]  # (kind, its terms, any of them): all kinds must fit


def chosen(run: Run, wanted: Wanted, low: int, high: int) -> Sequence[int]:
    """Places of messages with low < id <= high that may fit, the newest first."""
    ids = run.ids
    first = 0 if ids[0] > low else bisect_right(ids, low)
    end = len(ids) if ids[-1] <= high else bisect_right(ids, high)
    if not wanted:
        return range(end - 1, first - 1, -1)
    left: set[int] | None = None
    for kind, terms in wanted:
        found: set[int] = set()
        for one in terms:
            found.update(run.places(kind, one))
        left = found if left is None else left & found
        if not left:
            return ()
    return sorted((place for place in left or () if first <= place < end), reverse=True)


class OpenRun:
    """A run in memory that still grows; `through`: the id up to which it is whole."""

    def __init__(self, through: int) -> None:
        self.through = through
        self.ids = array("Q")
        self.accounts = array("I")
        self._hashes = [array("I") for _ in range(KINDS)]
        self._places = [array("H") for _ in range(KINDS)]
        self._packed: list[tuple[int, bytes]] = []
        self._to_pack = 0  # the kind that comes next

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, message: Message) -> None:
        """Ids must grow, and there must be less than RUN of them."""
        place = len(self.ids)
        self.ids.append(message.id)
        self.accounts.append(message.account)
        self._add(TO, term(message.destination), place)
        self._add(SENDER, term(message.source), place)
        self._add(ACCOUNT, message.account, place)
        if message.client_ref:
            self._add(CLIENT_REF, term(message.client_ref), place)
        for tag in set(message.tags):
            self._add(TAG, term(tag), place)

    def _add(self, kind: int, hash: int, place: int) -> None:
        self._hashes[kind].append(hash)
        self._places[kind].append(place)

    def places(self, kind: int, term: int) -> Sequence[int]:
        pairs = zip(self._hashes[kind], self._places[kind], strict=True)
        return [place for hash, place in pairs if hash == term]

    def pack(self) -> bool:
        """One more kind is sorted, some 25 ms; False when all are. Nothing is added any more."""
        if self._to_pack == KINDS:
            return False
        hashes, places = self._hashes[self._to_pack], self._places[self._to_pack]
        if hashes:
            pairs = sorted([hash << 16 | place for hash, place in zip(hashes, places, strict=True)])
            number = _TERMS + 2 * self._to_pack
            self._packed.append((number, array("I", [pair >> 16 for pair in pairs]).tobytes()))
            self._packed.append((number + 1, array("H", [pair & 0xFFFF for pair in pairs]).tobytes()))
        self._to_pack += 1
        return True

    def columns(self) -> Iterator[tuple[int, bytes]]:
        """Number and bytes of each column that is not empty."""
        while self.pack():
            pass
        yield _IDS, self.ids.tobytes()
        yield _ACCOUNTS, self.accounts.tobytes()
        yield from self._packed


class _StoredRun:
    """A run of a file, good as long as its read transaction is."""

    def __init__(self, day: _Day, tx: lmdb.Transaction[Any], first: bytes) -> None:
        self._day, self._tx, self._first = day, tx, first
        self.ids: Sequence[int] = self._column(_IDS, "Q")
        self.accounts: Sequence[int] = self._column(_ACCOUNTS, "I")

    def places(self, kind: int, term: int) -> Sequence[int]:
        hashes = self._column(_TERMS + 2 * kind, "I")
        start = _find(hashes, term)
        if start == len(hashes) or hashes[start] != term:
            return ()
        end = start + 1
        if end < len(hashes) and hashes[end] == term:
            end = bisect_right(hashes, term, start)
        places = self._column(_TERMS + 2 * kind + 1, "H")
        return places[start:end].tolist()

    def _column(self, number: int, form: str) -> memoryview:
        value = self._tx.get(self._first + bytes((number,)), None, self._day.runs)
        if value is None:
            return memoryview(b"").cast(form)  # type: ignore[call-overload, no-any-return]
        try:
            return value[HEAD_SIZE:].cast(form)  # type: ignore[no-any-return]
        except TypeError:
            raise Spoilt(self._day.name) from None


_NEAR = 1_024  # places around the one where a hash should be: at most two pages


def _find(hashes: Sequence[int], term: int) -> int:
    """As bisect_left. Hashes spread evenly, so it is mostly near the place that its value says."""
    size = len(hashes)
    guess = term * size >> 32
    low, high = max(0, guess - _NEAR), min(size, guess + _NEAR)
    if (low == 0 or hashes[low] < term) and (high == size or hashes[high] >= term):
        return bisect_left(hashes, term, low, high)
    return bisect_left(hashes, term)


class _Day:
    """One open environment."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.env = open_environment(path, map_size=_MAP_SIZE)
        try:
            info, stat = self.env.info(), self.env.stat()
            if (path / DATA).stat().st_size < (info["last_pgno"] + 1) * stat["psize"]:
                raise Spoilt(name)  # cut off: to read behind its end would kill the process
            self.runs = self.env.open_db(b"run")
            self.meta = self.env.open_db(b"meta")
            self.unseen = self._runs()  # whose CRCs nobody has looked at yet
            with self.env.begin(db=self.meta) as tx:
                form, through = self._meta(tx, _FORM_NAME), self._meta(tx, _THROUGH)
            if form not in (b"", _FORM):
                raise Spoilt(name)
            self.through = int(through) if through else first_of(name) - 1
        except BaseException:
            self.env.close()
            raise

    def _meta(self, tx: lmdb.Transaction[bytes], name: bytes) -> bytes:
        value = tx.get(name)
        try:
            return b"" if value is None else unseal(name, value)
        except Damaged:
            raise Spoilt(self.name) from None

    def put(self, run: OpenRun, through: int) -> None:
        with self.env.begin(write=True) as tx:
            if run:
                first = run.ids[0].to_bytes(8, "big")
                for number, column in run.columns():
                    key = first + bytes((number,))
                    tx.put(key, seal(key, column), append=True, db=self.runs)
            for name, value in ((_FORM_NAME, _FORM), (_THROUGH, b"%d" % through)):
                tx.put(name, seal(name, value), db=self.meta)
        self.through = through

    def _runs(self) -> list[bytes]:
        """The first ids of its runs, the newest last."""
        with self.env.begin() as tx, tx.cursor(self.runs) as cursor:
            return sorted({key[:8] for key in cursor.iternext(values=False)})

    def verify(self) -> bool:
        """The CRCs of one more run, the newest first; False when that was all. Errors: Spoilt."""
        if not self.unseen:
            return False
        first = self.unseen.pop()
        with self.env.begin() as tx, tx.cursor(self.runs) as cursor:
            there = cursor.set_range(first)
            while there and cursor.key()[:8] == first:
                try:
                    unseal(*cursor.item())
                except Damaged:
                    raise Spoilt(self.name) from None
                there = cursor.next()
        return True


class SearchFiles:
    """The days under `directory`. One process at a time, one thread at a time. Errors: StoreBusy."""

    def __init__(self, directory: Path, *, left_free: int = 0) -> None:
        """`left_free`: bytes of the disk that stay free, else `append` raises StoreFull."""
        self._directory = directory
        self._left_free = left_free
        self._open: dict[str, _Day] = {}
        self._lasting: set[str] = set()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(directory / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreBusy(f"{directory} is in use by another process", "wait for it to end") from None
        self._read_ahead()

    def _read_ahead(self) -> None:
        """Have the newest files read into memory, so that the first look-ups do not wait for the disk."""
        left = _READ_AHEAD
        for day in reversed(self.days()):
            path = self._directory / day / DATA
            left -= path.stat().st_size
            if left < 0:
                return
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].env.close()
        os.close(self._lock)

    def days(self) -> list[str]:
        """In order."""
        return sorted(path.parent.name for path in self._directory.glob(f"*/{DATA}"))

    def through(self, day: str) -> int:
        """Up to which id the day is indexed for good; the one before its first: nothing. Errors: Spoilt."""
        if day not in self._open and not (self._directory / day / DATA).is_file():
            return first_of(day) - 1
        return self._day(day).through

    @contextmanager
    def runs(self, day: str, high: int) -> Iterator[Iterator[tuple[int, Run]]]:
        """(first id, run) of those that begin at `high` or below, the newest first; good inside the block."""
        if day not in self._open and not (self._directory / day / DATA).is_file():
            yield iter(())
            return
        opened = self._day(day)
        with opened.env.begin(buffers=True) as tx, tx.cursor(opened.runs) as cursor:
            yield self._walk(opened, tx, cursor, high)

    def _walk(
        self, day: _Day, tx: lmdb.Transaction[Any], cursor: lmdb.Cursor[Any], high: int
    ) -> Iterator[tuple[int, Run]]:
        at = (high + 1).to_bytes(8, "big")
        while cursor.prev() if cursor.set_range(at) else cursor.last():
            at = bytes(cursor.key())[:8]
            yield int.from_bytes(at, "big"), _StoredRun(day, tx, at)

    def append(self, day: str, run: OpenRun, through: int) -> None:
        """Behind the day's other runs, for good. Errors: StoreError, StoreFull, Spoilt."""
        if self._left_free and free_disk(self._directory) < self._left_free:
            raise StoreFull("the search index waits: the data disk is nearly full", "free space on it")
        try:
            self._day(day).put(run, through)
            if day not in self._lasting:
                sync_names(self._directory / day, self._directory.parent)
                self._lasting.add(day)
        except lmdb.KeyExistsError:
            raise Spoilt(day) from None
        except (lmdb.Error, OSError) as error:
            raise translated(error, self._directory / day) from error

    def verify(self) -> bool:
        """Look after one more run; False when all are sound. Errors: Spoilt."""
        return any(self._day(day).verify() for day in reversed(self.days()))

    def discard(self, day: str) -> None:
        """Throw a day away."""
        opened = self._open.pop(day, None)
        if opened is not None:
            opened.env.close()
        self._lasting.discard(day)
        shutil.rmtree(self._directory / day, ignore_errors=True)

    def drop_before(self, day: str) -> list[str]:
        """Retention: days before this one go; their names."""
        dropped = [one for one in self.days() if one < day]
        for one in dropped:
            self.discard(one)
        return dropped

    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._directory.glob(f"*/{DATA}"))

    def _day(self, day: str) -> _Day:
        opened = self._open.get(day)
        if opened is None:
            path = self._directory / day
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                opened = self._open[day] = _Day(day, path)
            except StoreFull:
                raise
            except (StoreError, lmdb.Error) as error:
                raise Spoilt(day) from error
        return opened
