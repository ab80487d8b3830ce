"""GET and PUT /v1/senders: whose senders are told to whom, what a change takes, and what the trail says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.http.test_accounts import operator
from tests.security.house import staffed
from tests.trio_case import trio_test


@trio_test(mock_clock=True)
async def test_an_account_sees_its_senders_and_the_one_that_apps_take(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        everything = await home.ask("account", "GET", "/v1/senders")
        assert everything.json == {"account": "acme", "any": True, "senders": [], "default": None}
        senders = ["Shop*", "4477*", "12345", "+44 7700 900123", "ACME", "*"]
        put = await home.ask("owner", "PUT", "/v1/senders", {"account": "acme", "senders": senders})
        assert put.status == 200, put.raw
        told = await home.ask("account", "GET", "/v1/senders")
        assert told.json == put.json
        assert (told.json["any"], told.json["default"]) == (False, "12345")
        assert [tuple(one.values()) for one in told.json["senders"]] == [
            ("Shop*", "alphanumeric", True),
            ("4477*", None, True),
            ("12345", "short_code", False),
            ("447700900123", "long_code", False),
            ("ACME", "alphanumeric", False),
            ("*", None, True),
        ]
        assert (await home.ask("support", "GET", "/v1/senders?account=acme")).json == told.json
        assert (await home.ask("account", "GET", "/v1/senders?account=acme")).json == told.json
        assert (await home.ask("account", "GET", "/v1/senders?account=rival")).code == "no-such-account"


@trio_test(mock_clock=True)
async def test_an_operator_says_whose(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        missing = await ann.ask("GET", "/v1/senders")
        assert (missing.status, list(missing.fields)) == (422, ["account"])
        for method, path, body in (
            ("GET", "/v1/senders?account=nobody", None),
            ("PUT", "/v1/senders", {"account": "nobody", "senders": []}),
        ):
            answer = await ann.ask(method, path, body)
            assert (answer.status, answer.code) == (404, "no-such-account")


@trio_test(mock_clock=True)
async def test_a_change_is_audited_as_one_of_the_account_and_can_be_repeated(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(senders=["OLD"])
        wish = {"account": "shop", "senders": ["ACME"]}
        answers = [
            await ann.ask("PUT", "/v1/senders", wish, idempotency_key="one", audit_reason="asked by phone")
            for _ in range(2)
        ]
        assert answers[0].raw == answers[1].raw
        assert ann.kept().senders == ("ACME",)
        changes = [one for one in await ann.told() if one["act"] == "account.changed"]
        assert [(one["who"], one["reason"]) for one in changes] == [("ann", "asked by phone")]
        emptied = await ann.ask("PUT", "/v1/senders", {"account": "shop", "senders": []})
        assert emptied.json == {"account": "shop", "any": True, "senders": [], "default": None}


@pytest.mark.parametrize("senders", [None, "ACME", [1], ["A" * 30], ["A*B"], [""], ["A"] * 1001, ["ü"]])
@trio_test(mock_clock=True)
async def test_what_is_no_list_of_senders_changes_nothing(tmp_path: Path, senders: object) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(senders=["OLD"])
        answer = await ann.ask("PUT", "/v1/senders", {"account": "shop", "senders": senders})
        assert (answer.status, list(answer.fields)) == (422, ["senders"])
        assert ann.kept().senders == ("OLD",)


@trio_test(mock_clock=True)
async def test_a_closed_account_keeps_its_senders(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(senders=["OLD"])
        await ann.ask("POST", "/v1/accounts/shop/close")
        answer = await ann.ask("PUT", "/v1/senders", {"account": "shop", "senders": []})
        assert (answer.status, answer.code) == (409, "account-conflict")
