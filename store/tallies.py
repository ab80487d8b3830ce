"""What is counted since the store was opened, for metrics and health: how messages ended, what never matched.

Added up once a commit, after it: a verb only leaves a tuple behind, and both together take about 0.5 us a
message.
Nothing here is stored and nothing decides by it; what must survive a restart is in the counters (batch.py).

Deliberately not here: names of carriers and states, Prometheus.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from functools import partial
from operator import mul
from typing import TYPE_CHECKING

from router import cells
from router.nouns import MessageState, Reason

if TYPE_CHECKING:
    from router.nouns import Message, Progress

DELAYS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
_DELAYS_MS = tuple(int(bound * 1000) for bound in DELAYS_S)
_STATE_BITS = 4
_RECEIPT, _NOT_WANTED = int(Reason.RECEIPT), int(Reason.NO_RECEIPT_WANTED)
_STATE_DELIVERED = int(MessageState.DELIVERED)
_CODES, _CODE_BITS, _HISTOGRAM = cells.CODES, cells.CODE_BITS, cells.HISTOGRAM
_CODE_DIGITS = 3  # of a number: its calling code is among them
_BUCKET = partial(bisect_left, _DELAYS_MS)
_AT_THE_FIRST_TRY = 3  # steps of a timeline: sent, receipt, final
# A message that a receipt ended at the first try: its carrier, state, cause; when it was sent and ended, ms.
EndedAtOnce = tuple["Message", int, int, str, int, int]


class Delays:
    """Counts by bucket of DELAYS_S, not cumulative; the last is +Inf."""

    __slots__ = ("counts", "total_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(DELAYS_S) + 1)
        self.total_ms = 0


class _Alike:
    """Of one commit, what ended alike. `waited_ms`: since it was due; `tried_ms`: since it was sent, of what
    went through at the first try."""

    __slots__ = ("rows", "tried_ms", "waited_ms")

    def __init__(self) -> None:
        self.rows: list[tuple[Message, str]] = []  # and why
        self.waited_ms: list[int] = []
        self.tried_ms: list[int] = []


class Tallies:
    """`delivery`: carrier → from accept (or send_at) to the final receipt, of messages that one ended.

    `unmatched`: (carrier, reason) → receipts; reasons are a closed set (store.parked). Carrier 0 = none.
    `claimed`: carrier → final receipts that were parked first, as they came before the id they speak of.
    `cells`: router.cells, by what receipts said; delays are from sending to the final receipt, of messages
    that went through at the first try. `unasked`: carrier → segments for which no receipt was asked. `dead`:
    numbers to which nothing can be delivered, if anybody named some.
    """

    __slots__ = ("_finished", "cells", "claimed", "dead", "delivery", "unasked", "unmatched")

    def __init__(self) -> None:
        self._finished: dict[int, int] = {}  # carrier << 4 | state
        self.delivery: dict[int, Delays] = {}
        self.unmatched: dict[tuple[int, str], int] = {}
        self.claimed: dict[int, int] = {}
        self.cells: dict[int, list[int]] = {}
        self.unasked: dict[int, int] = {}
        self.dead: frozenset[str] = frozenset()

    @property
    def finished(self) -> dict[tuple[int, int], int]:
        """(carrier that had it last, final state) → messages."""
        return {
            (key >> _STATE_BITS, key & (1 << _STATE_BITS) - 1): count for key, count in self._finished.items()
        }

    def add_ended(
        self, ended: Iterable[tuple[Message, Progress, int]], at_once: Iterable[EndedAtOnce] = ()
    ) -> None:
        """(message, its progress, when it ended in ms) of one commit; what is alike is added up together."""
        finished = self._finished
        alike: dict[tuple[int, int, int, str], _Alike] = {}
        for message, progress, now_ms in ended:
            parts = progress.parts
            kind = (
                parts[0].carrier if parts else 0,
                progress.state,
                progress.reason,
                message.destination[:_CODE_DIGITS],
            )
            found = alike.get(kind)
            if found is None:
                found = alike[kind] = _Alike()
            found.rows.append((message, progress.cause))
            found.waited_ms.append(now_ms - (message.send_at_ms or message.accepted_ms))
            events = progress.events
            if len(events) == _AT_THE_FIRST_TRY:
                found.tried_ms.append(now_ms - events[0][0])
        for message, carrier, state, cause, sent_ms, now_ms in at_once:
            kind = (carrier, state, _RECEIPT, message.destination[:_CODE_DIGITS])
            found = alike.get(kind)
            if found is None:
                found = alike[kind] = _Alike()
            found.rows.append((message, cause))
            found.waited_ms.append(now_ms - (message.send_at_ms or message.accepted_ms))
            found.tried_ms.append(now_ms - sent_ms)
        for (carrier, state, reason, _), found in alike.items():
            key = carrier << _STATE_BITS | state
            finished[key] = finished.get(key, 0) + len(found.rows)
            if reason == _RECEIPT:
                self._by_receipt(carrier, state, found)
            elif reason == _NOT_WANTED:
                segments = sum(message.segments for message, _ in found.rows)
                self.unasked[carrier] = self.unasked.get(carrier, 0) + segments

    def _by_receipt(self, carrier: int, state: int, ended: _Alike) -> None:
        delays = self.delivery.get(carrier)
        if delays is None:
            delays = self.delivery[carrier] = Delays()
        for bucket, count in Counter(map(_BUCKET, ended.waited_ms)).items():
            delays.counts[bucket] += count
        delays.total_ms += sum(ended.waited_ms)
        cell = self._cell(carrier, ended.rows[0][0])
        if state != _STATE_DELIVERED:
            for _, cause in ended.rows:
                _count_failure(cell, cause)
            return
        cell[cells.DELIVERED] += len(ended.rows)
        tried_ms = ended.tried_ms
        if min(tried_ms, default=0) < 0:
            tried_ms = [max(0, one) for one in tried_ms]  # the clock stepped back
        cell[cells.DELAYS] += len(tried_ms)
        cell[cells.DELAY_MS] += sum(tried_ms)
        cell[cells.DELAY_SQUARES] += sum(map(mul, tried_ms, tried_ms))
        for bits, count in Counter(map(int.bit_length, tried_ms)).items():
            cell[_HISTOGRAM + min(cells.DELAY_BUCKETS, bits)] += count
        if self.dead:
            cell[cells.DEAD] += sum(message.destination in self.dead for message, _ in ended.rows)

    def add_passed_on(self, failed: Iterable[tuple[Message, int, str]]) -> None:
        """(message, carrier, cause) of negative receipts after which another carrier got the message."""
        for message, carrier, cause in failed:
            _count_failure(self._cell(carrier, message), cause)

    def _cell(self, carrier: int, message: Message) -> list[int]:
        key = carrier << _CODE_BITS | _CODES.get(message.destination[:3], 0)
        if key not in self.cells and len(self.cells) >= cells.MOST:
            key = carrier << _CODE_BITS
        return self.cells.setdefault(key, [0] * cells.CELL)

    def add_damaged(self, messages: int) -> None:
        """Ended because their record was damaged: nobody can say how."""
        if messages > 0:
            key = int(MessageState.UNKNOWN)
            self._finished[key] = self._finished.get(key, 0) + messages

    def add_unmatched(self, receipts: Iterable[tuple[int, str]]) -> None:
        for key in receipts:
            self.unmatched[key] = self.unmatched.get(key, 0) + 1

    def add_claimed(self, carriers: Iterable[int]) -> None:
        for carrier in carriers:
            self.claimed[carrier] = self.claimed.get(carrier, 0) + 1


def _count_failure(cell: list[int], cause: str) -> None:
    cell[cells.BLAMELESS if cause in cells.NOT_THE_CARRIERS else cells.FAILED] += 1
