"""A carrier leaves the configuration: what waited for it goes by the routes there are, or is held in sight.

Deliberately not here: what happens to each record (tests/store/test_replan.py).
"""

from __future__ import annotations

from pathlib import Path

import trio

from gateway.carriers.lanes import LaneBoard
from gateway.committer import Committer
from gateway.replan import Replan
from gateway.writer import InlineWriter
from router.nouns import LaneSpec
from router.routes import Route, RouteTable
from store.check import check
from store.lmdb_store import LmdbStore
from tests.gateway.house import MemoryWorld, carrier, route, running, simulator
from tests.store.records_for_tests import commit, lane_of, message, open_store, with_account
from tests.trio_case import trio_test

DOWN = carrier("old", 2799)  # nobody listens there
NEW = carrier("new", 2776) + simulator("new", 2776)


@trio_test(mock_clock=True)
async def test_messages_of_a_carrier_that_is_gone_from_the_configuration_go_by_the_new_route(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, DOWN + route("old")) as house:
        ready = await house.submit("447700900123")
        later = await house.submit("447700900124", send_at="2026-09-21T14:20:00Z")
    async with running(tmp_path, NEW + route("new")) as house:
        for one in (ready, later):
            delivered = await house.final(one)
            assert delivered["state"] == "DELIVERED"
            assert delivered["parts"][0]["carrier"] == "new"
            steps = {step["step"]: step.get("detail", "") for step in delivered["timeline"]}
            assert steps["replanned"] == "to new"
        assert check(house.gateway.store) == []


@trio_test(mock_clock=True)
async def test_messages_that_no_route_takes_any_more_are_held_until_one_does(tmp_path: Path) -> None:
    async with running(tmp_path, DOWN + route("old")) as house:
        message_id = await house.submit("447700900123")
    germany = '[[routes]]\nname = "de"\nmatch = { prefix = ["49"] }\nlane = ["new"]\n'
    async with running(tmp_path, NEW + germany) as house:
        held = await house.when(message_id, "held")
        assert held["reason"] == "lane_gone"
        await trio.sleep(600)
        assert (await house.message(message_id))["phase"] == "held"
    async with running(tmp_path, NEW + route("new")) as house:
        assert (await house.final(message_id))["state"] == "DELIVERED"


@trio_test(mock_clock=True)
async def test_a_long_message_is_planned_anew_for_carriers_that_take_it(tmp_path: Path) -> None:
    short = carrier("short", 2777, max_parts=1) + simulator("short", 2777)
    async with running(tmp_path, DOWN + route("old")) as house:
        message_id = await house.submit("447700900123", "A long message. " * 20)
    async with running(tmp_path, short + NEW + route("short", "new")) as house:
        assert (await house.final(message_id))["parts"][0]["carrier"] == "new"
    async with running(tmp_path, short + route("short")) as house:
        assert (await house.message(message_id))["state"] == "DELIVERED"


@trio_test(mock_clock=True)
async def test_planning_anew_that_is_cut_in_the_middle_goes_on_at_the_next_start(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    old = lane_of(store, "old")
    made = [message(store, old) for _ in range(20)]
    commit(store, lambda txn: txn.accept(made))
    async with trio.open_nursery() as nursery:
        await started(nursery, store, "new")
        while old in store.ready_lanes() and lane_of(store, "new") not in store.ready_lanes():
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert store.ready_lanes() == {old, lane_of(store, "new")}
    assert check(store) == []
    store.close()
    store = open_store(tmp_path)
    async with trio.open_nursery() as nursery:
        await started(nursery, store, "new")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert store.ready_lanes() == {lane_of(store, "new")}
    assert store.totals().accepted == 20
    assert check(store) == []
    store.close()


async def started(nursery: trio.Nursery, store: LmdbStore, name: str) -> None:
    """The job alone, five messages a transaction, with one route to this carrier."""
    world = MemoryWorld()
    committer = Committer(store, InlineWriter(store), world)
    board = LaneBoard(store, 5)
    lane = lane_of(store, name)
    board.add(lane, LaneSpec((store.carrier_id(name),)))
    await nursery.start(committer.run)
    table = RouteTable([Route("all", lane)])
    nursery.start_soon(Replan(store, committer, board, table, world.wall_ms, portion=5).run)
