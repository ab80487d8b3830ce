"""What is counted since the store was opened, for metrics: how messages ended, and what was never matched.

Added up once a commit, after it: a verb only leaves a tuple behind, and both together take 0.2 us a message.
Nothing here is stored and nothing decides by it; what must survive a restart is in the counters (batch.py).

Deliberately not here: names of carriers and states, Prometheus.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

from router.nouns import MessageState, Reason

if TYPE_CHECKING:
    from router.nouns import Message, Progress

DELAYS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
_DELAYS_MS = tuple(int(bound * 1000) for bound in DELAYS_S)
_STATE_BITS = 4
_RECEIPT = int(Reason.RECEIPT)


class Delays:
    """Counts by bucket of DELAYS_S, not cumulative; the last is +Inf."""

    __slots__ = ("counts", "total_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(DELAYS_S) + 1)
        self.total_ms = 0


class Tallies:
    """`delivery`: carrier → from accept (or send_at) to the final receipt, of messages that one ended.

    `unmatched`: (carrier, reason) → receipts; reasons are a closed set (store.parked). Carrier 0 = none.
    """

    __slots__ = ("_finished", "delivery", "unmatched")

    def __init__(self) -> None:
        self._finished: dict[int, int] = {}  # carrier << 4 | state
        self.delivery: dict[int, Delays] = {}
        self.unmatched: dict[tuple[int, str], int] = {}

    @property
    def finished(self) -> dict[tuple[int, int], int]:
        """(carrier that had it last, final state) → messages."""
        return {
            (key >> _STATE_BITS, key & (1 << _STATE_BITS) - 1): count for key, count in self._finished.items()
        }

    def add_ended(self, ended: Iterable[tuple[Message, Progress, int]]) -> None:
        """(message, its progress, when it ended in ms) of one commit."""
        finished, delivery = self._finished, self.delivery
        for message, progress, now_ms in ended:
            parts = progress.parts
            carrier = parts[0].carrier if parts else 0
            key = carrier << _STATE_BITS | progress.state
            finished[key] = finished.get(key, 0) + 1
            if progress.reason == _RECEIPT:
                delays = delivery.get(carrier)
                if delays is None:
                    delays = delivery[carrier] = Delays()
                delay_ms = now_ms - (message.send_at_ms or message.accepted_ms)
                delays.counts[bisect_left(_DELAYS_MS, delay_ms)] += 1
                delays.total_ms += delay_ms

    def add_damaged(self, messages: int) -> None:
        """Ended because their record was damaged: nobody can say how."""
        if messages > 0:
            key = int(MessageState.UNKNOWN)
            self._finished[key] = self._finished.get(key, 0) + messages

    def add_unmatched(self, receipts: Iterable[tuple[int, str]]) -> None:
        for key in receipts:
            self.unmatched[key] = self.unmatched.get(key, 0) + 1
