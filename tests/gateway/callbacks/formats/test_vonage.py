"""Vonage's callbacks by GET, form and JSON, byte by byte, and their signatures."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
import pytest

from gateway.callbacks.choice import vonage
from gateway.callbacks.formats import Outgoing, Terms
from gateway.callbacks.formats.vonage import render, signature_of
from router.nouns import MessageState, ReceiptWish, Relay
from tests.gateway.callbacks.outside import EPOCH_MS, event

URL = "https://c.example/dlr"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
JSON = ("Content-Type", "application/json")
QUERY = (
    "msisdn=447700900123&to=ACME&network-code=&messageId=000000000000004D&price=&status={status}"
    "&scts=2510090853&err-code={code}&api-key=acme&client-ref=r%261&message-timestamp=2025-10-09+08%3A53%3A20"
)


def made(method: str, signature: str = "", nonce: str = "", **more: Any) -> Outgoing | None:
    terms = Terms(URL, EPOCH_MS, 1, "acme", None, method, signature, ("whsec_s",), nonce)
    return render([event(77, **({"source": "ACME", "client_ref": "r&1"} | more))], terms)


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({}, "delivered", "0"),
        ({"state": MessageState.EXPIRED, "cause": "absent_subscriber"}, "expired", "2"),
        ({"state": MessageState.UNDELIVERABLE, "cause": "spam"}, "failed", "6"),
        ({"state": MessageState.REJECTED, "cause": "not_allowed"}, "rejected", "99"),
        ({"state": MessageState.UNKNOWN}, "unknown", "0"),
        ({"state": MessageState.ACCEPTED, "final": False}, "accepted", "0"),
        ({"state": MessageState.ENROUTE, "final": False}, "buffered", "0"),
    ],
)
def test_a_delivery_receipt_by_form_and_by_get(more: dict[str, Any], status: str, code: str) -> None:
    query = QUERY.format(status=status, code=code)
    assert made("post", **more) == Outgoing("POST", URL, (FORM,), query.encode())
    assert made("get", **more) == Outgoing("GET", f"{URL}?{query}")


def test_by_json_all_values_are_strings() -> None:
    posted = made("")
    assert posted is not None
    assert (posted.method, posted.headers) == ("POST", (JSON,))
    assert posted.body == (
        b'{"msisdn":"447700900123","to":"ACME","network-code":"","messageId":"000000000000004D","price":"",'
        b'"status":"delivered","scts":"2510090853","err-code":"0","api-key":"acme","client-ref":"r&1",'
        b'"message-timestamp":"2025-10-09 08:53:20"}'
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"text": "Yes please"}, {"type": "text", "text": "Yes please", "keyword": "YES"}),
        ({"text": "✓", "encoding": 2}, {"type": "unicode", "text": "✓", "keyword": "✓"}),
        ({"data": b"\x00\xff", "encoding": 3, "relay": Relay(udh=b"\x05")},
         {"type": "binary", "data": "00ff", "udh": "0105"}),
    ],
)  # fmt: skip
def test_an_inbound_message(more: dict[str, Any], said: dict[str, str]) -> None:
    posted = render([event(77, kind=1, **more)], Terms(URL, EPOCH_MS, 1, "acme"))
    assert posted is not None
    assert msgspec.json.decode(posted.body) == {
        "msisdn": "447700900001",
        "to": "447700900123",
        "messageId": "000000000000004D",
        "api-key": "acme",
        "message-timestamp": "2025-10-09 08:53:20",
        **said,
    }


SIGNED = "&a=1_2&b=x_y&timestamp=1760000000"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("md5hash", hashlib.md5((SIGNED + "whsec_s").encode()).hexdigest()),
        *(
            (kind, hmac.new(b"whsec_s", SIGNED.encode(), kind).hexdigest())
            for kind in ("md5", "sha1", "sha256", "sha512")
        ),
    ],
)
def test_each_signature(kind: str, expected: str) -> None:
    assert (
        signature_of(kind, "whsec_s", [("b", "x&y"), ("a", "1=2"), ("timestamp", "1760000000")]) == expected
    )


def test_a_signed_callback_carries_time_and_nonce() -> None:
    posted = made("json", "sha256", "0" * 32)
    assert posted is not None
    fields = msgspec.json.decode(posted.body)
    sig = fields.pop("sig")
    assert (fields["timestamp"], fields["nonce"]) == ("1760000000", "0" * 32)
    assert sig == signature_of("sha256", "whsec_s", list(fields.items()))


def test_a_message_may_want_no_report() -> None:
    assert vonage(URL, status_report=False).choice is None
    assert vonage(URL).wish == ReceiptWish.FINAL
    assert made("", kind=3, error="balance.low") is None
