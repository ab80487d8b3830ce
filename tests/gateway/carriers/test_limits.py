"""Limits on some messages of a carrier: they hold on the wire, and hold up nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from config.model import LimitConfig
from gateway.admin_shapes import iso
from gateway.admin_status import carrier_facts
from gateway.carriers.limits import SomeLimit
from gateway.simulator.behaviour import Behaviour
from smpp.pdu import Pdu, SubmitSm
from store.check import check
from tests.gateway import house
from tests.simulation.scene import WatchedSmsc, carrier_toml, most_in, numbers, route_toml, scene
from tests.trio_case import trio_test

LONG = "A long message. " * 20  # three segments


@pytest.mark.parametrize(
    ("settings", "to", "sender", "concerned"),
    [
        (LimitConfig(prefix=("44", "+49")), "447700900123", "ACME", True),
        (LimitConfig(prefix=("44", "+49")), "4930123456", "ACME", True),
        (LimitConfig(prefix=("44",)), "33123456789", "ACME", False),
        (LimitConfig(sender=("ACME",)), "33123456789", "ACME", True),
        (LimitConfig(sender=("ACME",)), "33123456789", "ACME2", False),
        (LimitConfig(sender=("AC*", "12345")), "33123456789", "ACME2", True),
        (LimitConfig(sender=("AC*", "12345")), "33123456789", "12345", True),
        (LimitConfig(sender=("AC*",), prefix=("44",)), "33123456789", "ACME", False),
        (LimitConfig(sender=("AC*",), prefix=("44",)), "447700900123", "BACME", False),
    ],
)
def test_a_limit_concerns_what_it_selects(
    settings: LimitConfig, to: str, sender: str, concerned: bool
) -> None:
    assert SomeLimit(settings).concerns(to, sender) is concerned


@trio_test(mock_clock=True)
async def test_a_limit_of_some_messages_holds_for_them_and_never_holds_up_others(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, 'window = 20\nlimits = [{ prefix = ["44"], tps = 5 }]')
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        began = trio.current_time()
        stage.submit(account, numbers("4477", 60))
        stage.submit(account, numbers("4915", 300))
        north = stage.carriers["north"]
        await stage.until(lambda: sum(one.to.startswith("49") for one in north.arrivals) == 300)
        assert trio.current_time() - began < 1.0
        await stage.until(lambda: not stage.waiting())
        limited = [one.at for one in north.arrivals if one.to.startswith("44")]
        assert len(limited) == 60
        assert most_in(1.0, limited) <= 5
        assert trio.current_time() - began < 60 / 5 * 1.1
        assert [one.to for one in north.arrivals if one.to.startswith("44")] == numbers("4477", 60)


@trio_test(mock_clock=True)
async def test_long_messages_keep_to_it_segment_by_segment_and_others_pass_them(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, 'window = 4\nlimits = [{ prefix = ["44"], tps = 2 }]')
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        stage.submit(account, numbers("4477", 6), text=LONG)
        began = trio.current_time()
        for round_ in range(20):
            stage.submit(account, numbers("4915", 10, round_ * 10))
            await trio.sleep(0.1)
        north = stage.carriers["north"]
        others = [one.at for one in north.arrivals if one.to.startswith("49")]
        assert len(others) >= 195
        await stage.until(lambda: not stage.waiting())
        limited = [one.at for one in north.arrivals if one.to.startswith("44")]
        assert len(limited) == 18
        assert most_in(1.0, limited) <= 2
        assert trio.current_time() - began < 18 / 2 * 1.2
        some = stage.gateway.carriers[0].some
        assert some is not None
        assert [limit.promised for limit in some.limits] == [0]


def of(north: WatchedSmsc, sender: str) -> list[float]:
    return [one.at for one in north.arrivals if one.sender == sender]


@trio_test(mock_clock=True)
async def test_a_limit_of_each_sender_holds_for_each_and_none_holds_up_another(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, "window = 20\nlimits = [{ each_sender = true, tps = 2 }]")
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}) as stage:
        account, north = await stage.account("acme"), stage.carriers["north"]
        stage.submit(account, numbers("4477", 20), "BULK")
        began = trio.current_time()
        senders = [f"SHOP{number}" for number in range(30)]
        for number, sender in enumerate(senders):
            stage.submit(account, numbers(f"4915{number:02}", 2), sender)
        await stage.until(lambda: all(len(of(north, sender)) == 2 for sender in senders))
        assert trio.current_time() - began < 2.2
        await stage.until(lambda: not stage.waiting())
        for sender in ("BULK", *senders):
            assert most_in(1.0, of(north, sender)) <= 2
        assert trio.current_time() - began < 20 / 2 * 1.2


@trio_test(mock_clock=True)
async def test_so_many_senders_have_a_limit_each_and_any_more_share_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.carriers.limits.MOST_SENDERS", 4)
    toml = carrier_toml(
        "north", 1, "window = 20\nlimits = [{ each_sender = true, tps = 2, per_minute = 50 }]"
    )
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}) as stage:
        account, north = await stage.account("acme"), stage.carriers["north"]
        for number in range(4):
            stage.submit(account, numbers(f"4915{number:02}", 6), f"FIRST{number}")
        for number in range(4):
            stage.submit(account, numbers(f"4916{number:02}", 3), f"LATER{number}")
        await stage.until(lambda: not stage.waiting())
        later = [one.at for one in north.arrivals if one.sender.startswith("LATER")]
        assert most_in(1.0, later) <= 2
        assert all(most_in(1.0, of(north, f"FIRST{number}")) <= 2 for number in range(4))
        lanes = len(stage.gateway.board.lanes())
        assert lanes <= 1 + 4 + 1
        for wave in range(3):  # when the minute is over and nothing waits, others have their places
            await trio.sleep(70)
            for number in range(8):
                stage.submit(account, numbers(f"49{wave + 20}{number:02}", 2), f"WAVE{wave}{number}")
            await trio.sleep(2)
        await stage.until(lambda: not stage.waiting())
        assert len(stage.gateway.board.lanes()) == lanes
        assert all(len(of(north, f"WAVE2{number}")) == 2 for number in range(8))
        view: Any = carrier_facts(stage.gateway)["north"]["limits"]
        assert [name for name in view if "WAVE2" in name] == [f"each: WAVE2{number}" for number in range(4)]
        assert not stage.refusals


@trio_test(mock_clock=True)
async def test_senders_of_many_routes_make_no_more_lanes_than_there_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.carriers.lanes.MOST_SENDER_LANES", 3)
    toml = carrier_toml("north", 1, "window = 20\nlimits = [{ each_sender = true, tps = 2 }]")
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}) as stage:
        account, north = await stage.account("acme"), stage.carriers["north"]
        for number in range(6):
            stage.submit(account, numbers(f"4915{number:02}", 4), f"SHOP{number}")
        await stage.until(lambda: not stage.waiting())
        assert len(stage.gateway.board.lanes()) == 1 + 3 + 1
        assert all(most_in(1.0, of(north, f"SHOP{number}")) <= 2 for number in range(6))


@trio_test(mock_clock=True)
async def test_what_waits_under_another_limit_keeps_no_senders_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.carriers.limits.MOST_SENDERS", 1)
    limits = '[{ prefix = ["1"], per_hour = 1 }, { sender = ["S*"], each_sender = true, per_minute = 50 }]'
    toml = carrier_toml("north", 1, f"window = 20\nlimits = {limits}")
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        stage.submit(account, [f"1202555012{number}" for number in range(5)], "OTHER")
        stage.submit(account, numbers("4915", 2), "S1")
        await trio.sleep(90)
        stage.submit(account, numbers("4916", 2), "S2")
        await trio.sleep(2)
        assert stage.waiting() == 4
        view: Any = carrier_facts(stage.gateway)["north"]["limits"]
        assert [name for name in view if name.startswith("each:")] == ["each:@S* S2"]


@trio_test(mock_clock=True)
async def test_what_waits_under_a_limit_of_each_sender_is_under_it_after_a_restart(tmp_path: Path) -> None:
    limit = "[[carriers.limits]]\neach_sender = true\ntps = 2\n"
    toml = house.carrier("north", 2790) + limit + house.route("north")
    async with house.running(tmp_path, toml) as first:  # nobody listens there
        for number in range(8):
            for sender in ("BULK", "SHOP"):
                await first.submit(f"4477009001{number:02}", **{"from": sender})
        at = iso(first.world.wall_ms() + 20_000)
        for number in range(8):
            await first.submit(f"4477009002{number:02}", **{"from": "LATER", "send_at": at})
    times: dict[bytes, list[float]] = {}

    def noting(script: house.Script, pdu: Pdu) -> list[Pdu | bytes]:
        if isinstance(pdu, SubmitSm):
            times.setdefault(pdu.source_addr, []).append(trio.current_time())
        return []

    async with house.running_with(tmp_path, toml, house.Script(noting)) as (second, _):
        await second.until(lambda: sum(map(len, times.values())) == 24)
        assert all(most_in(1.0, one) <= 2 for one in times.values())
        assert times[b"SHOP"][-1] - times[b"BULK"][0] < 8
        assert check(second.gateway.store) == []


@trio_test(mock_clock=True)
async def test_limits_of_prefix_and_sender_hold_together(tmp_path: Path) -> None:
    limits = '[{ prefix = ["44"], tps = 20 }, { sender = ["ACME"], tps = 8, per_minute = 30 }]'
    toml = carrier_toml("north", 1, f"window = 20\nlimits = {limits}")
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        for sender, prefix in (("ACME", "4477"), ("OTHER", "4477"), ("ACME", "4915")):
            stage.submit(account, numbers(prefix, 40), sender)
        north = stage.carriers["north"]
        await stage.until(lambda: not stage.waiting())
        assert most_in(1.0, [one.at for one in north.arrivals if one.to.startswith("44")]) <= 20
        assert most_in(1.0, [one.at for one in north.arrivals if one.sender == "ACME"]) <= 8
        assert most_in(60.0, [one.at for one in north.arrivals if one.sender == "ACME"]) <= 30
        assert len(north.arrivals) == 120
        assert max(one.at for one in north.arrivals if one.sender == "OTHER") < 8


@trio_test(mock_clock=True)
async def test_what_is_over_the_limit_of_the_first_choice_goes_to_the_next(tmp_path: Path) -> None:
    """Over its TPS after overflow_after_s; over its day's limit at once."""
    limits = '[{ prefix = ["44"], tps = 1 }, { prefix = ["49"], per_day = 3 }]'
    toml = carrier_toml("north", 1, f"limits = {limits}")
    toml += carrier_toml("south", 2) + route_toml("north", "south")
    behaviours = {"north": Behaviour(), "south": Behaviour()}
    async with scene(tmp_path, toml, behaviours) as stage:
        account = await stage.account("acme")
        stage.submit(account, numbers("4477", 20))
        stage.submit(account, numbers("4915", 20))
        began = trio.current_time()
        south = stage.carriers["south"]
        await stage.until(lambda: len(south.arrivals) >= 17)
        assert trio.current_time() - began < 1
        assert all(one.to.startswith("49") for one in south.arrivals)
        await stage.until(lambda: not stage.waiting())
        assert 5 <= trio.current_time() - began < 7
        assert 5 <= sum(one.to.startswith("44") for one in stage.carriers["north"].arrivals) <= 8


@trio_test(mock_clock=True)
async def test_in_a_lane_by_weights_it_goes_to_the_others_at_once(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, 'window = 20\nlimits = [{ prefix = ["44"], tps = 5 }]')
    toml += carrier_toml("south", 2, "window = 20")
    toml += '[[routes]]\nname = "all"\nlane = [{ carrier = "north", weight = 3 }, '
    toml += '{ carrier = "south", weight = 1 }]\n'
    async with scene(tmp_path, toml, {"north": Behaviour(), "south": Behaviour()}) as stage:
        account = await stage.account("acme")
        stage.submit(account, numbers("4477", 100))
        stage.submit(account, numbers("4915", 400))
        began = trio.current_time()
        await stage.until(lambda: not stage.waiting())
        assert trio.current_time() - began < 3
        others = {
            name: sum(one.to.startswith("49") for one in carrier.arrivals)
            for name, carrier in stage.carriers.items()
        }
        assert abs(others["north"] - 300) <= 8  # 2 % of 400: the limit of others does not touch their shares


@trio_test(mock_clock=True)
async def test_a_restart_keeps_what_waits_under_a_limit_and_a_limit_that_is_gone_lets_it_go(
    tmp_path: Path,
) -> None:
    limited = carrier_toml("north", 1, 'limits = [{ prefix = ["44"], per_day = 3 }]') + route_toml("north")
    async with scene(tmp_path, limited, {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        stage.submit(account, numbers("4477", 10))
        await stage.until(lambda: len(stage.carriers["north"].arrivals) == 3)
        await trio.sleep(20)
        assert stage.waiting() == 7
        facts = stage.gateway.facts()
        carriers = facts["carriers"]
        assert carriers["north"]["limits"] == {"44": {"per_day": {"spent": 3, "limit": 3}}}  # type: ignore[index]
        assert [one["reason"] for one in facts["lanes"].values() if one.get("ready")] == ["throttled"]  # type: ignore[attr-defined]
        assert not stage.gateway.watchdog.stalls
    async with scene(tmp_path, limited, {"north": Behaviour()}) as stage:
        await trio.sleep(20)
        assert stage.waiting() == 7
        assert not stage.carriers["north"].arrivals
    free = carrier_toml("north", 1) + route_toml("north")
    async with scene(tmp_path, free, {"north": Behaviour()}) as stage:
        await stage.until(lambda: not stage.waiting(), 30)
        assert len(stage.carriers["north"].arrivals) == 7


@trio_test(mock_clock=True)
async def test_a_link_that_ends_gives_back_what_waited_for_tokens(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, 'window = 4\nlimits = [{ prefix = ["44"], tps = 1 }]')
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        north = stage.carriers["north"]
        stage.submit(account, numbers("4477", 3), text=LONG)
        await stage.until(lambda: len(north.arrivals) == 2)
        for peer in list(north.peers):
            peer.dead = True
            await trio.aclose_forcefully(peer.stream)
        await stage.until(lambda: not stage.waiting(), 300)
        some = stage.gateway.carriers[0].some
        assert some is not None
        assert [limit.promised for limit in some.limits] == [0]
        assert not some.aside


@trio_test(mock_clock=True)
async def test_the_horizons_of_a_carrier_and_of_a_route_hold(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, "tps = 20\nlimits = { per_minute = 100 }") + route_toml(
        "north", more="limits = { per_hour = 250 }"
    )
    async with scene(tmp_path, toml, {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        stage.submit(account, numbers("4477", 300))
        north = stage.carriers["north"]
        await stage.until(lambda: len(north.arrivals) >= 250, 600)
        await trio.sleep(300)
        times = [one.at for one in north.arrivals]
        assert most_in(1.0, times) <= 20
        assert most_in(60.0, times) <= 100
        assert len(times) == 250
        assert not stage.gateway.watchdog.stalls
