"""The clockwork goes on whatever one of its jobs meets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import structlog
import trio

from gateway.carriers.inbound import Inbound
from gateway.committer import Committer
from gateway.timers import Clockwork, Retention
from gateway.world import RealWorld
from gateway.writer import InlineWriter
from router.nouns import Event, EventKind
from store.lmdb_store import LmdbStore
from store.outbox import tell
from tests.store.records_for_tests import (
    DAY_MS,
    Clock,
    commit,
    lane_of,
    message,
    open_store,
    receipt,
    with_account,
)
from tests.store.test_power import finished
from tests.trio_case import trio_test


async def inline(work: Callable[[], Any]) -> Any:
    return work()


class World(RealWorld):
    """The wall clock is the test's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wall_ms(self) -> int:
        return self._clock.now_ms


@asynccontextmanager
async def ticking(store: LmdbStore, clock: Clock) -> AsyncIterator[Committer]:
    """A clockwork that runs on this store."""
    committer = Committer(store, InlineWriter(store), World(clock))
    clockwork = Clockwork(
        store, committer, World(clock), cast(Inbound, None),  # no MO parts come
        grace_s=60, parts_wait_s=60, retention=Retention(30, 30, 30), in_thread=inline,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(committer.run)
        await nursery.start(clockwork.run)
        yield committer
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_fm29_a_full_archive_postpones_archiving_and_stops_nothing_else(tmp_path: Path) -> None:
    clock = Clock()
    store, ids = finished(tmp_path, clock, count=100, archive_map_size=32 << 10)
    async with ticking(store, clock) as committer:
        await trio.sleep(20)
        late = message(store, lane_of(store, "a"))
        await committer.execute(lambda txn: txn.accept([late]))
    assert store.totals().accepted == len(ids) + 1
    assert all(store.find(1, id) is not None for id in ids)
    store.close()


@trio_test(mock_clock=True)
async def test_what_nobody_took_is_kept_for_the_retention_and_then_dropped_aloud(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    events = [Event(EventKind.RECEIPT, 1, number, clock.now_ms, "a", "b", 2) for number in range(700)]
    commit(store, lambda txn: [tell(txn.batch, event) for event in events])
    (url,) = store.outbox_endpoints()
    old = clock.now_ms - 31 * DAY_MS
    commit(store, lambda txn: txn.outbox_give_up(store.outbox_page(url, 0, 650), old))
    commit(store, lambda txn: txn.outbox_give_up(store.outbox_page(url, 0, 650), old + 2 * DAY_MS))
    stray = receipt(store, "a", "nobodys", "447700900123")
    commit(store, lambda txn: txn.receipts([stray], old))
    commit(store, lambda txn: txn.housekeep(clock.now_ms, 100))
    assert (store.given_up_count(), len(store.unmatched())) == (700, 1)
    with structlog.testing.capture_logs() as logs:
        async with ticking(store, clock):
            await trio.sleep(1)
    assert (store.given_up_count(), len(store.unmatched())) == (50, 0)
    told = [(line["what"], line["count"]) for line in logs if line["event"] == "too old, dropped"]
    assert told == [("callbacks that were given up", 650), ("receipts that belong to no message", 1)]
    store.close()


@trio_test(mock_clock=True)
async def test_texts_go_by_age_and_their_messages_stay(tmp_path: Path) -> None:
    clock = Clock()
    store, ids = finished(tmp_path, clock, count=10, texts_ms=DAY_MS)
    async with ticking(store, clock):
        await trio.sleep(20)
        assert all(one is not None and one[0].text for one in map(store.find_any, ids))
        clock.now_ms += 3 * DAY_MS
        await trio.sleep(3600)
        assert not any(one is None or one[0].text for one in map(store.find_any, ids))
    store.close()
