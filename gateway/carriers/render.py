"""Turns a stored message into the submit_sm bodies one carrier wants.

The carrier's own alphabet, number format, TON/NPI and way of long messages; the canonical encoding was
decided at accept. One instance a carrier, everything constant resolved once.

Deliberately not here: splitting rules (smpp.segment), headers and sequence numbers (smpp.session).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from config.model import CarrierConfig
from config.rules import zone_of
from gateway.carriers.senders import SenderRefused, Senders
from gateway.carriers.tlvs import AccountOf, Tlvs
from router.correlate import reference_of
from router.nouns import Encoding, Message, ReceiptWish, Relay, Via, wants_intermediate
from smpp.alphabet import DATA_CODING, ENCODING_NAMES, TextError, encoding_of, gsm7_encode
from smpp.cheaper import Way, allowed, cheaper
from smpp.constants import Tlv
from smpp.errors import EncodeError
from smpp.pdu import submit_sm_body
from smpp.segment import Concat, Segment, carries, count, cut_anew, part_fits, render, render_part
from smpp.smpptime import format_absolute, format_relative

_FINAL, _INTERMEDIATE = 0x01, 0x10
_USER_MESSAGE_REFERENCE = int(Tlv.USER_MESSAGE_REFERENCE)
_REFERENCE_HEAD = _USER_MESSAGE_REFERENCE.to_bytes(2, "big") + b"\0\2"
_GSM7, _UCS2 = int(Encoding.GSM7), int(Encoding.UCS2)
_LONGEST = {_GSM7: 160, _UCS2: 140}  # octets of a text in one segment
_LONGEST_ADDRESS = 20
_FRAMES_KEPT = 4_096
_OCTETS = [bytes((number,)) for number in range(256)]


def _registered(wish: int, version: int) -> int:
    """registered_delivery (3.4 section 5.2.17): how a message ended is always asked for when anything is told
    of it; on the way only from 3.4 on."""
    if wish == ReceiptWish.NONE:
        return 0
    return _FINAL | _INTERMEDIATE if wants_intermediate(wish) and version >= 0x34 else _FINAL


class Written(NamedTuple):
    """`encoding`: the carrier's alphabet, or ucs2, latin1, binary; `tables`: national ones, in words; `text`:
    as it is sent; `refusal`: why this carrier must not have the message, "" = it may."""

    encoding: str
    tables: str
    source: str
    text: str
    refusal: str = ""


class _Frame:
    """What one sender's short messages have in common, but for the time that is left: before the destination,
    between it and the validity, between that and the length. `rest`: the latter two around the validity of
    the last message, which was `until`."""

    __slots__ = ("encode", "head", "longest", "middle", "rest", "tail", "until")

    def __init__(self, head: bytes, middle: bytes, tail: bytes, encoding: int) -> None:
        self.head, self.middle, self.tail = head, middle, tail
        self.encode = gsm7_encode if encoding == _GSM7 else _ucs2_encode
        self.longest = _LONGEST[encoding]
        self.rest = b""
        self.until: int | None = None


class Renderer:
    """`reference`: what makes the references of long messages another carrier's."""

    def __init__(self, settings: CarrierConfig, reference: int = 0) -> None:
        self._reference = reference
        self._alphabet = settings.alphabet
        self._method = settings.long_messages
        self._service_type = settings.service_type.encode()
        self._source_ton = settings.source_ton
        self._source_npi = settings.source_npi
        self._ton = settings.dest_ton
        self._npi = settings.dest_npi
        self.account_of: AccountOf = lambda id: None
        self._senders = None
        if settings.senders:
            self._senders = Senders(settings.senders, settings.source_ton, settings.source_npi)
        self._tlvs = None
        if settings.tlvs:
            self._tlvs = Tlvs(settings.tlvs, lambda id: self.account_of(id))
        self._prefix = {"digits": b"", "+": b"+", "00": b"00", "national": b""}[settings.number_format]
        self._national = settings.national_prefix if settings.number_format == "national" else ""
        self._data_coding = settings.data_coding
        self._send_validity = settings.send_validity and settings.validity_form == "relative"
        self._validity_zone = None
        if settings.send_validity and settings.validity_form == "absolute":
            self._validity_zone = zone_of(settings.validity_zone)
        self._cheaper = allowed(
            settings.national_shift, settings.national_languages, settings.smart_encoding, self._alphabet
        )
        self._send_reference = settings.user_message_reference
        self._with_tlvs = settings.version >= 0x34  # 3.3 has none
        # encodings whose short messages this carrier takes as they are
        self._plain = frozenset({_GSM7, _UCS2})
        if self._alphabet != "gsm7" or self._method == "payload" or self._senders or self._tlvs:
            self._plain = frozenset()
        self._frames: dict[tuple[str, int, int, int, int, int, int], _Frame] = {}
        self._most_digits = _LONGEST_ADDRESS - len(self._prefix)
        self._registered = tuple(_registered(wish, settings.version) for wish in ReceiptWish)

    @property
    def originals(self) -> dict[str, str]:
        """Senders as this carrier knows them → as their customers do, where that is sure."""
        return self._senders.originals if self._senders is not None else {}

    def parts(self, encoding: int, segments: int, content: str | bytes, udh: bytes = b"") -> int:
        """How many submit_sm this carrier would get; `segments` is the canonical count."""
        if udh:
            return segments
        if self._method == "payload":
            return 1
        if self._cheaper is not None and isinstance(content, str):
            way = self._way(content, encoding)
            if way is not None:
                return way.segments
        if encoding == Encoding.GSM7 and isinstance(content, str) and not carries(self._alphabet, content):
            return count(content, Encoding.UCS2, method=self._method)
        if self._method != "udh16" or segments == 1:
            return segments  # the canonical count is that of an 8-bit reference, and SAR's is the same
        return max(segments, count(content, encoding, method=self._method))

    def bodies(
        self, message: Message, possible_duplicate: bool, now_ms: int, own: Sequence[Segment] = ()
    ) -> list[bytes]:
        """One submit_sm body (without header) for each segment; `own`: those that `anew` gave this message.
        Raises TextError where this carrier's alphabet cannot carry the text."""
        relay = message.relay
        content = _content(message)
        if own:
            segments = own
        elif relay is not None and relay.total > 1:
            segments = [self._one_part(content, message, relay)]
        else:
            segments = self._segments(message, content)
        until = message.valid_until_ms or message.expires_ms
        validity = self._validity((until - now_ms) // 1000 if self._send_validity else until)
        registered = self._registered[message.receipt]
        ours: tuple[tuple[int, bytes], ...] = ()
        if self._send_reference:
            ours = ((_USER_MESSAGE_REFERENCE, reference_of(message.id).to_bytes(2, "big")),)
        if self._tlvs is not None:
            ours += self._tlvs.of(message)
        service_type, esm_class, protocol_id, kept_coding = self._service_type, 0, 0, -1
        priority = message.priority if message.via == Via.HTTP else 0
        if relay is not None:
            service_type = relay.service_type.encode("latin-1") or service_type
            esm_class, protocol_id, priority = relay.esm_class, relay.protocol_id, relay.priority
            registered |= relay.registered
            if relay.tlvs:
                ours = relay.tlvs + tuple(one for one in ours if all(one[0] != tag for tag, _ in relay.tlvs))
            kept_coding = relay.data_coding
        source, ton, npi = self._sender(message)
        number = self.number(message.destination)
        return [
            submit_sm_body(
                service_type,
                ton,
                npi,
                source,
                self._ton,
                self._npi,
                number,
                esm_class | segment.esm_class,
                protocol_id,
                priority,
                b"",
                validity,
                registered,
                0,
                self._coding(segment.data_coding, message.encoding, kept_coding),
                0,
                segment.short_message,
                segment.tlvs + ours if self._with_tlvs else (),
            )
            for segment in segments
        ]

    def _sender(self, message: Message) -> tuple[bytes, int, int]:
        """Address, TON and NPI. Raises SenderRefused."""
        source, ton, npi = self._addressed(
            message.source, message.source_ton, message.source_npi, message.destination
        )
        return source.encode("latin-1", "replace"), ton, npi

    def _addressed(self, source: str, ton: int, npi: int, destination: str) -> tuple[str, int, int]:
        if self._senders is not None:
            return self._senders.of(source, ton, npi, destination)
        return (
            source,
            ton if self._source_ton is None else self._source_ton,
            npi if self._source_npi is None else self._source_npi,
        )

    def _segments(self, message: Message, content: str | bytes) -> list[Segment]:
        """Of a message that is whole."""
        encoding, segments, udh = message.encoding, message.segments, message.udh
        if self._cheaper is not None and isinstance(content, str):
            way = self._way(content, encoding)
            if way is not None:
                encoding, segments, udh = _GSM7, way.segments, way.tables.header
                content = way.septets if udh else way.text
        ref = reference_of(message.id) + self._reference & 0xFFFF  # elsewhere another one: parts never mix
        return render(content, encoding, segments, self._alphabet, self._method, ref, udh=udh)

    def written(self, text: str, encoding: int, source: str, ton: int, destination: str) -> Written:
        """How a message, not one of a customer's parts, would be written, for people who ask beforehand."""
        refusal = ""
        try:
            source = self._addressed(source, ton, 0, destination)[0]
        except SenderRefused as problem:
            refusal = str(problem)
        way = self._way(text, encoding) if self._cheaper is not None else None
        name = ENCODING_NAMES[encoding]
        if way is not None:
            name, text = self._alphabet, way.text
        elif encoding == _GSM7:
            name = self._alphabet if carries(self._alphabet, text) else ENCODING_NAMES[_UCS2]
        return Written(name, way.tables.said if way is not None else "", source, text, refusal)

    def _way(self, text: str, encoding: int) -> Way | None:
        """A cheaper one than UCS-2, where it would come to that."""
        if encoding == _UCS2 or (encoding == _GSM7 and not carries(self._alphabet, text)):
            assert self._cheaper is not None
            return cheaper(text, self._cheaper, "udh8" if self._method == "payload" else self._method)
        return None

    def _coding(self, own: int, encoding: int, kept: int) -> int:
        """data_coding. `own`: the segment's; `kept`: the customer's, perhaps with a class; -1 none."""
        if kept >= 0:
            if encoding == Encoding.BINARY or encoding_of(kept) == encoding_of(own):
                return kept
            if kept >= 0xF0 or (0x10 <= kept < 0x40 and kept & 0x10):  # the class in another alphabet
                return (0x18 if own == DATA_CODING[_UCS2] else 0x10) | kept & 3
        return self._data_coding if self._data_coding is not None and not own else own

    def anew(self, parts: Sequence[Message], max_parts: int) -> list[list[Segment]] | None:
        """All parts of a customer's long message, in order, cut anew under a reference of ours: the segments
        that stand for each. None where each can go as it came, and where no other cut helps."""
        if all(map(self._goes_as_it_came, parts)):
            return None
        encodings = {part.encoding for part in parts}
        if Encoding.BINARY in encodings:
            return None
        try:
            return cut_anew(
                [part.text for part in parts],
                encodings.pop() if len(encodings) == 1 else _UCS2,
                self._alphabet,
                self._method if self._method in ("sar", "udh16") else "udh8",
                reference_of(parts[0].id),
                max_parts=max_parts,
            )
        except TextError:
            return None

    def _goes_as_it_came(self, part: Message) -> bool:
        """Whether this carrier can carry it as the customer cut it. Octets are nobody's to cut."""
        relay = part.relay
        if relay is None or part.encoding == Encoding.BINARY:
            return True
        return part_fits(
            part.text, part.encoding, self._alphabet, self._method_of_parts(relay.reference >> 16)
        )

    def plain(self, message: Message, now_ms: int) -> bytes | None:
        """The only body of a short message with nothing special, as `bodies` has it; None for all others."""
        bodies = self.plain_ones((message,), now_ms)
        return bodies[0] if bodies else None

    def plain_ones(self, messages: Iterable[Message], now_ms: int) -> list[bytes]:
        """`plain` for each, up to the first for which it is None.

        What does not change from one message to the next, of one sender, is kept: the hot path.
        """
        bodies: list[bytes] = []
        before = None  # of what kind the last one was
        known, most_digits, national = self._frames.get, self._most_digits, self._national
        relative, absolute = self._send_validity, self._validity_zone is not None
        with_reference = self._send_reference and self._with_tlvs
        for message in messages:
            if message.segments != 1 or message.relay is not None or message.udh:
                break
            like = (
                message.source,
                message.source_ton,
                message.source_npi,
                message.receipt,
                message.priority,
                message.via,
                message.encoding,
            )
            if like != before:
                before, kept = like, known(like)
                if kept is None:
                    kept = self._frame(message)
                    if kept is None:
                        before = None
                        body = None if self._plain else self._short(message, now_ms)
                        if body is None:
                            break
                        bodies.append(body)
                        continue
                    if len(self._frames) >= _FRAMES_KEPT:
                        self._frames.clear()
                    self._frames[like] = kept
                frame, encode, head, longest = kept, kept.encode, kept.head, kept.longest
            try:
                text = encode(message.text)
            except (TextError, UnicodeEncodeError):
                break
            digits = message.destination
            if national:
                digits = self._nationally(digits)
            if len(text) > longest or len(digits) > most_digits:
                break
            until = 0
            if relative:
                until = ((message.valid_until_ms or message.expires_ms) - now_ms) // 1000
            elif absolute:
                until = message.valid_until_ms or message.expires_ms
            if until != frame.until:
                frame.rest = frame.middle + self._validity(until) + frame.tail
                frame.until = until
            bodies.append(b"".join((head, digits.encode(), frame.rest, _OCTETS[len(text)], text)))
            if with_reference:
                bodies[-1] += _REFERENCE_HEAD + reference_of(message.id).to_bytes(2, "big")
        return bodies

    def _validity(self, until: int) -> bytes:
        """validity_period, of the seconds that are left or of the moment in ms, as this carrier wants it."""
        if self._send_validity:
            return format_relative(max(1, until))
        return format_absolute(until, self._validity_zone) if self._validity_zone is not None else b""

    def _short(self, message: Message, now_ms: int) -> bytes | None:
        """`plain` with a carrier that has rules or an alphabet of its own: nothing is kept."""
        try:
            bodies = self.bodies(message, False, now_ms)
        except (TextError, EncodeError):
            return None  # whoever asks for the bodies is told why
        return bodies[0] if len(bodies) == 1 else None

    def _frame(self, message: Message) -> _Frame | None:
        """What all messages like this one have in common; None where they are not plain."""
        encoding = message.encoding
        if encoding not in self._plain:
            return None
        source = message.source.encode("latin-1", "replace")
        data_coding = DATA_CODING[encoding]
        if self._data_coding is not None and not data_coding:
            data_coding = self._data_coding
        try:
            empty = submit_sm_body(
                self._service_type,
                message.source_ton if self._source_ton is None else self._source_ton,
                message.source_npi if self._source_npi is None else self._source_npi,
                source,
                self._ton,
                self._npi,
                b"",
                0,
                0,
                message.priority if message.via == Via.HTTP else 0,
                b"",
                b"",
                self._registered[message.receipt],
                0,
                data_coding,
                0,
                b"",
            )
        except EncodeError:
            return None
        at = len(self._service_type) + len(source) + 6  # two NULs, TON and NPI twice
        return _Frame(empty[:at] + self._prefix, empty[at : at + 5], empty[at + 5 : -1], encoding)

    def _one_part(self, content: str | bytes, message: Message, relay: Relay) -> Segment:
        """A part of a customer's long message, under the customer's own reference and width of it."""
        bits, ref = relay.reference >> 16, relay.reference & 0xFFFF
        concat, method = Concat(ref, relay.total, relay.index, bits), self._method_of_parts(bits)
        return render_part(content, message.encoding, concat, self._alphabet, method, udh=message.udh)

    def _method_of_parts(self, bits: int) -> str:
        """How a part that a customer has cut goes out; `bits`: the width of its reference."""
        return "sar" if self._method == "sar" else "udh16" if bits == 16 else "udh8"

    def number(self, digits: str) -> bytes:
        """The destination as this carrier writes numbers."""
        return self._prefix + self._nationally(digits).encode()

    def _nationally(self, digits: str) -> str:
        if self._national and digits.startswith(self._national):
            return "0" + digits[len(self._national) :]
        return digits


def _ucs2_encode(text: str) -> bytes:
    return text.encode("utf-16-be")


def _content(message: Message) -> str | bytes:
    return message.data if message.encoding == Encoding.BINARY else message.text
