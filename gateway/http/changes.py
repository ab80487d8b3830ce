"""What is done to one message that waits: cancel it, or change what it says, and when.

The store decides, in the transaction, as it does for cancel_sm and replace_sm: whatever waits can be taken
back, what a carrier has in hand cannot. The answer tells what came of it, after the commit. On a full disk
both have the room that is kept for state changes; where that is gone, too, the answer says so at once.

Invariants: an account touches its own messages only; what an operator cancels is in the audit trail, in the
same commit.

Deliberately not here: what a text takes and where it goes (the door), the same over SMPP (operations.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import structlog

from gateway.audit import Actor, acting, entry
from gateway.door import CLASSES, Refusal, Submission, encoding_word
from gateway.http.access import account_of
from gateway.http.fields import ChangeIn, check_json, invalid, read_change
from gateway.http.messages import refused
from gateway.http.once import Asked, Once
from gateway.http.operated import PRIVATE, not_kept, reason_of
from gateway.http.ports import WallClock
from gateway.http.problems import BadRequest, FieldError
from gateway.http.request import Request, fail
from gateway.http.retries import Answered
from gateway.http.routes import Respond, Routes
from gateway.http.table import messages as table
from gateway.http.table.messages import CancelOut
from gateway.http.timeline import message_json
from router.money import INSUFFICIENT
from router.nouns import Account, Message, MessageState, Phase, Progress, Reason
from store.interface import Replacement, StoreError, Transaction

_ID_DIGITS = 19  # of a 63-bit number
_CLASS_NAMES = {int(number): name for name, number in CLASSES.items()}
_RECEIPTS = {"none": 0, "final": 1, "all": 2}

log = structlog.get_logger("http")

_encode = msgspec.json.Encoder().encode


class Found(Protocol):
    """Reads of the last commit."""

    def find(self, account: int, id: int) -> tuple[Message, Progress] | None: ...
    def find_any(self, id: int) -> tuple[Message, Progress] | None: ...
    def carrier_name(self, id: int) -> str: ...


class Calling(Protocol):
    """A committer, for verbs that somebody waits for."""

    def call_soon(
        self, function: Callable[[Transaction], Any], done: Callable[[Any], None], *, awaited: bool
    ) -> None: ...


class Planning(Protocol):
    """The door, for what a message would be now."""

    def replanned(self, account: Account, message: Message, request: Submission) -> Message | Refusal: ...


class Changes:
    """Handlers over the store, the committer and the door; `add_to` puts them into a table."""

    def __init__(
        self, store: Found, committer: Calling, door: Planning, once: Once, wall_ms: WallClock
    ) -> None:
        self._store = store
        self._committer = committer
        self._door = door
        self._once = once
        self._wall_ms = wall_ms

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.CANCEL, self.cancel)
        routes.serve(table.CHANGE, self.change)

    # cancel

    def cancel(self, request: Request, respond: Respond) -> None:
        """POST /v1/messages/{id}/cancel: 200 once it is not sent any more, else a problem that says why."""
        asked: Asked | Answered | None = None
        try:
            owner = request.caller.owner
            _nothing(request)
            own = isinstance(owner, Account)
            actor = (
                None if own else Actor(owner.name, "http", reason_of(request.headers.get(b"audit-reason")))
            )
            key = request.headers.get(b"idempotency-key")
            if key is not None:
                who = "" if own else owner.name
                asked = self._once.asked(owner.id if isinstance(owner, Account) else 0, key, request, who)
            if isinstance(asked, Answered):
                respond(*asked)
                return
            message, _ = self._found(owner.id if isinstance(owner, Account) else 0, request.params["id"])
        except BadRequest as refusal:
            if isinstance(asked, Asked):
                asked.end()
            respond(*refusal.answer(request.path))
            return
        now_ms = self._wall_ms()

        def verb(txn: Transaction) -> Answered | BadRequest:
            became = txn.cancel(message.account, message.id, now_ms)
            if became != "cancelled":
                return _not_cancelled(became)
            if actor is not None:
                with acting(actor):
                    txn.audit(entry(now_ms, "message.cancelled", f"message:{message.id}"))
            answer = Answered(200, PRIVATE, _encode(_cancelled(message.id)))
            if isinstance(asked, Asked):
                asked.kept(answer)(txn)
            return answer

        def done(call: Any) -> None:
            if isinstance(asked, Asked):
                asked.end()
            answer = call.result
            if isinstance(call.error, StoreError):
                answer = not_kept(call.error)
            elif call.error is not None:
                fail(request, call.error)
                return
            if isinstance(answer, BadRequest) and answer.code == "already-final":
                found = self._store.find(message.account, message.id)
                if found is not None and found[1].reason == Reason.CANCELLED:  # it was cancelled before
                    answer = Answered(200, PRIVATE, _encode(_cancelled(message.id)))
            respond(*(answer.answer(request.path) if isinstance(answer, BadRequest) else answer))

        self._committer.call_soon(verb, done, awaited=True)

    # change

    def change(self, request: Request, respond: Respond) -> None:
        """PATCH /v1/messages/{id}: the message as it is now, or a problem."""
        try:
            account = account_of(request)
            check_json(request.headers.get(b"content-type"))
            given = read_change(request.body)
            message, _ = self._found(account.id, request.params["id"])
            planned = self._door.replanned(account, message, self._wanted(message, given))
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return
        if isinstance(planned, Refusal):
            respond(*refused(planned, request.path))
            return
        wish = _replacement(message, planned, given)
        now_ms = self._wall_ms()

        def verb(txn: Transaction) -> str:
            return txn.replace(account.id, message.id, wish, now_ms)

        def done(call: Any) -> None:
            if isinstance(call.error, StoreError):
                respond(*not_kept(call.error).answer(request.path))
            elif call.error is not None:
                fail(request, call.error)
            elif call.result != "replaced":
                respond(*_not_changed(call.result).answer(request.path))
            else:
                found = self._store.find(account.id, message.id)
                assert found is not None
                respond(200, PRIVATE, message_json(*found, self._store.carrier_name, request.caller.scopes))

        self._committer.call_soon(verb, done, awaited=True)

    def _wanted(self, message: Message, given: ChangeIn) -> Submission:
        """The message as it would be submitted now, with what is to change. Errors: BadRequest."""
        text: str | None = given.text
        data = None if given.data is None else bytes.fromhex(given.data)
        encoding: str | None = given.encoding
        if text is None and data is None:
            text, data = (None, message.data) if message.data else (message.text, None)
            encoding = encoding or encoding_word(message.encoding)
        now_ms = self._wall_ms()
        send_at_ms = message.send_at_ms
        if given.send_at is not None:
            send_at_ms = round(given.send_at.timestamp() * 1000)
            if send_at_ms <= now_ms:
                raise invalid([FieldError("send_at", "a time ahead; leave it out to keep the one it has")])
        expires_ms = 0
        if given.validity_s is None:
            expires_ms = message.expires_ms + max(0, send_at_ms - (message.send_at_ms or message.accepted_ms))
            expires_ms = expires_ms if given.send_at is not None else message.expires_ms
        return Submission(
            "+" + message.destination,
            message.source,
            text,
            data,
            encoding or "auto",
            given.validity_s,
            send_at_ms,
            message.priority,
            _CLASS_NAMES.get(message.message_class, "transactional"),
            message.tags,
            message.callback_url,
            message.client_ref,
            source=(message.source, message.source_ton, message.source_npi),
            destination_type=message.destination_type,
            expires_ms=expires_ms,
            wish=message.receipt,
            udh=message.udh,
            via=message.via,
            relay=message.relay,
            smart_encoding=given.smart_encoding,
        )

    def _found(self, account: int, shown_id: str) -> tuple[Message, Progress]:
        """A message by its id; of any account, for `account` 0. Errors: BadRequest 404."""
        found = None
        if shown_id.isascii() and shown_id.isdigit() and len(shown_id) <= _ID_DIGITS:
            number = int(shown_id)
            if number < 1 << 63:
                found = self._store.find(account, number) if account else self._store.find_any(number)
        if found is None:
            raise BadRequest(404, "no-such-message", "there is no message with that id, or it is not yours")
        return found


def _replacement(message: Message, planned: Message, given: ChangeIn) -> Replacement:
    timed = given.send_at is not None or given.validity_s is not None
    return Replacement(
        encoding=planned.encoding,
        segments=planned.segments,
        text=planned.text,
        data=planned.data,
        send_at_ms=planned.send_at_ms if given.send_at is not None else 0,
        expires_ms=planned.expires_ms if timed else 0,
        receipt=-1 if given.receipt is None else _RECEIPTS[given.receipt],
        lane=planned.lane if planned.lane != message.lane else 0,
    )


def _cancelled(id: int) -> CancelOut:
    return CancelOut(str(id), MessageState.DELETED.name, Phase.FINAL.name.lower())


def _not_cancelled(became: str) -> BadRequest:
    if became == "leased":
        return BadRequest(
            409,
            "with-a-carrier",
            "a carrier has it in hand at this moment, so it may be sent. The wish is kept: should it come "
            "back unsent it ends DELETED, and is not tried again",
        )
    return _too_late(became, "cancelled")


def _not_changed(became: str) -> BadRequest:
    if became == "leased":
        return BadRequest(
            409,
            "with-a-carrier",
            "a carrier has it in hand at this moment, with the text it had: nothing was changed. Should it "
            "come back unsent it can be changed then",
        )
    if became == "unpaid":
        return BadRequest(
            402,
            INSUFFICIENT,
            "the balance, caps or quotas of your account do not cover what more this would take; nothing "
            "was changed",
        )
    return _too_late(became, "changed")


def _too_late(became: str, done: str) -> BadRequest:
    if became == "sent":
        return BadRequest(
            409, "already-sent", f"a carrier has taken it, or a part of it: it cannot be {done} any more"
        )
    if became == "final":
        return BadRequest(409, "already-final", f"it has ended: there is nothing to be {done}")
    return BadRequest(404, "no-such-message", "there is no message with that id any more")


def _nothing(request: Request) -> None:
    """There is nothing to say in the body. Errors: BadRequest."""
    if request.body.strip() not in (b"", b"{}"):
        raise invalid([FieldError("", "this takes no fields: send {} or nothing")])
