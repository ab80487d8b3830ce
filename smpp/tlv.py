"""TLVs by name and type: the table of 3.4 section 5.3 and 5.0 section 4.8.4.

PDUs carry TLVs raw, in wire order, unknown ones and repeats included (failure mode 21). This module reads a
value out of them and makes new ones, `(tag, value)`.

Invariants: reading is tolerant and never raises (integers of any length, C-octet strings with or without
their NUL, values of the wrong kind read as None); making is strict and raises EncodeError.

Deliberately not here: which TLV the specification allows on which PDU. Peers put any on any; nobody refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smpp.constants import Tlv
from smpp.errors import EncodeError


@dataclass(frozen=True, slots=True)
class IntegerTlv:
    octets: int = 1


@dataclass(frozen=True, slots=True)
class CStringTlv:
    """`size` counts the NUL."""

    size: int


@dataclass(frozen=True, slots=True)
class OctetsTlv:
    shortest: int
    longest: int


TlvKind = IntegerTlv | CStringTlv | OctetsTlv
Tlvs = Sequence[tuple[int, bytes]]

_OCTET = IntegerTlv(1)
_SHORT = IntegerTlv(2)
_LONG = IntegerTlv(4)

KINDS: dict[Tlv, TlvKind] = {
    Tlv.DEST_ADDR_SUBUNIT: _OCTET,
    Tlv.DEST_NETWORK_TYPE: _OCTET,
    Tlv.DEST_BEARER_TYPE: _OCTET,
    Tlv.DEST_TELEMATICS_ID: _SHORT,
    Tlv.SOURCE_ADDR_SUBUNIT: _OCTET,
    Tlv.SOURCE_NETWORK_TYPE: _OCTET,
    Tlv.SOURCE_BEARER_TYPE: _OCTET,
    Tlv.SOURCE_TELEMATICS_ID: _OCTET,
    Tlv.QOS_TIME_TO_LIVE: _LONG,
    Tlv.PAYLOAD_TYPE: _OCTET,
    Tlv.ADDITIONAL_STATUS_INFO_TEXT: CStringTlv(256),
    Tlv.RECEIPTED_MESSAGE_ID: CStringTlv(65),
    Tlv.MS_MSG_WAIT_FACILITIES: _OCTET,
    Tlv.PRIVACY_INDICATOR: _OCTET,
    Tlv.SOURCE_SUBADDRESS: OctetsTlv(2, 23),
    Tlv.DEST_SUBADDRESS: OctetsTlv(2, 23),
    Tlv.USER_MESSAGE_REFERENCE: _SHORT,
    Tlv.USER_RESPONSE_CODE: _OCTET,
    Tlv.SOURCE_PORT: _SHORT,
    Tlv.DESTINATION_PORT: _SHORT,
    Tlv.SAR_MSG_REF_NUM: _SHORT,
    Tlv.LANGUAGE_INDICATOR: _OCTET,
    Tlv.SAR_TOTAL_SEGMENTS: _OCTET,
    Tlv.SAR_SEGMENT_SEQNUM: _OCTET,
    Tlv.SC_INTERFACE_VERSION: _OCTET,
    Tlv.CALLBACK_NUM_PRES_IND: _OCTET,
    Tlv.CALLBACK_NUM_ATAG: OctetsTlv(0, 65),
    Tlv.NUMBER_OF_MESSAGES: _OCTET,
    Tlv.CALLBACK_NUM: OctetsTlv(4, 19),
    Tlv.DPF_RESULT: _OCTET,
    Tlv.SET_DPF: _OCTET,
    Tlv.MS_AVAILABILITY_STATUS: _OCTET,
    Tlv.NETWORK_ERROR_CODE: OctetsTlv(3, 3),
    Tlv.MESSAGE_PAYLOAD: OctetsTlv(0, 65_535),
    Tlv.DELIVERY_FAILURE_REASON: _OCTET,
    Tlv.MORE_MESSAGES_TO_SEND: _OCTET,
    Tlv.MESSAGE_STATE: _OCTET,
    Tlv.CONGESTION_STATE: _OCTET,
    Tlv.USSD_SERVICE_OP: _OCTET,
    Tlv.BROADCAST_CHANNEL_INDICATOR: _OCTET,
    Tlv.BROADCAST_CONTENT_TYPE: OctetsTlv(3, 3),
    Tlv.BROADCAST_CONTENT_TYPE_INFO: OctetsTlv(1, 255),
    Tlv.BROADCAST_MESSAGE_CLASS: _OCTET,
    Tlv.BROADCAST_REP_NUM: _SHORT,
    Tlv.BROADCAST_FREQUENCY_INTERVAL: OctetsTlv(3, 3),
    Tlv.BROADCAST_AREA_IDENTIFIER: OctetsTlv(1, 65_535),
    Tlv.BROADCAST_ERROR_STATUS: _LONG,
    Tlv.BROADCAST_AREA_SUCCESS: _OCTET,
    Tlv.BROADCAST_END_TIME: CStringTlv(17),
    Tlv.BROADCAST_SERVICE_GROUP: OctetsTlv(1, 255),
    Tlv.BILLING_IDENTIFICATION: OctetsTlv(1, 1_024),
    Tlv.SOURCE_NETWORK_ID: CStringTlv(66),
    Tlv.DEST_NETWORK_ID: CStringTlv(66),
    Tlv.SOURCE_NODE_ID: OctetsTlv(6, 6),
    Tlv.DEST_NODE_ID: OctetsTlv(6, 6),
    Tlv.DEST_ADDR_NP_RESOLUTION: _OCTET,
    Tlv.DEST_ADDR_NP_INFORMATION: OctetsTlv(1, 10),
    Tlv.DEST_ADDR_NP_COUNTRY: OctetsTlv(1, 5),
    Tlv.DISPLAY_TIME: _OCTET,
    Tlv.SMS_SIGNAL: _SHORT,
    Tlv.MS_VALIDITY: OctetsTlv(1, 4),  # 3.4: one octet; 5.0: behaviour, unit and number
    Tlv.ALERT_ON_MESSAGE_DELIVERY: OctetsTlv(0, 1),  # 3.4: no value; 5.0: one octet
    Tlv.ITS_REPLY_TYPE: _OCTET,
    Tlv.ITS_SESSION_INFO: OctetsTlv(2, 2),
}

_NAMES = {int(tag): tag.name.lower() for tag in Tlv}
_BY_TAG: dict[int, TlvKind] = {int(tag): kind for tag, kind in KINDS.items()}
_LONGEST_INTEGER_OCTETS = 8


def first(tlvs: Tlvs, tag: int) -> bytes | None:
    """The value of the first TLV with this tag, untouched."""
    for its_tag, value in tlvs:
        if its_tag == tag:
            return value
    return None


def every(tlvs: Tlvs, tag: int) -> list[bytes]:
    """The values of all TLVs with this tag, in order (broadcast_area_identifier repeats)."""
    return [value for its_tag, value in tlvs if its_tag == tag]


def read_int(tlvs: Tlvs, tag: int) -> int | None:
    """The first such TLV as an unsigned integer of as many octets as it has (1 to 8)."""
    value = first(tlvs, tag)
    if not value or len(value) > _LONGEST_INTEGER_OCTETS:
        return None
    return int.from_bytes(value, "big")


def read_cstring(tlvs: Tlvs, tag: int) -> bytes | None:
    """The first such TLV up to its NUL, or all of it: peers leave the NUL out."""
    value = first(tlvs, tag)
    return None if value is None else value.partition(b"\0")[0]


def read(tlvs: Tlvs, tag: int) -> int | bytes | None:
    """The first such TLV by the table's type; octets where the table does not know the tag."""
    match _BY_TAG.get(tag):
        case IntegerTlv():
            return read_int(tlvs, tag)
        case CStringTlv():
            return read_cstring(tlvs, tag)
        case _:
            return first(tlvs, tag)


def make(tag: int, value: int | bytes) -> tuple[int, bytes]:
    """A TLV to send, `value` without a NUL where the type is a C-octet string. Raises EncodeError.

    Tags outside the table (vendors') take bytes as they are.
    """
    try:
        return tag, _octets(_BY_TAG.get(tag, OctetsTlv(0, 65_535)), value)
    except (ValueError, OverflowError) as problem:
        raise EncodeError("tlv", name(tag), str(problem)) from None


def _octets(kind: TlvKind, value: int | bytes) -> bytes:
    if isinstance(kind, IntegerTlv):
        if not isinstance(value, int):
            raise ValueError(f"int wanted, not {type(value).__name__}")
        return value.to_bytes(kind.octets, "big")
    if not isinstance(value, bytes):
        raise ValueError(f"bytes wanted, not {type(value).__name__}")
    if isinstance(kind, CStringTlv):
        if len(value) >= kind.size or 0 in value:
            raise ValueError(f"{kind.size - 1} octets and no NUL allowed")
        return value + b"\0"
    if not kind.shortest <= len(value) <= kind.longest:
        raise ValueError(f"{len(value)} octets, {kind.shortest} to {kind.longest} allowed")
    return value


def name(tag: int) -> str:
    """`receipted_message_id`, or `0x1403` where the specification names it not."""
    return _NAMES.get(tag) or f"0x{tag:04x}"


def describe(tlvs: Tlvs) -> str:
    """For logs and traces: `receipted_message_id=b'12ab' message_state=2 0x1403=hex:3631`."""
    return " ".join(f"{name(tag)}={_shown(tag, value)}" for tag, value in tlvs)


def _shown(tag: int, value: bytes) -> str:
    shown = read([(tag, value)], tag)
    known = tag in _BY_TAG and not isinstance(_BY_TAG[tag], OctetsTlv) and shown is not None
    return repr(shown) if known else f"hex:{value.hex()}"
