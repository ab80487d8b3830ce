"""Messages that become ready after carriers' limits on some messages have changed: they go by those in force.

Such limits belong to the lane's identity (architecture §3), so another limit means another lane: a variant
with the same carriers and weights, in which masks mean the same. What is ready when they change is moved by
store.replan; what falls due, is released or comes back from a carrier later is moved here, on its way.

Deliberately not here: which limits there are, and which lane is theirs (`OtherLimits.lane_now`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.nouns import MessageState, Phase, Progress
from store.lanes import lane_of
from store.records import MESSAGE_KEY, Entry

if TYPE_CHECKING:
    from router.nouns import Message
    from store.batch import Batch


def fallen_due(batch: Batch, entry: Entry, phase: int, due_ms: int) -> Entry:
    """A due row's message, in the lane it belongs to by now. Its row is gone already."""
    changed = batch.memory.other_limits
    if changed is None or entry.id >= changed.before or entry.lane not in changed.lanes:
        return entry
    message = batch.message(entry.account, entry.id)
    lane = entry.lane if message is None else changed.lane_now(entry.lane, message)
    if lane == entry.lane:
        return entry
    key = MESSAGE_KEY.pack(entry.account, entry.id)
    progress = batch.progress(key)
    if progress is None:
        progress = Progress(
            Phase.READY, MessageState.ENROUTE, tried=entry.tried, until_ms=due_ms, queue_mask=entry.tried
        )
    progress.lane = lane
    batch.put_progress(key, progress)
    batch.change_lane(entry.lane, lane, phase)
    return entry._replace(lane=lane)


def follow(batch: Batch, message: Message, progress: Progress, phase: int) -> None:
    """The same for a message whose progress is about to be written; it has no row."""
    changed = batch.memory.other_limits
    before = lane_of(message, progress)
    if changed is None or message.id >= changed.before or before not in changed.lanes:
        return
    lane = changed.lane_now(before, message)
    if lane != before:
        progress.lane = lane
        batch.change_lane(before, lane, phase)
