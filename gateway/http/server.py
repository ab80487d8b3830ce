"""The HTTP/1.1 server: accepts what there is room for, flushes what commits answered, stops politely.

`serve(listeners)` runs until `stop()`: then it accepts no more, lets what is in flight be answered, and
cuts what is left after stop_timeout_s. Works on any trio listener and stream; sockets are the fast case.

Deliberately not here: HTTP itself (connection.py), which handler (routes.py), who gets the room there is
(room.py), binding (gateway.world).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import structlog
import trio

from gateway.http.answer import BY_TLS_ALONE, Renderer
from gateway.http.connection import Connection
from gateway.http.counts import HttpCounts
from gateway.http.head import HeadReader
from gateway.http.ports import WallClock
from gateway.http.problems import BadRequest
from gateway.http.room import Room, Spare, network_named, no_room
from gateway.http.routes import Routes
from gateway.http.settings import HttpSettings

_ACCEPT_PAUSE_S = 0.1
_OUT_OF_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_REFUSAL_TIMEOUT_S = 1.0
_REFUSALS_AT_ONCE = 32

log = structlog.get_logger("http")


class HttpServer:
    """One server over any number of listeners. `routes` must be complete before `serve`.

    `address_of` tells a stream's peer.
    """

    def __init__(
        self,
        routes: Routes,
        settings: HttpSettings,
        wall_ms: WallClock,
        *,
        address_of: Callable[[trio.abc.Stream], str] | None = None,
    ) -> None:
        self.settings = settings
        self.routes = routes
        self.heads = HeadReader(settings, routes)
        self.renderer = Renderer(wall_ms)
        self.secured = Renderer(wall_ms, BY_TLS_ALONE)
        self.counts = HttpCounts()
        self.answered = self.counts.answered
        self._address_of = address_of or peer_address
        self._room = Room(settings)
        self._dirty: list[Connection] = []
        self._flusher = trio.lowlevel.ParkingLot()
        self._accepting: trio.CancelScope | None = None
        self._stopping = False
        self._refusing = 0

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop()`; closes the listeners. Reports started when it accepts."""
        async with trio.open_nursery() as flushing:
            flushing.start_soon(self._flush)
            async with trio.open_nursery() as serving:
                async with trio.open_nursery() as accepting:
                    self._accepting = accepting.cancel_scope
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, serving)
                    task_status.started()
                    if self._stopping:
                        accepting.cancel_scope.cancel()
                    else:
                        accepting.start_soon(trio.sleep_forever)
                for connection in self._room.connections():
                    connection.stop()
                serving.cancel_scope.deadline = trio.current_time() + self.settings.stop_timeout_s
            flushing.cancel_scope.cancel()

    def stop(self) -> None:
        """Stop politely: `serve` returns when all that is in flight is answered, or after stop_timeout_s."""
        self._stopping = True
        if self._accepting is not None:
            self._accepting.cancel()

    def dirty(self, connection: Connection) -> None:
        """An answer became ready outside of a read: flush that connection soon, with all others."""
        if not connection.marked:
            connection.marked = True
            self._dirty.append(connection)
            if len(self._dirty) == 1:
                self._flusher.unpark()

    async def _flush(self) -> None:
        while True:
            if not self._dirty:
                await self._flusher.park()
            dirty, self._dirty = self._dirty, []
            for connection in dirty:
                connection.marked = False
                connection.flush()

    async def _accept(self, listener: trio.abc.Listener[trio.abc.Stream], serving: trio.Nursery) -> None:
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _OUT_OF_ROOM:
                        raise
                    log.error(
                        "cannot accept", error=str(error), hint="raise the limit of open files (ulimit -n)"
                    )
                    await trio.sleep(_ACCEPT_PAUSE_S)
                    continue
                self._admit(stream, serving)

    def _admit(self, stream: trio.abc.Stream, serving: trio.Nursery) -> None:
        peer = self._address_of(stream)
        network = network_named(peer)
        why = self._room.make(network)
        if why is None:
            connection = Connection(self, stream, peer)
        else:
            refusal = no_room(why, self.settings)
            self.counts.connections_refused[why] += 1
            if not self._room.has_spare(network):
                self._refusing += 1
                serving.start_soon(self._refuse, stream, refusal)
                return
            connection = Spare(self, stream, peer, refusal)
        self._room.enter(connection, network)
        self._count()
        serving.start_soon(self._run, connection)

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        except Exception:
            log.exception("connection failed", peer=connection.peer)
        finally:
            self._room.leave(connection)
            self._count()

    def _count(self) -> None:
        self.counts.connections = len(self._room)
        self.counts.connections_refused["evicted"] = self._room.evicted

    async def _refuse(self, stream: trio.abc.Stream, refusal: BadRequest) -> None:
        """Not even a spare place: say so where that costs little, and close."""
        try:
            if self._refusing <= _REFUSALS_AT_ONCE:
                answer = self.renderer.render(*refusal.answer(), connection="close")
                with trio.move_on_after(_REFUSAL_TIMEOUT_S):
                    await stream.send_all(answer)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._refusing -= 1
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await trio.aclose_forcefully(stream)


def peer_address(stream: trio.abc.Stream) -> str:
    """The peer's address where the stream knows one."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if not isinstance(transport, trio.SocketStream):
        return "local"
    try:
        name = transport.socket.getpeername()
    except OSError:
        return "gone"
    return str(name[0]) if isinstance(name, tuple) and name else "local"
