"""Trouble outside as events: one for its beginning, one for its end, and no flood of them.

Deliberately not here: the circuit breaker of carriers (test_health.py), problems (test_troubles.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from router.nouns import Login
from smpp.pdu import Pdu, SubmitSmResp
from smpp.status import Status
from tests.gateway.house import Running, Script, carrier, route, running, running_with
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.gateway.smpp_server.test_server import delivering
from tests.gateway.test_terms import many
from tests.trio_case import trio_test

TOML = carrier("north", 2790) + route("north")
SMPP = '[smpp]\nlisten = ["127.0.0.1:2775"]\nenquire_link_s = 5\nresponse_timeout_s = 5\n' + TOML


def events(house: Running) -> list[tuple[str, str, str]]:
    rows = reversed(house.gateway.store.notices())
    return [(row.notice.kind, row.notice.subject, row.notice.text) for row in rows]


def kinds(house: Running) -> list[str]:
    return [kind for kind, _, _ in events(house)]


@trio_test(mock_clock=True)
async def test_a_carrier_that_loses_its_binds_and_gets_one_again_is_two_events(tmp_path: Path) -> None:
    toml = carrier("north", 2790) + route("north")
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await house.bound()
        await trio.sleep(60)
        assert kinds(house) == [], "a bind at the start is no news"
        listener = house.gateway.world.ports.pop(2790)  # type: ignore[attr-defined]
        for stream in script.streams:
            await stream.aclose()
        await trio.sleep(120)  # and many tries
        assert kinds(house) == ["carrier.no_bind"]
        _, subject, text = events(house)[0]
        assert subject == "carrier:north"
        assert text.startswith("no bind: ")
        house.gateway.world.ports[2790] = listener  # type: ignore[attr-defined]
        await house.until(lambda: len(kinds(house)) == 2, 120)
        assert kinds(house) == ["carrier.no_bind", "carrier.bound"]


@trio_test(mock_clock=True)
async def test_a_carrier_that_never_binds_is_told_after_a_while(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        await trio.sleep(20)
        assert kinds(house) == []
        await trio.sleep(100)
        assert kinds(house) == ["carrier.no_bind"]


@trio_test(mock_clock=True)
async def test_a_link_that_flaps_is_no_flood_and_the_last_event_is_true(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        await house.bound()
        for _ in range(60):
            for stream in script.streams:
                await stream.aclose()
            await trio.sleep(1.3)
        await house.bound()
        assert len(kinds(house)) <= 5
        await trio.sleep(130)
        assert kinds(house)[-1:] in ([], ["carrier.bound"])


@trio_test(mock_clock=True)
async def test_a_carrier_that_throttles_is_told_once_and_when_it_is_over(tmp_path: Path) -> None:
    def throttling(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if pdu.command != "submit_sm" or len(script.submits) % 3 == 0:
            return []
        return [SubmitSmResp(command_status=Status.ESME_RTHROTTLED, sequence_number=pdu.sequence_number)]

    toml = carrier("north", 2790, tps=20, health={"act": "tell"}) + route("north")
    async with running_with(tmp_path, toml, Script(throttling)) as (house, script):
        await house.bound()
        await many(house, 200)
        await trio.sleep(50)
        assert kinds(house).count("carrier.slowed") == 1
        script.handler = None
        for _ in range(4):  # it is tried faster only while there is something to send
            await many(house, 500)
        await house.until(lambda: "carrier.full_rate" in kinds(house), 900)
        assert kinds(house).count("carrier.slowed") == 1


@trio_test(mock_clock=True)
async def test_a_callback_endpoint_that_fails_and_is_well_again_is_two_events(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script(delivering)) as (house, _):
        await house.bound()
        house.customer.answer = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
        for number in range(20):
            await house.final(await house.submit(f"4477009001{number:02}"))
        await house.until(lambda: kinds(house), 300)
        await trio.sleep(100)
        ((kind, subject, text),) = events(house)
        assert (kind, subject) == ("callbacks.failing", "account:acme")
        assert text == "http://127.0.0.1:9000 is tried only now and then: HTTP 500"
        house.customer.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        await house.until(lambda: kinds(house) == ["callbacks.failing", "callbacks.well"], 600)


@trio_test(mock_clock=True)
async def test_a_session_that_timed_out_is_an_event_and_one_that_unbinds_is_none(tmp_path: Path) -> None:
    login = (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, SMPP, Script(delivering), logins=login, callback_url="") as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        acme = house.gateway.accounts.by_name["acme"]
        async with bound(house.world) as esme:
            await esme.submit()
        await trio.sleep(5)
        assert kinds(house) == []
        for number in range(3):  # as a connection tells it
            house.gateway.smpp.lost(acme, f"session of acme from 127.0.0.1: reset {number}")
            await trio.sleep(3)
        assert kinds(house) == ["session.lost"]
        await trio.sleep(70)
        assert [text for _, _, text in events(house)] == [
            "session of acme from 127.0.0.1: reset 0",
            "2 sessions, the latest: session of acme from 127.0.0.1: reset 2",
        ]


@trio_test(mock_clock=True)
async def test_a_session_whose_customer_is_silent_is_told_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(pdu: Pdu) -> None:
        await trio.lowlevel.checkpoint()

    login = (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, SMPP, Script(delivering), logins=login, callback_url="") as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        async with bound(house.world) as esme:
            monkeypatch.setattr(esme, "_answer", silent)
            await house.until(lambda: kinds(house), 300)
        ((kind, subject, text),) = events(house)
        assert (kind, subject) == ("session.lost", "account:acme")
        assert "session of acme from " in text
