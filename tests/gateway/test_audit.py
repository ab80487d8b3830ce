"""Who did what, as the audit trail tells it: running, through the admin socket, and stopped."""

from __future__ import annotations

import json
import os
import pwd
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.admin import AdminError
from gateway.audit import Actor, acting
from gateway.cli import root
from gateway.cli.failure import FAILED, OK, USAGE
from router.nouns import Login
from tests.gateway.conftest import Typed
from tests.gateway.house import (
    RealWorld,
    Running,
    Script,
    carrier,
    free_ports,
    route,
    running,
    running_with,
    simulator,
)
from tests.gateway.smpp_server.esme import bound, connected
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim")
SMPP = '[smpp]\nlisten = ["127.0.0.1:2775"]\nlock_failures = 2\n' + carrier("north", 2790) + route("north")
HASH = "$argon2id$v=19$m=4096,t=2,p=1$" + "A" * 22 + "$" + "B" * 43
ME = pwd.getpwuid(os.getuid()).pw_name


async def ask(house: Running, verb: str, **args: object) -> Any:
    """As ann asks it on the command line."""
    with acting(Actor("ann", "cli", "ticket 7")):
        return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


@trio_test(mock_clock=True)
async def test_every_change_of_an_account_is_told_with_what_changed_and_without_secrets(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, ONE) as house:
        told = await ask(house, "audit.list")
        assert [(one["act"], one["who"], one["via"]) for one in told] == [
            ("account.created", "signalbox", "gateway")
        ]
        made = await ask(house, "account.create", name="shop", tps=5, outbind_password="geheim")
        changes: list[tuple[str, dict[str, object]]] = [
            ("account.set", {"tps": 10, "window": 7}),
            ("account.set", {"tps": 10}),  # no change
            ("account.set", {"suspended": True}),
            ("account.set", {"suspended": False}),
            ("account.set", {"outbind_password": "hidden"}),
            ("account.rotate", {}),
            ("account.login.add", {"system_id": "esme", "password_hash": HASH}),
            ("account.login.rotate", {"system_id": "esme", "password_hash": HASH.replace("B", "C")}),
            ("account.login.remove", {"system_id": "esme"}),
            ("account.close", {}),
        ]
        keys = [made["api_key"], made["callback_secret"]]
        for verb, args in changes:
            answer = await ask(house, verb, name="shop", **args)
            keys += [answer["api_key"]] if "api_key" in answer else []
        told = await ask(house, "audit.list", subject="shop")
        assert [(one["act"], one["subject"]) for one in reversed(told)] == [
            ("account.created", "account:shop"),
            ("account.changed", "account:shop"),
            ("account.suspended", "account:shop"),
            ("account.resumed", "account:shop"),
            ("account.changed", "account:shop"),
            ("account.key_rotated", "account:shop"),
            ("login.added", "login:shop:esme"),
            ("login.rotated", "login:shop:esme"),
            ("login.removed", "login:shop:esme"),
            ("account.closed", "account:shop"),
        ]
        by_act = {one["act"]: one for one in told if one["number"] != told[-5]["number"]}
        assert by_act["account.changed"]["before"] == {"tps": 5, "window": 100}
        assert by_act["account.changed"]["after"] == {"tps": 10, "window": 7}
        assert told[-5]["after"] == {"outbind_password": "(not shown)"}
        assert by_act["login.rotated"]["after"] == {"passwords": {"esme": 2}}
        assert {(one["who"], one["via"], one["reason"]) for one in told} == {("ann", "cli", "ticket 7")}
        everything = json.dumps(told)
        for secret in (
            *keys,
            HASH,
            "geheim",
            "hidden",
            "argon2id",
            *house.gateway.accounts.named("shop").key_hashes,
        ):
            assert secret not in everything
        assert [one["act"] for one in await ask(house, "audit.list", subject="esme")] == [
            "login.removed",
            "login.rotated",
            "login.added",
        ]
        assert (await ask(house, "audit.verify"))["findings"] == []


@trio_test(mock_clock=True)
async def test_the_trail_is_walked_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, ONE) as house:
        walks, go, walk = threading.Event(), threading.Event(), house.gateway.store.audit_verify

        def slow(noted: Any) -> Any:
            walks.set()
            go.wait(60)
            return walk(noted)

        monkeypatch.setattr(house.gateway.store, "audit_verify", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, house, "audit.verify")
            await trio.to_thread.run_sync(walks.wait, 60)
            try:
                with pytest.raises(AdminError, match="verified already"), trio.fail_after(1):
                    await ask(house, "audit.verify")
            finally:
                go.set()
        assert (await ask(house, "audit.verify"))["findings"] == []


@trio_test(mock_clock=True)
async def test_a_change_that_is_refused_is_not_told(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        for args in ({"window": 0}, {"numbers": ["x"]}, {}):
            with pytest.raises(Exception):  # noqa: B017, PT011
                await ask(house, "account.set", name="acme" if args else "nobody", **args)
        assert len(await ask(house, "audit.list")) == 1


@trio_test(mock_clock=True)
async def test_dropped_binds_and_released_locks_are_told(tmp_path: Path) -> None:
    login = (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, SMPP, Script(), logins=login) as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        async with bound(house.world):
            await ask(house, "binds.drop", id="1")
        for _ in range(2):
            async with connected(house.world) as esme:
                await esme.bind("stranger", "wrong")
        await ask(house, "locks.release", who="stranger")
        released, dropped, _ = await ask(house, "audit.list")
        assert (dropped["act"], dropped["subject"]) == ("bind.dropped", "bind:acme:acme")
        assert (released["act"], released["subject"], released["before"]) == (
            "lock.released",
            "lock:stranger",
            {"locks": 1},
        )


@trio_test(mock_clock=True)
async def test_released_cancelled_and_replayed_is_told_with_how_many(tmp_path: Path) -> None:
    retry = {"max_attempts": 1}
    toml = carrier("sim", 2776, retry=retry) + simulator("sim", 2776) + route("sim")
    toml += "[callbacks]\nretry_s = []\n"
    async with running(tmp_path, toml, callback_url="http://127.0.0.1:9100/hook") as house:
        waiting = await house.submit("447700900123", send_at="2026-10-30T00:00:00Z")
        await ask(house, "message.cancel", id=waiting)
        await house.when(await house.submit("447700909907"), "unknown")
        await house.until(lambda: house.gateway.store.given_up_count() == 1)
        await ask(house, "callbacks.replay", account="acme")
        await ask(house, "store.release", reason="unknown", carrier="sim")
        await ask(house, "store.release", reason="restored")
        told = {one["act"]: one for one in await ask(house, "audit.list")}
        assert told["message.cancelled"]["subject"] == f"message:{waiting}"
        assert (told["callbacks.replayed"]["subject"], told["callbacks.replayed"]["after"]) == (
            "callbacks:acme",
            {"events": 1, "complete": True},
        )
        assert (told["held.released"]["subject"], told["held.released"]["after"]) == (
            "held:unknown:sim",
            {"released": 1, "complete": True},
        )


def test_on_a_stopped_gateway_the_trail_is_written_listed_and_verified(typed: Typed) -> None:
    typed("account", "create", "shop")
    code, told = typed("account", "set", "shop", "--tps", "5", "--reason", "asked\x1b[2J for it")
    assert code == OK, told
    code, told = typed("audit", "list", "--subject", "shop")
    assert code == OK
    assert f"{ME} (cli)" in told
    assert "tps: 0.0 → 5.0 (asked\\u001b[2J for it)" in told
    (last, first) = json.loads(typed("audit", "list", "--json")[1])
    assert (first["act"], last["reason"]) == ("account.created", "asked\x1b[2J for it")
    code, told = typed("audit", "verify")
    assert (code, "is whole: 2 entries" in told) == (OK, True)
    noted = json.loads(typed("audit", "verify", "--json")[1])["last"]
    assert noted in told
    typed("account", "suspend", "shop", "--reason", "ticket 7")
    assert typed("audit", "verify", "--noted", noted)[0] == OK
    code, told = typed("audit", "verify", "--noted", "2:" + "0" * 64)
    assert (code, "audit 2: its hash was 00" in told) == (FAILED, True)
    assert typed("audit", "verify", "--noted", "rubbish")[0] == USAGE
    assert typed("account", "suspend", "shop", "--reason", "x" * 501)[0] == USAGE
    assert typed("store", "release", "--because", "all is well")[0] == OK


@trio_test
async def test_the_socket_tells_whose_process_asked_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smsc, http, customer = free_ports(3)
    toml = carrier("sim", smsc) + route("sim")
    async with running(tmp_path, toml, RealWorld(), http_port=http, customer_port=customer):

        async def typed(*line: str) -> tuple[int, str]:
            capsys.readouterr()
            whole = [*line, "--data-dir", str(tmp_path / "var")]
            code = await trio.to_thread.run_sync(root.run, whole)
            printed = capsys.readouterr()
            return code, printed.out + printed.err

        assert (await typed("account", "set", "acme", "--window", "9", "--reason", "ticket 8"))[0] == OK
        (told, _) = json.loads((await typed("audit", "list", "--json"))[1])
        assert (told["who"], told["via"], told["reason"]) == (ME, "cli", "ticket 8")
        assert (await typed("account", "suspend", "acme", "--reason", "x" * 501))[0] == FAILED
        code, printed = await typed("audit", "verify")
        assert (code, "2 entries" in printed) == (OK, True)
