"""gateway.spent: what limits beyond the second have spent outlives a restart, on the safe side."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from config.load import load
from gateway.app import Gateway, store_options
from gateway.writer import InlineWriter
from store.lmdb_store import LmdbStore
from tests.gateway.house import MemoryWorld, Script
from tests.trio_case import trio_test

CONFIG = """
[gateway]
data_dir = "{path}/var"
drain_timeout_s = 1
[http]
listen = ["127.0.0.1:8080"]
[store]
map_size_gb = 0.1
min_free_disk_mb = 0
[[carriers]]
name = "north"
host = "127.0.0.1"
port = 2001
system_id = "x"
{limits}
[[routes]]
name = "all"
lane = ["north"]
"""


class House:
    """One data directory, and the gateways that run on it one after the other."""

    def __init__(self, path: Path, limits: str) -> None:
        self.path = path
        self.world = MemoryWorld()
        (path / "gateway.toml").write_text(CONFIG.format(path=path, limits=limits))
        (path / "var").mkdir()

    async def live(self, take: int, for_s: float, *, politely: bool) -> int:
        """A life of so long, so much taken at its start; what the day's limit had left before that."""
        config = load(self.path / "gateway.toml")
        store = LmdbStore(self.path / "var" / "store", store_options(config, self.world.wall_ms))
        try:
            async with trio.open_nursery() as nursery:
                carrier = Script()
                nursery.start_soon(carrier.serve, await self.world.listen("127.0.0.1", 2001))
                gateway = Gateway(config, store, InlineWriter(store), self.world)
                gateway.recover()
                throttle = gateway.carriers[0].throttle
                left = throttle.left(trio.current_time())
                await nursery.start(gateway.run)
                throttle.take(take, trio.current_time())
                await trio.sleep(for_s)
                if politely:
                    gateway.stop()
                    await gateway.finished.wait()
                nursery.cancel_scope.cancel()
        finally:
            store.close()
        return left


@trio_test(mock_clock=True)
async def test_a_polite_restart_keeps_the_days_count_exactly(tmp_path: Path) -> None:
    house = House(tmp_path, "limits = { per_day = 1_000 }")
    assert await house.live(300, 5, politely=True) == 1_000
    assert await house.live(50, 0.2, politely=True) == 700  # not even looked at while it ran
    assert await house.live(0, 5, politely=True) == 650
    await trio.sleep(86_400)
    assert await house.live(0, 1, politely=True) == 1_000


@trio_test(mock_clock=True)
async def test_after_a_crash_the_count_errs_on_the_safe_side(tmp_path: Path) -> None:
    house = House(tmp_path, "limits = { per_day = 1_000 }")
    await house.live(300, 5, politely=False)
    left = await house.live(0, 5, politely=False)
    assert 600 <= left <= 700
    again = await house.live(0, 5, politely=False)  # nothing was taken: it does not count anew each time
    assert again == left or left - again <= 20


@pytest.mark.parametrize("limits", ["tps = 5", ""])
@trio_test(mock_clock=True)
async def test_without_such_a_limit_nothing_is_written(tmp_path: Path, limits: str) -> None:
    house = House(tmp_path, limits)
    await house.live(100, 5, politely=True)
    config = load(house.path / "gateway.toml")
    store = LmdbStore(tmp_path / "var" / "store", store_options(config, house.world.wall_ms))
    assert store.meta("spent:carrier:north") is None
    store.close()


@trio_test(mock_clock=True)
async def test_a_busy_limit_costs_at_most_a_row_a_second(tmp_path: Path) -> None:
    house = House(tmp_path, "limits = { per_day = 1_000_000 }")
    config = load(house.path / "gateway.toml")
    store = LmdbStore(tmp_path / "var" / "store", store_options(config, house.world.wall_ms))
    async with trio.open_nursery() as nursery:
        carrier = Script()
        nursery.start_soon(carrier.serve, await house.world.listen("127.0.0.1", 2001))
        gateway = Gateway(config, store, InlineWriter(store), house.world)
        await nursery.start(gateway.run)
        await trio.sleep(3)
        before = gateway.committer.ticks
        for _ in range(1_000):  # 10,000 segments in 10 s
            gateway.carriers[0].throttle.take(10, trio.current_time())
            await trio.sleep(0.01)
        assert gateway.committer.ticks - before <= 12 + 10  # the gateway's own clockwork has some
        nursery.cancel_scope.cancel()
    store.close()
