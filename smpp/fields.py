"""What a mandatory field can be: the kinds of 3.4 section 3.1, each able to read and write itself.

`smpp.pdu` declares every PDU in these words (`service_type: CString6 = b""`), and that declaration is the
only description of the wire. `smpp.compiler` turns the common kinds into straight-line code; the `read` and
`write` here are the slow road, taken for lists and to say exactly what is wrong with a PDU.

Invariants: `read` never looks past the end of its buffer and raises only Malformed; `write` raises only
ValueError. Sizes are octets on the wire, the closing NUL included, as the specification counts them.

Deliberately lenient: reading accepts a C-octet string of any length and any octet in it; the size binds
only what we write. Real peers send 10-octet passwords and 70-octet message ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated


class Malformed(Exception):
    """A field cannot be read at this position: says what is missing."""


@dataclass(frozen=True, slots=True)
class CString:
    """C-octet string: value without its NUL. `sparse` marks fields that are empty in most PDUs."""

    size: int
    sparse: bool = False

    def read(self, buffer: bytes, position: int) -> tuple[bytes, int]:
        end = buffer.find(0, position)
        if end < 0:
            raise Malformed("no NUL ends it")
        return buffer[position:end], end + 1

    def write(self, value: bytes) -> bytes:
        if not isinstance(value, bytes):
            raise ValueError(f"bytes wanted, not {type(value).__name__}")
        if len(value) >= self.size:
            raise ValueError(f"{len(value)} octets, {self.size - 1} allowed")
        if 0 in value:
            raise ValueError("contains a NUL")
        return value + b"\0"


@dataclass(frozen=True, slots=True)
class Integer:
    """Unsigned, big-endian, of `octets` octets."""

    octets: int = 1

    def read(self, buffer: bytes, position: int) -> tuple[int, int]:
        end = position + self.octets
        if end > len(buffer):
            raise Malformed(f"{self.octets} octets wanted, {max(0, len(buffer) - position)} there")
        return int.from_bytes(buffer[position:end], "big"), end

    def write(self, value: int) -> bytes:
        if not isinstance(value, int):
            raise ValueError(f"int wanted, not {type(value).__name__}")
        if not 0 <= value < 1 << 8 * self.octets:
            raise ValueError(f"{value} does not fit in {self.octets} octets")
        return value.to_bytes(self.octets, "big")


@dataclass(frozen=True, slots=True)
class ShortMessage:
    """sm_length and short_message as one field (up to 255 octets, as 5.0 allows; 3.4 says 254)."""

    def read(self, buffer: bytes, position: int) -> tuple[bytes, int]:
        if position >= len(buffer):
            raise Malformed("no sm_length")
        start = position + 1
        end = start + buffer[position]
        if end > len(buffer):
            raise Malformed(f"sm_length is {buffer[position]}, {len(buffer) - start} octets there")
        return buffer[start:end], end

    def write(self, value: bytes) -> bytes:
        if not isinstance(value, bytes):
            raise ValueError(f"bytes wanted, not {type(value).__name__}")
        if len(value) > 255:
            raise ValueError(f"{len(value)} octets, 255 allowed (use message_payload)")
        return bytes((len(value),)) + value


@dataclass(frozen=True, slots=True)
class SmeAddress:
    """submit_multi destination, dest_flag 1 (3.4 section 4.5.1.1)."""

    dest_addr_ton: int
    dest_addr_npi: int
    destination_addr: bytes


@dataclass(frozen=True, slots=True)
class DistributionList:
    """submit_multi destination, dest_flag 2."""

    dl_name: bytes


@dataclass(frozen=True, slots=True)
class UnsuccessSme:
    """One destination that submit_multi_resp names as refused (3.4 section 4.5.2.1)."""

    dest_addr_ton: int
    dest_addr_npi: int
    destination_addr: bytes
    error_status_code: int


DestAddress = SmeAddress | DistributionList

_OCTET = Integer(1)
_LONG = Integer(4)
_ADDRESS = CString(21)
_DL_NAME = CString(21)


def _read_address(buffer: bytes, position: int) -> tuple[SmeAddress, int]:
    ton, position = _OCTET.read(buffer, position)
    npi, position = _OCTET.read(buffer, position)
    address, position = _ADDRESS.read(buffer, position)
    return SmeAddress(ton, npi, address), position


def _write_address(ton: int, npi: int, address: bytes) -> bytes:
    return _OCTET.write(ton) + _OCTET.write(npi) + _ADDRESS.write(address)


@dataclass(frozen=True, slots=True)
class DestAddresses:
    """number_of_dests and dest_address(es) as one field."""

    def read(self, buffer: bytes, position: int) -> tuple[list[DestAddress], int]:
        count, position = _OCTET.read(buffer, position)
        destinations: list[DestAddress] = []
        for _ in range(count):
            flag, position = _OCTET.read(buffer, position)
            if flag == 1:
                address, position = _read_address(buffer, position)
                destinations.append(address)
            elif flag == 2:
                dl_name, position = _DL_NAME.read(buffer, position)
                destinations.append(DistributionList(dl_name))
            else:
                raise Malformed(f"dest_flag is {flag}, 1 or 2 allowed")
        return destinations, position

    def write(self, value: Sequence[DestAddress]) -> bytes:
        if len(value) > 255:
            raise ValueError(f"{len(value)} destinations, 255 allowed")
        parts = [bytes((len(value),))]
        for item in value:
            if isinstance(item, DistributionList):
                parts.append(b"\x02" + _DL_NAME.write(item.dl_name))
            else:
                address = _write_address(item.dest_addr_ton, item.dest_addr_npi, item.destination_addr)
                parts.append(b"\x01" + address)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class UnsuccessSmes:
    """no_unsuccess and unsuccess_sme(s) as one field."""

    def read(self, buffer: bytes, position: int) -> tuple[list[UnsuccessSme], int]:
        count, position = _OCTET.read(buffer, position)
        refused: list[UnsuccessSme] = []
        for _ in range(count):
            to, position = _read_address(buffer, position)
            status, position = _LONG.read(buffer, position)
            refused.append(UnsuccessSme(to.dest_addr_ton, to.dest_addr_npi, to.destination_addr, status))
        return refused, position

    def write(self, value: Sequence[UnsuccessSme]) -> bytes:
        if len(value) > 255:
            raise ValueError(f"{len(value)} destinations, 255 allowed")
        parts = [bytes((len(value),))]
        for item in value:
            address = _write_address(item.dest_addr_ton, item.dest_addr_npi, item.destination_addr)
            parts.append(address + _LONG.write(item.error_status_code))
        return b"".join(parts)


Kind = CString | Integer | ShortMessage | DestAddresses | UnsuccessSmes


@dataclass(frozen=True, slots=True)
class Field:
    """One mandatory field of a PDU, in wire order."""

    name: str
    kind: Kind
    default: object


# The words in which smpp.pdu declares PDUs. A type checker sees bytes, int and lists.
Octet = Annotated[int, Integer(1)]
SystemId = Annotated[bytes, CString(16)]
Password = Annotated[bytes, CString(65)]  # the specification says 9; real accounts have longer ones
SystemType = Annotated[bytes, CString(13, sparse=True)]
AddressRange = Annotated[bytes, CString(41, sparse=True)]
ServiceType = Annotated[bytes, CString(6, sparse=True)]
Address = Annotated[bytes, CString(21)]
LongAddress = Annotated[bytes, CString(65)]  # data_sm and alert_notification
Time = Annotated[bytes, CString(17, sparse=True)]
MessageId = Annotated[bytes, CString(65)]
Text = Annotated[bytes, ShortMessage()]
Destinations = Annotated[Sequence[DestAddress], DestAddresses()]
Refused = Annotated[Sequence[UnsuccessSme], UnsuccessSmes()]
