"""Orders about carriers: another rate, one bind suspended, drained, bound anew; kept, told, ending."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import trio

from gateway.audit import Actor, acting
from gateway.carriers.link import Link
from smpp.pdu import Pdu
from store.interface import Transaction
from tests.gateway.house import Running, Script, carrier, route, running, running_with, write_config
from tests.trio_case import trio_test

PORT = 2790
WINDOW_S = 1.0


async def ask(house: Running, verb: str, **args: Any) -> Any:
    with acting(Actor("ann", "cli", "night work")):
        return await house.gateway.verbs.table()[verb](args)


WAITS = (
    '[[routes]]\nname = "uk"\nmatch = { prefix = ["44"] }\nlane = ["north", "south"]\n'
    '[[routes]]\nname = "rest"\nlane = ["south"]\n'
)


class Clocked:
    """When each submit came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if pdu.command == "submit_sm":
            self.times.append(trio.current_time())
        return ()

    def most_in_a_second(self, since: float = 0.0, until: float = 1e9) -> int:
        times = [one for one in self.times if since <= one <= until]
        return max((sum(1 for one in times if start <= one < start + WINDOW_S) for start in times), default=0)


async def many(house: Running, count: int) -> None:
    batch = {"messages": [{"to": "447700900123", "from": "12345", "text": "Hello"}] * count}
    status, answer = await house.http("POST", "/v1/messages/batch", batch)
    assert status in (200, 202, 207), answer


def acts(house: Running, subject: str) -> list[str]:
    return [row.entry.act for row in house.gateway.store.audit_log(100, subject=subject)]


@trio_test(mock_clock=True)
async def test_a_lower_rate_holds_at_once_over_a_reload_and_ends_by_itself(tmp_path: Path) -> None:
    toml = carrier("north", PORT, tps=50, window=20) + route("north")
    clocked = Clocked()
    async with running_with(tmp_path, toml, Script(clocked)) as (house, _):
        await house.bound()
        await many(house, 900)
        await trio.sleep(3)
        shown = await ask(house, "carrier.rate", name="north", tps=5, for_s=30)
        begun = trio.current_time()
        assert (shown["tps"], shown["rate_order"]["by"], shown["rate_order"]["value"]) == (5, "ann", "5/s")
        await trio.sleep(10)
        assert clocked.most_in_a_second() <= 50
        assert clocked.most_in_a_second(begun + 0.02) <= 5
        write_config(tmp_path, carrier("north", PORT, tps=40, window=20) + route("north"))
        await ask(house, "config.reload")
        await trio.sleep(10)
        assert clocked.most_in_a_second(begun + 0.02) <= 5
        assert len(clocked.times) > 150 + 19 * 4
        await trio.sleep(20)
        assert house.gateway.carriers[0].settings.tps == 40
        assert 30 < clocked.most_in_a_second(begun + 31) <= 40
        assert acts(house, "north") == ["carrier.rate_restored", "carrier.rate_set"]
        (event,) = await ask(house, "events.list")
        assert (event["kind"], event["subject"]) == ("order.ended", "carrier:north")
        assert "configured rate" in event["text"]


@trio_test(mock_clock=True)
async def test_a_rate_for_a_carrier_without_one_counts_what_was_sent_before(tmp_path: Path) -> None:
    clocked = Clocked()
    toml = carrier("north", PORT, window=20) + route("north")
    async with running_with(tmp_path, toml, Script(clocked)) as (house, _):
        await house.bound()
        await many(house, 100)
        await trio.sleep(0.1)
        await many(house, 900)
        await ask(house, "carrier.rate", name="north", tps=10)
        begun, sent = trio.current_time(), len(clocked.times)
        await trio.sleep(0.9)
        assert len(clocked.times) - sent <= 20, "what was in hand, and nothing more for a second"
        await trio.sleep(10)
        assert clocked.most_in_a_second(begun + 0.05) <= 10
        await ask(house, "carrier.rate", name="north", tps=0)
        assert house.gateway.carriers[0].settings.tps == 0
        assert (await ask(house, "carrier.show", name="north"))["rate_order"] is None


@trio_test(mock_clock=True)
async def test_a_suspended_bind_takes_nothing_new_and_stays_bound(tmp_path: Path) -> None:
    toml = carrier("north", PORT, sessions=2) + route("north")
    async with running_with(tmp_path, toml, Script()) as (house, _):
        await house.until(lambda: sum(link.bound for link in house.gateway.carriers[0].links) == 2)
        shown = await ask(house, "link.suspend", name="north/1", for_s=60)
        assert shown["links"]["north/1"]["suspended"]
        first, second = house.gateway.carriers[0].links
        for _ in range(4):
            await house.submit("447700900123")
        await trio.sleep(2)
        assert house.gateway.carriers[0].counts.segments == 4
        assert (first.bound, first.can_submit, second.can_submit) == (True, False, True)
        assert not shown["suspended"]
        await ask(house, "link.suspend", name="north/2")
        message = await house.submit("447700900123")
        await trio.sleep(2)
        assert (await house.message(message))["phase"] == "ready"
        facts = house.gateway.carriers[0].facts(trio.current_time())
        assert (facts.suspended, facts.bound) == (True, False)
        await ask(house, "link.resume", name="north/2")
        await house.until(lambda: house.gateway.carriers[0].counts.segments == 5)
        await trio.sleep(60)
        assert first.can_submit, "its time is over"
        assert acts(house, "north/1") == ["link.resumed", "link.suspended"]


@trio_test(mock_clock=True)
async def test_a_drained_carrier_unbinds_once_all_is_answered_and_binds_when_resumed(tmp_path: Path) -> None:
    toml = carrier("north", PORT) + route("north")
    held: list[Pdu] = []

    def slow(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if pdu.command == "submit_sm" and not held:
            held.append(pdu)
            return (b"",)
        return ()

    async with running_with(tmp_path, toml, Script(slow)) as (house, script):
        await house.bound()
        await house.submit("447700900123")
        await house.until(lambda: held)
        told = await ask(house, "carrier.drain", name="north", preview=True)
        assert any("unbinds" in one for one in told.touches)
        assert house.gateway.carriers[0].able(), "a preview changes nothing"
        shown = await ask(house, "carrier.drain", name="north", for_s=3600)
        assert (shown["suspended"], shown["drained"]) == (True, True)
        await trio.sleep(1)
        assert not [one for one in script.pdus if one.command == "unbind"], "something is in flight"
        await script.send(script.usual(held[0])[0])
        await house.until(lambda: not house.gateway.carriers[0].links)
        assert [one.command for one in script.pdus][-1] == "unbind"
        waiting = await house.submit("447700900123")
        await trio.sleep(60)
        assert (await house.message(waiting))["phase"] == "ready"
        assert len(script.streams) == 1
        await ask(house, "carrier.resume", name="north")
        await house.bound()
        await house.until(lambda: len(script.submits) == 2)
        assert acts(house, "north") == ["carrier.resumed", "carrier.drained"]


@trio_test(mock_clock=True)
async def test_a_drain_survives_a_restart_and_ends_by_itself(tmp_path: Path) -> None:
    toml = carrier("north", PORT) + route("north")
    async with running_with(tmp_path, toml, Script()) as (house, _):
        await house.bound()
        await ask(house, "carrier.drain", name="north", for_s=60)
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await trio.sleep(10)
        assert not script.streams
        await house.bound(patience_s=100)


@trio_test(mock_clock=True)
async def test_a_gateway_that_stops_amid_a_drain_says_good_bye_once(tmp_path: Path) -> None:
    toml = carrier("north", PORT) + route("north")
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await house.bound()
        (link,) = house.gateway.carriers[0].links
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.drain, 5)
            nursery.start_soon(link.drain, 5)
        assert [one.command for one in script.pdus].count("unbind") == 1


def both_bound(links: list[Link]) -> bool:
    return len(links) == 2 and all(one.bound for one in links)


@trio_test(mock_clock=True)
async def test_binds_are_made_anew_one_or_all(tmp_path: Path) -> None:
    toml = carrier("north", PORT, sessions=2) + route("north")
    async with running_with(tmp_path, toml, Script()) as (house, script):

        def links() -> list[Link]:
            return list(house.gateway.carriers[0].links)

        await house.until(lambda: sum(link.bound for link in links()) == 2)
        first, second = links()
        await ask(house, "carrier.rebind", name="north/1")
        await house.until(
            lambda: len(links()) == 2 and all(one.bound for one in links()) and first not in links()
        )
        assert second in links()
        assert sorted(one.name for one in links()) == ["north/1", "north/2"]
        await ask(house, "carrier.rebind", name="north")
        await house.until(
            lambda: len(links()) == 2 and all(one.bound for one in links()) and second not in links()
        )
        assert len(script.streams) == 5
        assert acts(house, "north") == acts(house, "north/1") == ["carrier.rebound"]


@trio_test(mock_clock=True)
async def test_what_an_older_version_ordered_is_still_in_force(tmp_path: Path) -> None:
    toml = carrier("north", PORT) + route("north")
    old = msgspec.msgpack.encode([["north", "ann", "works", 1_790_000_000_000, 0]])

    def as_it_was(txn: Transaction) -> None:
        txn.put_meta("orders", old)

    async with running(tmp_path, toml) as house:
        await house.gateway.committer.execute(as_it_was)
    async with running(tmp_path, toml) as house:
        assert house.gateway.carriers[0].suspended
        (order,) = house.gateway.orders.in_force()
        assert (order.kind, order.who, order.reason) == ("carrier.suspended", "ann", "works")
        await ask(house, "carrier.rate", name="north", tps=5)
        assert house.gateway.store.meta("orders") == old, "an older version goes on reading it"


@trio_test(mock_clock=True)
async def test_a_preview_counts_what_moves_to_others_and_what_is_stuck(tmp_path: Path) -> None:
    toml = carrier("north", PORT) + carrier("south", PORT) + WAITS
    async with running_with(tmp_path, toml, Script()) as (house, _):
        await house.bound()
        await ask(house, "route.suspend", name="uk")
        await ask(house, "route.suspend", name="rest")
        for number in ("447700900123", "447700900124", "4915112345678"):
            await house.submit(number)
        told = await ask(house, "carrier.suspend", name="south", preview=True)
        assert any("lane uk/north>south: 2 messages that wait go to north" in one for one in told.touches)
        assert any("lane rest/south: 1 message" in one for one in told.touches)
        assert told.messages == 3


@trio_test(mock_clock=True)
async def test_a_preview_warns_of_a_rate_below_what_passes_now(tmp_path: Path) -> None:
    toml = carrier("north", PORT, tps=20, window=20) + '[[routes]]\nname = "uk"\nlane = ["north"]\ntps = 10\n'
    async with running_with(tmp_path, toml, Script()) as (house, _):
        await house.bound()
        await many(house, 200)
        await trio.sleep(8)
        for verb, name in (("carrier.rate", "north"), ("route.rate", "uk")):
            told = await ask(house, verb, name=name, tps=2, preview=True)
            assert any("less than passes now: " in one for one in told.warnings)
            told = await ask(house, verb, name=name, tps=15, preview=True)
            assert not any("less than passes now" in one for one in told.warnings)
