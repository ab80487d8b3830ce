"""The v1 message endpoints: submit one, submit a batch, look one up.

A 202 (or an item's 202) is written only after the door called back, that is after the commit. Every item
of a batch is answered on its own and in order; the batch itself is 200 once its shape is right.
An account sees its own messages only: another's id is a 404, as an unknown one is. People of the house see
all, as far as their role goes.

Deliberately not here: policy, numbers, routing (the door), fields (fields.py), what retries get (once.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import msgspec
import trio

from gateway.door import Accepted, Refusal, Submission
from gateway.http.access import account_of
from gateway.http.auth import Caller
from gateway.http.fields import BATCH_MAX, check_json, read_many, read_one
from gateway.http.once import Asked, Once
from gateway.http.ports import DoorPort, FinderPort
from gateway.http.problems import PROBLEM_HEADERS, BadRequest, FieldError, Headers, Problem, problem
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Respond, Routes
from gateway.http.table import messages as table
from gateway.http.table.messages import AcceptedOut, BatchOut
from gateway.http.timeline import WaitsOut, encoding_name, message_json, rfc3339, state_name
from gateway.submit_rates import SubmitRates
from gateway.traces import parent_of, response_of
from router.nouns import Account, Message, MessageState, Progress
from store.interface import Transaction

_Answer = tuple[int, Headers, bytes]  # arguments for `respond`

_JSON = ("Content-Type", "application/json")
_PRIVATE: Headers = (_JSON, ("Cache-Control", "no-store"))
_ID_DIGITS = 19  # of a 63-bit number
_WHOLE_BATCH = frozenset({403, 429, 503})  # account or house: concerns no single message


_encode = msgspec.json.Encoder().encode


class MessageApi:
    """Handlers over a door and a finder; `add_to` puts them into a table."""

    def __init__(
        self,
        door: DoorPort,
        finder: FinderPort,
        once: Once,
        *,
        max_batch: int = BATCH_MAX,
        rates: SubmitRates | None = None,
        waits: Callable[[Message, Progress], WaitsOut | None] = lambda message, progress: None,
    ) -> None:
        """`waits`: where a message waits (gateway.whereabouts), for people of the house."""
        self._door = door
        self._finder = finder
        self._once = once
        self._max_batch = max_batch
        self._rates = rates or SubmitRates()
        self._waits = waits

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.SEND, self.submit)
        routes.serve(table.SEND_BATCH, self.submit_batch)
        routes.serve(table.SHOW, self.show)

    def submit(self, request: Request, respond: Respond) -> None:
        """POST /v1/messages: 202, or a problem."""
        try:
            account = request.caller.account or account_of(request)
            check_json(request.headers.get(b"content-type"))
            submission = read_one(request.body)
            parent = request.headers.get(b"traceparent")
            if parent is not None:
                submission.trace = parent_of(parent)
            key = request.headers.get(b"idempotency-key")
            asked = None if key is None else self._once.asked(account.id, key, request)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return

        if account.tps:
            respond = self._telling_rate(account, respond)

        def answer(results: list[Accepted | Refusal]) -> _Answer:
            result = results[0]
            if isinstance(result, Refusal):
                return refused(result, request.path)
            body = _encode(accepted_out(result, submission, 0))
            where = ("Location", f"/v1/messages/{result.id}")
            if submission.trace is None:
                return 202, (_JSON, where), body
            return 202, (_JSON, where, ("traceresponse", response_of(submission.trace, result.id))), body

        if asked is None:
            self._door.submit(account, (submission,), lambda results: respond(*answer(results)))
        else:
            self._submit_once(asked, account, (submission,), answer, respond)

    def submit_batch(self, request: Request, respond: Respond) -> None:
        """POST /v1/messages/batch: 200 with one result for each message, or a problem for the whole."""
        try:
            account = request.caller.account or account_of(request)
            check_json(request.headers.get(b"content-type"))
            items = read_many(request.body, self._max_batch)
            good = [item for item in items if isinstance(item, Submission)]
            if not good:
                respond(200, _PRIVATE, _encode(_batch(items, [])))
                return
            parent = request.headers.get(b"traceparent")
            if parent is not None:
                for one in good:
                    one.trace = parent_of(parent)
            key = request.headers.get(b"idempotency-key")
            asked = None if key is None else self._once.asked(account.id, key, request)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return

        if account.tps:
            respond = self._telling_rate(account, respond)

        def answer(results: list[Accepted | Refusal]) -> _Answer:
            whole = _same_for_all(results)
            if whole is not None:
                return refused(whole, request.path)
            return 200, _PRIVATE, _encode(_batch(items, results))

        if asked is None:
            self._door.submit(account, good, lambda results: respond(*answer(results)))
        else:
            self._submit_once(asked, account, good, answer, respond)

    def _submit_once(
        self,
        asked: Asked | Answered,
        account: Account,
        submissions: Sequence[Submission],
        answer: Callable[[list[Accepted | Refusal]], _Answer],
        respond: Respond,
    ) -> None:
        """It came with an Idempotency-Key: remembered in the commit that accepts it, or answered already."""
        if isinstance(asked, Answered):
            respond(*asked)
            return

        def keep(results: list[Accepted | Refusal]) -> Callable[[Transaction], None]:
            return asked.kept(Answered(*answer(results)))

        def done(results: list[Accepted | Refusal]) -> None:
            asked.end()
            respond(*answer(results))

        try:
            self._door.submit(account, submissions, done, keep=keep)
        except BaseException:
            asked.end()
            raise

    def _telling_rate(self, account: Account, respond: Respond) -> Respond:
        """`respond`, with the account's limit and what is left of it as the answer leaves."""

        def telling(status: int, headers: Headers, body: bytes) -> None:
            respond(status, (*headers, *self._rates.fields(account, trio.current_time())), body)

        return telling

    def show(self, request: Request, respond: Respond) -> None:
        """GET /v1/messages/{id}: the message with its timeline, or 404."""
        try:
            body = self._message(request.caller, request.params["id"])
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return
        respond(200, _PRIVATE, body)

    def _message(self, caller: Caller, shown_id: str) -> bytes:
        """An account's own message; any, for people of the house. Errors: BadRequest 404."""
        found, own = None, caller.account
        if shown_id.isascii() and shown_id.isdigit() and len(shown_id) <= _ID_DIGITS:
            number = int(shown_id)
            if number < 1 << 63:
                found = self._finder.find_any(number) if own is None else self._finder.find(own.id, number)
        if found is None or (own is not None and found[0].account != own.id):
            detail = (
                "this account has no message with that id; ids are the decimal numbers that submit answers"
                if own is not None
                else "there is no message with that id"
            )
            raise BadRequest(404, "no-such-message", detail)
        waits = self._waits(*found) if own is None else None
        return message_json(*found, self._finder.carrier_name, caller.scopes, waits)


def accepted_out(result: Accepted, asked: Submission, status: int) -> AcceptedOut:
    """What an accepted message is answered; `status` 0: it stands on its own."""
    text = asked.text
    return AcceptedOut(
        str(result.id),
        state_name(MessageState.SCHEDULED if result.send_at_ms else MessageState.ENROUTE),
        result.segments,
        encoding_name(result.encoding),
        result.destination,
        result.source,
        rfc3339(result.expires_ms),
        rfc3339(result.send_at_ms) if result.send_at_ms else "",
        asked.client_ref,
        status,
        text is not None and result.text != text,
    )


def refused(refusal: Refusal, path: str) -> _Answer:
    """What a request is answered of which nothing was taken."""
    headers: Headers = PROBLEM_HEADERS
    if refusal.retry_after_s:
        headers = (*PROBLEM_HEADERS, ("Retry-After", str(max(1, ceil(refusal.retry_after_s)))))
    return refusal.status, headers, _encode(problem_of(refusal, path))


def problem_of(refusal: Refusal, path: str = "") -> Problem:
    """What a refused one is answered."""
    errors = (FieldError(refusal.field, refusal.detail),) if refusal.field else ()
    return problem(refusal.status, refusal.code, refusal.detail, path, errors)


def _same_for_all(results: Sequence[Accepted | Refusal]) -> Refusal | None:
    """The one refusal that all share and that is about none of them: the batch as a whole is refused."""
    first = results[0]
    if not isinstance(first, Refusal) or first.field or first.status not in _WHOLE_BATCH:
        return None
    return first if all(isinstance(item, Refusal) and item.code == first.code for item in results) else None


def _batch(items: Sequence[Submission | BadRequest], results: Sequence[Accepted | Refusal]) -> BatchOut:
    """Join what never reached the door with what the door said, in the order of the request."""
    answered = iter(results)
    out: list[AcceptedOut | Problem] = []
    accepted = 0
    for item in items:
        if isinstance(item, BadRequest):
            out.append(problem(item.status, item.code, item.detail, "", item.errors))
            continue
        result = next(answered)
        if isinstance(result, Refusal):
            out.append(problem_of(result))
        else:
            accepted += 1
            out.append(accepted_out(result, item, 202))
    return BatchOut(accepted, len(items) - accepted, out)
