"""Where a waiting message stands: ready (may go now), due (goes later), held (goes when released).

A ready row's key is (lane, tried mask, priority, account, due, id), so a carrier never walks past messages
it may not take, and nobody's backlog stands in front of another account's message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.lanes import MAX_CARRIERS
from router.nouns import Message, Phase, Progress
from store.records import (
    DUE_KEY,
    ENTRY,
    HELD_KEY,
    LOST,
    LOST_MOST,
    MINUTE_MS,
    PLACE,
    POSSIBLE_DUPLICATE,
    READY_KEY,
    READY_PREFIX_SIZE,
    TIMED_KEY,
    Entry,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.batch import Batch
    from store.layout import Table, Tables

    Has = Callable[[Table, bytes], bool]


FORCED = 1 << MAX_CARRIERS - 1  # in a queue's mask: no carrier's bit, but in lanes of as many as there may be


def entry_of(message: Message, progress: Progress | None, first_part: int = 0, lost: int = 0) -> Entry:
    """The place of a message whose progress says how far it came; `lost` as Outcome has it."""
    if progress is None:
        return Entry(
            message.account, message.id, message.lane, 0, message.priority, message.segments, 0, 0,
            message.expires_ms, 0,
        )  # fmt: skip
    return Entry(
        message.account,
        message.id,
        progress.lane or message.lane,
        progress.queue_mask,
        message.priority,
        message.segments,
        min(progress.attempts, 0xFFFF),
        flags_of(progress.possible_duplicate, lost),
        message.expires_ms,
        first_part,
    )


def flags_of(possible_duplicate: bool, lost: int) -> int:
    return POSSIBLE_DUPLICATE | min(lost, LOST_MOST) << LOST if possible_duplicate else 0


def pack_entry(entry: Entry) -> bytes:
    return ENTRY.pack(entry.segments, entry.attempts, entry.flags, entry.expires_ms, entry.first_part)


def ready_key(entry: Entry, due_ms: int) -> bytes:
    return READY_KEY.pack(entry.lane, entry.tried, 3 - entry.priority, entry.account, due_ms, entry.id)


def put_ready(batch: Batch, entry: Entry, due_ms: int) -> None:
    key = ready_key(entry, due_ms)
    batch.put(batch.tables.ready, key, pack_entry(entry))
    activate(batch, key)


def activate(batch: Batch, key: bytes) -> None:
    active = batch.memory.active
    prefix = key[:READY_PREFIX_SIZE]
    batch.rowless.discard(prefix)
    if prefix not in active.groups:
        active.add(prefix)


def pack_place(entry: Entry, phase: int) -> bytes:
    place = PLACE.pack(entry.account, entry.lane, entry.tried, entry.priority, phase)
    return place + pack_entry(entry)


def unpack_place(id: int, payload: bytes) -> tuple[Entry, int]:
    """(entry, phase) of a due or held row."""
    account, lane, tried, priority, phase = PLACE.unpack_from(payload)
    segments, attempts, flags, expires_ms, first_part = ENTRY.unpack_from(payload, PLACE.size)
    entry = Entry(account, id, lane, tried, priority, segments, attempts, flags, expires_ms, first_part)
    return entry, phase


def put_due(batch: Batch, entry: Entry, due_ms: int, phase: int) -> None:
    batch.put(batch.tables.due, DUE_KEY.pack(due_ms, entry.id), pack_place(entry, phase))


def put_held(batch: Batch, entry: Entry, reason: int, phase: int) -> None:
    batch.put(batch.tables.held, HELD_KEY.pack(reason, entry.account, entry.id), pack_place(entry, phase))


def first_due_ms(message: Message) -> int:
    """When a message was first ready: what puts a returned one back at the head of its queue."""
    return max(message.accepted_ms, message.send_at_ms)


def locate(
    has: Has, tables: Tables, message: Message, progress: Progress | None
) -> tuple[int, Table | None, bytes]:
    """(phase, table and key of the row it waits in, if any).

    A progress is written when a message settles, not when it is claimed or falls due: so whether a waiting
    message is still DEFERRED, is READY or has been LEASED meanwhile is told by its row.
    """
    if progress is not None and progress.phase in (Phase.HELD, Phase.UNKNOWN):
        return progress.phase, tables.held, HELD_KEY.pack(progress.reason, message.account, message.id)
    if progress is not None and progress.phase not in (Phase.READY, Phase.DEFERRED, Phase.SCHEDULED):
        return progress.phase, None, b""
    if progress is None:
        due_ms, lane, mask, waiting = first_due_ms(message), message.lane, 0, Phase.SCHEDULED
    else:
        due_ms, lane, mask = progress.until_ms, progress.lane or message.lane, progress.queue_mask
        waiting = Phase.SCHEDULED if progress.phase == Phase.SCHEDULED else Phase.DEFERRED
    key = READY_KEY.pack(lane, mask, 3 - message.priority, message.account, due_ms, message.id)
    if has(tables.ready, key):
        return Phase.READY, tables.ready, key
    key = DUE_KEY.pack(due_ms, message.id)
    if has(tables.due, key):
        return waiting, tables.due, key
    return Phase.LEASED, None, b""


def expiry_key(message: Message, progress: Progress | None) -> bytes:
    """Its row in the expiry table; moved to until_ms while it waits for a receipt past its validity."""
    if progress is not None and progress.until_ms and progress.phase == Phase.AWAITING_RECEIPT:
        return TIMED_KEY.pack(progress.until_ms // MINUTE_MS, message.account, message.id)
    return TIMED_KEY.pack(-(-message.expires_ms // MINUTE_MS), message.account, message.id)
