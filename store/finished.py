"""The table of what has ended: rows by second, each with the messages of one commit that ended in it.

Whoever follows what ends reads row by row and keeps the key of the last one: `seal_finished` first, after
which nothing ends in the seconds before. The archiver begins at the oldest row each time: it picks messages,
copies them (archive.py), and `forget` takes them out of the hot store, and out of their row. What a late
receipt has changed meanwhile stays in its row, and is picked again.

Invariant: the commit in which its messages ended writes a row (Batch.store_ends), and it only gets smaller
after that. So a key stays a place to go on from, however many of its row's messages have left.

Older releases wrote a row for each message, with its account in the key and nothing in it. mend.py does so
still: such a row is in no other's way. Both kinds stand side by side, in any order.

Deliberately not here: the archive (archive.py), how a message ends (ending.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from store import correlation
from store.batch import SEALED_NAME, scan
from store.records import (
    BUCKET_MS,
    MESSAGE_KEY,
    SECOND,
    decode_message,
    decode_progress,
    ended_in_row,
    is_of_many,
)
from store.values import HEAD_SIZE, Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence, Set

    import lmdb

    from router.nouns import Message, Progress
    from store.batch import Batch
    from store.layout import Table, Tables

T = TypeVar("T")


class Finished(msgspec.Struct, gc=False):
    """One message on its way out of the hot store."""

    key: bytes  # of its row of `finished`
    message: Message | None
    progress: Progress | None
    message_key: bytes = b""  # b"": its row is damaged


def rows(
    tx: lmdb.Transaction[bytes], tables: Tables, start: bytes, before_s: int
) -> Iterator[tuple[bytes, list[bytes]]]:
    """(key, MESSAGE_KEYs) from `start` on, up to that second; no messages where a row is damaged."""
    with tx.cursor(tables.finished.handle) as cursor:
        for key, value in scan(cursor, start):
            if SECOND.unpack_from(key)[0] > before_s:
                return
            try:
                yield key, ended_in_row(key, unseal(key, value) if is_of_many(key) else b"")
            except Damaged:
                yield key, []


def of_second(
    tx: lmdb.Transaction[bytes], tables: Tables, second: int, after: bytes = b""
) -> Iterator[bytes]:
    """MESSAGE_KEYs of what ended in it; only of rows behind `after`, if given."""
    for _, ended in rows(tx, tables, after + b"\0" if after else SECOND.pack(second), second):
        yield from ended


def count(tx: lmdb.Transaction[bytes], tables: Tables) -> int:
    """How many messages all rows name, damaged ones by their length."""
    with tx.cursor(tables.finished.handle) as cursor:
        return sum(
            (len(value) - HEAD_SIZE) // MESSAGE_KEY.size if is_of_many(key) else 1
            for key, value in cursor.iternext()
        )


def pick(
    tx: lmdb.Transaction[bytes], tables: Tables, before_s: int, limit: int, followed: bytes | None = None
) -> list[Finished]:
    """Messages that ended up to `before_s`, oldest first; up to the row `followed`, if given. As many as
    `limit`, and what else is in the last one's row."""
    found: list[Finished] = []
    for key, ended in rows(tx, tables, b"", before_s):
        if len(found) >= limit or (followed is not None and key > followed):
            break
        found += _read(tx, tables, key, ended) if ended else [Finished(key, None, None)]
    return found


def pick_after(
    tx: lmdb.Transaction[bytes], tables: Tables, key: bytes, before_s: int, limit: int
) -> list[Finished]:
    """Those that ended up to `before_s`, behind this row, oldest first; as many as `pick`."""
    found: list[Finished] = []
    for row, ended in rows(tx, tables, key + b"\0", before_s):
        if len(found) >= limit:
            break
        found += _read(tx, tables, row, ended)
    return found


def keys_after(
    tx: lmdb.Transaction[bytes], tables: Tables, key: bytes, before_s: int, limit: int
) -> list[tuple[bytes, int, int]]:
    """The same without reading them: (row, account, id)."""
    found: list[tuple[bytes, int, int]] = []
    for row, ended in rows(tx, tables, key + b"\0", before_s):
        if len(found) >= limit:
            break
        found += [(row, *MESSAGE_KEY.unpack(one)) for one in ended]
    return found


def is_followed(batch: Batch, second: int, message_key: bytes) -> bool:
    """Whether everybody who follows has read of this message, which ended in that second."""
    followed = batch.memory.followed
    if followed is None:
        return True
    prefix = SECOND.pack(second)
    if not followed.startswith(prefix):
        return prefix < followed
    unread = of_second(batch.tx, batch.tables, second, followed)
    return message_key not in unread and message_key not in batch.ends.get(second, ())


def seal_finished(batch: Batch, until_ms: int) -> None:
    """No message ends before then any more: those that did can be read whole, once this is committed."""
    batch.sealed_ms = max(batch.sealed_ms, until_ms, batch.memory.sealed_ms)
    batch.put(batch.tables.meta, SEALED_NAME, b"%d" % batch.sealed_ms)


def forget(batch: Batch, picked: Sequence[Finished]) -> int:
    """Take archived messages out of the hot store, with everything that leads to them. Returns how many.

    What has changed since it was read, by a late receipt, stays: it is archived once more.
    """
    left = 0
    leaving: dict[bytes, set[bytes]] = {}  # row → those of its messages that leave
    for one in picked:
        key, progress = one.message_key, one.progress
        of_row = leaving.setdefault(one.key, set())
        if not key or (progress is not None and batch.progress(key) not in (progress, None)):
            continue
        if progress is not None:
            id = MESSAGE_KEY.unpack(key)[1]
            for part in progress.parts:
                if part.carrier_message_id:
                    _forget_part(batch, progress, part.carrier_message_id, id)
        batch.delete(batch.tables.message, key)
        batch.delete(batch.tables.progress, key)
        of_row.add(key)
        left += 1
    for key, gone in leaving.items():
        take_out(batch, key, gone)
    return left


def take_out(batch: Batch, key: bytes, gone: Set[bytes]) -> None:
    """These messages out of their row; it goes with the last of them. A damaged one is set aside."""
    table = batch.tables.finished
    payload = batch.get(table, key) if is_of_many(key) else b""
    if payload is None:
        return
    ended = ended_in_row(key, payload)
    staying = [one for one in ended if one not in gone]
    if not staying:
        batch.delete(table, key)
    elif len(staying) < len(ended):
        batch.put(table, key, b"".join(staying))


def _forget_part(batch: Batch, progress: Progress, cid: str, id: int) -> None:
    buckets = {at_ms // BUCKET_MS for at_ms, *_ in progress.events}
    for bucket in buckets:
        correlation.forget(batch, progress.group, bucket, cid, id)


def _read(tx: lmdb.Transaction[bytes], tables: Tables, key: bytes, ended: Iterable[bytes]) -> list[Finished]:
    return [
        Finished(
            key,
            _decoded(tx, tables.message, one, decode_message),
            _decoded(tx, tables.progress, one, decode_progress),
            one,
        )
        for one in ended
    ]


def _decoded(tx: lmdb.Transaction[bytes], table: Table, key: bytes, decode: Callable[[bytes], T]) -> T | None:
    value = tx.get(key, None, table.handle)
    if value is None:
        return None
    try:
        return decode(unseal(key, value))
    except (Damaged, msgspec.DecodeError):
        return None
