"""Searching many stored messages: what building the index costs, and how long first pages take.

Messages of 100 accounts over five days, drawn with a fixed seed: the newest twentieth waits in the hot store,
the others have ended and are in the archive. They come in through the store's own verbs, without traffic.
Times are of `store.search.Search.find`, in the process that asks; the gateway asks another one over a pipe.

Deliberately not here: search beside traffic (the tests do it), what users see over HTTP.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from router.nouns import Account, LaneSpec, Message, MessageState, Part, Phase, Progress, Reason, Step
from store.finished import Finished
from store.lmdb_store import LmdbStore
from store.options import StoreOptions
from store.search import DIRECTORY, Query, Search

_SEED = 6
_START_MS = 1_795_402_800_000
_DAYS = 5
_DAY_MS = 86_400_000
_ACCOUNTS = 100
_HOT = 20  # every twentieth message, the newest, is live
_PORTION = 10_000
_ASKED = 50  # questions of each kind


class _Clock:
    now_ms = _START_MS

    def __call__(self) -> int:
        return self.now_ms


class _Drawn:
    """The messages, and some of them to be asked for."""

    def __init__(self, count: int, lane: int) -> None:
        self.count = count
        self.asked: list[Message] = []
        self._lane = lane
        self._draw = random.Random(_SEED)
        self._numbers = max(1_000, count // 5)
        self._asked_every = max(1, count // (4 * _ASKED))

    def number(self) -> str:
        return f"447{self._draw.randrange(self._numbers):09d}"

    def message(self, place: int, id: int, at_ms: int) -> Message:
        draw = self._draw
        account = min(1 + int(draw.expovariate(0.05)), _ACCOUNTS)
        message = Message(
            id=id, account=account, accepted_ms=at_ms, source=f"Brand{account % 40}", source_ton=5,
            source_npi=0, destination=self.number(), encoding=0, data=b"", segments=1, lane=self._lane,
            text="Your code is 123456. Never tell it to anybody.", priority=2, message_class=1, send_at_ms=0,
            expires_ms=at_ms + _DAY_MS, receipt=1, route="uk",
            client_ref=f"order-{place}" if place % 2 else "",
            tags=(f"campaign-{place % 500}",) if place % 3 == 0 else (),
        )  # fmt: skip
        if place % self._asked_every == 0:
            self.asked.append(message)
        return message


def search(count: int) -> dict[str, Any]:
    """Figures; milliseconds for times of first pages: the median and the longest of some."""
    with tempfile.TemporaryDirectory(prefix="signalbox-search-") as directory:
        clock = _Clock()
        options = StoreOptions(clock=clock, max_queued=1 << 40, announce=lambda line: None)
        store = LmdbStore(Path(directory) / "store", options)
        try:
            return _measured(store, clock, count)
        finally:
            store.close()


def _measured(store: LmdbStore, clock: _Clock, count: int) -> dict[str, Any]:
    drawn = _fill(store, clock, count)
    _say(f"{count:,} messages are stored")
    built = _build(store, count)
    _say(f"indexed: {built}")
    _forget_pages(store.path)
    search = Search.of(store)
    search.builder.follow(store.newest_id())
    begun = time.perf_counter()
    while search.builder.step():
        pass
    figures: dict[str, Any] = {
        "messages": count,
        **built,
        "restart_s": time.perf_counter() - begun,  # what was not a whole run is read again
        "index_mib": search.facts().bytes / (1 << 20),
        "store_mib": sum(one.stat().st_size for one in store.path.rglob("data.mdb")) / (1 << 20),
    }
    for name, ask in _questions(store, search, drawn).items():
        figures[f"{name}_ms"] = _timed(ask, drawn.asked[-_ASKED:] + drawn.asked[:_ASKED])
    search.close()
    return figures


def _questions(store: LmdbStore, search: Search, drawn: _Drawn) -> dict[str, Callable[[Message], int]]:
    """By kind: a question about a message, answered with how many rows there were."""

    def asks(of: Callable[[Message], Query]) -> Callable[[Message], int]:
        return lambda one: len(search.find(of(one)).hits)

    hour_ms = 3_600_000
    return {
        "number, pages not in memory": asks(lambda one: Query(to=(one.destination,))),
        "number": asks(lambda one: Query(to=(one.destination,))),
        "number nobody has": asks(lambda one: Query(to=("1" + one.destination,))),
        "id": lambda one: 1 if store.find_any(one.id) else 0,
        "account": asks(lambda one: Query(accounts=(one.account,))),
        "account and hour": asks(
            lambda one: Query(
                accounts=(one.account,), since_ms=one.accepted_ms - hour_ms, until_ms=one.accepted_ms
            )
        ),
        "account and number": asks(lambda one: Query(accounts=(one.account,), to=(one.destination,))),
        "client_ref": asks(lambda one: Query(client_ref=one.client_ref or "order-1")),
        "account and tag": asks(lambda one: Query(accounts=(one.account,), tag="campaign-3")),
        "account and a rare state": asks(
            lambda one: Query(accounts=(one.account,), states=(MessageState.REJECTED,))
        ),
        "everything": asks(lambda one: Query()),
    }


def _timed(ask: Callable[[Message], int], asked: Sequence[Message]) -> dict[str, float]:
    times, rows = [], 0
    for one in asked:
        begun = time.perf_counter()
        rows += ask(one)
        times.append((time.perf_counter() - begun) * 1000)
    return {
        "first": times[0],
        "median": statistics.median(times),
        "most": max(times),
        "rows": rows / len(times),
    }


def _fill(store: LmdbStore, clock: _Clock, count: int) -> _Drawn:
    txn = store.begin()
    for id in range(1, _ACCOUNTS + 1):
        txn.put_account(Account(id=id, name=f"account-{id}"))
    store.commit(txn)
    drawn = _Drawn(count, store.lane_id(LaneSpec((store.carrier_id("north"),))))
    archived = count - count // _HOT
    for first in range(0, count, _PORTION):
        messages = list(_portion(store, clock, drawn, first, min(first + _PORTION, count)))
        if first < archived:
            store.write_finished(
                [Finished(b"", one, _ended(one, place)) for place, one in enumerate(messages)]
            )
        else:
            for at in range(0, len(messages), 1_000):
                txn = store.begin()
                txn.accept(messages[at : at + 1_000])
                store.commit(txn)
        if first % 1_000_000 == 0:
            _say(f"{first:,} of {count:,} messages")
    return drawn


def _portion(store: LmdbStore, clock: _Clock, drawn: _Drawn, first: int, end: int) -> Iterator[Message]:
    for place in range(first, end):
        clock.now_ms = _START_MS + place * _DAYS * _DAY_MS // drawn.count
        yield drawn.message(place, store.next_ids(1), clock.now_ms)


def _ended(message: Message, place: int) -> Progress:
    """Delivered, but for one in 10,000."""
    state = MessageState.REJECTED if place % 10_000 == 0 else MessageState.DELIVERED
    at_ms = message.accepted_ms
    return Progress(
        Phase.FINAL, state, Reason.RECEIPT, attempts=1, lane=message.lane, finished_ms=at_ms + 2_000,
        parts=[Part(1, f"{message.id:x}", state)],
        events=[
            (at_ms + 5, Step.SENT, 1, f"{message.id:x}"), (at_ms + 2_000, Step.FINAL, 1, "DELIVRD err=000")
        ],
    )  # fmt: skip


def _build(store: LmdbStore, count: int) -> dict[str, float]:
    search = Search.of(store)
    begun, cpu = time.perf_counter(), time.process_time()
    search.builder.follow(store.newest_id())
    longest = 0.0
    while True:
        step = time.perf_counter()
        if not search.builder.step():
            break
        longest = max(longest, time.perf_counter() - step)
    search.close()
    return {
        "built_per_s": count / (time.perf_counter() - begun),
        "built_cpu_us": (time.process_time() - cpu) / count * 1e6,
        "longest_step_ms": longest * 1000,
    }


def _forget_pages(path: Path) -> None:
    """The kernel gives up what it has in memory of the index's files."""
    for file in (path / DIRECTORY).rglob("data.mdb"):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
