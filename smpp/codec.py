"""Octets to PDUs and back: `decode`, `encode`, and the header that both share.

Invariants: `decode` raises ProtocolError and nothing else, whatever it is given; `encode` raises EncodeError
and nothing else for any PDU whose fields hold anything. Neither keeps a reference to its buffer.

Deliberately not here: the layout of each PDU (smpp.pdu), splitting a stream (smpp.framer), answers and
windows (smpp.session).
"""

from __future__ import annotations

from smpp.compiler import HEADER
from smpp.constants import HEADER_OCTETS, VERSION_3_4, CommandId
from smpp.errors import EncodeError, FramingError, LengthMismatch, ProtocolError, UnknownCommand
from smpp.framer import Frame, Framer
from smpp.pdu import PDUS, Pdu, deliver_sm_body, submit_sm_body
from smpp.status import Status

__all__ = [
    "HEADER",
    "EncodeError",
    "Frame",
    "Framer",
    "ProtocolError",
    "decode",
    "decode_frame",
    "deliver_sm_body",
    "encode",
    "message_id_resp_bytes",
    "submit_sm_body",
    "submit_sm_bytes",
    "with_header",
]

_FROM_WIRE = {command_id: cls.from_wire for command_id, cls in PDUS.items()}
_SUBMIT_SM = int(CommandId.SUBMIT_SM)
_pack_header = HEADER.pack
_unpack_header = HEADER.unpack_from


def decode(buffer: bytes, offset: int = 0, end: int | None = None) -> Pdu:
    """One whole PDU, header included, from buffer[offset:end]. Raises ProtocolError."""
    octets = bytes(buffer[offset:end])
    if len(octets) < HEADER_OCTETS:
        raise FramingError(f"{len(octets)} octets are no PDU header")
    command_length, command_id, command_status, sequence_number = _unpack_header(octets)
    if command_length < HEADER_OCTETS:
        raise FramingError(
            f"command_length is {command_length}", command_id=command_id, sequence_number=sequence_number
        )
    if command_length != len(octets):
        raise LengthMismatch(
            f"command_length is {command_length}, {len(octets)} octets given",
            command_status=Status.ESME_RINVMSGLEN,
            command_id=command_id,
            sequence_number=sequence_number,
        )
    return decode_frame((command_id, command_status, sequence_number, octets))


def decode_frame(frame: Frame) -> Pdu:
    """The PDU in one of `Framer.feed`'s frames. Raises a recoverable ProtocolError."""
    command_id, command_status, sequence_number, octets = frame
    from_wire = _FROM_WIRE.get(command_id)
    if from_wire is None:
        raise UnknownCommand(
            f"unknown command_id 0x{command_id:08x}",
            command_status=Status.ESME_RINVCMDID,
            command_id=command_id,
            sequence_number=sequence_number,
        )
    return from_wire(octets, command_status, sequence_number)


def encode(pdu: Pdu, version: int = VERSION_3_4) -> bytes:
    """The whole PDU. Peers of version 3.3 and below get no TLVs. Raises EncodeError.

    A refusing response without fields or TLVs is written without a body, as 3.4 says.
    """
    return pdu.to_wire(version >= VERSION_3_4)


def with_header(command_id: int, command_status: int, sequence_number: int, body: bytes) -> bytes:
    """A ready-made body (`submit_sm_body`, or b"") as a PDU."""
    return _pack_header(len(body) + HEADER_OCTETS, command_id, command_status, sequence_number) + body


def submit_sm_bytes(sequence_number: int, body: bytes) -> bytes:
    """`submit_sm_body(...)` as a PDU."""
    return _pack_header(len(body) + HEADER_OCTETS, _SUBMIT_SM, 0, sequence_number) + body


def message_id_resp_bytes(command_id: int, sequence_number: int, message_id: bytes = b"") -> bytes:
    """An accepting submit_sm_resp, deliver_sm_resp, data_sm_resp or broadcast_sm_resp, without TLVs.

    `message_id` must be ours: it is not checked.
    """
    return (
        _pack_header(HEADER_OCTETS + 1 + len(message_id), command_id, 0, sequence_number) + message_id + b"\0"
    )
