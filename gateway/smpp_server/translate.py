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

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple, TypeVar

import msgspec

from gateway.door import Alike, Refusal, Request, Submission, put_all
from router.money import UNPAID
from router.nouns import Account, Encoding, MessageClass, ReceiptWish, Relay, Via
from smpp import alphabet, segment
from smpp.constants import Tlv
from smpp.events import OfKind, Submits
from smpp.pdu import DataSm, ReplaceSm, SubmitMulti, SubmitSm
from smpp.segment import Concat
from smpp.smpptime import BadTime
from smpp.smpptime import parse as parse_time
from smpp.status import Status

Submit = SubmitSm | DataSm | SubmitMulti
T = TypeVar("T")

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
_FIRSTS_MOST = 256
_PLACE = itemgetter(0)
_GSM7 = int(Encoding.GSM7)
_LAST_HEADER = max(segment.UNTOLD_HEADERS)
_AFTER_HEADERS = _LAST_HEADER[:-1] + bytes((_LAST_HEADER[-1] + 1,))  # no text from here on begins with one


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


class Firsts(msgspec.Struct, gc=False):
    """What submits of a kind are asked as, of one connection; without number and text."""

    account: Account | None = None  # for which this holds
    known: dict[int, tuple[SubmitSm, Submission]] = {}  # by the id of their model, which is kept for that


def submissions(
    submits: Sequence[Submit | Submits],
    account: Account,
    now_ms: int,
    version: int = 0x34,
    firsts: Firsts | None = None,
) -> tuple[list[int], list[Request], list[tuple[Submit, Submission | int]]]:
    """`submission` of each: sequence_numbers of those that enter, what the door is asked for them, and the
    others, which are refused, or replace a message. What is like others but for its number, its text and its
    source is not taken apart by itself. `firsts`: what is kept from call to call, of the same version."""
    firsts = firsts if firsts is not None else Firsts()
    if firsts.account is not account:
        firsts.account = account
        firsts.known.clear()
    asking, place = _Asking(account, now_ms, version, firsts.known), 0
    for one in submits:
        if type(one) is Submits:
            for kind in one.kinds:
                asking.take_kind(kind, place)
            place += one.count
        else:
            asking.take(one, place)  # type: ignore[arg-type]
            place += 1
    return asking.in_order(place)


class _Asking(msgspec.Struct, gc=False):
    """One call of `submissions`. Places are counted over all."""

    account: Account
    now_ms: int
    version: int
    firsts: dict[int, tuple[SubmitSm, Submission]]
    singly: list[tuple[int, int, Submission]] = []  # place, sequence_number
    alike: list[tuple[list[int], Alike]] = []  # sequence_numbers
    others: list[tuple[int, Submit, Submission | int]] = []

    def take(self, pdu: Submit, place: int) -> None:
        request = submission(pdu, self.account, self.now_ms, self.version)
        if type(request) is Submission and not (type(pdu) is SubmitSm and pdu.replace_if_present_flag):
            self.singly.append((place, pdu.sequence_number, request))
        else:
            self.others.append((place, pdu, request))

    def take_kind(self, kind: OfKind, before: int) -> None:
        """Some of one kind; `before`: places of the submits before those that they are told with."""
        places = [before + place for place in kind.places] if before else kind.places
        first = self._first(kind)
        if first is None:
            for index, place in enumerate(places):
                self.take(kind.pdu(index), place)
            return
        numbers, international = kind.numbers, kind.model.dest_addr_ton == 1
        to = b"\0".join(kind.destinations).decode("latin-1").split("\0")
        texts = _texts_of(kind.texts, (first.planned or (0, 0))[0])
        first, sources = _sources_of(kind, first)
        if None in texts or (sources and int in map(type, sources)):
            alike: list[int] = []
            apart: list[int] = []
            for index, text in enumerate(texts):
                good = text is not None and not (sources and type(sources[index]) is int)
                (alike if good else apart).append(index)
            for index in apart:
                self.take(kind.pdu(index), places[index])
            places, numbers, to = _at(places, alike), _at(numbers, alike), _at(to, alike)
            texts, sources = _at(texts, alike), sources and _at(sources, alike)
        if numbers:
            self.alike.append((numbers, Alike(first, places, to, texts, sources, international)))  # type: ignore[arg-type]

    def _first(self, kind: OfKind) -> Submission | None:
        """What those of a kind are asked as. None: each has to be looked at."""
        model = kind.model
        known = self.firsts.get(id(model))
        if known is not None:
            return known[1]
        pdu = kind.pdu(0)
        pdu.destination_addr = pdu.short_message = b""
        request = submission(pdu, self.account, self.now_ms, self.version)
        if not isinstance(request, Submission) or not _is_plain(pdu, request):
            return None
        if not (model.schedule_delivery_time or model.validity_period):  # which say something else later
            if len(self.firsts) >= _FIRSTS_MOST:
                self.firsts.clear()
            self.firsts[id(model)] = model, request
        return request

    def in_order(self, count: int) -> tuple[list[int], list[Request], list[tuple[Submit, Submission | int]]]:
        """All of them, `count`, as `submissions` gives them."""
        singly = self.singly
        if len(singly) > 1:
            singly.sort(key=_PLACE)
        asked: list[Request] = [request for _, _, request in singly]
        entering = [0] * count
        for place, number, _ in singly:
            entering[place] = number
        for numbers, alike in self.alike:
            put_all(entering, alike.places, numbers)
            asked.append(alike)
        if not self.others:
            return entering, asked, []
        self.others.sort(key=_PLACE)
        left = sorted({*range(count)}.difference([place for place, _, _ in self.others]))
        new = dict(zip(left, range(count), strict=False))
        for _, alike in self.alike:
            alike.places = _at(new, alike.places)
        return _at(entering, left), asked, [(pdu, request) for _, pdu, request in self.others]


def _at(values: Sequence[T] | Mapping[int, T], places: list[int]) -> list[T]:
    return [values[place] for place in places]


def _sources_of(kind: OfKind, first: Submission) -> tuple[Submission, Sequence[tuple[str, int, int] | int]]:
    """The source of each, or nothing where all have the first's, which is then one that has it."""
    if kind.sources:
        found = {one: source_of(one[2:], one[0], one[1]) for one in set(kind.sources)}
        if len(found) > 1:
            return first, [found[one] for one in kind.sources]
        own = found[kind.sources[0]]
    else:
        model = kind.model
        own = source_of(model.source_addr, model.source_addr_ton, model.source_addr_npi)
    if own == first.source:
        return first, ()
    if isinstance(own, int):
        return first, [own] * len(kind.numbers)
    return msgspec.structs.replace(first, source=own, sender=own[0]), ()


def _is_plain(pdu: SubmitSm, request: Submission) -> bool:
    """A text, no part of a longer one, and all that says how it is to be read is beside it."""
    return (
        request.text is not None
        and not pdu.replace_if_present_flag
        and not pdu.sm_default_msg_id
        and not pdu.esm_class & segment.UDHI
        and not (pdu.tlvs and any(tag in _OF_CONTENT for tag, _ in pdu.tlvs))
    )


def _texts_of(bodies: list[bytes], encoding: int) -> list[str | None]:
    """The text of each, None where it is not one segment of plain text."""
    read, most = _TEXTS[encoding]
    headers = segment.UNTOLD_HEADERS
    if encoding == _GSM7 and max(map(len, bodies)) <= most and min(bodies) >= _AFTER_HEADERS:
        together = alphabet.gsm7_all_exactly(bodies)
        if together is not None:
            return together  # type: ignore[return-value]
    return [read(body) if len(body) <= most and not body.startswith(headers) else None for body in bodies]


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
