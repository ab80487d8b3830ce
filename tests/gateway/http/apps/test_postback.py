"""listmonk's postback and Alertmanager's webhook: numbers, texts, and an answer that is true."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from gateway.door import Refusal
from gateway.http.apps.postback import AlertmanagerApi, ListmonkApi, plain
from gateway.http.apps.who import Apps
from tests.gateway.http.apps.house import Door, House, account, speaking
from tests.gateway.http.apps.test_jasmin import BASIC
from tests.gateway.http.wire import Answer, request
from tests.trio_case import trio_test

JSON = "Content-Type: application/json"
ANN = {"uuid": "s-1", "email": "ann@example.org", "name": "Ann", "attribs": {"phone": "+447700900001"}}
BOB = {"uuid": "s-2", "name": "Bob", "attribs": {"phone": 447700900002, "mobile": "447700900003"}}
CAMPAIGN = {
    "subject": "News",
    "content_type": "html",
    "body": "<style>p{}</style><p>Hello&nbsp;<b>you</b></p><p>Sale &amp; more<br>today</p>",
    "recipients": [ANN, BOB],
    "campaign": {"uuid": "c-1", "name": "Spring", "headers": [], "tags": ["news"]},
}
ALERTS = {
    "version": "4",
    "status": "firing",
    "commonLabels": {"alertname": "DiskFull", "severity": "page"},
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DiskFull"},
            "annotations": {"summary": "disk of db1\nis full"},
        },
        {"status": "resolved", "labels": {"alertname": "DiskFull", "instance": "db2"}, "annotations": {}},
    ],
}


def listmonk(door: Door, apps: Apps) -> ListmonkApi:
    return ListmonkApi(door, apps)


def alertmanager(door: Door, apps: Apps) -> AlertmanagerApi:
    return AlertmanagerApi(door, apps)


async def posted(house: House, target: str, body: object, *headers: str) -> Answer:
    client = house.client()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    await client.send(request(target, raw, headers=(JSON, *(headers or (BASIC,)))))
    return await client.answer()


@trio_test
async def test_a_campaign_becomes_a_message_for_each_recipient() -> None:
    async with speaking(listmonk, account(["listmonk"], senders=("ACME",))) as house:
        answer = await posted(house, "/listmonk", CAMPAIGN)
        assert (answer.status, answer.json()) == (200, {"accepted": 2, "refused": []})
        assert [(one.to, one.client_ref) for one in house.door.taken] == [
            ("+447700900001", "s-1"),
            ("447700900002", "s-2"),
        ]
        one = house.door.taken[0]
        assert (one.text, one.sender, one.message_class) == (
            "Hello you\nSale & more\ntoday",
            "ACME",
            "promotional",
        )
        assert one.tags == ("listmonk:Spring", "news")


@trio_test
async def test_the_url_says_which_attribute_sender_and_class() -> None:
    plain_text = {**CAMPAIGN, "content_type": "plain", "body": "1 < 2", "recipients": [BOB]}
    async with speaking(listmonk, account(["listmonk"])) as house:
        target = "/listmonk?number=attribs.mobile&from=SHOP&class=transactional"
        assert (await posted(house, target, plain_text)).status == 200
        (one,) = house.door.taken
        assert (one.to, one.sender, one.text, one.message_class) == (
            "447700900003",
            "SHOP",
            "1 < 2",
            "transactional",
        )


@trio_test
async def test_those_that_are_refused_are_named_and_only_then_is_it_no_200() -> None:
    later = Refusal(503, "store-full", "", "full", 5)
    async with speaking(listmonk, account(["listmonk"], senders=("ACME",))) as house:
        house.door.verdict = lambda one: (
            Refusal(422, "no-number", "to", "none") if "2" in one.to[-1] else None
        )
        said: Any = (await posted(house, "/listmonk", CAMPAIGN)).json()
        assert said == {
            "accepted": 1,
            "refused": [{"to": "447700900002", "client_ref": "s-2", "error": "none", "code": "no-number"}],
        }
        house.door.verdict = lambda one: later
        answer = await posted(house, "/listmonk", CAMPAIGN)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        house.door.verdict = lambda one: Refusal(422, "no-number", "to", "none")
        assert (await posted(house, "/listmonk", CAMPAIGN)).status == 422


@trio_test
async def test_an_alert_becomes_a_text_for_each_receiver() -> None:
    async with speaking(alertmanager, account(["alertmanager"])) as house:
        target = "/alertmanager?to=447700900001,%2B447700900002&from=NOC"
        answer = await posted(house, target, ALERTS)
        assert (answer.status, answer.json()) == (200, {"accepted": 2, "refused": []})
        assert [one.to for one in house.door.taken] == ["447700900001", "+447700900002"]
        assert house.door.taken[0].text == "FIRING 2: DiskFull\ndisk of db1 is full\nresolved: instance=db2"
        assert house.door.taken[0].message_class == "transactional"


@trio_test
async def test_many_alerts_are_cut() -> None:
    many = {**ALERTS, "alerts": ALERTS["alerts"] * 50, "truncatedAlerts": 7}  # type: ignore[operator]
    async with speaking(alertmanager, account(["alertmanager"])) as house:
        assert (await posted(house, "/alertmanager?to=447700900001&from=NOC", many)).status == 200
        text = house.door.taken[0].text
        assert text is not None
        assert text.startswith("FIRING 107: DiskFull\n")
        assert len(text) <= 450
        assert text.endswith("...")


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        ("/listmonk", b"{", 400),
        ("/listmonk", {"body": "x"}, 422),
        ("/listmonk", {**CAMPAIGN, "body": "<p></p>"}, 422),
        ("/listmonk", {**CAMPAIGN, "recipients": [ANN] * 1_001}, 413),
        ("/listmonk?from=A&class=urgent", CAMPAIGN, 422),
        ("/listmonk", CAMPAIGN, 422),
    ],
)
@trio_test
async def test_what_cannot_be_read_is_refused_whole(target: str, body: object, status: int) -> None:
    async with speaking(listmonk, account(["listmonk"])) as house:
        answer = await posted(house, target, body)
        assert answer.status == status
        assert not house.door.taken


@trio_test
async def test_without_a_right_password_it_is_401() -> None:
    async with speaking(listmonk, account(["listmonk"])) as house:
        answer = await posted(house, "/listmonk", CAMPAIGN, "Authorization: Basic eDp5")
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Basic")


@trio_test
async def test_nobody_is_told_of_an_alert_without_receivers() -> None:
    async with speaking(alertmanager, account(["alertmanager"])) as house:
        answer = await posted(house, "/alertmanager?from=NOC", ALERTS)
        assert answer.status == 422
        assert "?to=" in answer.body.decode()


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<h1>A</h1>\n<p>b <a href='x'>c</a></p>", "A\n\nb c"),
        ("<script>x<y</script>a<br/>b", "a\nb"),
        ("&lt;3 &euro;", "<3 €"),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        ("a<STYLE>x</style ><script>y</script>b<script>c", "abc"),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert plain(html) == text


@pytest.mark.parametrize("piece", ["<", "<br", "<script>", "</script ", "<script></style "])
def test_html_takes_time_in_proportion_to_its_length(piece: str) -> None:
    began = time.process_time()
    plain(piece * 100_000)
    assert time.process_time() - began < 5  # not minutes
