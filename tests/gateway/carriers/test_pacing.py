"""A carrier's answers reach router.adaptive, and what that says reaches throttles, metrics and people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio

from gateway.carriers.pacing import Pacing
from gateway.metrics import CarrierCounts
from gateway.simulator.behaviour import Behaviour
from router.nouns import Reason
from router.throttle import Throttle
from smpp.pdu import Pdu, SubmitSmResp
from tests.gateway.house import Script, carrier, route, running_with
from tests.simulation.scene import carrier_toml, route_toml, scene
from tests.trio_case import trio_test


def congested(script: Script, pdu: Pdu) -> Iterable[Pdu]:
    if pdu.command != "submit_sm":
        return []
    message_id = b"id%d" % pdu.sequence_number
    return [
        SubmitSmResp(message_id=message_id, sequence_number=pdu.sequence_number, tlvs=((0x0428, b"\x5f"),))
    ]


@trio_test(mock_clock=True)
async def test_congestion_state_in_responses_slows_the_carrier_and_is_shown(tmp_path: Path) -> None:
    toml = carrier("north", 2790, tps=100, interface_version="5.0") + route("north")
    async with running_with(tmp_path, toml, Script(congested)) as (house, _):
        await house.bound()
        for number in range(5):
            await house.submit(f"44770090012{number}")
        await trio.sleep(1)
        gateway = house.gateway
        assert gateway.carriers[0].pacing.rate_per_s < 100
        assert gateway.carriers[0].throttle.rate_per_s < 100
        facts = gateway.facts()["carriers"]["north"]  # type: ignore[index]
        assert "congested" in facts["slowed"]
        assert 'signalbox_carrier_slowdowns_total{carrier="north",cause="congested"}' in (
            gateway.metrics.render().decode()
        )


@trio_test(mock_clock=True)
async def test_with_throttle_scope_bind_only_the_bind_that_was_refused_is_slowed(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, 'tps = 100\nsessions = 2\nthrottle_scope = "bind"') + route_toml("north")
    async with scene(tmp_path, toml, {"north": Behaviour()}) as stage:
        north = stage.gateway.carriers[0]
        first, second = north.links
        now = trio.current_time()
        north.pacing.refused(first, Reason.THROTTLED, now, now)
        assert first.throttle.rate_per_s < 100
        assert second.throttle.rate_per_s == 100
        assert north.pacing.reason(now)


def test_a_bind_that_comes_back_does_not_change_what_was_accepted_before() -> None:
    links: list[Any] = [SimpleNamespace(throttle=Throttle(100, 100), can_submit=up) for up in (True, False)]
    carrier: Any = SimpleNamespace(
        name="north", links=links, settings=SimpleNamespace(adaptive=True, tps=100, burst=100)
    )
    counts = CarrierCounts()
    pacing, first, now = Pacing(carrier, counts), links[0], 0.0
    for _ in range(40):
        now += 0.25
        counts.statuses[0] = counts.statuses.get(0, 0) + 25  # 100 a second, all over the first bind
        pacing.look(now)
    links[1].can_submit = True
    pacing.refused(first, Reason.THROTTLED, now, now)
    assert pacing.rate_per_s == 90
