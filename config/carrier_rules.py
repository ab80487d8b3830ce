"""What must hold between the keys by which a carrier's messages are written: alphabets, national tables,
senders, TLVs. As config.rules, of which it is a part.

Deliberately not here: links, binds and statuses of a carrier (config.rules).
"""

from __future__ import annotations

from config.model import CarrierConfig, SenderRule, TlvRule
from config.problems import Notes, Path
from router.numbers import NumberProblem, known_region, sender_of
from smpp.segment import MESSAGE_PAYLOAD, SAR_MSG_REF_NUM, SAR_SEGMENT_SEQNUM, SAR_TOTAL_SEGMENTS

_OURS = (MESSAGE_PAYLOAD, SAR_MSG_REF_NUM, SAR_SEGMENT_SEQNUM, SAR_TOTAL_SEGMENTS)
_USER_MESSAGE_REFERENCE = 0x0204


def check_writing(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    """Note what does not fit together."""
    _national(carrier, path, notes)
    for index, sender in enumerate(carrier.senders):
        where = (*path, "senders", index)
        _countries(sender.country, where, notes)
        _sender(sender, where, notes)
        earlier = next((n for n, one in enumerate(carrier.senders[:index]) if _takes_all(one)), None)
        if earlier is not None:
            notes.wrong(
                where,
                f"is never reached: the rule in line {notes.line_of((*path, 'senders', earlier))} fits every "
                "message",
                "rules are asked in order: put this one above it",
            )
    for index, tlv in enumerate(carrier.tlvs):
        where = (*path, "tlvs", index)
        _countries(tlv.country, where, notes)
        _tlv(carrier, tlv, where, notes)


def _national(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    shifts = carrier.national_shift != "none"
    if shifts and "gsm7" not in carrier.alphabet:
        notes.wrong(
            (*path, "national_shift"),
            f'national tables are of GSM 7-bit, and the carrier\'s alphabet is "{carrier.alphabet}"',
            'alphabet = "gsm7", or leave national_shift out',
        )
    if carrier.national_languages and not shifts:
        notes.wrong(
            (*path, "national_languages"), "has no effect without national_shift", 'national_shift = "single"'
        )
    if carrier.national_shift == "locking" and carrier.national_languages == ("spanish",):
        notes.wrong(
            (*path, "national_shift"), "Spanish has no locking shift table", 'national_shift = "single"'
        )


def _countries(names: tuple[str, ...], path: Path, notes: Notes) -> None:
    for index, name in enumerate(names):
        if not known_region(name):
            notes.wrong(
                (*path, "country", index), f'"{name}" is no country', "two letters of ISO 3166, as IN"
            )


# senders


def _takes_all(rule: SenderRule) -> bool:
    return not (rule.prefix or rule.country or rule.sender or rule.sender_type)


def _sender(rule: SenderRule, path: Path, notes: Notes) -> None:
    changes = bool(rule.use) or rule.ton is not None or rule.npi is not None
    if rule.refuse and changes:
        notes.wrong((*path, "refuse"), "goes with no use, ton or npi", "keep one of the two")
    elif not rule.refuse and not changes:
        notes.wrong(path, "says nothing to do", 'use = "447700900000", ton, npi, or refuse = true')
    try:
        if rule.use:
            sender_of(rule.use)
    except NumberProblem as problem:
        notes.wrong((*path, "use"), f'"{rule.use}" is no sender: {problem}')


# TLVs

_SOURCES = ("text", "hex", "number", "from_tag", "from_account")


def _tlv(carrier: CarrierConfig, rule: TlvRule, path: Path, notes: Notes) -> None:
    given = [name for name in _SOURCES if getattr(rule, name) not in ("", None)]
    if len(given) > 1 or (not given and not notes.has_wrong(path)):
        said = f"has {' and '.join(given)}" if given else "has no value"
        notes.wrong(path, said, f"give exactly one of {', '.join(_SOURCES)}")
    if rule.octets and rule.number is None:
        notes.wrong((*path, "octets"), "is of a number", "leave it out")
    elif rule.octets and rule.number is not None and rule.number >> 8 * rule.octets:
        notes.wrong((*path, "octets"), f"{rule.number} does not fit into {rule.octets}", "leave it out")
    if rule.terminated and ("hex" in given or "number" in given):
        notes.wrong((*path, "terminated"), "is of a text", "write the 00 into hex, or leave it out")
    if carrier.interface_version == "3.3":
        notes.wrong(path, "is a TLV, which SMPP 3.3 has not", 'interface_version = "3.4", or leave it out')
    if rule.tag in _OURS or (rule.tag == _USER_MESSAGE_REFERENCE and carrier.user_message_reference):
        notes.wrong((*path, "tag"), f"0x{rule.tag:04x} is written by the gateway itself", "leave it out")
