"""Real listeners on loopback, or scripted ones, whose peers get back what they send.

Deliberately not here: SMPP. A test that waits for time brings trio's MockClock and moves it itself.
"""

from __future__ import annotations

import functools
import inspect
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio
import trio.testing
import trustme

from config.model import Address, SmppConfig
from gateway.smpp_server.listener import Peer, SmppListeners, Strangers
from gateway.world import RealWorld

NAME = "smsc.example"
PLAIN = Address("127.0.0.1", 0)
_PATIENCE_S = 60.0


class LoopbackWorld(RealWorld):
    """The real one, which remembers where it listens."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[int] = []

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
        listeners = await super().listen(host, port)
        for listener in listeners:
            assert isinstance(listener, trio.SocketListener)
            self.ports.append(listener.socket.getsockname()[1])
        return listeners


class House:
    """Listeners that run. `ports` in the order of listen and listen_tls."""

    def __init__(self, settings: SmppConfig, strangers: Strangers | None = None) -> None:
        self.world = LoopbackWorld()
        self.listeners = SmppListeners(settings, self.world, self._serve, strangers)
        self.counts = self.listeners.counts
        self.ended = trio.Event()
        self._clients: list[trio.SocketStream] = []
        self._send, self._receive = trio.open_memory_channel[Peer](1000)

    @property
    def ports(self) -> list[int]:
        return self.world.ports

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self.listeners.run(task_status=task_status)
        self.ended.set()

    async def _serve(self, peer: Peer) -> None:
        self._send.send_nowait(peer)
        with suppress(trio.BrokenResourceError):
            async for data in peer.stream:
                if data == b"raise":
                    raise RuntimeError("as asked")
                await peer.stream.send_all(data)

    async def connect(self, index: int = 0, source: str = "127.0.0.1") -> trio.SocketStream:
        host = "::1" if ":" in source else "127.0.0.1"
        stream = await trio.open_tcp_stream(host, self.ports[index], local_address=source)
        self._clients.append(stream)
        return stream

    async def secure(
        self, context: ssl.SSLContext, index: int = 0, header: bytes = b""
    ) -> trio.SSLStream[trio.SocketStream]:
        """A TLS client whose handshake is done, `header` sent before it."""
        stream = await self.connect(index)
        if header:
            await stream.send_all(header)
        secured = trio.SSLStream(stream, context, server_hostname=NAME)
        await secured.do_handshake()
        return secured

    async def next_peer(self) -> Peer:
        return await self._receive.receive()

    def leave(self) -> None:
        """Close all clients."""
        for stream in self._clients:
            stream.socket.close()

    async def accepted(self, source: str = "127.0.0.1") -> tuple[trio.SocketStream, Peer]:
        """A new plain connection that has said something and heard it back, both ends of it."""
        stream = await self.connect(source=source)
        assert await answers(stream)
        return stream, await self.next_peer()


@asynccontextmanager
async def listening(settings: SmppConfig, strangers: Strangers | None = None) -> AsyncIterator[House]:
    house = House(settings, strangers)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(house.run)
            yield house
            nursery.cancel_scope.cancel()
    finally:
        house.leave()


def standing_still(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a clock that only the test moves; it is the test's argument `clock`."""

    def run(**fixtures: object) -> None:
        clock = trio.testing.MockClock()
        trio.run(functools.partial(test, clock, **fixtures), clock=clock)

    signature = inspect.signature(test)
    others = [one for name, one in signature.parameters.items() if name != "clock"]
    run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def until(is_so: Callable[[], object]) -> None:
    """Return once it is so, however the test's clock stands."""
    end = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it never came to be so"
        await trio.lowlevel.checkpoint()


async def answers(stream: trio.abc.Stream, data: bytes = b"hello") -> bool:
    """Whether what is sent comes back, whole."""
    try:
        await stream.send_all(data)
        got = b""
        while len(got) < len(data):
            more = await stream.receive_some()
            if not more:
                return False
            got += more
        return got == data
    except trio.BrokenResourceError:
        return False


async def is_closed(stream: trio.abc.Stream) -> bool:
    """Waits for the other side to close; False when it says something instead."""
    try:
        return await stream.receive_some() == b""
    except trio.BrokenResourceError:
        return True


class Files:
    """Certificates on disk, with modification times that differ from one writing to the next."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.certificate = directory / "chain.pem"
        self.key = directory / "key.pem"
        self.client_authority = directory / "clients.pem"
        self.client_authority.write_bytes(self.authority.cert_pem.bytes())
        self.renew()

    def renew(self) -> bytes:
        """Write a new certificate and key; returns it in DER."""
        issued = self.authority.issue_cert(NAME)
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    def settings(self, *, mutual: bool = False, **more: object) -> dict[str, object]:
        """Fields of SmppConfig: these files and one TLS listener."""
        return {
            "listen_tls": (PLAIN,),
            "tls_cert_file": str(self.certificate),
            "tls_key_file": str(self.key),
            "tls_client_ca_file": str(self.client_authority) if mutual else "",
            **more,
        }

    def client(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """What a customer's client would use."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context
