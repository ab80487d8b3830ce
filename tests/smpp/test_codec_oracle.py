"""smpplib as an independent reader and writer of the same octets, where it can be trusted.

Its traps are stepped around: it burns sequence numbers while parsing (each side has its own counter), knows
no vendor TLVs, loses the last octet of a C-string TLV without NUL, and dies on a TLV that it does not list
for the PDU; so only TLVs that it lists are offered, with their NUL.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
import smpplib.consts
import smpplib.smpp
from hypothesis import given, settings
from hypothesis import strategies as st

from smpp.codec import decode, encode
from smpp.constants import Tlv
from smpp.pdu import (
    BindTransceiver,
    DataSm,
    DeliverSm,
    EnquireLink,
    GenericNack,
    Pdu,
    QuerySm,
    SubmitSm,
    SubmitSmResp,
    Unbind,
)
from smpp.status import Status


class Counter:
    """What smpplib wants of a client."""

    sequence = 0

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence


def smpplib_reads(wire: bytes) -> Any:
    return smpplib.smpp.parse_pdu(wire, client=Counter(), allow_unknown_opt_params=True)


def smpplib_writes(command: str, sequence_number: int, **fields: Any) -> bytes:
    pdu = smpplib.smpp.make_pdu(command, client=Counter(), **fields)
    pdu.sequence = sequence_number
    written: bytes = pdu.generate()
    return written


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
octet = st.integers(0, 255)
sequence_numbers = st.integers(1, 0x7FFFFFFF)
messages = {
    "service_type": words.map(lambda text: text[:5]),
    "source_addr_ton": octet,
    "source_addr_npi": octet,
    "source_addr": words,
    "dest_addr_ton": octet,
    "dest_addr_npi": octet,
    "destination_addr": words,
    "esm_class": octet,
    "registered_delivery": octet,
    "data_coding": octet,
}
short_messages = messages | {
    "protocol_id": octet,
    "priority_flag": octet,
    "replace_if_present_flag": octet,
    "sm_default_msg_id": octet,
    "short_message": st.binary(min_size=1, max_size=254),
}
few = settings(max_examples=30)


def ours(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v.encode() if isinstance(v, str) else v for k, v in fields.items()}


def as_octets(value: object) -> object:
    """smpplib gives None for an empty string."""
    return b"" if value is None else value


@few
@given(sequence_numbers, st.fixed_dictionaries(short_messages), st.sampled_from([SubmitSm, DeliverSm]))
def test_smpplib_reads_what_we_write(
    sequence_number: int, fields: dict[str, Any], cls: type[SubmitSm] | type[DeliverSm]
) -> None:
    read = smpplib_reads(encode(cls(**ours(fields), sequence_number=sequence_number)))
    assert (read.command, read.sequence) == (cls.command, sequence_number)
    for name, value in ours(fields).items():
        assert as_octets(getattr(read, name)) == value, name


@few
@given(sequence_numbers, st.fixed_dictionaries(short_messages), st.sampled_from([SubmitSm, DeliverSm]))
def test_we_read_what_smpplib_writes(
    sequence_number: int, fields: dict[str, Any], cls: type[SubmitSm] | type[DeliverSm]
) -> None:
    wire = smpplib_writes(cls.command, sequence_number, **fields)
    pdu = cls(**ours(fields), sequence_number=sequence_number)
    assert decode(wire) == pdu
    assert encode(pdu) == wire


@few
@given(sequence_numbers, st.fixed_dictionaries(messages))
def test_smpplib_and_we_agree_on_data_sm(sequence_number: int, fields: dict[str, Any]) -> None:
    pdu = DataSm(**ours(fields), sequence_number=sequence_number)
    assert decode(smpplib_writes("data_sm", sequence_number, **fields)) == pdu


@pytest.mark.parametrize(
    "pdu",
    [
        BindTransceiver(b"box", b"secret", b"VMS", 0x34, 1, 2, b"^44", sequence_number=3),
        QuerySm(b"m1", 1, 1, b"447700900123", sequence_number=4),
        SubmitSmResp(b"m1", sequence_number=5),
        SubmitSmResp(command_status=0x58, sequence_number=6),
        EnquireLink(sequence_number=7),
        Unbind(sequence_number=8),
        GenericNack(command_status=3, sequence_number=9),
    ],
)
def test_smpplib_reads_our_other_pdus(pdu: Pdu) -> None:
    read = smpplib_reads(encode(pdu))
    assert (read.command, read.status) == (pdu.command, pdu.command_status)
    assert struct.unpack("!4L", encode(pdu)[:16])[3] == pdu.sequence_number
    for field in pdu.FIELDS:
        if getattr(pdu, field.name):
            assert getattr(read, field.name) == getattr(pdu, field.name), field.name


def test_smpplib_and_we_agree_on_the_tlvs_of_a_receipt() -> None:
    pdu = DeliverSm(
        short_message=b"x",
        sequence_number=1,
        tlvs=[
            (Tlv.RECEIPTED_MESSAGE_ID, b"ABC123\0"),
            (Tlv.MESSAGE_STATE, b"\2"),
            (Tlv.USER_MESSAGE_REFERENCE, b"\1\2"),
        ],
    )
    read = smpplib_reads(encode(pdu))
    assert (read.receipted_message_id, read.message_state, read.user_message_reference) == (
        b"ABC123",
        2,
        258,
    )


def test_our_numbers_are_smpplibs() -> None:
    names = {name for name in dir(smpplib.consts) if name.startswith("SMPP_ESME_")}
    assert len(names) > 40
    for name in names:
        assert Status[name.removeprefix("SMPP_")] == getattr(smpplib.consts, name)
    tags = {name.upper(): tag for name, tag in smpplib.consts.OPTIONAL_PARAMS.items()}
    assert {name: tag for name, tag in tags.items() if name in Tlv.__members__ and Tlv[name] != tag} == {}
    assert len(tags.keys() & Tlv.__members__.keys()) > 40
