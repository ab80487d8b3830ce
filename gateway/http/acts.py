"""`POST /v1/acts/<verb>`: every act of the table over HTTP, and `GET /v1/acts`, which lists them.

What they do are the admin verbs, so that an act over HTTP, by the command line and in the console is kept and
audited by the same code.

Invariants: nothing is done without a reason; the audit trail has the name of whoever acts.

Deliberately not here: which acts there are (gateway.acts), who is let in (access.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from gateway.acts import Act, acts_of
from gateway.admin import AdminError, Verb, WrongArguments
from gateway.admin_shapes import iso
from gateway.audit import LONGEST_REASON, Actor, acting
from gateway.http.endpoint import Endpoint
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE, handler
from gateway.http.problems import BadRequest, FieldError
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Routes
from gateway.http.table import acts as table
from gateway.http.typed import read_body
from gateway.orders import InForce

_AS_THEY_ARE = {"bad_config": 422, "needs_restart": 409}


class ActApi:
    """`verbs`: the admin verbs; `in_force`: the orders there are."""

    def __init__(self, verbs: Mapping[str, Verb], in_force: Callable[[], list[InForce]]) -> None:
        self._verbs = verbs
        self._in_force = in_force

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.ACTS, handler(self._list, _refused))
        for act, endpoint in table.BY_ACT:
            routes.serve(endpoint, handler(partial(self._act, act, endpoint), _refused))

    async def _list(self, request: Request) -> Answered:
        acts = [
            table.ActTold(
                one.verb,
                one.title,
                one.does,
                one.subject,
                one.scope,
                one.ends,
                [field.encode_name for field in msgspec.structs.fields(one.arguments)],
            )
            for one in acts_of(request.caller.scopes)
        ]
        orders = [
            table.OrderTold(
                one.kind,
                one.subject,
                one.who,
                one.reason,
                iso(one.since_ms),
                iso(one.until_ms) or None,
                one.value,
                table.ActToEnd(one.ended_by, one.arguments),
            )
            for one in self._in_force()
        ]
        return _answer(table.ActsOut(acts, orders))

    async def _act(self, act: Act, endpoint: Endpoint, request: Request) -> Answered:
        wish: Any = read_body(request, endpoint.body)
        given: dict[str, Any] = msgspec.to_builtins(wish)
        reason = given.pop("reason").strip()
        if wish.preview:
            told = await self._verbs[act.verb](given)
            return _answer({"verb": act.verb, "done": False, "preview": told, "result": None})
        _check(reason)
        with acting(Actor(request.caller.name, "http", reason)):
            result = await self._verbs[act.verb](given)
        return _answer({"verb": act.verb, "done": True, "preview": None, "result": result})


def _check(reason: str) -> None:
    """Errors: BadRequest."""
    if not reason:
        raise invalid([FieldError("reason", "required: why it is done, for the audit trail")])
    if not reason.isprintable():
        raise invalid([FieldError("reason", f"1 to {LONGEST_REASON} printable characters")])


def _answer(view: object) -> Answered:
    return Answered(200, PRIVATE, msgspec.json.encode(view))


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    detail = f"{error.message}; {error.hint}" if error.hint else error.message
    if error.code == "not_found":
        return BadRequest(404, "no-such-subject", detail)
    if error.code in _AS_THEY_ARE:
        return BadRequest(_AS_THEY_ARE[error.code], error.code.replace("_", "-"), detail)
    return BadRequest(409, "act-refused", detail)
