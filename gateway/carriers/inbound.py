"""What carriers send us: receipts matched, MOs stored, reassembled, matched back and forwarded.

A deliver_sm or data_sm is answered only after its COMMIT C. Receipts of one read go into one batch. An MO
part is answered at its own commit and never waits for its siblings (a serial peer would deadlock).

Deliberately not here: matching rules (router.correlate, store), callbacks (the outbox is drained elsewhere).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import partial
from itertools import repeat
from struct import Struct
from typing import Protocol

import msgspec
import structlog

from gateway.carriers.link import Link
from gateway.carriers.relay import is_acknowledgement, reference_in, relay_of, types_of
from gateway.committer import Committer
from gateway.metrics import Counts
from gateway.world import World
from router.causes import Causes
from router.correlate import FormLearner
from router.nouns import InboundMessage, MessageState, ReceiptFate, ReceiptIn, ReceiptsIn, Said
from smpp import events, receipt, segment
from smpp.compiler import unpack_tlvs
from smpp.constants import CommandId, Tlv
from smpp.pdu import AlertNotification, DataSm, DeliverSm
from smpp.session import Session
from store.interface import MoPart, ReceiptResult, Transaction

log = structlog.get_logger("inbound")

_DELIVER_SM_RESP = int(CommandId.DELIVER_SM_RESP)
_DATA_SM_RESP = int(CommandId.DATA_SM_RESP)
_EMPTY_ID = b"\0"
_answer, _ANSWER_OCTETS = Struct("!4Lx").pack, 17  # the header, and an empty id
_OCTETS, _COMMANDS, _NO_STATUS = repeat(_ANSWER_OCTETS), repeat(_DELIVER_SM_RESP), repeat(0)
_MATCHED = ReceiptFate.MATCHED
_ENROUTE, _DELIVERED = int(MessageState.ENROUTE), int(MessageState.DELIVERED)
_DAY_MS = 86_400_000
_LONGEST_ADDRESS = 64
_MOST_WORDINGS = 1_024
_SYSTEM_ERROR = 0x00000008  # ESME_RSYSERR
_INVALID_COMMAND = 0x00000003  # ESME_RINVCMDID, SMPP 3.4 section 5.1.3

Delivery = DeliverSm | DataSm


class Upstream(Protocol):
    """The carrier a PDU came from."""

    name: str
    id: int
    group: int
    default_encoding: int  # what data_coding 0 means to it
    packed: bool  # its septets are

    @property
    def originals(self) -> dict[str, str]: ...  # senders as it was given them → as their customers know them

    zone: tzinfo  # of the dates in its receipts
    causes: Causes  # what it means by its codes


class Numbers(Protocol):
    """Who owns an inbound number, or a keyword on it."""

    @property
    def fallback(self) -> int: ...
    def owner_of(self, number: str, text: str = "") -> int: ...


class Inbound:
    def __init__(
        self,
        committer: Committer,
        world: World,
        owners: Numbers,
        counts: Counts,
        mo_match_days: float,
        next_id: Callable[[int], int],
    ) -> None:
        self._committer = committer
        self._world = world
        self._owners = owners
        self._counts = counts
        self._match_ms = int(mo_match_days * 86_400_000)
        self._next_id = next_id
        self.learners: dict[int, FormLearner] = {}
        self._meanings: dict[int, _Meanings] = {}  # by carrier
        # tells an account's sessions that a handset can be reached again; how many were told
        self.alert: Callable[[int, AlertNotification], int] = lambda account, pdu: 0

    def take(
        self, carrier: Upstream, link: Link, requests: Sequence[events.Request | events.Receipts]
    ) -> None:
        """All requests of one read, in order."""
        session = link.session
        assert session is not None
        learner = self.learners.setdefault(carrier.id, FormLearner())
        now_ms = self._world.wall_ms()
        group, carrier_id = carrier.group, carrier.id
        meaning = self._meanings_of(carrier, now_ms).__getitem__
        receipts: list[ReceiptIn | ReceiptsIn] = []
        answers: list[bytes] = []
        data_sms = 0
        for request in requests:
            if isinstance(request, events.Receipts):
                sources, ids, texts, wordings = zip(*request.said, strict=True)
                if min(sources) < "1":  # it may begin with + or 00
                    sources = tuple(map(_plain, sources))
                forms = tuple(map(learner.apply, ids)) if learner.form else ()
                said = list(map(meaning, wordings))
                receipts.append(ReceiptsIn(group, carrier_id, now_ms, ids, sources, texts, said, forms))
                answers += map(_answer, _OCTETS, _COMMANDS, _NO_STATUS, request.numbers)
                continue
            pdu = request.pdu
            if not isinstance(pdu, DeliverSm | DataSm):
                self._other(carrier, session, pdu)
                continue
            incoming = _receipt_in(carrier, learner, pdu, now_ms)
            command = _DELIVER_SM_RESP if type(pdu) is DeliverSm else _DATA_SM_RESP
            if incoming is None:
                self._mo(carrier, link, session, command, pdu, _body(pdu), now_ms)
                continue
            receipts.append(incoming)
            answers.append(_answer(_ANSWER_OCTETS, command, 0, pdu.sequence_number))
            data_sms += command == _DATA_SM_RESP
        if receipts:
            self._committer.add_receipts(
                receipts, partial(self._matched, carrier, link, session, learner, receipts, answers, data_sms)
            )

    def _matched(
        self,
        carrier: Upstream,
        link: Link,
        session: Session,
        learner: FormLearner,
        receipts: Sequence[ReceiptIn | ReceiptsIn],
        answers: Sequence[bytes],
        data_sms: int,
        results: Sequence[ReceiptResult | None],
    ) -> None:
        """COMMIT C is durable: answer the carrier."""
        session.respond_written(answers)
        counts = self._counts.carrier(carrier.name)
        at = 0
        for one in receipts:
            ids: Sequence[str] = (one.ids[0] if one.ids else "",)
            said: Sequence[Said | ReceiptIn] = (one,) if isinstance(one, ReceiptIn) else one.said
            if isinstance(one, ReceiptsIn):
                ids = one.ids
            here = results[at : at + len(ids)]
            at += len(ids)
            if any(here):
                fates = [_MATCHED if result is None else result.fate for result in here]
                for words, fate in zip(said, fates, strict=True):
                    counts.count_receipts(words.state, fate)
                matched = [
                    id if result is None else result.matched_id for id, result in zip(ids, here, strict=True)
                ]
                learner.observe_all(list(ids), matched)
                continue
            for words, count in Counter(said).items():
                counts.count_receipts(words.state, _MATCHED, count)
            learner.observe_all(ids, ids)
        for name, count in (("data_sm", data_sms), ("deliver_sm", len(answers) - data_sms)):
            if count:
                counts.count_pdus(name, 0, count)
        if link.session is session:
            link.flush()

    def _meanings_of(self, carrier: Upstream, now_ms: int) -> _Meanings:
        known = self._meanings.get(carrier.id)
        if known is None or len(known) > _MOST_WORDINGS or known.held_by != _what_counts(carrier, now_ms):
            known = self._meanings[carrier.id] = _Meanings(carrier, now_ms)
        return known

    def _other(self, carrier: Upstream, session: Session, pdu: object) -> None:
        if isinstance(pdu, AlertNotification):  # has no response
            self._alerted(carrier, pdu)
            return
        sequence = getattr(pdu, "sequence_number", 0)
        command = getattr(pdu, "command_id", 0)
        session.respond_raw(command | 0x80000000, _INVALID_COMMAND, sequence, b"")

    def _alerted(self, carrier: Upstream, pdu: AlertNotification) -> None:
        """A handset can be reached again: of interest to whoever waits for it now, so it is not kept (3.4
        section 4.12)."""
        handset, esme = _digits(pdu.source_addr), _digits(pdu.esme_addr)
        account = self._owners.owner_of(esme)
        if not account:
            latest = self._latest_to(handset, esme, self._world.wall_ms(), -1)
            account = latest[0] if latest else 0
        pdu.source_addr, pdu.esme_addr = pdu.source_addr[:_LONGEST_ADDRESS], pdu.esme_addr[:_LONGEST_ADDRESS]
        told = self.alert(account, pdu) if account else 0
        self._counts.carrier(carrier.name).count_pdus(pdu.command, 0)
        log.debug("alert_notification", carrier=carrier.name, account=account, sessions=told)

    # MOs

    def _mo(
        self,
        carrier: Upstream,
        link: Link,
        session: Session,
        command: int,
        pdu: Delivery,
        body: bytes,
        now_ms: int,
    ) -> None:
        self._counts.carrier(carrier.name).mo += 1
        concat, encoding, content, udh = segment.parse_user_data(
            body, pdu.esm_class, pdu.data_coding, pdu.tlvs, carrier.default_encoding, packed=carrier.packed
        )
        if concat is not None and concat.total < 2:
            concat = None
        source_type, destination_type = types_of(pdu)
        destination = _digits(pdu.destination_addr)
        part = MoPart(
            carrier=carrier.id,
            source=_digits(pdu.source_addr),
            destination=carrier.originals.get(destination, destination),
            reference=concat.reference if concat else 0,
            total=concat.total if concat else 1,
            index=concat.index if concat else 1,
            encoding=encoding,
            data=content,
            received_ms=now_ms,
            relay=relay_of(pdu, encoding, udh, carrier.default_encoding),
            source_type=source_type,
            destination_type=destination_type,
        )

        def store(txn: Transaction) -> None:
            if concat is None:
                self.keep(txn, [part], now_ms, udh=udh)
                return
            for parts in txn.inbound_parts([part], now_ms):
                if parts is not None:
                    self.keep_parts(txn, parts, now_ms)

        def done(call: object) -> None:
            error = getattr(call, "error", None)
            status = 0 if error is None else _SYSTEM_ERROR
            if error is not None:
                log.error("MO not stored", carrier=carrier.name, error=str(error))
            session.respond_raw(command, status, pdu.sequence_number, _EMPTY_ID)
            self._counts.carrier(carrier.name).count_pdus(pdu.command, status)
            if link.session is session:
                link.flush()

        self._committer.call_soon(store, done)

    def keep_parts(self, txn: Transaction, parts: Sequence[MoPart], now_ms: int) -> None:
        """Parts of one message: all of them, or what came before the timer."""
        self.keep(txn, parts, now_ms)

    def keep(self, txn: Transaction, parts: Sequence[MoPart], now_ms: int, *, udh: bytes = b"") -> None:
        """Store one MO with the message it answers and the account it belongs to."""
        first = parts[0]
        joined = segment.reassemble(parts, first.total)
        latest = self._latest_to(first.source, first.destination, now_ms, reference_in(first.relay))
        owner = self._owner(first, joined.text, latest[0] if latest else 0)
        relay = first.relay
        if relay is not None and joined.encoding != first.encoding:
            relay = msgspec.structs.replace(relay, data_coding=-1)  # its parts came in several
        message = InboundMessage(
            id=self._next_id(now_ms),
            account=owner,
            carrier=first.carrier,
            received_ms=now_ms,
            source=first.source,
            destination=first.destination,
            encoding=joined.encoding,
            text=joined.text,
            data=joined.data,
            in_reply_to=latest[1] if latest and latest[0] == owner else 0,
            parts=len(parts),
            complete=not joined.missing,
            udh=udh,
            relay=relay,
            source_type=first.source_type,
            destination_type=first.destination_type,
        )
        txn.inbound([message], now_ms)

    def _owner(self, part: MoPart, text: str, sender: int) -> int:
        """`sender`: whose message this one answers, or 0. An acknowledgement is always his."""
        owner = self._owners.owner_of(part.destination, text)
        if part.relay is not None and is_acknowledgement(part.relay.esm_class):
            owner = sender or owner
        return owner or sender or self._owners.fallback

    def _latest_to(self, handset: str, number: str, now_ms: int, reference: int) -> tuple[int, int] | None:
        return self._committer.store.latest_to(handset, number, now_ms - self._match_ms, reference)


def _receipt_in(carrier: Upstream, learner: FormLearner, pdu: Delivery, now_ms: int) -> ReceiptIn | None:
    """What any receipt says, None for an MO."""
    body = _body(pdu)
    # what an SME acknowledges is no receipt, even if it names the message by receipted_message_id
    tlvs = () if is_acknowledgement(pdu.esm_class) else pdu.tlvs
    parsed = receipt.parse(body, pdu.data_coding, tlvs, pdu.esm_class)
    if parsed is None:
        return None
    said = _said_by(carrier, parsed, pdu.destination_addr.decode("latin-1"), now_ms)
    return ReceiptIn(
        carrier.group,
        carrier.id,
        _ids(learner, parsed.ids),
        (),
        _digits(pdu.source_addr),
        said.sender,
        said.state,
        said.error,
        now_ms,
        said.done_ms,
        body,
        parsed.text,
        said.user_message_reference,
        parsed.flagged,
        said.cause,
    )


def _said_by(
    carrier: Upstream, parsed: receipt.Receipt, destination: str, now_ms: int, words: bytes = b""
) -> Said:
    """`destination`: the receipt's, which the message was from."""
    state = parsed.state or _ENROUTE
    cause = ""
    if state != _DELIVERED:
        cause = carrier.causes.of_receipt(state, parsed.err, parsed.network_error)
    done_ms = parsed.done_ms(carrier.zone, now_ms - now_ms % _DAY_MS)
    sender = _plain(destination)  # ours, as its customers know it
    return Said(
        carrier.originals.get(sender, sender), state, parsed.error, done_ms, words,
        parsed.user_message_reference, cause,
    )  # fmt: skip


class _Meanings(dict[receipt.Wording, Said]):
    """What usual receipts of a carrier say, by their wording; as long as `held_by` is the same."""

    def __init__(self, carrier: Upstream, now_ms: int) -> None:
        self._carrier = carrier
        self._now_ms = now_ms
        self.held_by = _what_counts(carrier, now_ms)

    def __missing__(self, wording: receipt.Wording) -> Said:
        tlvs = unpack_tlvs(wording.tlvs, 0) if wording.tlvs else ()
        parsed = receipt.parse(b"id:0" + wording.words, 0, tlvs)
        assert parsed is not None  # esm_class says that it is a receipt
        destination = wording.destination.decode("latin-1")
        said = self[wording] = _said_by(self._carrier, parsed, destination, self._now_ms, wording.words)
        return said


def _what_counts(carrier: Upstream, now_ms: int) -> tuple[object, ...]:
    """By what a wording is understood: its dates by the day, too, as their years may have two digits."""
    return carrier.zone, carrier.causes, carrier.originals, now_ms // _DAY_MS


def _ids(learner: FormLearner, ids: Sequence[str]) -> tuple[str, ...]:
    """Every id a receipt may be looked up under, best first."""
    if len(ids) == 1:
        return learner.apply(ids[0])
    return tuple(dict.fromkeys(form for id in ids for form in learner.apply(id)))


def _body(pdu: Delivery) -> bytes:
    """short_message, or message_payload where the text is there."""
    if isinstance(pdu, DeliverSm) and pdu.short_message:
        return pdu.short_message
    payload = pdu.tlv(Tlv.MESSAGE_PAYLOAD)
    return payload if payload is not None else b""


def _digits(address: bytes) -> str:
    return _plain(address.decode("latin-1"))


def _plain(address: str) -> str:
    """Without + or 00."""
    if address[:1] == "+":
        return address[1:]
    return address[2:] if address[:2] == "00" else address
