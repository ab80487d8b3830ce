"""API9:2023 Improper inventory management: what is served is what is declared, in one document."""

from __future__ import annotations

from pathlib import Path

from gateway.http.table import ENDPOINTS
from router.roles import PUBLIC, SCOPES
from tests.security.house import staffed
from tests.trio_case import trio_test

OPEN = {
    "/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/style.css",
}  # fmt: skip


@trio_test(mock_clock=True)
async def test_the_gateways_own_port_serves_the_table_and_nothing_else(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        routes = home.house.gateway.http.routes
        served = {(method, path) for path, methods in routes._exact.items() for method in methods}
        served |= {(method, path) for path, _, methods in routes._patterns for method in methods}
        assert served == {(one.method, one.path) for one in ENDPOINTS}
        mounts = {prefix for prefix, _ in routes._mounts}  # tests/gateway/console walks their pages
        assert mounts == {"/console", "/console/live"}


@trio_test(mock_clock=True)
async def test_the_document_has_every_endpoint_and_what_each_needs(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        document = (await home.ask("", "GET", "/openapi.json")).json
        told = {(method.upper(), path) for path, one in document["paths"].items() for method in one}
        assert told == {(one.method, one.path) for one in ENDPOINTS}
        for endpoint in ENDPOINTS:
            said = document["paths"][endpoint.path][endpoint.method.lower()]
            assert bool(said.get("security")) == (endpoint.access != PUBLIC), endpoint.id
            assert endpoint.access == PUBLIC or "401" in said["responses"]


def test_what_needs_no_key_is_a_short_list() -> None:
    assert {one.path for one in ENDPOINTS if one.access == PUBLIC} == OPEN
    assert {one.access for one in ENDPOINTS} <= {PUBLIC, *SCOPES}


def test_there_is_one_version_and_nothing_for_testing() -> None:
    for endpoint in ENDPOINTS:
        assert endpoint.path in OPEN or endpoint.path.startswith("/v1/")
        assert not {"debug", "internal", "beta", "old"} & set(endpoint.path.split("/"))


@trio_test(mock_clock=True)
async def test_what_needs_no_key_tells_nothing_of_anybody(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        things = {id for one in home.objects.values() for id in (one.own, one.foreign) if len(id) > 5}
        for path in OPEN:
            raw = (await home.ask("", "GET", path)).raw
            assert not [id for id in things if id.encode() in raw], path
            assert b"447700900" not in raw or path in ("/openapi.json", "/docs"), path  # examples
