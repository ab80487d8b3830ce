"""A message's timeline: what happened to it, bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.nouns import Progress

MAX_EVENTS = 64


def note(progress: Progress, at_ms: int, step: int, carrier: int, detail: str) -> None:
    """Add to the timeline; a peer that repeats itself for ever only replaces the middle."""
    events = progress.events
    if len(events) >= MAX_EVENTS:
        del events[MAX_EVENTS // 2]
    events.append((at_ms, step, carrier, detail))
