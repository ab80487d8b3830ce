"""Everything that waited becomes HELD(RESTORED), what carriers had in hand UNKNOWN: nothing leaves by itself.

What a restore and a salvage do before anybody may open the store, so that a day's traffic is not sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from router.nouns import MessageState, Outcome, Phase, Progress, Reason, Settle, Step
from store.queues import put_held, unpack_place
from store.records import DUE_KEY, ENTRY, MESSAGE_KEY, READY_KEY, Entry
from store.timeline import note

if TYPE_CHECKING:
    from router.nouns import Message
    from store.batch import Batch
    from store.lmdb_store import LmdbStore

_PORTION = 500


def hold_everything(store: LmdbStore, why: str) -> None:
    """`why` goes into the timelines of messages that carriers had in hand."""

    def decide(message: Message, progress: Progress | None, carrier: int) -> Outcome:
        group = store.group_id(store.carrier_name(carrier))
        return Outcome(
            message.account, message.id, 0, carrier, group, 0, message.segments, Settle.UNKNOWN_HOLD,
            reason=Reason.OUTCOME_UNKNOWN, detail=why,
        )  # fmt: skip

    store.recover(decide, store.options.clock())
    for portion in (_ready, _due):
        while in_one_commit(store, portion):
            pass


def in_one_commit(store: LmdbStore, function: Callable[[Batch], int]) -> int:
    """What `function` answered, once it is durable."""
    txn = store.begin()
    try:
        count = function(txn.batch)
    except BaseException:
        store.abort(txn)
        raise
    store.commit(txn)
    return count


def hold(batch: Batch, entry: Entry, before: int) -> Progress:
    """The caller has taken its row out of where it was, in phase `before`."""
    key = MESSAGE_KEY.pack(entry.account, entry.id)
    progress = batch.progress(key) or Progress(before, MessageState.ENROUTE, lane=entry.lane)
    progress.phase, progress.reason, progress.until_ms = Phase.HELD, Reason.RESTORED, 0
    note(progress, batch.options.clock(), Step.HELD, 0, Reason.RESTORED.name)
    batch.put_progress(key, progress)
    put_held(batch, entry, Reason.RESTORED, Phase.HELD)
    batch.move(entry.account, entry.lane, entry.segments, before, Phase.HELD)
    return progress


def _ready(batch: Batch) -> int:
    rows = batch.scan(batch.tables.ready, b"\0", _PORTION)
    for key, payload in rows:
        lane, tried, inverted, account, _, id = READY_KEY.unpack(key)
        batch.delete(batch.tables.ready, key)
        hold(batch, Entry(account, id, lane, tried, 3 - inverted, *ENTRY.unpack(payload)), Phase.READY)
    return len(rows)


def _due(batch: Batch) -> int:
    rows = batch.scan(batch.tables.due, b"\0", _PORTION)
    for key, payload in rows:
        entry, phase = unpack_place(DUE_KEY.unpack(key)[1], payload)
        batch.delete(batch.tables.due, key)
        hold(batch, entry, phase)
    return len(rows)
