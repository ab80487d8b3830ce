"""Requests that were carried out, by the keys their askers gave them, so that a retry does nothing again.

A row is written in the transaction that carries its request out: both are durable, or neither is. Rows go by
age, along an index in the order of time; one whose time has come is as good as none even before it went.

Deliberately not here: what a key, a request and an answer are (gateway.http.once).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.interface import Remembered
from store.records import ACCOUNT_KEY, TIME_KEY, decode_remembered, encode
from store.values import Damaged, unseal

if TYPE_CHECKING:
    import lmdb

    from store.batch import Batch
    from store.layout import Tables


def remember(batch: Batch, account: int, key: bytes, row: Remembered) -> None:
    """Under this key of this account from now on; what was there under it is forgotten."""
    place = ACCOUNT_KEY.pack(account) + key
    batch.put(batch.tables.once, place, encode(row))
    batch.put(batch.tables.once_time, TIME_KEY.pack(row.at_ms) + place, b"")


def remembered(
    tx: lmdb.Transaction[bytes], tables: Tables, account: int, key: bytes, since_ms: int
) -> Remembered | None:
    """What was kept under the key, unless it is older than `since_ms`, or damaged."""
    place = ACCOUNT_KEY.pack(account) + key
    value = tx.get(place, None, tables.once.handle)
    if value is None:
        return None
    try:
        row: Remembered = decode_remembered(unseal(place, value))
    except Damaged:
        return None
    return row if row.at_ms > since_ms else None


def drop_before(batch: Batch, before_ms: int, limit: int) -> int:
    """Forget up to `limit` of those that are older. Returns how many rows of the index went."""
    dropped = 0
    for timed, _ in batch.scan(batch.tables.once_time, b"\0", limit):
        (at_ms,) = TIME_KEY.unpack_from(timed)
        if at_ms >= before_ms:
            break
        batch.delete(batch.tables.once_time, timed)
        place = timed[TIME_KEY.size :]
        payload = batch.get(batch.tables.once, place)
        if payload is None or decode_remembered(payload).at_ms == at_ms:  # not written anew since
            batch.delete(batch.tables.once, place)
        dropped += 1
    return dropped
