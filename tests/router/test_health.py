"""The windows and the circuit breaker of a carrier's health."""

from __future__ import annotations

import msgspec
import pytest

from router import cells
from router.health import (
    ANSWERED,
    EXPECTED,
    FAULTS,
    HEARD,
    RECEIPTS,
    SILENT,
    TIME_MS,
    TIMES,
    Change,
    Cohorts,
    Fault,
    Health,
    Limits,
    State,
    Window,
)

BOUNDS = (10, 100, 1_000, 10_000)
LIMITS = Limits()
NOW = 1_000_000


def submits(answered: int = 0, faults: int = 0, silent: int = 0, time_ms: int = 5) -> list[int]:
    row = [0] * (TIMES + len(BOUNDS) + 1)
    row[ANSWERED], row[FAULTS], row[SILENT] = answered, faults, silent
    row[TIME_MS] = (answered + faults) * time_ms
    bucket = next((index for index, bound in enumerate(BOUNDS) if time_ms <= bound), len(BOUNDS))
    row[TIMES + bucket] = answered + faults
    return row


def receipts(
    delivered: int = 0, failed: int = 0, sent: int = 0, delay_ms: int = 2_000, blameless: int = 0
) -> list[int]:
    row = [0] * RECEIPTS
    row[cells.DELIVERED], row[cells.FAILED], row[cells.BLAMELESS] = delivered, failed, blameless
    row[cells.DELAYS], row[cells.DELAY_MS] = delivered, delivered * delay_ms
    row[cells.HISTOGRAM + delay_ms.bit_length()] = delivered
    row[EXPECTED], row[HEARD] = sent, delivered + failed + blameless
    return row


class Told:
    """A Health that is fed once a second, and what it decided."""

    def __init__(self, **limits: object) -> None:
        self.health = Health(msgspec.structs.replace(LIMITS, **limits), BOUNDS)
        self.now = NOW
        self.changes: list[tuple[int, Change]] = []
        self.alone = self.false = False

    def run(self, seconds: int, submits: list[int] | None = None, receipts: list[int] | None = None) -> Told:
        for _ in range(seconds):
            self.now += 1
            self.health.feed(self.now, submits or NOTHING, receipts or [0] * RECEIPTS)
            change = self.health.look(self.now, alone=self.alone, false_receipts=self.false)
            if change is not None:
                self.changes.append((self.now - NOW, change))
        return self

    def states(self) -> list[str]:
        return [change.state.value for _, change in self.changes]

    def state(self) -> State:
        return self.health.state

    def fault(self) -> Fault | None:
        return self.changes[-1][1].fault if self.changes else None


NOTHING = submits()
GOOD = submits(answered=10)
BAD = submits(faults=10)


def test_a_window_forgets_what_is_older_than_it() -> None:
    window = Window(60, 2)
    for second in range(120):
        window.add(NOW + second, (1, second))
    assert 57 <= window.sums[0] <= 60
    window.move(NOW + 160)
    assert 17 <= window.sums[0] <= 20
    window.move(NOW + 10_000)
    assert window.sums == [0, 0]


def test_good_answers_change_nothing() -> None:
    told = Told().run(3_600, GOOD, receipts(delivered=10, sent=10))
    assert told.changes == []
    figures = told.health.figures(told.now)
    assert (figures["error_permille"], figures["delivered_permille"]) == (0, 1000)
    assert (figures["response_p90_ms"], figures["receipt_p50_ms"]) == (10, 2_048)


def test_a_few_failures_say_nothing() -> None:
    assert Told().run(1, submits(faults=19)).changes == []


def test_errors_open_the_circuit_and_it_is_tried_again_for_twice_as_long() -> None:
    told = Told().run(60, GOOD).run(400, BAD)
    opened = [(second, change.until_s - NOW - second) for second, change in told.changes if change.until_s]
    assert told.states()[:5] == ["open", "half_open", "open", "half_open", "open"]
    assert told.changes[0][1].fault is Fault.ERRORS
    assert [length for _, length in opened[:4]] == [30, 60, 120, 240]
    assert opened[0][0] == 62, "twenty in a row are enough"


def test_a_share_of_errors_opens_it_once_it_is_half_of_the_window() -> None:
    told = Told().run(60, GOOD).run(60, submits(answered=4, faults=6))
    assert told.states() == ["open"]
    assert 105 <= told.changes[0][0] <= 120


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (submits(faults=5, answered=5), Fault.ERRORS),
        (submits(silent=10), Fault.ERRORS),
        (submits(answered=10, time_ms=20_000), Fault.SLOW),
    ],
)
def test_what_is_the_carriers_fault_opens_it(bad: list[int], fault: Fault) -> None:
    assert Told().run(10, bad).fault() is fault


def test_half_open_lets_a_trial_through_and_closes_when_it_is_good() -> None:
    told = Told().run(3, BAD).run(30)
    assert told.states() == ["open", "half_open"]
    assert told.run(600).states() == ["open", "half_open"], "nothing was sent: nothing is known"
    told.run(1, submits(answered=9))
    assert told.state() is State.HALF_OPEN
    told.run(1, submits(answered=1))
    assert told.state() is State.CLOSED
    assert told.run(300, GOOD).states() == ["open", "half_open", "closed"]


def test_half_open_is_not_for_ever_where_little_is_sent() -> None:
    told = Told().run(3, BAD).run(30).run(1, submits(answered=1)).run(LIMITS.trial_wait_s + 1)
    assert told.states() == ["open", "half_open", "closed"]


@pytest.mark.parametrize("faults", [1, 4])
def test_a_trial_of_which_too_few_are_answered_fails_where_the_answers_are_faults(faults: int) -> None:
    told = Told().run(3, BAD).run(30).run(1, submits(faults=faults)).run(LIMITS.trial_wait_s + 1)
    assert told.states() == ["open", "half_open", "open"]


def test_a_trial_of_which_too_few_are_answered_goes_by_the_share_of_faults() -> None:
    told = Told().run(3, BAD).run(30).run(1, submits(answered=3, faults=2)).run(LIMITS.trial_wait_s + 1)
    assert told.states() == ["open", "half_open", "closed"]


def test_an_answer_that_blames_the_message_shows_on_trial_that_the_carrier_works() -> None:
    told = Told().run(3, BAD).run(30)
    assert told.health.trial_left() == LIMITS.trial
    blameless = submits(answered=9)
    blameless[ANSWERED] = 0  # counted by their response times only
    told.run(1, blameless)
    assert (told.state(), told.health.trial_left()) == (State.HALF_OPEN, 1)
    told.run(1, submits(answered=1))
    assert (told.state(), told.health.trial_left()) == (State.CLOSED, 0)


def test_a_carrier_that_was_good_for_long_is_out_for_the_first_time_again() -> None:
    told = Told().run(3, BAD).run(31).run(2, BAD).run(61).run(1, GOOD).run(600, GOOD).run(60, BAD)
    lengths = [change.until_s - NOW - second for second, change in told.changes if change.state is State.OPEN]
    assert lengths[:3] == [30, 60, 30]


def test_receipts_that_say_undelivered_open_it_and_a_trial_waits_for_receipts() -> None:
    told = Told().run(10, GOOD, receipts(failed=10, sent=10))
    assert told.fault() is Fault.UNDELIVERED
    assert told.changes[0][0] == 5, "fifty receipts are enough"
    told.run(30)
    assert told.state() is State.HALF_OPEN
    told.run(5, submits(answered=10), receipts(sent=10))
    assert told.state() is State.HALF_OPEN, "answered, and no receipt yet"
    told.run(1, None, receipts(delivered=10))
    assert told.state() is State.CLOSED


def test_a_trial_without_receipts_fails_in_the_end() -> None:
    told = Told().run(10, GOOD, receipts(failed=10, sent=10)).run(30)
    told.run(1, submits(answered=10), receipts(sent=10)).run(LIMITS.trial_wait_s + 1)
    assert told.states() == ["open", "half_open", "open"]


@pytest.mark.parametrize("heard", [receipts(), receipts(blameless=10, sent=10)])
def test_a_trial_by_which_receipts_cannot_be_judged_ends_well(heard: list[int]) -> None:
    """None were asked for, or all blame the numbers: another trial would say no more."""
    told = Told().run(10, GOOD, receipts(failed=10, sent=10)).run(30)
    told.run(1, submits(answered=10), heard).run(LIMITS.trial_wait_s + 1)
    assert told.states() == ["open", "half_open", "closed"]


def test_a_trial_after_false_receipts_is_good_once_they_do_not_look_false() -> None:
    told = Told()
    told.false = True
    told.run(30 + 3)
    assert told.states() == ["open", "half_open"]
    told.run(1, submits(answered=10), receipts(delivered=10, sent=10))
    assert told.states()[2:] == ["open"]
    told.run(60)
    told.false = False
    told.run(1, submits(answered=10), receipts(delivered=10, sent=10))
    assert told.states()[3:] == ["half_open", "closed"]


def test_a_trial_after_late_receipts_fails_while_they_are_late() -> None:
    late = receipts(delivered=10, sent=10, delay_ms=60_000)
    told = Told(max_receipt_ms=30_000).run(5, GOOD, late).run(30).run(1, submits(answered=10), late)
    assert told.states() == ["open", "half_open", "open"]


def test_failures_that_no_carrier_can_help_count_for_nothing() -> None:
    assert Told().run(60, GOOD, receipts(blameless=9, delivered=1, sent=10)).changes == []
    told = Told().run(60, GOOD, receipts(blameless=10, sent=10))
    assert (told.fault(), told.changes[0][0]) == (Fault.UNDELIVERED, 10), "unless nothing is delivered at all"
    figures = told.changes[0][1].figures
    assert (figures["receipts"], figures["delivered_permille"], figures["receipts_blameless"]) == (0, -1, 100)


def test_a_carrier_that_falls_silent_is_out_after_the_time_of_silence() -> None:
    told = Told().run(1_200, GOOD, receipts(delivered=10, sent=10)).run(400, GOOD, receipts(sent=10))
    second, change = told.changes[0]
    assert change.fault is Fault.SILENCE
    assert 300 < second - 1_200 < 345


def test_a_carrier_that_never_gave_receipts_is_not_silent() -> None:
    assert Told().run(3_000, GOOD, receipts(sent=10)).changes == []


def test_receipts_do_not_take_the_only_carrier_of_a_lane_out_but_are_told_once() -> None:
    told = Told()
    told.alone = True
    told.run(100, GOOD, receipts(failed=10, sent=10))
    assert [(change.state, change.done) for _, change in told.changes] == [(State.OPEN, False)]
    assert told.state() is State.CLOSED
    told = Told(even_alone=True)
    told.alone = True
    assert told.run(10, GOOD, receipts(failed=10, sent=10)).health.state is State.OPEN
    told = Told()
    told.alone = True
    assert told.run(10, BAD).health.state is State.OPEN, "what it does not take can as well wait"


def test_zero_switches_a_threshold_off_and_tell_only_tells() -> None:
    off = Told(max_errors=0, max_response_ms=0, min_delivered=0, silence_s=0)
    assert off.run(600, submits(faults=10, time_ms=20_000), receipts(failed=10)).changes == []
    told = Told(act=False).run(60, BAD)
    assert [(change.state, change.done) for _, change in told.changes] == [(State.OPEN, False)]
    assert told.state() is State.CLOSED


def test_late_receipts_open_it_where_a_limit_is_set() -> None:
    late = receipts(delivered=10, sent=10, delay_ms=60_000)
    assert Told().run(60, GOOD, late).changes == []
    assert Told(max_receipt_ms=30_000).run(60, GOOD, late).fault() is Fault.LATE


def test_an_operator_closes_it() -> None:
    told = Told().run(3, BAD)
    assert told.health.close(told.now) is not None
    assert told.state() is State.CLOSED
    assert told.health.close(told.now) is None
    assert told.run(30, GOOD).states() == ["open"]


def test_cohorts_take_the_youngest_that_are_old_enough() -> None:
    cohorts = Cohorts(400)
    for second in range(300):
        cohorts.add(NOW + second, 10, 10 if second < 150 else 0)
    sent, heard = cohorts.of(NOW + 100, 50)
    assert 50 <= sent <= 200
    assert heard >= 400
    sent, heard = cohorts.of(NOW + 260, 50)
    assert (sent >= 50, heard) == (True, 0)


# cells


@pytest.mark.parametrize(
    ("number", "code", "country"),
    [
        ("447700900123", 44, "GB"),
        ("14155550100", 1, "US"),
        ("35312345678", 353, "IE"),
        ("79161234567", 7, "RU"),
    ],
)
def test_every_number_has_the_calling_code_it_begins_with(number: str, code: int, country: str) -> None:
    assert cells.CODES[number[:3]] == code
    assert cells.country_of(code) == country


def test_what_no_country_has_is_counted_under_zero() -> None:
    assert cells.CODES.get("000", 0) == cells.CODES.get("12", 0) == 0
    assert cells.country_of(0) == ""


def test_quantiles_of_the_histogram_are_upper_bounds() -> None:
    counts = [0] * (cells.DELAY_BUCKETS + 1)
    assert cells.quantile_ms(counts, 500) == -1
    for delay_ms in (1, 900, 900, 40_000):
        counts[delay_ms.bit_length()] += 1
    assert [cells.quantile_ms(counts, permille) for permille in (100, 500, 1000)] == [2, 1024, 65_536]


@pytest.mark.parametrize(
    ("delays", "is_regular"),
    [([2000] * 50, True), ([1990, 2010] * 25, True), ([500, 900, 4000, 2500] * 10, False), ([], False)],
)
def test_constant_delays_are_regular(delays: list[int], is_regular: bool) -> None:
    squares = sum(delay * delay for delay in delays)
    assert cells.regular(len(delays), sum(delays), squares, 20) is is_regular
