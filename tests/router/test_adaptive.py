"""router.adaptive: the rate falls with what a carrier refuses, and comes back with what it accepts."""

from __future__ import annotations

import pytest

from router.adaptive import FLOOR_PER_S, Adaptive, Cause

LOOK_S = 0.25


class Carrier:
    """Accepts up to `able` a second and refuses the rest; asked at the adaptive rate, or at `limit`."""

    def __init__(self, limit: float, able: float) -> None:
        self.limit, self.able = limit, able
        self.adaptive = Adaptive()
        self.now = 1000.0
        self.accepted = self.refused = self.answered = 0
        self.waited_s = 0.0
        self.response_s = 0.05

    def go(self, seconds: float, wanted: float = 1e9) -> None:
        for _ in range(int(seconds / LOOK_S)):
            rate = min(wanted, self.adaptive.rate or self.limit or wanted)
            sent, fits = rate * LOOK_S, self.able * LOOK_S
            began = self.now
            self.now += LOOK_S
            self.accepted += int(min(sent, fits))
            over = int(sent - fits)
            self.answered += int(sent)
            self.waited_s += int(sent) * self.response_s
            for _ in range(max(0, over)):
                self.refused += 1
                self.adaptive.refused(self.now, began, self.accepted, self.limit, Cause.THROTTLED)
            self.adaptive.look(self.now, self.accepted, self.answered, self.waited_s, self.limit)


def test_a_carrier_that_refuses_nothing_is_never_slowed() -> None:
    carrier = Carrier(500, 1e9)
    carrier.go(600)
    assert carrier.adaptive.rate == 0
    assert carrier.adaptive.reason(carrier.now, 500) == ""


def test_it_settles_near_what_the_carrier_takes_and_refusals_become_few() -> None:
    carrier = Carrier(500, 50)
    carrier.go(5)
    assert carrier.adaptive.rate < 60
    refused, accepted = carrier.refused, carrier.accepted
    carrier.go(120)
    assert carrier.refused - refused < 0.05 * (carrier.accepted - accepted)
    assert carrier.accepted - accepted > 0.8 * 50 * 120


def test_success_reopens_it_up_to_the_configured_rate_and_not_beyond() -> None:
    carrier = Carrier(500, 50)
    carrier.go(20)
    carrier.able = 1e9
    highest = 0.0
    for _ in range(400):
        carrier.go(LOOK_S)
        highest = max(highest, carrier.adaptive.rate)
    assert carrier.adaptive.rate == 0  # nothing is held back any more
    assert highest <= 500


def test_without_success_it_stays() -> None:
    carrier = Carrier(500, 50)
    carrier.go(20)
    before = carrier.adaptive.rate
    carrier.go(3_600, wanted=0)
    assert carrier.adaptive.rate == before


@pytest.mark.parametrize("limit", [0, 10, 500, 10_000])
def test_it_never_comes_to_a_stop(limit: float) -> None:
    carrier = Carrier(limit, 0)
    carrier.go(600, wanted=1_000)
    assert carrier.adaptive.rate >= max(FLOOR_PER_S, limit / 100)


def test_what_was_sent_before_the_rate_was_lowered_lowers_it_no_further() -> None:
    adaptive = Adaptive()
    adaptive.look(0.0, 0, 0, 0.0, 500)
    adaptive.look(1.0, 400, 400, 4.0, 500)
    assert adaptive.refused(1.1, 1.05, 410, 500, Cause.THROTTLED)
    rate = adaptive.rate
    for _ in range(100):
        assert not adaptive.refused(1.2, 1.08, 410, 500, Cause.THROTTLED)
    assert adaptive.rate == rate
    assert adaptive.refused(3.0, 2.9, 410, 500, Cause.THROTTLED)
    assert adaptive.rate < rate


def test_one_refusal_takes_at_most_nine_tenths() -> None:
    adaptive = Adaptive()
    adaptive.look(0.0, 0, 0, 0.0, 500)
    adaptive.refused(0.5, 0.4, 0, 500, Cause.QUEUE_FULL)
    assert adaptive.rate == 50


def test_a_carrier_without_a_configured_rate_is_held_to_what_it_took_and_let_go_again() -> None:
    carrier = Carrier(0, 200)
    carrier.go(60, wanted=1_000)
    assert 100 < carrier.adaptive.rate < 230
    carrier.able = 1e9
    carrier.go(90, wanted=1_000)
    assert carrier.adaptive.rate == 0


def test_response_times_far_above_the_usual_lower_it_and_its_own_usual_does_not() -> None:
    carrier = Carrier(500, 1e9)
    carrier.go(20)
    carrier.response_s = 0.8  # much longer, but not long
    carrier.go(5)
    assert carrier.adaptive.rate == 0
    carrier.response_s = 3.0
    carrier.go(10)
    assert 0 < carrier.adaptive.rate < 450
    assert "slower than usual" in carrier.adaptive.reason(carrier.now, 500)
    slow = Carrier(500, 1e9)
    slow.response_s = 4.0
    slow.go(60)
    assert slow.adaptive.rate == 0


def test_congestion_state_lowers_it_and_holds_it_while_high() -> None:
    carrier = Carrier(100, 1e9)
    carrier.go(5)
    adaptive = carrier.adaptive
    assert not adaptive.congested(carrier.now, 50, carrier.accepted, 100)
    assert not adaptive.congested(carrier.now, 85, carrier.accepted, 100)
    assert adaptive.rate == 0
    assert adaptive.congested(carrier.now, 95, carrier.accepted, 100)
    assert adaptive.rate == pytest.approx(90)
    assert not adaptive.congested(carrier.now + 0.5, 99, carrier.accepted, 100)
    for _ in range(20):
        adaptive.congested(carrier.now, 85, carrier.accepted, 100)
        carrier.go(LOOK_S)
    assert adaptive.rate == pytest.approx(90)
    carrier.go(30)
    assert adaptive.rate == 0


def test_the_reason_is_for_people() -> None:
    adaptive = Adaptive()
    adaptive.look(0.0, 0, 0, 0.0, 500)
    for _ in range(12):
        adaptive.refused(0.5, 0.4, 60, 500, Cause.THROTTLED)
    assert adaptive.reason(1.0, 500) == "rate 54/s of 500/s: throttled 12 times in the last minute"
    assert adaptive.in_last_minute(70.0, Cause.THROTTLED) == 0


def test_memory_is_bounded_whatever_is_refused() -> None:
    adaptive = Adaptive()
    for step in range(100_000):
        adaptive.refused(step * 0.01, step * 0.01, 0, 500, Cause.THROTTLED)
        adaptive.refused(step * 0.01, step * 0.01, 0, 500, Cause.QUEUE_FULL)
        adaptive.look(step * 0.01, 0, 0, 0.0, 500)
    assert len(adaptive._refused) <= 2 * 62
    assert len(adaptive._samples) <= 130
