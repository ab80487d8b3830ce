"""API5:2023 Broken function level authorization: no role does what its table does not allow, by any spelling.

The walk over every endpoint and role is test_every_endpoint.py; here are the ways around it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.http.table import ENDPOINTS
from router.roles import PUBLIC, Role, allows
from tests.security.house import staffed
from tests.trio_case import trio_test

CHANGES = [one for one in ENDPOINTS if one.method != "GET"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/accounts/", "//v1/accounts", "/v1//accounts", "/V1/accounts", "/v1/Accounts", "/v1/./accounts",
        "/v1/x/../accounts", "/v1/accounts;x", "/v1/%61ccounts", "/v1/accounts%2f", "/v1/accounts%00",
        "/v1/messages/../accounts", "/v1/messages/%2e%2e/accounts", "/internal/accounts", "/admin",
    ],
)  # fmt: skip
@trio_test(mock_clock=True)
async def test_no_spelling_of_a_path_gets_around_the_guard(tmp_path: Path, path: str) -> None:
    async with staffed(tmp_path) as home:
        for who in ("", "account", "support"):
            answer = await home.ask(who, "GET", path)
            allowed = who == "support" and b'"accounts":[' in answer.raw
            assert allowed or answer.status in (400, 401, 403, 404), (who, answer.raw)
            assert allowed or b"rival" not in answer.raw


@pytest.mark.parametrize("header", ["x_http_method_override", "x_method_override", "x_original_method"])
@trio_test(mock_clock=True)
async def test_a_header_makes_no_other_method_of_a_request(tmp_path: Path, header: str) -> None:
    async with staffed(tmp_path) as home:
        path = f"/v1/keys/{home.objects['keys'].own}"
        assert (await home.ask("auditor", "GET", path, **{header: "DELETE"})).status == 200
        assert (await home.ask("account", "GET", path)).status == 200


@trio_test(mock_clock=True)
async def test_head_asks_for_the_same_key_as_get(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        for endpoint in ENDPOINTS:
            if endpoint.method == "GET" and endpoint.access != PUBLIC and "{" not in endpoint.path:
                statuses = {(await home.ask("", method, endpoint.path)).status for method in ("GET", "HEAD")}
                assert statuses <= {401, 429}, endpoint.id  # guesses are slowed down after a while


@trio_test(mock_clock=True)
async def test_other_methods_open_nothing(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        before = home.changes()
        for method in ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND"):
            answer = await home.ask("owner", method, "/v1/carriers", {})
            assert answer.status in (400, 405, 501), (method, answer.raw)
        assert home.changes() == before


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.AUDITOR])
def test_who_only_looks_changes_nothing(role: Role) -> None:
    may = {one.id for one in CHANGES if one.access != PUBLIC and allows(role, one.access)}
    looks = {"previewMessage", "explainRoute"}
    cancels = {"cancelMessage", "actMessageCancel"}
    assert may - looks == (cancels if role is Role.SUPPORT else set())


@trio_test(mock_clock=True)
async def test_nobody_makes_himself_more_than_he_is(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        owner = (await home.ask("owner", "GET", "/v1/keys?operator=owner-ann")).json["keys"][0]["id"]
        for who in ("operator", "support", "auditor", "account"):
            for method, path, body in (
                ("POST", "/v1/keys", {"operator": "owner-ann"}),
                ("POST", "/v1/keys", {"operator": f"{who}-ann", "scopes": ["operators.write"]}),
                ("POST", f"/v1/keys/{owner}/rotate", {}),
                ("DELETE", f"/v1/keys/{owner}", None),
            ):
                answer = await home.ask(who, method, path, body, idempotency_key="x")
                assert answer.status in (403, 404, 422), (who, path, answer.raw)
        assert (await home.ask("owner", "GET", f"/v1/keys/{owner}")).status == 200
        narrow = await home.narrowed("account", ["keys.write", "keys.read"])
        answer = await home.ask(narrow, "POST", "/v1/keys", {"scopes": ["messages.send"]})
        assert answer.status == 422
