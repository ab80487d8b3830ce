"""A reload says what becomes of messages that wait, and what a roll-back cannot bring back.

Deliberately not here: that nothing is lost by it (tests/gateway/test_reload.py, test_replan.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from gateway.admin import AdminError
from gateway.admin_config import Back, ConfigVerbs, Take
from gateway.cli.reload import print_done
from gateway.reload_effects import LaneEffect
from tests.gateway.house import Running, carrier, route, running, simulator, write_config
from tests.trio_case import trio_test

NORTH = carrier("north", 2781) + simulator("north", 2781)
SOUTH = carrier("south", 2799, password="by hand")  # nobody listens there
FRANCE = '[[routes]]\nname = "france"\nmatch = { prefix = ["33"] }\nlane = ["south"]\n'
BOTH = NORTH + SOUTH + FRANCE + route("north")
WARNED = (
    "carrier south goes away: 3 messages wait in lane south, planned anew by the new routes; "
    "of 3 looked at 3 would go by route all (north)"
)
LOST = (
    "carrier south is removed, and its password was written in the file: config rollback cannot bring it "
    "back; keep the file, or use ${env:NAME} or password_file"
)


@asynccontextmanager
async def three_wait(tmp_path: Path, after: str) -> AsyncIterator[tuple[Running, ConfigVerbs]]:
    """Three messages to France wait in lane south; the file has changed since."""
    async with running(tmp_path, BOTH) as house:
        for number in range(3):
            await house.submit(f"3361200000{number}")
        write_config(tmp_path, after)
        reload = house.gateway.reload
        yield house, ConfigVerbs(reload.revisions, reload)


@trio_test(mock_clock=True)
async def test_a_preview_says_what_waits_for_a_carrier_that_goes_and_where_it_would_go(
    tmp_path: Path,
) -> None:
    async with three_wait(tmp_path, NORTH + route("north")) as (house, verbs):
        shown: Any = await verbs.take(Take(dry_run=True))
        assert shown["warnings"] == [WARNED, LOST]
        assert shown["planned_anew"] == 3
        assert shown["waiting"] == [
            {
                "lane": "south", "messages": 3, "planned_anew": True, "gone": ("south",), "asked": 3,
                "goes_to": {"all (north)": 3},
            }
        ]  # fmt: skip
        preview: Any = await verbs.take(Take(preview=True))
        assert preview.messages == 3
        assert preview.warnings == [WARNED, LOST]
        assert house.gateway.store.lane_totals()


@trio_test(mock_clock=True)
async def test_what_has_no_route_after_it_would_be_held(tmp_path: Path) -> None:
    germany = '[[routes]]\nname = "de"\nmatch = { prefix = ["49"] }\nlane = ["north"]\n'
    async with three_wait(tmp_path, NORTH + germany) as (_, verbs):
        shown: Any = await verbs.take(Take(dry_run=True))
        assert shown["warnings"][0].endswith("of 3 looked at 3 have no route and would be held")


@trio_test(mock_clock=True)
async def test_a_preview_says_what_stays_in_a_lane_whose_carrier_or_route_changes(tmp_path: Path) -> None:
    slower = NORTH + SOUTH + "tps = 5\n" + FRANCE + route("north")
    async with three_wait(tmp_path, slower) as (_, verbs):
        preview: Any = await verbs.take(Take(preview=True))
        assert preview.touches == [
            "carriers south changed: tps", "lane south: 3 messages wait, and stay there"
        ]  # fmt: skip
        assert preview.warnings == []
        assert preview.messages == 3
        write_config(tmp_path, NORTH + SOUTH + FRANCE.replace('"33"', '"34"') + route("north"))
        preview = await verbs.take(Take(preview=True))
        assert preview.touches[-1] == "lane south: 3 messages wait, and stay there"
        write_config(tmp_path, NORTH + SOUTH + FRANCE.replace('"south"', '"north"') + route("north"))
        preview = await verbs.take(Take(preview=True))
        assert preview.warnings[1].startswith("no route has lane south any more: 3 messages wait in it, ")
        faster = NORTH.replace("[[simulators]]", "tps = 9\n[[simulators]]")
        write_config(tmp_path, faster + SOUTH + FRANCE + route("north"))
        preview = await verbs.take(Take(preview=True))
        assert preview.touches == ["carriers north changed: tps"]  # nothing waits for it


@trio_test(mock_clock=True)
async def test_the_answer_and_the_audit_trail_say_how_many_are_planned_anew(tmp_path: Path) -> None:
    async with three_wait(tmp_path, NORTH + route("north")) as (house, verbs):
        with structlog.testing.capture_logs() as logs:
            done: Any = await verbs.take(Take())
            await trio.sleep(3)
        assert done["applied"]
        assert done["planned_anew"] == 3
        assert done["warnings"] == [WARNED.partition(";")[0], LOST]
        entry = house.gateway.store.audit_log()[0].entry
        assert entry.act == "config.reloaded"
        assert "messages_planned_anew" in repr(entry)
        told = [one for one in logs if one.get("planned_anew") == 3 and "messages" in one["event"]]
        assert [(one["event"], one["carriers"], one["log_level"]) for one in told] == [
            ("messages waited in a lane that no route has any more, and were planned anew", ["south"], "info")
        ]


@trio_test(mock_clock=True)
async def test_a_roll_back_that_lacks_a_password_names_the_revision_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    async with three_wait(tmp_path, NORTH + route("north")) as (_, verbs):
        await verbs.take(Take())
        with pytest.raises(AdminError) as refused:
            await verbs.roll_back(Back(1, preview=True))
        assert "revision 1 has 1 problem; nothing was changed" in refused.value.message
        assert "revision 1: carriers[1].password: was written out in the file" in refused.value.message
        assert ".toml" not in refused.value.message
        assert "`signalbox reload`" in refused.value.hint
        assert "`signalbox config show 1`" in refused.value.hint


@trio_test(mock_clock=True)
async def test_a_password_that_stays_or_that_is_in_a_variable_is_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUTH", "secret")
    by_name = SOUTH.replace("by hand", "${env:SOUTH}")
    async with running(tmp_path, NORTH + by_name + FRANCE + route("north")) as house:
        verbs = ConfigVerbs(house.gateway.reload.revisions, house.gateway.reload)
        write_config(tmp_path, NORTH + route("north"))
        shown: Any = await verbs.take(Take(dry_run=True))
        assert shown["changes"]
        assert shown["warnings"] == []


@trio_test(mock_clock=True)
async def test_a_variant_for_short_messages_stays_with_its_lane(tmp_path: Path) -> None:
    short = carrier("short", 2798, max_parts=1)
    both = NORTH + SOUTH + short
    async with running(tmp_path, both + route("short", "south")) as house:
        await house.submit("447700900001", "long " * 60)  # in the lane without `short`
        verbs = ConfigVerbs(house.gateway.reload.revisions, house.gateway.reload)
        write_config(tmp_path, NORTH + SOUTH + "tps = 5\n" + short + route("short", "south"))
        shown: Any = await verbs.take(Take(dry_run=True))
        assert [(one["lane"], one["planned_anew"]) for one in shown["waiting"]] == [("south", False)]
        await verbs.take(Take())
        assert all(house.gateway.board.in_force(lane) for lane in house.gateway.store.ready_lanes())


@trio_test(mock_clock=True)
async def test_the_log_of_a_signal_warns_as_the_command_does(tmp_path: Path) -> None:
    async with three_wait(tmp_path, NORTH + route("north")) as (house, _):
        with structlog.testing.capture_logs() as logs:
            await house.gateway.reload.by_signal()
        assert [one["warning"] for one in logs if "warning" in one] == [WARNED.partition(";")[0], LOST]


def test_the_command_says_both(capsys: pytest.CaptureFixture[str]) -> None:
    lanes = [
        {"lane": "south", "messages": 1276, "planned_anew": True},
        {"lane": "north", "messages": 1, "planned_anew": False},
    ]
    done: dict[str, Any] = {
        "applied": True, "file": "gw.toml", "revision": 2, "changes": [
            {"section": "carriers", "name": "south", "what": "removed", "rebinds": False, "keys": []}
        ],
        "needs_restart": [], "warnings": [LOST], "waiting": lanes, "planned_anew": 1276,
    }  # fmt: skip
    print_done(done, preview=False)
    said = capsys.readouterr().out
    assert "lane north: 1 message waiting, to stay there" in said
    assert "1,276 messages being planned anew" in said
    assert f"warning: {LOST}" in said
    print_done({**done, "applied": False}, preview=True)
    assert "being planned anew" not in capsys.readouterr().out


def test_one_message_is_said_as_one() -> None:
    assert str(LaneEffect("south", 1, True, ("south",), 1, {"": 1})) == (
        "carrier south goes away: 1 message waits in lane south, planned anew by the new routes; "
        "of 1 looked at 1 has no route and would be held"
    )
