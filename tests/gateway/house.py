"""A whole gateway for a test: memory streams and a clock of its own, or real sockets, and a customer.

`MemoryWorld` is the outside made of memory streams: nothing is sent anywhere, MockClock moves every timer.
`running` starts a gateway from TOML text; `Customer` receives its callbacks; `Script` is a carrier whose
every answer the test writes.

Deliberately not here: what is expected (the tests say it).
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio
import trio.testing

from config.load import load
from gateway.app import Gateway, store_options
from gateway.simulator.smsc import SimulatedSmsc
from gateway.world import RealWorld, World
from gateway.writer import InlineWriter
from router.nouns import Encoding, Message, MessageClass
from smpp import codec
from smpp.pdu import BindTransceiverResp, EnquireLinkResp, Pdu, SubmitSm, SubmitSmResp, UnbindResp
from store.lmdb_store import LmdbStore

START_MS = 1_790_000_000_000
SECRET = "whsec_" + "c2lnbmFsYm94LXRlc3RzLXNlY3JldC0wMDE="
NUMBER = "12345"
PATIENCE_S = 900.0  # of the test's clock; real clocks get less, see `Running.until`

T = TypeVar("T")
P = TypeVar("P", "Script", SimulatedSmsc)
Handler = Callable[["Script", Pdu], Iterable[Pdu | bytes]]


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    def __init__(self, world: MemoryWorld, port: int) -> None:
        self._world, self._port = world, port
        self.send, self._receive = trio.open_memory_channel[trio.abc.Stream](1000)

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        self._world.ports.pop(self._port, None)
        self._receive.close()
        await trio.lowlevel.checkpoint()


class MemoryWorld:
    """gateway.world.World without an operating system. `dialled` counts connection attempts by port."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.ports: dict[int, MemoryListener] = {}
        self.dialled: dict[int, list[float]] = {}

    def wall_ms(self) -> int:
        return START_MS + int(trio.current_time() * 1000)

    async def connect(self, host: str, port: int, **_: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dialled.setdefault(port, []).append(trio.current_time())
        listener = self.ports.get(port)
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens on {port}")
        ours, theirs = trio.testing.memory_stream_pair()
        listener.send.send_nowait(theirs)
        return ours

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
        await trio.lowlevel.checkpoint()
        self.ports[port] = listener = MemoryListener(self, port)
        return [listener]

    async def resolve(self, host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        return [host]


class Customer:
    """An HTTP server that takes callbacks. `events` holds the parsed ones, `posts` headers and bodies.

    `answer` is what it says to each.
    """

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.events: list[dict[str, Any]] = []

    async def serve(self, listeners: list[trio.abc.Listener[trio.abc.Stream]]) -> None:
        await trio.serve_listeners(self._carry, listeners)

    async def _carry(self, stream: trio.abc.Stream) -> None:
        data = b""
        async with stream:
            while True:
                head, separator, rest = data.partition(b"\r\n\r\n")
                headers = _headers(head)
                length = int(headers.get("content-length", "0"))
                if separator and len(rest) >= length:
                    self.posts.append((headers, rest[:length]))
                    self.events.append(json.loads(rest[:length]))
                    data = rest[length:]
                    await stream.send_all(self.answer)
                    continue
                try:
                    more = await stream.receive_some(65536)
                except trio.BrokenResourceError:
                    return
                if not more:
                    return
                data += more

    def of(self, message_id: str) -> list[dict[str, Any]]:
        """The events of one message."""
        return [event["data"] for event in self.events if event["data"]["message_id"] == message_id]


class Script:
    """A carrier on one port that answers what `handler` yields; `submits` are all it was given.

    A bind, an enquire_link and an unbind are answered well unless the handler yields something first
    (b"" to say nothing).
    """

    def __init__(self, handler: Handler | None = None) -> None:
        self.handler = handler
        self.streams: list[trio.abc.Stream] = []
        self.pdus: list[Pdu] = []
        self.closed = 0

    @property
    def submits(self) -> list[SubmitSm]:
        return [pdu for pdu in self.pdus if isinstance(pdu, SubmitSm)]

    async def serve(self, listeners: list[trio.abc.Listener[trio.abc.Stream]]) -> None:
        await trio.serve_listeners(self._carry, listeners)

    async def _carry(self, stream: trio.abc.Stream) -> None:
        self.streams.append(stream)
        data = b""
        async with stream:
            while True:
                try:
                    more = await stream.receive_some(65536)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    more = b""
                if not more:
                    self.closed += 1
                    return
                data += more
                while len(data) >= 4 and len(data) >= (length := int.from_bytes(data[:4], "big")):
                    await self._take(stream, codec.decode(data[:length]))
                    data = data[length:]

    async def _take(self, stream: trio.abc.Stream, pdu: Pdu) -> None:
        self.pdus.append(pdu)
        answers = list(self.handler(self, pdu)) if self.handler else []
        for answer in answers or self.usual(pdu):
            await self.send(answer, stream)

    def usual(self, pdu: Pdu) -> list[Pdu]:
        sequence = pdu.sequence_number
        if pdu.command == "submit_sm":
            return [SubmitSmResp(message_id=b"id%d" % len(self.submits), sequence_number=sequence)]
        if pdu.command == "bind_transceiver":
            return [BindTransceiverResp(system_id=b"script", sequence_number=sequence)]
        if pdu.command == "enquire_link":
            return [EnquireLinkResp(sequence_number=sequence)]
        if pdu.command == "unbind":
            return [UnbindResp(sequence_number=sequence)]
        return []

    async def send(self, pdu: Pdu | bytes, stream: trio.abc.Stream | None = None) -> None:
        """Bytes go out as they are."""
        data = pdu if isinstance(pdu, bytes) else codec.encode(pdu)
        if data:
            await (stream or self.streams[-1]).send_all(data)


class Running:
    """A gateway that runs, its customer and its account's key."""

    def __init__(self, gateway: Gateway, world: World, customer: Customer, key: str, http_port: int) -> None:
        self.gateway = gateway
        self.world = world
        self.customer = customer
        self.key = key
        self.http_port = http_port

    async def http(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> tuple[int, Any]:
        """One request on its own connection: (status, parsed JSON or text)."""
        payload = b"" if body is None else json.dumps(body).encode()
        stream = await self.world.connect("127.0.0.1", self.http_port)
        async with stream:
            await stream.send_all(
                f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                f"Authorization: Bearer {self.key if key is None else key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
                + payload
            )
            answer = b"".join([part async for part in stream])
        head, _, rest = answer.partition(b"\r\n\r\n")
        text = rest.decode()
        is_json = "json" in _headers(head).get("content-type", "")
        return int(head.split(b" ")[1]), json.loads(text) if is_json else text

    async def submit(self, to: str, text: str = "Hello", **fields: object) -> str:
        """An accepted message's id."""
        status, answer = await self.http(
            "POST", "/v1/messages", {"to": to, "from": NUMBER, "text": text, **fields}
        )
        assert status == 202, answer
        return str(answer["id"])

    async def message(self, message_id: str) -> dict[str, Any]:
        status, answer = await self.http("GET", f"/v1/messages/{message_id}")
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    async def until(self, is_so: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        """Return once it is so; trio.TooSlowError after so long on the test's clock."""
        with trio.fail_after(patience_s):
            while not is_so():
                await trio.sleep(0.02)

    async def final(self, message_id: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """The message once it is final."""
        with trio.fail_after(patience_s):
            while not (message := await self.message(message_id))["final"]:
                await trio.sleep(0.1)
        return message

    async def when(self, message_id: str, phase: str) -> dict[str, Any]:
        """The message once it is in this phase."""
        with trio.fail_after(PATIENCE_S):
            while (message := await self.message(message_id))["phase"] != phase:
                await trio.sleep(1)
        return message

    async def bound(self, patience_s: float = 60) -> None:
        await self.until(lambda: all(carrier.able() for carrier in self.gateway.carriers), patience_s)


async def inline(load: Callable[[], T]) -> T:
    """InThread of gateway.reload, cdrs and the like without a thread: MockClock would jump while it works."""
    await trio.lowlevel.checkpoint()
    return load()


def write_config(directory: Path, toml: str, http_port: int = 8080) -> Path:
    """The file of a gateway in `directory`."""
    path = directory / "gateway.toml"
    http = f'[http]\nlisten = ["127.0.0.1:{http_port}"]\n'
    store = "[store]\nmap_size_gb = 0.25\nmin_free_disk_mb = 0\n"
    more = http + store + toml
    if toml.startswith("[http]\n"):
        more = store + http + toml.removeprefix("[http]\n")
    path.write_text(f'[gateway]\ndata_dir = "{directory}/var"\ndrain_timeout_s = 5\n{more}')
    return path


@asynccontextmanager
async def running(
    directory: Path,
    toml: str,
    world: World | None = None,
    *,
    http_port: int = 8080,
    customer_port: int = 9000,
    **account: object,
) -> AsyncIterator[Running]:
    """A gateway on `toml` (carriers, routes, simulators), stopped politely at the end."""
    world = world or MemoryWorld()
    path = write_config(directory, toml, http_port)
    config = load(path)
    (directory / "var").mkdir(exist_ok=True)
    store = LmdbStore(directory / "var" / "store", store_options(config, world.wall_ms))
    customer = Customer()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(customer.serve, await world.listen("127.0.0.1", customer_port))
            gateway = Gateway(config, store, InlineWriter(store), world)
            gateway.reload.in_thread = inline
            gateway.cdr_api.in_thread = inline
            gateway.privacy.in_thread = inline
            gateway.verbs.of_deliveries.in_thread = inline
            if gateway.cdrs is not None:
                gateway.cdrs.in_thread = inline
            gateway.recover()
            await nursery.start(gateway.run)
            settings: dict[str, object] = {
                "private_callbacks": True,
                "numbers": (NUMBER,),
                "callback_url": f"http://127.0.0.1:{customer_port}/hook",
                "callback_secrets": (SECRET,),
                **account,
            }
            if "acme" not in gateway.accounts.by_name:
                _, key = await gateway.accounts.create("acme", world.wall_ms(), **settings)
            else:
                _, key = await gateway.accounts.rotate("acme")
            yield Running(gateway, world, customer, key, http_port)
            if not gateway.stopping.is_set():
                gateway.stop()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 120):
                await gateway.finished.wait()
            nursery.cancel_scope.cancel()
    finally:
        store.close()


@asynccontextmanager
async def running_with(
    directory: Path, toml: str, peer: P, port: int = 2790, **account: object
) -> AsyncIterator[tuple[Running, P]]:
    """The same in memory, with a carrier of the test's own on `port`."""
    world = MemoryWorld()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.serve, await world.listen("127.0.0.1", port))
        async with running(directory, toml, world, **account) as house:  # type: ignore[arg-type]
            yield house, peer
        nursery.cancel_scope.cancel()


def carrier(name: str, port: int, **settings: object) -> str:
    """A [[carriers]] table with short waits."""
    chosen: dict[str, object] = {
        "name": name,
        "host": "127.0.0.1",
        "port": port,
        "system_id": "signalbox",
        "password": "secret",
        "unbind_pause_s": 0.2,
        "reconnect_min_s": 0.2,
        **settings,
    }
    return _table("carriers", chosen)


def simulator(name: str, port: int, **behaviour: object) -> str:
    """A [[simulators]] table whose receipts come after 0.1 s."""
    chosen: dict[str, object] = {
        "name": name,
        "listen": f"127.0.0.1:{port}",
        "system_id": "signalbox",
        "password": "secret",
        "receipt_delay_s": [0.1, 0.1],
        **behaviour,
    }
    return _table("simulators", chosen)


def route(*carriers: str, name: str = "all") -> str:
    return _table("routes", {"name": name, "lane": list(carriers)})


def accepted(
    id: int, sender: str, to: str, text: str | None = "", send_at_ms: int = 0, expires_ms: int = 0
) -> Message:
    """What a door tells of a message of one segment, in GSM 7-bit."""
    return Message(
        id, 1, 0, sender, 0, 0, to, Encoding.GSM7, text or "", b"", 1, 0, 2, MessageClass.TRANSACTIONAL,
        send_at_ms, expires_ms, 1, "all",
    )  # fmt: skip


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _table(name: str, values: dict[str, object]) -> str:
    return f"[[{name}]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


__all__ = ["MemoryWorld", "RealWorld", "Running", "running"]
