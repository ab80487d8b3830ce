"""Message ids: 63 bits, ordered by time, monotone even when the clock steps back.

An id is `UTC milliseconds << 20 | n`. The milliseconds name the dated archive a finished message moves to;
20 bits leave room for a million ids in one millisecond, and an overflow simply borrows from the next one.

Invariant: ids handed out never repeat and never decrease, across restarts too, because the store keeps the
last one with every commit. Ids taken for a commit that failed are never used again.
"""

from __future__ import annotations

from collections.abc import Callable

SHIFT = 20


class IdSource:
    """Hands out ids; `clock` gives UTC milliseconds."""

    __slots__ = ("_clock", "last")

    def __init__(self, clock: Callable[[], int], last: int = 0) -> None:
        self._clock = clock
        self.last = last

    def take(self, n: int) -> range:
        """The next `n` ids, ascending."""
        first = max(self.last + 1, self._clock() << SHIFT)
        self.last = first + n - 1
        return range(first, first + n)


def ms_of(id: int) -> int:
    """UTC milliseconds at which an id was made (or later, after a step back of the clock)."""
    return id >> SHIFT


def first_id_at(at_ms: int) -> int:
    """The lowest id that can belong to `at_ms`."""
    return at_ms << SHIFT
