"""Lanes that a limit holds: told as a problem with whose limit it is, and as the brake of their carriers.

Deliberately not here: lanes that stand still (test_troubles.py), how fast limits let messages through.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

import gateway.troubles
from gateway.admin import Verb
from gateway.audit import Actor, acting
from gateway.console.verdicts import rows
from gateway.troubles import Trouble
from smpp.pdu import Pdu, SubmitSmResp
from smpp.status import Status
from tests.gateway.house import Running, Script, carrier, route, running_with
from tests.gateway.test_terms import many
from tests.trio_case import trio_test

SPAIN = '[[routes]]\nname = "spain"\nmatch = {{ prefix = ["{prefix}"] }}\nlane = ["north"]\ntps = 1\n'
SLOW_ROUTE = carrier("north", 2790, window=20) + SPAIN.format(prefix="44") + route("north", name="rest")


def limited(house: Running) -> list[Trouble]:
    return [one for one in house.gateway.troubles.listed() if one.code == "lane-limited"]


async def ask(house: Running, verb: str, **args: Any) -> Any:
    table: dict[str, Verb] = house.gateway.verbs.table()
    with acting(Actor("ann", "cli", "night work")):
        return await table[verb](args)


@trio_test(mock_clock=True)
async def test_a_route_at_its_own_limit_is_a_problem_once_its_messages_are_old(tmp_path: Path) -> None:
    async with running_with(tmp_path, SLOW_ROUTE, Script()) as (house, _):
        await house.bound()
        await many(house, 150)
        await trio.sleep(40)
        assert limited(house) == [], "not old yet"
        await trio.sleep(30)
        for _ in range(5):  # also when a token happens to be there
            await trio.sleep(0.9)
            (one,) = limited(house)
            assert (one.severity, one.subject) == ("warning", "lane:spain/north")
            assert "messages wait, oldest 7" in one.what
            assert one.what.endswith("our limit: route spain is at its limit of 1/s")
            assert one.todo.startswith("signalbox route rate spain ")
            assert 60 < one.messages < 100
        await house.until(lambda: not limited(house))


@trio_test(mock_clock=True)
async def test_a_carrier_is_well_and_our_route_is_the_brake(tmp_path: Path) -> None:
    async with running_with(tmp_path, SLOW_ROUTE, Script()) as (house, _):
        await house.bound()
        await many(house, 50)
        await trio.sleep(10)
        (north,) = rows(house.gateway)
        assert north.verdict.whose == "our side"
        assert north.verdict.words == "route spain is at its limit of 1/s"
        assert north.now.why == "route_throttled"


@trio_test(mock_clock=True)
async def test_who_ordered_a_limit_is_told_with_what_is_configured(tmp_path: Path) -> None:
    toml = carrier("north", 2790, window=20, tps=100) + route("north")
    async with running_with(tmp_path, toml, Script()) as (house, _):
        await house.bound()
        await ask(house, "carrier.rate", name="north", tps=1, for_s=900)
        await many(house, 150)
        await trio.sleep(70)
        (one,) = limited(house)
        said = "at its limit of 1/s, ordered by ann until "
        assert f"our limit: carrier north is {said}" in one.what
        assert one.what.endswith(": night work (configured 100/s)")
        (north,) = rows(house.gateway)
        assert north.verdict.words.startswith(said)
        assert north.verdict.words.endswith("(configured 100/s)")


@trio_test(mock_clock=True)
async def test_a_carrier_that_throttles_holds_its_lane(tmp_path: Path) -> None:
    def throttling(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if pdu.command != "submit_sm" or len(script.submits) % 3 == 0:
            return []
        return [SubmitSmResp(command_status=Status.ESME_RTHROTTLED, sequence_number=pdu.sequence_number)]

    toml = carrier("north", 2790, tps=5) + route("north")
    async with running_with(tmp_path, toml, Script(throttling)) as (house, _):
        await house.bound()
        await many(house, 300)
        await trio.sleep(100)
        (one,) = limited(house)
        assert "the carrier's limit: carrier north throttle" in one.what
        assert one.subject == "lane:north"


@trio_test(mock_clock=True)
async def test_an_account_at_its_own_limit_holds_its_lane(tmp_path: Path) -> None:
    toml = carrier("north", 2790) + route("north")
    async with running_with(tmp_path, toml, Script(), send_tps=1.0) as (house, _):
        await house.bound()
        await many(house, 150)
        await trio.sleep(75)
        (one,) = limited(house)
        assert "oldest 7" in one.what
        assert "our limit: accounts are at the limits of their own" in one.what


@trio_test(mock_clock=True)
async def test_many_lanes_that_wait_for_limits_are_told_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.troubles, "_LIMITED_LANES", 1)
    toml = carrier("north", 2790, window=20) + "".join(
        SPAIN.format(prefix=f"4477009{number}").replace("spain", f"spain{number}") for number in range(3)
    )
    async with running_with(tmp_path, toml, Script()) as (house, _):
        await house.bound()
        for number in range(3):
            for one in range(100 + 10 * number):
                await house.submit(f"4477009{number}{one:04}")
        await trio.sleep(75)
        first, others = limited(house)
        assert first.subject == "lane:spain2/north"
        assert others.what.startswith("and 2 more wait for limits: ")


@trio_test(mock_clock=True)
async def test_what_a_carrier_answered_lately_is_named_and_not_what_it_answered_most(tmp_path: Path) -> None:
    answer = [Status.ESME_RMSGQFUL]

    def refusing(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if pdu.command != "submit_sm":
            return []
        return [SubmitSmResp(command_status=answer[0], sequence_number=pdu.sequence_number)]

    toml = carrier("north", 2790, tps=100) + route("north")
    async with running_with(tmp_path, toml, Script(refusing)) as (house, script):
        await house.bound()
        await many(house, 50)
        await house.until(lambda: len(script.submits) > 50)
        answer[0] = Status.ESME_RTHROTTLED
        seen = len(script.submits)
        await trio.sleep(11)
        await house.until(lambda: len(script.submits) > seen + 2)
        await trio.sleep(1.5)
        throttled = house.gateway.troubles.throttled("north")
        assert throttled.refused
        assert throttled.name == "ESME_RTHROTTLED"
