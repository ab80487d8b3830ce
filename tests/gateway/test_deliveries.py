"""What waits for customers' own sessions, as an operator sees it, tells it again and moves it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.admin import AdminError
from gateway.cli.deliveries import age_text
from gateway.cli.failure import FAILED, OK, USAGE
from router.nouns import Login
from tests.gateway.conftest import Typed
from tests.gateway.house import Running, Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import bound, connected
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.gateway.smpp_server.test_server import delivering, text_of
from tests.trio_case import trio_test

TOML = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("north", 2790) + route("north")
URL = "http://127.0.0.1:9000/hook"


@asynccontextmanager
async def house(directory: Path, toml: str = TOML, **account: Any) -> AsyncIterator[Running]:
    """An account "acme" that may bind; its messages are delivered at once."""
    settings = {"logins": (Login("acme", (hashed("secret"),)),), "callback_url": "", **account}
    async with running_with(directory, toml, Script(delivering), **settings) as (gateway, _):
        gateway.gateway.smpp.gate.passwords = Hashing().passwords
        await gateway.bound()
        yield gateway


async def ask(house: Running, verb: str, **args: object) -> Any:
    return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


async def finish(gateway: Running, count: int) -> list[str]:
    """Messages that were submitted over SMPP and are delivered; their receipts wait."""
    async with bound(gateway.world, "transmitter") as esme:
        ids = [await esme.submit() for _ in range(count)]
    for id in ids:
        await gateway.final(id)
    return ids


async def fetch(gateway: Running, count: int) -> list[str]:
    """The ids of the receipts that a customer gets who binds now: so many, and no more."""
    async with bound(gateway.world, "receiver") as esme:
        await esme.until(lambda: len(esme.delivered) >= count)
        await trio.sleep(5)
        return [text_of(pdu).split()[0][3:] for pdu in esme.delivered]


# list


@trio_test(mock_clock=True)
async def test_the_backlog_is_told_by_account_and_age(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        assert await ask(gateway, "deliveries.list") == []
        await finish(gateway, 2)
        await trio.sleep(600)
        await finish(gateway, 3)
        (one,) = await ask(gateway, "deliveries.list")
        assert (one["account"], one["backlog"], one["receivers"]) == ("acme", 5, 0)
        assert one["ages"] == {"minute": 3, "hour": 2, "day": 0, "older": 0}
        assert (one["channel"], 600 <= one["oldest_age_s"] < 660) == ("smpp", True)
        assert await ask(gateway, "deliveries.list", account="acme") == [one]
        await gateway.gateway.accounts.create("other", 0)
        assert await ask(gateway, "deliveries.list", account="other") == []
        await fetch(gateway, 5)
        assert await ask(gateway, "deliveries.list") == []
        (one,) = await ask(gateway, "deliveries.list", all=True)
        assert (one["backlog"], one["ages"]["hour"], one["oldest_at"]) == (0, 0, "")
        assert one["oldest_age_s"] is None


@trio_test(mock_clock=True)
async def test_each_channel_of_an_account_has_its_count_and_the_age_of_its_oldest_event(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, receipts_via="smpp") as gateway:
        gateway.customer.answer = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
        await finish(gateway, 2)
        await trio.sleep(7200)
        for number in (1, 2):  # of one account and two servers
            url = f"http://127.0.0.1:9000/{number}" if number == 1 else "http://localhost:9000/2"
            await gateway.gateway.accounts.update("acme", callback_url=url, receipts_via="http")
            await finish(gateway, number)
            await trio.sleep(30)
        http, smpp = await ask(gateway, "deliveries.list")
        assert [(one["channel"], one["backlog"], one["receivers"]) for one in (http, smpp)] == [
            ("http", 3, 0),
            ("smpp", 2, 0),
        ]
        assert 60 <= http["oldest_age_s"] < 120
        assert 7200 <= smpp["oldest_age_s"] < 7300
        assert (http["ages"]["hour"] + http["ages"]["minute"], smpp["ages"]["day"]) == (3, 2)


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(None, ""), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (12_000, "3 h 20 min"),
     (190_800, "2 d 5 h")],
)  # fmt: skip
def test_an_age_is_told_in_words(age_s: int | None, text: str) -> None:
    assert age_text(age_s) == text


# replay


@trio_test(mock_clock=True)
async def test_receipts_of_a_time_range_are_told_again_from_queue_and_archive(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        early = await finish(gateway, 3)
        await trio.sleep(3600)
        assert gateway.gateway.store.archive.find(int(early[0]))
        late = await finish(gateway, 2)
        assert sorted(await fetch(gateway, 5)) == sorted(early + late)
        between = "2026-09-21T14:30:00Z"  # the first were accepted at 14:13
        done = await ask(gateway, "deliveries.replay", account="acme", since="2026-01-01", until=between)
        assert done == {"account": "acme", "messages": 3, "receipts": 3}
        assert sorted(await fetch(gateway, 3)) == sorted(early)
        done = await ask(gateway, "deliveries.replay", account="acme", since=between)
        assert done["receipts"] == 2
        assert sorted(await fetch(gateway, 2)) == sorted(late)


@trio_test(mock_clock=True)
async def test_receipts_are_told_again_by_id_and_by_state_as_they_were(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway, bound(gateway.world) as esme:
        id = await esme.submit()
        await esme.submit(registered_delivery=0)
        silent = await esme.submit(schedule_delivery_time=b"000001000000000R")
        await ask(gateway, "message.cancel", id=silent)
        await esme.until(lambda: len(esme.delivered) == 2)
        await trio.sleep(100)
        assert (await ask(gateway, "deliveries.replay", account="acme", id=id))["receipts"] == 1
        await esme.until(lambda: len(esme.delivered) == 3)
        original = next(pdu for pdu in esme.delivered if id in text_of(pdu))
        assert text_of(esme.delivered[-1]) == text_of(original)
        done = await ask(gateway, "deliveries.replay", account="acme", state="delivered")
        assert (done["messages"], done["receipts"]) == (1, 1)
        done = await ask(gateway, "deliveries.replay", account="acme", state="DELETED")
        await esme.until(lambda: len(esme.delivered) == 5)
        assert "stat:DELETED" in text_of(esme.delivered[-1])
        done = await ask(gateway, "deliveries.replay", account="acme", since="2026-01-01")
        assert (done["messages"], done["receipts"]) == (3, 2), "only where one was asked for"


@trio_test(mock_clock=True)
async def test_a_replayed_receipt_has_the_whole_time_to_be_fetched(tmp_path: Path) -> None:
    async with house(tmp_path, deliver_expiry_s=60) as gateway:
        ids = await finish(gateway, 1)
        await gateway.until(lambda: gateway.gateway.store.given_up_count() == 1)
        await trio.sleep(3600)
        assert (await ask(gateway, "deliveries.replay", account="acme", id=ids[0]))["receipts"] == 1
        assert await fetch(gateway, 1) == ids


@trio_test(mock_clock=True)
async def test_a_replay_goes_in_portions_and_one_that_was_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.admin_deliveries._PORTION", 2)
    async with house(tmp_path) as gateway:
        ids = await finish(gateway, 7)
        await fetch(gateway, 7)
        store = gateway.gateway.store
        pages: list[Any] = []
        real = store.finished_page

        def cut_off(*args: Any) -> Any:
            if len(pages) == 2:
                raise trio.BusyResourceError("cut off")
            pages.append(real(*args))
            return pages[-1]

        monkeypatch.setattr(store, "finished_page", cut_off)
        with pytest.raises(trio.BusyResourceError):
            await ask(gateway, "deliveries.replay", account="acme", state="DELIVERED")
        monkeypatch.setattr(store, "finished_page", real)
        (one,) = await ask(gateway, "deliveries.list")
        assert one["replay"] == {"messages": 4, "receipts": 4}
        with pytest.raises(AdminError, match="cut off after 4 messages"):
            await ask(gateway, "deliveries.replay", account="acme", state="DELIVERED")
        done = await ask(gateway, "deliveries.replay", account="acme", resume=True)
        assert (done["messages"], done["receipts"]) == (7, 7)
        assert sorted(await fetch(gateway, 7)) == sorted(ids)
        with pytest.raises(AdminError, match="no replay of 'acme' was cut off"):
            await ask(gateway, "deliveries.replay", account="acme", resume=True)
        told = [one for one in await ask(gateway, "audit.list") if one["act"] == "deliveries.replayed"]
        assert [one["after"] for one in reversed(told)] == [
            {"events": 2, "complete": False},
            {"events": 7, "complete": True},
        ]


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({}, "say what to replay: --from TIME and --to TIME, --id ID, or --state STATE"),
        ({"since": "yesterday"}, "no time"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "before the beginning"),
        ({"state": "ENROUTE"}, "no final state"),
        ({"id": "x"}, "no id"),
        ({"id": "7", "state": "DELIVERED"}, "needs no range"),
        ({"id": "7"}, "no finished message"),
        ({"resume": True}, "was cut off"),
    ],
)
def test_a_replay_that_cannot_be_meant_is_refused(typed: Typed, args: dict[str, Any], word: str) -> None:
    typed("account", "create", "acme")
    flags = {"since": "--from", "until": "--to"}
    line = [
        part
        for name, value in args.items()
        for part in (flags.get(name, f"--{name}"), value)
        if part is not True
    ]
    code, told = typed("deliveries", "replay", "--account", "acme", *line, "--reason", "ticket 7")
    assert (code in (USAGE, FAILED), word in told) == (True, True), told


# move


@trio_test(mock_clock=True)
async def test_a_backlog_of_sessions_is_moved_to_http(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        ids = await finish(gateway, 6)
        with pytest.raises(AdminError, match="has no callback URL"):
            await ask(gateway, "deliveries.move", account="acme", to="http")
        await gateway.gateway.accounts.update("acme", callback_url=URL)
        assert await ask(gateway, "deliveries.move", account="acme", to="http") == {
            "account": "acme",
            "to": "http",
            "moved": 6,
        }
        await gateway.until(lambda: len(gateway.customer.events) == 6)
        assert sorted(event["data"]["message_id"] for event in gateway.customer.events) == sorted(ids)
        assert await fetch(gateway, 0) == []
        assert (await ask(gateway, "deliveries.move", account="acme", to="http"))["moved"] == 0


@trio_test(mock_clock=True)
async def test_callbacks_that_nobody_takes_are_moved_to_sessions(tmp_path: Path) -> None:
    async with house(tmp_path, callback_url="http://127.0.0.1:9100/hook", receipts_via="http") as gateway:
        ids = await finish(gateway, 4)
        await gateway.until(lambda: (gateway.gateway.store.next_due_ms() or 0) > 0)
        await trio.sleep(3)
        assert (await ask(gateway, "deliveries.move", account="acme", to="smpp"))["moved"] == 4
        assert sorted(await fetch(gateway, 4)) == sorted(ids)
        assert not gateway.gateway.store.outbox_backlog()


@trio_test(mock_clock=True)
async def test_what_is_under_way_while_the_rest_is_moved_is_told_once(tmp_path: Path) -> None:
    async with house(tmp_path, window=2) as gateway:
        ids = await finish(gateway, 10)
        await gateway.gateway.accounts.update("acme", callback_url=URL, receipts_via="smpp")
        async with connected(gateway.world) as esme:
            esme.take = lambda pdu: None
            await esme.bind(kind="receiver")
            await esme.until(lambda: len(esme.delivered) == 2)
            assert (await ask(gateway, "deliveries.move", account="acme", to="http"))["moved"] == 8
            await gateway.until(lambda: len(gateway.customer.events) == 8)
            esme.take = lambda pdu: 0
            for pdu in esme.delivered[:2]:
                await esme._answer(pdu)
            later = await finish(gateway, 1)
            await esme.until(lambda: len(esme.delivered) == 3)
            over_smpp = [text_of(pdu).split()[0][3:] for pdu in esme.delivered]
        over_http = [event["data"]["message_id"] for event in gateway.customer.events]
        assert sorted(over_smpp + over_http) == sorted(ids + later)
        await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())


def test_on_a_stopped_gateway_backlogs_are_listed_told_again_and_moved(tmp_path: Path, typed: Typed) -> None:
    async def life() -> None:
        async with house(tmp_path) as gateway:
            await finish(gateway, 2)

    trio.run(life, clock=trio.testing.MockClock(autojump_threshold=0))
    code, told = typed("deliveries", "list")
    assert (code, "acme" in told, "< 1 MIN" in told, "OLDEST" in told) == (OK, True, True, True)
    code, told = typed(
        "deliveries", "replay", "--account", "acme", "--state", "DELIVERED", "--reason", "ticket 7"
    )
    assert (code, told) == (OK, "2 receipts of 2 finished messages queued.\n")
    assert json.loads(typed("deliveries", "list", "--json")[1])[0]["backlog"] == 4
    typed("account", "set", "acme", "--callback-url", URL)
    code, told = typed("deliveries", "move", "--account", "acme", "--to", "http", "--reason", "they are away")
    assert (code, told) == (OK, "4 events moved to HTTP.\n")
    assert [
        (one["channel"], one["backlog"]) for one in json.loads(typed("deliveries", "list", "--json")[1])
    ] == [("http", 4)]
    assert typed("store", "check") == (OK, "The store is sound.\n")
    moved = json.loads(typed("audit", "list", "--limit", "1", "--json")[1])[0]
    assert (moved["act"], moved["reason"], moved["after"]["events"]) == (
        "deliveries.moved",
        "they are away",
        4,
    )
