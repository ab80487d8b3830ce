"""How a store transaction meets the event loop: `SplitWriter` and `InlineWriter`.

py-lmdb drops the GIL at every call, so a writer thread doing puts beside a busy loop meets the GIL convoy.
`SplitWriter` therefore runs only begin and commit (the fsync, and the writer mutex with it) in one
dedicated thread; the verbs run on the loop between them, one operation in flight at a time. LMDB allows a
write transaction to move between threads as long as nobody uses it at the same time and the mutex is
taken and given back by one thread; tests/store prove both on the pinned version. `InlineWriter` has no
thread at all: simulation tests need it, because MockClock jumps while a thread is busy.

Deliberately not here: what goes into a transaction (gateway.committer).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import trio

from store.interface import Store, StoreError, Transaction

T = TypeVar("T")


class Writer(Protocol):
    async def begin(self) -> Transaction: ...
    async def commit(self, txn: Transaction, more: Callable[[], bool]) -> Transaction | None:
        """`more`: asked after the commit, maybe in another thread; the next transaction if it says yes."""

    async def abort(self, txn: Transaction) -> None: ...
    def close(self) -> None: ...


class InlineWriter:
    """Begin and commit on the loop. For simulation, tools and tests."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self) -> Transaction:
        return self._store.begin()

    async def commit(self, txn: Transaction, more: Callable[[], bool]) -> None:
        self._store.commit(txn)
        await trio.lowlevel.checkpoint()

    async def abort(self, txn: Transaction) -> None:
        self._store.abort(txn)

    def close(self) -> None:
        pass


class SplitWriter:
    """Begin, commit and abort in one dedicated thread; the caller's verbs stay on the loop.

    Must be made inside a trio run. Calls are shielded: a transaction is never left between threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._token = trio.lowlevel.current_trio_token()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def begin(self) -> Transaction:
        return await self._call(self._store.begin)

    async def commit(self, txn: Transaction, more: Callable[[], bool]) -> Transaction | None:
        """Under load the next transaction begins at once: one journey to the thread instead of two."""

        def commit() -> Transaction | None:
            self._store.commit(txn)
            if more():
                with suppress(StoreError):  # this one is durable; whoever begins the next is told
                    return self._store.begin()
            return None

        return await self._call(commit)

    async def abort(self, txn: Transaction) -> None:
        await self._call(lambda: self._store.abort(txn))

    def close(self) -> None:
        self._orders.put(None)
        self._thread.join()

    async def _call(self, function: Callable[[], T]) -> T:
        finished = trio.Event()
        result: list[T] = []
        failure: list[Exception] = []

        def order() -> None:
            try:
                result.append(function())
            except Exception as exc:
                failure.append(exc)
            self._token.run_sync_soon(finished.set)

        self._orders.put(order)
        with trio.CancelScope(shield=True):
            await finished.wait()
        if failure:
            raise failure[0]
        return result[0]

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            order()
