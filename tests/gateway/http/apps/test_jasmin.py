"""Jasmin's HTTP API and REST API: its words and statuses, what parameters become, batches."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.door import Refusal, Submission
from gateway.http.apps.jasmin import JasminApi
from gateway.http.apps.who import Apps
from gateway.http.auth import new_key
from gateway.ids import uuid_of
from router.nouns import Account, ApiKey, CallbackFormat, ReceiptWish, Relay
from tests.gateway.http.apps.house import FIRST_ID, PASSWORD, USER, Door, House, account, speaking
from tests.gateway.http.wire import WALL_MS, Answer, request
from tests.trio_case import trio_test

TO = "447700900123"
BASE = f"username={USER}&password={PASSWORD}&from=ACME"
FIRST = uuid_of(FIRST_ID + 1)
FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
BASIC = "Authorization: Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def preview(account: Account, submission: Submission) -> Mapping[str, Any] | Refusal:
    if submission.to.startswith("99"):
        return Refusal(422, "no-route", "to", "")
    return {"parts": 2, "cost": {"price": "0.05", "total": "0.1"}}


def jasmin(door: Door, apps: Apps) -> JasminApi:
    return JasminApi(door, apps, lambda: WALL_MS, preview, lambda account: 12.5, lambda: 7)


ACCOUNT = account(["jasmin"])


async def asked(house: House, raw: bytes) -> Answer:
    client = house.client()
    await client.send(raw)
    return await client.answer()


async def sent(parameters: str, *, post: bool = False) -> tuple[Answer, list[Submission]]:
    async with speaking(jasmin, ACCOUNT) as house:
        query = f"{BASE}&{parameters}"
        raw = request("/send", query.encode(), headers=(FORM,)) if post else request(f"/send?{query}")
        return await asked(house, raw), house.door.taken


@trio_test
async def test_a_message_is_answered_with_its_uuid() -> None:
    for post in (False, True):
        answer, (one,) = await sent(f"to={TO}&content=Hello+world", post=post)
        assert (answer.status, answer.body) == (200, f'Success "{FIRST}"'.encode())
        assert answer.headers["content-type"] == "text/plain"
        assert (one.to, one.sender, one.text) == (TO, "ACME", "Hello world")


@trio_test
async def test_a_message_may_come_as_json() -> None:
    body = {
        "username": USER,
        "password": PASSWORD,
        "to": TO,
        "content": "Grüße",
        "priority": 1,
        "dlr-level": 3,
        "dlr-url": "http://app.example/dlr",
        "custom_tlvs": [[0x3000, None, "COctetString", "x"], [0x1401, None, "Int2", 258]],
    }
    async with speaking(jasmin, account(["jasmin"], senders=("ACME",))) as house:
        answer = await asked(house, request("/send", json.dumps(body).encode(), headers=(JSON,)))
        assert answer.status == 200, answer
        (one,) = house.door.taken
    assert (one.text, one.sender, one.flag) == ("Grüße", "ACME", 1)
    assert one.relay == Relay(priority=1, tlvs=((0x3000, b"x\0"), (0x1401, b"\x01\x02")))
    assert one.callback_url == "http://app.example/dlr"
    assert one.callback is not None
    assert (one.callback.format, one.callback.mask, one.callback.method) == (CallbackFormat.JASMIN, 3, "post")


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "Mandatory arguments not found, please refer to the HTTPAPI specifications."),
        (f"{BASE}&content=x", 400, "Mandatory argument [to] is not found."),
        (f"to={TO}&content=x&password=y", 400, "Mandatory argument [username] is not found."),
        (f"{BASE}&to=abc&content=x", 400, "Argument [to] has an invalid value: [abc]."),
        (f"{BASE}&to={TO}&content=x&colour=red", 400, "Argument [colour] is unknown."),
        (f"{BASE}&to={TO}&content=x&coding=11", 400, "Argument [coding] has an invalid value: [11]."),
        (f"{BASE}&to={TO}&content=x&dlr-url=ftp://x", 400, "Argument [dlr-url] has an invalid value: [ftp://x]."),
        (f"{BASE}&to={TO}&content=x&dlr-level=4", 400, "Argument [dlr-level] has an invalid value: [4]."),
        (f"{BASE}&to={TO}&content=x&dlr=maybe", 400, "Argument [dlr] has an invalid value: [maybe]."),
        (f"{BASE}&to={TO}&content=x&priority=4", 400, "Argument [priority] has an invalid value: [4]."),
        (f"{BASE}&to={TO}", 400, "content or hex-content not present."),
        (f"{BASE}&to={TO}&content=x&hex-content=00", 400,
         "content and hex-content cannot be used both in same request."),
        (f"{BASE}&to={TO}&hex-content=0g", 400, "Invalid hex-content data: '0g'"),
        (f"{BASE}&to={TO}&content=x&custom_tlvs=1", 400,
         "Argument [custom_tlvs] has an invalid value: [tag, length, type, value]."),
        (f"username={USER}&password=wrong&to={TO}&content=x", 403,
         f"Authentication failure for username:{USER}"),
    ],
)  # fmt: skip
@trio_test
async def test_what_is_wrong_is_said_in_jasmins_words(query: str, status: int, words: str) -> None:
    async with speaking(jasmin, ACCOUNT) as house:
        answer = await asked(house, request(f"/send?{query}"))
        assert (answer.status, answer.body.decode()) == (status, f'Error "{words}"')
        assert not house.door.taken


@pytest.mark.parametrize(
    ("refusal", "status", "words"),
    [
        (Refusal(422, "no-route", "to", ""), 412, "No route found"),
        (Refusal(402, "insufficient-balance", "", ""), 403,
         "Cannot charge submit_sm, check RouterPB log file for details"),
        (Refusal(429, "rate-limited", "", "", 1), 403, "User throughput exceeded"),
        (Refusal(503, "store-full", "", "", 5), 500,
         "Cannot send submit_sm, check SMPPClientManagerPB log file for details"),
        (Refusal(422, "bad-sender", "from", "too long"), 400, "from: too long"),
        (Refusal(403, "sender-not-allowed", "from", "no"), 403, "from: no"),
    ],
)  # fmt: skip
@trio_test
async def test_what_the_door_refuses_is_said_in_jasmins_words(
    refusal: Refusal, status: int, words: str
) -> None:
    async with speaking(jasmin, ACCOUNT) as house:
        house.door.verdict = lambda submission: refusal
        answer = await asked(house, request(f"/send?{BASE}&to={TO}&content=x"))
        assert (answer.status, answer.body.decode()) == (status, f'Error "{words}"')


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ("content=Gr%C3%BC%C3%9Fe", {"text": "Grüße", "relay": None, "receipt": None}),
        ("content=%04%16%00A&coding=8", {"text": "ЖA", "planned": (2, 1)}),
        ("hex-content=04160041&coding=8", {"text": "ЖA"}),
        ("hex-content=00ff&coding=4", {"data": b"\x00\xff", "encoding": "binary"}),
        ("content=caf%E9&coding=3", {"text": "café"}),
        ("content=x&priority=2&validity-period=60",
         {"flag": 2, "relay": Relay(priority=2), "expires_ms": WALL_MS + 3_600_000}),
        ("content=x&sdt=000000001000000R", {"send_at_ms": WALL_MS + 600_000}),
        ("content=x&tags=a,b-c", {"tags": ("a", "b-c")}),
        ("content=x&dlr=yes", {"receipt": "final"}),
        ("content=x&dlr=no", {"receipt": None, "callback": None}),
        ("content=x&dlr-url=http%3A%2F%2Fapp.example%2Fdlr&dlr-level=2&dlr-method=get",
         {"callback_url": "http://app.example/dlr", "wish": ReceiptWish.FINAL}),
    ],
)  # fmt: skip
@trio_test
async def test_what_a_parameter_becomes(parameters: str, wanted: dict[str, object]) -> None:
    answer, (one,) = await sent(f"to={TO}&{parameters}")
    assert answer.status == 200
    assert {name: getattr(one, name) for name in wanted} == wanted


@trio_test
async def test_rate_balance_and_ping() -> None:
    who = f"username={USER}&password={PASSWORD}"
    async with speaking(jasmin, ACCOUNT) as house:
        answer = await asked(house, request(f"/rate?{who}&to={TO}&content=x"))
        assert (answer.status, answer.json()) == (200, {"unit_rate": 0.05, "submit_sm_count": 2})
        answer = await asked(house, request(f"/rate?{who}&to=99&content=x"))
        assert (answer.status, answer.json()) == (412, "No route found")
        answer = await asked(house, request(f"/rate?{who}&to={TO}&dlr=yes"))
        assert (answer.status, answer.json()) == (400, "Argument [dlr] is unknown.")
        answer = await asked(house, request(f"/balance?{who}"))
        assert (answer.status, answer.json()) == (200, {"balance": 12.5, "sms_count": "ND"})
        answer = await asked(house, request("/balance?username=x&password=y"))
        assert (answer.status, answer.json()) == (403, "Authentication failure for username:x")
        assert (await asked(house, request("/ping"))).body == b"Jasmin/PONG"


# REST


async def posted(house: House, path: str, body: object, *headers: str) -> Answer:
    return await asked(house, request(path, json.dumps(body).encode(), headers=(JSON, *headers)))


@trio_test
async def test_rest_sends_with_underscores_and_basic_authentication() -> None:
    body = {"to": TO, "from": "ACME", "hex_content": "00ff", "coding": 4, "validity_period": 1}
    async with speaking(jasmin, ACCOUNT) as house:
        answer = await posted(house, "/secure/send", body, BASIC)
        assert (answer.status, answer.json()) == (200, {"data": f'Success "{FIRST}"'})
        assert house.door.taken[0].data == b"\x00\xff"
        answer = await posted(house, "/secure/send", {"to": TO}, BASIC)
        assert (answer.status, answer.json()) == (400, {"message": "content or hex-content not present."})


@trio_test
async def test_rest_without_a_right_password_is_401() -> None:
    wrong = "Authorization: Basic " + base64.b64encode(b"alice:no").decode()
    async with speaking(jasmin, ACCOUNT) as house:
        for headers in ((), (wrong,), ("Authorization: Basic !!",), ("Authorization: Bearer x",)):
            answer = await posted(house, "/secure/send", {"to": TO, "content": "x"}, *headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Basic"


@trio_test
async def test_rest_tells_rate_and_balance() -> None:
    async with speaking(jasmin, ACCOUNT) as house:
        answer = await posted(house, "/secure/rate", {"to": TO, "content": "x"}, BASIC)
        assert answer.json() == {"data": {"unit_rate": 0.05, "submit_sm_count": 2}}
        answer = await asked(house, request("/secure/balance", headers=(BASIC,)))
        assert answer.json() == {"data": {"balance": 12.5, "sms_count": "ND"}}


@trio_test
async def test_a_batch_has_messages_of_their_own_and_what_they_share() -> None:
    body = {
        "globals": {"from": "ACME", "content": "Hello"},
        "messages": [
            {"to": TO},
            {"to": ["447700900124", "447700900125"], "content": "Hi"},
            {"content": "nobody"},
            {"to": "abc"},
        ],
        "batch_config": {"schedule_at": "60s"},
    }
    async with speaking(jasmin, ACCOUNT) as house:
        house.door.verdict = lambda one: Refusal(422, "no-route", "to", "") if one.to.endswith("5") else None
        answer = await posted(house, "/secure/sendbatch", body, BASIC)
        said: Any = answer.json()
        assert answer.status == 200
        assert said["data"].pop("batchId").count("-") == 4
        assert said["data"] == {
            "messageCount": 3,
            "scheduled": "60s",
            "refused": [
                {"to": "abc", "error": "Argument [to] has an invalid value: [abc]."},
                {"to": "447700900125", "error": "No route found"},
            ],
        }
        assert [(one.to, one.text) for one in house.door.taken] == [(TO, "Hello"), ("447700900124", "Hi")]
        assert {one.send_at_ms for one in house.door.taken} == {WALL_MS + 60_000}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": 7}, 400),
        ({"messages": [7]}, 400),
        ({"messages": [{"to": [TO] * 1_001, "content": "x"}]}, 400),
        ({"messages": [{}] * 1_001}, 400),
        ({"globals": {f"x{number}": 0 for number in range(100)}, "messages": [{}]}, 400),
        ({"messages": [], "batch_config": {"schedule_at": "tomorrow"}}, 412),
        ({"messages": [], "batch_config": {"schedule_at": "2020-01-01 00:00:00"}}, 412),
        ({"messages": [], "batch_config": {"callback_url": "http://x"}}, 400),
        ([], 412),
    ],
)
@trio_test
async def test_a_batch_that_cannot_be_is_refused_whole(body: object, status: int) -> None:
    async with speaking(jasmin, ACCOUNT) as house:
        answer = await posted(house, "/secure/sendbatch", body, BASIC)
        assert answer.status == status
        assert not house.door.taken


@pytest.mark.parametrize(("scope", "statuses"), [("messages.send", (403, 403)), ("balance.read", (200, 403)),
                                                 ("messages.preview", (403, 200))])  # fmt: skip
@trio_test
async def test_balance_and_prices_take_their_scopes(scope: str, statuses: tuple[int, ...]) -> None:
    key, prefix, digest = new_key()
    mine = account(["jasmin"], keys=(ApiKey("k1", digest, prefix, "limited", scopes=(scope,)),))
    async with speaking(jasmin, mine) as house:
        found = []
        for path in ("/balance?", "/rate?to=447700900123&content=x&"):
            found.append((await asked(house, request(f"{path}username={USER}&password={key}"))).status)
        assert tuple(found) == statuses
