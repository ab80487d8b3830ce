"""What operators are told over HTTP: what waits and why, and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.overview import COUNTED_EACH
from store.interface import StoreFull
from tests.gateway.http.test_accounts import Operator, operator
from tests.trio_case import trio_test

TO = "447700900123"


async def submitted(ann: Operator, key: str, count: int = 1, **fields: Any) -> None:
    messages = [{"to": TO, "from": "ACME", "text": "Hello", **fields}] * count
    answer = await ann.ask("POST", "/v1/messages/batch", messages, authorization=f"Bearer {key}")
    assert answer.json["refused"] == 0, answer.raw


async def told(ann: Operator, path: str) -> Any:
    answer = await ann.ask("GET", path)
    assert answer.status == 200, answer.raw
    return answer.json


@trio_test(mock_clock=True)
async def test_queues_tell_depth_age_and_reason_by_priority_and_account(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        one, two = await ann.made("one"), await ann.made("two")
        await ann.house.bound()
        (carrier,) = ann.house.gateway.carriers
        carrier.suspended = True
        await submitted(ann, one["api_key"], 3, priority=3)
        await trio.sleep(100)
        await submitted(ann, one["api_key"], 2, priority=0)
        await submitted(ann, two["api_key"], 1, priority=0)
        (lane,) = (await told(ann, "/v1/queues"))["lanes"]
        assert (lane["ready"], lane["reason"], lane["carriers"]) == (6, "suspended", {"north": "suspended"})
        shown = [(one["priority"], one["account"], one["depth"], one["more"]) for one in lane["queues"]]
        assert shown == [(3, "one", 3, False), (0, "one", 2, False), (0, "two", 1, False)]
        assert 100 <= lane["queues"][0]["oldest_age_s"] == lane["oldest_age_s"] < 110
        assert lane["queues"][1]["oldest_age_s"] < 5
        await ann.ask("POST", "/v1/accounts/two/suspend")
        (lane,) = (await told(ann, "/v1/queues?account=two"))["lanes"]
        assert [one["reason"] for one in lane["queues"]] == ["account_suspended"]
        assert (await told(ann, "/v1/queues?lane=nowhere"))["lanes"] == []


@trio_test(mock_clock=True)
async def test_a_long_queue_is_counted_so_far(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        one = await ann.made("one")
        await ann.house.bound()
        (carrier,) = ann.house.gateway.carriers
        carrier.suspended = True
        for _ in range(2):
            await submitted(ann, one["api_key"], COUNTED_EACH // 2 + 1)
        (lane,) = (await told(ann, "/v1/queues"))["lanes"]
        (queue,) = lane["queues"]
        assert (queue["depth"], queue["more"]) == (COUNTED_EACH + 2, False), "its lane's count says the rest"
        two = await ann.made("two")
        for _ in range(2):
            await submitted(ann, two["api_key"], COUNTED_EACH // 2 + 1)
        (lane,) = (await told(ann, "/v1/queues"))["lanes"]
        assert [(one["depth"], one["more"]) for one in lane["queues"]] == [(COUNTED_EACH, True)] * 2
        assert lane["ready"] == 2 * COUNTED_EACH + 4


@trio_test(mock_clock=True)
async def test_health_is_ok_or_says_what_is_not_the_worst_first(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        one = await ann.made("one")
        await ann.house.bound()
        assert (await told(ann, "/v1/health"))["status"] == "ok"
        await ann.ask("POST", "/v1/carriers/north/suspend", {"for_s": 60}, audit_reason="their work")
        await submitted(ann, one["api_key"], 4)
        health = await told(ann, "/v1/health")
        assert health["status"] == "failing"
        not_ready = "no carrier takes messages, though some are bound"
        assert health["problems"][0]["what"] == f"is not ready: {not_ready}", "the submits were answered 202"
        assert health["problems"][0]["severity"] == "critical"
        said = {problem["subject"]: problem["what"] for problem in health["problems"]}
        assert "their work" in said["carrier:north"]
        assert "4 messages wait: suspended by an operator" in "".join(said.values())
        assert health["backlog"]["ready"] == 4
        await trio.sleep(120)
        assert (await told(ann, "/v1/health"))["status"] == "ok"


@trio_test(mock_clock=True)
async def test_a_load_balancer_goes_on_sending_while_messages_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(tmp_path) as ann:
        one = await ann.made("one")
        await ann.house.bound()
        await ann.ask("POST", "/v1/carriers/north/suspend", {"for_s": 60}, audit_reason="their work")
        await submitted(ann, one["api_key"], 1)
        assert (await told(ann, "/v1/health"))["status"] == "failing"
        assert await ann.house.http("GET", "/readyz") == (200, "ready\n")
        monkeypatch.setattr(ann.house.gateway.store, "admission", lambda: StoreFull("the disk is full", ""))
        assert await ann.house.http("GET", "/readyz") == (503, "the disk is full\n")


@trio_test(mock_clock=True)
async def test_customers_are_not_told(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        one = await ann.made("one")
        for path in ("/v1/queues", "/v1/health"):
            answer = await ann.ask("GET", path, authorization=f"Bearer {one['api_key']}")
            assert (answer.status, answer.code) == (403, "operator-key-needed")
