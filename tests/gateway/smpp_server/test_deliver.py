"""Receipts to bound customers: dates, layouts, error codes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smpp_server.deliver import bodies, error_code, receipts, short
from router.nouns import Account, Event, EventKind, MessageState, Reason, Relay
from smpp import codec, receipt
from smpp.constants import CommandId, Tlv
from smpp.pdu import DeliverSm
from store.interface import OutboxRow, ReceiptRow

SUBMITTED_MS = 1_760_000_030_000  # 2025-10-09T08:53:50Z
TOLD_MS = SUBMITTED_MS + 600_000
FAILED = MessageState.UNDELIVERABLE


def event(state: int = FAILED, **fields: Any) -> Event:
    chosen: dict[str, Any] = {"reason": Reason.RECEIPT, "accepted_ms": SUBMITTED_MS, **fields}
    return Event(EventKind.RECEIPT, 1, 7, TOLD_MS, "ACME", "447700900123", state, **chosen)


def told(event: Event, version: int = 0x34, **account: Any) -> DeliverSm:
    """The deliver_sm that an account with these settings gets."""
    (body,) = bodies(event, Account(1, "acme", **account), version)
    head = (16 + len(body)).to_bytes(4, "big") + int(CommandId.DELIVER_SM).to_bytes(4, "big") + bytes(8)
    pdu = codec.decode(head + body)
    assert isinstance(pdu, DeliverSm)
    return pdu


@pytest.mark.parametrize(
    ("done_ms", "shown"),
    [
        (0, b"done date:251009090350"),  # the carrier said nothing to believe: when it told us
        (SUBMITTED_MS + 370_000, b"done date:251009090000"),
        (SUBMITTED_MS - 50_000, b"done date:251009085350"),  # its dates have whole minutes
    ],
)
def test_a_receipt_says_when_the_carrier_was_done_and_never_before_the_submit(
    done_ms: int, shown: bytes
) -> None:
    text = told(event(MessageState.DELIVERED, done_ms=done_ms), receipt_layout="seconds").short_message
    assert shown in text
    assert b"submit date:251009085350" in text


# layouts


def test_the_standard_layout_is_that_of_the_specification() -> None:
    text = told(event(MessageState.DELIVERED, text="Hello there")).short_message
    assert text == (
        b"id:7 sub:001 dlvrd:001 submit date:2510090853 done date:2510090903 stat:DELIVRD err:000 "
        b"text:Hello there"
    )


def test_the_layout_with_seconds_differs_in_its_dates_only() -> None:
    text = told(event(MessageState.DELIVERED, text="Hello there"), receipt_layout="seconds").short_message
    assert text == (
        b"id:7 sub:001 dlvrd:001 submit date:251009085350 done date:251009090350 stat:DELIVRD err:000 "
        b"text:Hello there"
    )


@pytest.mark.parametrize("layout", ["standard", "seconds"])
def test_a_text_that_looks_like_a_date_does_not_change_a_layout(layout: str) -> None:
    pdu = told(event(MessageState.DELIVERED, text="done date:x err:9"), receipt_layout=layout)
    read = receipt.parse(pdu.short_message)
    assert read is not None
    assert (read.id, read.stat, read.err) == ("7", "DELIVRD", "000")
    assert read.text == "done date:x err:9"


# error codes


@pytest.mark.parametrize(
    ("error", "dec3", "hex"),
    [
        ("012", "012", "00C"),
        ("6", "006", "006"),
        ("1190", "1190", "4A6"),
        ("3:21", "021", "015"),  # network_error_code alone
        ("ESME_RINVDSTADR", "011", "00B"),  # refused at once
        ("0x0000042e", "1070", "42E"),
        ("4A6", "4A6", "4A6"),  # who knows whether a carrier means hexadecimal
        ("E_NETWORK", "E_NETWORK", "E_NETWORK"),
        ("no response in time", "000", "000"),  # no code of anybody's
        ("", "000", "000"),
    ],
)
def test_a_carriers_code_is_told_in_the_form_that_the_account_chose(error: str, dec3: str, hex: str) -> None:
    one = event(error=error)
    for form, code in (("dec3", dec3), ("hex", hex)):
        account = Account(1, "acme", receipt_error_form=form)
        assert error_code(one, account) == code
        assert f" err:{code} text:".encode() in told(one, receipt_error_form=form).short_message


def test_an_account_gets_the_codes_that_it_expects_for_our_causes() -> None:
    codes = {"absent_subscriber": "027", "spam": "4A6"}
    absent = event(error="001", cause="absent_subscriber")
    assert b" err:027 " in told(absent, error_codes=codes).short_message
    assert b" err:4A6 " in told(event(error="9", cause="spam"), error_codes=codes).short_message
    assert b" err:013 " in told(event(error="13", cause="barred"), error_codes=codes).short_message
    assert b" err:001 " in told(absent).short_message


def test_our_own_endings_have_codes_of_their_own_and_can_be_mapped_too() -> None:
    ended = {
        Reason.EXPIRED_IN_QUEUE: ("expired", "255"),
        Reason.NO_RECEIPT: ("no_receipt", "254"),
        Reason.CANCELLED: ("cancelled", "253"),
    }
    for reason, (cause, code) in ended.items():
        one = event(MessageState.EXPIRED, reason=reason, cause=cause)
        assert error_code(one, Account(1, "acme")) == code
        assert error_code(one, Account(1, "acme", error_codes={cause: "77"})) == "77"
        assert error_code(one, Account(1, "acme", error_codes={reason.name.lower(): "78"})) == "78"


def test_a_delivered_message_has_no_error_whatever_its_carrier_wrote() -> None:
    pdu = told(event(MessageState.DELIVERED, error="600"), error_codes={"": "1", "receipt": "2"})
    assert b" err:000 " in pdu.short_message
    assert pdu.tlv(Tlv.NETWORK_ERROR_CODE) is None


@pytest.mark.parametrize(
    ("error", "version", "value"),
    [
        ("012", 0x34, b"\x03\x00\x0c"),
        ("1:300", 0x34, b"\x01\x01\x2c"),
        ("ESME_RINVDSTADR", 0x50, b"\x07\x00\x0b"),
        ("ESME_RINVDSTADR", 0x34, None),  # 3.4 has no type for it
        ("4A6", 0x34, None),
        ("000", 0x34, None),
        ("99999999", 0x34, None),
        ("012", 0x33, None),
    ],
)
def test_network_error_code_carries_the_code_where_it_is_a_number(
    error: str, version: int, value: bytes | None
) -> None:
    assert told(event(error=error), version).tlv(Tlv.NETWORK_ERROR_CODE) == value


def test_network_error_code_never_contradicts_the_code_an_account_expects() -> None:
    one = event(error="3:1", cause="absent_subscriber")
    mapped = told(one, error_codes={"absent_subscriber": "27"})
    assert mapped.tlv(Tlv.NETWORK_ERROR_CODE) == b"\x03\x00\x1b"
    words = told(one, error_codes={"absent_subscriber": "4A6"})
    assert words.tlv(Tlv.NETWORK_ERROR_CODE) is None


def test_an_intermediate_notification_tells_its_code() -> None:
    pdu = told(event(MessageState.ENROUTE, error="027", cause="absent_subscriber", final=False))
    assert (pdu.esm_class, b" err:027 " in pdu.short_message) == (0x20, True)


# receipts written together

TEXTS = st.one_of(
    st.text(max_size=20), st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
)
EVENTS = st.builds(
    Event,
    st.sampled_from([EventKind.RECEIPT, EventKind.RECEIPT, EventKind.RECEIPT, EventKind.MO]),
    st.just(1),
    st.integers(1, 2**63 - 1),
    st.integers(TOLD_MS, TOLD_MS + 120_000),
    st.sampled_from(["ACME", "447700900000", "é", "x" * 30]),
    st.one_of(st.from_regex(r"[1-9][0-9]{6,24}", fullmatch=True), st.just("ü7"), st.just("Ω8")),
    st.sampled_from([2, 2, 2, 3, 5, 7, 8, 9]),
    st.sampled_from([Reason.RECEIPT, Reason.EXPIRED_IN_QUEUE]),
    st.sampled_from(["", "000", "034", "3:21", "ESME_RINVDSTADR", "4A6"]),
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from(["", "order 7"]),
    st.sampled_from([(), ("spring",)]),
    text=TEXTS,
    final=st.sampled_from([True, True, True, False]),
    attempts=st.sampled_from([0, 0, 0, 1]),
    part=st.sampled_from([0, 0, 0, 1]),
    accepted_ms=st.integers(SUBMITTED_MS, SUBMITTED_MS + 90_000),
    source_type=st.sampled_from([0x11, 0x50, 0xFF]),
    destination_type=st.sampled_from([0x11, 0x01]),
    alias=st.sampled_from([0, 0xABCDEF]),
    relay=st.sampled_from([None, None, None, Relay(tlvs=((0x0204, b"\0\1"),))]),
    shown=st.sampled_from([0, 0, 0, 5]),
    cause=st.sampled_from(["", "absent_subscriber"]),
    done_ms=st.sampled_from([0, 1, SUBMITTED_MS + 30_000, SUBMITTED_MS + 120_000]),
    since_ms=st.sampled_from([0, 0, 0, TOLD_MS]),
)
ACCOUNTS = st.builds(
    Account,
    st.just(1),
    st.just("acme"),
    id_form=st.sampled_from(["decimal", "hex", "short"]),
    receipt_tlvs=st.booleans(),
    receipt_layout=st.sampled_from(["standard", "standard", "seconds"]),
    receipt_error_form=st.sampled_from(["dec3", "hex"]),
    error_codes=st.sampled_from([{}, {"absent_subscriber": "027"}]),
    deliver_with=st.sampled_from(["deliver_sm", "deliver_sm", "data_sm"]),
)


@given(st.lists(EVENTS, max_size=8), st.booleans(), ACCOUNTS, st.sampled_from([0x33, 0x34, 0x50]))
def test_receipts_say_together_what_they_say_one_by_one(
    events: list[Event], alike: bool, account: Account, version: int
) -> None:
    read = [OutboxRow(5, number, one) for number, one in enumerate(events)]
    rows = [one for one in map(short, read) if isinstance(one, ReceiptRow)]
    if alike:
        for row in rows:
            row.like = rows[0].like
    assert receipts(rows, account, version) == [
        body for row in rows for body in bodies(row.whole().event, account, version)
    ]


@given(EVENTS)
def test_a_row_that_was_read_says_the_same_in_its_short_form(one: Event) -> None:
    row = OutboxRow(5, 9, one)
    shortened = short(row)
    assert (shortened.endpoint, shortened.seq, shortened.message_id) == (5, 9, one.message_id)
    assert shortened.whole() == row


def test_the_final_receipt_of_one_part_is_read_in_its_short_form() -> None:
    assert isinstance(short(OutboxRow(5, 9, event(text="Hello"))), ReceiptRow)
