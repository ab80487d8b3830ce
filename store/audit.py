"""The audit trail: who changed what, in the order of commits, each entry bound to the one before it.

An entry's row carries the SHA-256 of the row before it, key and value as they are on disk, and the meta table
keeps the number and the hash of the newest. Whoever alters, removes or reorders rows has to write all that
follow anew, and a hash that was noted elsewhere (`audit verify` prints it) tells even then.

Invariants: an entry is written in the transaction of the change it tells of; nothing here ever changes or
deletes a row, and neither retention nor quarantine does.

Deliberately not here: what is worth an entry (gateway), who may read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING

import msgspec

from store.batch import scan
from store.interface import AuditEntry, AuditRow, AuditState, Finding
from store.records import encode
from store.values import Damaged, seal, unseal

if TYPE_CHECKING:
    import lmdb

    from store.batch import Batch
    from store.layout import Tables
    from store.lmdb_store import LmdbStore

HEAD_NAME = b"audit"

_KEY = Struct(">Q")
_HEAD = Struct(">Q32s")
_NOTHING = bytes(32)  # what the first entry follows
_PAGE = 1_000
_MOST = 200
_decode = msgspec.msgpack.Decoder(AuditEntry).decode


def append(batch: Batch, entry: AuditEntry) -> int:
    """Write one entry behind the last. Returns its number, from 1 on."""
    last, digest = _newest(batch.tx, batch.tables)
    number = last + 1
    entry.previous = digest
    key = _KEY.pack(number)
    value = seal(key, encode(entry))
    batch.putter(batch.tables.audit)(key, value)
    batch.put(batch.tables.meta, HEAD_NAME, _HEAD.pack(number, _digest(key, value)))
    return number


def log(tx: lmdb.Transaction[bytes], tables: Tables, limit: int, before: int, subject: str) -> list[AuditRow]:
    """Newest first, numbered below `before`; of one subject, or with it among its parts."""
    found: list[AuditRow] = []
    with tx.cursor(tables.audit.handle) as cursor:
        there = cursor.last() if not cursor.set_range(_KEY.pack(before)) else cursor.prev()
        while there and len(found) < limit:
            key, value = bytes(cursor.key()), bytes(cursor.value())
            row = _row(key, value)
            if row is not None and (not subject or _concerns(row.entry.subject, subject)):
                found.append(row)
            there = cursor.prev()
    return found


def after(
    tx: lmdb.Transaction[bytes], tables: Tables, number: int, limit: int
) -> list[tuple[int, AuditRow | None]]:
    """Oldest first, numbered above `number`; None: there is an entry, but it is damaged."""
    with tx.cursor(tables.audit.handle) as cursor:
        rows = list(islice(scan(cursor, _KEY.pack(number + 1)), limit))
    return [(_KEY.unpack(key)[0], _row(bytes(key), bytes(value))) for key, value in rows]


def verify(store: LmdbStore, noted: Iterable[tuple[int, str]] = ()) -> AuditState:
    """Walk the whole chain in short reads; `noted`: numbers of entries, and the hashes they once had."""
    walk = _Walk(noted)
    after = b""
    while True:
        with store.reading() as tx:
            with tx.cursor(store.tables.audit.handle) as cursor:
                rows = list(islice(scan(cursor, after), _PAGE))
            head = _head(tx, store.tables)
        for key, value in rows:
            walk.look(bytes(key), bytes(value))
        if len(rows) < _PAGE:
            return walk.end(head)
        after = bytes(rows[-1][0]) + b"\0"


class _Walk:
    """The chain as far as it was seen."""

    def __init__(self, noted: Iterable[tuple[int, str]]) -> None:
        self.entries = 0
        self.last = 0
        self.digest = _NOTHING
        self.findings: list[Finding] = []
        self._noted: dict[int, set[str]] = {}
        for number, digest in noted:
            self._noted.setdefault(number, set()).add(digest.lower())

    def look(self, key: bytes, value: bytes) -> None:
        number = _KEY.unpack(key)[0]
        self.entries += 1
        if number > self.last + 1:
            self._say(self.last + 1, f"missing, with all up to {number - 1}")
        row = _row(key, value)
        if row is None:
            self._say(number, "damaged: its value cannot be read")
        elif row.entry.previous != self.digest and number == self.last + 1:
            before = f"entry {self.last} as it is now" if self.last else "nothing"
            self._say(number, f"does not follow {before}: one of them was altered, or moved")
        self.last, self.digest = number, _digest(key, value)
        if number in self._noted:
            self._compare(self._noted.pop(number))

    def end(self, head: tuple[int, bytes] | None) -> AuditState:
        if head is None and self.entries:
            self._say(self.last, "the note of the newest entry is missing or damaged")
        elif head is not None and head != (self.last, self.digest):
            if head[0] > self.last:
                self._say(self.last + 1, f"missing, with all up to {head[0]}: the end was cut off")
            else:
                self._say(self.last, "is not the newest entry that was written, or not as it was written")
        if self._noted:
            gone = min(self._noted)
            if gone > self.last:
                self._say(
                    gone, f"missing: the trail ends before it, and it was noted{_also(len(self._noted))}"
                )
            else:
                self._say(gone, f"missing, and it was noted{_also(len(self._noted))}")
        return AuditState(self.entries, self.last, self.digest.hex(), self.findings)

    def _compare(self, noted: set[str]) -> None:
        for digest in sorted(noted - {self.digest.hex()}):
            self._say(self.last, f"its hash was {digest}, and is {self.digest.hex()}")

    def _say(self, number: int, what: str) -> None:
        if len(self.findings) < _MOST:
            self.findings.append(Finding(f"audit {number}", what))


def _also(count: int) -> str:
    return f", as were {count - 1} more that are missing" if count > 1 else ""


def newest(tx: lmdb.Transaction[bytes], tables: Tables) -> tuple[int, str]:
    """Number and hash of the newest entry, (0, "") for none: what to note elsewhere."""
    number, digest = _newest(tx, tables)
    return (number, digest.hex()) if number else (0, "")


def _newest(tx: lmdb.Transaction[bytes], tables: Tables) -> tuple[int, bytes]:
    """Number and hash to go on from: the note's, or the last row's where there is no note."""
    with tx.cursor(tables.audit.handle) as cursor:
        there = cursor.last()
        key, value = (bytes(cursor.key()), bytes(cursor.value())) if there else (b"", b"")
    head = _head(tx, tables)
    last = _KEY.unpack(key)[0] if there else 0
    if head is not None and head[0] >= last:
        return head
    return (last, _digest(key, value)) if there else (0, _NOTHING)


def _head(tx: lmdb.Transaction[bytes], tables: Tables) -> tuple[int, bytes] | None:
    value = tx.get(HEAD_NAME, None, tables.meta.handle)
    if value is None:
        return None
    try:
        number, digest = _HEAD.unpack(unseal(HEAD_NAME, value))
    except Damaged:
        return None
    return number, digest


def _row(key: bytes, value: bytes) -> AuditRow | None:
    """None where the value is damaged."""
    try:
        entry = _decode(unseal(key, value))
    except (Damaged, msgspec.DecodeError):
        return None
    return AuditRow(_KEY.unpack(key)[0], entry, _digest(key, value).hex())


def _digest(key: bytes, value: bytes) -> bytes:
    return sha256(key + value).digest()


def _concerns(subject: str, wanted: str) -> bool:
    return wanted == subject or wanted in subject.split(":")
