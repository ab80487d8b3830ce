"""Searching messages while the gateway runs: how far the index may go, and who is asked.

Once a second the last id handed out is noted, one commit is waited for, and everything up to that id is
settled: the index may follow. A gateway asks a process of its own (`Aside`), whose work takes nothing from
the loop and which is started again when it ends; tests and commands on a stopped store search in place
(`Inline`).

Invariants: nothing here is on the message path; at most MOST_WAITING searches wait at a time, and each ends
within PATIENCE_S; a search process that says nothing for that long is ended.

Deliberately not here: what a search is (store.search), who may ask what (gateway.http.search, admin verbs).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog
import trio

import gateway
from gateway.http.timeline import rfc3339
from gateway.metrics import Metrics
from gateway.search_child import Find, Follow, Found, Frames, Told, Wish, decode_said, frame
from gateway.world import World
from store.ids import ms_of
from store.interface import StoreError, Transaction
from store.lmdb_store import LmdbStore
from store.search import Facts, Page, Query, Search

T = TypeVar("T")

MOST_WAITING = 32
PATIENCE_S = 60.0
_EVERY_S = 1.0
_KEEP_EVERY_MS = 3_600_000
_SOON_S, _LATE_S = 1.0, 60.0  # until it is started again
_END_S = 5.0

log = structlog.get_logger("search")


class SearchUnavailable(Exception):
    """Nobody can search just now; says why. Try again soon."""


class Executing(Protocol):
    """What is needed of a committer."""

    async def execute(self, function: Callable[[Transaction], T]) -> T: ...


class Engine(Protocol):
    """Who builds the index and searches it."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...
    async def follow(self, settled: int, now_ms: int, again: tuple[str, ...] = ()) -> Facts | None:
        """Everything up to there may be indexed, and the days in `again` from their beginnings; None: nobody
        is there to do it."""

    async def find(self, query: Query) -> Page:
        """Errors: SearchUnavailable."""


class Searching:
    """`facts` are None until the engine has said something."""

    def __init__(self, store: LmdbStore, committer: Executing, world: World, retention_days: int) -> None:
        self.engine: Engine = Inline(store, retention_days)
        self.facts: Facts | None = None
        self.searches = 0
        self.short = 0  # pages that ended for their cost
        self.duration_s = 0.0
        self._store, self._committer, self._world = store, committer, world
        self._retention_days = retention_days
        self._settled = -1
        self._indexed_until_ms = 0
        self._nursery: trio.Nursery | None = None
        self._again: set[str] = set()  # days whose index is to be built anew

    def in_a_process(self) -> None:
        """Before `run`: build and search in a process of its own."""
        self.engine = Aside(self._store, self._retention_days)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.engine.run)
            self._nursery = nursery
            task_status.started()
            while True:
                await self._follow()
                await trio.sleep(_EVERY_S)

    async def _follow(self) -> None:
        now_ms, newest = self._world.wall_ms(), self._store.newest_id()
        if newest != self._settled:
            try:
                await self._committer.execute(_nothing)  # what was handed out before is in a commit by now
            except StoreError:
                return
            self._settled = newest
        again = tuple(sorted(self._again))
        facts = await self.engine.follow(newest, now_ms, again)
        if facts is not None:
            self._again.difference_update(again)
        before = self.facts.problem if self.facts is not None else ""
        self.facts = facts
        if facts is None:
            return
        if facts.indexed >= newest:
            self._indexed_until_ms = now_ms
        elif facts.indexed >= 0:
            self._indexed_until_ms = max(self._indexed_until_ms, min(now_ms, ms_of(facts.indexed)))
        if facts.problem and facts.problem != before:
            log.warning("the search index stands still; searches take longer", why=facts.problem)

    async def anew(self, days: Collection[str]) -> None:
        """Returns when the index of these days is thrown away; it is built again after that."""
        self._again.update(days)
        while not self._again.isdisjoint(days):
            await trio.sleep(_EVERY_S / 4)

    @property
    def indexed_until_ms(self) -> int:
        """What was accepted before then is indexed, but for days that are still being built; 0: not known."""
        return self._indexed_until_ms

    def lag_s(self) -> float:
        """How far the index is behind; 0 while nothing is known."""
        if not self._indexed_until_ms:
            return 0.0
        return max(0.0, (self._world.wall_ms() - self._indexed_until_ms) / 1000)

    async def find(self, query: Query) -> Page:
        """Errors: SearchUnavailable."""
        began = trio.current_time()
        page = await self.engine.find(query)
        self.searches += 1
        self.short += page.short
        self.duration_s += trio.current_time() - began
        return page

    def start_soon(self, work: Callable[[], Awaitable[None]]) -> None:
        """Searches that go on by themselves, until the gateway stops. Errors: SearchUnavailable."""
        if self._nursery is None:
            raise SearchUnavailable("the gateway is being started")
        self._nursery.start_soon(work)

    def view(self) -> dict[str, object]:
        """For `status`: plain JSON values; `problem` while nobody says how far it is."""
        facts = self.facts
        return {
            "indexed_until": rfc3339(self._indexed_until_ms) if self._indexed_until_ms else "",
            "lag_s": round(self.lag_s(), 1),
            "days_to_build": list(facts.waiting) if facts is not None else [],
            "bytes": facts.bytes if facts is not None else 0,
            "problem": facts.problem if facts is not None else "the search process does not run",
        }


def add_search_measures(metrics: Metrics, searching: Searching) -> None:
    """Register them once."""

    def fact(name: str) -> int:
        facts = searching.facts
        found = getattr(facts, name) if facts is not None else 0
        return found if isinstance(found, int) else len(found)

    metrics.gauge(
        "signalbox_search_lag_seconds",
        "How far the index of messages is behind; what is newer is found more slowly.",
        (),
        lambda: (((), searching.lag_s()),),
    )
    metrics.gauge("signalbox_search_index_bytes", "Its files.", (), lambda: (((), fact("bytes")),))
    metrics.gauge(
        "signalbox_search_index_files_left",
        "Files of it, one a day, that are still being built.",
        (),
        lambda: (((), fact("waiting")),),
    )
    metrics.counter("signalbox_searches", "Pages answered.", (), lambda: (((), searching.searches),))
    metrics.counter(
        "signalbox_searches_short",
        "Pages that ended before they were full, for their cost.",
        (),
        lambda: (((), searching.short),),
    )
    metrics.counter(
        "signalbox_searches_seconds", "What they took.", (), lambda: (((), searching.duration_s),)
    )


def _nothing(txn: Transaction) -> None:
    """A verb that changes nothing."""


class Inline:
    """In this process, on the loop: for tests, and for commands on a stopped store."""

    def __init__(self, store: LmdbStore, retention_days: int) -> None:
        self._store = store
        self._retention_days = retention_days
        self._search: Search | None = None
        self._kept_ms = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self.close()

    def close(self) -> None:
        if self._search is not None:
            self._search.close()
            self._search = None

    @property
    def _there(self) -> Search:
        if self._search is None:
            self._search = Search.of(self._store)
        return self._search

    async def follow(self, settled: int, now_ms: int, again: tuple[str, ...] = ()) -> Facts | None:
        search = self._there
        if now_ms - self._kept_ms > _KEEP_EVERY_MS:
            self._kept_ms = now_ms
            search.keep(now_ms, self._retention_days)
        for day in again:
            search.builder.discard(day)
        search.builder.follow(settled)
        while search.builder.step():
            await trio.lowlevel.checkpoint()
        return search.facts()

    async def find(self, query: Query) -> Page:
        await trio.lowlevel.checkpoint()
        try:
            return self._there.find(query)
        except StoreError as error:
            raise SearchUnavailable(str(error)) from None


class Aside:
    """A process of its own, asked over pipes."""

    def __init__(self, store: LmdbStore, retention_days: int) -> None:
        self._store = store
        options = store.options
        self._wish = Wish(
            str(store.path.absolute()),
            options.map_size,
            options.archive_map_size,
            options.min_free_disk,
            retention_days,
        )
        self._process: trio.Process | None = None
        self._sending = trio.Lock()
        self._number = 0
        self._finds: dict[int, _Waiting[Found]] = {}
        self._told: _Waiting[Told] | None = None
        self.starts = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        pause_s = _SOON_S
        while True:
            began = trio.current_time()
            try:
                await self._live()
            except OSError as error:
                log.error("the search process cannot be started", error=str(error))
            finally:
                self._process = None
                self._nobody()
                self._store.drop_dead_readers()  # of a read that it did not end
            pause_s = _SOON_S if trio.current_time() - began > _LATE_S else min(_LATE_S, pause_s * 2)
            log.warning("the search process has ended; it is started again", in_s=pause_s)
            await trio.sleep(pause_s)

    async def _live(self) -> None:
        """One process, from its start to its end. Errors: OSError."""
        arguments = [
            sys.executable,
            "-P",
            "-m",
            "gateway.search_child",
            msgspec.json.encode(self._wish).decode(),
        ]
        process = await trio.lowlevel.open_process(
            arguments, stdin=-1, stdout=-1, env={**os.environ, "PYTHONPATH": _packages()}
        )
        self.starts += 1
        self._process = process
        try:
            await self._hear(process)
        finally:
            self._process = None
            assert process.stdin is not None
            with trio.CancelScope(shield=True):
                await process.stdin.aclose()
                with trio.move_on_after(_END_S) as patience:
                    await process.wait()
                if patience.cancelled_caught:
                    process.kill()
                    await process.wait()

    async def _hear(self, process: trio.Process) -> None:
        """Until it says nothing more."""
        assert process.stdout is not None
        frames = Frames()
        async for data in process.stdout:
            for raw in frames.feed(bytes(data)):
                said = decode_said(raw)
                if isinstance(said, Told):
                    if self._told is not None:
                        self._told.have(said)
                elif said.number in self._finds:
                    self._finds[said.number].have(said)

    def _nobody(self) -> None:
        """Whoever waits for an answer gets none."""
        for waiting in self._finds.values():
            waiting.gone()
        if self._told is not None:
            self._told.gone()

    async def follow(self, settled: int, now_ms: int, again: tuple[str, ...] = ()) -> Facts | None:
        self._told = waiting = _Waiting[Told]()
        try:
            return (await self._ask(Follow(settled, now_ms, again), waiting)).facts
        except SearchUnavailable:
            return None
        finally:
            self._told = None

    async def find(self, query: Query) -> Page:
        if len(self._finds) >= MOST_WAITING:
            raise SearchUnavailable(f"{MOST_WAITING} searches are being answered already")
        self._number += 1
        number, waiting = self._number, _Waiting[Found]()
        self._finds[number] = waiting
        try:
            found = await self._ask(Find(number, query), waiting)
        finally:
            del self._finds[number]
        if found.page is None:
            raise SearchUnavailable(found.problem)
        return found.page

    async def _ask(self, question: Follow | Find, waiting: _Waiting[T]) -> T:
        process = self._process
        if process is None or process.stdin is None:
            await trio.lowlevel.checkpoint()
            raise SearchUnavailable("the search process is being started")
        with trio.move_on_after(PATIENCE_S):
            try:
                async with self._sending:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE_S):
                        await process.stdin.send_all(frame(question))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise SearchUnavailable("the search process has ended") from None
            return await waiting.get()
        log.error("the search process does not answer; it is ended", after_s=PATIENCE_S)
        process.kill()
        raise SearchUnavailable("the search process does not answer")


class _Waiting(Generic[T]):
    """Room for one answer of the process."""

    def __init__(self) -> None:
        self._there = trio.Event()
        self._answers: list[T] = []

    def have(self, answer: T) -> None:
        self._answers.append(answer)
        self._there.set()

    def gone(self) -> None:
        """There will be none."""
        self._there.set()

    async def get(self) -> T:
        """Errors: SearchUnavailable."""
        await self._there.wait()
        if not self._answers:
            raise SearchUnavailable("the search process has ended; it is started again")
        return self._answers[0]


def _packages() -> str:
    """Where the packages are, for a process that does not begin in the same directory."""
    return str(Path(gateway.__file__).parent.parent)
