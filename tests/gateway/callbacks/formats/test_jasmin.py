"""Jasmin's callbacks, byte by byte."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.callbacks.choice import jasmin
from gateway.callbacks.formats import Answer, Outgoing, Terms
from gateway.callbacks.formats.jasmin import render, took
from gateway.ids import uuid_of
from router.nouns import MessageState, Reason, ReceiptWish, Relay
from tests.gateway.callbacks.outside import EPOCH_MS, event

ID = uuid_of(77)
ACCEPT = ("Accept", "text/plain")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
DLR: dict[str, Any] = {
    "error": "000", "reason": Reason.RECEIPT, "accepted_ms": EPOCH_MS - 60_000, "done_ms": EPOCH_MS,
    "carrier_message_id": "abc", "text": "Hello & bye",
}  # fmt: skip
REFUSED = DLR | {
    "state": MessageState.REJECTED,
    "reason": Reason.REFUSED_BY_CARRIER,
    "error": "ESME_RINVDSTADR",
}
SENT = DLR | {"kind": 2, "final": False, "state": MessageState.ENROUTE}
HEAD = f"id={ID}&level={{level}}&message_status={{status}}&connector=signalbox"
REST = (
    "&id_smsc=abc&sub=001&dlvrd={dlvrd}&subdate=2510090852&donedate=2510090853&err={err}&text=Hello+%26+bye"
)


def made(level: int, method: str = "POST", url: str = "http://c.example/dlr", **more: Any) -> Outgoing | None:
    chosen = jasmin(url, level, method)
    return render([event(77, **more)], Terms(url, EPOCH_MS, 1, "acme", chosen.choice))


def form(level: int, status: str, rest: str = "", **values: str) -> bytes:
    return (HEAD + rest).format(level=level, status=status, **values).encode()


@pytest.mark.parametrize(
    ("level", "more", "body"),
    [
        (2, DLR, form(2, "DELIVRD", REST, dlvrd="001", err="000")),
        (3, DLR, form(2, "DELIVRD", REST, dlvrd="001", err="000")),
        (1, DLR, None),
        (2, DLR | {"state": MessageState.UNDELIVERABLE, "error": "027"},
         form(2, "UNDELIV", REST, dlvrd="000", err="027")),
        (1, SENT, form(1, "ESME_ROK")),
        (3, SENT, form(1, "ESME_ROK")),
        (2, SENT, None),
        (1, REFUSED, form(1, "ESME_RINVDSTADR")),
        (3, REFUSED, form(1, "ESME_RINVDSTADR")),
        (2, REFUSED, form(2, "REJECTD", REST, dlvrd="000", err="ESME_RINVDSTADR")),
        (1, REFUSED | {"error": "", "reason": Reason.EXPIRED_IN_QUEUE}, form(1, "ESME_RSUBMITFAIL")),
        (3, {"kind": 3, "error": "balance.low"}, None),
    ],
)  # fmt: skip
def test_a_receipt_by_its_level(level: int, more: dict[str, Any], body: bytes | None) -> None:
    expected = None if body is None else Outgoing("POST", "http://c.example/dlr", (FORM, ACCEPT), body)
    assert made(level, **more) == expected


def test_by_get_the_fields_are_in_the_url() -> None:
    query = form(1, "ESME_ROK").decode()
    assert made(1, "GET", **SENT) == Outgoing("GET", f"http://c.example/dlr?{query}", (ACCEPT,))
    other = made(1, "GET", "http://c.example/dlr?a=1", **SENT)
    assert other is not None
    assert other.url == f"http://c.example/dlr?a=1&{query}"


MO = (
    f"id={ID}&from=447700900001&to=447700900123&origin-connector=signalbox"
    "&priority={priority}&coding={coding}"
)


@pytest.mark.parametrize(
    ("more", "body"),
    [
        ({"text": "Hi é"}, MO.format(priority=0, coding=0) + "&content=Hi+%C3%A9&binary=48692005"),
        ({"text": "✓", "encoding": 2, "relay": Relay(priority=2, data_coding=8)},
         MO.format(priority=2, coding=8) + "&content=%27%13&binary=2713"),
        ({"data": b"\x00\xff", "encoding": 3},
         MO.format(priority=0, coding=4) + "&content=%00%FF&binary=00ff"),
    ],
)  # fmt: skip
def test_an_inbound_message(more: dict[str, Any], body: str) -> None:
    posted = render([event(77, kind=1, **more)], Terms("http://c.example/mo", EPOCH_MS, 1, "acme"))
    assert posted == Outgoing("POST", "http://c.example/mo", (FORM, ACCEPT), body.encode())


@pytest.mark.parametrize(
    ("answer", "is_taken"),
    [
        (Answer(200, b"ACK/Jasmin"), True),
        (Answer(200, b" ACK/Jasmin\r\n"), True),
        (Answer(200, b"OK"), False),
        (Answer(200, b""), False),
        (Answer(202, b"ACK/Jasmin"), False),
        (Answer(500, b"ACK/Jasmin"), False),
    ],
)
def test_only_its_own_acknowledgement_counts(answer: Answer, is_taken: bool) -> None:
    assert took(answer) is is_taken


@pytest.mark.parametrize(
    ("level", "wish", "tells_sent"),
    [(1, ReceiptWish.FAILURE, True), (2, ReceiptWish.FINAL, False), (3, ReceiptWish.FINAL, True)],
)
def test_a_level_becomes_the_receipts_that_it_takes(level: int, wish: int, tells_sent: bool) -> None:
    chosen = jasmin("http://c.example/", level, "GET")
    assert chosen.choice is not None
    assert (chosen.wish, chosen.choice.tells_sent, chosen.choice.method) == (wish, tells_sent, "get")
