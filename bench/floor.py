"""The floor: submit_sm in → LMDB → submit_sm out → response → LMDB → receipt → match → LMDB → deliver_sm out.

A bare loop with the same durability as Signalbox and none of its features: no accounts, routes, throttle,
retries, HTTP, metrics, checks of any kind. What it does in a second is what this machine allows Python; rates
are quoted as a share of it. Run as `python -m bench.floor DIRECTORY LISTEN_PORT CARRIER_PORT`.

Deliberately not here: anything that Signalbox would share with it.
"""

from __future__ import annotations

import re
import struct
import sys
import time
from collections.abc import Callable

import lmdb
import msgspec
import trio

HEADER = struct.Struct(">IIII")
KEY = struct.Struct(">Q")
TLV = struct.Struct(">HH")
RECEIPT = re.compile(rb"id:(\S+) .*?stat:(\S+) err:(\S+)")
WINDOW = 500
Frame = tuple[int, int, int, bytes, int, int]
Operation = tuple[bool, int, bytes, bytes]
pack = msgspec.msgpack.Encoder().encode


class Short:
    """A submit_sm or deliver_sm, whole: what any gateway must read of it."""

    __slots__ = ("destination", "fields", "source", "text", "times", "tlvs")

    def __init__(
        self,
        source: bytes,
        destination: bytes,
        text: bytes,
        fields: tuple[bytes | int, ...],
        times: tuple[bytes, bytes],
        tlvs: dict[int, bytes] | None,
    ) -> None:
        self.source, self.destination, self.text = source, destination, text
        self.fields = fields
        self.times = times
        self.tlvs = tlvs


def decode(buffer: bytes, at: int, end: int) -> Short:
    """Every mandatory field (SMPP 3.4 section 4.4.1) and every TLV of one body."""
    index, start = buffer.index, at
    service = index(0, at, end)
    source = index(0, service + 3, end)
    destination = index(0, source + 3, end)
    schedule = index(0, destination + 4, end)
    validity = index(0, schedule + 1, end)
    registered, replace, coding, canned, length = buffer[validity + 1 : validity + 6]
    text = validity + 6
    at, tlvs = text + length, None
    if at < end:
        tlvs = {}
        while at < end:
            tag, size = TLV.unpack_from(buffer, at)
            tlvs[tag] = buffer[at + 4 : at + 4 + size]
            at += 4 + size
    return Short(
        buffer[service + 3 : source],
        buffer[source + 3 : destination],
        buffer[text : text + length],
        (
            buffer[start:service], buffer[service + 1], buffer[service + 2], buffer[source + 1],
            buffer[source + 2], buffer[destination + 1], buffer[destination + 2], buffer[destination + 3],
            registered, replace, coding, canned,
        ),
        (buffer[destination + 4 : schedule], buffer[schedule + 1 : validity]),
        tlvs,
    )  # fmt: skip


class Committer:
    """Everything that comes while one commit is under way goes into the next."""

    def __init__(self, directory: str) -> None:
        self.env = lmdb.open(directory, map_size=8 << 30, max_dbs=8, lib_version=0)
        self.tables = [self.env.open_db(name) for name in (b"message", b"queue", b"correlation", b"outbox")]
        self.pending: list[Operation] = []
        self.done: list[Callable[[], None]] = []
        self.wake = trio.Event()

    def put(self, operations: list[Operation], done: Callable[[], None]) -> None:
        self.pending.extend(operations)
        self.done.append(done)
        self.wake.set()

    def write(self, operations: list[Operation]) -> None:
        with self.env.begin(write=True) as tx:
            for put, table, key, value in operations:
                if put:
                    tx.put(key, value, db=self.tables[table])
                else:
                    tx.delete(key, db=self.tables[table])

    async def run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            operations, self.pending = self.pending, []
            done, self.done = self.done, []
            await trio.to_thread.run_sync(self.write, operations)
            for finished in done:
                finished()


class Peer:
    """One SMPP connection: a reader that hands over whole reads, a writer task."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.out: list[bytes] = []
        self.wake = trio.Event()
        self.sequence = 0
        self.window: dict[int, bytes] = {}

    def send(self, octets: bytes) -> None:
        self.out.append(octets)
        self.wake.set()

    async def write(self) -> None:
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            out, self.out = self.out, []
            await self.stream.send_all(b"".join(out))

    async def read(self, handle: Callable[[Peer, list[Frame]], None]) -> None:
        rest = b""
        while data := bytes(await self.stream.receive_some(262_144)):
            data = rest + data
            at, frames = 0, []
            while len(data) - at >= 16:
                length, command, status, sequence = HEADER.unpack_from(data, at)
                if len(data) - at < length:
                    break
                frames.append((command, status, sequence, data, at + 16, at + length))
                at += length
            rest = data[at:]
            handle(self, frames)


class Floor:
    def __init__(self, committer: Committer) -> None:
        self.committer = committer
        self.esme: Peer | None = None
        self.last_id = 0
        self.ready: list[tuple[bytes, tuple[bytes, bytes, bytes]]] = []
        self.wake = trio.Event()
        self.messages: dict[bytes, tuple[bytes, bytes, bytes]] = {}
        self.correlated: dict[bytes, bytes] = {}

    def on_customer(self, peer: Peer, frames: list[Frame]) -> None:
        operations: list[Operation] = []
        accepted: list[tuple[int, bytes, tuple[bytes, bytes, bytes]]] = []
        for command, _, sequence, buffer, start, end in frames:
            if command == 0x04:
                read = decode(buffer, start, end)
                message = (read.source, read.destination, read.text)
                self.last_id += 1
                key = KEY.pack(self.last_id)
                operations.append((True, 0, key, pack((*message, time.time(), b"account", b"route", 0))))
                operations.append((True, 1, key, b""))
                accepted.append((sequence, key, message))
            elif command in (0x01, 0x02, 0x09):
                peer.send(HEADER.pack(17, command | 0x80000000, 0, sequence) + b"\0")
            elif command == 0x80000005:
                operations.append((False, 3, peer.window.pop(sequence), b""))

        def done() -> None:
            for sequence, key, message in accepted:
                body = b"%d\0" % int.from_bytes(key, "big")
                peer.send(HEADER.pack(16 + len(body), 0x80000004, 0, sequence) + body)
                self.ready.append((key, message))
            self.wake.set()

        if operations:
            self.committer.put(operations, done)

    def on_carrier(self, peer: Peer, frames: list[Frame]) -> None:
        operations: list[Operation] = []
        answers: list[int] = []
        told: list[bytes] = []
        for command, _, sequence, buffer, start, end in frames:
            if command == 0x80000004:
                key = peer.window.pop(sequence)
                carrier_id = buffer[start : end - 1]
                self.correlated[carrier_id] = key
                operations.append((True, 2, carrier_id, key))
                operations.append((False, 1, key, b""))
                operations.append(
                    (
                        True,
                        0,
                        key,
                        pack((*self.messages[key], time.time(), b"account", b"route", 1, carrier_id)),
                    )
                )
            elif command == 0x05:
                found = RECEIPT.match(decode(buffer, start, end).text)
                assert found is not None
                key = self.correlated.pop(found[1])
                operations.append((False, 2, found[1], b""))
                operations.append(
                    (
                        True,
                        0,
                        key,
                        pack((*self.messages[key], time.time(), b"account", b"route", 2, found[1])),
                    )
                )
                operations.append((True, 3, key, b""))
                answers.append(sequence)
                told.append(key)
        self.wake.set()

        def done() -> None:
            for sequence in answers:
                peer.send(HEADER.pack(17, 0x80000005, 0, sequence) + b"\0")
            for key in told:
                self.tell(key)

        if operations:
            self.committer.put(operations, done)

    def tell(self, key: bytes) -> None:
        source, destination, _ = self.messages.pop(key)
        text = (
            b"id:%d sub:001 dlvrd:001 submit date:2611210000 done date:2611210000 stat:DELIVRD err:000 text:x"
        )
        text %= int.from_bytes(key, "big")
        body = b"\0\1\1%b\0\5\0%b\0\4\0\0\0\0\0\0\0\0%c%b" % (destination, source, len(text), text)
        esme = self.esme
        assert esme is not None
        esme.sequence += 1
        esme.window[esme.sequence] = key
        esme.send(HEADER.pack(16 + len(body), 5, 0, esme.sequence) + body)

    async def dispatch(self, peer: Peer) -> None:
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            free = WINDOW - len(peer.window)
            batch, self.ready = self.ready[:free], self.ready[free:]
            for key, message in batch:
                source, destination, text = message
                peer.sequence += 1
                peer.window[peer.sequence] = key
                self.messages[key] = message
                body = b"\0\5\0%b\0\1\1%b\0\0\0\0\0\0\1\0\0\0%c%b" % (source, destination, len(text), text)
                peer.send(HEADER.pack(16 + len(body), 4, 0, peer.sequence) + body)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.esme = peer = Peer(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.write)
            await peer.read(self.on_customer)
            nursery.cancel_scope.cancel()


async def main(directory: str, listen_port: int, carrier_port: int) -> None:
    floor = Floor(Committer(directory))
    carrier = Peer(await trio.open_tcp_stream("127.0.0.1", carrier_port))
    bind = b"u\0p\0\0\x34\0\0\0"
    carrier.send(HEADER.pack(16 + len(bind), 9, 0, 1) + bind)
    carrier.sequence = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(floor.committer.run)
        nursery.start_soon(carrier.write)
        nursery.start_soon(carrier.read, floor.on_carrier)
        nursery.start_soon(floor.dispatch, carrier)
        nursery.start_soon(trio.serve_tcp, floor.serve, listen_port)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
