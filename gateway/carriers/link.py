"""One link: connect, bind, carry, lose, back off, again. A carrier has `sessions` of them.

The protocol is smpp.session's; a link moves its bytes, keeps its timers and hands every event to its
owner's funnel. Invariant: whatever was sent and not answered when a link ends is handed to the owner
exactly once (`Closed.unanswered`).

Deliberately not here: what an answer means (router.judge), what to send (dispatch), receipts (inbound).
"""

from __future__ import annotations

import os
import ssl
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from gateway.carriers.tls import tls_problem
from gateway.inlet import Inlet
from gateway.outlet import Outlet, PeerNotReading
from gateway.world import Tls, World
from router.throttle import Throttle
from smpp import events
from smpp.constants import CommandId
from smpp.pdu import BindReceiver, BindTransceiver, BindTransmitter
from smpp.session import Role, Session, SessionSettings, SessionState

if TYPE_CHECKING:
    from gateway.tracing import Taps

log = structlog.get_logger("carrier")

_READ_BYTES = 262_144
_TICK_S = 1.0
_UNBIND_S = 1.0  # for the answer to our unbind
_MESSAGES: frozenset[type[events.Event]] = frozenset(
    (events.Request, events.Receipts, events.Response, events.Accepted)
)
_BIND_PDUS = {
    "transmitter": BindTransmitter,
    "receiver": BindReceiver,
    "transceiver": BindTransceiver,
}


class BackOff:
    """Exponential with full-range jitter and a cap; a success resets it."""

    def __init__(self, first_s: float, cap_s: float) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._failures = 0

    def next_s(self, chance: float) -> float:
        """Seconds to wait; `chance` in [0, 1)."""
        ceiling = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ceiling * (0.5 + chance / 2)

    def reset(self) -> None:
        self._failures = 0


class LinkOwner(Protocol):
    """The carrier, as a link sees it."""

    def link_bound(self, link: Link) -> None: ...
    def link_events(self, link: Link, happened: Sequence[events.Event]) -> None: ...
    def link_lost(
        self, link: Link, reason: str, unanswered: Sequence[object], unsent: Sequence[object]
    ) -> None: ...


class Target:
    """Where a link connects and as what: hosts in order of preference."""

    __slots__ = ("bind", "bind_pdu", "connect_timeout_s", "hosts", "local_address", "tls", "user_timeout_s")

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        bind: str,
        bind_fields: dict[str, bytes | int],
        *,
        local_address: str = "",
        tls: Tls | None = None,
        connect_timeout_s: float = 10,
        user_timeout_s: float = 0,
    ) -> None:
        self.hosts = tuple(hosts)
        self.bind = bind
        self.bind_pdu = bind_fields
        self.local_address = local_address
        self.tls = tls
        self.connect_timeout_s = connect_timeout_s
        self.user_timeout_s = user_timeout_s


class Link:
    """One bind to one carrier. `run` ends only by cancellation or after `drain`."""

    def __init__(
        self,
        name: str,
        owner: LinkOwner,
        world: World,
        target: Target,
        settings: SessionSettings,
        throttle: Throttle,
        back_off: BackOff,
        unbind_pause_s: float,
    ) -> None:
        self.name = name
        self.bind = target.bind
        self.throttle = throttle
        self.session: Session | None = None
        self.outlet: Outlet | None = None
        self.bound = False
        self.bound_since = 0.0
        self.last_error = ""
        self.host = ""
        self.streaming: deque[object] = deque()  # segments of long messages that must leave on this link
        self.paused_until = 0.0
        self.kept = False  # for one message alone: no room for others
        self.outbound = False  # the carrier connected to us
        self.tap: Taps | None = None  # while somebody traces it
        self.make = 0  # of which settings it is: the fleet's count
        self.suspended = False  # by an operator: it takes nothing new, and stays bound
        self._shut = False  # for new messages, for whichever reason
        self._scope = trio.CancelScope()
        self._ended_for_good = trio.Event()
        self._owner = owner
        self._world = world
        self._target = target
        self._settings = settings
        self._back_off = back_off
        self._unbind_pause_s = unbind_pause_s
        self._draining = False
        self._attempt = 0
        self._peer_unbound = False
        self._unanswered: list[object] = []

    @property
    def can_submit(self) -> bool:
        return self.bound and self.bind != "receiver" and not self._shut

    @property
    def room(self) -> int:
        """Free window slots, 0 while it cannot submit or is kept."""
        session = self.session
        if not self.bound or session is None or self._shut or self.kept or self.bind == "receiver":
            return 0
        return session.window_free

    @property
    def slots(self) -> int:
        """The same where being kept does not count."""
        session = self.session
        return session.window_free if session is not None and self.can_submit else 0

    @property
    def empty(self) -> bool:
        """Nothing is unanswered or half-sent."""
        return not self.streaming and (self.session is None or not self.session.outstanding)

    @property
    def streaming_room(self) -> int:
        """The same for the rest of a long message that it has begun: that still leaves while it drains."""
        session = self.session
        return 0 if not self.bound or session is None or self.bind == "receiver" else session.window_free

    @property
    def half_sent(self) -> bool:
        """More of a long message could leave now."""
        return bool(self.streaming) and self.streaming_room > 0

    def flush(self) -> None:
        """Send what the session has written."""
        if self.session is not None and self.outlet is not None:
            data = self.session.data_to_send()
            if data:
                if self.tap is not None:
                    self.tap.outward(data, trio.current_time())
                self.outlet.write(data)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            with self._scope:
                while not self._draining:
                    pause_s = await self._once()
                    if self._draining:
                        return
                    await trio.sleep(pause_s)
        finally:
            self._ended_for_good.set()

    async def carry_outbind(self, stream: trio.abc.Stream) -> None:
        """Instead of `run`, on a connection that the carrier made."""
        self.outbound = True
        try:
            with self._scope:
                await self.carry(stream, outbound=True)
        finally:
            self._ended_for_good.set()

    def change(
        self, target: Target, settings: SessionSettings, back_off: BackOff, unbind_pause_s: float
    ) -> None:
        """Window and timers at once, where it connects (the same carrier, as the same) at the next time."""
        self._target, self._settings = target, settings
        self._back_off, self._unbind_pause_s = back_off, unbind_pause_s
        if self.session is not None:
            self.session.change(settings)

    async def _once(self) -> float:
        """One connection, from connect to loss. Returns the seconds to wait before the next."""
        host, port = self._target.hosts[self._attempt % len(self._target.hosts)]
        self.host = f"{host}:{port}"
        self._peer_unbound = False
        try:
            with trio.fail_after(self._target.connect_timeout_s):
                stream = await self._world.connect(
                    host,
                    port,
                    local_address=self._target.local_address,
                    tls=self._target.tls,
                    user_timeout_s=self._target.user_timeout_s,
                )
        except trio.TooSlowError:
            through = "connection with its TLS handshake" if self._target.tls else "connection"
            self._failed(f"no {through} to {self.host} within {self._target.connect_timeout_s:g} s")
            self._attempt += 1
            return self._pause_s()
        except (OSError, trio.BrokenResourceError) as error:
            self._failed(f"cannot connect to {self.host}: {self._why(error, host)}")
            self._attempt += 1
            return self._pause_s()
        await self.carry(stream)
        return self._unbind_pause_s if self._peer_unbound else self._pause_s()

    def _why(self, error: BaseException, host: str) -> str:
        """What broke a connection, in an operator's words."""
        cause = error.__cause__
        if isinstance(cause, BaseExceptionGroup):  # one for each address of the name
            cause = cause.exceptions[0]
        tls = self._target.tls
        if tls is not None and isinstance(cause, OSError):
            return tls_problem(cause, tls.server_name or host)
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        return str(cause or error) or type(error).__name__

    async def carry(self, stream: trio.abc.Stream, *, outbound: bool = False) -> None:
        """Bind on a connected stream and carry it to its end. `outbound`: the SMSC's outbind comes first."""
        now = trio.current_time()
        session = Session(Role.ESME, self._settings, now, together=True)
        outlet = Outlet(stream)
        self.session, self.outlet = session, outlet
        if self.tap is not None:
            self.tap.begin()
        if not outbound:
            self._send_bind(session, now)
        reason = "cancelled"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, outlet, nursery.cancel_scope)
                nursery.start_soon(self._time, session, nursery.cancel_scope)
                self.flush()
                reason = await self._read(stream, session)
                await outlet.last_words()
                nursery.cancel_scope.cancel()
        finally:
            self._ended(session, outlet, reason)
            await trio.aclose_forcefully(stream)

    def _send_bind(self, session: Session, now: float) -> None:
        pdu = _BIND_PDUS[self._target.bind](**self._target.bind_pdu)  # type: ignore[arg-type]
        session.bind(pdu, now)

    async def _read(self, stream: trio.abc.Stream, session: Session) -> str:
        inlet = Inlet(stream)
        while session.state is not SessionState.CLOSED:
            try:
                data = await inlet.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as error:
                return f"connection broken: {self._why(error, self.host.rpartition(':')[0])}"
            if not data:
                return "peer unbound" if self._peer_unbound else "peer closed the connection"
            now = trio.current_time()
            if self.tap is not None:
                self.tap.inward(data, now)
            self._handle(session.receive(data, now))
        return self.last_error or "session closed"

    async def _write(self, outlet: Outlet, scope: trio.CancelScope) -> None:
        try:
            await outlet.run()
        except (PeerNotReading, trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as error:
            self.last_error = f"write failed: {type(error).__name__}"
            scope.cancel()

    async def _time(self, session: Session, scope: trio.CancelScope) -> None:
        while True:
            now = trio.current_time()
            deadline = session.next_deadline()
            wait_s = _TICK_S if deadline is None else min(_TICK_S, max(0.0, deadline - now))
            await trio.sleep(wait_s)
            happened = session.tick(trio.current_time())
            if happened:
                self._handle(happened)
            self.flush()
            if session.state is SessionState.CLOSED:
                scope.cancel()
                return

    def _handle(self, happened: Sequence[events.Event]) -> None:
        """The funnel's first half: what concerns the link itself."""
        kinds = set(map(type, happened))
        for event in () if kinds <= _MESSAGES else happened:
            if isinstance(event, events.Bound):
                self._became_bound()
            elif isinstance(event, events.BindRefused):
                self._failed(f"bind refused: {event.status_name}")
            elif isinstance(event, events.PeerUnbound):
                self._peer_unbound = True
                self.bound = False
            elif isinstance(event, events.Closed):  # by the session itself: `_ended` hands it over
                self._unanswered.extend(event.unanswered)
            elif isinstance(event, events.OutbindReceived) and self.session is not None:
                self._send_bind(self.session, trio.current_time())
        self._owner.link_events(self, happened)
        self.flush()

    def _became_bound(self) -> None:
        self.bound = True
        self.bound_since = trio.current_time()
        self.last_error = ""
        self._back_off.reset()
        log.info("bound", link=self.name, host=self.host, bind=self.bind)
        self._owner.link_bound(self)

    def _ended(self, session: Session, outlet: Outlet, reason: str) -> None:
        """Everything outstanding goes back to the owner, exactly once."""
        was_bound, self.bound = self.bound, False
        self.kept = False
        if was_bound:
            if self._draining:
                log.info("unbound", link=self.name, host=self.host)
            else:
                log.warning("link lost", link=self.name, host=self.host, reason=reason)
        if not self._peer_unbound:
            self._attempt += 1
        unanswered, self._unanswered = self._unanswered, []
        for event in session.eof(trio.current_time()):
            if isinstance(event, events.Closed):
                unanswered.extend(event.unanswered)
        outlet.close()
        unsent = list(self.streaming)
        self.streaming.clear()
        self.session = self.outlet = None
        self._owner.link_lost(self, reason, unanswered, unsent)

    def suspend(self, suspended: bool) -> None:
        """Nothing new, or again what comes; what is half sent is finished, and receipts go on coming."""
        self.suspended = suspended
        self._shut = suspended or self._draining

    def take_nothing_new(self) -> None:
        self._draining = self._shut = True

    async def retire(self, within_s: float) -> None:
        """`drain`, then end for good, whatever it is doing. What has no answer by then is unknown."""
        await self.drain(within_s)
        self._scope.cancel()
        await self._ended_for_good.wait()

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new, finish what is half sent, wait for the window, unbind politely."""
        self.take_nothing_new()
        session = self.session
        if session is None:
            return
        with trio.move_on_after(deadline_s):
            while (session.outstanding or self.streaming) and self.bound:
                await trio.sleep(0.02)
        if self.bound and self.session is session:
            if not session.unbinding:  # an operator's drain may have begun before the gateway's
                session.unbind(trio.current_time())
                self.flush()
            with trio.move_on_after(_UNBIND_S):
                while session.state not in (SessionState.CLOSED, SessionState.UNBOUND):
                    await trio.sleep(0.02)

    def _failed(self, what: str) -> None:
        if what != self.last_error:
            log.warning("bind failed", link=self.name, error=what)
        self.last_error = what

    def _pause_s(self) -> float:
        return self._back_off.next_s(self._world.rng.random())


__all__ = ["BackOff", "CommandId", "Link", "LinkOwner", "Target"]
