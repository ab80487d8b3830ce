"""The dispatcher of one carrier: what it claims, sends and gives back, seen from outside.

Deliberately not here: failures of links and answers (tests/gateway/test_end_to_end.py), shares of a lane.
"""

from __future__ import annotations

from pathlib import Path

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from tests.gateway.house import carrier, route, running, running_with, simulator
from tests.trio_case import trio_test

LONG = "A long message. " * 20  # three segments


@trio_test(mock_clock=True)
async def test_a_carrier_that_makes_one_pdu_of_a_long_message_never_runs_out_of_room(tmp_path: Path) -> None:
    toml = carrier("sim", 2776, window=4, long_messages="payload") + route("sim") + simulator("sim", 2776)
    async with running(tmp_path, toml) as house:
        ids = [await house.submit(f"4477009001{number:02}", LONG) for number in range(12)]
        assert {(await house.final(one))["state"] for one in ids} == {"DELIVERED"}
        assert house.gateway.simulators[0].tally.submits == 12


@trio_test(mock_clock=True)
async def test_a_slow_carrier_of_a_weighted_lane_goes_on_once_its_window_has_room(tmp_path: Path) -> None:
    toml = carrier("sim", 2790, window=2) + '[[routes]]\nname = "all"\n'
    toml += 'lane = [{ carrier = "sim", weight = 1 }, { carrier = "gone", weight = 1 }]\n'
    toml += carrier("gone", 2791)
    slow = SimulatedSmsc(Behaviour(response_delay_s=(3, 3)))
    async with running_with(tmp_path, toml, slow) as (house, _):
        ids = [await house.submit(f"4477009001{number:02}") for number in range(6)]
        assert {(await house.final(one))["state"] for one in ids} == {"DELIVERED"}
