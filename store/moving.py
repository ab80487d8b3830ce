"""What operators do to messages that wait: move them to another lane, bounce them, force one, reroute one.

A mass act goes over the held, the due and the ready rows, in this order, in portions of one transaction each;
a message that changes its place meanwhile only goes further along that way, so none is missed. Nothing about
the act is stored: what it has moved is in the lane it was to go to, what it has bounced has ended, and what
is left to do is what still fits. So it may be cut off anywhere, and the same act goes on with the rest.

- Never touched: what carriers have in hand, and what nobody knows the outcome of. What may have been sent
  already (a possible duplicate that waits to be sent again) is moved, but not bounced.
- Kept by a move: id, priority, validity, price, attempts, and which carriers have had it, as far as the new
  lane has them. What was deferred is ready at once where the new lane has a carrier that the old one had not;
  what is scheduled or held stays so, but for what was held because its lane was gone.
- Parts of a customer's long message go where their first one goes, and are not moved on their own.
- A forced message stands alone, in front of its lane's queues: in one that only the carrier it was forced to
  has not had (`FORCED`). If that one gives it back, it waits as any other; if it only says "too fast", the
  message keeps its place.

Deliberately not here: which lane is the right one, and whether a carrier can take it (gateway.admin_queues).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from router.lanes import all_had
from router.nouns import MessageState, Phase, Progress, Reason, Step
from store import fail_over, limits
from store.ending import finalize
from store.interface import Acted, Waiting, WaitingPage
from store.lanes import lane_of
from store.queues import first_due_ms, locate, put_due, put_held, put_ready, unpack_place
from store.records import (
    DUE_KEY,
    ENTRY,
    HELD_KEY,
    KEEPS_PLACE,
    MESSAGE_KEY,
    POSSIBLE_DUPLICATE,
    READY_KEY,
    READY_PREFIX_SIZE,
    Entry,
    decode_message,
)
from store.replan import carriers_of, in_lane
from store.settle import accepted_parts, alone, whole_elsewhere
from store.timeline import note
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Callable

    import lmdb

    from router.nouns import Message
    from store.batch import Batch
    from store.interface import Which
    from store.layout import Table, Tables

IN_PARTS = "part of a long message: it goes with the others"
MAYBE_SENT = "may have been sent already: it can only be cancelled"
HAD_IT = "every carrier there has accepted it before"
_DAMAGED = "its record is damaged"

_HELD, _DUE, _READY = range(3)  # where a walk goes, in order; the first octet of where it goes on
_LAST = b"\xff" * (READY_KEY.size - READY_PREFIX_SIZE)  # behind all rows of a queue
_LOOK = 2_000  # rows that one portion looks at, whether they fit or not


class _Row(NamedTuple):
    """A waiting message's row; `reason`: of what is held."""

    table: Table
    key: bytes
    entry: Entry
    phase: int
    due_ms: int
    reason: int


# finding them


def waiting_page(
    tx: lmdb.Transaction[bytes], tables: Tables, which: Which, after: bytes, limit: int
) -> WaitingPage:
    """Waiting messages that fit, as they stand, and where the next page begins."""
    rows, after = _walk(tx, tables, which, after, limit)
    found = []
    for row in rows:
        key = MESSAGE_KEY.pack(row.entry.account, row.entry.id)
        value = tx.get(key, None, tables.message.handle)
        if value is None:
            continue
        try:
            message = decode_message(unseal(key, value))
        except Damaged:
            continue
        if which.fits is None or which.fits(message):
            maybe_sent = bool(row.entry.flags & POSSIBLE_DUPLICATE)
            found.append(Waiting(message, row.entry.lane, row.phase, row.reason, maybe_sent))
    return WaitingPage(found, after)


def _walk(
    tx: lmdb.Transaction[bytes], tables: Tables, which: Which, after: bytes, limit: int
) -> tuple[list[_Row], bytes]:
    """Up to `limit` rows that fit by what they say themselves. Damaged ones are for others to find."""
    rows: list[_Row] = []
    stage, start = (after[0], after[1:]) if after else (_HELD, b"")
    looked = 0
    while stage <= _READY:
        table = (tables.held, tables.due, tables.ready)[stage]
        with tx.cursor(table.handle) as cursor:
            found = _is_wanted(stage, which) and (cursor.set_range(start) if start else cursor.first())
            while found:
                key, value = cursor.item()
                if looked >= _LOOK or len(rows) >= limit:
                    return rows, bytes((stage,)) + key
                looked += 1
                if stage == _READY and not _group_fits(key, which):
                    found = cursor.set_range(key[:READY_PREFIX_SIZE] + _LAST)
                    continue
                row = _row(stage, table, key, value)
                if row is not None and _fits(row, which):
                    rows.append(row)
                found = cursor.next()
        stage, start = stage + 1, b""
    return rows, b""


def _is_wanted(stage: int, which: Which) -> bool:
    phases = ((Phase.HELD,), (Phase.SCHEDULED, Phase.DEFERRED), (Phase.READY,))[stage]
    return not which.phases.isdisjoint(phases)


def _group_fits(key: bytes, which: Which) -> bool:
    """Whether a ready row's queue may have any that fit: a backlog of others costs one seek."""
    lane, _, inverted, account, _, _ = READY_KEY.unpack(key)
    return (
        (not which.lanes or lane in which.lanes)
        and (not which.accounts or account in which.accounts)
        and (not which.priorities or 3 - inverted in which.priorities)
    )


def _row(stage: int, table: Table, key: bytes, value: bytes) -> _Row | None:
    try:
        payload = unseal(key, value)
    except Damaged:
        return None
    if stage == _READY:
        lane, tried, inverted, account, due_ms, id = READY_KEY.unpack(key)
        entry = Entry(account, id, lane, tried, 3 - inverted, *ENTRY.unpack(payload))
        return _Row(table, key, entry, Phase.READY, due_ms, Reason.NONE)
    if stage == _DUE:
        due_ms, id = DUE_KEY.unpack(key)
        entry, phase = unpack_place(id, payload)
        return _Row(table, key, entry, phase, due_ms, Reason.NONE)
    reason, _, id = HELD_KEY.unpack(key)
    entry, phase = unpack_place(id, payload)
    return _Row(table, key, entry, phase, 0, reason)


def _fits(row: _Row, which: Which) -> bool:
    entry = row.entry
    return (
        row.phase in which.phases
        and row.phase != Phase.UNKNOWN
        and which.first_id <= entry.id < which.before_id
        and (not which.lanes or entry.lane in which.lanes)
        and (not which.accounts or entry.account in which.accounts)
        and (not which.priorities or entry.priority in which.priorities)
    )


# many of them


def move(
    batch: Batch, which: Which, decide: Callable[[Message], int | str], said: str, limit: int, after: bytes
) -> Acted:
    """Each of up to `limit` messages goes to the lane that `decide` names, or stays, for the reason it gives.

    `said`: by whom and why, for timelines. What is in that lane already is passed over.
    """
    now_ms = batch.options.clock()

    def act(message: Message, row: _Row) -> str | None:
        why = _stays(row)
        if why:
            return why
        lane = decide(message)
        if isinstance(lane, str):
            return lane
        if lane == row.entry.lane:
            return None
        return _move_one(batch, message, row, lane, said, now_ms)

    return _portion(batch, which, act, limit, after)


def bounce(batch: Batch, which: Which, state: int, now_ms: int, said: str, limit: int, after: bytes) -> Acted:
    """Up to `limit` messages end in `state`, with Reason.BOUNCED; whoever wants to be told is told."""

    def act(message: Message, row: _Row) -> str | None:
        if row.entry.flags & POSSIBLE_DUPLICATE:
            return MAYBE_SENT
        batch.delete(row.table, row.key)
        key = MESSAGE_KEY.pack(message.account, message.id)
        progress = batch.progress(key) or Progress(row.phase, MessageState.ENROUTE)
        note(progress, now_ms, Step.BOUNCED, 0, said)
        finalize(batch, message, progress, row.phase, state, Reason.BOUNCED, now_ms, key=key)
        return ""

    return _portion(batch, which, act, limit, after)


def _portion(
    batch: Batch, which: Which, act: Callable[[Message, _Row], str | None], limit: int, after: bytes
) -> Acted:
    """`act` on each: it answers "" for done, why not, or None for nothing to do."""
    done = Acted()
    emptied: dict[bytes, None] = {}
    rows, done.after = _walk(batch.tx, batch.tables, which, after, limit)
    for row in rows:
        if not batch.has(row.table, row.key):  # it went together with one before it
            continue
        message = batch.message(row.entry.account, row.entry.id)
        if message is None:
            done.stays(_DAMAGED)
            continue
        if which.fits is not None and not which.fits(message):
            continue
        why = act(message, row)
        if why:
            done.stays(why)
        elif why is not None:
            done.count += 1
            done.segments += message.segments
            if row.phase == Phase.READY:
                emptied[row.key[:READY_PREFIX_SIZE]] = None
    _leave(batch, emptied)
    return done


def _leave(batch: Batch, groups: dict[bytes, None]) -> None:
    """Those of these queues that have nothing left have no turns."""
    for group in groups:
        if not batch.scan(batch.tables.ready, group, 1, group):
            batch.memory.active.discard(group)


def _stays(row: _Row) -> str:
    return IN_PARTS if row.reason == Reason.PARTS else ""


def _move_one(batch: Batch, message: Message, row: _Row, lane: int, said: str, now_ms: int) -> str:
    """ "" once it is in the new lane, else why not."""
    entry, phase = row.entry, row.phase
    key = MESSAGE_KEY.pack(message.account, message.id)
    progress = batch.progress(key) or Progress(phase, MessageState.ENROUTE, until_ms=row.due_ms)
    new = batch.core.names.lane(lane)
    had = fail_over.had_by(new, progress) if progress.passed_on else 0
    if had and all_had(had, new) and not entry.first_part:
        return HAD_IT
    way = f"{carriers_of(batch, entry.lane)} to {carriers_of(batch, lane)}"
    batch.delete(row.table, row.key)
    entry = in_lane(batch, entry, progress, lane, now_ms)
    if had and not entry.first_part:
        mask = progress.tried | had
        progress.tried = progress.queue_mask = had if all_had(mask, new) else mask
        entry = entry._replace(tried=progress.tried)
    batch.change_lane(row.entry.lane, lane, phase)
    after, due_ms = _as_it_waits(batch, message, row, lane)
    progress.phase, progress.until_ms = after, due_ms
    if after == Phase.READY and phase != Phase.READY:
        progress.reason = Reason.NONE
    note(progress, now_ms, Step.MOVED, 0, f"{way}, {said}")
    if after == Phase.READY:
        put_ready(batch, entry._replace(flags=entry.flags & ~KEEPS_PLACE), due_ms)
    elif after == Phase.HELD:
        put_held(batch, entry, row.reason, after)
    else:
        put_due(batch, entry, due_ms, after)
    batch.move(message.account, lane, entry.segments, phase, after)
    batch.put_progress(key, progress)
    return ""


def _as_it_waits(batch: Batch, message: Message, row: _Row, lane: int) -> tuple[int, int]:
    """(phase, due time or 0) that a message has once it is in another lane."""
    if row.phase == Phase.HELD:
        gone = row.reason == Reason.LANE_GONE
        return (Phase.READY, first_due_ms(message)) if gone else (Phase.HELD, 0)
    if row.phase == Phase.DEFERRED and not row.entry.flags & POSSIBLE_DUPLICATE:
        names = batch.core.names
        if not set(names.lane(lane).carriers) <= set(names.lane(row.entry.lane).carriers):
            return Phase.READY, first_due_ms(message)
    return row.phase, row.due_ms


# one of them


def reroute(batch: Batch, account: int, id: int, lane: int, said: str) -> str:
    """`moved`, `there` (it is in that lane already), or why not: `unknown` (no such message), `leased`,
    `sent`, `final`, `outcome_unknown`, `parts`, `had` (every carrier there accepted it before)."""
    found = _found(batch, account, id)
    if isinstance(found, str):
        return found
    message, _, row = found
    if row.reason == Reason.PARTS:
        return "parts"
    if row.entry.lane == lane:
        return "there"
    if _move_one(batch, message, row, lane, said, batch.options.clock()):
        return "had"
    if row.phase == Phase.READY:
        _leave(batch, {row.key[:READY_PREFIX_SIZE]: None})
    return "moved"


def force(batch: Batch, account: int, id: int, carrier: int, now_ms: int, said: str) -> str:
    """`forced`: it is ready, and this carrier's next in its lane. Or why not, as `reroute`; `elsewhere`: the
    carrier is not in its lane; `expired`."""
    found = _found(batch, account, id)
    if isinstance(found, str):
        return found
    message, progress, row = found
    if row.reason == Reason.PARTS:
        return "parts"
    if message.expires_ms <= now_ms:
        return "expired"
    key = MESSAGE_KEY.pack(account, id)
    progress = progress or Progress(row.phase, MessageState.ENROUTE)
    spec = batch.core.names.lane(row.entry.lane)
    if carrier not in spec.carriers:
        return "elsewhere"
    if progress.passed_on and fail_over.had(progress, carrier):
        return "had"
    batch.delete(row.table, row.key)
    due_ms = min(first_due_ms(message), now_ms)
    progress.phase, progress.reason, progress.until_ms = Phase.READY, Reason.NONE, due_ms
    limits.follow(batch, message, progress, row.phase)
    entry = row.entry._replace(lane=lane_of(message, progress), flags=row.entry.flags & ~KEEPS_PLACE)
    if entry.first_part and not any(part.carrier == carrier for part in progress.parts[:1]):
        note(progress, now_ms, Step.RESENT, carrier, whole_elsewhere(accepted_parts(progress.parts)))
        entry = entry._replace(first_part=0)
    progress.queue_mask = mask = alone(spec, carrier)
    entry = entry._replace(tried=mask)
    note(progress, now_ms, Step.FORCED, carrier, said)
    put_ready(batch, entry, due_ms)
    batch.move(account, entry.lane, entry.segments, row.phase, Phase.READY)
    batch.put_progress(key, progress)
    if row.phase == Phase.READY:
        _leave(batch, {row.key[:READY_PREFIX_SIZE]: None})
    return "forced"


def _found(batch: Batch, account: int, id: int) -> tuple[Message, Progress | None, _Row] | str:
    """One waiting message and its row, or what it is instead."""
    message = batch.message(account, id)
    if message is None:
        return "unknown"
    progress = batch.progress(MESSAGE_KEY.pack(account, id))
    phase, table, key = locate(batch.has, batch.tables, message, progress)
    if phase in _ELSEWHERE:
        return _ELSEWHERE[phase]
    value = batch.get(table, key) if table is not None else None
    if table is None or value is None:  # its row is damaged
        return "unknown"
    stage = _READY if table is batch.tables.ready else _DUE if table is batch.tables.due else _HELD
    row = _row(stage, table, key, batch.tx.get(key, None, table.handle) or b"")
    return "unknown" if row is None else (message, progress, row)


_ELSEWHERE: dict[int, str] = {
    Phase.FINAL: "final",
    Phase.LEASED: "leased",
    Phase.AWAITING_RECEIPT: "sent",
    Phase.UNKNOWN: "outcome_unknown",
}
