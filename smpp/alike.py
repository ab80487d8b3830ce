"""Submits of a kind: submit_sm that differ in nothing but number, source, destination_addr and short_message.

Most of what a customer sends in a row is of a few kinds. So their octets are compared with those of one that
was decoded, and only what differs is cut out; no PDU is made for them.

Invariants: what is cut here is what the codec reads of the same octets, and what it would refuse is of no
kind; what is kept of a peer's octets is bounded, in number and in size.

Deliberately not here: what a text says, whether a destination is a number.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, cast

from smpp.compiler import HEADER
from smpp.constants import HEADER_OCTETS, CommandId
from smpp.errors import ProtocolError
from smpp.events import OfKind, Submits
from smpp.pdu import SubmitSm

_SUBMIT_SM = int(CommandId.SUBMIT_SM)
_KINDS_MOST = 64  # kept of each peer
_TLVS_MOST = 256  # octets
_NEW_MOST = 16  # kinds in a row that are met for the first time; then so many submits are left alone
_LEFT_ALONE = 128
_unpack_header = HEADER.unpack_from

# A submit_sm's body, with strings as long as the specification allows.
_BODY: Final = re.compile(
    rb"([^\0]{0,5}+\0)(..[^\0]{0,20}+)(\0..)"  # service_type; source_addr; dest_addr_ton, dest_addr_npi
    rb"([^\0]{0,20}+)(\0...[^\0]{0,16}+\0[^\0]{0,16}+\0....)"  # destination_addr; on to sm_default_msg_id
    rb"(.)(.*+)",  # sm_length; short_message and TLVs
    re.DOTALL,
).fullmatch


class Kind(NamedTuple):
    """Octets that all of a kind have, around those of its model's source, destination and text."""

    model: SubmitSm
    opening: bytes  # all before the destination
    service_type: bytes  # with its NUL
    source: bytes  # source_addr_ton, source_addr_npi, source_addr
    before: bytes  # the destination: the source's NUL, dest_addr_ton, dest_addr_npi
    between: bytes  # it, with its NUL, and sm_length
    tlvs: bytes
    to_destination: int  # from the PDU's first octet
    to_text: int  # from the destination's NUL
    tlv_octets: int


class Kinds:
    """Those that a peer's submits were of lately."""

    __slots__ = ("_alone", "_known", "_last", "_new")

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], Kind] = {}
        self._last: Kind | None = None
        self._new = 0  # kinds met lately that did not pay
        self._alone = 0  # submits that are not looked at

    def cut(self, data: bytes, start: int, size: int, most: int) -> tuple[Submits, int] | None:
        """What of the submit_sm in a row from `start` on is of a kind, and where that ends. Whole PDUs only,
        up to `size`, of at most `most` octets. None: already the first is of none."""
        if self._alone:
            self._alone -= 1
            return None
        runs: dict[int, OfKind] = {}  # by the id of their model
        place, last = 0, size - HEADER_OCTETS
        likely, before = self._last, None
        while start <= last:
            if likely is not None:
                run = runs.get(id(likely.model)) or OfKind(likely.model)
                start, taken = _take(likely, run, data, start, size, most)
                if taken:
                    run.places += range(place, place + taken)
                    runs[id(likely.model)] = run
                    place += taken
                    self._last = likely
                likely = None
                if start > last:
                    break
            cut = self._cut(data, start, size, most)
            if cut is None:
                break
            kind, end, number, source, destination, text = cut
            model_id = id(kind.model)
            run = runs.get(model_id) or runs.setdefault(model_id, OfKind(kind.model))
            if run.sources or source != kind.source:
                run.sources = run.sources or [kind.source] * len(run.numbers)
                run.sources.append(source)
            run.places.append(place)
            run.numbers.append(number)
            run.destinations.append(destination)
            run.texts.append(text)
            place += 1
            start = end
            if kind is before:
                likely = kind
            before = kind
        if place > len(runs):
            self._new = 0
        return (Submits(place, [*runs.values()]), start) if place else None

    def _cut(
        self, data: bytes, start: int, size: int, most: int
    ) -> tuple[Kind, int, int, bytes, bytes, bytes] | None:
        """The whole submit_sm at `start`: its kind, its end, its number, source, destination and text."""
        length, command_id, status, number = _unpack_header(data, start)
        end = start + length
        if command_id != _SUBMIT_SM or status or end > size or length > most:
            return None
        parts = _BODY(data, start + HEADER_OCTETS, end)
        if parts is None:
            return None
        service_type, source, before, destination, between, sm_length, text = parts.groups()
        octets, tlvs = sm_length[0], b""
        if octets != len(text):
            text, tlvs = text[:octets], text[octets:]
            if not tlvs or len(tlvs) > _TLVS_MOST:
                return None
        key = service_type, before, between, tlvs
        kind = self._known.get(key)
        if kind is None:
            if not self._pays():
                return None
            try:
                model = cast(SubmitSm, SubmitSm.from_wire(data[start:end], 0, number))
            except ProtocolError:
                return None
            opening = service_type + source + before
            kind = self._known[key] = Kind(
                model, opening, service_type, source, before, between, tlvs,
                HEADER_OCTETS + len(opening), len(between) + 1, len(tlvs),
            )  # fmt: skip
        return kind, end, number, source, destination, text

    def _pays(self) -> bool:
        """Whether it may be expected that there will be more of a new kind."""
        self._new += 1
        if self._new > _NEW_MOST:
            self._new, self._alone = 0, _LEFT_ALONE
            return False
        if len(self._known) >= _KINDS_MOST:
            self._known.clear()
        return True


def _take(kind: Kind, run: OfKind, data: bytes, start: int, size: int, most: int) -> tuple[int, int]:
    """What is of this kind from `start` on; returns where the first begins that is not, and how many are."""
    _, opening, service_type, source, before, between, tlvs, to_destination, to_text, tlv_octets = kind
    numbers, destinations, texts, sources = run.numbers, run.destinations, run.texts, run.sources
    had, several = len(numbers), bool(sources)
    starts_with, find = data.startswith, data.find
    last = size - HEADER_OCTETS
    while start <= last:
        length, command_id, status, number = _unpack_header(data, start)
        end = start + length
        if command_id != _SUBMIT_SM or status or end > size or length > most:
            break
        at = start + to_destination
        if not starts_with(opening, start + HEADER_OCTETS):
            to_source = HEADER_OCTETS + len(service_type)
            at = find(0, start + to_source + 2, end)
            if at < 0 or not starts_with(before, at) or not starts_with(service_type, start + HEADER_OCTETS):
                break
            if not several:
                several = True
                sources += [source] * len(numbers)
            source = data[start + to_source : at]
            at += len(before)
            opening = data[start + HEADER_OCTETS : at]
            to_destination = at - start
        mark = find(between, at, end - 1)
        if mark < 0:
            break
        destination, at = data[at:mark], mark + to_text
        text_end = at + data[at - 1]
        if text_end + tlv_octets != end or 0 in destination or (tlvs and not starts_with(tlvs, text_end)):
            break
        numbers.append(number)
        destinations.append(destination)
        texts.append(data[at:text_end])
        if several:
            sources.append(source)
        start = end
    return start, len(numbers) - had
