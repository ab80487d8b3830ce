"""The reading side of one stream.

A plain socket is read directly, as trio does it and with the same errors, limits and cancellation, but
without the four functions and two context managers that it passes through for each read. TLS and memory
streams are read as ever.

Deliberately not here: framing, when to read (the caller).
"""

from __future__ import annotations

import os

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled, wait_readable


class Inlet:
    """For one reader at a time."""

    __slots__ = ("_fileno", "_stream")

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._fileno = stream.socket.fileno if isinstance(stream, trio.SocketStream) else None

    async def receive_some(self, most: int) -> bytes:
        """Up to `most` octets, b"" at the end. Errors: as of the stream."""
        if self._fileno is None:
            return bytes(await self._stream.receive_some(most))
        await checkpoint_if_cancelled()
        waited = False
        while True:
            descriptor = self._fileno()  # each time: that of a closed socket may be another's by now
            if descriptor < 0:
                raise trio.ClosedResourceError("this socket was already closed")
            try:
                data = os.read(descriptor, most)
            except BlockingIOError:
                await wait_readable(descriptor)
                waited = True
                continue
            except OSError as error:
                raise trio.BrokenResourceError(f"socket connection broken: {error}") from error
            if not waited:
                await cancel_shielded_checkpoint()
            return data
