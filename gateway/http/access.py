"""Who is let in: the one place in which every endpoint of the table asks for the key that it needs.

`Routes.serve` puts each handler behind `Access.guard`: whoever comes is known, and may do what the endpoint
declares (`Endpoint.access`, a scope of router.roles), before the handler runs; `request.caller` says who it
is. What is PUBLIC is let through as it is, without a key.

Whose an object is that a path names, the handler asks, as it alone looks it up: an account's handler looks
among that account's own things only, so that somebody else's id is answered exactly as an unknown one.
tests/security walks every endpoint, role and object and holds all of it to that.

Invariants: an endpoint that declares nothing that router.roles knows cannot be served; one that shows texts
to people of the house tells the audit trail first (views.py).

Deliberately not here: finding a key (auth.py), the table of roles (router.roles).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from gateway.http.auth import operators_key
from gateway.http.problems import BadRequest
from gateway.http.routes import AsyncHandler, Handler, Respond, Streaming, SyncHandler
from router.roles import PUBLIC, SCOPES

if TYPE_CHECKING:
    from gateway.http.auth import Keys
    from gateway.http.endpoint import Endpoint
    from gateway.http.request import Request
    from gateway.http.streams import Outflow, Taker
    from gateway.http.views import Views
    from router.nouns import Account


class Access:
    """`Routes(Access(keys).guard)`."""

    def __init__(self, keys: Keys, views: Views | None = None) -> None:
        """`views` tells of texts that are shown to people of the house; None: nothing can show them."""
        self._keys = keys
        self._views = views

    def guard(self, endpoint: Endpoint, handler: Handler) -> Handler:
        """The handler behind the question for a key. Errors: ValueError for an access that nobody knows."""
        if endpoint.access == PUBLIC:
            return handler
        if endpoint.access not in SCOPES:
            raise ValueError(
                f"{endpoint.id} needs {endpoint.access!r}, which is no scope of router.roles: nobody may be "
                "let in, so it cannot be served"
            )
        if endpoint.shows_text:
            handler = self._telling(endpoint, handler)
        if isinstance(handler, Streaming):
            return self._stream(endpoint.access, handler)
        if inspect.iscoroutinefunction(handler):
            return self._slow(endpoint.access, handler)
        return self._quick(endpoint.access, cast(SyncHandler, handler))

    def _telling(self, endpoint: Endpoint, handler: Handler) -> SyncHandler:
        if self._views is None or isinstance(handler, Streaming) or inspect.iscoroutinefunction(handler):
            raise ValueError(f"{endpoint.id} shows texts, and nobody can tell of it: Access(keys, views)")
        return self._views.told(cast(SyncHandler, handler))

    def _quick(self, scope: str, handler: SyncHandler) -> SyncHandler:
        admit = self._keys.admit

        def guarded(request: Request, respond: Respond) -> None:
            try:
                request.caller = admit(request.headers.get(b"authorization"), request.peer, scope)
            except BadRequest as refusal:
                respond(*refusal.answer(request.path))
                return
            handler(request, respond)

        return guarded

    def _slow(self, scope: str, handler: AsyncHandler) -> AsyncHandler:
        admit = self._keys.admit

        async def guarded(request: Request, respond: Respond) -> None:
            try:
                request.caller = admit(request.headers.get(b"authorization"), request.peer, scope)
            except BadRequest as refusal:
                respond(*refusal.answer(request.path))
                return
            await handler(request, respond)

        return guarded

    def _stream(self, scope: str, handler: Streaming) -> Streaming:
        admit = self._keys.admit

        def guarded(request: Request, out: Outflow) -> Taker:
            request.caller = admit(request.headers.get(b"authorization"), request.peer, scope)
            return handler.open(request, out)

        return Streaming(guarded, handler.headers)


def account_of(request: Request) -> Account:
    """Whose key it is, where it must be an account's. Errors: BadRequest 403."""
    account = request.caller.account
    if account is None:
        raise operators_key()
    return account
