"""What the pump knows of one endpoint: its rows at hand, its workers, its health. Decisions only, no I/O.

Invariants:
- a row's seq is in `taken` from the moment it was read until the commit that removes it from the outbox
  is durable, so that no row is handed out twice at once;
- `allowed` workers is 1 until the endpoint has answered well, doubles with each success up to the limit, and
  is 1 again after a failure streak: a dead endpoint holds one connection, not all of them;
- after `breaker_failures` failures in a row the circuit is open: nothing is tried before `resume_at`, then a
  single probe; each failed probe doubles the pause.

`now` is monotonic seconds (trio's clock). Deliberately not here: the store, HTTP, the wall clock.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NamedTuple

import trio

from store.interface import Endpoint, OutboxRow

_PROBE_FIRST_S = 1.0
_RECENT = 20  # attempts that are remembered for whoever asks


class Health(Enum):
    """As shown to an operator."""

    GOOD = "good"
    FAILING = "failing"  # the last answer was bad, the circuit still closed
    OPEN = "open"  # one probe at a time
    PAUSED = "paused"  # it said Retry-After
    DISABLED = "disabled"  # it said 410


class Attempt(NamedTuple):
    """One request that ended, of `events` events; `message_id` is the first one's."""

    at_ms: int
    message_id: int
    events: int
    outcome: str  # CallbackPump.OUTCOMES
    error: str  # "" where it was delivered
    duration_s: float


class EndpointState:
    """One endpoint, kept while the store knows it."""

    __slots__ = (
        "account",
        "allowed",
        "cursor",
        "endpoint",
        "failures",
        "health",
        "held",
        "id",
        "last_error",
        "leaving",
        "parked",
        "parking",
        "probes",
        "probing",
        "proven",
        "ready",
        "recent",
        "resume_at",
        "rewind_at",
        "taken",
        "workers",
    )

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.id = endpoint.id
        self.account = endpoint.account
        self.cursor = 0
        self.rewind_at = 0.0
        self.ready: deque[OutboxRow] = deque()
        self.recent: deque[Attempt] = deque(maxlen=_RECENT)
        self.taken: set[int] = set()
        self.workers = 0
        self.parked = 0
        self.leaving = 0
        self.parking = trio.lowlevel.ParkingLot()
        self.allowed = 1
        self.proven = False
        self.failures = 0
        self.probing = False
        self.probes = 0
        self.held = False  # by an operator, while its rows are moved
        self.health = Health.GOOD
        self.resume_at = 0.0
        self.last_error = ""

    def closed(self, now: float) -> bool:
        """Must nothing be tried now?"""
        return self.held or now < self.resume_at or self.probing

    def trying(self) -> None:
        """A POST starts: while the endpoint is shut it is the only one."""
        self.probing = self.health not in (Health.GOOD, Health.FAILING)

    def succeeded(self, concurrency: int) -> None:
        """A 2xx: the circuit closes, one more doubling of the workers."""
        self.proven = True
        self.last_error = ""
        self.reopen()
        self.allowed = min(concurrency, self.allowed * 2)

    def failed(
        self, error: str, now: float, breaker_failures: int, probe_max_s: float, jitter: float
    ) -> None:
        """Anything but a 2xx. `jitter` in [0, 1) spreads the probes of many endpoints."""
        self.failures += 1
        self.last_error = error
        if self.probing or self.health is Health.GOOD:
            self.health = Health.FAILING
        if self.failures < breaker_failures:
            self.probing = False
            return
        if not self.probing and self.resume_at > now:
            return  # one of those that were under way when the circuit opened
        pause_s = min(probe_max_s, _PROBE_FIRST_S * 2 ** min(self.probes, 16)) * (0.75 + 0.5 * jitter)
        self.probes += 1
        self.shut(Health.OPEN, now + pause_s)

    def shut(self, health: Health, until: float) -> None:
        """Try nothing before `until`, then one probe. What 410 set is not shortened by stragglers."""
        if self.health is not Health.DISABLED:
            self.health = health
        self.resume_at = max(self.resume_at, until)
        self.probing = False
        self.proven = False
        self.allowed = 1
        self.let_go()

    def reopen(self) -> None:
        """Back to normal; the number of workers grows again from where it is."""
        self.failures = 0
        self.probes = 0
        self.probing = False
        self.health = Health.GOOD
        self.resume_at = 0.0

    def let_go(self) -> None:
        """Forget the rows at hand: they are still in the outbox and will be read again."""
        self.taken.difference_update(row.seq for row in self.ready)
        self.ready.clear()
        self.cursor = 0

    def wanted(self, batch: int) -> int:
        """How many more workers the rows could use: a full batch each, the last one if none is busy."""
        busy = self.workers - self.parked
        full = len(self.ready) // batch
        return full if full or busy else int(bool(self.ready))
