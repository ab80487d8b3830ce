"""Delivery receipts: read as carriers really write them, written as SMPP 3.4 Appendix B asks.

A receipt comes as text ("id:… sub:… dlvrd:… submit date:… done date:… stat:… err:… text:…") in short_message
or message_payload, as TLVs (receipted_message_id, message_state, network_error_code), or both, in deliver_sm
or data_sm. The usual text is read by one pattern; everything else (other order, other case, keys missing or
misspelt, strange dates) by a tolerant parser after it.

Invariants: parse() never raises; a field that is not there is empty (-1 for numbers), never invented; what
is there is kept as written, except that `stat` is upper case and `text` stripped.

Deliberately not here: to which message a receipt belongs (router.correlate), what a state means for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo
from itertools import pairwise
from struct import Struct
from typing import Final

import msgspec

from smpp.smpptime import format_receipt_date, parse_receipt_date

# message_state, SMPP 5.0 section 4.7.15: the same numbers as router.nouns.MessageState.
SCHEDULED: Final = 0
ENROUTE: Final = 1
DELIVERED: Final = 2
EXPIRED: Final = 3
DELETED: Final = 4
UNDELIVERABLE: Final = 5
ACCEPTED: Final = 6
UNKNOWN: Final = 7
REJECTED: Final = 8
SKIPPED: Final = 9

STAT: Final = {
    SCHEDULED: "ENROUTE",  # a 3.4 peer does not know the 5.0 states
    ENROUTE: "ENROUTE",
    DELIVERED: "DELIVRD",
    EXPIRED: "EXPIRED",
    DELETED: "DELETED",
    UNDELIVERABLE: "UNDELIV",
    ACCEPTED: "ACCEPTD",
    UNKNOWN: "UNKNOWN",
    REJECTED: "REJECTD",
    SKIPPED: "REJECTD",
}

STATE: Final = {
    "DELIVRD": DELIVERED,
    "DELIVERD": DELIVERED,
    "DELIVERED": DELIVERED,
    "DELIVERY": DELIVERED,
    "DELIVRED": DELIVERED,
    "DLVRD": DELIVERED,
    "EXPIRED": EXPIRED,
    "EXPIRD": EXPIRED,
    "DELETED": DELETED,
    "DELETD": DELETED,
    "UNDELIV": UNDELIVERABLE,
    "UNDELIVERED": UNDELIVERABLE,
    "UNDELIVERABLE": UNDELIVERABLE,
    "UNDLVRD": UNDELIVERABLE,
    "UNDELIVRD": UNDELIVERABLE,
    "FAILED": UNDELIVERABLE,
    "ACCEPTD": ACCEPTED,
    "ACCEPTED": ACCEPTED,
    "UNKNOWN": UNKNOWN,
    "UNKNOWM": UNKNOWN,
    "REJECTD": REJECTED,
    "REJECTED": REJECTED,
    "ENROUTE": ENROUTE,
    "ENROUT": ENROUTE,
    "BUFFERED": ENROUTE,
    "BUFFRED": ENROUTE,
    "SENT": ENROUTE,
    "SCHEDULED": SCHEDULED,
    "SKIPPED": SKIPPED,
    **{str(state): state for state in range(1, 10)},
}

RECEIPTED_MESSAGE_ID: Final = 0x001E
MESSAGE_STATE: Final = 0x0427
NETWORK_ERROR_CODE: Final = 0x0423
MESSAGE_PAYLOAD: Final = 0x0424
USER_MESSAGE_REFERENCE: Final = 0x0204

TYPE_MASK: Final = 0x3C  # the message type bits of esm_class (3.4 section 5.2.12)
TYPE_RECEIPT: Final = 0x04
TYPE_INTERMEDIATE: Final = 0x20


class Receipt(msgspec.Struct, gc=False):
    """What a receipt says. `state` is a message_state; 0 where it gives none, or a word nobody knows."""

    id: str = ""  # the text's, or the TLV's where the text has none
    sub: int = -1
    dlvrd: int = -1
    submit_date: str = ""  # as written: parse with submitted_ms()
    done_date: str = ""
    stat: str = ""
    err: str = ""
    text: str = ""
    state: int = 0
    intermediate: bool = True  # no final state yet
    receipted_id: str = ""  # the TLV's, which is the submit_sm_resp's form where both differ
    network_error: str = ""  # "3:21", type and code of the TLV; or three digits
    user_message_reference: int = -1
    flagged: bool = True  # by esm_class or receipted_message_id; False: known by its text alone

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids to look up, best first."""
        if not self.receipted_id or self.receipted_id == self.id:
            return (self.id,) if self.id else ()
        return (self.receipted_id, self.id)

    @property
    def error(self) -> str:
        """The text's err, or the TLV's code where the text has none or only zeros."""
        if self.network_error and not self.err.strip("0"):
            return self.network_error
        return self.err

    def submitted_ms(self, zone: tzinfo = UTC, near_ms: int = 0) -> int:
        """The submit date in UTC ms, 0 unknown; `zone` is the carrier's, `near_ms` when the receipt came."""
        return parse_receipt_date(self.submit_date, zone, near_ms)

    def done_ms(self, zone: tzinfo = UTC, near_ms: int = 0) -> int:
        """The done date in UTC ms, 0 unknown."""
        return parse_receipt_date(self.done_date, zone, near_ms)


class Wording(msgspec.Struct, frozen=True, eq=False):
    """What usual receipts may have in common."""

    destination: bytes  # destination_addr
    words: bytes  # of the short_message: all between the id and the text
    tlvs: bytes  # after receipted_message_id


# source_addr, the text's id, the text as written, the rest.
UsualReceipt = tuple[str, str, bytes, Wording]

# The usual form, as 3.4 Appendix B and most SMSCs write it.
_USUAL: Final = re.compile(
    r"id:(\S+) sub:(\d+) dlvrd:(\d+) submit date:(\d+) done date:(\d+) stat:([A-Z]+) err:(\w+)"
    r"(?: [Tt]ext:(.*))?\s*",
    re.DOTALL,
)
# A deliver_sm's whole body with such a receipt, without TLVs or with the usual ones.
# No part can begin inside another one and nothing is tried twice, so what does not fit is seen in one pass.
_USUAL_BODY: Final = re.compile(
    rb"[^\0]{0,5}+\0"  # service_type
    rb"..(?P<source>[^\0]{1,20}+)\0..([^\0]{1,20}+)\0"  # source_addr, destination_addr
    rb"\x04..\0\0....(.)"  # esm_class; no schedule_delivery_time, no validity_period; sm_length
    rb"(id:(?P<id>[!-~]{1,64}+)"
    rb"(?P<words> sub:[0-9]{1,9}+ dlvrd:[0-9]{1,9}+ submit date:[0-9]{1,14}+ done date:[0-9]{1,14}+"
    rb" stat:[A-Z]{1,16}+ err:[0-9A-Za-z_]{1,16}+(?: [Tt]ext:)?+)(?P<text>(?:(?<=ext:)[^\0]{0,200}+)?+))"
    # receipted_message_id that is the text's id; message_state; network_error_code
    rb"(?:\0\x1e\0(?P<named>.)(?P<again>(?P=id))\0((?:\x04\x27\0\x01.)?+(?:\x04\x23\0\x03...)?+))?+",
    re.DOTALL,
).fullmatch
_MOST_LAYOUTS: Final = 64
_MOST_WORDINGS: Final = 1_024
# Any key of Appendix B, at the start of a word.
_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9_])(?:(id|sub|dlvrd|stat|err|text)|(submit|done)[ _]?date)[ \t]*:", re.IGNORECASE
)
_FIRST_WORD: Final = re.compile(r"\s*(\S*)")
_DATE: Final = re.compile(r"\s*(\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?|\S*)")
STRIP: Final = " \t\r\n\0"  # around a text


def parse(
    short_message: bytes,
    data_coding: int = 0,
    tlvs: Sequence[tuple[int, bytes]] = (),
    esm_class: int = TYPE_RECEIPT,
    *,
    prefer_last_id: bool = False,
) -> Receipt | None:
    """The receipt in a deliver_sm or data_sm, or None if it is an ordinary message.

    A receipt is what esm_class calls one (or an intermediate notification), what carries
    receipted_message_id, or, from carriers that set neither, a text with id, stat and two more keys: such a
    one is not `flagged`, since a handset could have written it. Of two ids in one text the first in lower
    case wins, or the last of all with `prefer_last_id`.
    """
    flagged = esm_class & TYPE_MASK in (TYPE_RECEIPT, TYPE_INTERMEDIATE)
    told = _read_tlvs(tlvs) if tlvs else None
    octets = short_message
    if told is not None:
        flagged = flagged or bool(told.receipted_id)
        octets = octets or told.payload
    text = octets.decode("latin-1") if data_coding != 8 else _decode_ucs2(octets)
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        id, sub, dlvrd, submit_date, done_date, stat, err, body = usual.groups("")
        state = STATE.get(stat, 0)
        receipt = Receipt(
            id,
            int(sub[-9:]),
            int(dlvrd[-9:]),
            submit_date,
            done_date,
            stat,
            err,
            body.strip(STRIP),
            state,
            state <= ENROUTE,
            flagged=flagged,
        )
    else:
        tolerant = _parse_tolerant(text, flagged, prefer_last_id)
        if tolerant is None:
            return None
        receipt = tolerant
    if told is not None:
        _add_told(receipt, told)
    if esm_class & TYPE_MASK == TYPE_INTERMEDIATE and receipt.state in (ACCEPTED, UNKNOWN):
        receipt.intermediate = True
    return receipt


class _Layout:
    """Where the parts of a usual receipt stand, and what is the same in most of them."""

    __slots__ = ("destination", "head", "middle", "named", "receipted", "tail", "unpack", "wording")

    def __init__(self, match: re.Match[bytes], start: int, wording: Wording) -> None:
        octets = match.string
        places = [start, *match.span("source"), *match.span("id"), match.end("words"), match.end("text")]
        if match["named"]:
            places += (match.start("again"), match.end("again"))
        else:
            places += (places[-1], places[-1])
        places.append(match.end())
        sizes = [end - begin for begin, end in pairwise(places)]
        self.unpack = Struct("".join(f"{size}s" for size in sizes)).unpack_from
        self.head, _, self.middle, _, _, _, self.named, again, tail = self.unpack(octets, start)
        self.receipted = bool(again)
        self.destination = wording.destination
        self.wording, self.tail = wording, tail


class UsualReceipts:
    """Reads the usual receipts of one session. Those that are laid out as an earlier one is are cut as it is;
    every other one is found by the pattern. What it keeps is bounded."""

    __slots__ = ("_layouts", "_wordings")

    def __init__(self) -> None:
        self._layouts: dict[int, _Layout] = {}  # by length
        self._wordings: dict[tuple[bytes, bytes, bytes], Wording] = {}

    def find(self, octets: bytes, start: int, end: int) -> UsualReceipt | None:
        """The usual receipt that is a deliver_sm's body, from `start` to `end` of what was read.

        None for everything else, also what is malformed. What it gives is what the PDU's fields and `parse`
        say.
        """
        layout = self._layouts.get(end - start)
        if layout is None:
            return self._learn(octets, start, end)
        head, source, middle, id, words, text, named, again, tail = layout.unpack(octets, start)
        if (
            head != layout.head
            or middle != layout.middle
            or named != layout.named
            or (again != id and layout.receipted)
            or not source.isdigit()
            or not id.isalnum()
            or 0 in text
        ):
            return self._learn(octets, start, end)
        wording = layout.wording
        if words != wording.words or tail != layout.tail:
            known = self._wordings.get((layout.destination, words, tail[1:]))
            if known is None or (tail and tail[0]) or (text and not words.endswith(b"ext:")):
                return self._learn(octets, start, end)
            layout.wording, layout.tail = known, tail
            wording = known
        return source.decode(), id.decode(), text, wording

    def _learn(self, octets: bytes, start: int, end: int) -> UsualReceipt | None:
        """By the pattern, and how those are laid out that are like it."""
        match = _USUAL_BODY(octets, start, end)
        if match is None:
            return None
        source, destination, size, said, id, words, text, named, _, tlvs = match.groups(b"")
        if size[0] != len(said) or (named and named[0] != len(id) + 1):
            return None
        key = destination, words, tlvs
        wording = self._wordings.get(key)
        if wording is None:
            if len(self._wordings) >= _MOST_WORDINGS:
                self._wordings.clear()
            wording = self._wordings[key] = Wording(*key)
        if len(self._layouts) >= _MOST_LAYOUTS:
            self._layouts.clear()
        self._layouts[end - start] = _Layout(match, start, wording)
        return source.decode("latin-1"), id.decode(), text, wording


def _parse_tolerant(text: str, flagged: bool, prefer_last_id: bool) -> Receipt | None:
    """Keys in any order and case; None for an ordinary text that nothing flags as a receipt."""
    fields = _fields(text, prefer_last_id)
    if not flagged and not ("id" in fields and fields["id"] and "stat" in fields and len(fields) >= 4):
        return None
    stat = fields.get("stat", "").upper()
    state = STATE.get(stat, 0)
    return Receipt(
        fields.get("id", ""),
        _number(fields.get("sub", "")),
        _number(fields.get("dlvrd", "")),
        fields.get("submit", ""),
        fields.get("done", ""),
        stat,
        fields.get("err", ""),
        fields.get("text", ""),
        state,
        state <= ENROUTE,
        flagged=flagged,
    )


def _fields(text: str, prefer_last_id: bool) -> dict[str, str]:
    """Key → value as written. `text` runs to the end: what follows in it is the customer's own.

    Only where an empty `text` stands before other keys ("text: stat:…") do those that are still missing
    count, the id never: a message that begins "id:…" must not name another one's receipt.
    """
    found: dict[str, str] = {}
    lower: set[str] = set()
    at, end = 0, len(text)
    while True:
        key = _KEY.search(text, at)
        if key is None:
            return found
        name = (key[1] or key[2]).lower()
        at = key.end()
        if "text" in found:
            if name not in found and name != "id":
                found[name] = _value(text, at, name)
            continue
        if name == "text":
            rest = text[at:].lstrip(STRIP)
            found[name] = rest.rstrip(STRIP)
            if len(rest) == end - at or _KEY.match(text, end - len(rest)) is None:
                return found
            continue
        as_written = key[0][0].islower()
        better = name not in found or (as_written and name not in lower)
        value = _value(text, at, name)
        if better or (name == "id" and prefer_last_id and value):
            found[name] = value
        if as_written:
            lower.add(name)


def _value(text: str, at: int, name: str) -> str:
    """The word (or date) at `at`; empty if the next key begins there."""
    match = (_DATE if name in ("submit", "done") else _FIRST_WORD).match(text, at)
    if match is None or _KEY.match(text, match.start(1)):
        return ""
    return match[1].strip(STRIP)


def _number(raw: str) -> int:
    return int(raw[-9:]) if raw.isascii() and raw.isdigit() else -1


def _decode_ucs2(octets: bytes) -> str:
    """Under data_coding 8 (often the original's, copied): UTF-16 if it looks so, else plain octets."""
    if octets[:1] == b"\0" or octets[1:2] == b"\0":
        return octets.decode("utf-16-be" if octets[:1] == b"\0" else "utf-16-le", "replace")
    return octets.decode("latin-1")


# ---------------------------------------------------------------------------------------------- TLVs


class _Told(msgspec.Struct, gc=False):
    """What the TLVs say."""

    receipted_id: str = ""
    state: int = -1
    network_error: str = ""
    payload: bytes = b""
    user_message_reference: int = -1


def _read_tlvs(tlvs: Iterable[tuple[int, bytes]]) -> _Told:
    told = _Told()
    for tag, value in tlvs:
        if tag == RECEIPTED_MESSAGE_ID:
            told.receipted_id = told.receipted_id or c_string(value)
        elif tag == MESSAGE_STATE and value:
            told.state = value[-1] if len(value) <= 4 else -1
        elif tag == NETWORK_ERROR_CODE:
            told.network_error = _network_error(value)
        elif tag == MESSAGE_PAYLOAD:
            told.payload = told.payload or value
        elif tag == USER_MESSAGE_REFERENCE and value:
            told.user_message_reference = int.from_bytes(value[:2], "big")
    return told


def c_string(value: bytes) -> str:
    """A C-octet string TLV: with its NUL, without, or padded with several."""
    return value.split(b"\0", 1)[0].decode("latin-1").strip()


def _network_error(value: bytes) -> str:
    """3.4 section 5.3.2.31: type octet, 16-bit code. Some write three digits instead. Code 0 says nothing."""
    if len(value) != 3:
        return ""
    if value.isdigit():
        return value.decode("ascii") if value.strip(b"0") else ""
    code = value[1] << 8 | value[2]
    return f"{value[0]}:{code}" if code else ""


def _add_told(receipt: Receipt, told: _Told) -> None:
    """TLVs win over the text: a valid message_state over stat, which then is that state's own word."""
    receipt.receipted_id = told.receipted_id
    receipt.id = receipt.id or told.receipted_id
    receipt.network_error = told.network_error
    receipt.user_message_reference = told.user_message_reference
    if ENROUTE <= told.state <= SKIPPED or (told.state == SCHEDULED and not receipt.stat):
        if told.state != receipt.state or not receipt.stat:
            receipt.stat = STAT[told.state]
        receipt.state = told.state
        receipt.intermediate = told.state <= ENROUTE


# ---------------------------------------------------------------------------------------------- ours


def format(
    id: str,
    state: int,
    *,
    submit_ms: int,
    done_ms: int,
    err: str = "000",
    text: str = "",
    sub: int = 1,
    dlvrd: int | None = None,
    zone: tzinfo = UTC,
) -> bytes:
    """Our receipt's short_message, 3.4 Appendix B, in ASCII, at most 255 octets (with an id of up to 64).

    `text` is the message sent, of which 20 characters go along; what is not ASCII becomes "?". `dlvrd` is by
    default `sub` for DELIVERED, else 0.
    """
    delivered = (sub if state == DELIVERED else 0) if dlvrd is None else dlvrd
    return (
        f"id:{id} sub:{min(sub, 999):03} dlvrd:{min(delivered, 999):03}"
        f" submit date:{format_receipt_date(submit_ms, zone)} done date:{format_receipt_date(done_ms, zone)}"
        f" stat:{STAT.get(state, 'UNKNOWN')} err:{(err or '000')[:10]} text:{quoted(text)}"
    ).encode("ascii", "replace")


def quoted(text: str) -> str:
    """What a receipt says of a text: its first 20 characters, "?" for each that is not ASCII."""
    shown = text[:20]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(character if " " <= character <= "~" else "?" for character in shown)
    return shown


def tlvs(id: str, state: int, network_error: tuple[int, int] | None = None) -> tuple[tuple[int, bytes], ...]:
    """Our receipt's TLVs: receipted_message_id, message_state as 3.4 knows it, and network_error_code
    (type, code) if given."""
    known = {SCHEDULED: ENROUTE, SKIPPED: REJECTED}.get(state, state)
    said = ((RECEIPTED_MESSAGE_ID, id.encode("ascii", "replace") + b"\0"), (MESSAGE_STATE, bytes([known])))
    if network_error is None:
        return said
    kind, code = network_error
    return (*said, (NETWORK_ERROR_CODE, bytes([kind & 0xFF]) + (code & 0xFFFF).to_bytes(2, "big")))
