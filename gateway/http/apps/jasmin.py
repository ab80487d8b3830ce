"""Jasmin's HTTP API (`/send`, `/rate`, `/balance`, `/ping`) and its REST API (`/secure/…`), as of 0.11.

Sources: Jasmin's documentation of both, and the order and words of its checks. Message ids are UUIDs that
hold ours (gateway.ids).

Where it differs, on purpose: passwords are as long as accounts have them; a text under coding 0 that GSM
7-bit cannot carry goes as UCS-2, not with question marks; what is refused of a batch is named in its answer
(`refused`). A batch's callback_url and errback_url are refused: every message's own dlr-url, or the account's
callbacks, tell more and survive a restart.

Deliberately not here: callbacks (gateway.callbacks.choice), who the user is (who.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from gateway.callbacks.choice import jasmin as callbacks
from gateway.door import Accepted, Refusal, Submission
from gateway.http import forms
from gateway.http.apps.content import put_content, put_text, relay_of
from gateway.http.apps.who import SEND, Apps, basic_of
from gateway.http.ports import DoorPort, WallClock
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.ids import uuid_of
from gateway.smpp_server.translate import content_of
from router.nouns import Account
from smpp.smpptime import BadTime
from smpp.smpptime import parse as parse_time

API = "jasmin"
MOST_OF_A_BATCH = 1_000

Preview = Callable[[Account, Submission], "Mapping[str, Any] | Refusal"]  # gateway.explain.previewed
Balance = Callable[[Account], "float | None"]  # None: it pays afterwards, or nothing

_PLAIN: Headers = (("Content-Type", "text/plain"),)
_JSON: Headers = (("Content-Type", "application/json"),)
_ASK_BASIC: Headers = (*_JSON, ("WWW-Authenticate", "Basic"))

_ANY = re.compile(rb".*", re.DOTALL)
_FIELDS: Mapping[str, re.Pattern[bytes]] = {
    "to": re.compile(rb"\+?[0-9]+"),
    "from": _ANY,
    "coding": re.compile(rb"[0-9]|10|13|14"),
    "username": re.compile(rb".{1,64}"),
    "password": re.compile(rb".{1,256}"),
    "priority": re.compile(rb"[0-3]"),
    "sdt": re.compile(rb"[0-9]{15}[+R-]"),
    "validity-period": re.compile(rb"[0-9]{1,9}"),
    "dlr": re.compile(rb"yes|no"),
    "dlr-url": re.compile(rb"https?://.*"),
    "dlr-level": re.compile(rb"[1-3]"),
    "dlr-method": re.compile(rb"get|post", re.IGNORECASE),
    "tags": re.compile(rb"[-a-zA-Z0-9,]*"),
    "content": _ANY,
    "hex-content": _ANY,
    "custom_tlvs": _ANY,
}
_OF_RATE = frozenset(_FIELDS) - {"sdt", "dlr", "dlr-url", "dlr-level", "dlr-method", "custom_tlvs"}
_MOST_SHARED = 2 * len(_FIELDS)  # each by either of its names
_PREVIEW = ("messages.preview",)  # scopes of a key
_BALANCE = ("balance.read",)
_UCS2 = b"8"
_INTEGERS = {"Int1": 1, "Int2": 2, "Int4": 4}
_CANNOT_SEND = "Cannot send submit_sm, check SMPPClientManagerPB log file for details"
_LATER = (429, 503)
_SECONDS = re.compile(r"([0-9]{1,9})s")

_object = msgspec.json.Decoder(dict[str, Any])


class Failed(Exception):
    """A status and Jasmin's words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class JasminApi:
    """`add_to` puts both APIs into a table."""

    def __init__(
        self,
        door: DoorPort,
        apps: Apps,
        wall_ms: WallClock,
        preview: Preview,
        balance: Balance,
        chance: Callable[[], int],
    ) -> None:
        """`chance`: 128 random bits, for the id of a batch."""
        self._door = door
        self._apps = apps
        self._wall_ms = wall_ms
        self._preview = preview
        self._balance = balance
        self._chance = chance

    def add_to(self, routes: Routes) -> None:
        for method in ("GET", "POST"):
            routes.add(method, "/send", self.send)
        routes.add("GET", "/rate", self.rate)
        routes.add("GET", "/balance", self.balance)
        routes.add("GET", "/ping", _ping)
        routes.add("POST", "/secure/send", self.secure_send)
        routes.add("POST", "/secure/sendbatch", self.secure_batch)
        routes.add("GET", "/secure/rate", self.secure_rate)
        routes.add("POST", "/secure/rate", self.secure_rate)
        routes.add("GET", "/secure/balance", self.secure_balance)

    # the HTTP API

    def send(self, request: Request, respond: Respond) -> None:
        """`Success "<uuid>"` after the commit, or `Error "…"`."""

        def fail(failed: Failed) -> None:
            respond(failed.status, _PLAIN, f'Error "{failed.text}"'.encode())

        def taken(id: str) -> None:
            respond(200, _PLAIN, f'Success "{id}"'.encode())

        try:
            given = _given(request)
            _check(given, frozenset(_FIELDS), ("to", "username", "password"))
            _one_content(given)
        except Failed as failed:
            fail(failed)
            return
        self._as_user(request, given, lambda account: self._send(account, given, taken, fail), fail)

    def rate(self, request: Request, respond: Respond) -> None:
        def fail(failed: Failed) -> None:
            respond(failed.status, _JSON, msgspec.json.encode(failed.text))

        try:
            given = _given(request)
            given.setdefault("content", b"") if "hex-content" not in given else None
            _check(given, _OF_RATE, ("to", "username", "password"))
            _one_content(given)
        except Failed as failed:
            fail(failed)
            return
        self._as_user(
            request, given, lambda account: self._rate(account, given, respond, fail), fail, _PREVIEW
        )

    def balance(self, request: Request, respond: Respond) -> None:
        def fail(failed: Failed) -> None:
            respond(failed.status, _JSON, msgspec.json.encode(failed.text))

        try:
            given = _given(request)
            _check(given, frozenset(("username", "password")), ("username", "password"))
        except Failed as failed:
            fail(failed)
            return
        self._as_user(
            request,
            given,
            lambda account: respond(200, _JSON, msgspec.json.encode(self._balance_of(account))),
            fail,
            _BALANCE,
        )

    # the REST API

    def secure_send(self, request: Request, respond: Respond) -> None:
        def fail(failed: Failed) -> None:
            respond(failed.status, _JSON, msgspec.json.encode({"message": f'Error "{failed.text}"'}))

        def taken(id: str) -> None:
            respond(200, _JSON, msgspec.json.encode({"data": f'Success "{id}"'}))

        def known(account: Account) -> None:
            given = _with_hyphens(_body(request))
            _check(given, frozenset(_FIELDS), ("to",))
            _one_content(given)
            self._send(account, given, taken, fail)

        self._secure(request, respond, known)

    def secure_rate(self, request: Request, respond: Respond) -> None:
        def fail(failed: Failed) -> None:
            respond(failed.status, _JSON, msgspec.json.encode({"message": failed.text}))

        def known(account: Account) -> None:
            given = _with_hyphens(_body(request))
            if "hex-content" not in given:
                given.setdefault("content", b"")
            _check(given, _OF_RATE, ("to",))
            self._rate(account, given, respond, fail, lambda found: {"data": found})

        self._secure(request, respond, known, _PREVIEW)

    def secure_balance(self, request: Request, respond: Respond) -> None:
        self._secure(
            request,
            respond,
            lambda account: respond(200, _JSON, msgspec.json.encode({"data": self._balance_of(account)})),
            _BALANCE,
        )

    def secure_batch(self, request: Request, respond: Respond) -> None:
        """Every message is on disk, or refused and named, before the answer."""

        def known(account: Account) -> None:
            self._batch(account, _body(request), respond)

        self._secure(request, respond, known)

    # what they share

    def _as_user(
        self,
        request: Request,
        given: Mapping[str, Any],
        known: Callable[[Account], None],
        fail: Callable[[Failed], None],
        scopes: Sequence[str] = SEND,
    ) -> None:
        user, password = _octets(given["username"]), _octets(given["password"])

        def unknown(refusal: BadRequest) -> None:
            text = f"Authentication failure for username:{user.decode('latin-1')}"
            fail(Failed(403, text if refusal.status not in _LATER else str(refusal)))

        self._apps.ask(request, API, user, password, known, unknown, scopes)

    def _secure(
        self,
        request: Request,
        respond: Respond,
        known: Callable[[Account], None],
        scopes: Sequence[str] = SEND,
    ) -> None:
        """By Basic authentication; failures of `known` are answered."""

        def let_in(account: Account) -> None:
            try:
                known(account)
            except Failed as failed:
                respond(failed.status, _JSON, msgspec.json.encode({"message": failed.text}))

        def unknown(refusal: BadRequest) -> None:
            told = {
                "title": "Authentication required",
                "description": "Please provide a valid Basic auth token",
            }
            respond(401, _ASK_BASIC, msgspec.json.encode(told))

        user, password = basic_of(request.headers.get(b"authorization"))
        self._apps.ask(request, API, user, password, let_in, unknown, scopes)

    def _send(
        self,
        account: Account,
        given: Mapping[str, Any],
        taken: Callable[[str], None],
        fail: Callable[[Failed], None],
    ) -> None:
        def done(results: list[Accepted | Refusal]) -> None:
            result = results[0]
            if isinstance(result, Refusal):
                fail(_failure(result))
            else:
                taken(uuid_of(result.id))

        try:
            submission = submission_of(given, account, self._wall_ms())
        except Failed as failed:
            fail(failed)
            return
        self._door.submit(account, [submission], done)

    def _rate(
        self,
        account: Account,
        given: Mapping[str, Any],
        respond: Respond,
        fail: Callable[[Failed], None],
        shown: Callable[[dict[str, object]], object] = lambda found: found,
    ) -> None:
        try:
            found = self._preview(account, submission_of(given, account, self._wall_ms()))
        except Failed as failed:
            fail(failed)
            return
        if isinstance(found, Refusal):
            fail(_failure(found))
            return
        cost = found["cost"]
        told: dict[str, object] = {
            "unit_rate": float(cost["price"]) if cost is not None else 0.0,
            "submit_sm_count": found["parts"],
        }
        respond(200, _JSON, msgspec.json.encode(shown(told)))

    def _balance_of(self, account: Account) -> dict[str, object]:
        balance = self._balance(account)
        return {"balance": "ND" if balance is None else balance, "sms_count": "ND"}

    def _batch(self, account: Account, body: Mapping[str, Any], respond: Respond) -> None:
        now_ms = self._wall_ms()
        settings = _mapping(body.get("batch_config"), "batch_config")
        if "callback_url" in settings or "errback_url" in settings:
            raise Failed(
                400,
                "batch_config: callback_url and errback_url are not there; give each message a dlr_url. "
                "What is refused is named in this answer",
            )
        wait_s = _wait_s(settings.get("schedule_at"), now_ms)
        shared = _mapping(body.get("globals"), "globals")
        if len(shared) > _MOST_SHARED:  # every message repeats them
            raise Failed(400, f"globals: at most {_MOST_SHARED} arguments")
        messages = body.get("messages")
        if not isinstance(messages, list):
            raise Failed(400, "messages: a list of messages")
        if len(messages) > MOST_OF_A_BATCH:
            raise _too_many()
        made: list[Submission] = []
        refused: list[dict[str, str]] = []
        for message in messages:
            given = _with_hyphens({**shared, **_mapping(message, "messages")})
            if "to" not in given or ("content" not in given and "hex-content" not in given):
                continue  # as Jasmin does
            receivers = given["to"] if isinstance(given["to"], list) else [given["to"]]
            if len(made) + len(refused) + len(receivers) > MOST_OF_A_BATCH:
                raise _too_many()
            for to in receivers:
                one = {**given, "to": to}
                try:
                    _check(one, frozenset(_FIELDS), ("to",))
                    _one_content(one)
                    submission = submission_of(one, account, now_ms)
                except Failed as failed:
                    refused.append({"to": _octets(to).decode("utf-8", "replace"), "error": failed.text})
                    continue
                if wait_s:
                    submission.send_at_ms = now_ms + wait_s * 1000
                made.append(submission)
        told: dict[str, object] = {"batchId": str(UUID(int=self._chance(), version=4))}

        def done(results: Sequence[Accepted | Refusal]) -> None:
            for asked, result in zip(made, results, strict=True):
                if isinstance(result, Refusal):
                    refused.append({"to": asked.to, "error": _failure(result).text})
            told["messageCount"] = len(made)
            if wait_s:
                told["scheduled"] = f"{wait_s}s"
            if refused:
                told["refused"] = refused
            respond(200, _JSON, msgspec.json.encode({"data": told}))

        if made:
            self._door.submit(account, made, done)
        else:
            done([])


def _too_many() -> Failed:
    return Failed(400, f"a batch has at most {MOST_OF_A_BATCH} messages; nothing of this one was sent")


def _ping(request: Request, respond: Respond) -> None:
    respond(200, _PLAIN, b"Jasmin/PONG")


def submission_of(given: Mapping[str, Any], account: Account, now_ms: int) -> Submission:
    """What checked parameters ask for. Errors: Failed."""
    sender = _text(given.get("from")) or next((one for one in account.senders if not one.endswith("*")), "")
    submission = Submission(_text(given["to"]), sender)
    _put_content(submission, given)
    if "priority" in given:
        submission.flag = relay_of(submission).priority = int(_text(given["priority"]))
    if "sdt" in given:
        try:
            submission.send_at_ms = parse_time(_octets(given["sdt"]), now_ms)
        except BadTime as error:
            raise Failed(400, f"Argument [sdt] has an invalid value: [{error}].") from None
    if "validity-period" in given and int(_text(given["validity-period"])):
        submission.expires_ms = now_ms + int(_text(given["validity-period"])) * 60_000
    if "tags" in given:
        submission.tags = tuple(tag for tag in _text(given["tags"]).split(",") if tag)[:10]
    if "custom_tlvs" in given:
        relay_of(submission).tlvs = _tlvs(given["custom_tlvs"])
    url, wanted = _text(given.get("dlr-url")), _text(given.get("dlr")) == "yes" or "dlr-level" in given
    if not url:
        submission.receipt = "final" if wanted else None
        return submission
    return callbacks(
        url, int(_text(given.get("dlr-level")) or "1"), _text(given.get("dlr-method")) or "POST"
    ).attach(submission)


def _put_content(submission: Submission, given: Mapping[str, Any]) -> None:
    coding = _octets(given.get("coding", b"0")) or b"0"
    if "hex-content" in given:
        value = _text(given["hex-content"])
        try:
            octets = bytes.fromhex(value)
        except ValueError:
            raise Failed(400, f"Invalid hex-content data: '{value[:80]}'") from None
    elif coding == b"0":
        put_text(submission, _utf8(given["content"]))
        return
    elif isinstance(given["content"], str):  # JSON has text and not octets
        octets = given["content"].encode("utf-16-be" if coding == _UCS2 else "latin-1", "replace")
    else:
        octets = _octets(given["content"])
    content = content_of(octets, 0, int(coding), (), "gsm7")
    if isinstance(content, int):
        raise Failed(400, "content or hex-content has more octets than a message can have.")
    put_content(submission, content)


def _failure(refusal: Refusal) -> Failed:
    if refusal.code in ("no-route", "route-down", "no-margin"):
        return Failed(412, "No route found")
    if refusal.status == 402:
        return Failed(403, "Cannot charge submit_sm, check RouterPB log file for details")
    if refusal.code == "rate-limited":
        return Failed(403, "User throughput exceeded")
    if refusal.status in _LATER:
        return Failed(500, _CANNOT_SEND)
    return Failed(403 if refusal.status == 403 else 400, f"{refusal.field}: {refusal.detail}".strip(": "))


# parameters


def _given(request: Request) -> dict[str, Any]:
    """Of a query, a form or a JSON body, which wins. Errors: Failed."""
    try:
        found: dict[str, Any] = _named(forms.of_query(request.query))
        if request.method == "POST":
            content_type = request.headers.get(b"content-type")
            form = forms.of_body(content_type, request.body)
            if form is not None:
                found |= _named(form)
            elif forms.media_of(content_type) == b"application/json":
                found |= _body(request)
    except BadRequest as refusal:
        raise Failed(refusal.status, str(refusal)) from None
    return {name: value for name, value in found.items() if value is not None}


def _named(found: forms.Parameters) -> dict[str, Any]:
    return {name.decode("latin-1"): found.first(name) for name in found.names}


def _body(request: Request) -> dict[str, Any]:
    try:
        return _object.decode(request.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Failed(412, "Cannot parse JSON data") from None


def _with_hyphens(given: Mapping[str, Any]) -> dict[str, Any]:
    """REST's names for the HTTP API's: `_` for `-`, but in custom_tlvs."""
    return {
        name if name == "custom_tlvs" else name.replace("_", "-"): value
        for name, value in given.items()
        if value is not None
    }


def _check(given: Mapping[str, Any], known: frozenset[str], needed: Sequence[str]) -> None:
    """Names and values, in Jasmin's words. Errors: Failed."""
    if not given:
        raise Failed(400, "Mandatory arguments not found, please refer to the HTTPAPI specifications.")
    for name in given:
        if name not in known:
            raise Failed(400, f"Argument [{name[:80]}] is unknown.")
    for name in needed:
        if name not in given:
            raise Failed(400, f"Mandatory argument [{name}] is not found.")
    for name, value in given.items():
        if isinstance(value, list | dict):
            if name != "custom_tlvs":
                raise Failed(400, f"Argument [{name}] has an invalid value: [{name} is no list].")
        elif not _FIELDS[name].fullmatch(_octets(value)):
            shown = _octets(value)[:80].decode("utf-8", "replace")
            raise Failed(400, f"Argument [{name}] has an invalid value: [{shown}].")


def _one_content(given: Mapping[str, Any]) -> None:
    if "content" not in given and "hex-content" not in given:
        raise Failed(400, "content or hex-content not present.")
    if "content" in given and "hex-content" in given:
        raise Failed(400, "content and hex-content cannot be used both in same request.")


def _octets(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else str(value)).encode()


def _text(value: object) -> str:
    return "" if value is None else _octets(value).decode("utf-8", "replace")


def _utf8(value: object) -> str:
    try:
        return _octets(value).decode()
    except UnicodeDecodeError:
        raise Failed(400, "Argument [content] has an invalid value: [no UTF-8].") from None


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Failed(400, f"{name}: an object")
    return value


def _wait_s(wanted: object, now_ms: int) -> int:
    """A batch's schedule_at: `YYYY-MM-DD HH:MM:SS` in UTC, or `86400s`. Errors: Failed."""
    if wanted is None:
        return 0
    text = _text(wanted)
    found = _SECONDS.fullmatch(text)
    if found is not None:
        return int(found[1])
    try:
        at = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise Failed(412, "Cannot parse scheduled_at value") from None
    wait_s = int(at.timestamp()) - now_ms // 1000
    if wait_s < 0:
        raise Failed(412, "Cannot schedule batch in past date")
    return wait_s


def _tlvs(rows: object) -> tuple[tuple[int, bytes], ...]:
    """`[[tag, length, type, value], …]`. Errors: Failed."""
    if isinstance(rows, bytes):
        try:
            rows = msgspec.json.decode(rows)
        except msgspec.DecodeError:
            rows = None
    found = []
    listed: list[Any] = rows if isinstance(rows, list) else [None]
    for row in listed:
        try:
            tag, _, kind, value = row
            if not isinstance(tag, int) or not 0 < tag <= 0xFFFF:
                raise ValueError
            if kind in _INTEGERS:
                octets = int(value).to_bytes(_INTEGERS[kind], "big")
            elif kind in ("COctetString", "OctetString"):
                octets = _octets(value) + (b"\0" if kind == "COctetString" else b"")
            else:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise Failed(
                400, "Argument [custom_tlvs] has an invalid value: [tag, length, type, value]."
            ) from None
        found.append((tag, octets))
    if len(found) > 32 or sum(len(octets) + 4 for _, octets in found) > 1_024:
        raise Failed(
            400, "Argument [custom_tlvs] has an invalid value: [at most 32, of 1,024 octets in all]."
        )
    return tuple(found)
