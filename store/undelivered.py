"""The events that one endpoint has not taken, a page at a time: ready, waiting for a retry, or given up.

What waits for a retry is in the order of its due times among all endpoints' events, so a page looks at so
many rows at most and may be empty though there are more: `after` says where to go on, b"" that that was all.

Deliberately not here: counting (store.backlog), moving them (store.outbox, store.given_up).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from store.batch import scan
from store.records import GIVEN_UP_KEY, OUTBOX_DUE_KEY, OUTBOX_KEY, decode_event
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from router.nouns import Event
    from store.lmdb_store import LmdbStore

READY, RETRYING, GIVEN_UP = "ready", "retrying", "given_up"
STATES = (READY, RETRYING, GIVEN_UP)

_LOOK = 2_000  # rows of other endpoints that a page looks at


class Undelivered(NamedTuple):
    """`at_ms`: when its next attempt is due, or it was given up; 0 for what is ready."""

    at_ms: int
    seq: int
    event: Event


class Page(NamedTuple):
    rows: list[Undelivered]
    after: bytes


def page(store: LmdbStore, endpoint: int, state: str, after: bytes, limit: int) -> Page:
    """At most `limit` events, oldest first; `after`: where the page before ended, b"" at first."""
    tables = store.tables
    table, shape = {
        READY: (tables.outbox, OUTBOX_KEY),
        RETRYING: (tables.outbox_due, OUTBOX_DUE_KEY),
        GIVEN_UP: (tables.given_up, GIVEN_UP_KEY),
    }[state]
    prefix = b"" if state == RETRYING else endpoint.to_bytes(4, "big")
    look = limit if prefix else _LOOK
    with store.reading() as tx, tx.cursor(table.handle) as cursor:
        rows = list(islice(scan(cursor, after or prefix or b"\0", prefix), look))
    found: list[Undelivered] = []
    for key, value in rows:
        numbers = shape.unpack(key)
        if state == RETRYING:
            at_ms, owner = numbers[:2]
        else:
            owner, at_ms = numbers[0], numbers[1] if state == GIVEN_UP else 0
        if owner != endpoint:
            continue
        try:
            found.append(Undelivered(at_ms, numbers[-1], decode_event(unseal(key, value))))
        except Damaged:
            continue
        if len(found) == limit:
            return Page(found, key + b"\0")
    return Page(found, rows[-1][0] + b"\0" if len(rows) == look else b"")
