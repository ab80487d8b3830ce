"""`store check`: every record, index and counter against each other, beside the traffic.

Each table is walked in short read transactions, CHUNK_ROWS rows or CHUNK_S seconds of it and then on behind
the last key, so that a check however long keeps no page from being used again. What is said of a row is
decided in one snapshot together with every row it is compared with: nothing that changes between two chunks
can look wrong.

Only the counters span chunks. When no commit came in between (on a stopped gateway none can), they are
compared with what the walk has counted. Otherwise one last snapshot is asked what its tables tell at once:
how many messages wait in which table, how many are neither waiting nor final, whether the terms and the lanes
add up. A live check cannot decide segments, nor SCHEDULED against DEFERRED, HELD against UNKNOWN, LEASED
against AWAITING_RECEIPT, nor what each account and lane has or has reserved; checking the stopped store
decides them.

Deliberately not here: repairing (quarantine happens when a row is met, salvage makes a new store).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from router.money import Wallet, text
from router.nouns import Phase
from store import finished
from store.batch import QUEUED, STATE_NAME, scan
from store.interface import Finding
from store.lanes import lane_of
from store.lanes import read as read_lanes
from store.queues import expiry_key, locate, unpack_place
from store.records import (
    ACCOUNT_KEY,
    COUNTER,
    DUE_KEY,
    HELD_KEY,
    LEASE_HEAD,
    LEASE_ROW,
    LEDGER_KEY,
    MESSAGE_KEY,
    READY_KEY,
    STATE,
    TIMED_KEY,
    decode_ledger,
    decode_message,
    decode_progress,
    decode_wallet,
    ended_in_row,
)
from store.values import Damaged, unseal
from store.young import rows_of, young_rows

if TYPE_CHECKING:
    import lmdb

    from router.nouns import Message, Progress
    from store.layout import Table
    from store.lmdb_store import LmdbStore

CHUNK_ROWS = 5_000
CHUNK_S = 0.05
_MOST = 200
_SECONDS_AT_HAND = 16  # of what ended in them; messages of one time mostly end at one time
_Row = Callable[["_Snapshot", bytes, bytes], None]
_IN_TABLES = (  # phases whose messages, and only theirs, have a row in the table
    ("ready", (Phase.READY,)),
    ("due", (Phase.SCHEDULED, Phase.DEFERRED)),
    ("held", (Phase.HELD, Phase.UNKNOWN)),
)
_NOWHERE = (Phase.LEASED, Phase.AWAITING_RECEIPT)


def check(store: LmdbStore) -> list[Finding]:
    """Everything that is wrong, at most 200 findings. May run in a thread of its own. Errors: StoreError."""
    return _Check(store).run()


class _Snapshot:
    """Reads of one transaction."""

    def __init__(self, store: LmdbStore, tx: lmdb.Transaction[bytes]) -> None:
        self.tx = tx
        self._tables = store.tables
        self._ended: dict[int, set[bytes]] = {}  # by second
        self._young: set[bytes] | None = None

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The payload; a damaged one reads as absent, because walking its own table reports it."""
        value = self.tx.get(key, None, table.handle)
        if value is None:
            return None
        try:
            return unseal(key, value)
        except Damaged:
            return None

    def has(self, table: Table, key: bytes) -> bool:
        return self.tx.get(key, None, table.handle) is not None

    def has_message(self, account: int, id: int) -> bool:
        return self.has(self._tables.message, MESSAGE_KEY.pack(account, id))

    def ended_in(self, second: int) -> set[bytes]:
        """MESSAGE_KEYs of what ended in it."""
        known = self._ended.get(second)
        if known is None:
            if len(self._ended) >= _SECONDS_AT_HAND:
                self._ended.clear()
            known = self._ended[second] = set(finished.of_second(self.tx, self._tables, second))
        return known

    def expires(self, row: bytes) -> bool:
        """Whether there is this row in `expiry`, or in a chunk of young messages."""
        if self.has(self._tables.expiry, row):
            return True
        if self._young is None:
            self._young = young_rows(self.tx, self._tables)
        return row in self._young

    def entries(self, table: Table) -> int:
        return int(self.tx.stat(table.handle)["entries"])


class _Check:
    def __init__(self, store: LmdbStore) -> None:
        self.store = store
        self.tables = store.tables
        self.findings: list[Finding] = []
        self.messages: Counter[int] = Counter()
        self.segments: Counter[int] = Counter()
        self.queued: Counter[int] = Counter()
        self.lanes: Counter[tuple[int, int]] = Counter()  # (lane, phase)
        self.reserved: Counter[int] = Counter()  # by account
        self.credited: Counter[int] = Counter()
        self.commits: set[int] = set()  # the last commit of each snapshot seen

    def run(self) -> list[Finding]:
        looks: dict[str, _Row] = {
            "message": self._message,
            "ready": self._ready,
            "due": self._due,
            "held": self._held,
            "finished": self._finished,
            "ledger": self._ledger,
            "wallet": self._wallet,
            "young": self._young,
        }
        for table in self.tables.all:
            if table is not self.tables.quarantine:  # its values are as they were found
                self._walk(table, looks.get(table.name))
        with self.store.reading() as tx:
            self.commits.add(tx.id())
            self._counters(_Snapshot(self.store, tx))
        self.findings += self.store.audit_verify().findings[: _MOST - len(self.findings)]
        return self.findings

    def _walk(self, table: Table, look: _Row | None) -> None:
        """As far as the table reaches now: what is added behind its end meanwhile is not chased."""
        with self.store.reading() as tx, tx.cursor(table.handle) as cursor:
            self.commits.add(tx.id())
            end = cursor.key() if cursor.last() else b""
        after: bytes | None = b""
        while after is not None:
            after = self._chunk(table, look, after, end)

    def _chunk(self, table: Table, look: _Row | None, after: bytes, end: bytes) -> bytes | None:
        """Look at the rows behind `after`, up to `end`. Returns where to go on, None when all were seen."""
        until = time.monotonic() + CHUNK_S
        with self.store.reading() as tx, tx.cursor(table.handle) as cursor:
            self.commits.add(tx.id())
            snapshot = _Snapshot(self.store, tx)
            for number, (key, value) in enumerate(scan(cursor, after)):
                if key > end:
                    break
                if key == after:
                    continue
                try:
                    payload = unseal(key, value)
                except Damaged:
                    self._say(f"{table.name} {key.hex()}", "the value does not carry its checksum")
                else:
                    if look is not None:
                        look(snapshot, key, payload)
                if number >= CHUNK_ROWS or time.monotonic() > until:
                    return key
        return None

    def _say(self, where: str, what: str) -> None:
        if len(self.findings) < _MOST:
            self.findings.append(Finding(where, what))

    # one row

    def _message(self, snapshot: _Snapshot, key: bytes, payload: bytes) -> None:
        id = MESSAGE_KEY.unpack(key)[1]
        try:
            message = decode_message(payload)
            stored = snapshot.get(self.tables.progress, key)
            progress = None if stored is None else decode_progress(stored)
        except msgspec.DecodeError as error:
            self._say(f"message {id}", f"cannot be read: {error}")
            return
        phase, _, _ = locate(snapshot.has, self.tables, message, progress)
        self.messages[phase] += 1
        self.segments[phase] += message.segments
        if message.bill is not None and phase != Phase.FINAL:
            self.reserved[message.account] += message.bill.price * message.segments
        if phase in QUEUED:
            self.queued[message.account] += 1
            self.lanes[lane_of(message, progress), phase] += 1
        self._indexed(snapshot, message, progress, phase)

    def _indexed(self, snapshot: _Snapshot, message: Message, progress: Progress | None, phase: int) -> None:
        if phase == Phase.FINAL:
            finished_ms = progress.finished_ms if progress is not None else 0
            if MESSAGE_KEY.pack(message.account, message.id) not in snapshot.ended_in(finished_ms // 1000):
                self._say(f"message {message.id}", "is final, but the archiver will not find it")
        elif phase != Phase.LEASED and not snapshot.expires(expiry_key(message, progress)):
            self._say(f"message {message.id}", "has no row in the expiry index")

    def _ready(self, snapshot: _Snapshot, key: bytes, _: bytes) -> None:
        _, _, _, account, _, id = READY_KEY.unpack(key)
        self._names(snapshot, "ready", account, id)

    def _due(self, snapshot: _Snapshot, key: bytes, payload: bytes) -> None:
        entry, _ = unpack_place(DUE_KEY.unpack(key)[1], payload)
        self._names(snapshot, "due", entry.account, entry.id)

    def _held(self, snapshot: _Snapshot, key: bytes, _: bytes) -> None:
        _, account, id = HELD_KEY.unpack(key)
        self._names(snapshot, "held", account, id)

    def _finished(self, snapshot: _Snapshot, key: bytes, payload: bytes) -> None:
        for one in ended_in_row(key, payload):
            account, id = MESSAGE_KEY.unpack(one)
            self._names(snapshot, "finished", account, id)
            stored = snapshot.get(self.tables.progress, one)
            if stored is not None and _goes_on(stored):
                self._say(f"finished {id}", "names a message that has not ended")

    def _young(self, snapshot: _Snapshot, _: bytes, payload: bytes) -> None:
        """Those that have left a chunk may have ended, and be archived, before the others."""
        for row in rows_of(payload):
            _, account, id = TIMED_KEY.unpack(row)
            aside = bytes((self.tables.message.index,)) + MESSAGE_KEY.pack(account, id)
            if (
                not snapshot.has_message(account, id)
                and not snapshot.has(self.tables.quarantine, aside)
                and self.store.archive.find(id, account) is None
            ):
                self._say(f"young {id}", "names a message that is not there")

    def _ledger(self, _: _Snapshot, key: bytes, payload: bytes) -> None:
        self.credited[LEDGER_KEY.unpack(key)[0]] += decode_ledger(payload).amount

    def _wallet(self, _: _Snapshot, key: bytes, payload: bytes) -> None:
        account, wallet = ACCOUNT_KEY.unpack(key)[0], decode_wallet(payload)
        left = wallet.credited - wallet.charged - wallet.reserved
        if left != wallet.balance:
            self._say(
                f"account {account}",
                f"its balance is {text(wallet.balance)}, but credited - charged - reserved is {text(left)}",
            )

    def _names(self, snapshot: _Snapshot, table: str, account: int, id: int) -> None:
        if not snapshot.has_message(account, id):
            self._say(f"{table} {id}", "names a message that is not there")

    # counters

    def _counters(self, snapshot: _Snapshot) -> None:
        state = snapshot.get(self.tables.meta, STATE_NAME)
        if state is None:
            self._say("meta state", "is missing")
            return
        numbers = STATE.unpack(state)
        messages, segments = numbers[2:10], numbers[10:18]
        if numbers[0] != sum(messages) or numbers[1] != sum(segments):
            self._say("conservation", f"accepted {numbers[0]}, but the terms add up to {sum(messages)}")
        if len(self.commits) == 1:
            self._exactly(snapshot, messages, segments)
        else:
            self._roughly(snapshot, messages)
        self._leases(snapshot, messages[Phase.LEASED])

    def _exactly(self, snapshot: _Snapshot, messages: tuple[int, ...], segments: tuple[int, ...]) -> None:
        """The walk and this snapshot have seen the same commit."""
        for phase in Phase:
            if phase == Phase.FINAL:
                continue  # archived ones are counted and no longer here
            self._compare(phase.name, messages[phase], self.messages[phase])
            self._compare(phase.name, segments[phase], self.segments[phase], " segments")
        self._lanes(snapshot)
        self._money(snapshot)
        with snapshot.tx.cursor(self.tables.counter.handle) as cursor:
            for key, value in cursor.iternext():
                account = ACCOUNT_KEY.unpack(key)[0]
                try:
                    queued = COUNTER.unpack(unseal(key, value))[1]
                except Damaged:
                    continue  # the walk has said so
                if queued != self.queued[account]:
                    self._say(
                        f"account {account}",
                        f"counter says {queued} queued, there are {self.queued[account]}",
                    )

    def _money(self, snapshot: _Snapshot) -> None:
        wallets: dict[int, Wallet] = {}
        with snapshot.tx.cursor(self.tables.wallet.handle) as cursor:
            for key, value in cursor.iternext():
                try:
                    wallets[ACCOUNT_KEY.unpack(key)[0]] = decode_wallet(unseal(key, value))
                except Damaged:
                    continue  # the walk has said so
        for account in sorted({*wallets, *self.reserved, *self.credited}):
            wallet = wallets.get(account, Wallet())
            for what, says, there in (
                ("reserved", wallet.reserved, self.reserved[account]),
                ("credited", wallet.credited, self.credited[account]),
            ):
                if says != there:
                    self._say(
                        f"account {account}", f"its wallet says {text(says)} {what}, there is {text(there)}"
                    )

    def _lanes(self, snapshot: _Snapshot) -> None:
        rows = read_lanes(snapshot.tx, self.tables)
        for lane in sorted({*rows, *(lane for lane, _ in self.lanes)}):
            counts = rows.get(lane, [0] * len(Phase))
            for phase in QUEUED:
                self._compare(f"{Phase(phase).name} of lane {lane}", counts[phase], self.lanes[lane, phase])

    def _roughly(self, snapshot: _Snapshot, messages: tuple[int, ...]) -> None:
        """What the tables of one snapshot tell by how many rows they have."""
        elsewhere = snapshot.entries(self.tables.message) - finished.count(snapshot.tx, self.tables)
        for name, phases in _IN_TABLES:
            there = snapshot.entries(getattr(self.tables, name))
            self._compare(_either(phases), sum(messages[phase] for phase in phases), there)
            elsewhere -= there
        self._compare(_either(_NOWHERE), sum(messages[phase] for phase in _NOWHERE), elsewhere)
        lanes = read_lanes(snapshot.tx, self.tables).values()
        for phase in sorted(QUEUED):
            of_lanes = sum(counts[phase] for counts in lanes)
            self._compare(f"{Phase(phase).name} of all lanes", of_lanes, messages[phase])

    def _compare(self, name: str, says: int, there: int, unit: str = "") -> None:
        if says != there:
            self._say(f"counter {name}", f"says {says}{unit}, there are {there}")

    def _leases(self, snapshot: _Snapshot, leased: int) -> None:
        rows = 0
        with snapshot.tx.cursor(self.tables.lease.handle) as cursor:
            for key, value in cursor.iternext():
                try:
                    rows += (len(unseal(key, value)) - LEASE_HEAD.size) // LEASE_ROW.size
                except Damaged:
                    continue
        if rows < leased:
            self._say("leases", f"{leased} messages are leased, the lease records name only {rows}")


def _goes_on(progress: bytes) -> bool:
    """Whether its message has not ended; one that cannot be read is told of elsewhere."""
    with suppress(msgspec.DecodeError):
        return decode_progress(progress).phase != Phase.FINAL
    return False


def _either(phases: tuple[Phase, ...]) -> str:
    return " + ".join(phase.name for phase in phases)
