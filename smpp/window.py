"""The window: our requests that wait for their response, by sequence_number, with their deadlines.

Invariants: `outstanding` is the size of the map of requests in flight, never a count of its own (failure
mode 42: a window that stays stuck); no number is given out while a request, a late response or the session
itself still uses it (failure modes 2 and 17); whatever is added leaves exactly once, by `take`, `expire` or
`drain`. All requests share one timeout, so the map's order is the order of deadlines, the next one first.

Deliberately not here: PDUs, and whether a response's command_id fits its request (smpp.session).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from smpp.constants import MAX_SEQUENCE_NUMBER

# context, registered at (s), command_id of the response
Pending = tuple[object, float, int]

_LATE_WINDOWS = 16  # late responses awaited at most: so many windows' worth, the oldest are given up
_LATE_LEAST = 1_024


class WindowFull(Exception):
    """No free slot: look at `window_free` before taking work."""


class Window:
    """`size` slots; all times in seconds on the caller's monotonic clock.

    `in_flight` is public for the session's inner loops, and so is `numbers`, the sequence_numbers to come.
    """

    __slots__ = (
        "_grace_s",
        "_late_limit",
        "in_flight",
        "late",
        "numbers",
        "reserved",
        "size",
        "timeout_s",
    )

    def __init__(self, size: int, timeout_s: float, grace_s: float) -> None:
        self.size = size
        self.timeout_s = timeout_s
        self.in_flight: dict[int, Pending] = {}
        self.late: dict[int, tuple[Pending, float]] = {}  # timed out: with the end of its grace
        self.reserved: dict[int, int] = {}  # the session's own requests: their command_id; they take no slot
        self._grace_s = grace_s
        self._late_limit = max(_LATE_LEAST, _LATE_WINDOWS * size)
        self.numbers = self.numbers_from(1)

    def change(self, size: int, timeout_s: float, grace_s: float) -> None:
        """Other limits from now on. What is in flight above a smaller size stays, and takes free slots."""
        self.size, self.timeout_s, self._grace_s = size, timeout_s, grace_s
        self._late_limit = max(_LATE_LEAST, _LATE_WINDOWS * size)

    @property
    def outstanding(self) -> int:
        return len(self.in_flight)

    def numbers_from(self, first: int) -> Iterator[int]:
        """Sequence_numbers up to 0x7FFFFFFF, which are all fresh; then from 1, without those still in use."""
        return chain(range(first, MAX_SEQUENCE_NUMBER + 1), self._used_numbers())

    def _used_numbers(self) -> Iterator[int]:
        while True:
            for number in range(1, MAX_SEQUENCE_NUMBER + 1):
                if number not in self.in_flight and number not in self.late and number not in self.reserved:
                    yield number

    def check(self, count: int = 1) -> None:
        """Raises WindowFull when there is no room for so many more requests."""
        if len(self.in_flight) + count > self.size:
            raise WindowFull(f"{len(self.in_flight)} of {self.size} requests are unanswered")

    def take(self, number: int) -> Pending | None:
        """The request in flight with this number, out of the window: it is answered."""
        return self.in_flight.pop(number, None)

    def find_late(self, number: int, now: float) -> Pending | None:
        """A request that timed out, and whose response is still welcome."""
        awaited = self.late.get(number)
        return awaited[0] if awaited is not None and now < awaited[1] else None

    def take_late(self, number: int) -> None:
        del self.late[number]

    def next_deadline(self) -> float | None:
        """When the next request times out."""
        for pending in self.in_flight.values():
            return pending[1] + self.timeout_s
        return None

    def expire(self, now: float) -> list[tuple[int, object]]:
        """Requests whose response timer has run out, as (sequence_number, context); their grace begins."""
        expired: list[tuple[int, Pending]] = []
        for number, pending in self.in_flight.items():
            if pending[1] + self.timeout_s > now:
                break
            expired.append((number, pending))
        for number, pending in expired:
            del self.in_flight[number]
            self.late[number] = (pending, now + self._grace_s)
        self._forget(now)
        return [(number, pending[0]) for number, pending in expired]

    def _forget(self, now: float) -> None:
        """End the grace of the oldest: their time is over, or there are too many."""
        surplus = len(self.late) - self._late_limit
        over: list[int] = []
        for number, (_, until) in self.late.items():
            if until > now and len(over) >= surplus:
                break
            over.append(number)
        for number in over:
            del self.late[number]

    def contexts(self) -> list[object]:
        """Of everything in flight; it stays there."""
        return [pending[0] for pending in self.in_flight.values()]

    def drain(self) -> list[object]:
        """Contexts of everything in flight, oldest first; the window is empty afterwards."""
        left = self.contexts()
        self.in_flight.clear()
        self.late.clear()
        self.reserved.clear()
        return left
