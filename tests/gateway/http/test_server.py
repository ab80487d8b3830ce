"""The server before any endpoint: order, framing, limits, deadlines, refusals, a polite end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
import trio.testing

from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.server import HttpServer
from gateway.http.settings import HttpSettings
from tests.gateway.http.wire import JSON, WALL_MS, Client, MemoryListener, echo, request, serving
from tests.trio_case import trio_test


class Later:
    """A handler that answers when the test says so, as a commit would."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Request, Respond]] = []

    def __call__(self, request: Request, respond: Respond) -> None:
        self.waiting.append((request, respond))

    def answer(self, index: int) -> None:
        request, respond = self.waiting[index]
        respond(200, JSON, request.body)


def table(later: Later | None = None) -> Routes:
    routes = Routes()
    routes.add("GET", "/hello", lambda request, respond: respond(200, JSON, b'"hello"'))
    routes.add("POST", "/echo", echo)
    if later is not None:
        routes.add("POST", "/later", later)
    return routes


def chunk_sizes(data: bytes) -> Iterator[list[bytes]]:
    for size in (1, 2, 3, 7, 64, len(data)):
        yield [data[start : start + size] for start in range(0, len(data), size)]


@trio_test
async def test_a_request_is_answered_and_the_connection_stays() -> None:
    async with serving(table()) as house:
        client = house.client()
        for _ in range(3):
            answer = await client.ask(request("/echo", b"{}"))
            assert (answer.status, answer.body) == (200, b"{}")
            assert answer.headers["date"] == "Sun, 17 Mar 2030 17:46:40 GMT"
            assert "connection" not in answer.headers


@trio_test
async def test_requests_in_any_pieces_give_the_same_answers() -> None:
    pipeline = (
        request("/echo", b"one")
        + b"\r\n"
        + request("/hello")
        + request(
            "/echo", b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n", length=False, headers=CHUNKED
        )
        + request("/echo", b"last", headers=("Connection: close",))
    )
    for pieces in chunk_sizes(pipeline):
        async with serving(table()) as house:
            client = house.client()
            for piece in pieces:
                await client.send(piece)
            bodies = [(await client.answer()).body for _ in range(4)]
            assert bodies == [b"one", b'"hello"', b"abcde", b"last"]
            assert await client.closed()


CHUNKED = ("Transfer-Encoding: chunked",)


@trio_test
async def test_answers_leave_in_the_order_of_their_requests() -> None:
    later = Later()
    async with serving(table(later)) as house:
        client = house.client()
        await client.send(
            b"".join(request("/later", b"%d" % index) for index in range(4)) + request("/hello")
        )
        await trio.testing.wait_all_tasks_blocked()
        for index in (3, 1, 0):
            later.answer(index)
        assert [(await client.answer()).body for _ in range(2)] == [b"0", b"1"]
        await trio.testing.wait_all_tasks_blocked()
        assert client.received == b""
        later.answer(2)
        assert [(await client.answer()).body for _ in range(3)] == [b"2", b"3", b'"hello"']


@trio_test
async def test_answers_that_become_ready_together_leave_in_one_send() -> None:
    later = Later()
    async with serving(table(later)) as house:
        client = house.client()
        await client.send(b"".join(request("/later", b"%d" % index) for index in range(50)))
        await trio.testing.wait_all_tasks_blocked()
        for index in range(50):
            later.answer(index)
        data = await client.stream.receive_some(65_536)
        assert data.count(b"HTTP/1.1 200 OK") == 50


@trio_test
async def test_reading_pauses_at_the_pipeline_limit_and_goes_on_after() -> None:
    later = Later()
    async with serving(table(later), HttpSettings(max_pipelined=3)) as house:
        client = house.client()
        await client.send(b"".join(request("/later", b"%d" % index) for index in range(8)))
        await trio.testing.wait_all_tasks_blocked()
        assert len(later.waiting) == 3
        for index in range(8):
            await trio.testing.wait_all_tasks_blocked()
            later.answer(index)
            assert (await client.answer()).body == b"%d" % index


@trio_test
async def test_a_pipeline_over_the_limit_of_quick_answers_is_all_answered() -> None:
    async with serving(table(), HttpSettings(max_pipelined=3)) as house:
        client = house.client()
        await client.send(request("/hello") * 20)
        for _ in range(20):
            assert (await client.answer()).status == 200


@trio_test
async def test_head_is_answered_without_a_body_but_with_its_length() -> None:
    async with serving(table()) as house:
        client = house.client()
        await client.send(request("/hello", method="HEAD"))
        answer = await client.answer(to_head=True)
        assert (answer.status, answer.headers["content-length"], client.received) == (200, "7", b"")


@trio_test
async def test_expect_100_continue_gets_it_after_the_answers_before() -> None:
    later = Later()
    async with serving(table(later)) as house:
        client = house.client()
        await client.send(
            request("/later", b"first")
            + b"POST /echo HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        await trio.testing.wait_all_tasks_blocked()
        later.answer(0)
        assert (await client.answer()).body == b"first"
        assert (await client.answer()).status == 100
        assert (await client.ask(b"body")).body == b"body"


@trio_test
async def test_http_1_0_is_closed_after_the_answer_unless_it_asks_to_stay() -> None:
    async with serving(table()) as house:
        client = house.client()
        answer = await client.ask(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert answer.headers["connection"] == "keep-alive"
        answer = await client.ask(b"GET /hello HTTP/1.0\r\n\r\n")
        assert answer.headers["connection"] == "close"
        assert await client.closed()


@trio_test
async def test_an_async_handler_answers_in_its_turn() -> None:
    routes = table()

    async def slow(request: Request, respond: Respond) -> None:
        await trio.sleep(0)
        respond(200, JSON, b"slow")

    routes.add("GET", "/slow", slow)
    async with serving(routes) as house:
        client = house.client()
        await client.send(request("/slow") + request("/hello"))
        assert [(await client.answer()).body for _ in range(2)] == [b"slow", b'"hello"']


@trio_test
async def test_a_handler_that_fails_is_a_500_without_a_traceback() -> None:
    routes = table()

    def broken(request: Request, respond: Respond) -> None:
        raise RuntimeError("secret inside")

    async def broken_later(request: Request, respond: Respond) -> None:
        raise RuntimeError("secret inside")

    async def forgets(request: Request, respond: Respond) -> None:
        return

    for path, handler in (("/broken", broken), ("/broken-later", broken_later), ("/forgets", forgets)):
        routes.add("GET", path, handler)
    async with serving(routes) as house:
        client = house.client()
        for path in ("/broken", "/broken-later", "/forgets"):
            answer = await client.ask(request(path))
            assert answer.status == 500
            assert b"secret" not in answer.body
            assert b"Traceback" not in answer.body
        assert (await client.ask(request("/hello"))).status == 200


@trio_test
async def test_unknown_paths_and_methods_are_answered_with_what_there_is() -> None:
    async with serving(table()) as house:
        client = house.client()
        answer = await client.ask(request("/nowhere"))
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
        answer = await client.ask(request("/echo"))
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
        answer = await client.ask(request("/hello", method="OPTIONS"))
        assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


SMALL = HttpSettings(max_head_bytes=2000, max_target_bytes=500, max_headers=10, max_body_bytes=100)

REFUSED = {
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)), 400),
    "SMPP bind": (b"\x00\x00\x00\x2f\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01", 400),
    "garbage": (b"\x80\xff\xfe" * 50, 400),
    "lower case": (b"get / http/1.1\r\n\r\n", 400),
    "no such method": (b"FETCH /hello HTTP/1.1\r\nHost: g\r\n\r\n", 400),
    "no host": (b"GET /hello HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/3.1": (b"GET / HTTP/3.1\r\nHost: g\r\n\r\n", 400),
    "space before colon": (b"GET /hello HTTP/1.1\r\nHost : g\r\n\r\n", 400),
    "null in header": (b"GET /hello HTTP/1.1\r\nHost: g\0\r\n\r\n", 400),
    "bare LF": (b"GET /hello HTTP/1.1\nHost: g\n\nGET /hello HTTP/1.1\r\nHost: g\r\n\r\n", 400),
    "negative length": (b"POST /echo HTTP/1.1\r\nHost: g\r\nContent-Length: -1\r\n\r\n", 400),
    "two lengths": (b"POST /echo HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "length and chunked": (
        b"POST /echo HTTP/1.1\r\nHost: g\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "bad chunk size": (request("/echo", b"xyz\r\n", headers=CHUNKED, length=False), 400),
    "long chunk": (request("/echo", b"3\r\nabcdef\r\n0\r\n\r\n", headers=CHUNKED, length=False), 400),
    "chunk lines without CR": (request("/echo", b"3\nabc\n0\n\n", headers=CHUNKED, length=False), 400),
    "endless chunk extension": (request("/echo", b"3;" + b"x" * 9000, headers=CHUNKED, length=False), 400),
    "endless trailers": (
        request("/echo", b"0\r\n" + b"a: b\r\n" * 3000, headers=CHUNKED, length=False),
        431,
    ),
    "huge chunk": (request("/echo", b"ffffffffffffff\r\n", headers=CHUNKED, length=False), 413),
    "many chunks": (
        request("/echo", b"32\r\n" + b"a" * 50 + b"\r\n", headers=CHUNKED, length=False) * 3,
        400,
    ),
    "body over the limit": (request("/echo", b"x" * 101), 413),
    "length over the limit": (b"POST /echo HTTP/1.1\r\nHost: g\r\nContent-Length: 99999999999\r\n\r\n", 413),
    "header over the limit": (request("/hello", headers=("X: " + "y" * 3000,)), 431),
    "endless header": (b"GET /hello HTTP/1.1\r\nX: " + b"y" * 5000, 431),
    "too many headers": (request("/hello", headers=tuple(f"X-{n}: y" for n in range(20))), 431),
    "long target": (request("/hello?" + "y" * 600), 414),
    "endless target": (b"GET /" + b"y" * 5000, 414),
    "compress": (request("/echo", b"x", headers=("Content-Encoding: compress",)), 415),
    "other expectation": (request("/echo", b"x", headers=("Expect: a-miracle",)), 417),
    "other transfer coding": (
        request("/echo", b"x", headers=("Transfer-Encoding: gzip, chunked",), length=False),
        501,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@trio_test
async def test_fm19_what_is_not_a_request_is_refused_and_only_its_connection_closed(name: str) -> None:
    data, status = REFUSED[name]
    async with serving(table(), SMALL) as house:
        neighbour = house.client()
        assert (await neighbour.ask(request("/hello"))).status == 200
        client = house.client()
        await client.send(data)
        answer = await client.answer()
        while answer.status == 200:
            answer = await client.answer()
        assert answer.status == status, answer.body
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"
        assert b"Traceback" not in answer.body
        assert await client.closed()
        assert (await neighbour.ask(request("/hello"))).status == 200


@trio_test
async def test_what_came_before_a_refused_request_is_answered_first() -> None:
    later = Later()
    async with serving(table(later)) as house:
        client = house.client()
        await client.send(request("/later", b"good") + b"\x16\x03\x01")
        await trio.testing.wait_all_tasks_blocked()
        assert client.received == b""
        later.answer(0)
        assert (await client.answer()).body == b"good"
        assert (await client.answer()).status == 400


@trio_test(mock_clock=True)
async def test_fm18_one_byte_a_minute_is_cut_at_the_header_deadline() -> None:
    async with serving(table()) as house:
        client = house.client()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_trickle, client, request("/hello"), 60.0)
            answer = await client.answer()
            nursery.cancel_scope.cancel()
        assert answer.status == 408
        assert trio.current_time() - began == pytest.approx(10)
        assert await client.closed()


@trio_test(mock_clock=True)
async def test_a_trickle_after_a_good_request_has_the_same_deadline() -> None:
    async with serving(table()) as house:
        client = house.client()
        assert (await client.ask(request("/hello"))).status == 200
        await trio.sleep(40)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_trickle, client, request("/hello"), 1.0)
            answer = await client.answer()
            nursery.cancel_scope.cancel()
        assert answer.status == 408
        assert trio.current_time() - began == pytest.approx(10)


async def _trickle(client: Client, data: bytes, pause_s: float) -> None:
    for index in range(len(data)):
        try:
            await client.send(data[index : index + 1])
        except trio.BrokenResourceError:
            return
        await trio.sleep(pause_s)


@trio_test(mock_clock=True)
async def test_a_body_that_never_comes_is_cut_at_its_deadline() -> None:
    async with serving(table()) as house:
        client = house.client()
        began = trio.current_time()
        answer = await client.ask(b"POST /echo HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nab")
        assert answer.status == 408
        assert trio.current_time() - began == pytest.approx(30)


@trio_test(mock_clock=True)
async def test_a_silent_connection_is_closed_without_a_word() -> None:
    async with serving(table()) as house:
        fresh, used = house.client(), house.client()
        began = trio.current_time()
        assert (await used.ask(request("/hello"))).status == 200
        assert await fresh.closed()
        assert trio.current_time() - began == pytest.approx(10)
        assert await used.closed()
        assert trio.current_time() - began == pytest.approx(75)


@trio_test(mock_clock=True)
async def test_a_slow_commit_does_not_count_as_idleness() -> None:
    later = Later()
    async with serving(table(later)) as house:
        client = house.client()
        await client.send(request("/later", b"x"))
        await trio.sleep(500)
        later.answer(0)
        assert (await client.answer()).body == b"x"
        assert (await client.ask(request("/hello"))).status == 200


@trio_test(mock_clock=True)
async def test_a_peer_that_takes_no_answers_is_cut_and_holds_little() -> None:
    routes = table()
    routes.add("GET", "/big", lambda request, respond: respond(200, JSON, b"x" * 100_000))
    server = HttpServer(routes, HttpSettings(max_unsent_bytes=200_000), lambda: WALL_MS)
    ours, theirs = trio.testing.lockstep_stream_pair()

    class Once(trio.abc.Listener[trio.abc.Stream]):
        given = False

        async def accept(self) -> trio.abc.Stream:
            if self.given:
                await trio.sleep_forever()
            self.given = True
            return theirs

        async def aclose(self) -> None:
            pass

    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [Once()])
        with trio.move_on_after(20) as scope:
            await ours.send_all(request("/big") * 30)
            await ours.send_all(request("/big") * 30)  # never taken
        assert scope.cancelled_caught
        await trio.sleep(20)
        assert server.counts.connections == 0
        nursery.cancel_scope.cancel()


@trio_test
async def test_a_client_that_sends_its_end_early_still_gets_its_answers() -> None:
    later = Later()
    async with serving(table(later)) as house:
        client = house.client()
        await client.send(request("/later", b"x"))
        assert isinstance(client.stream, trio.abc.HalfCloseableStream)
        await client.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        later.answer(0)
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"x", "close")
        assert await client.closed()


@trio_test
async def test_an_answer_for_a_peer_that_has_gone_is_dropped_quietly() -> None:
    later = Later()
    async with serving(table(later)) as house:
        client = house.client()
        await client.send(request("/later", b"x"))
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        later.answer(0)
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.client().ask(request("/hello"))).status == 200


@trio_test(mock_clock=True)
async def test_stop_answers_what_is_in_flight_and_closes_the_rest() -> None:
    later = Later()
    server = HttpServer(table(later), HttpSettings(), lambda: WALL_MS)

    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [listener])
        busy, idle, partial = (Client(listener.connect()) for _ in range(3))
        assert (await idle.ask(request("/hello"))).status == 200
        await partial.send(b"GET /he")
        await busy.send(request("/later", b"x"))
        await trio.testing.wait_all_tasks_blocked()
        server.stop()
        assert await idle.closed()
        assert await partial.closed()
        later.answer(0)
        answer = await busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"x", "close")
        assert await busy.closed()
    assert server.counts.connections == 0


@trio_test(mock_clock=True)
async def test_stop_waits_for_answers_only_so_long() -> None:
    server = HttpServer(table(Later()), HttpSettings(stop_timeout_s=10), lambda: WALL_MS)

    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [listener])
        client = Client(listener.connect())
        await client.send(request("/later", b"x"))
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        server.stop()
    assert trio.current_time() - began == pytest.approx(10)


@trio_test
async def test_sockets_are_served_as_memory_streams_are() -> None:
    later = Later()
    server = HttpServer(table(later), HttpSettings(), lambda: WALL_MS)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        stream = await trio.testing.open_stream_to_socket_listener(listeners[0])
        client = Client(stream)
        assert (await client.ask(request("/hello"))).body == b'"hello"'
        await client.send(request("/later", b"one") + request("/later", b"two"))
        with trio.fail_after(10):
            while len(later.waiting) < 2:
                await trio.testing.wait_all_tasks_blocked()
        assert later.waiting[0][0].peer == "127.0.0.1"
        later.answer(1)
        later.answer(0)
        assert [(await client.answer()).body for _ in range(2)] == [b"one", b"two"]
        answer = await client.ask(b"\x16\x03\x01")
        assert answer.status == 400
        assert await client.closed()
        await stream.aclose()
        server.stop()


@trio_test
async def test_answers_bigger_than_the_socket_buffers_arrive_whole() -> None:
    routes = table()
    routes.add("GET", "/big", lambda request, respond: respond(200, JSON, bytes(range(256)) * 8000))
    server = HttpServer(routes, HttpSettings(), lambda: WALL_MS)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        stream = await trio.testing.open_stream_to_socket_listener(listeners[0])
        client = Client(stream)
        await client.send(request("/big") * 3)
        for _ in range(3):
            assert (await client.answer()).body == bytes(range(256)) * 8000
        await client.send(request("/big"))
        await stream.aclose()
        server.stop()


@trio_test
async def test_an_answer_to_too_big_a_body_survives_what_the_peer_still_sends() -> None:
    server = HttpServer(table(), SMALL, lambda: WALL_MS)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        client = Client(await trio.testing.open_stream_to_socket_listener(listeners[0]))
        await client.send(
            b"POST /echo HTTP/1.1\r\nHost: g\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000
        )
        assert (await client.answer()).status == 413
        await client.stream.aclose()
        server.stop()


@trio_test
async def test_requests_are_counted_by_endpoint_and_status() -> None:
    async with serving(table()) as house:
        client = house.client()
        for target in ("/hello", "/hello", "/a", "/b"):
            await client.ask(request(target))
        endpoints = house.server.counts.endpoints
        assert endpoints["/hello"].by_status == {200: 2}
        assert endpoints["unknown"].by_status == {404: 2}
        assert sum(endpoints["/hello"].buckets) == 2
