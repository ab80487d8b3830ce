"""Group commit: when a transaction is begun at all."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import trio
import trio.testing

from gateway.committer import Committer
from gateway.world import World
from gateway.writer import InlineWriter
from store.interface import Transaction
from tests.store.records_for_tests import lane_of, message, open_store, with_account


class Counting(InlineWriter):
    begun = 0

    async def begin(self) -> Transaction:
        self.begun += 1
        return await super().begin()


def test_whoever_wakes_it_for_an_empty_queue_costs_no_transaction(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    new = message(store, lane_of(store, "a"))

    async def main() -> None:
        writer = Counting(store)
        committer = Committer(store, writer, cast(World, _Clock()))
        async with trio.open_nursery() as nursery:
            await nursery.start(committer.run)
            committer.wake()
            await trio.testing.wait_all_tasks_blocked()
            assert (writer.begun, committer.ticks, committer.pending) == (0, 0, False)
            await committer.execute(lambda txn: txn.accept([new]))
            began = writer.begun
            committer.wake()
            await trio.testing.wait_all_tasks_blocked()
            assert writer.begun == began + 1
            committer.stop()

    trio.run(main)


class _Clock:
    def wall_ms(self) -> int:
        return 1_700_000_000_000
