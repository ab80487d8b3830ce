"""The codec beyond the vectors: what is refused, what is tolerated, what survives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp.codec import decode, encode, message_id_resp_bytes, submit_sm_body, submit_sm_bytes, with_header
from smpp.compiler import Layouts, read_carefully
from smpp.constants import RESPONSE_BIT, VERSION_3_3, CommandId, Tlv
from smpp.errors import (
    EncodeError,
    FramingError,
    LengthMismatch,
    MalformedBody,
    ProtocolError,
    UnknownCommand,
)
from smpp.fields import (
    CString,
    DestAddresses,
    DistributionList,
    Field,
    Integer,
    ShortMessage,
    SmeAddress,
    UnsuccessSme,
)
from smpp.pdu import (
    PDUS,
    BindTransceiver,
    BindTransceiverResp,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    Outbind,
    Pdu,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmBody,
    SubmitSmResp,
)
from smpp.status import Status, describe

# --- generated PDUs

octet = st.integers(0, 255)
number = st.integers(0, 2**32 - 1)
tlv_lists = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=5)


def cstrings(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=size - 1).map(lambda value: value.replace(b"\0", b"0"))


sme_addresses = st.builds(SmeAddress, octet, octet, cstrings(21))
destinations = st.lists(sme_addresses | st.builds(DistributionList, cstrings(21)), max_size=4)
refused = st.lists(st.builds(UnsuccessSme, octet, octet, cstrings(21), number), max_size=4)


def values_of(field: Field) -> st.SearchStrategy[Any]:
    match field.kind:
        case Integer(octets):
            return st.integers(0, 256**octets - 1)
        case CString(size):
            return cstrings(size)
        case ShortMessage():
            return st.binary(max_size=255)
        case DestAddresses():
            return destinations
    return refused


def pdus_of(cls: type[Pdu]) -> st.SearchStrategy[Pdu]:
    fields = {field.name: values_of(field) for field in cls.FIELDS}
    return st.builds(cls, **fields, sequence_number=number, command_status=number, tlvs=tlv_lists)


any_pdu = st.sampled_from(sorted(PDUS)).flatmap(lambda command_id: pdus_of(PDUS[command_id]))


def decoded_or_refused(wire: bytes) -> Pdu | ProtocolError:
    try:
        return decode(wire)
    except ProtocolError as error:
        return error


def read_or_refused(cls: type[Pdu], wire: bytes) -> Pdu | ProtocolError:
    try:
        return read_carefully(cls, wire, 0, 0)
    except ProtocolError as error:
        return error


@given(any_pdu)
def test_whatever_is_encoded_decodes_to_an_equal_pdu(pdu: Pdu) -> None:
    assert decode(encode(pdu)) == pdu


@given(any_pdu)
def test_the_fast_and_the_careful_reader_agree(pdu: Pdu) -> None:
    wire = encode(pdu)
    if len(wire) > 16 or not pdu.is_response:
        assert read_carefully(type(pdu), wire, pdu.command_status, pdu.sequence_number) == pdu


def test_the_layouts_that_a_peer_can_bring_about_are_bounded() -> None:
    layouts = Layouts(Outbind.FIELDS)
    for system_id in range(100):
        for password in range(100):
            wire = encode(Outbind())[:16] + b"s" * system_id + b"\0" + b"p" * password + b"\0"
            ends = (16 + system_id, 17 + system_id + password)
            assert layouts[ends](wire) == (b"s" * system_id, b"p" * password)
    assert len(layouts) <= 4_096


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 24), octet)
def test_a_pair_of_tlvs_is_read_like_any_others(one: bytes, two: bytes, at: int, damage: int) -> None:
    pdu = SubmitSm(tlvs=[(0x1E, one), (0x427, two)])
    wire = encode(pdu)
    assert decode(wire) == decode(wire) == pdu  # the second time by what was learned from the first
    at = min(len(wire) - 1, 33 + at)
    bad = wire[:at] + bytes((damage,)) + wire[at + 1 :]
    read, careful = decoded_or_refused(bad), read_or_refused(SubmitSm, bad)
    assert read == careful or str(read) == str(careful)


@given(any_pdu, st.data())
def test_every_cut_of_a_body_is_read_or_refused_as_recoverable(pdu: Pdu, data: st.DataObject) -> None:
    body = encode(pdu)[16:]
    cut = body[: data.draw(st.integers(0, len(body)))]
    read = decoded_or_refused(with_header(pdu.command_id, pdu.command_status, 7, cut))
    if isinstance(read, ProtocolError):
        assert read.recoverable
        assert (read.command_id, read.sequence_number) == (pdu.command_id, 7)
        assert type(read.pdu) is type(pdu)


@given(st.binary(max_size=200))
def test_decoding_anything_raises_only_protocol_errors(data: bytes) -> None:
    decoded_or_refused(data)


@given(any_pdu)
def test_a_version_3_3_peer_gets_no_tlvs(pdu: Pdu) -> None:
    old = decode(encode(pdu, VERSION_3_3))
    assert old.tlvs == ()
    pdu.tlvs = ()
    assert old == pdu


# --- the table itself


def test_every_command_id_has_a_pdu_and_every_request_that_is_answered_a_response() -> None:
    assert set(PDUS) == {int(command) for command in CommandId}
    unanswered = {CommandId.OUTBIND, CommandId.ALERT_NOTIFICATION}
    for command_id in set(PDUS) - unanswered:
        if not command_id & RESPONSE_BIT:
            assert PDUS[command_id | RESPONSE_BIT].command == PDUS[command_id].command + "_resp"


def test_the_positional_body_writer_takes_submit_sms_fields_in_order() -> None:
    typed = list(inspect.signature(SubmitSmBody.__call__).parameters)[1:]
    assert typed == [field.name for field in SubmitSm.FIELDS] + ["tlvs"]
    assert typed == list(inspect.signature(SubmitSm.body).parameters)
    assert SubmitSm.FIELDS == DeliverSm.FIELDS


def test_a_body_written_positionally_is_the_pdus_body() -> None:
    tlvs = [(Tlv.USER_MESSAGE_REFERENCE, b"\0\1")]
    pdu = SubmitSm(b"OTP", 5, 0, b"Box", 1, 1, b"447700900123", 0, 0, 1, b"", b"", 1, short_message=b"hi")
    pdu.tlvs, pdu.sequence_number = tlvs, 9
    body = submit_sm_body(
        b"OTP", 5, 0, b"Box", 1, 1, b"447700900123", 0, 0, 1, b"", b"", 1, short_message=b"hi", tlvs=tlvs
    )
    assert submit_sm_bytes(9, body) == encode(pdu)
    assert with_header(CommandId.SUBMIT_SM, 0, 9, body) == encode(pdu)


def test_ready_made_responses_are_what_the_encoder_writes() -> None:
    for cls in (SubmitSmResp, DeliverSmResp, DataSmResp):
        pdu = cls(b"0123456789", sequence_number=77)
        assert message_id_resp_bytes(cls.command_id, 77, b"0123456789") == encode(pdu)


def test_the_generated_code_can_be_read() -> None:
    assert "destination_addr" in inspect.getsource(SubmitSm.to_wire)


# --- PDUs as values


def test_a_pdu_prints_what_it_says_and_never_a_password() -> None:
    assert repr(BindTransceiver(b"box", b"s3cret", sequence_number=4)) == (
        "BindTransceiver(system_id=b'box', password=***, sequence_number=4)"
    )


def test_pdus_are_equal_by_value_and_only_within_their_class() -> None:
    assert SubmitSmResp(b"a") == SubmitSmResp(b"a", tlvs=[])
    assert SubmitSmResp(b"a") != SubmitSmResp(b"b")
    assert SubmitSmResp(b"a") != DeliverSmResp(b"a")


def test_a_tlv_is_found_by_its_first_occurrence() -> None:
    pdu = DeliverSm(tlvs=[(0x1403, b"1"), (0x1403, b"2")])
    assert pdu.tlv(0x1403) == b"1"
    assert pdu.tlv(Tlv.MESSAGE_STATE) is None


def test_a_misspelt_field_is_an_error_and_not_a_new_attribute() -> None:
    pdu: Any = SubmitSm()
    with pytest.raises(AttributeError):
        pdu.dest_addr = b"1"


# --- refusing to write nonsense

WRONG: list[tuple[str, Callable[[], Pdu]]] = [
    ("source_addr", lambda: SubmitSm(source_addr=b"1" * 21)),
    ("destination_addr", lambda: SubmitSm(destination_addr=b"44\x00700")),
    ("validity_period", lambda: SubmitSm(validity_period=b"0" * 17)),
    ("short_message", lambda: SubmitSm(short_message=b"x" * 256)),
    ("esm_class", lambda: SubmitSm(esm_class=256)),
    ("esm_class", lambda: SubmitSm(esm_class=-1)),
    ("data_coding", lambda: SubmitSm(data_coding=None)),  # type: ignore[arg-type]
    ("source_addr", lambda: SubmitSm(source_addr="Box")),  # type: ignore[arg-type]
    ("short_message", lambda: SubmitSm(short_message="text")),  # type: ignore[arg-type]
    ("sequence_number", lambda: SubmitSm(sequence_number=1 << 32)),
    ("command_status", lambda: SubmitSmResp(b"x", command_status=-1)),
    ("tlvs", lambda: SubmitSm(tlvs=[(0x10000, b"")])),
    ("tlvs", lambda: SubmitSm(tlvs=[(1, b"x" * 65_536)])),
    ("system_id", lambda: BindTransceiver(system_id=b"x" * 16)),
    ("message_id", lambda: SubmitSmResp(b"x" * 65)),
    ("dest_address", lambda: SubmitMulti(dest_address=[SmeAddress(1, 1, b"447")] * 256)),
    ("dest_address", lambda: SubmitMulti(dest_address=[DistributionList(b"x" * 21)])),
    ("dest_address", lambda: SubmitMulti(dest_address=[SmeAddress(1, 300, b"447")])),
    ("unsuccess_sme", lambda: SubmitMultiResp(b"m", [UnsuccessSme(1, 1, b"447", 1 << 32)])),
]


@pytest.mark.parametrize(("field", "make"), WRONG)
def test_a_field_that_does_not_fit_is_named_in_the_error(field: str, make: Callable[[], Pdu]) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(make())
    assert caught.value.field == field


def test_a_nul_cannot_smuggle_fields_through_the_positional_writer() -> None:
    with pytest.raises(EncodeError) as caught:
        submit_sm_body(b"", 5, 0, b"Box\0\1\1", 1, 1, b"447700900123")
    assert caught.value.field == "source_addr"


# --- tolerated and refused bodies


@pytest.mark.parametrize("cls", [c for c in PDUS.values() if c.is_response and c.FIELDS])
def test_fm22_a_response_may_come_without_its_body(cls: type[Pdu]) -> None:
    for status in (0, Status.ESME_RTHROTTLED, 0x42E):
        pdu = decode(with_header(cls.command_id, status, 5, b""))
        assert pdu == cls(command_status=status, sequence_number=5)


def test_fm22_a_refusal_may_come_with_a_body_and_is_written_without_an_empty_one() -> None:
    assert decode(with_header(CommandId.BIND_TRANSCEIVER_RESP, 0xD, 1, b"SMSC\0")) == BindTransceiverResp(
        b"SMSC", command_status=0xD, sequence_number=1
    )
    assert len(encode(BindTransceiverResp(command_status=0xD, sequence_number=1))) == 16
    assert encode(BindTransceiverResp(b"SMSC", command_status=0xD)).endswith(b"SMSC\0")
    assert len(encode(BindTransceiverResp(sequence_number=1))) == 17


def test_fm22_a_message_id_in_deliver_sm_resp_is_read() -> None:
    assert decode(with_header(CommandId.DELIVER_SM_RESP, 0, 5, b"abc\0")) == DeliverSmResp(
        b"abc", sequence_number=5
    )


def test_fm20_an_sm_length_that_lies_is_recoverable_and_keeps_the_fields_before_it() -> None:
    wire = bytearray(encode(SubmitSm(source_addr=b"123", short_message=b"hello", sequence_number=8)))
    wire[-6] = 6
    with pytest.raises(MalformedBody) as caught:
        decode(bytes(wire))
    error = caught.value
    assert (error.recoverable, error.command_status) == (True, Status.ESME_RINVMSGLEN)
    assert error.pdu == SubmitSm(source_addr=b"123", sequence_number=8)
    assert "short_message" in error.detail


def test_fm20_one_stray_nul_is_dropped_and_does_not_come_back() -> None:
    pdu = SubmitSm(short_message=b"hello", sequence_number=8)
    body = encode(pdu)[16:]
    assert encode(decode(with_header(CommandId.SUBMIT_SM, 0, 8, body + b"\0"))) == encode(pdu)


def test_fm21_tlvs_survive_in_order_with_repeats_unknown_and_not_allowed_ones() -> None:
    tlvs = [(0x1403, b"\0\xff"), (0x0427, b"\2"), (0x1403, b""), (0x0000, b"x"), (0xFFFF, b"y" * 9000)]
    for cls in PDUS.values():
        assert decode(encode(cls(tlvs=tlvs))).tlvs == tlvs


@pytest.mark.parametrize("sequence_number", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_fm17_any_32_bit_sequence_number_is_echoed(sequence_number: int) -> None:
    assert decode(encode(EnquireLink(sequence_number=sequence_number))).sequence_number == sequence_number


@pytest.mark.parametrize("status", [0x400, 0x42E, 0x4FF, 0x9, 0xFFFFFFFF])
def test_fm06_unknown_statuses_stay_readable(status: int) -> None:
    assert decode(encode(SubmitSmResp(command_status=status))).command_status == status
    assert describe(status).startswith(f"0x{status:08x} (")


def test_an_unknown_command_is_recoverable_and_says_what_to_answer() -> None:
    with pytest.raises(UnknownCommand) as caught:
        decode(with_header(0x16, 0, 9, b"whatever"))
    error = caught.value
    assert (error.recoverable, error.command_status, error.sequence_number) == (True, 3, 9)


def test_decode_takes_a_part_of_a_buffer() -> None:
    wire = encode(EnquireLink(sequence_number=3))
    assert decode(b"xx" + wire + b"yy", 2, 18) == EnquireLink(sequence_number=3)
    with pytest.raises(LengthMismatch):
        decode(b"xx" + wire + b"yy", 2)
    with pytest.raises(FramingError):
        decode(wire, 2, 10)


def test_statuses_are_described_in_words() -> None:
    assert describe(0x58) == "ESME_RTHROTTLED (Throttling error (ESME has exceeded allowed message limits))"
    assert describe(0x420) == "0x00000420 (vendor specific)"
    assert describe(0x104) == "ESME_RINVDCS (Invalid data coding scheme)"
    assert all("<" not in describe(status) for status in Status)
