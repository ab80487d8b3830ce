"""Inbound messages over HTTP: listed newest first, one by id, by account, number and time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from gateway.http.mos import LOOKED
from router.nouns import InboundMessage
from router.roles import Role
from tests.gateway.house import START_MS
from tests.gateway.http.test_accounts import Operator, operator
from tests.trio_case import trio_test

ANN_S, BOB_S = "447700900001", "447700900002"


class House:
    def __init__(self, ann: Operator, one: str, two: str) -> None:
        self.ann = ann
        self.one = f"Bearer {one}"
        self.two = f"Bearer {two}"
        self.gateway = ann.house.gateway

    async def came(self, account: str, source: str = ANN_S, count: int = 1, **fields: Any) -> list[str]:
        """Ids of so many, oldest first."""
        owner = self.gateway.accounts.by_name[account].id if account else 0
        store, now_ms = self.gateway.store, self.gateway.world.wall_ms()
        carrier = store.carrier_id("north")
        first = store.next_ids(count, now_ms)
        mos = [
            InboundMessage(
                first + at,
                owner,
                carrier,
                now_ms,
                source,
                "12345",
                0,
                fields.get("text", "Yes"),
                b"",
                parts=1,
            )
            for at in range(count)
        ]
        await self.gateway.committer.execute(lambda txn: txn.inbound(mos, now_ms))
        return [str(one.id) for one in mos]

    async def listed(self, query: str = "", key: str = "") -> Any:
        answer = await self.ann.ask("GET", f"/v1/mos{query}", authorization=key or self.one)
        assert answer.status == 200, answer.raw
        return answer.json

    async def ids(self, query: str = "", key: str = "") -> list[str]:
        """Of all pages."""
        found: list[str] = []
        while True:
            page = await self.listed(query, key)
            found += [one["id"] for one in page["mos"]]
            if page["next"] is None:
                return found
            query = page["next"].removeprefix("/v1/mos")


@asynccontextmanager
async def house(directory: Path) -> AsyncIterator[House]:
    async with operator(directory) as ann:
        one, two = await ann.made("one"), await ann.made("two")
        yield House(ann, one["api_key"], two["api_key"])


@trio_test(mock_clock=True)
async def test_an_account_lists_its_own_newest_first_in_pages(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        mine = await at.came("one", count=5)
        await at.came("two", count=3)
        await at.came("")
        assert await at.ids("?limit=2") == mine[::-1]
        (newest, *_) = (await at.listed())["mos"]
        assert newest == {
            "id": mine[-1],
            "received_at": newest["received_at"],
            "from": ANN_S,
            "to": "12345",
            "encoding": "gsm7",
            "parts": 1,
            "complete": True,
            "text": "Yes",
        }
        one = await at.ann.ask("GET", f"/v1/mos/{mine[2]}", authorization=at.one)
        assert (one.status, one.json["id"]) == (200, mine[2])


@trio_test(mock_clock=True)
async def test_anothers_is_as_good_as_none(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        (foreign,) = await at.came("two")
        (nobodys,) = await at.came("")
        for id in (foreign, nobodys, "1", "x", "9" * 40):
            answer = await at.ann.ask("GET", f"/v1/mos/{id}", authorization=at.one)
            assert (answer.status, answer.code) == (404, "no-such-mo")
        for query in ("?account=two", "?unrouted=true"):
            answer = await at.ann.ask("GET", f"/v1/mos{query}", authorization=at.one)
            assert answer.status == 422


@trio_test(mock_clock=True)
async def test_operators_list_all_and_what_nobody_owns(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        (mine,), (theirs,), (nobodys,) = await at.came("one"), await at.came("two"), await at.came("")
        anns = f"Bearer {at.ann.key}"
        assert await at.ids("", anns) == [nobodys, theirs, mine]
        assert await at.ids("?unrouted=true", anns) == [nobodys]
        assert await at.ids("?account=two&limit=1", anns) == [theirs]
        shown = [(one["account"], one["carrier"]) for one in (await at.listed("", anns))["mos"]]
        assert shown == [("", "north"), ("two", "north"), ("one", "north")]
        unknown = await at.ann.ask("GET", "/v1/mos?account=three")
        assert (unknown.status, unknown.code) == (404, "no-such-account")


@trio_test(mock_clock=True)
async def test_who_may_not_see_texts_or_numbers_does_not(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        (id,) = await at.came("one", text="secret")
        for role, text, number in (
            ("support", None, ANN_S),
            ("auditor", None, None),
            ("owner", "secret", ANN_S),
        ):
            _, key = await at.gateway.operators.create(role, Role(role))
            answer = await at.ann.ask("GET", f"/v1/mos/{id}", authorization=f"Bearer {key}")
            if role == "auditor":
                assert answer.status == 403
                continue
            assert (answer.json.get("text"), answer.json["from"]) == (text, number)


@trio_test(mock_clock=True)
async def test_by_number_and_time(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        old = await at.came("one", ANN_S)
        await trio.sleep(3600)
        middle = datetime.fromtimestamp(START_MS / 1000 + trio.current_time(), UTC)
        said = middle.isoformat().replace("+", "%2B")
        await trio.sleep(10)
        new = await at.came("one", BOB_S)
        assert await at.ids(f"?from={ANN_S}") == await at.ids(f"?from=%2B{ANN_S}") == old
        assert await at.ids("?to=12345") == [*new, *old]
        assert await at.ids("?to=99999") == []
        assert await at.ids(f"?since={said}") == new
        assert await at.ids(f"?until={said}") == old
        for query in ("?limit=0", "?limit=501", "?cursor=x", "?since=yesterday", "?nothing=1"):
            assert (await at.ann.ask("GET", f"/v1/mos{query}", authorization=at.one)).status == 422


@trio_test(mock_clock=True)
async def test_a_search_for_few_among_many_looks_at_a_bounded_number_and_goes_on(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        (rare,) = await at.came("one", BOB_S)
        for _ in range(3):
            await at.came("one", ANN_S, count=LOOKED // 2 + 300)
        first = await at.listed(f"?from={BOB_S}")
        assert first["mos"] == []
        assert first["next"] is not None
        assert await at.ids(f"?from={BOB_S}") == [rare]
