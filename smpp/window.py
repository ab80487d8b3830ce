"""The window: our requests that wait for their response, by sequence_number, with their deadlines.

Invariants: `outstanding` is the size of the map of requests in flight, never a count of its own (failure
mode 42: a window that stays stuck); no number is given out while a request, a late response or the session
itself still uses it (failure modes 2 and 17); whatever is added leaves exactly once, by `take`, `expire` or
`drain`. Requests usually share one timeout, so the map's order is the order of deadlines and the next one is
found at its front; the few with a timeout of their own are kept beside it.

Deliberately not here: PDUs, and whether a response's command_id fits its request (smpp.session).
"""

from __future__ import annotations

from smpp.constants import MAX_SEQUENCE_NUMBER

# context, registered at (s), command_id of the response
Pending = tuple[object, float, int]

_LATE_WINDOWS = 16  # late responses awaited at most: so many windows' worth, the oldest are given up
_LATE_LEAST = 1_024


class WindowFull(Exception):
    """No free slot: look at `window_free` before taking work."""


class Window:
    """`size` slots; all times in seconds on the caller's monotonic clock.

    `in_flight` is public for the session's inner loop, which pops from it directly.
    """

    __slots__ = (
        "_grace_s",
        "_last",
        "_late_limit",
        "_wrapped",
        "in_flight",
        "late",
        "odd",
        "reserved",
        "size",
        "timeout_s",
    )

    def __init__(self, size: int, timeout_s: float, grace_s: float, first_sequence_number: int = 1) -> None:
        self.size = size
        self.timeout_s = timeout_s
        self.in_flight: dict[int, Pending] = {}
        self.odd: dict[int, tuple[Pending, float]] = {}  # own timeout: with its deadline
        self.late: dict[int, tuple[Pending, float]] = {}  # timed out: with the end of its grace
        self.reserved: dict[int, int] = {}  # the session's own requests: their command_id; they take no slot
        self._grace_s = grace_s
        self._late_limit = max(_LATE_LEAST, _LATE_WINDOWS * size)
        self._last = first_sequence_number - 1
        self._wrapped = False

    def change(self, size: int, timeout_s: float, grace_s: float) -> None:
        """Other limits from now on. What is in flight above a smaller size stays, and takes free slots."""
        self.size, self.timeout_s, self._grace_s = size, timeout_s, grace_s
        self._late_limit = max(_LATE_LEAST, _LATE_WINDOWS * size)

    @property
    def outstanding(self) -> int:
        return len(self.in_flight) + len(self.odd)

    @property
    def free(self) -> int:
        return max(0, self.size - len(self.in_flight) - len(self.odd))

    def next_number(self) -> int:
        """The next sequence_number: 1 to 0x7FFFFFFF, then 1 again, without those still in use."""
        number = self._last + 1
        if number > MAX_SEQUENCE_NUMBER:
            number = 1
            self._wrapped = True
        if self._wrapped:  # before the first wrap every number is a fresh one
            while self._in_use(number):
                number = number + 1 if number < MAX_SEQUENCE_NUMBER else 1
        self._last = number
        return number

    def _in_use(self, number: int) -> bool:
        return (
            number in self.in_flight or number in self.odd or number in self.late or number in self.reserved
        )

    def add(self, number: int, pending: Pending, timeout_s: float | None = None) -> None:
        """Register a request. Raises WindowFull."""
        if len(self.in_flight) + len(self.odd) >= self.size:
            raise WindowFull(f"{self.size} requests are unanswered")
        if timeout_s is None or timeout_s == self.timeout_s:
            self.in_flight[number] = pending
        else:
            self.odd[number] = (pending, pending[1] + timeout_s)

    def find(self, number: int) -> Pending | None:
        """The request in flight with this number."""
        pending = self.in_flight.get(number)
        if pending is None and number in self.odd:
            pending = self.odd[number][0]
        return pending

    def take(self, number: int) -> Pending | None:
        """The same, out of the window: it is answered."""
        pending = self.in_flight.pop(number, None)
        if pending is None and number in self.odd:
            pending = self.odd.pop(number)[0]
        return pending

    def find_late(self, number: int, now: float) -> Pending | None:
        """A request that timed out, and whose response is still welcome."""
        awaited = self.late.get(number)
        return awaited[0] if awaited is not None and now < awaited[1] else None

    def take_late(self, number: int) -> None:
        del self.late[number]

    def next_deadline(self) -> float | None:
        """When the next request times out. O(1) but for requests with a timeout of their own."""
        deadlines = [deadline for _, deadline in self.odd.values()]
        for pending in self.in_flight.values():
            deadlines.append(pending[1] + self.timeout_s)
            break
        return min(deadlines, default=None)

    def expire(self, now: float) -> list[tuple[int, object]]:
        """Requests whose response timer has run out, as (sequence_number, context); their grace begins."""
        expired: list[tuple[int, Pending]] = []
        for number, pending in self.in_flight.items():
            if pending[1] + self.timeout_s > now:
                break
            expired.append((number, pending))
        for number, (pending, deadline) in self.odd.items():
            if deadline <= now:
                expired.append((number, pending))
        for number, pending in expired:
            self.take(number)
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
        return [
            *(pending[0] for pending in self.in_flight.values()),
            *(pending[0] for pending, _ in self.odd.values()),
        ]

    def drain(self) -> list[object]:
        """Contexts of everything in flight, oldest first; the window is empty afterwards."""
        left = [*self.in_flight.values(), *(pending for pending, _ in self.odd.values())]
        if self.odd:
            left.sort(key=lambda pending: pending[1])
        self.in_flight.clear()
        self.odd.clear()
        self.late.clear()
        self.reserved.clear()
        return [pending[0] for pending in left]
