"""The dialog of acts: every act of the table in it, nothing done without a POST, a reason and the scope."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.acts import ACTS, BY_VERB
from gateway.console.act_form import WORDS, word_of
from gateway.console.act_told import details
from gateway.console.frame import TEMPLATES
from tests.gateway.console.house import CARRIERS, Visitor, console, text_of
from tests.gateway.house import route, write_config
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
                assert (f'name="{name}"' in shown.text) == (name not in ("preview", "after")), (
                    act.verb,
                    name,
                )


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
        assert "where to: a route, or one carrier" in text_of(shown.text)
        shown = await Visitor(house).get("/console/act/queue.bounce?account=acme")
        assert "1 message ends as UNDELIVERABLE" in text_of(shown.text)
        assert "447700900123" not in shown.text
        form = {**TOKEN, "account": "acme", "step": "do", "reason": "too late"}
        done = text_of((await Visitor(house).post("/console/act/queue.bounce", form)).text)
        assert "Done: Bounce what waits" in done
        assert "1 message ended as UNDELIVERABLE." in done
        assert house.gateway.store.totals().messages[0] == 1


def test_what_a_verb_answers_is_shown_with_its_counts() -> None:
    answer = {"moved": 3, "stayed": {"too long": 2, "gone": 1}, "next": "", "facts": {"a": "b"}}
    assert details(BY_VERB["queue.move"], answer) == [("Moved", "3"), ("Stayed", "2: too long; 1: gone")]


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


@trio_test(mock_clock=True)
async def test_a_dialog_opens_without_an_error_and_says_what_to_fill_in(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for path, words in (
            ("queue.move", "where to: a route, or one carrier"),
            ("queue.move?route=all", "fill in: where to"),
            ("queue.bounce", "which messages"),
            ("message.reroute?id=1", "where to"),
            ("callbacks.replay", "which events"),
            ("deliveries.replay?account=acme", "what to tell again"),
            ("carrier.rate?name=north", "fill in: Rate."),
            ("carrier.suspend", "fill in: Carrier."),
        ):
            shown = await Visitor(house).get(f"/console/act/{path}")
            assert words in text_of(shown.text), path
            assert 'role="alert"' not in shown.text, path
            assert "What it touches" not in text_of(shown.text), path


@trio_test(mock_clock=True)
async def test_whoever_asks_for_a_preview_too_early_is_told_beside_the_field(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        form = {**TOKEN, "account": "acme", "step": "do", "reason": "x"}
        shown = await Visitor(house).post("/console/act/queue.move", form)
        assert problem_at("to", shown.text) == "This is missing: where to: a route, or one carrier"
        form = {**form, "to": "all", "to_carrier": "north"}
        shown = await Visitor(house).post("/console/act/queue.move", form)
        assert problem_at("to_carrier", shown.text) == "Give a route or one carrier: not both"


@trio_test(mock_clock=True)
async def test_what_cannot_be_read_is_said_for_people_beside_its_field(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for verb, name, written, told in (
            ("carrier.rate", "tps", "abc", "Rate: a number, as 50 or 0.5; 0: as configured"),
            ("carrier.rate", "tps", "-1", "Rate: a number, as 50 or 0.5; 0: as configured"),
            ("queue.bounce", "older_than_s", "10m", "Older than: a number of seconds, as 600"),
            ("queue.bounce", "country", "England", "Country of the recipient: two letters, as GB"),
            ("queue.bounce", "phase", "odd", "How they wait: one of ready, deferred, scheduled, held"),
            ("queue.bounce", "carrier", "west", "Carrier: no carrier 'west'; one of: north"),
            ("carrier.suspend", "for_s", "soon", "How long: seconds, at most 366 days"),
            ("route.weights", "weights", "north", "Weights: carriers with whole numbers, as north=70"),
        ):
            form = {**TOKEN, "name": "north", name: written, "step": "do", "reason": "x"}
            shown = await Visitor(house).post(f"/console/act/{verb}", form)
            assert problem_at(name, shown.text).startswith(told), (verb, name, shown.text)
            assert "$." not in shown.text
            assert f'id="act-{name}"' in shown.text
            assert f'aria-describedby="act-{name}-wrong' in shown.text
            for described in re.findall(r'aria-describedby="([^"]*)"', shown.text):
                assert all(f'id="{id}"' in shown.text for id in described.split()), described


def problem_at(name: str, page: str) -> str:
    """What is said to be wrong with a field, beside it."""
    found = re.search(rf'id="act-{name}-wrong" role="alert">(.*?)</p>', page)
    assert found, page
    return html.unescape(found[1])


WEIGHTED = CARRIERS.replace('lane = ["north"]', 'lane = [{ carrier = "north", weight = 1 }]')


@trio_test(mock_clock=True)
async def test_weights_are_taken_as_the_command_line_has_them_and_none_are_the_configured(
    tmp_path: Path,
) -> None:
    async with console(tmp_path, WEIGHTED) as house:
        visitor = Visitor(house)
        form = {**TOKEN, "name": "all", "step": "do", "reason": "more there"}
        for written in ("north=70", "north: 70", "north = 70,"):
            done = await visitor.post("/console/act/route.weights", {**form, "weights": written})
            assert "all has the weights north=70 until somebody ends it, by a-owner: more there." in text_of(
                done.text
            ), written
        shown = await visitor.get("/console/act/route.weights?name=all")
        assert not re.search(r'name="weights"[^>]*required', shown.text)
        done = await visitor.post("/console/act/route.weights", form)
        assert "all has its configured weights again." in text_of(done.text)
        assert not house.gateway.orders.in_force()


@trio_test(mock_clock=True)
async def test_after_an_act_one_sentence_says_what_is_true_now(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for verb, form, told in (
            (
                "carrier.suspend",
                {"name": "north"},
                "north is suspended until somebody ends it, by a-owner: cut.",
            ),
            (
                "carrier.rate",
                {"name": "north", "tps": "0.5"},
                "north is sent at most 0.5 segments a second until",
            ),
            ("carrier.rate", {"name": "north", "tps": "0"}, "north has its configured rate again."),
            ("carrier.resume", {"name": "north"}, "north takes messages again."),
            (
                "account.suspend",
                {"name": "acme"},
                "acme is suspended until somebody ends it, by a-owner: cut.",
            ),
            ("account.resume", {"name": "acme"}, "acme may submit and bind again."),
            ("binds.ban", {"system_id": "x", "address": "192.0.2.7"}, "x from 192.0.2.7 may not bind until"),
            ("binds.unban", {"who": "x"}, "1 ban of x ended."),
            ("queue.move", {"all": "yes", "to": "all"}, "0 messages moved to route all."),
            ("config.reload", {}, "The configuration is in force."),
            ("privacy.erase", {"number": "+447700900123"}, "0 records lost the number and what was said."),
            ("held.release", {}, "0 messages held as restored released."),
            (
                "deliveries.replay",
                {"account": "acme", "since": "2020-01-01"},
                "0 receipts of 0 messages of acme",
            ),
        ):
            form = {**TOKEN, **form, "step": "do", "reason": "cut"}
            done = text_of((await Visitor(house).post(f"/console/act/{verb}", form)).text)
            assert told in done, (verb, done)
            assert "window" not in done


@trio_test(mock_clock=True)
async def test_what_a_reload_warns_of_stands_on_the_page_that_says_it_is_done(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        vip = route("north", name="vip") + 'match = { account = ["nobody"] }\n'
        write_config(tmp_path, CARRIERS.replace("[[routes]]", vip + "[[routes]]"))
        form = {**TOKEN, "step": "do", "reason": "a new customer"}
        done = text_of((await Visitor(house).post("/console/act/config.reload", form)).text)
        assert "The configuration is in force." in done
        assert "names accounts that do not exist: nobody" in done


@trio_test(mock_clock=True)
async def test_an_end_is_said_as_a_clock_time(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        form = {**TOKEN, "name": "north", "step": "do", "reason": "fibre cut", "for_s": "900"}
        done = text_of((await Visitor(house).post("/console/act/carrier.suspend", form)).text)
        assert re.search(r"north is suspended until [0-9 :-]+ UTC by a-owner: fibre cut\.", done), done


def test_every_argument_has_a_label_in_words() -> None:
    for act in ACTS:
        for name in act.arguments.__struct_encode_fields__:
            if name not in ("preview", "after", "name"):
                assert name in WORDS or f"{act.verb}.{name}" in WORDS, (act.verb, name)
            assert "_" not in word_of(act, name).label.replace("system_id", ""), (act.verb, name)


@trio_test(mock_clock=True)
async def test_of_one_message_it_is_said_what_becomes_of_it(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        reason = {**TOKEN, "step": "do", "reason": "asked"}
        visitor = Visitor(house)
        await visitor.post("/console/act/carrier.suspend", {**reason, "name": "north"})
        id = f"{await house.submit('447700900123')}"
        form = {**reason, "id": id}
        done = await visitor.post("/console/act/message.reroute", {**form, "to_carrier": "north"})
        assert f"Message {id} waits in the lane @north now." in text_of(done.text)
        done = await visitor.post("/console/act/message.cancel", form)
        assert f"Message {id} has ended, and its account is told." in text_of(done.text)
        done = await visitor.post("/console/act/message.cancel", form)
        assert f"message {id} has ended already" in text_of(done.text)


@trio_test(mock_clock=True)
async def test_an_end_can_be_minutes_or_a_clock_time(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        form = {**TOKEN, "name": "north", "step": "do", "reason": "fibre cut"}
        visitor = Visitor(house)
        for written, span_ms in (("45", 2_700_000), ("0.5 min", 30_000)):
            done = await visitor.post("/console/act/carrier.suspend", {**form, "for_s": "0", "end": written})
            assert "north is suspended until" in text_of(done.text), done.text
            (order,) = house.gateway.orders.in_force()
            assert order.until_ms - order.since_ms == span_ms
        now = datetime.fromtimestamp(house.gateway.world.wall_ms() / 1000, UTC)
        soon = (now + timedelta(hours=1)).strftime("%H:%M")
        done = await visitor.post("/console/act/carrier.suspend", {**form, "end": soon})
        (order,) = house.gateway.orders.in_force()
        assert datetime.fromtimestamp(order.until_ms / 1000, UTC).strftime("%H:%M") == soon
        assert f"{soon} UTC by a-owner: fibre cut." in text_of(done.text)
        for written, told in (
            ("soon", "End: minutes, as 45, or a time in UTC, as 14:30"),
            ("2001-01-01", "End: minutes, as 45"),
            ("0", "End: more than 0 minutes"),
            ("999999999", "End: more than 0 minutes and at most 366 days"),
        ):
            shown = await visitor.post("/console/act/carrier.suspend", {**form, "end": written})
            assert problem_at("end", shown.text).startswith(told)
        shown = await visitor.post("/console/act/carrier.suspend", {**form, "for_s": "900", "end": "45"})
        assert "not both" in problem_at("end", shown.text)
        assert house.gateway.orders.in_force() == [order]


@trio_test(mock_clock=True)
async def test_a_dialog_offers_what_there_is_and_folds_away_what_is_rare(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        shown = (await Visitor(house).get("/console/act/queue.move")).text
        for among, one in (
            ("carriers", "north"),
            ("routes", "all"),
            ("accounts", "acme"),
            ("countries", "GB"),
        ):
            assert re.search(f'<datalist id="act-{among}-known">.*<option value="{one}">', shown), among
        assert "Older than (seconds)" in shown
        everyday, _, rare = shown.partition("<details>")
        for name in ("carrier", "route", "account", "older_than_s", "to", "to_carrier", "all"):
            assert f'name="{name}"' in everyday, name
        for name in ("prefix", "country", "priority", "phase", "first_id", "last_id"):
            assert f'name="{name}"' in rare, name
        assert "<details open>" in (await Visitor(house).get("/console/act/queue.move?country=GB")).text
