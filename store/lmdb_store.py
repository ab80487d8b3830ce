"""The LMDB store: opening, transactions, recovery, reads of the last commit.

Invariants: one process, one write transaction at a time; memory follows a commit only after it returned; no
read transaction outlives its call. `begin`, `commit` and `abort` may run in another thread than the verbs,
never at the same time as one.

Deliberately not here: what verbs do (accept, claim, settle, receipts, timed, inbound, outbox, archive).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import lmdb

from router.nouns import (
    Account,
    InboundMessage,
    LaneSpec,
    Message,
    MessageState,
    Outcome,
    Phase,
    Progress,
    ReceiptIn,
    Settle,
)
from store import accept as accepting
from store import archive as archiving
from store import claim as claiming
from store import inbound as inbounding
from store import outbox as outgoing
from store import parked, recipients, timed
from store import receipts as receiving
from store import settle as settling
from store.batch import Batch, Core
from store.ids import IdSource
from store.interface import (
    Claim,
    ClaimResult,
    Endpoint,
    MoPart,
    OutboxRow,
    ReceiptResult,
    Released,
    StoreDamaged,
    StoreError,
    StoreFormat,
    StoreFull,
    Totals,
)
from store.layout import (
    SALVAGE_HINT,
    Lock,
    Tables,
    free_disk,
    open_environment,
    prepare_directory,
    sync_names,
    translated,
)
from store.memory import Lease, LeaseEntry, Memory
from store.names import Names
from store.options import StoreOptions
from store.queues import locate
from store.records import (
    ACCOUNT_KEY,
    DUE_KEY,
    LEASE_HEAD,
    LEASE_KEY,
    LEASE_ROW,
    MESSAGE_KEY,
    OUTBOX_DUE_KEY,
    OUTBOX_KEY,
    READY_KEY,
    READY_PREFIX,
    decode_account,
    decode_event,
    decode_inbound,
    decode_message,
    decode_parked,
    decode_progress,
    encode,
)
from store.values import Damaged, seal, unseal

F = TypeVar("F", bound=Callable[..., Any])

FORMAT = 1
_FORMAT_NAME = b"format"
_EPOCH_NAME = b"epoch"
_STATE_NAME = b"state"
_RECOVER_PORTION = 200
_MIDDLE = READY_KEY.size


def _verb(function: F) -> F:
    """A verb whose lmdb errors are the store's: map full, disk full, damaged."""

    @wraps(function)
    def verb(self: LmdbTransaction, *args: object) -> object:
        try:
            return function(self, *args)
        except lmdb.Error as error:
            raise translated(error, self.path) from error

    return cast("F", verb)


class LmdbTransaction:
    """store.interface.Transaction over one LMDB write transaction."""

    def __init__(self, batch: Batch, path: Path) -> None:
        self.batch = batch
        self.path = path

    @_verb
    def outbox_done(self, rows: Sequence[OutboxRow]) -> None:
        outgoing.outbox_done(self.batch, rows)

    @_verb
    def outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None:
        outgoing.outbox_retry(self.batch, rows, due_ms)

    @_verb
    def settle(self, outcomes: Sequence[Outcome], now_ms: int) -> None:
        settling.settle(self.batch, outcomes, now_ms)

    @_verb
    def receipts(self, receipts: Sequence[ReceiptIn], now_ms: int) -> list[ReceiptResult]:
        return receiving.receipts(self.batch, receipts, now_ms)

    @_verb
    def inbound(self, messages: Sequence[InboundMessage], now_ms: int) -> None:
        inbounding.inbound(self.batch, messages)

    @_verb
    def inbound_parts(self, parts: Sequence[MoPart], now_ms: int) -> list[list[MoPart] | None]:
        return inbounding.inbound_parts(self.batch, parts)

    @_verb
    def accept(self, messages: Sequence[Message]) -> None:
        accepting.accept(self.batch, messages)

    @_verb
    def claim(self, claims: Sequence[Claim]) -> list[ClaimResult]:
        return claiming.claim(self.batch, claims)

    @_verb
    def move_due(self, now_ms: int, limit: int) -> int:
        return timed.move_due(self.batch, now_ms, limit)

    @_verb
    def expire(self, now_ms: int, limit: int, grace_ms: int) -> int:
        return timed.expire(self.batch, now_ms, limit, grace_ms)

    @_verb
    def release_held(
        self, reason: int, limit: int, after: tuple[int, int] = (0, 0), carrier: int = 0
    ) -> Released:
        return timed.release_held(self.batch, reason, limit, after, carrier)

    @_verb
    def cancel(self, account: int, id: int, now_ms: int) -> str:
        return timed.cancel(self.batch, account, id, now_ms)

    @_verb
    def take_stale_parts(self, before_ms: int, limit: int) -> list[list[MoPart]]:
        return inbounding.take_stale_parts(self.batch, before_ms, limit)

    @_verb
    def housekeep(self, now_ms: int, limit: int) -> int:
        """Receipts that nobody claimed go to the unmatched list; recipient records are merged."""
        moved = parked.give_up(self.batch, now_ms, limit)
        recipients.merge(self.batch)
        return moved

    @_verb
    def forget(self, rows: Sequence[archiving.Finished]) -> int:
        """The third step of an archive batch."""
        return archiving.forget(self.batch, rows)

    @_verb
    def put_account(self, account: Account) -> None:
        self.batch.put(self.batch.tables.account, ACCOUNT_KEY.pack(account.id), encode(account))
        self.batch.accounts_put[account.id] = account

    @_verb
    def put_meta(self, name: str, value: bytes) -> None:
        self.batch.put(self.batch.tables.meta, b"m:" + name.encode(), value)

    @_verb
    def drop_unmatched(self, before_ms: int, limit: int) -> int:
        return parked.drop_unmatched(self.batch, before_ms, limit)


class LmdbStore:
    """An open store. Errors when opening: StoreBusy, StoreFormat, StoreDamaged, StoreError."""

    def __init__(self, path: Path | str, options: StoreOptions | None = None) -> None:
        self.path = Path(path)
        self.options = options or StoreOptions()
        prepare_directory(self.path, self.options)
        self._lock = Lock(self.path)
        self._full: StoreFull | None = None
        self._used_bytes = 0
        try:
            self._env = open_environment(
                self.path, map_size=self.options.map_size, max_readers=self.options.max_readers
            )
            sync_names(self.path, self.path)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._load()
        except BaseException:
            self._env.close()
            self._lock.release()
            raise

    def _load(self) -> None:
        with self._lmdb_errors():
            self.tables = Tables(self._env)
        self.memory = Memory()
        self.names = Names(self.options.max_endpoints)
        self.archive = archiving.Archive(self.path / "archive", self.options)
        ids = IdSource(self.options.clock)
        try:
            self._load_rows()
        except Damaged as error:
            raise StoreDamaged(
                f"the store in {self.path} has a damaged row it cannot start without: {error.args[0]!r}",
                SALVAGE_HINT.format(path=self.path),
            ) from None
        ids.last = self.memory.last_id
        self.core = Core(self.tables, self.memory, self.names, ids, self.options, self.archive)
        self._start_epoch()
        self.refresh_usage()

    def _load_rows(self) -> None:
        with self._lmdb_errors(), self._env.begin() as tx:
            get = self._meta_getter(tx)
            format_ = get(_FORMAT_NAME)
            if format_ is not None and int(format_) > FORMAT:
                raise StoreFormat(
                    f"{self.path} has format {int(format_)}; this Signalbox knows formats up to {FORMAT}",
                    "start the newer Signalbox that wrote it, or restore a backup",
                )
            state = get(_STATE_NAME)
            if state is not None:
                self.memory.load_state(state)
            self.memory.epoch = int(get(_EPOCH_NAME) or b"0")
            with tx.cursor(self.tables.name.handle) as cursor:
                self.names.load(cursor)
            self.memory.load(tx, self.tables)
            self._orphans = self._read_orphans(tx)

    def _meta_getter(self, tx: lmdb.Transaction[bytes]) -> Callable[[bytes], bytes | None]:
        def get(name: bytes) -> bytes | None:
            value = tx.get(name, None, self.tables.meta.handle)
            return None if value is None else unseal(name, value)

        return get

    def _start_epoch(self) -> None:
        self.memory.epoch += 1
        txn = self.begin()
        txn.batch.put(self.tables.meta, _FORMAT_NAME, b"%d" % FORMAT)
        txn.batch.put(self.tables.meta, _EPOCH_NAME, b"%d" % self.memory.epoch)
        self.commit(txn)

    # transactions

    def begin(self) -> LmdbTransaction:
        with self._lmdb_errors():
            return LmdbTransaction(Batch(self.core, self._env.begin(write=True)), self.path)

    def commit(self, txn: LmdbTransaction) -> None:
        """Durable when it returns. Errors: StoreFull, StoreDamaged, StoreError; call `abort` then."""
        with self._lmdb_errors():
            txn.batch.finish()
            txn.batch.tx.commit()
        txn.batch.apply()

    def abort(self, txn: LmdbTransaction) -> None:
        """Nothing happened: memory is as it was before."""
        txn.batch.drop()
        txn.batch.tx.abort()
        with self._lmdb_errors(), self._env.begin() as tx, tx.cursor(self.tables.ready.handle) as cursor:
            self.memory.active.rebuild(cursor)

    @contextmanager
    def _lmdb_errors(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise translated(error, self.path) from error

    def close(self) -> None:
        self.archive.close()
        self._env.close()
        self._lock.release()

    # recovery

    def _read_orphans(self, tx: lmdb.Transaction[bytes]) -> list[tuple[int, bytes]]:
        orphans: list[tuple[int, bytes]] = []
        with tx.cursor(self.tables.lease.handle) as cursor:
            for key, value in cursor.iternext():
                orphans.append((LEASE_KEY.unpack(key)[0], unseal(key, value)))
        return orphans

    @property
    def epoch(self) -> int:
        """How often this store has been opened."""
        return self.memory.epoch

    def leased_at_start(self) -> int:
        """How many messages were in carriers' hands when the last process ended (at most)."""
        return sum((len(payload) - LEASE_HEAD.size) // LEASE_ROW.size for _, payload in self._orphans)

    def recover(self, decide: Callable[[Message, Progress | None, int], Outcome], now_ms: int) -> int:
        """Settle what was leased when the last process ended. Returns how many outcomes were unknown."""
        count = 0
        while self._orphans:
            portion, self._orphans = self._orphans[:_RECOVER_PORTION], self._orphans[_RECOVER_PORTION:]
            txn = self.begin()
            try:
                for lease, payload in portion:
                    count += self._recover_lease(txn.batch, lease, payload, decide, now_ms)
            except BaseException:
                self.abort(txn)
                raise
            self.commit(txn)
        return count

    def _recover_lease(
        self,
        batch: Batch,
        lease_id: int,
        payload: bytes,
        decide: Callable[[Message, Progress | None, int], Outcome],
        now_ms: int,
    ) -> int:
        _, carrier, _ = LEASE_HEAD.unpack_from(payload)
        lease = Lease(carrier, {})
        batch.new_leases[lease_id] = lease
        orphans = []
        for at in range(LEASE_HEAD.size, len(payload), LEASE_ROW.size):
            account, id, _, tried, attempts, flags, first_part = LEASE_ROW.unpack_from(payload, at)
            progress = batch.progress(MESSAGE_KEY.pack(account, id))
            if (
                progress is not None and progress.lease >= lease_id
            ):  # leases only grow: settled, maybe leased again
                continue
            message = batch.message(account, id)
            if message is None:
                continue
            lease.left[id] = LeaseEntry(message, tried, attempts, flags, first_part)
            orphans.append((message, progress))
        for message, progress in orphans:
            self._settle_orphan(batch, lease_id, lease, message, progress, decide, now_ms)
        batch.delete(self.tables.lease, LEASE_KEY.pack(lease_id))
        return len(orphans)

    def _settle_orphan(
        self,
        batch: Batch,
        lease_id: int,
        lease: Lease,
        message: Message,
        progress: Progress | None,
        decide: Callable[[Message, Progress | None, int], Outcome],
        now_ms: int,
    ) -> None:
        """Parts answered before the crash keep their answer; each other part's outcome is unknown."""
        first = lease.left[message.id].first_part
        outcome = decide(message, progress, lease.carrier)
        outcome.lease = lease_id
        known = progress.parts if progress is not None and progress.phase == Phase.LEASED else []
        outcome.total = len(known) or outcome.total
        answered = [
            part < len(known) and bool(known[part].carrier_message_id) for part in range(outcome.total)
        ]
        # Answered parts first: the last one, whatever it is, goes the usual way and concludes the message.
        order = sorted(range(first, outcome.total), key=lambda part: not answered[part])
        for part in order:
            one = Outcome(**{name: getattr(outcome, name) for name in outcome.__struct_fields__})
            one.part = part
            if answered[part]:
                one.settle = Settle.SENT
                one.carrier_message_id = known[part].carrier_message_id
                one.detail = ""
                if part != order[-1]:
                    batch.part_outcomes.setdefault((lease_id, message.id), []).append(one)
                    continue
            settling.settle_one(batch, one, now_ms)

    # names and ids

    def carrier_id(self, name: str) -> int:
        return self.names.carrier_id(name)

    def carrier_name(self, id: int) -> str:
        return self.names.carrier_name(id)

    def carriers(self) -> dict[str, int]:
        """Every carrier this store has ever known, by name."""
        return self.names.carriers()

    def group_id(self, name: str) -> int:
        return self.names.group_id(name)

    def lane_id(self, spec: LaneSpec) -> int:
        return self.names.lane_id(spec)

    def lane(self, id: int) -> LaneSpec:
        return self.names.lane(id)

    def endpoint_for(self, account: int, url: str) -> int:
        return self.names.endpoint_for(account, url)

    def next_ids(self, count: int, now_ms: int = 0) -> int:
        """The first of `count` consecutive ids."""
        return self.core.ids.take(count).start

    # admission

    def admission(self) -> StoreError | None:
        """Why new work is refused now; None = welcome. As fresh as the last `refresh_usage`."""
        return self._full

    def refresh_usage(self) -> None:
        """Look at map and disk; call it about once a second."""
        with self._lmdb_errors(), self._env.begin() as tx:
            pages = 0
            for table in self.tables.all:
                stat = tx.stat(table.handle)
                pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        self._used_bytes = pages * self._env.stat()["psize"]
        queued = sum(queued for _, queued in self.memory.counts.values())
        share = self._used_bytes / self.options.map_size
        if share > self.options.accept_watermark:
            self._full = StoreFull(
                f"the store is {share:.0%} full", "wait for the queue to drain, or raise [store] map_size_gb"
            )
        elif free_disk(self.path) < self.options.min_free_disk:
            self._full = StoreFull("the data disk is nearly full", f"free space on the disk of {self.path}")
        elif queued >= self.options.max_queued:
            self._full = StoreFull(f"{queued} messages are queued, the limit", "wait for the queue to drain")
        else:
            self._full = None

    def usage(self) -> dict[str, int]:
        """used_bytes, map_bytes, readers, quarantined, free_disk_bytes."""
        return {
            "used_bytes": self._used_bytes,
            "map_bytes": self.options.map_size,
            "readers": int(self._env.info()["num_readers"]),
            "quarantined": self.memory.quarantined,
            "free_disk_bytes": free_disk(self.path),
        }

    # reads of the last commit

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        """A short read transaction; never keep it across an await."""
        with self._lmdb_errors(), self._env.begin() as tx:
            yield tx

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No transaction is under way inside the block: it holds LMDB's writer lock. From another thread."""
        with self._lmdb_errors():
            tx = self._env.begin(write=True)
            try:
                yield
            finally:
                tx.abort()

    def copy_compact(self, directory: Path) -> None:
        """A copy of the hot file without its free pages."""
        with self._lmdb_errors():
            self._env.copy(str(directory), compact=True)

    def find(self, account: int, id: int) -> tuple[Message, Progress] | None:
        """A message and how far it came, wherever it is."""
        with self.reading() as tx:
            found = self._find_hot(tx, account, id)
        return found or self.archive.find(id, account)

    def find_any(self, id: int) -> tuple[Message, Progress] | None:
        """For operators, who know no account."""
        with self.reading() as tx:
            for account in self.memory.accounts:
                found = self._find_hot(tx, account, id)
                if found is not None:
                    return found
        return self.archive.find(id)

    def _find_hot(
        self, tx: lmdb.Transaction[bytes], account: int, id: int
    ) -> tuple[Message, Progress] | None:
        key = MESSAGE_KEY.pack(account, id)
        value = tx.get(key, None, self.tables.message.handle)
        if value is None:
            return None
        try:
            message = decode_message(unseal(key, value))
            stored = tx.get(key, None, self.tables.progress.handle)
            progress = None if stored is None else decode_progress(unseal(key, stored))
        except Damaged:
            return None
        phase, _, _ = locate(
            lambda table, row: tx.get(row, None, table.handle) is not None, self.tables, message, progress
        )
        if progress is None:
            state = MessageState.SCHEDULED if phase == Phase.SCHEDULED else MessageState.ENROUTE
            progress = Progress(phase, state, until_ms=message.send_at_ms)
        else:
            progress.phase = phase
        return message, progress

    def latest_to(
        self, recipient: str, sender: str, since_ms: int, reference: int = -1
    ) -> tuple[int, int] | None:
        """(account, id) of the newest message from `sender` to `recipient`: what an MO answers."""
        with self.reading() as tx:
            found = recipients.latest_to(tx, self.tables, recipient, sender, since_ms, reference)
        return found or self.archive.latest_to(recipient, sender, since_ms)

    def inbox(self, account: int, limit: int = 100) -> list[InboundMessage]:
        """An account's MOs, oldest first; 0 = unowned ones."""
        prefix = ACCOUNT_KEY.pack(account)
        found: list[InboundMessage] = []
        with self.reading() as tx, tx.cursor(self.tables.inbound.handle) as cursor:
            if cursor.set_range(prefix):
                for key, value in cursor.iternext():
                    if not key.startswith(prefix) or len(found) >= limit:
                        break
                    found.append(decode_inbound(unseal(key, value)))
        return found

    def unmatched(self, limit: int = 100) -> list[ReceiptIn]:
        """Receipts that no message claimed, newest last."""
        from store.records import unparked

        with self.reading() as tx, tx.cursor(self.tables.unmatched.handle) as cursor:
            rows = [(key, value) for _, (key, value) in zip(range(limit), cursor.iternext(), strict=False)]
        return [unparked(decode_parked(unseal(key, value))) for key, value in rows]

    def accounts(self) -> dict[int, Account]:
        return self.memory.accounts

    def totals(self) -> Totals:
        return self.memory.totals

    def queued(self, account: int) -> int:
        return self.memory.counts.get(account, (0, 0))[1]

    def ready_lanes(self) -> set[int]:
        return set(self.memory.active.queues)

    def oldest_ready_ms(self, lane: int, unseen_by: int = 0) -> int | None:
        """Due time of the lane's oldest ready message: one seek for each of its queues.

        `unseen_by`: only of messages that one of the carriers in this mask has not had yet.
        """
        oldest: int | None = None
        with self.reading() as tx, tx.cursor(self.tables.ready.handle) as cursor:
            for prefix in self.memory.active.groups:
                of_lane, tried, _, _ = READY_PREFIX.unpack(prefix)
                if of_lane != lane or (unseen_by and tried & unseen_by == unseen_by):
                    continue
                if cursor.set_range(prefix):
                    key = cursor.key()
                    if key.startswith(prefix):
                        due_ms = READY_KEY.unpack(key)[4]
                        oldest = due_ms if oldest is None else min(oldest, due_ms)
        return oldest

    def next_due_ms(self) -> int | None:
        """When the next scheduled, deferred or retried row is due."""
        due: list[int] = []
        with self.reading() as tx:
            for table, key in ((self.tables.due, DUE_KEY), (self.tables.outbox_due, OUTBOX_DUE_KEY)):
                with tx.cursor(table.handle) as cursor:
                    if cursor.first():
                        due.append(key.unpack(cursor.key())[0])
        return min(due, default=None)

    def outbox_page(self, endpoint: int, after_seq: int, limit: int) -> list[OutboxRow]:
        rows: list[OutboxRow] = []
        with self.reading() as tx, tx.cursor(self.tables.outbox.handle) as cursor:
            if cursor.set_range(OUTBOX_KEY.pack(endpoint, after_seq + 1)):
                for key, value in cursor.iternext():
                    owner, seq = OUTBOX_KEY.unpack(key)
                    if owner != endpoint or len(rows) >= limit:
                        break
                    try:
                        rows.append(OutboxRow(owner, seq, decode_event(unseal(key, value))))
                    except Damaged:
                        continue
        return rows

    def watch_events(self) -> None:
        """From now on `take_fresh_events` has what is queued for accounts' own sessions."""
        self.memory.fresh_events = []

    def take_fresh_events(self) -> list[OutboxRow]:
        """Rows queued by the commits since the last call. A hint: `outbox_page` has them too."""
        fresh = self.memory.fresh_events
        if not fresh:
            return []
        self.memory.fresh_events = []
        return fresh

    def outbox_endpoints(self) -> dict[int, Endpoint]:
        return self.names.endpoints

    def outbox_backlog(self) -> int:
        """Events not delivered yet, retries included."""
        with self.reading() as tx:
            return int(
                tx.stat(self.tables.outbox.handle)["entries"]
                + tx.stat(self.tables.outbox_due.handle)["entries"]
            )

    def meta(self, name: str) -> bytes | None:
        with self.reading() as tx:
            return self._meta_getter(tx)(b"m:" + name.encode())

    # archive

    def pick_finished(self, now_ms: int, limit: int) -> list[archiving.Finished]:
        """First step of an archive batch: what ended long enough ago."""
        with self.reading() as tx:
            return archiving.pick(tx, self.tables, now_ms // 1000 - self.options.archive_after_s, limit)

    def drop_old(self, now_ms: int, retention_days: int) -> list[str]:
        """Archived days past the retention, unlinked."""
        return self.archive.drop_before(now_ms, retention_days)


__all__ = ["LmdbStore", "LmdbTransaction", "decode_account", "seal"]
