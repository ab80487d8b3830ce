"""Inbound messages (MOs), as they are kept beside the outbox for the store's retention.

Who may see what they say, and whole numbers, the table of roles decides (messages.text, messages.numbers). An
account sees its own; operators see all, and those that nobody owns.

Invariant: one request looks at LOOKED rows at most; a page that is short for that leads on.

Deliberately not here: receiving and keeping them (gateway.carriers.inbound, store.inbound), callbacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from gateway.http.auth import Caller
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE
from gateway.http.paging import after, page
from gateway.http.problems import BadRequest, FieldError
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.table import inbound as table
from gateway.http.table.inbound import MoOut, MosOut, MosQuery
from gateway.http.timeline import encoding_name, rfc3339
from gateway.http.typed import read_query
from gateway.logs import mask_address
from router.nouns import Account, Encoding, InboundMessage
from store.ids import first_id_at
from store.interface import NO_ID

LOOKED = 2_000
_PORTION = 500
_ID_DIGITS = 19

Id = Annotated[int, msgspec.Meta(ge=0)]

_encode = msgspec.json.Encoder().encode


class Inboxes(Protocol):
    """Reads of the last commit."""

    def inbox(
        self, account: int | Sequence[int], limit: int = 100, before: int = NO_ID
    ) -> list[InboundMessage]: ...
    def carrier_name(self, id: int) -> str: ...
    def accounts(self) -> Mapping[int, Account]: ...


class Mos:
    """Handlers over a store; `add_to` puts them into a table."""

    def __init__(self, store: Inboxes) -> None:
        self._store = store

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.MOS, self.listed)
        routes.serve(table.MO, self.show)

    def listed(self, request: Request, respond: Respond) -> None:
        """GET /v1/mos: a page of them."""
        try:
            query = read_query(request.query, MosQuery)
            if (query.source or query.to) and "messages.numbers" not in request.caller.scopes:
                detail = "this key sees no whole numbers and searches for none: it needs messages.numbers"
                raise BadRequest(403, "scope-needed", detail)
            accounts = self._accounts(request.caller, query)
            before = NO_ID if query.until is None else first_id_at(_ms(query.until))
            before = min(before, after(query.cursor, Id, NO_ID))
            rows, last_looked_at = self._matching(accounts, query, before)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return
        shown = page(request, query, query.limit, rows, lambda one: one.id)
        if last_looked_at:  # enough was looked at, not enough found: the next page begins behind it
            short = [0] * (query.limit + 1)
            shown = page(request, query, query.limit, short, lambda _: last_looked_at)._replace(rows=rows)
        body = MosOut([_told(self._store, one, request.caller) for one in shown.rows], shown.next)
        respond(200, (*PRIVATE, *shown.headers), _encode(body))

    def show(self, request: Request, respond: Respond) -> None:
        """GET /v1/mos/{id}: one of them, or 404."""
        try:
            shown_id = request.params["id"]
            found: Sequence[InboundMessage] = ()
            if shown_id.isascii() and shown_id.isdigit() and len(shown_id) <= _ID_DIGITS:
                number = int(shown_id)
                found = self._store.inbox(
                    self._accounts(request.caller, MosQuery()), 1, min(number + 1, NO_ID)
                )
            if not found or str(found[0].id) != shown_id:
                raise BadRequest(
                    404, "no-such-mo", "there is no inbound message with that id, or not of yours"
                )
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return
        respond(200, PRIVATE, _encode(_told(self._store, found[0], request.caller)))

    def _accounts(self, caller: Caller, query: MosQuery) -> Sequence[int]:
        """Whose are looked at; 0 stands for nobody's. Errors: BadRequest."""
        own = caller.account
        if own is not None:
            wrong = [name for name in ("account", "unrouted") if getattr(query, name)]
            if wrong:
                raise invalid([FieldError(name, "for operators; leave it out") for name in wrong])
            return (own.id,)
        accounts = self._store.accounts()
        if query.account and query.unrouted:
            raise invalid([FieldError("account", "what is unrouted has no account: give one of the two")])
        if query.unrouted:
            return (0,)
        if not query.account:
            return (0, *accounts)
        for account in accounts.values():
            if account.name == query.account:
                return (account.id,)
        raise BadRequest(404, "no-such-account", f"there is no account {query.account!r}")

    def _matching(
        self, accounts: Sequence[int], query: MosQuery, before: int
    ) -> tuple[list[InboundMessage], int]:
        """One more than the limit, if there are so many; else the id of the last one looked at, if there may
        be more, or 0."""
        source, to = query.source.removeprefix("+"), query.to.removeprefix("+")
        first = 0 if query.since is None else first_id_at(_ms(query.since))
        found: list[InboundMessage] = []
        looked = last = 0
        while looked < LOOKED:
            rows = self._store.inbox(accounts, _PORTION, before)
            for row in rows:
                if row.id < first:
                    return found, 0
                looked, last = looked + 1, row.id
                before = last
                if (not source or row.source == source) and (not to or row.destination == to):
                    found.append(row)
                    if len(found) > query.limit:
                        return found, 0
            if len(rows) < _PORTION:
                return found, 0
        return found, last


def _told(store: Inboxes, message: InboundMessage, caller: Caller) -> MoOut:
    source, to = message.source, message.destination
    if "messages.numbers" not in caller.scopes:
        source, to = mask_address(source), mask_address(to)
    shown = MoOut(
        str(message.id),
        rfc3339(message.received_ms),
        source,
        to,
        encoding_name(message.encoding),
        message.parts,
        message.complete,
        in_reply_to=str(message.in_reply_to) if message.in_reply_to else "",
        erased_at=rfc3339(message.erased_ms) if message.erased_ms else None,
    )
    if "messages.text" in caller.scopes:
        if message.encoding == Encoding.BINARY:
            shown.data = message.data.hex()
        else:
            shown.text = message.text
    if caller.account is None:
        account = store.accounts().get(message.account)
        shown.account = account.name if account is not None else ""
        shown.carrier = store.carrier_name(message.carrier)
    return shown


def _ms(at: datetime) -> int:
    """UTC milliseconds; what lies before all of them is 0."""
    return max(0, round(at.timestamp() * 1000))
