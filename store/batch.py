"""One write transaction under way: the rows go to LMDB at once, everything in memory waits for the commit.

The verbs (accept.py, claim.py, settle.py…) are functions over a Batch. `finish` writes what is owed once per
commit (counters, names, the last id) and closes the cursors; `apply` makes memory agree, after the commit.

Invariant: a Batch that is dropped leaves memory as it was, but for the active set, which the store rebuilds,
and what is at hand of messages that wait or await receipts, which is emptied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING

import msgspec
from isal.isal_zlib import crc32

from router.money import Wallet
from router.nouns import Account, Leased, Message, Outcome, Phase, Progress
from store import lanes
from store.interface import FreshRow, Totals
from store.memory import Lease, Memory, pack_state
from store.records import (
    ACCOUNT_KEY,
    COUNTER,
    DUE_KEY,
    ENTRY,
    FRESH_LEASE_ROW,
    LEASE_HEAD,
    LEASE_KEY,
    LEASE_ROW,
    LOST,
    MESSAGE_KEY,
    NO_ACCOUNT,
    POSSIBLE_DUPLICATE,
    RECIPIENT_KEY,
    TIME_KEY,
    TIMED_KEY,
    alias_name,
    decode_message,
    decode_progress,
    encode,
    recipients,
)
from store.values import VALUE_VERSION, Damaged, pack_head, seal, unseal
from store.writer import Tap, Writer
from store.young import Changes

if TYPE_CHECKING:
    from collections.abc import Callable

    import lmdb

    from store.archive import Archive
    from store.ids import IdSource
    from store.layout import Table, Tables
    from store.names import Names
    from store.options import StoreOptions
    from store.tallies import EndedAtOnce

QUEUED = frozenset(
    {Phase.SCHEDULED, Phase.READY, Phase.DEFERRED, Phase.HELD, Phase.LEASED, Phase.UNKNOWN}
)  # accepted, and no carrier has it for certain
LEASE_CHUNK = 200  # messages in one lease record
FINISHED_CHUNK = 100  # messages in one row of `finished`: three rows a page
RECENT_MOST = 16_384  # messages; about 16 MiB
STATE_NAME = b"state"
EPOCH_NAME = b"epoch"
SEALED_NAME = b"sealed"


class Core:
    """What all transactions of one open store share."""

    __slots__ = ("archive", "ids", "memory", "names", "options", "tables", "taps")

    def __init__(
        self,
        tables: Tables,
        memory: Memory,
        names: Names,
        ids: IdSource,
        options: StoreOptions,
        archive: Archive,
    ) -> None:
        self.tables = tables
        self.memory = memory
        self.names = names
        self.ids = ids
        self.options = options
        self.archive = archive
        self.taps: list[Tap] = []

    def tap(self, table: int, key: bytes, value: bytes | None) -> None:
        for tap in self.taps:
            tap(table, key, value)

    def told(self, committed: bool) -> None:
        """The transaction the taps have been listening to has ended."""
        for tap in self.taps:
            tap.ended(committed)


class Batch:
    """The context every verb works in."""

    def __init__(self, core: Core, tx: lmdb.Transaction[bytes]) -> None:
        self.core = core
        self.tables = core.tables
        self._progress = core.tables.progress
        self._message = core.tables.message
        self.memory = core.memory
        self.options = core.options
        self.tx = tx
        self._writer = writer = Writer(tx, core.tap if core.taps else None)
        self.putter, self.deleter, self.delete_all = writer.putter, writer.deleter, writer.delete_all
        self._getters: dict[int, Callable[[bytes], bytes | None]] = {}
        self.finished = False
        self.worked = False  # something was done, and not only looked for
        self.messages = [0] * 8
        self.segments = [0] * 8
        self.accepted = 0
        self.accepted_segments = 0
        self.accounts: dict[int, list[int]] = {}  # account → [accepted, queued] deltas
        self.wallets: dict[int, Wallet] = {}  # as they will be
        self.lanes: lanes.Lanes = {}  # deltas
        self.moves: dict[tuple[int, int, int, int, int], int] = {}  # how often, as `move` says it
        self.taken: dict[
            tuple[int, int], list[Leased]
        ] = {}  # (carrier, when in ms) → claimed, without a lease
        self.new_leases: dict[int, Lease] = {}
        self.settled: dict[int, set[int]] = {}  # lease → ids
        self.fresh: dict[bytes, list[Message]] = {}  # accepted, ready, without a row; by their rows' prefix
        self.rowless: set[bytes] = set()  # of these prefixes, those without any row
        self.young = Changes(core.memory.young)
        self.part_outcomes: dict[tuple[int, int], list[Outcome]] = {}
        self.parked: dict[int, int] = {}
        self.unknown: dict[int, int] = {}
        self.unknown_of: dict[int, int] = {}  # the same by carrier
        self.accounts_put: dict[int, Account] = {}
        self.sent: list[Message] = []  # by this commit, each as often as a part of it was
        self.told: dict[int, list[FreshRow]] = {}  # to accounts' own sessions, by endpoint
        self.aliases: dict[int, int] = {}  # account → the last 32-bit id given out
        self.names_taken: list[tuple[bytes, bytes]] = []
        self.outbox_seq = core.memory.outbox_seq
        self.recipient_seq = core.memory.recipient_seq
        self.quarantined = 0
        self.ended: list[tuple[Message, Progress, int]] = []  # and when, in ms
        self.ended_at_once: list[EndedAtOnce] = []  # the others
        self.ends: dict[int, list[bytes]] = {}  # second → MESSAGE_KEYs of what has ended in it
        self.unmatched: list[tuple[int, str]] = []  # (carrier, reason)
        self.claimed_parked: list[int] = []  # carriers of final receipts that came before their id
        self.passed_on: list[tuple[Message, int, str]] = []  # (message, carrier, cause of its failure)
        self.sealed_ms = 0
        self._state = b""

    # rows

    def getter(self, table: Table) -> Callable[[bytes], bytes | None]:
        get = self._getters.get(table.index)
        if get is None:
            get = self._getters[table.index] = partial(self.tx.get, db=table.handle)
        return get

    def reader(self, table: Table) -> lmdb.Cursor[bytes]:
        return self._writer.reader(table)

    def put(self, table: Table, key: bytes, payload: bytes) -> None:
        if table is self._message:
            self.memory.recent.pop(key, None)
        self.putter(table)(key, seal(key, payload))

    def delete(self, table: Table, key: bytes) -> bool:
        if table is self._progress:
            self.memory.awaiting.forget(key)
        elif table is self._message:
            self.memory.recent.pop(key, None)
        return self.deleter(table)(key)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """A row's payload; a damaged row is quarantined and reads as absent."""
        value = self.tx.get(key, None, table.handle)
        if value is None:
            return None
        try:
            return unseal(key, value)
        except Damaged:
            self.quarantine(table, key, value)
            return None

    def has(self, table: Table, key: bytes) -> bool:
        return self.tx.get(key, None, table.handle) is not None

    def scan(self, table: Table, start: bytes, limit: int, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Up to `limit` (key, payload) from `start` on, under `prefix`; damaged rows are quarantined."""
        rows: list[tuple[bytes, bytes]] = []
        bad: list[tuple[bytes, bytes]] = []
        with self.tx.cursor(table.handle) as cursor:
            for key, value in scan(cursor, start, prefix):
                try:
                    rows.append((key, unseal(key, value)))
                except Damaged:
                    bad.append((key, value))
                if len(rows) >= limit:
                    break
        for key, value in bad:
            self.quarantine(table, key, value)
        return rows

    def delete_range(self, table: Table, start: bytes, end: bytes, limit: int) -> int:
        """Delete up to `limit` rows from `start` to below `end`; returns how many."""
        with self.tx.cursor(table.handle) as cursor:
            rows = takewhile(lambda row: row[0] < end, scan(cursor, start))
            keys = [key for key, _ in islice(rows, limit)]
        for key in keys:
            self.delete(table, key)
        return len(keys)

    def quarantine(self, table: Table, key: bytes, value: bytes) -> None:
        """Set a damaged row aside, where it can be looked at, and go on."""
        self.putter(self.tables.quarantine)(bytes((table.index,)) + key, value)
        self.deleter(table)(key)
        self.quarantined += 1

    # the two records of a message

    def message(self, account: int, id: int) -> Message | None:
        payload = self.get(self.tables.message, MESSAGE_KEY.pack(account, id))
        return None if payload is None else decode_message(payload)

    def progress(self, key: bytes) -> Progress | None:
        payload = self.get(self.tables.progress, key)
        return None if payload is None else decode_progress(payload)

    def put_progress(self, key: bytes, progress: Progress) -> None:
        self.memory.awaiting.forget(key)
        payload = encode(progress)
        self.putter(self._progress)(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)

    # messages that are ready, but have no row yet

    def ready_soon(self, prefix: bytes) -> list[Message]:
        """Where a message goes that has just been accepted: leased from there by this transaction, or given
        its row at the end of it."""
        active = self.memory.active
        if prefix not in active.groups and active.add(prefix):
            self.rowless.add(prefix)
        return self.fresh.setdefault(prefix, [])

    def store_fresh(self) -> None:
        """Rows for those that nobody has leased; some stay at hand for whoever leases them soon."""
        recent = self.memory.recent
        room = RECENT_MOST - len(recent)
        put, due = self.putter(self.tables.ready), DUE_KEY.pack
        expires_ms = segments = -1  # of the message before
        entry = b""
        for prefix, messages in self.fresh.items():
            whose = prefix[-ACCOUNT_KEY.size :]
            for message in messages:
                if message.expires_ms != expires_ms or message.segments != segments:
                    expires_ms, segments = message.expires_ms, message.segments
                    entry = ENTRY.pack(segments, 0, 0, expires_ms, 0)
                key = prefix + due(message.accepted_ms, message.id)
                put(key, pack_head(VALUE_VERSION, crc32(key + entry)) + entry)
                if room > 0:
                    room -= 1
                    recent[whose + key[-TIME_KEY.size :]] = message
        self.fresh.clear()
        self.rowless.clear()

    def store_leases(self) -> None:
        """One record for each chunk of what one carrier has claimed."""
        memory = self.memory
        pack_fresh = FRESH_LEASE_ROW.pack
        for (carrier, now_ms), taken in self.taken.items():
            for start in range(0, len(taken), LEASE_CHUNK):
                chunk = taken[start : start + LEASE_CHUNK]
                lease = memory.next_lease()
                rows = [LEASE_HEAD.pack(memory.epoch, carrier, now_ms)]
                left: dict[int, Leased] = {}
                for leased in chunk:
                    message = leased.message
                    leased.lease = lease
                    left[message.id] = leased
                    if leased.fresh:
                        rows.append(pack_fresh(message.account, message.id, message.segments))
                        continue
                    rows.append(
                        LEASE_ROW.pack(
                            message.account,
                            message.id,
                            message.segments,
                            leased.tried,
                            leased.attempts,
                            POSSIBLE_DUPLICATE | leased.lost << LOST if leased.possible_duplicate else 0,
                            leased.first_part,
                        )
                    )
                self.put(self.tables.lease, LEASE_KEY.pack(lease), b"".join(rows))
                self.new_leases[lease] = Lease(carrier, left)
        self.taken.clear()

    def ends_at(self, ms: int) -> list[bytes]:
        """MESSAGE_KEYs of what has ended in this time's second, to be added to."""
        return self.ends.setdefault(ms // 1000, [])

    def store_ends(self) -> None:
        """One row for each chunk of what has ended in one second."""
        table = self.tables.finished
        for second, ended in self.ends.items():
            for start in range(0, len(ended), FINISHED_CHUNK):
                chunk = ended[start : start + FINISHED_CHUNK]
                key = TIMED_KEY.pack(second, NO_ACCOUNT, MESSAGE_KEY.unpack(chunk[0])[1])
                known = self.get(table, key) or b""  # what ended twice, by damage, must hide nothing
                self.put(table, key, known + b"".join(chunk))

    # counters

    def move(self, account: int, lane: int, segments: int, before: int, after: int) -> None:
        """One message of a lane goes from one phase to another; most of a commit make one of a few moves."""
        made = (account, lane, segments, before, after)
        self.moves[made] = self.moves.get(made, 0) + 1

    def move_many(self, account: int, lane: int, segments: int, before: int, after: int, count: int) -> None:
        """The same for many that are alike, counted at once."""
        self.move_in_lane(lane, segments, before, after, count)
        self.move_of_account(account, before, after, count)

    def move_in_lane(self, lane: int, segments: int, before: int, after: int, count: int) -> None:
        """All that `move_many` counts, but for the account's part."""
        if before == after or not count:
            return
        waiting = self.lane_delta(lane)
        waiting[before] -= count
        waiting[after] += count
        self.messages[before] -= count
        self.messages[after] += count
        self.segments[before] -= segments * count
        self.segments[after] += segments * count

    def move_of_account(self, account: int, before: int, after: int, count: int) -> None:
        """The account's part."""
        queued = (after in QUEUED) - (before in QUEUED)
        if queued:
            self.account_delta(account)[1] += queued * count

    def enter(self, lane: int, segments: int, phase: int, count: int = 1) -> None:
        """Accepted messages of a lane begin in a phase."""
        self.lane_delta(lane)[phase] += count
        self.messages[phase] += count
        self.segments[phase] += segments * count

    def change_lane(self, old: int, new: int, phase: int) -> None:
        """One message is of another lane from now on; its phase is as it was."""
        self.lane_delta(old)[phase] -= 1
        self.lane_delta(new)[phase] += 1

    def lane_delta(self, lane: int) -> list[int]:
        delta = self.lanes.get(lane)
        if delta is None:
            delta = self.lanes[lane] = lanes.none_yet()
        return delta

    def account_delta(self, account: int) -> list[int]:
        delta = self.accounts.get(account)
        if delta is None:
            delta = self.accounts[account] = [0, 0]
        return delta

    def wallet(self, account: int) -> Wallet:
        """To be changed; memory has it after the commit."""
        wallet = self.wallets.get(account)
        if wallet is None:
            known = self.memory.wallets.get(account)
            wallet = Wallet() if known is None else msgspec.structs.replace(known)
            self.wallets[account] = wallet
        return wallet

    # leases

    def lease_of(self, lease: int) -> Lease | None:
        return self.memory.leases.get(lease) or self.new_leases.get(lease)

    def mark_settled(self, lease: int, id: int) -> None:
        """This message of the lease is settled."""
        self.settled.setdefault(lease, set()).add(id)

    def _drop_settled(self) -> None:
        """The record of a lease goes with the last of its messages."""
        for id, settled in self.settled.items():
            lease = self.lease_of(id)
            if lease is not None and len(settled) >= len(lease.left):
                self.delete(self.tables.lease, LEASE_KEY.pack(id))

    # the end

    def finish(self) -> None:
        """Write what is owed once per commit, close the cursors. Idempotent."""
        if self.finished:
            return
        self.store_fresh()
        self.store_leases()
        self._drop_settled()
        self.store_ends()
        self.young.store(self)
        for move, count in self.moves.items():
            self.move_many(*move, count)
        memory = self.memory
        self.names_taken = self.core.names.take_pending()
        for key, payload in self.names_taken:
            self.put(self.tables.name, key, payload)
        if self.sent:
            self.recipient_seq += 1
            self.put(self.tables.recipient, RECIPIENT_KEY.pack(0, self.recipient_seq), recipients(self.sent))
        for account, (accepted, queued) in self.accounts.items():
            if accepted or queued:
                old = memory.counts.get(account, (0, 0))
                counter = COUNTER.pack(old[0] + accepted, max(0, old[1] + queued))
                self.put(self.tables.counter, ACCOUNT_KEY.pack(account), counter)
        for account, wallet in self.wallets.items():
            self.put(self.tables.wallet, ACCOUNT_KEY.pack(account), encode(wallet))
        for account, last in self.aliases.items():
            self.put(self.tables.meta, alias_name(account), last.to_bytes(4, "big"))
        for lane, changes in self.lanes.items():
            counts = lanes.added(memory.lanes.get(lane), changes)
            self.put(self.tables.meta, lanes.row_name(lane), lanes.pack(counts))
        self.put(self.tables.meta, STATE_NAME, self._next_state())
        self._writer.close()
        self._getters.clear()
        self.finished = True

    def drop(self) -> None:
        """The transaction will not be committed."""
        self.core.told(False)
        self.young.drop()
        if self.worked:
            self.memory.awaiting.clear()
            self.memory.recent.clear()
        self._writer.close()
        self._getters.clear()
        self.core.names.put_back(self.names_taken)
        self.names_taken = []

    def apply(self) -> None:
        """The commit succeeded: make memory agree with it."""
        self.core.told(True)
        memory = self.memory
        memory.load_state(self._state)
        memory.quarantined += self.quarantined
        for account, (accepted, queued) in self.accounts.items():
            old = memory.counts.get(account, (0, 0))
            memory.counts[account] = (old[0] + accepted, max(0, old[1] + queued))
        memory.wallets.update(self.wallets)
        memory.sealed_ms = max(memory.sealed_ms, self.sealed_ms)
        for lane, changes in self.lanes.items():
            memory.lanes[lane] = lanes.added(memory.lanes.get(lane), changes)
        for (lease_id, id), outcomes in self.part_outcomes.items():
            if lease_id in memory.leases:
                memory.leases[lease_id].outcomes.setdefault(id, []).extend(outcomes)
        self.young.apply()
        memory.leases.update(self.new_leases)
        for lease_id, ids in self.settled.items():
            lease = memory.leases.get(lease_id)
            if lease is None:
                continue
            if ids.issuperset(lease.left):
                del memory.leases[lease_id]
                continue
            for id in ids:
                lease.left.pop(id, None)
                lease.outcomes.pop(id, None)
        _add(memory.parked, self.parked)
        _add(memory.unknown, self.unknown)
        _add(memory.unknown_of, self.unknown_of)
        tallies = memory.tallies
        tallies.add_ended(self.ended, self.ended_at_once)
        tallies.add_damaged(self.messages[Phase.FINAL] - len(self.ended) - len(self.ended_at_once))
        tallies.add_unmatched(self.unmatched)
        tallies.add_claimed(self.claimed_parked)
        tallies.add_passed_on(self.passed_on)
        for known in self.accounts_put.values():
            memory.know_account(known)
        if memory.fresh_events is not None:
            for endpoint, rows in self.told.items():
                memory.fresh_events.setdefault(endpoint, []).extend(rows)

    def _next_state(self) -> bytes:
        old = self.memory.totals
        totals = Totals(
            old.accepted + self.accepted,
            old.accepted_segments + self.accepted_segments,
            [a + b for a, b in zip(old.messages, self.messages, strict=True)],
            [a + b for a, b in zip(old.segments, self.segments, strict=True)],
        )
        last_id = max(self.memory.last_id, self.core.ids.last)
        self._state = pack_state(totals, last_id, self.outbox_seq, self.recipient_seq)
        return self._state


def _add(counts: dict[int, int], deltas: dict[int, int]) -> None:
    for group, delta in deltas.items():
        left = counts.get(group, 0) + delta
        if left > 0:
            counts[group] = left
        else:
            counts.pop(group, None)


def scan(cursor: lmdb.Cursor[bytes], start: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """Raw rows from `start` on while they carry `prefix`."""
    if not cursor.set_range(start or prefix):
        return
    rows: Iterable[tuple[bytes, bytes]] = cursor.iternext()
    for key, value in rows:
        if prefix and not key.startswith(prefix):
            return
        yield key, value
