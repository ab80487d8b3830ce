"""Moving, bouncing, forcing and rerouting what waits, on a whole gateway; what carriers and customers see.

Deliberately not here: what happens to each record (tests/store/conformance/test_moving.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gateway import admin_queues
from gateway.admin import AdminError
from gateway.audit import Actor, acting
from gateway.overview import queues
from router.nouns import Phase
from router.roles import Role
from smpp.pdu import Pdu, SubmitSm, SubmitSmResp
from store.check import check
from tests.gateway.house import (
    Running,
    Script,
    carrier,
    route,
    running,
    running_with,
    simulator,
)
from tests.trio_case import trio_test

DOWN = carrier("north", 2799)  # nobody listens there
SOUTH = carrier("south", 2776) + simulator("south", 2776)
SPARE = '[[routes]]\nname = "spare"\nmatch = { prefix = ["999"] }\nlane = ["south"]\n'
HOUSE = DOWN + SOUTH + SPARE + route("north")
NUMBER = "447700900123"


async def ask(house: Running, verb: str, **args: object) -> Any:
    with acting(Actor("ann", "cli", "north is down")):
        return msgspec.to_builtins(await house.gateway.verbs.table()[verb](args))


def sound(house: Running) -> bool:
    totals = house.gateway.store.totals()
    return check(house.gateway.store) == [] and totals.accepted == sum(totals.messages)


def acts(house: Running, name: str) -> list[dict[str, Any]]:
    rows = [row.entry for row in house.gateway.store.audit_log(50)]
    return [{**one.after, "who": one.who, "reason": one.reason} for one in rows if one.act == name]


@trio_test(mock_clock=True)
async def test_a_moved_backlog_is_sent_by_the_other_carrier(tmp_path: Path) -> None:
    async with running(tmp_path, HOUSE) as house:
        ids = [await house.submit(f"4477009001{index:02}") for index in range(8)]
        later = await house.submit(NUMBER, send_at="2026-09-21T14:14:00Z")
        told = await ask(house, "queue.move", carrier="north", to="spare", preview=True)
        assert (told["messages"], told["more"]) == (9, False)
        assert "9 messages go to route spare" in told["touches"][0]
        assert NUMBER not in str(told)
        assert house.gateway.store.totals().messages[Phase.READY] == 8
        done = await ask(house, "queue.move", carrier="north", to="spare")
        assert done == {
            "moved": 9, "segments": 9, "to": "route spare", "stayed": {}, "complete": True, "next": "",
            "hint": "",
        }  # fmt: skip
        for one in [*ids, later]:
            message = await house.final(one)
            assert (message["state"], message["parts"][0]["carrier"]) == ("DELIVERED", "south")
            steps = {step["step"]: step.get("detail", "") for step in message["timeline"]}
            assert steps["moved"] == "north to south, by ann: north is down"
        (kept,) = acts(house, "queue.moved")
        assert (kept["messages"], kept["carrier"], kept["complete"], kept["who"]) == (9, "north", True, "ann")
        assert sound(house)


@trio_test(mock_clock=True)
async def test_a_move_goes_on_where_its_time_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_queues, "LONGEST_S", 0.0)
    monkeypatch.setattr(admin_queues, "_PORTION", 3)
    async with running(tmp_path, HOUSE) as house:
        for index in range(8):
            await house.submit(f"4477009001{index:02}", send_at="2026-09-21T15:20:00Z")
        moved: list[int] = []
        after = ""
        while not moved or after:
            done = await ask(house, "queue.move", account="acme", to="spare", after=after)
            moved.append(done["moved"])
            after = done["next"]
            assert sound(house)
        assert moved == [3, 3, 2]


@trio_test(mock_clock=True)
async def test_what_its_carriers_cannot_take_stays_and_is_told_of(tmp_path: Path) -> None:
    short = carrier("short", 2777, max_parts=1) + simulator("short", 2777)
    spare = '[[routes]]\nname = "spare"\nmatch = { prefix = ["999"] }\nlane = ["short"]\n'
    async with running(tmp_path, DOWN + short + spare + route("north")) as house:
        one = await house.submit(NUMBER)
        long = await house.submit(NUMBER, "A long message. " * 20)
        for preview in (True, False):
            done = await ask(house, "queue.move", all=True, to="spare", preview=preview)
        assert done["stayed"] == {"too long: more parts than the carriers there take": 1}
        assert (await house.final(one))["parts"][0]["carrier"] == "short"
        assert (await house.message(long))["phase"] == "ready"


@trio_test(mock_clock=True)
async def test_what_was_moved_to_one_carrier_stays_with_it_over_a_reload_and_a_restart(
    tmp_path: Path,
) -> None:
    two = DOWN + SOUTH + route("north")
    async with running(tmp_path, two) as house:
        one = await house.submit(NUMBER, send_at="2026-09-21T14:14:30Z")
        await ask(house, "carrier.suspend", name="south")
        two_ready = await house.submit(NUMBER)
        told = await ask(house, "queue.move", all=True, to_carrier="south", preview=True)
        assert any("south: suspended by an operator" in line for line in told["warnings"])
        assert (await ask(house, "queue.move", all=True, to_carrier="south"))["moved"] == 2
        (lane,) = [one for one in queues(house.gateway) if one.lane == "@south"]
        assert (lane.ready, lane.scheduled, lane.reason) == (1, 1, "suspended")
        await ask(house, "config.reload")
        await trio.sleep(5)
    async with running(tmp_path, two) as house:
        await trio.sleep(5)
        await ask(house, "carrier.resume", name="south")
        for id in (two_ready, one):
            message = await house.final(id)
            assert (message["state"], message["parts"][0]["carrier"]) == ("DELIVERED", "south")
        assert sound(house)


@trio_test(mock_clock=True)
async def test_messages_moved_to_a_carrier_that_leaves_are_planned_anew(tmp_path: Path) -> None:
    async with running(tmp_path, HOUSE) as house:
        one = await house.submit(NUMBER)
        await ask(house, "carrier.suspend", name="south")
        await ask(house, "queue.move", all=True, to_carrier="south")
    third = carrier("west", 2778) + simulator("west", 2778)
    async with running(tmp_path, third + route("west")) as house:
        assert (await house.final(one))["parts"][0]["carrier"] == "west"
        assert sound(house)


@trio_test(mock_clock=True)
async def test_bounced_messages_give_their_customer_exactly_one_final_receipt(tmp_path: Path) -> None:
    async with running(tmp_path, HOUSE) as house:
        ids = [await house.submit(f"4477009001{index:02}") for index in range(3)]
        kept = await house.submit("4930123456")
        told = await ask(house, "queue.bounce", prefix="4477", preview=True)
        assert told["messages"] == 3
        done = await ask(house, "queue.bounce", prefix="+4477")
        assert (done["bounced"], done["state"], done["complete"]) == (3, "UNDELIVERABLE", True)
        await house.until(lambda: len(house.customer.events) >= 3)
        await trio.sleep(300)
        for one in ids:
            (event,) = house.customer.of(one)
            assert (event["state"], event["final"]) == ("UNDELIVERABLE", True)
            message = await house.message(one)
            assert (message["reason"], message["cause"]) == ("bounced", "cancelled")
        assert (await house.message(kept)).get("reason") != "bounced"
        (entry,) = acts(house, "queue.bounced")
        assert (entry["messages"], entry["state"], entry["reason"]) == (3, "UNDELIVERABLE", "north is down")
        assert sound(house)


@trio_test(mock_clock=True)
async def test_a_forced_message_overtakes_and_yet_obeys_tps(tmp_path: Path) -> None:
    sent: list[tuple[float, bytes]] = []

    def handler(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if isinstance(pdu, SubmitSm):
            sent.append((trio.current_time(), bytes(pdu.short_message)))
            yield SubmitSmResp(message_id=b"s%d" % len(sent), sequence_number=pdu.sequence_number)

    toml = carrier("north", 2790, tps=1) + route("north")
    async with running_with(tmp_path, toml, Script(handler)) as (house, _):
        await house.bound()
        for index in range(20):
            await house.submit(f"4477009001{index:02}", f"m{index}")
        last = await house.submit(NUMBER, "urgent", priority=0)
        await house.until(lambda: len(sent) >= 3)
        before = len(sent)
        done = await ask(house, "message.force", id=last)
        assert (done["outcome"], done["carrier"]) == ("forced", "north")
        await house.until(lambda: len(sent) >= 21)
        place = [text for _, text in sent].index(b"urgent")
        assert before <= place <= before + 1  # one may have been leased already
        gaps = [after[0] - one[0] for one, after in pairwise(sent)]
        assert min(gaps) > 0.99
        assert sound(house)


@trio_test(mock_clock=True)
async def test_a_forced_message_waits_for_no_back_off_and_no_higher_choice(tmp_path: Path) -> None:
    first = carrier("first", 2790, tps=0.01)
    async with running_with(tmp_path, first + SOUTH + route("first", "south"), Script()) as (house, script):
        await house.bound()
        await house.submit("447700900100")
        await house.until(lambda: len(script.submits) == 1)
        await house.submit("447700900101")  # leased, and waits for its token
        later = await house.submit(NUMBER, send_at="2026-09-21T15:20:00Z")
        ready = await house.submit(NUMBER)
        started = trio.current_time()
        for one in (later, ready):
            told = await ask(house, "message.force", id=one, preview=True)
            assert "goes to south next" in told["touches"][0]
            assert (await ask(house, "message.force", id=one))["carrier"] == "south"
        for one in (later, ready):
            assert (await house.final(one))["parts"][0]["carrier"] == "south"
        assert trio.current_time() - started < 4
        assert sound(house)


@trio_test(mock_clock=True)
async def test_force_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with running(tmp_path, HOUSE) as house:
        await house.until(lambda: any(one.able() for one in house.gateway.carriers))
        one = await house.submit(NUMBER)

        async def refused(**args: Any) -> AdminError:
            with pytest.raises(AdminError) as caught:
                await ask(house, "message.force", id=one, **args)
            return caught.value

        assert "north: no bind" in (await refused()).message
        assert (await refused(carrier="south")).code == "elsewhere"
        assert (await refused(preview=True)).code == "no_carrier"
        assert (await ask(house, "message.reroute", id=one, to_carrier="south"))["outcome"] == "moved"
        await house.final(one)
        assert (await refused()).code == "final"
        one = await house.submit(NUMBER)
        await ask(house, "carrier.suspend", name="south")
        await ask(house, "message.reroute", id=one, to="spare")
        assert "south: suspended by an operator" in (await refused(carrier="south")).message
        await ask(house, "account.suspend", name="acme")
        assert (await refused()).code == "suspended"
        one = "12"
        assert (await refused()).code == "not_found"


@trio_test(mock_clock=True)
async def test_one_message_is_rerouted_and_tells_of_it(tmp_path: Path) -> None:
    async with running(tmp_path, HOUSE) as house:
        one, other = await house.submit(NUMBER), await house.submit(NUMBER)
        told = await ask(house, "message.reroute", id=one, to="spare", preview=True)
        assert "goes to route spare: south" in told["touches"][0]
        done = await ask(house, "message.reroute", id=one, to="spare")
        assert (done["outcome"], done["lane"]) == ("moved", "south")
        assert (await house.final(one))["parts"][0]["carrier"] == "south"
        assert (await house.message(other))["phase"] == "ready"
        assert acts(house, "message.rerouted")[0]["to"] == "route spare"


@trio_test(mock_clock=True)
async def test_a_filter_that_cannot_be_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, HOUSE) as house:
        await house.submit(NUMBER)
        args: dict[str, Any]
        for args, field in (
            ({"to": "spare"}, "all"),
            ({"all": True}, "to"),
            ({"all": True, "to": "spare", "to_carrier": "south"}, "to"),
            ({"all": True, "to": "nowhere"}, "to"),
            ({"all": True, "to_carrier": "nobody"}, "to_carrier"),
            ({"lane": "nothing", "to": "spare"}, "lane"),
            ({"carrier": "nobody", "to": "spare"}, "carrier"),
        ):
            with pytest.raises(AdminError) as caught:
                await ask(house, "queue.move", **args)
            assert caught.value.code == "bad_arguments", args
            assert caught.value.message.startswith(f"{field}:"), args
        for args in ({"country": "DE"}, {"phase": "held"}, {"older_than_s": 60}, {"priority": 3}):
            assert (await ask(house, "queue.bounce", **args))["bounced"] == 0, args
        assert (await ask(house, "queue.bounce", country="GB", lane="north", route="all"))["bounced"] == 1


@trio_test(mock_clock=True)
async def test_a_cancel_has_a_preview(tmp_path: Path) -> None:
    async with running(tmp_path, HOUSE) as house:
        one = await house.submit(NUMBER)
        told = await ask(house, "message.cancel", id=one, preview=True)
        assert "ends as DELETED" in told["touches"][0]
        assert (await house.message(one))["phase"] == "ready"
        assert (await ask(house, "message.cancel", id=one))["outcome"] == "cancelled"
        assert acts(house, "message.cancelled")[0]["who"] == "ann"


@trio_test(mock_clock=True)
async def test_over_http_a_call_goes_on_where_the_one_before_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_queues, "LONGEST_S", 0.0)
    monkeypatch.setattr(admin_queues, "_PORTION", 2)
    async with running(tmp_path, HOUSE) as house:
        _, key = await house.gateway.operators.create("ann", Role.OPERATOR)
        for index in range(5):
            await house.submit(f"4477009001{index:02}")
        body: dict[str, Any] = {"carrier": "north", "reason": "north is down"}
        after = ""
        counts: list[int] = []
        while after or not counts:
            given = {**body, "after": after}
            status, told = await house.http("POST", "/v1/acts/queue.bounce", given, key=key)
            assert status == 200
            after = told["result"]["next"]
            counts.append(told["result"]["bounced"])
        assert counts == [2, 2, 1]
        assert {one["who"] for one in acts(house, "queue.bounced")} == {"ann"}
        status, problem = await house.http("POST", "/v1/acts/queue.bounce", {**body, "after": "zz"}, key=key)
        assert (status, [one["field"] for one in problem["errors"]]) == (422, ["after"])
        assert sound(house)


@trio_test(mock_clock=True)
async def test_a_preview_that_ends_before_all_are_counted_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_queues, "COUNTED", 3)
    async with running(tmp_path, HOUSE) as house:
        for index in range(5):
            await house.submit(f"4477009001{index:02}")
        told = await ask(house, "queue.bounce", all=True, preview=True)
        assert (told["messages"], told["more"]) == (3, True)
        assert told["touches"][0] == "at least 3 messages end as UNDELIVERABLE"


@trio_test(mock_clock=True)
async def test_a_forced_message_waits_for_its_accounts_own_limit_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, SOUTH + route("south"), send_per_minute=2) as house:
        await house.bound()
        for _ in range(2):
            await house.final(await house.submit(NUMBER))
        one = await house.submit(NUMBER)
        done = await ask(house, "message.force", id=one)
        assert done["waits_for"] == "the accounts are at their own limits"
        await trio.sleep(20)
        assert (await house.message(one))["phase"] == "ready"
        await trio.sleep(60)
        assert (await house.message(one))["state"] == "DELIVERED"
