"""The pages about accounts, callbacks, inbound messages, events, the trail and the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trio

from gateway.audit import Actor, acting
from gateway.callbacks.endpoint import Health
from gateway.cli.output import account_state
from gateway.cli.watching import _account
from gateway.console.pages import callbacks
from router.nouns import Login
from store.interface import Endpoint
from tests.gateway.console.house import CARRIERS, Known, Visitor, console, text_of
from tests.gateway.house import Running, Script, carrier, route, running, running_with, simulator
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.gateway.smpp_server.test_server import delivering
from tests.trio_case import trio_test

TO = "447700900123"
TRAFFIC = simulator("sim", 9101, receipt_delay_s=[1.0, 1.0]) + carrier("north", 9101) + route("north")
TOKEN = {"csrf": "csrf-token"}


async def shown(house: Running, path: str, role: str = "owner") -> str:
    answer = await Visitor(house, role).get("/console" + path)
    assert answer.status == 200, answer.text
    return text_of(answer.text)


def knows_people(house: Running) -> None:
    known = Known()
    house.gateway.console.whois = lambda: known


@trio_test(mock_clock=True)
async def test_accounts_that_do_something_come_first_and_others_are_found_by_name(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        (name,) = house.gateway.accounts.by_name
        await house.gateway.accounts.create("quiet-one", house.gateway.world.wall_ms())
        await house.submit(TO)
        await house.until(
            lambda: name in {one.name for one in house.gateway.figures.snapshot().accounts or ()}
        )
        said = await shown(house, "/accounts")
        assert said.index(name) < said.index("quiet-one")
        assert "quiet-one" not in (await shown(house, "/accounts?q=nobody")).partition("Quiet")[2]


@trio_test(mock_clock=True)
async def test_an_account_shows_its_queue_its_refusals_and_what_to_copy(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        (name,) = house.gateway.accounts.by_name
        await house.submit(TO)
        status, _ = await house.http("POST", "/v1/messages", {"to": "1", "from": "x", "text": "y"})
        assert status == 422
        said = await shown(house, f"/accounts/{name}")
        assert "Queued 1" in said
        assert "impossible-length by http: 1" in said.partition("Last refusals")[2]
        assert "/v1/messages" in said
        assert (await Visitor(house).get("/console/accounts/nobody")).status == 404


@trio_test(mock_clock=True)
async def test_an_account_says_who_keeps_it_out_until_when_and_why(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        (name,) = house.gateway.accounts.by_name
        await house.submit(TO)
        await house.gateway.accounts.add_login(name, "shop1", hashed("secret"))
        verbs = house.gateway.verbs.table()
        assert (await verbs["account.show"]({"name": name}))["banned"] == []  # type: ignore[index]
        with acting(Actor("ann", "cli", "a flood")):
            await verbs["binds.ban"]({"system_id": "shop1", "for_s": 3600})
            await verbs["account.suspend"]({"name": name, "for_s": 3600})
        view: Any = await verbs["account.show"]({"name": name})
        (told,) = view["banned"]
        assert told.startswith("shop1 by ann until 2026-")
        assert told.endswith(": a flood")
        said = await shown(house, f"/accounts/{name}")
        assert "shop1 may not bind: banned by ann until 2026-" in said
        assert "Suspended by ann until 2026-" in said
        assert account_state(view) == "suspended"
        await trio.sleep(2)
        doing = (await shown(house, "/accounts")).partition("Quiet")[0]
        assert f"{name} suspended banned" in doing
        await verbs["account.resume"]({"name": name})
        (view,) = cast("list[Any]", await verbs["account.list"]({}))
        assert account_state(view) == "login banned"
        _, key = await house.gateway.operators.create("noc")
        status, over_http = await house.http("GET", f"/v1/accounts/{name}", key=key)
        assert (status, over_http["banned"]) == (200, [told])


@trio_test(mock_clock=True)
async def test_an_account_that_is_away_while_events_wait_does_something_now(tmp_path: Path) -> None:
    login, toml = (
        (Login("acme", (hashed("secret"),)),),
        '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("north", 2790) + route("north"),
    )
    async with running_with(tmp_path, toml, Script(delivering), logins=login, callback_url="") as (house, _):
        knows_people(house)
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        async with bound(house.world, "transmitter") as esme:
            await house.final(await esme.submit())
        await trio.sleep(70)
        (row,) = house.gateway.figures.snapshot().accounts or []
        assert (row.name, row.backlog, row.binds, row.waiting) == ("acme", 1, 0, 0)
        assert "acme" in (await shown(house, "/accounts")).partition("Quiet")[0]
        (id,) = house.gateway.store.outbox_endpoints()
        for path in ("/callbacks", f"/callbacks/{id}", "/accounts/acme"):
            answer = await Visitor(house).get("/console" + path)
            assert '<span class="badge warning">not bound, and events wait</span>' in answer.text, path
        assert "Ask the customer" in await shown(house, f"/callbacks/{id}")
        said = await shown(house, "/accounts/acme")
        assert ("Not bound." in said, "To be told 1" in said) == (True, True)
        row.backlog = 1_000
        view = {"name": "acme", "closed": False, "suspended": False, "queued": 0}
        assert _account(view, msgspec.to_builtins(row))[6] == "1,000+"


@trio_test(mock_clock=True)
async def test_an_endpoint_that_fails_comes_first_and_says_how(tmp_path: Path) -> None:
    async with running(tmp_path, TRAFFIC, callback_url="http://127.0.0.1:9999/sms") as house:
        knows_people(house)
        await house.bound()
        id = await house.submit(TO)
        await house.final(id)
        said = await shown(house, "/callbacks")
        assert "http://127.0.0.1:9999" in said
        assert "nobody listens on 9999" in said
        (endpoint,) = house.gateway.store.outbox_endpoints()
        for state in ("ready", "retrying", "given_up", "made-up"):
            assert "Events that are" in await shown(house, f"/callbacks/{endpoint}?state={state}")
        assert "unreachable" in await shown(house, f"/callbacks/{endpoint}")
        assert (await Visitor(house).get("/console/callbacks/77")).status == 404


@trio_test(mock_clock=True)
async def test_health_of_an_endpoint_is_told_in_words(tmp_path: Path) -> None:
    async with running(tmp_path, TRAFFIC, callback_url="http://127.0.0.1:9999/sms") as house:
        knows_people(house)
        await house.bound()
        await house.final(await house.submit(TO))
        await house.until(lambda: bool(house.gateway.pump.endpoints()))
        (state,) = house.gateway.pump.endpoints()
        for health, error, words in (
            (Health.OPEN, "nobody listens on 9999", "does not answer, next try "),
            (Health.OPEN, "HTTP 500", "answers with errors, next try "),
            (Health.PAUSED, "HTTP 429", "asked for a pause, next try "),
            (Health.FAILING, "HTTP 500", "answers with errors<"),
            (Health.DISABLED, "HTTP 410", "wants no more events: it said 410<"),
        ):
            state.health, state.last_error, state.resume_at = health, error, trio.current_time() + 600
            for path in ("/callbacks", f"/callbacks/{state.id}"):
                answer = await Visitor(house).get("/console" + path)
                assert f'<span class="badge warning">{words}' in answer.text, (health, path)
            assert f"callbacks enable --endpoint {state.id}" in answer.text
            assert "callbacks test" in answer.text
        state.reopen()
        assert '<span class="badge good">working<' in (await Visitor(house).get("/console/callbacks")).text


@trio_test(mock_clock=True)
async def test_many_endpoints_that_take_nothing_cost_no_more_than_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with console(tmp_path) as house:
        asked: list[int] = []

        def counted(store: object, endpoint: int, most: int) -> int:
            asked.append(most)
            return most

        every = {id: Endpoint(id, 1, f"https://{id}.example.net") for id in range(1, 301)}
        monkeypatch.setattr(house.gateway.store, "outbox_endpoints", lambda: every)
        monkeypatch.setattr(callbacks, "waiting", counted)
        monkeypatch.setattr(callbacks, "given_up", counted, raising=False)
        assert "100+" in await shown(house, "/callbacks")
        assert sum(asked) <= 40_000
        assert len(asked) == 2 * callbacks.MOST
        asked.clear()
        assert "https://250.example.net" in await shown(house, "/callbacks/250")
        assert len(asked) == 2, "it counts its own events alone"


@trio_test(mock_clock=True)
async def test_an_endpoint_in_trouble_is_listed_however_many_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "MOST", 2)
    async with running(tmp_path, TRAFFIC, callback_url="http://127.0.0.1:9999/sms") as house:
        knows_people(house)
        await house.bound()
        await house.final(await house.submit(TO))
        await house.until(lambda: any(one.last_error for one in house.gateway.pump.endpoints()))
        ((id, fails),) = house.gateway.store.outbox_endpoints().items()
        others = {n: Endpoint(n, 1, f"https://{n}.example.net") for n in range(id + 1, id + 4)}
        every = {**others, id: fails}
        monkeypatch.setattr(house.gateway.store, "outbox_endpoints", lambda: every)
        said = await shown(house, "/callbacks")
        assert ("http://127.0.0.1:9999" in said, "And 2 more" in said) == (True, True)


@trio_test(mock_clock=True)
async def test_the_trail_is_shown_and_verified_and_a_wrong_hash_is_said(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        form = {**TOKEN, "name": "north", "step": "do", "reason": "their maintenance"}
        await Visitor(house).post("/console/act/carrier.suspend", form)
        said = await shown(house, "/audit?subject=north", "auditor")
        assert "carrier.suspended" in said
        assert "their maintenance" in said
        whole = await Visitor(house).post("/console/audit", TOKEN)
        assert "follow one another" in text_of(whole.text)
        wrong = await Visitor(house).post("/console/audit", {**TOKEN, "noted": "1:" + "0" * 64})
        assert "The trail is not whole" in text_of(wrong.text)


@trio_test(mock_clock=True)
async def test_a_number_to_go_on_from_that_there_cannot_be_is_left_out(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        form = {**TOKEN, "name": "north", "step": "do", "reason": "their maintenance"}
        await Visitor(house).post("/console/act/carrier.suspend", form)
        for before in ("9" * 20, "9" * 200, str(1 << 63), "-1", "x"):
            assert "carrier.suspended" in await shown(house, f"/audit?before={before}"), before
            assert "Events" in await shown(house, f"/events?before={before}"), before
        assert "carrier.suspended" not in await shown(house, "/audit?before=1")


@trio_test(mock_clock=True)
async def test_what_the_file_would_change_says_what_becomes_of_messages_that_wait(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        await house.submit("447700900123")
        file = house.gateway.reload.file
        before = file.read_text()
        file.write_text(before.replace('lane = ["north"]', 'lane = ["north"]\ntps = 5'))
        said = await shown(house, "/config?compare=file")
        assert "no route has lane north any more: 1 message waits in it, planned anew" in said
        file.write_text(before.replace('name = "north"', 'name = "north"\ntps = 5', 1))
        assert "Lane north: 1 message waiting, to stay there." in await shown(house, "/config?compare=file")


@trio_test(mock_clock=True)
async def test_events_tell_what_the_gateway_decided(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        form = {**TOKEN, "name": "north", "step": "do", "reason": "x", "for_s": "900"}
        await Visitor(house).post("/console/act/carrier.suspend", form)
        await house.until(lambda: not house.gateway.carriers[0].suspended, 2_000)
        assert "takes messages again" in await shown(house, "/events?subject=north")
        assert "Nothing was decided yet about that" in await shown(house, "/events?subject=south")


@trio_test(mock_clock=True)
async def test_the_configuration_says_what_the_file_would_change(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        assert "is what is in force" in await shown(house, "/config")
        path = tmp_path / "gateway.toml"
        path.write_text(path.read_text() + "tps = 5\n")
        said = await shown(house, "/config?compare=file")
        assert "the file was changed since" in said
        assert "tps" in said.partition("The file would change")[2]
        path.write_text("nonsense")
        assert "problem" in await shown(house, "/config?compare=file")
        revision = await Visitor(house).get("/console/config/1")
        assert "password" in revision.text
        assert 'password = "x"' not in revision.text.replace("&#34;", '"')
        assert (await Visitor(house).get("/console/config/99")).status == 409


@trio_test(mock_clock=True)
async def test_inbound_messages_show_their_texts_when_asked_for_and_the_trail_is_told(tmp_path: Path) -> None:
    async with console(tmp_path, CARRIERS) as house:
        assert "No inbound message" in await shown(house, "/mos")
        assert "None: every receipt found its message" in await shown(house, "/unmatched")
        assert (await Visitor(house).post("/console/mos", TOKEN)).status == 200
        (row,) = house.gateway.store.audit_log(10, 1 << 60, "mo")
        assert row.entry.act == "message.viewed"
        assert (await Visitor(house, "support").post("/console/mos", TOKEN)).status == 403
