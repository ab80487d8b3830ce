"""What `signalbox status` is told by a running gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from gateway.admin_status import status_facts
from gateway.cli.status import print_facts
from tests.gateway.house import carrier, route, running, simulator
from tests.trio_case import trio_test


@trio_test(mock_clock=True)
async def test_status_tells_carriers_links_lanes_and_what_waits(tmp_path: Path, capsys: Any) -> None:
    toml = (
        carrier("sim", 2776, tps=10, window=5)
        + carrier("gone", 2777)
        + route("sim")
        + simulator("sim", 2776, response_delay_s=[20, 20])
    )
    async with running(tmp_path, toml) as house:
        await house.until(lambda: house.gateway.carriers[0].able())
        for _ in range(2):
            await house.submit("447700900123")
        await trio.sleep(5)
        facts: dict[str, Any] = status_facts(house.gateway)
        sim, gone = facts["carriers"]["sim"], facts["carriers"]["gone"]
        assert (sim["able"], sim["suspended"], sim["window"], sim["window_used"]) == (True, False, 5, 2)
        assert (sim["tps"], sim["paused_until"]) == (10, "")
        assert sim["links"]["sim/1"] == {
            "state": "bound",
            "bind": "transceiver",
            "host": "127.0.0.1:2776",
            "last_error": "",
            "suspended": False,
        }
        assert (gone["able"], gone["window"], gone["links"]["gone/1"]["state"]) == (False, 0, "connecting")
        assert "nobody listens on 2777" in gone["links"]["gone/1"]["last_error"]
        assert facts["backlog"]["leased"] == 2
        assert facts["customers"] == {}
        house.gateway.carriers[0].paused_until = trio.current_time() + 60
        house.gateway.carriers[1].suspended = True
        later: dict[str, Any] = status_facts(house.gateway)
        assert later["carriers"]["sim"]["paused_until"].endswith("Z")
        print_facts({"version": "1", **later})
        shown = capsys.readouterr().out
        assert "paused until" in shown
        assert "suspended" in shown
        assert "nobody listens on 2777" in shown
