"""Customers' sessions and locks as an operator sees them and ends them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from gateway.admin import AdminError
from gateway.orders import ACCOUNT, Order
from router.nouns import Login
from smpp.pdu import CancelSm, QuerySm, Unbind
from smpp.status import Status
from tests.gateway.house import Running, Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import Esme, bound, connected
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

TOML = (
    '[smpp]\nlisten = ["127.0.0.1:2775"]\nlock_failures = 3\nlock_s = 600\n'
    + carrier("north", 2790)
    + route("north")
)


async def ask(house: Running, verb: str, **args: object) -> Any:
    return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


@asynccontextmanager
async def house(directory: Path) -> AsyncIterator[Running]:
    """Two accounts that may bind, acme and other."""
    login = (Login("acme", (hashed("secret"),)),)
    async with running_with(directory, TOML, Script(), logins=login, callback_url="") as (gateway, _):
        gateway.gateway.smpp.gate.passwords = Hashing().passwords
        await gateway.gateway.accounts.create("other", 0, logins=(Login("other", (hashed("secret"),)),))
        await gateway.bound()
        yield gateway


def left(esme: Esme) -> bool:
    return any(isinstance(pdu, Unbind) for pdu in esme.pdus)


@trio_test(mock_clock=True)
async def test_who_is_bound_is_listed_with_what_the_session_does(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        assert await ask(gateway, "binds.list") == []
        async with (
            connected(gateway.world),
            bound(gateway.world, "transmitter") as tx,
            bound(gateway.world, "receiver", version=0x50) as rx,
            bound(gateway.world, system_id="other"),
        ):
            rx.take = lambda pdu: None
            for _ in range(3):
                await tx.submit()
            first, second, third = await ask(gateway, "binds.list")
            assert [one["id"] for one in (first, second, third)] == ["1", "2", "3"]
            assert (first["account"], first["system_id"], first["bind"], first["version"]) == (
                "acme", "acme", "transmitter", "3.4",
            )  # fmt: skip
            assert (first["submits"], first["unanswered"], first["window"]) == (3, 0, 100)
            assert (first["address"], first["tls"]) == ("memory", False)
            assert second["version"] == "5.0"
            assert (third["account"], third["submits"]) == ("other", 0)
            assert second["since"].startswith("2026-")
            customers = (await ask(gateway, "ping"))["customers"]
            assert list(customers) == ["acme", "other"]
            acme = customers["acme"]
            assert (acme["binds"], acme["transmitter"], acme["receiver"]) == (2, 1, 1)
            assert first["last_active"] >= first["since"]
            assert [one["system_id"] for one in await ask(gateway, "binds.list", account="other")] == [
                "other"
            ]
            with pytest.raises(AdminError, match="there are: acme, other"):
                await ask(gateway, "binds.list", account="nobody")
        await gateway.until(lambda: not gateway.gateway.smpp.connections)
        assert await ask(gateway, "binds.list") == []


@trio_test(mock_clock=True)
async def test_what_waits_for_a_session_is_counted(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        ids = [await gateway.submit("447700900123", send_at="2026-10-30T00:00:00Z") for _ in range(5)]
        await gateway.gateway.accounts.update("acme", window=2)
        async with bound(gateway.world) as esme:
            esme.take = lambda pdu: None
            for id in ids:
                await ask(gateway, "message.cancel", id=id)
            await esme.until(lambda: len(esme.delivered) == 2)
            (one,) = await ask(gateway, "binds.list")
            assert (one["window"], one["delivering"], one["outbox"]) == (2, 2, 5)


@trio_test(mock_clock=True)
async def test_a_bind_is_dropped_by_its_id_and_no_other(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway, bound(gateway.world) as stays, bound(gateway.world) as goes:
        dropped = await ask(gateway, "binds.drop", id="2")
        assert dropped == {"id": "2", "account": "acme", "system_id": "acme"}
        await goes.until(lambda: left(goes))
        assert not left(stays)
        for wrong in ("7", "", "acme"):
            with pytest.raises(AdminError, match="there is no bind"):
                await ask(gateway, "binds.drop", id=wrong)


@trio_test(mock_clock=True)
async def test_a_lock_is_listed_and_ended_by_address_or_system_id(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:

        async def status(password: str) -> int:
            async with connected(gateway.world) as esme:
                return int((await esme.bind(password=password)).command_status)

        for who in ("acme", "memory"):
            for _ in range(3):
                await status("wrong")
            assert await status("secret") == Status.ESME_RBINDFAIL
            (lock,) = await ask(gateway, "locks.list")
            assert (lock["network"], lock["system_id"], lock["failures"]) == ("memory", "acme", 3)
            assert 500 < lock["left_s"] <= 600
            assert await ask(gateway, "locks.release", who=who) == {"who": who, "released": 1}
            assert await ask(gateway, "locks.list") == []
        assert await status("secret") == 0
        with pytest.raises(AdminError, match="nothing is locked for 'acme'"):
            await ask(gateway, "locks.release", who="acme")


@trio_test(mock_clock=True)
async def test_who_is_banned_leaves_and_may_not_bind_until_it_ends_by_itself(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:

        async def status(system_id: str = "acme") -> int:
            async with connected(gateway.world) as esme:
                return int((await esme.bind(system_id=system_id)).command_status)

        async with bound(gateway.world) as goes, bound(gateway.world, system_id="other") as stays:
            told = await gateway.gateway.verbs.table()["binds.ban"]({"system_id": "acme", "preview": True})
            assert any("1 session of it end" in one for one in told.touches)  # type: ignore[attr-defined]
            assert not left(goes)
            made = await ask(gateway, "binds.ban", system_id="acme", for_s=60)
            assert (made["system_id"], made["network"], made["dropped"]) == ("acme", "", 1)
            await goes.until(lambda: left(goes))
            assert not left(stays)
        assert await status() == Status.ESME_RBINDFAIL
        assert await status("other") == 0
        (ban,) = await ask(gateway, "locks.list")
        assert (ban["system_id"], ban["failures"], ban["banned_by"]) == ("acme", 0, "signalbox")
        await trio.sleep(62)
        assert await status() == 0
        assert await ask(gateway, "locks.list") == []
        store = gateway.gateway.store
        assert [row.entry.act for row in store.audit_log(10, subject="login:acme")] == [
            "bind.unbanned",
            "bind.banned",
        ]


@trio_test(mock_clock=True)
async def test_who_binds_while_the_ban_is_written_leaves_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as gateway, connected(gateway.world) as esme:
        committer = gateway.gateway.committer
        execute = committer.execute

        async def slow(*args: Any) -> Any:
            monkeypatch.undo()
            await esme.bind()
            return await execute(*args)

        monkeypatch.setattr(committer, "execute", slow)
        assert (await ask(gateway, "binds.ban", system_id="acme"))["dropped"] == 1
        await esme.until(lambda: left(esme))


ACTS = {
    "binds.ban": {"system_id": "acme"},
    "account.suspend": {"name": "acme"},
    "account.close": {"name": "acme"},
    "account.login.remove": {"name": "acme", "system_id": "acme"},
}


@pytest.mark.parametrize("verb", ACTS)
@trio_test(mock_clock=True)
async def test_who_may_not_stay_bound_submits_nothing_more_and_is_gone_in_two_seconds(
    tmp_path: Path, verb: str
) -> None:
    async with house(tmp_path) as gateway, bound(gateway.world) as esme:
        id = await esme.submit()
        await ask(gateway, verb, **ACTS[verb])
        began = trio.current_time()
        refusal = await esme.ask(esme.message())
        assert refusal.command_status == Status.ESME_RSUBMITFAIL
        query = QuerySm(message_id=id.encode(), source_addr_ton=5, source_addr=b"ACME")
        assert (await esme.ask(query)).command_status == Status.ESME_RQUERYFAIL
        cancel = CancelSm(message_id=id.encode(), source_addr_ton=5, source_addr=b"ACME")
        assert (await esme.ask(cancel)).command_status == Status.ESME_RCANCELFAIL
        await esme.until(lambda: esme.closed)  # it never answers the unbind
        assert trio.current_time() - began <= 2
        (tenant,) = gateway.gateway.smpp.tenants.values()
        assert tenant.answers == {0: 1, Status.ESME_RSUBMITFAIL: 1}


@trio_test(mock_clock=True)
async def test_submits_that_wait_for_their_rate_are_refused_when_their_customer_is_banned(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as gateway:
        await gateway.gateway.accounts.update("acme", tps=1, tps_mode="pace")
        async with bound(gateway.world) as esme:
            waiting = [esme.number(esme.message()) for _ in range(20)]
            for pdu in waiting:
                await esme.send(pdu)
            (connection,) = gateway.gateway.smpp.connections
            await gateway.until(lambda: connection.busy)
            await ask(gateway, "binds.ban", system_id="acme")
            last = await esme.answer_to(waiting[-1])
            assert last.command_status == Status.ESME_RSUBMITFAIL
            await esme.until(lambda: esme.closed)


@trio_test(mock_clock=True)
async def test_what_was_taken_is_answered_before_a_banned_session_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as gateway, bound(gateway.world) as esme:
        smpp, held = gateway.gateway.smpp, []
        submit = smpp.submit
        monkeypatch.setattr(smpp, "submit", lambda *args: held.append(args))
        message = esme.number(esme.message())
        await esme.send(message)
        await gateway.until(lambda: held)
        await ask(gateway, "binds.ban", system_id="acme")
        await trio.sleep(5)
        assert not esme.closed
        submit(*held[0])
        assert (await esme.answer_to(message)).command_status == 0
        await esme.until(lambda: esme.closed)


@trio_test(mock_clock=True)
async def test_a_ban_of_one_network_lets_others_bind_and_is_ended_by_hand(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await ask(gateway, "binds.ban", system_id="acme", address="192.0.2.0/24")
        async with bound(gateway.world):
            pass
        why = gateway.gateway.smpp.gate.bans
        assert why is not None
        assert "banned by signalbox" in why.why("acme", "192.0.2.7")
        assert not why.why("acme", "192.0.3.7")
        assert not why.why("other", "192.0.2.7")
        (ban,) = await ask(gateway, "locks.list")
        assert (ban["network"], ban["until"]) == ("192.0.2.0/24", "")
        with pytest.raises(AdminError, match="nobody is banned as 'other'"):
            await ask(gateway, "binds.unban", who="other")
        assert await ask(gateway, "binds.unban", who="acme from 192.0.2.0/24") == {
            "who": "acme from 192.0.2.0/24",
            "ended": 1,
        }
        assert not why.why("acme", "192.0.2.7")
        for wrong in ({"system_id": "a b"}, {"system_id": "acme", "address": "nowhere"}):
            with pytest.raises(AdminError, match="is no"):
                await ask(gateway, "binds.ban", **wrong)


@trio_test(mock_clock=True)
async def test_an_account_is_suspended_for_a_time(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        accounts, orders = gateway.gateway.accounts, gateway.gateway.orders
        shown = await ask(gateway, "account.suspend", name="acme", for_s=60)
        assert shown["suspended"]
        assert shown["suspended_by"].startswith("by signalbox until ")
        await trio.sleep(62)
        assert not accounts.by_name["acme"].suspended
        assert orders.in_force() == []
        kept = [row.entry for row in gateway.gateway.store.audit_log(10, subject="account:acme")]
        assert [one.act for one in kept][:3] == [
            "account.resumed", "account.suspended_until", "account.suspended",
        ]  # fmt: skip
        assert kept[0].reason == "the time that was given is over"
        (event,) = await ask(gateway, "events.list")
        assert (event["kind"], event["subject"]) == ("order.ended", "account:acme")
        await ask(gateway, "account.suspend", name="acme", for_s=60)
        await ask(gateway, "account.set", name="acme", suspended=False)
        assert orders.in_force() == [], "resumed by hand, the other way"
        await ask(gateway, "account.suspend", name="acme", for_s=60)
        await ask(gateway, "account.suspend", name="acme")
        await trio.sleep(70)
        assert accounts.by_name["acme"].suspended, "the last word has no end"
        await ask(gateway, "account.resume", name="acme")
        assert orders.in_force() == []


@trio_test(mock_clock=True)
async def test_an_account_that_is_closed_while_its_suspension_ends_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as gateway:
        accounts, orders = gateway.gateway.accounts, gateway.gateway.orders
        await ask(gateway, "account.suspend", name="acme", for_s=60)
        monkeypatch.setattr(orders, "_wall_ms", lambda: gateway.world.wall_ms() + 61_000)
        turn, order = accounts._one_at_a_time, orders._one_at_a_time
        async with trio.open_nursery() as nursery, turn:
            nursery.start_soon(partial(ask, gateway, "account.close", name="acme"))
            await gateway.until(lambda: turn.statistics().tasks_waiting == 1)
            nursery.start_soon(orders.end_old)
            await gateway.until(lambda: order.statistics().tasks_waiting == 1)
        assert accounts.by_name["acme"].closed
        assert orders.in_force() == []


@trio_test(mock_clock=True)
async def test_nobody_is_told_that_a_closed_account_may_bind_again(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await ask(gateway, "account.suspend", name="acme", for_s=60)
        await ask(gateway, "account.close", name="acme")
        assert gateway.gateway.orders.in_force() == []
        await trio.sleep(62)
        assert await ask(gateway, "events.list") == []


@trio_test(mock_clock=True)
async def test_an_order_that_cannot_end_is_said_once_and_keeps_no_other(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        orders = gateway.gateway.orders

        async def broken(order: Order, put: object) -> bool:
            raise RuntimeError("a bug")

        ends, orders.ending[ACCOUNT] = orders.ending[ACCOUNT], broken
        await ask(gateway, "account.suspend", name="acme", for_s=60)
        await ask(gateway, "binds.ban", system_id="other", for_s=60)
        with structlog.testing.capture_logs() as said:
            await trio.sleep(65)
        assert [one.subject for one in orders.in_force()] == ["account:acme"]
        (told,) = [one for one in said if "does not end" in one["event"]]
        assert (told["subject"], told["log_level"]) == ("account:acme", "error")
        orders.ending[ACCOUNT] = ends
        await trio.sleep(2)
        assert orders.in_force() == [], "it was tried again"
