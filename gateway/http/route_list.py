"""GET /v1/routes: the routes in force, in the order in which they are asked.

Of each what it asks for, as it was configured: of every list the first SHOWN entries, with a count of all.

Deliberately not here: which way one message goes and why (explain.py), HTTP's own routes (routes.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec

from config.model import Conditions, Config, RouteConfig
from gateway.admin import AdminError
from gateway.http.operated import PRIVATE, handler
from gateway.http.paging import after, page
from gateway.http.problems import BadRequest
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Routes
from gateway.http.table import routing as table
from gateway.http.typed import read_query
from router.routes import RouteTable

_TIMES = ("hours", "days", "dates")


class RouteListApi:
    """`in_force`: the configuration and its routes as they are now; `able`: whether a lane's carrier is."""

    def __init__(
        self, in_force: Callable[[], tuple[Config, RouteTable]], able: Callable[[int], bool]
    ) -> None:
        self._in_force = in_force
        self._able = able

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.ROUTES, handler(self._list, _refused))

    async def _list(self, request: Request) -> Answered:
        query = read_query(request.query, table.RoutesQuery)
        config, compiled = self._in_force()
        lanes = {one.name: one.lane for one in compiled.routes}
        places = {one.name: at for at, one in enumerate(config.routes)}
        at, name = after(query.cursor, tuple[int, str], (-1, ""))
        begin = max(places.get(name, at) + 1, 0)  # a route that a reload moved is found by its name
        rows = config.routes[begin : begin + query.limit + 1]
        shown = page(request, query, query.limit, rows, lambda one: (places[one.name], one.name))
        told = [route_view(one, self._able(lanes[one.name])) for one in shown.rows]
        body = msgspec.json.encode({"routes": told, "next": shown.next})
        return Answered(200, (*PRIVATE, *shown.headers), body)


def route_view(route: RouteConfig, able: bool) -> table.RouteOut:
    """What it asks for, and its lane, for people and programs."""
    match, counts = _asked_for(route)
    return table.RouteOut(
        route.name,
        match,
        counts,
        [table.LaneOut(one.carrier, one.weight) for one in route.lane],
        route.choose or ("weights" if route.weights else "order"),
        route.tps,
        route.max_queue_age_s,
        route.when_down,
        able,
    )


def _asked_for(route: RouteConfig) -> tuple[dict[str, Any], dict[str, int]]:
    """`match` as JSON, without what is left out; and how many entries its lists have that are cut."""
    counts: dict[str, int] = {}

    def cut(name: str, *lists: tuple[str, ...]) -> list[str]:
        count = sum(map(len, lists))
        if count > table.SHOWN:
            counts[name] = count
        return [text for one in lists for text in one[: table.SHOWN]][: table.SHOWN]

    def conditions(written: Conditions, under: str) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for field in dataclasses.fields(Conditions):
            value, name = getattr(written, field.name), field.name.rstrip("_")
            timeless = name == "zone" and not any(getattr(written, one) for one in _TIMES)
            left_out = not value and value is not False  # `ported = false` asks for something
            if name != "prefix" and not timeless and not left_out:
                told[name] = cut(under + name, value) if isinstance(value, tuple) else value
        return told

    match: dict[str, Any] = {}
    rule = route.rule
    if rule.prefixes:  # those of the file, too
        match["prefix"] = cut("prefix", rule.prefixes)
    match |= conditions(route.match, "")
    none_of = conditions(route.match.not_, "not.")
    if rule.left_out:
        none_of = {"prefix": cut("not.prefix", rule.left_out), **none_of}
    return ({**match, "not": none_of} if none_of else match), counts


def _refused(error: AdminError) -> BadRequest:
    return BadRequest(404, "not-found", error.message)
