"""POSTs over admin verbs that an Idempotency-Key lets be sent again, whatever they do.

An endpoint whose table entry says `idempotency="kept"` (or `"must-kept"`: nothing is done without a key) is
wrapped by `guard`: the first commit that its act makes writes, too, that the request was carried out, so that
no crash makes a retry do it again; its answer is written after it, before it is given, and kept for a day.
Where an answer tells a secret (`"told-once"`) it is kept in memory alone (retries.py). Both know a request by
its key and by whoever sent it.

Invariant: what was refused, and wrote nothing, may be tried again.

Deliberately not here: submits and cancels, whose answers go into their own commits (messages.py, changes.py).
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from gateway.committer import Committing, in_every_commit
from gateway.http.once import Asked, Once
from gateway.http.operated import reason_of
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.retries import Answered, Retries, key_of
from gateway.http.routes import AsyncHandler, Handler, Respond
from router.nouns import Account
from store.interface import StoreError

if TYPE_CHECKING:
    from gateway.http.endpoint import Endpoint

_OK = range(200, 300)


class _Refused(Exception):
    """Answered, and not to be remembered."""

    def __init__(self, answer: Answered) -> None:
        super().__init__()
        self.answer = answer


class Repeatable:
    """`guard` goes behind the one that asks for keys: it needs to know who asks."""

    def __init__(self, once: Once, retries: Retries, committer: Committing) -> None:
        self._once = once
        self._retries = retries
        self._committer = committer

    def guard(self, endpoint: Endpoint, handler: Handler) -> Handler:
        """The handler, behind the question whether this was carried out already."""
        if endpoint.idempotency not in ("kept", "must-kept", "told-once"):
            return handler
        assert inspect.iscoroutinefunction(handler), endpoint.id
        act = cast(AsyncHandler, handler)
        carry_out = self._told_once if endpoint.idempotency == "told-once" else self._kept

        async def guarded(request: Request, respond: Respond) -> None:
            header = request.headers.get(b"idempotency-key")
            if header is None:
                await act(request, respond)
                return
            try:
                reason_of(request.headers.get(b"audit-reason"))  # a wrong one is refused, repeated or not
                answer = await carry_out(header, request, act)
            except BadRequest as refusal:
                respond(*refusal.answer(request.path))
            else:
                respond(*answer)

        return guarded

    async def _kept(self, header: bytes, request: Request, act: AsyncHandler) -> Answered:
        owner = request.caller.owner
        own = isinstance(owner, Account)
        asked = self._once.asked(
            owner.id if isinstance(owner, Account) else 0, header, request, "" if own else owner.name
        )
        if isinstance(asked, Answered):
            return asked
        try:
            with in_every_commit(asked.begun):
                answer = await _answer_of(act, request)
            if answer.status in _OK:
                await self._keep(asked, answer)
            return answer
        finally:
            asked.end()

    async def _keep(self, asked: Asked, answer: Answered) -> None:
        """Should there be no room for it, a retry is told that it was carried out, if it changed anything."""
        with suppress(StoreError):
            await self._committer.execute(asked.kept(answer))

    async def _told_once(self, header: bytes, request: Request, act: AsyncHandler) -> Answered:
        async def carried_out() -> Answered:
            answer = await _answer_of(act, request)
            if answer.status not in _OK:
                raise _Refused(answer)
            return answer

        said = b"\n".join((request.method.encode(), request.path.encode(), request.body))
        who = request.headers[b"authorization"][7:].strip().decode("latin-1")
        try:
            return await self._retries.once(
                who, key_of(header, needed="this one is empty"), said, carried_out
            )
        except _Refused as refused:
            return refused.answer


async def _answer_of(act: AsyncHandler, request: Request) -> Answered:
    answers: list[Answered] = []

    def keep(status: int, headers: Headers, body: bytes) -> None:
        answers.append(Answered(status, headers, body))

    await act(request, keep)
    return answers[0]
