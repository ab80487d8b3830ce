"""The process that builds the index of messages and answers searches, beside the gateway that writes them.

It reads frames from its standard input and writes frames to its standard output (four octets of length, then
msgpack); between them it builds, a portion at a time. It ends when its input does, so it never outlives its
gateway. It opens the store to read; what it writes is the index alone, which nobody else opens meanwhile.

Deliberately not here: starting it and asking it (gateway.searching), what a search is (store.search).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from store.interface import StoreBusy, StoreError
from store.options import StoreOptions
from store.search import Facts, Page, Query, Search

_NICE = 10
_LENGTH = 4
_READ = 65_536
_LONGEST = 64 << 20
_KEEP_EVERY_MS = 3_600_000
_BUSY_S = 20.0  # how long a predecessor that is ending is waited for


class Wish(msgspec.Struct):
    """What it is started with, as JSON in its first argument."""

    path: str  # of the store
    map_size: int
    archive_map_size: int
    min_free_disk: int
    retention_days: int


class Follow(msgspec.Struct, tag="follow"):
    """Everything up to the id `settled` may be indexed, `again` from the beginning; answered by Facts."""

    settled: int
    now_ms: int
    again: tuple[str, ...] = ()  # days


class Find(msgspec.Struct, tag="find"):
    number: int
    query: Query


class Found(msgspec.Struct, tag="found"):
    number: int
    page: Page | None
    problem: str = ""


class Told(msgspec.Struct, tag="told"):
    facts: Facts


Asked = Follow | Find
Said = Found | Told

encode = msgspec.msgpack.Encoder().encode
decode_asked = msgspec.msgpack.Decoder(Asked).decode
decode_said = msgspec.msgpack.Decoder(Said).decode


def frame(message: Asked | Said) -> bytes:
    raw = encode(message)
    return len(raw).to_bytes(_LENGTH, "big") + raw


class Frames:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Errors: ValueError for what is no frame."""
        data, at = self._rest + data, 0
        while len(data) - at >= _LENGTH:
            end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
            if end - at > _LONGEST:
                raise ValueError("a frame is too long")
            if len(data) < end:
                break
            yield data[at + _LENGTH : end]
            at = end
        self._rest = data[at:]


def main(wish: Wish, ours: int = 0, theirs: int = 1) -> None:
    """Serve until the input ends. Errors: StoreError."""
    search = _opened(wish)
    frames = Frames()
    kept_ms = 0
    try:
        while True:
            busy = search.builder.step()
            if not select.select([ours], [], [], 0 if busy else None)[0]:
                continue
            data = os.read(ours, _READ)
            if not data:
                return
            for raw in frames.feed(data):
                asked = decode_asked(raw)
                if isinstance(asked, Find):
                    _say(theirs, _found(search, asked))
                    continue
                if asked.now_ms - kept_ms > _KEEP_EVERY_MS:
                    kept_ms = asked.now_ms
                    search.keep(asked.now_ms, wish.retention_days)
                search.refresh()
                for day in asked.again:
                    search.builder.discard(day)
                search.builder.follow(asked.settled)
                _say(theirs, Told(search.facts()))
    except BrokenPipeError:
        return
    finally:
        search.close()


def _opened(wish: Wish) -> Search:
    options = StoreOptions(
        map_size=wish.map_size,
        archive_map_size=wish.archive_map_size,
        min_free_disk=wish.min_free_disk,
    )
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            return Search.beside(Path(wish.path), options)
        except StoreBusy:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


def _found(search: Search, asked: Find) -> Found:
    try:
        return Found(asked.number, search.find(asked.query))
    except StoreError as error:
        return Found(asked.number, None, str(error))


def _say(theirs: int, said: Said) -> None:
    raw = memoryview(frame(said))
    while raw:
        raw = raw[os.write(theirs, raw) :]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the whole terminal: the gateway ends us by our input
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(_NICE)
    try:
        main(msgspec.json.decode(sys.argv[1], type=Wish))
    except StoreError as refused:
        sys.exit(f"search: {refused}")
