"""API3:2023 Broken object property level authorization: nobody sets or sees what is not for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.http.auth import key_hash
from gateway.http.endpoint import Endpoint
from gateway.http.table import ENDPOINTS
from tests.security.house import MESSAGE, collections, staffed
from tests.trio_case import trio_test

SECRETS = ("key_hashes", "hashes", "callback_secrets", "password_hash", "outbind_password", "logins")


@pytest.mark.parametrize(
    "more",
    [
        {"account": "rival"},
        {"id": "1"},
        {"state": "DELIVERED"},
        {"price": "0"},
        {"carrier": "north"},
        {"route": "x"},
        {"segments": 0},
        {"__proto__": {}},
    ],
)
@trio_test(mock_clock=True)
async def test_a_submit_sets_nothing_but_what_is_declared(tmp_path: Path, more: dict[str, Any]) -> None:
    async with staffed(tmp_path) as home:
        answer = await home.ask("account", "POST", "/v1/messages", {**MESSAGE, **more})
        assert (answer.status, answer.code) == (422, "invalid-fields")
        assert answer.json["errors"][0]["field"] == next(iter(more))


@pytest.mark.parametrize(
    "more",
    [
        {"role": "owner"},
        {"id": "k1"},
        {"hash": "x"},
        {"key": "sbk_x"},
        {"created_by": "x"},
        {"last_used_at": "x"},
    ],
)
@trio_test(mock_clock=True)
async def test_a_new_key_is_drawn_here_and_has_no_other_role(tmp_path: Path, more: dict[str, Any]) -> None:
    async with staffed(tmp_path) as home:
        for who in ("account", "owner"):
            answer = await home.ask(who, "POST", "/v1/keys", {"account": "acme", **more})
            assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, list(more))


@pytest.mark.parametrize(
    "name", [*SECRETS, "id", "name", "keys", "created_at", "closed", "queued", "secrets"]
)
@trio_test(mock_clock=True)
async def test_an_account_has_properties_that_nobody_sets_over_http(tmp_path: Path, name: str) -> None:
    async with staffed(tmp_path) as home:
        before = home.house.gateway.accounts.by_name["acme"]
        answer = await home.ask("operator", "PATCH", "/v1/accounts/acme", {name: "x"})
        if name != "outbind_password":  # a setting, but never shown
            assert (answer.status, answer.code) == (422, "invalid-fields"), answer.raw
            assert home.house.gateway.accounts.by_name["acme"] == before


@pytest.mark.parametrize(
    "endpoint", [one for one in ENDPOINTS if one.method == "GET"], ids=lambda one: one.id
)
@trio_test(mock_clock=True)
async def test_no_answer_has_a_hash_or_a_secret(tmp_path: Path, endpoint: Endpoint) -> None:
    async with staffed(tmp_path) as home:
        account = home.house.gateway.accounts.by_name["acme"]
        hidden = [key_hash(key) for key in home.keys.values()] + [
            key.rpartition("_")[2] for key in home.keys.values()
        ]
        hidden += [*account.callback_secrets, *(hashed for one in account.logins for hashed in one.hashes)]
        ids = {name: home.objects[things].own for name, things in collections(endpoint).items()}
        for who in home.keys:
            answer = await home.call(who, endpoint, ids)
            assert not [one for one in hidden if one.encode() in answer.raw]


@trio_test(mock_clock=True)
async def test_a_customer_is_not_told_what_carriers_cost_nor_of_others_rules(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        answer = await home.ask(
            "account", "POST", "/v1/routes/explain", {"to": "+447700900123", "from": "ACME"}
        )
        assert answer.status == 200, answer.raw
        assert [(one["cost"], one["margin"]) for one in answer.json["carriers"]] == [(None, None)]


@pytest.mark.parametrize(("role", "text", "number"), [("support", False, True), ("auditor", False, False)])
@trio_test(mock_clock=True)
async def test_a_role_without_texts_or_numbers_sees_none_anywhere(
    tmp_path: Path, role: str, text: bool, number: bool
) -> None:
    async with staffed(tmp_path) as home:
        for endpoint in ENDPOINTS:
            if endpoint.method != "GET":
                continue
            ids = {name: home.objects[things].own for name, things in collections(endpoint).items()}
            raw = (await home.call(role, endpoint, ids)).raw
            if endpoint.tag != "House":
                assert b"Your code is" not in raw, endpoint.id
                assert number or b"447700900" not in raw, endpoint.id
