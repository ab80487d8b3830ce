"""Requests that are sent again with their Idempotency-Key, before a fake door and a fake store."""

from __future__ import annotations

import zlib

import msgspec
import trio.testing

from gateway.door import Refusal
from gateway.http.once import _ALIKE, _packed
from gateway.http.retries import Answered
from tests.gateway.http.test_messages import GOOD, KEY, OTHER_KEY, House, house
from tests.gateway.http.wire import Answer, request
from tests.trio_case import trio_test


def asking(body: object, key: str = "k-1", target: str = "/v1/messages", owner: str = KEY) -> bytes:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    headers = ("Content-Type: application/json", f"Authorization: Bearer {owner}", f"Idempotency-Key: {key}")
    return request(target, raw, headers=headers, method="POST")


async def ask(at: House, *args: object, **named: object) -> Answer:
    return await at.client.ask(asking(*args, **named))  # type: ignore[arg-type]


@trio_test
async def test_the_same_request_is_answered_alike_and_done_once() -> None:
    async with house() as at:
        first = await ask(at, GOOD)
        again = await ask(at, GOOD)
        assert (first.status, again.status) == (202, 202)
        assert again.body == first.body
        assert again.headers["location"] == first.headers["location"]
        assert len(at.door.taken) == 1


@trio_test
async def test_the_same_batch_is_answered_alike_its_refusals_too() -> None:
    async with house() as at:
        body = [GOOD, {"to": "1"}, {**GOOD, "text": "x" * 500}]
        first = await ask(at, body, target="/v1/messages/batch")
        again = await ask(at, body, target="/v1/messages/batch")
        assert first.status == 200
        assert again.body == first.body
        assert len(at.door.taken) == 2


@trio_test
async def test_another_request_with_the_key_is_refused() -> None:
    async with house() as at:
        await ask(at, GOOD)
        other = await ask(at, {**GOOD, "text": "Other"})
        assert (other.status, other.json()["type"]) == (422, "urn:signalbox:problem:idempotency-key-reused")  # type: ignore[index]
        elsewhere = await ask(at, [GOOD], target="/v1/messages/batch")
        assert elsewhere.status == 422
        assert len(at.door.taken) == 1


@trio_test
async def test_keys_belong_to_accounts() -> None:
    async with house() as at:
        assert (await ask(at, GOOD)).status == 202
        assert (await ask(at, {**GOOD, "text": "Other"}, owner=OTHER_KEY)).status == 202
        assert len(at.door.taken) == 2


@trio_test
async def test_while_the_first_is_under_way_a_second_is_refused() -> None:
    async with house() as at:
        at.door.waits = True
        await at.client.send(asking(GOOD))
        await trio.testing.wait_all_tasks_blocked()
        other = await at.serving.client().ask(asking(GOOD))
        assert (other.status, other.headers["retry-after"]) == (409, "1")
        at.door.waiting.pop()()
        first = await at.client.answer()
        again = await at.serving.client().ask(asking(GOOD))
        assert again.body == first.body
        assert len(at.door.taken) == 1


@trio_test
async def test_what_was_refused_may_be_tried_again() -> None:
    async with house() as at:
        at.door.verdict = lambda submission: Refusal(503, "store-full", "", "full", 5)
        assert (await ask(at, GOOD)).status == 503
        assert (await ask(at, [GOOD], "k-2", "/v1/messages/batch")).status == 503
        at.door.verdict = lambda submission: None
        assert (await ask(at, GOOD)).status == 202
        assert (await ask(at, [GOOD], "k-2", "/v1/messages/batch")).status == 200
        assert len(at.door.taken) == 2


@trio_test
async def test_a_key_that_is_none_is_refused_before_anything_is_done() -> None:
    async with house() as at:
        for key in ("", "x" * 256, "k\xe9y"):
            answer = await ask(at, GOOD, key)
            assert (answer.status, at.door.taken) == (400, [])


@trio_test
async def test_heads_with_keys_do_not_push_out_those_that_come_again() -> None:
    async with house() as at:
        await at.post(GOOD)
        known = dict(at.serving.server.heads.known)
        for number in range(5):
            await ask(at, GOOD, f"k-{number}")
        assert at.serving.server.heads.known == known


def test_one_answer_takes_little_room() -> None:
    body = (
        b'{"id":"4611686018427387905","state":"ENROUTE","segments":1,"encoding":"gsm7","to":"447700900123",'
        b'"from":"ACME","expires_at":"2030-01-31T09:30:00.000Z"}'
    )
    headers = (("Content-Type", "application/json"), ("Location", "/v1/messages/4611686018427387905"))
    assert len(_packed(Answered(202, headers, body))) < 120


def test_the_words_that_answers_are_packed_with_never_change() -> None:
    """Rows in stores could not be read any more."""
    assert zlib.crc32(_ALIKE) == ALIKE


ALIKE = 3906387266
