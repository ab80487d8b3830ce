"""One carrier: its binds, answers, countries, orders, routes and events, and what may be done to it.

Deliberately not here: figures (gateway.figures), health (gateway.health), reasons (router.waiting).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import trio
from starlette.responses import Response

from gateway.console.frame import Frame
from gateway.console.page import Page, Refusal, Topic, Topics, Visit, one_of
from gateway.console.pages import routes
from gateway.console.verdicts import rows
from smpp.status import describe
from store.interface import NO_ID

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier
    from store.interface import NoticeRow

MOST_ROUTES = 20
MOST_COUNTRIES = 20
MOST_EVENTS = 10
MOST_STATUSES = 20


class Bind(NamedTuple):
    """One link. `since_s`: for how long it is bound, None: it is not."""

    name: str
    state: str
    severity: str
    bind: str
    host: str
    since_s: float | None
    used: int
    window: int
    last_error: str


def show(visit: Visit) -> Response:
    carrier = _carrier(visit.gateway, visit.params["name"])
    if carrier is None:
        raise Refusal(
            404, f"There is no carrier {visit.params['name'][:64]!r}.", "The list shows those there are."
        )
    return visit.render(
        "carrier.html",
        title=f"Carrier {carrier.name}",
        topic=one_of("carrier", carrier.name),
        parts=One(carrier.name).parts(visit.gateway, visit.frame),
        name=carrier.name,
        settings=carrier.settings,
        links=[link.name for link in carrier.links],
    )


def _carrier(gateway: Gateway, name: str) -> Carrier | None:
    return next((one for one in gateway.carriers if one.name == name), None)


class One:
    """What moves on a carrier's page. It remembers the events about it: to look for them costs a walk through
    the log, which is made only when there is a new one of any kind."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._newest = -1
        self._events: list[NoticeRow] = []

    def parts(self, gateway: Gateway, frame: Frame) -> Mapping[str, str]:
        """Nothing where a reload took it away."""
        name, carrier = self._name, _carrier(gateway, self._name)
        row = next((one for one in rows(gateway) if one.now.name == name), None)
        if carrier is None or row is None:
            return {}
        health = gateway.health.view(carrier, gateway.world.wall_ms())["health"]
        assert isinstance(health, dict)
        found, more = routes.rows(gateway, carrier=name, most=MOST_ROUTES)
        orders = [
            one
            for one in gateway.orders.in_force()
            if one.subject == f"carrier:{name}" or one.subject.startswith(f"link:{name}/")
        ]
        countries = health["countries"]
        return {
            "carrier-now": frame.shared("_carrier_now.html", one=row, health=health),
            "carrier-orders": frame.shared("_orders.html", orders=orders),
            "carrier-binds": frame.shared("_carrier_binds.html", binds=binds(carrier)),
            "carrier-lanes": frame.shared("_carrier_lanes.html", routes=found, more=more),
            "carrier-statuses": frame.shared("_carrier_statuses.html", statuses=statuses(gateway, name)),
            "carrier-countries": frame.shared(
                "_carrier_countries.html",
                countries=countries[:MOST_COUNTRIES],
                more=max(0, len(countries) - MOST_COUNTRIES),
            ),
            "carrier-events": frame.shared(
                "_events_about.html", events=self._about(gateway), subject=f"carrier:{name}"
            ),
        }

    def figures(self, gateway: Gateway) -> object:
        past = gateway.figures.carrier_history(self._name)
        lines = {"labels": ["sent", "throttled", "failed"], "rows": [past.sent, past.throttled, past.errors]}
        return {"times": past.seconds, "charts": {"carrier": lines}}

    def _about(self, gateway: Gateway) -> list[NoticeRow]:
        newest = max((row.number for row in gateway.store.notices(1)), default=0)
        if newest != self._newest:
            self._newest = newest
            self._events = gateway.store.notices(MOST_EVENTS, NO_ID, f"carrier:{self._name}")
        return self._events


def binds(carrier: Carrier) -> list[Bind]:
    """Every link, in order."""
    now, size = trio.current_time(), carrier.settings.window
    found = []
    for link in carrier.links:
        state, how = ("bound", "good") if link.bound else ("connecting", "critical")
        if link.suspended:
            state, how = f"{state}, suspended", "warning"
        since_s = now - link.bound_since if link.bound else None
        used = size - link.session.window_free if link.session is not None else 0
        found.append(Bind(link.name, state, how, link.bind, link.host, since_s, used, size, link.last_error))
    return found


def statuses(gateway: Gateway, name: str) -> list[tuple[str, int, float, bool]]:
    """(name, answers, share of all, whether it is an error) of the last minutes."""
    counted = gateway.figures.statuses(name)
    all_ = sum(count for _, count in counted)
    return [
        ("others" if status < 0 else describe(status), count, count / all_, status != 0)
        for status, count in counted[:MOST_STATUSES]
    ]


def one(gateway: Gateway, name: str) -> Topic | None:
    if _carrier(gateway, name) is None:
        return None
    shown = One(name)
    return Topic("carrier", "carriers.read", shown.parts, shown.figures)


PAGES = (Page("/carriers/{name}", "carriers.read", show, "Carrier"),)
TOPICS = (Topics("carrier", "carriers.read", one),)
