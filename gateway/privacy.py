"""One phone number: everything that is kept about it, told in portions; and taken out, for good.

An erasing is a job that outlives the process: its mark lies in the store from the commit that begins it to
the one that ends it, and a start goes on with it. While rows of the hot store change, the archiver and the
writer of records stand still, so that no copy that was read before is written after. Then archived days that
have the number are written anew, their index is built again, and the files of records get stars.

Invariants: nothing is read or written for longer than a portion on the loop; one erasing at a time; the audit
trail has a keyed hash of the number and never the number, so that who knows the number can prove that it was
erased; what has not ended, or waits to be delivered, is erased only where somebody says so.

Deliberately not here: which kinds there are (store.person), what becomes of each (store.erasing), who may
(gateway.http.privacy, gateway.acts), the bytes that LMDB keeps in free pages (`signalbox store compact`).
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import structlog
import trio

from gateway.admin_client import AdminError
from gateway.admin_shapes import inbound_view, iso, message_view, receipt_view
from gateway.audit import Actor, acting, actor_now, entry
from gateway.http.once import mentions
from router.nouns import Account, Event, EventKind, InboundMessage, MessageState, Phase, Progress
from store import cdr_files
from store.cdr_files import record_of
from store.interface import NO_ID, Anew, StoreError, Transaction
from store.lmdb_store import LmdbStore
from store.person import ARCHIVED, BY_NAME, INDEXES, KINDS, WAITING_EVENTS, Answers, Held, Looked, Number
from store.records import MESSAGE_KEY
from store.search import DIRECTORY as SEARCH
from store.search_files import SearchFiles, day_of

T = TypeVar("T")
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
Context = Callable[[], AbstractAsyncContextManager[object]]

MARK, KEY = "erasing", "privacy_key"
CDR, AUDIT = "record", "audit"
_PORTION = 200  # rows that change in one commit
_LINES = 5_000  # of records that are looked at in one portion
_ENTRIES = 1_000
_BREATH_S = 0.002
_TOLD_S = 20.0  # how long events that wait are given
_UNRECORDED = 10  # seconds that records of what has just ended are waited for
_AGAIN_S = 10.0

log = structlog.get_logger("privacy")


class Mark(msgspec.Struct, array_like=True):
    """An erasing that has begun. Stored: fields are only appended."""

    number: str
    also: tuple[str, ...]
    now: bool
    who: str
    via: str
    reason: str
    begun_ms: int
    days: tuple[str, ...] = ()  # whose index has the number
    erased: dict[str, int] = {}
    left: dict[str, int] = {}


class Counted(NamedTuple):
    """Rows by kind; messages that have not ended, as (account, id); events that wait to be delivered."""

    kinds: Counter[str]
    unfinished: list[tuple[int, int]]
    waiting: int


class Recorder(Protocol):
    """What is needed of gateway.cdrs."""

    def paused(self) -> AbstractAsyncContextManager[None]:
        """Everything that has ended has its records, in files that are whole, and no more are written."""


class Privacy:
    """`run` carries out what was begun; without it (no gateway runs) an erasing is carried out at once."""

    def __init__(
        self,
        store: LmdbStore,
        execute: Callable[[Callable[[Transaction], Any]], Awaitable[Any]],
        wall_ms: Callable[[], int],
        accounts: Callable[[], Mapping[int, Account]],
        *,
        archiver: Context | None = None,
        recorder: Recorder | None = None,
        index_anew: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        """`archiver`: a block in which nothing is archived; `index_anew`: days of the search index."""
        self.in_thread: InThread = trio.to_thread.run_sync
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._accounts = accounts
        self._archiver = archiver
        self._recorder = recorder
        self._index_anew = index_anew
        self._records = store.path.parent / cdr_files.DIRECTORY
        self._runs = False
        self._begun = trio.Event()
        self._ended: trio.Event | None = None
        self._result: Mark | None = None

    # the job

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Go on with what a stop or a crash has interrupted, then carry out what is begun."""
        self._runs = True
        task_status.started()
        try:
            while True:
                mark = self.under_way()
                if mark is None:
                    self._begun = trio.Event()
                    await self._begun.wait()
                    continue
                try:
                    await self._carry_out(mark)
                except (StoreError, OSError) as error:
                    log.error("an erasing goes on later", error=str(error), in_s=_AGAIN_S)
                    await trio.sleep(_AGAIN_S)
        finally:
            self._runs = False

    def under_way(self) -> Mark | None:
        """The erasing that has begun and is not done."""
        kept = self._store.meta(MARK)
        return msgspec.msgpack.decode(kept, type=Mark) if kept else None

    async def erase(self, number: str, also: Iterable[str], *, cancel: bool, now: bool) -> Mark:
        """What was erased and what was left. `cancel`: messages that have not ended end; `now`: events that
        wait to be delivered are dropped. Errors: AdminError, StoreError, OSError."""
        one = Number(number, also)
        self._check(one)
        counted = await self.count(one)
        if counted.unfinished:
            if not cancel:
                raise AdminError(
                    "unfinished",
                    f"{len(counted.unfinished)} messages of this number have not ended",
                    "wait until they have, or give --cancel-unfinished: they end, and nobody else gets them",
                )
            await self._end(await self.subject(number), counted.unfinished)
        if not now and await self._still_waiting(one):
            raise AdminError(
                "waiting",
                "events about this number wait to be delivered to its customers",
                "try again when they are delivered, or give --now: nobody is told of them then",
            )
        self._check(one)
        actor = actor_now()
        begun_ms = self._wall_ms()
        mark = Mark(number, tuple(also), now, actor.who, actor.via, actor.reason, begun_ms)
        subject = await self.subject(number)
        kinds = dict(counted.kinds)

        def begin(txn: Transaction) -> None:
            txn.put_meta(MARK, msgspec.msgpack.encode(mark))
            txn.audit(entry(begun_ms, "privacy.erasing", subject, after={"found": kinds, "now": now}))

        await self._execute(begin)
        if not self._runs:
            return await self._carry_out(mark)
        self._ended = ended = trio.Event()
        self._begun.set()
        await ended.wait()
        assert self._result is not None
        return self._result

    def _check(self, number: Number) -> None:
        """Errors: AdminError."""
        if self.under_way() is not None:
            raise AdminError("busy", "another erasing is under way", "wait for it to end")
        owners = [one.name for one in self._accounts().values() if number.is_it(*one.numbers)]
        if owners:
            raise AdminError(
                "own_number",
                f"this is a number of account {owners[0]}, on which it gets inbound messages",
                f"take it away first: signalbox account set {owners[0]} --numbers …",
            )

    async def _end(self, subject: str, unfinished: list[tuple[int, int]]) -> None:
        results: Counter[str] = Counter()
        for at in range(0, len(unfinished), _PORTION):
            portion = unfinished[at : at + _PORTION]

            def end(txn: Transaction, portion: list[tuple[int, int]] = portion) -> Counter[str]:
                now_ms = self._wall_ms()
                told = Counter(txn.end_for_erasing(account, id, now_ms) for account, id in portion)
                txn.audit(entry(now_ms, "privacy.ended", subject, after={"messages": dict(told)}))
                return told

            results += await self._execute(end)
            await trio.sleep(_BREATH_S)
        if results["leased"]:
            raise AdminError(
                "unfinished",
                f"{results['leased']} messages of this number are in a carrier's hands just now; they are "
                "not sent again",
                "try again in a minute",
            )

    async def _still_waiting(self, number: Number) -> bool:
        """After some time in which they may go."""
        until = trio.current_time() + (_TOLD_S if self._runs else 0)
        while True:
            found = [one for kind in WAITING_EVENTS async for one in self._each(number, kind)]
            if not found or trio.current_time() >= until:
                return bool(found)
            await trio.sleep(0.5)

    async def _carry_out(self, mark: Mark) -> Mark:
        number = Number(mark.number, mark.also)
        for _ in range(_UNRECORDED):
            async with AsyncExitStack() as stack:
                if self._recorder is not None:
                    await stack.enter_async_context(self._recorder.paused())
                if self._archiver is not None:
                    await stack.enter_async_context(self._archiver())
                await self._rows(number, mark)
            if not mark.left.get("unrecorded"):
                break
            await trio.sleep(1)
        await self._archive(number, mark)
        await self._index(mark)
        await self._files(number, mark)
        return await self._end_of(mark)

    async def _rows(self, number: Number, mark: Mark) -> None:
        """Of the hot store."""
        mark.left = {}
        for kind in KINDS:
            after: bytes | None = b""
            while after is not None:
                looked = await self._look(number, kind.name, after)
                for at in range(0, len(looked.found), _PORTION):
                    portion = looked.found[at : at + _PORTION]
                    mark.erased, mark.left, mark.days = await self._execute(
                        partial(self._change, number, mark, portion)
                    )
                after = looked.after
                await trio.sleep(_BREATH_S)

    def _change(
        self, number: Number, mark: Mark, found: list[Held], txn: Transaction
    ) -> tuple[dict[str, int], dict[str, int], tuple[str, ...]]:
        """A portion, and what the mark says with it, which is kept in the same commit."""
        rows = [(one.kind, one.key) for one in found]
        result = txn.erase(rows, number, self._wall_ms(), mark.now)
        changed = msgspec.structs.replace(
            mark,
            erased=dict(Counter(mark.erased) + result.done),
            left=dict(Counter(mark.left) + result.left),
            days=tuple(sorted({*mark.days, *map(day_of, result.ids)})),
        )
        txn.put_meta(MARK, msgspec.msgpack.encode(changed))
        return changed.erased, changed.left, changed.days

    async def _archive(self, number: Number, mark: Mark) -> None:
        """Days that have the number are written anew, each in its portions."""
        for day in await self.in_thread(self._store.archive.days):
            found = [one async for one in self._each(number, day)]
            if not found:
                continue
            mark.days = tuple(sorted({*mark.days, day}))
            await self._keep(mark)  # before the day has lost it: its index is built anew whatever happens
            anew: Anew = await self.in_thread(
                partial(self._store.without_number, day, number, self._wall_ms())
            )
            try:
                while await self.in_thread(anew.step):
                    await trio.sleep(_BREATH_S)
                await self.in_thread(anew.finish)
            except BaseException:
                anew.drop()
                raise
            mark.erased[ARCHIVED] = mark.erased.get(ARCHIVED, 0) + len(found)
            await self._keep(mark)

    async def _index(self, mark: Mark) -> None:
        if self._index_anew is not None:
            await self._index_anew(mark.days)
        else:
            await self.in_thread(partial(_discard, self._store.path / SEARCH, mark.days))

    async def _files(self, number: Number, mark: Mark) -> None:
        """Stars in the files of records: all that are whole, and all where nobody writes one."""
        for one in await self.in_thread(partial(cdr_files.files, self._records)):
            if one.whole or self._recorder is None:
                changed = await self.in_thread(partial(cdr_files.star_out, one, number))
                mark.erased[CDR] = mark.erased.get(CDR, 0) + changed

    async def _end_of(self, mark: Mark) -> Mark:
        subject = await self.subject(mark.number)
        with acting(Actor(mark.who, mark.via, mark.reason)):
            told = entry(
                self._wall_ms(),
                "privacy.erased",
                subject,
                after={
                    "erased": {kind: count for kind, count in mark.erased.items() if count},
                    "left": mark.left,
                },
            )

        def end(txn: Transaction) -> None:
            txn.put_meta(MARK, b"")
            txn.audit(told)

        await self._execute(end)
        log.info("a number was erased", subject=subject, erased=mark.erased, left=mark.left)
        self._result = mark
        if self._ended is not None:
            self._ended.set()
            self._ended = None
        return mark

    async def _keep(self, mark: Mark) -> None:
        await self._execute(lambda txn: txn.put_meta(MARK, msgspec.msgpack.encode(mark)))

    # finding

    async def count(self, number: Number) -> Counted:
        """Everything there is, walked through."""
        kinds: Counter[str] = Counter()
        unfinished: list[tuple[int, int]] = []
        after = ""
        while True:
            found, after = await self._portion(number, after)
            for stage, one in found:
                kinds[stage] += 1
                if stage == "message" and not _has_ended(one.what):
                    unfinished.append(MESSAGE_KEY.unpack(one.key))
            if not after:
                return Counted(kinds, unfinished, sum(kinds[kind] for kind in WAITING_EVENTS))
            await trio.sleep(_BREATH_S)

    async def portion(self, number: Number, after: str) -> tuple[list[dict[str, object]], str]:
        """Some of what is kept, as plain JSON values, and where to go on; "": that was all."""
        found, after = await self._portion(number, after)
        told = [one for stage, held in found if stage not in INDEXES for one in self._told(stage, held)]
        return told, after

    async def begin_export(self, number: str) -> None:
        """The audit trail hears of it first."""
        subject = await self.subject(number)
        await self._execute(lambda txn: txn.audit(entry(self._wall_ms(), "privacy.exported", subject)))

    async def _portion(self, number: Number, after: str) -> tuple[list[tuple[str, Held]], str]:
        """(kind, what) of a portion. Errors: ValueError for an `after` that is none of ours."""
        stages = [kind.name for kind in KINDS]
        stages += await self.in_thread(self._store.archive.days)
        stages += [CDR, AUDIT]
        stage, _, place = after.partition(":")
        if not after:
            stage = stages[0]
        elif stage not in stages:  # a day that was dropped meanwhile
            stage, place = next((one for one in stages[len(KINDS) :] if one > stage), CDR), ""
        if stage == CDR:
            found, place = await self.in_thread(partial(self._look_at_records, number, place))
        elif stage == AUDIT:
            found, place = await self.in_thread(partial(self._look_at_audit, number, place))
        else:
            looked = await self._look(number, stage, bytes.fromhex(place))
            found = looked.found
            place = "" if looked.after is None else looked.after.hex()
        told = [(one.kind, one) for one in found]
        if place:
            return told, f"{stage}:{place}"
        following = stages.index(stage) + 1
        return told, f"{stages[following]}:" if following < len(stages) else ""

    async def _look(self, number: Number, stage: str, after: bytes) -> Looked:
        """A portion of a kind, or of an archived day."""
        kind = BY_NAME.get(stage)
        work = (
            partial(self._store.look_at_archive, number, stage, after)
            if kind is None
            else partial(self._store.look, number, kind, after, _answers(number))
        )
        looked: Looked = await self.in_thread(work)
        return looked

    async def _each(self, number: Number, stage: str):  # type: ignore[no-untyped-def]
        after: bytes | None = b""
        while after is not None:
            looked = await self._look(number, stage, after)
            for one in looked.found:
                yield one
            after = looked.after
            await trio.sleep(_BREATH_S)

    def _look_at_records(self, number: Number, after: str) -> tuple[list[Held], str]:
        file, _, offset = after.partition(".")
        start = cdr_files.Place(int(file or 0), int(offset or 0))
        lines = list(islice(cdr_files.read(self._records, 0, start), _LINES))
        records = [record_of(line, number) for _, line in lines]
        found = [Held(CDR, b"", record) for record in records if record is not None]
        place = lines[-1][0] if lines else start
        return found, f"{place.number}.{place.offset}" if len(lines) == _LINES else ""

    def _look_at_audit(self, number: Number, after: str) -> tuple[list[Held], str]:
        rows = self._store.audit_log(_ENTRIES, int(after) if after else NO_ID)
        found = [Held(AUDIT, b"", row) for row in rows if number.is_in(msgspec.json.encode(row.entry))]
        return found, str(rows[-1].number) if len(rows) == _ENTRIES else ""

    # telling

    def _told(self, stage: str, held: Held) -> list[dict[str, object]]:
        what = held.what
        if what is None:
            return [{"kind": stage, "unreadable": True}]
        carrier = self._store.carrier_name
        if stage in ("message", ARCHIVED):
            message, progress = what
            progress = progress or Progress(Phase.READY, MessageState.ENROUTE)
            view = message_view(message, progress, self._account(message.account), carrier)
            return [{"kind": "message", "archived": stage == ARCHIVED, **view}]
        if isinstance(what, InboundMessage):
            return [{"kind": stage, **inbound_view(what, self._account(what.account), carrier, True)}]
        if isinstance(what, Event):
            return [{"kind": stage, **self._event(what)}]
        if isinstance(what, list):
            return [
                {"kind": stage, **receipt_view(one, stage == "waiting_receipt", carrier, True)}
                for one in what
            ]
        if stage == AUDIT:
            return [{"kind": stage, **_audit_view(what)}]
        plain = what if isinstance(what, dict) else _plain(what)
        return [{"kind": stage, **plain}]

    def _event(self, event: Event) -> dict[str, object]:
        return {
            "about": EventKind(event.kind).name.lower(),
            "account": self._account(event.account),
            "message_id": str(event.message_id),
            "at": iso(event.at_ms),
            "from": event.source,
            "to": event.destination,
            "state": MessageState(event.state).name,
            "text": event.text,
            "data": event.data.hex(),
            "client_ref": event.client_ref,
            "url": event.url,
        }

    def _account(self, id: int) -> str:
        account = self._accounts().get(id)
        return account.name if account is not None else ""

    # proof

    async def subject(self, number: str) -> str:
        """How the audit trail calls a number: by a hash with this store's own key."""
        key = self._store.meta(KEY)
        if not key:
            key = secrets.token_bytes(32)
            await self._execute(partial(_keep_key, key))
        return f"number:{blake2b(number.encode(), key=key, digest_size=16).hexdigest()}"

    async def proof(self, number: str) -> dict[str, object]:
        """What the audit trail knows of this number, and when the store was compacted last."""
        subject = await self.subject(number)
        rows = self._store.audit_log(_ENTRIES, NO_ID, subject)
        compacted = self._store.meta("compacted")
        under_way = self.under_way()
        return {
            "subject": subject,
            "under_way": under_way is not None and under_way.number == number,
            "entries": [_audit_view(row) for row in rows],
            "compacted_at": iso(int(compacted)) if compacted else "",
        }


def _discard(directory: Path, days: Collection[str]) -> None:
    """Of a stopped gateway's index; the next start builds it again. Errors: StoreBusy."""
    if not directory.is_dir():
        return
    index = SearchFiles(directory)
    try:
        for day in days:
            index.discard(day)
    finally:
        index.close()


def _has_ended(what: Any) -> bool:
    """Of a message as it was found; one that nobody can read has."""
    return what is None or (what[1] is not None and what[1].phase == Phase.FINAL)


def _keep_key(key: bytes, txn: Transaction) -> None:
    txn.put_meta(KEY, key)


def _answers(number: Number) -> Answers:
    return Answers(partial(mentions, number.is_in))


def _plain(what: msgspec.Struct) -> dict[str, object]:
    """Field by field, octets in hex."""
    told: dict[str, object] = {}
    for name, value in msgspec.structs.asdict(what).items():
        told[name] = value.hex() if isinstance(value, bytes) else str(value) if value is None else value
    return told


def _audit_view(row: Any) -> dict[str, object]:
    from gateway.admin_audit import entry_view

    return entry_view(row)
