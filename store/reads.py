"""Reads of the last commit, each a function of one short read transaction.

Deliberately not here: reads that memory answers (totals, accounts), the archive, who opens the transaction.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from router.nouns import InboundMessage, Message, MessageState, Phase, Progress, ReceiptIn
from store.batch import scan
from store.interface import OutboxRow
from store.queues import locate
from store.records import (
    ACCOUNT_KEY,
    DUE_KEY,
    MESSAGE_KEY,
    OUTBOX_DUE_KEY,
    OUTBOX_KEY,
    READY_KEY,
    READY_PREFIX,
    decode_event,
    decode_inbound,
    decode_message,
    decode_parked,
    decode_progress,
    unparked,
)
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import lmdb

    from store.layout import Tables

    Read = lmdb.Transaction[bytes]


def find(tx: Read, tables: Tables, account: int, id: int) -> tuple[Message, Progress] | None:
    """A message of the hot store and how far it came; None where either record is damaged, too."""
    key = MESSAGE_KEY.pack(account, id)
    value = tx.get(key, None, tables.message.handle)
    if value is None:
        return None
    try:
        message = decode_message(unseal(key, value))
        stored = tx.get(key, None, tables.progress.handle)
        progress = None if stored is None else decode_progress(unseal(key, stored))
    except Damaged:
        return None
    phase, _, _ = locate(
        lambda table, row: tx.get(row, None, table.handle) is not None, tables, message, progress
    )
    if progress is None:
        state = MessageState.SCHEDULED if phase == Phase.SCHEDULED else MessageState.ENROUTE
        progress = Progress(phase, state, until_ms=message.send_at_ms)
    else:
        progress.phase = phase
    return message, progress


def inbox(tx: Read, tables: Tables, account: int, limit: int) -> list[InboundMessage]:
    prefix = ACCOUNT_KEY.pack(account)
    with tx.cursor(tables.inbound.handle) as cursor:
        return [
            decode_inbound(unseal(key, value)) for key, value in islice(scan(cursor, prefix, prefix), limit)
        ]


def unmatched(tx: Read, tables: Tables, limit: int) -> list[ReceiptIn]:
    with tx.cursor(tables.unmatched.handle) as cursor:
        rows = islice(cursor.iternext(), limit)
        return [unparked(decode_parked(unseal(key, value))) for key, value in rows]


def oldest_ready_ms(
    tx: Read, tables: Tables, groups: Iterable[bytes], lane: int, unseen_by: int
) -> int | None:
    """One seek for each of the lane's non-empty queues."""
    oldest: int | None = None
    with tx.cursor(tables.ready.handle) as cursor:
        for prefix in groups:
            of_lane, tried, _, _ = READY_PREFIX.unpack(prefix)
            if of_lane != lane or (unseen_by and tried & unseen_by == unseen_by):
                continue
            if cursor.set_range(prefix):
                key = cursor.key()
                if key.startswith(prefix):
                    due_ms = READY_KEY.unpack(key)[4]
                    oldest = due_ms if oldest is None else min(oldest, due_ms)
    return oldest


def next_due_ms(tx: Read, tables: Tables) -> int | None:
    due: list[int] = []
    for table, key in ((tables.due, DUE_KEY), (tables.outbox_due, OUTBOX_DUE_KEY)):
        with tx.cursor(table.handle) as cursor:
            if cursor.first():
                due.append(key.unpack(cursor.key())[0])
    return min(due, default=None)


def outbox_page(tx: Read, tables: Tables, endpoint: int, after_seq: int, limit: int) -> list[OutboxRow]:
    rows: list[OutboxRow] = []
    with tx.cursor(tables.outbox.handle) as cursor:
        for key, value in scan(cursor, OUTBOX_KEY.pack(endpoint, after_seq + 1)):
            owner, seq = OUTBOX_KEY.unpack(key)
            if owner != endpoint or len(rows) >= limit:
                break
            try:
                rows.append(OutboxRow(owner, seq, decode_event(unseal(key, value))))
            except Damaged:
                continue
    return rows


def outbox_backlog(tx: Read, tables: Tables) -> int:
    entries = (tx.stat(table.handle)["entries"] for table in (tables.outbox, tables.outbox_due))
    return int(sum(entries))
