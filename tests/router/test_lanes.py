"""router.lanes: weights within 2 % over any 1,000 segments, order with overflow."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.lanes import LaneShares
from router.nouns import LaneSpec

WINDOW = 1_000


def lane(*weights: int) -> LaneShares:
    return LaneShares(LaneSpec(carriers=tuple(range(1, len(weights) + 1)), weights=weights))


def claims(shares: LaneShares, count: int, seed: int, sizes: int, able: int) -> list[int]:
    """The carrier index of every claimed segment, from carriers that ask at random."""
    chance = random.Random(seed)
    indexes = [i for i in range(16) if able >> i & 1]
    taken: list[int] = []
    idle = 0
    while len(taken) < count:
        index = chance.choice(indexes)
        allowed = shares.allowance(index, chance.randint(1, 200), able)
        left = allowed
        while left > 0:
            size = chance.randint(1, sizes)
            shares.took(index, size)
            taken.extend([index] * size)
            left -= size
        idle = 0 if allowed else idle + 1
        assert idle < 1_000, "nobody may take"
    return taken


def worst_share_error(taken: list[int], weights: tuple[int, ...]) -> float:
    total = sum(weights)
    worst = 0.0
    for index, weight in enumerate(weights):
        running = [0, *accumulate(int(each == index) for each in taken)]
        for start in range(len(taken) - WINDOW):
            share = (running[start + WINDOW] - running[start]) / WINDOW
            worst = max(worst, abs(share - weight / total))
    return worst


@given(st.lists(st.integers(1, 100), min_size=2, max_size=16).map(tuple), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_over_any_thousand_segments_shares_are_within_two_percent(
    weights: tuple[int, ...], seed: int
) -> None:
    shares = lane(*weights)
    taken = claims(shares, 3_000, seed, 1, (1 << len(weights)) - 1)
    assert worst_share_error(taken, weights) <= 0.02


@pytest.mark.parametrize("weights", [(1, 1), (70, 30), (95, 5), (98, 1, 1), (5, 4, 3, 2, 1)])
def test_long_messages_that_overdraw_keep_the_shares(weights: tuple[int, ...]) -> None:
    shares = lane(*weights)
    taken = claims(shares, 5_000, 7, 3, (1 << len(weights)) - 1)
    assert worst_share_error(taken, weights) <= 0.02


def test_fm37_a_carrier_that_is_not_able_gets_nothing_and_the_others_share_the_rest() -> None:
    shares = lane(50, 30, 20)
    taken = claims(shares, 3_000, 1, 1, 0b101)
    assert 1 not in taken
    assert abs(taken.count(0) / len(taken) - 5 / 7) <= 0.02


def test_a_carrier_that_comes_back_does_not_catch_up() -> None:
    shares = lane(1, 1)
    claims(shares, 5_000, 1, 1, 0b01)
    taken = claims(shares, 2_000, 1, 1, 0b11)
    assert abs(taken[:200].count(1) - 100) <= 20


def test_the_only_able_carrier_may_take_all_it_wants() -> None:
    assert lane(1, 99).allowance(0, 500, 0b01) == 500


def test_somebody_may_always_take() -> None:
    shares = lane(*([1] * 16))
    for _ in range(2_000):
        able = [i for i in range(16) if shares.allowance(i, 10, 0xFFFF)]
        assert able
        shares.took(able[-1], 9)


def test_a_lane_in_order_limits_nobody_by_share() -> None:
    shares = LaneShares(LaneSpec(carriers=(1, 2)))
    assert shares.allowance(1, 40, 0b11) == 40


def test_the_first_able_choice_may_always_pull() -> None:
    shares = LaneShares(LaneSpec(carriers=(1, 2, 3)))
    assert shares.eligible(0, 0b111, 0.0, 5)
    assert not shares.eligible(1, 0b111, 0.0, 5)
    assert shares.eligible(1, 0b110, 0.0, 5)
    assert not shares.eligible(2, 0b110, 5.0, 5)


def test_a_lower_choice_pulls_when_the_oldest_has_waited_too_long() -> None:
    shares = LaneShares(LaneSpec(carriers=(1, 2)))
    assert not shares.eligible(1, 0b11, 5.0, 5)
    assert shares.eligible(1, 0b11, 5.1, 5)


def test_a_carrier_that_is_not_able_never_pulls() -> None:
    shares = LaneShares(LaneSpec(carriers=(1, 2)))
    assert not shares.eligible(0, 0b10, 99, 5)
    assert shares.allowance(0, 10, 0b10) == 0


def test_with_weights_every_able_carrier_is_eligible() -> None:
    assert lane(9, 1).eligible(1, 0b11, 0.0, 5)


@pytest.mark.parametrize(
    "spec",
    [
        LaneSpec(carriers=()),
        LaneSpec(carriers=tuple(range(17))),
        LaneSpec(carriers=(1, 2), weights=(1,)),
        LaneSpec(carriers=(1, 2), weights=(1, -1)),
    ],
)
def test_an_impossible_lane_is_refused(spec: LaneSpec) -> None:
    with pytest.raises(ValueError, match=r"lane has|weights"):
        LaneShares(spec)


def test_carriers_in_order_come_in_the_lanes_order_and_those_with_weights_by_what_they_miss() -> None:
    ordered = LaneShares(LaneSpec((7, 8, 9)))
    assert ordered.order(0b111) == [0, 1, 2]
    assert ordered.order(0b110) == [1, 2]
    weighted = LaneShares(LaneSpec((7, 8), (30, 70)))
    assert weighted.order(0b11) == [1, 0]
    weighted.allowance(1, 10, 0b11)
    weighted.took(1, 40)
    assert weighted.order(0b11) == [0, 1]
    assert (weighted.is_over(1, 0b11), weighted.is_over(0, 0b11)) == (True, False)
    assert weighted.order(0b10) == [1]
    assert not weighted.is_over(1, 0b10)
