"""A server on memory streams, and a client that says exactly the bytes it is told.

Deliberately not an HTTP client: what a test sends and gets is on the page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import trio
import trio.testing

from gateway.http.access import Access
from gateway.http.auth import Keys
from gateway.http.routes import Guard, Respond, Routes
from gateway.http.server import HttpServer
from gateway.http.settings import HttpSettings
from gateway.http.views import Views
from store.interface import AuditEntry

WALL_MS = 1_900_000_000_123

JSON = (("Content-Type", "application/json"),)


class AtOnce:
    """A committer for views of texts: `told` has what the audit trail would have."""

    def __init__(self) -> None:
        self.told: list[AuditEntry] = []

    def audit(self, entry: AuditEntry) -> None:
        self.told.append(entry)

    def call_soon(
        self, function: Callable[[Any], Any], done: Callable[[Any], None], *, awaited: bool
    ) -> None:
        done(SimpleNamespace(result=function(self), error=None))


def guard(keys: Keys) -> Guard:
    """What a gateway puts before its endpoints."""
    return Access(keys, Views(AtOnce(), lambda: WALL_MS)).guard


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what `connect` makes."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](1000)
        self._addresses: dict[trio.abc.Stream, str] = {}

    def address_of(self, stream: trio.abc.Stream) -> str:
        return self._addresses[stream]

    def connect(self, address: str = "local", *, lockstep: bool = False) -> trio.abc.HalfCloseableStream:
        """`lockstep`: what is not received yet holds up who sends it."""
        pair = trio.testing.lockstep_stream_pair() if lockstep else trio.testing.memory_stream_pair()
        ours, theirs = pair
        self._addresses[theirs] = address
        self._send.send_nowait(theirs)
        return ours

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        await self._receive.aclose()


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        return msgspec.json.decode(self.body)


class Client:
    """One connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.received = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer; fails the test when the connection ends before it."""
        while b"\r\n\r\n" not in self.received:
            await self._more()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        length = 0 if to_head else int(headers.get("content-length", "0"))
        while len(self.received) < length:
            await self._more()
        body, self.received = self.received[:length], self.received[length:]
        return Answer(int(lines[0].split(" ")[1]), headers, body)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def closed(self) -> bool:
        """Wait until the server closes; True when it sent nothing more before."""
        try:
            return not self.received and not await self.stream.receive_some(65_536)
        except trio.BrokenResourceError:
            return True

    async def _more(self) -> None:
        data = await self.stream.receive_some(65_536)
        assert data, f"the connection ended after {self.received!r}"
        self.received += data


class Serving:
    """A running server and its listener."""

    def __init__(self, server: HttpServer, listener: MemoryListener) -> None:
        self.server = server
        self.listener = listener

    def client(self, address: str = "local") -> Client:
        return Client(self.listener.connect(address))


@asynccontextmanager
async def serving(routes: Routes, settings: HttpSettings | None = None) -> AsyncIterator[Serving]:
    """Serve `routes` on memory streams for the length of the block."""
    listener = MemoryListener()
    server = HttpServer(routes, settings or HttpSettings(), lambda: WALL_MS, address_of=listener.address_of)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [listener])
        yield Serving(server, listener)
        nursery.cancel_scope.cancel()


def request(
    target: str, body: bytes = b"", *, method: str = "", headers: tuple[str, ...] = (), length: bool = True
) -> bytes:
    """One request as bytes; POST when there is a body."""
    lines = [f"{method or ('POST' if body else 'GET')} {target} HTTP/1.1", "Host: gateway", *headers]
    if body and length:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def echo(request: object, respond: Respond) -> None:
    """Answers with the body it got."""
    respond(200, JSON, getattr(request, "body", b""))
