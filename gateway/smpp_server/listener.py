"""Our SMSC's listening side: accepts connections, finds out who is there, and hands each to `serve`.

A connection is met in this order: room for it, PROXY header, room for its address, TLS, `serve`. Header and
handshake have until bind_timeout_s after accept. A plain connection reaches `serve` as the bare SocketStream
it was accepted as, also behind a proxy, because no octet after the header is read here.

Invariants:
- at most max_connections are open, and fewer where the limit of open files is lower;
- at most max_unbound_per_address sockets of one address (IPv6: one /64) are open and not bound. The next one
  is closed at once. Sockets of a named proxy count for the client they name, once they named it;
- when all are taken, the socket that has been unbound longest makes room, so sockets that never bind cannot
  keep customers out; bound ones are never closed for others;
- a PROXY header is required from addresses in proxy_from and never looked for from any other;
- nothing that a peer does ends `run`; nobody is turned away without being counted, and said in the log now
  and then. A peer that leaves by itself before it was served (a health check) is neither.

Deliberately not here: SMPP and the deadline of a bind (connection.py), passwords and addresses that an
account may come from (gate.py), the end of bound connections at a stop (their server).
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import structlog
import trio

from config.model import Address, SmppConfig
from gateway.smpp_server.addresses import canonical, network_of
from gateway.smpp_server.certificates import Certificates, subject_of
from gateway.smpp_server.descriptors import Spare, room_for
from gateway.smpp_server.networks import Networks
from gateway.smpp_server.proxy import HeaderParser, ProxyError, ProxyHeader
from gateway.world import World, tune

REASONS = ("full", "per_address", "proxy_header", "tls", "evicted", "no_descriptor")

_OUT_OF_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_ACCEPT_PAUSE_S = 0.1
_FAREWELL_S = 1.0
_UNACKNOWLEDGED_S = 60.0
_SAY_ACCEPT_EVERY_S = 60.0
_SAY_REFUSAL_EVERY_S = 10.0

log = structlog.get_logger("smpp")


class Peer(msgspec.Struct, eq=False):
    """A connection that may speak SMPP now. Compared by identity."""

    stream: trio.abc.Stream
    address: str  # canonical, of the client itself; "memory" where a stream has none
    port: int = 0
    tls: bool = False
    certificate_subject: str = ""  # RFC 4514, as CN=acme,O=Acme Ltd; "" without mutual TLS
    via_proxy: str = ""  # the named proxy's address; equal to `address` where its header named nobody


class ListenerCounts(msgspec.Struct):
    """`refused` by reason (REASONS), `open` and `unbound` now; `accepted` are those that found room."""

    accepted: int = 0
    refused: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    open: int = 0
    unbound: int = 0


class _Refused(Exception):
    """This connection is closed; `reason` is one of REASONS, `why` is for the operator."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class _Left(Exception):
    """The peer left by itself, before it could be served."""


class _Arrival:
    """One socket from accept to close. `network` is "" while it counts for no address."""

    __slots__ = ("address", "deadline", "network", "port", "scope", "stream", "tls", "via_proxy")

    def __init__(self, stream: trio.abc.Stream, tls: bool, deadline: float) -> None:
        self.stream = stream
        self.tls = tls
        self.deadline = deadline
        self.address, self.port = _endpoint(stream)
        self.via_proxy = ""
        self.network = ""
        self.scope = trio.CancelScope()


class SmppListeners:
    """`run` once; `serve` is called for each peer in a task of its own, and its stream closed after it."""

    def __init__(self, settings: SmppConfig, world: World, serve: Callable[[Peer], Awaitable[None]]) -> None:
        """Errors: ValueError for a proxy_from that is no CIDR."""
        self._settings = settings
        self._world = world
        self._serve = serve
        self._proxies = Networks(settings.proxy_from)
        if self._proxies.unreadable:
            raise ValueError(f"[smpp] proxy_from: {self._proxies.unreadable[0]!r} is no address and no CIDR")
        self._certificates = Certificates(settings)
        self._room = settings.max_connections
        self._open: set[_Arrival] = set()
        self._unbound: dict[_Arrival, None] = {}  # oldest first
        self._unbound_of: dict[str, int] = {}  # by network, never 0
        self._served: dict[Peer, _Arrival] = {}
        self._accepting: trio.CancelScope | None = None
        self._stopping = False
        self._said = _Rarely()
        self.counts = ListenerCounts()

    # running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop` and until the last connection ended; started once all addresses listen.

        Errors, only before it has started: CertificateProblem; OSError with the address and its configuration
        key as its filename.
        """
        secured = bool(self._settings.listen_tls)
        if secured:
            self._certificates.load()
        self._measure_room()
        listeners = await self._listen()
        spare = Spare()
        try:
            async with trio.open_nursery() as serving, trio.open_nursery() as accepting:
                self._accepting = accepting.cancel_scope
                for listener, tls in listeners:
                    accepting.start_soon(self._accept, listener, tls, spare, serving)
                if secured:
                    accepting.start_soon(self._certificates.watch)
                task_status.started()
                if self._stopping:
                    accepting.cancel_scope.cancel()
        finally:
            spare.give()

    def stop(self) -> None:
        """Accept no more; open connections go on."""
        self._stopping = True
        if self._accepting is not None:
            self._accepting.cancel()

    def reload(self) -> None:
        """Read the certificates again, for new connections; bad ones are refused with a log line."""
        if self._settings.listen_tls:
            self._certificates.reload()

    def bound(self, peer: Peer) -> None:
        """This peer has bound: it no longer counts as unbound, and never has to make room."""
        arrival = self._served.get(peer)
        if arrival is not None:
            self._no_longer_unbound(arrival)

    def _measure_room(self) -> None:
        self._room = room_for(self._settings.max_connections)
        if self._room < self._settings.max_connections:
            log.warning(
                "fewer SMPP connections than [smpp] max_connections",
                max_connections=self._settings.max_connections,
                possible=self._room,
                hint="raise the limit of open files (ulimit -n, LimitNOFILE)",
            )

    async def _listen(self) -> list[tuple[trio.abc.Listener[trio.abc.Stream], bool]]:
        wanted = [(address, False) for address in self._settings.listen]
        wanted += [(address, True) for address in self._settings.listen_tls]
        opened: list[tuple[trio.abc.Listener[trio.abc.Stream], bool]] = []
        try:
            for address, tls in wanted:
                opened += [(listener, tls) for listener in await self._listen_on(address, tls)]
        except BaseException:
            with trio.CancelScope(shield=True):
                for listener, _ in opened:
                    await listener.aclose()
            raise
        return opened

    async def _listen_on(self, address: Address, tls: bool) -> list[trio.abc.Listener[trio.abc.Stream]]:
        try:
            return await self._world.listen(address.host, address.port)
        except OSError as error:
            key = "[smpp] listen_tls" if tls else "[smpp] listen"
            raise OSError(error.errno, error.strerror, f"{address}, {key}") from None

    # accepting

    async def _accept(
        self,
        listener: trio.abc.Listener[trio.abc.Stream],
        tls: bool,
        spare: Spare,
        serving: trio.Nursery,
    ) -> None:
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    await self._recover(error, listener, spare)
                    continue
                arrival = self._admit(stream, tls)
                if arrival is None:
                    await trio.aclose_forcefully(stream)
                else:
                    serving.start_soon(self._carry, arrival)

    async def _recover(
        self, error: OSError, listener: trio.abc.Listener[trio.abc.Stream], spare: Spare
    ) -> None:
        """Accept failed, mostly for want of descriptors: make room, or tell one peer no."""
        held_back = self._said.turn("accept", _SAY_ACCEPT_EVERY_S)
        if held_back is not None:
            log.error(
                "cannot accept SMPP connections",
                error=str(error),
                open=len(self._open),
                times_since_last_said=held_back,
                hint="raise the limit of open files (ulimit -n, LimitNOFILE)",
            )
        if error.errno in _OUT_OF_ROOM and not self._evict():
            await self._turn_one_away(listener, spare)
        else:
            await trio.sleep(_ACCEPT_PAUSE_S)

    async def _turn_one_away(self, listener: trio.abc.Listener[trio.abc.Stream], spare: Spare) -> None:
        """Close whoever waits, rather than let them wait for a bind's whole timeout."""
        pause = trio.current_time() + _ACCEPT_PAUSE_S
        spare.give()
        try:
            with trio.move_on_at(pause):
                stream = await listener.accept()
                self.counts.refused["no_descriptor"] += 1
                await trio.aclose_forcefully(stream)
        except OSError:
            await trio.sleep_until(pause)
        finally:
            spare.keep()

    def _admit(self, stream: trio.abc.Stream, tls: bool) -> _Arrival | None:
        """Count it in, or None when it has to go."""
        try:
            arrival = _Arrival(stream, tls, trio.current_time() + self._settings.bind_timeout_s)
        except OSError:
            return None  # the peer has gone already
        try:
            if arrival.address in self._proxies:
                arrival.via_proxy = arrival.address
            else:
                self._count_for_address(arrival)
            if len(self._open) >= self._room and not self._evict():
                raise _Refused("full", f"all {self._room} connections are bound ([smpp] max_connections)")
        except _Refused as refused:
            self._leave(arrival)
            self._refuse(refused, arrival)
            return None
        self._open.add(arrival)
        self._unbound[arrival] = None
        self.counts.accepted += 1
        self._recount()
        return arrival

    def _count_for_address(self, arrival: _Arrival) -> None:
        network = network_of(arrival.address)
        count = self._unbound_of.get(network, 0)
        if count >= self._settings.max_unbound_per_address:
            raise _Refused("per_address", f"{count} sockets of {network} wait for a bind already")
        self._unbound_of[network] = count + 1
        arrival.network = network

    def _evict(self) -> bool:
        """Let the socket that has been unbound longest make room; False when all are bound.

        Only its task is cancelled: its descriptor must not be used again before the task is done with it.
        """
        oldest = next(iter(self._unbound), None)
        if oldest is None:
            return False
        self._leave(oldest)
        self._refuse(_Refused("evicted", "it had not bound yet, and its place was needed"), oldest)
        oldest.scope.cancel()
        return True

    # one connection

    async def _carry(self, arrival: _Arrival) -> None:
        peer = None
        try:
            with arrival.scope:
                peer = await self._meet(arrival)
                self._served[peer] = arrival
                await self._serve(peer)
        except _Refused as refused:
            self._refuse(refused, arrival)
        except _Left:
            pass
        except Exception:
            log.exception("SMPP connection failed", peer=arrival.address)
        finally:
            await _close(arrival.stream, 0 if arrival.scope.cancel_called else _FAREWELL_S)
            if peer is not None:
                self._served.pop(peer, None)
            self._leave(arrival)

    async def _meet(self, arrival: _Arrival) -> Peer:
        """Who is there. Errors: _Refused, _Left."""
        if isinstance(arrival.stream, trio.SocketStream):
            try:
                tune(arrival.stream, _UNACKNOWLEDGED_S)
            except OSError:
                raise _Left from None
        if arrival.via_proxy:
            header = await self._read_header(arrival)
            if header.address:
                arrival.address, arrival.port = header.address, header.port
            self._count_for_address(arrival)
        subject = await self._secure(arrival) if arrival.tls else ""
        return Peer(arrival.stream, arrival.address, arrival.port, arrival.tls, subject, arrival.via_proxy)

    async def _read_header(self, arrival: _Arrival) -> ProxyHeader:
        parser = HeaderParser()
        silent = True
        try:
            with trio.fail_at(arrival.deadline):
                while True:
                    data = await arrival.stream.receive_some(parser.wants)
                    if not data:
                        raise _Left if silent else _Refused("proxy_header", "the header ends in its middle")
                    silent = False
                    header = parser.receive(data)
                    if header is not None:
                        return header
        except ProxyError as error:
            raise _Refused("proxy_header", str(error)) from None
        except trio.TooSlowError:
            raise _Refused("proxy_header", f"no header within {self._settings.bind_timeout_s:g} s") from None
        except trio.BrokenResourceError:
            raise _Left from None

    async def _secure(self, arrival: _Arrival) -> str:
        """The handshake; arrival.stream is inside TLS after it. The subject of the client's certificate."""
        try:
            with trio.fail_at(arrival.deadline):
                if not await _speaks(arrival.stream):
                    raise _Left
                stream = trio.SSLStream(arrival.stream, self._certificates.context, server_side=True)
                await stream.do_handshake()
        except trio.TooSlowError:
            raise _Refused("tls", f"no handshake within {self._settings.bind_timeout_s:g} s") from None
        except trio.BrokenResourceError as error:
            raise _Refused("tls", _why_no_tls(error.__cause__)) from None
        except OSError:
            raise _Left from None
        arrival.stream = stream
        return subject_of(stream.getpeercert())

    # counting

    def _no_longer_unbound(self, arrival: _Arrival) -> None:
        self._unbound.pop(arrival, None)
        if arrival.network:
            self._unbound_of[arrival.network] -= 1
            if not self._unbound_of[arrival.network]:
                del self._unbound_of[arrival.network]
            arrival.network = ""
        self._recount()

    def _leave(self, arrival: _Arrival) -> None:
        self._open.discard(arrival)
        self._no_longer_unbound(arrival)

    def _recount(self) -> None:
        self.counts.open = len(self._open)
        self.counts.unbound = len(self._unbound)

    def _refuse(self, refused: _Refused, arrival: _Arrival) -> None:
        self.counts.refused[refused.reason] += 1
        held_back = self._said.turn(refused.reason, _SAY_REFUSAL_EVERY_S)
        if held_back is not None:
            log.warning(
                "SMPP connection refused",
                reason=refused.reason,
                peer=arrival.address,
                via_proxy=arrival.via_proxy,
                why=str(refused),
                others_since_last_said=held_back,
            )


class _Rarely:
    """Whether something that happens often may be said again."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def turn(self, what: str, every_s: float) -> int | None:
        """How many times it was held back since it was last said; None while it has to be held back."""
        now = trio.current_time()
        if now < self._next.get(what, now):
            self._held_back[what] += 1
            return None
        self._next[what] = now + every_s
        held_back = self._held_back.get(what, 0)
        self._held_back[what] = 0
        return held_back


def _endpoint(stream: trio.abc.Stream) -> tuple[str, int]:
    """The peer's canonical address and port. Errors: OSError when it has gone."""
    if not isinstance(stream, trio.SocketStream):
        return "memory", 0
    name = stream.socket.getpeername()
    return canonical(str(name[0])), int(name[1])


async def _speaks(stream: trio.abc.Stream) -> bool:
    """Wait for the first octet without taking it; False when the peer closes instead. Errors: OSError.

    Also keeps the buffers of TLS from whoever only connects. Other streams than sockets cannot tell.
    """
    if not isinstance(stream, trio.SocketStream):
        return True
    return bool(await stream.socket.recv(1, socket.MSG_PEEK))


def _why_no_tls(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate: {error.verify_message}"
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return "the client left in the middle of the handshake; perhaps it does not trust our certificate"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "BAD_RECORD_TYPE"):
        return f"{reason}: probably no TLS client at all"
    return reason


async def _close(stream: trio.abc.Stream, farewell_s: float) -> None:
    """Close politely for so long (TLS says that it ends), then anyhow."""
    deadline = trio.current_time() + farewell_s
    with trio.CancelScope(shield=True, deadline=deadline), suppress(OSError, trio.BrokenResourceError):
        await stream.aclose()
