"""router.throttle: never more than R + burst - 1 in any sliding second, and at least 0.98 R."""

from __future__ import annotations

import random
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.throttle import CATCH_UP_S, LATE_S, UNLIMITED, WINDOW_S, Limits, Throttle

JITTER_S = 0.012
ROUNDING_S = 0.001  # of runs in the log
START = 123_456.789


def most_in_a_second(seen: list[float]) -> int:
    """The highest count in any half-open sliding second."""
    seen = sorted(seen)
    return max((bisect_left(seen, at + 1.0) - first for first, at in enumerate(seen)), default=0)


def sent(throttle: Throttle, polls: list[float]) -> list[float]:
    """Take all there is at every poll."""
    takes: list[float] = []
    for now in polls:
        n = throttle.available(now)
        throttle.take(n, now)
        takes.extend([now] * n)
    return takes


gaps = st.lists(
    st.one_of(
        st.floats(0.0, 0.01),
        st.floats(0.0, 0.2),
        st.sampled_from([0.0, 0.0005, 0.1, 0.9999, 1.0, 1.0124, 1.0125, 3.0]),
    ),
    min_size=50,
    max_size=400,
)


@given(st.sampled_from([0.5, 1, 2, 7, 10, 100, 1000]), st.integers(1, 30), gaps, st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_the_far_side_never_sees_more_than_rate_plus_burst_minus_one(
    rate: float, burst: int, waits: list[float], seed: int
) -> None:
    """Whatever the poller does (stalls, hurry) and with every take delayed by up to 12 ms."""
    chance = random.Random(seed)
    now, polls = START, []
    for wait in waits:
        now += wait
        polls.append(now)
    takes = sent(Throttle(rate, burst), polls)
    seen = [at + chance.choice((0.0, JITTER_S, chance.uniform(0, JITTER_S))) for at in takes]
    assert most_in_a_second(seen) <= max(1, rate) + burst - 1


@pytest.mark.parametrize("rate", [1, 10, 100, 1_000])
def test_a_backlog_polled_a_hundred_times_a_second_reaches_98_percent(rate: int) -> None:
    takes = sent(Throttle(rate), [START + step * 0.01 for step in range(10_000)])
    assert len(takes) >= 0.98 * rate * 100
    assert len([at for at in takes if at < START + 10]) >= int(0.98 * rate * 10)
    assert most_in_a_second(takes) <= rate


@pytest.mark.parametrize("late_s", [0.0, 0.0003, 0.003])
@pytest.mark.parametrize("rate", [10, 100, 1_000, 5_000])
def test_sleeping_until_next_at_reaches_98_percent(rate: int, late_s: float) -> None:
    throttle, now, count = Throttle(rate), START, 0
    while now < START + 10:
        n = throttle.available(now)
        assert n > 0, "next_at came too early"
        throttle.take(n, now)
        count += n
        now = throttle.next_at(1, now) + late_s
    assert count >= 0.98 * rate * 10


@pytest.mark.parametrize("rate", [10, 100, 1_000])
def test_the_second_after_a_stalled_commit_keeps_the_limit(rate: int) -> None:
    polls = [START + step * 0.005 for step in range(2_000) if not 600 <= step < 760]
    takes = sent(Throttle(rate), polls)
    assert most_in_a_second(takes) <= rate
    assert len(takes) >= 0.90 * rate * 10


def test_catching_up_after_a_stall_is_limited() -> None:
    throttle = Throttle(1_000, 1)
    sent(throttle, [START + step * 0.01 for step in range(300)])
    assert throttle.available(START + 60) <= 101


def test_takes_are_spread_not_sent_at_the_start_of_each_second() -> None:
    takes = sent(Throttle(100), [START + step * 0.01 for step in range(1_000)])
    later = [at for at in takes if at >= START + 2]
    for tenth in range(0, 70):
        begin = START + 2 + tenth * 0.1
        assert len([at for at in later if begin <= at < begin + 0.1]) <= 22


def most_silent_s(takes: list[float], since: float) -> float:
    later = [at for at in takes if at >= since]
    return max(after - at for at, after in pairwise(later))


@pytest.mark.parametrize("rate", [20, 200, 2_000])
def test_the_crowd_of_an_idle_start_does_not_come_back_each_second(rate: int) -> None:
    """What comes right after such a crowd's second would wait CATCH_UP_S and more, again and again."""
    throttle, now, takes = Throttle(rate), START, list[float]()
    while now < START + 20:
        n = throttle.available(now)
        throttle.take(n, now)
        takes.extend([now] * n)
        now = throttle.next_at(1, now)
    assert most_silent_s(takes, START) <= WINDOW_S - 1 + CATCH_UP_S + 1 / rate + ROUNDING_S
    assert most_silent_s(takes, START + 2) <= WINDOW_S - 1 + LATE_S + 1 / rate + ROUNDING_S
    assert len(takes) >= 0.98 * rate * 20


def test_a_burst_that_is_configured_may_come_back_each_second() -> None:
    throttle, now, takes = Throttle(100, 20), START, list[float]()
    while now < START + 20:
        n = throttle.available(now)
        throttle.take(n, now)
        takes.extend([now] * n)
        now = throttle.next_at(1, now)
    assert most_silent_s(takes, START + 2) <= WINDOW_S - 1 + LATE_S + 20 / 100 + ROUNDING_S
    assert len(takes) >= 100 * 20


def test_a_burst_goes_at_once_and_the_rate_holds_after_it() -> None:
    throttle = Throttle(10, 50)
    assert throttle.available(START) >= 50
    takes = sent(throttle, [START + step * 0.01 for step in range(2_000)])
    assert most_in_a_second(takes) <= 59
    assert 0.98 * 200 <= len(takes) <= 200 + 52


def test_rate_zero_is_no_limit() -> None:
    throttle = Throttle(0)
    throttle.take(1_000_000, START)
    assert throttle.available(START) == UNLIMITED
    assert throttle.next_at(5, START) == START


def test_an_overdraft_is_paid_back() -> None:
    """A long message claimed whole may exceed what is available."""
    throttle = Throttle(10)
    throttle.take(15, START)
    assert throttle.available(START + 0.5) == 0
    assert throttle.next_at(1, START) >= START + WINDOW_S
    assert throttle.available(throttle.next_at(1, START)) >= 1


def test_asking_for_more_than_can_ever_be_available_still_ends() -> None:
    throttle = Throttle(2)
    throttle.take(1, START)
    at = throttle.next_at(100, START)
    assert START < at <= START + 2


def test_fm33_a_clock_that_steps_back_changes_nothing() -> None:
    throttle = Throttle(10)
    throttle.take(2, START)
    throttle.take(1, START - 50)
    assert throttle.available(START - 100) == throttle.available(START)


def test_fm36_a_lower_limit_counts_what_was_sent_before_it() -> None:
    throttle = Throttle(100)
    takes = sent(throttle, [START + step * 0.01 for step in range(100)])
    throttle.change(10)
    assert throttle.available(START + 1) == 0
    assert len(takes) > 50


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize(("before", "after"), [((1, 1), (100, 50)), ((100, 50), (1, 1)), ((0, 1), (100, 50))])
def test_the_first_burst_of_an_unused_limit_that_was_changed_is_that_of_the_new_one(
    before: tuple[float, int], after: tuple[float, int], looked: bool
) -> None:
    throttle = Throttle(*before)
    if looked:
        throttle.available(START)
    throttle.change(*after)
    fresh = Throttle(*after)
    assert throttle.available(START) == fresh.available(START)
    assert throttle.next_at(10, START) == fresh.next_at(10, START)


def test_a_higher_limit_gives_no_second_burst_to_one_that_has_just_had_its_own() -> None:
    throttle = Throttle(10, 5)
    throttle.take(5, START)
    throttle.change(100, 50)
    assert throttle.available(START) == 1  # the first one left a token, of CATCH_UP_S
    assert throttle.available(START + 0.1) == 11


def test_memory_is_bounded_at_any_rate() -> None:
    throttle = Throttle(100_000, 100_000)
    for step in range(100_000):
        throttle.take(1, START + step * 0.00001)
    assert len(throttle._times) <= WINDOW_S / 0.0005 + 1


@pytest.mark.parametrize(("rate", "burst"), [(-1, 1), (10, 0)])
def test_an_impossible_limit_is_refused(rate: int, burst: int) -> None:
    with pytest.raises(ValueError, match="rate must"):
        Throttle(rate, burst)


# minute, hour, day


def most_in(seconds: float, takes: list[float]) -> int:
    """The highest count in any half-open sliding window of so many seconds."""
    return max((bisect_left(takes, at + seconds) - first for first, at in enumerate(takes)), default=0)


@pytest.mark.parametrize("seed", range(20))
def test_all_horizons_hold_at_once_in_every_sliding_window(seed: int) -> None:
    """Whatever the poller does, with every take delayed by up to 12 ms."""
    chance = random.Random(seed)
    limits = Limits(per_minute=chance.choice((30, 200)), per_hour=chance.choice((0, 500)), per_day=2_000)
    rate = chance.choice((0, 2, 10))
    throttle, polls, now = Throttle(rate, 3, limits), [], START
    for _ in range(20_000):
        now += chance.choice((0.0, 0.01, 0.3, 1.0, chance.uniform(0, 20)))
        polls.append(now)
    takes = sent(throttle, polls)
    seen = sorted(at + chance.uniform(0, JITTER_S) for at in takes)
    assert most_in(60, seen) <= limits.per_minute
    assert most_in(3_600, seen) <= (limits.per_hour or UNLIMITED)
    assert most_in(86_400, seen) <= 2_000
    assert rate == 0 or most_in_a_second(takes) <= rate + 2


def test_of_a_limit_beyond_the_second_nearly_all_is_reached() -> None:
    takes = sent(Throttle(0, 1, Limits(per_minute=600)), [START + step * 0.05 for step in range(24_000)])
    assert len(takes) >= 0.98 * 600 * 20


def test_next_at_is_when_the_narrowest_horizon_lets_one_through() -> None:
    throttle = Throttle(100, 100, Limits(per_minute=10, per_hour=20))
    throttle.take(10, START)
    assert START + 60 <= throttle.next_at(1, START) <= START + 61
    throttle.take(10, START + 70)
    assert START + 3_600 <= throttle.next_at(1, START + 70) <= START + 3_602
    assert throttle.available(throttle.next_at(1, START + 70)) >= 1


def test_horizons_change_in_place_and_remember_what_was_taken() -> None:
    throttle = Throttle(0)
    assert not throttle.limited
    throttle.change(0, 1, Limits(per_hour=10))
    throttle.take(8, START)
    throttle.change(0, 1, Limits(per_hour=5, per_day=100))
    assert throttle.left(START) == 0
    throttle.change(50)  # a rate alone leaves the horizons
    assert throttle.available(START + 1) == 0
    throttle.change(0, 1, Limits())
    assert throttle.available(START + 2) == UNLIMITED


def test_memory_of_a_horizon_is_bounded_at_any_rate() -> None:
    throttle = Throttle(0, 1, Limits(per_day=10_000_000))
    for step in range(200_000):
        throttle.take(1, START + step * 0.5)
    assert len(throttle.horizons[0].runs()) <= 122


def test_a_limit_that_is_new_takes_the_last_second_as_used_up() -> None:
    throttle = Throttle(0)
    throttle.take(1_000, 5.0)  # nobody counted
    throttle.change(10, 3)
    throttle.fill(5.0)
    assert throttle.available(5.0) == 0
    assert throttle.available(5.0 + WINDOW_S - 0.001) == 0
    assert 0 < throttle.available(5.0 + WINDOW_S + 0.3) <= 12
    unlimited = Throttle(0)
    unlimited.fill(5.0)
    assert unlimited.available(5.0) > 1_000
