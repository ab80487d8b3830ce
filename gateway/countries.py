"""How each carrier does in each country: told, not acted on, as the queue does not know countries.

Receipts are counted by the store (store.tallies, all of them), answers by a sample: the last one of each read
from a carrier's socket, which is every message where few are sent and one of dozens under load. Windows are
kept for the `MOST` cells seen first; a country that is bad, or good again, is an event.

Deliberately not here: what is too bad (the carrier's own limits), the carrier as a whole (gateway.health).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from gateway.carriers.carrier import Flight
from router.cells import (
    CELL,
    CODE_BITS,
    CODE_MASK,
    CODES,
    DELAY_BUCKETS,
    DELAYS,
    DELIVERED,
    FAILED,
    HISTOGRAM,
    country_of,
    quantile_ms,
)
from router.health import ANSWERED, FAULTS, TIME_MS, TIMES, Limits, Window, undelivered
from smpp import events

MOST = 1_000
SHOWN = 50
LOOK_S = 5

_COLUMNS = TIMES + DELAY_BUCKETS + 1

Told = tuple[str, str, str, dict[str, object]]  # kind, carrier's name, text, figures


class _Cell:
    __slots__ = ("answers", "bad", "receipts", "seen_receipts", "suspect")

    def __init__(self, limits: Limits) -> None:
        self.answers = Window(limits.window_s, _COLUMNS)
        self.receipts = Window(limits.receipt_window_s, CELL)
        self.seen_receipts = [0] * CELL
        self.bad = ""
        self.suspect = False  # it was bad at the last look


class Countries:
    """All cells. `name_of`: a carrier's, by its id."""

    def __init__(self, name_of: Callable[[int], str]) -> None:
        self._name_of = name_of
        self._cells: dict[int, _Cell] = {}
        self._sampled: dict[int, list[int]] = {}  # since the last look
        self._looked_s = 0

    def sample(self, blames: Callable[[int], bool], carrier: int, answer: events.Response) -> None:
        """One answer of a carrier. `blames`: whether a status is its own fault, as it is configured."""
        flight = answer.context
        if answer.late or not isinstance(flight, Flight):
            return
        key = carrier << CODE_BITS | CODES.get(flight.leased.message.destination[:3], 0)
        row = self._sampled.get(key)
        if row is None:
            row = self._sampled[key] = [0] * _COLUMNS
        status = answer.pdu.command_status
        if status == 0:
            row[ANSWERED] += 1
        elif blames(status):
            row[FAULTS] += 1
        ms = int(answer.latency_s * 1000)
        row[TIME_MS] += ms
        row[TIMES + min(DELAY_BUCKETS, ms.bit_length())] += 1

    @staticmethod
    def by_carrier(cells: Mapping[int, list[int]]) -> dict[int, list[list[int]]]:
        """The store's cells, each carrier's together."""
        found: dict[int, list[list[int]]] = {}
        for key, cell in cells.items():
            found.setdefault(key >> CODE_BITS, []).append(cell)
        return found

    def look(
        self, now_s: int, cells: Mapping[int, list[int]], limits: Mapping[int, Limits]
    ) -> Iterator[Told]:
        """Once in a while, what has become bad, or good again. `limits` by carrier, of those to be judged."""
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        sampled, self._sampled = self._sampled, {}
        for key in [*cells, *(key for key in sampled if key not in cells)]:
            limit = limits.get(key >> CODE_BITS)
            cell = self._cells.get(key)
            if cell is None:
                if limit is None or len(self._cells) >= MOST:
                    continue
                cell = self._cells[key] = _Cell(limit)
            answers, sums = sampled.get(key), cells.get(key)
            cell.answers.move(now_s)
            cell.receipts.move(now_s)
            if answers is not None:
                cell.answers.add(now_s, answers)
            if sums is not None and sums != cell.seen_receipts:
                added = [new - old for new, old in zip(sums, cell.seen_receipts, strict=True)]
                cell.receipts.add(now_s, added)
                cell.seen_receipts = list(sums)
            told = self._judged(key, cell, limit) if limit is not None else None
            if told is not None:
                yield told

    def view(self, carrier: int, now_s: int) -> list[dict[str, object]]:
        """The countries of a carrier with most receipts and answers lately, at most SHOWN."""
        rows = []
        for key, cell in self._cells.items():
            if key >> CODE_BITS == carrier:
                figures = _figures(cell)
                if figures["submits_sampled"] or figures["receipts"]:
                    rows.append({**_place(key), **figures, "bad": cell.bad})
        rows.sort(key=lambda row: -int(str(row["receipts"])) - int(str(row["submits_sampled"])))
        return rows[:SHOWN]

    def _judged(self, key: int, cell: _Cell, limits: Limits) -> Told | None:
        figures = _figures(cell)
        bad, known = "", False
        errors, delivered = figures["error_ratio"], figures["delivered_ratio"]
        if errors is not None and int(str(figures["submits_sampled"])) >= limits.min_submits:
            known = True
            if limits.max_errors and float(str(errors)) * 1000 >= limits.max_errors:
                bad = "too many submits fail"
        if undelivered(cell.receipts.sums, limits):
            known, bad = True, bad or "too few messages are delivered"
        elif delivered is not None and int(str(figures["receipts"])) >= limits.min_receipts:
            known = True
        suspect, cell.suspect = cell.suspect, bool(bad)
        if bool(bad) == bool(cell.bad) or not (known or cell.bad):
            return None
        if bad and not suspect:
            return None  # where the whole carrier is bad, that is told instead
        if not bad and not known and (figures["submits_sampled"] or figures["receipts"]):
            return None  # too little to say that it is good again
        was, cell.bad = cell.bad, bad
        place = _place(key)
        where = f"{place['country'] or 'numbers of'} +{place['code']}"
        name = self._name_of(key >> CODE_BITS)
        if bad:
            return "carrier.country_bad", name, f"{where}: {bad}", {**place, **figures}
        return "carrier.country_good", name, f"{where}: no more so ({was})", {**place, **figures}


def _place(key: int) -> dict[str, object]:
    code = key & CODE_MASK
    return {"code": code, "country": country_of(code)}


def _figures(cell: _Cell) -> dict[str, object]:
    answers, receipts = cell.answers.sums, cell.receipts.sums
    asked = sum(answers[TIMES:])
    judged = receipts[DELIVERED] + receipts[FAILED]
    return {
        "submits_sampled": asked,
        "error_ratio": round(answers[FAULTS] / asked, 3) if asked else None,
        "response_mean_s": round(answers[TIME_MS] / asked / 1000, 3) if asked else None,
        "response_p90_s": quantile_ms(answers[TIMES:], 900) / 1000 if asked else None,
        "receipts": judged,
        "delivered_ratio": round(receipts[DELIVERED] / judged, 3) if judged else None,
        "receipt_p50_s": quantile_ms(receipts[HISTOGRAM:CELL], 500) / 1000 if receipts[DELAYS] else None,
    }
