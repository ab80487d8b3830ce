"""The writing side of one connection: answers in the order of their requests, many in one send.

Invariants: `queue` holds what is unanswered or unwritten, in request order. A socket is written directly,
without a task, as long as it takes everything; what it does not take, and everything for other streams,
goes through the one `_drain` task; never both at a time.

Deliberately not here: rendering (answer.py), reading, deciding when to close (connection.py).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio

from gateway.http.answer import CONTINUE
from gateway.http.settings import HttpSettings

_CHUNK_BYTES = 65_536


class Pending(Protocol):
    """A request's place in the order; `out` is None until it is answered."""

    out: bytes | None


class Interim:
    """100 Continue in the queue, so that it stays behind the answers before it."""

    __slots__ = ("out",)

    def __init__(self) -> None:
        self.out: bytes | None = CONTINUE


class Answers:
    """`fd` is the stream's socket, or -1. `gone()` is called once when the peer cannot be written to."""

    def __init__(
        self, stream: trio.abc.Stream, fd: int, settings: HttpSettings, gone: Callable[[], None]
    ) -> None:
        self.queue: deque[Pending] = deque()
        self.dead = False
        self._stream = stream
        self._fd = fd
        self._settings = settings
        self._gone = gone
        self._unsent = bytearray()
        self._draining = False
        self._nursery: trio.Nursery | None = None
        self._changed = trio.Event()

    def open(self, nursery: trio.Nursery) -> None:
        """`nursery` is where a slow peer's drain task runs."""
        self._nursery = nursery

    def close(self) -> None:
        """Write nothing any more."""
        self.dead = True
        self._fd = -1
        self.queue.clear()

    @property
    def done(self) -> bool:
        """Everything asked is answered and written."""
        return not self.queue and not self._unsent

    @property
    def room(self) -> bool:
        """May more requests be taken?"""
        settings = self._settings
        return len(self.queue) < settings.max_pipelined and len(self._unsent) <= settings.max_unsent_bytes

    async def changed(self) -> None:
        """Wait until something was written (or cannot be). One waiter: the connection's reader."""
        self._changed = trio.Event()
        await self._changed.wait()

    def flush(self) -> None:
        """Write every answer that is ready and whose predecessors are."""
        queue = self.queue
        if not queue or queue[0].out is None or self.dead:
            return
        ready: list[bytes] = []
        while queue:
            out = queue[0].out
            if out is None:
                break
            ready.append(out)
            queue.popleft()
        self.write(ready[0] if len(ready) == 1 else b"".join(ready))

    def write(self, data: bytes) -> None:
        """Bytes whose turn has come."""
        self._write(data)
        if not self._draining:
            self._changed.set()

    def _write(self, data: bytes) -> None:
        if self._draining:
            self._unsent += data
            return
        sent = 0
        if self._fd >= 0:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                pass
            except OSError:
                self._broken()
                return
            if sent == len(data):
                return
        self._unsent += memoryview(data)[sent:]
        self._draining = True
        assert self._nursery is not None
        self._nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        while self._unsent:
            chunk = bytes(self._unsent[:_CHUNK_BYTES])
            try:
                with trio.fail_after(self._settings.write_timeout_s):
                    await self._stream.send_all(chunk)
            except (OSError, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
                self._broken()
                return
            del self._unsent[: len(chunk)]
            self._changed.set()
        self._draining = False
        self._changed.set()

    def _broken(self) -> None:
        self.close()
        self._changed.set()
        self._gone()
