"""What limits per minute, hour and day have spent, over a restart: a day's count outlives it.

Each limit that has such horizons is kept under a name. Once a second at most, and only where enough was
taken, its runs are written in one meta row, together with a credit: what may be taken before the next row.
After a crash the credit counts as taken, so the count errs on the safe side: by a fiftieth of the limit, by
a tenth of it at most. A polite stop writes the row without a credit, and nothing is lost or added.

Invariants: a row for each limit that is in use, never one for each message; a damaged or missing row counts
as nothing taken; times are stored in UTC, and one that lies ahead (a clock that was set back) counts as now.

Deliberately not here: the limits themselves (router.throttle), the second (a carrier that may have sent in it
pauses at start).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial

import msgspec
import structlog
import trio

from gateway.committer import Committer
from gateway.world import World
from router.throttle import Throttle
from store.interface import Store, StoreError, Transaction

log = structlog.get_logger("spent")

_LOOK_S = 1.0
_PARTS = 50  # a row for each so much of a limit
_PARTS_OF_A_MINUTE = 10


class _Row(msgspec.Struct, array_like=True):
    """`runs`: seconds of a horizon → (UTC ms, segments), oldest first. `credit` may have been taken, too."""

    credit: int
    runs: dict[int, list[tuple[int, int]]]


_decode = msgspec.msgpack.Decoder(_Row).decode


class _Kept:
    __slots__ = ("credit", "looked", "throttle", "written")

    def __init__(self, throttle: Throttle, known: bool) -> None:
        self.throttle = throttle
        self.looked = throttle.total  # at the last look
        self.written = -1 if known else throttle.total  # what it had taken when its row was written
        self.credit = 0


class Spent:
    """Keeps every limit that has horizons beyond the second."""

    def __init__(self, store: Store, committer: Committer, world: World) -> None:
        self._store = store
        self._committer = committer
        self._world = world
        self._kept: dict[str, _Kept] = {}

    def keep(self, name: str, throttle: Throttle) -> None:
        """From now on this limit is kept as `name`; at first it gets what was spent under that name."""
        known = bool(throttle.horizons) and self._restore(name, throttle)
        self._kept[name] = _Kept(throttle, known)

    def follow(self, kind: str, throttles: Mapping[str, Throttle]) -> None:
        """Of the names that begin with `kind`, exactly these are kept from now on."""
        for name in [one for one in self._kept if one.startswith(kind) and one not in throttles]:
            self.drop(name)
        for name, throttle in throttles.items():
            kept = self._kept.get(name)
            if kept is None or kept.throttle is not throttle:
                self.keep(name, throttle)

    def drop(self, name: str) -> None:
        """It limits nothing any more; its row stays, for when it comes back."""
        self._kept.pop(name, None)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: what was taken is written down."""
        task_status.started()
        while True:
            due = [name for name, kept in self._kept.items() if self._due(kept)]
            if due:
                try:
                    await self._committer.execute(partial(self._write, due, True))
                except StoreError as error:
                    log.error("limits not saved", error=str(error), hint=error.hint)
            await trio.sleep(_LOOK_S)

    def save(self, txn: Transaction) -> None:
        """For the end: as it is."""
        self._write(
            [name for name, kept in self._kept.items() if kept.throttle.total or kept.credit], False, txn
        )

    def _due(self, kept: _Kept) -> bool:
        throttle = kept.throttle
        if not throttle.horizons:
            return False
        recent, kept.looked = throttle.total - kept.looked, throttle.total
        taken = throttle.total - kept.written
        if not taken or 2 * taken <= kept.credit:
            return False
        parts = (
            one.most / (_PARTS if one.length_s > 60 else _PARTS_OF_A_MINUTE) for one in throttle.horizons
        )
        least = min(one.most for one in throttle.horizons)
        kept.credit = max(math.ceil(min(parts)), min(3 * recent, least // 10))
        return True

    def _write(self, names: Iterable[str], with_credit: bool, txn: Transaction) -> None:
        now, now_ms = trio.current_time(), self._world.wall_ms()
        for name in names:
            kept = self._kept.get(name)
            if kept is None or not kept.throttle.horizons:
                continue
            kept.written = kept.throttle.total
            runs = {
                int(one.length_s): [(now_ms - int((now - at) * 1000), count) for at, count in one.runs()]
                for one in kept.throttle.horizons
                if one.taken(now)
            }
            row = _Row(kept.credit if with_credit else 0, runs)
            txn.put_meta(_row_name(name), msgspec.msgpack.encode(row))

    def _restore(self, name: str, throttle: Throttle) -> bool:
        """False: nothing was spent under that name."""
        stored = self._store.meta(_row_name(name))
        if not stored:
            return False
        try:
            row = _decode(stored)
        except msgspec.MsgspecError:
            log.error("what was spent of a limit is unreadable; it starts anew", limit=name)
            return False
        now, now_ms = trio.current_time(), self._world.wall_ms()
        for horizon in throttle.horizons:
            runs = row.runs.get(int(horizon.length_s), [])
            horizon.restore([(now - max(0, now_ms - at_ms) / 1000, count) for at_ms, count in runs])
            if row.credit:
                horizon.take(row.credit, now)
        return True


def _row_name(name: str) -> str:
    return f"spent:{name}"
