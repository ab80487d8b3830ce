"""Vonage's SMS API: `/sms/json`, by GET, form or JSON.

Source: Vonage's SMS API reference. Who asks says so by api_key and api_secret in the parameters or as Basic
authentication: an app of the account, set with `signalbox account app set NAME API_KEY --password SECRET`.
The answer is always 200, and `status` says what came of it; a long text is one message with one id.

Where it differs: signed requests (sig) are refused with 14, as only a hash of the secret is kept. What is
refused for now (429, 503) is status 1, so that clients try again.

Deliberately not here: the Messages API, callbacks (gateway.callbacks.choice), who the app is (who.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.callbacks.choice import vonage as callbacks
from gateway.door import Accepted, Refusal, Submission
from gateway.http import forms
from gateway.http.apps.content import BadContent, data_coding_of, put_octets, put_text, relay_of
from gateway.http.apps.who import Apps, basic_of
from gateway.http.ports import DoorPort
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.ids import hex_of
from router.nouns import Account, Encoding

API = "vonage"
PATH = "/sms/json"

Preview = Callable[[Account, Submission], "Mapping[str, Any] | Refusal"]  # gateway.explain.previewed
Balance = Callable[[Account], "float | None"]  # None: it pays afterwards, or nothing

_JSON: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
_LEAST_TTL_MS, _MOST_TTL_MS = 20_000, 604_800_000
_LONGEST_REFERENCE = 64
_TYPES = ("text", "unicode", "binary")
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Any])


class Failed(Exception):
    """One of Vonage's statuses and its words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    def answer(self, to: str = "", reference: str = "") -> bytes:
        row = {"status": str(self.status), "error-text": self.text}
        if to:
            row["to"] = to
        if reference:
            row["client-ref"] = reference
        return _encode({"message-count": "1", "messages": [row]})


class VonageApi:
    """`add_to` puts it into a table."""

    def __init__(self, door: DoorPort, apps: Apps, preview: Preview, balance: Balance) -> None:
        self._door = door
        self._apps = apps
        self._preview = preview
        self._balance = balance

    def add_to(self, routes: Routes) -> None:
        routes.add("GET", PATH, self.send)
        routes.add("POST", PATH, self.send)

    def send(self, request: Request, respond: Respond) -> None:
        """200 with what came of the message, which is on disk where its status is 0."""
        try:
            given = _given(request)
            user, password = given.pop("api_key", ""), given.pop("api_secret", "")
            if "sig" in given:
                raise Failed(14, "Invalid Signature: requests are not signed here; send api_secret")
        except Failed as failed:
            respond(200, _JSON, failed.answer())
            return
        asked = (user.encode(), password.encode())
        if not user and not password:
            asked = basic_of(request.headers.get(b"authorization"))
        if not any(asked):
            respond(200, _JSON, Failed(2, "Missing api_key").answer())
            return

        def known(account: Account) -> None:
            try:
                submission = submission_of({**given, "api-key": asked[0].decode("latin-1")}, account)
            except Failed as failed:
                respond(200, _JSON, failed.answer(given.get("to", ""), given.get("client-ref", "")))
                return
            self._submit(account, submission, given, respond)

        def unknown(refusal: BadRequest) -> None:
            failed = Failed(4, "Bad Credentials")
            if refusal.status in (429, 503):
                failed = Failed(1, "Throughput Rate Exceeded - please wait [ 1000 ] and retry")
            respond(200, _JSON, failed.answer())

        self._apps.ask(request, API, *asked, known, unknown)

    def _submit(
        self, account: Account, submission: Submission, given: Mapping[str, str], respond: Respond
    ) -> None:
        def done(results: list[Accepted | Refusal]) -> None:
            result = results[0]
            if isinstance(result, Refusal):
                failed = _failure(result)
                respond(200, _JSON, failed.answer(submission.to, submission.client_ref))
                return
            row = {"to": result.destination, "message-id": hex_of(result.id), "status": "0"}
            row |= self._money(account, submission, result.segments)
            for name in ("client-ref", "account-ref"):
                if given.get(name):
                    row[name] = given[name]
            respond(200, _JSON, _encode({"message-count": "1", "messages": [row]}))

        self._door.submit(account, [submission], done)

    def _money(self, account: Account, submission: Submission, segments: int) -> dict[str, str]:
        balance = self._balance(account)
        row = {"remaining-balance": f"{balance:.8f}"} if balance is not None else {}
        if account.rate_card:
            told = self._preview(account, submission)
            cost = None if isinstance(told, Refusal) else told["cost"]
            if cost is not None:
                row["message-price"] = f"{float(cost['price']) * segments:.8f}"
        return row


def submission_of(given: Mapping[str, str], account: Account) -> Submission:
    """What parameters ask for. Errors: Failed."""
    to, sender = given.get("to", ""), given.get("from", "")
    if not to:
        raise Failed(2, "Missing to param")
    if not sender:
        raise Failed(2, "Missing from param")
    kind = given.get("type", "text") or "text"
    if kind not in _TYPES:
        raise Failed(3, f"Invalid value for param: type: one of {', '.join(_TYPES)}")
    reference = given.get("client-ref", "")
    submission = Submission(to, sender, client_ref=reference[:_LONGEST_REFERENCE])
    message_class = _whole(given, "message-class", 3)
    protocol_id = _whole(given, "protocol-id", 255)
    udh = _hex(given, "udh")
    if kind == "binary":
        if "body" not in given:
            raise Failed(2, "Missing body param")
        if not udh and "udh" not in given:
            raise Failed(2, "Missing udh param")
        body = _hex(given, "body")
        if udh and len(udh) != udh[0] + 1:
            raise Failed(3, "Invalid value for param: udh")
        try:
            put_octets(submission, body, data_coding_of(Encoding.BINARY, message_class), udh)
        except BadContent:
            raise Failed(3, "Invalid value for param: udh") from None
    else:
        text = given.get("text", "")
        if not text:
            raise Failed(2, "Missing text param")
        encoding = Encoding.UCS2 if kind == "unicode" else Encoding.GSM7
        if message_class >= 0:
            put_text(submission, text, data_coding_of(encoding, message_class))
        else:
            put_text(submission, text)
    if protocol_id > 0:
        relay_of(submission).protocol_id = protocol_id
    ttl_ms = _whole(given, "ttl", _MOST_TTL_MS)
    if ttl_ms >= 0:
        if ttl_ms < _LEAST_TTL_MS:
            raise Failed(3, f"Invalid value for param: ttl: {_LEAST_TTL_MS} to {_MOST_TTL_MS} milliseconds")
        submission.validity_s = ttl_ms // 1000
    if given.get("account-ref"):
        submission.tags = (f"account-ref:{given['account-ref']}"[:64],)
    wanted = given.get("status-report-req", "true").lower() not in ("false", "0")
    chosen = callbacks(given.get("callback", ""), wanted, given.get("api-key", ""))
    return chosen.attach(submission)


def _failure(refusal: Refusal) -> Failed:
    if refusal.status in (429, 503):
        wait_ms = max(1, round(refusal.retry_after_s or 1)) * 1000
        return Failed(1, f"Throughput Rate Exceeded - please wait [ {wait_ms} ] and retry")
    if refusal.status == 402:
        return Failed(9, "Partner quota exceeded")
    if refusal.code in ("account-suspended", "account-closed"):
        return Failed(8, "Partner account barred")
    if refusal.code in ("destination-not-allowed", "no-route", "no-margin", "number-type-not-allowed"):
        return Failed(7, f"Number barred: {refusal.detail}")
    if refusal.code in ("sender-not-allowed", "bad-sender"):
        return Failed(15, f"Illegal Sender Address - rejected: {refusal.detail}")
    if refusal.code == "too-long":
        return Failed(12, f"Message too long: {refusal.detail}")
    field = {"to": "to", "text": "text", "callback_url": "callback", "validity_s": "ttl"}.get(refusal.field)
    return Failed(3, f"Invalid value for param: {field or refusal.field}: {refusal.detail}")


def _given(request: Request) -> dict[str, str]:
    """Of a query, and a form or JSON that wins over it. Errors: Failed."""
    try:
        found = _named(forms.of_query(request.query))
        if request.method == "POST":
            content_type = request.headers.get(b"content-type")
            form = forms.of_body(content_type, request.body)
            if form is not None:
                found |= _named(form)
            elif forms.media_of(content_type) == b"application/json":
                found |= _of_json(request.body)
    except BadRequest as refusal:
        raise Failed(6, str(refusal)) from None
    return found


def _of_json(body: bytes) -> dict[str, str]:
    try:
        told = _object.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Failed(6, "The body is no JSON object") from None
    found = {}
    for name, value in told.items():
        if isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            found[name] = str(value)
        elif value is not None:
            raise Failed(3, f"Invalid value for param: {name[:40]}")
    return found


def _named(found: forms.Parameters) -> dict[str, str]:
    return {name.decode("latin-1"): found.text(name) for name in found.names}


def _whole(given: Mapping[str, str], name: str, most: int) -> int:
    """-1: not given. Errors: Failed."""
    text = given.get(name, "")
    if not text:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise Failed(3, f"Invalid value for param: {name}")
    return int(text)


def _hex(given: Mapping[str, str], name: str) -> bytes:
    """Errors: Failed."""
    try:
        return bytes.fromhex(given.get(name, ""))
    except ValueError:
        raise Failed(3, f"Invalid value for param: {name}") from None
