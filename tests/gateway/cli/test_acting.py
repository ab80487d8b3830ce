"""Commands that act on live traffic: a preview changes nothing, a reason must be given."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import trio
import trio.testing
from click.testing import CliRunner

from gateway.cli.failure import Failure
from gateway.cli.root import signalbox
from tests.gateway.house import carrier, route, running
from tests.gateway.test_acts import COMMANDS, command_of

GIVEN = {
    "carrier.suspend": ["north"], "carrier.resume": ["north"], "carrier.drain": ["north"],
    "carrier.rebind": ["north"], "carrier.rate": ["north", "5"], "link.suspend": ["north/1"],
    "link.resume": ["north/1"], "route.suspend": ["all"], "route.resume": ["all"], "route.rate": ["all", "5"],
    "route.weights": ["all", "north=3"], "account.suspend": ["acme"], "account.resume": ["acme"],
    "binds.drop": ["1"], "binds.ban": ["acme-1"], "binds.unban": ["acme-1"], "locks.release": ["acme-1"],
    "callbacks.replay": ["--all"], "deliveries.replay": ["--account", "acme"],
    "deliveries.move": ["--account", "acme", "--to", "http"], "queue.move": ["--all", "--to", "all", "--yes"],
    "queue.bounce": ["--all", "--yes"], "message.force": ["1"], "message.reroute": ["1", "--to", "all"],
    "message.cancel": ["1"], "config.rollback": ["1"], "privacy.erase": ["+447700900123"],
}  # fmt: skip


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


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_no_act_is_done_without_a_reason_and_each_has_a_preview(verb: str) -> None:
    command = command_of(COMMANDS[verb])
    flags = {flag for one in command.params for flag in one.opts}
    assert "--preview" in flags
    assert flags & {"--reason", "--because"}
    with pytest.raises(Failure, match="say why"):
        CliRunner().invoke(signalbox, [*COMMANDS[verb].split(), *GIVEN.get(verb, ())], catch_exceptions=False)


def test_whoever_sits_at_a_terminal_is_asked_why(place: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.acting.asks", lambda: True)
    done = CliRunner().invoke(signalbox, ["carrier", "suspend", "north", *place], input="fibre cut\n")
    assert (done.exit_code, "Why" in done.output) == (0, True), done.output
    entries = json.loads(run(place, "audit", "list", "--json"))
    assert "fibre cut" in {one["reason"] for one in entries}
    done = CliRunner().invoke(signalbox, ["carrier", "resume", "north", *place], input="\n")
    assert isinstance(done.exception, Failure)


def test_what_is_ordered_of_a_stopped_gateway_waits_for_its_start(place: list[str]) -> None:
    told = run(place, "carrier", "drain", "north", "--for", "2h", "--reason", "works")
    assert "north is drained until 2" in told
    shown = json.loads(run(place, "carrier", "rate", "north", "5", "--reason", "slow", "--json"))
    assert (shown["drained"], shown["rate_order"]["value"]) == (True, "5/s")
    assert "has its configured rate" in run(place, "carrier", "rate", "north", "0", "--reason", "fine")
    assert "north is not suspended" in run(place, "carrier", "resume", "north", "--reason", "over")
    told = run(
        place, "binds", "ban", "acme-1", "--address", "192.0.2.0/24", "--for", "1h", "--reason", "abuse"
    )
    assert "acme-1 may not bind until 2" in told
    assert "1 ban ended" in run(place, "binds", "unban", "acme-1", "--reason", "sorry")


def test_an_end_is_a_span_or_a_time_in_utc_and_not_both(
    place: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = (datetime.now(UTC) + timedelta(days=2)).replace(hour=23, minute=30, second=30, microsecond=0)
    given = end.astimezone(timezone(timedelta(hours=1))).isoformat()
    told = run(place, "carrier", "suspend", "north", "--until", given, "--reason", "fibre cut")
    assert f"until {end:%Y-%m-%dT23:30}" in told, told
    asked: list[float] = []
    monkeypatch.setattr("gateway.cli.carriers.act", lambda *_, for_s, **__: asked.append(for_s))
    monkeypatch.setattr("gateway.cli.acting.now", lambda: datetime(2030, 1, 31, 14, 0, tzinfo=UTC))
    for written in ("14:30", "14:30Z", "13:59", "14:00"):
        run(place, "carrier", "suspend", "north", "--until", written, "--preview")
    assert asked == [1_800, 1_800, 86_340, 86_400]
    for words, problem in (
        (("--until", "14:30", "--for", "2h"), "--for or --until"),
        (("--until", "25:00"), "is no time"),
        (("--until", "2030-01-31T13:59Z"), "is over"),
    ):
        done = CliRunner().invoke(signalbox, ["carrier", "suspend", "north", *words, *place])
        assert done.exit_code == 2, done.output
        assert problem in done.output
    assert len(asked) == 4


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
