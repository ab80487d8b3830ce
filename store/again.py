"""What accounts are told once more, or somewhere else: receipts of finished messages, MOs, events that wait.

Both go in portions: the caller hands back where the last one ended. A page of finished messages is read
outside any transaction, because what is final stays as it is; it merges the hot store and the archives by
message id, so that one that is archived in between is seen once.

Deliberately not here: which messages and where to (gateway.admin_deliveries), events that were given up
(store.given_up).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from router.nouns import EventKind, Message, Phase, Progress, wants_final
from store.batch import scan
from store.ending import error_of
from store.inbound import mo_event
from store.interface import NO_ID, SMPP_ORIGIN, FinishedPage, InboundPage, Moved, OutboxRow
from store.outbox import hand_over, put_event, receipt_event, tell
from store.records import (
    MESSAGE_KEY,
    OUTBOX_DUE_KEY,
    OUTBOX_KEY,
    decode_event,
    decode_inbound,
    decode_message,
    decode_progress,
    encode,
)
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import lmdb

    from router.nouns import Event, InboundMessage
    from store.batch import Batch
    from store.layout import Tables
    from store.lmdb_store import LmdbStore

Pair = tuple[Message, Progress]

_LOOK = 2_000  # rows of each kind that one page looks at
_WAITING, _DUE = b"\0", b"\1"  # the tables of a move, as the first octet of where it goes on


def finished_page(
    store: LmdbStore, account: int, after: int, to: int, state: int, limit: int
) -> FinishedPage:
    """Finished messages of an account with after < id < to, in order; `state` -1: in any state."""
    with store.reading() as tx:
        hot = list(islice(_hot(tx, store.tables, account, after, to), _LOOK))
    old = store.archive.page(after, to, _LOOK)
    ends = [rows[-1][0] for rows in (hot, old) if len(rows) == _LOOK]
    end = min(ends, default=NO_ID)
    merged = dict(sorted([*old, *hot], key=lambda row: row[0]))  # by id: the hot store's copy wins
    found: list[Pair] = []
    for id, pair in merged.items():
        if id > end:
            break
        if pair is not None and pair[0].account == account and state in (-1, pair[1].state):
            found.append(pair)
            if len(found) >= limit:
                return FinishedPage(found, id)
    return FinishedPage(found, end if ends else None)


def _hot(
    tx: lmdb.Transaction[bytes], tables: Tables, account: int, after: int, to: int
) -> Iterator[tuple[int, Pair | None]]:
    """None for a message that has not ended, or cannot be read."""
    prefix = account.to_bytes(4, "big")
    with tx.cursor(tables.progress.handle) as cursor:
        for key, value in scan(cursor, MESSAGE_KEY.pack(account, after + 1), prefix):
            id = MESSAGE_KEY.unpack(key)[1]
            if id >= to:
                return
            yield id, _ended(tx, tables, key, value)


def _ended(tx: lmdb.Transaction[bytes], tables: Tables, key: bytes, value: bytes) -> Pair | None:
    stored = tx.get(key, None, tables.message.handle)
    try:
        progress = decode_progress(unseal(key, value))
        if stored is None or progress.phase != Phase.FINAL:
            return None
        return decode_message(unseal(key, stored)), progress
    except Damaged:
        return None


def inbound_page(store: LmdbStore, account: int, after: int, to: int, limit: int) -> InboundPage:
    """MOs of an account with after < id < to, in order."""
    prefix = account.to_bytes(4, "big")
    found: list[InboundMessage] = []
    with store.reading() as tx, tx.cursor(store.tables.inbound.handle) as cursor:
        for key, value in scan(cursor, MESSAGE_KEY.pack(account, after + 1), prefix):
            id = MESSAGE_KEY.unpack(key)[1]
            if id >= to:
                break
            if len(found) >= limit:
                return InboundPage(found, found[-1].id)
            try:
                found.append(decode_inbound(unseal(key, value)))
            except Damaged:
                continue
    return InboundPage(found, None)


def tell_inbound_again(batch: Batch, messages: Sequence[InboundMessage], now_ms: int) -> int:
    """Each MO, to whom it belongs, but for erased ones. Returns how many there are."""
    told = 0
    for message in messages:
        if message.erased_ms:
            continue
        event = mo_event(message)
        event.again = True
        event.since_ms = now_ms
        told += tell(batch, event)
    return told


def tell_again(batch: Batch, pairs: Sequence[Pair], now_ms: int) -> int:
    """The final receipt of each message whose submitter wanted one, but for erased ones. Returns how many
    there are."""
    told = 0
    for message, progress in pairs:
        if not wants_final(message.receipt, progress.state) or not message.destination:
            continue
        error, _ = error_of(progress.parts, progress.state)
        event = receipt_event(
            message, progress, progress.state, progress.finished_ms, error, done_ms=progress.done_ms
        )
        event.cause = progress.cause
        event.since_ms = now_ms
        told += tell(batch, event)
    return told


def move_events(
    batch: Batch, source: int, url: str, skip: Collection[int], now_ms: int, limit: int, after: bytes
) -> Moved:
    """What waits for an endpoint goes to `url` (SMPP_ORIGIN: sessions), or to a URL of its own.

    `skip`: numbers of rows that are being sent. `after`: where the last portion ended, b"" at first.
    """
    stage, start = after[:1] or _WAITING, after[1:]
    if stage == _WAITING:
        table, shape, prefix = batch.tables.outbox, OUTBOX_KEY, source.to_bytes(4, "big")
    else:
        table, shape, prefix = batch.tables.outbox_due, OUTBOX_DUE_KEY, b""
    rows = batch.scan(table, start or prefix or b"\0", limit, prefix)
    moved = 0
    for key, payload in rows:
        *_, endpoint, seq = shape.unpack(key)
        if endpoint != source or (stage == _WAITING and seq in skip):
            continue
        event = decode_event(payload)
        if url == SMPP_ORIGIN and event.kind == EventKind.ACCOUNT:  # no PDU says what it does
            continue
        batch.delete(table, key)
        event.attempts, event.last_error, event.since_ms = 0, "", now_ms
        _put(batch, event, url)
        moved += 1
    if len(rows) == limit:
        return Moved(moved, stage + rows[-1][0] + b"\0")
    return Moved(moved, _DUE if stage == _WAITING else b"")


def _put(batch: Batch, event: Event, url: str) -> None:
    over_smpp = url == SMPP_ORIGIN
    target = batch.core.names.endpoint_at_event(event.account, url if over_smpp else event.url or url)
    put_event(batch, target, encode(event))
    if over_smpp:
        hand_over(batch, OutboxRow(target, batch.outbox_seq, event))
