"""Events that their receiver never took: kept beside the outbox until an operator puts them back, or age.

A row's key begins with its endpoint, then the time of giving up, so that listing, putting back and ageing
each walk only what they handle.

Deliberately not here: when an event is given up (gateway.callbacks), how long they are kept (gateway.timers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.batch import scan
from store.outbox import put_event, tell
from store.records import GIVEN_UP_KEY, OUTBOX_KEY, decode_event, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.batch import Batch
    from store.interface import OutboxRow

_PREFIX = 4  # the endpoint's bytes
_BEHIND_ALL = b"\xff" * GIVEN_UP_KEY.size


def give_up(batch: Batch, rows: Sequence[OutboxRow], now_ms: int) -> None:
    """Out of the outbox; the caller has written into the event how often and why."""
    delete = batch.deleter(batch.tables.outbox)
    for row in rows:
        if delete(OUTBOX_KEY.pack(row.endpoint, row.seq)):
            key = GIVEN_UP_KEY.pack(row.endpoint, now_ms, row.seq)
            batch.put(batch.tables.given_up, key, encode(row.event))


def replay(batch: Batch, endpoints: Sequence[int], before_ms: int, limit: int) -> int:
    """What was given up before `before_ms`, back into the outbox with all its attempts before it.

    Each goes where its account wants it now, which may be another endpoint. Returns how many were moved.
    """
    moved = 0
    for endpoint in endpoints:
        prefix = endpoint.to_bytes(_PREFIX, "big")
        for key, payload in batch.scan(batch.tables.given_up, prefix, limit - moved, prefix):
            if GIVEN_UP_KEY.unpack(key)[1] >= before_ms:
                break
            batch.delete(batch.tables.given_up, key)
            event = decode_event(payload)
            event.attempts, event.last_error, event.since_ms = 0, "", before_ms
            if not tell(batch, event):  # nowhere to send it yet: it waits where it was
                put_event(batch, endpoint, encode(event))
            moved += 1
        if moved >= limit:
            break
    return moved


def drop(batch: Batch, before_ms: int, limit: int) -> int:
    """Forget what was given up before `before_ms`; one seek for each endpoint. Returns how many went."""
    old: list[bytes] = []
    with batch.tx.cursor(batch.tables.given_up.handle) as cursor:
        there = cursor.first()
        while there and len(old) < limit:
            prefix = cursor.key()[:_PREFIX]
            for key, _ in scan(cursor, prefix, prefix):
                if GIVEN_UP_KEY.unpack(key)[1] >= before_ms or len(old) >= limit:
                    break
                old.append(key)
            there = cursor.set_range(prefix + _BEHIND_ALL)
    for key in old:
        batch.delete(batch.tables.given_up, key)
    return len(old)
