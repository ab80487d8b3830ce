"""GET /v1/messages: messages by number, sender, account, state, reference, tag and time, the newest first.

An account's key finds its own messages; an operator's finds all, or those of the accounts it names. Rows show
no text. A page that ended for its cost is `complete: false` and has a `next` like any other.

Invariant: no more than MOST_AT_ONCE searches of one key at a time, so that nobody keeps the others waiting.

Deliberately not here: what is asked for and rows (gateway.finding), searching (gateway.searching).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from urllib.parse import urlencode

import msgspec

from gateway.finding import WishProblem, cursor_of, query_of, row_of
from gateway.http.auth import Caller, Keys
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.table import messages as table
from gateway.http.timeline import rfc3339
from gateway.http.typed import read_query
from gateway.searching import SearchUnavailable
from router.nouns import Account
from store.search import Page, Query

MOST_AT_ONCE = 4
_AGAIN = (("Retry-After", "1"),)


class Searcher(Protocol):
    """What is needed of gateway.searching."""

    @property
    def indexed_until_ms(self) -> int: ...
    def find(self, query: Query) -> Awaitable[Page]:
        """Errors: SearchUnavailable."""


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
        keys: Keys,
        searcher: Searcher,
        accounts: Callable[[], Mapping[int, Account]],
        carrier_name: Callable[[int], str],
        region: Callable[[], str],
        wall_ms: Callable[[], int],
    ) -> None:
        """`region`: the house's, for national numbers of accounts that have none."""
        self._keys = keys
        self._searcher = searcher
        self._accounts = accounts
        self._carrier_name = carrier_name
        self._region = region
        self._wall_ms = wall_ms
        self._asking: dict[str, int] = {}

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.LIST, self.page)

    async def page(self, request: Request, respond: Respond) -> None:
        """200 with a page of messages, or a problem."""
        try:
            asker = self.asker(request)
            wish = read_query(request.query, table.MessagesQuery)
            query = self.query(asker, wish)
            page = await self.find(asker, query)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return
        cursor = cursor_of(query, page)
        following = f"{request.path}?{_again(wish, cursor)}" if cursor else None
        headers: Headers = (
            PRIVATE if following is None else (*PRIVATE, ("Link", f'<{following}>; rel="next"'))
        )
        until_ms = self._searcher.indexed_until_ms
        answer = table.MessagesOut(
            self.rows(asker, page), following, not page.short, rfc3339(until_ms) if until_ms else None
        )
        respond(200, headers, msgspec.json.encode(answer))

    def asker(self, request: Request) -> Asker:
        """Errors: BadRequest."""
        caller = self._keys.caller(request.headers.get(b"authorization"), request.peer)
        self._keys.require(caller, "messages.read", request.peer)
        return Asker(caller)

    def query(self, asker: Asker, wish: table.MessagesQuery) -> Query:
        """Errors: BadRequest, with every wrong parameter."""
        if asker.masked and (wish.to or wish.sender[-1:].isdigit()):
            detail = "this key sees no whole numbers, so it searches for none: that needs messages.numbers"
            raise BadRequest(403, "scope-needed", detail)
        region = asker.account.default_region if asker.account is not None else ""
        known = {account.name: account.id for account in self._accounts().values()}
        try:
            return query_of(wish, self._wall_ms(), region or self._region(), known, asker.own)
        except WishProblem as problem:
            if problem.unknown:
                raise BadRequest(404, "no-such-account", str(problem)) from None
            raise invalid([FieldError(name, what) for name, what in problem.problems.items()]) from None

    async def find(self, asker: Asker, query: Query) -> Page:
        """Errors: BadRequest."""
        asking = self._asking.get(asker.name, 0)
        if asking >= MOST_AT_ONCE:
            detail = f"{MOST_AT_ONCE} searches of yours are being answered; wait for them"
            raise BadRequest(429, "too-many-questions", detail, headers=_AGAIN)
        self._asking[asker.name] = asking + 1
        try:
            return await self._searcher.find(query)
        except SearchUnavailable as why:
            raise BadRequest(503, "search-unavailable", f"{why}; try again", headers=_AGAIN) from None
        finally:
            self._asking[asker.name] -= 1
            if not self._asking[asker.name]:
                del self._asking[asker.name]

    def rows(self, asker: Asker, page: Page) -> list[table.MessageRow]:
        accounts = self._accounts()

        def name(id: int) -> str:
            account = accounts.get(id) if asker.account is None else None
            return account.name if account is not None else ""

        return [row_of(hit, self._carrier_name, name(hit.account), masked=asker.masked) for hit in page.hits]


def _again(wish: table.MessagesQuery, cursor: str) -> str:
    """The query of the next page."""
    given = {**msgspec.to_builtins(wish), "cursor": cursor}
    return urlencode({name: value for name, value in given.items() if value != ""})
