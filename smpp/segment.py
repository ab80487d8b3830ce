"""Long messages: counting and cutting into segments, and reading and joining those of a peer.

A segment is one submit_sm. Sizes (3GPP TS 23.040 section 9.2.3.24): 160 septets or 140 octets alone; in a
concatenated message 153 septets or 134 octets under an 8-bit reference, 152 or 133 under a 16-bit one. A cut
never falls inside an escape pair or a surrogate pair.

Two steps, both cheap for the usual short text:
    plan()    at accept: the canonical encoding and number of segments; nothing is built;
    render()  when sending: the segments as one carrier wants them (its alphabet, its concatenation method).
Parts that a customer has cut are rendered one by one, render_part(), or all as one message, cut_anew().

Reading: parse_concat() takes one received short_message apart, reassemble() puts a group together
in any order.

Deliberately not here: where parts wait for each other (store), references (the caller numbers them), PDUs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

import msgspec

from smpp import alphabet
from smpp.alphabet import _FROM_LATIN1, AUTO, BINARY, ESC, GSM7, LATIN1, UCS2, TextError

UDHI: Final = 0x40  # esm_class: short_message begins with a user data header
MAX_PARTS: Final = 255
MAX_PAYLOAD: Final = 65_535  # octets of a message_payload TLV

SAR_MSG_REF_NUM: Final = 0x020C
SAR_TOTAL_SEGMENTS: Final = 0x020E
SAR_SEGMENT_SEQNUM: Final = 0x020F
MESSAGE_PAYLOAD: Final = 0x0424

IEI_CONCAT_8: Final = 0x00
IEI_CONCAT_16: Final = 0x08
UNTOLD_HEADERS: Final = (b"\x05\x00\x03", b"\x06\x08\x04")  # how a header begins that UDHI may not tell of
IEI_SINGLE_SHIFT: Final = 0x24
IEI_LOCKING_SHIFT: Final = 0x25

METHODS: Final = ("udh8", "udh16", "sar", "payload", "none")
CARRIER_ALPHABETS: Final = ("gsm7", "gsm7-packed", "latin1", "ascii")

_SINGLE_SEPTETS: Final = 160
_SINGLE_OCTETS: Final = 140
# Alphabets of carriers that are no GSM alphabet: one octet for each character.
_CODECS: Final = {"latin1": "latin-1", "ascii": "ascii"}
# Octets that one part's header takes, its length octet included. With SAR the SMSC writes the header.
_HEADER: Final = {"udh8": 6, "udh16": 7, "sar": 6, "payload": 6, "none": 0}


class TooManyParts(TextError):
    """The message needs `parts` segments where `max_parts` are allowed."""

    def __init__(self, parts: int, max_parts: int) -> None:
        super().__init__(f"needs {parts} segments, {max_parts} allowed")
        self.parts = parts
        self.max_parts = max_parts


class BadHeader(TextError):
    """A user data header given by a submitter is no header, or leaves no room."""


class Segment(NamedTuple):
    """What one submit_sm carries. `short_message` is complete: it begins with `udh` where there is one.

    `esm_class` holds only the UDHI bit, to be or-ed into the message's own. `tlvs`: (tag, value).
    """

    short_message: bytes
    udh: bytes = b""
    esm_class: int = 0
    data_coding: int = 0
    tlvs: tuple[tuple[int, bytes], ...] = ()


class Concat(msgspec.Struct, frozen=True, gc=False):
    """One part's place: `index` from 1 to `total`. `bits`: the reference's width, 8 or 16, or 17 for SAR."""

    ref: int
    total: int
    index: int
    bits: int = 8

    @property
    def reference(self) -> int:
        """The reference as a key of the group: references of different widths never meet."""
        return self.bits << 16 | self.ref


class UserData(NamedTuple):
    """One received short_message, taken apart: `body` has no header and is under `encoding`."""

    concat: Concat | None
    encoding: int
    body: bytes
    udh: bytes = b""


class PartLike(Protocol):
    """What reassemble() needs of a stored part (store.interface.MoPart is one)."""

    @property
    def index(self) -> int: ...
    @property
    def encoding(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class Joined(NamedTuple):
    """A reassembled message: `text`, or `data` if a part is binary. `missing`: indexes that never came."""

    encoding: int
    text: str
    data: bytes
    missing: tuple[int, ...] = ()


# ---------------------------------------------------------------------------------------------- counting


def plan(
    content: str | bytes, encoding: int = AUTO, max_parts: int = MAX_PARTS, *, udh: bytes = b""
) -> tuple[int, int]:
    """The canonical (encoding, segments) of a text, or of binary data.

    Raises Unencodable (the encoding asked for cannot carry the text), TooManyParts, BadHeader. A plain text
    of up to 160 characters costs under 1 us.
    """
    if isinstance(content, bytes):
        encoding, segments = BINARY, count(content, BINARY, udh=udh)
    else:
        if encoding <= GSM7 and len(content) <= _SINGLE_SEPTETS:
            try:
                if content.encode("latin-1").translate(_FROM_LATIN1).isascii():
                    return _ONE_GSM7
            except UnicodeEncodeError:
                pass
        if encoding == AUTO:
            encoding = alphabet.cheapest(content)
        segments = count(content, encoding)
    if segments > max_parts:
        raise TooManyParts(segments, max_parts)
    return encoding, segments


_ONE_GSM7: Final = (GSM7, 1)


def count(content: str | bytes, encoding: int, *, method: str = "udh8", udh: bytes = b"") -> int:
    """How many segments `content` needs; 1 for an empty one. Raises Unencodable, BadHeader."""
    octets = content if isinstance(content, bytes) else alphabet.encode(content, encoding)
    alone, each = room(encoding, method, udh)
    if len(octets) <= alone or method == "payload":
        return 1
    return sum(1 for _ in _cuts(octets, encoding, each))


def room(encoding: int, method: str = "udh8", udh: bytes = b"") -> tuple[int, int]:
    """Units (septets or octets) that fit alone, and in each part of a concatenated message."""
    single = _SINGLE_OCTETS - len(udh)
    # a header of ours is merged into the submitter's: one length octet for both
    octets = single - _HEADER[method] + (1 if udh and _HEADER[method] else 0)
    if octets < 4:
        raise BadHeader(f"a user data header of {len(udh)} octets leaves no room for a message")
    return (single * 8 // 7, octets * 8 // 7) if encoding == GSM7 else (single, octets)


def _cuts(octets: bytes, encoding: int, each: int) -> Iterator[bytes]:
    """Pieces of at most `each` octets, none ending inside an escape or surrogate pair."""
    start, end_of_all = 0, len(octets)
    if encoding == UCS2:
        each &= ~1
    while start < end_of_all:
        end = start + each
        if end < end_of_all:
            if encoding == GSM7 and octets[end - 1] == ESC:
                end -= 1
            elif encoding == UCS2 and octets[end - 2] & 0xFC == 0xD8:
                end -= 2
        yield octets[start:end]
        start = end


# ---------------------------------------------------------------------------------------------- cutting


def render(
    content: str | bytes,
    encoding: int,
    segments: int = 1,
    carrier_alphabet: str = "gsm7",
    method: str = "udh8",
    ref: int = 0,
    *,
    udh: bytes = b"",
    max_parts: int = MAX_PARTS,
) -> list[Segment]:
    """The segments of a planned message as a carrier wants them.

    `segments` is the canonical count: 1 lets the usual case be built at once. `carrier_alphabet` says what
    octets the carrier reads under data_coding 0: "gsm7" (unpacked septets), "gsm7-packed", "latin1" or
    "ascii". A text that such a carrier's alphabet lacks goes as UCS-2, in more segments if need be. Octets
    under GSM7 are unpacked septets, of a national table that `udh` names. Raises as split.
    """
    if encoding == GSM7 and isinstance(content, str):
        if carrier_alphabet == "gsm7":
            septets = alphabet.gsm7_encode(content)
            if segments == 1 and not udh and len(septets) <= _SINGLE_SEPTETS:
                return [Segment(septets)]
            return _split(septets, GSM7, method, ref, udh, max_parts)
        if carrier_alphabet in _CODECS:
            return _render_octets(content, carrier_alphabet, method, ref, udh, max_parts)
        content = alphabet.gsm7_encode(content)
    cut = split(content, encoding, method=method, ref=ref, max_parts=max_parts, udh=udh)
    if encoding == GSM7 and carrier_alphabet == "gsm7-packed":
        return [_packed(one) for one in cut]
    return cut


def render_part(
    content: str | bytes,
    encoding: int,
    concat: Concat,
    carrier_alphabet: str = "gsm7",
    method: str = "udh8",
    *,
    udh: bytes = b"",
) -> Segment:
    """One part that somebody else has cut, as a carrier wants it; `method`: udh8, udh16 or sar.

    Raises Unencodable where the carrier's alphabet lacks a character: a part by itself cannot grow.
    """
    esm_class = UDHI if udh else 0
    if encoding != GSM7 or isinstance(content, bytes):
        octets = content if isinstance(content, bytes) else alphabet.encode(content, encoding)
        return _part(octets, udh, method, concat, esm_class, alphabet.DATA_CODING[encoding])
    codec = _CODECS.get(carrier_alphabet)
    if codec is not None:
        try:
            return _part(content.encode(codec), udh, method, concat, esm_class, 0)
        except UnicodeEncodeError as error:
            raise alphabet.Unencodable(carrier_alphabet, content, (error.start,)) from None
    one = _part(alphabet.gsm7_encode(content), udh, method, concat, esm_class, 0)
    return _packed(one) if carrier_alphabet == "gsm7-packed" else one


def part_fits(text: str, encoding: int, carrier_alphabet: str = "gsm7", method: str = "udh8") -> bool:
    """Whether a part that somebody else has cut can go as it is to a carrier; `method`: udh8, udh16 or sar.

    With SAR the SMSC writes the header, and what it makes of the part is its own affair.
    """
    if encoding == GSM7 and not carries(carrier_alphabet, text):
        return False
    alone, each = room(encoding, method)
    most = alone if method == "sar" else each
    if encoding == UCS2 or len(text) * 2 > most:
        return len(alphabet.encode(text, encoding)) <= most
    return True


def cut_anew(
    texts: Sequence[str],
    encoding: int,
    carrier_alphabet: str = "gsm7",
    method: str = "udh8",
    ref: int = 0,
    *,
    max_parts: int = MAX_PARTS,
) -> list[list[Segment]]:
    """All parts of one message that somebody else has cut, in order, as one message under `ref`: for each
    part the segments that stand for it, at least one. `method`: udh8, udh16 or sar.

    The parts are joined and cut as one, and a segment stands for the part in which it begins, as far as that
    leaves one for each. Where joining would give fewer segments than parts, each part is cut by itself. What
    the carrier's alphabet lacks makes the whole UCS-2. Raises Unencodable, TooManyParts.
    """
    if encoding == GSM7 and not all(carries(carrier_alphabet, text) for text in texts):
        encoding = UCS2
    pieces = [alphabet.encode(text, encoding) for text in texts]
    _, each = room(encoding, method)
    bodies = list(_cuts(b"".join(pieces), encoding, each))
    if len(bodies) < len(pieces):
        shares = [list(_cuts(piece, encoding, each)) or [b""] for piece in pieces]
    else:
        shares = _shared(bodies, [len(piece) for piece in pieces])
    total = sum(map(len, shares))
    if total > min(max_parts, MAX_PARTS):
        raise TooManyParts(total, min(max_parts, MAX_PARTS))
    places = iter(range(1, total + 1))
    return [
        [
            _as_carried(
                _part(body, b"", method, Concat(ref, total, next(places)), 0, alphabet.DATA_CODING[encoding]),
                encoding,
                carrier_alphabet,
            )
            for body in share
        ]
        for share in shares
    ]


def _shared(bodies: Sequence[bytes], lengths: Sequence[int]) -> list[list[bytes]]:
    """At least as many bodies as there are parts, dealt out in order: each to the part it begins in, none
    passed over and none left without."""
    shares: list[list[bytes]] = [[] for _ in lengths]
    ends = list(accumulate(lengths))
    part, start = -1, 0
    for index, body in enumerate(bodies):
        least = len(lengths) - (len(bodies) - index)  # so that there is one for each part after it
        part = max(least, min(bisect_right(ends, start), part + 1))
        shares[part].append(body)
        start += len(body)
    return shares


def carries(carrier_alphabet: str, text: str) -> bool:
    """Whether a GSM text has only characters that a carrier's alphabet has."""
    codec = _CODECS.get(carrier_alphabet)
    if codec is None:
        return True
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def split(
    content: str | bytes,
    encoding: int,
    *,
    method: str = "udh8",
    ref: int = 0,
    max_parts: int = MAX_PARTS,
    udh: bytes = b"",
) -> list[Segment]:
    """`content` as segments. `udh` is a submitter's own header, length octet included: in every part.

    One segment carries no concatenation, whatever the method. Raises Unencodable, TooManyParts, BadHeader.
    """
    octets = content if isinstance(content, bytes) else alphabet.encode(content, encoding)
    return _split(octets, encoding, method, ref, udh, max_parts)


def _split(octets: bytes, encoding: int, method: str, ref: int, udh: bytes, max_parts: int) -> list[Segment]:
    if udh:
        _check_header(udh)
    data_coding = alphabet.DATA_CODING[encoding]
    esm_class = UDHI if udh else 0
    alone, each = room(encoding, method, udh)
    if len(octets) <= alone:
        return [Segment(udh + octets, udh, esm_class, data_coding)]
    if udh and parse_udh(udh) is not None:
        raise BadHeader("a part of a concatenated message must fit one segment")
    if method == "payload":
        return [_payload(udh + octets, udh, esm_class, data_coding)]
    bodies = list(_cuts(octets, encoding, each))
    total = len(bodies)
    if total > min(max_parts, MAX_PARTS):
        raise TooManyParts(total, min(max_parts, MAX_PARTS))
    return [
        _part(body, udh, method, Concat(ref, total, index), esm_class, data_coding)
        for index, body in enumerate(bodies, 1)
    ]


def _payload(octets: bytes, udh: bytes, esm_class: int, data_coding: int) -> Segment:
    if len(octets) > MAX_PAYLOAD:
        raise TooManyParts(-(-len(octets) // _SINGLE_OCTETS), MAX_PARTS)
    return Segment(b"", udh, esm_class, data_coding, ((MESSAGE_PAYLOAD, octets),))


def _part(body: bytes, udh: bytes, method: str, concat: Concat, esm_class: int, data_coding: int) -> Segment:
    if method == "sar":
        return Segment(udh + body, udh, esm_class, data_coding, sar_tlvs(concat))
    if method == "none":
        return Segment(udh + body, udh, esm_class, data_coding)
    element = concat_element(concat, wide=method == "udh16")
    header = bytes([len(udh[1:]) + len(element)]) + udh[1:] + element
    return Segment(header + body, header, esm_class | UDHI, data_coding)


def concat_element(concat: Concat, *, wide: bool = False) -> bytes:
    """The information element of one part (23.040 sections 9.2.3.24.1 and 9.2.3.24.8), without UDHL."""
    if wide:
        return bytes(
            [IEI_CONCAT_16, 4, concat.ref >> 8 & 0xFF, concat.ref & 0xFF, concat.total, concat.index]
        )
    return bytes([IEI_CONCAT_8, 3, concat.ref & 0xFF, concat.total, concat.index])


def sar_tlvs(concat: Concat) -> tuple[tuple[int, bytes], ...]:
    """SMPP 3.4 sections 5.3.2.22 to 5.3.2.24."""
    return (
        (SAR_MSG_REF_NUM, (concat.ref & 0xFFFF).to_bytes(2, "big")),
        (SAR_TOTAL_SEGMENTS, bytes([concat.total])),
        (SAR_SEGMENT_SEQNUM, bytes([concat.index])),
    )


def _check_header(udh: bytes) -> None:
    if udh[0] != len(udh) - 1:
        raise BadHeader(f"the header's length octet says {udh[0]}, {len(udh) - 1} octets follow")


def _render_octets(
    text: str, carrier_alphabet: str, method: str, ref: int, udh: bytes, max_parts: int
) -> list[Segment]:
    """For an SMSC whose default alphabet is no GSM alphabet: cut where its septets will be cut, sent in its
    own octets."""
    if not carries(carrier_alphabet, text):
        return split(text, UCS2, method=method, ref=ref, max_parts=max_parts, udh=udh)
    septets = alphabet.gsm7_encode(text)
    return [_octets(one, carrier_alphabet) for one in _split(septets, GSM7, method, ref, udh, max_parts)]


def _octets(one: Segment, carrier_alphabet: str) -> Segment:
    """A segment of unpacked septets, written in a carrier's octets."""
    codec = _CODECS[carrier_alphabet]
    if one.tlvs and one.tlvs[0][0] == MESSAGE_PAYLOAD:
        octets = alphabet.gsm7_decode(one.tlvs[0][1][len(one.udh) :]).encode(codec)
        return one._replace(tlvs=((MESSAGE_PAYLOAD, one.udh + octets),))
    octets = alphabet.gsm7_decode(one.short_message[len(one.udh) :]).encode(codec)
    return one._replace(short_message=one.udh + octets)


def _as_carried(one: Segment, encoding: int, carrier_alphabet: str) -> Segment:
    if encoding != GSM7 or carrier_alphabet == "gsm7":
        return one
    return _packed(one) if carrier_alphabet == "gsm7-packed" else _octets(one, carrier_alphabet)


def _packed(one: Segment) -> Segment:
    if one.tlvs and one.tlvs[0][0] == MESSAGE_PAYLOAD:
        octets = one.tlvs[0][1][len(one.udh) :]
        return one._replace(tlvs=((MESSAGE_PAYLOAD, one.udh + _pack_after(one.udh, octets)),))
    body = one.short_message[len(one.udh) :]
    return one._replace(short_message=one.udh + _pack_after(one.udh, body))


def _pack_after(udh: bytes, septets: bytes) -> bytes:
    return alphabet.pack(septets, fill_bits=fill_bits(len(udh)))


def fill_bits(udh_octets: int) -> int:
    """Zero bits between a header of `udh_octets` (length octet included) and packed septets."""
    return -8 * udh_octets % 7


# ---------------------------------------------------------------------------------------------- reading


def elements(udh: bytes) -> list[tuple[int, bytes]]:
    """The information elements of a header (length octet included), in order; a torn last one is left out."""
    found = []
    at, end = 1, min(1 + udh[0], len(udh)) if udh else 0
    while at + 2 <= end:
        length = udh[at + 1]
        if at + 2 + length > end:
            break
        found.append((udh[at], udh[at + 2 : at + 2 + length]))
        at += 2 + length
    return found


def parse_udh(udh: bytes) -> Concat | None:
    """The concatenation in a header, among any other elements. Of several, the last that makes sense."""
    concat = None
    for iei, data in elements(udh):
        if iei == IEI_CONCAT_8 and len(data) == 3:
            concat = _sensible(data[0], data[1], data[2], 8) or concat
        elif iei == IEI_CONCAT_16 and len(data) == 4:
            concat = _sensible(data[0] << 8 | data[1], data[2], data[3], 16) or concat
    return concat


def parse_sar(tlvs: Iterable[tuple[int, bytes]]) -> Concat | None:
    """The concatenation in SAR TLVs; None unless all three are there and make sense."""
    values = {
        tag: int.from_bytes(value, "big")
        for tag, value in tlvs
        if SAR_MSG_REF_NUM <= tag <= SAR_SEGMENT_SEQNUM
    }
    if len(values) < 3 or SAR_TOTAL_SEGMENTS not in values:
        return None
    ref, total, index = (
        values.get(tag, 0) for tag in (SAR_MSG_REF_NUM, SAR_TOTAL_SEGMENTS, SAR_SEGMENT_SEQNUM)
    )
    return _sensible(ref & 0xFFFF, total, index, 17)


def _sensible(ref: int, total: int, index: int, bits: int) -> Concat | None:
    return Concat(ref, total, index, bits) if 1 <= index <= total <= MAX_PARTS else None


def parse_concat(
    short_message: bytes, esm_class: int, tlvs: Sequence[tuple[int, bytes]] = ()
) -> tuple[Concat | None, bytes]:
    """(place in a concatenated message or None, body without its header)."""
    udh, body = split_header(short_message, esm_class, tlvs)
    return parse_udh(udh) or parse_sar(tlvs), body


def split_header(
    short_message: bytes, esm_class: int, tlvs: Sequence[tuple[int, bytes]] = ()
) -> tuple[bytes, bytes]:
    """(user data header with its length octet or b"", body). message_payload fills an empty short_message.

    Two faults of peers are seen through: a concatenation header without the UDHI bit, and, with the bit, one
    that lacks its length octet. A header longer than the message is no header.
    """
    octets = short_message
    if not octets:
        octets = next((value for tag, value in tlvs if tag == MESSAGE_PAYLOAD), b"")
    if not octets:
        return b"", b""
    if esm_class & UDHI:
        if octets[:2] == b"\x00\x03" and _is_split(octets[3:5]):
            return b"\x05" + octets[:5], octets[5:]
        end = 1 + octets[0]
        return (octets[:end], octets[end:]) if end <= len(octets) else (b"", octets)
    if octets[:3] == UNTOLD_HEADERS[0] and _is_split(octets[4:6]):
        return octets[:6], octets[6:]
    if octets[:3] == UNTOLD_HEADERS[1] and _is_split(octets[5:7]):
        return octets[:7], octets[7:]
    return b"", octets


def _is_split(total_and_index: bytes) -> bool:
    return (
        len(total_and_index) == 2 and 1 <= total_and_index[1] <= total_and_index[0] and total_and_index[0] > 1
    )


def parse_user_data(
    short_message: bytes,
    esm_class: int,
    data_coding: int,
    tlvs: Sequence[tuple[int, bytes]] = (),
    default: int = GSM7,
    *,
    packed: bool = False,
) -> UserData:
    """A received short_message, ready to be stored or joined. `default`: the encoding of data_coding 0;
    `packed`: whether the peer's septets are.

    A text under a national table (23.040 section 9.2.3.24.15) comes out as UCS2, so that nothing further on
    needs to know about tables.
    """
    udh, body = split_header(short_message, esm_class, tlvs)
    encoding = alphabet.encoding_of(data_coding, default)
    if packed and encoding == GSM7:
        body = alphabet.unpack(body, fill_bits=fill_bits(len(udh)))
    if udh and encoding == GSM7:
        shifts = {iei: data[0] for iei, data in elements(udh) if len(data) == 1}
        locking, single = shifts.get(IEI_LOCKING_SHIFT, 0), shifts.get(IEI_SINGLE_SHIFT, 0)
        if locking or single:
            text = alphabet.national_decode(body, locking, single)
            encoding, body = UCS2, text.encode("utf-16-be")
    return UserData(parse_udh(udh) or parse_sar(tlvs), encoding, body, udh)


def join(pieces: Iterable[bytes], encoding: int) -> str:
    """The text of bodies in order, all under `encoding` (not BINARY), decoded as one: so that a pair which a
    peer cut in two is whole again. Never raises."""
    return alphabet.decode(b"".join(pieces), encoding)


def reassemble(parts: Iterable[PartLike], total: int = 0) -> Joined:
    """The parts that came, in order of their index; a repeated index counts once, the first that came.

    Any binary part makes the whole binary. Parts under several text encodings come out as UCS2.
    """
    by_index: dict[int, PartLike] = {}
    for part in parts:
        by_index.setdefault(part.index, part)
    ordered = [by_index[index] for index in sorted(by_index)]
    missing = tuple(index for index in range(1, total + 1) if index not in by_index)
    encodings = {part.encoding for part in ordered}
    if BINARY in encodings:
        return Joined(BINARY, "", b"".join(part.data for part in ordered), missing)
    if len(encodings) == 1:
        encoding = encodings.pop()
        return Joined(encoding, join([part.data for part in ordered], encoding), b"", missing)
    text = "".join(alphabet.decode(part.data, part.encoding) for part in ordered)
    return Joined(UCS2 if encodings else GSM7, text, b"", missing)


__all__ = [
    "AUTO",
    "BINARY",
    "CARRIER_ALPHABETS",
    "GSM7",
    "LATIN1",
    "METHODS",
    "UCS2",
    "BadHeader",
    "Concat",
    "Joined",
    "Segment",
    "TooManyParts",
    "UserData",
    "carries",
    "concat_element",
    "count",
    "cut_anew",
    "elements",
    "join",
    "parse_concat",
    "parse_sar",
    "parse_udh",
    "parse_user_data",
    "part_fits",
    "plan",
    "reassemble",
    "render",
    "render_part",
    "room",
    "sar_tlvs",
    "split",
    "split_header",
]
