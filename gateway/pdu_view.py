"""A PDU for people: its fields and TLVs by name, without what whoever looks may not see.

Texts are shown only with `texts`, numbers only with `numbers`, passwords never. What is not known to be
harmless is taken for a text: a field or TLV that nobody named here shows how long it is, and nothing else.

Deliberately not here: who may see what (router.roles), where PDUs come from (gateway.tracing).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from gateway.logs import mask_number
from smpp import alphabet, receipt
from smpp.constants import EsmClass, Tlv
from smpp.pdu import Pdu
from smpp.tlv import KINDS, CStringTlv, IntegerTlv, name, read

_FEWEST_DIGITS = 5  # that make an address a number
_MOST_SHOWN = 200  # characters of one value
_MOST_TLVS = 64
_MOST_DESTINATIONS = 50

_ADDRESSES = frozenset({"source_addr", "destination_addr", "esme_addr"})
_SETS_OF_ADDRESSES = frozenset({"dest_address", "unsuccess_sme"})
_WORDS = frozenset(
    {
        "system_id", "system_type", "service_type", "message_id", "schedule_delivery_time",
        "validity_period", "final_date",
    }
)  # fmt: skip
_WORD_TLVS = frozenset(
    int(tag) for tag in (Tlv.RECEIPTED_MESSAGE_ID, Tlv.BROADCAST_END_TIME, Tlv.SOURCE_NETWORK_ID)
)
_OCTET_TLVS = frozenset(int(tag) for tag in (Tlv.NETWORK_ERROR_CODE, Tlv.MS_VALIDITY, Tlv.ITS_SESSION_INFO))
_NUMBER_TLVS = frozenset(int(tag) for tag in (Tlv.CALLBACK_NUM, Tlv.SOURCE_SUBADDRESS, Tlv.DEST_SUBADDRESS))
_TEXT_TLVS = frozenset(int(tag) for tag in (Tlv.ADDITIONAL_STATUS_INFO_TEXT,))
_PAYLOAD = int(Tlv.MESSAGE_PAYLOAD)
_UDHI = int(EsmClass.UDHI)
_BY_TAG = {int(tag): kind for tag, kind in KINDS.items()}
_ID = re.compile(r"[0-9A-Za-z_.:-]{1,64}")
_MARK = re.compile(r"[0-9A-Za-z_-]{1,10}")


class Sight(NamedTuple):
    """What whoever looks may see."""

    texts: bool = False
    numbers: bool = False


class TlvView(msgspec.Struct):
    """`value` is a number, words, or why there are none."""

    name: str
    value: int | str


class ReceiptView(msgspec.Struct):
    """What a receipt says, but for the text that it repeats. -1 and "": it does not say."""

    id: str
    state: str
    error: str
    delivered: int


class PduView(msgspec.Struct):
    """`text`: what it says, null where it says nothing or may not be seen; `text_octets`: how much."""

    fields: dict[str, Any]
    tlvs: list[TlvView]
    text: str | None = None
    text_octets: int = 0
    receipt: ReceiptView | None = None


def view(pdu: Pdu, sight: Sight) -> PduView:
    """As much of it as may be seen."""
    shown = PduView({}, [])
    for field in pdu.FIELDS:
        value = getattr(pdu, field.name)
        if field.name == "short_message":
            continue
        shown.fields[field.name] = _field(field.name, value, sight)
    octets = _text(pdu)
    if octets:
        shown.text_octets = len(octets)
        shown.text = _said(pdu, octets) if sight.texts else None
        if pdu.command in ("deliver_sm", "data_sm"):
            shown.receipt = _receipt(pdu)
    shown.tlvs = [TlvView(name(tag), _tlv(tag, value, sight)) for tag, value in pdu.tlvs[:_MOST_TLVS]]
    return shown


def addresses(pdu: Pdu) -> list[str]:
    """Every address that it names, as it came."""
    found = [getattr(pdu, field.name).decode("latin-1") for field in pdu.FIELDS if field.name in _ADDRESSES]
    for field in pdu.FIELDS:
        if field.name in _SETS_OF_ADDRESSES:
            found += [_address(one) for one in getattr(pdu, field.name)]
    return found


def shown_address(address: str, sight: Sight) -> str:
    """A number is masked, a name is not."""
    digits = sum(character.isdigit() for character in address)
    return address if sight.numbers or digits < _FEWEST_DIGITS else mask_number(address)


def _field(name: str, value: Any, sight: Sight) -> Any:
    if isinstance(value, int):
        return value
    if name == "password":
        return "(hidden)"
    if name in _SETS_OF_ADDRESSES:
        shown = [shown_address(_address(one), sight) for one in value[:_MOST_DESTINATIONS]]
        return shown if len(value) <= _MOST_DESTINATIONS else [*shown, f"and {len(value) - len(shown)} more"]
    if name in _ADDRESSES:
        return shown_address(value.decode("latin-1"), sight)
    if name == "address_range" and value:
        return value.decode("latin-1") if sight.numbers else _hidden(value)
    if name in _WORDS or not value:
        return value.decode("latin-1")
    return value.hex()[:_MOST_SHOWN] if sight.texts and sight.numbers else _hidden(value)


def _address(one: Any) -> str:
    """Of submit_multi's destinations and their refusals: the address, or a list's name."""
    for field in ("address", "destination_addr", "dl_name"):
        found = getattr(one, field, None)
        if found:
            return bytes(found).decode("latin-1")
    return ""


def _tlv(tag: int, value: bytes, sight: Sight) -> int | str:
    kind = _BY_TAG.get(tag)
    if tag == _PAYLOAD:
        return f"({len(value)} octets of text)"
    if isinstance(kind, IntegerTlv) and len(value) <= kind.octets:
        found = read([(tag, value)], tag)
        return found if isinstance(found, int) else ""
    if tag in _WORD_TLVS and isinstance(kind, CStringTlv):
        return value.partition(b"\0")[0].decode("latin-1")[:_MOST_SHOWN]
    if tag in _OCTET_TLVS and len(value) <= 4:
        return value.hex()
    if tag in _NUMBER_TLVS:
        return value.decode("latin-1")[:_MOST_SHOWN] if sight.numbers else _hidden(value)
    if tag in _TEXT_TLVS and sight.texts and sight.numbers:
        return value.decode("latin-1")[:_MOST_SHOWN]
    return value.hex()[:_MOST_SHOWN] if sight.texts and sight.numbers else _hidden(value)


def _hidden(value: bytes) -> str:
    return f"(hidden, {len(value)} octets)"


# texts


def _text(pdu: Pdu) -> bytes:
    return getattr(pdu, "short_message", b"") or pdu.tlv(_PAYLOAD) or b""


def _said(pdu: Pdu, octets: bytes) -> str:
    """Its text in words, without a header; hex where nobody knows the alphabet."""
    data_coding = getattr(pdu, "data_coding", 0)
    if getattr(pdu, "esm_class", 0) & _UDHI:
        octets = octets[octets[0] + 1 :]
    encoding = alphabet.encoding_of(data_coding)
    if encoding == alphabet.BINARY:
        return octets.hex()
    return alphabet.decode(octets, encoding)


def _receipt(pdu: Pdu) -> ReceiptView | None:
    """None: it is an ordinary message. What it repeats of a text stays out, also where fields are misused."""
    found = receipt.parse(
        getattr(pdu, "short_message", b""),
        getattr(pdu, "data_coding", 0),
        pdu.tlvs,
        getattr(pdu, "esm_class", 0),
    )
    if found is None or not found.flagged:
        return None
    return ReceiptView(
        id=found.id if _ID.fullmatch(found.id) else "",
        state=receipt.STAT.get(found.state, "") if found.state else _matching(_MARK, found.stat),
        error=_matching(_MARK, found.err),
        delivered=found.dlvrd,
    )


def _matching(wanted: re.Pattern[str], text: str) -> str:
    return text if wanted.fullmatch(text) else ""


def same_number(address: str, digits: str) -> bool:
    """Whether they are one number, in whatever form (+44…, 0044…, 44…, national)."""
    mine = "".join(character for character in address if character.isdigit()).lstrip("0")
    theirs = digits.lstrip("0")
    shorter, longer = sorted((mine, theirs), key=len)
    return shorter == longer or (len(shorter) >= 7 and longer.endswith(shorter))
