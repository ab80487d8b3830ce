"""Messages as lines: taken and answered one by one, in bounded memory, and cut off politely."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.door import Refusal, Submission
from gateway.http.auth import Keys, new_key
from gateway.http.once import Once
from gateway.http.routes import Routes
from gateway.http.settings import HttpSettings
from gateway.http.stream import LONGEST_LINE, MOST_UNANSWERED, MessageStream
from gateway.http.table import messages
from router.nouns import Account
from tests.gateway.house import carrier, route, running
from tests.gateway.http.test_messages import FakeDoor
from tests.gateway.http.wire import WALL_MS, Client, Serving, echo, guard, request, serving
from tests.trio_case import trio_test

KEY, PREFIX, HASH = new_key()
ACME = Account(id=7, name="acme", key_hashes=(HASH,), key_prefixes=(PREFIX,))
GOOD = b'{"to":"447700900123","from":"ACME","text":"Hello"}'
HEAD = (
    b"POST /v1/messages/stream HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n"
    b"Content-Type: application/x-ndjson\r\n"
)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class House:
    def __init__(self, running: Serving, door: FakeDoor, keys: Keys) -> None:
        self.running = running
        self.door = door
        self.keys = keys
        self.client = running.client()


@asynccontextmanager
async def house(**limits: Any) -> AsyncIterator[House]:
    door, keys = FakeDoor(), Keys([ACME], trio.current_time)
    routes = Routes(guard(keys))
    routes.serve(
        messages.SEND_STREAM, MessageStream(door, keys, Once(door.memory, lambda: WALL_MS)).streaming
    )
    routes.add("POST", "/echo", echo)
    async with serving(routes, HttpSettings(**limits)) as running:
        yield House(running, door, keys)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def more(client: Client) -> None:
    data = await client.stream.receive_some(65_536)
    assert data, client.received
    client.received += data


async def lines_of(client: Client, count: int = 0) -> list[dict[str, Any]]:
    """Lines of one chunked answer: so many, else all of them with the end of the answer."""
    while b"\r\n\r\n" not in client.received:
        await more(client)
    head, _, client.received = client.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    assert b"Transfer-Encoding: chunked" in head
    return await rest_of(client, count)


async def rest_of(client: Client, count: int = 0) -> list[dict[str, Any]]:
    found = b""
    while not count or found.count(b"\n") < count:
        while b"\r\n" not in client.received:
            await more(client)
        size, _, rest = client.received.partition(b"\r\n")
        length = int(size, 16)
        while len(rest) < length + 2:
            client.received = b""
            await more(client)
            rest += client.received
        found += rest[:length]
        client.received = rest[length + 2 :]
        if not length:
            break
    return [json.loads(line) for line in found.splitlines()]


@trio_test
async def test_every_line_is_answered_with_its_number() -> None:
    async with house() as at:
        body = b"\n".join([GOOD, b"", b"{nonsense", b'  {"to":"1"}', b"\r", GOOD])
        await at.client.send(whole(body))
        *answers, end = await lines_of(at.client)
        assert [one["line"] for one in answers] == [1, 3, 4, 6]
        assert [one["status"] for one in answers] == [202, 400, 422, 202]
        assert answers[0]["id"] != answers[3]["id"]
        assert answers[1]["type"] == "urn:signalbox:problem:malformed-json"
        assert {one["field"] for one in answers[2]["errors"]} == {"from"}
        assert end == {"done": True, "lines": 6, "accepted": 2, "refused": 2, "problem": None}


@trio_test
async def test_the_connection_goes_on_after_it() -> None:
    async with house() as at:
        await at.client.send(whole(GOOD + b"\n") + request("/echo", b"after") + whole(GOOD))
        assert len(await lines_of(at.client)) == 2
        assert (await at.client.answer()).body == b"after"
        assert len(await lines_of(at.client)) == 2


@trio_test
async def test_it_stands_behind_the_answers_before_it() -> None:
    async with house() as at:
        await at.client.send(request("/echo", b"before") + whole(GOOD))
        assert (await at.client.answer()).body == b"before"
        assert len(await lines_of(at.client)) == 2


@trio_test
async def test_lines_are_answered_while_others_are_still_to_come() -> None:
    async with house() as at:
        await at.client.send(CHUNKED + chunk(GOOD + b"\n" + GOOD[:10]))
        (first,) = await lines_of(at.client, 1)
        assert (first["line"], first["status"]) == (1, 202)
        await at.client.send(chunk(GOOD[10:]) + b"0\r\n\r\n")
        second, end = await rest_of(at.client)
        assert (second["line"], end["lines"], end["done"]) == (2, 2, True)


@trio_test
async def test_it_may_be_cut_into_any_pieces() -> None:
    body = GOOD + b"\n\n" + GOOD + b"\r\n" + b"nothing"
    framed = CHUNKED + chunk(body[:40]) + chunk(body[40:]) + b"0\r\n\r\n"
    async with house() as at:
        for size in (1, 2, 3, 7, 64):
            client = at.running.client()
            for start in range(0, len(framed), size):
                await client.send(framed[start : start + size])
                await trio.testing.wait_all_tasks_blocked()
            *answers, end = await lines_of(client)
            assert [one["status"] for one in answers] == [202, 202, 400]
            assert end["lines"] == 4


@trio_test
async def test_an_empty_stream_is_answered_too() -> None:
    async with house() as at:
        for framed in (whole(b""), CHUNKED + b"0\r\n\r\n", whole(b"\n\n")):
            await at.client.send(framed)
            (end,) = await lines_of(at.client)
            assert (end["done"], end["accepted"]) == (True, 0)


@trio_test
async def test_a_line_that_is_too_long_is_one_bad_line() -> None:
    async with house() as at:
        await at.client.send(whole(GOOD + b"\n" + b"x" * (LONGEST_LINE + 1) + b"\n" + GOOD))
        *answers, end = await lines_of(at.client)
        assert [one["status"] for one in answers] == [202, 413, 202]
        assert end["done"]


@trio_test
async def test_no_answer_before_the_commit_and_no_reading_beyond_what_is_unanswered() -> None:
    async with house() as at:
        at.door.waits = True
        count = 3 * MOST_UNANSWERED
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.client.send, whole((GOOD + b"\n") * count))
            await trio.testing.wait_all_tasks_blocked()
            taken = len(at.door.taken)
            assert MOST_UNANSWERED <= taken < count
            assert at.client.received == b""
            at.door.waits = False
            for commit in at.door.waiting:
                commit()
            answers = await lines_of(at.client)
        assert [one["line"] for one in answers[:-1]] == list(range(1, count + 1))
        assert answers[-1]["accepted"] == count


@trio_test
async def test_commits_that_come_in_another_order_are_answered_in_the_order_of_the_lines() -> None:
    async with house() as at:
        at.door.waits = True
        for _ in range(2):
            await at.client.send((CHUNKED if not at.door.waiting else b"") + chunk(GOOD + b"\n"))
            await trio.testing.wait_all_tasks_blocked()
        await at.client.send(chunk(b"?\n") + b"0\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        first, second = at.door.waiting
        second()
        first()
        assert [one.get("line") for one in await lines_of(at.client)] == [1, 2, 3, None]


@trio_test
async def test_lines_that_the_door_refuses_say_why() -> None:
    async with house() as at:
        at.door.verdict = lambda one: Refusal(429, "queue-full", "", "full", 5) if one.text == "b" else None
        await at.client.send(whole(GOOD + b"\n" + GOOD.replace(b"Hello", b"b")))
        first, second, end = await lines_of(at.client)
        assert (first["status"], second["status"], end["refused"]) == (202, 429, 1)


def keyed(body: bytes, key: bytes = b"k") -> bytes:
    return whole(body).replace(b"Host: gateway", b"Host: gateway\r\nIdempotency-Key: " + key)


def saying(*texts: bytes) -> bytes:
    return b"\n".join(GOOD.replace(b"Hello", text) for text in texts)


@trio_test
async def test_a_stream_sent_again_with_its_key_takes_only_the_lines_that_were_not() -> None:
    async with house() as at:
        await at.client.send(keyed(saying(b"a", b"b")))
        first = await lines_of(at.client)
        await at.client.send(keyed(saying(b"a", b"b", b"c")))
        again = await lines_of(at.client)
        assert [one.text for _, one in at.door.taken] == ["a", "b", "c"]
        assert again[:2] == first[:2]
        assert (again[2]["line"], again[2]["status"], again[3]["accepted"]) == (3, 202, 3)
        await at.client.send(keyed(saying(b"a"), b"another"))
        assert (await lines_of(at.client))[0]["id"] != first[0]["id"]


@trio_test
async def test_a_line_with_another_text_under_the_same_key_is_refused_alone() -> None:
    async with house() as at:
        await at.client.send(keyed(saying(b"a", b"b")))
        await lines_of(at.client)
        await at.client.send(keyed(saying(b"a", b"x")))
        one, other, _ = await lines_of(at.client)
        assert (one["status"], other["status"]) == (202, 422)
        assert other["type"].endswith("idempotency-key-reused")
        assert len(at.door.taken) == 2


@trio_test
async def test_a_line_that_was_refused_is_tried_anew_with_the_same_key() -> None:
    async with house() as at:
        at.door.verdict = lambda one: Refusal(429, "queue-full", "", "full", 5) if one.text == "b" else None
        await at.client.send(keyed(saying(b"a", b"b")))
        assert [one["status"] for one in (await lines_of(at.client))[:2]] == [202, 429]
        at.door.verdict = lambda one: None
        await at.client.send(keyed(saying(b"a", b"b")))
        assert [one["status"] for one in (await lines_of(at.client))[:2]] == [202, 202]
        assert [one.text for _, one in at.door.taken] == ["a", "b"]


@trio_test
async def test_a_line_that_is_under_way_in_another_stream_is_told_to_wait() -> None:
    async with house() as at:
        at.door.waits = True
        await at.client.send(keyed(saying(b"a")))
        await trio.testing.wait_all_tasks_blocked()
        other = at.running.client()
        await other.send(keyed(saying(b"a")))
        told = (await lines_of(other))[0]
        assert (told["status"], told["type"].rsplit(":", 1)[1]) == (409, "still-running")
        at.door.waiting.pop()()
        assert (await lines_of(at.client))[0]["status"] == 202
        assert len(at.door.taken) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((KEY.encode(), b"sbk_no"), 401),
        ((b"application/x-ndjson", b"application/json"), 415),
        ((b"Host: gateway", b"Host: gateway\r\nIdempotency-Key: "), 400),
        ((b"Host: gateway", b"Host: gateway\r\nContent-Encoding: br"), 415),
    ],
)
def test_what_is_no_stream_is_refused_at_once(change: tuple[bytes, bytes], status: int) -> None:
    @trio_test
    async def run() -> None:
        async with house() as at:
            await at.client.send(CHUNKED.replace(*change))
            answer = await at.client.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert at.door.taken == []

    run()


@trio_test
async def test_expect_100_continue_is_answered_before_the_body() -> None:
    async with house() as at:
        await at.client.send(CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        while not at.client.received:
            await more(at.client)
        assert at.client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
        at.client.received = b""
        await at.client.send(chunk(GOOD) + b"0\r\n\r\n")
        assert len(await lines_of(at.client)) == 2


@trio_test
async def test_http_1_0_gets_lines_until_the_connection_ends() -> None:
    async with house() as at:
        await at.client.send(whole(GOOD).replace(b"HTTP/1.1", b"HTTP/1.0"))
        received = b""
        while data := await at.client.stream.receive_some(65_536):
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert [json.loads(line).get("line") for line in body.splitlines()] == [1, None]


@trio_test(mock_clock=True)
async def test_a_line_that_does_not_come_to_an_end_ends_the_stream() -> None:
    async with house(body_timeout_s=30.0, idle_timeout_s=75.0) as at:
        await at.client.send(CHUNKED + chunk(GOOD + b"\n"))
        await trio.sleep(60)
        await at.client.send(chunk(GOOD[:5]))
        await trio.sleep(20)
        await at.client.send(chunk(GOOD[5:10]))
        begun = trio.current_time()
        first, end = await lines_of(at.client)
        assert 9 < trio.current_time() - begun < 11
        assert first["status"] == 202
        assert (end["done"], end["lines"], end["problem"]["status"]) == (False, 1, 408)
        assert end["problem"]["detail"].endswith("go on with line 2")
        assert await at.client.closed()


@trio_test(mock_clock=True)
async def test_silence_between_lines_ends_it_too() -> None:
    async with house(idle_timeout_s=75.0) as at:
        await at.client.send(CHUNKED + chunk(GOOD + b"\n"))
        *_, end = await lines_of(at.client)
        assert 74 < trio.current_time() < 77
        assert end["done"] is False


@trio_test(mock_clock=True)
async def test_a_commit_that_takes_long_is_not_the_peers_fault() -> None:
    async with house(body_timeout_s=1.0, idle_timeout_s=1.0) as at:
        at.door.waits = True
        body = (GOOD + b"\n") * MOST_UNANSWERED
        await at.client.send(CHUNKED + chunk(body))
        await trio.sleep(60)
        at.door.waits = False
        for commit in at.door.waiting:
            commit()
        await at.client.send(chunk(GOOD + b"\n") + b"0\r\n\r\n")
        assert (await lines_of(at.client))[-1]["done"]


@trio_test
async def test_a_body_that_breaks_off_is_answered_up_to_there() -> None:
    async with house() as at:
        await at.client.send(CHUNKED + chunk(GOOD + b"\n" + GOOD[:9]))
        stream = at.client.stream
        assert isinstance(stream, trio.abc.HalfCloseableStream)
        await stream.send_eof()
        first, end = await lines_of(at.client)
        assert (first["status"], end["done"], end["lines"]) == (202, False, 1)


@trio_test
async def test_a_broken_chunk_ends_it() -> None:
    async with house() as at:
        await at.client.send(CHUNKED + chunk(GOOD + b"\n") + b"zz\r\n")
        first, end = await lines_of(at.client)
        assert (first["status"], end["problem"]["type"]) == (202, "urn:signalbox:problem:bad-chunk")
        assert await at.client.closed()


@trio_test(mock_clock=True)
async def test_a_stop_ends_it_after_the_last_commit_and_says_so() -> None:
    async with house() as at:
        at.door.waits = True
        await at.client.send(CHUNKED + chunk((GOOD + b"\n") * 2 + GOOD[:10]))
        await trio.testing.wait_all_tasks_blocked()
        at.running.server.stop()
        await trio.sleep(1)
        for commit in at.door.waiting:
            commit()
        *answers, end = await lines_of(at.client)
        assert [one["status"] for one in answers] == [202, 202]
        assert (end["done"], end["lines"], end["problem"]["status"]) == (False, 2, 503)


@trio_test
async def test_a_key_that_ends_ends_its_streams() -> None:
    async with house() as at:
        await at.client.send(CHUNKED + chunk(GOOD + b"\n"))
        await lines_of(at.client, 1)
        at.keys.rebuild([])
        await at.client.send(chunk(b"\n" + GOOD + b"\n"))
        (end,) = await rest_of(at.client)
        assert (end["done"], end["lines"], end["problem"]["status"]) == (False, 2, 401)
        assert await at.client.closed()
        assert len(at.door.taken) == 1


@trio_test(mock_clock=True)
async def test_a_peer_that_does_not_read_is_cut_off_in_bounded_memory() -> None:
    async with house(max_unsent_bytes=65_536, write_timeout_s=30.0) as at:
        stream = at.running.listener.connect(lockstep=True)
        sent = 0
        await stream.send_all(CHUNKED)
        try:
            while sent < 100:
                await stream.send_all(chunk(b"?\n" * 20_000))
                sent += 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        assert sent < 4, "what is unanswered is not read"
        assert 29 < trio.current_time() < 32


@trio_test
async def test_a_peer_that_goes_leaves_nothing_behind() -> None:
    async with house() as at:
        at.door.waits = True
        await at.client.send(CHUNKED + chunk(GOOD + b"\n"))
        await trio.testing.wait_all_tasks_blocked()
        await at.client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        for commit in at.door.waiting:
            commit()
        await trio.testing.wait_all_tasks_blocked()
        assert [one[1].text for one in at.door.taken] == ["Hello"]
        assert isinstance(at.door.taken[0][1], Submission)


@trio_test(mock_clock=True)
async def test_an_accounts_tps_holds_its_lines_up_and_refuses_none(tmp_path: Path) -> None:
    async with running(tmp_path, "", tps=10.0, burst=5) as gateway:
        stream = await gateway.world.connect("127.0.0.1", gateway.http_port)
        client = Client(stream)
        body = GOOD.replace(b"ACME", b"12345") + b"\n"
        begun = trio.current_time()
        await client.send(whole(body * 35).replace(KEY.encode(), gateway.key.encode()))
        *answers, end = await lines_of(client)
        assert len(answers) == 35
        assert not [one for one in answers if one["status"] == 429]
        assert 2.5 < trio.current_time() - begun < 5
        assert end["done"]
        await stream.aclose()


@trio_test(mock_clock=True)
async def test_a_key_is_written_with_the_messages_of_its_lines(tmp_path: Path) -> None:
    async with running(tmp_path, carrier("north", 2790) + route("north")) as gateway:
        stream = await gateway.world.connect("127.0.0.1", gateway.http_port)
        client = Client(stream)
        body = keyed(saying(b"a", b"b").replace(b"ACME", b"12345")).replace(
            KEY.encode(), gateway.key.encode()
        )
        await client.send(body)
        first = await lines_of(client)
        await client.send(body)
        assert await lines_of(client) == first
        assert first[-1]["accepted"] == 2
        await stream.aclose()


@trio_test(mock_clock=True)
async def test_a_full_queue_holds_lines_up_for_a_while_and_then_has_them_refused() -> None:
    async with house() as at:
        at.door.free = 2
        at.door.waits = True
        body = (GOOD + b"\n") * 3
        await at.client.send(whole(body))
        await trio.sleep(1)
        assert len(at.door.taken) == 2
        at.door.free = 0
        for commit in at.door.waiting:
            commit()
        at.door.waits = False
        await trio.sleep(50)
        assert len(at.door.taken) == 2
        at.door.free = 5
        assert [one["status"] for one in (await lines_of(at.client))[:-1]] == [202, 202, 202]
        at.door.free = 0
        at.door.verdict = lambda one: Refusal(429, "queue-full", "", "full", 5)
        begun = trio.current_time()
        await at.client.send(whole(body))
        assert [one["status"] for one in (await lines_of(at.client))[:-1]] == [429, 429, 429]
        assert 59 < trio.current_time() - begun < 62
