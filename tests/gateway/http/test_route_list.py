"""GET /v1/routes: what there is of each route, lists that are cut, pages, and whether a carrier is able."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.http.paging import cursor
from tests.gateway.house import Script, carrier, running_with
from tests.gateway.http.test_accounts import Operator
from tests.trio_case import trio_test

PREFIXES = [str(number) for number in range(4400, 4425)]
TOML = (
    carrier("north", 2790)
    + carrier("south", 2791)
    + f"""
[[routes]]
name = "uk"
match.prefix = {PREFIXES[:23]}
match.prefix_file = "more.csv"
match.class = ["otp"]
match.ported = false
match.min_segments = 2
lane = [{{ carrier = "north", weight = 70 }}, {{ carrier = "south", weight = 30 }}]
tps = 5.0
max_queue_age_s = 60
when_down = "reject"
[[routes]]
name = "nights"
match = {{ hours = ["22:00-06:00"], not = {{ account = ["rival"], prefix = ["49"] }} }}
lane = ["south"]
choose = "cheapest"
allow_loss = true
[[routes]]
name = "rest"
lane = ["north", "south"]
"""
)


@asynccontextmanager
async def asking(directory: Path) -> AsyncIterator[Operator]:
    (directory / "more.csv").write_text("\n".join(PREFIXES[23:]) + "\n")
    async with running_with(directory, TOML, Script()) as (house, _):
        _, key = await house.gateway.operators.create("ann")
        yield Operator(house, key)


@trio_test(mock_clock=True)
async def test_routes_are_told_in_order_as_they_were_configured(tmp_path: Path) -> None:
    async with asking(tmp_path) as ann:
        answer = await ann.ask("GET", "/v1/routes")
        assert answer.status == 200, answer.raw
        uk, nights, rest = answer.json["routes"]
        assert answer.json["next"] is None
        assert uk == {
            "name": "uk",
            "match": {"prefix": PREFIXES[:20], "ported": False, "class": ["otp"], "min_segments": 2},
            "counts": {"prefix": 25},
            "lane": [{"carrier": "north", "weight": 70}, {"carrier": "south", "weight": 30}],
            "choose": "weights",
            "tps": 5.0,
            "max_queue_age_s": 60,
            "when_down": "reject",
            "able": True,
        }
        assert nights["match"] == {
            "hours": ["22:00-06:00"],
            "zone": "UTC",
            "not": {"prefix": ["49"], "account": ["rival"]},
        }
        assert (nights["choose"], nights["able"]) == ("cheapest", False)  # nobody answers as south
        assert (rest["match"], rest["counts"], rest["choose"]) == ({}, {}, "order")
        assert rest["lane"] == [{"carrier": "north", "weight": None}, {"carrier": "south", "weight": None}]


@trio_test(mock_clock=True)
async def test_a_suspended_carrier_is_not_able(tmp_path: Path) -> None:
    async with asking(tmp_path) as ann:
        assert (await ann.ask("POST", "/v1/carriers/north/suspend")).status == 200
        answer = await ann.ask("GET", "/v1/routes")
        assert [one["able"] for one in answer.json["routes"]] == [False, False, False]


@trio_test(mock_clock=True)
async def test_pages_go_on_behind_the_route_that_was_shown_last(tmp_path: Path) -> None:
    async with asking(tmp_path) as ann:
        seen, path = [], "/v1/routes?limit=1"
        while path:
            answer = await ann.ask("GET", path)
            seen += [one["name"] for one in answer.json["routes"]]
            path = answer.json["next"]
        assert seen == ["uk", "nights", "rest"]
        # A reload took or moved that route: by its name, else by its place.
        for place, left in (((0, "gone"), ["nights", "rest"]), ((0, "nights"), ["rest"]), ((9, "gone"), [])):
            answer = await ann.ask("GET", f"/v1/routes?cursor={cursor(place)}")
            assert [one["name"] for one in answer.json["routes"]] == left
        assert (await ann.ask("GET", "/v1/routes?cursor=x")).status == 422
        assert (await ann.ask("GET", "/v1/routes?limit=201")).status == 422


@trio_test(mock_clock=True)
async def test_accounts_are_told_of_no_routes(tmp_path: Path) -> None:
    async with asking(tmp_path) as ann:
        ann.key = ann.house.key
        assert (await ann.ask("GET", "/v1/routes")).status == 403
