"""Files of records: rotating, appended to, each record there exactly once, also over a crash.

DIRECTORY/cdr-YYYYMMDDTHHMMSSZ-NUMBER.jsonl, and .csv beside it if wanted. The one that is written has
`.part` behind its name, and is renamed when it is whole: whoever collects files takes those without. A
`Mark` says how far everything is durable: what was read, which file, how long it is. It is kept by whoever
follows, in the store, after the file was fsynced; what is behind it in the file when it is opened again is
cut off and written once more.

Invariants: a file without `.part` never changes, but that a number which is erased gets stars, as many as it
had digits, so that every line stays at its place; the mark never names what is not on the disk.

Deliberately not here: what a record says (gateway.cdr_lines), what is followed (gateway.cdrs).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec

from store.layout import sync_names

if TYPE_CHECKING:
    from store.person import Number

DIRECTORY = "cdr"  # inside the data directory
PART = ".part"

_NAME = re.compile(r"cdr-([0-9]{8}T[0-9]{6}Z)-([0-9]{6,12})\.jsonl(\.part)?")
_TIME = "%Y%m%dT%H%M%SZ"
_STARRED = ("to", "from", "client_ref")  # what may have a number in it


class Mark(msgspec.Struct, array_like=True, frozen=True):
    """How far records are durable. Stored: fields are only appended."""

    key: bytes = b""  # of the last row of `finished` whose messages have their lines
    number: int = 0  # of the file that is written; 0: none yet
    opened_ms: int = 0
    size: int = 0  # of the .jsonl
    csv_size: int = 0


class File(NamedTuple):
    """One of them. `path` is the .jsonl, with .part while it is written."""

    number: int
    opened_ms: int
    path: Path
    whole: bool


def files(directory: Path) -> list[File]:
    """By number."""
    found = []
    for path in directory.glob("cdr-*.jsonl*") if directory.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        if name is not None:
            opened = datetime.strptime(name[1], _TIME).replace(tzinfo=UTC)
            found.append(File(int(name[2]), int(opened.timestamp() * 1000), path, name[3] is None))
    return sorted(found)


class Writer:
    """Appends in one thread at a time. Errors: OSError, after which it is made anew from the last mark."""

    def __init__(self, directory: Path, mark: Mark, *, columns: Sequence[str] = ()) -> None:
        """`columns`: headings of the CSV; () = there is none."""
        self._directory = directory
        self._columns = columns
        self.mark = mark
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_names(directory.parent, directory.parent)
        self._settle()

    def _settle(self) -> None:
        """After a start: what is behind the mark goes; a file that was renamed already is whole."""
        mark, known = self.mark, files(self._directory)
        part = next((one for one in known if one.number == mark.number and not one.whole), None)
        for one in known:
            if not one.whole and one is not part:
                if one.number == mark.number + 1:  # nothing of it was marked
                    one.path.unlink()
                    self._csv_of(one.path).unlink(missing_ok=True)
                else:  # of a store that was another one
                    one.path.rename(one.path.with_name(one.path.name.removesuffix(PART)))
        if part is None or not mark.opened_ms:
            last = max((one.number for one in files(self._directory)), default=0)
            self.mark = Mark(mark.key, max(mark.number, last))
            return
        csv_part = self._csv_of(part.path)
        whole = csv_part.with_name(csv_part.name.removesuffix(PART))
        if whole.exists():  # the end came between two renamings
            whole.rename(csv_part)
        os.truncate(part.path, mark.size)
        if csv_part.exists():
            os.truncate(csv_part, mark.csv_size)

    def append(
        self, key: bytes, lines: Sequence[bytes], rows: Sequence[Sequence[object]], now_ms: int
    ) -> Mark:
        """Write and fsync. Returns the mark to be kept; `lines` end without a newline."""
        mark = self.mark
        if not mark.opened_ms:
            mark = Mark(mark.key, mark.number + 1, now_ms)
        data = b"".join(line + b"\n" for line in lines)
        _write(Path(self._path(mark) + PART), mark.size, data)
        size, csv_size = mark.size + len(data), mark.csv_size
        if self._columns:
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\r\n")
            if not csv_size:
                writer.writerow(self._columns)
            writer.writerows(rows)
            told = text.getvalue().encode()
            _write(Path(self._csv(mark) + PART), csv_size, told)
            csv_size += len(told)
        if not mark.size:
            sync_names(self._directory, self._directory)
        self.mark = Mark(key, mark.number, mark.opened_ms, size, csv_size)
        return self.mark

    def rotate(self) -> None:
        """The file is whole: the next append begins another one. The mark that was kept still names it."""
        mark = self.mark
        if not mark.opened_ms:
            return
        if Path(self._csv(mark) + PART).exists():
            os.rename(self._csv(mark) + PART, self._csv(mark))
        os.rename(self._path(mark) + PART, self._path(mark))
        sync_names(self._directory, self._directory)
        self.mark = Mark(mark.key, mark.number)

    def drop_before(self, before_ms: int) -> list[str]:
        """Whole files that another one has followed since before then; their names."""
        known = files(self._directory)
        dropped = []
        for one, following in pairwise(known):
            if not one.whole or following.opened_ms >= before_ms:
                break
            one.path.unlink()
            self._csv_of(one.path).unlink(missing_ok=True)
            dropped.append(one.path.name)
        return dropped

    def _path(self, mark: Mark) -> str:
        opened = datetime.fromtimestamp(mark.opened_ms / 1000, UTC).strftime(_TIME)
        return str(self._directory / f"cdr-{opened}-{mark.number:06d}.jsonl")

    def _csv(self, mark: Mark) -> str:
        return self._path(mark).removesuffix(".jsonl") + ".csv"

    def _csv_of(self, path: Path) -> Path:
        return path.with_name(path.name.replace(".jsonl", ".csv"))


def star_out(one: File, number: Number) -> int:
    """Stars for this number in a file's records, and in its CSV's; how many records were changed.

    No writer may have it open; each file is replaced in one step by one of the same length. Errors: OSError.
    """
    changed = _rewritten(one.path, lambda file: _starred_lines(file, number), number)
    table = one.path.with_name(one.path.name.replace(".jsonl", ".csv"))
    if table.exists():
        _rewritten(table, lambda file: _starred_rows(file, number), number)
    return changed


def record_of(line: bytes, number: Number) -> dict[str, Any] | None:
    """A line's record, if it is about this number."""
    if not number.is_in(line):
        return None
    try:
        record: dict[str, Any] = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return record if number.is_it(str(record.get("to")), str(record.get("from"))) else None


def _starred_lines(file: BinaryIO, number: Number) -> Iterator[tuple[bytes, bool]]:
    """Its lines, and whether each is another one now."""
    for line in file:
        record = record_of(line, number)
        if record is None:
            yield line, False
            continue
        changed = line
        for name in _STARRED:
            told = msgspec.json.encode({name: record.get(name, "")})[1:-1]
            changed = changed.replace(told, number.starred_bytes(told), 1)
        yield changed, changed != line


def _starred_rows(file: BinaryIO, number: Number) -> Iterator[tuple[bytes, bool]]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    heads: list[str] = []
    for row in csv.reader(text):
        heads = heads or row
        cells = dict(zip(heads, row, strict=False))
        changed = row
        if number.is_it(cells.get("to", ""), cells.get("from", "")):
            changed = [
                number.starred(row[at]) if heads[at] in _STARRED else row[at] for at in range(len(row))
            ]
        told = io.StringIO(newline="")
        csv.writer(told, lineterminator="\r\n").writerow(changed)
        yield told.getvalue().encode(), changed != row
    text.detach()


def _rewritten(path: Path, lines: Callable[[BinaryIO], Iterator[tuple[bytes, bool]]], number: Number) -> int:
    with path.open("rb") as file:
        if not any(number.is_in(line) for line in file):
            return 0
        file.seek(0)
        aside = path.with_name(path.name + ".tmp")
        count = 0
        with aside.open("wb") as new:
            os.chmod(aside, path.stat().st_mode & 0o777)
            for line, changed in lines(file):
                new.write(line)
                count += changed
            new.flush()
            os.fsync(new.fileno())
    if aside.stat().st_size != path.stat().st_size:
        aside.unlink()
        raise OSError(f"{path} is not what was written there; it was left as it is")
    os.replace(aside, path)
    sync_names(path.parent, path.parent)
    return count


class Place(NamedTuple):
    """Where a reader is: a file, and an offset in it."""

    number: int = 0
    offset: int = 0


BEGINNING = Place()


def read(directory: Path, since_ms: int = 0, place: Place = BEGINNING) -> Iterator[tuple[Place, bytes]]:
    """(the place behind it, the line) of every record from a place on, oldest first; whole lines only.

    Files that were whole before `since_ms` are left out. A file may go by retention meanwhile.
    """
    known = files(directory)
    for at, one in enumerate(known):
        following = known[at + 1].opened_ms if at + 1 < len(known) else None
        if one.number < place.number or (following is not None and following < since_ms):
            continue
        offset = place.offset if one.number == place.number else 0
        yield from _lines(one, offset)


def _lines(one: File, offset: int) -> Iterator[tuple[Place, bytes]]:
    path = one.path
    if not path.exists():  # renamed since it was listed
        path = path.with_name(path.name.removesuffix(PART))
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield Place(one.number, offset), line


def _write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(at)
        file.truncate()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
