"""The disk of any moment, rebuilt from what images.c recorded: what is on it for certain, and what may be.

A write reaches the disk when it likes, in sectors of 512 octets, each in any version it had since the last
sync; a sync of the file, or writing through O_DSYNC, makes it certain. A name (created, removed, renamed)
reaches the disk when it likes, or with a sync of its directory; nothing else makes it certain, although some
file systems are kinder. A file may be as long as it will be before its octets have come: they read as zero.

Deliberately not here: which moments (images.py), what must be found in an image (judge.py).
"""

from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
PAGE_SECTORS = 8
Image = dict[str, bytes | None]  # path → octets, None for a directory
_HEAD = struct.Struct("<ccHIQ")


class Record(NamedTuple):
    """One call. W write, S sync, C create, D mkdir, U unlink or rmdir, R rename, T truncate, M msync."""

    kind: str
    lasting: bool  # certain as soon as it returned
    path: str
    offset: int
    data: bytes


class Unmodelled(Exception):
    """The process did something to its files that this model does not know."""


def records(log: Path) -> Iterator[Record]:
    """The log from its beginning."""
    with log.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        at = 0
        while at < len(view):
            kind, flag, path_size, size, offset = _HEAD.unpack_from(view, at)
            at += _HEAD.size + path_size
            path = view[at - path_size : at].decode()
            yield Record(kind.decode(), flag == b"\x01", path, offset, view[at : at + size])
            at += size


def pack(record: Record) -> bytes:
    """A record as it stands in the log."""
    path = record.path.encode()
    head = _HEAD.pack(
        record.kind.encode(), bytes((record.lasting,)), len(path), len(record.data), record.offset
    )
    return head + path + record.data


class File:
    """Octets as the process sees them, as the disk surely has them, and each sector's versions between."""

    def __init__(self) -> None:
        self.live = bytearray()
        self.durable = bytearray()
        self.versions: dict[int, list[bytes]] = {}  # sector → what it was since the last sync, oldest first

    def write(self, offset: int, data: bytes, lasting: bool) -> None:
        end = offset + len(data)
        if end > len(self.live):
            self.live.extend(bytes(end - len(self.live)))
        self.live[offset:end] = data
        for sector in range(offset // SECTOR, -(-end // SECTOR)):
            content = bytes(self.live[sector * SECTOR : (sector + 1) * SECTOR])
            if lasting:
                self.versions.pop(sector, None)
                _put(self.durable, sector, content)
            else:
                self.versions.setdefault(sector, []).append(content)

    def sync(self) -> None:
        for sector, contents in self.versions.items():
            _put(self.durable, sector, contents[-1])
        self.versions.clear()

    def some(self, rng: random.Random) -> bytearray:
        """What is certain and any of what is not: by page or by sector, little or nearly all of it."""
        content = bytearray(self.durable)
        granule = rng.choice((1, PAGE_SECTORS))
        share = rng.choice((0.1, 0.5, 0.9))
        arrived: dict[int, bool] = {}
        for sector, contents in self.versions.items():
            if arrived.setdefault(sector // granule, rng.random() < share):
                _put(content, sector, contents[-1] if rng.random() < 0.8 else rng.choice(contents))
        if len(content) < len(self.live) and rng.random() < 0.5:
            content.extend(bytes(len(self.live) - len(content)))
        return content


class Directory:
    """Names as the process sees them and as the disk has them for certain."""

    def __init__(self) -> None:
        self.live: dict[str, File | Directory] = {}
        self.durable: dict[str, File | Directory] = {}

    def sync(self) -> None:
        self.durable = dict(self.live)

    def some(self, rng: random.Random) -> dict[str, File | Directory]:
        names = dict(self.durable)
        for name in sorted(self.live.keys() | self.durable.keys()):
            if self.live.get(name) is not self.durable.get(name) and rng.random() < 0.5:
                if name in self.live:
                    names[name] = self.live[name]
                else:
                    del names[name]
        return names


class Disk:
    """Everything below the recorded directory. The directory itself is certain."""

    def __init__(self) -> None:
        self.root = Directory()

    def feed(self, record: Record) -> None:
        """One thing the process did. Errors: Unmodelled."""
        match record.kind:
            case "W":
                self._file(record.path).write(record.offset, record.data, record.lasting)
            case "S":
                self._node(record.path).sync()
            case "C":
                self._enter(record.path, File())
            case "D":
                self._enter(record.path, Directory())
            case "U":
                directory, name = self._place(record.path)
                del directory.live[name]
            case "R":
                directory, name = self._place(record.path)
                self._enter(record.data.decode(), directory.live.pop(name))
            case _:
                raise Unmodelled(f"{record.kind} of {record.path}")

    def certain(self) -> Image:
        """What a power cut leaves at least."""
        return dict(_walk(self.root, "", None))

    def some(self, rng: random.Random) -> Image:
        """What a power cut may leave as well: any part of what no sync has made certain yet."""
        return dict(_walk(self.root, "", rng))

    def uncertain(self) -> int:
        """How many sectors and names may or may not be on the disk."""
        return _uncertain(self.root)

    def seen(self) -> Image:
        """What the process itself sees."""
        return dict(_walk(self.root, "", None, live=True))

    def _enter(self, path: str, node: File | Directory) -> None:
        directory, name = self._place(path)
        directory.live[name] = node

    def _place(self, path: str) -> tuple[Directory, str]:
        parent, _, name = path.rpartition("/")
        directory = self._node(parent or ".")
        assert isinstance(directory, Directory)
        return directory, name

    def _node(self, path: str) -> File | Directory:
        node: File | Directory = self.root
        for name in path.split("/") if path != "." else ():
            assert isinstance(node, Directory)
            node = node.live[name]
        return node

    def _file(self, path: str) -> File:
        node = self._node(path)
        assert isinstance(node, File)
        return node


def _put(content: bytearray, sector: int, octets: bytes) -> None:
    start = sector * SECTOR
    if start > len(content):
        content.extend(bytes(start - len(content)))
    content[start : start + len(octets)] = octets


def _uncertain(directory: Directory) -> int:
    names = directory.live.keys() | directory.durable.keys()
    count = sum(directory.live.get(name) is not directory.durable.get(name) for name in names)
    for node in directory.live.values():
        count += len(node.versions) if isinstance(node, File) else _uncertain(node)
    return count


def _walk(
    directory: Directory, prefix: str, rng: random.Random | None, *, live: bool = False
) -> Iterator[tuple[str, bytes | None]]:
    names = directory.live if live else directory.durable if rng is None else directory.some(rng)
    for name, node in names.items():
        path = prefix + name
        if isinstance(node, Directory):
            yield path, None
            yield from _walk(node, path + "/", rng, live=live)
        elif live:
            yield path, bytes(node.live)
        else:
            yield path, bytes(node.durable if rng is None else node.some(rng))
