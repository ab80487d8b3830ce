"""Messages in the console: found by id, number and reference, and shown from accept to what was told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import told
from tests.gateway.console.house import Known, Visitor, console, text_of
from tests.gateway.house import Running, carrier, route, running, simulator
from tests.trio_case import trio_test

TO = "447700900123"
TRAFFIC = simulator("sim", 9101, receipt_delay_s=[1.0, 1.0]) + carrier("north", 9101) + route("north")
TOKEN = {"csrf": "csrf-token"}


async def shown(house: Running, path: str, role: str = "owner") -> str:
    answer = await Visitor(house, role).get("/console" + path)
    assert answer.status == 200, answer.text
    return text_of(answer.text)


@trio_test(mock_clock=True)
async def test_a_message_is_found_by_id_number_and_reference(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        id = await house.submit(TO, "Hello", client_ref="order-7")
        found = await Visitor(house).get(f"/console/messages?q={id}")
        assert (found.status, found.headers["location"]) == (303, f"/console/messages/{id}")
        for asked in (f"%2B{TO}", "%2B44%207700%20900123", "order-7"):
            assert id in await shown(house, f"/messages?q={asked}"), asked
        spaced = await house.submit("4915112345678")
        assert spaced in await shown(house, "/messages?q=%2B49%20151%2012%2034%2056%2078")
        assert id not in await shown(house, "/messages?q=order-8")
        assert "No message fits" in await shown(house, "/messages?state=EXPIRED")
        assert "since" in await shown(house, "/messages?since=whenever")


@trio_test(mock_clock=True)
async def test_a_page_leads_to_the_older_ones(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        ids = [await house.submit(TO, "Hello", client_ref=f"r{n}") for n in range(60)]
        html = (await Visitor(house).get("/console/messages")).text
        assert ids[-1] in html
        assert ids[0] not in html
        older = html.split('href="/console/messages?cursor=')[1].split('"')[0]
        assert ids[0] in await shown(house, f"/messages?cursor={older}")


@trio_test(mock_clock=True)
async def test_a_messages_page_tells_each_pdu_and_what_its_customer_was_told(tmp_path: Path) -> None:
    async with running(tmp_path, TRAFFIC, callback_url="http://127.0.0.1:9000/sms") as house:
        known = Known()
        house.gateway.console.whois = lambda: known
        await house.bound()
        id = await house.submit(TO, "Hello")
        await house.final(id)
        await house.until(lambda: len(house.customer.events) == 1)
        said = await shown(house, f"/messages/{id}")
        for wanted in (
            "DELIVERED",
            "→ submit_sm",
            "← submit_sm_resp ESME_ROK, message_id",
            "← deliver_sm, a receipt: DELIVERED err=000",
            "→ deliver_sm_resp ESME_ROK",
            "north",
            "Everything that its customer wanted to know was taken",
            "http://127.0.0.1:9000: delivered",
        ):
            assert wanted in said, (wanted, said)


@trio_test(mock_clock=True)
async def test_an_event_that_waits_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, TRAFFIC, callback_url="http://127.0.0.1:9999/sms") as house:
        known = Known()
        house.gateway.console.whois = lambda: known
        await house.bound()
        id = await house.submit(TO, "Hello")
        await house.final(id)
        said = await shown(house, f"/messages/{id}")
        assert "Its customer is still to be told 1 thing(s)" in said
        assert "nobody listens on 9999" in said or "to http://127.0.0.1:9999: re" in said


@trio_test(mock_clock=True)
async def test_a_text_is_shown_to_those_who_may_and_the_trail_is_told_first(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        id = await house.submit(TO, "the secret is 4711")
        path = f"/console/messages/{id}"
        assert "4711" not in (await Visitor(house).get(path)).text
        assert "4711" in (await Visitor(house).post(path + "/text", TOKEN)).text
        (row,) = house.gateway.store.audit_log(10, 1 << 60, f"message:{id}")
        assert (row.entry.who, row.entry.via, row.entry.act) == ("a-owner", "console", "message.viewed")
        refused = await Visitor(house, "support").post(path + "/text", TOKEN)
        assert refused.status == 403
        assert "4711" not in refused.text


@trio_test(mock_clock=True)
async def test_numbers_are_masked_for_those_who_may_not_see_them(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        id = await house.submit(TO, "Hello")
        for path in ("/messages", f"/messages/{id}"):
            assert TO in await shown(house, path, "support")
            masked = await shown(house, path, "auditor")
            assert TO not in masked
            assert "4477" in masked
        assert "needs messages.numbers" in await shown(house, f"/messages?to={TO}", "auditor")


@trio_test(mock_clock=True)
async def test_an_id_that_there_is_not_is_said(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for id in ("1", "9" * 40, "x"):
            assert (await Visitor(house).get(f"/console/messages/{id}")).status == 404


@trio_test(mock_clock=True)
async def test_what_was_erased_is_shown_as_erased(tmp_path: Path) -> None:
    async with running(tmp_path, TRAFFIC) as house:
        known = Known()
        house.gateway.console.whois = lambda: known
        await house.bound()
        id = await house.submit(TO, "Hello")
        await house.final(id)
        await house.until(lambda: not house.gateway.store.outbox_backlog())
        act = f"/console/act/privacy.erase?number={TO}"
        assert act in (await Visitor(house).get(f"/console/messages/{id}")).text
        assert act not in (await Visitor(house, "operator").get(f"/console/messages/{id}")).text
        assert "messages lose number and text: 1" in await shown(house, f"/act/privacy.erase?number={TO}")
        await house.gateway.verbs.table()["privacy.erase"]({"number": TO})
        said = await shown(house, f"/messages/{id}")
        assert "Its number and what it said were erased on" in said
        assert TO not in said
        assert "erased on" in await shown(house, "/messages")


@trio_test(mock_clock=True)
async def test_what_was_not_all_looked_at_leads_on_to_its_account_and_endpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "LOOKED_IN_ALL", 0)
    async with running(tmp_path, TRAFFIC, callback_url="http://127.0.0.1:9999/sms") as house:
        known = Known()
        house.gateway.console.whois = lambda: known
        await house.bound()
        id = await house.submit(TO, "Hello")
        await house.final(id)
        html = (await Visitor(house).get(f"/console/messages/{id}")).text
        assert "its own receipt was not among" in html
        (endpoint,) = house.gateway.store.outbox_endpoints()
        assert f'href="/console/callbacks/{endpoint}"' in html
        assert 'What waits for it: <a href="/console/accounts/' in html
