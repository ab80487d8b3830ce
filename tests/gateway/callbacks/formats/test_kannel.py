"""Kannel's URL templates, escape by escape, and which receipts its mask asks for."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.callbacks.choice import kannel
from gateway.callbacks.formats import Terms
from gateway.callbacks.formats.kannel import render
from gateway.ids import uuid_of
from router.nouns import CallbackChoice, CallbackFormat, MessageState, Reason, ReceiptWish, Relay
from tests.gateway.callbacks.outside import EPOCH_MS, event

ID = 1_845_493_760_000_000_077
GIVEN = (
    ("service", "alice"), ("smsc", "north"), ("account", "dept 7"), ("binfo", "b&c"),
    ("meta-data", "?smpp?k=v"), ("to", "+447700900123"), ("from", "00447700900001"),
    ("mclass", "1"), ("mwi", "2"), ("validity", "60"), ("deferred", "5"),
)  # fmt: skip


def filled(
    template: str, mask: int = 31, given: tuple[tuple[str, str], ...] = GIVEN, **more: Any
) -> str | None:
    choice = CallbackChoice(CallbackFormat.KANNEL, mask, given=given)
    fields: dict[str, Any] = {"error": "000", "reason": Reason.RECEIPT, "accepted_ms": EPOCH_MS - 60_000,
                              "carrier_message_id": "4A/6", "text": "Hi"}  # fmt: skip
    made = render([event(ID, **(fields | more))], Terms(template, EPOCH_MS, 1, "acme", choice))
    if made is None:
        return None
    assert (made.method, made.headers, made.body) == ("GET", (), b"")
    return made.url


RECEIPT = (
    "id%3A4A%2F6+sub%3A001+dlvrd%3A001+submit+date%3A2510090852+done+date%3A2510090853"
    "+stat%3ADELIVRD+err%3A000+text%3AHi"
)


@pytest.mark.parametrize(
    ("escape", "value"),
    [
        ("%d", "1"),
        ("%p", "00447700900001"),
        ("%P", "%2B447700900123"),
        ("%q", "%2B447700900001"),
        ("%Q", "%2B447700900123"),
        ("%t", "2025-10-09+08:53:20"),
        ("%T", "1760000000"),
        ("%i", "north"),
        ("%I", uuid_of(ID)),
        ("%F", "4A%2F6"),
        ("%A", RECEIPT),
        ("%a", RECEIPT),
        ("%b", RECEIPT),
        ("%k", "id%3A4A%2F6"),
        ("%n", "alice"),
        ("%o", "dept+7"),
        ("%B", "b%26c"),
        ("%D", "%3Fsmpp%3Fk%3Dv"),
        ("%m", "1"),
        ("%M", "2"),
        ("%v", "60"),
        ("%V", "5"),
        ("%c", "0"),
        ("%C", "UTF-8"),
        ("%O", "00"),
        ("%u", ""),
        ("%R", "http%3A%2F%2Fc.example%2Fd%3Fx%3D%25R"),
        ("%%", "%"),
        ("%z", "%z"),
        ("%", "%"),
    ],
)
def test_each_escape_of_a_receipt(escape: str, value: str) -> None:
    assert filled(f"http://c.example/d?x={escape}") == f"http://c.example/d?x={value}"


@pytest.mark.parametrize(
    ("escape", "value"),
    [
        ("%d", "-1"),
        ("%p", "447700900001"),
        ("%P", "447700900123"),
        ("%k", "WIN"),
        ("%a", "WIN+a*b+%C3%A9%26x"),
        ("%b", "WIN++a*b+%C3%A9%26x".replace("*", "%2A")),
        ("%A", "WIN++a*b+%C3%A9%26x".replace("*", "%2A")),
        ("%r", "a%2Ab+%C3%A9%26x"),
        ("%s", "a%2Ab"),
        ("%s/%s/%s", "a%2Ab/%C3%A9%26x/"),
        ("%S", "a~b"),
        ("%s/%r", "a%2Ab/%C3%A9%26x"),
        ("%e", "57494e2020612a6220c3a92678"),
        ("%c/%C/%O", "0/UTF-8/00"),
        ("%i%o%B%D%R%v%V%u%F", ""),
        ("%m/%M", "-1/-1"),
        ("%n", "acme"),
    ],
)
def test_each_escape_of_an_inbound_message(escape: str, value: str) -> None:
    made = render(
        [event(ID, kind=1, text="WIN  a*b é&x")], Terms(f"http://c.example/?{escape}", EPOCH_MS, 1, "acme")
    )
    assert made is not None
    assert made.url == f"http://c.example/?{value}".replace("a*b", "a%2Ab")


@pytest.mark.parametrize(
    ("more", "template", "value"),
    [
        ({"text": "é ✓", "encoding": 2}, "%c/%C/%O/%b", "2/UTF-16BE/08/%00%E9%00+%27%13"),
        ({"text": "é ✓", "encoding": 2}, "%k/%r/%a", "%00%E9/%27%13/%00%E9%00+%27%13"),
        ({"data": b"\x00 \xff", "encoding": 3}, "%c/%C/%O/%b/%e", "1/8-BIT/04/%00+%FF/0020ff"),
        ({"data": b"x", "encoding": 3, "relay": Relay(udh=b"\x05\x04\x0b\x84\x0b\x84")}, "%u",
         "%06%05%04%0B%84%0B%84"),
    ],
)  # fmt: skip
def test_bytes_are_percent_encoded_as_they_are(more: dict[str, Any], template: str, value: str) -> None:
    made = render([event(ID, kind=1, **more)], Terms(f"http://c.example/?{template}", EPOCH_MS))
    assert made is not None
    assert made.url == f"http://c.example/?{value}"


FINAL: dict[str, Any] = {"final": True}
REFUSED = FINAL | {
    "state": MessageState.REJECTED,
    "reason": Reason.REFUSED_BY_CARRIER,
    "error": "ESME_RINVDSTADR",
}


@pytest.mark.parametrize(
    ("mask", "more", "told"),
    [
        (1, FINAL | {"state": MessageState.DELIVERED}, "1"),
        (2, FINAL | {"state": MessageState.DELIVERED}, None),
        (3, FINAL | {"state": MessageState.UNDELIVERABLE}, "2"),
        (1, FINAL | {"state": MessageState.UNDELIVERABLE}, None),
        (19, FINAL | {"state": MessageState.EXPIRED}, "2"),
        (4, {"final": False, "state": MessageState.ENROUTE}, "4"),
        (4, {"final": False, "state": MessageState.ACCEPTED}, "4"),
        (3, {"final": False, "state": MessageState.ENROUTE}, None),
        (8, {"final": False, "kind": 2, "state": MessageState.ENROUTE}, "8"),
        (7, {"final": False, "kind": 2, "state": MessageState.ENROUTE}, None),
        (16, REFUSED, "16"),
        (31, REFUSED, "16"),
        (3, REFUSED, "2"),
        (9, REFUSED, None),
        (16, FINAL | {"state": MessageState.EXPIRED, "reason": Reason.EXPIRED_IN_QUEUE}, "16"),
        (31, {"kind": 3, "error": "balance.low"}, None),
    ],
)
def test_the_mask_says_which_receipts_are_told(mask: int, more: dict[str, Any], told: str | None) -> None:
    url = filled("http://c.example/%d", mask, **more)
    assert url == (None if told is None else f"http://c.example/{told}")


@pytest.mark.parametrize(
    ("more", "reply"),
    [
        ({"kind": 2, "final": False}, "ACK%2F"),
        (REFUSED, "NACK%2F0x0000000b%2FInvalid+Destination+Address"),
        (FINAL | {"state": MessageState.EXPIRED, "reason": Reason.EXPIRED_IN_QUEUE, "error": ""},
         "NACK%2FEXPIRED_IN_QUEUE"),
    ],
)  # fmt: skip
def test_what_the_carrier_said_of_a_submit(more: dict[str, Any], reply: str) -> None:
    assert filled("http://c.example/%A", **more) == f"http://c.example/{reply}"


@pytest.mark.parametrize(
    ("mask", "wish", "tells_sent"),
    [
        (1, ReceiptWish.SUCCESS, False),
        (2, ReceiptWish.FAILURE, False),
        (16, ReceiptWish.FAILURE, False),
        (3, ReceiptWish.FINAL, False),
        (31, ReceiptWish.ALL, True),
        (27, ReceiptWish.FINAL, True),
        (8, ReceiptWish.NONE, True),
        (4, ReceiptWish.INTERMEDIATE, False),
        (5, ReceiptWish.SUCCESS_ALL, False),
        (6, ReceiptWish.FAILURE_ALL, False),
        (63, ReceiptWish.ALL, True),
    ],
)
def test_a_mask_becomes_the_receipts_that_it_takes(mask: int, wish: int, tells_sent: bool) -> None:
    chosen = kannel("http://c.example/%d", mask, service="alice", from_="007", meta_data="")
    assert chosen.wish == wish
    assert chosen.choice is not None
    assert (chosen.choice.mask, chosen.choice.tells_sent) == (mask & 31, tells_sent)
    assert chosen.choice.given == (("service", "alice"), ("from", "007"))


def test_without_a_mask_or_a_url_nothing_is_chosen() -> None:
    assert kannel("http://c.example/", 0).choice is None
    assert kannel("", 31) == kannel("", 0)
