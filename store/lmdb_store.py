"""The LMDB store: opening, transactions, recovery, reads of the last commit.

Invariants: one process, one write transaction at a time; memory follows a commit only after it returned; no
read transaction outlives its call. `begin`, `commit` and `abort` may run in another thread than the verbs,
never at the same time as one.

Deliberately not here: what verbs do (transaction.py and the files it names), what reads do (reads.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import lmdb

from router.judge import OnReceipt
from router.money import LedgerEntry, Wallet
from router.nouns import Account, InboundMessage, LaneSpec, Message, Progress
from store import (
    again,
    audit,
    customer,
    lanes,
    moving,
    notices,
    once,
    person,
    reads,
    recipients,
    recovery,
    upgrade,
    wallets,
    young_left,
)
from store import archive as archiving
from store import backup as copying
from store import check as checking
from store import finished as finishing
from store.batch import EPOCH_NAME, SEALED_NAME, STATE_NAME, Batch, Core, scan
from store.before import before
from store.erasing import OutOfArchive
from store.ids import IdSource
from store.interface import (
    NO_ID,
    AuditRow,
    AuditState,
    Before,
    Endpoint,
    Finding,
    FinishedPage,
    FreshRow,
    GivenUp,
    InboundPage,
    NoticeRow,
    OtherLimits,
    OutboxRow,
    ReadyQueue,
    Remembered,
    StoreDamaged,
    StoreError,
    StoreFull,
    Totals,
    WaitingPage,
    Which,
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
from store.memory import Memory
from store.names import Names
from store.options import StoreOptions
from store.person import Answers, Kind, Looked, Number
from store.records import MINUTE_MS, OUTBOX_KEY, SILENCE_KEY, TIMED_KEY, Parked
from store.rewriting import Rewriting, WithoutTexts
from store.tallies import Tallies
from store.transaction import LmdbTransaction
from store.values import Damaged, unseal

_RECOVER_PORTION = 200


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
            with self._lmdb_errors():
                upgrade.bring_up(self._env, self.tables, self.path, self.options.announce)
            self._load_rows()
        except Damaged as error:
            raise StoreDamaged(
                f"the store in {self.path} has a damaged row it cannot start without: {error.args[0]!r}",
                SALVAGE_HINT.format(path=self.path),
            ) from None
        ids.last = self.memory.last_id
        self.core = Core(self.tables, self.memory, self.names, ids, self.options, self.archive)
        with self._lmdb_errors():
            young_left.write_all(self)
        self._start_epoch()
        self.refresh_usage()

    def _load_rows(self) -> None:
        with self._lmdb_errors(), self._env.begin() as tx:
            get = self._meta_getter(tx)
            state = get(STATE_NAME)
            if state is not None:
                self.memory.load_state(state)
            self.memory.epoch = int(get(EPOCH_NAME) or b"0")
            self.memory.sealed_ms = int(get(SEALED_NAME) or b"0")
            with tx.cursor(self.tables.name.handle) as cursor:
                self.names.load(cursor)
            self.memory.load(tx, self.tables)
            self._orphans = recovery.read_orphans(tx, self.tables)

    def _meta_getter(self, tx: lmdb.Transaction[bytes]) -> Callable[[bytes], bytes | None]:
        def get(name: bytes) -> bytes | None:
            value = tx.get(name, None, self.tables.meta.handle)
            return None if value is None else unseal(name, value)

        return get

    def _start_epoch(self) -> None:
        self.memory.epoch += 1
        txn = self.begin()
        txn.batch.put(self.tables.meta, EPOCH_NAME, b"%d" % self.memory.epoch)
        for lane, counts in self.memory.lanes.items():
            txn.batch.put(self.tables.meta, lanes.row_name(lane), lanes.pack(counts))
        self.commit(txn)

    # transactions

    def begin(self) -> LmdbTransaction:
        with self._lmdb_errors():
            txn = LmdbTransaction(Batch(self.core, self._env.begin(write=True)), self.path)
        self.memory.active.touched = False
        return txn

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
        if not self.memory.active.touched:  # as after a look that found nothing: whose turn it is, stays so
            return
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

    @property
    def epoch(self) -> int:
        """How often this store has been opened."""
        return self.memory.epoch

    def recover(self, decide: recovery.Decide, now_ms: int) -> int:
        """Settle what was leased when the last process ended. Returns how many outcomes were unknown."""
        count = 0
        while self._orphans:
            portion, self._orphans = self._orphans[:_RECOVER_PORTION], self._orphans[_RECOVER_PORTION:]
            txn = self.begin()
            try:
                for orphan in portion:
                    count += recovery.recover_lease(txn.batch, orphan, decide, now_ms)
            except BaseException:
                self.abort(txn)
                raise
            self.commit(txn)
        return count

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

    def lanes(self) -> dict[int, LaneSpec]:
        """Every lane there ever was, by id."""
        return self.names.lanes()

    def endpoint_for(self, account: int, url: str) -> int:
        return self.names.endpoint_for(account, url)

    def next_ids(self, count: int, now_ms: int = 0) -> int:
        """The first of `count` consecutive ids."""
        return self.core.ids.take(count).start

    def newest_id(self) -> int:
        """The last id that was handed out, whether or not its message is committed yet."""
        return self.core.ids.last

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

    def drop_dead_readers(self) -> int:
        """Give up read transactions of processes that have died, which keep pages from being used again."""
        with self._lmdb_errors():
            return int(self._env.reader_check())

    def find(self, account: int, id: int) -> tuple[Message, Progress] | None:
        """A message and how far it came, wherever it is."""
        with self.reading() as tx:
            found = reads.find(tx, self.tables, account, id)
        return found or self.archive.find(id, account)

    def find_any(self, id: int) -> tuple[Message, Progress] | None:
        """For operators, who know no account."""
        with self.reading() as tx:
            for account in self.memory.accounts:
                found = reads.find(tx, self.tables, account, id)
                if found is not None:
                    return found
        return self.archive.find(id)

    def accepted_since(self, account: int, since_ms: int, limit: int) -> list[Message]:
        """What an account submitted since then, oldest first; of more than `limit` the newest."""
        with self.reading() as tx:
            found = {one.id: one for one in reads.accepted_since(tx, self.tables, account, since_ms, limit)}
        for message in self.archive.accepted_since(account, since_ms, limit):
            found.setdefault(message.id, message)  # it may be in both for a moment
        return [found[id] for id in sorted(found)[-limit:]]

    def latest_to(
        self, recipient: str, sender: str, since_ms: int, reference: int = -1
    ) -> tuple[int, int] | None:
        """(account, id) of the newest message from `sender` to `recipient`: what an MO answers."""
        with self.reading() as tx:
            found = recipients.latest_to(tx, self.tables, recipient, sender, since_ms, reference)
        return found or self.archive.latest_to(recipient, sender, since_ms)

    def inbox(
        self, account: int | Sequence[int], limit: int = 100, before: int = NO_ID
    ) -> list[InboundMessage]:
        """MOs of one account or of several, 0 = of nobody, newest first; `before` an id goes on behind it."""
        accounts = (account,) if isinstance(account, int) else account
        with self.reading() as tx:
            return reads.inbox(tx, self.tables, accounts, limit, before)

    def unmatched(self, limit: int = 100) -> list[Parked]:
        """Receipts that no message claimed, newest first."""
        with self.reading() as tx:
            return reads.unmatched(tx, self.tables, limit)

    def parked(self, limit: int = 100) -> list[Parked]:
        """Receipts that still wait for their message, newest first."""
        with self.reading() as tx:
            return reads.parked(tx, self.tables, limit)

    def accounts(self) -> dict[int, Account]:
        return self.memory.accounts

    def totals(self) -> Totals:
        return self.memory.totals

    def tallies(self) -> Tallies:
        """What ended, and what was never matched, since the store was opened."""
        return self.memory.tallies

    def outcome_unknown(self) -> dict[int, int]:
        """Messages held now because nobody knows whether they were sent, by carrier."""
        return self.memory.unknown_of

    def lane_totals(self) -> dict[int, list[int]]:
        """Messages of each lane that has had any: index = Phase, SCHEDULED to UNKNOWN; the others are 0."""
        return self.memory.lanes

    def queued(self, account: int) -> int:
        return self.memory.counts.get(account, (0, 0))[1]

    def wallet(self, account: int) -> Wallet:
        return self.memory.wallets.get(account) or Wallet()

    def ledger(self, account: int, limit: int = 100, before: int = NO_ID) -> list[LedgerEntry]:
        with self.reading() as tx:
            return wallets.ledger(tx, self.tables, account, limit, before)

    def ready_lanes(self) -> set[int]:
        return set(self.memory.active.queues)

    def ready_masks(self, lane: int) -> tuple[int, ...]:
        return tuple(self.memory.active.queues.get(lane, ()))

    def oldest_ready_ms(self, lane: int, unseen_by: int = 0) -> int | None:
        """Due time of the lane's oldest ready message.

        `unseen_by`: only of messages that one of the carriers in this mask has not had yet.
        """
        with self.reading() as tx:
            return reads.oldest_ready_ms(tx, self.tables, self.memory.active.groups, lane, unseen_by)

    def oldest_by_lane(self, most: int = 2_000) -> dict[int, int]:
        """Lane → due time of its oldest ready message, of lanes that have any; looks at so many queues."""
        with self.reading() as tx:
            return reads.oldest_by_lane(tx, self.tables, islice(self.memory.active.groups, most))

    def oldest_in_lane(self, lane: int, most: int = 200) -> int | None:
        """Due time of its oldest ready message, also of accounts that have no turn now; looks at so many
        queues. None: none is ready."""
        with self.reading() as tx:
            return reads.oldest_in_lane(tx, self.tables, lane, most)

    def waiting_queues(self, most_each: int, most: int) -> list[ReadyQueue]:
        """All ready queues, by lane and priority; counts `most_each` rows of each and `most` in all."""
        with self.reading() as tx:
            return reads.waiting_queues(tx, self.tables, most_each, most)

    def before(self, account: int, id: int, most: int) -> Before | None:
        """About how many ready messages go before this one in its lane, up to `most`; None: it is none."""
        with self.reading() as tx:
            return before(tx, self.tables, account, id, most)

    def waiting_page(self, which: Which, after: bytes, limit: int) -> WaitingPage:
        """Waiting messages that fit, some at a time."""
        with self.reading() as tx:
            return moving.waiting_page(tx, self.tables, which, after, limit)

    def ready_queues(self, lane: int) -> dict[int, int]:
        """The lane's queues that have turns: mask of carriers that had the messages → oldest due time."""
        with self.reading() as tx:
            return reads.ready_queues(tx, self.tables, self.memory.active.groups, lane)

    def leases(self) -> Iterator[tuple[int, int, int]]:
        """(carrier id, lease, message id) of everything in carriers' hands. Leases grow with time."""
        for lease_id, lease in self.memory.leases.items():
            for id in lease.left:
                yield lease.carrier, lease_id, id

    def due_rows(self) -> int:
        """Scheduled and deferred messages, and events to be retried."""
        with self.reading() as tx:
            return sum(
                int(tx.stat(table.handle)["entries"]) for table in (self.tables.due, self.tables.outbox_due)
            )

    def next_due_ms(self) -> int | None:
        """When the next scheduled, deferred or retried row is due."""
        with self.reading() as tx:
            return reads.next_due_ms(tx, self.tables)

    def fail_over(self, policies: Mapping[str, OnReceipt]) -> None:
        """By route: what moves a message on after a carrier has accepted it. Of no other routes."""
        self.memory.on_receipt = dict(policies)
        self.memory.watches_silence = any(policy.no_receipt_s for policy in policies.values())

    def other_limits(self, changed: OtherLimits | None) -> None:
        """What becomes ready from now on goes by these limits of carriers on some messages."""
        self.memory.other_limits = changed

    def expired_rows(self, before_ms: int, most: int) -> list[tuple[int, int]]:
        """(minute, message id) of what should have ended before then, the first `most`."""
        found: list[tuple[int, int]] = []
        with self.reading() as tx, tx.cursor(self.tables.expiry.handle) as cursor:
            for key, _ in islice(scan(cursor, b"\0"), most):
                minute, _, id = TIMED_KEY.unpack(key)
                if minute * MINUTE_MS > before_ms:
                    break
                found.append((minute, id))
            found += self.memory.young.overdue(tx, self.tables, before_ms, most)
        return sorted(found)[:most]

    def next_silence_ms(self) -> int | None:
        """When `after_silence` has something to look at next."""
        with self.reading() as tx, tx.cursor(self.tables.silence.handle) as cursor:
            return int(SILENCE_KEY.unpack(cursor.key())[0]) if cursor.first() else None

    def outbox_page(self, endpoint: int, after_seq: int, limit: int) -> list[OutboxRow]:
        with self.reading() as tx:
            return reads.outbox_page(tx, self.tables, endpoint, after_seq, limit)

    def has_event(self, row: FreshRow) -> bool:
        """Whether it still waits in the outbox, under its number."""
        key = OUTBOX_KEY.pack(row.endpoint, row.seq)
        with self.reading() as tx:
            return tx.get(key, None, self.tables.outbox.handle) is not None

    def find_waiting(
        self, account: int, source: str, destination: str, service_type: str | None
    ) -> list[int]:
        """Ids of an account's messages with these addresses (service_type None: any) that no carrier has
        taken yet; may be called from a thread, as it looks at every waiting message of the account."""
        groups, leases = list(self.memory.active.groups), list(self.memory.leases.values())
        leased = [entry.message for lease in leases for entry in list(lease.left.values())]
        wanted = account, source, destination, service_type
        with self._lmdb_errors(), self._env.begin() as tx:
            return customer.waiting(tx, self.tables, groups, leased, wanted)

    def find_alias(self, account: int, alias: int) -> int:
        """The id behind a 32-bit one, 0 when there is none."""
        with self._lmdb_errors(), self._env.begin() as tx:
            return customer.find_alias(tx, self.tables, account, alias)

    def watch_events(self) -> None:
        """From now on `take_fresh_events` has what is queued for accounts' own sessions."""
        self.memory.fresh_events = {}

    def take_fresh_events(self) -> dict[int, list[FreshRow]]:
        """Rows queued by the commits since the last call, by endpoint and in order. A hint: `outbox_page` has
        them too."""
        fresh = self.memory.fresh_events
        if not fresh:
            return {}
        self.memory.fresh_events = {}
        return fresh

    def outbox_endpoints(self) -> dict[int, Endpoint]:
        return self.names.endpoints

    def outbox_backlog(self) -> int:
        """Events not delivered yet, retries included."""
        with self.reading() as tx:
            return reads.outbox_backlog(tx, self.tables)

    def given_up(self, endpoints: Sequence[int], limit: int = 100) -> list[GivenUp]:
        """Events of these endpoints that nobody took, the last given up first."""
        with self.reading() as tx:
            return reads.given_up(tx, self.tables, endpoints, limit)

    def given_up_count(self) -> int:
        """Events that nobody took, kept until they are put back or too old."""
        with self.reading() as tx:
            return reads.given_up_count(tx, self.tables)

    def meta(self, name: str) -> bytes | None:
        with self.reading() as tx:
            return self._meta_getter(tx)(b"m:" + name.encode())

    def remembered(self, account: int, key: bytes) -> Remembered | None:
        """What `remember` kept, for `options.remembered_ms`."""
        since_ms = self.options.clock() - self.options.remembered_ms
        with self.reading() as tx:
            return once.remembered(tx, self.tables, account, key, since_ms)

    # audit

    def audit_log(self, limit: int = 100, before: int = NO_ID, subject: str = "") -> list[AuditRow]:
        """Entries newest first, numbered below `before`; of one subject, or with it among its parts."""
        with self.reading() as tx:
            return audit.log(tx, self.tables, limit, before, subject)

    def notices(self, limit: int = 100, before: int = NO_ID, subject: str = "") -> list[NoticeRow]:
        """The event log, newest first, numbered below `before`; of one subject, or with it among its
        parts."""
        with self.reading() as tx:
            return notices.log(tx, self.tables, limit, before, subject)

    def audit_after(self, number: int, limit: int = 1_000) -> list[tuple[int, AuditRow | None]]:
        """Entries oldest first, numbered above `number`; None: it is damaged."""
        with self.reading() as tx:
            return audit.after(tx, self.tables, number, limit)

    def audit_head(self) -> tuple[int, str]:
        """Number and hash of the newest entry; (0, "") for none."""
        with self.reading() as tx:
            return audit.newest(tx, self.tables)

    def audit_verify(self, noted: Iterable[tuple[int, str]] = ()) -> AuditState:
        """Whether every entry is there, as it was written; those `noted` must have these hashes."""
        return audit.verify(self, noted)

    def finished_page(
        self, account: int, after: int, to: int = NO_ID, state: int = -1, limit: int = 500
    ) -> FinishedPage:
        """An account's messages that ended in `state` (-1: any), after < id < to, also archived ones; may be
        called from a thread."""
        with self._lmdb_errors():
            return again.finished_page(self, account, after, to, state, limit)

    def inbound_page(self, account: int, after: int, to: int = NO_ID, limit: int = 500) -> InboundPage:
        """An account's MOs with after < id < to, oldest first; may be called from a thread."""
        with self._lmdb_errors():
            return again.inbound_page(self, account, after, to, limit)

    # archive

    def pick_finished(self, now_ms: int, limit: int) -> list[finishing.Finished]:
        """First step of an archive batch: what ended long enough ago."""
        with self.reading() as tx:
            before_s = now_ms // 1000 - self.options.archive_after_s
            return finishing.pick(tx, self.tables, before_s, limit, self.memory.followed)

    def follow_finished(self, followed: bytes | None) -> None:
        """Messages behind this row stay until it moves on; None: nobody follows."""
        self.memory.followed = followed

    def finished_after(self, key: bytes, before_s: int, limit: int) -> list[finishing.Finished]:
        """Messages that ended up to that second, behind this row, oldest first; `seal_finished` first. Those
        of one row come together: less than FINISHED_CHUNK more than `limit`."""
        with self.reading() as tx:
            return finishing.pick_after(tx, self.tables, key, before_s, limit)

    def finished_keys(self, key: bytes, before_s: int, limit: int) -> list[tuple[bytes, int, int]]:
        """The same without reading them: (row, account, id)."""
        with self.reading() as tx:
            return finishing.keys_after(tx, self.tables, key, before_s, limit)

    def write_finished(self, rows: Sequence[finishing.Finished]) -> None:
        """Second step, in a worker thread if need be: durable in its day. Repeating it changes nothing."""
        self.archive.write(rows)

    def redact_archived(self, account: int, id: int, now_ms: int, detail: str = "") -> bool:
        """The same as the verb for a message that is archived; whether it is. For a worker thread."""
        found = self.archive.find(id, account)
        if found is None:
            return False
        changed, told = customer.redacted(*found, now_ms, detail)
        self.archive.write([finishing.Finished(b"", changed, told)])
        return True

    # one number

    def look(self, number: Number, kind: Kind, after: bytes, answers: Answers) -> Looked:
        """A portion of what is kept of one kind about a number; may be called from a thread."""
        with self._lmdb_errors(), self._env.begin() as tx:
            return person.look(tx, self.tables, number, kind, after, answers)

    def look_at_archive(self, number: Number, day: str, after: bytes) -> Looked:
        """The same of an archived day; from a thread."""
        with self._lmdb_errors():
            return person.look_at_archive(self.archive, number, day, after)

    def without_number(self, day: str, number: Number, now_ms: int) -> Rewriting:
        """An archived day, to be written anew in portions without a number; from a thread."""
        return Rewriting(self.archive, day, OutOfArchive(number, now_ms))

    def days_with_old_texts(self, now_ms: int) -> list[str]:
        """Archived days whose texts are to be gone by now."""
        return self.archive.days_with_old_texts(now_ms)

    def without_texts(self, day: str, now_ms: int) -> Rewriting:
        """A day of the archive without its texts, to be written in portions. For worker threads."""
        return Rewriting(self.archive, day, WithoutTexts(now_ms), texts_gone=True)

    def drop_old(self, now_ms: int, retention_days: int) -> list[str]:
        """Archived days past the retention, unlinked."""
        return self.archive.drop_before(now_ms, retention_days)

    # looking after it

    def check(self) -> list[Finding]:
        return checking.check(self)

    def backup(self, target: Path) -> None:
        copying.backup(self, target)
