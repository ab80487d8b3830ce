"""What the gateway needs from outside: wall time, chance, names, connections, listeners.

`RealWorld` is the operating system; the simulation tests bring one made of memory streams and a seed. The
monotonic clock is trio's own (`trio.current_time`), so that MockClock moves every timer.

Deliberately not here: retries, back-off, protocol. A connection is one attempt.
"""

from __future__ import annotations

import random
import socket
import ssl
import time
from typing import Protocol

import trio

_KEEPALIVE_IDLE_S = 30
_KEEPALIVE_INTERVAL_S = 10
_KEEPALIVE_COUNT = 3


class Tls(Protocol):
    """Client TLS: a ready context and the name to check (sent as SNI); "" = the host connected to."""

    @property
    def context(self) -> ssl.SSLContext: ...
    @property
    def server_name(self) -> str: ...


class World(Protocol):
    """The outside, as one value that can be replaced."""

    rng: random.Random

    def wall_ms(self) -> int:
        """UTC milliseconds since the epoch. May step backwards; ids and timers do not depend on it."""
        ...

    async def connect(
        self,
        host: str,
        port: int,
        *,
        local_address: str = "",
        tls: Tls | None = None,
        user_timeout_s: float = 0,
    ) -> trio.abc.Stream:
        """One TCP (and TLS) connection attempt.

        Errors: OSError; trio.BrokenResourceError from a failed handshake, its cause an ssl.SSLError.
        """
        ...

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]: ...

    async def resolve(self, host: str, port: int) -> list[str]:
        """Every address of a name, as text. Errors: OSError."""
        ...


class RealWorld:
    """Sockets, the wall clock and the system's entropy."""

    def __init__(self) -> None:
        self.rng = random.Random(random.SystemRandom().getrandbits(64))

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def connect(
        self,
        host: str,
        port: int,
        *,
        local_address: str = "",
        tls: Tls | None = None,
        user_timeout_s: float = 0,
    ) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(host, port, local_address=local_address or None)
        tune(stream, user_timeout_s)
        if tls is None:
            return stream
        secured = trio.SSLStream(stream, tls.context, server_hostname=tls.server_name or host)
        try:
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
        return list(await trio.open_tcp_listeners(port, host=host))

    async def resolve(self, host: str, port: int) -> list[str]:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(item[4][0]) for item in found))


def tune(stream: trio.SocketStream, user_timeout_s: float = 0) -> None:
    """Options for a long-lived session: no Nagle, keep-alive, and an end to writes nobody acknowledges."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", int(user_timeout_s * 1000)),
    ):
        option = getattr(socket, name, None)
        if option is not None and value:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)


async def listen_on(world: World, host: str, port: int, key: str) -> list[trio.abc.Listener[trio.abc.Stream]]:
    """`world.listen`. Errors: OSError with the address and its configuration key as its filename."""
    try:
        return await world.listen(host, port)
    except OSError as error:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise OSError(error.errno, error.strerror, f"{shown}, {key}") from None
