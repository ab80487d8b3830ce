"""Make a store agree with itself again after rows were lost: what salvage does with what it saved.

The messages that are there decide, each by its own progress. Everything that waited or was in a carrier's
hands is HELD(RESTORED), as a possible duplicate where its place is lost; rows that lead to no message go;
counters, ids and sequence numbers are worked out anew. What was counted as FINAL stays counted, because those
messages may be in the archive.

Invariant: mending twice changes nothing. Memory is not kept up: close the store afterwards.

Deliberately not here: guessing what was in a lost row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING

from router.nouns import LaneSpec, MessageState, Phase, Progress, Reason, Step
from store.batch import EPOCH_NAME, QUEUED
from store.finished import take_out
from store.lanes import lane_of
from store.names import LANE
from store.outbox import tell
from store.queues import entry_of, expiry_key, locate, put_held
from store.records import (
    HELD_KEY,
    LEDGER_KEY,
    MESSAGE_KEY,
    NAME_KEY,
    OUTBOX_DUE_KEY,
    OUTBOX_KEY,
    RECIPIENT_KEY,
    SECOND,
    TIMED_KEY,
    decode_event,
    decode_ledger,
    decode_message,
    encode,
    ended_in_row,
)
from store.settle import accepted_parts
from store.timeline import note

if TYPE_CHECKING:
    from router.nouns import Message
    from store.batch import Batch
    from store.layout import Table
    from store.lmdb_store import LmdbStore

_PORTION = 500
_SEQ = Struct(">Q")
_ALL = b"\xff" * 511  # behind every key
_WAITING = (Phase.READY, Phase.SCHEDULED, Phase.DEFERRED, Phase.LEASED)
_IN_HELD = (Phase.HELD, Phase.UNKNOWN)
_Visit = Callable[["Batch", bytes, bytes], None]


class _Mending:
    """One store, and what the messages in it amount to."""

    def __init__(self, store: LmdbStore) -> None:
        self.store = store
        self.tables = store.tables
        self.ended: dict[bytes, int] = {}  # message key → second in which it ended
        self.messages = [0] * len(Phase)
        self.segments = [0] * len(Phase)
        self.accepted: Counter[int] = Counter()  # by account
        self.queued: Counter[int] = Counter()
        self.reserved: Counter[int] = Counter()  # micro-units
        self.credited: Counter[int] = Counter()
        self.entries: Counter[int] = Counter()  # number of the newest row of the ledger
        self.lanes: Counter[tuple[int, int]] = Counter()  # (lane, phase)
        self.last_id = self.last_lease = 0

    def each(self, table: Table, visit: _Visit) -> None:
        """Every row, a few hundred in a transaction."""
        after: bytes | None = b""
        while after is not None:
            txn = self.store.begin()
            rows = txn.batch.scan(table, after, _PORTION)
            for key, payload in rows:
                visit(txn.batch, key, payload)
            after = rows[-1][0] + b"\0" if len(rows) == _PORTION else None
            self.store.commit(txn)

    def clear(self, table: Table) -> None:
        while True:
            txn = self.store.begin()
            gone = txn.batch.delete_range(table, b"", _ALL, _PORTION)
            self.store.commit(txn)
            if not gone:
                return

    # messages

    def finished(self, batch: Batch, key: bytes, payload: bytes) -> None:
        """A message whose progress is lost has ended, because it is here."""
        gone = set()
        for one in ended_in_row(key, payload):
            progress = batch.progress(one)
            if batch.has(self.tables.message, one) and (progress is None or progress.phase == Phase.FINAL):
                self.ended[one] = SECOND.unpack_from(key)[0]
            else:
                gone.add(one)
        take_out(batch, key, gone)

    def message(self, batch: Batch, key: bytes, payload: bytes) -> None:
        message, progress = decode_message(payload), batch.progress(key)
        if progress is None and key in self.ended:
            progress = _ended(self.ended[key])
            batch.put_progress(key, progress)
        phase, _, row = locate(batch.has, self.tables, message, progress)
        if phase in _WAITING:
            progress = _held(batch, message, progress, phase)
            phase = Phase.HELD
        elif progress is not None and phase in _IN_HELD and not batch.has(self.tables.held, row):
            put_held(batch, entry_of(message, progress), progress.reason, phase)
        self._index(batch, message, progress, phase)
        self._add(message, progress, phase)

    def _index(self, batch: Batch, message: Message, progress: Progress | None, phase: int) -> None:
        table, row = self.tables.expiry, expiry_key(message, progress)
        if phase == Phase.FINAL and progress is not None:
            second = progress.finished_ms // 1000
            if self.ended.get(MESSAGE_KEY.pack(message.account, message.id)) == second:
                return
            table, row = self.tables.finished, TIMED_KEY.pack(second, message.account, message.id)
        if not batch.has(table, row):
            batch.put(table, row, b"")

    def _add(self, message: Message, progress: Progress | None, phase: int) -> None:
        self.messages[phase] += 1
        self.segments[phase] += message.segments
        self.accepted[message.account] += 1
        self.last_id = max(self.last_id, message.id)
        self.last_lease = max(self.last_lease, progress.lease if progress is not None else 0)
        if message.bill is not None and phase != Phase.FINAL:
            self.reserved[message.account] += message.bill.price * message.segments
        if phase in QUEUED:
            self.queued[message.account] += 1
            self.lanes[lane_of(message, progress), phase] += 1

    # rows that lead nowhere

    def expiry(self, batch: Batch, key: bytes, _: bytes) -> None:
        _, account, id = TIMED_KEY.unpack(key)
        if not batch.has(self.tables.message, MESSAGE_KEY.pack(account, id)):
            batch.delete(self.tables.expiry, key)

    def held(self, batch: Batch, key: bytes, _: bytes) -> None:
        reason, account, id = HELD_KEY.unpack(key)
        message_key = MESSAGE_KEY.pack(account, id)
        progress = batch.progress(message_key)
        here = progress is not None and progress.phase in _IN_HELD and progress.reason == reason
        if not here or not batch.has(self.tables.message, message_key):
            batch.delete(self.tables.held, key)

    # money

    def ledger(self, batch: Batch, key: bytes, payload: bytes) -> None:
        account, number = LEDGER_KEY.unpack(key)
        self.credited[account] += decode_ledger(payload).amount
        self.entries[account] = max(self.entries[account], number)

    def _settle(self, batch: Batch) -> None:
        """What is reserved by the messages that are there; of what was charged only the wallet knows."""
        for account in {*self.store.memory.wallets, *self.reserved, *self.credited}:
            wallet = batch.wallet(account)
            wallet.reserved, wallet.credited = self.reserved[account], self.credited[account]
            wallet.entries = max(wallet.entries, self.entries[account])
            wallet.balance = wallet.credited - wallet.charged - wallet.reserved

    # events

    def numbered(self, batch: Batch, key: bytes, _: bytes) -> None:
        """Sequence numbers go on above all there are: each kind of event key ends with one."""
        batch.outbox_seq = max(batch.outbox_seq, _SEQ.unpack_from(key, len(key) - _SEQ.size)[0])

    def event(self, batch: Batch, key: bytes, payload: bytes) -> None:
        self._rehome(batch, self.tables.outbox, key, payload, OUTBOX_KEY.unpack(key)[0])

    def retried_event(self, batch: Batch, key: bytes, payload: bytes) -> None:
        self._rehome(batch, self.tables.outbox_due, key, payload, OUTBOX_DUE_KEY.unpack(key)[1])

    def _rehome(self, batch: Batch, table: Table, key: bytes, payload: bytes, endpoint: int) -> None:
        """An event of an endpoint nobody knows any more goes where its account wants it now."""
        if endpoint not in batch.core.names.endpoints and tell(batch, decode_event(payload)):
            batch.delete(table, key)

    # counters

    def count(self) -> None:
        txn = self.store.begin()
        batch, memory = txn.batch, self.store.memory
        old = memory.totals
        self.messages[Phase.FINAL] = max(self.messages[Phase.FINAL], old.messages[Phase.FINAL])
        self.segments[Phase.FINAL] = max(self.segments[Phase.FINAL], old.segments[Phase.FINAL])
        batch.messages = [new - was for new, was in zip(self.messages, old.messages, strict=True)]
        batch.segments = [new - was for new, was in zip(self.segments, old.segments, strict=True)]
        batch.accepted = sum(self.messages) - old.accepted
        batch.accepted_segments = sum(self.segments) - old.accepted_segments
        for account in {*memory.counts, *self.accepted}:
            accepted, queued = memory.counts.get(account, (0, 0))
            delta = batch.account_delta(account)
            delta[0] = max(accepted, self.accepted[account]) - accepted
            delta[1] = self.queued[account] - queued
        for lane in {*memory.lanes, *(lane for lane, _ in self.lanes)}:
            waiting = memory.lanes.get(lane, [0] * len(Phase))
            changes = batch.lane_delta(lane)
            for phase in QUEUED:
                changes[phase] = self.lanes[lane, phase] - waiting[phase]
            if lane not in batch.core.names.lanes():
                # Its number must not be given to another lane; planning anew finds it gone.
                batch.put(batch.tables.name, NAME_KEY.pack(LANE, lane), encode(LaneSpec(())))
        self._settle(batch)
        batch.recipient_seq = max(batch.recipient_seq, _last_record(batch))
        batch.core.ids.last = max(batch.core.ids.last, self.last_id)
        epoch = max(memory.epoch, self.last_lease >> 32)
        batch.put(self.tables.meta, EPOCH_NAME, b"%d" % epoch)
        self.store.commit(txn)


def mend(store: LmdbStore) -> None:
    """On a store that nobody else has in use. Errors: StoreError."""
    mending, tables = _Mending(store), store.tables
    mending.each(tables.finished, mending.finished)
    mending.each(tables.message, mending.message)
    mending.each(tables.ledger, mending.ledger)
    for table in (tables.ready, tables.due, tables.lease):
        mending.clear(table)
    mending.each(tables.expiry, mending.expiry)
    mending.each(tables.held, mending.held)
    for table in (tables.outbox, tables.outbox_due, tables.given_up):
        mending.each(table, mending.numbered)
    mending.each(tables.outbox, mending.event)
    mending.each(tables.outbox_due, mending.retried_event)
    mending.count()


def _ended(done_s: int) -> Progress:
    """How it ended is lost, not that it did."""
    state, reason = MessageState.UNKNOWN, Reason.DAMAGED
    return Progress(Phase.FINAL, state, reason=reason, finished_ms=done_s * 1000)


def _held(batch: Batch, message: Message, progress: Progress | None, phase: int) -> Progress:
    """Where its place is lost, or with a carrier, it may have been sent: all of it goes again then."""
    progress = progress or Progress(phase, MessageState.ENROUTE)
    first_part = accepted_parts(progress.parts)
    if phase == Phase.LEASED:
        progress.possible_duplicate, progress.queue_mask, first_part = True, progress.tried, 0
    progress.phase, progress.reason, progress.until_ms = Phase.HELD, Reason.RESTORED, 0
    note(progress, batch.options.clock(), Step.HELD, 0, Reason.RESTORED.name)
    put_held(batch, entry_of(message, progress, first_part), Reason.RESTORED, Phase.HELD)
    batch.put_progress(MESSAGE_KEY.pack(message.account, message.id), progress)
    return progress


def _last_record(batch: Batch) -> int:
    """The number of the newest record of recipients that was not merged yet."""
    with batch.tx.cursor(batch.tables.recipient.handle) as cursor:
        behind = cursor.set_range(RECIPIENT_KEY.pack(1, 0))
        found = cursor.prev() if behind else cursor.last()
        return int(RECIPIENT_KEY.unpack(cursor.key())[1]) if found else 0
