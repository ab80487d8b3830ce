"""The clients: what they ask, what they try again and what not, on a transport that a test writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from gateway.client import (
    Accepted,
    BadSignature,
    Problem,
    Refused,
    Signalbox,
    TrioSignalbox,
    Unreachable,
    types,
    verify,
)
from gateway.http.table.inbound import MoOut
from gateway.http.table.messages import AcceptedOut, MessageRow
from gateway.http.timeline import MessageOut
from tests.gateway.house import carrier, route, running, simulator
from tests.trio_case import trio_test

ACCEPTED = {
    "id": "7",
    "state": "ENROUTE",
    "segments": 1,
    "encoding": "gsm7",
    "to": "44",
    "from": "A",
    "new": 1,
}
ROW = {
    "id": "7", "state": "DELIVERED", "phase": "final", "final": True, "to": "44", "from": "A", "segments": 1,
    "class": "otp", "accepted_at": "2030-01-31T09:30:00.000Z",
}  # fmt: skip
PROBLEM = {
    "type": "urn:signalbox:problem:invalid-fields",
    "title": "Invalid fields",
    "status": 422,
    "detail": "to: no number",
    "errors": [{"field": "to", "detail": "no number"}],
}

Answer = httpx.Response | Exception


class Talk:
    """Answers in turn; `asked` are the requests, `waited` the seconds between."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.waited: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def bodies(self) -> list[Any]:
        return [json.loads(one.content) for one in self.asked]


def ok(body: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=body)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("gateway.client.clients.time.sleep", waited.append)
    return waited


def client(talk: Talk, **settings: float) -> Signalbox:
    made = Signalbox("http://gateway", "sbk_key", **settings)
    made._http = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(talk.answer))
    return made


def trio_client(talk: Talk) -> TrioSignalbox:
    made = TrioSignalbox("http://gateway", "sbk_key")
    made._http = httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(talk.answer))
    return made


def test_a_submit_says_what_was_given_and_no_more() -> None:
    talk = Talk(ok(ACCEPTED, 202))
    with client(talk) as signalbox:
        at = datetime(2030, 1, 31, 9, 30, tzinfo=UTC)
        sent = signalbox.send("+44", "A", "Hello", message_class="otp", send_at=at, client_ref=None)
    assert (sent.id, sent.sender) == ("7", "A")
    assert talk.bodies() == [
        {"to": "+44", "from": "A", "text": "Hello", "class": "otp", "send_at": "2030-01-31T09:30:00+00:00"}
    ]
    (asked,) = talk.asked
    assert asked.headers["authorization"] == "Bearer sbk_key"
    assert len(asked.headers["idempotency-key"]) == 36


def test_octets_go_as_hexadecimal_and_a_time_needs_its_zone() -> None:
    talk = Talk(ok(ACCEPTED, 202))
    with client(talk) as signalbox:
        signalbox.send("+44", "A", data=b"\x00\xff")
        assert talk.bodies()[0]["data"] == "00ff"
        with pytest.raises(ValueError, match="zone"):
            signalbox.send("+44", "A", "x", send_at=datetime(2030, 1, 31))


def test_it_tries_again_with_the_same_key(waits: list[float]) -> None:
    broken = httpx.ConnectError("refused")
    later = httpx.Response(503, headers={"Retry-After": "7"}, json=PROBLEM)
    talk = Talk(broken, later, ok(ACCEPTED, 202))
    with client(talk) as signalbox:
        assert signalbox.send("+44", "A", "Hello").id == "7"
    assert len({one.headers["idempotency-key"] for one in talk.asked}) == 1
    assert len(waits) == 2
    assert waits[1] == 7


def test_what_is_refused_for_good_is_not_tried_again(waits: list[float]) -> None:
    talk = Talk(ok(PROBLEM, 422))
    with client(talk) as signalbox, pytest.raises(Refused) as caught:
        signalbox.send("12", "A", "Hello")
    assert (caught.value.status, caught.value.problem.code) == (422, "invalid-fields")
    assert caught.value.problem.errors[0].field == "to"
    assert "to: no number" in str(caught.value)
    assert not waits


def test_patience_has_an_end_and_says_the_key(waits: list[float]) -> None:
    talk = Talk(*[httpx.ReadTimeout("slow")] * 50)
    with client(talk, patience_s=5) as signalbox, pytest.raises(Unreachable) as caught:
        signalbox.send("+44", "A", "Hello", idempotency_key="mine")
    assert sum(waits) <= 5
    assert caught.value.idempotency_key == "mine"
    talk = Talk(httpx.Response(429, headers={"Retry-After": "3600"}, content=b"<html>"))
    with client(talk, patience_s=5) as signalbox, pytest.raises(Refused, match="429"):
        signalbox.message("7")


def test_many_messages_go_in_portions_and_each_has_a_result() -> None:
    first = {"accepted": 1_000, "refused": 0, "results": [{**ACCEPTED, "status": 202}] * 1_000}
    second = {"accepted": 0, "refused": 1, "results": [PROBLEM]}
    talk = Talk(ok(first), ok(second))
    with client(talk) as signalbox:
        many = ({"to": "+44", "sender": "A", "text": str(number)} for number in range(1_001))
        results = list(signalbox.send_many(many))
    assert [len(body) for body in talk.bodies()] == [1_000, 1]
    assert isinstance(results[0], Accepted)
    assert isinstance(results[-1], Problem)
    assert results[-1].code == "invalid-fields"
    assert talk.bodies()[0][0] == {"to": "+44", "from": "A", "text": "0"}


def test_a_listing_goes_on_as_long_as_there_is_a_next_page() -> None:
    talk = Talk(
        ok({"messages": [ROW, ROW], "next": "/v1/messages?cursor=x"}), ok({"messages": [ROW], "next": None})
    )
    with client(talk) as signalbox:
        assert len(list(signalbox.messages(to="+44 7700", state=["DELIVERED", "EXPIRED"]))) == 3
    assert [one.url.raw_path for one in talk.asked] == [
        b"/v1/messages?to=%2B44+7700&state=DELIVERED&state=EXPIRED",
        b"/v1/messages?cursor=x",
    ]
    assert "idempotency-key" not in talk.asked[0].headers


@trio_test(mock_clock=True)
async def test_the_other_client_waits_as_trio_does() -> None:
    talk = Talk(
        httpx.ConnectError("refused"), ok(ACCEPTED, 202), ok({**ROW, "timeline": []}), ok({}), ok(ROW)
    )
    async with trio_client(talk) as signalbox:
        assert (await signalbox.send("+44", "A", "Hello")).id == "7"
        assert (await signalbox.message("7")).state == "DELIVERED"
        await signalbox.cancel("7")
        assert (await signalbox.change("7", text="Other")).id == "7"
    assert trio.current_time() > 0
    assert [one.method for one in talk.asked] == ["POST", "POST", "GET", "POST", "PATCH"]


@trio_test(mock_clock=True)
async def test_the_other_client_lists_and_previews() -> None:
    talk = Talk(
        ok({"messages": [ROW], "next": "/v1/messages?cursor=x"}),
        ok({"messages": [ROW], "next": None}),
        ok({"mos": [{"id": "9", "from": "44", "to": "12345", "text": "STOP"}], "next": None}),
        ok({"encoding": "gsm7", "parts": 1}),
        ok({"balance": "1.5", "currency": "EUR"}),
        ok({"accepted": 1, "refused": 0, "results": [{**ACCEPTED, "status": 202}]}),
    )
    async with trio_client(talk) as signalbox:
        assert len([one async for one in signalbox.messages()]) == 2
        assert [one.text async for one in signalbox.inbound()] == ["STOP"]
        assert (await signalbox.preview("Hello")).parts == 1
        assert (await signalbox.balance()).balance == "1.5"
        assert (
            len([one async for one in signalbox.send_many([{"to": "44", "sender": "A", "text": "x"}])]) == 1
        )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (types.Accepted, AcceptedOut),
        (types.Row, MessageRow),
        (types.Message, MessageOut),
        (types.Inbound, MoOut),
    ],
)
def test_its_types_are_those_of_the_api(ours: Any, theirs: Any) -> None:
    def names(kind: Any) -> set[str]:
        return {field.encode_name for field in msgspec.structs.fields(kind)}

    assert names(ours) <= names(theirs) | {"status"}


def test_a_callbacks_signature_is_checked() -> None:
    secret, body = "whsec_" + "c2lnbmFsYm94LXRlc3RzLXNlY3JldC0wMDE=", b'{"type":"message.final"}'
    from gateway.callbacks.signature import decode_secret, sign

    signature = sign((decode_secret(secret),), b"evt_1", b"1900000000", body).decode()
    headers = {"Webhook-Id": "evt_1", "webhook-timestamp": "1900000000", "WEBHOOK-SIGNATURE": signature}
    verify(headers, body, [secret], now_s=1_900_000_010)
    for wrong in ({**headers, "Webhook-Id": "evt_2"}, {"webhook-id": "evt_1"}):
        with pytest.raises(BadSignature):
            verify(wrong, body, [secret], now_s=1_900_000_010)
    with pytest.raises(BadSignature):
        verify(headers, body, [secret], now_s=1_900_001_000)


TOML = simulator("sim", 2776) + carrier("north", 2776) + route("north")


class Through(httpx.AsyncBaseTransport):
    """A gateway on memory streams."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self.ask = ask

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        status, answer = await self.ask(request.method, request.url.raw_path.decode(), body)
        return httpx.Response(status, json=answer)


@trio_test(mock_clock=True)
async def test_a_gateway_understands_it(ram_path: Path) -> None:
    async with running(ram_path, TOML) as house:
        await house.bound()
        signalbox = TrioSignalbox("http://gateway", "")
        signalbox._http = httpx.AsyncClient(base_url="http://gateway", transport=Through(house.http))
        sent = await signalbox.send("+447700900123", "12345", "Hello", message_class="otp")
        message = await signalbox.message(sent.id)
        assert (message.text, message.message_class) == ("Hello", "otp")
        assert message.timeline[0].step == "accepted"
        results = [one async for one in signalbox.send_many([{"to": "12", "sender": "12345", "text": "x"}])]
        assert isinstance(results[0], Problem)
        assert results[0].code == "impossible-length"
        with pytest.raises(Refused) as caught:
            await signalbox.message("7")
        assert caught.value.problem.code == "no-such-message"
        assert (await signalbox.preview("Hello")).encoding == "gsm7"
