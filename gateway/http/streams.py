"""A request whose body is taken, and whose answer is given, piece by piece: of any length, in bounded memory.

An endpoint that wants one is an `Opener`: it looks at the head, then hands back a `Taker`, which gets the
body's bytes as they come and writes to an `Outflow` whenever it has something to say, also while the body
still arrives. A `Taker` that has enough says so (`ready`), and nothing more is read from the peer until then.
Its time limits are those of what it calls a unit (a line): see `Taker.begun`.

Invariants: a stream is the last in its connection's queue until it is answered, so what it says goes out in
one piece with nothing between; what is written to a peer that has gone is dropped.

Deliberately not here: reading and writing sockets (connection.py, answers.py), what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gateway.http.chunked import Chunked

if TYPE_CHECKING:
    from gateway.http.head import Head
    from gateway.http.problems import BadRequest
    from gateway.http.request import Request

_ANY_SIZE = 1 << 60


class Taker(Protocol):
    """What takes a stream. None of these may wait or raise: what is wrong is said in the answer (`cut`)."""

    def take(self, data: bytes) -> None:
        """The next bytes of the body."""

    def ready(self) -> bool:
        """Go on with what was taken; whether more is wanted now."""

    @property
    def begun(self) -> bool:
        """A unit has begun and is not whole: it has body_timeout_s, counted from its beginning."""

    @property
    def units(self) -> int:
        """How many were whole."""

    def end(self) -> None:
        """That was the body."""

    def cut(self, why: BadRequest) -> None:
        """There will be no more of it: say so once everything taken is answered."""


Opener = Callable[["Request", "Outflow"], Taker]  # errors: BadRequest, answered instead


class Outflow:
    """The answer of one stream: `write` as often as you like, then `finish`.

    `head` is what goes before the first byte; `chunked` False: to a peer of HTTP/1.0, for whom the end of the
    connection is the end of the answer. `changed` is called when there is something to send.
    """

    __slots__ = ("_changed", "_chunked", "_head", "_said", "broken", "finished", "gone", "out")

    def __init__(self, head: Callable[[], bytes], chunked: bool, changed: Callable[[], None]) -> None:
        self.out: bytes | None = None  # as a place in the queue: never whole before it is finished
        self.finished = False
        self.broken = False
        self.gone = False
        self._head: Callable[[], bytes] | None = head
        self._chunked = chunked
        self._changed = changed
        self._said = bytearray()

    def write(self, data: bytes) -> None:
        """Some of the body, not empty."""
        if self.finished or self.gone:
            return
        self._begin()
        self._said += b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
        self._changed()

    def finish(self) -> None:
        """That was all."""
        if self.finished or self.gone:
            return
        self._begin()
        self.finished = True
        if self._chunked:
            self._said += b"0\r\n\r\n"
        self._changed()

    def break_off(self) -> None:
        """It cannot be finished: the connection ends without an end of the answer, so that it shows."""
        if not (self.finished or self.gone):
            self.broken = True
            self._changed()

    def _begin(self) -> None:
        if self._head is not None:
            self._said += self._head()
            self._head = None

    @property
    def waiting(self) -> int:
        """Bytes that are not handed to the socket yet, because of answers before it."""
        return len(self._said)

    def taken(self) -> bytes:
        """What there is to send now."""
        said = bytes(self._said)
        self._said.clear()
        return said


class Inflow:
    """The body of one stream: framing off, bytes to its taker."""

    __slots__ = ("_chunked", "_left", "ended", "taker")

    def __init__(self, head: Head, taker: Taker) -> None:
        self.taker = taker
        self.ended = False
        self._left = head.length
        self._chunked = Chunked(_ANY_SIZE) if head.length < 0 else None

    def feed(self, data: bytes, position: int) -> int:
        """Take bytes; the position after the body, or -1 for more. Errors: BadRequest."""
        chunked = self._chunked
        if chunked is not None:
            try:
                end = chunked.feed(data, position)
            finally:  # what came before a chunk that is none counts
                piece = bytes(chunked.body)
                chunked.body.clear()
                if piece:
                    self.taker.take(piece)
                    self.taker.ready()
            piece = b""
            self.ended = end >= 0
        else:
            end = min(position + self._left, len(data))
            piece = data[position:end]
            self._left -= len(piece)
            self.ended = not self._left
        if piece:
            self.taker.take(piece)
        if not self.ended:
            return -1
        self.taker.end()
        return end
