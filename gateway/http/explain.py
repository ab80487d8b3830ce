"""POST /v1/preview and POST /v1/routes/explain: what would become of a message, without sending it.

Both take the fields of POST /v1/messages; what the question does not need may be left out. An account's key
asks for its own account, an operator's for any, or for nobody in particular.

Invariants: nothing is sent or stored; somebody who asks more than A_SECOND times a second waits, an account
that asks for its routes more than OF_ACCOUNTS times. An account is told which kind of condition keeps it out
of a rule, never what the rule asks for nor what it is called: that is about other customers.

Deliberately not here: the answers (gateway.explain), who is let in (access.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import trio

from gateway.door import Refusal, Submission
from gateway.http.fields import check_json, invalid, read_object, read_one
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.table import routing as table
from router.nouns import Account
from router.rules import LATEST_MS
from router.throttle import Throttle

A_SECOND = 20  # questions of one account or operator
OF_ACCOUNTS = 2  # questions a second of one account for its routes: they ask every rule

_PRIVATE: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
_ASKERS = 4_096
_NO_NAME = "an account's name, as a string"
_NO_TIME = 'a time with its zone (RFC 3339), such as "2030-01-31T09:30:00Z"'
# What a question may leave out, as if it said so.
_ANYBODY = {"to": "+447700900123", "from": "Signalbox"}

Explainer = Callable[[Account | None, Submission, int], dict[str, Any] | Refusal]
Previewer = Callable[[Account | None, Submission], dict[str, object] | Refusal]


class ExplainApi:
    """`named` finds an account by its name, None = there is none; `wall_ms` is UTC. `to_accounts`: whether
    an account may have its routes explained, which names carriers."""

    def __init__(
        self,
        explain: Explainer,
        preview: Previewer,
        named: Callable[[str], Account | None],
        wall_ms: Callable[[], int],
        *,
        to_accounts: bool = False,
    ) -> None:
        self._explain = explain
        self._preview = preview
        self._named = named
        self._wall_ms = wall_ms
        self._to_accounts = to_accounts
        self._throttles: dict[str, Throttle] = {}

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.PREVIEW, self.preview)
        routes.serve(table.EXPLAIN, self.explain)

    def preview(self, request: Request, respond: Respond) -> None:
        """200 with encoding and parts, or a problem."""
        self._answer(request, respond, self._previewed)

    def explain(self, request: Request, respond: Respond) -> None:
        """200 with the way it would go (also where it would be refused), or a problem."""
        self._answer(request, respond, self._explained, self._to_accounts)

    def _answer(
        self,
        request: Request,
        respond: Respond,
        answer: Callable[[Account | None, dict[str, Any]], dict[str, Any] | Refusal],
        to_accounts: bool = True,
    ) -> None:
        try:
            owner = request.caller.owner
            if isinstance(owner, Account) and not to_accounts:
                raise BadRequest(403, "operator-key-needed", "here only operators have routes explained")
            kind = "account" if isinstance(owner, Account) else "operator"
            if isinstance(owner, Account) and answer == self._explained:
                self._throttle(f"{kind} {owner.name} routes", OF_ACCOUNTS)
            else:
                self._throttle(f"{kind} {owner.name}", A_SECOND)
            check_json(request.headers.get(b"content-type"))
            given = read_object(request.body, "an object with the fields of a message")
            account = self._for_whom(owner if isinstance(owner, Account) else None, given)
            told = answer(account, given)
            if isinstance(told, Refusal):
                errors = (FieldError(told.field, told.detail),) if told.field else ()
                raise BadRequest(told.status, told.code, told.detail, errors)
            if isinstance(owner, Account):
                _keep_to_operators(told)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
        else:
            respond(200, _PRIVATE, msgspec.json.encode(told))

    def _previewed(self, account: Account | None, given: dict[str, Any]) -> dict[str, Any] | Refusal:
        submission = read_one(msgspec.json.encode({**_ANYBODY, **given}))
        if "to" not in given:
            submission.to = ""
        return self._preview(account, submission)

    def _explained(self, account: Account | None, given: dict[str, Any]) -> dict[str, Any] | Refusal:
        at_ms = _at_ms(given.pop("at", None))
        silent = given.get("text") is None and given.get("data") is None
        submission = read_one(msgspec.json.encode({**given, "text": "-"} if silent else given))
        if silent:
            submission.text = ""
        return self._explain(account, submission, at_ms or self._wall_ms())

    def _for_whom(self, own: Account | None, given: dict[str, Any]) -> Account | None:
        """The account that it is asked for. Errors: BadRequest."""
        name = given.pop("account", None)
        if name is None:
            return own
        if not isinstance(name, str):
            raise invalid([FieldError("account", _NO_NAME)])
        if own is not None:
            if name == own.name:
                return own
            detail = f"this is a key of the account {own.name!r}, which asks for itself; leave account out"
            raise BadRequest(403, "operator-key-needed", detail)
        account = self._named(name)
        if account is None:
            raise BadRequest(404, "no-such-account", f"there is no account {name[:64]!r}")
        return account

    def _throttle(self, asker: str, rate: int) -> None:
        now = trio.current_time()
        throttle = self._throttles.get(asker)
        if throttle is None:
            if len(self._throttles) >= _ASKERS:
                self._throttles.clear()
            throttle = self._throttles[asker] = Throttle(rate, rate)
        if throttle.available(now) < 1:
            detail = f"more than {rate} questions a second; ask again in a second"
            raise BadRequest(429, "too-many-questions", detail, headers=(("Retry-After", "1"),))
        throttle.take(1, now)


def _keep_to_operators(told: dict[str, Any]) -> None:
    """Take out what is not for customers: what carriers charge, and whom rules are for."""
    for carrier in told.get("carriers", ()):
        carrier["cost"] = carrier["margin"] = None
        if carrier["reason"] == "margin":
            carrier["detail"] = "left out for its price"
    for rule in told.get("rules", ()):
        if not rule["matches"]:
            rule["route"] = None
            rule["why_not"] = rule["why_not"].partition(":")[0]


def _at_ms(value: object) -> int:
    """0 = not said. Errors: BadRequest."""
    if value is None:
        return 0
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) and len(value) <= 40 else None
        at_ms = round(at.timestamp() * 1000) if at is not None and at.tzinfo is not None else 0
    except (ValueError, OverflowError):
        at_ms = 0
    if not 0 < at_ms < LATEST_MS:
        raise invalid([FieldError("at", _NO_TIME)])
    return at_ms
