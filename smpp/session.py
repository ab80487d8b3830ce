"""The session machine: octets in, events out, octets to send. Both roles, no I/O, no clock.

It answers enquire_link, unbind and whatever breaks the protocol by itself; everything else is told as an
event. Every public call takes `now`, seconds on one monotonic clock.

Invariants: a context handed in comes back exactly once (smpp.events says how); nothing is sent after CLOSED;
a peer that is not bound gets 4 KiB and one deadline; a request in a wrong state has no effect.

Deliberately not here: sockets, reconnecting, what a message means, who may bind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, islice, repeat
from struct import Struct

import msgspec

from smpp.alike import Kinds
from smpp.answers import BOUND_ALREADY, TURNED_AWAY, How, answer, served
from smpp.codec import HEADER, decode_frame, encode, with_header
from smpp.constants import HEADER_OCTETS, RESPONSE_BIT, CommandId, Tlv
from smpp.errors import ProtocolError
from smpp.events import (
    Accepted,
    Answer,
    BindRefused,
    BindRequest,
    Bound,
    Closed,
    Event,
    Nacked,
    OutbindReceived,
    PeerUnbound,
    ProtocolViolation,
    Receipts,
    Request,
    Response,
    TimedOut,
    TurnedAway,
)
from smpp.framer import Frame, Framer
from smpp.pdu import (
    PDUS,
    BindReceiverResp,
    BindTransceiverResp,
    BindTransmitterResp,
    Outbind,
    Pdu,
)
from smpp.receipt import UsualReceipts
from smpp.states import BINDS, BOUND, WITHOUT_RESPONSE, Role, SessionState, WrongState, allowed, carried
from smpp.status import Status
from smpp.window import Pending, Window, WindowFull

__all__ = ["Role", "Session", "SessionSettings", "SessionState", "WindowFull", "WrongState"]

_ENQUIRE_LINK = int(CommandId.ENQUIRE_LINK)
_UNBIND = int(CommandId.UNBIND)
_SUBMIT_SM = int(CommandId.SUBMIT_SM)
_DELIVER_SM = int(CommandId.DELIVER_SM)
_MESSAGE_ID_RESPS: frozenset[int] = frozenset(
    (CommandId.SUBMIT_SM_RESP, CommandId.DELIVER_SM_RESP, CommandId.DATA_SM_RESP)
)  # that have nothing else in them
_GENERIC_NACK = int(CommandId.GENERIC_NACK)
_BIND_RESPS: dict[int, type[BindReceiverResp | BindTransmitterResp | BindTransceiverResp]] = {
    CommandId.BIND_RECEIVER: BindReceiverResp,
    CommandId.BIND_TRANSMITTER: BindTransmitterResp,
    CommandId.BIND_TRANSCEIVER: BindTransceiverResp,
}
_KNOWN = frozenset(int(command) for command in PDUS)
_CLOSED = SessionState.CLOSED
_NO_REQUEST = (None, 0.0, 0)
_IN_A_ROW = 8  # answers of one length that probably follow one that is read by itself
_LENGTH_AND_ID = 8  # octets: command_length and command_id
_LONGEST_ANSWER = HEADER_OCTETS + 65
_pack_header = HEADER.pack
_unpack_header = HEADER.unpack_from
_FROM_WIRE = {command_id: cls.from_wire for command_id, cls in PDUS.items()}


@cache
def _answers_of(octets: int) -> Callable[[memoryview], Iterator[tuple[int, int, int, bytes, int]]]:
    """Reads responses of such a length: length and id, status, number, message_id and its NUL."""
    return Struct(f"!QLL{octets - HEADER_OCTETS - 1}sB").iter_unpack


def _accept_alike(
    data: bytes, start: int, size: int, in_flight: dict[int, Pending], now: float, answers: list[Answer]
) -> int:
    """Answers that follow the plain one at `start` and are plain, and as long; where they end."""
    length, command_id, _, _ = _unpack_header(data, start)
    start += length
    if not HEADER_OCTETS < length <= _LONGEST_ANSWER:
        return start
    like, find, accept = length << 32 | command_id, in_flight.get, answers.append
    whole = memoryview(data)[start : start + (size - start) // length * length]
    for length_and_id, status, number, message_id, last in _answers_of(length)(whole):
        if length_and_id != like or status or last or 0 in message_id:
            break
        context, sent, awaited = find(number, _NO_REQUEST)
        if awaited != command_id:
            break
        del in_flight[number]
        accept((context, now - sent, message_id))
        start += length
    return start


class SessionSettings(msgspec.Struct, frozen=True):
    """Seconds and octets; 0 switches a timer off. SMPP 3.4 section 7.2 names the four timers."""

    window: int = 10
    session_init_timeout_s: float = 10.0
    enquire_link_s: float = 30.0
    enquire_link_misses: int = 2
    response_timeout_s: float = 30.0
    inactivity_timeout_s: float = 0.0
    late_response_grace_s: float = 120.0
    max_pdu: int = 16 + 65_536
    max_pdu_before_bind: int = 4096
    version: int = 0x34


class Session:
    """One connection's protocol. The owner sends `data_to_send()` after every call that may have written."""

    def __init__(self, role: Role, settings: SessionSettings, now: float, *, together: bool = False) -> None:
        """`together`: what is plain and comes in a row is told in one event: Submits, Receipts or
        Accepted."""
        self.role = role
        self._accepting = _MESSAGE_ID_RESPS if together else frozenset()
        self._receipts_in = _DELIVER_SM if together else 0
        self._usual = UsualReceipts()
        self._submits_in = _SUBMIT_SM if together else 0
        self._kinds = Kinds()
        self.settings = settings
        self.state = SessionState.OPEN
        self.peer_version = settings.version
        self.nacks_unmatched = 0
        self._framer = Framer(settings.max_pdu_before_bind)
        self._window = Window(settings.window, settings.response_timeout_s, settings.late_response_grace_s)
        self._out: list[bytes] = []
        self._opened = now
        self._heard = now  # anything at all
        self._active = now  # a message, not an enquire_link
        self._misses = 0
        self._asked = 0.0  # when the last enquire_link left
        self._binding: tuple[int, int] | None = None  # our bind: (sequence_number, command_id)
        self._bind_request: Pdu | None = None
        self._unbinding: int | None = None
        self._unbind_sent = 0.0
        self._carries: frozenset[int] = frozenset()  # requests the peer may send now
        self._sends: frozenset[int] = frozenset()  # and we
        self._open_for_requests = False  # bound, and not about to leave
        self._turned_away = False  # the peer has to leave, and nothing more is taken of it

    # what an owner looks at

    @property
    def outstanding(self) -> int:
        """Requests in the window."""
        return self._window.outstanding

    @property
    def response_due(self) -> float | None:
        """When the next unanswered request times out; None when there is none."""
        return self._window.next_deadline()

    def unanswered(self) -> list[object]:
        """The contexts of the requests in the window."""
        return self._window.contexts()

    @property
    def closed(self) -> bool:
        return self.state is SessionState.CLOSED

    @property
    def half_received(self) -> bytes:
        """What has come of a PDU that is not whole yet, for somebody who begins to listen in."""
        return self._framer.rest

    def change(self, settings: SessionSettings) -> None:
        """Other timers and another window from now on; what is in flight stays, and so does the version."""
        self.settings = settings
        self._window.change(settings.window, settings.response_timeout_s, settings.late_response_grace_s)

    @property
    def window_free(self) -> int:
        """Free slots; 0 unless bound."""
        if not self._open_for_requests:
            return 0
        window = self._window
        free = window.size - len(window.in_flight)
        return free if free > 0 else 0

    def data_to_send(self) -> bytes:
        """Everything written since the last call, joined."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    # requests of ours

    def request(self, pdu: Pdu, now: float, context: object = None) -> int:
        """Send a request and register it. Returns its sequence_number. Raises WindowFull, WrongState.

        One that has no response (alert_notification) takes no room in the window and needs none.
        """
        self._check(pdu.command_id)
        window = self._window
        if pdu.command_id not in WITHOUT_RESPONSE:
            window.check()
        pdu.sequence_number = number = next(window.numbers)
        octets = encode(pdu, self.peer_version)
        if pdu.command_id not in WITHOUT_RESPONSE:
            window.in_flight[number] = (context, now, pdu.command_id | RESPONSE_BIT)
        self._out.append(octets)
        self._active = now
        return number

    def submit_raw(self, body: bytes, command_id: int, now: float, context: object) -> int:
        """`request` for a body built beforehand: the hot path. Raises WindowFull, WrongState."""
        if command_id not in self._sends:
            raise self._wrong_state(command_id)
        window = self._window
        in_flight = window.in_flight
        if len(in_flight) >= window.size:
            window.check()
        number = next(window.numbers)
        in_flight[number] = (context, now, command_id | RESPONSE_BIT)
        self._out.append(_pack_header(len(body) + HEADER_OCTETS, command_id, 0, number) + body)
        self._active = now
        return number

    def submit_all(
        self, bodies: Sequence[bytes], command_id: int, now: float, contexts: Iterable[object]
    ) -> None:
        """`submit_raw` for each of these bodies and contexts, or for none. Raises WindowFull, WrongState."""
        if command_id not in self._sends:
            raise self._wrong_state(command_id)
        window = self._window
        window.check(len(bodies))
        numbers = list(islice(window.numbers, len(bodies)))
        pending = zip(contexts, repeat(now), repeat(command_id | RESPONSE_BIT))
        window.in_flight.update(zip(numbers, pending, strict=False))
        octets = [len(body) + HEADER_OCTETS for body in bodies]
        headers = map(_pack_header, octets, repeat(command_id), repeat(0), numbers)
        self._out.extend(chain.from_iterable(zip(headers, bodies, strict=True)))
        self._active = now

    def _wrong_state(self, command_id: int) -> WrongState:
        return WrongState(f"{CommandId(command_id).name.lower()} in state {self.state.value}")

    def _check(self, command_id: int) -> None:
        if not allowed(self.role, self.state, command_id) or self._unbinding is not None:
            name = PDUS[command_id].command
            raise WrongState(f"{name} is not allowed for the {self.role.value} in state {self.state.value}")

    def bind(self, pdu: Pdu, now: float) -> int:
        """ESME: ask for a bind; ends in Bound or BindRefused. Raises WrongState."""
        self._check(pdu.command_id)
        if self._binding is not None:
            raise WrongState("a bind is under way already")
        pdu.sequence_number = number = next(self._window.numbers)
        self._reserve(number, pdu.command_id)
        self._binding = (number, pdu.command_id)
        self._opened = now
        self._out.append(encode(pdu, self.settings.version))
        return number

    def outbind(self, pdu: Outbind, now: float) -> None:
        """SMSC: ask the ESME to bind to us (3.4 section 2.2.1)."""
        self._check(pdu.command_id)
        pdu.sequence_number = next(self._window.numbers)
        self._out.append(encode(pdu, self.settings.version))
        self.state = SessionState.OUTBOUND
        self._opened = now

    @property
    def unbinding(self) -> bool:
        """Good-bye was said."""
        return self._unbinding is not None

    def unbind(self, now: float) -> None:
        """Say good-bye; Closed follows the answer or the response timer. Raises WrongState."""
        self._check(_UNBIND)
        number = next(self._window.numbers)
        self._reserve(number, _UNBIND)
        self._unbinding = number
        self._sends = frozenset()
        self._open_for_requests = False
        self._unbind_sent = now
        self._out.append(with_header(_UNBIND, 0, number, b""))

    def turn_away(self) -> None:
        """SMSC: refuse whatever a bound peer asks from now on, as smpp.answers.TURNED_AWAY says. It may still
        answer, enquire and unbind."""
        self._turned_away = True
        self._carries = frozenset()

    def _reserve(self, number: int, command_id: int) -> None:
        self._window.reserved[number] = command_id

    # answers of ours

    def respond(self, pdu: Pdu) -> None:
        """Answer a Request; the PDU carries its sequence_number."""
        if self.state is not SessionState.CLOSED:
            self._out.append(encode(pdu, self.peer_version))

    def respond_raw(self, command_id: int, status: int, sequence_number: int, body: bytes) -> None:
        """`respond` for a body built beforehand: the hot path."""
        if self.state is not _CLOSED:
            self._out.append(
                _pack_header(len(body) + HEADER_OCTETS, command_id, status, sequence_number) + body
            )

    def respond_written(self, answers: Iterable[bytes]) -> None:
        """`respond` for whole PDUs written beforehand: those of one commit."""
        if self.state is not _CLOSED:
            self._out.extend(answers)

    def respond_all(self, command_id: int, numbers: Iterable[int], bodies: Iterable[bytes]) -> None:
        """`respond_raw` with status 0 for each of these numbers and bodies: those of one commit."""
        if self.state is not _CLOSED:
            pack = _pack_header
            self._out += [
                pack(len(body) + HEADER_OCTETS, command_id, 0, number) + body
                for number, body in zip(numbers, bodies, strict=True)
            ]

    def accept_bind(
        self,
        system_id: bytes = b"",
        tlvs: tuple[tuple[int, bytes], ...] | None = None,
        window: int | None = None,
    ) -> None:
        """SMSC: accept the pending BindRequest. `tlvs`: default sc_interface_version; `window`: this peer's
        own, where the settings' is not for it. Raises WrongState."""
        pdu = self._pending_bind()
        if window is not None:
            self._window.size = window
        if tlvs is None:
            tlvs = ((int(Tlv.SC_INTERFACE_VERSION), bytes((self.settings.version,))),)
        version = getattr(pdu, "interface_version", 0x34)
        self.peer_version = min(version or 0x33, self.settings.version)
        response = _BIND_RESPS[pdu.command_id](
            system_id=system_id[:15], tlvs=tlvs, sequence_number=pdu.sequence_number
        )
        self._out.append(encode(response, self.peer_version))
        self._enter(BINDS[pdu.command_id])

    def refuse_bind(self, status: int) -> list[Event]:
        """SMSC: refuse the pending BindRequest and close. Raises WrongState."""
        pdu = self._pending_bind()
        self._out.append(with_header(pdu.command_id | RESPONSE_BIT, int(status), pdu.sequence_number, b""))
        return self._close("bind refused")

    def _pending_bind(self) -> Pdu:
        pdu, self._bind_request = self._bind_request, None
        if pdu is None:
            raise WrongState("no bind waits for an answer")
        return pdu

    def _enter(self, state: SessionState) -> None:
        self.state = state
        self._carries = served(self.role.peer, state)
        self._sends = carried(self.role, state)
        self._open_for_requests = True
        self._framer.max_pdu_octets = self.settings.max_pdu

    # input

    def receive(self, data: bytes, now: float) -> list[Event]:
        """One read's worth of octets. Never raises for what a peer sent."""
        if self.state is _CLOSED:
            return []
        happened: list[Event] = []
        add = happened.append
        framer, in_flight = self._framer, self._window.in_flight
        find = in_flight.get
        carries = self._carries
        submits_in, receipts_in, usual = self._submits_in, self._receipts_in, self._usual.find
        receipts: Receipts | None = None  # the last ones in a row
        accepting, accepted = self._accepting, None
        data, most = framer.join(data), framer.max_pdu_octets
        end, size = 0, len(data)
        last = size - HEADER_OCTETS
        while end <= last:
            length, command_id, status, number = _unpack_header(data, end)
            start = end
            end += length
            if end > size or length < HEADER_OCTETS or length > most:
                end = start
                break
            try:
                if command_id >= RESPONSE_BIT:
                    context, sent, awaited = find(number, _NO_REQUEST)
                    if awaited == command_id:
                        if not (status or data[end - 1]) and command_id in accepting:
                            message_id = data[start + HEADER_OCTETS : end - 1]  # empty without a body, too
                            if 0 not in message_id:  # all that there is
                                del in_flight[number]
                                if accepted is None:
                                    accepted = Accepted([])
                                    add(accepted)
                                answers = accepted.answers
                                answers.append((context, now - sent, message_id))
                                if (
                                    (ahead := end + _IN_A_ROW * length) < size
                                    and len(answers) % _IN_A_ROW == 1
                                    and data.startswith(data[start : start + _LENGTH_AND_ID], ahead)
                                ):
                                    end = _accept_alike(data, start, size, in_flight, now, answers)
                                continue
                        accepted = None
                        pdu = _FROM_WIRE[command_id](data[start:end], status, number)
                        del in_flight[number]
                        add(Response(pdu, context, now - sent))
                        continue
                elif command_id in carries:  # also what crosses our unbind on the wire
                    if command_id == submits_in and end <= last:  # one alone is not worth it
                        cut = self._kinds.cut(data, start, size, most)
                        if cut is not None:
                            submits, end = cut
                            add(submits)
                            continue
                    if command_id == receipts_in:
                        said = usual(data, start + HEADER_OCTETS, end)
                        if said is not None:
                            if receipts is None:
                                receipts = Receipts([], [])
                                add(receipts)
                            receipts.numbers.append(number)
                            receipts.said.append(said)
                            continue
                    receipts = None  # requests stay in order
                    add(Request(_FROM_WIRE[command_id](data[start:end], status, number)))
                    continue
                self._other((command_id, status, number, data[start:end]), now, happened)
            except ProtocolError as error:
                self._broken((command_id, status, number, data[start:end]), error, now, happened)
            if self.state is _CLOSED:
                return happened
            carries, accepted = self._carries, None
        if happened:
            self._active = now
        if end:  # half a PDU is no sign of life: a peer may send it octet by octet for ever
            self._heard = now
            self._misses = 0
        if end != size:
            framer.keep(data, end)
            if framer.error is not None:
                self._out_of_step(framer.error, happened)
        return happened

    def _out_of_step(self, error: ProtocolError, happened: list[Event]) -> None:
        """Nobody knows where the next PDU begins."""
        happened.append(ProtocolViolation(error))
        if self.state in BOUND:
            self._nack(0, error.command_status)
        happened += self._close(f"not SMPP: {error.detail}")

    def _other(self, frame: Frame, now: float, happened: list[Event]) -> None:
        """What is neither the plain answer to a request in the window nor a message."""
        if frame[0] & RESPONSE_BIT:
            self._response(frame, now, happened)
        else:
            self._request(frame, now, happened)

    def _response(self, frame: Frame, now: float, happened: list[Event]) -> None:
        """A response that is not the plain answer to a request in the window."""
        command_id, status, number, _ = frame
        window = self._window
        reserved = window.reserved.get(number)
        if reserved is not None and command_id in (reserved | RESPONSE_BIT, _GENERIC_NACK):
            del window.reserved[number]
            self._own_answer(frame, reserved, happened)
            return
        if command_id == _GENERIC_NACK:
            pending = window.take(number) if number else None
            if pending is not None:
                happened.append(Nacked(pending[0], status, number))
                return
        late = window.find_late(number, now)
        if late is not None and command_id in (late[2], _GENERIC_NACK):
            pdu = decode_frame(frame)
            window.take_late(number)
            happened.append(Response(pdu, late[0], now - late[1], late=True))
            return
        if command_id == _GENERIC_NACK:
            self.nacks_unmatched += 1
        detail = "a response to nothing we asked"
        happened.append(
            ProtocolViolation(
                ProtocolError(detail, command_status=0, command_id=command_id, sequence_number=number)
            )
        )

    def _own_answer(self, frame: Frame, asked: int, happened: list[Event]) -> None:
        """The answer to the session's own bind, unbind or enquire_link."""
        if asked == _UNBIND:
            happened += self._close("unbound")
        elif asked in BINDS:
            self._binding = None
            if frame[1]:
                happened.append(BindRefused(frame[1]))
                happened += self._close(f"bind refused: {Status.name_of(frame[1])}")
                return
            pdu = decode_frame(frame)
            version = pdu.tlv(Tlv.SC_INTERFACE_VERSION)
            self.peer_version = min(version[0], self.settings.version) if version else self.settings.version
            self._enter(BINDS[asked])
            happened.append(Bound(pdu))

    def _request(self, frame: Frame, now: float, happened: list[Event]) -> None:
        """A request that is the session's business, or is not served now: smpp.answers says how."""
        command_id, _, number, _ = frame
        said = answer(self.role.peer, self.peer_version, self.state, command_id)
        if command_id in BINDS and self._bind_request is not None:
            said = BOUND_ALREADY
        if self._turned_away and said.how is How.SERVED and command_id in TURNED_AWAY:
            said = TURNED_AWAY[command_id]
            happened.append(TurnedAway(command_id, said.status))
        if said.how is How.NACKED:
            self._nack(number, said.status)
        elif said.how is How.REFUSED:
            self._out.append(with_header(command_id | RESPONSE_BIT, said.status, number, b""))
        elif said.how is How.IGNORED:
            pass
        elif command_id == _ENQUIRE_LINK:
            self._out.append(with_header(_ENQUIRE_LINK | RESPONSE_BIT, 0, number, b""))
        elif command_id == _UNBIND:
            self._out.append(with_header(_UNBIND | RESPONSE_BIT, 0, number, b""))
            self.state = SessionState.UNBOUND
            self._carries = self._sends = frozenset()
            self._open_for_requests = False
            happened.append(PeerUnbound())
        elif command_id in BINDS:
            self._bind_request = decode_frame(frame)
            happened.append(BindRequest(self._bind_request))
        elif command_id == CommandId.OUTBIND:
            pdu = decode_frame(frame)
            self.state = SessionState.OUTBOUND
            happened.append(OutbindReceived(pdu))
        if command_id not in _KNOWN:
            error = ProtocolError(
                f"unknown command_id 0x{command_id:08x}",
                command_status=said.status,
                command_id=command_id,
                sequence_number=number,
            )
            happened.append(ProtocolViolation(error))

    def _broken(self, frame: Frame, error: ProtocolError, now: float, happened: list[Event]) -> None:
        """A PDU with sound borders and a bad body: answer its status, keep the session."""
        command_id, status, number, _ = frame
        happened.append(ProtocolViolation(error))
        if not command_id & RESPONSE_BIT:
            self._refuse(command_id, number, error.command_status)
            return
        pending = self._window.take(number)
        if pending is None:
            return
        # The answer cannot be read in full; what there is of it still settles the request.
        if error.pdu is not None and error.pdu.command_id == pending[2]:
            happened.append(Response(error.pdu, pending[0], now - pending[1]))
        else:
            happened.append(Nacked(pending[0], status or int(Status.ESME_RUNKNOWNERR), number))

    def _refuse(self, command_id: int, number: int, status: int) -> None:
        if command_id in WITHOUT_RESPONSE:
            return
        if command_id in _KNOWN:
            self._out.append(with_header(command_id | RESPONSE_BIT, int(status), number, b""))
        else:
            self._nack(number, int(status))

    def _nack(self, number: int, status: int) -> None:
        self._out.append(with_header(_GENERIC_NACK, status, number, b""))

    # time

    def next_deadline(self) -> float | None:
        """When `tick` has something to do; None only once closed."""
        if self.state is SessionState.CLOSED:
            return None
        settings = self.settings
        deadlines: list[float] = []
        window = self._window.next_deadline()
        if window is not None:
            deadlines.append(window)
        if self._unbinding is not None:
            deadlines.append(self._unbind_sent + settings.response_timeout_s)
        if self.state not in BOUND:
            if settings.session_init_timeout_s:
                deadlines.append(self._opened + settings.session_init_timeout_s)
        elif settings.enquire_link_s:
            deadlines.append(self._next_enquiry())
        if settings.inactivity_timeout_s:
            deadlines.append(self._active + settings.inactivity_timeout_s)
        return min(deadlines, default=None)

    def _next_enquiry(self) -> float:
        if not self._misses:
            return self._heard + self.settings.enquire_link_s
        return self._asked + min(self.settings.enquire_link_s, self.settings.response_timeout_s)

    def tick(self, now: float) -> list[Event]:
        """Act on every deadline that has passed."""
        if self.state is SessionState.CLOSED:
            return []
        settings = self.settings
        happened: list[Event] = [TimedOut(context, number) for number, context in self._window.expire(now)]
        if self._unbinding is not None and now >= self._unbind_sent + settings.response_timeout_s:
            return happened + self._close("no unbind_resp in time")
        if self.state not in BOUND:
            if settings.session_init_timeout_s and now >= self._opened + settings.session_init_timeout_s:
                return happened + self._close(f"not bound within {settings.session_init_timeout_s:g} s")
        elif settings.enquire_link_s and now >= self._next_enquiry():
            if self._misses >= settings.enquire_link_misses:
                return happened + self._close(f"{self._misses} enquire_links unanswered")
            self._enquire(now)
        if settings.inactivity_timeout_s and now >= self._active + settings.inactivity_timeout_s:
            return happened + self._close(f"no message for {settings.inactivity_timeout_s:g} s")
        return happened

    def _enquire(self, now: float) -> None:
        number = next(self._window.numbers)
        for old in [n for n, command in self._window.reserved.items() if command == _ENQUIRE_LINK]:
            del self._window.reserved[old]
        self._reserve(number, _ENQUIRE_LINK)
        self._misses += 1
        self._asked = now
        self._out.append(with_header(_ENQUIRE_LINK, 0, number, b""))

    # the end

    def close(self, reason: str) -> list[Event]:
        """The owner gives the connection up."""
        return self._close(reason)

    def eof(self, now: float) -> list[Event]:
        """The connection has ended."""
        return self._close("connection ended")

    def _close(self, reason: str) -> list[Event]:
        if self.state is SessionState.CLOSED:
            return []
        self.state = SessionState.CLOSED
        self._carries = self._sends = frozenset()
        self._open_for_requests = False
        self._bind_request = None
        return [Closed(reason, self._window.drain())]
