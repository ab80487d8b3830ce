"""A message as each role sees it, and what the audit trail has of views of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.http.views import subject
from router.roles import Role
from store.interface import StoreFull
from tests.gateway.house import carrier, route, running
from tests.gateway.http.test_accounts import Operator
from tests.trio_case import trio_test

TOML = carrier("north", 2790) + route("north")
TO = "447700900123"


@trio_test(mock_clock=True)
async def test_each_role_sees_what_it_may_and_the_trail_knows_who_saw_a_text(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        id = await house.submit(TO, "Your code is 4711")
        shown: dict[str, Any] = {}
        for role in (Role.OWNER, Role.OPERATOR, Role.SUPPORT, Role.AUDITOR):
            _, key = await house.gateway.operators.create(f"{role.value}-ann", role)
            answer = await Operator(house, key).ask("GET", f"/v1/messages/{id}", audit_reason="ticket 7")
            assert answer.status == 200, answer.raw
            shown[role.value] = answer.json
        assert [shown[role].get("text") for role in shown] == ["Your code is 4711"] * 2 + [None] * 2
        assert [shown[role]["to"] for role in shown] == [TO] * 3 + ["4477*****123"]
        assert shown["auditor"]["from"] == "*****"
        assert "Your code" not in str(shown["support"]) + str(shown["auditor"])
        trail = await Operator(house, "").told(f"message:{id}")
        assert [(one["act"], one["who"], one["via"], one["reason"]) for one in trail] == [
            ("message.viewed", "owner-ann", "http", "ticket 7"),
            ("message.viewed", "operator-ann", "http", "ticket 7"),
        ]
        assert (await house.message(id))["text"] == "Your code is 4711"
        assert len(await Operator(house, "").told(f"message:{id}")) == 2  # an account's own view is not told


@trio_test(mock_clock=True)
async def test_what_cannot_be_told_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, TOML) as house:
        id = await house.submit(TO, "Your code is 4711")
        _, key = await house.gateway.operators.create("ann", Role.OWNER)
        ann = Operator(house, key)
        await ann.ask("GET", "/v1/carriers")

        def full(*_: object) -> None:
            raise StoreFull("the disk is full", "make room")

        monkeypatch.setattr("gateway.http.views._tell", full)
        answer = await ann.ask("GET", f"/v1/messages/{id}")
        assert (answer.status, answer.code) == (503, "store-full")
        assert b"4711" not in answer.raw


@trio_test(mock_clock=True)
async def test_a_key_without_those_scopes_does_not_see_its_own_texts_either(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        id = await house.submit(TO, "Your code is 4711")
        acme = Operator(house, house.key)
        made = await acme.ask("POST", "/v1/keys", {"scopes": ["messages.read"]})
        answer = await Operator(house, made.json["key"]).ask("GET", f"/v1/messages/{id}")
        assert (answer.status, answer.json.get("text"), answer.json["to"]) == (200, None, "4477*****123")


def test_a_view_is_told_by_what_was_viewed() -> None:
    assert (subject("/v1/messages/7"), subject("/v1/mos/7"), subject("/v1/mos")) == (
        "message:7",
        "mo:7",
        "mo",
    )
