"""Where a customer's message is that waits: its lane, why that does not move, how many are before it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway import whereabouts
from gateway.cli.message import print_message
from gateway.overview import queues
from smpp.pdu import Pdu, SubmitSm, SubmitSmResp
from smpp.status import Status
from tests.gateway.console.house import Known, Visitor, text_of
from tests.gateway.house import Running, Script, carrier, route, running, running_with
from tests.gateway.http.test_accounts import operator
from tests.gateway.test_admin_queues import DOWN, NUMBER, ask
from tests.trio_case import trio_test

LATER = "2026-09-21T18:00:00Z"


async def page(house: Running, id: str) -> str:
    known = Known()
    house.gateway.console.whois = lambda: known
    return text_of((await Visitor(house).get(f"/console/messages/{id}")).text)


@trio_test(mock_clock=True)
async def test_a_ready_message_says_lane_reason_and_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, DOWN + route("north")) as house:
        ids = [await house.submit(NUMBER) for _ in range(5)]
        await trio.sleep(60)
        (lane,) = queues(house.gateway)
        assert "north" in lane.detail
        view = await ask(house, "message", id=ids[4])
        assert (view["lane"], view["lane_waits"], view["before"]) == (lane.lane, lane.detail, 4)
        assert view["waits"] == f"lane {lane.lane}: {lane.detail}; about 4 before it"
        print_message(view)
        said = capsys.readouterr().out
        assert view["waits"] in said
        assert "until" not in said
        assert view["waits"] in await page(house, ids[4])
        assert "none before it: it is the next" in await page(house, ids[0])
        monkeypatch.setattr(whereabouts, "COUNTED", 3)
        assert "more than 3 before it" in (await ask(house, "message", id=ids[4]))["waits"]
        assert "waits" not in await house.message(ids[4]), "an account is told nothing of lanes"


@trio_test(mock_clock=True)
async def test_operators_are_told_over_http(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        made = await ann.made("one")
        await ann.house.bound()
        (north,) = ann.house.gateway.carriers
        north.suspended = True
        one: Any = {"to": NUMBER, "from": "ACME", "text": "Hello"}
        key = f"Bearer {made['api_key']}"
        sent = await ann.ask("POST", "/v1/messages", one, authorization=key)
        shown = (await ann.ask("GET", f"/v1/messages/{sent.json['id']}")).json
        assert (shown["waits"]["before"], "suspended" in shown["waits"]["why"]) == (0, True)
        await ann.ask("POST", "/v1/accounts/one/suspend")
        shown = (await ann.ask("GET", f"/v1/messages/{sent.json['id']}")).json
        assert "account one: suspended" in shown["waits"]["why"]


@trio_test(mock_clock=True)
async def test_a_scheduled_message_says_until_when_and_its_lane(tmp_path: Path) -> None:
    async with running(tmp_path, DOWN + route("north")) as house:
        id = await house.submit(NUMBER, send_at=LATER)
        waits = (await ask(house, "message", id=id))["waits"]
        assert waits.startswith("scheduled for 2026-09-21T18:00:00.000Z; lane ")
        assert "before it" not in waits


@trio_test(mock_clock=True)
async def test_a_throttled_refusal_is_no_attempt_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = 0

    def handler(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        nonlocal refused
        if isinstance(pdu, SubmitSm):
            refused += 1
            yield SubmitSmResp(sequence_number=pdu.sequence_number, command_status=Status.ESME_RTHROTTLED)

    toml = carrier("north", 2790) + route("north")
    async with running_with(tmp_path, toml, Script(handler)) as (house, _):
        await house.bound()
        id = await house.submit(NUMBER)
        await house.until(lambda: refused)
        await house.when(id, "ready")
        shown = await house.message(id)
        view = await ask(house, "message", id=id)
        assert view["reason"] == "THROTTLED"
        assert "waiting_until" not in shown, "it was due in the past"
        assert view["until"] in (None, "")
        said = "refused once as throttled, which does not count"
        assert (view["attempts"], view["not_counted"]) == (0, said)
        print_message(view)
        assert "0, refused once as throttled, which does not count" in capsys.readouterr().out
        assert "0, refused once as throttled" in await page(house, id)
