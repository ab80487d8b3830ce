"""What passes a second, as `signalbox top`, GET /v1/top and the console are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from gateway import figures
from gateway.figures import Figures, _quantile
from gateway.metrics import SECONDS as BOUNDS_S
from router.roles import Role
from tests.gateway.http.test_accounts import Operator, operator
from tests.trio_case import trio_test

TO = "447700900123"


async def submitted(ann: Operator, key: str, count: int = 1) -> Any:
    messages = [{"to": TO, "from": "ACME", "text": "Hello"}] * count
    answer = await ann.ask("POST", "/v1/messages/batch", messages, authorization=f"Bearer {key}")
    return answer.json


async def top(ann: Operator, query: str = "", **headers: str) -> Any:
    answer = await ann.ask("GET", f"/v1/top{query}", **headers)
    assert answer.status == 200, answer.raw
    return answer.json


def of(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows if row["name"] == name)


@trio_test(mock_clock=True)
async def test_rates_are_those_of_the_last_second_and_the_mean_of_the_last_minute(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        shop = await ann.made("shop")
        await ann.house.bound()
        await trio.sleep(100.5)
        await submitted(ann, shop["api_key"], 30)
        await trio.sleep(1)
        now = await top(ann)
        assert now["last_second"]["accepted"] == now["last_second"]["sent"] == 30
        assert now["last_minute"]["accepted"] == 0.5
        north = of(now["carriers"], "north")
        assert (north["sent_per_s"], north["sent_mean"], north["why"]) == (30, 0.5, "free")
        assert (north["binds"], north["binds_wanted"], north["window"]) == (1, 1, 10)
        assert north["response_p90_s"] is not None
        row = of(now["accounts"], "shop")
        assert (row["accepted_per_s"], row["accepted_mean"], row["refused_per_s"]) == (30, 0.5, 0)
        await trio.sleep(1)
        assert (await top(ann))["last_second"]["accepted"] == 0
        await trio.sleep(61)
        now = await top(ann)
        assert now["last_minute"]["accepted"] == 0
        assert now["accounts"] == [], "it does nothing any more"


@trio_test(mock_clock=True)
async def test_the_history_has_a_value_for_each_second_and_an_end(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        shop = await ann.made("shop")
        await ann.house.bound()
        await trio.sleep(400.5)
        await submitted(ann, shop["api_key"], 7)
        await trio.sleep(2)
        assert (await top(ann))["history"] is None
        history = (await top(ann, "?history=true"))["history"]
        assert {len(values) for values in history.values()} == {figures.SECONDS}
        assert history["accepted"][-3:] in ([0, 7, 0], [7, 0, 0])
        assert sum(history["accepted"]) == 7
        steps = {later - at for at, later in zip(history["seconds"], history["seconds"][1:], strict=False)}
        assert steps == {1}


@trio_test(mock_clock=True)
async def test_what_waits_and_why_is_told_of_carriers_and_accounts(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        shop = await ann.made("shop")
        await ann.house.bound()
        await ann.ask("POST", "/v1/carriers/north/suspend", {"for_s": 600}, audit_reason="their work")
        await submitted(ann, shop["api_key"], 4)
        await trio.sleep(50)
        now = await top(ann)
        north = of(now["carriers"], "north")
        assert (north["why"], north["waiting"], now["waiting"]) == ("suspended", 4, 4)
        assert "by ann: their work" in north["detail"]
        assert 50 <= north["oldest_age_s"] == now["oldest_age_s"] < 60
        assert of(now["accounts"], "shop")["waiting"] == 4
        assert now["status"] == "failing"
        assert any("their work" in one["what"] for one in now["problems"])


@trio_test(mock_clock=True)
async def test_refusals_are_counted_and_named(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        shop = await ann.made("shop")
        await ann.house.bound()
        await trio.sleep(2.5)
        answer = await ann.ask(
            "POST",
            "/v1/messages",
            {"to": "12", "from": "ACME", "text": "Hello"},
            authorization=f"Bearer {shop['api_key']}",
        )
        assert answer.status == 422
        await trio.sleep(1)
        row = of((await top(ann))["accounts"], "shop")
        assert row["refused_per_s"] == 1
        assert row["refused_for"]


@trio_test(mock_clock=True)
async def test_a_key_sees_what_it_may(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        shop = await ann.made("shop")
        await submitted(ann, shop["api_key"])
        await trio.sleep(2)
        whole = await top(ann)
        assert (len(whole["accounts"]), whole["status"]) == (1, "ok")
        _, owner = await ann.house.gateway.operators.create("owen", Role.OWNER)
        wish = {"operator": "ann", "scopes": ["carriers.read"]}
        less = await ann.ask("POST", "/v1/keys", wish, authorization=f"Bearer {owner}", idempotency_key="1")
        seen = await top(ann, authorization=f"Bearer {less.json['key']}")
        assert (seen["accounts"], seen["problems"], seen["status"]) == (None, [], "")
        assert of(seen["carriers"], "north") == of((await top(ann))["carriers"], "north")
        refused = await ann.ask("GET", "/v1/top", authorization=f"Bearer {shop['api_key']}")
        assert (refused.status, refused.code) == (403, "operator-key-needed")


@trio_test(mock_clock=True)
async def test_the_same_snapshot_is_shared_by_all_who_ask_within_a_second(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        told = ann.house.gateway.figures
        first = told.snapshot()
        assert told.snapshot() is first
        await trio.sleep(1)
        assert told.snapshot() is not first


@trio_test(mock_clock=True)
async def test_accounts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_ACCOUNTS", 3)
    monkeypatch.setattr(figures, "SHOWN_ACCOUNTS", 2)
    async with operator(tmp_path) as ann:
        gateway = ann.house.gateway
        told = Figures(gateway)
        told.look()
        for n in range(10):
            gateway.counts.accepted(f"a{n}", "http", 1)
        await trio.sleep(1)
        told.look()
        assert len(told._accounts) == 3
        shown = told.snapshot()
        assert shown.accounts is not None
        assert len(shown.accounts) + shown.more_accounts == 3
        assert shown.last_second.accepted == 10, "the sum has them all"


@trio_test(mock_clock=True)
async def test_accounts_that_rest_make_room_and_come_back_without_a_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST_ACCOUNTS", 2)
    async with operator(tmp_path) as ann:
        keys = [(await ann.made(f"shop{n}"))["api_key"] for n in range(3)]
        await ann.house.bound()
        await trio.sleep(10.5)
        for key in keys[:2]:
            await submitted(ann, key, 20)
        await trio.sleep(62)
        await submitted(ann, keys[2], 30)
        await trio.sleep(1)
        now = await top(ann)
        assert of(now["accounts"], "shop2")["accepted_per_s"] == now["last_second"]["accepted"] == 30
        await submitted(ann, keys[0], 1)
        await trio.sleep(1)
        row = of((await top(ann))["accounts"], "shop0")
        assert (row["accepted_per_s"], row["accepted_mean"]) == (1, 0), "not the 20 of before"
        assert set(ann.house.gateway.figures._accounts) == {"shop0", "shop2"}


def test_quantiles_are_guessed_inside_a_bucket() -> None:
    counts = [0] * (len(BOUNDS_S) + 1)
    assert _quantile(counts, 0.5) is None
    counts[1] = 10  # 1 to 2.5 ms
    assert _quantile(counts, 0.5) == 0.0018
    counts[-1] = 90
    assert _quantile(counts, 0.9) == BOUNDS_S[-1]
