"""The v1 message endpoints before a fake door: what is taken, what is refused and how, and lookups."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio.testing

from gateway.door import Accepted, Keep, Refusal, Submission
from gateway.http.auth import Keys, new_key
from gateway.http.messages import MessageApi
from gateway.http.once import Once
from gateway.http.routes import Routes
from router.nouns import (
    Account,
    Encoding,
    Message,
    MessageState,
    Part,
    Phase,
    Progress,
    Reason,
    Step,
)
from store.interface import Remembered
from tests.gateway.house import accepted
from tests.gateway.http.wire import WALL_MS, Answer, Client, Serving, guard, request, serving
from tests.trio_case import trio_test

KEY, PREFIX, HASH = new_key()
OTHER_KEY, _, OTHER_HASH = new_key()
ACME = Account(id=7, name="acme", key_hashes=(HASH,), key_prefixes=(PREFIX,))
RIVAL = Account(id=8, name="rival", key_hashes=(OTHER_HASH,))
GOOD = {"to": "447700900123", "from": "ACME", "text": "Hello"}
FIRST_ID = 4_611_686_018_427_387_904


class FakeDoor:
    """Accepts everything, or what `verdict` says; answers at once, or when `commit` is called."""

    def __init__(self) -> None:
        self.taken: list[tuple[Account, Submission]] = []
        self.verdict: Callable[[Submission], Refusal | None] = lambda submission: None
        self.waits = False
        self.waiting: list[Callable[[], None]] = []
        self.memory = Memory()
        self.free = 1_000_000

    def room(self, account: Account) -> int:
        return self.free

    def submit(
        self,
        account: Account,
        requests: Sequence[Submission],
        done: Callable[[list[Accepted | Refusal]], None],
        *,
        keep: Keep = None,
    ) -> None:
        results: list[Accepted | Refusal] = []
        for submission in requests:
            refusal = self.verdict(submission)
            if refusal is not None:
                results.append(refusal)
                continue
            self.taken.append((account, submission))
            self.free -= 1
            results.append(
                accepted(
                    FIRST_ID + len(self.taken),
                    submission.sender,
                    submission.to.lstrip("+"),
                    submission.text,
                    submission.send_at_ms,
                    1_900_000_000_000,
                )
            )

        def commit() -> None:
            if keep is not None and any(isinstance(result, Accepted) for result in results):
                keep(results)(self.memory)  # type: ignore[arg-type]
            done(results)

        if self.waits:
            self.waiting.append(commit)
        else:
            commit()


class Memory:
    """A store that only remembers requests."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, bytes], Remembered] = {}

    def remember(self, account: int, key: bytes, row: Remembered) -> None:
        self.rows[account, key] = row

    def remembered(self, account: int, key: bytes) -> Remembered | None:
        return self.rows.get((account, key))


class FakeFinder:
    def __init__(self) -> None:
        self.messages: dict[tuple[int, int], tuple[Message, Progress]] = {}

    def find(self, account: int, id: int) -> tuple[Message, Progress] | None:
        return self.messages.get((account, id))

    def find_any(self, id: int) -> tuple[Message, Progress] | None:
        return next((found for (_, one), found in self.messages.items() if one == id), None)

    def carrier_name(self, id: int) -> str:
        return {1: "north", 2: "south"}[id]


class House:
    def __init__(self, serving: Serving, door: FakeDoor, finder: FakeFinder) -> None:
        self.door = door
        self.finder = finder
        self.serving = serving
        self.client: Client = serving.client()

    async def post(self, body: object, target: str = "/v1/messages", key: str = KEY) -> Answer:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.ask(post(raw, target, key))

    async def get(self, target: str, key: str = KEY) -> Answer:
        return await self.client.ask(request(target, headers=(f"Authorization: Bearer {key}",)))


def post(raw: bytes, target: str = "/v1/messages", key: str = KEY) -> bytes:
    headers = ("Content-Type: application/json", f"Authorization: Bearer {key}")
    return request(target, raw, headers=headers, method="POST")


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    door, finder = FakeDoor(), FakeFinder()
    routes = Routes(guard(Keys([ACME, RIVAL], trio.current_time)))
    once = Once(door.memory, lambda: WALL_MS)
    MessageApi(door, finder, once).add_to(routes)
    async with serving(routes) as running:
        yield House(running, door, finder)


@trio_test
async def test_a_message_is_answered_202_with_its_id_and_place() -> None:
    async with house() as here:
        answer = await here.post({**GOOD, "client_ref": "order 17"})
        assert answer.status == 202
        assert answer.headers["location"] == f"/v1/messages/{FIRST_ID + 1}"
        assert answer.json() == {
            "id": str(FIRST_ID + 1),
            "state": "ENROUTE",
            "segments": 1,
            "encoding": "gsm7",
            "to": "447700900123",
            "from": "ACME",
            "expires_at": "2030-03-17T17:46:40.000Z",
            "client_ref": "order 17",
        }
        assert here.door.taken == [(ACME, Submission("447700900123", "ACME", "Hello", client_ref="order 17"))]


@trio_test
async def test_nothing_is_answered_before_the_commit() -> None:
    async with house() as here:
        here.door.waits = True
        await here.client.send(post(msgspec.json.encode(GOOD)))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await here.client.answer()
            raise AssertionError("answered before the commit")
        here.door.waiting[0]()
        assert (await here.client.answer()).status == 202


@trio_test
async def test_every_field_reaches_the_door() -> None:
    async with house() as here:
        answer = await here.post(
            {
                "to": "+447700900123",
                "from": "12345",
                "data": "00fF",
                "encoding": "binary",
                "validity_s": 3600,
                "send_at": "2030-01-31T10:30:00.250+01:00",
                "priority": 3,
                "class": "otp",
                "tags": ["a", "b"],
                "callback_url": "https://example.com/hook",
                "client_ref": "r",
                "receipt": "all",
            }
        )
        assert answer.status == 202, answer.body
        body: Any = answer.json()
        assert (body["state"], body["send_at"]) == ("SCHEDULED", "2030-01-31T09:30:00.250Z")
        assert here.door.taken[0][1] == Submission(
            to="+447700900123",
            sender="12345",
            text=None,
            data=b"\x00\xff",
            encoding="binary",
            validity_s=3600,
            send_at_ms=1_896_082_200_250,
            priority=3,
            message_class="otp",
            tags=("a", "b"),
            callback_url="https://example.com/hook",
            client_ref="r",
            receipt="all",
        )


@trio_test
async def test_null_means_left_out() -> None:
    optional = ("data", "encoding", "validity_s", "send_at", "priority", "class", "tags", "callback_url")
    async with house() as here:
        nulls = dict.fromkeys((*optional, "client_ref", "receipt"))
        assert (await here.post({**GOOD, **nulls})).status == 202
        assert here.door.taken[0][1] == Submission("447700900123", "ACME", "Hello")


# name → (change to a good message, the field named, a word of what is allowed)
BAD_FIELDS: dict[str, tuple[dict[str, object], str, str]] = {
    "to a number": ({"to": 447700900123}, "to", "string"),
    "to empty": ({"to": ""}, "to", "required"),
    "to too long": ({"to": "4" * 33}, "to", "country code"),
    "to null": ({"to": None}, "to", "required"),
    "from an object": ({"from": {"name": "ACME"}}, "from", "required"),
    "text a list": ({"text": ["Hello"]}, "text", "string"),
    "text empty": ({"text": ""}, "text", "1 to 39015"),
    "text beyond all parts": ({"text": "x" * 39_016}, "text", "1 to 39015"),
    "data not hex": ({"text": None, "data": "xyz!"}, "data", "hexadecimal"),
    "data odd": ({"text": None, "data": "abc"}, "data", "hexadecimal"),
    "data empty": ({"text": None, "data": ""}, "data", "hexadecimal"),
    "data with a line end": ({"text": None, "data": "ab\n"}, "data", "hexadecimal"),
    "text and data": ({"data": "ab"}, "text", "not both"),
    "neither text nor data": ({"text": None}, "text", "either text or data"),
    "encoding unknown": ({"encoding": "utf-8"}, "encoding", "gsm7"),
    "encoding a number": ({"encoding": 0}, "encoding", "gsm7"),
    "validity zero": ({"validity_s": 0}, "validity_s", "at least 1"),
    "validity a fraction": ({"validity_s": 1.5}, "validity_s", "whole number"),
    "validity a string": ({"validity_s": "60"}, "validity_s", "whole number"),
    "validity endless": ({"validity_s": 10**30}, "validity_s", "whole number"),
    "send_at without zone": ({"send_at": "2030-01-31T10:30:00"}, "send_at", "zone"),
    "send_at no time": ({"send_at": "tomorrow"}, "send_at", "RFC 3339"),
    "send_at a number": ({"send_at": 1_900_000_000}, "send_at", "RFC 3339"),
    "priority too high": ({"priority": 4}, "priority", "0 to 3"),
    "priority true": ({"priority": True}, "priority", "0 to 3"),
    "class unknown": ({"class": "urgent"}, "class", "otp"),
    "tags a string": ({"tags": "a"}, "tags", "list"),
    "too many tags": ({"tags": ["t"] * 11}, "tags", "at most 10"),
    "a long tag": ({"tags": ["t" * 65]}, "tags", "64"),
    "a tag no string": ({"tags": [1]}, "tags", "64"),
    "callback_url too long": ({"callback_url": "https://" + "x" * 2048}, "callback_url", "2048"),
    "client_ref too long": ({"client_ref": "x" * 65}, "client_ref", "64"),
    "receipt unknown": ({"receipt": "yes"}, "receipt", "none, final, all"),
    "unknown field": ({"colour": "red"}, "colour", "unknown field"),
    "misspelt field": ({"vallidity_s": 5}, "vallidity_s", "did you mean validity_s?"),
    "reserved topic": ({"topic": "x"}, "topic", "not enabled"),
    "reserved recipient_zone": ({"recipient_zone": "x"}, "recipient_zone", "not enabled"),
    "reserved template": ({"template": "x"}, "template", "not enabled"),
    "reserved variables": ({"variables": {}}, "variables", "not enabled"),
    "reserved campaign": ({"campaign": 1}, "campaign", "not enabled"),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
@trio_test
async def test_a_bad_field_is_named_with_what_is_allowed_and_nothing_stored(name: str) -> None:
    change, field, allowed = BAD_FIELDS[name]
    async with house() as here:
        answer = await here.post({**GOOD, **change})
        assert answer.status == 422, answer.body
        assert answer.headers["content-type"] == "application/problem+json"
        problem: Any = answer.json()
        assert (problem["status"], problem["instance"]) == (422, "/v1/messages")
        assert [error["field"] for error in problem["errors"]] == [field]
        assert allowed in problem["errors"][0]["detail"]
        assert field in problem["detail"]
        assert here.door.taken == []
        batch = await here.post([GOOD, {**GOOD, **change}], "/v1/messages/batch")
        results: Any = batch.json()
        assert (results["accepted"], results["refused"]) == (1, 1)
        assert results["results"][1]["errors"] == problem["errors"]


@trio_test
async def test_all_wrong_fields_are_named_at_once() -> None:
    async with house() as here:
        problem: Any = (await here.post({"to": 1, "priority": 9, "topic": "x", "colour": "red"})).json()
        assert [error["field"] for error in problem["errors"]] == [
            "to",
            "priority",
            "topic",
            "colour",
            "from",
        ]


BAD_BODIES = {
    "empty": (b"", 400),
    "not JSON": (b"to=447700900123&text=Hello", 400),
    "cut short": (b'{"to": "4477', 400),
    "two objects": (b"{} {}", 400),
    "single quotes": (b"{'to': '447700900123'}", 400),
    "not UTF-8": (b'{"to": "447700900123", "from": "A", "text": "\xff\xfe"}', 422),
    "half a surrogate pair": (b'{"to": "447700900123", "from": "A", "text": "\\ud83d"}', 400),
    "nested to death": (b'{"x":' + b"[" * 100_000, 400),
    "a string": (b'"hello"', 422),
    "a number": (b"1", 422),
    "null": (b"null", 422),
    "an empty object": (b"{}", 422),
}


@pytest.mark.parametrize("target", ["/v1/messages", "/v1/messages/batch"])
@pytest.mark.parametrize("name", BAD_BODIES)
@trio_test
async def test_a_body_that_is_no_message_is_a_problem_and_nothing_stored(name: str, target: str) -> None:
    raw, status = BAD_BODIES[name]
    async with house() as here:
        answer = await here.post(raw, target)
        assert answer.status == status, answer.body
        assert answer.headers["content-type"] == "application/problem+json"
        problem: Any = answer.json()
        assert problem["detail"]
        assert "Traceback" not in problem["detail"]
        assert here.door.taken == []
        assert (await here.post(GOOD)).status == 202


@trio_test
async def test_a_list_sent_to_the_single_endpoint_is_refused() -> None:
    async with house() as here:
        assert (await here.post([GOOD])).status == 422


@trio_test
async def test_a_body_of_another_type_is_a_415_that_says_which() -> None:
    async with house() as here:
        headers = (f"Authorization: Bearer {KEY}", "Content-Type: application/x-www-form-urlencoded")
        answer = await here.client.ask(request("/v1/messages", b"to=1", headers=headers))
        assert answer.status == 415
        assert b"Content-Type: application/json" in answer.body
        for kind in ("application/json; charset=utf-8", "application/vnd.acme+json"):
            headers = (f"Authorization: Bearer {KEY}", f"Content-Type: {kind}")
            answer = await here.client.ask(
                request("/v1/messages", msgspec.json.encode(GOOD), headers=headers)
            )
            assert answer.status == 202


@trio_test
async def test_the_doors_refusal_becomes_a_problem_with_its_field() -> None:
    async with house() as here:
        here.door.verdict = lambda submission: Refusal(
            422, "no-route", "to", "no route for numbers like 4477…"
        )
        answer = await here.post(GOOD)
        assert answer.status == 422
        assert answer.json() == {
            "type": "urn:signalbox:problem:no-route",
            "title": "No route",
            "status": 422,
            "detail": "no route for numbers like 4477…",
            "instance": "/v1/messages",
            "errors": [{"field": "to", "detail": "no route for numbers like 4477…"}],
        }


@trio_test
async def test_fm29_a_full_store_is_a_503_with_retry_after() -> None:
    async with house() as here:
        here.door.verdict = lambda submission: Refusal(503, "store-full", "", "the disk is full", 4.2)
        for body, target in ((GOOD, "/v1/messages"), ([GOOD, GOOD], "/v1/messages/batch")):
            answer = await here.post(body, target)
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")


@trio_test
async def test_a_batch_is_answered_one_by_one_and_in_order() -> None:
    def verdict(submission: Submission) -> Refusal | None:
        return Refusal(422, "no-route", "to", "no route") if submission.to.startswith("999") else None

    batch = [
        {**GOOD, "client_ref": "a"},
        {**GOOD, "to": "999"},
        {**GOOD, "priority": "high"},
        {**GOOD, "client_ref": "d"},
    ]
    async with house() as here:
        here.door.verdict = verdict
        for body in (batch, {"messages": batch}):
            answer = await here.post(body, "/v1/messages/batch")
            assert answer.status == 200
            results: Any = answer.json()
            assert (results["accepted"], results["refused"]) == (2, 2)
            assert [item["status"] for item in results["results"]] == [202, 422, 422, 202]
            assert [item.get("client_ref") for item in results["results"]] == ["a", None, None, "d"]
            assert results["results"][1]["errors"][0]["field"] == "to"
            assert results["results"][2]["errors"][0]["field"] == "priority"


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"messages": []},
        [GOOD] * 1001,
        {"messages": "none"},
        {"messages": [GOOD], "globals": {}},
        {"message": [GOOD]},
        "hello",
    ],
    ids=["empty", "empty list", "1001", "no list", "extra", "misspelt", "string"],
)
@trio_test
async def test_a_batch_of_the_wrong_shape_is_refused_as_a_whole(body: object) -> None:
    async with house() as here:
        answer = await here.post(body, "/v1/messages/batch")
        assert answer.status == 422
        assert here.door.taken == []


@trio_test
async def test_a_batch_of_a_thousand_is_taken() -> None:
    async with house() as here:
        answer = await here.post([GOOD] * 1000, "/v1/messages/batch")
        results: Any = answer.json()
        assert (answer.status, results["accepted"], len(results["results"])) == (200, 1000, 1000)


@trio_test
async def test_a_smaller_batch_limit_is_kept_and_told() -> None:
    routes = Routes(guard(Keys([ACME, RIVAL], trio.current_time)))
    once = Once(Memory(), lambda: WALL_MS)
    MessageApi(FakeDoor(), FakeFinder(), once, max_batch=3).add_to(routes)
    async with serving(routes) as running:
        client = running.client()
        answer = await client.ask(post(msgspec.json.encode([GOOD] * 4), "/v1/messages/batch"))
        assert answer.status == 422
        assert b"1 to 3 messages in one request; these are 4" in answer.body
        answer = await client.ask(post(msgspec.json.encode([GOOD] * 3), "/v1/messages/batch"))
        assert answer.status == 200


@trio_test
async def test_a_batch_with_nothing_good_in_it_never_reaches_the_door() -> None:
    async with house() as here:
        answer = await here.post([1, {}, None], "/v1/messages/batch")
        results: Any = answer.json()
        assert answer.status == 200
        assert [item["status"] for item in results["results"]] == [422, 422, 422]


MESSAGE = Message(
    id=5_000_000_000,
    account=7,
    accepted_ms=1_900_000_000_001,
    source="ACME",
    source_ton=5,
    source_npi=0,
    destination="447700900123",
    encoding=Encoding.GSM7,
    text="Hello",
    data=b"",
    segments=1,
    lane=1,
    priority=2,
    message_class=1,
    send_at_ms=0,
    expires_ms=1_900_086_400_001,
    receipt=1,
    route="uk",
    client_ref="order 17",
    tags=("a",),
)


@trio_test
async def test_a_message_is_shown_with_its_whole_timeline() -> None:
    progress = Progress(
        phase=Phase.FINAL,
        state=MessageState.DELIVERED,
        reason=Reason.RECEIPT,
        attempts=1,
        finished_ms=1_900_000_003_000,
        parts=[Part(1, "abc123", MessageState.DELIVERED, "000")],
        events=[
            (1_900_000_000_001, Step.ACCEPTED, 0, ""),
            (1_900_000_001_000, Step.SENT, 1, "abc123"),
            (1_900_000_003_000, Step.RECEIPT, 1, "DELIVRD err=000"),
        ],
    )
    async with house() as here:
        here.finder.messages[7, MESSAGE.id] = (MESSAGE, progress)
        answer = await here.get(f"/v1/messages/{MESSAGE.id}")
        assert answer.status == 200
        assert answer.json() == {
            "id": "5000000000",
            "state": "DELIVERED",
            "phase": "final",
            "final": True,
            "to": "447700900123",
            "from": "ACME",
            "text": "Hello",
            "encoding": "gsm7",
            "segments": 1,
            "priority": 2,
            "class": "transactional",
            "receipt": "final",
            "route": "uk",
            "reason": "receipt",
            "accepted_at": "2030-03-17T17:46:40.001Z",
            "expires_at": "2030-03-18T17:46:40.001Z",
            "finished_at": "2030-03-17T17:46:43.000Z",
            "attempts": 1,
            "tags": ["a"],
            "client_ref": "order 17",
            "parts": [
                {"carrier": "north", "carrier_message_id": "abc123", "state": "DELIVERED", "error": "000"}
            ],
            "timeline": [
                {"at": "2030-03-17T17:46:40.001Z", "step": "accepted"},
                {"at": "2030-03-17T17:46:41.000Z", "step": "sent", "carrier": "north", "detail": "abc123"},
                {
                    "at": "2030-03-17T17:46:43.000Z",
                    "step": "receipt",
                    "carrier": "north",
                    "detail": "DELIVRD err=000",
                },
            ],
        }


@trio_test
async def test_a_waiting_message_says_why_and_until_when() -> None:
    progress = Progress(
        phase=Phase.DEFERRED,
        state=MessageState.ENROUTE,
        reason=Reason.THROTTLED,
        until_ms=1_900_000_060_000,
        attempts=2,
        possible_duplicate=True,
    )
    binary = msgspec.structs.replace(MESSAGE, encoding=Encoding.BINARY, text="", data=b"\x00\xff")
    async with house() as here:
        here.finder.messages[7, MESSAGE.id] = (binary, progress)
        shown: Any = (await here.get(f"/v1/messages/{MESSAGE.id}")).json()
        assert (shown["phase"], shown["reason"], shown["final"]) == ("deferred", "throttled", False)
        assert shown["waiting_until"] == "2030-03-17T17:47:40.000Z"
        assert shown["possible_duplicate"] is True
        assert (shown["data"], "text" in shown) == ("00ff", False)
        assert [step["step"] for step in shown["timeline"]] == ["accepted"]


@trio_test
async def test_another_accounts_message_is_as_absent_as_an_unknown_one() -> None:
    async with house() as here:
        here.finder.messages[7, MESSAGE.id] = (MESSAGE, Progress(phase=Phase.READY, state=1))
        here.finder.messages[8, MESSAGE.id] = here.finder.messages[7, MESSAGE.id]  # even if a store slipped
        theirs = await here.get(f"/v1/messages/{MESSAGE.id}", OTHER_KEY)
        unknown = await here.get("/v1/messages/1", OTHER_KEY)
        assert (theirs.status, unknown.status) == (404, 404)
        assert theirs.body.replace(str(MESSAGE.id).encode(), b"1") == unknown.body
        assert (await here.get(f"/v1/messages/{MESSAGE.id}")).status == 200


@pytest.mark.parametrize(
    "shown", ["0", "-1", "1e3", "abc", "9" * 19, "9" * 400, "%31", "٣", "%00", "1/2", ""]
)
@trio_test
async def test_an_impossible_id_is_a_404(shown: str) -> None:
    async with house() as here:
        target = f"/v1/messages/{shown}".encode().decode("latin-1")
        raw = f"GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode("latin-1")
        answer = await here.client.ask(raw)
        assert answer.status in (400, 404)


@pytest.mark.parametrize("target", ["/v1/messages", "/v1/messages/batch", "/v1/messages/1"])
@trio_test
async def test_without_a_key_nothing_is_done_and_the_answer_says_what_to_do(target: str) -> None:
    async with house() as here:
        is_get = target.endswith("/1")
        body = b"" if is_get else msgspec.json.encode(GOOD)
        for headers in ((), ("Authorization: Basic YTpi",), ("Authorization: Bearer sbk_0_0",)):
            answer = await here.client.ask(request(target, body, headers=headers))
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert b"Authorization: Bearer sbk_" in answer.body
            assert b"signalbox account create" in answer.body
        assert here.door.taken == []


@trio_test
async def test_one_pipeline_of_submits_is_one_commit_and_one_send() -> None:
    async with house() as here:
        here.door.waits = True
        await here.client.send(post(msgspec.json.encode(GOOD)) * 30)
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.door.waiting) == 30
        for commit in here.door.waiting:
            commit()
        data = await here.client.stream.receive_some(65_536)
        assert data.count(b"202 Accepted") == 30
