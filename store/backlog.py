"""How much each endpoint still has to be told: counted by walking the outbox, page by page.

An endpoint is the callbacks of one origin, or an account's sessions. A count of each would cost every commit;
an operator who asks pays instead. Each page is one short read, so that the caller can let traffic go on in
between; what moves meanwhile may be counted twice or not at all.

Deliberately not here: an endpoint's health (gateway.callbacks), a total (reads.outbox_backlog).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from store.batch import scan
from store.records import GIVEN_UP_KEY, OUTBOX_DUE_KEY, OUTBOX_KEY, decode_event
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from struct import Struct

    from store.layout import Table
    from store.lmdb_store import LmdbStore

AGES_MS = (60_000, 3_600_000, 86_400_000)

_NO_AGES = [0] * (len(AGES_MS) + 1)
_PAGE = 500


class Backlog(msgspec.Struct, gc=False):
    """Events of one endpoint."""

    ready: int = 0  # to be sent as soon as the endpoint takes them
    retrying: int = 0  # waiting for their next attempt
    given_up: int = 0
    oldest_ms: int = 0  # when the oldest of them all happened
    last_error: str = ""  # of the newest that has failed
    ages: list[int] = []  # of those not given up, by AGES_MS: younger than each, and older than all
    failed_ms: int = 0  # when that one happened
    waiting_ms: int = 0  # with `ages`: when the oldest of those not given up happened


class BacklogWalk:
    """Call `step` until it is False; `found` has the counts by endpoint id."""

    def __init__(self, store: LmdbStore, now_ms: int = 0) -> None:
        """`now_ms`: ages are told, too."""
        self._now_ms = now_ms
        self.found: dict[int, Backlog] = {}
        self._store = store
        self._pages = self._walk()

    def step(self) -> bool:
        """Read one more page; False when there is none."""
        return next(self._pages, None) is not None

    def _walk(self) -> Iterator[int]:
        tables = self._store.tables
        yield from self._table(tables.outbox, OUTBOX_KEY, 0, "ready")
        yield from self._table(tables.outbox_due, OUTBOX_DUE_KEY, 1, "retrying")
        yield from self._table(tables.given_up, GIVEN_UP_KEY, 0, "given_up")

    def _table(self, table: Table, shape: Struct, place: int, count: str) -> Iterator[int]:
        after = b"\0"
        while rows := self._page(table, after):
            for key, value in rows:
                self._count(shape.unpack(key)[place], key, value, count)
            after = rows[-1][0] + b"\0"
            yield len(rows)

    def _page(self, table: Table, after: bytes) -> list[tuple[bytes, bytes]]:
        with self._store.reading() as tx, tx.cursor(table.handle) as cursor:
            return [row for row, _ in zip(scan(cursor, after), range(_PAGE), strict=False)]

    def _count(self, endpoint: int, key: bytes, value: bytes, count: str) -> None:
        try:
            event = decode_event(unseal(key, value))
        except Damaged:
            return
        backlog = self.found.setdefault(endpoint, Backlog())
        setattr(backlog, count, getattr(backlog, count) + 1)
        if self._now_ms and count != "given_up":
            self._count_age(backlog, event.at_ms)
        backlog.oldest_ms = min(backlog.oldest_ms or event.at_ms, event.at_ms)
        if event.last_error and event.at_ms >= backlog.failed_ms:
            backlog.last_error, backlog.failed_ms = event.last_error, event.at_ms

    def _count_age(self, backlog: Backlog, at_ms: int) -> None:
        backlog.ages = backlog.ages or list(_NO_AGES)
        backlog.ages[sum(self._now_ms - at_ms >= limit for limit in AGES_MS)] += 1
        backlog.waiting_ms = min(backlog.waiting_ms or at_ms, at_ms)


def joined(backlogs: Iterable[Backlog]) -> Backlog:
    """Those of several endpoints as one."""
    whole = Backlog(ages=_NO_AGES)
    for one in backlogs:
        whole.ready += one.ready
        whole.retrying += one.retrying
        whole.given_up += one.given_up
        whole.oldest_ms = min(filter(None, (whole.oldest_ms, one.oldest_ms)), default=0)
        whole.waiting_ms = min(filter(None, (whole.waiting_ms, one.waiting_ms)), default=0)
        whole.ages = [sum(counts) for counts in zip(whole.ages, one.ages or _NO_AGES, strict=True)]
        if one.failed_ms >= whole.failed_ms and one.last_error:
            whole.last_error, whole.failed_ms = one.last_error, one.failed_ms
    return whole


def retrying(store: LmdbStore, most: int) -> dict[int, int]:
    """By endpoint, events that wait for their next attempt: of the first `most` of all."""
    found: dict[int, int] = {}
    with store.reading() as tx, tx.cursor(store.tables.outbox_due.handle) as cursor:
        for key, _ in islice(scan(cursor, b"\0"), most):
            endpoint = OUTBOX_DUE_KEY.unpack(key)[1]
            found[endpoint] = found.get(endpoint, 0) + 1
    return found


def with_waiting(store: LmdbStore, most: int) -> list[int]:
    """Endpoints to which events may go now, by id, the first `most`: one seek for each, however many wait."""
    found: list[int] = []
    with store.reading() as tx, tx.cursor(store.tables.outbox.handle) as cursor:
        after = 0
        while len(found) < most and (row := next(scan(cursor, after.to_bytes(4, "big")), None)):
            found.append(OUTBOX_KEY.unpack(row[0])[0])
            after = found[-1] + 1
    return found


def waiting(store: LmdbStore, endpoint: int, most: int) -> int:
    """How many events may go to one endpoint now, counted up to `most`."""
    return _counted(store, store.tables.outbox, endpoint, most)


def given_up(store: LmdbStore, endpoint: int, most: int) -> int:
    """How many events of one endpoint nobody took, counted up to `most`."""
    return _counted(store, store.tables.given_up, endpoint, most)


def _counted(store: LmdbStore, table: Table, endpoint: int, most: int) -> int:
    prefix = endpoint.to_bytes(4, "big")
    with store.reading() as tx, tx.cursor(table.handle) as cursor:
        return sum(1 for _ in islice(scan(cursor, prefix, prefix), most))
