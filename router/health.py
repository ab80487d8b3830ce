"""How a carrier does, and whether it should be given messages: sliding windows and a circuit breaker.

`Window` is a ring of buckets of ints: what was counted in the last so many seconds. `Health` has one of a
carrier's answers (submit errors, silence, response times) and one of its receipts, and a breaker over both:

    closed ──too bad──> open ──its time is over──> half-open ──its trial is good──> closed
                          ^                            │
                          └────bad: twice the time─────┘

Half-open gives it `trial` segments and waits for what becomes of them; everybody else's messages go on to
the other carriers of their lanes meanwhile. Any answer shows that it works, unless it blames the carrier;
for segments that were never answered, as their link was lost, it gets others. Where fewer are answered in
time, the share of faults among these decides. What is bad is judged only from so many answers or receipts
on, so that single failures never take a carrier out; where so many in a row fail, without a good answer
among them, it need not be a share of the window. Silence, that is answers without receipts, is looked for
only in carriers that have given receipts before.

Errors that blame the message (its number, its text) are not the carrier's, and are not counted; nor is
being told to send slower. Where hardly anything is delivered at all, it does not matter whom receipts blame.

Invariants: integers only (milliseconds, permille, counts); `now_s` is an argument and never goes back; memory
follows the limits, never the traffic.

Deliberately not here: counting (gateway.health feeds the sums of each second), acting on it (the carrier
stands aside), other reasons to take nothing (orders, maintenance).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import msgspec

from router.cells import BLAMELESS, CELL, DELAYS, DELIVERED, FAILED, HISTOGRAM, quantile_ms

# columns of what is fed of answers; behind them a histogram of response times
ANSWERED, FAULTS, SILENT, TIME_MS = range(4)
TIMES = 4
# columns of what is fed of receipts: a cell's, and behind them
EXPECTED, HEARD = CELL, CELL + 1  # segments that were sent and wait for a receipt; final receipts
RECEIPTS = CELL + 2

_BUCKETS = 20


class Limits(msgspec.Struct, frozen=True):
    """What is too bad, and how long a carrier is out. 0 switches a threshold off."""

    act: bool = True  # False: only told
    window_s: int = 60
    min_submits: int = 20
    max_errors: int = 500  # permille of answers and silences
    max_response_ms: int = 15_000  # for nine of ten answers
    receipt_window_s: int = 600
    min_receipts: int = 50
    min_delivered: int = 200  # permille of what was delivered or failed
    max_receipt_ms: int = 0  # for half of the delivered ones
    silence_s: int = 300
    min_heard: int = 50  # permille of receipts for what was sent before that
    even_alone: bool = False  # receipts may take the only able carrier of a lane out
    open_s: int = 30
    open_max_s: int = 900
    trial: int = 10
    trial_wait_s: int = 120


class State(Enum):
    """Of a breaker. The values are the labels of metrics."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Fault(Enum):
    """Why a breaker opens. The values are for people and labels."""

    ERRORS = "submit_errors"
    SLOW = "response_time"
    UNDELIVERED = "not_delivered"
    SILENCE = "no_receipts"
    LATE = "receipt_delay"
    FALSE = "false_receipts"

    @property
    def by_receipts(self) -> bool:
        """Told by receipts: they come late, and a trial has to wait for them."""
        return self not in (Fault.ERRORS, Fault.SLOW)


class Change(msgspec.Struct, frozen=True):
    """One decision. `figures` are what it was made by."""

    state: State
    fault: Fault | None
    figures: dict[str, int]
    until_s: int = 0  # OPEN: when it is tried again
    done: bool = True  # False: the limits say only tell, or nobody else could take over


class Window:
    """Sums of the last `seconds`, to a twentieth of it, over columns of ints."""

    __slots__ = ("_at", "_ring", "_width", "sums")

    def __init__(self, seconds: int, columns: int) -> None:
        self._width = max(1, -(-seconds // _BUCKETS))
        self._ring: list[list[int] | None] = [None] * max(1, seconds // self._width)
        self._at = 0
        self.sums = [0] * columns

    def add(self, now_s: int, counts: Sequence[int]) -> None:
        self.move(now_s)
        at = self._at % len(self._ring)
        bucket = self._ring[at]
        if bucket is None:
            bucket = self._ring[at] = [0] * len(self.sums)
        sums = self.sums
        for column, count in enumerate(counts):
            if count:
                bucket[column] += count
                sums[column] += count

    def move(self, now_s: int) -> None:
        """What is too old goes."""
        at = now_s // self._width
        size = len(self._ring)
        for step in range(max(self._at + 1, at - size + 1), at + 1):
            old = self._ring[step % size]
            if old is not None:
                for column, count in enumerate(old):
                    if count:
                        self.sums[column] -= count
                self._ring[step % size] = None
        self._at = max(at, self._at)

    def clear(self) -> None:
        self._ring = [None] * len(self._ring)
        self.sums = [0] * len(self.sums)


class Cohorts:
    """For the silence of a carrier: of what was sent some time ago, how much was heard of since.

    (when, sent so far, heard so far) of every `width` seconds, as far back as is asked for.
    """

    __slots__ = ("_marks", "_span", "_width", "heard", "sent")

    def __init__(self, span_s: int) -> None:
        self._width = max(1, span_s // 40)
        self._span = span_s
        self._marks: list[tuple[int, int, int]] = []
        self.sent = 0
        self.heard = 0

    def add(self, now_s: int, sent: int, heard: int) -> None:
        marks = self._marks
        if not marks or now_s - marks[-1][0] >= self._width:
            marks.append((now_s, self.sent, self.heard))
            if now_s - marks[0][0] > self._span + self._width:
                del marks[0]
        self.sent += sent
        self.heard += heard

    def of(self, before_s: int, enough: int) -> tuple[int, int]:
        """(sent, heard since) of the youngest `enough` that were sent before then; of fewer, all."""
        last: tuple[int, int, int] | None = None
        sent = heard = 0
        for mark in reversed(self._marks):
            if mark[0] > before_s:
                continue
            if last is None:
                last = mark
                continue
            sent, heard = last[1] - mark[1], self.heard - mark[2]
            if sent >= enough:
                break
        return sent, heard

    def clear(self) -> None:
        self._marks.clear()


class Health:
    """One carrier's. `histogram_ms`: upper bounds of the buckets of response times; there is one more."""

    def __init__(self, limits: Limits, histogram_ms: Sequence[int]) -> None:
        self.limits = limits
        self._bounds = tuple(histogram_ms)
        self.submits = Window(limits.window_s, TIMES + len(histogram_ms) + 1)
        self.receipts = Window(limits.receipt_window_s, RECEIPTS)
        self._cohorts = Cohorts(limits.silence_s + limits.receipt_window_s)
        self.state = State.CLOSED
        self.fault: Fault | None = None
        self.since_s = 0
        self.until_s = 0
        self._times = 0  # out in a row
        self._closed_s = 0
        self.row = 0  # submits that went wrong, since the last second with a good answer
        self._told: Fault | None = None  # what it would have been taken out for
        self._trial_submits = [0] * (TIMES + len(histogram_ms) + 1)
        self.trial_receipts = [0] * RECEIPTS  # what came since its trial began
        self._answered_s = 0  # when its trial was answered

    # what is fed

    def feed(self, now_s: int, submits: Sequence[int], receipts: Sequence[int]) -> None:
        """What was counted since the last call; about once a second."""
        self.submits.add(now_s, submits)
        self.receipts.add(now_s, receipts)
        self.row = 0 if submits[ANSWERED] else self.row + submits[FAULTS] + submits[SILENT]
        self._cohorts.add(now_s, receipts[EXPECTED], receipts[HEARD])
        if self.state is State.HALF_OPEN:
            for sums, counts in ((self._trial_submits, submits), (self.trial_receipts, receipts)):
                for column, count in enumerate(counts):
                    sums[column] += count

    def trial_left(self) -> int:
        """Segments of its trial of which nothing is known yet; 0 = it needs no more, or is not on trial."""
        return max(0, self.limits.trial - self._trial_answers()) if self.state is State.HALF_OPEN else 0

    # what comes of it

    def look(
        self,
        now_s: int,
        *,
        alone: bool = False,
        false_receipts: bool = False,
        excused: Callable[[Fault], bool] = lambda fault: False,
    ) -> Change | None:
        """Decide; None: all stays as it is. `alone`: some lane has no other able carrier. `false_receipts`:
        its receipts (on trial: `trial_receipts`) look made up, and it is to be taken out for that. `excused`:
        whether somebody else sees to a fault that is found (gateway.countries)."""
        if self.state is not State.CLOSED and not self.limits.act:
            return self._close(now_s, {})
        if self.state is State.OPEN:
            return self._try(now_s) if now_s >= self.until_s else None
        if self.state is State.HALF_OPEN:
            return self._judge_trial(now_s, false_receipts)
        fault = Fault.FALSE if false_receipts else self.fault_now(now_s)
        if fault is None or (fault is not Fault.FALSE and excused(fault)):
            self._told = None
            return None
        lonely = alone and fault.by_receipts and not self.limits.even_alone
        if lonely or not self.limits.act:
            if self._told is fault:
                return None
            self._told = fault
            return Change(State.OPEN, fault, self.figures(now_s), done=False)
        if self._times and now_s - self._closed_s > self._out_s() + self.limits.window_s:
            self._times = 0
        return self._open(now_s, fault, self.figures(now_s))

    @property
    def bad(self) -> Fault | None:
        """What it would be taken out for, and goes on all the same."""
        return self._told if self.state is State.CLOSED else None

    def close(self, now_s: int) -> Change | None:
        """An operator says so; None: it was closed."""
        return None if self.state is State.CLOSED else self._close(now_s, {}, times=0)

    def forget(self) -> None:
        """What was counted so far says nothing about it any more."""
        self.row = 0
        self.submits.clear()
        self.receipts.clear()
        self._cohorts.clear()

    def judge_by(self, limits: Limits) -> None:
        """Other limits, or another way of counting: what was counted goes, what was decided stays. Open, it
        waits no longer than the new limits say; a trial starts over."""
        heard, sent = self._cohorts.heard, self._cohorts.sent
        self.limits = limits
        self.submits = Window(limits.window_s, len(self.submits.sums))
        self.receipts = Window(limits.receipt_window_s, RECEIPTS)
        self._cohorts = Cohorts(limits.silence_s + limits.receipt_window_s)
        self._cohorts.heard, self._cohorts.sent = heard, sent
        self.row, self._answered_s = 0, 0
        self._trial_submits = [0] * len(self._trial_submits)
        self.trial_receipts = [0] * RECEIPTS
        if self.state is State.OPEN:
            self.until_s = min(self.until_s, self.since_s + self._out_s())

    def figures(self, now_s: int) -> dict[str, int]:
        """What the windows hold; -1 for what cannot be told yet. Ratios in permille, times in ms."""
        self.submits.move(now_s)
        self.receipts.move(now_s)
        return figures_of(self.submits.sums, self.receipts.sums, self._bounds)

    def fault_now(self, now_s: int) -> Fault | None:
        """What it would be taken out for."""
        limits = self.limits
        self.submits.move(now_s)
        self.receipts.move(now_s)
        fault = fault_of(limits, self.submits.sums, self.receipts.sums, self.row, self._bounds)
        if fault is None and limits.silence_s and limits.min_heard and self._cohorts.heard:
            sent, heard = self._cohorts.of(now_s - limits.silence_s, limits.min_receipts)
            if sent >= limits.min_receipts and _permille(heard, sent) < limits.min_heard:
                return Fault.SILENCE
        return fault

    def _try(self, now_s: int) -> Change:
        self.state, self.since_s, self._answered_s = State.HALF_OPEN, now_s, 0
        self._trial_submits = [0] * len(self._trial_submits)
        self.trial_receipts = [0] * len(self.trial_receipts)
        return Change(State.HALF_OPEN, self.fault, {"trial": self.limits.trial})

    def _trial_answers(self) -> int:
        """Of its trial: all answers, as who blames the message works too, and silences."""
        submits = self._trial_submits
        return max(sum(submits[TIMES:]), submits[ANSWERED] + submits[FAULTS]) + submits[SILENT]

    def _judge_trial(self, now_s: int, false_receipts: bool) -> Change | None:
        limits, submits, receipts = self.limits, self._trial_submits, self.trial_receipts
        answered = self._trial_answers()
        if answered and not self._answered_s:
            self._answered_s = now_s
        if not answered:
            return None
        waited = now_s - self._answered_s >= limits.trial_wait_s
        figures = figures_of(submits, receipts, self._bounds)
        of = min(answered, limits.trial) if waited else limits.trial  # a share of what it should have been
        if limits.max_errors and (submits[FAULTS] + submits[SILENT]) * 1000 >= limits.max_errors * of:
            return self._open(now_s, Fault.ERRORS, figures)
        if answered < limits.trial and not waited:
            return None
        if self.fault is Fault.SLOW and figures["response_p90_ms"] > limits.max_response_ms > 0:
            return self._open(now_s, Fault.SLOW, figures)
        if self.fault is None or not self.fault.by_receipts:
            return self._close(now_s, figures)
        judged = receipts[DELIVERED] + receipts[FAILED]
        if judged + receipts[BLAMELESS] < limits.trial and not waited:
            return None
        if self.fault is Fault.FALSE and false_receipts:
            return self._open(now_s, self.fault, figures)
        if self.fault is Fault.LATE and figures["receipt_p50_ms"] > limits.max_receipt_ms > 0:
            return self._open(now_s, self.fault, figures)
        if judged:
            delivered = receipts[DELIVERED]
            good = delivered > 0 and delivered * 1000 >= limits.min_delivered * judged
        else:  # no receipts were asked for, or none of them blames the carrier: nothing speaks against it
            good = not receipts[EXPECTED] or receipts[BLAMELESS] > 0
        return self._close(now_s, figures) if good else self._open(now_s, self.fault, figures)

    def _open(self, now_s: int, fault: Fault, figures: dict[str, int]) -> Change:
        self._times += 1
        self.state, self.fault, self.since_s = State.OPEN, fault, now_s
        self.until_s = now_s + self._out_s()
        return Change(State.OPEN, fault, figures, self.until_s)

    def _out_s(self) -> int:
        limits = self.limits
        return min(limits.open_max_s, limits.open_s << min(20, max(0, self._times - 1)))

    def _close(self, now_s: int, figures: dict[str, int], times: int | None = None) -> Change:
        fault, self.fault = self.fault, None
        self.state, self.since_s, self.until_s, self._closed_s = State.CLOSED, now_s, 0, now_s
        self._times = self._times if times is None else times
        self.forget()
        return Change(State.CLOSED, fault, figures)


def figures_of(submits: Sequence[int], receipts: Sequence[int], bounds: Sequence[int]) -> dict[str, int]:
    """What sums of answers and receipts say; -1 for what cannot be told yet. Ratios in permille, times in ms;
    `bounds`: of the buckets of response times."""
    answers = submits[ANSWERED] + submits[FAULTS]
    asked = answers + submits[SILENT]
    judged = receipts[DELIVERED] + receipts[FAILED]
    return {
        "submits": asked,
        "errors": submits[FAULTS],
        "unanswered": submits[SILENT],
        "error_permille": _permille(submits[FAULTS] + submits[SILENT], asked),
        "response_mean_ms": submits[TIME_MS] // answers if answers else -1,
        "response_p90_ms": _response_ms(submits, 900, bounds),
        "receipts": judged,
        "receipts_blameless": receipts[BLAMELESS],  # failures that no carrier can help
        "delivered_permille": _permille(receipts[DELIVERED], judged),
        "receipt_p50_ms": quantile_ms(list(receipts[HISTOGRAM:CELL]), 500) if receipts[DELAYS] else -1,
    }


def _response_ms(submits: Sequence[int], permille: int, bounds: Sequence[int]) -> int:
    """The upper bound of the bucket in which this quantile of answers lies."""
    wanted = -(-sum(submits[TIMES:]) * permille // 1000)
    if wanted <= 0:
        return -1
    for bound, count in zip(bounds, submits[TIMES:], strict=False):
        wanted -= count
        if wanted <= 0:
            return bound
    return 2 * bounds[-1]


def fault_of(
    limits: Limits, submits: Sequence[int], receipts: Sequence[int], row: int, bounds: Sequence[int]
) -> Fault | None:
    """What is too bad in sums of a window. `row`: submits that went wrong since the last good answer."""
    figures = figures_of(submits, receipts, bounds)
    if limits.max_errors and row >= limits.min_submits:
        return Fault.ERRORS
    if figures["submits"] >= limits.min_submits:
        if limits.max_errors and figures["error_permille"] >= limits.max_errors:
            return Fault.ERRORS
        if limits.max_response_ms and figures["response_p90_ms"] > limits.max_response_ms:
            return Fault.SLOW
    if undelivered(receipts, limits):
        return Fault.UNDELIVERED
    enough = figures["receipts"] >= limits.min_receipts
    return Fault.LATE if enough and figures["receipt_p50_ms"] > limits.max_receipt_ms > 0 else None


def undelivered(receipts: Sequence[int], limits: Limits) -> bool:
    """Too few are delivered; of twice as many receipts also when hardly any is, whoever they blame."""
    delivered, judged = receipts[DELIVERED], receipts[DELIVERED] + receipts[FAILED]
    if judged >= limits.min_receipts and delivered * 1000 < limits.min_delivered * judged:
        return True
    judged += receipts[BLAMELESS]
    return judged >= 2 * limits.min_receipts and delivered * 10_000 < limits.min_delivered * judged


def _permille(part: int, whole: int) -> int:
    return part * 1000 // whole if whole else -1
