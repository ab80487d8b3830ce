"""The endpoints of the house: index, health, readiness, metrics, a mounted prefix."""

from __future__ import annotations

from typing import Any

from gateway.http.house import add_house
from gateway.http.routes import Routes
from tests.gateway.http.wire import echo, request, serving
from tests.trio_case import trio_test


@trio_test
async def test_the_house_says_what_there_is_and_how_it_is() -> None:
    why = [""]
    routes = Routes()
    add_house(routes, ready=lambda: why[0], metrics=lambda: ("text/plain", b"up 1\n"))
    async with serving(routes) as here:
        client = here.client()
        index: Any = (await client.ask(request("/"))).json()
        assert (index["name"], index["links"]["submit"]) == ("Signalbox", "/v1/messages")
        assert (await client.ask(request("/healthz"))).body == b"ok\n"
        assert (await client.ask(request("/readyz"))).status == 200
        why[0] = "shutting down"
        answer = await client.ask(request("/readyz"))
        assert answer.status == 503
        assert b"shutting down" in answer.body
        answer = await client.ask(request("/metrics"))
        assert (answer.headers["content-type"], answer.body) == ("text/plain", b"up 1\n")


@trio_test
async def test_a_mount_takes_its_prefix_and_all_below_and_nothing_else() -> None:
    routes = Routes()
    routes.mount("/console", echo)
    async with serving(routes) as here:
        client = here.client()
        for target, status in (("/console", 200), ("/console/a/b", 200), ("/consoles", 404)):
            assert (await client.ask(request(target))).status == status
        assert here.server.counts.endpoints["/console/*"].by_status == {200: 2}
