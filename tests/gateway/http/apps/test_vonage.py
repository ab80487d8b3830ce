"""Vonage's /sms/json: always 200, what came of a message is in its status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.door import Refusal, Submission
from gateway.http.apps.vonage import VonageApi
from gateway.http.apps.who import Apps
from gateway.ids import hex_of
from router.nouns import Account, CallbackFormat, Relay
from tests.gateway.http.apps.house import FIRST_ID, PASSWORD, USER, Door, House, account, speaking
from tests.gateway.http.apps.test_jasmin import BASIC
from tests.gateway.http.wire import Answer, request
from tests.trio_case import trio_test

FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
WHO = {"api_key": USER, "api_secret": PASSWORD}
GOOD = {"to": "447700900123", "from": "ACME", "text": "Hello"}


def preview(account: Account, submission: Submission) -> Mapping[str, Any] | Refusal:
    return {"parts": 1, "cost": {"price": "0.0333"}}


def vonage(door: Door, apps: Apps) -> VonageApi:
    return VonageApi(door, apps, preview, lambda account: 3.14)


async def asked(house: House, raw: bytes) -> Answer:
    client = house.client()
    await client.send(raw)
    return await client.answer()


async def sent(given: Mapping[str, object], *, verdict: Refusal | None = None, **settings: Any) -> Any:
    """The one message of the answer to a form, and what the door was asked."""
    async with speaking(vonage, account(["vonage"], **settings)) as house:
        house.door.verdict = lambda submission: verdict
        answer = await asked(house, request("/sms/json", urlencode(given).encode(), headers=(FORM,)))
        assert answer.status == 200
        said: Any = answer.json()
        assert said["message-count"] == "1"
        (row,) = said["messages"]
        return row, house.door.taken


@trio_test
async def test_a_message_has_an_id_a_price_and_what_is_left() -> None:
    row, (one,) = await sent({**WHO, **GOOD, "client-ref": "r1", "account-ref": "a1"}, rate_card="retail")
    assert row == {
        "to": "447700900123",
        "message-id": hex_of(FIRST_ID + 1),
        "status": "0",
        "remaining-balance": "3.14000000",
        "message-price": "0.03330000",
        "client-ref": "r1",
        "account-ref": "a1",
    }
    assert (one.to, one.sender, one.text, one.client_ref) == ("447700900123", "ACME", "Hello", "r1")
    assert one.tags == ("account-ref:a1",)
    assert one.callback is not None
    assert one.callback.format == CallbackFormat.VONAGE


@trio_test
async def test_it_takes_a_query_json_and_basic_authentication() -> None:
    async with speaking(vonage, account(["vonage"])) as house:
        raws = (
            request(f"/sms/json?{urlencode({**WHO, **GOOD})}"),
            request("/sms/json", json.dumps({**WHO, **GOOD}).encode(), headers=(JSON,)),
            request("/sms/json", json.dumps(GOOD).encode(), headers=(JSON, BASIC)),
        )
        for raw in raws:
            said: Any = (await asked(house, raw)).json()
            assert said["messages"][0]["status"] == "0"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"text": "Ж", "type": "unicode"}, {"text": "Ж"}),
        ({"type": "binary", "body": "00ff", "udh": "06050415811581"},
         {"data": b"\x00\xff", "udh": bytes.fromhex("06050415811581"), "encoding": "binary"}),
        ({"ttl": "60000"}, {"validity_s": 60}),
        ({"message-class": "0"}, {"relay": Relay(data_coding=0x10)}),
        ({"message-class": "1", "type": "unicode", "text": "Ж"}, {"relay": Relay(data_coding=0x19)}),
        ({"protocol-id": "64"}, {"relay": Relay(protocol_id=64)}),
        ({"status-report-req": "false"}, {"callback": None}),
        ({"callback": "https://app.example/dlr"}, {"callback_url": "https://app.example/dlr"}),
    ],
)  # fmt: skip
@trio_test
async def test_what_a_parameter_becomes(given: dict[str, str], wanted: dict[str, object]) -> None:
    row, (one,) = await sent({**WHO, **GOOD, **given})
    assert row["status"] == "0"
    assert {name: getattr(one, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (GOOD, "2"),
        ({**WHO, **GOOD, "api_secret": "wrong"}, "4"),
        ({**WHO, **GOOD, "to": ""}, "2"),
        ({**WHO, **GOOD, "from": ""}, "2"),
        ({**WHO, **GOOD, "text": ""}, "2"),
        ({**WHO, **GOOD, "type": "wappush"}, "3"),
        ({**WHO, **GOOD, "type": "binary"}, "2"),
        ({**WHO, **GOOD, "type": "binary", "body": "0g", "udh": "00"}, "3"),
        ({**WHO, **GOOD, "type": "binary", "body": "00", "udh": "0501"}, "3"),
        ({**WHO, **GOOD, "ttl": "100"}, "3"),
        ({**WHO, **GOOD, "ttl": "999999999999"}, "3"),
        ({**WHO, **GOOD, "message-class": "4"}, "3"),
        ({**WHO, **GOOD, "sig": "00"}, "14"),
    ],
)
@trio_test
async def test_what_is_wrong_has_a_status(given: dict[str, str], status: str) -> None:
    row, taken = await sent(given)
    assert row["status"] == status
    assert row["error-text"]
    assert not taken


@pytest.mark.parametrize(
    ("refusal", "status", "words"),
    [
        (
            Refusal(429, "queue-full", "", "", 5),
            "1",
            "Throughput Rate Exceeded - please wait [ 5000 ] and retry",
        ),
        (
            Refusal(503, "store-full", "", ""),
            "1",
            "Throughput Rate Exceeded - please wait [ 1000 ] and retry",
        ),
        (Refusal(402, "insufficient-balance", "", ""), "9", "Partner quota exceeded"),
        (Refusal(403, "account-suspended", "", ""), "8", "Partner account barred"),
        (Refusal(422, "no-route", "to", "nowhere"), "7", "Number barred: nowhere"),
        (Refusal(403, "sender-not-allowed", "from", "no"), "15", "Illegal Sender Address - rejected: no"),
        (Refusal(422, "too-long", "text", "9 parts"), "12", "Message too long: 9 parts"),
        (Refusal(422, "not-a-number", "to", "abc"), "3", "Invalid value for param: to: abc"),
    ],
)
@trio_test
async def test_what_the_door_refuses_has_a_status(refusal: Refusal, status: str, words: str) -> None:
    row, _ = await sent({**WHO, **GOOD}, verdict=refusal)
    assert (row["status"], row["error-text"], row["to"]) == (status, words, "447700900123")


@trio_test
async def test_a_body_that_is_no_json_object_is_an_invalid_message() -> None:
    async with speaking(vonage, account(["vonage"])) as house:
        for body in (b"[]", b"{", b'{"to": {}}'):
            said: Any = (await asked(house, request("/sms/json", body, headers=(JSON, BASIC)))).json()
            assert said["messages"][0]["status"] in ("3", "6")
