"""Traces: the PDUs of some sessions as they pass, decoded for whoever asked, for a limited time.

A trace puts a Tap on each session that it is about, a carrier's link or a customer's connection. A session
without one asks `tap is None` once a read and once a write. A tap only cuts octets at PDU borders and lays
them into its trace's ring; decoding, filters and masks are done when somebody reads, so much a second and no
more. So neither a flood nor a slow reader costs traffic anything: the ring lets its oldest PDUs go and counts
them.

A trace of a number is on all sessions: a tap keeps what has the number's digits in it, and for some time all
that passes on that session, as answers name no number.

Invariants: at most MOST traces; each ends by itself, when its time is over or when nobody has read for
UNREAD_S; then the sessions' taps are None again. Texts, numbers and passwords: gateway.pdu_view.

Deliberately not here: who may trace and what is told of it (gateway.admin_trace, gateway.http.trace).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple, Protocol

import msgspec
import structlog
import trio

from gateway.admin_shapes import iso
from gateway.http.timeline import Time
from gateway.pdu_view import (
    PduView,
    ReceiptView,
    Sight,
    TlvView,
    addresses,
    same_number,
    shown_address,
    view,
)
from smpp.codec import decode_frame
from smpp.constants import HEADER_OCTETS, MAX_PDU_OCTETS, RESPONSE_BIT, CommandId
from smpp.errors import ProtocolError
from smpp.pdu import PDUS, Pdu
from smpp.session import Session
from smpp.status import Status

MOST = 4
MOST_S = 3600.0
UNREAD_S = 15.0
RING_PDUS = 20_000
RING_OCTETS = 2 << 20
MOST_RECORDS = 1_000  # decoded, and not taken by the reader yet

_WORK_PER_S = 10_000.0  # in PDUs that are looked at
_OF_A_RECORD = 40  # what decoding one costs, in the same: 16 us for 0.4
_MOST_ASKED = 5_000  # requests of a session whose answers are to come
_NUMBER_HOT_S = 60.0  # how long all of a session is kept after a PDU with the number
_NEEDLE = 7  # last digits of a number that must be there as they are
_SWEEP_S = 1.0
_KEPT_ENDED_S = 30.0  # a trace that has ended, for its reader
_LOOK_S = 0.2

_HEADER = Struct(">IIII").unpack_from
_LENGTH = Struct(">I").unpack_from
_GENERIC_NACK = int(CommandId.GENERIC_NACK)
_BINDS = frozenset(
    int(one)
    for one in (
        CommandId.BIND_RECEIVER, CommandId.BIND_TRANSMITTER, CommandId.BIND_TRANSCEIVER, CommandId.OUTBIND
    )
)  # fmt: skip
_COMMANDS = {int(one): one.name.lower() for one in CommandId}

log = structlog.get_logger("trace")


class Filter(msgspec.Struct, frozen=True):
    """What of the traced sessions is told. Empty: all.

    `commands`: names; that of a request means its answers, too. `statuses`: of answers, as numbers.
    `direction`: "in" or "out", as the gateway sees it. `number`: digits.
    """

    commands: frozenset[int] = frozenset()
    statuses: frozenset[int] = frozenset()
    only_errors: bool = False
    direction: str = ""
    number: str = ""


class Answered(msgspec.Struct):
    """The request that a response answers: whom it was about."""

    source_addr: str
    destination_addr: str


class TraceRecord(msgspec.Struct):
    """One PDU. `entry` counts within its trace, from 1; what was dropped has none.

    `side` is carrier or customer, `peer` the carrier's or the account's name, `session` its bind. `direction`
    is `in` or `out`, as the gateway sees it. `response_s`: how long after its request an answer passed, null
    for requests and where the request was not seen. `problem`: why it could not be decoded.
    """

    entry: int
    at: Time
    side: str
    peer: str
    session: str
    direction: str
    command: str
    sequence: int
    status: str
    octets: int
    response_s: float | None
    answers: Answered | None
    fields: dict[str, object]
    tlvs: list[TlvView]
    text: str | None
    text_octets: int
    receipt: ReceiptView | None
    problem: str


class _Chunk:
    """Whole PDUs that passed together."""

    __slots__ = ("at", "data", "inward", "pdus", "position", "tap")

    def __init__(self, tap: Tap, at: float, inward: bool, data: bytes, pdus: int) -> None:
        self.tap = tap
        self.at = at
        self.inward = inward
        self.data = data
        self.pdus = pdus  # that are still to be looked at
        self.position = 0


class Tap:
    """One trace on one session."""

    __slots__ = ("_rest", "asked", "hot_until", "lost", "peer", "session", "side", "trace")

    def __init__(self, trace: Trace, side: str, peer: str, session: str, rest: bytes) -> None:
        """`rest`: octets that came already of a PDU that is not whole."""
        self.trace = trace
        self.side = side
        self.peer = peer
        self.session = session
        self.lost = False  # where its PDUs begin
        self.hot_until = 0.0
        # (direction, sequence_number) of a request → when, itself; as it was looked at
        self.asked: dict[tuple[bool, int], tuple[float, bytes]] = {}
        self._rest = rest

    def begin(self) -> None:
        """The session begins anew on another connection."""
        self._rest = b""
        self.lost = False
        self.asked.clear()

    def inward(self, data: bytes, now: float) -> None:
        """What a read gave."""
        if self.lost:
            return
        if self._rest:
            data = self._rest + data
        end, pdus = _borders(data)
        self.lost = end < 0
        if self.lost:
            end = -1 - end
        self._rest = data[end:] if not self.lost else b""
        if pdus:
            self.trace.add(self, now, True, data[:end], pdus)

    def outward(self, data: bytes, now: float) -> None:
        """What is written: whole PDUs."""
        self.trace.add(self, now, False, data, _borders(data)[1])


class Taps:
    """All traces on one session."""

    __slots__ = ("taps",)

    def __init__(self) -> None:
        self.taps: list[Tap] = []

    def begin(self) -> None:
        for tap in self.taps:
            tap.begin()

    def inward(self, data: bytes, now: float) -> None:
        for tap in self.taps:
            tap.inward(data, now)

    def outward(self, data: bytes, now: float) -> None:
        for tap in self.taps:
            tap.outward(data, now)


def _borders(data: bytes) -> tuple[int, int]:
    """Where the last whole PDU ends, and how many there are; -1 - that end where no PDU follows it."""
    position, pdus, size = 0, 0, len(data)
    while size - position >= 4:
        (length,) = _LENGTH(data, position)
        if not HEADER_OCTETS <= length <= MAX_PDU_OCTETS:
            return -1 - position, pdus
        if position + length > size:
            break
        position += length
        pdus += 1
    return position, pdus


class Trace:
    """One trace. `dropped`: PDUs that nobody looked at, as they were too many."""

    def __init__(self, id: int, filter: Filter, sight: Sight, now: float, for_s: float) -> None:
        self.id = id
        self.filter = filter
        self.sight = sight
        self.until = now + for_s
        self.read_at = now
        self.looked_at = now - _LOOK_S
        self.ended = ""  # why
        self.ended_at = 0.0
        self.dropped = 0
        self.told = 0
        self.records: deque[TraceRecord] = deque()
        self.wanted: Callable[[], Iterator[Target]] = lambda: iter(())
        self.taps: dict[int, tuple[Traced, Tap]] = {}  # id of the session's owner → both
        self._needle = filter.number[-_NEEDLE:].encode()
        self._ring: deque[_Chunk] = deque()
        self._octets = 0
        self._pdus = 0
        self._work = _WORK_PER_S
        self._worked_at = now

    # in

    def add(self, tap: Tap, now: float, inward: bool, data: bytes, pdus: int) -> None:
        """Called by taps, for each read and write of their sessions."""
        if self._needle:
            if self._needle in data:
                tap.hot_until = now + _NUMBER_HOT_S
            elif now > tap.hot_until:
                return
        ring = self._ring
        ring.append(_Chunk(tap, now, inward, data, pdus))
        self._octets += len(data)
        self._pdus += pdus
        while (self._octets > RING_OCTETS or self._pdus > RING_PDUS) and len(ring) > 1:
            oldest = ring.popleft()
            self.dropped += oldest.pdus
            self._pdus -= oldest.pdus
            self._octets -= len(oldest.data)

    # out

    def take(self, after: int, most: int, now: float, wall_ms: int) -> list[TraceRecord]:
        """Records behind `after`, which the reader has: these are let go of."""
        self.read_at = self.looked_at = now
        records = self.records
        while records and records[0].entry <= after:
            records.popleft()
        self._look(min(most, MOST_RECORDS), now, wall_ms)
        return [record for record, _ in zip(records, range(most), strict=False)]

    def _look(self, most: int, now: float, wall_ms: int) -> None:
        """Decode what the ring has, as much as may be done now."""
        self._work = min(_WORK_PER_S, self._work + (now - self._worked_at) * _WORK_PER_S)
        self._worked_at = now
        ring = self._ring
        while ring and self._work > 0 and len(self.records) < most:
            chunk = ring[0]
            self._look_at(chunk, most, now, wall_ms)
            if chunk.position >= len(chunk.data):
                ring.popleft()
                self._octets -= len(chunk.data)

    def _look_at(self, chunk: _Chunk, most: int, now: float, wall_ms: int) -> None:
        data, size, asked = chunk.data, len(chunk.data), chunk.tap.asked
        theirs, errors = not chunk.inward, self.filter.only_errors
        at_ms = wall_ms - int((now - chunk.at) * 1000)
        while chunk.position < size and self._work > 0 and len(self.records) < most:
            length, command, status, sequence = _HEADER(data, chunk.position)
            begin = chunk.position
            chunk.position += length
            chunk.pdus -= 1
            self._pdus -= 1
            self._work -= 1
            if not command & RESPONSE_BIT:
                octets = data[begin : begin + length]
                self._request(chunk, command, status, sequence, octets, at_ms)
            elif errors and not status:  # most of them
                asked.pop((theirs, sequence), None)
            else:
                octets = data[begin : begin + length]
                self._response(chunk, command, status, sequence, octets, at_ms)

    def _request(
        self, chunk: _Chunk, command: int, status: int, sequence: int, octets: bytes, at_ms: int
    ) -> None:
        wanted, tap = self.filter, chunk.tap
        if wanted.number and self._needle not in octets:
            return
        if (
            wanted.commands
            and command not in wanted.commands
            and command | RESPONSE_BIT not in wanted.commands
        ):
            return
        pdu = None
        if wanted.number:
            pdu, _ = _decoded(command, status, sequence, octets)
            if pdu is None or not any(same_number(one, wanted.number) for one in addresses(pdu)):
                return
        asked = tap.asked
        if len(asked) >= _MOST_ASKED:
            del asked[next(iter(asked))]
        asked[chunk.inward, sequence] = chunk.at, octets
        errors = wanted.only_errors or wanted.statuses
        if errors or (wanted.direction and (wanted.direction == "in") != chunk.inward):
            return
        if wanted.commands and command not in wanted.commands:
            return
        self._record(chunk, command, status, sequence, octets, at_ms, None, None)

    def _response(
        self, chunk: _Chunk, command: int, status: int, sequence: int, octets: bytes, at_ms: int
    ) -> None:
        wanted = self.filter
        found = chunk.tap.asked.pop((not chunk.inward, sequence), None)
        if found is None and wanted.number:
            return
        if wanted.only_errors and not status:
            return
        if wanted.statuses and status not in wanted.statuses:
            return
        if wanted.direction and (wanted.direction == "in") != chunk.inward:
            return
        if wanted.commands and not (
            command in wanted.commands
            or command & ~RESPONSE_BIT in wanted.commands
            or (command == _GENERIC_NACK and found is not None)
        ):
            return
        response_s = round(chunk.at - found[0], 4) if found is not None else None
        request = found[1] if found is not None else None
        self._record(chunk, command, status, sequence, octets, at_ms, response_s, request)

    def _record(
        self,
        chunk: _Chunk,
        command: int,
        status: int,
        sequence: int,
        octets: bytes,
        at_ms: int,
        response_s: float | None,
        request: bytes | None,
    ) -> None:
        self._work -= _OF_A_RECORD
        tap, sight = chunk.tap, self.sight
        pdu, problem = _decoded(command, status, sequence, octets)
        shown = view(pdu, sight) if pdu is not None else PduView({}, [])
        self.told += 1
        self.records.append(
            TraceRecord(
                entry=self.told,
                at=iso(at_ms),
                side=tap.side,
                peer=tap.peer,
                session=tap.session,
                direction="in" if chunk.inward else "out",
                command=_COMMANDS.get(command, f"0x{command:08x}"),
                sequence=sequence,
                status=Status.name_of(status),
                octets=len(octets),
                response_s=response_s,
                answers=_answered(request, sight) if request is not None else None,
                fields=shown.fields,
                tlvs=shown.tlvs,
                text=shown.text,
                text_octets=shown.text_octets,
                receipt=shown.receipt,
                problem=problem,
            )
        )

    @property
    def waiting(self) -> int:
        """PDUs that nobody has looked at yet."""
        return self._pdus

    @property
    def over(self) -> bool:
        """Ended, and all that passed until then was looked at; `records` may still hold some."""
        return bool(self.ended) and not self._pdus

    def forget(self) -> None:
        """Nothing more will be looked at."""
        self.dropped += self._pdus
        self._ring.clear()
        self._octets = self._pdus = 0


def _decoded(command: int, status: int, sequence: int, octets: bytes) -> tuple[Pdu | None, str]:
    """The PDU, and what is wrong with it. Of one that is broken, what was read before the damage, unless it
    is a bind: nobody knows where its password is."""
    try:
        return decode_frame((command, status, sequence, octets)), ""
    except ProtocolError as error:
        if command not in PDUS:
            return None, "no command of SMPP"
        return None if command in _BINDS else error.pdu, f"broken: {Status.name_of(error.command_status)}"


def _answered(request: bytes, sight: Sight) -> Answered | None:
    _, command, status, sequence = _HEADER(request)
    pdu, _ = _decoded(command, status, sequence, request)
    found = [getattr(pdu, name, None) for name in ("source_addr", "destination_addr")]
    if not any(found):
        return None
    source, destination = (shown_address((one or b"").decode("latin-1"), sight) for one in found)
    return Answered(source, destination)


# --- the traces there are -----------------------------------------------------------------------------------


class Traced(Protocol):
    """What a tap sits on: a link or a connection."""

    tap: Taps | None

    @property
    def session(self) -> Session | None: ...


class Target(NamedTuple):
    """A session that a trace is about."""

    owner: Traced
    side: str
    peer: str
    name: str


class TooManyTraces(Exception):
    """MOST run already."""


class Traces:
    """All traces. `run` ends them in time, and puts taps on sessions that come later."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self.running: dict[int, Trace] = {}
        self._ended: dict[int, Trace] = {}
        self._wall_ms = wall_ms
        self._count = 0
        self._begun = trio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self.running and not self._ended:
                self._begun = trio.Event()
                await self._begun.wait()
            await trio.sleep(_SWEEP_S)
            self.sweep()

    def start(
        self, wanted: Callable[[], Iterator[Target]], filter: Filter, sight: Sight, for_s: float
    ) -> Trace:
        """`wanted` gives the sessions there are now, whenever it is asked. Errors: TooManyTraces."""
        if len(self.running) >= MOST:
            raise TooManyTraces(f"{MOST} traces run already")
        self._count += 1
        trace = Trace(self._count, filter, sight, trio.current_time(), for_s)
        trace.wanted = wanted
        self.running[trace.id] = trace
        self._follow(trace)
        self._begun.set()
        log.info("trace begins", trace=trace.id, sessions=len(trace.taps), for_s=for_s)
        return trace

    def find(self, id: int) -> Trace | None:
        """One that runs, or has ended a moment ago."""
        return self.running.get(id) or self._ended.get(id)

    async def read(self, trace: Trace, after: int, most: int, wait_s: float) -> list[TraceRecord]:
        """As soon as there is anything, or it has ended, or after `wait_s`. At most five times a second, so
        that a reader who asks again at once gets many records each time."""
        now = trio.current_time()
        deadline = now + wait_s
        if not trace.over:
            await trio.sleep(max(0.0, trace.looked_at + _LOOK_S - now))
        while True:
            found = trace.take(after, most, trio.current_time(), self._wall_ms())
            if found or trace.over or trio.current_time() >= deadline:
                return found
            await trio.sleep(_LOOK_S)

    def stop(self, trace: Trace, why: str) -> None:
        """Take its taps away. What its ring holds can still be read."""
        if self.running.pop(trace.id, None) is None:
            return
        trace.ended, trace.ended_at = why, trio.current_time()
        for owner, tap in trace.taps.values():
            _untap(owner, tap)
        trace.taps.clear()
        self._ended[trace.id] = trace
        log.info("trace ends", trace=trace.id, why=why, told=trace.told, dropped=trace.dropped)

    def sweep(self) -> None:
        """End what is over; follow sessions that came and went."""
        now = trio.current_time()
        for trace in list(self.running.values()):
            if now >= trace.until:
                self.stop(trace, "its time is over")
            elif now - trace.read_at >= UNREAD_S:
                trace.forget()
                self.stop(trace, f"nobody has read it for {UNREAD_S:g} s")
            else:
                self._follow(trace)
        for trace in [one for one in self._ended.values() if now - one.ended_at >= _KEPT_ENDED_S]:
            trace.forget()  # whoever still reads is told how many those are
            if now - trace.read_at >= UNREAD_S or now - trace.ended_at >= 2 * _KEPT_ENDED_S:
                del self._ended[trace.id]

    def joined(self) -> None:
        """A session has begun that some trace may be about."""
        for trace in self.running.values():
            self._follow(trace)

    def _follow(self, trace: Trace) -> None:
        """Taps on exactly the sessions that it is about now."""
        wanted = {id(target.owner): target for target in trace.wanted()}
        for key in [key for key in trace.taps if key not in wanted]:
            _untap(*trace.taps.pop(key))
        for key, target in wanted.items():
            if key not in trace.taps:
                owner = target.owner
                rest = owner.session.half_received if owner.session is not None else b""
                tap = Tap(trace, target.side, target.peer, target.name, rest)
                if owner.tap is None:
                    owner.tap = Taps()
                owner.tap.taps.append(tap)
                trace.taps[key] = owner, tap


def _untap(owner: Traced, tap: Tap) -> None:
    if owner.tap is not None:
        owner.tap.taps.remove(tap)
        if not owner.tap.taps:
            owner.tap = None
