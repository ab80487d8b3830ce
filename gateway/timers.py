"""The gateway's clockwork: due messages, expiry, MO parts, archive, usage, retention, lanes that are gone.

Each job is bounded to some hundreds of rows a transaction and has the lowest claim on the writer: a job
that finds a full portion yields to traffic before it goes on.

Deliberately not here: what the jobs do to records (the store's verbs).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog
import trio

from gateway.carriers.inbound import Inbound
from gateway.committer import Committer
from gateway.replan import Replan
from gateway.world import World
from router.nouns import Phase
from store.finished import Finished
from store.interface import Store, StoreError, Transaction

log = structlog.get_logger("timers")

_PORTION = 300
_DUE_POLL_S = 0.25
_EXPIRE_S = 1.0
_PARTS_S = 5.0
_GROUPS_S = 1.0
_SILENCES_S = 1.0
_USAGE_S = 1.0
_MERGE_S = 2.0
_ARCHIVE_S = 5.0
_RETENTION_S = 3600.0
_BREATH_S = 0.002
_DAY_MS = 86_400_000


class Retention(NamedTuple):
    """How many days are kept; texts and inbound messages are the store's own matter (its options)."""

    messages: int
    given_up: int
    unmatched: int


class Clockwork:
    def __init__(
        self,
        store: Store,
        committer: Committer,
        world: World,
        inbound: Inbound,
        *,
        grace_s: int,
        parts_wait_s: int,
        retention: Retention,
        replan: Replan | None = None,
        groups_wait_s: float = 10.0,
        portion: int = _PORTION,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = trio.to_thread.run_sync,
    ) -> None:
        self._store = store
        self._committer = committer
        self._world = world
        self._inbound = inbound
        self._grace_ms = grace_s * 1000
        self._parts_wait_ms = parts_wait_s * 1000
        self._keeps = retention
        self._replan = replan
        self._groups_wait_ms = int(groups_wait_s * 1000)
        self._portion = portion
        self._in_thread = in_thread
        self.archiving = trio.Lock()  # while somebody else has it, nothing moves to the archive

    def change(self, *, grace_s: int, parts_wait_s: int) -> None:
        """Other times from the next portion on."""
        self._grace_ms, self._parts_wait_ms = grace_s * 1000, parts_wait_s * 1000

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._due)
            nursery.start_soon(self._every, _EXPIRE_S, self._expire)
            nursery.start_soon(self._every, _PARTS_S, self._stale_parts)
            nursery.start_soon(self._groups)
            nursery.start_soon(self._silences)
            nursery.start_soon(self._every, _MERGE_S, self._housekeep)
            nursery.start_soon(self._archive)
            nursery.start_soon(self._usage)
            nursery.start_soon(self._retention)
            if self._replan is not None:
                nursery.start_soon(self._replan.run)
            task_status.started()

    async def _due(self) -> None:
        """Scheduled, deferred and outbox rows whose time has come, to the second or better."""
        while True:
            due_ms = self._store.next_due_ms()
            now_ms = self._world.wall_ms()
            if due_ms is None or due_ms > now_ms:
                wait_s = _DUE_POLL_S if due_ms is None else min(_DUE_POLL_S, (due_ms - now_ms) / 1000)
                await trio.sleep(max(wait_s, 0.001))
                continue
            await self._portions(partial(_move_due, now_ms, self._portion))

    async def _every(self, period_s: float, job: Callable[[], Callable[[Transaction], int]]) -> None:
        while True:
            await trio.sleep(period_s)
            await self._portions(job())

    async def _portions(self, verb: Callable[[Transaction], int]) -> int:
        """Until a portion is not full; how many rows were handled."""
        total = 0
        while True:
            try:
                moved = await self._committer.execute(verb)
            except StoreError as error:
                log.error("job postponed", error=str(error), hint=error.hint)
                await trio.sleep(1)
                return total
            total += moved
            if moved < self._portion:
                return total
            await trio.sleep(_BREATH_S)

    def _expire(self) -> Callable[[Transaction], int]:
        return partial(_expire, self._world.wall_ms(), self._portion, self._grace_ms)

    def _stale_parts(self) -> Callable[[Transaction], int]:
        now_ms = self._world.wall_ms()

        def verb(txn: Transaction) -> int:
            groups = txn.take_stale_parts(now_ms - self._parts_wait_ms, self._portion)
            for parts in groups:
                self._inbound.keep_parts(txn, parts, now_ms)
            return len(groups)

        return verb

    async def _groups(self) -> None:
        """Parts of customers' long messages that have waited long enough for each other."""
        while True:
            await trio.sleep(_GROUPS_S)
            if self._store.totals().messages[Phase.HELD]:
                await self._portions(
                    partial(_release_groups, self._groups_wait_ms, self._world, self._portion)
                )

    async def _silences(self) -> None:
        """Messages whose receipts are overdue, of routes that send them elsewhere then."""
        while True:
            await trio.sleep(_SILENCES_S)
            due_ms, now_ms = self._store.next_silence_ms(), self._world.wall_ms()
            if due_ms is not None and due_ms <= now_ms:
                await self._portions(partial(_after_silence, now_ms, self._portion))

    def _housekeep(self) -> Callable[[Transaction], int]:
        now_ms = self._world.wall_ms()

        def verb(txn: Transaction) -> int:
            return txn.housekeep(now_ms, self._portion)

        return verb

    async def _archive(self) -> None:
        """Read, write to the day's environment in a thread, then forget: portion by portion."""
        while True:
            async with self.archiving:
                wait_s = await self._archive_portion()
            if wait_s:
                await trio.sleep(wait_s)

    async def _archive_portion(self) -> float:
        """How long to wait for the next one."""
        rows = self._store.pick_finished(self._world.wall_ms(), self._portion)
        if not rows:
            return _ARCHIVE_S
        try:
            await self._in_thread(partial(self._store.write_finished, rows))
            await self._committer.execute(partial(_forget, rows))
        except StoreError as error:
            log.error("archiving postponed", error=str(error), hint=error.hint)
            return 1.0
        return 0.0

    async def _usage(self) -> None:
        while True:
            self._store.refresh_usage()
            await trio.sleep(_USAGE_S)

    async def _retention(self) -> None:
        while True:
            now_ms = self._world.wall_ms()
            dropped = self._store.drop_old(now_ms, self._keeps.messages)
            if dropped:
                log.info("archives dropped", days=dropped, retention_days=self._keeps.messages)
            for what, verb, days in (
                ("callbacks that were given up", _drop_given_up, self._keeps.given_up),
                ("receipts that belong to no message", _drop_unmatched, self._keeps.unmatched),
            ):
                count = await self._portions(partial(verb, now_ms - days * _DAY_MS, self._portion))
                if count:
                    log.warning("too old, dropped", what=what, count=count, days=days)
            try:
                await self._old_texts(now_ms)
            except StoreError as error:
                log.error("texts are kept for longer than they should be", error=str(error), hint=error.hint)
            await trio.sleep(_RETENTION_S)

    async def _old_texts(self, now_ms: int) -> None:
        """Days of the archive lose their texts, one after the other. Errors: StoreError."""
        if not self._store.options.texts_ms:
            return
        for day in await self._in_thread(partial(self._store.days_with_old_texts, now_ms)):
            anew = await self._in_thread(partial(self._store.without_texts, day, now_ms))
            try:
                while await self._in_thread(anew.step):
                    await trio.sleep(_BREATH_S)
                await self._in_thread(anew.finish)
            except BaseException:
                anew.drop()
                raise
            log.info("an archive's texts are gone", day=day)


def _drop_given_up(before_ms: int, portion: int, txn: Transaction) -> int:
    return txn.drop_given_up(before_ms, portion)


def _drop_unmatched(before_ms: int, portion: int, txn: Transaction) -> int:
    return txn.drop_unmatched(before_ms, portion)


def _forget(rows: Sequence[Finished], txn: Transaction) -> int:
    return txn.forget(rows)


def _release_groups(wait_ms: int, world: World, portion: int, txn: Transaction) -> int:
    now_ms = world.wall_ms()
    return txn.release_groups(now_ms - wait_ms, now_ms, portion)


def _after_silence(now_ms: int, portion: int, txn: Transaction) -> int:
    return txn.after_silence(now_ms, portion)


def _move_due(now_ms: int, portion: int, txn: Transaction) -> int:
    return txn.move_due(now_ms, portion)


def _expire(now_ms: int, portion: int, grace_ms: int, txn: Transaction) -> int:
    return txn.expire(now_ms, portion, grace_ms)
