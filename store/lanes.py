"""How many messages of each lane wait, by phase: one meta row a lane, written by each commit that moves one.

The totals (store.batch) say whether anything was lost; these say where it stands: what an operator sees of a
lane, and what the watchdog asks. Only phases in which a message still belongs to its lane are kept.

Invariant: over all lanes they add up to the totals. Where they do not when a store is opened (it is of an
older release, or salvaged) they are counted anew, by one walk over the queues.

Deliberately not here: segments, accounts, which lanes may be pulled from.
"""

from __future__ import annotations

from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING

from router.nouns import Phase
from store.queues import unpack_place
from store.records import (
    DUE_KEY,
    GROUP_KEY,
    HELD_KEY,
    LEASE_HEAD,
    LEASE_KEY,
    LEASE_ROW,
    MESSAGE_KEY,
    READY_KEY,
    decode_message,
    decode_progress,
)
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lmdb

    from router.nouns import Message, Progress
    from store.interface import Totals
    from store.layout import Tables

Counts = list[int]  # by Phase
Lanes = dict[int, Counts]

_NAME = b"lane"
_ROW = Struct(">6Q")  # Phase.SCHEDULED to Phase.UNKNOWN
_KEPT = slice(Phase.SCHEDULED, Phase.UNKNOWN + 1)


def none_yet() -> Counts:
    return [0] * len(Phase)


def lane_of(message: Message, progress: Progress | None) -> int:
    """The lane a message belongs to now."""
    return (progress.lane if progress is not None else 0) or message.lane


def row_name(lane: int) -> bytes:
    return _NAME + GROUP_KEY.pack(lane)


def pack(counts: Counts) -> bytes:
    return _ROW.pack(*(max(0, count) for count in counts[_KEPT]))


def added(counts: Counts | None, changes: Counts) -> Counts:
    """What a lane has after a commit; phases in which it has no part stay 0."""
    total = none_yet()
    total[_KEPT] = [a + b for a, b in zip((counts or total)[_KEPT], changes[_KEPT], strict=True)]
    return total


def read(tx: lmdb.Transaction[bytes], tables: Tables) -> Lanes:
    """As the last commit left them; a damaged row reads as nothing."""
    lanes: Lanes = {}
    with tx.cursor(tables.meta.handle) as cursor:
        found = cursor.set_range(_NAME)
        while found and cursor.key().startswith(_NAME) and len(cursor.key()) == len(_NAME) + GROUP_KEY.size:
            counts = lanes[GROUP_KEY.unpack_from(cursor.key(), len(_NAME))[0]] = none_yet()
            with suppress(Damaged):
                counts[_KEPT] = _ROW.unpack(unseal(cursor.key(), cursor.value()))
            found = cursor.next()
    return lanes


def load(tx: lmdb.Transaction[bytes], tables: Tables, totals: Totals) -> Lanes:
    """When a store is opened: what the rows say, or what the queues say where those do not add up.

    The caller writes the rows of what it gets.
    """
    lanes = read(tx, tables)
    sums = [sum(counts[phase] for counts in lanes.values()) for phase in Phase]
    if sums[_KEPT] == totals.messages[_KEPT]:
        return lanes
    return {**{lane: none_yet() for lane in lanes}, **recount(tx, tables)}


def recount(tx: lmdb.Transaction[bytes], tables: Tables) -> Lanes:
    """By a walk over everything that waits."""
    lanes: Lanes = {}
    for walk in (_ready, _placed, _leased):
        for lane, phase in walk(tx, tables):
            counts = lanes.get(lane)
            if counts is None:
                counts = lanes[lane] = none_yet()
            counts[phase] += 1
    return lanes


def _ready(tx: lmdb.Transaction[bytes], tables: Tables) -> Iterator[tuple[int, int]]:
    with tx.cursor(tables.ready.handle) as cursor:
        for key in cursor.iternext(values=False):
            yield READY_KEY.unpack(key)[0], Phase.READY


def _placed(tx: lmdb.Transaction[bytes], tables: Tables) -> Iterator[tuple[int, int]]:
    """The due and the held rows: their payload says where they belong."""
    for table, shape, id_at in ((tables.due, DUE_KEY, 1), (tables.held, HELD_KEY, 2)):
        with tx.cursor(table.handle) as cursor:
            for key, value in cursor.iternext():
                try:
                    entry, phase = unpack_place(shape.unpack(key)[id_at], unseal(key, value))
                except Damaged:
                    continue
                yield entry.lane, phase


def _leased(tx: lmdb.Transaction[bytes], tables: Tables) -> Iterator[tuple[int, int]]:
    """What lease records name and no later answer has settled."""
    with tx.cursor(tables.lease.handle) as cursor:
        for key, value in cursor.iternext():
            lease = LEASE_KEY.unpack(key)[0]
            payload = unseal(key, value)
            for at in range(LEASE_HEAD.size, len(payload), LEASE_ROW.size):
                account, id, *_ = LEASE_ROW.unpack_from(payload, at)
                lane = _leased_from(tx, tables, MESSAGE_KEY.pack(account, id), lease)
                if lane:
                    yield lane, Phase.LEASED


def _leased_from(tx: lmdb.Transaction[bytes], tables: Tables, key: bytes, lease: int) -> int:
    try:
        value = tx.get(key, None, tables.message.handle)
        stored = tx.get(key, None, tables.progress.handle)
        message = None if value is None else decode_message(unseal(key, value))
        progress = None if stored is None else decode_progress(unseal(key, stored))
    except Damaged:
        return 0
    if message is None or (progress is not None and progress.lease >= lease):
        return 0
    return lane_of(message, progress)
