"""Orders about routes: a queue that stands still, another rate, other weights; they last over reloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.admin import AdminError
from gateway.audit import Actor, acting
from gateway.overview import queues
from smpp.pdu import SubmitSm
from tests.gateway.house import Running, Script, carrier, route, running_with, write_config
from tests.gateway.test_terms import Clocked, acts, many
from tests.trio_case import trio_test

PORT = 2790
UK = '[[routes]]\nname = "uk"\nmatch = { prefix = ["44"] }\nlane = ["north"]\n'
SHARED = carrier("north", PORT) + UK + route("north", name="rest")
US = '[[routes]]\nname = "us"\nmatch = { prefix = ["1"] }\nlane = ["north"]\n'
CHANGED = carrier("north", PORT) + UK + US + route("north", name="rest")
WEIGHTED = (
    carrier("north", PORT)
    + carrier("south", PORT + 1)
    + '[[routes]]\nname = "all"\n'
    + 'lane = [{ carrier = "north", weight = 50 }, { carrier = "south", weight = 50 }]\n'
)


async def ask(house: Running, verb: str, **args: Any) -> Any:
    with acting(Actor("ann", "cli", "night work")):
        return await house.gateway.verbs.table()[verb](args)


def countries(script: Script) -> list[bytes]:
    return [one.destination_addr[:2] for one in script.pdus if isinstance(one, SubmitSm)]


@trio_test(mock_clock=True)
async def test_a_suspended_route_stands_still_and_the_others_of_its_queue_go_on(tmp_path: Path) -> None:
    async with running_with(tmp_path, SHARED, Script()) as (house, script):
        await house.bound()
        told = await ask(house, "route.suspend", name="uk", preview=True)
        assert any("own" in one for one in told.touches)
        shown = await ask(house, "route.suspend", name="uk", for_s=60)
        assert (shown["suspended"], shown["order"]["by"]) == (True, "ann")
        waiting = await house.submit("447700900123")
        await house.submit("4915112345678")
        await trio.sleep(5)
        assert countries(script) == [b"49"]
        assert (await house.message(waiting))["phase"] == "ready"
        (lane,) = [one for one in queues(house.gateway) if one.ready]
        assert (lane.lane, lane.reason) == ("uk/north", "route_suspended")
        assert lane.detail.startswith("route uk: suspended by ann until ")
        assert lane.detail.endswith(": night work")
        await trio.sleep(60)
        assert countries(script) == [b"49", b"44"], "its time is over"
        assert acts(house, "uk") == ["route.resumed", "route.suspended"]
        (event,) = await ask(house, "events.list")
        assert (event["kind"], event["subject"]) == ("order.ended", "route:uk")


@trio_test(mock_clock=True)
async def test_what_waits_already_in_a_shared_queue_stands_still_too(tmp_path: Path) -> None:
    async with running_with(tmp_path, SHARED, Script()) as (house, script):
        await house.bound()
        await ask(house, "carrier.suspend", name="north")
        for number in ("447700900123", "4915112345678", "447700900124"):
            await house.submit(number)
        later = await house.submit("447700900125", send_at="2026-09-21T14:13:40Z")
        told = await ask(house, "route.suspend", name="uk", preview=True)
        assert told.messages == 3, "of the queue that they share"
        assert told.warnings
        await ask(house, "route.suspend", name="uk")
        await trio.sleep(5)
        await ask(house, "carrier.resume", name="north")
        await trio.sleep(30)
        assert countries(script) == [b"49"]
        assert (await house.message(later))["phase"] == "ready"
        await ask(house, "route.resume", name="uk")
        await house.until(lambda: countries(script) == [b"49", b"44", b"44", b"44"])


@trio_test(mock_clock=True)
async def test_a_suspended_route_survives_a_restart_and_a_reload(tmp_path: Path) -> None:
    async with running_with(tmp_path, SHARED, Script()) as (house, script):
        await house.bound()
        await ask(house, "route.suspend", name="uk")
        await house.submit("447700900123")
    async with running_with(tmp_path, SHARED, Script()) as (house, script):
        await house.bound()
        await house.submit("447700900124")
        write_config(tmp_path, CHANGED)
        await ask(house, "config.reload")
        await house.submit("447700900125")
        await trio.sleep(10)
        assert countries(script) == []
        await ask(house, "route.resume", name="uk")
        await house.until(lambda: len(countries(script)) == 3)


@trio_test(mock_clock=True)
async def test_a_route_has_another_rate_at_once_and_until_it_ends(tmp_path: Path) -> None:
    clocked = Clocked()
    async with running_with(tmp_path, carrier("north", PORT, window=20) + UK, Script(clocked)) as (house, _):
        await house.bound()
        shown = await ask(house, "route.rate", name="uk", tps=5, for_s=20)
        assert shown["rate_order"]["value"] == "5/s"
        begun = trio.current_time()
        await many(house, 200)
        await trio.sleep(15)
        assert clocked.most_in_a_second(begun) <= 5
        assert 50 <= len(clocked.times) <= 76
        await ask(house, "route.rate", name="uk", tps=10, for_s=5)
        changed = trio.current_time()
        await trio.sleep(4)
        assert clocked.most_in_a_second(changed - 1) <= 10
        await house.until(lambda: len(clocked.times) == 200, patience_s=10)
        assert house.gateway.board.throttles() == {}
        assert acts(house, "uk") == ["route.rate_restored", "route.rate_set", "route.rate_set"]


@trio_test(mock_clock=True)
async def test_carriers_share_otherwise_while_it_is_ordered(tmp_path: Path) -> None:
    async with running_with(tmp_path, WEIGHTED, Script()) as (house, north), trio.open_nursery() as nursery:
        south = Script()
        nursery.start_soon(south.serve, await house.world.listen("127.0.0.1", PORT + 1))
        await house.bound()
        lane = house.gateway.lanes_taken
        await ask(house, "route.weights", name="all", weights={"north": 90, "south": 10}, for_s=60)
        assert house.gateway.lanes_taken == lane, "the same queue"
        await many(house, 200)
        await house.until(lambda: len(north.submits) + len(south.submits) == 200)
        assert 170 <= len(north.submits) <= 190
        await ask(house, "config.reload")
        await many(house, 200)
        await house.until(lambda: len(north.submits) + len(south.submits) == 400)
        assert 340 <= len(north.submits) <= 380
        await trio.sleep(62)
        await many(house, 200)
        await house.until(lambda: len(north.submits) + len(south.submits) == 600)
        assert 430 <= len(north.submits) <= 490
        await ask(house, "route.weights", name="all", weights={"south": 0})
        before = len(south.submits)
        await many(house, 50)
        await house.until(lambda: len(north.submits) + len(south.submits) == 650)
        assert len(south.submits) == before
        await ask(house, "route.weights", name="all", weights={})
        assert house.gateway.orders.in_force() == []
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_what_cannot_be_ordered_is_said(tmp_path: Path) -> None:
    async with running_with(tmp_path, UK + WEIGHTED, Script()) as (house, _):
        for verb, args, said in (
            ("route.suspend", {"name": "de"}, "no route 'de'; there are: uk, all"),
            ("route.weights", {"name": "uk", "weights": {"north": 1}}, "have no weights"),
            ("route.weights", {"name": "all", "weights": {"west": 1}}, "'west' is no carrier"),
            ("route.weights", {"name": "all", "weights": {"north": 0, "south": 0}}, "nobody would take"),
        ):
            with pytest.raises(AdminError, match=said):
                await ask(house, verb, **args)
