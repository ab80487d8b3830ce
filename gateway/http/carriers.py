"""The v1 carrier endpoints, for operators: list, show, suspend, resume; and the event log.

What they do are the admin verbs of carriers (gateway.admin_carriers), so that a change over HTTP and one by
`signalbox carrier` are kept and audited by the same code.

Invariant: the audit trail has the name of whoever acts.

Deliberately not here: who is let in (access.py), how keys and reasons are read (operated.py).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway.admin import AdminError, Named, Nothing, WrongArguments
from gateway.admin_carriers import CarrierVerbs, Events, NoSuchCarrier, Resumption, Suspension
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE, handler
from gateway.http.paging import after, page
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Routes
from gateway.http.table import operations as table
from gateway.http.table.types import Nothing as Empty
from gateway.http.typed import read_body, read_query

Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class CarrierApi:
    """Handlers over the verbs; `add_to` puts them into a table."""

    def __init__(self, verbs: CarrierVerbs) -> None:
        self._verbs = verbs

    def add_to(self, routes: Routes) -> None:
        for endpoint, act in (
            (table.CARRIERS, self._list),
            (table.CARRIER, self._show),
            (table.SUSPEND, self._suspend),
            (table.RESUME, self._resume),
            (table.EVENTS, self._events),
        ):
            routes.serve(endpoint, handler(act, _refused))

    async def _list(self, request: Request) -> Answered:
        query = read_query(request.query, table.CarriersQuery)
        begin = after(query.cursor, str, "")
        views = sorted(await self._verbs.carrier_list(Nothing()), key=_name)
        rows = [_told(view) for view in views if _name(view) > begin]
        shown = page(request, query, query.limit, rows, _name)
        return _answer({"carriers": shown.rows, "next": shown.next}, shown.headers)

    async def _show(self, request: Request) -> Answered:
        return _answer(_told(await self._verbs.carrier_show(Named(request.params["name"]))))

    async def _suspend(self, request: Request) -> Answered:
        """Suspending a suspended one gives it the new end."""
        name = request.params["name"]
        await self._verbs.carrier_show(Named(name))
        wish = read_body(request, table.SuspendIn, may_be_empty=True)
        view: Any = await self._verbs.carrier_suspend(Suspension(name, wish.for_s or 0))
        return _answer(_told(view))

    async def _resume(self, request: Request) -> Answered:
        read_body(request, Empty, may_be_empty=True)
        view: Any = await self._verbs.carrier_resume(Resumption(request.params["name"]))
        return _answer(_told(view))

    async def _events(self, request: Request) -> Answered:
        query = read_query(request.query, table.EventsQuery)
        wish = Events(query.subject, query.limit + 1, after(query.cursor, Number, 0))
        rows = await self._verbs.events_list(wish)
        shown = page(request, query, query.limit, rows, lambda row: row["number"])
        events = [{**row, "number": str(row["number"])} for row in shown.rows]
        return _answer({"events": events, "next": shown.next}, shown.headers)


def _name(view: dict[str, object]) -> str:
    return str(view["name"])


def _told(view: dict[str, object]) -> dict[str, object]:
    """Times that there are none of are null."""
    told = {**view, "paused_until": view.get("paused_until") or None}
    for field in ("order", "rate_order", "out"):
        one = told.get(field)
        if isinstance(one, dict):
            told[field] = {**one, "since": one["since"] or None, "until": one["until"] or None}
    return told


def _answer(view: object, headers: Headers = ()) -> Answered:
    return Answered(200, (*PRIVATE, *headers), msgspec.json.encode(view))


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    if isinstance(error, NoSuchCarrier):
        return BadRequest(404, "no-such-carrier", error.message)
    return BadRequest(409, "carrier-conflict", error.message)
