"""Carriers that an operator suspends: nothing new goes to them, it is kept, told, and ends by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from gateway.admin import AdminError
from gateway.admin_status import status_facts
from gateway.audit import Actor, acting
from gateway.cli.acting import Span
from gateway.cli.root import signalbox
from gateway.cli.status import print_facts
from tests.gateway.house import Running, carrier, route, running, simulator
from tests.trio_case import trio_test

TWO = (
    carrier("north", 2776)
    + carrier("south", 2777)
    + route("north", "south")
    + simulator("north", 2776)
    + simulator("south", 2777)
)
ONE = carrier("north", 2776) + route("north") + simulator("north", 2776)


async def ask(house: Running, verb: str, **args: Any) -> Any:
    return await house.gateway.verbs.table()[verb](args)


def by(house: Running, message: dict[str, Any]) -> str:
    return str(message["parts"][0]["carrier"])


@trio_test(mock_clock=True)
async def test_messages_go_round_a_suspended_carrier_until_it_is_resumed(tmp_path: Path) -> None:
    async with running(tmp_path, TWO) as house:
        await house.bound()
        with acting(Actor("ann", "cli", "they asked for it")):
            shown = await ask(house, "carrier.suspend", name="north")
        assert shown["order"]["by"] == "ann"
        assert (shown["order"]["reason"], shown["order"]["until"]) == ("they asked for it", "")
        assert not shown["able"]
        assert shown["links"]["north/1"]["state"] == "bound"
        assert by(house, await house.final(await house.submit("447700900123"))) == "south"
        assert (await ask(house, "carrier.resume", name="north"))["order"] is None
        assert by(house, await house.final(await house.submit("447700900123"))) == "north"
        assert await ask(house, "carrier.resume", name="north"), "once more changes nothing"
        acts = [row.entry.act for row in house.gateway.store.audit_log(subject="north")]
        assert acts == ["carrier.resumed", "carrier.suspended"]


@trio_test(mock_clock=True)
async def test_what_waits_for_a_suspended_carrier_says_so_and_goes_when_its_time_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path, ONE) as house:
        await house.bound()
        with acting(Actor("ann", "cli", "night work")):
            await ask(house, "carrier.suspend", name="north", for_s=600)
        message = await house.submit("447700900123")
        await trio.sleep(300)
        facts: dict[str, Any] = status_facts(house.gateway)
        assert facts["lanes"]["north"]["reason"] == "suspended"
        print_facts({"version": "1", **facts})
        assert "by ann: night work" in capsys.readouterr().out
        started = trio.current_time()
        await house.final(message)
        assert 295 < trio.current_time() - started < 305
        ended = house.gateway.store.audit_log(1)[0].entry
        assert (ended.who, ended.act, ended.subject) == ("signalbox", "carrier.resumed", "carrier:north")
        (event,) = await ask(house, "events.list")
        assert (event["kind"], event["subject"]) == ("carrier.resumed", "carrier:north")
        assert "ann" in event["text"]


@trio_test(mock_clock=True)
async def test_a_suspension_survives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await house.bound()
        await ask(house, "carrier.suspend", name="north", for_s=3600)
    async with running(tmp_path, ONE) as house:
        assert house.gateway.carriers[0].suspended
        message = await house.submit("447700900123")
        await trio.sleep(30)
        assert (await house.message(message))["phase"] == "ready"
        await ask(house, "carrier.resume", name="north")
        await house.final(message)


@trio_test(mock_clock=True)
async def test_operators_suspend_and_resume_over_http(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await house.bound()
        _, key = await house.gateway.operators.create("noc")
        assert (await house.http("GET", "/v1/carriers"))[0] == 403, "an account's key opens nothing"
        status, listed = await house.http("GET", "/v1/carriers", key=key)
        assert (status, [one["name"] for one in listed["carriers"]]) == (200, ["north"])
        assert listed["carriers"][0]["able"] is True
        status, shown = await house.http("POST", "/v1/carriers/north/suspend", {"for_s": 60}, key=key)
        assert (status, shown["order"]["by"], shown["able"]) == (200, "noc", False)
        wrong = {"for_s": -1, "x": 1}
        status, problem = await house.http("POST", "/v1/carriers/north/suspend", wrong, key=key)
        assert (status, sorted(one["field"] for one in problem["errors"])) == (422, ["for_s", "x"])
        assert (await house.http("POST", "/v1/carriers/none/suspend", key=key))[0] == 404
        status, shown = await house.http("POST", "/v1/carriers/north/resume", key=key)
        assert (status, shown["suspended"], shown["able"]) == (200, False, True)
        await house.http("POST", "/v1/carriers/north/suspend", {"for_s": 5}, key=key)
        await trio.sleep(8)
        await house.http("POST", "/v1/carriers/north/suspend", {"for_s": 5}, key=key)
        await trio.sleep(8)
        status, newest = await house.http("GET", "/v1/events?limit=1&subject=north", key=key)
        status, oldest = await house.http("GET", newest["next"], key=key)
        assert [one["kind"] for one in newest["events"] + oldest["events"]] == ["carrier.resumed"] * 2
        assert int(newest["events"][0]["number"]) > int(oldest["events"][0]["number"])
        assert (status, oldest["next"]) == (200, None)
        assert (await house.http("GET", "/v1/events?limit=0", key=key))[0] == 422


@trio_test(mock_clock=True)
async def test_a_carrier_that_is_not_there_cannot_be_suspended(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        with pytest.raises(AdminError, match=r"there are: north"):
            await ask(house, "carrier.suspend", name="nroth")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5d", 129_600)]
)
def test_times_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert Span().convert(text, None, None) == seconds


def test_a_carrier_of_a_stopped_gateway_is_suspended_in_its_store(tmp_path: Path) -> None:
    async def once() -> None:
        async with running(tmp_path, ONE):
            pass

    trio.run(once, clock=trio.testing.MockClock(autojump_threshold=0))
    place = ["--config", str(tmp_path / "gateway.toml")]
    run = CliRunner().invoke
    done = run(signalbox, ["carrier", "suspend", "north", "--for", "2h", "--reason", "works", *place])
    assert (done.exit_code, "is suspended until" in done.output) == (0, True), done.output
    assert "suspended" in run(signalbox, ["carrier", "list", *place]).output
    assert "No event" in run(signalbox, ["events", *place]).output
    assert (
        "is not suspended"
        in run(signalbox, ["carrier", "resume", "north", "--reason", "over", *place]).output
    )
