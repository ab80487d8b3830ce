"""Twilio's Messages resource, 2010-04-01: create, fetch, list, cancel, redact, delete.

Sources: Twilio's API reference of the resource and its error dictionary, and what its SDKs send (forms, PHP's
as multipart). Basic authentication by an app's name and password: an existing app's Account SID (or API key
SID) and token, set with `signalbox account app set NAME ACxxx --password TOKEN`. The Account SID of the path
is one of the account's apps, or what Signalbox calls the account (gateway.ids).

Where it differs: there are no media (21620), no content templates and no services (a MessagingServiceSid
takes the account's own sender). What is deleted has no text any more and is not shown here again; that it
was sent, to whom and at what price, stays where operators see it.

Deliberately not here: status callbacks and TwiML (gateway.callbacks.formats.twilio, gateway.callbacks.twiml),
who the app is (who.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec
import trio

from gateway.callbacks.choice import twilio as callbacks
from gateway.callbacks.formats.twilio import API_VERSION, e164, error_code_of
from gateway.door import Accepted, Refusal, Submission
from gateway.http import forms
from gateway.http.apps.who import SEND, Apps, basic_of
from gateway.http.forms import Parameters
from gateway.http.ports import DoorPort, WallClock
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.search import MOST_AT_ONCE
from gateway.ids import account_sid_of, id_of_sid, sid_of
from router.nouns import Account, Message, MessageState, Phase, Progress, Reason, Step
from router.numbers import NumberProblem
from store.interface import NO_ID, Transaction
from store.search import Page, Query

API = "twilio"
PAGE, MOST_OF_A_PAGE = 50, 1_000

_ROOT = f"/{API_VERSION}/Accounts/{{account}}"
_JSON: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
_ASK: Headers = (*_JSON, ("WWW-Authenticate", 'Basic realm="Twilio API"'))
_LOOK = ("messages.read", "messages.text", "messages.numbers")  # scopes of a key: all of it is shown
_CHANGE = (*_LOOK, "messages.cancel")
_LONGEST_BODY = 1_600
_DELETED = "deleted"
_INTERNATIONAL = 1
_MORE = "https://www.twilio.com/docs/errors/"
_BY_RECEIPT = frozenset(map(int, (Reason.RECEIPT, Reason.NO_RECEIPT)))
_NO_NUMBER = frozenset(
    ("no-number", "not-a-number", "unknown-country", "impossible-length", "number-type-not-allowed")
)
_STATUSES = {
    Phase.SCHEDULED: "scheduled",
    Phase.LEASED: "sending",
    Phase.UNKNOWN: "sent",
    Phase.AWAITING_RECEIPT: "sent",
}
_encode = msgspec.json.Encoder().encode


class Store(Protocol):
    def find(self, account: int, id: int) -> tuple[Message, Progress] | None: ...
    def redact_archived(self, account: int, id: int, now_ms: int, detail: str = "") -> bool: ...


class Calling(Protocol):
    """A committer, for verbs that somebody waits for."""

    def call_soon(
        self, function: Callable[[Transaction], Any], done: Callable[[Any], None], *, awaited: bool
    ) -> None: ...


class Failed(Exception):
    """An HTTP status, Twilio's number and words."""

    def __init__(self, status: int, code: int, text: str, retry_after_s: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.retry_after_s = retry_after_s

    def answer(self) -> tuple[int, Headers, bytes]:
        told = {
            "code": self.code,
            "message": self.text,
            "more_info": f"{_MORE}{self.code}",
            "status": self.status,
        }
        headers = _ASK if self.status == 401 else _JSON
        if self.retry_after_s:
            headers = (*headers, ("Retry-After", str(self.retry_after_s)))
        return self.status, headers, _encode(told)


class TwilioApi:
    """`add_to` puts it into a table. `find`: gateway.searching's."""

    def __init__(
        self,
        door: DoorPort,
        apps: Apps,
        wall_ms: WallClock,
        store: Store,
        committer: Calling,
        find: Callable[[Query], Awaitable[Page]],
        recipient: Callable[[Account, str], str],
        in_thread: Callable[[Callable[[], bool]], Awaitable[bool]] = trio.to_thread.run_sync,
    ) -> None:
        """`recipient`: a number as the account writes it in E.164 digits. Errors: NumberProblem."""
        self._in_thread = in_thread
        self._asking: dict[int, int] = {}  # account → its lists that are being answered
        self._door = door
        self._apps = apps
        self._wall_ms = wall_ms
        self._store = store
        self._committer = committer
        self._find = find
        self._recipient = recipient

    def add_to(self, routes: Routes) -> None:
        for resource in ("Messages", "SMS/Messages"):
            for ending in (".json", ""):
                routes.add("POST", f"{_ROOT}/{resource}{ending}", self.create)
                routes.add("GET", f"{_ROOT}/{resource}{ending}", self.list)
            routes.add("GET", f"{_ROOT}/{resource}/{{sid}}", self.fetch)
            routes.add("POST", f"{_ROOT}/{resource}/{{sid}}", self.update)
            routes.add("DELETE", f"{_ROOT}/{resource}/{{sid}}", self.delete)

    def create(self, request: Request, respond: Respond) -> None:
        """201 with the message, which is on disk."""

        def known(account: Account) -> None:
            given = _given(request)
            sid = request.params["account"]
            submission = submission_of(given, account, sid, self._wall_ms())

            def done(results: list[Accepted | Refusal]) -> None:
                result = results[0]
                if isinstance(result, Refusal):
                    respond(*_failure(result, submission).answer())
                else:
                    respond(201, _JSON, _encode(self._created(sid, result)))

            self._door.submit(account, [submission], done)

        self._as_app(request, respond, known)

    def fetch(self, request: Request, respond: Respond) -> None:
        def known(account: Account) -> None:
            message, progress = self._message(account, request)
            respond(200, _JSON, _encode(shown(request.params["account"], message, progress)))

        self._as_app(request, respond, known, _LOOK)

    def update(self, request: Request, respond: Respond) -> None:
        """Status=canceled, or an empty Body, which redacts."""

        def known(account: Account) -> None:
            given = _given(request)
            message, _ = self._message(account, request)
            body = given.first(b"Body")
            if body is not None:
                if body:
                    raise Failed(400, 20001, "Body can only be made empty, which redacts the message")
                self._redact(account, message, request, respond, "")
                return
            if given.text(b"Status") != "canceled":
                raise Failed(400, 20001, "Status must be canceled")
            self._cancel(account, message, request, respond)

        self._as_app(request, respond, known, _CHANGE)

    def delete(self, request: Request, respond: Respond) -> None:
        def known(account: Account) -> None:
            message, _ = self._message(account, request)
            self._redact(account, message, request, respond, _DELETED)

        self._as_app(request, respond, known, _CHANGE)

    def list(self, request: Request, respond: Respond) -> None:
        """Newest first, by To, From and DateSent, in pages."""

        def known(account: Account) -> None:
            given = forms.of_query(request.query)
            query, size = self._query(given, account)
            asking = self._asking.get(account.id, 0)
            if asking >= MOST_AT_ONCE:
                raise Failed(429, 20429, "Too Many Requests", 1)
            self._asking[account.id] = asking + 1

            async def search() -> None:
                try:
                    page = await self._find(query)
                except Exception:
                    respond(*Failed(503, 20503, "The search is not ready; try again", 2).answer())
                    raise
                finally:
                    self._asking[account.id] -= 1
                found = (self._store.find(account.id, hit.id) for hit in page.hits)
                sid = request.params["account"]
                rows = [shown(sid, *one) for one in found if one is not None and not _gone(one[1])]
                respond(200, _JSON, _encode(_page(request.path, given, size, rows, page.before)))

            request.later(search)

        self._as_app(request, respond, known, _LOOK)

    # what they share

    def _as_app(
        self,
        request: Request,
        respond: Respond,
        known: Callable[[Account], None],
        scopes: Sequence[str] = SEND,
    ) -> None:
        sid = request.params["account"]

        def let_in(account: Account) -> None:
            try:
                if sid not in _sids(account):
                    raise Failed(404, 20404, f"The requested resource {request.path} was not found")
                known(account)
            except Failed as failed:
                respond(*failed.answer())
            except BadRequest as refusal:
                respond(*Failed(400, 20001, str(refusal)).answer())

        def unknown(refusal: BadRequest) -> None:
            if refusal.status in (429, 503):
                respond(*Failed(429, 20429, "Too Many Requests", 1).answer())
            else:
                respond(*Failed(401, 20003, "Authenticate").answer())

        user, password = basic_of(request.headers.get(b"authorization"))
        self._apps.ask(request, API, user, password, let_in, unknown, scopes)

    def _message(self, account: Account, request: Request) -> tuple[Message, Progress]:
        id = id_of_sid(request.params["sid"].removesuffix(".json"))
        found = self._store.find(account.id, id) if id is not None else None
        if found is None or _gone(found[1]):
            raise Failed(404, 20404, f"The requested resource {request.path} was not found")
        return found

    def _created(self, sid: str, taken: Accepted) -> dict[str, object]:
        """As it was accepted, whatever has become of it since."""
        return _resource(
            sid,
            sid_of(taken.id),
            e164(taken.source, taken.source_ton == _INTERNATIONAL),
            taken.destination,
            taken.text,
            taken.segments,
            "scheduled" if taken.send_at_ms else "queued",
            self._wall_ms(),
        )

    def _cancel(self, account: Account, message: Message, request: Request, respond: Respond) -> None:
        now_ms = self._wall_ms()

        def done(call: Any) -> None:
            if call.error is not None:
                respond(*Failed(503, 20503, "The change could not be kept; try again", 1).answer())
                return
            found = self._store.find(account.id, message.id)
            cancelled = found is not None and found[1].reason == Reason.CANCELLED
            if call.result == "cancelled" or (call.result == "final" and cancelled):
                assert found is not None
                respond(200, _JSON, _encode(shown(request.params["account"], *found)))
            else:
                respond(*Failed(400, 30409, "The message cannot be canceled any more").answer())

        self._committer.call_soon(lambda txn: txn.cancel(account.id, message.id, now_ms), done, awaited=True)

    def _redact(
        self, account: Account, message: Message, request: Request, respond: Respond, detail: str
    ) -> None:
        """What it said is taken out, wherever it is. `detail` _DELETED: it is not shown here any more."""
        now_ms = self._wall_ms()

        def answer() -> None:
            found = self._store.find(account.id, message.id)
            if detail == _DELETED or found is None:
                respond(204, (), b"")
            else:
                respond(200, _JSON, _encode(shown(request.params["account"], *found)))

        async def archived() -> None:
            there = await self._in_thread(
                partial(self._store.redact_archived, account.id, message.id, now_ms, detail)
            )
            if there:
                answer()
            else:
                respond(*Failed(404, 20404, f"The requested resource {request.path} was not found").answer())

        def done(call: Any) -> None:
            if call.error is not None:
                respond(*Failed(503, 20503, "The change could not be kept; try again", 1).answer())
            elif call.result == "waits":
                respond(*Failed(400, 20009, "The message has not ended; it can be changed then").answer())
            elif call.result == "unknown":
                request.later(archived)
            else:
                answer()

        self._committer.call_soon(
            lambda txn: txn.redact(account.id, message.id, now_ms, detail), done, awaited=True
        )

    def _query(self, given: Parameters, account: Account) -> tuple[Query, int]:
        """Errors: Failed."""
        size = _whole(given, b"PageSize", PAGE)
        size = min(max(size, 1), MOST_OF_A_PAGE)
        since_ms, until_ms = _dates(given)
        to = given.text(b"To")
        if to:
            try:
                to = self._recipient(account, to)
            except NumberProblem:
                to = to.lstrip("+")
        token = given.text(b"PageToken").removeprefix("PASM")
        before = int(token) if token.isdecimal() and len(token) <= 19 else NO_ID
        sender = given.text(b"From").removeprefix("+")
        query = Query(
            to=(to,) if to else (),
            sender=(sender,) if sender else (),
            accounts=(account.id,),
            since_ms=since_ms,
            until_ms=until_ms,
            limit=size,
            before=before,
        )
        return query, size


def submission_of(given: Parameters, account: Account, sid: str, now_ms: int) -> Submission:
    """What a create asks for. `sid`: of the path. Errors: Failed."""
    to, body = given.text(b"To"), given.text(b"Body")
    if not to:
        raise Failed(400, 21604, "A 'To' phone number is required.")
    if given.first(b"MediaUrl", b"MediaUrl[]", b"MediaUrl0") is not None:
        raise Failed(400, 21620, "Invalid media URL(s): there are no media here")
    if given.text(b"ContentSid"):
        raise Failed(400, 21655, "The ContentSid is invalid: there are no content templates here")
    sender = given.text(b"From").removeprefix("+")
    if not sender and given.text(b"MessagingServiceSid"):
        sender = next((one for one in account.senders if not one.endswith("*")), "")
    if not sender:
        raise Failed(400, 21603, "A 'From' phone number is required.")
    if not body:
        raise Failed(400, 21602, "Message body is required.")
    if len(body) > _LONGEST_BODY:
        raise Failed(400, 21617, f"The concatenated message body exceeds the {_LONGEST_BODY} character limit")
    submission = Submission(to, sender, body)
    if given.text(b"SmartEncoded"):
        submission.smart_encoding = given.text(b"SmartEncoded").lower() == "true"
    seconds = _whole(given, b"ValidityPeriod", 0)
    if seconds:
        submission.validity_s = seconds
    if given.text(b"SendAt"):
        if given.text(b"ScheduleType") != "fixed":
            raise Failed(400, 35111, "ScheduleType must be fixed where SendAt is given")
        submission.send_at_ms = _instant(given.text(b"SendAt"))
        if submission.send_at_ms <= now_ms:
            raise Failed(400, 35114, "SendAt must lie ahead")
    return callbacks(given.text(b"StatusCallback"), sid).attach(submission)


def status_of(message: Message, progress: Progress) -> str:
    """Twilio's word for where it is."""
    if progress.phase != Phase.FINAL:
        return _STATUSES.get(Phase(progress.phase), "queued")
    if progress.state == MessageState.DELIVERED:
        return "delivered"
    if progress.reason == Reason.CANCELLED:
        return "canceled"
    if progress.state == MessageState.ACCEPTED:
        return "sent"
    return "undelivered" if progress.reason in _BY_RECEIPT else "failed"


def shown(account_sid: str, message: Message, progress: Progress) -> dict[str, object]:
    """The resource."""
    status = status_of(message, progress)
    failed = status in ("undelivered", "failed")
    sent_ms = next((at for at, step, _, _ in progress.events if step == Step.SENT), 0)
    return _resource(
        account_sid,
        sid_of(message.id),
        e164(message.source, message.source_ton == _INTERNATIONAL),
        message.destination,
        message.text,
        message.segments,
        status,
        message.accepted_ms,
        updated_ms=progress.finished_ms or (progress.events[-1][0] if progress.events else 0),
        sent_ms=sent_ms,
        error=int(error_code_of(progress.cause)) if failed else None,
    )


def _resource(
    account_sid: str,
    sid: str,
    source: str,
    destination: str,
    body: str,
    segments: int,
    status: str,
    created_ms: int,
    *,
    updated_ms: int = 0,
    sent_ms: int = 0,
    error: int | None = None,
) -> dict[str, object]:
    uri = f"/{API_VERSION}/Accounts/{account_sid}/Messages/{sid}"
    return {
        "account_sid": account_sid,
        "api_version": API_VERSION,
        "body": body,
        "date_created": _rfc2822(created_ms),
        "date_sent": _rfc2822(sent_ms),
        "date_updated": _rfc2822(updated_ms or created_ms),
        "direction": "outbound-api",
        "error_code": error,
        "error_message": None,
        "from": source,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": str(segments),
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": e164(destination, is_international=True),
        "uri": f"{uri}.json",
    }


def _page(
    path: str, given: Parameters, size: int, rows: list[dict[str, object]], before: int
) -> dict[str, object]:
    number = _whole(given, b"Page", 0)
    kept = [one for one in given.pairs if one[0] not in (b"Page", b"PageSize", b"PageToken")]

    def uri(page: int, token: int = 0) -> str:
        more = [("PageSize", size), ("Page", page), *([("PageToken", f"PASM{token}")] if token else [])]
        return f"{path}?{urlencode([*kept, *more])}"

    return {
        "end": number * size + max(0, len(rows) - 1),
        "first_page_uri": uri(0),
        "messages": rows,
        "next_page_uri": uri(number + 1, before) if before else None,
        "page": number,
        "page_size": size,
        "previous_page_uri": None,
        "start": number * size,
        "uri": uri(number),
    }


def _failure(refusal: Refusal, asked: Submission) -> Failed:
    wait_s = max(1, round(refusal.retry_after_s)) if refusal.retry_after_s else 0
    if refusal.code in _NO_NUMBER:
        return Failed(400, 21211, f"The 'To' number {asked.to} is not a valid phone number.")
    if refusal.code == "bad-sender":
        return Failed(
            400,
            21212,
            f"The 'From' number {asked.sender} is not a valid phone number, shortcode, or alphanumeric "
            "sender ID.",
        )
    if refusal.code == "sender-not-allowed":
        return Failed(
            400, 21606, f"The 'From' phone number {asked.sender} is not one that your account may send from."
        )
    if refusal.code in ("no-route", "destination-not-allowed", "no-margin"):
        return Failed(
            400,
            21408,
            "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: "
            f"{asked.to}.",
        )
    if refusal.code == "queue-full":
        return Failed(
            429, 21611, "This 'From' number has exceeded the maximum number of queued messages", wait_s
        )
    if refusal.status == 429:
        return Failed(429, 20429, "Too Many Requests", wait_s or 1)
    if refusal.status == 503:
        return Failed(503, 20503, refusal.detail, wait_s or 1)
    if refusal.code == "bad-callback-url":
        return Failed(400, 21609, f"The 'StatusCallback' URL {asked.callback_url} is not a valid URL.")
    if refusal.code == "too-long":
        return Failed(400, 21617, refusal.detail)
    if refusal.code in ("bad-validity", "too-far-ahead"):
        return Failed(400, 20001, f"{refusal.field}: {refusal.detail}")
    return Failed(refusal.status if refusal.status in (402, 403) else 400, 20403, refusal.detail)


def _gone(progress: Progress) -> bool:
    """Whether its customer deleted it."""
    return any(step == Step.REDACTED and detail == _DELETED for _, step, _, detail in progress.events)


def _given(request: Request) -> Parameters:
    """Errors: Failed, BadRequest."""
    found = forms.of_body(request.headers.get(b"content-type"), request.body)
    if found is None:
        if request.body.strip():
            raise Failed(415, 20415, "send a form, urlencoded or multipart")
        return Parameters(())
    return found


def _sids(account: Account) -> set[str]:
    return {account_sid_of(account.id), *(login.system_id for login in account.app_logins)}


def _whole(given: Parameters, name: bytes, default: int) -> int:
    """Errors: Failed."""
    text = given.text(name).strip()
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise Failed(400, 20001, f"{name.decode()} must be a whole number")
    return int(text)


def _instant(text: str) -> int:
    """ISO 8601 as UTC milliseconds; without a zone it is UTC. Errors: Failed."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Failed(400, 20001, f"{text[:40]!r} is no time as 2030-01-31T09:30:00Z") from None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _dates(given: Parameters) -> tuple[int, int]:
    """DateSent, and with < or > before and from it: [since, until). Errors: Failed."""
    day_ms = 86_400_000
    on, after, before = (
        _instant(text) if (text := given.text(name)) else 0
        for name in (b"DateSent", b"DateSent>", b"DateSent<")
    )
    if on:
        on -= on % day_ms
        return on, on + day_ms
    return after, before


def _rfc2822(at_ms: int) -> str | None:
    return format_datetime(datetime.fromtimestamp(at_ms / 1000, UTC)) if at_ms else None
