"""Routes and lanes: what each takes, whether it moves and why not, and which way a message would go.

Deliberately not here: why a lane does not move (router.waiting), explaining (gateway.explain).
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from config.model import RouteConfig
from gateway.admin import AdminError
from gateway.admin_routes import LONGEST_TEXT, MessageClass
from gateway.console.frame import Frame
from gateway.console.page import Page, Refusal, Topic, Topics, Visit, one_of
from gateway.console.pages.queues import severity
from gateway.console.verdicts import rows as carrier_rows
from gateway.http.route_list import route_view
from gateway.measures import lane_name
from gateway.overview import LaneView
from router.nouns import LaneSpec
from router.waiting import Wait

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST = 40
_ENTRIES = 6  # of a list of conditions
_CLASSES = typing.get_args(MessageClass)


class RouteRow(msgspec.Struct):
    """A route as it is now. `ready`, `taken`: of its lane and the lane's variants, whoever shares them."""

    place: int
    name: str
    takes: str
    lane: str
    severity: str
    state: str
    line: str
    taken_per_s: float
    taken: int
    tps: float
    ready: int
    oldest_age_s: float
    shared: bool


class Families:
    """Lanes by what they share with a route's own: its variants under limits, for countries and senders."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lanes: dict[tuple[object, ...], list[int]] = {}
        self._waiting = gateway.figures.queues()
        self._throttles = gateway.board.throttles()
        self.ids = {one.name: one.lane for one in gateway.routes.routes}
        self._routes: dict[int, int] = {}
        for lane in self.ids.values():
            self._routes[lane] = self._routes.get(lane, 0) + 1
        for lane in islice(gateway.board.lanes(), 2_000):
            self._lanes.setdefault(_key(gateway.store.lane(lane)), []).append(lane)

    def of(self, route: str) -> list[int]:
        """The route's lane first."""
        own = self.ids[route]
        return [own, *(one for one in self._lanes.get(self._key(own), ()) if one != own)]

    def row(self, place: int, route: RouteConfig) -> RouteRow:
        gateway, lanes = self._gateway, self.of(route.name)
        views = [self._waiting.view(lane) for lane in lanes if lane in self._waiting.known]
        views = [view for view in views if view.ready]
        worst = max(views, key=lambda view: view.oldest_age_s, default=None)
        state, line, how = self._state(lanes[0], worst)
        return RouteRow(
            place=place,
            name=route.name,
            takes=takes(route),
            lane=lane_name(gateway, lanes[0]),
            severity=how,
            state=state,
            line=line,
            taken_per_s=round(sum(map(gateway.figures.taken_per_s, lanes)), 1),
            taken=sum(map(gateway.board.taken, lanes)),
            tps=self._tps(route),
            ready=sum(view.ready for view in views),
            oldest_age_s=worst.oldest_age_s if worst is not None else 0.0,
            shared=self._routes[lanes[0]] > 1,
        )

    def view(self, route: str) -> LaneView | None:
        """Of its own lane, while something is in it."""
        lane = self.ids[route]
        return self._waiting.view(lane) if lane in self._waiting.known else None

    def _key(self, lane: int) -> tuple[object, ...]:
        return _key(self._gateway.store.lane(lane))

    def _tps(self, route: RouteConfig) -> float:
        throttle = self._throttles.get(route.name)
        return throttle.rate_per_s if throttle is not None else 0.0

    def _state(self, lane: int, worst: LaneView | None) -> tuple[str, str, str]:
        if worst is not None:
            moves = worst.reason in ("free", "busy")
            return "moves" if moves else worst.reason.replace("_", " "), worst.detail, severity(worst.reason)
        if self._gateway.board.able(lane):
            return "ready", "nothing waits, and a carrier takes what comes", "good"
        return "no carrier", "nothing waits, and no carrier would take what comes", "critical"


def _key(spec: LaneSpec) -> tuple[object, ...]:
    return spec.carriers, spec.weights, spec.route


def takes(route: RouteConfig) -> str:
    """What a route asks for, in a line."""
    said = [f"{name} {value}" for name, value in conditions(route, _ENTRIES)]
    return "; ".join(said) or "everything else"


def conditions(route: RouteConfig, most: int = 20) -> list[tuple[str, str]]:
    """(kind, what is asked for)"""
    view = route_view(route, True)
    found = []
    for name, value in view.match.items():
        if isinstance(value, dict):
            found += [(f"not {under}", _words(one, view.counts.get(f"not.{under}", 0), most))
                      for under, one in value.items()]  # fmt: skip
        else:
            found.append((name.replace("_", " "), _words(value, view.counts.get(name, 0), most)))
    return found


def _words(value: object, count: int, most: int) -> str:
    if not isinstance(value, list):
        return str(value).lower() if isinstance(value, bool) else str(value)
    more = max(count, len(value)) - most
    return ", ".join(map(str, value[:most])) + (f" and {more} more" if more > 0 else "")


def rows(gateway: Gateway, after: int = 0, carrier: str = "", most: int = MOST) -> tuple[list[RouteRow], int]:
    """`most` routes from the `after`-th on, of all or of those that name a carrier; and how many more."""
    families = Families(gateway)
    wanted = [
        (place, route)
        for place, route in enumerate(gateway.config.routes, 1)
        if place > after and (not carrier or carrier in route.carriers) and route.name in families.ids
    ]
    return [families.row(place, route) for place, route in wanted[:most]], max(0, len(wanted) - most)


def listed(visit: Visit, **more: Any) -> Response:
    written = visit.query("after")
    after = int(written) if written.isdecimal() and len(written) < 7 else 0
    found, left = rows(visit.gateway, after)
    facts = {
        "parts": _listed(visit.frame, found, left),
        "topic": one_of("routes", str(after)) if after else "routes",
        "after": after,
        "more": left,
        "last": found[-1].place if found else 0,
        "classes": _CLASSES,
        "asked": {"to": "", "sender": "", "account": "", "length": "", "message_class": "transactional"},
        "told": None,
        "wrong": "",
        "first": "",
    }
    return visit.render("routes.html", **{**facts, **more})


async def explain(visit: Visit) -> Response:
    """By POST: a number is not for addresses and histories."""
    names = ("to", "sender", "account", "length", "class")
    given = {name: visit.form.text(name.encode())[:64].strip() for name in names}
    length = int(given["length"]) if given["length"].isdecimal() and len(given["length"]) < 6 else 0
    asked = {**given, "message_class": given["class"] if given["class"] in _CLASSES else "transactional"}
    told: dict[str, Any] | None = None
    wrong = ""
    try:
        told = await visit.ask(
            "route.explain",
            to=given["to"],
            sender=given["sender"],
            account=given["account"],
            text="x" * min(length, LONGEST_TEXT),
            message_class=asked["message_class"],
        )
    except AdminError as error:
        wrong = f"{error.message}; {error.hint}" if error.hint else error.message
    first = next((one["carrier"] for one in told["carriers"] if one["order"] == 1), "") if told else ""
    facts = {"told": told, "wrong": wrong, "first": f"first {first}" if first else ""}
    if visit.by_htmx:
        return visit.fragment("_explained.html", **facts)
    return listed(visit, asked=asked, **facts)


def show(visit: Visit) -> Response:
    name = visit.params["name"]
    found = _route(visit.gateway, name)
    if found is None:
        raise Refusal(404, f"There is no route {name[:64]!r}.", "The list shows those in force.")
    place, route = found
    return visit.render(
        "route.html",
        title=f"Route {name}",
        topic=one_of("route", name),
        parts=parts_of(visit.gateway, visit.frame, name),
        name=name,
        place=place,
        count_=len(visit.gateway.config.routes),
        lane=lane_name(visit.gateway, Families(visit.gateway).ids[name]),
        match=conditions(route),
        view=route_view(route, True),
    )


def _route(gateway: Gateway, name: str) -> tuple[int, RouteConfig] | None:
    numbered = enumerate(gateway.config.routes, 1)
    return next(((place, one) for place, one in numbered if one.name == name), None)


def parts_of(gateway: Gateway, frame: Frame, name: str) -> Mapping[str, str]:
    """Of one route; nothing where a reload took it away."""
    found = _route(gateway, name)
    families = Families(gateway)
    if found is None or name not in families.ids:
        return {}
    place, route = found
    view = families.view(name)
    all_ = {one.now.name: one for one in carrier_rows(gateway)}
    inside = [
        (all_[one.carrier], one.weight, _in_lane(view, one.carrier))
        for one in route.lane
        if one.carrier in all_
    ]
    orders = [one for one in gateway.orders.in_force() if one.subject == f"route:{name}"]
    return {
        "route-now": frame.shared("_route_now.html", one=families.row(place, route)),
        "route-orders": frame.shared("_orders.html", orders=orders),
        "route-carriers": frame.shared("_route_carriers.html", carriers=inside),
    }


def _in_lane(view: LaneView | None, carrier: str) -> str:
    if view is None or carrier not in view.carriers:
        return "nothing waits"
    return Wait[view.carriers[carrier].upper()].value


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    return _listed(frame, *rows(gateway))


def _listed(frame: Frame, found: list[RouteRow], more: int) -> Mapping[str, str]:
    return {"routes": frame.shared("_routes.html", routes=found, more=more)}


def some(gateway: Gateway, after: str) -> Topic | None:
    """The list from a place on."""
    if not after.isdecimal() or len(after) > 6:
        return None
    return Topic("routes", "routes.read", lambda gateway, frame: _listed(frame, *rows(gateway, int(after))))


def one(gateway: Gateway, name: str) -> Topic | None:
    if _route(gateway, name) is None:
        return None
    return Topic("route", "routes.read", lambda gateway, frame: parts_of(gateway, frame, name))


PAGES = (
    Page("/routes", "routes.read", listed, "Routes and lanes", "Routes", "r", "routes"),
    Page("/routes/explain", "routes.explain", explain, "Routes and lanes", method="POST"),
    Page("/routes/{name}", "routes.read", show, "Route"),
)
TOPICS = (
    Topic("routes", "routes.read", parts),
    Topics("routes", "routes.read", some),
    Topics("route", "routes.read", one),
)
