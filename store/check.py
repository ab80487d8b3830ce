"""`store check`: every record, index and counter against each other, in one snapshot.

Reads only. On a live store the snapshot is one read transaction, so the file may grow while it lasts.
Findings are for people; none means that the store agrees with itself.

Deliberately not here: repairing (quarantine happens when a row is met, salvage makes a new store).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from router.nouns import Message, Phase, Progress
from store.interface import Finding
from store.queues import expiry_key, locate
from store.records import (
    ACCOUNT_KEY,
    COUNTER,
    DUE_KEY,
    HELD_KEY,
    LEASE_HEAD,
    LEASE_ROW,
    MESSAGE_KEY,
    READY_KEY,
    STATE,
    TIMED_KEY,
    decode_message,
    decode_progress,
)
from store.values import Damaged, unseal

if TYPE_CHECKING:
    import lmdb

    from store.layout import Table
    from store.lmdb_store import LmdbStore

_MOST = 200
_QUEUED = (Phase.SCHEDULED, Phase.READY, Phase.DEFERRED, Phase.HELD, Phase.LEASED, Phase.UNKNOWN)


def check(store: LmdbStore) -> list[Finding]:
    """Everything that is wrong, at most 200 findings."""
    with store.reading() as tx:
        return _Check(store, tx).run()


class _Check:
    def __init__(self, store: LmdbStore, tx: lmdb.Transaction[bytes]) -> None:
        self.tables = store.tables
        self.tx = tx
        self.findings: list[Finding] = []
        self.messages: Counter[int] = Counter()
        self.segments: Counter[int] = Counter()
        self.queued: Counter[int] = Counter()

    def run(self) -> list[Finding]:
        for table in self.tables.all:
            if table is not self.tables.quarantine:
                self._values(table)
        self._each_message()
        self._indexes()
        self._counters()
        return self.findings[:_MOST]

    def _say(self, where: str, what: str) -> None:
        if len(self.findings) < _MOST:
            self.findings.append(Finding(where, what))

    def _get(self, table: Table, key: bytes) -> bytes | None:
        value = self.tx.get(key, None, table.handle)
        if value is None:
            return None
        try:
            return unseal(key, value)
        except Damaged:
            return None

    def _has(self, table: Table, key: bytes) -> bool:
        return self.tx.get(key, None, table.handle) is not None

    def _values(self, table: Table) -> None:
        with self.tx.cursor(table.handle) as cursor:
            for key, value in cursor.iternext():
                try:
                    unseal(key, value)
                except Damaged:
                    self._say(f"{table.name} {key.hex()}", "the value does not carry its checksum")

    def _read(self, account: int, id: int) -> tuple[Message, Progress | None] | None:
        key = MESSAGE_KEY.pack(account, id)
        try:
            payload = self._get(self.tables.message, key)
            if payload is None:
                return None
            stored = self._get(self.tables.progress, key)
            return decode_message(payload), None if stored is None else decode_progress(stored)
        except msgspec.DecodeError as error:
            self._say(f"message {id}", f"cannot be read: {error}")
            return None

    def _each_message(self) -> None:
        with self.tx.cursor(self.tables.message.handle) as cursor:
            for key in cursor.iternext(values=False):
                account, id = MESSAGE_KEY.unpack(key)
                found = self._read(account, id)
                if found is not None:
                    self._one_message(*found)

    def _one_message(self, message: Message, progress: Progress | None) -> None:
        phase, _, _ = locate(self._has, self.tables, message, progress)
        self.messages[phase] += 1
        self.segments[phase] += message.segments
        if phase in _QUEUED:
            self.queued[message.account] += 1
        if phase == Phase.FINAL:
            finished = TIMED_KEY.pack(
                (progress.finished_ms if progress else 0) // 1000, message.account, message.id
            )
            if not self._has(self.tables.finished, finished):
                self._say(f"message {message.id}", "is final, but the archiver will not find it")
        elif phase != Phase.LEASED and not self._has(self.tables.expiry, expiry_key(message, progress)):
            self._say(f"message {message.id}", "has no row in the expiry index")

    def _indexes(self) -> None:
        rows: tuple[tuple[Table, Any, int, int], ...] = (
            (self.tables.ready, READY_KEY, 3, 5),
            (self.tables.held, HELD_KEY, 1, 2),
            (self.tables.finished, TIMED_KEY, 1, 2),
        )
        for table, shape, account_at, id_at in rows:
            with self.tx.cursor(table.handle) as cursor:
                for key in cursor.iternext(values=False):
                    fields = shape.unpack(key)
                    if not self._has(
                        self.tables.message, MESSAGE_KEY.pack(fields[account_at], fields[id_at])
                    ):
                        self._say(f"{table.name} {fields[id_at]}", "names a message that is not there")
        with self.tx.cursor(self.tables.due.handle) as cursor:
            for key, value in cursor.iternext():
                account = ACCOUNT_KEY.unpack_from(value, 5)[0]
                id = DUE_KEY.unpack(key)[1]
                if not self._has(self.tables.message, MESSAGE_KEY.pack(account, id)):
                    self._say(f"due {id}", "names a message that is not there")

    def _counters(self) -> None:
        payload = self._get(self.tables.meta, b"state")
        if payload is None:
            self._say("meta state", "is missing")
            return
        numbers = STATE.unpack(payload)
        messages, segments = numbers[2:10], numbers[10:18]
        if numbers[0] != sum(messages) or numbers[1] != sum(segments):
            self._say("conservation", f"accepted {numbers[0]}, but the terms add up to {sum(messages)}")
        for phase in Phase:
            if phase == Phase.FINAL:
                continue  # archived ones are counted and no longer here
            if messages[phase] != self.messages[phase]:
                self._say(
                    f"counter {phase.name}", f"says {messages[phase]}, there are {self.messages[phase]}"
                )
            if segments[phase] != self.segments[phase]:
                self._say(
                    f"counter {phase.name}",
                    f"says {segments[phase]} segments, there are {self.segments[phase]}",
                )
        self._account_counters()
        self._leases(messages[Phase.LEASED])

    def _account_counters(self) -> None:
        with self.tx.cursor(self.tables.counter.handle) as cursor:
            for key, value in cursor.iternext():
                account = ACCOUNT_KEY.unpack(key)[0]
                _, queued = COUNTER.unpack(unseal(key, value))
                if queued != self.queued[account]:
                    self._say(
                        f"account {account}",
                        f"counter says {queued} queued, there are {self.queued[account]}",
                    )

    def _leases(self, leased: int) -> None:
        rows = 0
        with self.tx.cursor(self.tables.lease.handle) as cursor:
            for _, value in cursor.iternext():
                rows += (len(value) - 5 - LEASE_HEAD.size) // LEASE_ROW.size
        if rows < leased:
            self._say("leases", f"{leased} messages are leased, the lease records name only {rows}")
