"""What the pump needs around it, in memory: an outbox with commits, a network with HTTP servers, a clock.

`FakeOutbox` is the committer and the store at once: rows live in a dict, D verbs are applied at the next
commit, a retried row comes back at its due time with its old seq. `FakeWorld` resolves names from a table
and connects to `Sink`s over memory streams. Deliberately not here: sockets (test_client has them), LMDB.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httptools
import msgspec
import trio
import trio.testing

from router.nouns import Account, Event
from store.interface import Endpoint, OutboxRow

EPOCH_MS = 1_760_000_000_000


def event(message_id: int = 1, **more: Any) -> Event:
    fields: dict[str, Any] = {
        "kind": 0,
        "account": 1,
        "message_id": message_id,
        "at_ms": EPOCH_MS,
        "source": "447700900001",
        "destination": "447700900123",
        "state": 2,
    }
    return Event(**(fields | more))


class FakeOutbox:
    """Committer and store in one; `commit_s` is how long a commit takes."""

    def __init__(self, accounts: Sequence[Account], commit_s: float = 0.001) -> None:
        self.on_commit: list[Callable[[], None]] = []
        self.store = self
        self.rows: dict[int, dict[int, OutboxRow]] = {}
        self.deferred: list[tuple[int, OutboxRow]] = []
        self.retries: list[tuple[int, OutboxRow]] = []  # every (due_ms, row) ever asked for
        self.done: list[OutboxRow] = []
        self.given_up: list[tuple[int, OutboxRow]] = []  # (when, row)
        self.pages = 0
        self._accounts = {account.id: account for account in accounts}
        self._endpoints: dict[int, Endpoint] = {}
        self._seq = 0
        self._pending: list[Callable[[], None]] = []
        self._awake = trio.Event()
        self._commit_s = commit_s

    # what tests do

    def endpoint(self, account: int, origin: str) -> int:
        id = len(self._endpoints) + 1
        self._endpoints[id] = Endpoint(id, account, origin)
        self.rows[id] = {}
        return id

    def put(self, endpoint: int, *events: Event) -> None:
        """Rows that the next commit makes visible."""

        def apply() -> None:
            for one in events:
                self._seq += 1
                self.rows[endpoint][self._seq] = OutboxRow(endpoint, self._seq, one)

        self._pending.append(apply)
        self._awake.set()

    def left(self, endpoint: int) -> int:
        return len(self.rows[endpoint])

    def set_account(self, account: Account) -> None:
        self._accounts = self._accounts | {account.id: account}
        self._pending.append(lambda: None)
        self._awake.set()

    # the committer

    def add_outbox_done(self, rows: Sequence[OutboxRow]) -> None:
        def apply() -> None:
            for row in rows:
                del self.rows[row.endpoint][row.seq]  # twice would be a KeyError
                self.done.append(row)

        self._pending.append(apply)
        self._awake.set()

    def add_outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None:
        def apply() -> None:
            for row in rows:
                del self.rows[row.endpoint][row.seq]
                # As a store would: what was written down is a copy.
                kept = OutboxRow(row.endpoint, row.seq, msgspec.structs.replace(row.event))
                self.retries.append((due_ms, kept))
                self.deferred.append((due_ms, kept))

        self._pending.append(apply)
        self._awake.set()

    def add_outbox_given_up(self, rows: Sequence[OutboxRow], now_ms: int) -> None:
        def apply() -> None:
            for row in rows:
                del self.rows[row.endpoint][row.seq]
                self.given_up.append((now_ms, row))

        self._pending.append(apply)
        self._awake.set()

    async def run(self) -> None:
        while True:
            due_ms = min((due for due, _ in self.deferred), default=None)
            at = EPOCH_MS + trio.current_time() * 1000
            with trio.move_on_after(10**9 if due_ms is None else max(0.0, (due_ms - at) / 1000)):
                await self._awake.wait()
            self._awake = trio.Event()
            pending, self._pending = self._pending, []
            for apply in pending:
                apply()
            self._move_due()
            await trio.sleep(self._commit_s)
            for hook in self.on_commit:
                hook()

    def _move_due(self) -> None:
        now_ms = EPOCH_MS + trio.current_time() * 1000
        for due in [item for item in self.deferred if item[0] <= now_ms]:
            self.deferred.remove(due)
            self.rows[due[1].endpoint][due[1].seq] = due[1]

    # the store

    def outbox_page(self, endpoint: int, after_seq: int, limit: int) -> list[OutboxRow]:
        self.pages += 1
        rows = self.rows[endpoint]
        return [rows[seq] for seq in sorted(rows) if seq > after_seq][:limit]

    def outbox_endpoints(self) -> dict[int, Endpoint]:
        return self._endpoints

    def accounts(self) -> dict[int, Account]:
        return self._accounts


@dataclass
class Request:
    """One POST as a sink saw it."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    method: str = "POST"

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class _Reader:
    """httptools' callbacks on the server's side."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.parser: httptools.HttpRequestParser | None = None

    def on_message_begin(self) -> None:
        self.url, self.body = b"", b""
        self.headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode() if self.parser is not None else ""
        request = Request(self.url.decode(), dict(self.headers), self.body, trio.current_time(), method)
        self.requests.append(request)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

Answer = Callable[["Sink", Request], Awaitable[bytes | None]]


def status(code: int, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n{lines}\r\n".encode()


@dataclass
class Sink:
    """A receiver: `answer` gets each request and returns the bytes to send, or None to hang up."""

    answer: Answer | None = None
    requests: list[Request] = field(default_factory=list)
    open: int = 0
    opened: int = 0
    most_open: int = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.open += 1
        self.opened += 1
        self.most_open = max(self.most_open, self.open)
        reader = _Reader()
        reader.parser = parser = httptools.HttpRequestParser(reader)
        try:
            while data := await stream.receive_some(65536):
                parser.feed_data(bytes(data))
                for request in reader.requests:
                    self.requests.append(request)
                    reply = OK if self.answer is None else await self.answer(self, request)
                    if reply is None:
                        return
                    await stream.send_all(reply)
                reader.requests.clear()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            await trio.aclose_forcefully(stream)

    @property
    def ids(self) -> list[str]:
        """Message ids in the order in which their POSTs began to arrive."""
        found = []
        for request in self.requests:
            body = request.json
            found += [one["data"]["message_id"] for one in body.get("events", [body])]
        return found


class FakeWorld:
    """Names → addresses, addresses → sinks; connections are memory streams."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.rng = random.Random(7)
        self.names: dict[str, list[str]] = {}
        self.sinks: dict[tuple[str, int], Sink] = {}
        self.dialled: list[tuple[str, int]] = []
        self._nursery = nursery

    def add(self, name: str, address: str, port: int, sink: Sink) -> Sink:
        self.names[name] = [address]
        self.sinks[address, port] = sink
        return sink

    def wall_ms(self) -> int:
        return EPOCH_MS + int(trio.current_time() * 1000)

    async def resolve(self, host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]

    async def connect(
        self,
        host: str,
        port: int,
        *,
        local_address: str = "",
        tls: object | None = None,
        user_timeout_s: float = 0,
    ) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dialled.append((host, port))
        sink = self.sinks.get((host, port))
        if sink is None:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(sink.serve, theirs)
        return ours


@asynccontextmanager
async def running(*accounts: Account, commit_s: float = 0.001) -> Any:
    """(outbox, world, nursery) with the outbox's commits running; everything is cancelled at the end."""
    async with trio.open_nursery() as nursery:
        outbox = FakeOutbox(accounts, commit_s)
        world = FakeWorld(nursery)
        nursery.start_soon(outbox.run)
        yield outbox, world, nursery
        nursery.cancel_scope.cancel()
