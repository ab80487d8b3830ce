"""The v1 callback endpoints: list, inspect, test, replay, enable, another secret.

What they do are the admin verbs (gateway.admin_callbacks, admin_deliveries, admin_accounts), so that HTTP and
the command line keep and audit the same. An account's key reaches its own endpoints alone: another one's is
answered as one that there is not.

Deliberately not here: who is let in (access.py), the verbs.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from gateway.admin import AdminError, WrongArguments
from gateway.admin_accounts import OVERLAP_S, AccountVerbs, SecretRotation
from gateway.admin_callbacks import CallbackVerbs, EventsOf, OfEndpoint, ReplayOf, Try, Which
from gateway.admin_deliveries import DeliveryVerbs, Replay
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE, handler
from gateway.http.paging import Page, after, cursor, page
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Routes
from gateway.http.table import callbacks as table
from gateway.http.typed import read_body, read_query

_TIMES = ("tried_again_at", "oldest_at", "due_at", "given_up_at", "message_id")


class Verbs(Protocol):
    """The part of gateway.admin_verbs.AdminVerbs that is used here."""

    of_accounts: AccountVerbs
    of_callbacks: CallbackVerbs
    of_deliveries: DeliveryVerbs


class CallbackApi:
    """Handlers over the verbs; `add_to` puts them into a table."""

    def __init__(self, verbs: Verbs) -> None:
        self._accounts = verbs.of_accounts
        self._callbacks = verbs.of_callbacks
        self._deliveries = verbs.of_deliveries

    def add_to(self, routes: Routes) -> None:
        for endpoint, act in (
            (table.LIST, self._list),
            (table.EVENTS, self._events),
            (table.ATTEMPTS, self._attempts),
            (table.TEST, self._test),
            (table.REPLAY, self._replay),
            (table.ENABLE, self._enable),
            (table.ROTATE, self._rotate),
        ):
            routes.serve(endpoint, handler(act, _refused))

    async def _list(self, request: Request) -> Answered:
        query = read_query(request.query, table.EndpointsQuery)
        account = _whose(request, query.account)
        found: Any = await self._callbacks.list_endpoints(Which(account=account, all=query.all))
        rows = [_told(one) for one in found if one["origin"] != "smpp:"]
        begin = after(query.cursor, table.Place, 0)  # how many come before: who is most behind changes
        shown = page(request, query, query.limit, rows[begin:], lambda row: begin + query.limit)
        return _answer({"endpoints": shown.rows, "next": shown.next}, shown.headers)

    async def _events(self, request: Request) -> Answered:
        query = read_query(request.query, table.UndeliveredQuery)
        endpoint = self._endpoint(request, request.params["endpoint"])
        begin = after(query.cursor, str, "")
        found: Any = await self._callbacks.events(EventsOf(endpoint, query.state, begin, query.limit))
        shown = _page(request, query, found["after"])
        return _answer({"events": [_told(one) for one in found["events"]], "next": shown.next}, shown.headers)

    async def _attempts(self, request: Request) -> Answered:
        endpoint = self._endpoint(request, request.params["endpoint"])
        return _answer({"attempts": await self._callbacks.attempts(OfEndpoint(endpoint))})

    async def _test(self, request: Request) -> Answered:
        wish = read_body(request, table.TestIn, may_be_empty=True)
        account = _one(request, wish.account)
        return _answer(await self._callbacks.test(Try(account, wish.kind or "receipt")))

    async def _replay(self, request: Request) -> Answered:
        wish = read_body(request, table.ReplayIn)
        of_messages = (wish.id, wish.since, wish.until, wish.state, wish.kind, wish.resume, wish.abandon)
        if not (wish.given_up or wish.endpoint):
            account = _one(request, wish.account)
            job: Any = await self._deliveries.replay(
                Replay(
                    account,
                    wish.since or "",
                    wish.until or "",
                    wish.id or "",
                    wish.state or "",
                    wish.kind or "receipts",
                    bool(wish.resume),
                    bool(wish.abandon),
                )
            )
            return _answer({"account": account, "events": job["receipts"]})
        if any(of_messages):
            raise invalid(
                [FieldError("given_up", "given-up events are replayed whole: leave the others out")]
            )
        account = _whose(request, wish.account or "")
        which = ReplayOf(self._endpoint(request, wish.endpoint) if wish.endpoint else 0, account, not account)
        done: Any = await self._callbacks.replay(which)
        return _answer({"account": account, "events": done["replayed"]})

    async def _enable(self, request: Request) -> Answered:
        wish = read_body(request, table.EnableIn, may_be_empty=True)
        endpoint = self._endpoint(request, wish.endpoint) if wish.endpoint else 0
        account = _whose(request, wish.account or "")
        if not endpoint:
            account = _one(request, wish.account)
        done: Any = await self._callbacks.enable(Which(endpoint, account))
        return _answer({"enabled": [one["origin"] for one in done["enabled"]]})

    async def _rotate(self, request: Request) -> Answered:
        wish = read_body(request, table.RotateIn, may_be_empty=True)
        overlap_s = OVERLAP_S if wish.overlap_s is None else wish.overlap_s
        account = _one(request, wish.account)
        made = await self._accounts.rotate_callback_secret(SecretRotation(account, overlap_s))
        return _answer(
            {
                "account": account,
                "callback_secret": made["callback_secret"],
                "callback_secrets": made["callback_secrets"],
                "until": made["callback_secrets_until"] or None,
            }
        )

    def _endpoint(self, request: Request, number: str | int) -> int:
        """One that whoever asks may know of. Errors: BadRequest 404."""
        account = request.caller.account
        text = str(number)
        if not (text.isascii() and text.isdigit() and len(text) < 11):
            raise _no_such(text)
        owner = self._callbacks.owner_of(int(text))
        if owner is None or (account is not None and owner != account.id):
            raise _no_such(text)
        return int(text)


def _no_such(number: str) -> BadRequest:
    return BadRequest(
        404, "no-such-endpoint", f"there is no endpoint {number[:20]}; GET /v1/callbacks lists them"
    )


def _whose(request: Request, name: str) -> str:
    """Whose callbacks are meant, "" = everybody's, for an operator alone. Errors: BadRequest 404."""
    own = request.caller.account
    if own is not None and name not in ("", own.name):
        raise BadRequest(404, "no-such-account", f"no account {name[:64]!r}")
    return own.name if own is not None else name


def _one(request: Request, name: str | None) -> str:
    """The account that is meant. Errors: BadRequest."""
    account = _whose(request, name or "")
    if not account:
        raise invalid([FieldError("account", "required: whose callbacks are meant")])
    return account


def _page(request: Request, query: table.UndeliveredQuery, following: str) -> Page:
    if not following:
        return Page((), None, ())
    path = f"{request.path}?state={query.state}&limit={query.limit}&cursor={cursor(following)}"
    return Page((), path, (("Link", f'<{path}>; rel="next"'),))


def _told(view: dict[str, Any]) -> dict[str, Any]:
    """Times and ids that there are none of are null."""
    return {name: (value or None) if name in _TIMES else value for name, value in view.items()}


def _answer(view: object, headers: Headers = ()) -> Answered:
    return Answered(200, (*PRIVATE, *headers), msgspec.json.encode(view))


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    if error.code == "not_found":
        code = "no-such-message" if "message" in error.message else "no-such-account"
        return BadRequest(404, code, error.message)
    return BadRequest(409, "callbacks-conflict", error.message)
