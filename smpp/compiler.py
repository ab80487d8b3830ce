"""Turns a PDU's field table into straight-line Python, once, at import (as dataclasses and attrs do).

For each PDU class it makes `from_wire`, `to_wire` and a positional body writer. The generated text is kept in
linecache: a traceback shows it, and `inspect.getsource(SubmitSm.to_wire)` prints it. Reading looks where the
strings end; all the rest of the layout follows from that, so one struct unpacks the fields.

Invariants: only the declarations of smpp.pdu are ever compiled, never anything received. Fast code does no
diagnosis: whatever it trips over is read again, slowly, by `read_carefully`, or looked at by `refusal`, which
say what is wrong; so the two roads must agree on every PDU (tests run both).

Deliberately not here: which PDUs exist (smpp.pdu), framing and dispatch (smpp.codec).
"""

from __future__ import annotations

import linecache
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from smpp.constants import HEADER_OCTETS
from smpp.errors import EncodeError, MalformedBody, MalformedTlv
from smpp.fields import CString, Field, Integer, Kind, Malformed, ShortMessage
from smpp.status import Status

if TYPE_CHECKING:
    from smpp.pdu import Pdu

Tlvs = Sequence[tuple[int, bytes]]

HEADER = struct.Struct("!4L")  # command_length, command_id, command_status, sequence_number
TLV_HEADER = struct.Struct("!2H")  # tag, length

_OCTET = Integer(1)
_LAYOUTS_MOST = 4_096  # kept for each PDU, and for pairs of TLVs

_WRITE_FAILURES = (TypeError, OverflowError, ValueError, struct.error)


# What unpacks two TLVs, as most receipts have them, by the first one's length and the octets of both.
_PAIRS: dict[tuple[int, int], Callable[[bytes, int], tuple[int, int, bytes, int, int, bytes]]] = {}
_unpack_tlv_header = TLV_HEADER.unpack_from


def unpack_tlvs(buffer: bytes, position: int) -> Tlvs:
    """All TLVs from `position` to the end, in order, values untouched. ValueError when they do not fit."""
    end = len(buffer)
    try:
        tag, length = _unpack_tlv_header(buffer, position)
        unpack = _PAIRS.get((length, end - position))
        if unpack is not None:
            _, _, value, last_tag, length, last = unpack(buffer, position)
            if length == len(last):
                return [(tag, value), (last_tag, last)]
        octets = end - position
        tlvs = []
        while position < end:
            tag, length = _unpack_tlv_header(buffer, position)
            start = position + 4
            position = start + length
            tlvs.append((tag, buffer[start:position]))
    except struct.error:
        raise ValueError("stray octets") from None
    if position != end:
        raise ValueError("truncated TLV")
    if len(tlvs) == 2:
        if len(_PAIRS) >= _LAYOUTS_MOST:
            _PAIRS.clear()
        first = len(tlvs[0][1])
        _PAIRS[first, octets] = struct.Struct(f"!2H{first}s2H{octets - first - 8}s").unpack_from
    return tlvs


def pack_tlvs(tlvs: Iterable[tuple[int, bytes]]) -> bytes:
    """TLVs as octets, in the order given. Raises what struct raises for an impossible tag or length."""
    pack = TLV_HEADER.pack
    return b"".join([pack(tag, len(value)) + value for tag, value in tlvs])


# --- the slow roads: what is wrong?


def read_carefully(cls: type[Pdu], buffer: bytes, command_status: int, sequence_number: int) -> Pdu:
    """Read one PDU field by field. Tolerates one stray NUL after the mandatory fields (failure mode 20).

    Raises MalformedBody or MalformedTlv, each with the PDU as far as it could be read.
    """
    pdu = cls(command_status=command_status, sequence_number=sequence_number)
    position = HEADER_OCTETS
    for field in cls.FIELDS:
        try:
            value, position = field.kind.read(buffer, position)
        except Malformed as problem:
            raise MalformedBody(
                f"{cls.command}.{field.name}: {problem}",
                command_status=Status.ESME_RINVMSGLEN,
                command_id=cls.command_id,
                sequence_number=sequence_number,
                pdu=pdu,
            ) from None
        setattr(pdu, field.name, value)
    pdu.tlvs, trouble, status = _read_tlvs_carefully(buffer, position)
    if trouble and buffer[position] == 0:
        again, still, _ = _read_tlvs_carefully(buffer, position + 1)
        if not still:
            pdu.tlvs, trouble = again, ""
    if trouble:
        raise MalformedTlv(
            f"{cls.command}: {trouble}",
            command_status=status,
            command_id=cls.command_id,
            sequence_number=sequence_number,
            pdu=pdu,
        )
    return pdu


def _read_tlvs_carefully(buffer: bytes, position: int) -> tuple[Tlvs, str, Status]:
    """The whole TLVs, and what is wrong with the rest ("" when nothing is)."""
    tlvs: list[tuple[int, bytes]] = []
    while position != len(buffer):
        left = len(buffer) - position - TLV_HEADER.size
        if left < 0:
            trouble = f"{len(buffer) - position} stray octets after the last TLV"
            return tlvs, trouble, Status.ESME_RINVOPTPARSTREAM
        tag, length = TLV_HEADER.unpack_from(buffer, position)
        if length > left:
            return tlvs, f"TLV 0x{tag:04x} claims {length} octets, {left} there", Status.ESME_RINVPARLEN
        position += TLV_HEADER.size
        tlvs.append((tag, buffer[position : position + length]))
        position += length
    return tlvs or (), "", Status.ESME_ROK


def refusal(
    command: str, fields: Sequence[Field], values: Mapping[str, Any], cause: Exception
) -> EncodeError:
    """Why these values cannot be written. `values` may also hold the header fields and tlvs."""
    for field in fields:
        try:
            field.kind.write(values[field.name])
        except (ValueError, TypeError, AttributeError) as problem:
            return EncodeError(command, field.name, str(problem))
    for name in ("command_status", "sequence_number"):
        value = values.get(name, 0)
        if not isinstance(value, int) or not 0 <= value < 1 << 32:
            return EncodeError(command, name, f"{value!r} is no 32-bit number")
    for item in values.get("tlvs", ()):
        try:
            pack_tlvs([item])
        except _WRITE_FAILURES as problem:
            return EncodeError(command, "tlvs", f"{item!r:.60}: {problem}")
    return EncodeError(command, "?", str(cause))


# --- the fast roads: generated text


class Layouts(dict[tuple[int, ...], Callable[[bytes], tuple[Any, ...]]]):
    """What unpacks a PDU's strings and octets, by where its strings end. Made when first met; peers choose
    how many there are, so they are forgotten when they become too many."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields

    def __missing__(self, ends: tuple[int, ...]) -> Callable[[bytes], tuple[Any, ...]]:
        layout, at, left = f"!{HEADER_OCTETS}x", HEADER_OCTETS, iter(ends)
        for field in self._fields:
            if isinstance(field.kind, CString):
                end = next(left)
                layout += f"{end - at}sx"
                at = end + 1
            else:
                layout += "B"
                at += 1
        if len(self) >= _LAYOUTS_MOST:
            self.clear()
        self[ends] = unpack = struct.Struct(layout).unpack_from
        return unpack


def _reading(fields: Sequence[Field]) -> tuple[list[str], str, str]:
    """Statements that find where the strings in `b` end, and the expressions for all values and for the TLVs.

    `fields`: strings, octets and a short_message at the end. Positions are folded: the last NUL found plus a
    constant.
    """
    base, offset, lines, values = "", HEADER_OCTETS, [], ""
    marks: list[str] = []

    def here(more: int = 0) -> str:
        return f"{base} + {offset + more}" if base and offset + more else base or str(offset + more)

    for index, field in enumerate(fields):
        mark = f"n{index}"
        match field.kind:
            case Integer():
                offset += 1
            case CString(sparse=sparse):
                if sparse:
                    lines += [f"{mark} = {here()}", f"if b[{mark}]: {mark} = b.index(0, {mark})"]
                else:
                    lines.append(f"{mark} = b.index(0, {here()})")
                marks.append(mark)
                base, offset = mark, 1
            case ShortMessage():  # whether it ends in time is seen by where the TLVs would begin
                lines.append(f"{mark} = {here(1)} + b[{here()}]")
                values = f"b[{here(1)}:{mark}], "
                base, offset = mark, 0
    if len(fields) == 1:
        values = f"b[{HEADER_OCTETS}:{marks[0]}], "
    elif fields:
        values = f"*layouts[{', '.join(marks)}](b), {values}"
    return lines, values, f"() if {here()} == end else unpack_tlvs(b, {here()})"


def _writing(fields: Sequence[Field]) -> tuple[list[str], str]:
    """Checks, and the expression for the body, both over local variables named like the fields."""
    checks, layout, values = [], "", []
    for field in fields:
        name = field.name
        match field.kind:
            case Integer(1):
                layout += "%c"
                values.append(name)
            case CString(size, sparse):
                guard = f"{name} and (" if sparse else "("
                checks.append(f"if {guard}len({name}) >= {size} or 0 in {name}): raise ValueError")
                layout += "%b\\0"
                values.append(name)
            case ShortMessage():
                layout += "%c%b"
                values += [f"len({name})", name]
            case _:
                layout += "%b"
                values.append(f"kind_{name}.write({name})")
    return checks, f"b'{layout}' % ({', '.join(values)},)" if values else "b''"


def _indented(lines: Iterable[str], depth: int) -> str:
    return "\n".join("    " * depth + line for line in lines)


def _from_wire_source(cls: type[Pdu]) -> str:
    absent = [f"if end == {HEADER_OCTETS}: return cls(command_status=status, sequence_number=sequence)"]
    reading = []
    if all(isinstance(field.kind, CString | ShortMessage) or field.kind == _OCTET for field in cls.FIELDS):
        lines, values, tlvs = _reading(cls.FIELDS)
        reading = [
            "try:",
            *(f"    {line}" for line in lines),
            f"    return cls({values}sequence, status, {tlvs})",
            "except (IndexError, ValueError, error):",
            "    pass",
        ]
    return f"""\
def from_wire(b, status, sequence):
    end = len(b)
{_indented([*(absent if _may_lack_body(cls) else ()), *reading], 1)}
    return read_carefully(cls, b, status, sequence)
"""


def _to_wire_source(cls: type[Pdu]) -> str:
    names = [field.name for field in cls.FIELDS]
    checks, body = _writing(cls.FIELDS)
    header = f"{cls.command_id}, status, pdu.sequence_number"
    absent = [f"if status and not (tlvs or {' or '.join(names)}): return pack({HEADER_OCTETS}, {header})"]
    return f"""\
def to_wire(pdu, with_tlvs=True):
    tlvs = pdu.tlvs
    status = pdu.command_status
{_indented([f"{name} = pdu.{name}" for name in names], 1)}
    try:
{_indented([*(absent if _may_lack_body(cls) else ()), *checks], 2)}
        body = {body}
        if tlvs and with_tlvs:
            body += pack_tlvs(tlvs)
        return pack(len(body) + {HEADER_OCTETS}, {header}) + body
    except WRITE_FAILURES as problem:
        raise refusal('{cls.command}', FIELDS, pdu.as_dict(), problem) from None
"""


def _body_source(cls: type[Pdu]) -> str:
    names = [field.name for field in cls.FIELDS]
    checks, body = _writing(cls.FIELDS)
    values = ", ".join(f"{name}={name}" for name in (*names, "tlvs"))
    return f"""\
def body({", ".join([*(f"{name}=default_{name}" for name in names), "tlvs=()"])}):
    try:
{_indented(checks, 2)}
        if tlvs:
            return {body} + pack_tlvs(tlvs)
        return {body}
    except WRITE_FAILURES as problem:
        raise refusal('{cls.command}', FIELDS, dict({values}), problem) from None
"""


def _may_lack_body(cls: type[Pdu]) -> bool:
    """3.4: a refusing response has no body; peers leave it out of accepting ones too (failure mode 22)."""
    return cls.is_response and bool(cls.FIELDS)


def compile_pdu(cls: type[Pdu]) -> dict[str, Callable[..., Any]]:
    """`from_wire`, `to_wire` and `body` of a PDU class whose FIELDS are complete."""
    kinds: dict[str, Kind] = {f"kind_{field.name}": field.kind for field in cls.FIELDS}
    namespace: dict[str, Any] = {
        **kinds,
        **{f"default_{field.name}": field.default for field in cls.FIELDS},
        "cls": cls,
        "FIELDS": cls.FIELDS,
        "WRITE_FAILURES": _WRITE_FAILURES,
        "error": struct.error,
        "layouts": Layouts([field for field in cls.FIELDS if not isinstance(field.kind, ShortMessage)]),
        "pack": HEADER.pack,
        "pack_tlvs": pack_tlvs,
        "read_carefully": read_carefully,
        "refusal": refusal,
        "unpack_tlvs": unpack_tlvs,
    }
    source = "\n".join((_from_wire_source(cls), _to_wire_source(cls), _body_source(cls)))
    filename = f"<smpp {cls.command}>"
    exec(compile(source, filename, "exec"), namespace)
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return {name: namespace[name] for name in ("from_wire", "to_wire", "body")}
