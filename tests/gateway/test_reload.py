"""The configuration is changed under load: nothing is lost, what did not change keeps its binds, a bad file
changes nothing, and an earlier configuration comes back and stays.

Deliberately not here: what differs between two files (tests/config/test_diff.py).
"""

from __future__ import annotations

import importlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import trio

from config.load import ConfigErrors
from gateway.admin_shapes import iso
from gateway.app import _back_to
from gateway.carriers.link import Link
from gateway.reload import Refused
from gateway.revisions import MOST_REVISIONS, Revisions
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from store.check import check
from tests.gateway.house import MemoryWorld, Running, Script, carrier, route, running, write_config
from tests.trio_case import trio_test

GATEWAY = "[gateway]\n"


class Town:
    """Simulated carriers on ports of their own, outside of the gateway, so that they outlive its carriers."""

    def __init__(self, world: MemoryWorld) -> None:
        self.world = world
        self.smscs: dict[int, SimulatedSmsc] = {}

    async def open(self, nursery: trio.Nursery, port: int, **behaviour: object) -> SimulatedSmsc:
        chosen: dict[str, object] = {
            "response_delay_s": (0.01, 0.05),
            "receipt_delay_s": (0.1, 0.3),
            **behaviour,
        }
        smsc = SimulatedSmsc(
            Behaviour(**chosen),  # type: ignore[arg-type]
            {"signalbox": "secret"},
            random.Random(port),
            f"on-{port}",
            self.world.wall_ms,
        )
        self.smscs[port] = smsc
        await nursery.start(smsc.serve, await self.world.listen("127.0.0.1", port))
        return smsc


@asynccontextmanager
async def town(directory: Path, toml: str, *ports: int) -> AsyncIterator[tuple[Running, Town]]:
    world = MemoryWorld()
    async with trio.open_nursery() as nursery:
        place = Town(world)
        for port in ports:
            await place.open(nursery, port)
        async with running(directory, toml, world) as house:
            await house.bound()
            yield house, place
        nursery.cancel_scope.cancel()


def links(house: Running) -> dict[str, Link]:
    return {link.name: link for one in house.gateway.carriers for link in one.links}


async def load(house: Running, count: int, *, prefix: str = "4477009", gap_s: float = 0.005) -> list[str]:
    ids = []
    for number in range(count):
        ids.append(await house.submit(f"{prefix}{number:05d}"))
        await trio.sleep(gap_s)
    return ids


async def all_delivered(house: Running, ids: list[str]) -> None:
    for one in ids:
        assert (await house.final(one))["state"] == "DELIVERED"
    assert check(house.gateway.store) == []


def conserved(house: Running) -> bool:
    totals = house.gateway.store.totals()
    return totals.accepted == sum(totals.messages) and totals.accepted_segments == sum(totals.segments)


@trio_test(mock_clock=True)
async def test_a_changed_limit_is_applied_to_the_binds_there_are(tmp_path: Path) -> None:
    before = carrier("north", 2781, window=10, tps=100) + carrier("south", 2782) + route("north", "south")
    async with town(tmp_path, before, 2781, 2782) as (house, _):
        bound = links(house)
        write_config(
            tmp_path,
            carrier("north", 2781, window=3, tps=5, max_parts=1, response_timeout_s=7)
            + carrier("south", 2782)
            + route("north", "south"),
        )
        done = await house.gateway.reload.reload()
        keys = {key.key: (key.old, key.new) for key in done.diff.changes[0].keys}
        assert keys["window"] == (10, 3)
        assert keys["tps"] == (100, 5)
        assert not done.diff.changes[0].rebinds
        assert links(house) == bound
        north = house.gateway.carriers[0]
        session = north.links[0].session
        assert session is not None
        assert session.window_free == 3
        assert north.throttle.rate_per_s == 5
        assert await house.submit("447700900001", "long " * 60)  # too long for north now: south takes it
        long = await house.submit("447700900002", "long " * 60)
        assert (await house.final(long))["parts"][0]["carrier"] == "south"


@trio_test(mock_clock=True)
async def test_a_new_limit_on_some_messages_holds_for_those_that_wait_too(tmp_path: Path) -> None:
    def toml(*prefixes: str) -> str:
        limits = [f'[[carriers.limits]]\nprefix = ["{one}"]\ntps = 2\n' for one in prefixes]
        return carrier("north", 2781, tps=500) + "".join(limits) + route("north")

    async with town(tmp_path, toml(), 2781) as (house, place):
        gateway, north = house.gateway, place.smscs[2781].tally
        await gateway.orders.suspend("north")
        ids = await load(house, 400, prefix="4915100", gap_s=0)  # more than a portion that stays, before
        ids += await load(house, 20, gap_s=0)
        write_config(tmp_path, toml("447"))
        await gateway.reload.reload()
        await trio.sleep(1)
        before = north.submits
        await gateway.orders.resume("north")
        await trio.sleep(3)
        assert 400 <= north.submits - before <= 400 + 2 * 4
        await gateway.orders.suspend("north")
        ids += await load(house, 20, prefix="4915200", gap_s=0)
        write_config(tmp_path, toml("49"))
        await gateway.reload.reload()
        await trio.sleep(1)
        before = north.submits
        await gateway.orders.resume("north")
        await trio.sleep(2)
        assert 20 - 8 <= north.submits - before <= 20 + 2 * 3
        write_config(tmp_path, toml())
        await gateway.reload.reload()
        await all_delivered(house, ids)


@trio_test(mock_clock=True)
async def test_a_rate_card_that_a_reload_names_and_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with town(tmp_path, carrier("north", 2781) + route("north"), 2781) as (house, _):
        write_config(tmp_path, carrier("north", 2781, rate_card="gold") + route("north"))
        with structlog.testing.capture_logs() as logs:
            await house.gateway.reload.reload()
            await house.gateway.reload.reload()
        assert [one["event"] for one in logs if one.get("table") == "gold"] == ["configured table missing"]


@trio_test(mock_clock=True)
async def test_what_takes_long_is_done_once_and_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = carrier("north", 2781) + route("north") + '[[expect]]\nto = "447700900123"\nroute = "all"\n'
    calls: list[tuple[str, bool]] = []
    inside = False

    async def in_thread(work: Callable[[], Any]) -> Any:
        nonlocal inside
        await trio.lowlevel.checkpoint()
        inside = True
        try:
            return work()
        finally:
            inside = False

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls.append((name, inside))
            return work(*arguments, **named)

        return call

    async with town(tmp_path, toml, 2781) as (house, _):
        for name in ("load", "kept_text", "failures", "diff", "client_tls", "table_of", "tls_context"):
            module = "gateway.app" if name == "table_of" else "gateway.reload"
            work = getattr(importlib.import_module(module), name, None)
            if work is None:
                work = getattr(importlib.import_module("gateway.revisions"), name)
            monkeypatch.setattr(f"gateway.reload.{name}", watched(name, work), raising=False)
        house.gateway.reload.in_thread = in_thread
        write_config(tmp_path, toml.replace('name = "north"', 'name = "north"\ntps = 7'))
        await house.gateway.reload.reload()
        assert house.gateway.carriers[0].settings.tps == 7
        assert calls == [
            (name, True)
            for name in ("load", "kept_text", "failures", "diff", "client_tls", "table_of", "tls_context")
        ]


@trio_test(mock_clock=True)
async def test_a_refused_reload_leaves_no_address_open(tmp_path: Path) -> None:
    before = carrier("north", 2781) + route("north")
    async with town(tmp_path, before, 2781) as (house, place):
        listen = place.world.listen

        async def taken(host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
            if port == 2792:
                raise OSError(98, "Address already in use")
            return await listen(host, port)

        place.world.listen = taken  # type: ignore[method-assign]
        east = carrier("east", 2783, outbind_listen="127.0.0.1:2791")
        west = carrier("west", 2784, outbind_listen="127.0.0.1:2792")
        write_config(tmp_path, before + east + west)
        with pytest.raises(Refused, match="west"):
            await house.gateway.reload.reload()
        assert 2791 not in place.world.ports


@trio_test(mock_clock=True)
async def test_a_new_limit_on_some_messages_holds_for_those_that_come_due_after_it(tmp_path: Path) -> None:
    def toml(*prefixes: str) -> str:
        limits = [f'[[carriers.limits]]\nprefix = ["{one}"]\ntps = 2\n' for one in prefixes]
        return carrier("north", 2781, tps=500) + "".join(limits) + route("north")

    async with town(tmp_path, toml("49"), 2781) as (house, place):
        gateway, north = house.gateway, place.smscs[2781]
        north.behaviour = msgspec.structs.replace(north.behaviour, submit_errors={0x08: 1.0})
        ids = await load(house, 16, gap_s=0)  # deferred for 2.5 to 5 s: ESME_RSYSERR
        await trio.sleep(1)
        north.behaviour = msgspec.structs.replace(north.behaviour, submit_errors={})
        at = iso(house.world.wall_ms() + 60_000)
        scheduled = [await house.submit(f"44770091{number:04d}", send_at=at) for number in range(20)]
        scheduled += [await house.submit(f"4915100{number:05d}", send_at=at) for number in range(20)]
        write_config(tmp_path, toml("447"))
        await gateway.reload.reload()
        before = north.tally.submits
        await trio.sleep(4.1)
        assert 2 <= north.tally.submits - before <= 2 * 4
        await trio.sleep(54)
        before = north.tally.submits
        await trio.sleep(5)  # they are due within a second or two
        assert 20 <= north.tally.submits - before <= 20 + 2 * 6
        found = gateway.store.find_any(int(scheduled[19]))
        assert found is not None
        account, id = found[0].account, found[0].id
        now_ms = house.world.wall_ms()
        assert await gateway.committer.execute(lambda txn: txn.cancel(account, id, now_ms)) == "cancelled"
        await all_delivered(house, ids + scheduled[:19] + scheduled[20:])
        assert conserved(house)


@trio_test(mock_clock=True)
async def test_a_route_that_changes_under_load_loses_nothing_and_drops_no_bind(tmp_path: Path) -> None:
    carriers = carrier("north", 2781, tps=20) + carrier("south", 2782)
    async with town(tmp_path, carriers + route("north"), 2781, 2782) as (house, place):
        bound = links(house)
        ids = await load(house, 100)
        assert house.gateway.store.ready_lanes()
        write_config(tmp_path, carriers + route("south"))
        await house.gateway.reload.reload()
        ids += await load(house, 50, prefix="4477008")
        await all_delivered(house, ids)
        assert links(house) == bound
        assert len(place.world.dialled[2781]) == len(place.world.dialled[2782]) == 1
        assert place.smscs[2782].tally.submits > 50


@trio_test(mock_clock=True)
async def test_a_changed_credential_drains_and_rebinds_only_that_carrier(tmp_path: Path) -> None:
    def toml(password: str) -> str:
        north = carrier("north", 2781, sessions=2, password=password)
        return north + carrier("south", 2782) + route("north", "south")

    async with town(tmp_path, toml("secret"), 2781, 2782) as (house, place):
        bound = links(house)
        async with trio.open_nursery() as nursery:
            ids: list[str] = []

            async def traffic() -> None:
                ids.extend(await load(house, 300))

            nursery.start_soon(traffic)
            await trio.sleep(0.5)
            place.smscs[2781].accounts["signalbox"] = "word"
            write_config(tmp_path, toml("word"))
            done = await house.gateway.reload.reload()
            assert [change.name for change in done.diff.changes] == ["north"]
            assert done.diff.changes[0].rebinds
            assert ("password", "(not shown)") in [(one.key, one.new) for one in done.diff.changes[0].keys]
            await house.gateway.fleet.settled()
        await house.bound()
        now = links(house)
        assert now["south/1"] is bound["south/1"]
        assert now["north/1"] is not bound["north/1"]
        assert now["north/2"] is not bound["north/2"]
        assert len(place.world.dialled[2782]) == 1
        await all_delivered(house, ids)
        unknown = {one.name: one.unknown for one in house.gateway.carriers}
        assert unknown == {"north": 0, "south": 0}


@trio_test(mock_clock=True)
async def test_what_is_not_answered_when_a_bind_must_go_is_unknown_as_always(tmp_path: Path) -> None:
    world = MemoryWorld()
    silent = Script(lambda script, pdu: [b""] if pdu.command == "submit_sm" else [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(silent.serve, await world.listen("127.0.0.1", 2781))
        async with running(tmp_path, carrier("north", 2781) + route("north"), world) as house:
            await house.bound()
            one = await house.submit("447700900123")
            await house.until(lambda: silent.submits)
            write_config(tmp_path, carrier("north", 2781, system_type="new") + route("north"))
            await house.gateway.reload.reload()
            await house.gateway.fleet.settled()
            assert (await house.when(one, "unknown"))["phase"] == "unknown"
            assert any(pdu.command == "unbind" for pdu in silent.pdus)
            assert conserved(house)
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_a_removed_carrier_is_drained_and_what_waits_for_it_is_planned_anew(tmp_path: Path) -> None:
    both = carrier("north", 2781, tps=10) + carrier("south", 2782) + route("north")
    async with town(tmp_path, both, 2781, 2782) as (house, place):
        place.smscs[2781].behaviour = Behaviour(response_delay_s=(0.01, 0.05), receipt_delay_s=(0, 0))
        ids = await load(house, 60)
        write_config(tmp_path, carrier("south", 2782) + route("south"))
        done = await house.gateway.reload.reload()
        assert [(one.name, one.what) for one in done.diff.changes if one.section == "carriers"] == [
            ("north", "removed")
        ]
        await house.gateway.fleet.settled()
        assert [one.name for one in house.gateway.carriers] == ["south"]
        await all_delivered(house, ids)


@trio_test(mock_clock=True)
async def test_an_added_carrier_binds_and_takes_its_share(tmp_path: Path) -> None:
    async with town(tmp_path, carrier("north", 2781) + route("north"), 2781, 2782) as (house, place):
        bound = links(house)
        shared = (
            '[[routes]]\nname = "all"\n'
            'lane = [{ carrier = "north", weight = 50 }, { carrier = "south", weight = 50 }]\n'
        )
        write_config(tmp_path, carrier("north", 2781) + carrier("south", 2782) + shared)
        await house.gateway.reload.reload()
        await house.bound()
        assert links(house)["north/1"] is bound["north/1"]
        await all_delivered(house, await load(house, 100))
        assert place.smscs[2782].tally.submits >= 40


@trio_test(mock_clock=True)
async def test_more_or_fewer_sessions_leave_the_others_bound(tmp_path: Path) -> None:
    def toml(sessions: int) -> str:
        return carrier("north", 2781, sessions=sessions) + route("north")

    async with town(tmp_path, toml(2), 2781) as (house, place):
        bound = links(house)
        write_config(tmp_path, toml(4))
        await house.gateway.reload.reload()
        await house.until(lambda: len([one for one in links(house).values() if one.bound]) == 4)
        write_config(tmp_path, toml(1))
        await house.gateway.reload.reload()
        await house.gateway.fleet.settled()
        assert list(links(house)) == ["north/1"]
        assert links(house)["north/1"] is bound["north/1"]
        assert bound["north/1"].bound
        assert len(place.world.dialled[2781]) == 4


@trio_test(mock_clock=True)
async def test_a_carrier_that_comes_back_while_it_leaves_stays_the_same_one(tmp_path: Path) -> None:
    world = MemoryWorld()
    slow = Script(lambda script, pdu: [b""] if pdu.command == "submit_sm" else [])
    both = carrier("north", 2781) + carrier("south", 2782)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.serve, await world.listen("127.0.0.1", 2781))
        place = Town(world)
        await place.open(nursery, 2782)
        async with running(tmp_path, both + route("north"), world) as house:
            await house.bound()
            await house.submit("447700900123")
            await house.until(lambda: slow.submits)
            write_config(tmp_path, carrier("south", 2782) + route("south"))
            await house.gateway.reload.reload()
            north = house.gateway.carriers[0]
            assert north.name == "north"
            assert house.gateway.fleet.is_leaving("north")
            write_config(tmp_path, both + route("south", "north"))
            await house.gateway.reload.reload()
            await house.gateway.fleet.settled()
            await house.bound()
            assert house.gateway.carriers[0] is north
            assert [one.name for one in house.gateway.carriers] == ["north", "south"]
            assert conserved(house)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("times", [3, 4, 5])
@trio_test(mock_clock=True)
async def test_a_carrier_may_leave_and_come_back_any_number_of_times_within_one_drain(
    tmp_path: Path, times: int
) -> None:
    north = carrier("north", 2781, response_timeout_s=60, outbind_listen="127.0.0.1:2790")
    both = north + carrier("south", 2782) + route("north", "south")
    alone = carrier("south", 2782) + route("south")
    async with town(tmp_path, both, 2781, 2782) as (house, place):
        place.smscs[2781].behaviour = Behaviour(response_delay_s=(15, 15), receipt_delay_s=(0, 0))
        ids = await load(house, 5)
        await trio.sleep(1)
        for toml in [alone, both, alone, both, alone][:times]:
            write_config(tmp_path, toml)
            with suppress(Refused):  # the address for outbinds is still that of the carrier on its way
                await house.gateway.reload.reload()
            await trio.sleep(0.1)
        await house.gateway.fleet.settled()
        names = [one.name for one in house.gateway.config.carriers]
        assert sorted(one.name for one in house.gateway.carriers) == sorted(names)
        await house.bound()
        assert sorted(links(house)) == sorted(f"{name}/1" for name in names)
        await all_delivered(house, ids + await load(house, 5, prefix="4477008"))


@trio_test(mock_clock=True)
async def test_a_carrier_that_cannot_be_changed_for_a_bug_is_said_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = carrier("north", 2781) + carrier("south", 2782)
    async with town(tmp_path, both + route("south"), 2781, 2782) as (house, _):

        async def broken(carriers: object) -> None:
            raise KeyError("north")

        monkeypatch.setattr(house.gateway.fleet, "_save", broken)
        write_config(tmp_path, carrier("south", 2782) + route("south"))
        with structlog.testing.capture_logs() as logs:
            await house.gateway.reload.reload()
            await house.gateway.fleet.settled()
        assert [one["carrier"] for one in logs if one["log_level"] == "error"] == ["north"]
        monkeypatch.undo()
        await all_delivered(house, await load(house, 5))


@trio_test(mock_clock=True)
async def test_a_carrier_that_cannot_be_reached_is_changed_at_once(tmp_path: Path) -> None:
    wrong = carrier("north", 2799, reconnect_min_s=600, reconnect_max_s=600) + route("north")
    async with town(tmp_path, carrier("north", 2781) + route("north"), 2781) as (house, _):
        write_config(tmp_path, wrong)
        await house.gateway.reload.reload()
        await house.gateway.fleet.settled()
        one = await house.submit("447700900123")
        await trio.sleep(5)
        write_config(tmp_path, carrier("north", 2781) + route("north"))
        await house.gateway.reload.reload()
        assert (await house.final(one, patience_s=10))["state"] == "DELIVERED"


@trio_test(mock_clock=True)
async def test_a_bad_file_changes_nothing_and_says_everything_that_is_wrong(tmp_path: Path) -> None:
    good = carrier("north", 2781) + route("north")
    async with town(tmp_path, good, 2781) as (house, _):
        before, bound = house.gateway.config, links(house)
        write_config(tmp_path, carrier("north", 2781, window=0, colour="red") + route("west"))
        with pytest.raises(ConfigErrors) as refused:
            await house.gateway.reload.reload()
        said = str(refused.value)
        assert "window" in said
        assert "colour" in said
        assert "west" in said
        assert house.gateway.config is before
        assert links(house) == bound
        assert not house.gateway.reload.succeeded
        assert house.gateway.reload.state()["differs_from_file"] == "the file was changed since"
        await all_delivered(house, await load(house, 5))


@trio_test(mock_clock=True)
async def test_a_trial_shows_the_changes_and_makes_none(tmp_path: Path) -> None:
    async with town(tmp_path, carrier("north", 2781) + route("north"), 2781) as (house, _):
        before = house.gateway.config
        write_config(tmp_path, carrier("north", 2781, tps=7) + carrier("east", 2783) + route("east", "north"))
        done = await house.gateway.reload.reload(dry_run=True)
        assert not done.applied
        assert [(one.section, one.name, one.what) for one in done.diff.changes] == [
            ("carriers", "north", "changed"),
            ("carriers", "east", "added"),
            ("routes", "all", "changed"),
        ]
        assert house.gateway.config is before
        assert "east" not in house.gateway.store.carriers()


@trio_test(mock_clock=True)
async def test_what_needs_a_restart_is_named_and_refused_unless_the_rest_is_asked_for(tmp_path: Path) -> None:
    async with town(tmp_path, carrier("north", 2781) + route("north"), 2781) as (house, _):
        write_config(tmp_path, carrier("north", 2781, tps=7) + route("north"), http_port=8099)
        with pytest.raises(Refused, match=r"http\.listen"):
            await house.gateway.reload.reload()
        assert house.gateway.carriers[0].settings.tps == 0
        done = await house.gateway.reload.reload(partial=True)
        assert done.pending == ("http.listen",)
        assert house.gateway.carriers[0].settings.tps == 7
        assert house.gateway.config.http.listen[0].port == 8080
        assert house.gateway.reload.state()["needs_restart"] == ["http.listen"]


@trio_test(mock_clock=True)
async def test_two_reloads_at_once_are_done_one_after_the_other(tmp_path: Path) -> None:
    async with town(tmp_path, carrier("north", 2781) + route("north"), 2781) as (house, _):
        write_config(tmp_path, carrier("north", 2781, tps=7) + route("north"))
        done = []

        async def reload() -> None:
            done.append(await house.gateway.reload.reload())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload)
            nursery.start_soon(reload)
        assert sorted(len(one.diff.changes) for one in done) == [0, 1]
        assert len({one.revision for one in done}) == 1


@trio_test(mock_clock=True)
async def test_the_door_takes_other_limits_at_once(tmp_path: Path) -> None:
    base = carrier("north", 2781) + route("north")
    async with town(tmp_path, base, 2781) as (house, _):
        write_config(tmp_path, "[messages]\nmax_parts = 1\n" + base)
        await house.gateway.reload.reload()
        status, answer = await house.http(
            "POST", "/v1/messages", {"to": "447700900123", "from": "12345", "text": "long " * 60}
        )
        assert (status, answer["type"]) == (422, "urn:signalbox:problem:too-long")


# revisions and the way back


@trio_test(mock_clock=True)
async def test_a_roll_back_survives_a_restart_and_ends_at_the_next_reload(tmp_path: Path) -> None:
    base = route("north")
    async with town(tmp_path, carrier("north", 2781, tps=5) + base, 2781) as (house, _):
        write_config(tmp_path, carrier("north", 2781, tps=9) + base)
        await house.gateway.reload.reload()
        done = await house.gateway.reload.roll_back(1)
        assert [(key.key, key.old, key.new) for key in done.diff.changes[0].keys] == [("tps", 9, 5)]
        assert house.gateway.carriers[0].settings.tps == 5
        assert house.gateway.carriers[0].settings.password == "secret"  # from the file: it is not kept
        assert house.gateway.reload.state()["differs_from_file"] == "rolled back to revision 1"
        house.gateway.troubles.look()
        assert "config-differs" in {one.code for one in house.gateway.troubles.latest}
        entries = house.gateway.store.audit_log()
        assert [one.entry.act for one in entries[:2]] == ["config.rolled_back", "config.reloaded"]
        store, config, world = house.gateway.store, house.gateway.config, house.world
        pinned = Revisions(store, None, world.wall_ms).pinned()
        assert pinned is not None
        assert pinned.back_to == 1
        again = _back_to(pinned, store, world, config)  # what a start does
        assert again.carriers[0].tps == 5
        assert (await house.gateway.reload.reload()).applied
        assert house.gateway.carriers[0].settings.tps == 9
        assert Revisions(store, None, world.wall_ms).pinned() is None
        assert house.gateway.reload.state()["differs_from_file"] == ""
        house.gateway.troubles.look()
        assert "config-differs" not in {one.code for one in house.gateway.troubles.latest}


@trio_test(mock_clock=True)
async def test_no_secret_that_is_written_out_is_kept(tmp_path: Path) -> None:
    base = carrier("north", 2781, password="pa55word") + route("north")
    async with running(tmp_path, base) as house:
        kept = house.gateway.reload.revisions
        assert "pa55word" not in kept.text(kept.find(1))
        assert "pa55word" not in "".join(repr(one.entry) for one in house.gateway.store.audit_log())


@trio_test(mock_clock=True)
async def test_only_the_newest_revisions_are_kept(tmp_path: Path) -> None:
    async with town(tmp_path, carrier("north", 2781) + route("north"), 2781) as (house, _):
        for tps in range(1, MOST_REVISIONS + 3):
            write_config(tmp_path, carrier("north", 2781, tps=tps) + route("north"))
            await house.gateway.reload.reload()
        kept = house.gateway.reload.revisions
        numbers = [one.number for one in kept.all()]
        assert numbers == list(range(4, MOST_REVISIONS + 4))
        assert f"tps = {MOST_REVISIONS}\n" in kept.text(kept.find(MOST_REVISIONS + 1))
        assert len(links(house)) == 1


# a storm of reloads


@pytest.mark.parametrize("seed", range(4))
@trio_test(mock_clock=True)
async def test_random_reloads_under_traffic_lose_no_message(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    ports = {"north": 2781, "south": 2782, "east": 2783, "west": 2784}

    def drawn() -> str:
        names = chance.sample(sorted(ports), chance.randint(1, 4))
        text = "".join(
            carrier(
                name,
                ports[name],
                window=chance.choice((1, 5, 20)),
                tps=chance.choice((0, 20, 100)),
                sessions=chance.choice((1, 2)),
                system_type=chance.choice(("", "", "x")),
                max_parts=chance.choice((255, 255, 1)),
                throttle_scope=chance.choice(("carrier", "bind")),
            )
            + chance.choice(("", '[[carriers.limits]]\nprefix = ["447700900"]\ntps = 9\n'))
            for name in names
        )
        if chance.random() < 0.4:
            lane = ", ".join(f'{{ carrier = "{name}", weight = {chance.randint(1, 9)} }}' for name in names)
            return text + f'[[routes]]\nname = "all"\ntps = {chance.choice((0, 50))}\nlane = [{lane}]\n'
        return text + route(*names)

    async with town(tmp_path, drawn(), *ports.values()) as (house, place):
        ids: list[str] = []

        async def traffic() -> None:
            for number in range(400):
                text = "long " * 60 if number % 10 == 0 else "short"
                status, answer = await house.http(
                    "POST", "/v1/messages", {"to": f"44770090{number:04d}", "from": "12345", "text": text}
                )
                if status == 202:
                    ids.append(answer["id"])
                else:  # no carrier takes long ones now
                    assert answer["type"] == "urn:signalbox:problem:too-long"
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(traffic)
            for _ in range(20):
                await trio.sleep(chance.uniform(0.01, 0.8))
                write_config(tmp_path, drawn())
                await house.gateway.reload.reload()
                assert conserved(house)
        last = "".join(carrier(name, port) for name, port in ports.items()) + route(*ports)
        write_config(tmp_path, last)
        await house.gateway.reload.reload()
        await house.gateway.fleet.settled()
        await all_delivered(house, ids)
        assert conserved(house)
        assert [one.buffer for one in house.gateway.carriers if one.buffer] == []
        submitted = sum(smsc.tally.submits for smsc in place.smscs.values())
        assert submitted >= len(ids)
