"""A message's timeline: what happened to it, bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.nouns import Step

if TYPE_CHECKING:
    from router.nouns import Progress

MAX_EVENTS = 64
_SENT = int(Step.SENT)


def note(progress: Progress, at_ms: int, step: int, carrier: int, detail: str) -> None:
    """Add to the timeline; a peer that repeats itself for ever only replaces the middle.

    Who was sent it stays: fail over by receipts asks the timeline for it (store/fail_over.py).
    """
    events = progress.events
    if len(events) >= MAX_EVENTS:
        middle = range(MAX_EVENTS // 2, MAX_EVENTS)
        del events[next((at for at in middle if events[at][1] != _SENT), MAX_EVENTS // 2)]
    events.append((at_ms, step, carrier, detail))
