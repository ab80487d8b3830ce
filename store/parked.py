"""Receipts that came before the id they speak of (or speak of nobody's): parked, claimed, then unmatched.

A parked receipt stands under each exact id it might have; COMMIT B looks here when a carrier id arrives,
only while its group has any. After `park_s` it moves to the unmatched list, where operators can read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.correlation import same_number
from store.records import (
    GROUP_KEY,
    TIME_KEY,
    UNMATCHED_KEY,
    Parked,
    carrier_key,
    decode_parked_list,
    encode,
    unparked,
)

if TYPE_CHECKING:
    from router.nouns import ReceiptIn
    from store.batch import Batch

MAX_PARKED = 50  # receipts under one id
# Why a receipt matched nothing, for metrics.
UNKNOWN_ID = "unknown_id"
NO_ID = "no_id"
TOO_MANY = "too_many"  # under one id: the further ones are not kept
UNMATCHED = (UNKNOWN_ID, NO_ID, TOO_MANY)


def waiting(batch: Batch, group: int) -> bool:
    """Whether any receipt of this group is parked: dictionary look-ups only."""
    memory = batch.memory.parked
    return bool((memory or batch.parked) and memory.get(group, 0) + batch.parked.get(group, 0) > 0)


def park(batch: Batch, receipt: ReceiptIn, now_ms: int) -> None:
    row = Parked(
        receipt.group, receipt.carrier, receipt.ids, receipt.variants, receipt.recipient, receipt.sender,
        receipt.state, receipt.error, receipt.at_ms, receipt.done_ms, receipt.raw, receipt.text,
        receipt.user_message_reference, now_ms, receipt.cause,
    )  # fmt: skip
    kept = False
    for id in dict.fromkeys(receipt.ids or ("",)):
        key = carrier_key(receipt.group, id)
        older = batch.get(batch.tables.parked, key)
        rows = decode_parked_list(older) if older is not None else []
        if older is None:
            batch.parked[receipt.group] = batch.parked.get(receipt.group, 0) + 1
            batch.put(batch.tables.parked_time, TIME_KEY.pack(now_ms) + key, b"")
        if len(rows) < MAX_PARKED:
            rows.append(row)
            batch.put(batch.tables.parked, key, encode(rows))
            kept = True
    if not kept:
        batch.unmatched.append((receipt.carrier, TOO_MANY))


def take(batch: Batch, group: int, cid: str, variants: tuple[str, ...], recipient: str) -> list[ReceiptIn]:
    """Remove and return what was parked for an id that has just arrived, in order of arrival.

    The exact id first; else the one other form of it that is parked with the same recipient.
    """
    rows = _take_row(batch, carrier_key(group, cid))
    if rows:
        return [unparked(row) for row in rows]
    found = []
    for variant in variants:
        key = carrier_key(group, variant)
        payload = batch.get(batch.tables.parked, key)
        if payload is not None and any(
            same_number(row.recipient, recipient) for row in decode_parked_list(payload)
        ):
            found.append(key)
    if len(found) != 1:
        return []
    return [unparked(row) for row in _take_row(batch, found[0])]


def _take_row(batch: Batch, key: bytes) -> list[Parked]:
    payload = batch.get(batch.tables.parked, key)
    if payload is None:
        return []
    rows = decode_parked_list(payload)
    drop(batch, key, rows)
    group = rows[0].group
    for id in {id for row in rows for id in row.ids}:
        alias = carrier_key(group, id)
        if alias != key:
            other = batch.get(batch.tables.parked, alias)
            if other is not None:
                drop(batch, alias, decode_parked_list(other))
    return rows


def drop(batch: Batch, key: bytes, rows: list[Parked]) -> None:
    """Remove one row and its place in the time order."""
    batch.delete(batch.tables.parked, key)
    group = GROUP_KEY.unpack_from(key)[0]
    batch.parked[group] = batch.parked.get(group, 0) - 1
    batch.delete(batch.tables.parked_time, TIME_KEY.pack(rows[0].parked_ms) + key)


def give_up(batch: Batch, now_ms: int, limit: int) -> int:
    """Move receipts parked for too long to the unmatched list."""
    before_ms = now_ms - batch.options.park_s * 1000
    moved = 0
    for key, _ in batch.scan(batch.tables.parked_time, b"\0", limit):
        if TIME_KEY.unpack_from(key)[0] > before_ms:
            break
        for row in _take_row(batch, key[TIME_KEY.size :]):
            put_unmatched(batch, row)
            batch.unmatched.append((row.carrier, UNKNOWN_ID if any(row.ids) else NO_ID))
        batch.delete(batch.tables.parked_time, key)
        moved += 1
    return moved


def put_unmatched(batch: Batch, row: Parked) -> None:
    get = batch.getter(batch.tables.unmatched)
    n = 0
    while get(UNMATCHED_KEY.pack(row.parked_ms, n)) is not None:
        n += 1
    batch.put(batch.tables.unmatched, UNMATCHED_KEY.pack(row.parked_ms, n), encode(row))


def drop_unmatched(batch: Batch, before_ms: int, limit: int) -> int:
    """Retention of the unmatched list."""
    return batch.delete_range(batch.tables.unmatched, b"", TIME_KEY.pack(before_ms), limit)
