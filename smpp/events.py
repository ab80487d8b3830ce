"""What a session tells its owner: a small frozen vocabulary, one class per happening.

Invariants: the context given with a request comes back exactly once, in a Response that is not late, in
Accepted, a Nacked, a TimedOut or in Closed.unanswered; only after a TimedOut may one Response(late=True)
bring it a second time. Closed is a session's last event.

Built for a hot loop: msgspec structs cost a fifth of a frozen dataclass, and are left out of cyclic garbage
collection, so don't store an event in something that it refers to. Deliberately not here: what to do next.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import ClassVar

import msgspec

from smpp.constants import CommandId
from smpp.errors import ProtocolError
from smpp.pdu import Pdu, SubmitSm
from smpp.receipt import UsualReceipt
from smpp.status import Status

Answer = tuple[object, float, bytes]  # context, latency_s, message_id


class Bound(msgspec.Struct, frozen=True, gc=False):
    """ESME: the SMSC accepted our bind. `pdu` is its bind_*_resp."""

    pdu: Pdu


class BindRefused(msgspec.Struct, frozen=True, gc=False):
    """ESME: the SMSC refused our bind; Closed follows."""

    status: int

    @property
    def status_name(self) -> str:
        return Status.name_of(self.status)


class BindRequest(msgspec.Struct, frozen=True, gc=False):
    """SMSC: a peer wants to bind. The owner calls `accept_bind` or `refuse_bind`, at once or later."""

    pdu: Pdu


class OutbindReceived(msgspec.Struct, frozen=True, gc=False):
    """ESME: the SMSC asks us to bind to it (3.4 section 2.2.1). The owner checks it and calls `bind`."""

    pdu: Pdu


class Request(msgspec.Struct, frozen=True, gc=False):
    """The peer asks for something and the state allows it: the owner answers it, once.

    An alert_notification comes this way too and has no answer.
    """

    pdu: Pdu


class Receipts(msgspec.Struct, frozen=True, gc=False):
    """ESME, where its owner takes what is plain together: deliver_sm in a row, each the usual receipt. The
    owner answers each of them, once.

    numbers  their sequence_numbers
    said     what each says, as smpp.receipt.UsualReceipts finds it
    """

    numbers: list[int]
    said: list[UsualReceipt]


class OfKind(msgspec.Struct, gc=False):
    """Some submit_sm of one kind (smpp.alike), in order.

    model    one of the kind: what it says beyond the following is said by all of them
    places   where they stand among all that are told with them
    numbers  their sequence_numbers
    texts    their short_messages
    sources  source_addr_ton, source_addr_npi and source_addr of each, or nothing where all have the model's
    """

    model: SubmitSm
    places: list[int] = []
    numbers: list[int] = []
    destinations: list[bytes] = []
    texts: list[bytes] = []
    sources: list[bytes] = []

    def pdu(self, index: int) -> SubmitSm:
        """One of them."""
        pdu: SubmitSm = self.model.__copy__()  # type: ignore[attr-defined]
        pdu.sequence_number = self.numbers[index]
        pdu.destination_addr = self.destinations[index]
        pdu.short_message = self.texts[index]
        if self.sources:
            source = self.sources[index]
            pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr = source[0], source[1], source[2:]
        return pdu

    def some(self, start: int, end: int, first: int) -> OfKind:
        """Those from one index up to another, of all from place `first` on."""
        return OfKind(
            self.model,
            [place - first for place in self.places[start:end]],
            self.numbers[start:end],
            self.destinations[start:end],
            self.texts[start:end],
            self.sources[start:end],
        )


class Submits(msgspec.Struct, frozen=True, gc=False):
    """SMSC, where its owner takes what is plain together: submit_sm in a row, of a few kinds. The owner
    answers each of them, once."""

    command_id: ClassVar[int] = int(CommandId.SUBMIT_SM)
    count: int
    kinds: list[OfKind]

    def numbers(self) -> list[int]:
        """Sequence_numbers of all, in order."""
        found = [0] * self.count
        for kind in self.kinds:
            for place, number in zip(kind.places, kind.numbers, strict=True):
                found[place] = number
        return found

    def parted(self, count: int) -> tuple[Submits, Submits]:
        """The first so many, and the others."""
        first, others = [], []
        for kind in self.kinds:
            index, every = bisect_left(kind.places, count), len(kind.places)
            if index:
                first.append(kind.some(0, index, 0))
            if index < every:
                others.append(kind.some(index, every, count))
        return Submits(count, first), Submits(self.count - count, others)


class Response(msgspec.Struct, frozen=True, gc=False):
    """The peer answered a request of ours, whatever its command_status says.

    latency_s  since the request was registered
    late       its TimedOut was told before; the context comes a second time. A late generic_nack is told
               like this too, `pdu` being the GenericNack
    """

    pdu: Pdu
    context: object
    latency_s: float
    late: bool = False


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Where the owner takes what is plain together: answers without TLVs that accept requests of ours, with
    no other answer between them."""

    answers: list[Answer]


class TimedOut(msgspec.Struct, frozen=True, gc=False):
    """No response in time: the outcome is unknown (failure modes 2 and 3)."""

    context: object
    sequence_number: int


class Nacked(msgspec.Struct, frozen=True, gc=False):
    """The peer answered a request of ours with generic_nack."""

    context: object
    status: int
    sequence_number: int = 0


class PeerUnbound(msgspec.Struct, frozen=True, gc=False):
    """The peer sent unbind and has its answer; Closed follows when the connection ends."""


class TurnedAway(msgspec.Struct, frozen=True, gc=False):
    """SMSC: a request that came after `turn_away` was refused with this status."""

    command_id: int
    status: int


class ProtocolViolation(msgspec.Struct, frozen=True, gc=False):
    """The peer broke the protocol. Already answered where an answer is due; for the log and the counters."""

    error: ProtocolError


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The end, told once, by whichever call meets it: receive, tick, close, eof or refuse_bind.

    The owner sends what `data_to_send` still holds, if it can, and closes the connection. `unanswered`: the
    contexts of all requests without an outcome, oldest first.
    """

    reason: str
    unanswered: list[object]


Event = (
    Bound
    | BindRefused
    | BindRequest
    | OutbindReceived
    | Request
    | Receipts
    | Submits
    | Response
    | Accepted
    | TimedOut
    | Nacked
    | PeerUnbound
    | TurnedAway
    | ProtocolViolation
    | Closed
)
