"""A world made of memory streams, a seed and MockClock: connections that split, delay and break."""

from __future__ import annotations

import random

import trio
import trio.testing

BASE_MS = 1_790_000_000_000


class Rough(trio.abc.Stream):
    """A memory stream that gives bytes in random pieces, sometimes late."""

    def __init__(self, inner: trio.abc.Stream, rng: random.Random) -> None:
        self._inner = inner
        self._rng = rng

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._rng.random() < 0.1:
            await trio.sleep(self._rng.uniform(0, 0.05))
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._rng.random() < 0.1:
            await trio.sleep(self._rng.uniform(0, 0.05))
        return await self._inner.receive_some(self._rng.choice((1, 7, 40, 300, 4000)))

    async def aclose(self) -> None:
        await self._inner.aclose()


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](100)

    def give(self, stream: trio.abc.Stream) -> None:
        self._send.send_nowait(stream)

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        await self._receive.aclose()


class SimWorld:
    """gateway.world.World, all of it from one seed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._listeners: dict[tuple[str, int], MemoryListener] = {}
        self._live: list[tuple[trio.abc.Stream, trio.abc.Stream]] = []

    def wall_ms(self) -> int:
        return BASE_MS + int(trio.current_time() * 1000)

    async def connect(
        self,
        host: str,
        port: int,
        *,
        local_address: str = "",
        tls: object = None,
        user_timeout_s: float = 0,
    ) -> trio.abc.Stream:
        await trio.sleep(self.rng.uniform(0, 0.02))
        listener = self._listeners.get((host, port))
        if listener is None or self.rng.random() < 0.05:
            raise ConnectionRefusedError(f"nothing at {host}:{port}")
        here, there = trio.testing.memory_stream_pair()
        self._live.append((here, there))
        listener.give(Rough(there, self.rng))
        return Rough(here, self.rng)

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
        listener = self._listeners[host, port] = MemoryListener()
        return [listener]

    async def resolve(self, host: str, port: int) -> list[str]:
        return [host]

    async def cut_now_and_then(self, least_s: float, most_s: float) -> None:
        """Break a random connection, again and again."""
        while True:
            await trio.sleep(self.rng.uniform(least_s, most_s))
            if self._live:
                for stream in self._live.pop(self.rng.randrange(len(self._live))):
                    await stream.aclose()
