"""The clockwork goes on whatever one of its jobs meets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import trio

from gateway.carriers.inbound import Inbound
from gateway.committer import Committer
from gateway.timers import Clockwork
from gateway.world import RealWorld
from gateway.writer import InlineWriter
from tests.store.records_for_tests import Clock, lane_of, message
from tests.store.test_power import finished
from tests.trio_case import trio_test


async def inline(work: Callable[[], None]) -> None:
    work()


@trio_test(mock_clock=True)
async def test_fm29_a_full_archive_postpones_archiving_and_stops_nothing_else(tmp_path: Path) -> None:
    clock = Clock()
    store, ids = finished(tmp_path, clock, count=100, archive_map_size=32 << 10)

    class World(RealWorld):
        def wall_ms(self) -> int:
            return clock.now_ms

    committer = Committer(store, InlineWriter(store), World())
    clockwork = Clockwork(
        store, committer, World(), cast(Inbound, None),  # no MO parts come
        grace_s=60, parts_wait_s=60, retention_days=30, in_thread=inline,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(committer.run)
        await nursery.start(clockwork.run)
        await trio.sleep(20)
        late = message(store, lane_of(store, "a"))
        await committer.execute(lambda txn: txn.accept([late]))
        nursery.cancel_scope.cancel()
    assert store.totals().accepted == len(ids) + 1
    assert all(store.find(1, id) is not None for id in ids)
    store.close()
