"""Why a lane or a carrier does not move: each reason by itself, and which one speaks for several."""

from __future__ import annotations

import math

import msgspec
import pytest

from router.waiting import CarrierFacts, LaneFacts, Queue, Wait, why_carrier, why_lane, why_leases

NOW = 1000.0
FREE = CarrierFacts("free")
DOWN = CarrierFacts("down", bound=False)
FULL = CarrierFacts("full", room=0, response_due=NOW + 10)
STUCK = CarrierFacts("stuck", room=0, response_due=NOW - 60)
PAUSED = CarrierFacts("paused", paused_until=NOW + 10)
AT_TPS = CarrierFacts("at-tps", tokens=0)
SUSPENDED = CarrierFacts("suspended", suspended=True)
FRESH = (Queue(0, 1.0),)


def lane(*carriers: CarrierFacts | None, **facts: object) -> LaneFacts:
    """A lane with ready messages that nobody has had yet, and that overflows after 5 s."""
    usual: dict[str, object] = {"ready": 3, "queues": FRESH, "overflow_after_s": 5.0}
    return LaneFacts(carriers, **{**usual, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "wait"),
    [
        (FREE, Wait.FREE),
        (DOWN, Wait.NO_BIND),
        (FULL, Wait.WINDOW_FULL),
        (STUCK, Wait.WINDOW_STUCK),
        (CarrierFacts("never-sent", room=0), Wait.WINDOW_STUCK),
        (CarrierFacts("timer-is-late", room=0, response_due=NOW - 1), Wait.WINDOW_FULL),
        (PAUSED, Wait.PAUSED),
        (CarrierFacts("was-paused", paused_until=NOW), Wait.FREE),
        (AT_TPS, Wait.THROTTLED),
        (CarrierFacts("has-enough", appetite=0), Wait.BUSY),
        (SUSPENDED, Wait.SUSPENDED),
        (CarrierFacts("stopping", stopping=True, bound=False), Wait.STOPPING),
    ],
    ids=lambda value: value.name if isinstance(value, CarrierFacts) else "",
)
def test_a_carrier_takes_no_more_work_for_one_reason(facts: CarrierFacts, wait: Wait) -> None:
    assert why_carrier(facts, NOW) is wait


@pytest.mark.parametrize(
    ("facts", "wait"),
    [
        (FREE, Wait.NOTHING),
        (CarrierFacts("unsent", buffered=2), Wait.FREE),
        (msgspec.structs.replace(PAUSED, buffered=2), Wait.PAUSED),
        (CarrierFacts("at-tps", buffered=2, in_flight=1, way_tokens=0), Wait.THROTTLED),
        (CarrierFacts("bind-full", buffered=2, way=0, response_due=NOW + 1), Wait.WINDOW_FULL),
        (CarrierFacts("bind-stuck", buffered=2, way=0), Wait.WINDOW_STUCK),
        (CarrierFacts("sent", in_flight=1, response_due=NOW + 1), Wait.RESPONSE_PENDING),
        (CarrierFacts("no-timer", in_flight=1, response_due=-math.inf), Wait.WINDOW_STUCK),
    ],
    ids=lambda value: value.name if isinstance(value, CarrierFacts) else "",
)
def test_what_a_carrier_has_leased_waits_for_one_reason(facts: CarrierFacts, wait: Wait) -> None:
    assert why_leases(facts, NOW) is wait


@pytest.mark.parametrize(
    ("facts", "wait"),
    [
        (lane(FREE), Wait.FREE),
        (lane(DOWN), Wait.NO_BIND),
        (lane(FREE, tokens=0), Wait.ROUTE_THROTTLED),
        (lane(None, None), Wait.LANE_GONE),
        (lane(), Wait.LANE_GONE),
        (lane(FREE, queues=(), suspended=True), Wait.ACCOUNT_SUSPENDED),
        (lane(FREE, queues=()), Wait.FREE),
        (lane(FREE, ready=0), Wait.NOTHING),
        (lane(FREE, ready=0, held=2), Wait.HELD),
        (lane(FREE, ready=0, scheduled=2), Wait.SCHEDULED),
        (lane(FREE, ready=0, deferred=2, held=1), Wait.DEFERRED),
        (lane(FREE, ready=0, unknown=2), Wait.OUTCOME_UNKNOWN),
    ],
)
def test_a_lane_waits_for_one_reason(facts: LaneFacts, wait: Wait) -> None:
    assert why_lane(facts, NOW).reason is wait


@pytest.mark.parametrize(
    ("carriers", "wait"),
    [
        ((DOWN, PAUSED), Wait.PAUSED),
        ((FULL, DOWN), Wait.WINDOW_FULL),
        ((DOWN, SUSPENDED), Wait.SUSPENDED),
        ((AT_TPS, FULL), Wait.THROTTLED),
        ((STUCK, DOWN), Wait.WINDOW_STUCK),
        ((None, DOWN), Wait.NO_BIND),
    ],
)
def test_of_several_carriers_the_nearest_to_moving_speaks_for_the_lane(
    carriers: tuple[CarrierFacts | None, ...], wait: Wait
) -> None:
    assert why_lane(lane(*carriers), NOW).reason is wait


def test_a_lower_choice_waits_for_an_able_higher_one_until_it_overflows() -> None:
    why = why_lane(lane(FULL, FREE), NOW)
    assert why.carriers == (Wait.WINDOW_FULL, Wait.OVERFLOW_WAIT)
    assert why.reason.explains
    late = why_lane(lane(FULL, FREE, queues=(Queue(0, 5.1),)), NOW)
    assert late.carriers == (Wait.WINDOW_FULL, Wait.FREE)
    assert late.reason is Wait.FREE


def test_a_lower_choice_does_not_wait_for_a_higher_one_that_is_down_or_has_refused() -> None:
    assert why_lane(lane(DOWN, FREE), NOW).reason is Wait.FREE
    assert why_lane(lane(SUSPENDED, FREE), NOW).reason is Wait.FREE
    refused = why_lane(lane(FULL, FREE, queues=(Queue(0b01, 1.0),)), NOW)
    assert refused.carriers == (Wait.REFUSED_BEFORE, Wait.FREE)


def test_what_one_carrier_has_refused_waits_for_the_others() -> None:
    why = why_lane(lane(FREE, DOWN, queues=(Queue(0b01, 90.0),)), NOW)
    assert why.carriers == (Wait.HAD_BEFORE, Wait.NO_BIND)
    assert why.reason is Wait.NO_BIND, "of what it may have again nothing is left a moment later"


def test_what_a_carrier_had_it_is_given_again_only_while_no_other_is_able() -> None:
    had = (Queue(0b01, 90.0),)
    assert why_lane(lane(FULL, SUSPENDED, queues=had), NOW).carriers == (Wait.WINDOW_FULL, Wait.SUSPENDED)
    assert why_lane(lane(FREE, FULL, queues=had), NOW).carriers == (Wait.REFUSED_BEFORE, Wait.WINDOW_FULL)
    draining = why_lane(lane(FREE, FREE, queues=had, weighted=True, drains=0b10), NOW)
    assert draining.carriers == (Wait.HAD_BEFORE, Wait.DRAINS)


def test_one_queue_that_could_go_is_enough() -> None:
    why = why_lane(lane(FREE, DOWN, queues=(Queue(0b01, 90.0), Queue(0, 1.0))), NOW)
    assert why.carriers == (Wait.FREE, Wait.NO_BIND)


@pytest.mark.parametrize("held_up", [PAUSED, AT_TPS, FULL, CarrierFacts("busy", appetite=0)])
def test_with_weights_a_carrier_waits_for_the_share_of_one_that_is_held_up(held_up: CarrierFacts) -> None:
    why = why_lane(lane(held_up, FREE, weighted=True, queues=(Queue(0, 90.0),)), NOW)
    assert why.carriers[1] is Wait.SHARE_WAIT
    assert why.reason.explains


def test_with_weights_nobody_waits_for_the_share_of_one_that_is_down_or_has_refused() -> None:
    assert why_lane(lane(DOWN, FREE, weighted=True), NOW).reason is Wait.FREE
    refused = why_lane(lane(PAUSED, FREE, weighted=True, queues=(Queue(0b01, 1.0),)), NOW)
    assert refused.reason is Wait.FREE
    assert why_lane(lane(FREE, FREE, weighted=True), NOW).reason is Wait.FREE


def test_only_what_nothing_explains_is_a_fault() -> None:
    faults = {wait for wait in Wait if not wait.explains}
    assert faults == {Wait.FREE, Wait.LANE_GONE, Wait.LEASE_LOST, Wait.WINDOW_STUCK}
