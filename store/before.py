"""How many ready messages go before one in its lane: about, and counted so far only.

The order is that of a claim (store.claim): queues by what carriers have tried already, within them
priorities, within those accounts in turns. So everything of a queue that comes first is before it, of its own
account what is older, and of another account of its priority as much as of its own.

Deliberately not here: the 5 % that lower priorities keep, weights of accounts, what a claim passes over; why
a lane does not move (router.waiting).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.nouns import Phase
from store.batch import scan
from store.interface import Before
from store.queues import locate
from store.records import (
    MESSAGE_KEY,
    READY_KEY,
    READY_PREFIX,
    READY_PREFIX_SIZE,
    decode_message,
    decode_progress,
)
from store.values import Damaged, unseal

if TYPE_CHECKING:
    import lmdb

    from store.layout import Tables

    Read = lmdb.Transaction[bytes]

MOST_QUEUES = 2_000  # of its lane that are looked at


def before(tx: Read, tables: Tables, account: int, id: int, most: int) -> Before | None:
    """Up to `most` messages; None: it is not ready. A seek for each queue, a step for each that counts."""
    own = _ready_row(tx, tables, account, id)
    if own is None:
        return None
    own_prefix = own[:READY_PREFIX_SIZE]
    lane, tried, inverted, _ = READY_PREFIX.unpack(own_prefix)
    with tx.cursor(tables.ready.handle) as cursor:
        mine = 0
        for key, _ in scan(cursor, own_prefix, own_prefix):
            if key >= own or mine > most:
                break
            mine += 1
        count, looked = mine, 0
        found = cursor.set_range(READY_PREFIX.pack(lane, 0, 0, 0))
        while found and count <= most and looked < MOST_QUEUES:
            prefix = cursor.key()[:READY_PREFIX_SIZE]
            its_lane, its_tried, its_inverted, _ = READY_PREFIX.unpack(prefix)
            if its_lane != lane:
                found = False
                break
            looked += 1
            first = (-its_tried, its_inverted) < (-tried, inverted)
            level = (its_tried, its_inverted) == (tried, inverted) and prefix != own_prefix
            room = most + 1 - count if first else min(mine, most + 1 - count) if level else 0
            if room:
                for taken, _ in enumerate(scan(cursor, prefix, prefix), 1):
                    count += 1
                    if taken >= room:
                        break
            found = cursor.set_range(prefix + b"\xff" * (READY_KEY.size - READY_PREFIX_SIZE))
    return Before(min(count, most), more=count > most or found)


def _ready_row(tx: Read, tables: Tables, account: int, id: int) -> bytes | None:
    key = MESSAGE_KEY.pack(account, id)
    value, stored = (tx.get(key, None, table.handle) for table in (tables.message, tables.progress))
    if value is None:
        return None
    try:
        message = decode_message(unseal(key, value))
        progress = None if stored is None else decode_progress(unseal(key, stored))
    except Damaged:
        return None
    phase, _, row = locate(
        lambda table, row: tx.get(row, None, table.handle) is not None, tables, message, progress
    )
    return row if phase == Phase.READY else None
