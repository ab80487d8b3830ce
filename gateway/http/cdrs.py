"""GET /v1/cdrs: call detail records from the files, a page at a time, oldest first.

Invariants: an account sees the final records of its own messages, without carriers and what they cost;
numbers are masked for keys without `messages.numbers`; at most two looks run at a time, in threads, and
each has an end.

Deliberately not here: who is let in (access.py), reading the files (gateway.cdr_query).
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import trio

from gateway.cdr_lines import Line
from gateway.cdr_query import Found, Wish, find
from gateway.cdrs import InThread
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE
from gateway.http.paging import after, cursor
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.table import cdrs as table
from gateway.http.typed import read_query
from gateway.logs import mask_address, mask_number
from router.nouns import Account
from store.cdr_files import BEGINNING, Place

MOST_WAITING = 20
_OF_HOUSE = ("carrier", "carrier_message_id", "buy_price", "buy_currency", "buy_total")


class CdrApi:
    """`directory`: of the files."""

    def __init__(self, directory: Path, in_thread: InThread | None = None) -> None:
        self._directory = directory
        limiter = trio.CapacityLimiter(2)
        self.in_thread: InThread = in_thread or partial(trio.to_thread.run_sync, limiter=limiter)
        self._waiting = 0

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.CDRS, self._list)

    async def _list(self, request: Request, respond: Respond) -> None:
        try:
            body, headers = await self._page(request)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
        else:
            respond(200, headers, body)

    async def _page(self, request: Request) -> tuple[bytes, Headers]:
        query = read_query(request.query, table.CdrsQuery)
        caller = request.caller
        own = caller.account
        if own is not None:
            _of_an_account(own, query)
        if query.to and "messages.numbers" not in caller.scopes:
            detail = "this key sees no whole numbers and searches for none: it needs messages.numbers"
            raise BadRequest(403, "scope-needed", detail)
        wish = Wish(
            _ms(query.since),
            _ms(query.until),
            own.name if own is not None else query.account,
            query.carrier if own is None else "",
            query.to,
            query.message_id,
            query.type if own is None else "final",
        )
        place = Place(*after(query.cursor, tuple[int, int], tuple(BEGINNING)))
        if self._waiting >= MOST_WAITING:
            detail = "many others look at records just now; ask again in a second"
            raise BadRequest(429, "too-many-questions", detail, headers=(("Retry-After", "1"),))
        self._waiting += 1
        try:
            found: Found = await self.in_thread(partial(find, self._directory, wish, query.limit, place))
        finally:
            self._waiting -= 1
        hidden = _OF_HOUSE if own is not None else ()
        masked = "messages.numbers" not in caller.scopes
        rows = [_row(line, hidden, masked) for line in found.lines]
        following, links = None, PRIVATE
        if found.place is not None:
            following = _following(request, query, found.place)
            links = (*PRIVATE, ("Link", f'<{following}>; rel="next"'))
        return msgspec.json.encode({"cdrs": rows, "next": following}), links


def _of_an_account(own: Account, query: table.CdrsQuery) -> None:
    """It asks for its own final records. Errors: BadRequest."""
    if query.account not in ("", own.name):
        raise BadRequest(404, "no-such-account", f"there is no account {query.account[:64]!r}")
    if query.carrier or query.type == "attempt":
        name = "carrier" if query.carrier else "type"
        raise invalid([FieldError(name, "only operators see carriers and attempts; leave it out")])


def _following(request: Request, query: table.CdrsQuery, place: Place) -> str:
    asked = {name: value for name, value in msgspec.to_builtins(query).items() if value not in ("", None)}
    asked["cursor"] = cursor(tuple(place))
    return f"{request.path}?{urlencode(asked)}"


def _row(line: Line, hidden: tuple[str, ...], masked: bool) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(line)
    for name in hidden:
        del row[name]
    if masked:
        row["to"] = mask_number(row["to"])
        row["from"] = mask_address(row["from"])
    return row


def _ms(at: datetime | None) -> int:
    return int(at.timestamp() * 1000) if at is not None else 0
