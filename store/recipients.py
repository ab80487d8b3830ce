"""Who was written to lately: `number | account | id` rows, appended a commit at a time, merged in runs.

Level 0 holds one unsorted record for each commit, level 1 sorted runs of at most RUN rows. A look-up goes
from the newest record to the oldest and checks what it finds against the message itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.records import MESSAGE_KEY, RECIPIENT, RECIPIENT_KEY, decode_message, number_of
from store.values import Damaged, unseal

if TYPE_CHECKING:
    import lmdb

    from store.batch import Batch
    from store.layout import Tables

RUN = 65_536
SMALL = 64  # level 0 records that wait for a merge
WIDTH = RECIPIENT.size


def latest_to(
    tx: lmdb.Transaction[bytes],
    tables: Tables,
    recipient: str,
    sender: str,
    since_ms: int,
    reference: int = -1,
) -> tuple[int, int] | None:
    """(account, id) of the newest message from `sender` to `recipient`, or with the reference given."""
    number = number_of(recipient)
    found: list[tuple[int, int]] = []
    with tx.cursor(tables.recipient.handle) as cursor:
        for key, value in cursor.iternext():
            try:
                rows = unseal(key, value)
            except Damaged:
                continue
            found.extend(_rows_of(rows, number, RECIPIENT_KEY.unpack(key)[0] > 0))
    for account, id in sorted(set(found), key=lambda pair: -pair[1]):
        if id >> 20 < since_ms:
            return None
        stored = tx.get(MESSAGE_KEY.pack(account, id), None, tables.message.handle)
        if stored is None:
            continue
        try:
            message = decode_message(unseal(MESSAGE_KEY.pack(account, id), stored))
        except Damaged:
            continue
        if message.destination != recipient:
            continue
        if message.source == sender or (reference >= 0 and id & 0xFFFF == reference):
            return account, id
    return None


def _rows_of(rows: bytes, number: int, ordered: bool) -> list[tuple[int, int]]:
    wanted = number.to_bytes(8, "big")
    found = []
    at = _first(rows, wanted) * WIDTH if ordered else 0
    while (at := rows.find(wanted, at)) >= 0:
        if at % WIDTH:
            at += 1
            continue
        _, account, id = RECIPIENT.unpack_from(rows, at)
        found.append((account, id))
        at += WIDTH
        if ordered and rows[at : at + 8] != wanted:
            break
    return found


def _first(rows: bytes, wanted: bytes) -> int:
    """Index of the first row not below `wanted`."""
    low, high = 0, len(rows) // WIDTH
    while low < high:
        middle = (low + high) // 2
        if rows[middle * WIDTH : middle * WIDTH + 8] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def merge(batch: Batch) -> int:
    """Turn many small records into one sorted run; returns how many were merged."""
    small = batch.scan(batch.tables.recipient, RECIPIENT_KEY.pack(0, 0), 4 * SMALL, b"\0")
    if len(small) < SMALL:
        return 0
    rows: list[bytes] = []
    for key, payload in small:
        rows.extend(payload[at : at + WIDTH] for at in range(0, len(payload), WIDTH))
        batch.delete(batch.tables.recipient, key)
        if len(rows) >= RUN:
            break
    rows.sort()
    batch.recipient_seq += 1
    batch.put(batch.tables.recipient, RECIPIENT_KEY.pack(1, batch.recipient_seq), b"".join(rows))
    return len(small)


def drop_before(batch: Batch, before_ms: int, limit: int) -> int:
    """Forget runs in which every message is older than `before_ms`."""
    dropped = 0
    for key, payload in batch.scan(batch.tables.recipient, RECIPIENT_KEY.pack(1, 0), limit, b"\1"):
        newest = max(RECIPIENT.unpack_from(payload, at)[2] for at in range(0, len(payload), WIDTH))
        if newest >> 20 >= before_ms:
            break
        batch.delete(batch.tables.recipient, key)
        dropped += 1
    return dropped
