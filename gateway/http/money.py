"""GET /v1/balance and /v1/rates for an account's own key; balances, credits and the ledger by account.

What they do are the admin verbs of money (gateway.admin_money), so that money put in over HTTP and by
`signalbox account credit` is checked, kept and audited by the same code.

Invariants: an account sees its own money only, and nobody else's account exists for it; a credit with the
same Idempotency-Key is carried out once.

Deliberately not here: who is let in (access.py), what was carried out already (repeatable.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from gateway.admin import AdminError, WrongArguments
from gateway.admin_money import Credit, MoneyVerbs
from gateway.http.access import account_of
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE, handler
from gateway.http.paging import after, page
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.retries import Answered, key_of
from gateway.http.routes import Respond, Routes, SyncHandler
from gateway.http.table import money as table
from gateway.http.typed import read_body, read_query
from router.nouns import Account

Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
_TWICE = "carrying a credit out twice would book it twice"


class MoneyApi:
    """`named` finds an account by its name, None = there is none."""

    def __init__(self, verbs: MoneyVerbs, named: Callable[[str], Account | None]) -> None:
        self._verbs = verbs
        self._named = named

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.BALANCE, _answering(self._own_balance))
        routes.serve(table.RATES, _answering(self._rates))
        routes.serve(table.BALANCE_OF, _answering(self._balance))
        routes.serve(table.CREDITS, _answering(self._credits))
        routes.serve(table.CREDIT, handler(self._credit, _refused))

    # looks

    def _seen(self, request: Request) -> Account:
        """The account in the path, which is the key's own unless it is an operator's. Errors: BadRequest."""
        name, own = request.params["name"], request.caller.account
        account = self._named(name)
        if account is None or (own is not None and own.id != account.id):
            raise _no_such(name)
        return account

    def _own_balance(self, request: Request) -> Answered:
        return _answer(200, self._verbs.balance_view(account_of(request)))

    def _balance(self, request: Request) -> Answered:
        return _answer(200, self._verbs.balance_view(self._seen(request)))

    def _rates(self, request: Request) -> Answered:
        query = read_query(request.query, table.RatesQuery)
        return _answer(200, self._verbs.rates_view(account_of(request), query.to))

    def _credits(self, request: Request) -> Answered:
        account = self._seen(request)
        query = read_query(request.query, table.CreditsQuery)
        rows = self._verbs.ledger_view(account, query.limit + 1, after(query.cursor, Number, 0))
        shown = page(request, query, query.limit, rows, lambda row: int(str(row["number"])))
        return _answer(200, {"credits": shown.rows, "next": shown.next}, shown.headers)

    # the act

    async def _credit(self, request: Request) -> Answered:
        key_of(request.headers.get(b"idempotency-key"), needed=_TWICE)
        name = request.params["name"]
        if self._named(name) is None:
            raise _no_such(name)
        wish = read_body(request, table.CreditIn)
        return _answer(201, await self._verbs.account_credit(Credit(name, wish.amount, wish.reason)))


def _answering(look: Callable[[Request], Answered]) -> SyncHandler:
    def handle(request: Request, respond: Respond) -> None:
        try:
            answer = look(request)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
        except AdminError as error:
            respond(*_refused(error).answer(request.path))
        else:
            respond(*answer)

    return handle


def _answer(status: int, view: object, headers: Headers = ()) -> Answered:
    return Answered(status, (*PRIVATE, *headers), msgspec.json.encode(view))


def _no_such(name: str) -> BadRequest:
    return BadRequest(404, "no-such-account", f"there is no account {name[:64]!r}")


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    return BadRequest(404, "no-such-account", error.message)
