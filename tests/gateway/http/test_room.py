"""Room for connections: nobody takes all of it, idle ones make way, probes are always answered."""

from __future__ import annotations

import trio
import trio.testing

from gateway.http.house import add_house
from gateway.http.request import Request
from gateway.http.room import SPARE, SPARE_PER_NETWORK, SPARE_TIMEOUT_S
from gateway.http.routes import Respond, Routes
from gateway.http.settings import HttpSettings
from tests.gateway.http.wire import JSON, Client, Serving, request, serving
from tests.trio_case import trio_test


def table() -> Routes:
    """/hello is answered, /never is not; and the probes."""

    def never(request: Request, respond: Respond) -> None:
        pass

    routes = Routes()
    routes.add("GET", "/hello", lambda request, respond: respond(200, JSON, b'"hello"'))
    routes.add("POST", "/hello", lambda request, respond: respond(200, JSON, b'"hello"'))
    routes.add("GET", "/never", never)
    add_house(routes, ready=str, metrics=lambda: ("text/plain", b""))
    return routes


async def idle(house: Serving, address: str = "local") -> Client:
    """A connection that was answered and stays."""
    client = house.client(address)
    assert (await client.ask(request("/hello"))).status == 200
    await trio.sleep(1)
    return client


async def busy(house: Serving, address: str = "local") -> Client:
    """A connection that waits for an answer."""
    client = house.client(address)
    await client.send(request("/never"))
    await trio.testing.wait_all_tasks_blocked()
    return client


@trio_test(mock_clock=True)
async def test_a_new_connection_takes_the_place_of_the_one_that_was_idle_for_longest() -> None:
    async with serving(table(), HttpSettings(max_connections=3)) as house:
        waiting, longest, shorter = [await make(house) for make in (busy, idle, idle)]
        assert (await house.client().ask(request("/hello"))).status == 200
        assert await longest.closed()
        assert (await shorter.ask(request("/hello"))).status == 200
        assert waiting.received == b""
        assert house.server.counts.connections_refused == {"full": 0, "per_address": 0, "evicted": 1}
        assert house.server.counts.connections == 3


@trio_test(mock_clock=True)
async def test_one_address_gets_its_share_and_the_others_keep_theirs() -> None:
    limits = HttpSettings(max_connections=4, max_connections_per_address=2)
    async with serving(table(), limits) as house:
        other = await idle(house, "192.0.2.1")
        hogs = [await idle(house, "192.0.2.9") for _ in range(6)]
        assert [await hog.closed() for hog in hogs[:4]] == [True] * 4
        assert (await other.ask(request("/hello"))).status == 200
        assert (await house.client("192.0.2.2").ask(request("/hello"))).status == 200


@trio_test(mock_clock=True)
async def test_busy_connections_of_one_address_leave_room_for_other_addresses() -> None:
    limits = HttpSettings(max_connections=4, max_connections_per_address=2)
    async with serving(table(), limits) as house:
        for _ in range(2):
            await busy(house, "192.0.2.9")
        answer = await house.client("192.0.2.9").ask(request("/hello"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert b"your address has 2 busy connections" in answer.body
        assert (await house.client("192.0.2.2").ask(request("/hello"))).status == 200
        assert house.server.counts.connections_refused["per_address"] == 1


@trio_test(mock_clock=True)
async def test_addresses_of_one_v6_network_and_mapped_ones_are_the_same_host() -> None:
    async with serving(table(), HttpSettings(max_connections_per_address=1)) as house:
        await busy(house, "2001:db8::1")
        assert (await house.client("2001:db8::ffff:2").ask(request("/hello"))).status == 503
        assert (await house.client("2001:db8:0:1::1").ask(request("/hello"))).status == 200
        await busy(house, "192.0.2.1")
        assert (await house.client("::ffff:192.0.2.1").ask(request("/hello"))).status == 503


@trio_test(mock_clock=True)
async def test_fm41_when_nobody_is_idle_probes_are_answered_and_others_told_so() -> None:
    async with serving(table(), HttpSettings(max_connections=2)) as house:
        for _ in range(2):
            await busy(house)
        for target, status in (("/healthz", 200), ("/readyz", 200), ("/hello", 503), ("/nothing", 503)):
            client = house.client()
            answer = await client.ask(request(target) + request("/healthz"))
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert await client.closed()
        upload = await house.client().ask(request("/hello", b"x" * 100)[:-50])
        assert (upload.status, upload.headers["retry-after"]) == (503, "1")


@trio_test(mock_clock=True)
async def test_a_spare_place_is_held_for_a_second_at_most() -> None:
    async with serving(table(), HttpSettings(max_connections=1)) as house:
        await busy(house)
        silent, slow = house.client(), house.client()
        began = trio.current_time()
        await slow.send(b"\r\n\r\nGET /hea")
        assert (await silent.answer()).status == (await slow.answer()).status == 503
        assert trio.current_time() - began == SPARE_TIMEOUT_S


@trio_test(mock_clock=True)
async def test_no_address_takes_all_the_spare_places_and_what_finds_none_is_closed() -> None:
    async with serving(table(), HttpSettings(max_connections=1)) as house:
        await busy(house)
        for number in range(SPARE // SPARE_PER_NETWORK - 1):
            [house.client(f"192.0.2.{number}") for _ in range(SPARE_PER_NETWORK)]
        hogs = [house.client("192.0.2.9") for _ in range(SPARE_PER_NETWORK + 4)]
        await trio.testing.wait_all_tasks_blocked()
        answers = [await hog.answer() for hog in hogs[SPARE_PER_NETWORK:]]  # without a question
        assert [answer.status for answer in answers] == [503] * 4
        assert house.server.counts.connections == 1 + SPARE
        await trio.sleep(2 * SPARE_TIMEOUT_S)
        assert (await house.client("192.0.2.9").ask(request("/healthz"))).status == 200
