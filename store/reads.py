"""Reads of the last commit, each a function of one short read transaction.

Deliberately not here: reads that memory answers (totals, accounts), the archive, who opens the transaction.
"""

from __future__ import annotations

from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from router.nouns import InboundMessage, Message, MessageState, Phase, Progress
from store.active import ready_groups
from store.batch import scan
from store.ids import first_id_at
from store.interface import NO_ID, GivenUp, OutboxRow, ReadyQueue
from store.queues import locate
from store.records import (
    DUE_KEY,
    GIVEN_UP_KEY,
    LANE_KEY,
    MESSAGE_KEY,
    OUTBOX_DUE_KEY,
    OUTBOX_KEY,
    READY_KEY,
    READY_PREFIX,
    TIME_KEY,
    Parked,
    decode_event,
    decode_inbound,
    decode_message,
    decode_parked,
    decode_parked_list,
    decode_progress,
)
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import lmdb

    from store.layout import Table, Tables

    Read = lmdb.Transaction[bytes]

T = TypeVar("T")


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
        if phase == Phase.SCHEDULED:  # one that was replaced has a progress, too
            progress.state = MessageState.SCHEDULED
    return message, progress


def accepted_since(tx: Read, tables: Tables, account: int, since_ms: int, limit: int) -> Iterator[Message]:
    """An account's messages of the hot store with ids from then on, the newest first."""
    first, end = MESSAGE_KEY.pack(account, first_id_at(since_ms)), MESSAGE_KEY.pack(account, NO_ID)
    return islice(_sound(backward(tx, tables.message, first, end), decode_message), limit)


def inbox(tx: Read, tables: Tables, accounts: Sequence[int], limit: int, before: int) -> list[InboundMessage]:
    """MOs of these accounts (0 = of nobody) with ids below `before`, newest first."""
    found = [
        _sound(
            backward(tx, tables.inbound, MESSAGE_KEY.pack(account, 0), MESSAGE_KEY.pack(account, before)),
            decode_inbound,
        )
        for account in accounts
    ]
    return list(islice(merge(*found, key=lambda message: message.id, reverse=True), limit))


def unmatched(tx: Read, tables: Tables, limit: int) -> list[Parked]:
    """Receipts that waited for their message until nobody could claim them any more, newest first."""
    return list(islice(_sound(backward(tx, tables.unmatched), decode_parked), limit))


def parked(tx: Read, tables: Tables, limit: int) -> list[Parked]:
    """Receipts that still wait for their message, newest first; each once, though it stands under each id."""
    found: list[Parked] = []
    for key, _ in backward(tx, tables.parked_time):
        if len(found) >= limit:
            break
        place = key[TIME_KEY.size :]
        value = tx.get(place, None, tables.parked.handle)
        for rows in _sound([] if value is None else [(place, value)], decode_parked_list):
            found.extend(row for row in rows if row not in found)
    return sorted(found, key=lambda row: row.parked_ms, reverse=True)[:limit]


def given_up(tx: Read, tables: Tables, endpoints: Sequence[int], limit: int) -> list[GivenUp]:
    """Events of these endpoints that nobody took, the last given up first."""
    found = [_given_up_of(tx, tables, endpoint) for endpoint in endpoints]
    return list(islice(merge(*found, key=lambda row: row.given_up_ms, reverse=True), limit))


def _given_up_of(tx: Read, tables: Tables, endpoint: int) -> Iterator[GivenUp]:
    first = GIVEN_UP_KEY.pack(endpoint, 0, 0)
    for key, value in backward(tx, tables.given_up, first, first[:4] + b"\xff" * len(first)):
        try:
            yield GivenUp(endpoint, GIVEN_UP_KEY.unpack(key)[1], decode_event(unseal(key, value)))
        except Damaged:
            continue


def _sound(rows: Iterable[tuple[bytes, bytes]], decode: Callable[[bytes], T]) -> Iterator[T]:
    """What can be read; damaged rows are left out, `store check` names them."""
    for key, value in rows:
        try:
            yield decode(unseal(key, value))
        except Damaged:
            continue


def backward(tx: Read, table: Table, first: bytes = b"", end: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """Raw rows from below `end` (from the last one without it) down to `first`."""
    with tx.cursor(table.handle) as cursor:
        there = cursor.prev() if end and cursor.set_range(end) else cursor.last()
        while there:
            key, value = cursor.item()
            if key < first:
                return
            yield key, value
            there = cursor.prev()


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


def oldest_by_lane(tx: Read, tables: Tables, groups: Iterable[bytes]) -> dict[int, int]:
    """One seek for each of these non-empty queues."""
    oldest: dict[int, int] = {}
    with tx.cursor(tables.ready.handle) as cursor:
        for prefix in groups:
            if cursor.set_range(prefix) and cursor.key().startswith(prefix):
                lane, due_ms = READY_PREFIX.unpack(prefix)[0], READY_KEY.unpack(cursor.key())[4]
                oldest[lane] = min(due_ms, oldest.get(lane, due_ms))
    return oldest


def ready_queues(tx: Read, tables: Tables, groups: Iterable[bytes], lane: int) -> dict[int, int]:
    """One seek for each of the lane's non-empty queues."""
    oldest: dict[int, int] = {}
    mine = LANE_KEY.pack(lane)
    with tx.cursor(tables.ready.handle) as cursor:
        for prefix in groups:
            if prefix.startswith(mine) and cursor.set_range(prefix) and cursor.key().startswith(prefix):
                tried = READY_PREFIX.unpack(prefix)[1]
                due_ms = READY_KEY.unpack(cursor.key())[4]
                oldest[tried] = min(due_ms, oldest.get(tried, due_ms))
    return oldest


def oldest_in_lane(tx: Read, tables: Tables, lane: int, most: int) -> int | None:
    """Also of accounts that have no turn: a seek for each of the first `most` groups of rows."""
    oldest: int | None = None
    mine = LANE_KEY.pack(lane)
    with tx.cursor(tables.ready.handle) as cursor:
        found = cursor.set_range(mine)
        while found and most > 0 and cursor.key().startswith(mine):
            key, most = cursor.key(), most - 1
            due_ms = READY_KEY.unpack(key)[4]
            oldest = due_ms if oldest is None else min(oldest, due_ms)
            found = cursor.set_range(key[: READY_PREFIX.size] + b"\xff" * 16)
    return oldest


def waiting_queues(tx: Read, tables: Tables, most_each: int, most: int) -> list[ReadyQueue]:
    """By lane and priority: a seek for each group of rows, and a step for each row that is counted."""
    found: dict[tuple[int, int, int], ReadyQueue] = {}
    left = most
    with tx.cursor(tables.ready.handle) as groups, tx.cursor(tables.ready.handle) as rows:
        for prefix in ready_groups(groups):
            lane, _, inverted, account = READY_PREFIX.unpack(prefix)
            place = (lane, inverted, account)
            queue = found.setdefault(place, ReadyQueue(lane, 3 - inverted, account))
            for key, _ in scan(rows, prefix, prefix):
                if not queue.count or READY_KEY.unpack(key)[4] < queue.oldest_ms:
                    queue.oldest_ms = READY_KEY.unpack(key)[4]
                if queue.count and (queue.count >= most_each or left <= 0):
                    queue.more = True
                    break
                queue.count += 1
                left -= 1
    return [found[place] for place in sorted(found)]


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


def given_up_count(tx: Read, tables: Tables) -> int:
    return int(tx.stat(tables.given_up.handle)["entries"])


def outbox_backlog(tx: Read, tables: Tables) -> int:
    entries = (tx.stat(table.handle)["entries"] for table in (tables.outbox, tables.outbox_due))
    return int(sum(entries))
