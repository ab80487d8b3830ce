"""One customer's connection: bind, take submits, answer them after their commit, hand over receipts.

All submit_sm of one read go through the door together and are answered together. While more than the
account's window is unanswered, or its TPS is paced, nothing is read: TCP tells the customer to wait.

Invariants: a request is answered exactly once, a submit only after its fsync; whatever the customer had not
answered when the connection ends goes back to its port.

Deliberately not here: who may bind (gate), what other operations do (operations), timers' sweep (server).
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import structlog
import trio

from gateway.door import Accepted, Refusal, Submission
from gateway.inlet import Inlet
from gateway.outlet import Outlet, PeerNotReading
from gateway.smpp_server.gate import BindAsked, BindRefusal
from gateway.smpp_server.translate import PLAIN_IDS, Firsts, id_of, status_of, submissions
from smpp import events
from smpp.constants import RESPONSE_BIT, CommandId
from smpp.events import Answer, Request, Response, Submits
from smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DataSm,
    Outbind,
    Pdu,
    SubmitMulti,
    SubmitSm,
)
from smpp.session import Role, Session, SessionState, WrongState
from smpp.status import Status

if TYPE_CHECKING:
    from gateway.smpp_server.deliveries import Port
    from gateway.smpp_server.listener import Peer
    from gateway.smpp_server.server import SmppServer, Tenant
    from gateway.tracing import Taps
    from router.nouns import Account
    from store.interface import FreshRow

log = structlog.get_logger("smpp")

_READ_BYTES = 65_536
_BEFORE_BIND = 4096  # octets in all
_BROKE = (  # in reasons of sessions that ended by a time-out or an error
    "connection broken", "write failed", "broke the protocol", "not SMPP", "enquire_links unanswered",
    "no message for ",
)  # fmt: skip
_MOST_VIOLATIONS = 1_000
_COMPLAIN_S = 60.0
_LEAVE_S = 1.5  # who is dismissed is gone after this and a sweep, 2 s
_COMMAND, _ID = attrgetter("command_id"), attrgetter("id")
_SUBMIT_SM = int(CommandId.SUBMIT_SM)
_RSUBMITFAIL = int(Status.ESME_RSUBMITFAIL)
_RTHROTTLED = int(Status.ESME_RTHROTTLED)
_BIND_TYPES: dict[type[Pdu], str] = {
    BindTransmitter: "transmitter",
    BindReceiver: "receiver",
    BindTransceiver: "transceiver",
}
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError)

Submit = SubmitSm | DataSm | SubmitMulti
Asked = Submit | Submits


class Connection:
    """`serve` carries it from accept to end; the listener closes the stream."""

    def __init__(self, peer: Peer, server: SmppServer, *, outbind: Outbind | None = None) -> None:
        """`outbind`: we made the connection, and ask the customer to bind."""
        now = trio.current_time()
        self.peer = peer
        self.server = server
        self.session = Session(Role.SMSC, server.session_settings, peer.accepted_at, together=True)
        self.outlet = Outlet(peer.stream)
        self.number = 0  # of the bind, for operators
        self.login = ""
        self.bind_type = ""
        self.bound_at = 0.0
        self.active_at = now
        self.check_at = peer.accepted_at + server.settings.bind_timeout_s
        self.submits = 0
        self.tap: Taps | None = None  # while somebody traces it
        self._tenant: Tenant | None = None
        self._port: Port | None = None
        self._firsts = Firsts()
        self._unanswered = 0
        self._early = 0  # octets before the bind
        self._violations = 0
        self._leaving = False
        self._leave_by = math.inf  # when it ends, once it is dismissed
        self._complain_at = 0.0
        self._paced: list[Asked] = []  # waiting for the account's rate, in order
        self._nursery: trio.Nursery | None = None
        self._room = trio.Event()
        self._scope = trio.CancelScope()
        self._reason = ""
        self._asked: events.BindRequest | None = None
        if outbind is not None:
            self.session.outbind(outbind, now)

    # what others see

    @property
    def tenant(self) -> Tenant:
        assert self._tenant is not None
        return self._tenant

    @property
    def bound(self) -> bool:
        return self._tenant is not None

    @property
    def unanswered(self) -> int:
        """Submits taken and not answered yet."""
        return self._unanswered

    @property
    def busy(self) -> bool:
        """Whether an answer is due, ours or the customer's."""
        return bool(self._unanswered or self._paced or self.session.outstanding)

    @property
    def receives(self) -> bool:
        return self.session.state in (SessionState.BOUND_RX, SessionState.BOUND_TRX)

    def flush(self) -> None:
        """Send what the session has written."""
        data = self.session.data_to_send()
        if data:
            if self.tap is not None:
                self.tap.outward(data, trio.current_time())
            self.outlet.write(data)

    def close(self, reason: str) -> None:
        """End it now, without an unbind."""
        self._reason = self._reason or reason
        self._scope.cancel()

    def unbind(self, reason: str) -> None:
        """Ask the customer to leave; the response timer ends it in any case."""
        self._reason = self._reason or reason
        try:
            self.session.unbind(trio.current_time())
        except WrongState:
            self.close(reason)
            return
        self.check_at = 0.0
        self.flush()

    def dismiss(self, reason: str) -> None:
        """Take nothing more of the customer, ask it to leave, and end the connection within 2 s, whatever it
        answers. What was taken before is answered first."""
        held, self._paced = self._paced, []
        self._refuse_all(held, _RSUBMITFAIL)
        self.session.turn_away()
        self._leave_by = min(self._leave_by, trio.current_time() + _LEAVE_S)
        if self.session.unbinding:
            self.check_at = 0.0
            self.flush()
        else:
            self.unbind(reason)

    # life

    async def serve(self) -> None:
        """Until the connection ends."""
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                self._nursery = nursery
                nursery.start_soon(self._write, nursery.cancel_scope)
                self.flush()
                await self._read()
                await self.outlet.last_words()
                nursery.cancel_scope.cancel()
        finally:
            self._ended()

    async def _read(self) -> None:
        inlet, session = Inlet(self.peer.stream), self.session
        while not session.closed:
            try:
                data = await inlet.receive_some(_READ_BYTES)
            except _LOST as error:
                self._reason = self._reason or f"connection broken: {error.__cause__ or error or 'reset'}"
                return
            if not data:
                ended = "unbound" if session.state is SessionState.UNBOUND else "peer closed the connection"
                self._reason = self._reason or ended
                return
            now = trio.current_time()
            self.active_at = now
            if not self.bound:
                self._early += len(data)
                if self._early > _BEFORE_BIND:
                    self._reason = self._reason or f"more than {_BEFORE_BIND} octets before a bind"
                    return
            if self.tap is not None:
                self.tap.inward(data, now)
            self.handle(session.receive(data, now), now)
            if self._leaving:
                return
            if self._asked is not None:
                await self._bind()
            if self._unanswered and self._unanswered >= self.tenant.account.window:
                await self._wait_for_room()

    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            await self.outlet.run()
        except (PeerNotReading, *_LOST) as error:
            self._reason = self._reason or f"write failed: {type(error).__name__}"
            scope.cancel()

    async def _wait_for_room(self) -> None:
        """The window is full: half of it must be answered before more is read."""
        while self._unanswered > self.tenant.account.window // 2:
            self._room = trio.Event()
            await self._room.wait()

    async def _pace(self) -> None:
        """Submit what the account's rate lets through; answers and enquiries go on meanwhile."""
        while self._paced:
            await trio.sleep_until(self.tenant.throttle.next_at(1, trio.current_time()))
            self._submit_paced(trio.current_time())
            self.flush()

    def _submit_paced(self, now: float) -> None:
        waiting, self._paced = self._paced, []
        taken, self._paced = _parted(waiting, self.tenant.throttle.available(now))
        if taken:
            self.tenant.throttle.take(_count(taken), now)
            for _, some in groupby([one for one in taken if not isinstance(one, SubmitMulti)], _COMMAND):
                self._through_the_door([*some])
            for one in taken:
                if isinstance(one, SubmitMulti):
                    self.server.operations.paced_multi(self, one)

    def tick(self, now: float) -> None:
        """The server's sweep: act on what is due."""
        happened = self.session.tick(now)
        if happened:
            self.handle(happened, now)
        else:
            self.flush()
        deadline = self.session.next_deadline()
        self.check_at = self._leave_by if deadline is None else min(deadline, self._leave_by)
        if self.session.closed or (now >= self._leave_by and not self._unanswered):
            self.close("")

    def _ended(self) -> None:
        unanswered: Sequence[object] = ()
        for event in self.session.close(self._reason):
            if isinstance(event, events.Closed):
                unanswered = event.unanswered
        if self._tenant is not None:
            log.info(
                "customer left",
                session=self.number,
                account=self._tenant.account.name,
                system_id=self.login,
                address=self.peer.address,
                reason=self._reason or "closed",
                submits=self.submits,
            )
            if any(words in self._reason for words in _BROKE):
                who = f"session of {self.login} from {self.peer.address}"
                self.server.lost(self._tenant.account, f"{who}: {self._reason}")
        self.server.left(self, self._port, unanswered)

    # events

    def handle(self, happened: Sequence[events.Event], now: float) -> None:
        """The funnel: submits in one batch, answers in one batch, the rest one by one."""
        submits: list[Asked] = []
        done: list[FreshRow] = []
        answers: list[Answer] = []
        more = False
        port = self._port
        deliveries = self.server.deliveries
        for event in happened:
            kind = type(event)
            if kind is Submits:
                submits.append(event)  # type: ignore[arg-type]
            elif kind is Request:
                pdu = event.pdu  # type: ignore[union-attr]
                if type(pdu) is SubmitSm:
                    submits.append(pdu)
                else:
                    if submits:
                        self._submit(submits, now)
                        submits = []
                    self.server.operations.take(self, pdu)
            elif kind is events.Accepted:
                answers += event.answers  # type: ignore[union-attr]
            else:
                if answers and port is not None:
                    deliveries.answered_all(port, answers, done)
                    answers, more = [], True
                more |= self._other(event, port, done)
        if submits:
            self._submit(submits, now)
        if port is not None and (answers or more):
            deliveries.answered_all(port, answers, done)
            deliveries.finish(port, done)
        self.flush()
        deadline = now + self.session.settings.response_timeout_s
        if deadline < self.check_at:
            self.check_at = deadline

    def _other(self, event: events.Event, port: Port | None, done: list[FreshRow]) -> bool:
        deliveries = self.server.deliveries
        if isinstance(event, events.BindRequest):
            self._asked = event
        elif isinstance(event, Response):
            if port is None or event.late:
                return False
            deliveries.answered(port, event.context, event.pdu.command_status, done)
            return True
        elif isinstance(event, events.TimedOut):
            if port is not None:
                deliveries.timed_out(port, event.context)
            return True
        elif isinstance(event, events.Nacked):
            if port is not None:
                deliveries.answered(port, event.context, event.status or 1, done)
            return True
        elif isinstance(event, events.Closed):
            self._reason = self._reason or event.reason
            if port is not None:
                deliveries.leave(port, self, event.unanswered)
                self._port = None
        elif isinstance(event, events.ProtocolViolation):
            self._violated(event.error.detail)
        elif isinstance(event, events.TurnedAway) and event.command_id == _SUBMIT_SM:
            self.tenant.answered(event.status, 1)
        return False

    def _violated(self, what: str) -> None:
        """Before the bind once is enough; a customer of ours has many tries, and is told of now and then."""
        self.server.violations += 1
        self._violations += 1
        if not self.bound or self._violations > _MOST_VIOLATIONS:
            self._reason = self._reason or f"broke the protocol: {what}"
            self._leaving = True
            return
        now = trio.current_time()
        if now >= self._complain_at:
            self._complain_at = now + _COMPLAIN_S
            log.info(
                "customer broke the protocol",
                session=self.number,
                system_id=self.login,
                address=self.peer.address,
                what=what,
                so_far=self._violations,
            )

    # binding

    async def _bind(self) -> None:
        asked, self._asked = self._asked, None
        assert asked is not None
        self.server.listeners.asked(self.peer)
        pdu = asked.pdu
        assert isinstance(pdu, BindTransmitter | BindReceiver | BindTransceiver)
        verdict = await self.server.gate.admit(
            BindAsked(
                address=self.peer.address,
                system_id=pdu.system_id,
                password=pdu.password,
                bind_type=_BIND_TYPES[type(pdu)],
                version=pdu.interface_version,
                tls=self.peer.tls,
            )
        )
        session = self.session
        if session.closed:
            return
        if isinstance(verdict, BindRefusal):
            log.warning(
                "bind refused",
                session=self.number,
                system_id=pdu.system_id.decode("latin-1"),
                address=self.peer.address,
                status=Status.name_of(verdict.status),
                reason=verdict.reason,
            )
            await trio.sleep(verdict.wait_s)
            if session.closed:
                return
            self._reason = f"bind refused: {verdict.reason}"
            session.refuse_bind(verdict.status)
            self.flush()
            return
        account = verdict.account
        self.login = verdict.login
        self.bind_type = _BIND_TYPES[type(pdu)]
        self.bound_at = trio.current_time()
        self._tenant = self.server.join(self, account, takeover=verdict.takeover)
        session.accept_bind(self.server.settings.system_id.encode(), window=account.window)
        self.flush()
        log.info(
            "customer bound",
            session=self.number,
            account=account.name,
            system_id=self.login,
            bind=self.bind_type,
            address=self.peer.address,
            version=f"0x{session.peer_version:02x}",
        )
        self.check_at = session.next_deadline() or math.inf
        if self.receives:
            self._port = self.server.deliveries.join(account, self)

    # submitting

    def _submit(self, submits: Sequence[Asked], now: float) -> None:
        tenant = self.tenant
        account = tenant.account
        if account.tps:
            allowed = 0 if self._paced else tenant.throttle.available(now)
            submits, over = _parted(submits, allowed)
            tenant.throttle.take(_count(submits), now)
            if over and account.tps_mode == "pace":
                over = self._hold(over, account.window)
            self._refuse_all(over, _RTHROTTLED)
        if submits:
            self._through_the_door(submits)

    def _hold(self, submits: Sequence[Asked], window: int) -> list[Asked]:
        """Let them wait for the rate; returns those for which a window and as much again leaves no room."""
        room = max(0, 2 * window - _count(self._paced))
        if not self._paced and room and self._nursery is not None:
            self._nursery.start_soon(self._pace)
        held, over = _parted(submits, room)
        self._paced += held
        return over

    def _through_the_door(self, submits: Sequence[Asked]) -> None:
        """All submit_sm, or all data_sm."""
        account = self.tenant.account
        now_ms = self.server.world.wall_ms()
        command_id = submits[0].command_id
        numbers, asked, others = submissions(
            submits, account, now_ms, self.session.peer_version, self._firsts
        )
        for pdu, request in others:
            if not isinstance(request, Submission):
                self.refuse(pdu, request)
                continue
            self._unanswered += 1
            done = partial(self._answered, account, command_id, [pdu.sequence_number])
            self.server.operations.submit_replacing(account, request, done)
        if asked:
            self.submits += len(numbers)
            self._unanswered += len(numbers)
            self.server.submit(account, asked, partial(self._answered, account, command_id, numbers))

    def refuse(self, pdu: Pdu, status: int) -> None:
        """Answer with a status and no body (3.4 section 4.4.2)."""
        self._refuse(pdu.command_id, pdu.sequence_number, status)

    def _refuse(self, command_id: int, number: int, status: int) -> None:
        if self._tenant is not None and command_id == _SUBMIT_SM:
            self._tenant.answered(int(status), 1)
        self.session.respond_raw(command_id | RESPONSE_BIT, int(status), number, b"")

    def _refuse_all(self, submits: Sequence[Asked], status: int) -> None:
        for one in submits:
            for number in one.numbers() if isinstance(one, Submits) else (one.sequence_number,):
                self._refuse(one.command_id, number, status)

    def _answered(
        self, account: Account, command_id: int, numbers: Sequence[int], results: Sequence[Accepted | Refusal]
    ) -> None:
        """COMMIT A is durable: answer each."""
        session = self.session
        form = account.id_form
        plain, response = PLAIN_IDS.get(form), command_id | RESPONSE_BIT
        if plain and Refusal not in map(type, results):
            session.respond_all(response, numbers, map(plain.__mod__, map(_ID, results)))
            self.tenant.answered(0, len(numbers))
        else:
            for number, result in zip(numbers, results, strict=True):
                if isinstance(result, Refusal):
                    status = status_of(result, session.peer_version, account.unpaid_status)
                    self._refuse(command_id, number, status)
                else:
                    shown_id = id_of(form, result.id, result.alias)
                    session.respond_raw(response, 0, number, shown_id)
                    self.tenant.answered(0, 1)
        self._unanswered -= len(numbers)
        self._room.set()
        self.flush()

    def submit(self, pdus: Sequence[Asked]) -> None:
        """A data_sm goes the way of a submit_sm."""
        self._submit(pdus, trio.current_time())

    def took(self, count: int) -> None:
        """So many more submits are under way; negative: answered."""
        self._unanswered += count
        if count < 0:
            self._room.set()

    def may_submit(self, count: int) -> bool:
        """Take so many from the account's rate, or none."""
        now = trio.current_time()
        throttle = self.tenant.throttle
        if self._paced or throttle.available(now) < min(count, 1):
            return False
        throttle.take(count, now)
        return True

    def may_wait(self, pdu: SubmitMulti) -> bool:
        """Let a submit_multi wait for the account's rate, behind what waits already; False: it cannot."""
        account = self.tenant.account
        return account.tps_mode == "pace" and not self._hold([pdu], account.window)


def _count(submits: Iterable[Asked]) -> int:
    return sum([one.count if isinstance(one, Submits) else 1 for one in submits])


def _parted(submits: Sequence[Asked], count: int) -> tuple[list[Asked], list[Asked]]:
    """The first so many, and the others."""
    first: list[Asked] = []
    for place, one in enumerate(submits):
        own = one.count if isinstance(one, Submits) else 1
        if own > count:
            others = [one, *submits[place + 1 :]]
            if isinstance(one, Submits) and count:
                some, others[0] = one.parted(count)
                first.append(some)
            return first, others
        first.append(one)
        count -= own
    return first, []
