"""The writing side of one stream: sends at once while the socket takes it, else from one writer task.

Invariant: only this object writes to the stream, in the order of `write` calls, so no cancelled task can
leave half a PDU. Plain sockets are written to directly, without a task switch; TLS and memory streams go
through `run`. What waits is bounded: above `limit` the peer is not reading and the stream is given up.

Deliberately not here: framing, answers, when to flush (the caller joins what belongs together).
"""

from __future__ import annotations

import os

import trio

_LAST_WORDS_S = 1.0


class PeerNotReading(Exception):
    """More than `limit` bytes wait for a peer that does not read."""


class Outlet:
    """`write` is synchronous and never blocks; `run` must be running in the stream's nursery."""

    __slots__ = ("_closed", "_descriptor", "_limit", "_out", "_stream", "_waiting", "_wake", "failed")

    def __init__(self, stream: trio.abc.SendStream, limit: int = 16 << 20) -> None:
        self._stream = stream
        self._descriptor = stream.socket.fileno() if isinstance(stream, trio.SocketStream) else -1
        self._waiting: list[bytes] = []
        self._wake = trio.Event()
        self._limit = limit
        self._closed = False
        self._out = trio.Event()
        self.failed = False

    def write(self, data: bytes) -> None:
        """Queue or send `data`. A broken stream is noticed by its reader; here it only sets `failed`."""
        if self.failed or self._closed or not data:
            return
        if self._descriptor >= 0 and not self._waiting:
            data = self._send_now(data)
            if not data:
                return
        self._waiting.append(data)
        if len(self._waiting) > 64 and sum(map(len, self._waiting)) > self._limit:
            self.failed = True
        self._wake.set()

    def _send_now(self, data: bytes) -> bytes:
        try:
            sent = os.write(self._descriptor, data)
        except BlockingIOError:
            return data
        except OSError:
            self.failed = True
            self._wake.set()
            return b""
        return data[sent:] if sent < len(data) else b""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what could not be sent at once. Errors: PeerNotReading, BrokenResourceError."""
        task_status.started()
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if self.failed:
                raise PeerNotReading
            while self._waiting:
                data = b"".join(self._waiting)
                # Kept in the list while it is being sent, so that `write` does not overtake it.
                self._waiting[:] = [data]
                await self._stream.send_all(data)
                del self._waiting[0]
            if self._closed:
                self._out.set()
                return

    async def last_words(self) -> None:
        """Close, and give `run` a moment to send what still waits (an unbind_resp, a generic_nack)."""
        self.close()
        if self._waiting:
            with trio.move_on_after(_LAST_WORDS_S):
                await self._out.wait()

    @property
    def drained(self) -> bool:
        return not self._waiting

    def close(self) -> None:
        """No more writes; `run` returns once what waits is out. The caller closes the stream."""
        self._closed = True
        self._descriptor = -1
        self._wake.set()
