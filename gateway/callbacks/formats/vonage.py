"""Vonage's SMS API callbacks: delivery receipts and inbound messages, by GET, form or JSON.

Source: Vonage's SMS API reference (delivery receipt, inbound SMS) and its guide to signed webhooks. All
values are strings, in JSON too. Signed is `&name=value` of every field, sorted by name, with & and = in
values made _; md5hash is the MD5 of that and the secret behind it, the others are HMACs under the secret: the
account's callback secret as it is printed (`whsec_…`).

Deliberately not here: the Messages API and its JWTs; network codes and prices, which receipts do not carry.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from gateway.callbacks.formats.outgoing import (
    JSON,
    Format,
    Outgoing,
    Terms,
    by_get_or_form,
    method_of,
)
from gateway.ids import hex_of
from router.causes import Cause
from router.nouns import Encoding, Event, EventKind, MessageState
from smpp.smpptime import format_receipt_date

SIGNATURES = ("md5hash", "md5", "sha1", "sha256", "sha512")

_STATES: dict[int, str] = {
    MessageState.SCHEDULED: "buffered",
    MessageState.ENROUTE: "buffered",
    MessageState.DELIVERED: "delivered",
    MessageState.EXPIRED: "expired",
    MessageState.DELETED: "failed",
    MessageState.UNDELIVERABLE: "failed",
    MessageState.ACCEPTED: "accepted",
    MessageState.UNKNOWN: "unknown",
    MessageState.REJECTED: "rejected",
    MessageState.SKIPPED: "rejected",
}
_ERROR_CODES: dict[str, str] = {
    Cause.ABSENT_SUBSCRIBER: "2",
    Cause.UNKNOWN_SUBSCRIBER: "3",
    Cause.BARRED: "4",
    Cause.OPTED_OUT: "4",
    Cause.SPAM: "6",
    Cause.HANDSET_BUSY: "7",
    Cause.MEMORY_FULL: "7",
    Cause.NETWORK_ERROR: "8",
    Cause.SYSTEM_ERROR: "8",
    Cause.INVALID_NUMBER: "9",
    Cause.INVALID_MESSAGE: "10",
    Cause.CONTENT_REJECTED: "10",
    Cause.NO_ROUTE: "11",
    Cause.HANDSET_ERROR: "12",
    Cause.NO_CREDIT: "15",
    Cause.UNKNOWN: "1",
}
_TYPES: dict[int, str] = {Encoding.UCS2: "unicode", Encoding.BINARY: "binary"}

Fields = list[tuple[str, str | bytes]]


def render(events: Sequence[Event], terms: Terms) -> Outgoing | None:
    """None for what Vonage does not know."""
    event = events[0]
    if event.kind == EventKind.ACCOUNT:
        return None
    fields = _inbound(event, terms) if event.kind == EventKind.MO else _receipt(event, terms)
    if terms.signature and terms.old_secret:
        fields += [("timestamp", str(terms.now_ms // 1000)), ("nonce", terms.nonce)]
        fields.append(("sig", signature_of(terms.signature, terms.old_secret, fields)))
    method = method_of(terms, "json")
    if method == "json":
        return Outgoing("POST", terms.url, (JSON,), msgspec.json.encode(dict(fields)))
    return by_get_or_form(terms, fields, post=method == "post")


def signature_of(kind: str, secret: str, fields: Iterable[tuple[str, str | bytes]]) -> str:
    """`sig` over all the other fields, in lower-case hexadecimal."""
    text = "".join(f"&{name}={_plain(str(value))}" for name, value in sorted(fields))
    if kind == "md5hash":
        return hashlib.md5((text + secret).encode(), usedforsecurity=False).hexdigest()
    return hmac.new(secret.encode(), text.encode(), kind).hexdigest()


def _plain(value: str) -> str:
    return value.replace("&", "_").replace("=", "_")


def _receipt(event: Event, terms: Terms) -> Fields:
    is_sent = event.kind == EventKind.SENT
    delivered = event.state == MessageState.DELIVERED
    failed = not delivered and event.cause
    return [
        ("msisdn", event.destination),
        ("to", event.source),
        ("network-code", ""),
        ("messageId", hex_of(event.shown or event.message_id)),
        ("price", ""),
        ("status", "accepted" if is_sent else _STATES.get(event.state, "unknown")),
        ("scts", format_receipt_date(event.done_ms or event.at_ms)),
        ("err-code", _ERROR_CODES.get(event.cause, "99") if failed else "0"),
        ("api-key", _api_key(terms)),
        *([("client-ref", event.client_ref)] if event.client_ref else []),
        ("message-timestamp", _stamp(terms.now_ms)),
    ]


def _inbound(event: Event, terms: Terms) -> Fields:
    binary = event.encoding == Encoding.BINARY
    words = event.text.split(maxsplit=1)
    fields: Fields = [
        ("msisdn", event.source),
        ("to", event.destination),
        ("messageId", hex_of(event.message_id)),
        ("type", _TYPES.get(event.encoding, "text")),
        ("api-key", terms.name),
        ("message-timestamp", _stamp(event.at_ms)),
    ]
    if binary:
        udh = event.relay.udh if event.relay is not None else b""
        return [*fields, ("data", event.data.hex()), ("udh", (bytes((len(udh),)) + udh).hex() if udh else "")]
    return [*fields, ("text", event.text), ("keyword", words[0].upper() if words else "")]


def _api_key(terms: Terms) -> str:
    given = dict(terms.choice.given) if terms.choice is not None else {}
    return given.get("api-key") or terms.name


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


FORMAT = Format(render)
