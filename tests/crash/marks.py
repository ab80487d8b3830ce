"""What the recorded process has promised by a moment, read from its marks; and what both sides know.

Deliberately not here: who writes them (traffic.py), who holds the store to them (judge.py).
"""

from __future__ import annotations

from collections import Counter

from tests.store.records_for_tests import DAY_MS, NOW_MS

MINUTE_MS = 60_000
GRACE_MS = 60 * MINUTE_MS
RETENTION_DAYS = 1
OPTIONS = {"park_s": 3600, "retention_days": RETENTION_DAYS}  # of the store
LANES = (("a", "b"), ("b",))  # carriers of each lane


class Promises:
    """Everything anybody outside was told, up to a moment."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.accepted: dict[int, int] = {}  # id → account
        self.finals: dict[int, int] = {}  # id → state
        self.kept: Counter[tuple[str, int]] = Counter()  # answered receipts: (carrier's id, message id or 0)
        self.telling: set[int] = set()  # ids whose final event an endpoint may have taken
        self.told: set[int] = set()  # and whose delivery is committed
        self.mos: set[int] = set()
        self.parts: dict[int, int] = {}  # references of MO parts → when they came
        self.dropped_before_ms = 0  # retention: older messages may be gone
        self._rest = b""

    def add(self, octets: bytes) -> None:
        """A piece of the marks as it was written."""
        *lines, self._rest = (self._rest + octets).split(b"\n")
        for line in lines:
            self._one(*line.decode().split(" "))

    @property
    def kept_from_ms(self) -> int:
        """Retention may have dropped MOs from before."""
        return self.now_ms - RETENTION_DAYS * DAY_MS

    def _one(self, word: str, first: str, second: str = "0") -> None:
        match word:
            case "now":
                self.now_ms = int(first)
            case "accepted":
                self.accepted[int(first)] = int(second)
            case "final":
                self.finals[int(first)] = int(second)
            case "kept":
                self.kept[first, int(second)] += 1
            case "telling":
                self.telling.add(int(first))
            case "told":
                self.told.add(int(first))
            case "mo":
                self.mos.add(int(first))
            case "part":
                self.parts[int(first)] = self.now_ms
            case "dropping":
                midnight_ms = int(first) // DAY_MS * DAY_MS
                self.dropped_before_ms = midnight_ms - RETENTION_DAYS * DAY_MS
            case _:
                raise ValueError(f"no such mark: {word}")
