"""How each carrier does in each country: a circuit breaker for every carrier × calling code.

Receipts are counted by the store (store.tallies, all of them), answers by a sample: one of each
read from a carrier's socket, which is every message where few are sent and one of dozens under load. Each
country has a router.health.Health of its own, by its carrier's limits. What it decides is a Standing: the
carrier is out for the country, or gets a few messages to there on trial. While it stands so, all answers of
the country are counted (`heard`), and none of them, nor its receipts, counts against the carrier as a
whole.

Blame: where a carrier as a whole looks bad, and without some countries it looks good, these are to blame
and the carrier goes on (`to_blame`). A country that is bad while its carrier is not has to be so twice in a
row.

Invariants: the `MOST` countries seen first are kept. Numbers without a calling code are only told. An
operator's order, a maintenance window and the carrier's own breaker go before: meanwhile nothing is decided
here.

Deliberately not here: what is too bad (the carrier's own limits), the carrier as a whole and telling people
(gateway.health), where messages wait meanwhile (gateway.carriers.lanes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from gateway.carriers.carrier import flight_of
from gateway.carriers.standing import Standing, Standings, code_of
from router.cells import (
    BLAMELESS,
    CELL,
    CODE_BITS,
    CODE_MASK,
    DELAY_BUCKETS,
    DELAYS,
    DELIVERED,
    FAILED,
    HISTOGRAM,
    country_of,
    quantile_ms,
)
from router.health import (
    ANSWERED,
    FAULTS,
    RECEIPTS,
    SILENT,
    TIME_MS,
    TIMES,
    Change,
    Fault,
    Health,
    Limits,
    State,
    fault_of,
    figures_of,
)
from smpp import events

MOST = 1_000
SHOWN = 50
MOST_LANES = 64  # that are remembered of a country

_COLUMNS = TIMES + DELAY_BUCKETS + 1
_BOUNDS_MS = tuple(1 << bucket for bucket in range(DELAY_BUCKETS))
_NO_ANSWERS = (0,) * _COLUMNS
_NO_RECEIPTS = (0,) * RECEIPTS
_SEEMS = 4  # a share of the sample that a verdict takes, by which a country looks like the one to blame


class Decided(NamedTuple):
    """What became of one country. `change` None: it was only told that it is bad, and is good again. `anew`:
    it is out, and was not on trial before."""

    code: int
    change: Change | None
    anew: bool = False


class Verdict(NamedTuple):
    """A carrier's state for a country, for people. `since_ms` UTC; `until_s` monotonic, while it is OPEN."""

    code: int
    state: State
    fault: Fault | None
    since_ms: int
    until_s: int


class _Cell:
    __slots__ = (
        "bad",
        "fresh",
        "granted_s",
        "health",
        "lanes",
        "receipts",
        "since_ms",
        "standing",
        "suspect",
    )

    def __init__(self, limits: Limits) -> None:
        self.health = Health(limits, _BOUNDS_MS)
        self.receipts = [0] * CELL  # of the store, at the last look
        self.standing: Standing | None = None
        self.since_ms = 0  # how it stands
        self.granted_s = 0  # when its trial was given segments last
        self.fresh = False  # something came since the last look
        self.suspect = False  # it was bad at the last look
        self.bad: Fault | None = None  # as it was told last
        self.lanes: set[int] = set()  # that its messages came from lately


class Countries:
    """All of them, by carrier id and calling code. `feed` once a second, then `look` for each carrier."""

    def __init__(self) -> None:
        self.standings: dict[int, Standings] = {}  # by carrier, those that have any
        self._cells: dict[int, dict[int, _Cell]] = {}
        self._kept = 0
        self._sampled: dict[int, list[int]] = {}  # since the last look; by router.cells' key
        self._lanes: dict[int, set[int]] = {}
        self._excused: dict[int, tuple[list[int], list[int]]] = {}  # carrier → submits, receipts

    # what is counted

    def sample(self, blames: Callable[[int], bool], carrier: int, answer: events.Event) -> None:
        """One answer of a carrier, or its absence. `blames`: whether a status is its own fault."""
        flight = flight_of(getattr(answer, "context", None))
        if flight is None:
            return
        code = code_of(flight.leased.message.destination)
        if carrier in self.standings and code in self.standings[carrier]:
            return  # all of them are counted
        key = carrier << CODE_BITS | code
        if self._count(key, blames, answer) is None:
            return
        lanes = self._lanes.get(key)
        if lanes is None or len(lanes) >= MOST_LANES:
            lanes = self._lanes[key] = set()
        lanes.add(flight.leased.lane)

    def heard(self, blames: Callable[[int], bool], carrier: int, happened: Sequence[events.Event]) -> None:
        """All that one read of a carrier brought, while it is out for some countries or on trial there."""
        standings = self.standings.get(carrier, {})
        for event in happened:
            flight = flight_of(getattr(event, "context", None))
            if flight is None:
                continue
            code = code_of(flight.leased.message.destination)
            cell = self._cells[carrier][code] if code in standings else None
            if cell is None:
                continue
            # What was sent before its trial says nothing of it.
            old = cell.health.state is State.HALF_OPEN and flight.sent_ms < cell.since_ms
            column = self._count(-1 if old else carrier << CODE_BITS | code, blames, event)
            if column in (FAULTS, SILENT):
                self._excused_of(carrier)[0][column] += 1

    def _count(self, key: int, blames: Callable[[int], bool], event: events.Event) -> int | None:
        """Under `key`, -1 for nowhere. Returns what it was: a column of answers, TIMES for a fault of the
        message, None for no answer at all."""
        if isinstance(event, events.TimedOut):
            column, ms = SILENT, -1
        elif isinstance(event, events.Nacked):
            column, ms = FAULTS if blames(event.status) else TIMES, 0
        elif isinstance(event, events.Response) and not event.late:
            status = event.pdu.command_status
            column = FAULTS if status else ANSWERED
            if status and not blames(status):
                column = TIMES
            ms = int(event.latency_s * 1000)
        else:
            return None
        if key >= 0:
            row = self._sampled.get(key)
            if row is None:
                row = self._sampled[key] = [0] * _COLUMNS
            if column < TIMES:
                row[column] += 1
            if ms >= 0:
                row[TIME_MS] += ms
                row[TIMES + min(DELAY_BUCKETS, ms.bit_length())] += 1
        return column

    def _excused_of(self, carrier: int) -> tuple[list[int], list[int]]:
        found = self._excused.get(carrier)
        if found is None:
            found = self._excused[carrier] = [0] * TIMES, [0] * CELL
        return found

    @staticmethod
    def by_carrier(cells: Mapping[int, list[int]]) -> dict[int, list[list[int]]]:
        """The store's cells, each carrier's together."""
        found: dict[int, list[list[int]]] = {}
        for key, cell in cells.items():
            found.setdefault(key >> CODE_BITS, []).append(cell)
        return found

    def feed(self, now_s: int, cells: Mapping[int, list[int]], limits: Mapping[int, Limits]) -> None:
        """What was counted since the last call. `cells` are the store's, `limits` by carrier, of those that
        are judged at all."""
        sampled, self._sampled = self._sampled, {}
        lanes, self._lanes = self._lanes, {}
        for key in [*cells, *(key for key in sampled if key not in cells)]:
            cell = self._cell(key, limits)
            if cell is None:
                continue
            answers, sums = sampled.get(key), cells.get(key)
            receipts: list[int] | None = None
            if sums is not None and sums != cell.receipts:
                receipts = [new - old for new, old in zip(sums, cell.receipts, strict=True)]
                cell.receipts = list(sums)
                if cell.standing is not None:
                    excused = self._excused_of(key >> CODE_BITS)[1]
                    for column, count in enumerate(receipts):
                        excused[column] += count
            if answers is None and receipts is None:
                continue
            cell.fresh = True
            cell.health.feed(now_s, answers or _NO_ANSWERS, [*receipts, 0, 0] if receipts else _NO_RECEIPTS)
            if key in lanes:
                cell.lanes = lanes[key] if len(cell.lanes) >= MOST_LANES else cell.lanes | lanes[key]

    def _cell(self, key: int, limits: Mapping[int, Limits]) -> _Cell | None:
        carrier, code = key >> CODE_BITS, key & CODE_MASK
        cell = self._cells.get(carrier, {}).get(code)
        if cell is None and carrier in limits and self._kept < MOST:
            self._kept += 1
            cell = self._cells.setdefault(carrier, {})[code] = _Cell(_limits_in(code, limits[carrier]))
        return cell

    def excuse(self, carrier: int, submits: list[int], receipts: list[int]) -> None:
        """Take out of what was counted of a carrier what belongs to countries that it is out for."""
        excused = self._excused.pop(carrier, None)
        if excused is None:
            return
        for sums, counts in ((submits, excused[0]), (receipts, excused[1])):
            for column, count in enumerate(counts):
                if count:
                    sums[column] = max(0, sums[column] - count)

    # what comes of it

    def to_blame(self, carrier: int, now_s: int, fault: Fault) -> bool:
        """Whether a carrier looks bad only because of some countries, that will be out for themselves."""
        cells = {code: cell for code, cell in self._cells.get(carrier, {}).items() if cell.standing is None}
        if fault is Fault.SILENCE or not cells:
            return False
        limits = next(iter(cells.values())).health.limits
        seems = msgspec.structs.replace(
            limits,
            min_submits=max(1, limits.min_submits // _SEEMS),
            min_receipts=max(1, limits.min_receipts // _SEEMS),
        )
        fine = msgspec.structs.replace(  # clearly, not by chance
            seems,
            max_errors=-(-limits.max_errors // 2),
            min_delivered=min(1_000, 2 * limits.min_delivered),
        )
        guilty: list[int] = []
        submits, receipts, row = [0] * _COLUMNS, [0] * RECEIPTS, 0
        for code, cell in cells.items():
            health = cell.health
            certain = health.fault_now(now_s) is not None
            sums = health.submits.sums, health.receipts.sums
            if health.limits.act and (certain or fault_of(seems, *sums, health.row, _BOUNDS_MS)):
                guilty.append(code)
                cell.suspect |= certain
                continue
            row += health.row
            for all_, own in ((submits, sums[0]), (receipts, sums[1])):
                for column, count in enumerate(own):
                    if count:
                        all_[column] += count
        figures = figures_of(submits, receipts, _BOUNDS_MS)
        enough = (
            figures["receipts"] >= fine.min_receipts
            if fault.by_receipts
            else figures["submits"] >= fine.min_submits
        )
        if not guilty or fault_of(fine, submits, receipts, row, _BOUNDS_MS) is not None:
            return False
        return enough or all(self._bad_elsewhere(carrier, code) for code in guilty)

    def _bad_elsewhere(self, carrier: int, code: int) -> bool:
        """Whether another carrier is out for this country: then it is the country rather than the carrier."""
        return any(code in standings for other, standings in self.standings.items() if other != carrier)

    def look(
        self, carrier: int, now_s: int, now_ms: int, patience_s: float, alone: Callable[[int, set[int]], bool]
    ) -> Iterator[Decided]:
        """Decide for each country of a carrier. `patience_s`: after so long a trial message that nothing is
        known of is replaced by another. `alone`: whether (calling code, lanes) has no other able carrier."""
        for code, cell in self._cells.get(carrier, {}).items():
            health = cell.health
            if health.state is State.CLOSED:
                if not (cell.fresh or cell.suspect or cell.bad):
                    continue
                cell.fresh = False
                was, cell.suspect = cell.suspect, health.fault_now(now_s) is not None
                if not cell.suspect and cell.bad is None:
                    continue
                if cell.suspect and not was:
                    continue  # where the whole carrier is bad, that is decided instead
                if not cell.suspect and cell.bad and not _known_or_nothing(health, now_s):
                    continue  # too little to say that it is good again
            change = health.look(now_s, alone=alone(code, cell.lanes) if cell.suspect else False)
            if change is not None:
                cell.suspect = False
                cell.bad = None if change.state is State.CLOSED else change.fault
                anew = change.done and cell.standing is None
                if change.done:
                    self._stand(carrier, code, cell, change, now_ms)
                    cell.granted_s = now_s
                yield Decided(code, change, anew)
            elif health.state is State.CLOSED and cell.bad and not cell.suspect:
                cell.bad = None
                yield Decided(code, None)
            elif cell.standing is not None and health.state is State.HALF_OPEN:
                left = health.trial_left()
                if left and cell.standing.left <= 0 and now_s - cell.granted_s > patience_s:
                    cell.standing.left, cell.granted_s = left, now_s

    def _stand(self, carrier: int, code: int, cell: _Cell, change: Change, now_ms: int) -> None:
        cell.since_ms = now_ms
        if change.state is State.CLOSED:
            cell.standing = None
            standings = self.standings.get(carrier, {})
            standings.pop(code, None)
            if not standings:
                self.standings.pop(carrier, None)
            return
        if cell.standing is None:
            cell.standing = self.standings.setdefault(carrier, {})[code] = Standing()
        cell.standing.out = change.state is State.OPEN
        cell.standing.left = 0 if cell.standing.out else change.figures["trial"]

    def close(self, carrier: int, now_s: int, now_ms: int) -> list[Decided]:
        """An operator trusts the carrier again, in every country."""
        decided = []
        for code, cell in self._cells.get(carrier, {}).items():
            change = cell.health.close(now_s)
            if change is not None:
                cell.bad, cell.suspect = None, False
                self._stand(carrier, code, cell, change, now_ms)
                decided.append(Decided(code, change))
        return decided

    def judge_by(self, carrier: int, limits: Limits) -> None:
        """By these from now on: what was decided stays, what was counted goes. A trial starts over."""
        for code, cell in self._cells.get(carrier, {}).items():
            cell.health.judge_by(_limits_in(code, limits))
            cell.suspect = False
            if cell.standing is not None and not cell.standing.out:
                cell.standing.left = cell.health.limits.trial

    def forget(self, carrier: int) -> None:
        """What was counted of a carrier so far says nothing any more."""
        for cell in self._cells.get(carrier, {}).values():
            cell.health.forget()

    def keep(self, carriers: Iterable[int]) -> None:
        """All others are gone."""
        kept = set(carriers)
        self._cells = {carrier: cells for carrier, cells in self._cells.items() if carrier in kept}
        self.standings = {carrier: one for carrier, one in self.standings.items() if carrier in kept}
        self._kept = sum(map(len, self._cells.values()))

    # what others ask

    def delivered_ratio(self, carrier: int, code: int, now_s: int) -> float | None:
        """The share of messages to a country that a carrier delivered lately; None: too little to tell."""
        cell = self._cells.get(carrier, {}).get(code)
        if cell is None:
            return None
        cell.health.receipts.move(now_s)
        sums = cell.health.receipts.sums
        judged = sums[DELIVERED] + sums[FAILED]
        enough = judged and judged >= cell.health.limits.min_receipts
        return sums[DELIVERED] / judged if enough else None

    def verdict(self, carrier: int, code: int) -> Verdict | None:
        """How a carrier stands in a country; None: as usual."""
        cell = self._cells.get(carrier, {}).get(code)
        if cell is None or cell.standing is None:
            return None
        return Verdict(code, cell.health.state, cell.health.fault, cell.since_ms, cell.health.until_s)

    def verdicts(self, carrier: int) -> list[Verdict]:
        """Of all countries in which it does not stand as usual."""
        found = [self.verdict(carrier, code) for code in sorted(self.standings.get(carrier, ()))]
        return [one for one in found if one is not None]

    def view(self, carrier: int, now_s: int, faults: Mapping[Fault, str]) -> list[dict[str, object]]:
        """The countries of a carrier with most receipts and answers lately, at most SHOWN."""
        rows = []
        for code, cell in self._cells.get(carrier, {}).items():
            cell.health.submits.move(now_s)
            cell.health.receipts.move(now_s)
            figures = _figures(cell.health)
            heard = figures["receipts"] or figures["receipts_blameless"]
            if figures["submits_sampled"] or heard or cell.standing is not None:
                bad = faults[cell.bad] if cell.bad is not None else ""
                circuit = cell.health.state.value
                rows.append(
                    {"code": code, "country": country_of(code), **figures, "bad": bad, "circuit": circuit}
                )
        rows.sort(key=lambda row: -int(str(row["receipts"])) - int(str(row["submits_sampled"])))
        return rows[:SHOWN]


def place_of(code: int) -> str:
    """`GB +44`, for people."""
    return f"{country_of(code) or 'numbers of'} +{code}"


def _limits_in(code: int, limits: Limits) -> Limits:
    """Nobody can be left out for numbers that have no calling code."""
    return limits if code else msgspec.structs.replace(limits, act=False)


def _known_or_nothing(health: Health, now_s: int) -> bool:
    """Whether there is enough to judge it by, or nothing at all any more."""
    figures, limits = health.figures(now_s), health.limits
    submits, receipts = figures["submits"], figures["receipts"]
    return submits >= limits.min_submits or receipts >= limits.min_receipts or not (submits or receipts)


def _figures(health: Health) -> dict[str, object]:
    answers, receipts = health.submits.sums, health.receipts.sums
    asked = sum(answers[TIMES:]) + answers[SILENT]
    answered = asked - answers[SILENT]
    judged = receipts[DELIVERED] + receipts[FAILED]
    return {
        "submits_sampled": asked,
        "error_ratio": round((answers[FAULTS] + answers[SILENT]) / asked, 3) if asked else None,
        "response_mean_s": round(answers[TIME_MS] / answered / 1000, 3) if answered else None,
        "response_p90_s": quantile_ms(answers[TIMES:], 900) / 1000 if answered else None,
        "receipts": judged,
        "receipts_blameless": receipts[BLAMELESS],
        "delivered_ratio": round(receipts[DELIVERED] / judged, 3) if judged else None,
        "receipt_p50_s": quantile_ms(receipts[HISTOGRAM:CELL], 500) / 1000 if receipts[DELAYS] else None,
    }
