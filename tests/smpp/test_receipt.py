"""Receipts: every row of the vectors and of ours, TLVs, what is no receipt, and the text we write.

Deliberately not here: which message a receipt belongs to (tests/router/test_correlate).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp import receipt
from smpp.receipt import Receipt
from smpp.smpptime import wall_clock
from tests.smpp.text_vectors import OWN, Row, rows

ABSENT = (None, "ND")
NUMBERS = ("sub", "dlvrd", "sub_raw", "dlvrd_raw")


def read(row: Row, esm_class: int | None = None) -> Receipt | None:
    """The row as a deliver_sm would bring it; flagged as a receipt unless the row says otherwise."""
    tlvs = dict(row.get("tlvs", {}))
    said = row.get("esm_class", tlvs.pop("esm_class", None))
    wire: list[tuple[int, bytes]] = []
    if "receipted_message_id" in tlvs:
        wire.append((0x001E, tlvs["receipted_message_id"].encode() + b"\0"))
    if "message_state" in tlvs:
        wire.append((0x0427, bytes([tlvs["message_state"]])))
    if "network_error_code_hex" in tlvs:
        wire.append((0x0423, bytes.fromhex(tlvs["network_error_code_hex"])))
    wire += [(0x1454, b"\0\0\0\1"), (0x1418, b"0")]
    if said is None:
        said = 0 if row["expected"].get("receipt") is False else 4
    return receipt.parse(row["text"].encode("latin-1"), 0, wire, said if esm_class is None else esm_class)


def differences(row: Row, found: Receipt) -> list[str]:
    wrong = []
    for name, wanted in row["expected"].items():
        if name in ("strict", "note", "receipt", "id_hex"):
            continue
        if name == "missing":
            name, wanted = wanted, None
        if not holds(found, name, wanted):
            wrong.append(f"{name}: {wanted!r} wanted in {found}")
    return wrong


def holds(found: Receipt, name: str, wanted: object) -> bool:
    if name == "correlate_id":
        return True  # tests/router/test_correlate
    if name in NUMBERS:
        number = getattr(found, name.removesuffix("_raw"))
        return bool(number == (-1 if wanted in ABSENT else int(str(wanted))))
    if name.removesuffix("_raw").replace(" ", "_") in ("submit_date", "done_date"):
        raw = getattr(found, name.removesuffix("_raw").replace(" ", "_"))
        if wanted in ABSENT:
            return bool(raw == "")
        return bool(raw == wanted) if str(wanted)[4:5] != "-" else same_clock(raw, str(wanted))
    value = getattr(found, name)
    if wanted in ABSENT:
        return bool(value == "")
    if name == "err" and value.isdigit() and str(wanted).isdigit():
        return int(value) == int(str(wanted))  # one source pads with zeros
    return bool(value == wanted)


def same_clock(raw: str, wanted: str) -> bool:
    """The carrier's clock; the rows carry no zone, or call it Z."""
    return wall_clock(raw) == datetime.fromisoformat(wanted.removesuffix("Z"))


def test_every_receipt_of_the_vectors_is_read_as_expected(vectors: Path) -> None:
    wrong = []
    for row in rows(vectors / "dlr_samples.jsonl"):
        row.setdefault("expected", {})
        found = read(row)
        if row["expected"].get("receipt") is False:
            wrong += [f"taken for a receipt: {row}"] if found is not None else []
        elif found is None:
            wrong.append(f"not taken for a receipt: {row}")
        else:
            wrong += differences(row, found)
    assert wrong == []


def test_a_usual_receipt_of_the_vectors_needs_no_flag(vectors: Path) -> None:
    for row in rows(vectors / "dlr_samples.jsonl"):
        text = row["text"]
        if text.startswith("id:") and " stat:" in text and " done date:" in text and " err:" in text:
            found = read({**row, "expected": {}, "tlvs": {}}, esm_class=0)
            assert found is not None, text
            assert not found.flagged


@pytest.mark.parametrize("row", rows(OWN / "dlr_own.jsonl"), ids=lambda row: str(row["name"]))
def test_our_own_rows_are_read_as_expected(row: Row) -> None:
    found = read(row)
    if row["expected"].get("receipt") is False:
        assert found is None
    else:
        assert found is not None
        assert differences(row, found) == []


USUAL = b"id:77 sub:001 dlvrd:001 submit date:2401021304 done date:2401021305 stat:DELIVRD err:000 text:Hi"


def parsed(
    short_message: bytes = b"",
    tlvs: list[tuple[int, bytes]] | None = None,
    esm_class: int = 4,
    data_coding: int = 0,
) -> Receipt:
    found = receipt.parse(short_message, data_coding, tlvs or [], esm_class)
    assert found is not None
    return found


@pytest.mark.parametrize("value", [b"7F3A9B\0", b"7F3A9B", b"7F3A9B\0\0", b" 7F3A9B \0"])
def test_a_receipt_may_be_tlvs_alone_with_or_without_nul(value: bytes) -> None:
    found = parsed(b"", [(0x001E, value), (0x0427, b"\x05"), (0x0423, b"\x03\x00\x15")], esm_class=0)
    assert (found.id, found.state, found.stat) == ("7F3A9B", receipt.UNDELIVERABLE, "UNDELIV")
    assert (found.error, found.intermediate, found.flagged) == ("3:21", False, True)


def test_fm23_a_receipt_may_come_in_message_payload() -> None:
    found = parsed(b"", [(0x0424, USUAL)])
    assert (found.id, found.stat, found.text) == ("77", "DELIVRD", "Hi")


def test_fm23_a_receipt_may_come_in_data_sm_without_any_text() -> None:
    found = parsed(b"", [(0x0427, b"\x02"), (0x001E, b"1\0")], esm_class=0x04)
    assert (found.ids, found.state) == (("1",), receipt.DELIVERED)


def test_fm16_an_id_in_text_and_another_in_the_tlv_are_both_looked_up_the_tlvs_first() -> None:
    found = parsed(USUAL, [(0x001E, b"4d\0"), (0x0427, b"\x02")])
    assert (found.id, found.receipted_id, found.ids) == ("77", "4d", ("4d", "77"))


def test_a_receipt_without_any_id_is_still_a_receipt() -> None:
    assert parsed(USUAL[6:]).ids == ()
    assert parsed(b"").ids == ()


def test_fm13_the_tlvs_state_wins_over_the_texts_word() -> None:
    found = parsed(USUAL, [(0x0427, b"\x06")])
    assert (found.state, found.stat) == (receipt.ACCEPTED, "ACCEPTD")
    found = parsed(USUAL, [(0x0427, b"\x00")])  # illegal in 3.4
    assert (found.state, found.stat) == (receipt.DELIVERED, "DELIVRD")
    found = parsed(USUAL, [(0x0427, b"\x63")])
    assert (found.state, found.stat) == (receipt.DELIVERED, "DELIVRD")


def test_an_intermediate_notification_is_never_final_by_a_vague_word() -> None:
    accepted = USUAL.replace(b"DELIVRD", b"ACCEPTD")
    assert parsed(accepted, esm_class=0x04).intermediate is False
    assert parsed(accepted, esm_class=0x20).intermediate is True
    assert parsed(USUAL, esm_class=0x20).intermediate is False
    assert parsed(USUAL.replace(b"DELIVRD", b"ENROUTE")).intermediate is True


def test_the_reference_we_gave_comes_back() -> None:
    assert parsed(USUAL, [(0x0204, b"\x01\x02")]).user_message_reference == 0x0102
    assert parsed(USUAL).user_message_reference == -1


def test_a_receipt_in_utf16_is_read() -> None:
    text = USUAL.decode()
    assert parsed(text.encode("utf-16-be"), data_coding=8).id == "77"
    assert parsed(text.encode("utf-16-le"), data_coding=8).id == "77"
    assert parsed(USUAL, data_coding=8).id == "77"  # the original's data_coding, copied


def test_of_two_ids_the_one_in_lower_case_wins_unless_the_last_is_preferred() -> None:
    text = b"ID:1-2 id:3 stat:DELIVRD err:000 Id:4"
    found = receipt.parse(text)
    assert found is not None
    assert found.id == "3"
    found = receipt.parse(text, prefer_last_id=True)
    assert found is not None
    assert found.id == "4"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello",
        "my id: 44",
        "id:44 stat:DELIVRD",
        "stat:DELIVRD err:000 done date:2401010000 text:",
        "STOP",
    ],
)
def test_an_unflagged_ordinary_text_is_no_receipt(text: str) -> None:
    assert receipt.parse(text.encode(), 0, (), 0) is None
    assert receipt.parse(text.encode(), 0, (), 0x40) is None
    assert receipt.parse(text.encode(), 0, [(0x0204, b"\0\1")], 0) is None


@given(st.binary(max_size=260), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=8))
def test_no_octets_of_a_peer_are_beyond_parsing(
    octets: bytes, data_coding: int, esm_class: int, value: bytes
) -> None:
    tlvs = [(tag, value) for tag in (0x001E, 0x0427, 0x0423, 0x0424, 0x0204)]
    for given_tlvs in ([], tlvs):
        found = receipt.parse(octets, data_coding, given_tlvs, esm_class)
        if found is not None:
            found.done_ms()
            found.submitted_ms(UTC, 1_700_000_000_000)
            assert 0 <= found.state <= 9


KEYS = [
    "id:7",
    "sub:001",
    "dlvrd:1",
    "submit date:2401021304",
    "done date:240102130501",
    "stat:DELIVRD",
    "err:0",
]


@given(st.permutations(KEYS), st.sampled_from([" ", "  ", "\r\n", "\t"]), st.booleans())
def test_the_order_case_and_spacing_of_the_keys_do_not_matter(
    keys: list[str], space: str, capital: bool
) -> None:
    text = space.join(key.replace("date", "Date").title() if capital else key for key in keys)
    found = parsed(text.encode() + b" text:id:9 stat:EXPIRED")
    assert (found.id, found.sub, found.dlvrd, found.stat, found.err) == ("7", 1, 1, "DELIVRD", "0")
    assert (found.submit_date, found.done_date) == ("2401021304", "240102130501")


AT = 1_704_200_640_000  # 2024-01-02 13:04 UTC


def test_we_write_receipts_as_appendix_b_says() -> None:
    written = receipt.format(
        "123456789", receipt.DELIVERED, submit_ms=AT, done_ms=AT + 60_000, text="Grüße, Welt"
    )
    assert written == (
        b"id:123456789 sub:001 dlvrd:001 submit date:2401021304 done date:2401021305"
        b" stat:DELIVRD err:000 text:Gr??e, Welt"
    )


def test_a_state_of_smpp_5_is_written_as_a_3_4_peer_knows_it() -> None:
    written = receipt.format("1", receipt.SKIPPED, submit_ms=AT, done_ms=0, err="00B")
    assert b"dlvrd:000" in written
    assert b"done date:0000000000 stat:REJECTD err:00B" in written
    assert receipt.tlvs("1", receipt.SKIPPED) == ((0x001E, b"1\0"), (0x0427, b"\x08"))
    assert receipt.tlvs("1", receipt.SCHEDULED, (3, 21))[1:] == ((0x0427, b"\x01"), (0x0423, b"\x03\x00\x15"))


@given(
    st.from_regex(r"[0-9a-zA-Z\-]{1,64}", fullmatch=True),
    st.integers(1, 9),
    st.text(max_size=200),
    st.integers(AT, AT + 10**11),
)
def test_what_we_write_we_read(id: str, state: int, text: str, at_ms: int) -> None:
    written = receipt.format(id, state, submit_ms=at_ms, done_ms=at_ms, text=text)
    assert len(written) <= 254
    found = parsed(written, list(receipt.tlvs(id, state)))
    assert (found.id, found.ids, found.sub, found.err) == (id, (id,), 1, "000")
    assert found.state == (receipt.REJECTED if state == receipt.SKIPPED else state)
    assert found.done_ms() == at_ms // 60_000 * 60_000


def test_fm33_receipt_dates_are_in_the_carriers_zone() -> None:
    found = parsed(USUAL)
    assert found.done_ms() == AT + 60_000
    assert found.done_ms(timezone(timedelta(hours=2))) == AT + 60_000 - 7_200_000


def test_fm33_a_done_date_before_the_submit_date_is_kept() -> None:
    found = parsed(USUAL.replace(b"done date:2401021305", b"done date:2401020905"))
    assert found.done_ms() < found.submitted_ms()
