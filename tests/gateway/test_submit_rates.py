"""An account's tps: one limit for HTTP and SMPP, told in every answer to a submit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import trio
from msgspec.structs import replace

from gateway.smpp_server.server import Tenant
from gateway.submit_rates import SubmitRates
from router.nouns import Account
from tests.gateway.house import NUMBER, Running, carrier, route, running, simulator
from tests.gateway.http.wire import Answer, Client, request
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim") + simulator("sim", 2776)
MESSAGE = {"to": "447700900123", "from": NUMBER, "text": "Hello"}


async def post(house: Running, body: object, path: str = "/v1/messages") -> Answer:
    client = Client(await house.world.connect("127.0.0.1", house.http_port))
    async with client.stream:
        headers = (f"Authorization: Bearer {house.key}", "Content-Type: application/json")
        return await client.ask(request(path, msgspec.json.encode(body), headers=headers))


@trio_test(mock_clock=True)
async def test_a_submit_beyond_the_tps_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with running(tmp_path, ONE, tps=2.0) as house:
        first = await post(house, MESSAGE)
        assert (first.status, first.headers["ratelimit-policy"]) == (202, '"tps";q=2;w=1')
        assert first.headers["ratelimit"] == '"tps";r=1;t=1'
        assert (await post(house, MESSAGE)).headers["ratelimit"] == '"tps";r=0;t=1'
        refused = await post(house, MESSAGE)
        problem: Any = refused.json()
        assert (refused.status, problem["type"]) == (429, "urn:signalbox:problem:too-many-submits")
        assert "'acme' may submit 2 messages a second" in problem["detail"]
        await trio.sleep(int(refused.headers["retry-after"]))
        assert (await post(house, MESSAGE)).status == 202


@trio_test(mock_clock=True)
async def test_of_a_batch_as_many_are_taken_as_there_is_room_for(tmp_path: Path) -> None:
    async with running(tmp_path, ONE, tps=3.0) as house:
        batch = await post(house, [MESSAGE] * 5, "/v1/messages/batch")
        told: Any = batch.json()
        assert (batch.status, told["accepted"], told["refused"]) == (200, 3, 2)
        assert [one["status"] for one in told["results"]] == [202, 202, 202, 429, 429]
        assert batch.headers["ratelimit"] == '"tps";r=0;t=1'
        whole = await post(house, [MESSAGE] * 5, "/v1/messages/batch")
        assert (whole.status, whole.headers["retry-after"]) == (429, "1")


@trio_test(mock_clock=True)
async def test_a_guard_against_duplicates_changes_nothing_about_it(tmp_path: Path) -> None:
    async with running(tmp_path, ONE, tps=1.0, duplicate_guard_s=60) as house:
        assert (await post(house, MESSAGE)).status == 202
        assert (await post(house, {**MESSAGE, "text": "Other"})).status == 429


@trio_test(mock_clock=True)
async def test_without_a_tps_there_is_nothing_to_tell(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        answer = await post(house, MESSAGE)
        assert answer.status == 202
        assert not [name for name in answer.headers if name.startswith("ratelimit")]


@trio_test(mock_clock=True)
async def test_a_tps_that_changes_counts_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, ONE, tps=1.0) as house:
        assert [(await post(house, MESSAGE)).status for _ in range(2)] == [202, 429]
        await house.gateway.accounts.update("acme", tps=0.0)
        assert [(await post(house, MESSAGE)).status for _ in range(3)] == [202] * 3


def test_binds_and_http_have_one_limit() -> None:
    rates, account = SubmitRates(), Account(7, "acme", tps=5.0)
    tenant = Tenant(account, rates)
    rates.of(account).take(3, 10.0)
    assert tenant.throttle.available(10.0) == 2
    tenant.change(replace(account, tps=2.0, burst=1), rates)
    assert tenant.throttle is rates.of(tenant.account)
    assert tenant.throttle.rate_per_s == 2


def test_less_than_one_a_second_is_told_in_a_longer_window() -> None:
    rates, account = SubmitRates(), Account(7, "acme", tps=0.25)
    assert rates.fields(account, 0.0)[0] == ("RateLimit-Policy", '"tps";q=1;w=4')
    rates.of(account).take(1, 0.0)
    assert rates.fields(account, 0.0)[1] == ("RateLimit", '"tps";r=0;t=4')
