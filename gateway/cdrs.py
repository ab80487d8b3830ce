"""Writing call detail records: off the message path, behind what has ended, each line exactly once.

Once a second: the seconds that are over are sealed (a commit, after which no message ends in them),
messages that ended in them are read from the store, their lines written to a file and fsynced in a thread,
and the mark moves, in a commit of its own. A crash in between only repeats work: the file is cut at the
mark. Messages stay in the hot store until their lines are written (LmdbStore.follow_finished).

Invariants: nothing here is on the message path; a portion takes the loop for some milliseconds; what goes
wrong with files is said, tried again, and stops nothing else.

Deliberately not here: what a line says (cdr_lines), files (store.cdr_files), who asks for lines
(cdr_query).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog
import trio

from gateway.cdr_lines import COLUMNS, Line, lines_of
from router.nouns import Account, Message
from router.rates import Priced, Rate
from store.cdr_files import DIRECTORY, Mark, Writer
from store.finished import Finished
from store.interface import StoreError, Transaction

if TYPE_CHECKING:
    from config.model import CarrierConfig, CdrsConfig
    from gateway.committer import Committer
    from gateway.metrics import Metrics
    from gateway.world import World
    from store.lmdb_store import LmdbStore

log = structlog.get_logger("cdr")

MARK = "cdr"
_EVERY_S = 1.0
_AGAIN_S = 5.0
_PORTION = 200
_BREATH = 20  # messages between two turns for others
_DAY_MS = 86_400_000

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Tariff(Protocol):
    """gateway.known, as far as it is asked."""

    def price(self, card: str, digits: str, at_ms: int) -> Priced | None: ...
    def mcc_mnc(self, digits: str) -> str: ...


class Names:
    """gateway.cdr_lines.Known from what the gateway knows now."""

    def __init__(
        self,
        store: LmdbStore,
        tariff: Tariff,
        carriers: Callable[[], Sequence[CarrierConfig]],
    ) -> None:
        self._store = store
        self._tariff = tariff
        self._carriers = carriers

    def account(self, id: int) -> str:
        account = self._account(id)
        return account.name if account is not None else str(id)

    def _account(self, id: int) -> Account | None:
        return self._store.accounts().get(id)

    def carrier(self, id: int) -> str:
        return self._store.carrier_name(id)

    def bought(self, carrier: int, digits: str, at_ms: int) -> Rate | None:
        name = self._store.carrier_name(carrier)
        card = next((one.rate_card for one in self._carriers() if one.name == name), "")
        found = self._tariff.price(card, digits, at_ms) if card else None
        return found.rate if found is not None else None

    def sold(self, message: Message) -> Rate | None:
        """As it was billed; of an account that does not pay, what its rate card says of that time."""
        bill = message.bill
        if bill is not None and bill.price:
            return Rate(bill.price, bill.currency)
        account = self._account(message.account)
        if account is None or not account.rate_card:
            return None
        found = self._tariff.price(account.rate_card, message.destination, message.accepted_ms)
        return found.rate if found is not None else None

    def mcc_mnc(self, message: Message) -> str:
        bill = message.bill
        return (bill.mcc_mnc if bill is not None else "") or self._tariff.mcc_mnc(message.destination)


class Cdrs:
    """`run` writes them until it is cancelled. `lines` counts those that are durable."""

    def __init__(
        self,
        settings: CdrsConfig,
        store: LmdbStore,
        committer: Committer,
        world: World,
        names: Names,
        directory: Path,
        in_thread: InThread = trio.to_thread.run_sync,
    ) -> None:
        self._settings = settings
        self._store = store
        self._committer = committer
        self._world = world
        self._names = names
        self._directory = directory / DIRECTORY
        self.in_thread = in_thread
        self.lines = 0
        self.failures = 0
        self._writer: Writer | None = None
        store.follow_finished(self._kept().key)  # from the start, before anything is archived
        self._looked_ms = 0  # for what is too old
        self._following = trio.Lock()

    @property
    def key(self) -> bytes:
        """The last row of `finished` whose messages have their lines, durable."""
        return self._kept().key

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        mark = await self._begin()
        self._store.follow_finished(mark.key)
        task_status.started()
        while True:
            try:
                async with self._following:
                    await self.follow()
                wait_s = _EVERY_S
            except (OSError, StoreError) as error:
                self._writer = None
                self.failures += 1
                wait_s = _AGAIN_S
                log.error("records are not written for now; they will be", problem=str(error))
            await trio.sleep(wait_s)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """What has ended, but for the last second or two, has its records, in files that are whole; in the
        block no more are written. Errors: OSError, StoreError."""
        async with self._following:
            await self.follow()
            if self._writer is not None:
                await self.in_thread(self._writer.rotate)
            yield

    async def follow(self) -> None:
        """Everything that has ended by now gets its lines. Errors: OSError, StoreError."""
        writer = self._writer
        if writer is None:
            columns = COLUMNS if self._settings.csv else ()
            writer = await self.in_thread(partial(Writer, self._directory, self._kept(), columns=columns))
            self._writer = writer
        now_ms = self._world.wall_ms()
        if self._due(writer.mark, now_ms):
            await self.in_thread(writer.rotate)
        await self._drop_old(writer, now_ms)
        until_s = now_ms // 1000 - 1
        if not self._store.finished_keys(writer.mark.key, until_s, 1):
            return
        await self._committer.execute(partial(_seal, (until_s + 1) * 1000))
        while rows := self._store.finished_after(writer.mark.key, until_s, _PORTION):
            await self._write(writer, rows, now_ms)

    async def _write(self, writer: Writer, rows: Sequence[Finished], now_ms: int) -> None:
        lines: list[Line] = []
        for number, row in enumerate(rows, 1):
            if row.message is not None and row.progress is not None:
                lines += lines_of(row.message, row.progress, self._names)
            if number % _BREATH == 0:
                await trio.lowlevel.checkpoint()
        encoded = [msgspec.json.encode(line) for line in lines]
        cells = [msgspec.structs.astuple(line) for line in lines] if self._settings.csv else []
        mark = await self.in_thread(partial(writer.append, rows[-1].key, encoded, cells, now_ms))
        with trio.CancelScope(shield=True):
            await self._committer.execute(partial(_keep, mark))
        self._store.follow_finished(mark.key)
        self.lines += len(lines)
        if mark.size > self._settings.rotate_mb * (1 << 20):
            await self.in_thread(writer.rotate)

    def _due(self, mark: Mark, now_ms: int) -> bool:
        """Whether the file is old enough."""
        return bool(mark.opened_ms) and now_ms >= mark.opened_ms + self._settings.rotate_s * 1000

    async def _drop_old(self, writer: Writer, now_ms: int) -> None:
        if now_ms < self._looked_ms + _DAY_MS // 24:
            return
        self._looked_ms = now_ms
        before_ms = now_ms - self._settings.retention_days * _DAY_MS
        dropped = await self.in_thread(partial(writer.drop_before, before_ms))
        if dropped:
            log.info("old records dropped", files=len(dropped), days=self._settings.retention_days)

    async def _begin(self) -> Mark:
        """Where it goes on. When it is switched on, it begins with what ends from now on."""
        mark = self._kept()
        if not mark.key:
            mark = msgspec.structs.replace(mark, key=_behind(self._world.wall_ms() // 1000 - 1))
            await self._committer.execute(partial(_keep, mark))
            await self._committer.execute(partial(_seal, self._world.wall_ms() // 1000 * 1000))
        return mark

    def _kept(self) -> Mark:
        kept = self._store.meta(MARK)
        return msgspec.msgpack.decode(kept, type=Mark) if kept else Mark()


def add_cdr_measures(metrics: Metrics, cdrs: Cdrs) -> None:
    metrics.counter(
        "signalbox_cdr_lines", "Records that are durable, since the start.", (), lambda: (((), cdrs.lines),)
    )
    metrics.counter(
        "signalbox_cdr_failures",
        "Times that records could not be written, and were tried again.",
        (),
        lambda: (((), cdrs.failures),),
    )


def _behind(second: int) -> bytes:
    """A row of `finished` behind all of that second."""
    return second.to_bytes(4, "big") + b"\xff" * 12


def _seal(until_ms: int, txn: Transaction) -> None:
    txn.seal_finished(until_ms)


def _keep(mark: Mark, txn: Transaction) -> None:
    txn.put_meta(MARK, msgspec.msgpack.encode(mark))
