"""COMMIT D and where events come from: what accounts still have to be told.

`outbox` holds what may go now, by endpoint and in commit order; `outbox_due` what waits for its retry. A
retried event comes back under a new number, behind the endpoint's others, so that a reader that goes forward
never misses one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from router.nouns import Event, EventKind, MessageState
from store.records import OUTBOX_DUE_KEY, OUTBOX_KEY, decode_event, encode
from store.values import VALUE_VERSION, pack_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Message, Progress
    from store.batch import Batch
    from store.interface import OutboxRow


def outbox_done(batch: Batch, rows: Sequence[OutboxRow]) -> None:
    """These were delivered, or given up by their owner."""
    delete = batch.deleter(batch.tables.outbox)
    pack = OUTBOX_KEY.pack
    for row in rows:
        delete(pack(row.endpoint, row.seq))


def outbox_retry(batch: Batch, rows: Sequence[OutboxRow], due_ms: int) -> None:
    """These wait until due_ms; the caller has counted the attempt in the event."""
    delete = batch.deleter(batch.tables.outbox)
    for row in rows:
        if delete(OUTBOX_KEY.pack(row.endpoint, row.seq)):
            key = OUTBOX_DUE_KEY.pack(due_ms, row.endpoint, row.seq)
            batch.put(batch.tables.outbox_due, key, encode(row.event))


def move_due_events(batch: Batch, now_ms: int, limit: int) -> int:
    """Events whose retry is due, back into the outbox."""
    moved = 0
    for key, payload in batch.scan(batch.tables.outbox_due, b"\0", limit):
        due_ms, endpoint, _ = OUTBOX_DUE_KEY.unpack(key)
        if due_ms > now_ms:
            break
        batch.delete(batch.tables.outbox_due, key)
        put_event(batch, endpoint, payload)
        moved += 1
    return moved


def tell(batch: Batch, event: Event) -> bool:
    """Queue an event for its account, if there is anywhere to send it."""
    url = event.url
    if not url:
        account = batch.memory.accounts.get(event.account)
        if account is None or not account.callback_url:
            return False
        url = account.callback_url
    put_event(batch, batch.core.names.endpoint_at_event(event.account, url), encode(event))
    return True


def put_event(batch: Batch, endpoint: int, payload: bytes) -> None:
    batch.outbox_seq += 1
    key = OUTBOX_KEY.pack(endpoint, batch.outbox_seq)
    batch.putter(batch.tables.outbox)(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)


def receipt_event(
    message: Message,
    progress: Progress,
    state: int,
    at_ms: int,
    error: str = "",
    final: bool = True,
    part: int = 0,
) -> Event:
    """What an account hears of a message's state."""
    parts = progress.parts
    return Event(
        EventKind.RECEIPT,
        message.account,
        message.id,
        at_ms,
        message.source,
        message.destination,
        state,
        progress.reason,
        error,
        message.segments,
        message.client_ref,
        message.tags,
        message.callback_url,
        carrier=parts[0].carrier if parts else 0,
        final=final,
        part=part,
    )


def read_event(payload: bytes) -> Event:
    return decode_event(payload)


STATE_NAMES = {int(state): state.name for state in MessageState}
