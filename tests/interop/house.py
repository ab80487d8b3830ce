"""What the interop tests share: a Signalbox on real sockets, processes of others, and a web server for both.

`House` is a gateway that customers bind to, its carrier the simulator. It can stop and start again on the
same ports and store while its carrier lives on, and hold its commits, so that a peer's window fills up.
`Program` is a process of somebody else. `Sink` is what peers and callbacks are sent to. Real time passes
here: tests wait for what they want to see, with deadlines that only something broken meets.

Deliberately not here: what any peer is told, or what is expected of it.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import pytest
import trio
import trustme

from config.load import parse
from gateway.app import Gateway, store_options
from gateway.passwords import hash_password
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from gateway.world import RealWorld
from gateway.writer import SplitWriter
from router.nouns import Login
from smpp import alphabet, segment
from smpp.pdu import SubmitSm, deliver_sm_body
from store.interface import Transaction
from store.lmdb_store import LmdbStore

HERE = Path(__file__).resolve().parent
PATIENCE_S = 60.0
PASSWORD = "secret"
NUMBER = "12345"  # the account's own: MOs to it are for the customer
HANDSET = "447700900123"

CONFIG = """
[gateway]
data_dir = "{directory}"
drain_timeout_s = {drain_timeout_s}
[http]
listen = ["127.0.0.1:{http}"]
[smpp]
listen = ["127.0.0.1:{smpp}"]
enquire_link_s = {enquire_link_s}
{smpp_more}
lock_failures = 1000
lock_address_failures = 1000
[store]
min_free_disk_mb = 0
[callbacks]
retry_s = [0.2, 0.5, 1, 2, 5, 10]
[[carriers]]
name = "sim"
host = "127.0.0.1"
port = {carrier}
system_id = "signalbox"
window = 200
reconnect_min_s = 0.1
reconnect_max_s = 1
unbind_pause_s = 0.05
[carriers.retry]
first_s = 0.5
queue_full_pause_s = 0.5
[[routes]]
name = "default"
lane = ["sim"]
"""


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


_given: set[int] = set()  # ports, by free_port


def free_port() -> int:
    """A port nobody listens on, another one each time, below those that outgoing connections take."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def program(name: str) -> str | None:
    """Where a program is; daemons are not always in an unprivileged user's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def needs(present: object, what: str) -> pytest.MarkDecorator:
    """Skip where a peer is not installed; never in CI, where .ci/run installs all of them."""
    return pytest.mark.skipif(not present and not os.environ.get("CI"), reason=f"needs {what}")


async def until(holds: Callable[[], object], what: str = "") -> None:
    """Wait until something of ours is so."""
    with trio.move_on_after(PATIENCE_S):
        while not holds():
            await trio.sleep(0.01)
        return
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what or holds.__name__}")


class Program:
    """A process of somebody else: what it said, line by line, and what it is told."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said: list[str] = []
        self.ended = False
        self._news = trio.Event()

    async def listen(self) -> None:
        rest = b""
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            self.said += [line.decode("utf-8", "replace") for line in lines]
            self._tell()
        self.ended = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def count(self, word: str) -> int:
        """How many lines have `word` in them."""
        return sum(word in line for line in self.said)

    async def until(self, word: str, times: int = 1) -> None:
        await self.until_so(lambda: self.count(word) >= times, f"{times} × {word!r}")

    async def until_so(self, holds: Callable[[], object], what: str) -> None:
        with trio.move_on_after(PATIENCE_S):
            while not holds():
                assert not self.ended, f"it ended before {what}; it said:\n{self._last_words()}"
                await self._news.wait()
            return
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}; it said:\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self.said[-60:])

    async def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(line.encode() + b"\n")

    async def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        self.process.terminate()
        with trio.fail_after(PATIENCE_S):
            return await self.process.wait()


@asynccontextmanager
async def running(command: Sequence[str | Path], cwd: Path = HERE) -> AsyncIterator[Program]:
    """A process, its output and errors as lines; it never outlives the block."""
    process = await trio.lowlevel.open_process(
        list(command), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with trio.open_nursery() as nursery:
            one = Program(process)
            nursery.start_soon(one.listen)
            yield one
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()


# a web server


class Hit(NamedTuple):
    """A request as it came."""

    path: str
    query: dict[str, str]
    body: bytes
    target: str

    def text(self, field: str) -> str:
        """A field in the character set that the field `charset` names."""
        pairs = (pair.partition("=") for pair in urlsplit(self.target).query.split("&"))
        raw = {name: unquote_to_bytes(value.replace("+", " ")) for name, _, value in pairs}
        return raw[field].decode(self.query["charset"])


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n"


class Sink:
    """Takes every request; `answer` makes the text of the 200."""

    def __init__(self) -> None:
        self.port = free_port()
        self.hits: list[Hit] = []
        self.answer: Callable[[Hit], bytes] = lambda hit: b""

    def of(self, path: str) -> list[Hit]:
        return [hit for hit in self.hits if hit.path == path]

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        await trio.serve_listeners(self._carry, listeners, task_status=task_status)  # type: ignore[arg-type]

    async def _carry(self, stream: trio.abc.Stream) -> None:
        reader = HttpReader(stream)
        try:
            while (found := await reader.next()) is not None:
                line, body = found
                target = urlsplit(line.split(" ")[1])
                query = parse_qs(target.query, keep_blank_values=True, encoding="utf-8", errors="replace")
                hit = Hit(
                    target.path, {key: values[-1] for key, values in query.items()}, body, line.split(" ")[1]
                )
                self.hits.append(hit)
                text = self.answer(hit)
                await stream.send_all(_HEAD % len(text) + text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


class HttpReader:
    """Requests or responses off one connection, one after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._data = b""

    async def next(self) -> tuple[str, bytes] | None:
        """(first line, body); None at the end of the connection."""
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            if not await self._more():
                return None
        line, *fields = self._data[:end].decode("latin-1").split("\r\n")
        named = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        whole = end + 4 + int(named.get("content-length", "0"))
        while len(self._data) < whole:
            if not await self._more():
                return None
        body, self._data = self._data[end + 4 : whole], self._data[whole:]
        return line, body

    async def _more(self) -> bool:
        data = await self._stream.receive_some(65_536)
        self._data += data
        return bool(data)


async def get(port: int, targets: Sequence[str], connections: int = 8) -> list[tuple[int, bytes]]:
    """GET each target from 127.0.0.1 over a few connections. Returns (status, body) in order."""
    answers: dict[int, tuple[int, bytes]] = {}
    left = list(enumerate(targets))[::-1]

    async def work() -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            reader = HttpReader(stream)
            while left:
                number, target = left.pop()
                await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                found = await reader.next()
                assert found is not None, f"no answer to {target}"
                answers[number] = (int(found[0].split(" ")[1]), found[1])

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for _ in range(min(connections, len(targets))):
                nursery.start_soon(work)
    return [answers[number] for number in range(len(targets))]


async def post(port: int, target: str, key: str, body: bytes) -> tuple[int, bytes]:
    """POST JSON to 127.0.0.1 with an API key. Returns (status, body)."""
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with trio.fail_after(PATIENCE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(head.encode() + body)
            found = await HttpReader(stream).next()
    assert found is not None, f"no answer to {target}"
    return int(found[0].split(" ")[1]), found[1]


# our side


class Tls(NamedTuple):
    """A TLS port for [smpp], and the file of the authority that signed its certificate."""

    port: int
    toml: str
    ca_file: Path


def tls(directory: Path) -> Tls:
    authority, port = trustme.CA(), free_port()
    ca_file, cert_file = directory / "ca.pem", directory / "smsc.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(cert_file)
    )
    return Tls(port, f'listen_tls = ["127.0.0.1:{port}"]\ntls_cert_file = "{cert_file}"', ca_file)


class HeldWriter(SplitWriter):
    """Transactions begin only while `open` is set: everybody who waits for a commit waits longer."""

    def __init__(self, store: LmdbStore) -> None:
        super().__init__(store)
        self.open = trio.Event()
        self.open.set()

    async def begin(self) -> Transaction:
        await self.open.wait()
        return await super().begin()

    async def commit(self, txn: Transaction, more: Callable[[], bool]) -> Transaction | None:
        return await super().commit(txn, lambda: False)


class House:
    """A Signalbox. `sent` is what its carrier was given, in order; its ports stay over a restart."""

    def __init__(
        self, directory: Path, nursery: trio.Nursery, toml: str = CONFIG, **settings: object
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.http, self.smpp, self.carrier_port = free_port(), free_port(), free_port()
        wanted = {"enquire_link_s": 30, "drain_timeout_s": 10, "smpp_more": "", **settings}
        self.config = parse(
            toml.format(
                directory=directory, http=self.http, smpp=self.smpp, carrier=self.carrier_port, **wanted
            ),
            directory / "gateway.toml",
        )
        self.sent: list[SubmitSm] = []
        self.carrier = SimulatedSmsc(
            Behaviour(receipt_delay_s=(0, 0.05)), rng=random.Random(1), wall_ms=wall_ms
        )
        self.carrier.on_submit = lambda pdu, _: self.sent.append(pdu)
        self._nursery = nursery
        self._store: LmdbStore | None = None
        self._gateway: Gateway | None = None
        self._writer: HeldWriter | None = None

    @property
    def gateway(self) -> Gateway:
        assert self._gateway is not None, "it is stopped"
        return self._gateway

    async def open(self) -> None:
        """The carrier, then the gateway."""
        listeners = await trio.open_tcp_listeners(self.carrier_port, host="127.0.0.1")
        await self._nursery.start(self.carrier.serve, listeners)
        await self.start()

    async def start(self) -> None:
        world = RealWorld()
        world.rng = random.Random(1)
        self._store = LmdbStore(self.directory / "store", store_options(self.config, world.wall_ms))
        self._writer = HeldWriter(self._store)
        self._gateway = Gateway(self.config, self._store, self._writer, world)
        self._gateway.recover()
        await self._nursery.start(self._gateway.run)
        await until(lambda: all(carrier.able() for carrier in self.gateway.carriers), "the carrier is bound")

    async def stop(self) -> None:
        """As SIGTERM does."""
        gateway, store = self._gateway, self._store
        if gateway is not None:
            self.release()
            gateway.stop()
            await gateway.finished.wait()
        if store is not None:
            store.close()
        self._gateway = self._store = None

    def hold(self) -> None:
        """Begin no transaction from now on."""
        assert self._writer is not None
        self._writer.open = trio.Event()

    def release(self) -> None:
        assert self._writer is not None
        self._writer.open.set()

    # customers

    async def account(self, name: str = "acme", **settings: Any) -> str:
        """An account whose system_id is its name, with the usual password. Returns its API key."""
        login = Login(name, (hash_password(PASSWORD.encode()),))
        chosen = {"logins": (login,), "numbers": (NUMBER,), **settings}
        _, key = await self.gateway.accounts.create(name, self.gateway.world.wall_ms(), **chosen)
        return key

    @property
    def bound(self) -> list[str]:
        """The bind types of everybody who is bound."""
        return sorted(one.bind_type for one in self.gateway.smpp.connections if one.bound)

    @property
    def link_errors(self) -> list[str]:
        """Why links to carriers are down."""
        links = (
            [link for carrier in self._gateway.carriers for link in carrier.links] if self._gateway else []
        )
        return [link.last_error for link in links if link.last_error]

    @property
    def unanswered(self) -> int:
        """Submits taken from customers and not answered yet."""
        return sum(one.unanswered for one in self.gateway.smpp.connections)

    @property
    def untold(self) -> int:
        """Events that customers have not taken yet."""
        return self.gateway.store.outbox_backlog()

    # the carrier's side

    def hold_carrier(self) -> None:
        """The carrier is given nothing from now on: messages wait."""
        self.gateway.carriers[0].paused_until = math.inf

    def release_carrier(self) -> None:
        self.gateway.carriers[0].paused_until = 0.0

    def mo(self, text: str, source: str = HANDSET, destination: str = NUMBER) -> None:
        """A handset writes; a long text comes in parts, as networks send it."""
        encoding = alphabet.cheapest(text)
        peer = self.carrier.peers[0]
        for one in segment.render(text, encoding, 0, "gsm7", "udh8", 77):
            peer.deliver(
                deliver_sm_body(
                    b"", 1, 1, source.encode(), 0, 1, destination.encode(), one.esm_class,
                    0, 0, b"", b"", 0, 0, one.data_coding, 0, one.short_message, one.tlvs,
                )
            )  # fmt: skip
        peer.flush()

    def texts(self) -> list[str]:
        """What handsets would show: every message the carrier was given, its parts joined, in order."""
        whole: dict[object, dict[int, bytes]] = {}
        codings: dict[object, int] = {}
        for number, pdu in enumerate(self.sent):
            udh, body = segment.split_header(pdu.short_message, pdu.esm_class, pdu.tlvs)
            concat = segment.parse_udh(udh) or segment.parse_sar(pdu.tlvs)
            key: object = (pdu.destination_addr, concat.reference, concat.total) if concat else number
            whole.setdefault(key, {})[concat.index if concat else 1] = body
            codings[key] = pdu.data_coding
        return [
            decoded(b"".join(parts[index] for index in sorted(parts)), codings[key])
            for key, parts in whole.items()
        ]


def decoded(octets: bytes, data_coding: int) -> str:
    return alphabet.decode(octets, alphabet.encoding_of(data_coding))


@asynccontextmanager
async def house(directory: Path, toml: str = CONFIG, **settings: object) -> AsyncIterator[House]:
    """A started House; it stops with the block."""
    async with trio.open_nursery() as nursery:
        one = House(directory, nursery, toml, **settings)
        try:
            await one.open()
            yield one
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE_S):
                await one.stop()
            nursery.cancel_scope.cancel()
