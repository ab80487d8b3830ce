"""The system_ids of an account and their passwords: added, rotated, removed, on both kinds of gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.admin import AdminError
from gateway.cli.failure import FAILED, OK, USAGE
from gateway.passwords import verifies
from router.nouns import Account, Login
from smpp.pdu import Unbind
from smpp.status import Status
from store.lmdb_store import LmdbStore
from store.options import StoreOptions
from tests.gateway.conftest import Typed
from tests.gateway.house import Running, Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import bound, connected
from tests.trio_case import trio_test

TOML = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("north", 2790) + route("north")


def kept(directory: Path, name: str = "shop") -> Account:
    """The account as the stopped gateway's store has it."""
    store = LmdbStore(directory / "var" / "store", StoreOptions())
    try:
        (account,) = (one for one in store.accounts().values() if one.name == name)
    finally:
        store.close()
    return account


async def ask(house: Running, verb: str, **args: object) -> Any:
    return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


def works(account: Account, password: str) -> bool:
    (login,) = account.logins
    return any(verifies(hashed, password.encode()) for hashed in login.hashes)


def test_a_generated_password_is_printed_once_and_kept_as_a_hash(tmp_path: Path, typed: Typed) -> None:
    typed("account", "create", "shop")
    code, told = typed("account", "login", "add", "shop", "esme", "--json")
    password = json.loads(told)["password"]
    assert (code, len(password), password.isalnum()) == (OK, 8, True)
    account = kept(tmp_path)
    assert works(account, password)
    assert password not in repr(account)
    for line in (
        ("account", "show", "shop"),
        ("account", "list"),
        ("account", "login", "remove", "shop", "esme"),
    ):
        shown = typed(*line, "--json")[1]
        assert password not in shown
        assert account.logins[0].hashes[0] not in shown


def test_while_rotating_two_passwords_are_right_until_the_previous_is_dropped(
    tmp_path: Path, typed: Typed
) -> None:
    typed("account", "create", "shop", "--system-id", "esme", "--password", "first")
    assert typed("account", "login", "rotate", "shop", "esme", "--password", "second")[0] == OK
    assert [works(kept(tmp_path), word) for word in ("first", "second")] == [True, True]
    assert "esme (2 passwords)" in typed("account", "show", "shop")[1]
    assert typed("account", "login", "rotate", "shop", "esme", "--password", "third")[0] == OK
    assert [works(kept(tmp_path), word) for word in ("first", "second", "third")] == [False, True, True]
    code, told = typed("account", "login", "rotate", "shop", "esme", "--drop-previous")
    assert (code, "shown this once" in told) == (OK, False)
    assert [works(kept(tmp_path), word) for word in ("second", "third")] == [False, True]
    assert (
        typed("account", "login", "rotate", "shop", "esme", "--drop-previous", "--password", "last")[0] == OK
    )
    assert [works(kept(tmp_path), word) for word in ("third", "last")] == [False, True]
    code, told = typed("account", "login", "rotate", "shop", "esme")
    drawn = told.split("password ")[1].split()[0]
    assert [works(kept(tmp_path), word) for word in ("last", drawn)] == [True, True]


def test_a_login_that_cannot_be_is_refused_in_words(tmp_path: Path, typed: Typed) -> None:
    typed("account", "create", "shop", "--system-id", "esme", "--password", "first")
    typed("account", "create", "other")
    for line, code, word in (
        (("add", "other", "esme"), FAILED, "account 'shop' has system_id 'esme' already"),
        (("add", "shop", "esme"), FAILED, "has system_id 'esme' already"),
        (("add", "shop", "x" * 16), USAGE, "1 to 15 visible"),
        (("add", "shop", "two words"), USAGE, "1 to 15 visible"),
        (("add", "shop", "esme2", "--password", "ninechars"), USAGE, "8 printable"),
        (("add", "shop", "esme2", "--password", ""), USAGE, "8 printable"),
        (("add", "shpo", "esme2"), FAILED, "there are: other, shop"),
        (("rotate", "shop", "esme2"), FAILED, "it has: esme"),
        (("remove", "other", "esme"), FAILED, "it has: none yet"),
    ):
        exit_code, told = typed("account", "login", *line)
        assert (exit_code, word in told) == (code, True), told
    assert [login.system_id for login in kept(tmp_path).logins] == ["esme"]


@trio_test(mock_clock=True)
async def test_a_rotated_and_a_removed_login_count_at_once_on_a_running_gateway(tmp_path: Path) -> None:
    from gateway.cli.account import password_hash as hash_of
    from gateway.passwords import Passwords, inline

    async with running_with(
        tmp_path,
        TOML,
        Script(),
        logins=(Login("acme", (hash_of("secret"),)), Login("rx", (hash_of("secret"),))),
    ) as (house, _):
        house.gateway.smpp.gate.passwords = Passwords(run=inline)
        await house.bound()

        async def status(password: str) -> int:
            async with connected(house.world) as esme:
                return int((await esme.bind(password=password)).command_status)

        await ask(house, "account.login.rotate", name="acme", system_id="acme", password_hash=hash_of("new"))
        assert [await status("secret"), await status("new")] == [0, 0]
        await ask(house, "account.login.rotate", name="acme", system_id="acme", keep_previous=False)
        assert [await status("secret"), await status("new")] == [Status.ESME_RINVPASWD, 0]
        async with bound(house.world, "receiver", system_id="rx") as stays, connected(house.world) as leaves:
            await leaves.bind(password="new")
            await ask(house, "account.login.remove", name="acme", system_id="acme")
            await leaves.until(lambda: any(isinstance(pdu, Unbind) for pdu in leaves.pdus))
            assert not any(isinstance(pdu, Unbind) for pdu in stays.pdus)
        assert await status("new") == Status.ESME_RINVPASWD
        for args in ({"password_hash": "new"}, {"password_hash": ""}):
            with pytest.raises(AdminError, match="password_hash"):
                await ask(house, "account.login.rotate", name="acme", system_id="rx", **args)
