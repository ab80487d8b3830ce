"""Public vectors and our own rows: every PDU whole, octet by octet, in random splits and run together."""

from __future__ import annotations

import os
from typing import Any

import pytest

from smpp.alphabet import gsm7_decode
from smpp.codec import decode, encode
from smpp.constants import HEADER_OCTETS, MAX_PDU_OCTETS, EsmClass
from smpp.errors import LengthMismatch, MalformedBody, MalformedTlv, ProtocolError, UnknownCommand
from smpp.fields import DistributionList, SmeAddress, UnsuccessSme
from smpp.pdu import PDUS, DeliverSmResp, Pdu
from smpp.receipt import parse
from smpp.status import Status
from tests.smpp.vector_rows import (
    Row,
    as_vector,
    octets,
    one_by_one,
    own_rows,
    public_rows,
    random_splits,
    read_stream,
    row_id,
)

PUBLIC = public_rows()
ROWS = PUBLIC + own_rows()
VALID = [row for row in ROWS if row["valid"]]
INVALID = [row for row in ROWS if not row["valid"]]

every_row = pytest.mark.parametrize("row", ROWS, ids=row_id)
every_valid_row = pytest.mark.parametrize("row", VALID, ids=row_id)
every_invalid_row = pytest.mark.parametrize("row", INVALID, ids=row_id)


def test_the_public_vectors_are_there() -> None:
    if not PUBLIC and not os.environ.get("CI"):
        pytest.skip("SIGNALBOX_VECTORS is not set")
    assert len(PUBLIC) >= 200


def test_our_own_rows_hold_every_pdu() -> None:
    assert {row["command"] for row in own_rows() if row["valid"]} == {cls.command for cls in PDUS.values()}


# --- valid rows


def holds(row: Row, told: Row, expected: Row) -> None:
    for name, value in expected.items():
        if name == "command_length":
            assert value == len(octets(row))
        elif name == "tlvs":
            for want in value:  # a suite may assert some of the TLVs, in any order
                assert want in [_tlv_told(want, got) for got in told["tlvs"]]
        elif name in told or value not in (None, "", 0):
            # A parameter that this PDU does not have, given as empty, is one suite's way to say "absent".
            assert told[name] == ("" if value is None else value), name


def _tlv_told(want: Row, got: Row) -> Row:
    value = bytes.fromhex(got["value_hex"])
    forms: Row = {**got, "u8": value[-1] if len(value) == 1 else None}
    forms["cstr"] = value.removesuffix(b"\0").decode("latin-1")
    return {key: forms[key] for key in want}


@every_valid_row
def test_a_valid_row_decodes_to_what_an_independent_decoder_read(row: Row) -> None:
    told = as_vector(decode(octets(row)))
    holds(row, told, row["decoded"])
    assert told["tlvs"] == row["decoded"].get("tlvs", [])


DERIVED = {"text", "udh_hex", "concat", "receipt_id", "state", "correlate_id", "_response_hex"}


@every_valid_row
def test_a_valid_row_decodes_to_what_its_suite_asserts(row: Row) -> None:
    fields: Row = row["fields"]
    plain = {name: value for name, value in fields.items() if name not in DERIVED}
    pdu = decode(octets(row))
    told = as_vector(pdu)
    if "message_state" in plain and "message_state" not in told:
        told["message_state"] = int.from_bytes(pdu.tlv(0x0427) or b"", "big")
    if plain.get("sm_length") == 0 and row["direction"] == "decode":
        del plain["sm_length"]  # cloudhopper's name for "no short_message" where there is a payload
    holds(row, told, plain)


@pytest.mark.parametrize("row", [r for r in VALID if DERIVED & r["fields"].keys()], ids=row_id)
def test_a_valid_row_yields_the_texts_and_headers_its_suite_derives(row: Row) -> None:
    fields: Row = row["fields"]
    pdu: Any = decode(octets(row))
    if "_response_hex" in fields:
        assert encode(DeliverSmResp(sequence_number=pdu.sequence_number)).hex() == fields["_response_hex"]
        return
    message: bytes = pdu.short_message or pdu.tlv(0x0424) or b""
    header = bytes.fromhex(fields.get("udh_hex", ""))
    if not header and pdu.esm_class & EsmClass.UDHI:
        header = message[: message[0] + 1]
    assert message.startswith(header)
    if "concat" in fields:
        assert fields["concat"] == {"ref": header[3], "total": header[4], "seq": header[5]}
    if "receipt_id" in fields:
        receipt = parse(message, pdu.data_coding, pdu.tlvs, pdu.esm_class)
        assert receipt is not None
        assert receipt.state == fields["state"]
        if "correlate_id" in fields:  # the hexadecimal form in the response; the row's receipt_id is misspelt
            assert int(receipt.id) == int(fields["correlate_id"], 16)
        else:
            assert receipt.id == fields["receipt_id"]
    if "text" in fields and header[1:2] != b"\x24":  # a national shift table: the alphabet's tests
        assert fields["text"] in readings(message[len(header) :], pdu.data_coding)


def readings(message: bytes, data_coding: int) -> set[str]:
    """The texts these octets may stand for: what 0 means is agreed with each peer."""
    if data_coding == 8:
        return {message.decode("utf-16-be")}
    return {message.decode("latin-1"), gsm7_decode(message)}


@pytest.mark.parametrize("row", [r for r in VALID if r["direction"] != "decode"], ids=row_id)
def test_the_encoder_writes_a_row_octet_for_octet(row: Row) -> None:
    assert encode(from_vector(row["decoded"])) == octets(row)
    assert encode(decode(octets(row))) == octets(row)


@every_valid_row
def test_a_valid_row_survives_a_round_trip(row: Row) -> None:
    pdu = decode(octets(row))
    again = encode(pdu)
    assert decode(again) == pdu
    if len(octets(row)) > HEADER_OCTETS and not (pdu.is_response and pdu.command_status):
        assert again == octets(row)  # only the body of a refusal may come or go


def from_vector(decoded: Row) -> Pdu:
    """A PDU made by hand from the vectors' words, without our decoder."""
    cls = PDUS[decoded["command_id"]]
    given: Row = {"tlvs": [(t["tag"], bytes.fromhex(t["value_hex"])) for t in decoded.get("tlvs", ())]}
    for name in ("sequence_number", "command_status", *(field.name for field in cls.FIELDS)):
        if name == "short_message":
            given[name] = bytes.fromhex(decoded["short_message_hex"])
        elif name == "dest_address":
            given[name] = [_to_destination(item) for item in decoded[name]]
        elif name == "unsuccess_sme":
            given[name] = [UnsuccessSme(**_as_octets(item)) for item in decoded[name]]
        elif name in decoded:
            given[name] = _as_octets(decoded)[name]
    return cls(**given)


def _as_octets(item: Row) -> Row:
    return {k: v.encode("latin-1") if isinstance(v, str) else v for k, v in item.items()}


def _to_destination(item: Row) -> SmeAddress | DistributionList:
    fields = _as_octets({name: value for name, value in item.items() if name != "dest_flag"})
    return DistributionList(**fields) if item["dest_flag"] == 2 else SmeAddress(**fields)


# --- invalid rows


def limit_of(row: Row) -> int:
    """Some suites know no limit, or one of 64 KiB with the header; otherwise ours."""
    if "larger than limit 64 KiB" in row.get("note", ""):
        return 65_536
    return 1 << 32 if "15 bytes: wait for more" in row.get("note", "") else MAX_PDU_OCTETS


def ending(row: Row) -> str:
    """How a stream that starts with this row must go on, by its first octets, its note and its problems."""
    data = octets(row)
    if len(data) < 4:
        return "wait"
    length = int.from_bytes(data[:4], "big")
    if limit_of(row) != MAX_PDU_OCTETS:
        return "close" if length > limit_of(row) else "wait"
    if not HEADER_OCTETS <= length <= MAX_PDU_OCTETS:
        return "close"
    if length > len(data):
        return "wait"
    problems, note = " ".join(row.get("problems", ())), row.get("note", "")
    if length < len(data) and "overruns" not in note and "fixture is wrong" not in note:
        return "more follows"
    if "unknown_command_id" in problems:
        return "unknown"
    if "one NUL after short_message" in note:
        return "tolerated"
    if "this suite swaps" in note:
        return "anything"  # octets filed under the wrong command_id
    if "no_nul" in problems or "truncated" in problems or "stray" in problems or "command_length" in problems:
        return "malformed"
    return "anything"


@every_invalid_row
def test_an_invalid_row_ends_as_its_note_says(row: Row) -> None:
    data = octets(row)
    reading = read_stream([data], limit_of(row))
    match ending(row):
        case "wait":
            assert (reading.results, reading.error, reading.pending) == ([], None, len(data))
        case "close":
            assert reading.results == []
            assert reading.pending == 0
            assert reading.error is not None
            assert not reading.error.recoverable
            assert reading.error.command_status == Status.ESME_RINVCMDLEN
        case "unknown":
            first = reading.results[0]
            assert isinstance(first, UnknownCommand)
            assert first.recoverable
            assert first.command_status == Status.ESME_RINVCMDID
            assert first.sequence_number == int.from_bytes(data[12:16], "big")
        case "more follows":
            length = int.from_bytes(data[:4], "big")
            assert reading.results[0] == decode(data[:length])
            assert reading.told()[1:] == read_stream([data[length:]]).told()
        case "tolerated":
            holds(row, as_vector(decode(data)), row["fields"])
        case "malformed":
            assert_malformed(row, reading.results[0])


def assert_malformed(row: Row, error: object) -> None:
    assert isinstance(error, MalformedBody | MalformedTlv)
    assert error.recoverable
    assert error.sequence_number == int.from_bytes(octets(row)[12:16], "big")
    wanted = row.get("status", [Status.ESME_RINVMSGLEN, Status.ESME_RINVPARLEN, Status.ESME_RINVOPTPARSTREAM])
    assert error.command_status in wanted
    assert error.pdu is not None
    told = as_vector(error.pdu)
    for name, value in row["fields"].items():  # what a tolerant decoder should still deliver
        if name == "sm_length" and isinstance(error, MalformedBody):
            continue
        if name not in DERIVED and name != "command_length":
            assert told[name] == ("" if value is None else value), name


@pytest.mark.parametrize("row", [r for r in INVALID if "must report ESME_" in r.get("note", "")], ids=row_id)
def test_decoding_a_wrong_command_length_reports_the_status_its_note_names(row: Row) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(octets(row))
    assert Status.name_of(caught.value.command_status) in row["note"]


@pytest.mark.parametrize(
    "row", [r for r in INVALID if "command_length" in " ".join(r.get("problems", ()))], ids=row_id
)
def test_decode_refuses_a_buffer_that_is_not_exactly_one_pdu(row: Row) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(octets(row))
    assert isinstance(caught.value, LengthMismatch) or not caught.value.recoverable


# --- every row, however it arrives


@every_row
def test_fm18_a_row_reads_the_same_octet_by_octet(row: Row) -> None:
    data = octets(row) + bytes.fromhex(row.get("trailing_hex", ""))
    assert read_stream(one_by_one(data)).told() == read_stream([data]).told()


@every_row
def test_fm18_a_row_reads_the_same_in_random_splits(row: Row) -> None:
    data = octets(row) + bytes.fromhex(row.get("trailing_hex", ""))
    whole = read_stream([data]).told()
    for seed in range(5):
        assert read_stream(random_splits(data, seed)).told() == whole


@pytest.mark.parametrize("row", [r for r in ROWS if "trailing_hex" in r], ids=row_id)
def test_what_follows_a_row_belongs_to_the_next_pdu(row: Row) -> None:
    trailing = bytes.fromhex(row["trailing_hex"])
    alone, followed = read_stream([octets(row)]), read_stream([octets(row) + trailing])
    after = followed.told()[len(alone.results) :]
    assert after == read_stream([trailing]).told()


@pytest.mark.parametrize("seed", range(10))
def test_fm18_all_rows_that_keep_the_stream_in_step_read_the_same_run_together(seed: int) -> None:
    in_step = [row for row in ROWS if row["valid"] or ending(row) in ("unknown", "malformed", "tolerated")]
    exact = [octets(row) for row in in_step if int(row["hex"][:8], 16) == len(octets(row))]
    assert len(exact) > len(VALID)
    apart = [read_stream([data]).told()[0] for data in exact]
    together = read_stream(random_splits(b"".join(exact), seed))
    assert together.told() == [*apart, "None", 0]
