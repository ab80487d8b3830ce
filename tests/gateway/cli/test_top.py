"""`signalbox top`, `queues`, `carriers`, `accounts`: frames of any size, a terminal that is put back."""

from __future__ import annotations

import json
import os
import pty
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len

from gateway.admin_client import AdminAbsent
from gateway.cli import root, top, watching
from gateway.cli.failure import OK, UNREACHABLE, Failure
from gateway.cli.place import Place
from gateway.cli.top_frame import Look, frame, lines, plain
from gateway.figures import AccountFigures, CarrierFigures, Passed, Snapshot
from gateway.overview import Trouble


def carrier(name: str, **figures: Any) -> CarrierFigures:
    usual: dict[str, Any] = {
        "why": "free", "detail": "", "side": "", "binds": 2,
        "binds_wanted": 2, "sent_per_s": 0.0, "sent_mean": 0.0,
        "tps_limit": 300.0, "window_used": 4, "window": 100, "response_p50_s": 0.004,
        "response_p90_s": 1.5, "throttled_per_s": 0.0, "throttled_mean": 0.0, "errors_per_s": 0.0,
        "errors_mean": 0.0, "receipts_per_s": 1.0, "mo_per_s": 0.0, "delivered_ratio": None, "waiting": 0,
        "oldest_age_s": 0.0,
    }  # fmt: skip
    return CarrierFigures(name=name, **{**usual, **figures})


def account(name: str, **figures: Any) -> AccountFigures:
    usual: dict[str, Any] = {
        "accepted_per_s": 0.0, "accepted_mean": 0.0, "refused_per_s": 0.0, "refused_mean": 0.0,
        "refused_for": "", "waiting": 0, "backlog": 0, "binds": 0, "tps_limit": 0.0, "suspended": False,
    }  # fmt: skip
    return AccountFigures(name=name, **{**usual, **figures})


def snapshot(**fields: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "at": "2026-11-21T23:15:02.000Z",
        "status": "failing",
        "problems": [Trouble("critical", "carrier:dead", "no bind: connection refused")],
        "last_second": Passed(accepted=920.0, sent=284.0),
        "last_minute": Passed(accepted=89.0),
        "delivered_ratio": 0.973,
        "phases": {"ready": 7},
        "waiting": 1234,
        "oldest_age_s": 200.0,
        "events": 5,
        "carriers": [
            carrier("north", sent_per_s=284.0, waiting=5),
            carrier("dead", why="no_bind", detail="no bind", side="theirs", waiting=900),
            carrier("south", errors_per_s=3.0),
        ],
        "accounts": [account("shop", accepted_per_s=9.0), account("bank", refused_per_s=2.0, waiting=4)],
    }
    made = msgspec.to_builtins(Snapshot(**{**usual, **fields}))
    assert isinstance(made, dict)
    return made


def text(look: Look | None = None, width: int = 80, height: int = 24, **fields: Any) -> str:
    return "\n".join(line.text for line in lines(snapshot(**fields), look or Look(), width, height))


def test_problems_come_before_rates_of_carriers_and_accounts() -> None:
    shown = text()
    places = [shown.index(word) for word in ("accepted 920/s", "no bind: conn", "north", "shop", "q quit")]
    assert places == sorted(places)
    for word in (
        "failing",
        "waiting 1,234, oldest 3m",
        "97.3% delivered",
        "284/300",
        "4/100",
        "1.5s",
        "theirs: no bind",
    ):
        assert word in shown


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (40, 5), (60, 1), (120, 12), (81, 3)])
def test_a_frame_is_never_wider_or_higher_than_the_terminal(size: tuple[int, int]) -> None:
    width, height = size
    many: dict[str, Any] = {
        "carriers": [carrier(f"a-very-long-name-of-a-carrier-{n}", detail="x" * 300) for n in range(70)],
        "accounts": [account(f"süß-{n}-漢字漢字漢字漢字漢字漢字漢字") for n in range(70)],
        "problems": [Trouble("warning", f"lane:{n}", "y" * 300) for n in range(30)],
    }
    for look in (Look(), Look("errors")):
        for look.help in (False, True):
            made = lines(snapshot(**many), look, width, height)
            assert len(made) <= height
            assert all(cell_len(line.text) <= width for line in made)
            assert frame(snapshot(**many), look, width, height).plain.count("\n") == height - 1
    assert "more)" in text(width=80, height=24, **many)
    assert "more problems" in text(width=80, height=24, **many)


@pytest.mark.parametrize(
    ("key", "first", "account"), [("r", "north", "shop"), ("w", "dead", "bank"), ("e", "south", "bank")]
)
def test_a_key_sorts(key: str, first: str, account: str) -> None:
    look = Look()
    assert look.press(key)
    shown = text(look)
    _, _, body = shown.partition("CARRIER")
    assert body.splitlines()[1].split()[0] == first
    _, _, body = shown.partition("ACCOUNT")
    assert body.splitlines()[1].split()[0] == account


def test_help_and_pause_are_shown_until_they_are_pressed_again() -> None:
    look = Look()
    for key, word in (("?", "sort by what waits"), ("p", "PAUSED")):
        assert look.press(key)
        assert word in text(look)
        look.press(key)
        assert word not in text(look)
    assert not look.press("x")


def test_nobodys_words_steer_the_terminal() -> None:
    shown = plain(
        snapshot(
            carriers=[carrier("north", detail="no bind: \x1b]0;gone\x07\x1b[2J")],
            problems=[Trouble("critical", "carrier:\x1b[31m", "\u202egnorw\n\r")],
        ),
        Look(),
    )
    assert not any(character in shown for character in "\x1b\x07\u202e\r")


def test_a_key_without_accounts_read_sees_the_rest() -> None:
    assert "north" in text(accounts=None, delivered_ratio=None, problems=[])


# the command


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Verbs that were asked for; `top` has an answer."""
    verbs: list[str] = []

    def ask(self: Place, verb: str, /, **args: Any) -> Any:
        verbs.append(verb)
        return snapshot()

    monkeypatch.setattr(Place, "ask_running", ask)
    return verbs


def test_into_a_pipe_it_prints_once(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert root.run(["top"]) == OK
    assert "north" in capsys.readouterr().out
    assert asked == ["top"]


def test_json_is_a_snapshot_a_line(
    asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    assert root.run(["top", "--json", "--count", "3"]) == OK
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["waiting"] for one in said] == [1234] * 3
    assert waits == [1, 1]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """The keyboard's side and the command's of a terminal that is stdin."""
    keyboard, screen = pty.openpty()
    with os.fdopen(screen, "r+b", buffering=0) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield keyboard, screen
    os.close(keyboard)


def place(tmp_path: Path) -> Place:
    return Place(data_dir=tmp_path)


def test_keys_are_taken_one_by_one_and_the_terminal_is_put_back(
    asked: list[str], terminal: tuple[int, int], tmp_path: Path
) -> None:
    keyboard, screen = terminal
    before = termios.tcgetattr(screen)
    os.write(keyboard, b"ew?px\x1bq")
    look = Look()
    top._watch(place(tmp_path), look)
    assert (look.sort, look.help, look.paused) == ("waiting", True, True)
    assert termios.tcgetattr(screen) == before


def test_when_the_gateway_goes_away_the_terminal_is_put_back_and_it_says_so(
    terminal: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, screen = terminal
    before = termios.tcgetattr(screen)
    answers = [snapshot()]

    def ask(self: Place, verb: str, /, **args: Any) -> Any:
        if not answers:
            raise AdminAbsent
        return answers.pop()

    monkeypatch.setattr(Place, "ask_running", ask)
    monkeypatch.setattr(top, "_SLICE_S", 0)
    ticks = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    with pytest.raises(Failure, match="the gateway went away") as failure:
        top._watch(place(tmp_path), Look())
    assert failure.value.exit_code == UNREACHABLE
    assert termios.tcgetattr(screen) == before


def test_ctrl_c_ends_it_and_puts_the_terminal_back(
    terminal: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    _, screen = terminal
    before = termios.tcgetattr(screen)

    def interrupted(keys: int) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(top, "_key", interrupted)
    top._watch(place(tmp_path), Look())
    assert termios.tcgetattr(screen) == before


# on a stopped gateway


def test_a_stopped_gateway_says_what_its_store_knows(typed: Any) -> None:
    typed("account", "create", "shop")
    code, said = typed("accounts")
    assert code == OK
    assert "not running" in said
    assert "shop" in said
    assert typed("queues") == (OK, "No message waits.\n")
    code, said = typed("queues", "--json")
    assert json.loads(said) == []
    code, said = typed("accounts", "--json")
    assert json.loads(said)[0]["figures"] is None
    assert typed("carriers")[0] == OK
    code, said = typed("top")
    assert (code, "no gateway runs" in said) == (UNREACHABLE, True)
    code, said = typed("trace", "--carrier", "north")
    assert (code, "nothing passes" in said) == (UNREACHABLE, True)


def test_a_limit_that_follows_the_carrier_or_was_ordered_is_told_as_such() -> None:
    assert "/1.77" in text(carriers=[carrier("north", tps_limit=1.76811, sent_per_s=1.0)])
    view: dict[str, Any] = {
        "name": "north", "suspended": False, "able": True, "out": None, "paused_until": "", "tps": 10.0,
        "slowed": "rate 1.77/s of 10/s: throttled 9 times in the last minute",
    }  # fmt: skip
    now = msgspec.to_builtins(carrier("north", tps_limit=1.76811, tps_configured=10.0))
    assert watching._carrier(view, now)[3] == "1.8 of 10, slowed"
    order = {"by": "ann", "until": "2026-11-21T23:15:02.000Z", "reason": "night work", "value": "2/s"}
    view |= {"slowed": "", "tps": 2.0, "rate_order": order}
    now = msgspec.to_builtins(carrier("north", tps_limit=2.0, tps_configured=100.0))
    row = watching._carrier(view, now)
    assert row[3] == "2 (configured 100)"
    assert row[-1] == "yes, 2/s ordered by ann until 2026-11-21T23:15:02.000Z: night work"
