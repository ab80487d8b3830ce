"""Commands that act on live traffic: a preview changes nothing, a reason must be given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
import trio.testing
from click.testing import CliRunner

from gateway.cli.failure import Failure
from gateway.cli.root import signalbox
from tests.gateway.house import carrier, route, running


@pytest.fixture
def place(tmp_path: Path) -> list[str]:
    """Of a gateway that ran once."""

    async def once() -> None:
        async with running(tmp_path, carrier("north", 2776) + route("north")):
            pass

    trio.run(once, clock=trio.testing.MockClock(autojump_threshold=0))
    return ["--config", str(tmp_path / "gateway.toml")]


def run(place: list[str], *words: str) -> str:
    done = CliRunner().invoke(signalbox, [*words, *place], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_preview_changes_nothing_and_needs_no_reason(place: list[str]) -> None:
    told = run(place, "carrier", "drain", "north", "--for", "2h", "--preview")
    assert "Nothing was changed. It would touch:" in told
    assert "finishes what is in flight, then unbinds" in told
    assert "suspended" not in run(place, "carrier", "list")
    told = json.loads(run(place, "carrier", "rate", "north", "5", "--preview", "--json"))
    assert told["touches"] == ["carrier north is sent at most 5 segments a second"]


def test_an_act_without_a_reason_is_not_done(place: list[str]) -> None:
    with pytest.raises(Failure, match="--reason"):
        run(place, "carrier", "drain", "north")
    assert "suspended" not in run(place, "carrier", "list")


def test_what_is_ordered_of_a_stopped_gateway_waits_for_its_start(place: list[str]) -> None:
    told = run(place, "carrier", "drain", "north", "--for", "2h", "--reason", "works")
    assert "north is drained until 2" in told
    shown = json.loads(run(place, "carrier", "rate", "north", "5", "--reason", "slow", "--json"))
    assert (shown["drained"], shown["rate_order"]["value"]) == (True, "5/s")
    assert "has its configured rate" in run(place, "carrier", "rate", "north", "0", "--reason", "fine")
    assert "north is not suspended" in run(place, "carrier", "resume", "north")
    told = run(
        place, "binds", "ban", "acme-1", "--address", "192.0.2.0/24", "--for", "1h", "--reason", "abuse"
    )
    assert "acme-1 may not bind until 2" in told
    assert "1 ban ended" in run(place, "binds", "unban", "acme-1", "--reason", "sorry")


def test_what_needs_the_running_gateway_says_so(place: list[str]) -> None:
    for words in (
        ("route", "suspend", "all"),
        ("route", "weights", "all", "north=3"),
        ("carrier", "rebind", "north"),
    ):
        with pytest.raises(Failure, match="not running"):
            run(place, *words, "--reason", "x")
    with pytest.raises(Failure, match="'north' is no weight"):
        run(place, "route", "weights", "all", "north", "--reason", "x")
