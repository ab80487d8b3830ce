"""What is wrong, as an operator is told: the five that matter most are on top, in plain words, with a code.

Whole gateways on MockClock. The same five on a real process, with a real Prometheus: tests/ops.

Deliberately not here: what the watchdog finds (test_watchdog.py), the shape over HTTP (test_overview.py).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from gateway.audit import Actor, acting
from gateway.troubles import CODES, Trouble, alert_name
from router.nouns import Login
from smpp.pdu import Pdu, SubmitSmResp
from smpp.status import Status
from tests.gateway.house import Running, Script, carrier, route, running, running_with
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.gateway.smpp_server.test_server import delivering
from tests.trio_case import trio_test

TOML = carrier("north", 2790) + route("north")
SMPP = '[smpp]\nlisten = ["127.0.0.1:2775"]\nresponse_timeout_s = 300\n' + TOML


def top(house: Running, *, names: bool = True) -> Trouble:
    return house.gateway.troubles.listed(names=names)[0]


async def when(house: Running, code: str) -> Trouble:
    """The top trouble once it is this one."""
    found: list[Trouble] = []

    def is_it() -> bool:
        found[:] = house.gateway.troubles.listed()[:1]
        return bool(found) and found[0].code == code and bool(found[0].since)

    await house.until(is_it, 30)
    return found[0]


async def ask(house: Running, verb: str, **args: object) -> Any:
    return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


def throttling(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
    if pdu.command != "submit_sm":
        return []
    return [SubmitSmResp(command_status=Status.ESME_RTHROTTLED, sequence_number=pdu.sequence_number)]


async def lane_of(house: Running) -> dict[str, Any]:
    facts: Any = house.gateway.facts()
    return dict(facts["lanes"]["north"])


@trio_test(mock_clock=True)
async def test_a_carrier_that_throttles_is_the_top_problem_and_its_lanes_reason(tmp_path: Path) -> None:
    toml = carrier("north", 2790, tps=100) + route("north")
    async with running_with(tmp_path, toml, Script(throttling)) as (house, script):
        await house.bound()
        for number in range(12):
            await house.submit(f"4477009001{number:02}")
        one = await when(house, "carrier-throttled")
        assert (one.severity, one.subject) == ("warning", "carrier:north")
        assert "throttles: 100% of its last" in one.what
        assert "answers are ESME_RTHROTTLED" in one.what
        assert one.messages >= 10
        assert "carrier north: throttles: 100% of" in (await lane_of(house))["line"]
        assert one.sentence.startswith("carrier north: throttles")
        script.handler = None
        await house.until(lambda: not house.gateway.troubles.listed(), 900)


@trio_test(mock_clock=True)
async def test_a_dead_carrier_is_the_top_problem_with_since_when_and_why(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        for number in range(3):
            await house.submit(f"44770090010{number}")
        await trio.sleep(12)
        one = await when(house, "carrier-no-bind")
        assert one.severity == "critical"
        assert one.what.startswith("no bind since 1")
        assert one.what.endswith(
            "s: cannot connect to 127.0.0.1:2790: nobody listens on 2790; 3 messages wait"
        )
        codes = [one.code for one in house.gateway.troubles.listed()]
        assert codes == ["carrier-no-bind", "not-ready", "lane-stands"], "the cause before what follows"
        line = (await lane_of(house))["line"]
        assert line.startswith("carrier north: no bind since 1")
        assert "nobody listens on 2790" in line


@trio_test(mock_clock=True)
async def test_a_customer_that_does_not_read_is_the_top_problem(tmp_path: Path) -> None:
    login = (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, SMPP, Script(delivering), logins=login, callback_url="") as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        async with bound(house.world) as esme:
            esme.take = lambda pdu: None  # it takes what comes, and says nothing
            ids = [await esme.submit() for _ in range(25)]
            for id in ids:
                await house.final(id)
            one = await when(house, "account-not-reading")
            assert one.subject == "account:acme"
            assert one.what.startswith("does not read: 25 events wait, oldest ")
            assert (one.messages, one.accounts) == (25, 1)
            hidden = top(house, names=False)
            assert (hidden.subject, hidden.code, hidden.since) == ("account:", one.code, one.since)
            (row,) = await ask(house, "deliveries.list")
            assert row["reason"].startswith("bound, and does not read: no answer for ")


@trio_test(mock_clock=True)
async def test_a_customer_that_answers_and_takes_nothing_now_is_one_that_reads(tmp_path: Path) -> None:
    login = (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, SMPP, Script(delivering), logins=login, callback_url="") as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        async with bound(house.world) as esme:
            esme.take = lambda pdu: Status.ESME_RX_T_APPN
            await house.final(await esme.submit())
            for _ in range(40):
                await trio.sleep(1)
                assert house.gateway.troubles.listed() == []


@trio_test(mock_clock=True)
async def test_a_customer_whose_answers_time_out_goes_on_not_reading(tmp_path: Path) -> None:
    login = (Login("acme", (hashed("secret"),)),)
    toml = SMPP.replace("response_timeout_s = 300", "response_timeout_s = 3")
    async with running_with(tmp_path, toml, Script(delivering), logins=login, callback_url="") as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        async with bound(house.world) as esme:
            esme.take = lambda pdu: None
            await house.final(await esme.submit())
            since = (await when(house, "account-not-reading")).since
            for _ in range(20):
                await trio.sleep(1)
                assert (top(house).code, top(house).since) == ("account-not-reading", since)


@trio_test(mock_clock=True)
async def test_events_that_wait_for_an_account_that_is_not_bound_are_told_after_a_minute(
    tmp_path: Path,
) -> None:
    login = (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, SMPP, Script(delivering), logins=login, callback_url="") as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        async with bound(house.world, "transmitter") as esme:
            await house.final(await esme.submit())
        assert house.gateway.troubles.listed() == []
        await trio.sleep(65)
        one = top(house)
        assert (one.code, one.subject) == ("account-away", "account:acme")
        assert one.what.startswith("is not bound: 1 event wait")


@trio_test(mock_clock=True)
async def test_an_account_that_an_operator_keeps_out_is_not_told_to_bind(tmp_path: Path) -> None:
    login = (Login("acme", (hashed("secret"),)), Login("acme2", (hashed("secret"),)))
    async with running_with(tmp_path, SMPP, Script(delivering), logins=login, callback_url="") as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        verbs = house.gateway.verbs.table()
        await house.bound()
        async with bound(house.world, "transmitter") as esme:
            await house.final(await esme.submit())
        with acting(Actor("ann", "cli", "a flood")):
            await verbs["binds.ban"]({"system_id": "acme", "for_s": 86_400})
        await trio.sleep(65)
        one = top(house)
        assert one.code == "account-away"
        assert "; acme is banned by ann until 2026-" in one.what
        assert one.what.endswith(": a flood")
        assert one.todo.startswith("signalbox binds unban acme; or ask the customer")
        hidden = top(house, names=False)
        assert "ann" not in hidden.what + hidden.todo
        assert "acme" not in hidden.what + hidden.todo
        waits: Any = await verbs["deliveries.list"]({})
        assert ": acme is banned by ann until" in str(waits)
        with acting(Actor("ann", "cli", "a flood")):
            await verbs["binds.ban"]({"system_id": "acme2"})
        assert "acme (one of 2 bans) is banned by ann" in top(house).what
        assert "ask the customer" not in top(house).todo
        with acting(Actor("bob", "cli", "unpaid")):
            await verbs["account.suspend"]({"name": "acme", "for_s": 86_400})
        assert "; suspended by bob until 2026-" in top(house).what
        assert top(house).todo.startswith("signalbox account resume acme; ")
        await verbs["account.resume"]({"name": "acme"})
        await verbs["binds.unban"]({"who": "acme"})
        await verbs["binds.unban"]({"who": "acme2"})
        assert top(house).todo.startswith("ask the customer to bind")


@trio_test(mock_clock=True)
async def test_a_callback_endpoint_that_fails_is_the_top_problem(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script(delivering)) as (house, _):
        await house.bound()
        house.customer.answer = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
        for number in range(8):
            await house.final(await house.submit(f"44770090010{number}"))
        one = await when(house, "callback-down")
        assert one.subject == "account:acme"
        assert one.what.startswith("callback endpoint http://127.0.0.1:9000 fails: HTTP 500; ")
        assert one.messages == 8
        hidden = top(house, names=False)
        assert (hidden.subject, "127.0.0.1" in hidden.what) == ("account:", False)
        (row,) = await ask(house, "callbacks.list")
        assert row["reason"].startswith("it fails: HTTP 500, ")
        house.customer.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        await house.until(lambda: not house.gateway.troubles.listed())


@pytest.mark.parametrize(("free_mb", "severity"), [(700, "warning"), (400, "critical")])
@trio_test(mock_clock=True)
async def test_a_disk_that_is_nearly_full_is_the_top_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mb: int, severity: str
) -> None:
    async with running_with(tmp_path, TOML, Script(delivering)) as (house, _):
        await house.bound()
        store = house.gateway.store
        usage = store.usage
        monkeypatch.setattr(store, "usage", lambda: {**usage(), "free_disk_bytes": free_mb << 20})
        options = dataclasses.replace(store.options, min_free_disk=512 << 20)
        monkeypatch.setattr(store, "options", options)
        one = await when(house, "disk-nearly-full")
        assert (one.severity, one.accounts) == (severity, 1)
        assert f"{free_mb} MB free" in one.what
        assert "512 MB" in one.what


@trio_test(mock_clock=True)
async def test_what_is_wrong_is_in_the_metrics_with_its_beginning_and_goes_away(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        await trio.sleep(10)
        _, text = await house.http("GET", "/metrics")
        rows = [
            (sample.labels["code"], sample.labels["subject"], sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "signalbox_problem_since_timestamp_seconds"
        ]
        assert [row[:2] for row in rows] == [("carrier-no-bind", "carrier:north"), ("not-ready", "gateway:")]
        for _, _, since_s in rows:
            assert 5 <= house.world.wall_ms() / 1000 - since_s <= 10


@trio_test(mock_clock=True)
async def test_how_long_a_carrier_is_gone_is_told_as_one_looks_at_a_clock(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        await house.submit("447700900123")
        for after_s, said in ((30, "s:"), (120, "2 min:")):
            await trio.sleep(after_s)
            one = top(house)
            assert f" {said}" in one.what
            assert one.what.endswith("; 1 message waits")


def test_a_codes_alert_has_its_name() -> None:
    assert alert_name("carrier-no-bind") == "CarrierNoBind"
    assert len({alert_name(code) for code in CODES}) == len(CODES)
