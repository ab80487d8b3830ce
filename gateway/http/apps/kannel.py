"""Kannel 1.4's sendsms, as smsbox has it: `/cgi-bin/sendsms` by GET with parameters, by POST with X-Kannel
headers; and its `/status.xml` is kannel_status.py.

Sources: Kannel's user guide 1.4.5, tables of CGI variables and X-Kannel headers; for words, statuses and the
order of checks what a real smsbox 1.4.5 answers (tests/interop/test_sendsms.py asks both).

Where it differs, on purpose: octets that are no text in their charset are refused, not sent; a text under
coding 0 that GSM 7-bit cannot carry goes as UCS-2, not with question marks; when some of several receivers
are refused they are named ("Sent. Denied receivers are: …"); a form body by POST is taken, too. `smsc`
becomes a tag `smsc:NAME` for rules. `rpi` and `compress` are checked and have no effect.

Deliberately not here: XML by POST, sendota, who the user is (who.py), callbacks (gateway.callbacks.choice).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, NoReturn

from gateway.callbacks.choice import kannel as callbacks
from gateway.door import Accepted, Refusal, Submission
from gateway.http import forms
from gateway.http.apps.content import (
    BadContent,
    data_coding_of,
    encoding_of,
    put_octets,
    put_text,
    relay_of,
)
from gateway.http.apps.who import Apps
from gateway.http.forms import Parameters
from gateway.http.ports import DoorPort, WallClock
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from router.nouns import Account, Encoding
from smpp.constants import Tlv
from smpp.tlv import KINDS, CStringTlv, IntegerTlv

PATH = "/cgi-bin/sendsms"
API = "kannel"
MOST_RECEIVERS = 1_000
HEADERS: Headers = (
    ("Content-type", "text/html"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache"),
)

ACCEPTED = b"0: Accepted for delivery"
QUEUED = b"3: Queued for later delivery"
_UNAUTHORIZED = "Authorization failed for sendsms"
_NOT_ROUTABLE = "Not routable. Do not try again."
_LATER = "Temporal failure, try again later."
_DENIED = "Number(s) has/have been denied by white- and/or black-lists."
_MISFORMED = "Charset or body misformed, rejected"

_NO_NUMBER = frozenset(
    ("no-number", "not-a-number", "unknown-country", "impossible-length", "number-type-not-allowed")
)
_NUMBER = re.compile(rb"\s*([+-]?[0-9]{1,9})")
_RECEIVER = re.compile(r"[0-9 +-]+")
_HEADER_TYPES = (b"", b"text/plain", b"application/octet-stream", b"text/html", b"text/vnd.wap.wml")
_CHARSETS = (
    "ascii", "cp1250", "cp1251", "cp1252", "iso-10646-ucs-2", "iso-8859-1", "iso-8859-2", "iso-8859-5",
    "iso-8859-7", "iso-8859-15", "koi8-r", "latin1", "ucs-2", "ucs2", "us-ascii", "utf-16", "utf-16be",
    "utf-16le", "utf-8", "utf8", "windows-1250", "windows-1251", "windows-1252", "windows-1253",
    "windows-1254",
)  # fmt: skip
_UCS2 = {"ucs-2": "utf-16-be", "ucs2": "utf-16-be", "iso-10646-ucs-2": "utf-16-be"}
_LONGEST_ACCOUNT = 64
_LONGEST_TAG = 64
_TLVS = {tag.name.lower().replace("-", "_"): (int(tag), kind) for tag, kind in KINDS.items()}


class Refused(Exception):
    """`status` and Kannel's words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class _Wish(NamedTuple):
    """What a request asks for, checked."""

    receivers: list[str]
    denied: list[str]
    made: Callable[[str], Submission]


class KannelApi:
    """`add_to` puts it into a table. `able`: whether a lane has a carrier that takes messages now."""

    def __init__(
        self, door: DoorPort, apps: Apps, wall_ms: WallClock, able: Callable[[int], bool] = lambda lane: True
    ) -> None:
        self._door = door
        self._apps = apps
        self._wall_ms = wall_ms
        self._able = able

    def add_to(self, routes: Routes) -> None:
        routes.add("GET", PATH, self.send)
        routes.add("POST", PATH, self.send)

    def send(self, request: Request, respond: Respond) -> None:
        """202 with what Kannel says for accepted, else its refusal; each message is fsynced before."""
        try:
            given = _given(request)
        except Refused as refusal:
            respond(refusal.status, HEADERS, refusal.text.encode())
            return
        except BadRequest as refusal:
            respond(refusal.status, HEADERS, str(refusal).encode())
            return

        def known(account: Account) -> None:
            try:
                wish = wish_of(given, account, self._wall_ms())
            except Refused as refusal:
                respond(refusal.status, HEADERS, refusal.text.encode())
                return
            self._submit(account, wish, respond)

        def unknown(refusal: BadRequest) -> None:
            slowed = refusal.status in (429, 503)
            headers = (*HEADERS, *refusal.headers) if slowed else HEADERS
            text = _LATER if slowed else _UNAUTHORIZED
            respond(503 if slowed else 403, headers, text.encode())

        user = given.first(b"username", b"user") or b""
        password = given.first(b"password", b"pass") or b""
        self._apps.ask(request, API, user, password, known, unknown)

    def _submit(self, account: Account, wish: _Wish, respond: Respond) -> None:
        def done(results: list[Accepted | Refusal]) -> None:
            status, body = self._answer(wish, results)
            respond(status, HEADERS, body)

        self._door.submit(account, [wish.made(to) for to in wish.receivers], done)

    def _answer(self, wish: _Wish, results: Sequence[Accepted | Refusal]) -> tuple[int, bytes]:
        denied = list(wish.denied)
        taken: Accepted | None = None
        first: Refusal | None = None
        for to, result in zip(wish.receivers, results, strict=True):
            if isinstance(result, Refusal):
                denied.append(to)
                first = first or result
            else:
                taken = result
        if taken is None:
            assert first is not None
            return _refusal(first)
        if denied:
            return 202, f"Sent. Denied receivers are: {' '.join(denied)}".encode()
        return 202, ACCEPTED if self._able(taken.lane) else QUEUED


def _refusal(refusal: Refusal) -> tuple[int, bytes]:
    if refusal.status in (429, 503):
        return 503, _LATER.encode()
    if refusal.code in _NO_NUMBER:
        return 400, _DENIED.encode()
    if refusal.code == "bad-callback-url":
        return 400, b"DLR-URL field misformed, rejected"
    return 403, _NOT_ROUTABLE.encode()


def _given(request: Request) -> Parameters:
    """The parameters of a GET, a form, or X-Kannel headers with a body. Errors: Refused, BadRequest."""
    if request.method != "POST":
        return forms.of_query(request.query)
    content_type = request.headers.get(b"content-type")
    form = forms.of_body(content_type, request.body)
    if form is not None:
        return form
    media = forms.media_of(content_type)
    if media not in _HEADER_TYPES:
        raise Refused(400, "Invalid content-type")
    prefix = b"x-kannel-"
    pairs = [
        (name[len(prefix) :], value.strip())
        for name, value in request.headers.items()
        if name.startswith(prefix)
    ]
    found = Parameters(pairs)
    octets = found.first(b"udh")
    if octets is not None:
        pairs = [pair for pair in pairs if pair[0] != b"udh"]
        with suppress(ValueError):  # as Kannel: a header that is none is not there
            pairs.append((b"udh", bytes.fromhex(octets.decode("latin-1"))))
    if media == b"application/octet-stream" and found.first(b"coding") is None:
        pairs.append((b"coding", b"1"))
    charset = re.search(rb'charset="?([A-Za-z0-9_-]{1,40})', content_type or b"")
    if charset is not None:
        pairs.append((b"charset", charset[1]))
    return Parameters((*pairs, (b"text", request.body), (b"by-post", b"1")))


def wish_of(given: Parameters, account: Account, now_ms: int) -> _Wish:
    """What they ask for, checked in Kannel's order. Errors: Refused."""
    to = given.first(b"to")
    if to is None:
        by_post = given.first(b"by-post") is not None
        raise Refused(400, f"Missing receiver{'(s) number(s)' if by_post else ' number'}, rejected")
    if not to:
        raise Refused(400, "Empty receiver number not allowed, rejected")
    udh = given.first(b"udh") or b""
    if given.first(b"udh") is not None and len(udh) != (udh[0] if udh else 0) + 1:
        raise Refused(400, "UDH field misformed, rejected")
    receivers, denied = _receivers(to.decode("latin-1"))
    sender = given.text(b"from") or next((one for one in account.senders if not one.endswith("*")), "")
    if not sender:
        raise Refused(400, "Sender missing and no global set, rejected")
    reference = given.text(b"account")
    if len(reference) > _LONGEST_ACCOUNT or any(sign in "[]\n\r" for sign in reference):
        raise Refused(400, "Account field misformed or too long, rejected")
    url = given.text(b"dlr-url", b"dlrurl")
    if url and not url.lower().startswith(("http://", "https://")):
        raise Refused(400, "DLR-URL field misformed, rejected")
    mask = _checked(given, "DLR-Mask", 63, b"dlr-mask", b"dlrmask")
    message_class = _checked(given, "MClass", 3, b"mclass", b"flash")
    protocol_id = _checked(given, "PID", 255, b"pid")
    _checked(given, "RPI", 2, b"rpi")
    alternative = _checked(given, "Alt-DCS", 1, b"alt-dcs")
    waiting = _checked(given, "MWI", 7, b"mwi")
    coding = _checked(given, "Coding", 2, b"coding")
    _checked(given, "Compress", 1, b"compress")
    validity = _checked(given, "Validity", 10**9, b"validity")
    deferred = _checked(given, "Deferred", 10**9, b"deferred")
    priority = _checked(given, "Priority", 3, b"priority")
    smsc = given.text(b"smsc")
    service = given.text(b"binfo")
    meta_data = given.text(b"meta-data")
    tlvs = _tlvs(meta_data)
    text = _text(given, (1 if udh else 0) if coding < 0 else coding)
    chosen = partial(
        callbacks,
        url,
        max(0, mask),
        service=given.text(b"username", b"user"),
        smsc=smsc,
        account=reference,
        binfo=service,
        meta_data=meta_data,
    )

    def made(receiver: str) -> Submission:
        submission = Submission(receiver, sender, client_ref=reference)
        if smsc and len(smsc) < _LONGEST_TAG - 5:
            submission.tags = (f"smsc:{smsc}",)
        if deferred > 0:
            submission.send_at_ms = now_ms + deferred * 60_000
        if validity > 0:
            submission.expires_ms = now_ms + validity * 60_000
        if priority >= 0:
            submission.flag = relay_of(submission).priority = priority
        if protocol_id > 0:
            relay_of(submission).protocol_id = protocol_id
        if service:
            relay_of(submission).service_type = service[:5]
        if tlvs:
            relay_of(submission).tlvs = tlvs
        try:
            if isinstance(text, bytes):
                dcs = data_coding_of(Encoding.BINARY, message_class, waiting, alternative == 1)
                put_octets(submission, text, dcs, udh)
            else:
                special = message_class >= 0 or waiting >= 0
                encoding = Encoding.UCS2 if coding == 2 else encoding_of(text)
                dcs = data_coding_of(encoding, message_class, waiting, alternative == 1) if special else -1
                put_text(submission, text, dcs, udh)
        except BadContent:
            raise Refused(400, "UDH field misformed, rejected") from None
        return chosen(to=receiver, from_=sender).attach(submission)

    made(receivers[0])  # what cannot be says so before the door is asked
    return _Wish(receivers, denied, made)


def _receivers(text: str) -> tuple[list[str], list[str]]:
    """Those that can be numbers, each once, and the others. Errors: Refused."""
    words = list(dict.fromkeys(text.split()))
    if len(words) > MOST_RECEIVERS:
        raise Refused(400, f"More than {MOST_RECEIVERS} receivers, rejected")
    good = [word for word in words if _RECEIVER.fullmatch(word)]
    if not good:
        raise Refused(400, _DENIED)
    return good, [word for word in words if word not in good]


def _checked(given: Parameters, name: str, most: int, *names: bytes) -> int:
    """As sscanf's %d reads it; -1: not given. Errors: Refused."""
    value = given.first(*names)
    found = _NUMBER.match(value) if value is not None else None
    number = int(found[1]) if found is not None else -1
    if not -1 <= number <= most:
        raise Refused(400, f"{name} field misformed, rejected")
    return number


def _text(given: Parameters, coding: int) -> str | bytes:
    """Text, or with coding 1 octets. Errors: Refused."""
    octets = given.first(b"text") or b""
    if coding == 1:
        return octets
    charset = given.text(b"charset").strip().lower() or ("utf-16be" if coding == 2 else "utf-8")
    if charset not in _CHARSETS:
        raise Refused(400, _MISFORMED)
    try:
        return octets.decode(_UCS2.get(charset, charset))
    except (UnicodeDecodeError, LookupError):
        _raise(_MISFORMED)


def _raise(text: str) -> NoReturn:
    raise Refused(400, text)


def _tlvs(meta_data: str) -> tuple[tuple[int, bytes], ...]:
    """Those of `?smpp?name=value&…` that SMPP has a name for; others are not known here and left out."""
    found = []
    for group in re.findall(r"\?smpp\?([^?]*)", meta_data):
        for name, value in forms.of_query(group.encode().decode("latin-1")).pairs:
            known = _TLVS.get(name.decode("latin-1").lower().replace("-", "_"))
            if known is None or known[0] == Tlv.MESSAGE_PAYLOAD:
                continue
            tag, kind = known
            if isinstance(kind, IntegerTlv):
                if len(value) <= 10 and value.isdigit() and int(value) < 1 << 8 * kind.octets:
                    found.append((tag, int(value).to_bytes(kind.octets, "big")))
            elif isinstance(kind, CStringTlv):
                found.append((tag, value[: kind.size - 1] + b"\0"))
            elif kind.shortest <= len(value) <= kind.longest:
                found.append((tag, value))
    return tuple(found[:32])
