"""Messages whose lane is gone from the configuration: they go to the lane of their present route.

Only what is ready stands in a lane's queue, and only that is moved. What falls due, is released or comes back
from a carrier meets the same end when it becomes ready. So nothing about the job is stored: what is left to
do is what still stands in the lane, after a crash as well.

Kept: id, priority, due time, attempts, validity, and which carriers have had it, as far as the new lane has
them. A message without a route is HELD with Reason.LANE_GONE; `replan_held` asks for it again.

Deliberately not here: which lanes are gone, and which lane is the right one (`decide`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.lanes import all_had
from router.nouns import MessageState, Phase, Progress, Reason, Step
from store.interface import Released, Replanned
from store.queues import first_due_ms, put_held, put_ready, unpack_place
from store.records import ENTRY, HELD_KEY, LANE_KEY, MESSAGE_KEY, READY_KEY, READY_PREFIX_SIZE, Entry
from store.settle import all_but, whole_elsewhere
from store.timeline import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.nouns import LaneSpec, Message
    from store.batch import Batch

    Decide = Callable[[Message], int]


def replan(batch: Batch, lane: int, decide: Decide, limit: int, after: bytes = b"") -> Replanned:
    """Take up to `limit` ready messages out of a lane. `decide` gives each its new lane, 0 for none.

    A message for which `decide` names the same lane stays; `after`, of the portion before, passes over those.
    """
    done = Replanned()
    emptied: dict[bytes, None] = {}
    prefix = LANE_KEY.pack(lane)
    rows = batch.scan(batch.tables.ready, after + b"\0" if after else prefix, limit, prefix)
    if len(rows) >= limit:
        done.after = rows[-1][0]
    for key, payload in rows:
        _, tried, inverted, account, due_ms, id = READY_KEY.unpack(key)
        entry = Entry(account, id, lane, tried, 3 - inverted, *ENTRY.unpack(payload))
        message = batch.message(account, id)
        chosen = 0 if message is None else decide(message)
        if chosen == lane:
            continue
        batch.delete(batch.tables.ready, key)
        emptied[key[:READY_PREFIX_SIZE]] = None
        if message is None:  # its record is in quarantine
            batch.move(account, lane, entry.segments, Phase.READY, Phase.FINAL)
            done.lost += 1
        elif chosen:
            batch.change_lane(lane, chosen, Phase.READY)
            _move(batch, entry, chosen, due_ms)
            done.moved += 1
        else:
            _hold(batch, message, entry)
            done.held += 1
    for group in emptied:
        if not batch.scan(batch.tables.ready, group, 1, group):
            batch.memory.active.discard(group)
    return done


def replan_held(batch: Batch, decide: Decide, after: tuple[int, int], limit: int) -> Released:
    """Messages that had no lane: those that have one by now become ready in it, the others stay held."""
    released = 0
    prefix = bytes((Reason.LANE_GONE,))
    rows = batch.scan(batch.tables.held, HELD_KEY.pack(Reason.LANE_GONE, *after) + b"\0", limit, prefix)
    for key, payload in rows:
        _, account, id = HELD_KEY.unpack(key)
        entry, phase = unpack_place(id, payload)
        message = batch.message(account, id)
        chosen = 0 if message is None else decide(message)
        if message is None or not chosen:
            continue
        batch.delete(batch.tables.held, key)
        batch.change_lane(entry.lane, chosen, phase)
        _move(batch, entry, chosen, first_due_ms(message))
        batch.move(account, chosen, entry.segments, phase, Phase.READY)
        released += 1
    if len(rows) < limit:
        return Released(released, None)
    _, *last = HELD_KEY.unpack(rows[-1][0])
    return Released(released, (last[0], last[1]))


def _move(batch: Batch, entry: Entry, lane: int, due_ms: int) -> None:
    """Into the new lane's queue; its old row is gone already."""
    now_ms = batch.options.clock()
    key = MESSAGE_KEY.pack(entry.account, entry.id)
    progress = batch.progress(key) or Progress(Phase.READY, MessageState.ENROUTE)
    entry = in_lane(batch, entry, progress, lane, now_ms)
    progress.phase, progress.until_ms = Phase.READY, due_ms
    if progress.reason == Reason.LANE_GONE:
        progress.reason = Reason.NONE
    note(progress, now_ms, Step.REPLANNED, 0, f"to {carriers_of(batch, lane)}")
    batch.put_progress(key, progress)
    put_ready(batch, entry, due_ms)


def in_lane(batch: Batch, entry: Entry, progress: Progress, lane: int, now_ms: int) -> Entry:
    """A message's place in another lane, and `progress` as it is there: which of the lane's carriers have had
    it, and whether the rest of a long message goes on with the carrier of its first parts."""
    names = batch.core.names
    new = names.lane(lane)
    progress.tried = mask = _carried_over(progress.tried, names.lane(entry.lane), new)
    first_part = entry.first_part
    if first_part:
        carrier = progress.parts[0].carrier if progress.parts else 0
        only = all_but(new, carrier)
        if carrier in new.carriers and not all_had(only, new):
            mask = only
        else:
            note(progress, now_ms, Step.RESENT, carrier, whole_elsewhere(first_part))
            first_part = 0
    progress.lane, progress.queue_mask = lane, mask
    return entry._replace(lane=lane, tried=mask, first_part=first_part)


def carriers_of(batch: Batch, lane: int) -> str:
    """A lane as timelines tell of it: its carriers in order."""
    names = batch.core.names
    return ">".join(names.carrier_name(carrier) for carrier in names.lane(lane).carriers)


def _hold(batch: Batch, message: Message, entry: Entry) -> None:
    key = MESSAGE_KEY.pack(entry.account, entry.id)
    progress = batch.progress(key) or Progress(Phase.HELD, MessageState.ENROUTE)
    progress.phase, progress.reason, progress.until_ms = Phase.HELD, Reason.LANE_GONE, 0
    progress.lane = entry.lane
    note(progress, batch.options.clock(), Step.HELD, 0, Reason.LANE_GONE.name)
    batch.put_progress(key, progress)
    put_held(batch, entry, Reason.LANE_GONE, Phase.HELD)
    batch.move(entry.account, entry.lane, message.segments, Phase.READY, Phase.HELD)


def _carried_over(tried: int, old: LaneSpec, new: LaneSpec) -> int:
    """The same carriers as bits of the new lane; 0 when that leaves nobody but those that drain."""
    gone = {carrier for index, carrier in enumerate(old.carriers) if tried >> index & 1}
    mask = sum(1 << index for index, carrier in enumerate(new.carriers) if carrier in gone)
    return 0 if all_had(mask, new) else mask
