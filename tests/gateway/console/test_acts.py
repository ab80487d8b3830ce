"""The dialog of acts: every act of the table in it, nothing done without a POST, a reason and the scope."""

from __future__ import annotations

import html
import re
from pathlib import Path

from gateway.acts import ACTS, BY_VERB
from gateway.console.frame import TEMPLATES
from gateway.console.pages.acts import _shown as shown_result
from tests.gateway.console.house import CARRIERS, Visitor, console, text_of
from tests.trio_case import trio_test

TOKEN = {"csrf": "csrf-token"}


@trio_test(mock_clock=True)
async def test_every_act_has_its_dialog_with_a_field_for_each_argument(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for act in ACTS:
            shown = await Visitor(house).get(f"/console/act/{act.verb}")
            assert shown.status == 200, act.verb
            assert act.title in html.unescape(shown.text)
            for name in act.arguments.__struct_encode_fields__:
                assert (f'name="{name}"' in shown.text) == (name != "preview"), (act.verb, name)


@trio_test(mock_clock=True)
async def test_a_dialog_previews_and_changes_nothing(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        shown = await Visitor(house).get("/console/act/carrier.suspend?name=north")
        assert "carrier north takes nothing new" in text_of(shown.text)
        preview = {**TOKEN, "name": "north", "step": "preview", "reason": "their maintenance"}
        again = await Visitor(house).post("/console/act/carrier.suspend", preview)
        assert 'value="their maintenance"' in again.text
        assert not house.gateway.carriers[0].suspended


@trio_test(mock_clock=True)
async def test_an_act_is_done_with_a_reason_and_an_end_and_the_trail_has_it(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        form = {**TOKEN, "name": "north", "step": "do", "for_s": "900"}
        without = await Visitor(house).post("/console/act/carrier.suspend", form)
        assert "Say why" in text_of(without.text)
        assert not house.gateway.carriers[0].suspended
        done = await Visitor(house).post("/console/act/carrier.suspend", {**form, "reason": "maintenance"})
        assert "Done: Suspend a carrier" in text_of(done.text)
        assert house.gateway.carriers[0].suspended
        (row,) = house.gateway.store.audit_log(10, 1 << 60, "north")
        assert (row.entry.who, row.entry.via, row.entry.reason) == ("a-owner", "console", "maintenance")
        order = house.gateway.orders.in_force()[0]
        assert order.until_ms - order.since_ms == 900_000


@trio_test(mock_clock=True)
async def test_who_may_not_do_an_act_sees_no_dialog_and_does_nothing(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        support = Visitor(house, "support")
        assert (await support.get("/console/act/carrier.suspend?name=north")).status == 403
        form = {**TOKEN, "name": "north", "step": "do", "reason": "because"}
        assert (await support.post("/console/act/carrier.suspend", form)).status == 403
        assert not house.gateway.carriers[0].suspended


@trio_test(mock_clock=True)
async def test_what_cannot_be_done_is_said_in_the_dialog(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        shown = await Visitor(house).get("/console/act/carrier.suspend?name=nowhere")
        assert "no carrier 'nowhere'" in text_of(shown.text).replace("&#39;", "'")
        form = {**TOKEN, "name": "north", "step": "do", "reason": "x", "for_s": "soon"}
        assert "for_s" in (await Visitor(house).post("/console/act/carrier.suspend", form)).text
        assert (await Visitor(house).get("/console/act/made.up")).status == 404


@trio_test(mock_clock=True)
async def test_a_dialog_goes_back_to_the_consoles_own_pages_alone(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for referer, back in (
            ("http://test/console/carriers/north?x=1", "/console/carriers/north?x=1"),
            ("https://evil.example/console/x", "/console/x"),
            ("https://evil.example/", "/console/overview"),
            ("//evil.example/console/", "/console/overview"),
        ):
            shown = await Visitor(house).get("/console/act/config.reload", Referer=referer, HX_Request="true")
            assert f'name="back" value="{back}"' in shown.text, referer
            assert "<html" not in shown.text


def test_every_act_that_a_page_offers_is_one_of_the_table() -> None:
    offered = {
        verb
        for template in sorted(TEMPLATES.glob("*.html"))
        for verb in re.findall(r"act_link\(\s*'([^']+)'", template.read_text())
    }
    assert offered
    assert offered <= set(BY_VERB)


@trio_test(mock_clock=True)
async def test_what_waits_is_previewed_and_bounced_and_what_stays_is_told(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        await Visitor(house).post(
            "/console/act/carrier.suspend", {**TOKEN, "name": "north", "step": "do", "reason": "x"}
        )
        await house.submit("447700900123")
        shown = await Visitor(house).get("/console/act/queue.move?account=acme")
        assert "say where to" in text_of(shown.text)
        shown = await Visitor(house).get("/console/act/queue.bounce?account=acme")
        assert "1 message ends as UNDELIVERABLE" in text_of(shown.text)
        assert "447700900123" not in shown.text
        form = {**TOKEN, "account": "acme", "step": "do", "reason": "too late"}
        done = text_of((await Visitor(house).post("/console/act/queue.bounce", form)).text)
        assert "Done: Bounce what waits" in done
        assert "bounced 1" in " ".join(done.split())
        assert house.gateway.store.totals().messages[0] == 1


def test_what_a_verb_answers_is_shown_with_its_counts() -> None:
    told = shown_result({"moved": 3, "stayed": {"too long": 2, "gone": 1}, "next": "", "facts": {"a": "b"}})
    assert told == [("moved", "3"), ("stayed", "2: too long; 1: gone")]


@trio_test(mock_clock=True)
async def test_arguments_of_every_kind_can_be_given(tmp_path: Path) -> None:
    """A map (weights), a number with a unit, a choice and a yes."""
    toml = CARRIERS.replace('lane = ["north"]', 'lane = [{ carrier = "north", weight = 1 }]')
    async with console(tmp_path, toml) as house:
        visitor = Visitor(house)
        shown = await visitor.get("/console/act/route.weights?name=all&weights=north:%2070")
        assert "What it touches" in shown.text, text_of(shown.text)
        wrong = await visitor.get("/console/act/route.weights?name=all&weights=north")
        assert 'role="alert"' in wrong.text
        shown = await visitor.get("/console/act/queue.bounce?all=yes")
        assert "What it touches" in shown.text, text_of(shown.text)
