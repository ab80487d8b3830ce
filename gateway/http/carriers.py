"""The v1 carrier endpoints, for operators: list, show, suspend, resume; and the event log.

What they do are the admin verbs of carriers (gateway.admin_carriers), so that a change over HTTP and one by
`signalbox carrier` are kept and audited by the same code.

Invariant: only an operator's key opens anything here, and the audit trail has its name.

Deliberately not here: whose key it is (auth.py), how keys and reasons are read (operated.py).
"""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec

from gateway.admin import AdminError, Named, Nothing, WrongArguments
from gateway.admin_carriers import LONGEST_S, CarrierVerbs, Events, NoSuchCarrier, Suspension
from gateway.http.auth import Keys
from gateway.http.fields import invalid, unknown_field
from gateway.http.operated import PRIVATE, body_of, handler
from gateway.http.problems import BadRequest, FieldError
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Routes
from gateway.http.table import operations as table

PAGE = 100
MOST_OF_A_PAGE = 1_000


class CarrierApi:
    """Handlers over the verbs; `add_to` puts them into a table."""

    def __init__(self, verbs: CarrierVerbs, keys: Keys) -> None:
        self._verbs = verbs
        self._keys = keys

    def add_to(self, routes: Routes) -> None:
        for endpoint, act in (
            (table.CARRIERS, self._list),
            (table.CARRIER, self._show),
            (table.SUSPEND, self._suspend),
            (table.RESUME, self._resume),
            (table.EVENTS, self._events),
        ):
            routes.serve(endpoint, handler(self._keys, act, _refused))

    async def _list(self, request: Request) -> Answered:
        return _answer({"carriers": await self._verbs.carrier_list(Nothing())})

    async def _show(self, request: Request) -> Answered:
        return _answer(await self._verbs.carrier_show(Named(request.params["name"])))

    async def _suspend(self, request: Request) -> Answered:
        """Suspending a suspended one gives it the new end."""
        name = request.params["name"]
        await self._verbs.carrier_show(Named(name))
        fields = body_of(request, "an object, or nothing", may_be_empty=True)
        for_s = fields.pop("for_s", 0)
        errors = [unknown_field(field, ("for_s",)) for field in fields]
        if isinstance(for_s, bool) or not isinstance(for_s, int | float) or not 0 <= for_s <= LONGEST_S:
            errors.append(FieldError("for_s", f"seconds, from 0 (until it is resumed) to {LONGEST_S}"))
        if errors:
            raise invalid(errors)
        return _answer(await self._verbs.carrier_suspend(Suspension(name, float(for_s))))

    async def _resume(self, request: Request) -> Answered:
        fields = body_of(request, "an empty object, or nothing", may_be_empty=True)
        if fields:
            raise invalid([FieldError(field[:64], "unknown field; this takes none") for field in fields])
        return _answer(await self._verbs.carrier_resume(Named(request.params["name"])))

    async def _events(self, request: Request) -> Answered:
        asked = dict(parse_qsl(request.query, keep_blank_values=True, max_num_fields=20))
        subject = asked.pop("subject", "")
        limit = _whole(asked.pop("limit", str(PAGE)), 1, MOST_OF_A_PAGE)
        before = _whole(asked.pop("cursor", "0"), 0, 1 << 62)
        errors = [unknown_field(name, ("limit", "cursor", "subject")) for name in asked]
        if limit is None:
            errors.append(FieldError("limit", f"a whole number from 1 to {MOST_OF_A_PAGE}"))
        if before is None:
            errors.append(FieldError("cursor", "as `next` gave it"))
        if errors:
            raise invalid(errors)
        assert limit is not None
        assert before is not None
        rows = await self._verbs.events_list(Events(subject[:128], limit, before))
        following = f"/v1/events?limit={limit}&cursor={rows[-1]['number']}" if len(rows) == limit else None
        return _answer({"events": rows, "next": following})


def _whole(text: str, low: int, high: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text) if low <= int(text) <= high else None


def _answer(view: object) -> Answered:
    return Answered(200, PRIVATE, msgspec.json.encode(view))


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    if isinstance(error, NoSuchCarrier):
        return BadRequest(404, "no-such-carrier", error.message)
    return BadRequest(409, "carrier-conflict", error.message)
