"""Acts over HTTP: the list, a preview that changes nothing, a reason that must be there, the audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from gateway.acts import ACTS
from router.roles import Role, scopes_of
from tests.gateway.house import Running, carrier, route, running, simulator
from tests.trio_case import trio_test

ONE = carrier("north", 2776) + route("north") + simulator("north", 2776)


async def operator(house: Running, role: Role = Role.OPERATOR) -> str:
    _, key = await house.gateway.operators.create(f"{role.value}-ann", role)
    return key


def acts_kept(house: Running) -> list[str]:
    acts = [row.entry.act for row in house.gateway.store.audit_log(100)]
    return [one for one in acts if one != "key.used"]


@trio_test(mock_clock=True)
async def test_the_list_has_what_the_key_may_do_and_what_is_in_force(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        key = await operator(house)
        status, told = await house.http("GET", "/v1/acts", key=key)
        assert status == 200
        assert [one["verb"] for one in told["acts"]] == [
            one.verb for one in ACTS if one.scope in scopes_of(Role.OPERATOR)
        ]
        assert told["in_force"] == []
        status, told = await house.http("GET", "/v1/acts", key=await operator(house, Role.AUDITOR))
        assert (status, told["acts"]) == (200, [])
        body = {"name": "north", "for_s": 60, "reason": "their maintenance"}
        assert (await house.http("POST", "/v1/acts/carrier.suspend", body, key=key))[0] == 200
        (order,) = (await house.http("GET", "/v1/acts", key=key))[1]["in_force"]
        assert (order["kind"], order["subject"], order["by"]) == (
            "carrier.suspended",
            "carrier:north",
            "operator-ann",
        )
        assert order["until"] is not None
        end = order["end"]
        ended = {**end["arguments"], "reason": "they are done"}
        assert (await house.http("POST", f"/v1/acts/{end['verb']}", ended, key=key))[0] == 200
        assert (await house.http("GET", "/v1/acts", key=key))[1]["in_force"] == []


@trio_test(mock_clock=True)
async def test_a_preview_says_what_is_touched_and_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await house.bound()
        key = await operator(house)
        before = acts_kept(house)
        body = {"name": "north", "preview": True}
        status, told = await house.http("POST", "/v1/acts/carrier.suspend", body, key=key)
        assert (status, told["done"], told["result"]) == (200, False, None)
        assert any("takes nothing new" in one for one in told["preview"]["touches"])
        assert "no other carrier takes messages now in: north" in told["preview"]["warnings"]
        assert acts_kept(house) == before
        assert not house.gateway.carriers[0].suspended


@trio_test(mock_clock=True)
async def test_messages_that_lose_their_last_carrier_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await house.bound()
        key = await operator(house)
        await house.http("POST", "/v1/acts/carrier.suspend", {"name": "north", "reason": "x"}, key=key)
        for _ in range(3):
            await house.submit("447700900123")
        await trio.sleep(1)
        body = {"name": "north", "preview": True}
        _, told = await house.http("POST", "/v1/acts/carrier.suspend", body, key=key)
        assert (told["preview"]["messages"], told["preview"]["more"]) == (3, False)
        _, told = await house.http("POST", "/v1/acts/carrier.resume", body, key=key)
        assert told["preview"]["messages"] == 3


@trio_test(mock_clock=True)
async def test_an_act_needs_a_reason_and_tells_the_trail_who_and_why(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        key = await operator(house)
        for reason in (None, "", "   ", "two\nlines"):
            body: dict[str, Any] = {"name": "north"} | ({} if reason is None else {"reason": reason})
            status, problem = await house.http("POST", "/v1/acts/carrier.suspend", body, key=key)
            assert (status, [one["field"] for one in problem["errors"]]) == (422, ["reason"]), reason
        assert not house.gateway.carriers[0].suspended
        body = {"name": "north", "reason": "their maintenance"}
        status, told = await house.http("POST", "/v1/acts/carrier.suspend", body, key=key)
        assert (status, told["done"], told["result"]["suspended"]) == (200, True, True)
        kept = house.gateway.store.audit_log(1)[0].entry
        assert (kept.who, kept.via, kept.act, kept.reason) == (
            "operator-ann",
            "http",
            "carrier.suspended",
            "their maintenance",
        )


@trio_test(mock_clock=True)
async def test_what_there_is_not_and_what_cannot_be_are_named(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        key = await operator(house)
        body: dict[str, Any] = {"name": "nowhere", "reason": "x"}
        status, problem = await house.http("POST", "/v1/acts/carrier.suspend", body, key=key)
        assert (status, problem["type"]) == (404, "urn:signalbox:problem:no-such-subject")
        body = {"name": "north", "for_s": -1, "resaon": "x"}
        status, problem = await house.http("POST", "/v1/acts/carrier.suspend", body, key=key)
        assert (status, sorted(one["field"] for one in problem["errors"])) == (422, ["for_s", "resaon"])
        body = {"number": 999, "reason": "x"}
        status, problem = await house.http("POST", "/v1/acts/config.rollback", body, key=key)
        assert (status, problem["type"]) == (409, "urn:signalbox:problem:act-refused")


@trio_test(mock_clock=True)
async def test_every_act_previews_without_a_reason_and_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await house.bound()
        key = await operator(house, Role.OWNER)
        before = acts_kept(house)
        for act in ACTS:
            body = {**act.example, "preview": True}
            status, told = await house.http("POST", f"/v1/acts/{act.verb}", body, key=key)
            assert status in (200, 404, 409, 422), (act.verb, told)
            if status == 200:
                assert (told["verb"], told["done"]) == (act.verb, False)
                assert isinstance(told["preview"]["touches"], list), act.verb
        assert acts_kept(house) == before
