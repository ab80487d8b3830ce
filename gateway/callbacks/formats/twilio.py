"""Twilio's callbacks: a form with the message's SID and status, signed by X-Twilio-Signature.

Source: Twilio's webhook guides (messaging, status callbacks, security). Signed is the URL, behind it every
field's name and value, sorted by name, with HMAC-SHA1 under the account's callback secret as it is printed
(`whsec_…`), which takes the place of the auth token. A GET has its fields in the URL and is signed by that.

AccountSid is what the app submitted with; without that, the first of the account's apps that has a name like
one, else what Signalbox makes of the account (gateway.ids).

An inbound message may be answered with TwiML; what that says is read in twiml.py.

Deliberately not here: the newer signature over a shared key, media, TwiML.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable, Sequence

from gateway.callbacks.formats.outgoing import Format, Outgoing, Terms, by_get_or_form, method_of
from gateway.ids import account_sid_of, sid_of
from router.causes import Cause
from router.nouns import Event, EventKind, MessageState, Reason
from router.plans import facts

API_VERSION = "2010-04-01"

_WAITING = frozenset(map(int, (MessageState.SCHEDULED, MessageState.ENROUTE, MessageState.ACCEPTED)))
_BY_RECEIPT = frozenset(map(int, (Reason.RECEIPT, Reason.NO_RECEIPT)))
_INTERNATIONAL = 1  # TON
_LONGEST_SHORT_CODE = 6
_ERROR_CODES: dict[str, str] = {
    Cause.ABSENT_SUBSCRIBER: "30003",
    Cause.HANDSET_BUSY: "30003",
    Cause.MEMORY_FULL: "30003",
    Cause.BARRED: "30004",
    Cause.OPTED_OUT: "21610",
    Cause.UNKNOWN_SUBSCRIBER: "30005",
    Cause.INVALID_NUMBER: "30005",
    Cause.HANDSET_ERROR: "30006",
    Cause.SPAM: "30007",
    Cause.CONTENT_REJECTED: "30007",
    Cause.THROTTLED: "30001",
    Cause.EXPIRED: "30001",
}


def render(events: Sequence[Event], terms: Terms) -> Outgoing | None:
    """None for what Twilio does not know."""
    event = events[0]
    if event.kind == EventKind.ACCOUNT:
        return None
    fields = _inbound(event, terms) if event.kind == EventKind.MO else _status(event, terms)
    post = method_of(terms, "post") != "get"
    made = by_get_or_form(terms, fields, post=post)
    token = terms.old_secret
    if not token:
        return made
    signature = signature_of(token, made.url, fields if post else ())
    return made._replace(headers=(*made.headers, ("X-Twilio-Signature", signature)))


def signature_of(token: str, url: str, fields: Iterable[tuple[str, str | bytes]]) -> str:
    """X-Twilio-Signature of a POST with these fields, or (without) of a GET."""
    signed = url + "".join(f"{name}{value!s}" for name, value in sorted(fields))
    return b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()


def status_of(event: Event) -> str:
    """MessageStatus: sent, delivered, undelivered, failed or canceled."""
    if event.kind == EventKind.SENT or event.state in _WAITING:
        return "sent"
    if event.state == MessageState.DELIVERED:
        return "delivered"
    if event.reason == Reason.CANCELLED:
        return "canceled"
    return "undelivered" if not event.final or event.reason in _BY_RECEIPT else "failed"


def error_code_of(cause: str) -> str:
    """Why it was not delivered, by Twilio's numbers."""
    return _ERROR_CODES.get(cause, "30008")


def e164(digits: str, is_international: bool) -> str:
    """A number as Twilio writes it; short codes and names stay as they are."""
    return f"+{digits}" if is_international and digits.isdecimal() else digits


def _account_sid(event: Event, terms: Terms) -> str:
    given = dict(terms.choice.given) if terms.choice is not None else {}
    return given.get("account-sid") or terms.sid or account_sid_of(event.account)


def _status(event: Event, terms: Terms) -> list[tuple[str, str | bytes]]:
    sid, status = sid_of(event.shown or event.message_id), status_of(event)
    code = error_code_of(event.cause) if status in ("undelivered", "failed") else ""
    return [
        ("MessageSid", sid),
        ("SmsSid", sid),
        ("AccountSid", _account_sid(event, terms)),
        ("From", e164(event.source, event.source_type >> 4 == _INTERNATIONAL)),
        ("To", e164(event.destination, is_international=True)),
        ("MessageStatus", status),
        ("SmsStatus", status),
        *([("ErrorCode", code)] if code else []),
        ("ApiVersion", API_VERSION),
    ]


def _inbound(event: Event, terms: Terms) -> list[tuple[str, str | bytes]]:
    sid = sid_of(event.message_id)
    country = facts(event.source).country if event.source.isdecimal() and event.source.isascii() else ""
    return [
        ("MessageSid", sid),
        ("SmsSid", sid),
        ("SmsMessageSid", sid),
        ("AccountSid", _account_sid(event, terms)),
        ("From", e164(event.source, len(event.source) > _LONGEST_SHORT_CODE)),
        ("To", e164(event.destination, len(event.destination) > _LONGEST_SHORT_CODE)),
        ("Body", event.text),
        ("NumMedia", "0"),
        ("NumSegments", str(event.segments)),
        ("SmsStatus", "received"),
        ("FromCountry", country),
        ("ApiVersion", API_VERSION),
    ]


FORMAT = Format(render, reads_answer=True)
