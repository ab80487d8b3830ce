"""GET /v1/messages and /v1/messages/export.csv: messages by number, sender, account, state, reference, tag
and time, the newest first.

An account's key finds its own messages; an operator's finds all, or those of the accounts it names. Rows show
no text. A page that ended for its cost is `complete: false` and has a `next` like any other. An export is
written page by page, as fast as its reader takes it.

Invariants: no more than MOST_AT_ONCE searches and MOST_EXPORTS exports of one owner at a time, so that nobody
keeps the others waiting; an export that cannot go on ends its connection, so that nobody takes it for whole.

Deliberately not here: what is asked for and rows (gateway.finding), searching (gateway.searching).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar
from urllib.parse import urlencode

import msgspec
import trio

from gateway.finding import CSV_HEAD, WishProblem, csv_line, cursor_of, query_of, row_of
from gateway.http.auth import Caller
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes, Streaming
from gateway.http.streams import Outflow
from gateway.http.table import messages as table
from gateway.http.timeline import rfc3339
from gateway.http.typed import read_query
from gateway.logs import mask_address
from gateway.searching import SearchUnavailable
from router.nouns import Account
from store.search import MOST_ROWS, Hit, Page, Query

T = TypeVar("T")

MOST_AT_ONCE = 4
MOST_EXPORTS = 2
_SLICE = 50  # rows made at a time
_MOST_WAITING = 262_144  # octets of an export that are not handed to the socket
_PATIENCE_S = 30.0  # with a search process that is being started
_CSV: Headers = (
    ("Content-Type", "text/csv; charset=utf-8; header=present"),
    ("Content-Disposition", 'attachment; filename="messages.csv"'),
    ("Cache-Control", "no-store"),
)
_AGAIN = (("Retry-After", "1"),)


class Searcher(Protocol):
    """What is needed of gateway.searching."""

    @property
    def indexed_until_ms(self) -> int: ...
    def find(self, query: Query) -> Awaitable[Page]:
        """Errors: SearchUnavailable."""

    def start_soon(self, work: Callable[[], Awaitable[None]]) -> None:
        """In the background. Errors: SearchUnavailable."""


class Asker:
    """Whoever asks: which accounts it may search, and what it may see."""

    def __init__(self, caller: Caller) -> None:
        self.account = caller.account
        self.own = (self.account.id,) if self.account is not None else ()
        self.name = caller.who
        self.masked = "messages.numbers" not in caller.scopes


class SearchApi:
    """Handlers over a searcher; `add_to` puts them into a table."""

    def __init__(
        self,
        searcher: Searcher,
        accounts: Callable[[], Mapping[int, Account]],
        carrier_name: Callable[[int], str],
        region: Callable[[], str],
        wall_ms: Callable[[], int],
    ) -> None:
        """`region`: the house's, for national numbers of accounts that have none."""
        self._searcher = searcher
        self._accounts = accounts
        self._carrier_name = carrier_name
        self._region = region
        self._wall_ms = wall_ms
        self._asking: dict[tuple[str, str], int] = {}

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.LIST, self.page)
        routes.serve(table.EXPORT, Streaming(self.export, _CSV))

    async def page(self, request: Request, respond: Respond) -> None:
        """200 with a page of messages, or a problem."""
        try:
            asker = Asker(request.caller)
            wish = read_query(request.query, table.MessagesQuery)
            query = self.query(asker, wish, wish.limit, wish.cursor)
            page = await self.find(asker, query)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return
        cursor = cursor_of(query, page)
        following = f"{request.path}?{_again(wish, cursor)}" if cursor else None
        headers: Headers = (
            PRIVATE if following is None else (*PRIVATE, ("Link", f'<{following}>; rel="next"'))
        )
        rows = await each(page.hits, self.row(asker))
        until_ms = self._searcher.indexed_until_ms
        answer = table.MessagesOut(rows, following, not page.short, rfc3339(until_ms) if until_ms else None)
        respond(200, headers, msgspec.json.encode(answer))

    def query(self, asker: Asker, wish: table.Filters, limit: int, cursor: str = "") -> Query:
        """Errors: BadRequest, with every wrong parameter."""
        if asker.masked and (wish.to or wish.sender[-1:].isdigit()):
            raise _masked()
        region = asker.account.default_region if asker.account is not None else ""
        known = {account.name: account.id for account in self._accounts().values()}
        try:
            query = query_of(wish, limit, cursor, self._wall_ms(), region or self._region(), known, asker.own)
        except WishProblem as problem:
            if problem.unknown:
                raise BadRequest(404, "no-such-account", str(problem)) from None
            raise invalid([FieldError(name, what) for name, what in problem.problems.items()]) from None
        if asker.masked and any(mask_address(one) != one for one in query.sender):  # however it was written
            raise _masked()
        return query

    async def find(self, asker: Asker, query: Query) -> Page:
        """Errors: BadRequest."""
        with self._one_of(asker, "searches", MOST_AT_ONCE):
            try:
                return await self._searcher.find(query)
            except SearchUnavailable as why:
                raise _unavailable(why) from None

    @contextmanager
    def _one_of(self, asker: Asker, what: str, most: int) -> Iterator[None]:
        """Errors: BadRequest for one too many."""
        counted = asker.name, what
        asking = self._asking.get(counted, 0)
        if asking >= most:
            detail = f"{most} {what} of yours are being answered; wait for them"
            raise BadRequest(429, "too-many-questions", detail, headers=_AGAIN)
        self._asking[counted] = asking + 1
        try:
            yield
        finally:
            self._asking[counted] -= 1
            if not self._asking[counted]:
                del self._asking[counted]

    def export(self, request: Request, out: Outflow) -> Export:
        """streams.Opener: CSV, page by page."""
        if request.method == "HEAD":
            raise BadRequest(405, "method-not-allowed", "only GET goes here", headers=(("Allow", "GET"),))
        asker = Asker(request.caller)
        wish = read_query(request.query, table.ExportQuery)
        export = Export(out, self.query(asker, wish, MOST_ROWS), wish.limit)
        counted = self._one_of(asker, "exports", MOST_EXPORTS)
        counted.__enter__()

        async def write() -> None:
            try:
                row = self.row(asker, named=True)
                await export.write(self._searcher.find, lambda hit: csv_line(row(hit)))
            finally:
                counted.__exit__(None, None, None)

        try:
            self._searcher.start_soon(write)
        except SearchUnavailable as why:
            counted.__exit__(None, None, None)
            raise _unavailable(why) from None
        return export

    def row(self, asker: Asker, *, named: bool = False) -> Callable[[Hit], table.MessageRow]:
        """What makes rows for somebody. `named`: with their account's name also for itself."""
        accounts, carrier_name, masked = self._accounts(), self._carrier_name, asker.masked
        named = named or asker.account is None

        def row(hit: Hit) -> table.MessageRow:
            account = accounts.get(hit.account) if named else None
            return row_of(hit, carrier_name, account.name if account is not None else "", masked=masked)

        return row


async def each(hits: Sequence[Hit], make: Callable[[Hit], T]) -> list[T]:
    """Something of each hit, a millisecond's worth at a time, so that nothing waits for a page."""
    made: list[T] = []
    for place in range(0, len(hits), _SLICE):
        made += map(make, hits[place : place + _SLICE])
        await trio.lowlevel.checkpoint()
    return made


class Export:
    """streams.Taker of one export: its request has no body."""

    begun = False
    units = 0

    def __init__(self, out: Outflow, query: Query, limit: int) -> None:
        self._out = out
        self._query = query
        self._limit = limit
        self._room = trio.Event()

    def take(self, data: bytes) -> None:
        """A body says nothing here."""

    def ready(self) -> bool:
        self._room.set()
        return True

    def end(self) -> None:
        """Nothing is waited for."""

    def cut(self, why: BadRequest) -> None:
        self._out.break_off()

    async def write(
        self,
        find: Callable[[Query], Awaitable[Page]],
        line: Callable[[Hit], str],
    ) -> None:
        """Everything that fits."""
        self._out.write(CSV_HEAD.encode())
        query, left = self._query, self._limit
        while left and query.before and not self._out.gone:
            page = await self._patiently(find, query)
            if page is None:
                self._out.break_off()
                return
            lines = await each(page.hits[:left], line)
            left -= len(lines)
            query = msgspec.structs.replace(query, before=page.before)
            if lines:
                self._out.write("".join(lines).encode())
                await self._taken()
        self._out.finish()

    async def _patiently(self, find: Callable[[Query], Awaitable[Page]], query: Query) -> Page | None:
        with trio.move_on_after(_PATIENCE_S):
            while True:
                try:
                    return await find(query)
                except SearchUnavailable:
                    await trio.sleep(0.5)
        return None

    async def _taken(self) -> None:
        """Until the reader has taken what there is, or has gone."""
        self._room = trio.Event()
        while not self._out.gone:
            with trio.move_on_after(0.5):
                await self._room.wait()
            if self._room.is_set():
                if self._out.waiting < _MOST_WAITING:
                    return
                self._room = trio.Event()


def _masked() -> BadRequest:
    detail = "this key sees no whole numbers, so it searches for none: that needs messages.numbers"
    return BadRequest(403, "scope-needed", detail)


def _unavailable(why: SearchUnavailable) -> BadRequest:
    return BadRequest(503, "search-unavailable", f"{why}; try again", headers=_AGAIN)


def _again(wish: table.MessagesQuery, cursor: str) -> str:
    """The query of the next page."""
    given = {**msgspec.to_builtins(wish), "cursor": cursor}
    return urlencode({name: value for name, value in given.items() if value != ""})
