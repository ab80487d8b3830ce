"""Tables of numbers: prefixes, ported numbers and rate cards, each version an LMDB file of its own.

In data_dir/tables, `NAME.VERSION.mdb` is one import, written by store.table_build and never changed;
`NAME.json` says which version is in use. Taking another one into use is a rename of that record, so there is
the old table or the new one, also after a crash. The old file is unlinked: whoever still reads it keeps it
until done.

A look-up is one step in one tree. Prefixes are kept as ranges: under the beginning of each range of numbers,
all rows that apply to it, longest prefix first, so that the row at or before the number is the whole answer.

Invariants: a file that is in use was fsynced whole; look-ups take no lock, no memory that grows with the
table (pages of the file are the system's cache), and never wait for anything but those pages; memory of
decoded rows is bounded.

Deliberately not here: reading CSV (gateway.tables), what prices mean (router.rates), the message store.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from struct import Struct
from typing import Any, Literal

import lmdb
import msgspec

from router.knowledge import Network
from router.rates import Rate
from store.interface import StoreDamaged, StoreError
from store.layout import ENGINE, sync_names, translated

Kind = Literal["prefix", "mnp", "rates"]
KINDS: tuple[Kind, ...] = ("prefix", "mnp", "rates")
DIRECTORY = "tables"  # inside the data directory
FORMAT = 1
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
DATABASES = ("meta", "value", "prefix", "network", "number")
NUMBER_BYTES = 7  # of a whole number: 15 digits fit into 50 bits
ENTRY = Struct(">BI")  # of a chain: how many digits the key has, id of the row
ID = Struct(">I")

_SMALLEST = 8192  # two pages that say where everything is
_ROWS_CACHED = 50_000  # some 15 MB
_FILE = re.compile(r"(?P<name>.+)\.(?P<version>[0-9]{1,19})\.(mdb|partial)")
_ROW_OF: dict[str, type[Any]] = {"prefix": Network, "mnp": Network, "rates": Rate}


class TableFacts(msgspec.Struct, frozen=True):
    """What is known of one version. `bad` rows were left out, `repeated` ones replaced by later lines."""

    name: str
    kind: Kind
    version: int  # UTC milliseconds of its import
    rows: int
    source: str  # the file it was read from
    bad: int = 0
    repeated: int = 0
    prefixes: int = 0
    networks: int = 0
    numbers: int = 0
    size: int = 0  # bytes on disk
    currencies: tuple[str, ...] = ()  # of rates; () = imported before that was noted
    format: int = FORMAT


class Table:
    """One version, open. From one thread at a time. `path` is the file. Errors: StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            if size < _SMALLEST:
                raise StoreDamaged(f"{path} is no whole table", "import it again")
            self._env = lmdb.Environment(
                str(path),
                subdir=False,
                map_size=max(size, 1 << 20),
                max_dbs=len(DATABASES),
                max_spare_txns=2,
                readonly=True,
                create=False,
                lock=False,
                readahead=False,
                lib_version=ENGINE,
            )
        except (lmdb.Error, OSError) as error:
            raise _translated(error, path) from error
        try:
            self._open(size)
        except (lmdb.Error, msgspec.MsgspecError) as error:
            self._env.close()
            raise StoreDamaged(f"{path} is no whole table: {error}", "import it again") from error

    def _open(self, size: int) -> None:
        # Reading a page behind the end of a file that was cut short would end the process (SIGBUS).
        whole = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if size < whole:
            raise lmdb.CorruptedError(f"{size} bytes instead of {whole}")
        handles = {name: self._env.open_db(name.encode(), create=False) for name in DATABASES}
        # The file never changes, so one snapshot serves for as long as it is open.
        self._tx = self._env.begin()
        facts = self._tx.get(b"facts", None, handles["meta"])
        self.facts = msgspec.json.decode(facts or b"", type=TableFacts)
        if self.facts.format != FORMAT:
            raise msgspec.ValidationError(f"its format is {self.facts.format}, this release reads {FORMAT}")
        self.facts = msgspec.structs.replace(self.facts, size=size)
        self._values = handles["value"]
        self._networks = handles["network"]
        self._numbers = handles["number"]
        self._prefixes = self._tx.cursor(handles["prefix"])
        self._decode: Callable[[bytes], Network | Rate] = msgspec.msgpack.Decoder(
            _ROW_OF[self.facts.kind]
        ).decode
        self._of_networks = self.facts.kind != "rates"
        self._rows: dict[bytes, Network | Rate] = {}

    def close(self) -> None:
        """Nothing may use it any more. Unmapping a large file takes some milliseconds."""
        self._prefixes.close()
        self._tx.abort()
        self._env.close()

    def currencies(self) -> frozenset[str]:
        """Of all prices in a table of rates. Of one that was imported long ago every price is read."""
        if self.facts.currencies or self._of_networks:
            return frozenset(self.facts.currencies)
        with self._tx.cursor(self._values) as cursor:
            return frozenset(self._decode(row).currency for _, row in cursor.iternext())  # type: ignore[union-attr]

    def prepare(self) -> None:
        """Ask the system to read the file ahead of its use; returns at once."""
        if not hasattr(os, "posix_fadvise"):
            return
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)

    # look-ups

    def of_number(self, digits: str) -> Network | None:
        """The row of exactly this number, in a table of ported numbers."""
        try:
            key = int(digits).to_bytes(NUMBER_BYTES, "big")
        except (ValueError, OverflowError):
            return None
        found = self._tx.get(key, None, self._numbers)  # no numbers in a table of another kind
        return None if found is None else self._row(found)  # type: ignore[return-value]

    def of_prefix(self, digits: str) -> Network | None:
        """The row of the longest prefix that the number begins with."""
        chain = self._at(digits) if self._of_networks else b""
        return self._row(chain[1 : ENTRY.size]) if chain else None  # type: ignore[return-value]

    def by_prefix(self, digits: str) -> Iterator[tuple[str, Any]]:
        """(prefix, row) for every prefix that the number begins with, longest first (router.rates.Card)."""
        chain = self._at(digits)
        for at in range(0, len(chain), ENTRY.size):
            yield digits[: chain[at]], self._row(chain[at + 1 : at + ENTRY.size])

    def by_network(self, mcc_mnc: str) -> Iterator[tuple[str, Any]]:
        """The rows of exactly this MCC and MNC, or of an MCC alone."""
        chain = self._tx.get(mcc_mnc.encode(), b"", self._networks) if mcc_mnc else b""
        for at in range(0, len(chain), ENTRY.size):
            yield mcc_mnc, self._row(chain[at + 1 : at + ENTRY.size])

    def _at(self, digits: str) -> bytes:
        """What applies to the range of numbers that this one is in, as ENTRYs."""
        cursor = self._prefixes
        key = digits.encode()
        if cursor.set_range(key):
            if cursor.key() != key and not cursor.prev():
                return b""
        elif not cursor.last():
            return b""
        return cursor.value()

    def _row(self, id: bytes) -> Network | Rate:
        row = self._rows.get(id)
        if row is None:
            value = self._tx.get(id, None, self._values)
            if value is None:
                raise StoreDamaged(f"{self.path} has no row {ID.unpack(id)[0]}", "import it again")
            try:
                row = self._decode(value)
            except msgspec.MsgspecError as error:
                raise StoreDamaged(f"{self.path}: {error}", "import it again") from error
            if len(self._rows) >= _ROWS_CACHED:
                self._rows.clear()
            self._rows[id] = row
        return row


class Tables:
    """The tables of a data directory. Reading makes nothing; `install` and `drop` are for one process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: dict[str, Table | None] = {}

    def get(self, name: str) -> Table | None:
        """The version in use, open; None where there is none. Errors: StoreError where it is damaged."""
        try:
            return self._open[name]
        except KeyError:
            facts = self.facts(name)
            table = None if facts is None else Table(self.path(name, facts.version))
            self._open[name] = table
            return table

    def facts(self, name: str) -> TableFacts | None:
        """Of the version in use. Errors: StoreDamaged."""
        if not NAME.fullmatch(name):
            return None
        path = self._record(name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=TableFacts)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise StoreDamaged(f"{path} cannot be read: {error}", "import the table again") from error

    def all(self) -> list[TableFacts]:
        """Every table in use, by name."""
        if not self.directory.is_dir():
            return []
        names = sorted(path.name.removesuffix(".json") for path in self.directory.glob("*.json"))
        return [facts for name in names if (facts := self.facts(name)) is not None]

    def opened(self) -> list[tuple[str, Table]]:
        """What is open now, by name."""
        return [(name, table) for name, table in self._open.items() if table is not None]

    def path(self, name: str, version: int) -> Path:
        return self.directory / f"{name}.{version}.mdb"

    def lock_path(self, name: str) -> Path:
        """Held (flock) by whoever imports under this name."""
        return self.directory / f"{name}.lock"

    def record(self, table: Table) -> None:
        """Make a version the one in use after a restart, for good. For a thread: it fsyncs."""
        facts = table.facts
        path = self._record(facts.name)
        aside = path.with_suffix(".json.new")
        with aside.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(facts), indent=2))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
        sync_names(self.directory, self.directory.parent)

    def use(self, table: Table) -> Table | None:
        """Look-ups go to it from now on. Returns the one before, which nobody reads any more: close it."""
        before = self._open.get(table.facts.name)
        self._open[table.facts.name] = table
        return before

    def forget(self, name: str) -> Table | None:
        """The name is no table any more. Returns what was open, to be closed."""
        before = self._open.get(name)
        self._open[name] = None
        return before

    def unlink(self, name: str) -> None:
        """The record of a dropped table. For a thread: it fsyncs."""
        self._record(name).unlink(missing_ok=True)
        if self.directory.is_dir():
            sync_names(self.directory, self.directory.parent)

    def sweep(self, name: str, *, importing: bool = False, dropped: int = 0) -> int:
        """Unlink every version of a name that is not in use, and what imports left; says how many.

        For a thread, large files take a while. While another process imports under this name, what it writes
        stays: only versions before the one in use go, and those up to `dropped`. `importing`: the caller
        itself holds the import's lock.
        """
        with nullcontext(True) if importing else self._nobody_imports(name) as alone:
            return self._sweep(name, None if alone else dropped)

    @contextmanager
    def _nobody_imports(self, name: str) -> Iterator[bool]:
        """Holds the lock of imports, or says that somebody else does."""
        try:
            lock = os.open(self.lock_path(name), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield True
            return
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)

    def _sweep(self, name: str, dropped: int | None) -> int:
        """`dropped` None: everything that is not in use."""
        facts = self.facts(name)
        kept = None if facts is None else self.path(name, facts.version)
        last = max(dropped or 0, 0 if facts is None else facts.version)
        gone = 0
        for path in list(self.directory.glob(f"{name}.*")) if self.directory.is_dir() else ():
            found = _FILE.fullmatch(path.name)
            if found is None or found["name"] != name or path == kept:
                continue
            if dropped is None or (path.suffix == ".mdb" and int(found["version"]) <= last):
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    def close(self) -> None:
        while self._open:
            table = self._open.popitem()[1]
            if table is not None:
                table.close()

    def _record(self, name: str) -> Path:
        return self.directory / f"{name}.json"


def _translated(error: lmdb.Error | OSError, path: Path) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return StoreDamaged(f"{path} is missing", "import the table again")
    if isinstance(error, lmdb.InvalidError | lmdb.CorruptedError):
        return StoreDamaged(f"{path} is no table", "import it again")
    return translated(error, path)
