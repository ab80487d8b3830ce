"""What an MO says beyond its text: kept as a Relay, so that a bound customer gets it as it was meant.

Octets of the text itself are not kept: a text is stored decoded and written anew, so whatever describes the
old octets (concatenation, national tables, a data_coding that ours says as well) is left out.

Deliberately not here: writing it (gateway.smpp_server.deliver), whose MO it is (inbound).
"""

from __future__ import annotations

from router.nouns import Encoding, Relay
from smpp import alphabet, segment
from smpp.constants import ESM_TYPE_MASK, EsmClass, Tlv
from smpp.pdu import DataSm, DeliverSm

Delivery = DeliverSm | DataSm

_ACKNOWLEDGEMENTS = frozenset(
    {EsmClass.DELIVERY_ACKNOWLEDGEMENT, EsmClass.USER_ACKNOWLEDGEMENT, EsmClass.CONVERSATION_ABORT}
)
_KEPT_OF_ESM_CLASS = ESM_TYPE_MASK | EsmClass.REPLY_PATH  # modes mean nothing here; UDHI follows the header
_WISHES = 0x0C  # registered_delivery: SME acknowledgements (3.4 section 5.2.17)
_INTERNATIONAL = 0x11
_OF_CONTENT = frozenset(
    {
        Tlv.MESSAGE_PAYLOAD,
        segment.SAR_MSG_REF_NUM,
        segment.SAR_TOTAL_SEGMENTS,
        segment.SAR_SEGMENT_SEQNUM,
    }
)
_OF_CONCATENATION = frozenset({segment.IEI_CONCAT_8, segment.IEI_CONCAT_16})
_OF_TEXT = _OF_CONCATENATION | {segment.IEI_SINGLE_SHIFT, segment.IEI_LOCKING_SHIFT}


def is_acknowledgement(esm_class: int) -> bool:
    """An SME's own: delivery or manual acknowledgement, or the end of a conversation (3.4 section 5.2.12)."""
    return esm_class & ESM_TYPE_MASK in _ACKNOWLEDGEMENTS


def relay_of(pdu: Delivery, encoding: int, udh: bytes, default: int) -> Relay | None:
    """All that is not its text, or None where there is nothing. `default`: the carrier's data_coding 0."""
    esm_class = pdu.esm_class & _KEPT_OF_ESM_CLASS
    registered = pdu.registered_delivery & _WISHES
    protocol_id, priority = (pdu.protocol_id, pdu.priority_flag) if isinstance(pdu, DeliverSm) else (0, 0)
    data_coding = _data_coding(pdu.data_coding, encoding, default)
    header = _header(udh, encoding) if udh else b""
    tlvs = tuple(one for one in pdu.tlvs if one[0] not in _OF_CONTENT) if pdu.tlvs else ()
    if not (
        esm_class or registered or protocol_id or priority or data_coding >= 0 or header or tlvs
        or pdu.service_type
    ):  # fmt: skip
        return None
    return Relay(
        service_type=pdu.service_type.decode("latin-1"),
        esm_class=int(esm_class),
        protocol_id=protocol_id,
        data_coding=data_coding,
        registered=registered,
        tlvs=tlvs,
        priority=priority,
        udh=header,
    )


def types_of(pdu: Delivery) -> tuple[int, int]:
    """TON << 4 | NPI of source and destination. A number written with + or 00 is stored without it, and so is
    international where its TON says nothing."""
    return (
        _type(pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr),
        _type(pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr),
    )


def reference_in(relay: Relay | None) -> int:
    """user_message_reference, -1 where there is none."""
    tlvs = relay.tlvs if relay is not None else ()
    return next(
        (
            int.from_bytes(value[:2], "big")
            for tag, value in tlvs
            if tag == Tlv.USER_MESSAGE_REFERENCE and value
        ),
        -1,
    )


def _type(ton: int, npi: int, address: bytes) -> int:
    if not ton & 15 and (address[:1] == b"+" or address[:2] == b"00"):
        return _INTERNATIONAL
    return (ton & 15) << 4 | npi & 15


def _data_coding(data_coding: int, encoding: int, default: int) -> int:
    """-1 where what is written for `encoding` says the same, or where the text is not in it any more."""
    if not data_coding or alphabet.encoding_of(data_coding, default) != encoding:
        return -1
    return -1 if data_coding == alphabet.DATA_CODING[encoding] else data_coding


def _header(udh: bytes, encoding: int) -> bytes:
    """The header's own elements, with their length octet; b"" where there are none."""
    dropped = _OF_CONCATENATION if encoding == Encoding.BINARY else _OF_TEXT
    kept = b"".join(
        bytes((iei, len(data))) + data for iei, data in segment.elements(udh) if iei not in dropped
    )
    return bytes((len(kept),)) + kept if kept else b""
