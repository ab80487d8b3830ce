"""Between the PDUs of a customer and the nouns of the house: submissions, message ids, statuses.

What a submit_sm says beyond its text travels in a Relay, so that the carrier gets it as it came:
service_type, protocol_id, data_coding, message mode, SME acknowledgement bits, TLVs, a user data header of
the customer's own. A text is decoded only where it comes back octet for octet; everything else is kept as the
octets it is.

Invariants: a PDU becomes what the door is asked (a Submission, or one that is Alike) or a command_status,
never an exception; an id we showed can be read again (`parse_id`) in whichever form the account has.

Deliberately not here: policy and limits (gateway.door), waiting for parts (store), sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.door import Alike, Refusal, Request, Submission
from router.money import UNPAID
from router.nouns import Account, Encoding, MessageClass, ReceiptWish, Relay, Via
from smpp import alphabet, segment
from smpp.constants import Tlv
from smpp.pdu import DataSm, ReplaceSm, SubmitMulti, SubmitSm
from smpp.segment import Concat
from smpp.smpptime import BadTime
from smpp.smpptime import parse as parse_time
from smpp.status import Status

Submit = SubmitSm | DataSm | SubmitMulti

_PAYLOAD = int(Tlv.MESSAGE_PAYLOAD)
_OF_CONTENT = frozenset(
    {_PAYLOAD, segment.SAR_MSG_REF_NUM, segment.SAR_TOTAL_SEGMENTS, segment.SAR_SEGMENT_SEQNUM}
)
MOST_TLVS = 32
MOST_TLV_OCTETS = 1024  # in all, without message_payload
_MODE_AND_UDHI = 0x43
_ACKS = 0x0C
_ALPHANUMERIC = 5
_LONGEST_NAME = 11
_LONGEST_SERVICE_TYPE = 5
_LONGEST_PART = (
    247  # octets with its header; under another carrier's header it must still fit a short_message
)
_CLASS_NAMES = {int(one): one.name.lower() for one in MessageClass}
_SOURCES_CACHED = 10_000


def _wish(registered: int, version: int) -> ReceiptWish:
    final = (ReceiptWish.NONE, ReceiptWish.FINAL, ReceiptWish.FAILURE, ReceiptWish.SUCCESS)[registered & 3]
    if registered & 3 == 3 and version < 0x50:
        final = ReceiptWish.FINAL  # reserved in 3.4 (section 5.2.17)
    if registered & 0x10:
        return {
            ReceiptWish.NONE: ReceiptWish.INTERMEDIATE,
            ReceiptWish.FINAL: ReceiptWish.ALL,
            ReceiptWish.FAILURE: ReceiptWish.FAILURE_ALL,
            ReceiptWish.SUCCESS: ReceiptWish.SUCCESS_ALL,
        }[final]
    return final


_WISHES_34 = tuple(int(_wish(bits, 0x34)) for bits in range(32))
_WISHES_50 = tuple(int(_wish(bits, 0x50)) for bits in range(32))


def wish_of(registered: int, version: int) -> tuple[int, int]:
    """registered_delivery as (ReceiptWish, SME acknowledgement bits), as a peer of `version` means it."""
    return (_WISHES_50 if version >= 0x50 else _WISHES_34)[registered & 31], registered & _ACKS


class Content(NamedTuple):
    """A short_message understood. `data_coding` -1: what a renderer writes for `encoding` is the same."""

    encoding: int
    segments: int
    text: str = ""
    data: bytes = b""
    data_coding: int = -1
    udh: bytes = b""
    concat: Concat | None = None


# Place of the first, what reads the text, octets that fit, whether numbers are international, and the source
# where it is another one.
_Like = tuple[int, Callable[[bytes], str | None], int, bool, tuple[str, int, int] | None]


def submissions(
    pdus: Sequence[Submit], account: Account, now_ms: int, version: int = 0x34
) -> tuple[list[Submit], list[Request], list[tuple[Submit, Submission | int]]]:
    """`submission` of each: those that enter, what the door is asked for each of them, and the others, which
    are refused, or replace a message. What is like an earlier one but for its number, its text and its
    source is not taken apart a second time."""
    entering: list[Submit] = []
    asked: list[Request] = []
    others: list[tuple[Submit, Submission | int]] = []
    known: dict[tuple[int | bytes, ...], _Like] = {}
    of_others: dict[tuple[int | bytes, ...], _Like] = {}  # without the source
    for pdu in pdus:
        looks: tuple[int | bytes, ...] = ()
        if type(pdu) is SubmitSm and not pdu.tlvs:
            looks = (
                pdu.source_addr, pdu.source_addr_ton, pdu.source_addr_npi, pdu.dest_addr_ton,
                pdu.dest_addr_npi, pdu.registered_delivery, pdu.data_coding, pdu.esm_class, pdu.service_type,
                pdu.protocol_id, pdu.priority_flag, pdu.schedule_delivery_time, pdu.validity_period,
                pdu.replace_if_present_flag, pdu.sm_default_msg_id,
            )  # fmt: skip
            like = known.get(looks)
            if like is None and (of_other := of_others.get(looks[3:])) is not None:
                own = source_of(pdu.source_addr, pdu.source_addr_ton, pdu.source_addr_npi)
                if not isinstance(own, int):
                    like = known[looks] = (*of_other[:4], own)
            if like is not None:
                place, text_of_it, most, international, source = like
                body = pdu.short_message
                text = text_of_it(body)
                if text is not None and len(body) <= most and not body.startswith(segment.UNTOLD_HEADERS):
                    to = pdu.destination_addr.decode("latin-1")
                    if international and to[:1] != "+":
                        to = "+" + to
                    entering.append(pdu)
                    asked.append(Alike(place, to, text, source))
                    continue
        request = submission(pdu, account, now_ms, version)
        if not isinstance(request, Submission) or (type(pdu) is SubmitSm and pdu.replace_if_present_flag):
            others.append((pdu, request))
            continue
        if type(pdu) is SubmitSm and looks and _is_plain(pdu, request):
            encoding, _ = request.planned or (0, 0)
            known[looks] = of_others[looks[3:]] = len(asked), *_TEXTS[encoding], pdu.dest_addr_ton == 1, None
        entering.append(pdu)
        asked.append(request)
    return entering, asked, others


def _is_plain(pdu: SubmitSm, request: Submission) -> bool:
    """One segment of text, no part of a longer one, and all that says how it is to be read is beside it."""
    one_segment = request.text is not None and request.planned is not None and request.planned[1] == 1
    is_part = request.relay is not None and request.relay.total > 1
    return one_segment and not (is_part or pdu.esm_class & segment.UDHI or pdu.sm_default_msg_id)


def submission(pdu: Submit, account: Account, now_ms: int, version: int = 0x34) -> Submission | int:
    """What the door is asked, or the command_status that refuses it. submit_multi: without a destination."""
    source = source_of(pdu.source_addr, pdu.source_addr_ton, pdu.source_addr_npi)
    if type(source) is int:
        return source
    assert not isinstance(source, int)
    wish = (_WISHES_50 if version >= 0x50 else _WISHES_34)[pdu.registered_delivery & 31]
    send_at_ms = expires_ms = priority = protocol_id = 0
    short_message = b""
    if not isinstance(pdu, DataSm):
        priority, protocol_id, short_message = pdu.priority_flag, pdu.protocol_id, pdu.short_message
        if priority > 3:
            return Status.ESME_RINVPRTFLG
        if pdu.sm_default_msg_id and not short_message:
            return Status.ESME_RINVDFTMSGID
        if pdu.schedule_delivery_time or pdu.validity_period:
            times = times_of(pdu, now_ms)
            if isinstance(times, int):
                return times
            send_at_ms, expires_ms = times
    if pdu.tlvs and not _tlvs_fit(pdu.tlvs):
        return Status.ESME_RINVOPTPARSTREAM
    content = content_of(short_message, pdu.esm_class, pdu.data_coding, pdu.tlvs, account.alphabet)
    if isinstance(content, int):
        return content
    if len(pdu.service_type) > _LONGEST_SERVICE_TYPE:
        return Status.ESME_RINVSERTYP
    registered = pdu.registered_delivery
    kept = pdu.esm_class & ~_MODE_AND_UDHI
    tlvs = tuple(one for one in pdu.tlvs if one[0] not in _OF_CONTENT) if pdu.tlvs else ()
    relay: Relay | None = None
    concat = content.concat
    if (
        kept or protocol_id or priority or tlvs or concat or pdu.service_type
        or registered & _ACKS or content.data_coding >= 0
    ):  # fmt: skip
        relay = Relay(
            service_type=pdu.service_type.decode("latin-1"),
            esm_class=kept,
            protocol_id=protocol_id,
            data_coding=content.data_coding,
            registered=registered & _ACKS,
            tlvs=tlvs,
            priority=priority,
        )
        if concat is not None:
            relay.reference, relay.total, relay.index = concat.reference, concat.total, concat.index
    binary = content.encoding == Encoding.BINARY
    request = Submission(
        "",
        source[0],
        text=None if binary else content.text,
        data=content.data if binary else None,
        send_at_ms=send_at_ms,
        message_class=_CLASS_NAMES[account.message_class],
        source=source,
        expires_ms=expires_ms,
        wish=wish,
        planned=(content.encoding, content.segments),
        udh=content.udh,
        via=Via.SMPP,
        relay=relay,
        flag=priority,
    )
    if not isinstance(pdu, SubmitMulti):
        request.to = destination_of(pdu.destination_addr, pdu.dest_addr_ton)
        request.destination_type = (pdu.dest_addr_ton & 15) << 4 | pdu.dest_addr_npi & 15
    return request


def _tlvs_fit(tlvs: Sequence[tuple[int, bytes]]) -> bool:
    """What is relayed must be something that carriers take: they close a link over a PDU that is too long,
    and everybody's messages in its window go out a second time."""
    octets = sum(len(value) + 4 for tag, value in tlvs if tag != _PAYLOAD)
    return len(tlvs) <= MOST_TLVS and octets <= MOST_TLV_OCTETS


def destination_of(address: bytes, ton: int) -> str:
    """With + where the TON says that it is international (3.4 section 5.2.5)."""
    text = address.decode("latin-1")
    return "+" + text if ton == 1 and text[:1] != "+" else text


_sources: dict[tuple[bytes, int, int], tuple[str, int, int] | int] = {}


def source_of(address: bytes, ton: int, npi: int) -> tuple[str, int, int] | int:
    """A source address as it came, less a +; or ESME_RINVSRCADR."""
    key = (address, ton, npi)
    found = _sources.get(key)
    if found is None:
        if len(_sources) >= _SOURCES_CACHED:
            _sources.clear()
        found = _sources[key] = _source(*key)
    return found


def _source(address: bytes, ton: int, npi: int) -> tuple[str, int, int] | int:
    text = address.decode("latin-1")
    if text[:1] == "+" and text[1:].isdigit():
        return text[1:], ton, npi
    if any(letter < " " or letter == "\x7f" for letter in text):
        return int(Status.ESME_RINVSRCADR)
    if len(text) > (_LONGEST_NAME if ton == _ALPHANUMERIC else 20):
        return int(Status.ESME_RINVSRCADR)
    return text, ton & 15, npi & 15


def times_of(pdu: SubmitSm | SubmitMulti | ReplaceSm, now_ms: int) -> tuple[int, int] | int:
    """(send at, expires) as UTC ms, 0 = not said; absolute and relative forms (3.4 section 7.1.1)."""
    try:
        send_at_ms = parse_time(pdu.schedule_delivery_time, now_ms)
    except BadTime:
        return int(Status.ESME_RINVSCHED)
    try:
        expires_ms = parse_time(pdu.validity_period, now_ms)
    except BadTime:
        return int(Status.ESME_RINVEXPIRY)
    if expires_ms and expires_ms <= max(now_ms, send_at_ms):
        return int(Status.ESME_RINVEXPIRY)
    return send_at_ms, expires_ms


def content_of(
    short_message: bytes, esm_class: int, data_coding: int, tlvs: Sequence[tuple[int, bytes]], default: str
) -> Content | int:
    """The text, or the octets, of a message; `default`: what data_coding 0 is to this customer."""
    if (
        not (tlvs or data_coding or esm_class & segment.UDHI)
        and len(short_message) <= 160
        and default == "gsm7"
    ):
        text = alphabet.gsm7_exactly(short_message)  # by far the most usual
        if text is not None:
            return Content(Encoding.GSM7, 1, text)
    if tlvs and short_message and any(tag == _PAYLOAD for tag, _ in tlvs):
        return int(Status.ESME_RINVMSGLEN)  # 3.4 section 5.3.2.32: sm_length must be 0 then
    udh, body = segment.split_header(short_message, esm_class, tlvs)
    concat = segment.parse_udh(udh) or segment.parse_sar(tlvs)
    if concat is not None and concat.total < 2:
        concat = None
    if concat is not None and len(udh) + len(body) > _LONGEST_PART:
        return int(Status.ESME_RINVMSGLEN)
    others = b"".join(
        bytes((iei, len(data))) + data
        for iei, data in segment.elements(udh)
        if concat is None or iei not in (segment.IEI_CONCAT_8, segment.IEI_CONCAT_16)
    )
    encoding = alphabet.encoding_of(data_coding, Encoding.LATIN1 if default == "latin1" else Encoding.GSM7)
    text = None if others else text_of(body, encoding)
    if text is None:
        return _binary(body, data_coding, bytes((len(others),)) + others if others else b"", concat)
    own = 0 if default == "latin1" and not data_coding else alphabet.DATA_CODING[encoding]
    kept = -1 if data_coding == own else data_coding
    if concat is not None:
        return Content(encoding, 1, text, data_coding=kept, concat=concat)
    return Content(encoding, segment.count(text, encoding), text, data_coding=kept)


def _binary(body: bytes, data_coding: int, udh: bytes, concat: Concat | None) -> Content | int:
    kept = -1 if data_coding == alphabet.DATA_CODING[alphabet.BINARY] else data_coding
    try:
        segments = 1 if concat else segment.count(body, Encoding.BINARY, udh=udh)
    except segment.BadHeader:
        return int(Status.ESME_RINVESMCLASS)
    return Content(Encoding.BINARY, segments, "", body, kept, udh, concat)


def text_of(body: bytes, encoding: int) -> str | None:
    """The text, if encoding it again gives the same octets; else None."""
    known = _TEXTS.get(encoding)
    return known[0](body) if known is not None else None


def _latin1_text(body: bytes) -> str:
    return body.decode("latin-1")


def _ucs2_text(body: bytes) -> str | None:
    try:
        return body.decode("utf-16-be")
    except UnicodeDecodeError:
        return None


# What reads the octets of an encoding, and how many of them one segment takes. BINARY has no text.
_TEXTS: dict[int, tuple[Callable[[bytes], str | None], int]] = {
    Encoding.GSM7: (alphabet.gsm7_exactly, 160),
    Encoding.LATIN1: (_latin1_text, 140),
    Encoding.UCS2: (_ucs2_text, 140),
}


# message ids

HEX_FORMS = frozenset({"hex", "short"})
PLAIN_IDS = {"decimal": b"%d\0", "hex": b"%X\0"}  # forms that need no alias


def id_of(form: str, id: int, alias: int) -> bytes:
    """A message_id as this account reads it, with its NUL."""
    if form == "short" and alias:
        return b"%08X\0" % alias
    return PLAIN_IDS.get(form, PLAIN_IDS["hex"]) % id


def parse_id(form: str, text: bytes) -> int | None:
    """The number behind a message_id of ours: an id, or with form "short" up to 8 digits of it, an alias."""
    try:
        return int(text, 16 if form in HEX_FORMS else 10)
    except ValueError:
        return None


# refusals

_STATUSES = {
    "account-closed": Status.ESME_RSUBMITFAIL,
    "account-suspended": Status.ESME_RSUBMITFAIL,
    "bad-callback-url": Status.ESME_RSUBMITFAIL,
    "bad-encoding": Status.ESME_RINVDCS,
    "bad-sender": Status.ESME_RINVSRCADR,
    "bad-validity": Status.ESME_RINVEXPIRY,
    "destination-not-allowed": Status.ESME_RINVDSTADR,
    "impossible-length": Status.ESME_RINVDSTADR,
    "no-content": Status.ESME_RINVMSGLEN,
    "no-margin": Status.ESME_RSUBMITFAIL,
    "no-number": Status.ESME_RINVDSTADR,
    "no-route": Status.ESME_RINVDSTADR,
    "not-a-number": Status.ESME_RINVDSTADR,
    "number-type-not-allowed": Status.ESME_RINVDSTADR,
    "queue-full": Status.ESME_RMSGQFUL,
    "rate-limited": Status.ESME_RTHROTTLED,
    "route-down": Status.ESME_RMSGQFUL,
    "sender-not-allowed": Status.ESME_RINVSRCADR,
    "shutting-down": Status.ESME_RMSGQFUL,
    "store-full": Status.ESME_RMSGQFUL,
    "too-far-ahead": Status.ESME_RINVSCHED,
    "too-long": Status.ESME_RINVMSGLEN,
    "unencodable": Status.ESME_RINVDCS,
    "unknown-country": Status.ESME_RINVDSTADR,
}


def status_of(refusal: Refusal, version: int = 0x34, unpaid: int = 0) -> int:
    """The command_status that says what a refusal says; one that 3.4 knows for a 3.4 peer.

    `unpaid`: the account's own for what it has no money or quota for; 0 = none.
    """
    if unpaid and refusal.code in UNPAID:
        return unpaid
    status = _STATUSES.get(refusal.code, Status.ESME_RSUBMITFAIL)
    if version < 0x50 and status == Status.ESME_RINVDCS:
        return int(Status.ESME_RSUBMITFAIL)
    return int(status)
