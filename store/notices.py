"""The event log: what the gateway noticed or decided by itself, newest MOST kept.

A carrier that was taken out and came back, a probe that failed, receipts that look made up: each is one row
under its number. It is bounded, and the oldest rows go in the transaction that adds new ones, so nothing has
to look after it.

Deliberately not here: what people and keys did (audit.py, kept for ever), what happened to one message (its
timeline), what is worth an entry (gateway).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

import msgspec

from store.interface import Notice, NoticeRow
from store.records import encode
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lmdb

    from store.batch import Batch
    from store.layout import Tables

MOST = 10_000

_KEY = Struct(">Q")
_decode = msgspec.msgpack.Decoder(Notice).decode


def append(batch: Batch, notices: Sequence[Notice]) -> int:
    """Write these behind the last. Returns the number of the last one, from 1 on."""
    table = batch.tables.notice
    with batch.tx.cursor(table.handle) as cursor:
        number = _KEY.unpack(cursor.key())[0] if cursor.last() else 0
    for notice in notices:
        number += 1
        batch.put(table, _KEY.pack(number), encode(notice))
    if number > MOST:
        batch.delete_range(table, _KEY.pack(0), _KEY.pack(number - MOST + 1), len(notices) + 100)
    return number


def log(
    tx: lmdb.Transaction[bytes], tables: Tables, limit: int, before: int, subject: str
) -> list[NoticeRow]:
    """Newest first, numbered below `before`; of one subject, or with it among its parts."""
    found: list[NoticeRow] = []
    with tx.cursor(tables.notice.handle) as cursor:
        there = cursor.last() if not cursor.set_range(_KEY.pack(before)) else cursor.prev()
        while there and len(found) < limit:
            key, value = bytes(cursor.key()), bytes(cursor.value())
            notice = _read(key, value)
            if notice is not None and (
                not subject or subject == notice.subject or subject in notice.subject.split(":")
            ):
                found.append(NoticeRow(_KEY.unpack(key)[0], notice))
            there = cursor.prev()
    return found


def _read(key: bytes, value: bytes) -> Notice | None:
    """None where the value is damaged."""
    try:
        return _decode(unseal(key, value))
    except (Damaged, msgspec.DecodeError):
        return None
