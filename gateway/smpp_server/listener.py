"""Our SMSC's listening side: accepts connections, finds out who is there, and hands each to `serve`.

A connection is met in this order: room for it, PROXY header, room for its address, its first octet, TLS,
`serve`. All of it, and the bind, have until bind_timeout_s after accept. A plain connection reaches `serve`
as the bare SocketStream it was accepted as, also behind a proxy, because no octet after the header is read
here.

Invariants:
- at most max_connections are open, and fewer where the limit of open files is lower;
- at most max_unbound_per_address sockets of one address (IPv6: one /64) are open and not bound. The next one
  is closed at once. Sockets of a named proxy count for the client they name, once they named it;
- when all are taken, the socket that has been unbound longest makes room, so sockets that never bind cannot
  keep customers out; bound ones are never closed for others;
- a socket costs no task before its first octet (behind a proxy: the first after the header);
- an address whose connections keep ending without a bind request is closed at once for a while, where the
  gate says so; named proxies never are, their clients are;
- accepting gives way to everybody else after _ACCEPTED_AT_ONCE;
- a PROXY header is required from addresses in proxy_from and never looked for from any other;
- nothing that a peer does ends `run`; nobody is turned away without being counted, and said in the log now
  and then. A peer that leaves by itself before it was served (a health check) is neither.

Deliberately not here: one connection's header and handshake (arrivals.py), SMPP and the deadline of a bind
(connection.py), passwords and who is spared what (gate.py), the end of bound connections at a stop (their
server).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import msgspec
import structlog
import trio

from config.model import Address, SmppConfig
from gateway.certificates import Certificates
from gateway.smpp_server.addresses import canonical, network_of
from gateway.smpp_server.arrivals import Arrival, Left, Refused, read_header, shake_hands, too_late
from gateway.smpp_server.descriptors import Spare, room_for
from gateway.smpp_server.networks import Networks
from gateway.smpp_server.parking import Parking
from gateway.smpp_server.proxy import HeaderParser
from gateway.world import World, tune

REASONS = ("full", "per_address", "never_asked", "silent", "proxy_header", "tls", "evicted", "no_descriptor")

_OUT_OF_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_ACCEPT_PAUSE_S = 0.1
_FAREWELL_S = 1.0
_UNACKNOWLEDGED_S = 60.0
_SAY_ACCEPT_EVERY_S = 60.0
_SAY_REFUSAL_EVERY_S = 10.0
_SAY_SHUT_OUT_EVERY_S = 60.0
_ACCEPTED_AT_ONCE = 32  # about a millisecond
_GATHER_S = 0.005  # while somebody who is shut out knocks, so that a turn of the loop closes several
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: nothing of it stays behind, not even TIME_WAIT

_Listener = tuple[trio.abc.Listener[trio.abc.Stream], bool]  # and whether it is for TLS

log = structlog.get_logger("smpp")


class Peer(msgspec.Struct, eq=False):
    """A connection that may speak SMPP now. Compared by identity."""

    stream: trio.abc.Stream
    address: str  # canonical, of the client itself; "memory" where a stream has none
    port: int = 0
    tls: bool = False
    certificate_subject: str = ""  # RFC 4514, as CN=acme,O=Acme Ltd; "" without mutual TLS
    via_proxy: str = ""  # the named proxy's address; equal to `address` where its header named nobody
    accepted_at: float = msgspec.field(default_factory=trio.current_time)


class ListenerCounts(msgspec.Struct):
    """`refused` by reason (REASONS), `open` and `unbound` now; `accepted` are those that found room."""

    accepted: int = 0
    refused: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    open: int = 0
    unbound: int = 0


class Strangers(Protocol):
    """What the gate is asked and told about networks that keep connecting and never ask for a bind."""

    def shut_out_s(self, address: str, network: str) -> float: ...
    def never_asked(self, address: str, network: str) -> None: ...


class SmppListeners:
    """`run` once; `serve` is called for each peer in a task of its own, and its stream closed after it."""

    def __init__(
        self,
        settings: SmppConfig,
        world: World,
        serve: Callable[[Peer], Awaitable[None]],
        strangers: Strangers | None = None,
    ) -> None:
        """`strangers` None: nobody is shut out. Errors: ValueError for a proxy_from that is no CIDR."""
        self._settings = settings
        self._world = world
        self._serve = serve
        self._strangers = strangers
        self._proxies = Networks(settings.proxy_from)
        if self._proxies.unreadable:
            raise ValueError(f"[smpp] proxy_from: {self._proxies.unreadable[0]!r} is no address and no CIDR")
        self._certificates = Certificates(settings)
        self._room = settings.max_connections
        self._open: set[Arrival] = set()
        self._unbound: dict[Arrival, None] = {}  # oldest first
        self._unbound_of: dict[str, int] = {}  # by network, never 0
        self._served: dict[Peer, Arrival] = {}
        self._parking: Parking[Arrival] = Parking(self._spoke, self._late)
        self._serving: trio.Nursery | None = None
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
            async with trio.open_nursery() as serving:
                self._serving = serving
                await self._accept_all(listeners, secured, spare, task_status)
        finally:
            self._parking.close()
            spare.give()

    async def _accept_all(
        self, listeners: list[_Listener], secured: bool, spare: Spare, task_status: trio.TaskStatus[None]
    ) -> None:
        """Until `stop`."""
        try:
            async with trio.open_nursery() as accepting:
                self._accepting = accepting.cancel_scope
                accepting.start_soon(self._parking.run)
                for listener, tls in listeners:
                    accepting.start_soon(self._accept, listener, tls, spare)
                if secured:
                    accepting.start_soon(self._certificates.watch)
                task_status.started()
                if self._stopping:
                    accepting.cancel_scope.cancel()
        finally:
            for arrival in [one for one in self._unbound if one.socket is not None]:
                self._unpark(arrival)
                self._drop(arrival)

    def stop(self) -> None:
        """Accept no more; open connections go on, but for those that have said nothing yet."""
        self._stopping = True
        if self._accepting is not None:
            self._accepting.cancel()

    def reload(self) -> None:
        """Read the certificates again, for new connections; bad ones are refused with a log line."""
        if self._settings.listen_tls:
            self._certificates.reload()

    @property
    def certificate_expires_at(self) -> float | None:
        """Seconds since the epoch, of the certificate in use; None without TLS."""
        return self._certificates.expires_at

    def asked(self, peer: Peer) -> None:
        """This peer has asked for a bind: whatever becomes of it, the gate knows."""
        arrival = self._served.get(peer)
        if arrival is not None:
            arrival.asked = True

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

    async def _listen(self) -> list[_Listener]:
        wanted = [(address, False) for address in self._settings.listen]
        wanted += [(address, True) for address in self._settings.listen_tls]
        opened: list[_Listener] = []
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

    async def _accept(self, listener: trio.abc.Listener[trio.abc.Stream], tls: bool, spare: Spare) -> None:
        async with listener:
            if not isinstance(listener, trio.SocketListener):
                await self._accept_streams(listener, tls, spare)
                return
            theirs = listener.socket
            with socket.fromfd(theirs.fileno(), theirs.family, theirs.type) as listening:
                listening.setblocking(False)
                while True:
                    await trio.lowlevel.wait_readable(listening)
                    shut_out = self.counts.refused["never_asked"]
                    try:
                        self._accept_some(listening, tls)
                    except OSError as error:
                        await self._recover(error, listener, spare)
                    if self.counts.refused["never_asked"] > shut_out:
                        await trio.sleep(_GATHER_S)

    def _accept_some(self, listening: socket.socket, tls: bool) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, name = listening.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue  # the peer has gone already
            self._meet(accepted, name, tls)

    async def _accept_streams(
        self, listener: trio.abc.Listener[trio.abc.Stream], tls: bool, spare: Spare
    ) -> None:
        """Streams that are no sockets have no address and cannot be parked."""
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                await self._recover(error, listener, spare)
                continue
            arrival = self._arrival("memory", 0, tls)
            arrival.stream = stream
            if self._admit(arrival):
                self._carry_soon(arrival)
            else:
                await trio.aclose_forcefully(stream)

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

    # admitting

    def _arrival(self, address: str, port: int, tls: bool) -> Arrival:
        return Arrival(address, port, tls=tls, within_s=self._settings.bind_timeout_s)

    def _meet(self, accepted: socket.socket, name: tuple[str, int], tls: bool) -> None:
        """Park a socket that was just accepted, or close it."""
        address = canonical(name[0]) if ":" in name[0] else name[0]
        proxied = address in self._proxies
        if not proxied and self._shut_out(address, network_of(address), ""):
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            accepted.close()
            return
        arrival = self._arrival(address, name[1], tls)
        arrival.socket = accepted
        if proxied:
            arrival.via_proxy = address
            arrival.header = HeaderParser()
        if not self._admit(arrival):
            accepted.close()
            return
        try:
            self._parking.add(accepted.fileno(), arrival.deadline, arrival)
        except OSError:
            self._drop(arrival)
            raise

    def _shut_out(self, address: str, network: str, via_proxy: str) -> bool:
        """Whether its network keeps connecting without asking for a bind; counted and said then."""
        left_s = self._strangers.shut_out_s(address, network) if self._strangers is not None else 0.0
        if left_s:
            why = f"connections of {network} keep ending without a bind request; for {left_s:.0f} s more"
            self._refuse(Refused("never_asked", why), address, via_proxy)
        return left_s > 0

    def _admit(self, arrival: Arrival) -> bool:
        """Count it in; False when it has to go."""
        try:
            if not arrival.via_proxy:
                self._count_for_address(arrival)
            if len(self._open) >= self._room and not self._evict():
                raise Refused("full", f"all {self._room} connections are bound ([smpp] max_connections)")
        except Refused as refused:
            self._leave(arrival)
            self._refuse(refused, arrival.address, arrival.via_proxy)
            return False
        self._open.add(arrival)
        self._unbound[arrival] = None
        self.counts.accepted += 1
        self._recount()
        return True

    def _count_for_address(self, arrival: Arrival) -> None:
        network = network_of(arrival.address)
        count = self._unbound_of.get(network, 0)
        if count >= self._settings.max_unbound_per_address:
            raise Refused("per_address", f"{count} sockets of {network} wait for a bind already")
        self._unbound_of[network] = count + 1
        arrival.network = network

    def _evict(self) -> bool:
        """Let the socket that has been unbound longest make room; False when all are bound.

        Of one that is served only the task is cancelled: its descriptor must not be used again before the
        task is done with it.
        """
        oldest = next(iter(self._unbound), None)
        if oldest is None:
            return False
        self._refuse(
            Refused("evicted", "it had not bound yet, and its place was needed"),
            oldest.address,
            oldest.via_proxy,
        )
        if oldest.scope is None:
            self._unpark(oldest)
            self._drop(oldest)
        else:
            self._leave(oldest)
            oldest.scope.cancel()
        return True

    # silent sockets

    def _spoke(self, arrival: Arrival) -> None:
        """A parked socket has something to read, or its peer has left."""
        assert arrival.socket is not None
        try:
            if arrival.header is not None:
                read_header(arrival, arrival.socket, arrival.header)
                self._named(arrival)
            elif arrival.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                self._open_stream(arrival)
            else:
                raise Left
        except BlockingIOError:
            pass
        except Refused as refused:
            self._unpark(arrival)
            self._refuse(refused, arrival.address, arrival.via_proxy)
            self._drop(arrival)
        except (Left, OSError):
            self._unpark(arrival)
            self._drop(arrival)

    def _named(self, arrival: Arrival) -> None:
        """Its proxy has said who the client is. Errors: Refused, Left."""
        if arrival.address != arrival.via_proxy:
            network = network_of(arrival.address)
            if self._shut_out(arrival.address, network, arrival.via_proxy):
                raise Left
        self._count_for_address(arrival)

    def _late(self, arrival: Arrival) -> None:
        """A parked socket's time is over; it is no longer parked."""
        self._refuse(too_late(arrival), arrival.address, arrival.via_proxy)
        self._drop(arrival)

    def _unpark(self, arrival: Arrival) -> None:
        assert arrival.socket is not None
        self._parking.remove(arrival.socket.fileno())

    def _drop(self, arrival: Arrival) -> None:
        """Close a socket that is no longer parked."""
        assert arrival.socket is not None
        arrival.socket.close()
        arrival.socket = None
        self._leave(arrival)

    def _open_stream(self, arrival: Arrival) -> None:
        """Give it a stream and a task. Errors: OSError when the peer has gone."""
        assert arrival.socket is not None
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(arrival.socket))
        tune(stream, _UNACKNOWLEDGED_S)
        self._unpark(arrival)
        arrival.socket = None
        arrival.stream = stream
        self._carry_soon(arrival)

    # one connection

    def _carry_soon(self, arrival: Arrival) -> None:
        assert self._serving is not None
        arrival.scope = trio.CancelScope()
        self._serving.start_soon(self._carry, arrival, arrival.scope)

    async def _carry(self, arrival: Arrival, scope: trio.CancelScope) -> None:
        peer = None
        try:
            with scope:
                peer = await self._secured(arrival)
                self._served[peer] = arrival
                await self._serve(peer)
        except Refused as refused:
            self._refuse(refused, arrival.address, arrival.via_proxy)
        except Left:
            pass
        except Exception:
            log.exception("SMPP connection failed", peer=arrival.address)
        finally:
            assert arrival.stream is not None
            await _close(arrival.stream, 0 if scope.cancel_called else _FAREWELL_S)
            if peer is not None:
                self._served.pop(peer, None)
            self._leave(arrival)

    async def _secured(self, arrival: Arrival) -> Peer:
        """Who is there, after TLS where it has to be. Errors: Refused, Left."""
        assert arrival.stream is not None
        subject = ""
        if arrival.tls:
            arrival.stream, subject = await shake_hands(arrival, arrival.stream, self._certificates.context)
        return Peer(
            stream=arrival.stream,
            address=arrival.address,
            port=arrival.port,
            tls=arrival.tls,
            certificate_subject=subject,
            via_proxy=arrival.via_proxy,
            accepted_at=arrival.accepted_at,
        )

    # counting

    def _no_longer_unbound(self, arrival: Arrival) -> None:
        self._unbound.pop(arrival, None)
        if arrival.network:
            self._unbound_of[arrival.network] -= 1
            if not self._unbound_of[arrival.network]:
                del self._unbound_of[arrival.network]
            arrival.network = ""
        self._recount()

    def _leave(self, arrival: Arrival) -> None:
        if arrival in self._unbound and not arrival.asked:
            self._never_asked(arrival)
        self._open.discard(arrival)
        self._no_longer_unbound(arrival)

    def _never_asked(self, arrival: Arrival) -> None:
        """It leaves without having asked for a bind. A proxy that comes for nobody is not counted."""
        if self._strangers is not None and arrival.network and arrival.address != arrival.via_proxy:
            self._strangers.never_asked(arrival.address, arrival.network)

    def _recount(self) -> None:
        self.counts.open = len(self._open)
        self.counts.unbound = len(self._unbound)

    def _refuse(self, refused: Refused, address: str, via_proxy: str) -> None:
        self.counts.refused[refused.reason] += 1
        every_s = _SAY_SHUT_OUT_EVERY_S if refused.reason == "never_asked" else _SAY_REFUSAL_EVERY_S
        held_back = self._said.turn(refused.reason, every_s)
        if held_back is not None:
            log.warning(
                "SMPP connection refused",
                reason=refused.reason,
                peer=address,
                via_proxy=via_proxy,
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


async def _close(stream: trio.abc.Stream, farewell_s: float) -> None:
    """Close politely for so long (TLS says that it ends), then anyhow."""
    deadline = trio.current_time() + farewell_s
    with trio.CancelScope(shield=True, deadline=deadline), suppress(OSError, trio.BrokenResourceError):
        await stream.aclose()
