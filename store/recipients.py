"""Who was written to lately: `number | account | id` rows, appended a commit at a time, merged in runs.

Level 0 holds one unsorted record for each commit, level 1 sorted runs of at most RUN rows under the newest id
in them. A look-up goes from the newest run to the oldest, checks what it finds against the message itself and
ends where nothing newer can follow. Runs that nobody may ask for any more are dropped by the same order.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from router.correlate import reference_of
from store.batch import scan
from store.correlation import customer_reference
from store.ids import first_id_at
from store.records import MESSAGE_KEY, RECIPIENT, RECIPIENT_KEY, decode_message, number_of
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import lmdb

    from router.nouns import Message
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
    """(account, id) of the newest message to `recipient` sent with this reference, else from `sender`."""
    if reference >= 0:
        found = _latest(tx, tables, recipient, since_ms, lambda message: _reference(message) == reference)
        if found is not None:
            return found
    return _latest(tx, tables, recipient, since_ms, lambda message: message.source == sender)


def _latest(
    tx: lmdb.Transaction[bytes],
    tables: Tables,
    recipient: str,
    since_ms: int,
    is_it: Callable[[Message], bool],
) -> tuple[int, int] | None:
    number = number_of(recipient)
    best: tuple[int, int] | None = None
    newer_than = first_id_at(since_ms) - 1
    with tx.cursor(tables.recipient.handle) as cursor:
        for level, newest, rows in _newest_first(cursor):
            if level and newest <= newer_than:
                break
            found = {pair for pair in _rows_of(rows, number, level > 0) if pair[1] > newer_than}
            for account, id in sorted(found, key=lambda pair: -pair[1]):
                message = _read(tx, tables, account, id)
                if message is not None and message.destination == recipient and is_it(message):
                    best, newer_than = (account, id), id
                    break
    return best


def _newest_first(cursor: lmdb.Cursor[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """(level, newest id for a run, rows): the small records, then runs from the newest to the oldest."""
    for key, value in scan(cursor, RECIPIENT_KEY.pack(0, 0), b"\0"):
        with suppress(Damaged):
            yield 0, 0, unseal(key, value)
    found = cursor.last()
    while found:
        key, value = cursor.item()
        level, newest = RECIPIENT_KEY.unpack(key)
        if not level:
            return
        with suppress(Damaged):
            yield level, newest, unseal(key, value)
        found = cursor.prev()


def _read(tx: lmdb.Transaction[bytes], tables: Tables, account: int, id: int) -> Message | None:
    """The message, where it is in the hot store."""
    key = MESSAGE_KEY.pack(account, id)
    stored = tx.get(key, None, tables.message.handle)
    try:
        return None if stored is None else decode_message(unseal(key, stored))
    except Damaged:
        return None


def _reference(message: Message) -> int:
    """The user_message_reference that its handset may have been shown: its customer's own, else ours."""
    own = customer_reference(message)
    return own if own >= 0 else reference_of(message.id)


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
    newest = max(RECIPIENT.unpack(row)[2] for row in rows)
    while batch.has(batch.tables.recipient, RECIPIENT_KEY.pack(1, newest)):
        newest += 1  # the same message ended two runs
    batch.put(batch.tables.recipient, RECIPIENT_KEY.pack(1, newest), b"".join(rows))
    return len(small)


def drop_before(batch: Batch, before_ms: int, limit: int) -> int:
    """Forget runs in which every message is older than `before_ms`."""
    start, end = RECIPIENT_KEY.pack(1, 0), RECIPIENT_KEY.pack(1, first_id_at(before_ms))
    return batch.delete_range(batch.tables.recipient, start, end, limit)
