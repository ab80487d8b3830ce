"""sendsms: the words of a real smsbox, what parameters become, what the door's refusals turn into."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.door import Refusal, Submission
from gateway.http.apps.kannel import KannelApi
from gateway.http.apps.who import Apps
from router.nouns import CallbackFormat, Relay
from tests.gateway.http.apps.house import Door, House, account, speaking
from tests.gateway.http.apps.sendsms import ASKED, BASE, OK, QUEUED, TO, Asked, get, post
from tests.gateway.http.wire import WALL_MS, Answer
from tests.trio_case import trio_test


def kannel(door: Door, apps: Apps) -> KannelApi:
    return KannelApi(door, apps, lambda: WALL_MS)


ACCOUNT = account(["kannel"])


async def asked(house: House, raw: bytes) -> Answer:
    client = house.client()
    await client.send(raw)
    return await client.answer()


async def submitted(raw: bytes, **settings: Any) -> Submission:
    async with speaking(kannel, account(["kannel"], **settings)) as house:
        answer = await asked(house, raw)
        assert answer.status == 202, answer
        (one,) = house.door.taken
        return one


@pytest.mark.parametrize("one", ASKED, ids=lambda one: one.name)
@trio_test
async def test_it_answers_as_smsbox_does(one: Asked) -> None:
    async with speaking(kannel, ACCOUNT) as house:
        answer = await asked(house, one.raw)
        assert (answer.status, answer.body) == (one.ours or (one.status, one.body))
        assert answer.headers["content-type"] == "text/html"
        assert (answer.headers["pragma"], answer.headers["cache-control"]) == ("no-cache", "no-cache")


@trio_test
async def test_an_answer_has_no_line_break_and_an_old_client_reads_to_the_end() -> None:
    """playSMS sends HTTP/1.0 by hand, reads until the connection ends and compares the last line exactly."""
    async with speaking(kannel, ACCOUNT) as house:
        client = house.client()
        await client.send(get(f"{BASE}&to={TO}&text=hi", "1.0"))
        said = b""
        while data := await client.stream.receive_some(65_536):
            said += data
        assert said.split(b"\n")[-1] == OK


@trio_test
async def test_each_receiver_gets_a_message_of_its_own() -> None:
    async with speaking(kannel, ACCOUNT) as house:
        assert (await asked(house, get(f"{BASE}&to={TO}+%2B447700900124+{TO}&text=x"))).status == 202
        assert [one.to for one in house.door.taken] == [TO, "+447700900124"]


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ("text=Gr%C3%BC%C3%9Fe", {"text": "Grüße", "encoding": "auto", "relay": None}),
        ("text=Gr%FC%DFe&charset=iso-8859-1", {"text": "Grüße"}),
        ("text=a%2Bb+c", {"text": "a+b c"}),
        ("text=%04%16%00A&coding=2", {"text": "ЖA"}),
        ("text=%D0%96&coding=2&charset=UTF-8", {"text": "Ж"}),
        ("text=%00%01%FE&coding=1", {"data": b"\x00\x01\xfe", "encoding": "binary", "planned": (3, 1)}),
        (
            "text=x&udh=%06%05%04%0B%84%23%F0",
            {"data": b"x", "udh": b"\x06\x05\x04\x0b\x84\x23\xf0", "planned": (3, 1)},
        ),
        ("text=x&validity=5&deferred=2", {"expires_ms": WALL_MS + 300_000, "send_at_ms": WALL_MS + 120_000}),
        ("text=x&priority=3", {"flag": 3, "relay": Relay(priority=3)}),
        ("text=x&pid=64", {"relay": Relay(protocol_id=64)}),
        ("text=x&binfo=WAP", {"relay": Relay(service_type="WAP")}),
        ("text=x&mclass=0", {"text": "x", "relay": Relay(data_coding=0x10), "planned": (0, 1)}),
        ("text=x&mclass=1&alt-dcs=1", {"relay": Relay(data_coding=0xF1)}),
        ("text=%04%16&coding=2&mclass=0", {"text": "Ж", "relay": Relay(data_coding=0x18)}),
        ("text=x&mwi=0", {"relay": Relay(data_coding=0xD8)}),
        ("text=x&mwi=4", {"relay": Relay(data_coding=0xC0)}),
        ("text=x&smsc=north", {"tags": ("smsc:north",)}),
        ("text=x&account=batch-7", {"client_ref": "batch-7"}),
        ("text=x&meta-data=%3Fsmpp%3Fuser_message_reference%3D258%26nothing%3D1",
         {"relay": Relay(tlvs=((0x0204, b"\x01\x02"),))}),
        ("text=x&from=ACME", {"sender": "12345"}),
        (f"text=x&meta-data=%3Fsmpp%3Fsource_port%3D{'9' * 5_000}", {"relay": None}),
    ],
)  # fmt: skip
@trio_test
async def test_what_a_parameter_becomes(parameters: str, wanted: dict[str, object]) -> None:
    one = await submitted(get(f"{BASE}&to={TO}&{parameters}"))
    assert {name: getattr(one, name) for name in wanted} == wanted


@trio_test
async def test_a_post_has_its_parameters_in_headers() -> None:
    headers = (f"X-Kannel-To: {TO}", "X-Kannel-Priority: 2", "X-Kannel-UDH: 06050400010002")
    one = await submitted(post(b"\x01\x02", *headers, "Content-Type: application/octet-stream"))
    assert (one.data, one.udh, one.flag) == (b"\x01\x02", bytes.fromhex("06050400010002"), 2)
    one = await submitted(post("Grüße".encode("latin-1"), f"X-Kannel-To: {TO}",
                               "Content-Type: text/plain; charset=iso-8859-1"))  # fmt: skip
    assert one.text == "Grüße"


@trio_test
async def test_reports_go_where_dlr_url_says_and_of_what_dlr_mask_says() -> None:
    url = "http%3A%2F%2Fapp.example%2Fdlr%3Fid%3D1%26s%3D%25d"
    one = await submitted(get(f"{BASE}&to={TO}&text=x&dlr-mask=19&dlr-url={url}"))
    assert one.callback_url == "http://app.example/dlr?id=1&s=%d"
    assert one.callback is not None
    assert (one.callback.format, one.callback.mask) == (CallbackFormat.KANNEL, 19)
    one = await submitted(get(f"{BASE}&to=%2B{TO}&text=x&dlr-mask=1&dlr-url={url}"))
    assert one.callback is not None
    given = dict(one.callback.given)
    assert (given["to"], given["from"]) == (f"+{TO}", "12345")  # as they were written: %P and %p


@trio_test
async def test_without_a_sender_the_accounts_own_one_is_taken() -> None:
    target = BASE.replace("&from=12345", "")
    assert (await submitted(get(f"{target}&to={TO}&text=x"), senders=("ACME*", "ACME"))).sender == "ACME"
    async with speaking(kannel, ACCOUNT) as house:
        answer = await asked(house, get(f"{target}&to={TO}&text=x"))
        assert (answer.status, answer.body) == (400, b"Sender missing and no global set, rejected")


@pytest.mark.parametrize(
    ("refusal", "status", "body"),
    [
        (Refusal(422, "no-route", "to", ""), 403, b"Not routable. Do not try again."),
        (
            Refusal(422, "impossible-length", "to", ""),
            400,
            b"Number(s) has/have been denied by white- and/or black-lists.",
        ),
        (Refusal(403, "sender-not-allowed", "from", ""), 403, b"Not routable. Do not try again."),
        (Refusal(422, "too-long", "text", ""), 403, b"Not routable. Do not try again."),
        (Refusal(402, "insufficient-balance", "", ""), 403, b"Not routable. Do not try again."),
        (Refusal(429, "queue-full", "", "", 5), 503, b"Temporal failure, try again later."),
        (Refusal(503, "store-full", "", "", 5), 503, b"Temporal failure, try again later."),
        (Refusal(422, "bad-callback-url", "callback_url", ""), 400, b"DLR-URL field misformed, rejected"),
    ],
)
@trio_test
async def test_what_the_door_refuses_is_said_in_kannels_words(
    refusal: Refusal, status: int, body: bytes
) -> None:
    async with speaking(kannel, ACCOUNT) as house:
        house.door.verdict = lambda submission: refusal
        answer = await asked(house, get(f"{BASE}&to={TO}&text=x"))
        assert (answer.status, answer.body) == (status, body)


@trio_test
async def test_receivers_that_the_door_refuses_are_named_when_others_are_taken() -> None:
    refusal = Refusal(403, "destination-not-allowed", "to", "")
    async with speaking(kannel, ACCOUNT) as house:
        house.door.verdict = lambda submission: None if submission.to == TO else refusal
        answer = await asked(house, get(f"{BASE}&to={TO}+447700900124+no&text=x"))
        assert (answer.status, answer.body) == (202, b"Sent. Denied receivers are: no 447700900124")


@trio_test
async def test_a_message_that_waits_for_a_carrier_is_queued_for_later() -> None:
    def waits(door: Door, apps: Apps) -> KannelApi:
        return KannelApi(door, apps, lambda: WALL_MS, able=lambda lane: False)

    async with speaking(waits, ACCOUNT) as house:
        assert (await asked(house, get(f"{BASE}&to={TO}&text=x"))).body == QUEUED


@trio_test
async def test_a_request_has_an_end_of_receivers_and_of_parameters() -> None:
    many = "+".join(f"44770090{number:04}" for number in range(1_001))
    form = f"{BASE.partition('?')[2]}&text=x&to={many}".encode()
    kind = "Content-Type: application/x-www-form-urlencoded"
    async with speaking(kannel, ACCOUNT) as house:
        answer = await asked(house, post(form, kind, who=False))
        assert (answer.status, answer.body) == (400, b"More than 1000 receivers, rejected")
        answer = await asked(house, post(b"&".join([b"a=b"] * 1_001), kind, who=False))
        assert answer.status == 400
        assert not house.door.taken
