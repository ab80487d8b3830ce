"""A server that takes callbacks in any format, on a port of a test's memory world.

Deliberately not here: whole gateways (house), the pump alone (tests/gateway/callbacks/outside.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import trio

from tests.gateway.house import MemoryWorld


class Got(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


def answer(body: bytes = b"", status: int = 200, *headers: str) -> bytes:
    """What a server says."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Receiver:
    """`got` holds every request; `say` makes the answer to each, 200 without a body at first."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.say: Callable[[Got], bytes] = lambda got: answer()

    async def listen(self, world: MemoryWorld, nursery: trio.Nursery, port: int = 9001) -> str:
        """Its URL."""
        nursery.start_soon(trio.serve_listeners, self._carry, await world.listen("127.0.0.1", port))
        return f"http://127.0.0.1:{port}"

    async def _carry(self, stream: trio.abc.Stream) -> None:
        data = b""
        async with stream:
            while True:
                head, separator, rest = data.partition(b"\r\n\r\n")
                first, *lines = head.decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
                length = int(headers.get("content-length", "0"))
                if separator and len(rest) >= length:
                    method, path, _ = first.split(" ")
                    got = Got(method, path, headers, rest[:length], trio.current_time())
                    self.got.append(got)
                    data = rest[length:]
                    await stream.send_all(self.say(got))
                    continue
                try:
                    more = await stream.receive_some(65536)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                if not more:
                    return
                data += more
