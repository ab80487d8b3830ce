"""What Overview, Carriers and Queues say in the situations that matter, and that they follow what changes."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import trio
import trio.testing

from gateway.audit import Actor, acting
from gateway.console.frame import TEMPLATES, plain
from gateway.console.page import Visit, one_of
from gateway.console.pages.queues import export
from tests.gateway.console.house import Visitor, console, text_of
from tests.gateway.console.test_live import read
from tests.gateway.house import Running, carrier, route, simulator, write_config
from tests.trio_case import trio_test

WELL = carrier("north", 2790, tps=50, window=10) + simulator("north", 2790) + route("north")
DEAD = carrier("north", 2799) + route("north")
SILENT = (
    carrier("north", 2790, window=2, response_timeout_s=60)
    + simulator("north", 2790, response_delay_s=[50, 50])
    + route("north")
)
SLOW = carrier("north", 2790, tps=1) + simulator("north", 2790) + route("north")
TO = "447700900123"


async def said(house: Running, path: str, role: str = "owner") -> str:
    shown = await Visitor(house, role).get("/console" + path)
    assert shown.status == 200, shown.text
    return text_of(shown.text)


async def suspend(house: Running, for_s: float = 0) -> None:
    with acting(Actor("ann", "console", "their maintenance")):
        await house.gateway.orders.suspend("north", for_s)


@trio_test(mock_clock=True)
async def test_overview_says_that_all_is_well_and_what_passes(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        await house.final(await house.submit(TO))
        await house.until(lambda: house.gateway.figures.snapshot().delivered_ratio)
        shown = await said(house, "/overview")
        assert "Nothing is wrong" in shown
        assert "well nothing is in the way" in shown
        for word in ("Accepted", "Delivered", "Delivery ratio 100 %", "Queue 0", "Search lag"):
            assert word in shown, word


@trio_test(mock_clock=True)
async def test_a_dead_carrier_is_the_first_problem_and_their_side(tmp_path: Path) -> None:
    async with console(tmp_path, DEAD) as house:
        await house.submit(TO)
        await house.until(lambda: house.gateway.carriers[0].links[0].last_error)
        page = (await Visitor(house).get("/console/overview")).text
        first = page[page.index('class="problem ') :]
        assert 'href="/console/carriers/north"' in first[: first.index("</li>")]
        assert "no bind" in text_of(first[: first.index("</li>")])
        assert "their side no bind" in await said(house, "/carriers")
        assert "no bind" in await said(house, "/queues")
        assert "0 of 1" in await said(house, "/carriers")


@trio_test(mock_clock=True)
async def test_a_suspension_says_by_whom_until_when_and_why(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        await suspend(house, 600)
        await house.submit(TO)
        for path in ("/overview", "/carriers", "/queues"):
            shown = await said(house, path)
            assert "by ann: their maintenance" in shown, path
            assert "suspended until 20" in shown, path
        assert "our side suspended" in await said(house, "/carriers")


@trio_test(mock_clock=True)
async def test_a_full_window_and_a_limit_are_told_apart(tmp_path: Path) -> None:
    async with console(tmp_path, SILENT) as house:
        await house.bound()
        for _ in range(5):
            await house.submit(TO)
        await house.until(lambda: house.gateway.carriers[0].in_flight == 2)
        assert "window full" in await said(house, "/queues")
        assert "their side window full" in await said(house, "/carriers")
        assert "2 of 2" in await said(house, "/carriers")


@trio_test(mock_clock=True)
async def test_a_carrier_at_its_limit_is_our_side(tmp_path: Path) -> None:
    async with console(tmp_path, SLOW) as house:
        await house.bound()
        for _ in range(9):
            await house.submit(TO)
        for _ in range(3):  # at whatever moment between two tokens it is looked at
            await trio.sleep(1.13)
            assert "at its limit" in await said(house, "/queues")
        assert "our side at its limit of 1/s" in await said(house, "/carriers")


@trio_test(mock_clock=True)
async def test_queues_are_shown_by_lane_priority_and_account_and_by_choice(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        await suspend(house)
        await house.submit(TO)
        await house.submit(TO, priority=0)
        await house.gateway.verbs.table()["account.suspend"]({"name": "acme"})
        shown = await said(house, "/queues")
        assert "acme 2 account acme: suspended by signalbox 1" in shown
        assert "acme 0 account acme: suspended by signalbox 1" in shown
        assert "Nothing waits there" in await said(house, "/queues?account=other")
        assert "acme 0" in await said(house, "/queues?lane=north&account=acme")
        assert "acme 0" in await said(house, "/queues?why=account_suspended")
        assert "Nothing waits there" in await said(house, "/queues?why=no_bind")
        sheet = await Visitor(house).get("/console/queues.csv?account=acme")
        assert sheet.headers["content-type"].startswith("text/csv")
        lines = sheet.text.splitlines()
        assert lines[0].startswith("lane,account,priority,reason")
        assert len(lines) == 4
        assert (await Visitor(house, "account").get("/console/queues")).status == 403


@trio_test(mock_clock=True)
async def test_traffic_goes_on_while_the_sheet_of_queues_is_written(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        await suspend(house)
        await house.submit(TO)
        visit = SimpleNamespace(gateway=house.gateway, query=lambda *asked, **limits: "")
        with trio.testing.assert_checkpoints():
            sheet = await export(cast(Visit, visit))
        assert b"acme" in bytes(sheet.body)


@trio_test(mock_clock=True)
async def test_what_moves_on_a_page_follows_what_happens(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        chosen = one_of("queues", "account=acme")
        for topic in ("queues", chosen, "overview", "carriers"):
            async with await Visitor(house).stream("GET", f"/console/live/{topic}", b"", {}) as stream:
                await read(stream, "hx-partial")
                await suspend(house)
                await house.submit(TO)
                await read(stream, "by ann: their maintenance")
                with acting(Actor("ann", "console", "done")):
                    await house.gateway.orders.resume("north")
                await read(stream, "hx-partial")
        live = house.gateway.console.live
        await house.until(lambda: live.viewers == 0 and not live._some)


@trio_test(mock_clock=True)
async def test_charts_are_given_each_second_of_the_history(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        await house.submit(TO)
        async with await Visitor(house).stream("GET", "/console/live/overview", b"", {}) as stream:
            told = await read(stream, '"depth"')
            assert "event: figures" in told
            assert '"labels":["accepted","sent","delivered"]' in told
            assert TO not in told


@trio_test(mock_clock=True)
async def test_a_thing_that_is_not_there_has_no_stream(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        for topic in ("nothing/at-all", "queues/", "carrier/nobody"):
            assert (await Visitor(house).get(f"/console/live/{topic}")).status == 404, topic


@trio_test(mock_clock=True)
async def test_a_carriers_page_has_its_binds_answers_countries_orders_and_events(tmp_path: Path) -> None:
    first = '[[routes]]\nname = "first"\nmatch = { prefix = ["33"] }\nlane = ["north"]\n'
    async with console(tmp_path, WELL.replace(route("north"), first + route("north"))) as house:
        await house.bound()
        await house.final(await house.submit(TO))
        await trio.sleep(2)
        shown = await said(house, "/carriers/north")
        for words in ("ESME_ROK (No Error) 1 100 %", "GB +44 100 % 1"):
            assert words in shown, words
        await suspend(house, 600)
        await trio.sleep(700)  # it ends by itself, which is an event
        await suspend(house)
        shown = await said(house, "/carriers/north")
        for words in (
            "Binds as signalbox to 127.0.0.1:2790",
            "our side suspended by ann: their maintenance",
            "Carrier north suspended by ann since",
            "north/1 bound transceiver",
            "resumed takes messages again",
            "first north",
        ):
            assert words in shown, words
        assert (await Visitor(house).get("/console/carriers/nobody")).status == 404


@trio_test(mock_clock=True)
async def test_a_carrier_and_a_route_that_a_reload_added_have_their_pages_at_once(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        south = (
            carrier("south", 2791)
            + '[[routes]]\nname = "new"\nmatch = { prefix = ["33"] }\nlane = ["south"]\n'
        )
        write_config(tmp_path, WELL.replace(route("north"), south + route("north")))
        await said(house, "/carriers/north")
        now = trio.current_time()
        await house.gateway.reload.reload()
        assert trio.current_time() - now < 1  # what was looked at for the page before could do for this one
        assert "Binds as signalbox to 127.0.0.1:2791" in await said(house, "/carriers/south")
        assert "south" in await said(house, "/routes/new")
        write_config(tmp_path, WELL)
        await house.gateway.reload.reload()
        assert (await Visitor(house).get("/console/routes/new")).status == 404


@trio_test(mock_clock=True)
async def test_a_carrier_that_never_bound_is_not_said_to_be_bound_nor_its_breaker_closed(
    tmp_path: Path,
) -> None:
    async with console(tmp_path, DEAD) as house:
        await house.until(lambda: house.gateway.carriers[0].links[0].last_error)
        shown = await said(house, "/carriers/north")
        assert "Binds as signalbox to 127.0.0.1:2799" in shown
        assert "Bound" not in shown
        assert "circuit closed" not in shown
        cell = {"receipts": 3, "country": "GB", "code": 44, "bad": ""}
        frame = house.gateway.console.frame
        figures = dict.fromkeys(("delivered_ratio", "receipt_p50_s", "error_ratio"))
        for circuit, words in (
            ("closed", "takes messages"),
            ("open", "taken out"),
            ("half_open", "on trial"),
        ):
            countries = [{**cell, **figures, "circuit": circuit}]
            row = frame.shared("_carrier_countries.html", countries=countries, more=0)
            assert words in text_of(row)


@trio_test(mock_clock=True)
async def test_what_may_be_done_is_offered_to_those_who_may_do_it(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        act = "/console/act/carrier.suspend?name=north"
        assert act in (await Visitor(house, "operator").get("/console/carriers/north")).text
        assert act not in (await Visitor(house, "auditor").get("/console/carriers/north")).text


@trio_test(mock_clock=True)
async def test_a_carriers_page_moves_and_ends_with_its_carrier(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        topic = one_of("carrier", "north")
        async with await Visitor(house).stream("GET", f"/console/live/{topic}", b"", {}) as stream:
            assert '"labels":["sent","throttled","failed"]' in await read(stream, "event: figures")
            await suspend(house)
            await read(stream, "by ann: their maintenance")


@trio_test(mock_clock=True)
async def test_routes_say_what_they_take_and_whether_they_move(tmp_path: Path) -> None:
    uk = '[[routes]]\nname = "uk"\nmatch = { prefix = ["44"], class = ["otp"] }\nlane = ["north"]\ntps = 7\n'
    async with console(tmp_path, WELL.replace(route("north"), uk + route("north"))) as house:
        await house.bound()
        shown = await said(house, "/routes")
        assert (
            "1 uk prefix 44; class otp uk/north ready nothing waits, and a carrier takes what comes" in shown
        )
        assert "2 all everything else north ready" in shown
        await suspend(house)
        await house.submit(TO)
        await trio.sleep(2)
        for path in ("/routes", "/routes/all"):
            assert "suspended carrier north: suspended by ann: their maintenance" in await said(house, path)
        assert "no carrier nothing waits, and no carrier would take what comes" in await said(
            house, "/routes/uk"
        )
        one = await said(house, "/routes/uk")
        assert "Number 1 of 2" in one
        assert "TPS of its own 7" in one
        assert "our side suspended" in one
        assert (await Visitor(house).get("/console/routes/nothing")).status == 404
        topic = one_of("route", "all")
        async with await Visitor(house).stream("GET", f"/console/live/{topic}", b"", {}) as stream:
            await read(stream, "by ann: their maintenance")


@trio_test(mock_clock=True)
async def test_which_way_a_message_would_go_is_explained_without_its_number_in_an_address(
    tmp_path: Path,
) -> None:
    async with console(tmp_path, WELL) as house:
        await house.bound()
        form = {"csrf": "csrf-token", "to": "+" + TO, "sender": "ACME", "account": "acme", "length": "200"}
        page = await Visitor(house).post("/console/routes/explain", form)
        assert "Route all , 2 parts in gsm7, to GB: first north" in text_of(page.text)
        part = await Visitor(house).post("/console/routes/explain", form, HX_Request="true")
        assert "<html" not in part.text
        wrong = await Visitor(house).post("/console/routes/explain", {**form, "to": "12"})
        assert 'role="alert"' in wrong.text or "It would be refused" in wrong.text
        assert (await Visitor(house, "auditor").post("/console/routes/explain", form)).status == 403
        assert "Which way would a message go" not in await said(house, "/routes", "auditor")


@trio_test(mock_clock=True)
async def test_no_two_pages_have_the_same_key(tmp_path: Path) -> None:
    async with console(tmp_path, WELL) as house:
        keys = [page.key for page in house.gateway.console.pages if page.key]
        assert len(keys) == len(set(keys)), keys


def test_rows_can_hold_the_focus_while_what_is_in_them_changes() -> None:
    for template in TEMPLATES.glob("*.html"):
        for row in re.findall(r"<tr[^>]* data-row[^>]*>", template.read_text()):
            assert 'tabindex="-1"' in row, (template.name, row)


def test_times_for_programs_are_written_for_people() -> None:
    assert (
        plain("suspended until 2026-11-22T00:26:12.054Z by ann")
        == "suspended until 2026-11-22 00:26 UTC by ann"
    )


@trio_test(mock_clock=True)
async def test_a_queue_that_stands_leads_to_the_page_of_queues(tmp_path: Path) -> None:
    async with console(tmp_path, DEAD) as house:
        await house.submit(TO)
        await trio.sleep(5)
        page = (await Visitor(house).get("/console/overview")).text
        assert '<a href="/console/queues">Queues</a> say more' in page
        assert "GET /v1/queues" not in page
