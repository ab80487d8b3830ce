"""How each carrier did hour by hour, kept for 8 days: an hour that is much worse than a week ago is an event.

One row of a few ints for each carrier and hour, written once an hour. The hour under way is in memory; after
a restart it begins anew, with what is left of it.

Deliberately not here: what is counted (gateway.health), acting on it: an hour is told, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from router.cells import DELIVERED, FAILED
from router.health import ANSWERED, FAULTS, SILENT
from store.values import Damaged

HOUR_MS = 3_600_000
WEEK = 7 * 24  # hours
KEPT = 8 * 24 + 1
ENOUGH = 100  # submits or receipts, in either hour


class Hour(msgspec.Struct, array_like=True):
    """Segments by what was answered, messages by what receipts said. Only grows at the end."""

    number: int  # hours since the epoch
    answered: int = 0
    failed_submits: int = 0  # errors that are the carrier's, and no answer at all
    delivered: int = 0
    undelivered: int = 0

    def permille(self) -> tuple[int, int]:
        """(failed of all submits, delivered of all receipts); -1 where there are too few."""
        submits, receipts = self.answered + self.failed_submits, self.delivered + self.undelivered
        return (
            self.failed_submits * 1000 // submits if submits >= ENOUGH else -1,
            self.delivered * 1000 // receipts if receipts >= ENOUGH else -1,
        )


_decode = msgspec.msgpack.Decoder(list[Hour]).decode


class Hours:
    """`read` gives what was kept under a name."""

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        self._read = read
        self._kept: dict[str, list[Hour]] = {}
        self._now: dict[str, Hour] = {}

    def add(self, carrier: str, now_ms: int, submits: Sequence[int], receipts: Sequence[int]) -> Hour | None:
        """What was counted since the last call; the hour before, where this begins a new one."""
        number = now_ms // HOUR_MS
        hour = self._now.get(carrier)
        ended = None
        if hour is None or hour.number != number:
            ended, hour = hour, Hour(number)
            self._now[carrier] = hour
        hour.answered += submits[ANSWERED]
        hour.failed_submits += submits[FAULTS] + submits[SILENT]
        hour.delivered += receipts[DELIVERED]
        hour.undelivered += receipts[FAILED]
        return ended

    def keep(self, carrier: str, hour: Hour) -> tuple[str, bytes]:
        """(name, value) of the row to be written."""
        rows = [one for one in self.of(carrier) if hour.number - KEPT < one.number != hour.number]
        self._kept[carrier] = rows = [*rows, hour]
        return _name(carrier), msgspec.msgpack.encode(rows)

    def worse(self, carrier: str, hour: Hour, drop: int) -> Iterator[tuple[str, dict[str, object]]]:
        """(what, figures) that is by `drop` permille worse than in the same hour a week ago."""
        before = next((one for one in self.of(carrier) if one.number == hour.number - WEEK), None)
        if before is None or not drop:
            return
        (errors, delivered), (errors_then, delivered_then) = hour.permille(), before.permille()
        if min(errors, errors_then) >= 0 and errors - errors_then >= drop:
            yield "more submits failed", {"error_permille": errors, "a_week_ago": errors_then}
        if min(delivered, delivered_then) >= 0 and delivered_then - delivered >= drop:
            yield (
                "fewer messages were delivered",
                {"delivered_permille": delivered, "a_week_ago": delivered_then},
            )

    def of(self, carrier: str) -> list[Hour]:
        """What is kept of a carrier; of a damaged row nothing."""
        rows = self._kept.get(carrier)
        if rows is None:
            try:
                kept = self._read(_name(carrier))
                rows = _decode(kept) if kept else []
            except (Damaged, msgspec.DecodeError):
                rows = []
            self._kept[carrier] = rows
        return rows


def _name(carrier: str) -> str:
    return f"hours:{carrier}"
