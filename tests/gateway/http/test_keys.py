"""The v1 key endpoints on a whole gateway: an account's own keys, those of accounts and of operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.roles import TABLE, Role
from tests.gateway.house import START_MS, Running, running
from tests.gateway.http.test_accounts import Answer, Operator
from tests.trio_case import trio_test

LATER = "2027-01-31T09:30:00Z"
assert START_MS < 1_801_000_000_000


class House:
    """Who asks: acme by its key, rival by its own, and an operator of each role."""

    def __init__(self, house: Running, keys: dict[str, str]) -> None:
        self.house = house
        self.keys = keys

    async def ask(self, who: str, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """`who`: a name of `keys`, or a key."""
        key = self.keys.get(who, who)
        return await Operator(self.house, key).ask(method, path, body, **headers)

    async def made(self, who: str, **fields: object) -> dict[str, Any]:
        answer = await self.ask(who, "POST", "/v1/keys", fields)
        assert answer.status == 201, answer.raw
        assert isinstance(answer.json, dict)
        return answer.json

    async def told(self, subject: str) -> list[dict[str, Any]]:
        return await Operator(self.house, "").told(subject)


@asynccontextmanager
async def staffed(directory: Path) -> AsyncIterator[House]:
    async with running(directory, "") as house:
        gateway = house.gateway
        _, rival = await gateway.accounts.create("rival", house.world.wall_ms())
        keys = {"acme": house.key, "rival": rival}
        for role in (Role.OWNER, Role.OPERATOR, Role.SUPPORT, Role.AUDITOR):
            _, keys[role.value] = await gateway.operators.create(f"{role.value}-ann", role)
        yield House(house, keys)


@trio_test(mock_clock=True)
async def test_an_account_makes_uses_rotates_and_revokes_a_key_of_its_own(tmp_path: Path) -> None:
    async with staffed(tmp_path) as house:
        made = await house.made("acme", name="app", scopes=["messages.read", "keys.read"], expires_at=LATER)
        assert (made["account"], made["operator"], made["created_by"]) == ("acme", None, "account:acme")
        assert (made["expires_at"], made["last_used_at"]) == ("2027-01-31T09:30:00.000Z", None)
        key, one = made["key"], f"/v1/keys/{made['id']}"
        shown = await house.ask(key, "GET", one)
        assert (shown.status, "key" in shown.json, shown.json["last_used_from"]) == (200, False, "local")
        assert (await house.ask(key, "POST", "/v1/messages", {})).code == "scope-needed"
        assert (await house.ask("acme", "POST", one + "/rotate")).code == "idempotency-key-needed"
        turned = await house.ask("acme", "POST", one + "/rotate", {"overlap_s": 60}, idempotency_key="a")
        again = await house.ask("acme", "POST", one + "/rotate", {"overlap_s": 60}, idempotency_key="a")
        assert (turned.status, turned.json) == (200, again.json)
        for secret in (key, turned.json["key"]):
            assert (await house.ask(secret, "GET", one)).status == 200
        assert (await house.ask("acme", "DELETE", one)).status == 204
        for secret in (key, turned.json["key"]):
            assert (await house.ask(secret, "GET", one)).status == 401
        assert (await house.ask("acme", "GET", one)).code == "no-such-key"
        trail = await house.told(made["id"])
        assert [(one["act"], one["who"], one["via"]) for one in trail] == [
            ("key.created", "account:acme", "http"),
            ("key.refused", "account:acme", "http"),  # for want of a scope
            ("key.rotated", "account:acme", "http"),
            ("key.revoked", "account:acme", "http"),
            ("key.refused", "account:acme", "http"),  # revoked
        ]


@trio_test(mock_clock=True)
async def test_what_somebody_may_not_see_is_as_what_there_is_not(tmp_path: Path) -> None:
    async with staffed(tmp_path) as house:
        own = await house.made("acme", name="app")
        operators = (await house.ask("owner", "GET", "/v1/keys?operator=owner-ann")).json["keys"][0]
        unknown = "k0123456789abcdef"
        for who, id in (("rival", own["id"]), ("acme", operators["id"]), ("operator", operators["id"])):
            for method, path, body in (
                ("GET", "", None),
                ("POST", "/rotate", {}),
                ("DELETE", "", None),
            ):
                foreign, none = [
                    await house.ask(who, method, f"/v1/keys/{one}{path}", body, idempotency_key="a")
                    for one in (id, unknown)
                ]
                assert (foreign.status, foreign.code) == (none.status, none.code) == (404, "no-such-key")
                assert foreign.raw.replace(id.encode(), b"") == none.raw.replace(unknown.encode(), b"")
        for path in ("/v1/keys?account=acme", "/v1/keys?operator=owner-ann"):
            assert (await house.ask("rival", "GET", path)).status == 404
        assert (await house.ask("operator", "GET", "/v1/keys?operator=owner-ann")).code == "no-such-operator"
        assert {one["account"] for one in (await house.ask("rival", "GET", "/v1/keys")).json["keys"]} == {
            "rival"
        }


@trio_test(mock_clock=True)
async def test_operators_manage_accounts_keys_and_only_owners_those_of_operators(tmp_path: Path) -> None:
    async with staffed(tmp_path) as house:
        made = await house.made("operator", account="rival", scopes=["messages.send"])
        assert (made["account"], made["scopes"]) == ("rival", ["messages.send"])
        for who in ("support", "auditor"):
            answer = await house.ask(who, "POST", "/v1/keys", {"account": "rival"})
            assert answer.code == "scope-needed"
        answer = await house.ask("operator", "POST", "/v1/keys", {"operator": "operator-ann"})
        assert (answer.status, answer.code) == (403, "scope-needed")
        made = await house.made("owner", operator="support-ann", scopes=["messages.read"])
        assert (made["operator"], made["role"]) == ("support-ann", "support")
        seen = {
            who: {one["role"] for one in (await house.ask(who, "GET", "/v1/keys?limit=200")).json["keys"]}
            for who in ("owner", "operator", "support", "auditor")
        }
        assert seen["owner"] == seen["auditor"] == {"account", "owner", "operator", "support", "auditor"}
        assert (seen["operator"], seen["support"]) == ({"account", "operator"}, {"account", "support"})
        (own,) = (await house.ask("operator", "GET", "/v1/keys?operator=operator-ann")).json["keys"]
        turned = await house.ask(
            "operator", "POST", f"/v1/keys/{own['id']}/rotate", {"overlap_s": 0}, idempotency_key="x"
        )
        assert (await house.ask("operator", "GET", "/v1/keys")).status == 401
        assert (await house.ask(turned.json["key"], "GET", "/v1/keys")).status == 200


@trio_test(mock_clock=True)
async def test_a_key_gives_no_more_than_it_has(tmp_path: Path) -> None:
    async with staffed(tmp_path) as house:
        less = await house.made("acme", scopes=["keys.write", "keys.read"], expires_at=LATER)
        main = (await house.ask("acme", "GET", "/v1/keys?account=acme")).json["keys"]
        for body, field in (
            ({"scopes": ["messages.send"]}, "scopes"),
            ({"expires_at": "2028-01-31T09:30:00Z"}, "expires_at"),
        ):
            answer = await house.ask(less["key"], "POST", "/v1/keys", body)
            assert (answer.code, list(answer.fields)) == ("invalid-fields", [field])
        given = await house.made(less["key"])
        assert (given["scopes"], given["expires_at"]) == (less["scopes"], less["expires_at"])
        whole = next(one for one in main if len(one["scopes"]) == len(TABLE[Role.ACCOUNT]))
        answer = await house.ask(
            less["key"], "POST", f"/v1/keys/{whole['id']}/rotate", {}, idempotency_key="b"
        )
        assert (answer.status, "scopes" in answer.fields or "id" in answer.fields) == (422, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": ["carriers.write"]}, "scopes"),
        ({"addresses": ["example.org"]}, "addresses"),
        ({"expires_at": "2020-01-31T09:30:00Z"}, "expires_at"),
        ({"expires_at": "2020-01-31T09:30:00"}, "expires_at"),
        ({"name": "x" * 65}, "name"),
        ({"name": 5}, "name"),
        ({"role": "owner"}, "role"),
    ],
)
@trio_test(mock_clock=True)
async def test_a_wrong_field_is_named(tmp_path: Path, body: dict[str, Any], field: str) -> None:
    async with staffed(tmp_path) as house:
        answer = await house.ask("acme", "POST", "/v1/keys", body)
        assert (answer.status, list(answer.fields)) == (422, [field])
        assert len((await house.ask("acme", "GET", "/v1/keys")).json["keys"]) == 1


@trio_test(mock_clock=True)
async def test_a_request_that_is_repeated_makes_one_key_also_an_operators(tmp_path: Path) -> None:
    async with staffed(tmp_path) as house:
        for body in ({"account": "acme"}, {"operator": "support-ann"}):
            first, again = [
                await house.ask("owner", "POST", "/v1/keys", body, idempotency_key=str(body))
                for _ in range(2)
            ]
            assert (first.status, first.json) == (201, again.json)


@trio_test(mock_clock=True)
async def test_keys_come_in_pages(tmp_path: Path) -> None:
    async with staffed(tmp_path) as house:
        for _ in range(4):
            await house.made("acme")
        ids: list[str] = []
        path: str | None = "/v1/keys?limit=2"
        while path:
            answer = await house.ask("acme", "GET", path)
            ids += [one["id"] for one in answer.json["keys"]]
            path = answer.json["next"]
        assert (len(ids), ids) == (5, sorted(set(ids)))
