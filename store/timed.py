"""What time does to messages: due ones become ready, expired ones end, held ones are released, wishes cancel.

Every verb is bounded by `limit` rows and says how many it handled, so that its caller can go on later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.nouns import MessageState, Phase, Progress, Reason, Step
from store import correlation, young
from store.ending import finalize
from store.groups import couple, held_key
from store.interface import Released
from store.lanes import lane_of
from store.limits import fallen_due, follow
from store.outbox import move_due_events
from store.queues import first_due_ms, locate, put_ready, unpack_place
from store.records import (
    DUE_KEY,
    HELD_KEY,
    KEEPS_PLACE,
    LONG_TIME_KEY,
    MESSAGE_KEY,
    MINUTE_MS,
    TIMED_KEY,
    Entry,
)
from store.timeline import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Message
    from store.batch import Batch

_MOST_LEASED = 10_000


def move_due(batch: Batch, now_ms: int, limit: int) -> int:
    """Scheduled and deferred messages, and retried events, whose time has come."""
    moved = 0
    for key, payload in batch.scan(batch.tables.due, b"\0", limit):
        due_ms, id = DUE_KEY.unpack(key)
        if due_ms > now_ms:
            break
        entry, phase = unpack_place(id, payload)
        batch.delete(batch.tables.due, key)
        entry = fallen_due(batch, entry, phase, due_ms)
        if entry.flags & KEEPS_PLACE:
            entry, due_ms = _at_its_place(batch, entry, due_ms)
        put_ready(batch, entry, due_ms)
        batch.move(entry.account, entry.lane, entry.segments, phase, Phase.READY)
        moved += 1
    if moved < limit:
        moved += move_due_events(batch, now_ms, limit - moved)
    return moved


def _at_its_place(batch: Batch, entry: Entry, due_ms: int) -> tuple[Entry, int]:
    """Not behind what came while it waited."""
    entry = entry._replace(flags=entry.flags & ~KEEPS_PLACE)
    key = MESSAGE_KEY.pack(entry.account, entry.id)
    message, progress = batch.message(entry.account, entry.id), batch.progress(key)
    if message is None or progress is None:
        return entry, due_ms
    progress.phase, progress.until_ms = Phase.READY, first_due_ms(message)
    batch.put_progress(key, progress)
    return entry, progress.until_ms


def expire(batch: Batch, now_ms: int, limit: int, grace_ms: int) -> int:
    """End what outlived its validity; what waits for a receipt gets `grace_ms` more, then a made-up final.

    First, what is young no more gets its row here.
    """
    handled = young.write_out(batch, now_ms, limit)
    leased = min(batch.memory.totals.messages[Phase.LEASED], _MOST_LEASED)
    for key, _ in batch.scan(batch.tables.expiry, b"\0", limit + leased):
        minute, account, id = TIMED_KEY.unpack(key)
        if minute * MINUTE_MS > now_ms or handled >= limit:
            break
        message = batch.message(account, id)
        progress = batch.progress(MESSAGE_KEY.pack(account, id))
        if message is None or (progress is not None and progress.phase == Phase.FINAL):
            batch.delete(batch.tables.expiry, key)
            handled += 1
            continue
        handled += _expire_one(batch, key, message, progress, now_ms, grace_ms)
    return handled


def _expire_one(
    batch: Batch, key: bytes, message: Message, progress: Progress | None, now_ms: int, grace_ms: int
) -> bool:
    """False: it is in a carrier's hands, whose answer decides; its row stays where it is."""
    phase, table, row = locate(batch.has, batch.tables, message, progress)
    if phase == Phase.AWAITING_RECEIPT and progress is not None:
        if not progress.until_ms:
            _grant_grace(batch, key, message, progress, max(now_ms, message.valid_until_ms) + grace_ms)
            return True
        account = batch.memory.accounts.get(message.account)
        state = account.no_receipt_state if account is not None else MessageState.EXPIRED
        finalize(batch, message, progress, phase, state, Reason.NO_RECEIPT, now_ms)
        return True
    if phase == Phase.LEASED:
        return False
    if table is not None:
        batch.delete(table, row)
    if phase == Phase.UNKNOWN and progress is not None:
        correlation.drop_unknown(batch, progress.group, message)
    state = MessageState.UNKNOWN if phase == Phase.UNKNOWN else MessageState.EXPIRED
    reason = Reason.OUTCOME_UNKNOWN if phase == Phase.UNKNOWN else Reason.EXPIRED_IN_QUEUE
    finalize(batch, message, progress or Progress(phase, MessageState.ENROUTE), phase, state, reason, now_ms)
    batch.delete(batch.tables.expiry, key)
    return True


def _grant_grace(batch: Batch, key: bytes, message: Message, progress: Progress, until_ms: int) -> None:
    batch.delete(batch.tables.expiry, key)
    progress.until_ms = (until_ms // MINUTE_MS + 1) * MINUTE_MS
    batch.put(
        batch.tables.expiry, TIMED_KEY.pack(progress.until_ms // MINUTE_MS, message.account, message.id), b""
    )
    batch.put_progress(MESSAGE_KEY.pack(message.account, message.id), progress)


def release_held(batch: Batch, reason: int, limit: int, after: tuple[int, int], carrier: int) -> Released:
    """Messages held for one reason become ready. Unknown outcomes go out again as possible duplicates.

    `carrier` other than 0: only those whose outcome is unknown with it. A walk goes over each row once, so a
    message that is held again behind it is not released a second time.
    """
    prefix = bytes((reason,))
    released = 0
    rows = batch.scan(batch.tables.held, HELD_KEY.pack(reason, *after) + b"\0", limit, prefix)
    for key, payload in rows:
        _, account, id = HELD_KEY.unpack(key)
        progress = batch.progress(MESSAGE_KEY.pack(account, id))
        if carrier and (progress is None or not _unknown_with(progress, carrier)):
            continue
        batch.delete(batch.tables.held, key)
        released += _release_one(batch, reason, account, id, payload, progress)
    if len(rows) < limit:
        return Released(released, None)
    _, *last = HELD_KEY.unpack(rows[-1][0])
    return Released(released, (last[0], last[1]))


def _unknown_with(progress: Progress, carrier: int) -> bool:
    return any(part.carrier == carrier and part.state == MessageState.UNKNOWN for part in progress.parts)


def _release_one(
    batch: Batch, reason: int, account: int, id: int, payload: bytes, progress: Progress | None
) -> bool:
    """False: it is not sent, because its record is damaged or it was to be cancelled."""
    entry, phase = unpack_place(id, payload)
    message = batch.message(account, id)
    if message is None:
        batch.move(account, entry.lane, entry.segments, phase, Phase.FINAL)
        return False
    progress = progress or Progress(phase, MessageState.ENROUTE)
    if phase == Phase.UNKNOWN:
        correlation.drop_unknown(batch, progress.group, message)
    now_ms = batch.options.clock()
    if progress.cancel_wished:
        finalize(batch, message, progress, phase, MessageState.DELETED, Reason.CANCELLED, now_ms)
        return False
    due_ms = max(message.accepted_ms, message.send_at_ms)
    progress.phase, progress.reason, progress.until_ms = Phase.READY, Reason.NONE, due_ms
    progress.queue_mask = entry.tried
    follow(batch, message, progress, phase)
    entry = entry._replace(lane=lane_of(message, progress))
    note(progress, now_ms, Step.RELEASED, 0, Reason(reason).name)
    batch.put_progress(MESSAGE_KEY.pack(account, id), progress)
    put_ready(batch, entry, due_ms)
    batch.move(account, entry.lane, entry.segments, phase, Phase.READY)
    return True


def cancel(batch: Batch, account: int, id: int, now_ms: int) -> str:
    """`cancelled`, `leased` (the wish is kept: it will not be sent again), `final`, `sent` or `unknown`.

    What was sent cannot be taken back; where its route fails over by receipts, it goes to nobody else.
    """
    message = batch.message(account, id)
    if message is None:
        return "unknown"
    key = MESSAGE_KEY.pack(account, id)
    progress = batch.progress(key)
    phase, table, row = locate(batch.has, batch.tables, message, progress)
    progress = progress or Progress(phase, MessageState.ENROUTE)
    if phase == Phase.FINAL:
        return "final"
    if phase == Phase.AWAITING_RECEIPT:
        if message.route in batch.memory.on_receipt and not progress.cancel_wished:
            progress.cancel_wished = True
            note(progress, now_ms, Step.CANCEL_WISHED, 0, "")
            batch.put_progress(key, progress)
        return "sent"
    if phase == Phase.LEASED:
        # A progress that says LEASED and names no lease reads as "not settled yet".
        progress.cancel_wished = True
        note(progress, now_ms, Step.CANCEL_WISHED, 0, "")
        if progress.phase not in (Phase.LEASED,):
            progress.phase = Phase.LEASED
        batch.put_progress(key, progress)
        return "leased"
    if table is not None:
        batch.delete(table, row)
    if phase == Phase.UNKNOWN:
        correlation.drop_unknown(batch, progress.group, message)
    finalize(batch, message, progress, phase, MessageState.DELETED, Reason.CANCELLED, now_ms)
    return "cancelled"


def release_groups(batch: Batch, before_ms: int, now_ms: int, limit: int) -> int:
    """Groups that waited long enough: what came is sent, or ended where the account wants all or nothing."""
    released = 0
    for key, _ in batch.scan(batch.tables.long_time, b"\0", limit):
        first_ms, group = LONG_TIME_KEY.unpack(key)
        if first_ms >= before_ms:
            break
        batch.delete(batch.tables.long_time, key)
        prefix = group.to_bytes(8, "big")
        rows = batch.scan(batch.tables.long, prefix, 256, prefix)
        parts = [MESSAGE_KEY.unpack(payload) for _, payload in rows]
        if not parts or parts[0][1] >> 20 > before_ms:  # complete long ago, or another group by now
            continue
        for known, _ in rows:
            batch.delete(batch.tables.long, known)
        account = batch.memory.accounts.get(parts[0][0])
        if account is not None and account.parts_timeout == "fail":
            _fail_parts(batch, parts, now_ms)
        else:
            couple(batch, parts, now_ms)
        released += 1
    return released


def _fail_parts(batch: Batch, parts: Sequence[tuple[int, int]], now_ms: int) -> None:
    for account, id in parts:
        key = held_key(account, id)
        message = batch.message(account, id)
        if message is None or not batch.has(batch.tables.held, key):
            continue
        batch.delete(batch.tables.held, key)
        progress = batch.progress(MESSAGE_KEY.pack(account, id)) or Progress(Phase.HELD, MessageState.ENROUTE)
        finalize(batch, message, progress, Phase.HELD, MessageState.UNDELIVERABLE, Reason.PARTS, now_ms)
