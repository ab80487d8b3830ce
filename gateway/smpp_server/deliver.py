"""Events as the deliver_sm (or data_sm) bodies that a customer's session gets.

A receipt is text as 3.4 Appendix B has it, with receipted_message_id and message_state where the account
wants TLVs and the peer's version has them; its addresses are the message's, swapped. An MO goes in the
encoding it came in, with all that its PDU said beyond the text, a long one in parts under one reference, as
handsets' networks do. Final receipts of one part are written by the list (`receipts`), everything else one by
one (`bodies`).

Invariant: every event that can be stored can be written.

Deliberately not here: which session, windows, retries (deliveries), parsing receipts (smpp.receipt).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from gateway.smpp_server.translate import id_of
from router.correlate import reference_of
from router.nouns import Account, Encoding, Event, EventKind, MessageState, Reason, Relay
from smpp import receipt
from smpp.alphabet import DATA_CODING, GSM7, LATIN1, UCS2, TextError, cheapest
from smpp.alphabet import encode as encode_text
from smpp.codec import encode
from smpp.compiler import pack_tlvs
from smpp.constants import CommandId, Tlv
from smpp.pdu import DataSm, deliver_sm_body
from smpp.segment import MAX_PAYLOAD, UDHI, Segment, render
from smpp.smpptime import from_ms
from smpp.status import Status
from store.interface import FreshRow, OutboxRow, ReceiptRow
from store.outbox import RECEIPT_TEXT

_MO, _RECEIPT_EVENT = int(EventKind.MO), int(EventKind.RECEIPT)
_RECEIPT = 0x04  # esm_class: MC delivery receipt (3.4 section 5.2.12)
_INTERMEDIATE = 0x20
_DELIVER_SM = int(CommandId.DELIVER_SM)
_DATA_SM = int(CommandId.DATA_SM)
_MESSAGE_STATE = int(Tlv.MESSAGE_STATE)
_PAYLOAD = int(Tlv.MESSAGE_PAYLOAD)
_STATE_34 = {int(MessageState.SCHEDULED): 1, int(MessageState.SKIPPED): 8}  # what a 3.4 peer sees
_REASON_NAMES = {int(reason): reason.name.lower() for reason in Reason}
_REASON_CODES: dict[int, str] = {
    Reason.EXPIRED_IN_QUEUE: "255",
    Reason.NO_RECEIPT: "254",
    Reason.CANCELLED: "253",
}
_NOTHING = Relay()
_LONGEST_SHORT_MESSAGE, _LONGEST_ADDRESS = 254, 20
_WORD = re.compile(r"[!-~]{1,10}")  # an err that is no number: "4A6", "E_NETWORK"
_GSM, _SMPP_ERROR = 3, 7  # types of network_error_code; the second is 5.0's

Bodies = Sequence[bytes]


def command_of(account: Account) -> int:
    """The request that carries what this account is told."""
    return _DATA_SM if account.deliver_with == "data_sm" else _DELIVER_SM


def bodies(event: Event, account: Account, version: int) -> Bodies:
    """The PDU bodies, without header, that say this event to a peer of `version`."""
    if event.kind == _MO:
        return _mo(event, account, version)
    return (_receipt(event, account, version),)


def short(row: OutboxRow) -> FreshRow:
    """A row that was read from the outbox as its commit handed it over, for `receipts`; itself, where it is
    not the final receipt of a message of one part, or was tried before."""
    event = row.event
    if (
        event.kind != _RECEIPT_EVENT
        or not event.final
        or event.segments != 1
        or event.part
        or event.shown
        or event.relay is not None
        or event.attempts
        or event.since_ms
        or len(event.text) > RECEIPT_TEXT
    ):
        return row
    return ReceiptRow(row.endpoint, row.seq, event.message_id, event, event, event.text, event.done_ms)


def receipts(rows: Sequence[ReceiptRow], account: Account, version: int) -> list[bytes]:
    """The one body of each, as `bodies` has it. The hot path: what is the same for many is written once."""
    if account.deliver_with != "deliver_sm" or account.receipt_layout != "standard":
        return [_receipt(row.whole().event, account, version) for row in rows]
    form, tlvs = account.id_form, account.receipt_tlvs and version >= 0x34
    texts = [row.text for row in rows]
    together = "".join(texts)
    if not (together.isascii() and together.isprintable()):
        texts = [receipt.quoted(text) for text in texts]
    if form == "decimal":
        ids = [str(row.message_id) for row in rows]
    else:
        ids = [id_of(form, row.message_id, row.message.alias)[:-1].decode() for row in rows]
    written: list[bytes] = []
    like, submitted, ended, octets, tag, told = None, -1, -1, -1, "", ""
    for row, id, text in zip(rows, ids, texts, strict=True):
        message, done_ms = row.message, row.done_ms
        accepted_ms, to, source = message.accepted_ms, message.destination, message.source
        if done_ms <= accepted_ms:  # as in `_layout`
            done_ms = accepted_ms if done_ms else row.like.at_ms
        if (
            row.like is not like
            or accepted_ms // 60_000 != submitted
            or done_ms // 60_000 != ended
            or len(id) != octets
        ):
            like, submitted, ended, octets = row.like, accepted_ms // 60_000, done_ms // 60_000, len(id)
            begin, types, end = _addressed(like.source_type, like.destination_type)
            said = _said(like.state, error_code(like, account), submitted, ended)
            others = len(said) + octets + _ID_OCTETS
            if tlvs:
                tag, told = _ID_TAG + chr(octets + 1), _packed(_state_tlvs(like, account, version))
        if len(to) > _LONGEST_ADDRESS or len(source) > _LONGEST_ADDRESS:
            to, source = to[:_LONGEST_ADDRESS], source[:_LONGEST_ADDRESS]
        octets_in_all, again = _OCTETS[others + len(text)], id if tlvs else ""
        body = f"{begin}{to}{types}{source}{end}{octets_in_all}id:{id}{said}{text}{tag}{again}{told}"
        written.append(body.encode("latin-1", "replace"))
    return written


_ID_OCTETS = len("id:")
_OCTETS = [chr(number) for number in range(256)]
_ID_TAG = "\0\x1e\0"  # receipted_message_id, and the first octet of its length


@functools.lru_cache(maxsize=256)
def _addressed(source_type: int, destination_type: int) -> tuple[str, str, str]:
    """A final receipt's body before the recipient's number, up to the sender, up to sm_length."""
    body = deliver_sm_body(
        b"",
        destination_type >> 4,
        destination_type & 15,
        b"",
        source_type >> 4,
        source_type & 15,
        b"",
        _RECEIPT,
    ).decode("latin-1")
    return body[:3], body[3:6], body[6:-1]


@functools.lru_cache(maxsize=256)
def _packed(tlvs: tuple[tuple[int, bytes], ...]) -> str:
    """What follows receipted_message_id, from its NUL on."""
    return "\0" + pack_tlvs(tlvs).decode("latin-1")


@functools.lru_cache(maxsize=1024)  # receipts come by the thousand, minute by minute
def _said(state: int, error: str, submitted: int, ended: int) -> str:
    """A receipt's text between the id and what it quotes. `submitted` and `ended` in whole minutes."""
    text = receipt.format("", state, submit_ms=submitted * 60_000, done_ms=ended * 60_000, err=error)
    return text[_ID_OCTETS:].decode("ascii")


def _receipt(event: Event, account: Account, version: int) -> bytes:
    shown = id_of(account.id_form, event.shown or event.message_id, event.alias)
    text = _layout(event, account, shown[:-1].decode("ascii"))
    tlvs: tuple[tuple[int, bytes], ...] = ()
    if account.receipt_tlvs and version >= 0x34:
        tlvs = ((receipt.RECEIPTED_MESSAGE_ID, shown), *_state_tlvs(event, account, version))
        if event.relay is not None:
            tlvs += event.relay.tlvs
    esm_class = _RECEIPT if event.final or event.part else _INTERMEDIATE
    return _body(event, account, esm_class, 0, Segment(text, tlvs=tlvs), swapped=True)


def _state_tlvs(event: Event, account: Account, version: int) -> tuple[tuple[int, bytes], ...]:
    state = event.state
    known = state if version >= 0x50 else _STATE_34.get(state, state)
    return ((_MESSAGE_STATE, bytes((known,))), *_network_error(event, account, version))


def _layout(event: Event, account: Account, id: str) -> bytes:
    delivered = event.state == MessageState.DELIVERED
    segments = event.segments
    # the carrier's word, often to the minute only; nothing is done before it was submitted
    done_ms = max(event.done_ms, event.accepted_ms) if event.done_ms else event.at_ms
    text = receipt.format(
        id,
        event.state,
        submit_ms=event.accepted_ms,
        done_ms=done_ms,
        err=error_code(event, account),
        text=event.text,
        sub=segments,
        dlvrd=segments if delivered else 0,
    )
    if account.receipt_layout == "seconds":
        for name, at_ms in ((b"submit date:", event.accepted_ms), (b"done date:", done_ms)):
            at = text.index(name) + len(name) + 10
            text = text[:at] + f"{from_ms(at_ms):%S}".encode() + text[at:]
    return text


def error_code(event: Event, account: Account) -> str:
    """err: the code this account expects for our reason, else the carrier's own, in the account's form."""
    if event.state == MessageState.DELIVERED:
        return "000"
    expected = _expected(event, account)
    if expected is not None:
        return expected
    _, number = _type_and_code(event.error)
    if number is not None:
        return f"{number:03X}" if account.receipt_error_form == "hex" else f"{number:03d}"
    if _WORD.fullmatch(event.error):
        return event.error
    return _REASON_CODES.get(event.reason, "000") if event.final else "000"


def _expected(event: Event, account: Account) -> str | None:
    """By cause; by reason, where no cause is expected."""
    expected = account.error_codes
    if not expected:
        return None
    found = expected.get(event.cause)
    return expected.get(_REASON_NAMES.get(event.reason, "")) if found is None else found


def _network_error(event: Event, account: Account, version: int) -> tuple[tuple[int, bytes], ...]:
    """network_error_code (3.4 section 5.3.2.31) beside err: the same code, where it is a number."""
    if event.state == MessageState.DELIVERED:
        return ()
    expected = _expected(event, account)
    kind, number = _type_and_code(event.error if expected is None else expected)
    if not number or number > 0xFFFF or (kind == _SMPP_ERROR and version < 0x50):
        return ()
    return ((receipt.NETWORK_ERROR_CODE, bytes((kind,)) + number.to_bytes(2, "big")),)


def _type_and_code(error: str) -> tuple[int, int | None]:
    """A carrier's error as network_error_code has it: "3:21" (its TLV), "021" (err), a command_status by name
    or as 0x00000420. None: it is no number, or one that could be hexadecimal."""
    if error.isdecimal() and error.isascii():
        return _GSM, int(error[:9])
    kind, colon, code = error.partition(":")
    if colon and kind.isdecimal() and code.isdecimal():
        return int(kind) & 0xFF, int(code[:9])
    if error in Status.__members__:
        return _SMPP_ERROR, int(Status[error])
    if error.startswith("0x"):
        try:
            return _SMPP_ERROR, int(error, 16)
        except ValueError:
            pass
    return _GSM, None


def _mo(event: Event, account: Account, version: int) -> Bodies:
    relay = event.relay or _NOTHING
    kept, encoding = relay.data_coding, event.encoding
    if encoding == Encoding.GSM7 and cheapest(event.text) != GSM7:  # it had octets that are no septets
        kept, encoding = -1, LATIN1 if max(event.text) <= "\xff" else UCS2
    try:
        segments = _segments(event, account, encoding, kept, relay.udh)
    except TextError:  # its header leaves no room for another one, or it would have more than 255 parts
        segments = [_unsplit(event, encoding, relay.udh)]
    written = []
    for segment in segments:
        whole = segment._replace(tlvs=segment.tlvs + relay.tlvs) if version >= 0x34 else segment
        data_coding = segment.data_coding if kept < 0 else kept
        esm_class = relay.esm_class | segment.esm_class
        written.append(_body(event, account, esm_class, data_coding, whole, swapped=False))
    return written


def _segments(event: Event, account: Account, encoding: int, data_coding: int, udh: bytes) -> list[Segment]:
    """`data_coding` other than -1 says itself which alphabet it is; the account's is that of 0."""
    return render(
        event.data if encoding == Encoding.BINARY else event.text,
        encoding,
        0,
        account.alphabet if data_coding < 0 else "gsm7",
        "payload" if account.deliver_with == "data_sm" else "udh8",
        reference_of(event.message_id),
        udh=udh,
    )


def _unsplit(event: Event, encoding: int, udh: bytes) -> Segment:
    octets = event.data if encoding == Encoding.BINARY else encode_text(event.text, encoding)
    esm_class, data_coding = UDHI if udh else 0, DATA_CODING[encoding]
    if len(udh + octets) <= _LONGEST_SHORT_MESSAGE:
        return Segment(udh + octets, udh, esm_class, data_coding)
    return Segment(b"", udh, esm_class, data_coding, ((_PAYLOAD, (udh + octets)[:MAX_PAYLOAD]),))


def _body(
    event: Event, account: Account, esm_class: int, data_coding: int, segment: Segment, *, swapped: bool
) -> bytes:
    """Carriers' fields longer than the specification allows are cut: no customer could read them."""
    longest = 64 if account.deliver_with == "data_sm" else _LONGEST_ADDRESS
    source = event.source.encode("latin-1", "replace")[:longest]
    destination = event.destination.encode("latin-1", "replace")[:longest]
    source_type, destination_type = event.source_type, event.destination_type
    if swapped:
        source, destination = destination, source
        source_type, destination_type = destination_type, source_type
    relay = event.relay or _NOTHING
    service_type = relay.service_type.encode("latin-1", "replace")[:5] if relay.service_type else b""
    if account.deliver_with == "data_sm":
        tlvs = segment.tlvs
        if segment.short_message:
            tlvs = ((_PAYLOAD, segment.short_message), *tlvs)
        return encode(
            DataSm(
                service_type=service_type,
                source_addr_ton=source_type >> 4,
                source_addr_npi=source_type & 15,
                source_addr=source,
                dest_addr_ton=destination_type >> 4,
                dest_addr_npi=destination_type & 15,
                destination_addr=destination,
                esm_class=esm_class,
                registered_delivery=relay.registered,
                data_coding=data_coding,
                tlvs=tlvs,
            )
        )[16:]
    return deliver_sm_body(
        service_type,
        source_type >> 4,
        source_type & 15,
        source,
        destination_type >> 4,
        destination_type & 15,
        destination,
        esm_class,
        relay.protocol_id,
        relay.priority,
        b"",
        b"",
        relay.registered,
        0,
        data_coding,
        0,
        segment.short_message,
        segment.tlvs,
    )
