"""Writes one version of a table: rows in any order become sorted pages of an LMDB file.

Rows are sorted outside memory (runs of _RUN rows in an unnamed file, merged) and appended in order, so memory
is bounded however many rows come, except for what differs between rows: operators' names and prices, each
kept once. The file gets its name when it is whole and fsynced. One import of a name at a time: a lock that
the kernel gives up when the process ends.

Deliberately not here: reading CSV (gateway.tables), taking a version into use (store.tables).
"""

from __future__ import annotations

import fcntl
import heapq
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import lmdb
import msgspec

from router.knowledge import Network
from router.rates import Rate
from store.interface import BadRows, StoreBusy, StoreFull
from store.layout import ENGINE, free_disk, prepare_directory, sync_names, translated
from store.options import StoreOptions
from store.tables import DATABASES, ENTRY, ID, NUMBER_BYTES, Kind, TableFacts, Tables

Progress = Callable[[int], None]  # rows written

_MAP_SIZE = 1 << 40  # address space while writing
_RUN = 250_000  # rows sorted in memory at a time
_BATCH = 20_000  # rows in one transaction
MOST_DATES = 64  # prices of one key: each longer prefix repeats what applies to it
_NETWORK, _NUMBER, _PREFIX = b"m", b"n", b"p"  # order of writing
_DIGITS = 15
_KEY = 1 + _DIGITS  # which of them and 15 digits, filled up with NUL
_INVERTED = (1 << 63) - 1
_LINES = (1 << 40) - 1
_ROW = _KEY + 8 + 5 + 4  # key, latest first, last line first, id


class Builder:
    """One import. Errors: StoreBusy while another one of this name runs, StoreError (full disk…).

    A context manager: what was not finished leaves nothing behind. The lock is held until the block ends.
    """

    def __init__(self, directory: Path, name: str, kind: Kind, version: int, *, left_free: int = 0) -> None:
        """`left_free`: bytes of the disk that stay free, else it stops with StoreFull."""
        self._left_free = left_free
        self._written = 0  # bytes
        self._name, self._kind, self._version = name, kind, version
        self._tables = Tables(directory)
        self._partial = directory / f"{name}.{version}.partial"
        prepare_directory(directory, StoreOptions())
        self._lock = os.open(self._tables.lock_path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreBusy(f"another import of {name} is under way", "wait for it") from None
        self._tables.sweep(name, importing=True)
        self._ids: dict[Network | Rate, int] = {}
        self._tails: list[bytes] = []  # of each id: what sorts the latest first
        self._rows: list[bytes] = []
        self._runs: list[tuple[int, int]] = []  # where each begins and ends in the file
        self._file: BinaryIO = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 -- closed with the builder
        self._lines = 0
        self.counts = {"prefixes": 0, "networks": 0, "numbers": 0, "repeated": 0}

    def __enter__(self) -> Builder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)
        os.close(self._lock)

    @property
    def rows(self) -> int:
        return self._lines

    # taking rows

    def add_prefix(self, digits: str, row: Network | Rate) -> None:
        """Numbers that begin so. Of two rows with the same digits and `from_ms` the later one counts."""
        self._add(_PREFIX, digits, row)

    def add_network(self, mcc_mnc: str, row: Network | Rate) -> None:
        """An MCC and MNC, or an MCC alone."""
        self._add(_NETWORK, mcc_mnc, row)

    def add_number(self, digits: str, row: Network) -> None:
        """Exactly this number."""
        self._add(_NUMBER, digits.zfill(_DIGITS), row)  # in the order of whole numbers, as the file has them

    def _add(self, what: bytes, digits: str, row: Network | Rate) -> None:
        id = self._ids.get(row)
        if id is None:
            id = self._ids[row] = len(self._tails)
            since = row.from_ms if isinstance(row, Rate) else 0
            self._tails.append((_INVERTED - since).to_bytes(8, "big"))
        self._lines += 1
        line = (_LINES - self._lines).to_bytes(5, "big")
        self._rows.append((what + digits.encode()).ljust(_KEY, b"\0") + self._tails[id] + line + ID.pack(id))
        if len(self._rows) >= _RUN:
            self._spill()

    def _spill(self) -> None:
        self._rows.sort()
        self._need_room(len(self._rows) * _ROW)
        start = self._file.tell()
        for at in range(0, len(self._rows), 10_000):
            self._file.write(b"".join(self._rows[at : at + 10_000]))
        self._runs.append((start, self._file.tell()))
        self._rows.clear()

    def _need_room(self, size: int) -> None:
        """Before so many bytes more are written. Errors: StoreFull."""
        self._written += size
        free = free_disk(self._tables.directory) if self._left_free else 0
        if self._left_free and free < self._left_free + size:
            raise StoreFull(
                f"the import stopped after {self._written - size >> 20:,} MiB: the disk of"
                f" {self._tables.directory} has {free >> 20:,} MiB free",
                "free space there: new messages are refused when it is full",
            )

    # writing

    def finish(self, source: str, bad: int = 0, progress: Progress = lambda rows: None) -> TableFacts:
        """Write everything, fsync it and give the file its name. Errors: StoreError."""
        path = self._tables.path(self._name, self._version)
        try:
            with lmdb.Environment(
                str(self._partial),
                subdir=False,
                map_size=_MAP_SIZE,
                max_dbs=len(DATABASES),
                lock=False,
                sync=False,
                metasync=False,
                mode=0o600,
                lib_version=ENGINE,
            ) as env:
                self._write(env, progress)
                facts = self._facts(source, bad)
                with env.begin(write=True, db=env.open_db(b"meta")) as tx:
                    tx.put(b"facts", msgspec.json.encode(facts))
                env.sync(True)
            self._partial.rename(path)
            sync_names(path.parent, path.parent)
        except (lmdb.Error, OSError) as error:
            raise translated(error, self._tables.directory) from error
        return msgspec.structs.replace(facts, size=path.stat().st_size)

    def _facts(self, source: str, bad: int) -> TableFacts:
        counts = self.counts
        rows = counts["prefixes"] + counts["networks"] + counts["numbers"]
        currencies = tuple(sorted({row.currency for row in self._ids if isinstance(row, Rate)}))
        return TableFacts(
            self._name, self._kind, self._version, rows, source, bad, **counts, currencies=currencies
        )

    def _write(self, env: lmdb.Environment, progress: Progress) -> None:
        handles = {name: env.open_db(name.encode()) for name in DATABASES}
        encode = msgspec.msgpack.Encoder().encode
        values = ((ID.pack(id), encode(row)) for row, id in self._ids.items())
        self._append(env, handles["value"], values)
        self._ids.clear()
        told = _Told(progress)
        for what, rows in groupby(self._sorted(), key=lambda row: row[:1]):
            chains = self._chains(rows, told)
            if what == _NUMBER:
                self._append(env, handles["number"], self._packed_numbers(chains))
            elif what == _NETWORK:
                self._append(env, handles["network"], self._networks(chains))
            else:
                self._append(env, handles["prefix"], _ranges(self._prefixes(chains)))

    def _sorted(self) -> Iterator[bytes]:
        if not self._runs:
            self._rows.sort()
            return iter(self._rows)
        if self._rows:
            self._spill()
        self._file.flush()
        return heapq.merge(*(self._run(start, end) for start, end in self._runs))

    def _run(self, start: int, end: int) -> Iterator[bytes]:
        descriptor = self._file.fileno()
        for at in range(start, end, _ROW * 4096):
            piece = os.pread(descriptor, min(_ROW * 4096, end - at), at)
            yield from (piece[one : one + _ROW] for one in range(0, len(piece), _ROW))

    def _chains(self, rows: Iterable[bytes], told: _Told) -> Iterator[tuple[bytes, list[bytes]]]:
        """(digits, ids of its rows, the latest first)."""
        for key, group in groupby(rows, key=lambda row: row[:_KEY]):
            ids: list[bytes] = []
            since = b""
            for row in group:
                told.count()
                if row[_KEY : _KEY + 8] == since:
                    self.counts["repeated"] += 1
                    continue
                since = row[_KEY : _KEY + 8]
                ids.append(row[-4:])
                if len(ids) > MOST_DATES:
                    digits = key[1:].rstrip(b"\0").decode()
                    raise BadRows(
                        f"{digits} has more than {MOST_DATES} prices, each from another date",
                        "leave out those that are over; a card may hold so many for each key",
                    )
            yield key[1:].rstrip(b"\0"), ids

    def _packed_numbers(self, chains: Iterable[tuple[bytes, list[bytes]]]) -> Iterator[tuple[bytes, bytes]]:
        for digits, ids in chains:
            self.counts["numbers"] += 1
            yield int(digits).to_bytes(NUMBER_BYTES, "big"), ids[0]

    def _networks(self, chains: Iterable[tuple[bytes, list[bytes]]]) -> Iterator[tuple[bytes, bytes]]:
        for digits, ids in chains:
            self.counts["networks"] += len(ids)
            yield digits, _entries(len(digits), ids)

    def _prefixes(self, chains: Iterable[tuple[bytes, list[bytes]]]) -> Iterator[tuple[bytes, bytes]]:
        for digits, ids in chains:
            self.counts["prefixes"] += len(ids)
            yield digits, _entries(len(digits), ids)

    def _append(
        self, env: lmdb.Environment, handle: lmdb._Database, items: Iterator[tuple[bytes, bytes]]
    ) -> None:
        """Sorted items, in transactions of bounded size.

        Each is written out at once: one fsync of everything at the end would hold up the message store's,
        where both are on one disk.
        """
        take: Callable[[], list[tuple[bytes, bytes]]] = partial(_batch, items)
        for batch in iter(take, []):
            self._need_room(sum(len(key) + len(value) for key, value in batch))
            with env.begin(write=True) as tx, tx.cursor(handle) as cursor:
                cursor.putmulti(batch, append=True)
            env.sync(True)


class _Told:
    """Tells of every so many rows."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows = 0

    def count(self) -> None:
        self._rows += 1
        if self._rows % 10_000 == 0:
            self._progress(self._rows)


def _entries(length: int, ids: Iterable[bytes]) -> bytes:
    return b"".join(ENTRY.pack(length, *ID.unpack(id)) for id in ids)


def _ranges(prefixes: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """(beginning of a range of numbers, what applies to all of it), from prefixes in order.

    A prefix inside another begins a range that has both, and where it ends the outer one's goes on.
    """
    inside: list[tuple[bytes, bytes]] = []  # prefixes around here, each with all that applies to it
    held: tuple[bytes, bytes] | None = None  # the last range: another may begin at the same place
    said = b""

    def ends(before: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        while inside and (before is None or not before.startswith(inside[-1][0])):
            end = _after(inside.pop()[0])
            if end is not None:
                yield end, inside[-1][1] if inside else b""

    def begun(prefix: bytes, own: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from ends(prefix)
        whole = own + (inside[-1][1] if inside else b"")
        inside.append((prefix, whole))
        yield prefix, whole

    def all_ranges() -> Iterator[tuple[bytes, bytes]]:
        for prefix, own in prefixes:
            yield from begun(prefix, own)
        yield from ends(None)

    for one in all_ranges():
        if held is not None and held[0] != one[0] and held[1] != said:
            yield held
            said = held[1]
        held = one
    if held is not None and held[1] != said:
        yield held


def _after(prefix: bytes) -> bytes | None:
    """The first digits behind all numbers that begin so; None behind 999."""
    stripped = prefix.rstrip(b"9")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else None


def _batch(items: Iterator[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return list(islice(items, _BATCH))
