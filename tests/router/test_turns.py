"""router.turns: levels with floors, accounts by deficit round robin, state across claims."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from router.turns import Turns


def serve(turns: Turns, segments: int, size: int = 1) -> Counter[tuple[int, int]]:
    """Claim message by message, each of `size` segments, from pairs that never run dry."""
    served: Counter[tuple[int, int]] = Counter()
    while segments > 0:
        turn = turns.next()
        assert turn is not None
        priority, account, _ = turn
        turns.took(priority, account, size)
        served[priority, account] += size
        segments -= size
    return served


def test_nobody_has_a_turn_without_work() -> None:
    turns = Turns({})
    assert not turns
    assert turns.next() is None


def test_a_pair_without_work_is_forgotten() -> None:
    turns = Turns({})
    turns.add(2, 7)
    turns.discard(2, 7)
    turns.discard(2, 7)
    assert not turns
    assert turns.next() is None


def test_the_highest_level_goes_first() -> None:
    turns = Turns({})
    turns.add(0, 1)
    turns.add(3, 2)
    turns.add(1, 3)
    turn = turns.next()
    assert turn is not None
    assert turn[:2] == (3, 2)


def test_each_lower_level_keeps_five_percent_and_the_top_the_rest() -> None:
    turns = Turns({})
    for level in range(4):
        turns.add(level, level)
    served = serve(turns, 10_000)
    assert all(served[level, level] >= 495 for level in range(3))
    assert served[3, 3] >= 8_450


@given(
    st.sets(st.integers(0, 3), min_size=2),
    st.lists(st.integers(1, 10), min_size=1, max_size=20),
)
@settings(max_examples=50, deadline=None)
def test_the_floor_holds_whatever_the_message_sizes(levels: set[int], sizes: list[int]) -> None:
    turns = Turns({})
    for level in levels:
        turns.add(level, 1)
    served: Counter[int] = Counter()
    for step in range(3_000):
        turn = turns.next()
        assert turn is not None
        size = sizes[step % len(sizes)]
        turns.took(turn[0], turn[1], size)
        served[turn[0]] += size
    total = served.total()
    for level in levels - {max(levels)}:
        assert served[level] >= 0.05 * total - 40


def test_the_floor_of_a_level_starts_when_it_has_work() -> None:
    turns = Turns({})
    turns.add(3, 1)
    serve(turns, 10_000)
    turns.add(0, 2)
    served = serve(turns, 100)
    assert served[0, 2] <= 6


def test_serving_a_low_level_alone_does_not_count_against_it_later() -> None:
    turns = Turns({})
    turns.add(0, 2)
    serve(turns, 10_000)
    turns.add(3, 1)
    assert serve(turns, 1_000)[0, 2] >= 45


def test_accounts_of_one_level_share_evenly() -> None:
    turns = Turns({})
    for account in range(5):
        turns.add(1, account)
    served = serve(turns, 1_000)
    assert all(abs(served[1, account] - 200) <= 16 for account in range(5))


def test_an_account_of_weight_three_gets_three_times_as_much() -> None:
    turns = Turns({1: 3})
    turns.add(1, 1)
    turns.add(1, 2)
    served = serve(turns, 4_000)
    assert abs(served[1, 1] - 3_000) <= 48


def test_turns_are_counted_in_segments_not_messages() -> None:
    turns = Turns({})
    turns.add(1, 1)
    turns.add(1, 2)
    served: Counter[int] = Counter()
    for _ in range(2_000):
        turn = turns.next()
        assert turn is not None
        size = 10 if turn[1] == 1 else 1
        turns.took(1, turn[1], size)
        served[turn[1]] += size
    assert abs(served[1] - served[2]) <= 30


def test_a_million_message_backlog_does_not_delay_anothers_otp() -> None:
    turns = Turns({})
    turns.add(0, 1)
    turns.add(3, 1)
    serve(turns, 100_000)
    turns.add(3, 2)
    before = 0
    while True:
        turn = turns.next()
        assert turn is not None
        if turn[:2] == (3, 2):
            break
        turns.took(turn[0], turn[1], 1)
        before += 1
    assert before <= 20


def test_a_newcomer_behind_ten_backlogged_accounts_waits_for_about_one_message_of_each() -> None:
    turns = Turns({})
    for account in range(10):
        turns.add(2, account)
    serve(turns, 5_000)
    turns.add(2, 99)
    served: Counter[tuple[int, int]] = Counter()
    while not served[2, 99]:
        served.update(serve(turns, 1))
    assert served.total() <= 22


def test_small_claims_do_not_starve_anybody() -> None:
    """The turn is remembered between claims of one message."""
    turns = Turns({})
    for account in range(50):
        turns.add(1, account)
    served = serve(turns, 100)
    assert len(served) == 50


def test_asking_twice_gives_the_same_answer() -> None:
    turns = Turns({5: 2})
    turns.add(1, 5)
    turns.add(1, 6)
    assert turns.next() == turns.next()


@given(
    st.dictionaries(st.integers(1, 4), st.integers(1, 3)),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(1, 5), st.integers(0, 9))),
)
def test_one_call_for_what_was_taken_and_whose_turn_is_next_is_as_two(
    weights: dict[int, int], steps: list[tuple[int, int, int, int]]
) -> None:
    one, two = Turns(weights), Turns(weights)
    for kind, priority, account, segments in steps:
        turn = one.next()
        assert turn == two.next()
        for turns in (one, two):
            if kind == 0:
                turns.discard(priority, account)
            elif kind < 3 or turn is None:
                turns.add(priority, account)
        if turn is not None and kind >= 3:
            two.took(turn[0], turn[1], segments)
            assert one.after(turn[0], turn[1], segments) == two.next()
    while (turn := two.next()) is not None:
        two.discard(turn[0], turn[1])
        one.discard(turn[0], turn[1])
        two.took(turn[0], turn[1], 1)
        assert one.after(turn[0], turn[1], 1) == two.next()


def test_a_long_message_that_did_not_fit_begins_the_next_claim() -> None:
    """Small claims, one account with single messages and one with ten parts each: both get their share."""
    turns = Turns({})
    turns.add(1, 1)
    turns.add(1, 2)
    served: Counter[int] = Counter()
    for _ in range(4_000):
        left, taken = 5, False
        while left > 0:
            turn = turns.next()
            assert turn is not None
            size = 10 if turn[1] == 2 else 1
            if size > left and taken:
                turns.took(1, turn[1], 0)
                break
            turns.took(1, turn[1], size)
            served[turn[1]] += size
            left -= size
            taken = True
    assert abs(served[1] - served[2]) <= 30


def test_settling_after_the_pair_went_is_harmless() -> None:
    turns = Turns({})
    turns.add(1, 1)
    turns.discard(1, 1)
    turns.took(1, 1, 4)
    assert not turns


def test_no_call_costs_more_with_many_accounts() -> None:
    """Every turn costs a bounded number of rounds: 20,000 accounts, overdrawn, still end."""
    turns = Turns({})
    for account in range(20_000):
        turns.add(1, account)
    served = serve(turns, 60_000, size=3)
    assert max(served.values()) - min(served.values()) <= 3


@given(
    st.dictionaries(st.integers(1, 5), st.integers(1, 3)),
    st.lists(st.integers(1, 5), min_size=1, max_size=5, unique=True),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=5),
    st.integers(1, 200),
)
def test_whole_rounds_at_once_give_each_account_what_it_gets_one_by_one(
    weights: dict[int, int], accounts: list[int], before: list[tuple[int, int]], most: int
) -> None:
    one, two = Turns(weights), Turns(weights)
    for turns in (one, two):
        for account in accounts:
            turns.add(2, account)
        for _, size in before:
            serve(turns, 1, size)  # long messages overdraw
    found = one.rounds(most)
    if found is None:
        quantum = max(1, 16 // len(accounts))
        assert most < quantum * sum(weights.get(account, 1) for account in accounts)
        return
    priority, shares = found
    assert priority == 2
    assert {account for account, _, _ in shares} == set(accounts)
    given = {account: segments for account, segments, _ in shares}
    assert sum(given.values()) <= most
    later = serve(one, 500)
    one_by_one = serve(two, 500 + sum(given.values()))
    for account in accounts:
        assert abs(given[account] + later[2, account] - one_by_one[2, account]) <= 16 * 3


def test_there_are_no_whole_rounds_while_a_lower_level_is_owed_its_share() -> None:
    turns = Turns({})
    assert turns.rounds(1_000) is None
    turns.add(2, 1)
    turns.add(1, 2)
    assert turns.rounds(1_000) is None
    turns.discard(1, 2)
    assert turns.rounds(1_000) == (2, [(1, 992, 16)])
    assert turns.rounds(15) is None


def test_what_an_account_could_not_take_of_whole_rounds_it_may_take_when_its_turn_comes() -> None:
    turns = Turns({})
    for account in range(1, 17):
        turns.add(2, account)
    assert turns.rounds(32) is not None
    turns.give_back(2, 1)
    assert turns.next() == (2, 1, 1)
    turns.took(2, 1, 1)
    assert turns.next() == (2, 2, 1)
    turns.took(2, 2, 1)
    assert turns.next() == (2, 3, 1)
