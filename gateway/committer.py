"""Group commit: whatever arrives while one commit is under way goes into the next.

One transaction a tick, applied in the order D, B, C, calls, A, L (architecture §2): L sees A's messages,
so they are accepted and leased by one fsync and sent after it. Callers hand in batches with a `done` that
runs on the loop right after the commit; nothing outward may happen before it. A refused transaction
(map full, disk full) refuses the new messages in it and keeps every state change for the next attempt; a verb
that somebody waits for (`execute`) is refused, too, if it does not fit without the new messages either.

Deliberately not here: decisions, records, sockets. `done` callbacks must be short and must not raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, Generic, Protocol, TypeVar

import structlog
import trio

from gateway.world import World
from gateway.writer import Writer
from router.nouns import Message, Outcome, ReceiptIn, ReceiptsIn, Taken
from store.interface import (
    Claim,
    ClaimResult,
    FreshRow,
    OutboxRow,
    ReceiptResult,
    Store,
    StoreError,
    Transaction,
)

T = TypeVar("T")

_RETRY_S = 0.2
_ROUNDS = 100  # carriers that share a lane by weights take a few messages each, in turns

AcceptDone = Callable[[StoreError | None], None]
Before = Callable[[Transaction], object] | None
Refused = dict[int, str] | None
ReceiptsDone = Callable[[Sequence[ReceiptResult | None]], None]

log = structlog.get_logger("committer")


class Keeping(Protocol):
    """What those need of a store who keep one small value there, written whole by each change."""

    def meta(self, name: str) -> bytes | None: ...


class Committing(Protocol):
    """What they need of a committer."""

    @property
    def store(self) -> Keeping: ...
    async def execute(self, function: Callable[[Transaction], T]) -> T: ...


class Claimer(Protocol):
    """A carrier's dispatcher: asked for its wish inside each transaction, in rounds, then told the result.

    Each `claimed` is followed by one `leased`, or by one `unclaimed` where the transaction failed.
    """

    def want(self, now_ms: int, seen: dict[int, int]) -> Claim | None: ...
    def claimed(self, result: ClaimResult) -> None: ...
    def leased(self, result: ClaimResult) -> None: ...
    def unclaimed(self, result: ClaimResult) -> None: ...


_also: ContextVar[Callable[[Transaction], object] | None] = ContextVar("in_every_commit", default=None)


@contextmanager
def in_every_commit(write: Callable[[Transaction], object]) -> Iterator[None]:
    """Every verb that is executed in the block, and waited for there, writes this with it."""
    within = True

    def also(txn: Transaction) -> None:
        if within:  # tasks that were started in the block have its context for ever
            write(txn)

    before = _also.set(also)
    try:
        yield
    finally:
        within = False
        _also.reset(before)


def _in_context(function: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
    """The function in the context of now, wherever it runs."""
    context = copy_context()
    return lambda txn: context.run(function, txn)


def _both(
    function: Callable[[Transaction], T], also: Callable[[Transaction], object]
) -> Callable[[Transaction], T]:
    def verbs(txn: Transaction) -> T:
        result = function(txn)
        also(txn)
        return result

    return verbs


class _Call(Generic[T]):
    """A verb of somebody's own, run in the next transaction."""

    __slots__ = ("awaited", "done", "error", "function", "result")

    def __init__(
        self, function: Callable[[Transaction], T], done: Callable[[_Call[T]], None], awaited: bool = False
    ) -> None:
        self.function = function
        self.done = done
        self.awaited = awaited  # somebody waits, and is told when the store refuses it
        self.result: T | None = None
        self.error: Exception | None = None


class _CallFailed(Exception):
    def __init__(self, call: _Call[Any], error: Exception) -> None:
        super().__init__(str(error))
        self.call = call
        self.error = error


def _each(columns: Iterable[Outcome | Taken | ReceiptIn | ReceiptsIn]) -> int:
    """How many there are, also in columns."""
    return sum(len(one.ids) if isinstance(one, Taken | ReceiptsIn) else 1 for one in columns)


class _Batch:
    """Everything one transaction will carry."""

    __slots__ = (
        "accepts",
        "calls",
        "outbox_done",
        "outbox_given_up",
        "outbox_retry",
        "outcomes",
        "receipts",
        "receipts_done",
    )

    def __init__(self) -> None:
        self.outbox_done: list[FreshRow] = []
        self.outbox_retry: list[tuple[Sequence[OutboxRow], int]] = []
        self.outbox_given_up: list[tuple[Sequence[OutboxRow], int]] = []
        self.outcomes: list[Outcome | Taken] = []
        self.receipts: list[ReceiptIn | ReceiptsIn] = []
        self.receipts_done: list[tuple[int, ReceiptsDone]] = []
        self.calls: list[_Call[Any]] = []
        self.accepts: list[tuple[list[Message], AcceptDone, Before, Refused]] = []

    def __bool__(self) -> bool:
        return bool(
            self.accepts
            or self.outcomes
            or self.receipts
            or self.outbox_done
            or self.calls
            or self.outbox_retry
            or self.outbox_given_up
        )

    def size(self) -> int:
        accepted = sum(len(messages) for messages, *_ in self.accepts)
        matched = sum(count for count, _ in self.receipts_done)
        return accepted + _each(self.outcomes) + matched + len(self.outbox_done) + len(self.calls)


class Committer:
    """The only writer of a store.

    `observe(duration_s, size)` is called once a commit; `probe(phase)` lets the crash tests die at a named
    moment and is None otherwise.
    """

    def __init__(self, store: Store, writer: Writer, world: World) -> None:
        self.store = store
        self.on_commit: list[Callable[[], None]] = []
        self.claimers: list[Claimer] = []
        self.probe: Callable[[str], None] | None = None
        self.observe: Callable[[float, int], None] | None = None
        self.failures = 0
        self._refused_in_a_row = 0
        self.ticks = 0  # transactions ended, one way or the other
        self._under_way = False
        self._leases: dict[Claimer, ClaimResult] = {}  # of the transaction under way
        self._begun: Transaction | None = None  # for the next tick, which has work
        self._writer = writer
        self._world = world
        self._next = _Batch()
        self._awake = trio.Event()
        self._idle = trio.Event()
        self._stopping = False

    # what the rest of the gateway hands in

    def submit_accept(
        self, messages: list[Message], done: AcceptDone, before: Before = None, refused: Refused = None
    ) -> None:
        """COMMIT A for messages of one caller, all or none; `done(None)` after the fsync.

        `before` is a verb that goes with them: in the same commit or, if they are refused, not at all.
        `refused`: all of them have bills; those that their account has no money or quota for are left out,
        and it has why, by their ids, when `done` is called.
        """
        self._next.accepts.append((messages, done, before, refused))
        self._awake.set()

    def add_outcomes(self, outcomes: Sequence[Outcome | Taken]) -> None:
        """COMMIT B, in this order; kept until it is durable."""
        self._next.outcomes.extend(outcomes)
        self._awake.set()

    def add_receipts(self, receipts: Sequence[ReceiptIn | ReceiptsIn], done: ReceiptsDone) -> None:
        """COMMIT C; `done` gets a result for each, also in columns, and may then answer the carrier."""
        self._next.receipts.extend(receipts)
        self._next.receipts_done.append((_each(receipts), done))
        self._awake.set()

    def add_outbox_done(self, rows: Sequence[FreshRow]) -> None:
        """COMMIT D: delivered."""
        self._next.outbox_done.extend(rows)
        self._awake.set()

    def add_outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None:
        """COMMIT D: again at `due_ms`, with the rows' events as they are now."""
        self._next.outbox_retry.append((rows, due_ms))
        self._awake.set()

    def add_outbox_given_up(self, rows: Sequence[OutboxRow], now_ms: int) -> None:
        """COMMIT D: not tried again, but kept."""
        self._next.outbox_given_up.append((rows, now_ms))
        self._awake.set()

    def call_soon(
        self,
        function: Callable[[Transaction], T],
        done: Callable[[_Call[T]], None],
        *,
        awaited: bool = False,
    ) -> None:
        """Run `function` in the next transaction; `done` gets the call with `.result` or `.error`.

        It is a state change: where the store refuses the transaction it is tried again until it fits. With
        `awaited`, as with `execute`, somebody waits for it, and is told at once that nothing was changed.
        """
        self._next.calls.append(_Call(function, done, awaited))
        self._awake.set()

    async def execute(self, function: Callable[[Transaction], T]) -> T:
        """Run `function` in the next transaction, in its caller's context (who acts), and return after its
        fsync.

        Errors: what it raised; StoreError at once when the store is too full for it, and nothing was changed.
        """
        also = _also.get()
        if also is not None:
            function = _both(function, also)
        function = _in_context(function)
        finished = trio.Event()
        box: list[_Call[T]] = []

        def done(call: _Call[T]) -> None:
            box.append(call)
            finished.set()

        self._next.calls.append(_Call(function, done, awaited=True))
        self._awake.set()
        await finished.wait()
        if box[0].error is not None:
            raise box[0].error
        return box[0].result  # type: ignore[return-value]

    @property
    def pending(self) -> bool:
        """Whether there is something to commit, or a commit is under way; `ticks` changes as they end."""
        return self._under_way or bool(self._next) or self._awake.is_set()

    def wake(self) -> None:
        """A dispatcher has room and there may be work for it."""
        self._awake.set()

    # the loop

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit until `stop`; ends only when nothing is left to write."""
        task_status.started()
        try:
            while True:
                if not self._next and self._stopping:
                    return
                await self._awake.wait()
                self._awake = trio.Event()
                if self._stopping:
                    self._awake.set()
                if not self._next and not self.store.ready_lanes():  # woken for the sake of a queue
                    continue
                self._under_way = True
                await self._tick()
                self._under_way = False
                self.ticks += 1
        finally:
            if self._begun is not None:
                with trio.CancelScope(shield=True):
                    await self._writer.abort(self._begun)
            self._writer.close()

    def stop(self) -> None:
        """Write what is pending, then let `run` return."""
        self._stopping = True
        self._awake.set()

    async def _tick(self) -> None:
        with_claims = not self._stopping
        batch: _Batch | None = None
        while True:
            txn, self._begun = self._begun, None
            if txn is None:
                txn = await self._writer.begin()
            started = trio.current_time()
            if batch is None:
                batch, self._next = self._next, _Batch()
            try:
                results = self._apply(txn, batch, with_claims)
                if not batch and not self._leases:
                    await self._writer.abort(txn)
                    return
                if self.probe is not None:
                    self.probe("before-commit")
                self._begun = await self._writer.commit(txn, self._has_more)
                break
            except _CallFailed as failed:
                self._unclaim()
                await self._writer.abort(txn)
                batch.calls.remove(failed.call)
                failed.call.error = failed.error
                failed.call.done(failed.call)
            except StoreError as error:
                self._unclaim()
                await self._writer.abort(txn)
                self.failures += 1
                self._refused_in_a_row += 1
                if self._refused_in_a_row == 1:  # one record, however long the disk stays full
                    log.error("commit refused", error=str(error), hint=error.hint)
                if not batch.accepts and not with_claims:
                    self._refuse_awaited(batch, error)
                    await trio.sleep(_RETRY_S)
                self._refuse(batch, error)
                with_claims = False
        if self._refused_in_a_row and batch.accepts:  # state changes fit for longer than new messages do
            log.warning("commits are taken again", refused=self._refused_in_a_row)
            self._refused_in_a_row = 0
        if self.observe is not None:
            self.observe(trio.current_time() - started, batch.size())
        if self.probe is not None:
            self.probe("after-commit")
        leases, self._leases = self._leases, {}
        self._finish(batch, results, leases)

    def _unclaim(self) -> None:
        for claimer, result in self._leases.items():
            claimer.unclaimed(result)
        self._leases.clear()

    def _has_more(self) -> bool:
        return bool(self._next)

    def _apply(self, txn: Transaction, batch: _Batch, with_claims: bool) -> list[ReceiptResult | None]:
        now_ms = self._world.wall_ms()
        if batch.outbox_done:
            txn.outbox_done(batch.outbox_done)
        for rows, due_ms in batch.outbox_retry:
            txn.outbox_retry(rows, due_ms)
        for rows, given_up_ms in batch.outbox_given_up:
            txn.outbox_give_up(rows, given_up_ms)
        if batch.outcomes:
            txn.settle(batch.outcomes, now_ms)
        results = txn.receipts(batch.receipts, now_ms) if batch.receipts else []
        for call in batch.calls:
            try:
                call.result = call.function(txn)
            except StoreError:
                raise
            except Exception as exc:
                raise _CallFailed(call, exc) from exc
        if batch.accepts:
            accepted: list[Message] = []
            for messages, _, before, refused in batch.accepts:
                if refused is not None and messages:
                    refused.clear()
                    messages = txn.reserve(messages, refused)
                    if not messages:
                        continue
                if before is not None:
                    before(txn)
                accepted += messages
            txn.accept(accepted)
        if with_claims:
            self._claim(txn, now_ms)
        if batch or self._leases:
            txn.finish()
        return results

    def _claim(self, txn: Transaction, now_ms: int) -> None:
        """In rounds, since what one carrier takes of a shared lane says how much the others may."""
        asking: Sequence[Claimer] = self.claimers
        seen: dict[int, int] = {}  # what claimers look at only once in all rounds
        for _ in range(_ROUNDS):
            wishes = [(claimer, claimer.want(now_ms, seen)) for claimer in asking]
            claims = [(claimer, claim) for claimer, claim in wishes if claim is not None]
            if not claims:
                return
            results = txn.claim([claim for _, claim in claims])
            asking = []
            for (claimer, _), result in zip(claims, results, strict=True):
                if not result.leased and not result.expired:
                    continue
                if result.leased:
                    claimer.claimed(result)
                    asking.append(claimer)
                earlier = self._leases.setdefault(claimer, result)
                if earlier is not result:
                    earlier.leased += result.leased
                    earlier.expired += result.expired
                    earlier.lost |= result.lost
                    earlier.segments += result.segments

    def _refuse(self, batch: _Batch, error: StoreError) -> None:
        accepts, batch.accepts = batch.accepts, []
        for _, done, *_ in accepts:
            done(error)

    def _refuse_awaited(self, batch: _Batch, error: StoreError) -> None:
        refused = [call for call in batch.calls if call.awaited]
        batch.calls = [call for call in batch.calls if not call.awaited]
        for call in refused:
            call.error = error
            call.done(call)

    def _finish(
        self, batch: _Batch, results: list[ReceiptResult | None], leases: dict[Claimer, ClaimResult]
    ) -> None:
        for _, accepted, *_ in batch.accepts:
            accepted(None)
        if self.probe is not None:
            self.probe("after-reply")
            if leases:
                self.probe("after-lease")
        for claimer, result in leases.items():
            claimer.leased(result)
        if self.probe is not None and leases:
            self.probe("after-submit")
        at = 0
        for count, answered in batch.receipts_done:
            answered(results[at : at + count])
            at += count
        for call in batch.calls:
            call.done(call)
        for hook in self.on_commit:
            hook()
