"""The board of lanes over a real store: who may pull, how much, and what another carrier has refused.

Deliberately not here: shares over many segments (tests/router/test_lanes.py), sending.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import gateway.carriers.lanes as lanes
from gateway.carriers.lanes import LaneBoard, Wish
from gateway.carriers.limits import SomeLimits
from gateway.carriers.standing import Standings
from router.nouns import Encoding, LaneSpec, Leased, Outcome, Settle, Step
from router.throttle import UNLIMITED, Throttle
from store.interface import ClaimResult
from store.lmdb_store import LmdbStore
from tests.store.records_for_tests import Clock, commit, message, open_store, outcome, with_account

OVERFLOW_AFTER_S = 5.0


class Member:
    """A carrier that is always able."""

    def __init__(self, store: LmdbStore, name: str, max_parts: int) -> None:
        self.name = name
        self.id = store.carrier_id(name)
        self.max_parts = max_parts
        self.up = True
        self.slow = False
        self.some: SomeLimits | None = None
        self.standings: Standings | None = None
        self.trial = UNLIMITED
        self.looks = 0

    def able(self) -> bool:
        self.looks += 1
        return self.up

    def stalled(self, now: float) -> bool:
        return self.slow

    def exhausted(self, now: float) -> bool:
        return False

    def parts(self, encoding: int, segments: int, content: str | bytes, udh: bytes) -> int:
        return segments


class Yard:
    """A store, one lane of it, and its carriers by name."""

    def __init__(
        self,
        path: Path,
        *names: str,
        weights: tuple[int, ...] = (),
        throttle: Throttle | None = None,
        limits: dict[str, int] | None = None,
    ) -> None:
        self.clock = Clock()
        self.store = open_store(path, self.clock)
        self.throttle = throttle
        with_account(self.store)
        limits = limits or {}
        self.members = {name: Member(self.store, name, limits.get(name, 255)) for name in names}
        self.spec = LaneSpec(tuple(member.id for member in self.members.values()), weights)
        self.lane = self.store.lane_id(self.spec)
        self.board = self.new_board()

    def new_board(self) -> LaneBoard:
        board = LaneBoard(self.store, OVERFLOW_AFTER_S)
        board.add(self.lane, self.spec, self.throttle)
        for member in self.members.values():
            board.join(member)
        return board

    def lane_for(self, segments: int) -> int:
        return self.board.lane_for(self.lane, Encoding.GSM7, segments, "")

    def accept(
        self, count: int = 1, segments: int = 1, lane: int = 0, account: int = 1, priority: int = 2
    ) -> None:
        made = [
            message(self.store, lane or self.lane, account, segments=segments, priority=priority)
            for _ in range(count)
        ]
        commit(self.store, lambda txn: txn.accept(made))

    def pull(
        self, name: str, budget: int = 100, now: float = 0.0, seen: dict[int, int] | None = None
    ) -> list[Leased]:
        """What this carrier gets now."""
        seen = {} if seen is None else seen
        claim = self.board.claim(self.members[name], budget, now, self.clock.now_ms, seen)
        if claim is None:
            return []
        result: ClaimResult = commit(self.store, lambda txn: txn.claim([claim]))[0][0]
        self.board.took(claim.carrier, result, now)
        return result.leased

    def pull_late(self, name: str) -> list[Leased]:
        """What it gets when it has waited for those that come first."""
        self.clock.now_ms += int(OVERFLOW_AFTER_S * 1000) + 1000
        return self.pull(name)

    def refuse(self, name: str, leased: list[Leased]) -> None:
        """The carrier does not take them; another may, at once."""
        now_ms = self.clock.now_ms
        outcomes = [
            outcome(self.store, one, name, Settle.RETRY, mark_tried=True, detail="no", until_ms=now_ms)
            for one in leased
        ]
        self.settle(*outcomes)

    def settle(self, *outcomes: Outcome) -> None:
        commit(self.store, lambda txn: txn.settle(outcomes, self.clock.now_ms))


def test_a_lower_choice_waits_before_it_takes_what_a_higher_one_has_not_seen(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south")
    yard.accept(3)
    assert yard.pull("south") == []
    yard.clock.now_ms += 5_001
    assert len(yard.pull("south")) == 3


def test_what_its_first_carrier_refused_goes_to_the_next_one_at_once(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south")
    yard.accept(2)
    yard.refuse("north", yard.pull("north", budget=1))
    (taken,) = yard.pull("south")
    assert taken.attempts == 1  # the one that north refused; the other one still waits for north
    assert yard.pull("south") == []


def test_a_third_choice_waits_for_the_second_with_what_the_first_refused(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south", "west")
    yard.accept()
    yard.refuse("north", yard.pull("north"))
    assert yard.pull("west") == []
    yard.members["south"].up = False
    assert len(yard.pull("west")) == 1


def test_a_refused_message_that_waits_long_does_not_let_new_ones_overflow(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south")
    yard.accept()
    yard.refuse("north", yard.pull("north"))
    yard.clock.now_ms += 60_000  # south had no room for it
    yard.accept(2)
    (taken,) = yard.pull("south")
    assert taken.attempts == 1


@pytest.mark.parametrize("weights", [(), (1, 1)])
def test_in_one_tick_the_next_carrier_has_the_rest_once_the_trial_of_the_first_is_over(
    tmp_path: Path, weights: tuple[int, ...]
) -> None:
    yard = Yard(tmp_path, "a", "b", weights=weights)
    yard.accept(100)
    seen: dict[int, int] = {}
    yard.members["a"].trial = 1
    assert len(yard.pull("a", 1, seen=seen)) == 1
    yard.members["a"].trial, yard.members["a"].up = 0, False
    assert len(yard.pull("b", seen=seen)) == 99


def test_in_one_tick_who_is_able_is_looked_at_once(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "a", "b", "c", weights=(1, 1, 1))
    yard.accept(100)
    seen: dict[int, int] = {}
    for _ in range(5):
        for name in yard.members:
            assert yard.pull(name, 3, seen=seen)
    assert [member.looks for member in yard.members.values()] == [1, 1, 1]


def test_with_weights_what_the_other_carrier_refused_is_taken_beyond_the_share(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south", weights=(99, 1))
    yard.accept(300)
    refused = yard.pull("north", budget=200)
    yard.refuse("north", refused)
    assert len(refused) > 20
    taken = yard.pull("south", budget=200)
    assert len([one for one in taken if one.attempts]) == len(refused)
    assert len([one for one in taken if not one.attempts]) <= 10


def test_a_carrier_that_drains_does_not_keep_a_refused_message_waiting(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south", weights=(100, 0))
    yard.accept(1)
    yard.refuse("north", yard.pull("north"))
    assert yard.pull("south") == []
    assert len(yard.pull("north")) == 1, "the round starts anew"


@pytest.mark.parametrize("weights", [(), (50, 50)])
def test_what_a_carrier_refused_it_has_again_while_the_others_are_out(
    tmp_path: Path, weights: tuple[int, ...]
) -> None:
    yard = Yard(tmp_path, "north", "south", weights=weights)
    yard.accept(3)
    yard.refuse("north", yard.pull("north", 2))
    assert len(yard.pull("north", 1)) == 1
    assert yard.pull("north") == [], "the other one can take what is left"
    yard.members["south"].up = False
    again = yard.pull("north")
    assert len(again) == 2
    yard.refuse("north", again)
    yard.members["south"].up = True
    assert yard.pull("north") == []
    assert len(yard.pull("south")) == 2


def test_a_carrier_at_its_pace_is_waited_for(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south", weights=(50, 50))
    yard.accept(1)
    yard.refuse("north", yard.pull("north"))
    yard.members["south"].slow = True
    assert yard.pull("north") == []


def test_the_rest_of_a_long_message_waits_for_the_carrier_of_its_first_parts(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south")
    with_account(yard.store, 2)
    yard.accept(80, segments=2)
    for leased in yard.pull("north", 200):
        first = outcome(yard.store, leased, "north", Settle.SENT, carrier_message_id="n", total=2)
        second = outcome(yard.store, leased, "north", Settle.RETRY, part=1, total=2, until_ms=1)
        yard.settle(first, second)
    for account, priority in ((1, 2), (1, 0), (2, 2)):
        yard.accept(account=account, priority=priority)
    yard.clock.now_ms += 10
    yard.refuse("south", [one for one in yard.pull_late("south") if one.message.segments == 1])
    yard.members["north"].up = False
    found = [one for _ in range(8) for one in yard.pull("south")]
    assert sorted((one.message.account, one.message.priority) for one in found) == [(1, 0), (1, 2), (2, 2)]
    assert not any(one.first_part for one in found)
    yard.members["north"].up = True
    assert {one.first_part for one in yard.pull("north", 200)} == {1}
    assert yard.store.check() == []


def half_accepted(yard: Yard, name: str = "north", **fields: int) -> Leased:
    """Of a long message in two parts the carrier takes the first one, and not the second."""
    made = message(yard.store, yard.lane, segments=2, **fields)
    commit(yard.store, lambda txn: txn.accept([made]))
    (leased,) = yard.pull(name)
    half(yard, name, leased)
    return leased


def half(yard: Yard, name: str, leased: Leased) -> None:
    first = outcome(yard.store, leased, name, Settle.SENT, carrier_message_id=f"{name}1", total=2)
    yard.settle(first, outcome(yard.store, leased, name, Settle.RETURNED, part=1, total=2))


@pytest.mark.parametrize("weights", [(), (50, 50), (98, 1)])
def test_all_of_a_long_message_goes_elsewhere_when_the_carrier_of_its_first_parts_stays_away(
    tmp_path: Path, weights: tuple[int, ...]
) -> None:
    yard = Yard(tmp_path, "north", "south", weights=weights)
    half_accepted(yard)
    yard.members["north"].up = False
    assert [yard.pull("south", now=now) for now in (0.0, 30.0, 59.0)] == [[], [], []]
    (taken,) = yard.pull("south", now=60.0)
    assert (taken.first_part, taken.message.segments) == (0, 2)
    parts = [
        outcome(yard.store, taken, "south", Settle.SENT, part=part, total=2, carrier_message_id=f"s{part}")
        for part in range(2)
    ]
    yard.settle(*parts)
    found = yard.store.find(1, taken.message.id)
    assert found is not None
    assert [part.carrier_message_id for part in found[1].parts] == ["s0", "s1"]
    told = [(Step(step), detail) for _, step, _, detail in found[1].events]
    assert (Step.RESENT, "whole again elsewhere, 1 parts were accepted") in told
    assert yard.store.check() == []


def test_a_carrier_that_comes_back_in_time_goes_on_where_it_was(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south")
    half_accepted(yard)
    yard.members["north"].up = False
    assert yard.pull("south", now=0.0) == []
    yard.members["north"].up = True
    assert yard.pull("south", now=59.0) == []
    yard.members["north"].up = False
    assert yard.pull("south", now=61.0) == [], "it was back in between"
    yard.members["north"].up = True
    (taken,) = yard.pull("north", now=62.0)
    assert taken.first_part == 1


def test_all_of_a_long_otp_goes_elsewhere_at_once(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south")
    half_accepted(yard, message_class=0)
    assert yard.pull("south") == [], "the first one goes on, as long as it is able"
    yard.members["north"].up = False
    (taken,) = yard.pull("south")
    assert taken.first_part == 0


def test_no_carrier_gets_all_of_a_message_again_of_which_it_accepted_parts(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south")
    half_accepted(yard)
    yard.members["north"].up = False
    assert yard.pull("south", now=0.0) == []
    (taken,) = yard.pull("south", now=60.0)
    half(yard, "south", taken)
    yard.members["south"].up, yard.members["north"].up = False, True
    assert [yard.pull("north", now=now) for now in (61.0, 200.0)] == [[], []]
    yard.members["south"].up = True
    (rest,) = yard.pull("south", now=201.0)
    assert rest.first_part == 1


def test_a_carrier_that_refused_it_before_leaves_all_of_it_to_others(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "south", "north", "west")
    made = message(yard.store, yard.lane, segments=2)
    commit(yard.store, lambda txn: txn.accept([made]))
    (refused,) = yard.pull("south")
    no = [
        outcome(yard.store, refused, "south", Settle.RETRY, part=part, total=2, mark_tried=True, until_ms=1)
        for part in range(2)
    ]
    yard.settle(*no)
    (leased,) = yard.pull("north")
    half(yard, "north", leased)
    yard.members["north"].up = False
    assert yard.pull("south", now=0.0) == []
    assert yard.pull("south", now=60.0) == [], "west is able and has not refused it"
    (taken,) = yard.pull("west", now=60.0)
    assert taken.first_part == 0


def test_a_lower_choice_leaves_all_of_it_to_an_able_higher_one(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south", "west")
    half_accepted(yard)
    yard.members["north"].up = False
    assert yard.pull("west", now=0.0) == []
    assert yard.pull("west", now=60.0) == []
    assert len(yard.pull("south", now=60.0)) == 1


def test_the_tps_of_a_route_bounds_refused_and_new_messages_together(tmp_path: Path) -> None:
    throttle = Throttle(20, 20)
    most = throttle.available(0.0)
    yard = Yard(tmp_path, "north", "south", weights=(1, 1), throttle=throttle)
    yard.accept(40)
    refused = yard.pull("north", budget=6)
    yard.refuse("north", refused)
    taken = yard.pull("south")
    assert len([one for one in taken if one.attempts]) == len(refused)
    assert len(refused) + len(taken) == most


def test_the_tps_of_a_route_counts_only_the_parts_that_are_still_to_be_sent(tmp_path: Path) -> None:
    throttle = Throttle(10, 10)
    yard = Yard(tmp_path, "north", throttle=throttle)
    yard.accept(segments=5)
    before = throttle.available(0.0)
    (leased,) = yard.pull("north")
    assert before - throttle.available(0.0) == 5
    answers = [
        outcome(
            yard.store,
            leased,
            "north",
            Settle.SENT if part < 3 else Settle.RETURNED,
            part=part,
            total=5,
            carrier_message_id=f"id{part}" if part < 3 else "",
        )
        for part in range(5)
    ]
    commit(yard.store, lambda txn: txn.settle(answers, yard.clock.now_ms))
    before = throttle.available(10.0)
    (leased,) = yard.pull("north", now=10.0)
    assert leased.first_part == 3
    assert before - throttle.available(10.0) == 2


# carriers that take only short messages


def test_a_lane_stays_as_it_is_for_a_message_that_all_its_carriers_take(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south", limits={"south": 3})
    assert yard.lane_for(3) == yard.lane
    assert len(yard.store.lanes()) == 1


def test_a_carrier_that_a_message_is_too_long_for_is_not_in_its_lane(tmp_path: Path) -> None:
    yard = Yard(
        tmp_path, "north", "south", "west", weights=(70, 20, 10), limits={"north": 5, "south": 3, "west": 9}
    )
    north, _, west = (member.id for member in yard.members.values())
    rest = yard.lane_for(4)
    assert yard.store.lane(rest) == LaneSpec((north, west), (70, 10))
    assert yard.store.lane(yard.lane_for(6)) == LaneSpec((west,), (10,))
    assert yard.lane_for(5) == rest
    assert yard.lane_for(10) == 0
    assert yard.board.most_parts(yard.lane) == 9
    yard.accept(segments=4, lane=rest)
    assert yard.pull("south") == []
    assert len(yard.pull("north")) == 1


def test_a_part_of_a_customers_own_long_message_counts_as_all_of_it(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south", limits={"south": 3})
    lanes = [yard.board.lane_for(yard.lane, Encoding.GSM7, 1, "", b"", total) for total in (3, 4)]
    assert lanes[0] == yard.lane
    assert yard.store.lane(lanes[1]).carriers == (yard.members["north"].id,)


def test_a_lane_without_its_short_carriers_counts_against_the_same_tps(tmp_path: Path) -> None:
    throttle = Throttle(20, 20)
    yard = Yard(tmp_path, "north", "south", limits={"south": 1}, throttle=throttle)
    before = throttle.available(0.0)
    yard.accept(segments=4, lane=yard.lane_for(4))
    yard.accept()
    assert len(yard.pull("north")) == 2
    assert before - throttle.available(0.0) == 5


def test_lanes_without_their_short_carriers_are_in_force_again_after_a_restart(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south", "west", limits={"south": 1, "west": 2})
    rest = yard.lane_for(2)
    strangers = [
        LaneSpec((yard.members["south"].id,)),  # north takes everything: nothing leaves it out
        LaneSpec((yard.members["west"].id, yard.members["north"].id)),
        LaneSpec((yard.members["north"].id,), route="other"),
    ]
    others = [yard.store.lane_id(spec) for spec in strangers]
    board = yard.new_board()
    assert not board.in_force(rest)
    board.restore(yard.store.lanes().items())
    assert board.in_force(rest)
    assert not any(board.in_force(one) for one in others)


# many accounts in one lane


def test_ten_thousand_accounts_in_one_lane_take_turns_and_keep_their_own_order(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north")
    accounts = range(1, 10_001)
    made = [message(yard.store, yard.lane, account) for _ in range(2) for account in accounts]
    commit(yard.store, lambda txn: txn.accept(made))
    rounds: list[list[int]] = []
    order: dict[int, list[int]] = {}
    for _ in range(2):
        taken = [one.message for _ in range(20) for one in yard.pull("north", 500)]
        rounds.append([one.account for one in taken])
        for one in taken:
            order.setdefault(one.account, []).append(one.id)
    assert [sorted(one) for one in rounds] == [list(accounts)] * 2  # everybody once before anybody twice
    assert all(ids == sorted(ids) for ids in order.values())


def test_a_lower_choice_does_not_look_at_every_account_at_each_claim(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "north", "south")
    commit(yard.store, lambda txn: txn.accept([message(yard.store, yard.lane, one) for one in range(1, 300)]))
    looks: list[int] = []
    oldest_ready_ms = yard.store.oldest_ready_ms

    def counted(lane: int, unseen_by: int = 0) -> int | None:
        looks.append(lane)
        return oldest_ready_ms(lane, unseen_by)

    yard.store.oldest_ready_ms = counted  # type: ignore[method-assign]
    for _ in range(100):
        assert yard.pull("south") == []
        yard.clock.now_ms += 40
    assert len(looks) <= 5
    yard.clock.now_ms += 1_001
    assert len(yard.pull("south")) == 100  # they have waited 5 s


def test_lanes_are_swapped_without_a_look_at_all_pairs_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard = Yard(tmp_path, "north", "south")
    specs = [LaneSpec(yard.spec.carriers, (), f"route-{number}") for number in range(20)]
    wishes = [Wish(yard.store.lane_id(spec), spec) for spec in specs]
    yard.board.swap(wishes)
    looks: list[LaneSpec] = []
    left_out = lanes._left_out

    def counted(lane: lanes._Lane, spec: LaneSpec) -> int:
        looks.append(spec)
        return left_out(lane, spec)

    monkeypatch.setattr(lanes, "_left_out", counted)
    yard.board.swap(wishes[:10])
    assert len(looks) <= 20
    assert sorted(yard.board.lanes()) == sorted(wish.id for wish in wishes[:10])
