"""The simulated carrier: listeners, accounts, sessions, and what it counts.

One task reads each connection; everything that happens later (responses, receipts, MOs) stands in one heap
by due time, moved by one task. The highest number of submits seen in any sliding second is measured where
they arrive, because that is what a carrier with a TPS limit does.

Deliberately not here: storage (a simulator forgets), what to do (behaviour.py).
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

import msgspec
import structlog
import trio

from gateway.outlet import Outlet, PeerNotReading
from gateway.simulator.behaviour import MAGIC, Behaviour, Magic
from smpp import alphabet, events, receipt
from smpp.constants import CommandId, Tlv
from smpp.pdu import DataSm, DeliverSm, SubmitSm, deliver_sm_body
from smpp.session import Role, Session, SessionSettings, SessionState
from smpp.status import Status

log = structlog.get_logger("simulator")

_READ_BYTES = 262_144
_SUBMIT_SM_RESP = int(CommandId.SUBMIT_SM_RESP)
_DELIVER_SM = int(CommandId.DELIVER_SM)
_STATES = {
    "ENROUTE": 1,
    "DELIVRD": 2,
    "EXPIRED": 3,
    "DELETED": 4,
    "UNDELIV": 5,
    "ACCEPTD": 6,
    "UNKNOWN": 7,
    "REJECTD": 8,
}


class Tally(msgspec.Struct):
    """What the simulator saw, in plain numbers."""

    binds: int = 0
    submits: int = 0
    accepted: int = 0
    throttled: int = 0
    refused: int = 0
    receipts: int = 0
    receipts_answered: int = 0
    mos: int = 0
    cuts: int = 0
    most_in_a_second: int = 0
    span_s: float = 0.0  # from the first submit to the last


class Peer:
    """One connection to the simulator."""

    def __init__(self, smsc: SimulatedSmsc, stream: trio.abc.Stream) -> None:
        self.smsc = smsc
        self.stream = stream
        self.session = Session(
            Role.SMSC, SessionSettings(window=smsc.behaviour.window, enquire_link_s=60), trio.current_time()
        )
        self.outlet = Outlet(stream)
        self.can_receive = False
        self.system_id = ""
        self.waiting: deque[bytes] = deque()  # deliver_sm bodies without a free slot
        self.mute = False
        self.dead = False

    def flush(self) -> None:
        data = self.session.data_to_send()
        if data and not self.mute and not self.dead:
            self.outlet.write(data)

    def deliver(self, body: bytes) -> None:
        """A deliver_sm, now or when the window has room."""
        if self.waiting or not self.session.window_free:
            self.waiting.append(body)
            return
        self.session.submit_raw(body, _DELIVER_SM, trio.current_time(), body)

    def refill(self) -> None:
        while self.waiting and self.session.window_free and self.can_receive:
            body = self.waiting.popleft()
            self.session.submit_raw(body, _DELIVER_SM, trio.current_time(), body)


class SimulatedSmsc:
    """`accounts`: system_id → password; empty lets anybody in."""

    def __init__(
        self,
        behaviour: Behaviour,
        accounts: dict[str, str] | None = None,
        rng: random.Random | None = None,
        name: str = "sim",
        wall_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self.behaviour = behaviour
        self.accounts = accounts or {}
        self.name = name
        self.tally = Tally()
        self.peers: list[Peer] = []
        self.on_submit: Callable[[SubmitSm, bytes], None] | None = None
        self._rng = rng or random.Random()
        self._wall_ms = wall_ms
        self._next_id = count(self._rng.randrange(1 << 24, 1 << 28))
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._wake = trio.Event()
        self._arrivals: deque[float] = deque()
        self._first_at = 0.0
        self._seen: set[bytes] = set()
        self._turn = 0

    async def serve(
        self,
        listeners: list[trio.abc.Listener[trio.abc.Stream]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run_later)
            if self.behaviour.mo_rate_per_s:
                nursery.start_soon(self._send_mos)
            for listener in listeners:
                nursery.start_soon(self._accept, listener, nursery)
            task_status.started()

    async def _accept(self, listener: trio.abc.Listener[trio.abc.Stream], nursery: trio.Nursery) -> None:
        async with listener:
            while True:
                nursery.start_soon(self.carry, await listener.accept())

    async def carry(self, stream: trio.abc.Stream) -> None:
        """One connection to its end."""
        peer = Peer(self, stream)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, peer, nursery.cancel_scope)
                nursery.start_soon(self._time, peer, nursery.cancel_scope)
                await self._read(peer)
                if not peer.dead:
                    await peer.outlet.last_words()
                nursery.cancel_scope.cancel()
        finally:
            peer.dead = True
            peer.can_receive = False
            peer.outlet.close()
            if peer in self.peers:
                self.peers.remove(peer)
            for event in peer.session.eof(trio.current_time()):
                self._handle(peer, event)
            self._again(peer, peer.waiting)
            peer.waiting.clear()
            await trio.aclose_forcefully(stream)

    def _again(self, peer: Peer, bodies: Iterable[object]) -> None:
        """Deliveries that found no slot or no answer go out again, on any bind of the account."""
        for body in bodies:
            if isinstance(body, bytes):
                self.at(0.5, partial(self._deliver, peer.system_id, None, body))

    async def _read(self, peer: Peer) -> None:
        session = peer.session
        while session.state is not SessionState.CLOSED and not peer.dead:
            try:
                data = await peer.stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            for event in session.receive(bytes(data), trio.current_time()):
                self._handle(peer, event)
                if peer.dead:  # cut: what the same read brought behind it was never received
                    return
            peer.refill()
            peer.flush()

    async def _write(self, peer: Peer, scope: trio.CancelScope) -> None:
        try:
            await peer.outlet.run()
        except (PeerNotReading, trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel()

    async def _time(self, peer: Peer, scope: trio.CancelScope) -> None:
        while peer.session.state is not SessionState.CLOSED and not peer.dead:
            deadline = peer.session.next_deadline()
            now = trio.current_time()
            await trio.sleep(1.0 if deadline is None else min(1.0, max(0.0, deadline - now)))
            for event in peer.session.tick(trio.current_time()):
                self._handle(peer, event)
            peer.flush()
        scope.cancel()

    # events

    def _handle(self, peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.Request):
            if isinstance(event.pdu, SubmitSm):
                self._submit(peer, event.pdu)
            elif isinstance(event.pdu, DataSm):
                peer.session.respond_raw(
                    int(CommandId.DATA_SM_RESP), 0, event.pdu.sequence_number, self._id() + b"\0"
                )
            else:
                answer = event.pdu.command_id | 0x80000000
                peer.session.respond_raw(answer, int(Status.ESME_RINVCMDID), event.pdu.sequence_number, b"")
        elif isinstance(event, events.Response):
            self.tally.receipts_answered += 1
        elif isinstance(event, events.BindRequest):
            self._bind(peer, event)
        elif isinstance(event, events.PeerUnbound):
            peer.can_receive = False
        elif isinstance(event, events.Closed):
            self._again(peer, event.unanswered)
        elif isinstance(event, events.TimedOut):
            self._again(peer, (event.context,))

    def _bind(self, peer: Peer, event: events.BindRequest) -> None:
        pdu = event.pdu
        system_id = bytes(getattr(pdu, "system_id", b"")).decode("latin-1")
        password = bytes(getattr(pdu, "password", b"")).decode("latin-1")
        if self.accounts and system_id not in self.accounts:
            peer.session.refuse_bind(Status.ESME_RINVSYSID)
            return
        if self.accounts and self.accounts[system_id] != password:
            peer.session.refuse_bind(Status.ESME_RINVPASWD)
            return
        peer.system_id = system_id
        peer.can_receive = pdu.command_id != CommandId.BIND_TRANSMITTER
        self.peers.append(peer)
        self.tally.binds += 1
        peer.session.accept_bind(self.name.encode())

    def _submit(self, peer: Peer, pdu: SubmitSm) -> None:
        now = trio.current_time()
        tally = self.tally
        tally.submits += 1
        behaviour = self.behaviour
        if peer.mute or (behaviour.half_open_after and tally.submits > behaviour.half_open_after):
            peer.mute = True
            return
        self._arrivals.append(now)
        if tally.submits == 1:
            self._first_at = now
        tally.span_s = now - self._first_at
        while self._arrivals[0] <= now - 1.0:
            self._arrivals.popleft()
        tally.most_in_a_second = max(tally.most_in_a_second, len(self._arrivals))
        if behaviour.cut_every and tally.submits % behaviour.cut_every == 0:
            tally.cuts += 1
            self._cut(peer)
            return
        magic = MAGIC.get(pdu.destination_addr[-4:].decode("latin-1"))
        if (magic is not None and magic.no_response) or self._chance(behaviour.no_response):
            return
        status = self._status(pdu, magic, len(self._arrivals))
        if status:
            self._answer(peer, pdu.sequence_number, status, b"")
            return
        message_id = self._id()
        tally.accepted += 1
        if self.on_submit is not None:
            self.on_submit(pdu, message_id)
        early = self._chance(behaviour.early_receipts)
        if early:
            self._receipt(peer, pdu, message_id, magic)
        self._answer(peer, pdu.sequence_number, 0, message_id + b"\0")
        if not early:
            delay_s = self._between(behaviour.receipt_delay_s)
            self.at(delay_s, lambda: self._receipt(peer, pdu, message_id, magic))

    def _status(self, pdu: SubmitSm, magic: Magic | None, in_this_second: int) -> int:
        if self.behaviour.tps and in_this_second > self.behaviour.tps:
            self.tally.throttled += 1
            return int(Status.ESME_RTHROTTLED)
        if magic is not None and magic.status:
            key = pdu.destination_addr + b"|" + pdu.short_message
            if not magic.first_only or key not in self._seen:
                self._seen.add(key)
                self.tally.refused += 1
                return magic.status
        for status, ratio in self.behaviour.submit_errors.items():
            if self._chance(ratio):
                self.tally.refused += 1
                return status
        return 0

    def _answer(self, peer: Peer, sequence_number: int, status: int, body: bytes) -> None:
        delay_s = self._between(self.behaviour.response_delay_s)
        if delay_s <= 0:
            peer.session.respond_raw(_SUBMIT_SM_RESP, status, sequence_number, body)
            return

        def answer() -> None:
            if not peer.dead and peer.session.state is not SessionState.CLOSED:
                peer.session.respond_raw(_SUBMIT_SM_RESP, status, sequence_number, body)
                peer.flush()

        self.at(delay_s, answer)

    def _cut(self, peer: Peer) -> None:
        peer.dead = True

    # receipts and MOs

    def _receipt(self, peer: Peer, pdu: SubmitSm, message_id: bytes, magic: Magic | None) -> None:
        behaviour = self.behaviour
        if not pdu.registered_delivery & 3 or (magic is not None and magic.silent):
            return
        if self._chance(behaviour.no_receipt):
            return
        stat = magic.stat if magic is not None else self._draw(behaviour.states)
        body = self._receipt_body(pdu, message_id, stat)
        times = 2 if self._chance(behaviour.duplicate_receipts) else 1
        for _ in range(times):
            self.tally.receipts += 1
            self._deliver(peer.system_id, peer, body)
        if stat == "DELIVRD" and ((magic is not None and magic.reply) or self._chance(behaviour.reply_ratio)):
            self.at(0.3, lambda: self.send_mo(pdu.destination_addr, pdu.source_addr, behaviour.reply_text))

    def _receipt_body(self, pdu: SubmitSm, message_id: bytes, stat: str) -> bytes:
        behaviour = self.behaviour
        shown = _shown(message_id, behaviour.id_form, behaviour.receipt_id_form)
        state = _STATES.get(stat, 7)
        now_ms = self._wall_ms()
        text = b""
        tlvs: tuple[tuple[int, bytes], ...] = ()
        if behaviour.receipt_as != "tlv":
            text = receipt.format(
                shown,
                state=state,
                submit_ms=now_ms,
                done_ms=now_ms,
                err="000" if state == 2 else "001",
                text="sim",
            )
        if behaviour.receipt_as != "text":
            tlvs = (
                (int(Tlv.RECEIPTED_MESSAGE_ID), shown.encode() + b"\0"),
                (int(Tlv.MESSAGE_STATE), bytes((state,))),
            )
        return deliver_sm_body(
            b"", pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr,
            pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr,
            0x04, 0, 0, b"", b"", 0, 0, 0, 0, text, tlvs,
        )  # fmt: skip

    def send_mo(self, source: bytes, destination: bytes, text: str) -> None:
        """A message from a handset, on any bind that can receive."""
        encoding = alphabet.cheapest(text)
        body = deliver_sm_body(
            b"", 1, 1, source, 0, 1, destination, 0, 0, 0, b"", b"", 0, 0,
            8 if encoding == alphabet.UCS2 else 0, 0, alphabet.encode(text, encoding), (),
        )  # fmt: skip
        self.tally.mos += 1
        self._deliver("", None, body)

    def _deliver(self, system_id: str, same: Peer | None, body: bytes) -> None:
        able = [peer for peer in self.peers if peer.can_receive and system_id in ("", peer.system_id)]
        if self.behaviour.receipts_on == "other" and len(able) > 1 and same in able:
            able.remove(same)
        elif same in able:
            able = [same]
        if not able:
            self.at(0.5, lambda: self._deliver(system_id, same, body))
            return
        self._turn += 1
        peer = able[self._turn % len(able)]
        peer.deliver(body)
        peer.flush()

    async def _send_mos(self) -> None:
        for number in count(1):
            await trio.sleep(1 / self.behaviour.mo_rate_per_s)
            if any(peer.can_receive for peer in self.peers):
                source = b"4477009%05d" % (number % 100_000)
                self.send_mo(source, self.behaviour.mo_to.encode(), f"{self.behaviour.mo_text} {number}")

    # later

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` after `delay_s`."""
        entry = (trio.current_time() + delay_s, next(self._order), action)
        earliest = not self._later or entry < self._later[0]
        heapq.heappush(self._later, entry)
        if earliest:
            self._wake.set()

    async def run_later(self) -> None:
        """Move the heap; needed once for each simulator."""
        while True:
            now = trio.current_time()
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()
            self._wake = trio.Event()
            wait_s = self._later[0][0] - now if self._later else float("inf")
            with trio.move_on_after(wait_s):
                await self._wake.wait()

    def _id(self) -> bytes:
        number = next(self._next_id)
        form = self.behaviour.id_form
        if form == "hex":
            return b"%X" % number
        if form == "uuid":
            digits = f"{number:032x}"
            return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}".encode()
        return b"%d" % number

    def _chance(self, ratio: float) -> bool:
        return ratio > 0 and self._rng.random() < ratio

    def _between(self, bounds: tuple[float, float]) -> float:
        least, most = bounds
        return least if least == most else self._rng.uniform(least, most)

    def _draw(self, weights: dict[str, float]) -> str:
        if len(weights) == 1:
            return next(iter(weights))
        return self._rng.choices(list(weights), list(weights.values()))[0]


def _shown(message_id: bytes, id_form: str, receipt_id_form: str) -> str:
    """The id as a receipt of this carrier shows it."""
    text = message_id.decode()
    if receipt_id_form == "same" or id_form == "uuid":
        return text
    number = int(text, 16 if id_form == "hex" else 10)
    if receipt_id_form == "hex":
        return f"{number:x}"
    if receipt_id_form == "upper":
        return f"{number:X}"
    return f"{number:010d}" if receipt_id_form == "padded" else str(number)


__all__ = ["DeliverSm", "Peer", "SimulatedSmsc", "Tally"]
