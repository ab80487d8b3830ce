"""Views of message text by people of the house: in the audit trail before they are shown.

An account that looks at its own messages is not told of. What an endpoint shows of a text is declared
(`Endpoint.shows_text`); who may see it, router.roles says.

Invariant: nothing is shown of which the trail does not know; where it cannot be written, nothing is shown.

Deliberately not here: leaving texts out for whoever may not see them (the handlers).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from gateway.audit import Actor, acting, entry
from gateway.http.operated import not_kept, reason_of
from gateway.http.problems import BadRequest
from gateway.http.request import Request, fail
from gateway.http.routes import Respond, SyncHandler
from store.interface import AuditEntry, StoreError, Transaction


class Calling(Protocol):
    """A committer, for verbs that somebody waits for."""

    def call_soon(
        self, function: Callable[[Transaction], Any], done: Callable[[Any], None], *, awaited: bool
    ) -> None: ...


class Views:
    def __init__(self, committer: Calling, wall_ms: Callable[[], int]) -> None:
        self._committer = committer
        self._wall_ms = wall_ms

    def told(self, handler: SyncHandler) -> SyncHandler:
        """The handler of an endpoint that shows texts, behind an entry of the trail where it must be told."""

        def telling(request: Request, respond: Respond) -> None:
            caller = request.caller
            if caller.account is not None or "messages.text" not in caller.scopes:
                handler(request, respond)
                return
            try:
                reason = reason_of(request.headers.get(b"audit-reason"))
            except BadRequest as refusal:
                respond(*refusal.answer(request.path))
                return
            with acting(Actor(caller.name, "http", reason)):
                told = entry(self._wall_ms(), "message.viewed", subject(request.path))
            self._committer.call_soon(
                partial(_tell, told), partial(_show, handler, request, respond), awaited=True
            )

        return telling


def subject(path: str) -> str:
    """/v1/messages/7 → message:7; /v1/mos → mo"""
    _, _, kind, *rest = path[:200].split("/")
    return ":".join([kind.removesuffix("s"), *rest])


def _tell(told: AuditEntry, txn: Transaction) -> None:
    txn.audit(told)


def _show(handler: SyncHandler, request: Request, respond: Respond, call: Any) -> None:
    if isinstance(call.error, StoreError):
        respond(*not_kept(call.error).answer(request.path))
    elif call.error is not None:
        fail(request, call.error)
    else:
        handler(request, respond)
