"""gateway.sending: an account's own limits hold for it, and hold up nobody else."""

from __future__ import annotations

from pathlib import Path

import trio

from gateway.simulator.behaviour import Behaviour
from router.nouns import Phase
from tests.simulation.scene import carrier_toml, most_in, numbers, route_toml, scene
from tests.trio_case import trio_test

TOML = carrier_toml("north", 1, "window = 50") + route_toml("north")


@trio_test(mock_clock=True)
async def test_an_account_at_its_limit_waits_and_the_others_go_on(tmp_path: Path) -> None:
    async with scene(tmp_path, TOML, {"north": Behaviour()}) as stage:
        slow = await stage.account("slow", send_tps=5.0, send_per_minute=120)
        free = await stage.account("free")
        began = trio.current_time()
        stage.submit(slow, numbers("4477", 100))
        stage.submit(free, numbers("4915", 300))
        north = stage.carriers["north"]
        await stage.until(lambda: sum(one.to.startswith("49") for one in north.arrivals) == 300)
        assert trio.current_time() - began < 1.0
        stage.submit(slow, numbers("4477", 100, 100))  # what comes while it waits keeps its order
        await stage.until(lambda: len(north.arrivals) == 500, 300)
        mine = [one for one in north.arrivals if one.to.startswith("44")]
        assert [one.to for one in mine] == numbers("4477", 200)
        assert most_in(1.0, [one.at for one in mine]) <= 5
        assert most_in(60.0, [one.at for one in mine]) <= 120
        assert 60 <= trio.current_time() - began < 85  # 120 in the first minute, the other 80 in the next


@trio_test(mock_clock=True)
async def test_a_waiting_account_is_a_reason_and_a_new_limit_counts_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path, TOML, {"north": Behaviour()}) as stage:
        account = await stage.account("acme", send_per_day=10)
        stage.submit(account, numbers("4477", 30))
        north = stage.carriers["north"]
        await trio.sleep(60)
        assert len(north.arrivals) == 10
        facts = stage.gateway.facts()
        assert [one["reason"] for one in facts["lanes"].values()] == ["account_throttled"]  # type: ignore[attr-defined]
        assert not stage.gateway.watchdog.stalls
        await stage.gateway.accounts.update("acme", send_per_day=15)
        await stage.until(lambda: len(north.arrivals) == 15, 5)
        await stage.gateway.accounts.update("acme", send_per_day=0)
        await stage.until(lambda: not stage.waiting(), 5)
        assert len(north.arrivals) == 30


@trio_test(mock_clock=True)
async def test_a_suspended_account_stays_so_and_a_restart_keeps_the_days_count(tmp_path: Path) -> None:
    async with scene(tmp_path, TOML, {"north": Behaviour()}) as stage:
        account = await stage.account("acme", send_tps=2.0, send_per_day=20)
        stage.submit(account, numbers("4477", 30))
        north = stage.carriers["north"]
        await stage.until(lambda: len(north.arrivals) >= 4)
        await stage.gateway.accounts.update("acme", suspended=True)
        sent = len(north.arrivals)
        await trio.sleep(10)
        assert len(north.arrivals) <= sent + 1
        await stage.gateway.accounts.update("acme", suspended=False)
        await stage.until(lambda: len(north.arrivals) == 20, 30)
    async with scene(tmp_path, TOML, {"north": Behaviour()}) as stage:
        await trio.sleep(30)
        assert not stage.carriers["north"].arrivals
        assert stage.gateway.store.totals().messages[Phase.READY] == 10


@trio_test(mock_clock=True)
async def test_without_such_limits_a_claim_asks_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path, TOML, {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        assert not stage.gateway.sending
        stage.submit(account, numbers("4477", 10))
        await stage.until(lambda: not stage.waiting())
        assert not stage.gateway.sending.waiting
