"""API6:2023 Unrestricted access to sensitive business flows: sending, where each message costs money.

A stolen key pumps messages to numbers that pay the thief. What stops it: where an account may send to, which
types of numbers, how much, how often the same; each exact, also when all ask at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.security.house import MESSAGE, Staffed, staffed
from tests.trio_case import trio_test


async def settings(home: Staffed, **wanted: Any) -> None:
    answer = await home.ask("operator", "PATCH", "/v1/accounts/rival", wanted)
    assert answer.status == 200, answer.raw


@pytest.mark.parametrize("to", ["+882161234567", "+447624000000", "+2250102030405"])
@trio_test(mock_clock=True)
async def test_an_account_sends_to_its_countries_only(tmp_path: Path, to: str) -> None:
    async with staffed(tmp_path) as home:
        await settings(home, destinations=["4477009"])
        assert (await home.ask("rival", "POST", "/v1/messages", MESSAGE)).status == 202
        answer = await home.ask("rival", "POST", "/v1/messages", {**MESSAGE, "to": to})
        assert answer.status in (403, 422), answer.raw


@trio_test(mock_clock=True)
async def test_premium_numbers_can_be_kept_out_for_good(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        await settings(home, allowed_number_types=["mobile"])
        answer = await home.ask("rival", "POST", "/v1/messages", {**MESSAGE, "to": "+449098790000"})
        assert (answer.status, answer.code) == (422, "number-type-not-allowed")


@trio_test(mock_clock=True)
async def test_a_hundred_submits_at_once_at_a_quota_of_ten_give_ten(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        made = await home.ask("operator", "POST", "/v1/accounts", {"name": "pump", "quota_per_day": 10})
        key, statuses = made.json["api_key"], []

        async def submit() -> None:
            statuses.append((await home.ask(key, "POST", "/v1/messages", MESSAGE)).status)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(submit)
        assert (statuses.count(202), statuses.count(429)) == (10, 90)
        assert (await home.ask("account", "POST", "/v1/messages", MESSAGE)).status == 202


@trio_test(mock_clock=True)
async def test_the_same_code_again_and_again_is_sent_once(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        await settings(home, duplicate_guard_s=60)
        ids = {(await home.ask("rival", "POST", "/v1/messages", MESSAGE)).json["id"] for _ in range(10)}
        assert len(ids) == 1


@trio_test(mock_clock=True)
async def test_a_sender_that_is_not_its_own_is_refused(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        await settings(home, senders=["SHOP"])
        answer = await home.ask("rival", "POST", "/v1/messages", {**MESSAGE, "from": "YourBank"})
        assert (answer.status, answer.code) == (403, "sender-not-allowed")


@trio_test(mock_clock=True)
async def test_a_suspended_account_sends_nothing_from_the_next_request_on(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        assert (await home.ask("operator", "POST", "/v1/accounts/rival/suspend")).status == 200
        answer = await home.ask("rival", "POST", "/v1/messages", MESSAGE)
        assert (answer.status, answer.code) == (403, "account-suspended")
