"""Messages that were accepted a moment ago: they have no row in the expiry index, as most end within seconds.

COMMIT A writes one row of `young` for up to CHUNK of them instead: the rows that they would have in `expiry`.
Memory knows whose chunk is which. A message leaves its chunk when it ends, or when it gets a row of its own:
by a new validity (customer.py), AGE_MS after it was accepted (`write_out`), or because the store is opened
(young_left.py). A chunk that nobody is left in goes, in the same commit.

Invariants: a message that has not ended is in a chunk, or has its row in `expiry`, never both; what a chunk's
row says of those that have left it counts no more. Memory is bounded by MOST, and is as the last commit left
it once a transaction was dropped. No validity ends while a chunk is young: whoever is in one is valid for
VALIDITY_MS after the chunk's `at_ms`, by the clock that `write_out` goes by.

Deliberately not here: what ends (timed.py), the short way of receipts, which does what `Changes.leave` does
(receipts.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from store.queues import expiry_key
from store.records import MESSAGE_KEY, MINUTE, MINUTE_MS, TIME_KEY, TIMED_KEY
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lmdb

    from router.nouns import Message
    from store.batch import Batch
    from store.layout import Tables

VALIDITY_MS = 600_000  # shorter ones get their rows at once: a chunk is long gone before one of it is due
AGE_MS = 30_000  # what has not ended by then may take hours
MOST = 65_536  # members; about 8 MiB. Where there is no room, messages get their rows at once
CHUNK = 250  # members in a row: one page of LMDB's
_NEVER_MS = 1 << 64


class _Chunk:
    __slots__ = ("at_ms", "left")

    def __init__(self, at_ms: int, left: int) -> None:
        self.at_ms = at_ms
        self.left = left


class Young:
    """Who is young by the last commit."""

    __slots__ = ("_latest_ms", "_set_back", "chunk_of", "chunks", "newest")

    def __init__(self) -> None:
        self.chunk_of: dict[bytes, int] = {}  # MESSAGE_KEY → number
        self.chunks: dict[int, _Chunk] = {}  # by number, which is how old they are
        self.newest = 0
        self._latest_ms = 0  # of any at_ms since the clock was set back
        self._set_back = 0  # the newest chunk from before that

    def is_old(self, number: int, now_ms: int) -> bool:
        """Whether a chunk is to be written out. Behind one that is not, nobody is due."""
        return number <= self._set_back or abs(now_ms - self.chunks[number].at_ms) >= AGE_MS

    def add(self, number: int, at_ms: int, keys: Sequence[bytes]) -> None:
        if at_ms < self._latest_ms - AGE_MS:
            self._set_back, self._latest_ms = self.newest, at_ms
        self._latest_ms = max(self._latest_ms, at_ms)
        self.newest = number
        self.chunks[number] = _Chunk(at_ms, len(keys))
        chunk_of = self.chunk_of
        for key in keys:
            chunk_of[key] = number

    def remove(self, number: int, count: int) -> None:
        """So many have left a chunk."""
        chunk = self.chunks[number]
        chunk.left -= count
        if not chunk.left:
            del self.chunks[number]

    def overdue(
        self, tx: lmdb.Transaction[bytes], tables: Tables, before_ms: int, most: int
    ) -> list[tuple[int, int]]:
        """(minute, message id) of up to `most` that should have been written out and ended before then."""
        found: list[tuple[int, int]] = []
        for number, chunk in list(self.chunks.items()):  # a commit may be under way in its thread
            if chunk.at_ms + VALIDITY_MS > before_ms or len(found) >= most:
                break
            for row in _rows(tx, tables, TIME_KEY.pack(number)):
                minute, _, id = TIMED_KEY.unpack(row)
                if row[MINUTE.size :] in self.chunk_of and minute * MINUTE_MS <= before_ms:
                    found.append((minute, id))
        return found[:most]


class Changes:
    """What one transaction does to it. Who leaves is out of `chunk_of` at once; back, if it is dropped."""

    __slots__ = ("_at_ms", "_chunks", "_gone", "_young", "left", "new", "others")

    def __init__(self, young: Young) -> None:
        self._young = young
        self._at_ms = 0
        self.new: list[bytes] = []  # by turns: the minute of its expiry, its MESSAGE_KEY
        self.left: dict[bytes, int] = {}  # MESSAGE_KEY → the chunk that it was in
        self.others: set[bytes] = set()  # that have left as well, and are new or were in none
        self._gone: Counter[int] = Counter()  # chunk → how many have left it
        self._chunks: list[tuple[int, list[bytes]]] = []  # new ones

    def lasting_ms(self, messages: Sequence[Message]) -> int:
        """Whose validity ends after that may be young."""
        if len(self._young.chunk_of) + len(self.new) // 2 + len(messages) > MOST:
            return _NEVER_MS
        self._at_ms = self._at_ms or messages[0].accepted_ms
        return self._at_ms + VALIDITY_MS

    def leave(self, key: bytes) -> bool:
        """It is young no more. False: it may have a row in `expiry`."""
        number = self._young.chunk_of.pop(key, None)
        if number is None:
            self.others.add(key)
            return False
        self.left[key] = number
        return True

    def store(self, batch: Batch) -> None:
        """Rows of chunks that are new, and of those that nobody is left in."""
        table, new, others = batch.tables.young, self.new, self.others
        if others:
            pairs = zip(new[::2], new[1::2], strict=True)
            new = [part for pair in pairs if pair[1] not in others for part in pair]
        number = self._young.newest
        for start in range(0, len(new), 2 * CHUNK):
            chunk = new[start : start + 2 * CHUNK]
            number += 1
            batch.put(table, TIME_KEY.pack(number), b"".join(chunk))
            self._chunks.append((number, chunk[1::2]))
        self._gone.update(self.left.values())
        for number, count in self._gone.items():
            if count == self._young.chunks[number].left:
                batch.delete(table, TIME_KEY.pack(number))

    def apply(self) -> None:
        """The commit succeeded."""
        for number, count in self._gone.items():
            self._young.remove(number, count)
        for number, keys in self._chunks:
            self._young.add(number, self._at_ms, keys)

    def drop(self) -> None:
        """There is no commit."""
        self._young.chunk_of.update(self.left)


def write_out(batch: Batch, now_ms: int, limit: int) -> int:
    """Rows in `expiry` for up to `limit` that are young no more, by age; how many. All of a damaged chunk."""
    young = batch.memory.young
    written = 0
    for number in young.chunks:
        if written >= limit or not young.is_old(number, now_ms):
            break
        payload = batch.get(batch.tables.young, TIME_KEY.pack(number))
        most = limit
        if payload is None:  # set aside by this commit: a later process would not know of who is left over
            most = written + young.chunks[number].left
        for key, row in _members(batch, number, payload):
            if written >= most:
                break
            if key in young.chunk_of and batch.young.leave(key):
                if row:
                    batch.put(batch.tables.expiry, row, b"")
                written += 1
    return written


def _members(batch: Batch, number: int, payload: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """(MESSAGE_KEY, row of `expiry`) of all that were ever in a chunk.

    Where the chunk's own row is damaged (`payload` None), of those that still are, with b"" for what is not
    there any more.
    """
    if payload is not None:
        for row in rows_of(payload):
            yield row[MINUTE.size :], row
        return
    for key in [key for key, chunk in batch.memory.young.chunk_of.items() if chunk == number]:
        message = batch.message(*MESSAGE_KEY.unpack(key))
        yield key, b"" if message is None else expiry_key(message, batch.progress(key))


# rows


def young_rows(tx: lmdb.Transaction[bytes], tables: Tables) -> set[bytes]:
    """Those of all chunks of a snapshot, damaged ones aside."""
    with tx.cursor(tables.young.handle) as cursor:
        return {row for key in cursor.iternext(values=False) for row in _rows(tx, tables, key)}


def _rows(tx: lmdb.Transaction[bytes], tables: Tables, key: bytes) -> list[bytes]:
    value = tx.get(key, None, tables.young.handle)
    try:
        return [] if value is None else rows_of(unseal(key, value))
    except Damaged:
        return []


def rows_of(payload: bytes) -> list[bytes]:
    """What a chunk's row says: rows as they would be in `expiry`."""
    size = TIMED_KEY.size
    return [payload[at : at + size] for at in range(0, len(payload), size)]
