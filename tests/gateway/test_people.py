"""People who sign in, by the command line: passwords, second factors, links, sessions; the first start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from config.load import load
from gateway import app
from gateway.audit import Actor, acting
from gateway.cli.failure import FAILED, OK, USAGE
from gateway.passwords import Passwords, hash_password, inline
from gateway.sign_in import Started
from store.lmdb_store import LmdbStore
from store.options import StoreOptions
from tests.gateway.conftest import Typed
from tests.gateway.house import Running, carrier, route, running, write_config
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim")
RIGHT = "correct horse battery"
HERE = "192.0.2.7"


async def ask(house: Running, verb: str, **args: object) -> Any:
    house.gateway.sign_ins.passwords = Passwords(run=inline, most_remembered=0, make=hash_password)
    with acting(Actor("root", "cli", "ticket 7")):
        return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


# on a stopped gateway


def test_a_password_is_read_from_a_line_and_never_printed(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed("operator", "create", "ann")
    monkeypatch.setattr("sys.stdin.readline", lambda: RIGHT + "\n", raising=False)
    code, said = typed("operator", "password", "ann", "--stdin", "--reason", "ticket 7")
    assert (code, said) == (OK, "ann has a new password; 0 sessions ended.\n")
    listed = typed("audit", "list", "--json")[1]
    (told,) = [one for one in json.loads(listed) if one["act"] == "operator.password_set"]
    assert (told["subject"], told["reason"], told["after"]) == ("operator:ann", "ticket 7", {"due": False})
    store = LmdbStore(tmp_path / "var" / "store", StoreOptions())
    try:
        row = store.meta("operators") or b""
    finally:
        store.close()
    assert b"$argon2id$v=19$m=19456,t=2,p=1$" in row
    for text in (said, listed, typed("operator", "list", "--json")[1], row.decode("latin-1")):
        assert RIGHT not in text
    assert "argon2" not in listed + typed("operator", "list", "--json")[1]
    assert typed("operator", "password", "ann", "--none")[0] == OK


def test_what_cannot_be_is_refused_in_words(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    typed("operator", "create", "ann")
    for said, line, code, word in (
        ("short\n", ("password", "ann", "--stdin"), USAGE, "12 to 128"),
        (RIGHT, ("password", "bob", "--stdin"), FAILED, "there are: ann"),
        ("", ("totp", "bob"), FAILED, "there are: ann"),
        ("", ("sign-in-link", "bob"), FAILED, "there are: ann"),
        ("", ("sessions", "bob"), FAILED, "there are: ann"),
        ("", ("sessions", "ann", "--end", "--session", "s1"), FAILED, "no session"),
        ("", ("sessions", "ann", "--session", "s1"), USAGE, "--end"),
    ):
        monkeypatch.setattr("sys.stdin.readline", lambda said=said: said, raising=False)
        exit_code, told = typed("operator", *line)
        assert (exit_code, word in told) == (code, True), told


def test_a_second_factor_is_shown_once_and_taken_away_again(typed: Typed) -> None:
    typed("operator", "create", "ann")
    made = json.loads(typed("operator", "totp", "ann", "--json")[1])
    assert made["uri"].startswith("otpauth://totp/Signalbox:ann?secret=" + made["secret"])
    assert len(made["recovery_codes"]) == 10
    code, shown = typed("operator", "totp", "ann")
    assert (code, "▄" in shown, "works once" in shown) == (OK, True, True)
    trail = typed("audit", "list", "--json")[1]
    assert (made["secret"] in trail, made["recovery_codes"][0] in trail) == (False, False)
    listed = typed("operator", "list")[1]
    assert ("SIGNS IN BY" in listed, "and code" in listed) == (True, True)
    assert typed("operator", "totp", "ann", "--off") == (OK, "ann signs in without a second factor.\n")


def test_a_link_is_printed_with_the_consoles_address(typed: Typed) -> None:
    typed("operator", "create", "ann")
    code, said = typed("operator", "sign-in-link", "ann")
    assert (code, said.startswith("http://127.0.0.1:8080/console/welcome#")) == (OK, True)
    token = said.partition("#")[2].split()[0]
    assert token not in typed("audit", "list", "--json")[1]
    first = json.loads(typed("operator", "sign-in-link", "--json")[1])
    assert (first["name"], first["lasts_s"]) == ("", 3_600)
    assert typed("operator", "sessions", "ann") == (OK, "ann is not signed in.\n")
    assert "Nothing was locked" in typed("operator", "unlock", "ann")[1]


# on a running one


@trio_test(mock_clock=True)
async def test_sessions_are_listed_and_ended_and_end_with_a_new_password(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        sign_ins = house.gateway.sign_ins
        await ask(house, "operator.create", name="ann")
        await ask(house, "operator.password", name="ann", password=RIGHT)
        started = [await sign_ins.with_password("ann", RIGHT, HERE, "Firefox") for _ in range(3)]
        tokens = [one.token for one in started if isinstance(one, Started)]
        there = await ask(house, "operator.sessions", name="ann")
        assert [(one["how"], one["address"], one["agent"]) for one in there] == [
            ("password", HERE, "Firefox")
        ] * 3
        one = house.gateway.sessions.signed_in(tokens[0], HERE)
        assert one is not None
        assert (await ask(house, "operator.end_sessions", name="ann", session=one.session))["ended"] == 1
        changed = await ask(house, "operator.password", name="ann", password=RIGHT + "!")
        assert changed["sessions_ended"] == 2
        assert [house.gateway.sessions.signed_in(token, HERE) for token in tokens] == [None] * 3
        trail = await ask(house, "audit.list", subject="ann")
        acts = [(one["act"], one["who"]) for one in trail]
        assert acts.count(("session.started", "ann")) == 3
        assert acts.count(("session.ended", "root")) == 3
        assert RIGHT not in json.dumps(trail)


@trio_test(mock_clock=True)
async def test_a_session_outlives_a_restart_of_the_gateway(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await ask(house, "operator.create", name="ann")
        await ask(house, "operator.password", name="ann", password=RIGHT)
        one = await house.gateway.sign_ins.with_password("ann", RIGHT, HERE)
        assert isinstance(one, Started)
    async with running(tmp_path, ONE) as house:
        who = house.gateway.sessions.signed_in(one.token, HERE)
        assert who is not None
        assert who.csrf == one.who.csrf


@trio_test(mock_clock=True)
async def test_sign_ins_are_counted_and_a_lock_is_in_the_event_log(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await ask(house, "operator.create", name="ann")
        await ask(house, "operator.password", name="ann", password=RIGHT)
        await house.gateway.sign_ins.with_password("ann", RIGHT, HERE)
        for _ in range(10):
            await house.gateway.sign_ins.with_password("ann", "not the right one", "198.51.100.9")
        shown = house.gateway.metrics.render().decode()
        for line in (
            'signalbox_sign_ins_total{outcome="started"} 1.0',
            'signalbox_sign_ins_total{outcome="refused"} 10.0',
            "signalbox_console_sessions 1.0",
            "signalbox_sign_in_locks 1.0",
        ):
            assert line in shown
        await trio.sleep(5)
        told = [row.notice for row in house.gateway.store.notices(10, subject="operator:ann")]
        assert [(one.kind, one.warning) for one in told] == [("sign_in.locked", True)]


@trio_test(mock_clock=True)
async def test_the_start_prints_a_link_until_somebody_has_a_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path, ONE) as house:
        await app._announce(house.gateway)
        said = capsys.readouterr().out
        link = next(line.strip() for line in said.splitlines() if "/console/welcome#" in line)
        assert link.startswith("http://127.0.0.1:8080/console/welcome#")
        await ask(house, "operator.create", name="robot")
        one = await house.gateway.sign_ins.with_link(link.partition("#")[2], RIGHT, HERE, name="ann")
        assert isinstance(one, Started)
        assert one.who.role == "owner"
        await app._announce(house.gateway)
        assert "welcome" not in capsys.readouterr().out
        await trio.sleep(1)


def test_the_consoles_address_is_the_public_one_where_it_is_configured(tmp_path: Path) -> None:
    config = load(write_config(tmp_path, '[console]\npublic_url = "https://sms.example.net"\n' + ONE))
    assert app.console_url(config) == "https://sms.example.net"
