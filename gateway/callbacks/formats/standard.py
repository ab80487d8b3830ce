"""Our own format: JSON with a Standard Webhooks signature.

One event is `{"id", "type", "timestamp", "data"}`; a batch is `{"events": [...]}`. Ids of messages are
strings: they have 63 bits and JavaScript keeps 53. An event's own id is made of what it says, so that it
is the same in every attempt, after a restart too: a receiver drops repeats by it.

Deliberately not here: the carrier (the customer's view names none), how a signature is made
(gateway.callbacks.signature).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from gateway.callbacks.formats.outgoing import JSON, Format, Outgoing, Terms
from gateway.callbacks.guard import Refused
from gateway.callbacks.signature import BadSecret, decode_secret, sign
from router.nouns import Encoding, Event, EventKind, MessageState, Reason
from smpp.constants import ESM_TYPE_MASK, EsmClass

MAX_BATCH = 100

_STATES = {int(state): state.name for state in MessageState}
_REASONS = {int(reason): reason.name for reason in Reason}
_ENCODINGS = {int(encoding): encoding.name.lower() for encoding in Encoding}
_ENCODINGS[Encoding.BINARY] = "binary"
_TYPES: dict[int, str] = {EventKind.MO: "message.received", EventKind.SENT: "message.sent"}
_MESSAGE = "message"
_KINDS: dict[int, str] = {  # 3.4 section 5.2.12
    EsmClass.DELIVERY_ACKNOWLEDGEMENT: "delivery_acknowledgement",
    EsmClass.USER_ACKNOWLEDGEMENT: "user_acknowledgement",
    EsmClass.CONVERSATION_ABORT: "conversation_abort",
}


class _Receipt(msgspec.Struct, gc=False):
    message_id: str
    state: str
    final: bool
    reason: str
    error: str
    sender: str = msgspec.field(name="from")
    to: str = ""
    segments: int = 1
    client_ref: str = ""
    tags: tuple[str, ...] = ()
    part: int | None = None  # 1-based, with per-part receipts only
    done_at: str | None = None  # the carrier's word
    cause: str | None = None  # what `error` means: router.causes


class _Received(msgspec.Struct, gc=False):
    message_id: str
    sender: str = msgspec.field(name="from")
    to: str
    encoding: str
    text: str | None
    data: str | None
    segments: int
    in_reply_to: str | None
    kind: str


Data = _Receipt | _Received | msgspec.Raw


class _Envelope(msgspec.Struct, gc=False):
    id: str
    type: str
    timestamp: str
    data: Data


class _Batch(msgspec.Struct, gc=False):
    events: list[_Envelope]


_encode = msgspec.json.Encoder().encode


def event_id(event: Event) -> str:
    """Stable over attempts and restarts: `rcpt_<message>_<state>_<time>[_<part>]`, `mo_<message>`,
    `sent_<message>_<time>` or `acct_<account>_<what>_<time>`."""
    if event.kind == EventKind.MO:
        return f"mo_{event.message_id}"
    if event.kind == EventKind.SENT:
        return f"sent_{event.message_id}_{event.at_ms}"
    if event.kind == EventKind.ACCOUNT:
        return f"acct_{event.account}_{event.error}_{event.at_ms}"
    if event.part:
        return f"rcpt_{event.message_id}_{event.state}_{event.at_ms}_{event.part}"
    return f"rcpt_{event.message_id}_{event.state}_{event.at_ms}"


def _envelope(event: Event) -> _Envelope:
    return _Envelope(event_id(event), type_of(event), rfc3339(event.at_ms), data_of(event))


def type_of(event: Event) -> str:
    """`message.receipt`, `message.received`, `message.sent`, `account.…`"""
    if event.kind == EventKind.ACCOUNT:
        return f"account.{event.error}"
    return _TYPES.get(event.kind, "message.receipt")


def data_of(event: Event) -> Data:
    """What happened, as JSON has it."""
    if event.kind == EventKind.MO:
        return _received(event)
    if event.kind == EventKind.ACCOUNT:
        return msgspec.Raw(event.data or b"{}")
    state = _STATES.get(event.state, "UNKNOWN")
    reason = _REASONS.get(event.reason, "NONE")
    return _Receipt(
        str(event.message_id),
        state,
        event.final,
        reason,
        event.error,
        event.source,
        event.destination,
        event.segments,
        event.client_ref,
        event.tags,
        event.part or None,
        rfc3339(event.done_ms) if event.done_ms else None,
        event.cause or None,
    )


def rfc3339(at_ms: int) -> str:
    """2025-10-09T08:53:20.123Z, as everywhere in the API."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _received(event: Event) -> _Received:
    binary = event.encoding == Encoding.BINARY
    return _Received(
        str(event.message_id),
        event.source,
        event.destination,
        _ENCODINGS.get(event.encoding, "binary"),
        None if binary else event.text,
        event.data.hex() if binary else None,
        event.segments,
        str(event.in_reply_to) if event.in_reply_to else None,
        _KINDS.get(event.relay.esm_class & ESM_TYPE_MASK, _MESSAGE) if event.relay is not None else _MESSAGE,
    )


def render_one(event: Event) -> bytes:
    """The body of a single callback."""
    return _encode(_envelope(event))


def render_batch(events: Sequence[Event]) -> bytes:
    """The body of a batch, at most MAX_BATCH events, oldest first."""
    return _encode(_Batch([_envelope(event) for event in events]))


def batch_id(events: Sequence[Event]) -> str:
    """The webhook-id of a batch: the same events make the same id."""
    digest = hashlib.sha256()
    for event in events:
        digest.update(event_id(event).encode() + b"\n")
    return "batch_" + digest.hexdigest()[:32]


def render(events: Sequence[Event], terms: Terms) -> Outgoing:
    """One POST: a batch for accounts that want batches, also with one event."""
    if terms.batch:
        body, webhook_id = render_batch(events), batch_id(events)
    else:
        body, webhook_id = render_one(events[0]), event_id(events[0])
    return Outgoing("POST", terms.url, (JSON, *signed(terms, webhook_id, body)), body)


def signed(terms: Terms, webhook_id: str, body: bytes) -> tuple[tuple[str, str], ...]:
    """The headers of Standard Webhooks; without a secret there is no signature. Errors: Refused."""
    timestamp = str(terms.now_ms // 1000)
    headers = (("webhook-id", webhook_id), ("webhook-timestamp", timestamp))
    signature = sign(_keys_of(terms.secrets), webhook_id.encode(), timestamp.encode(), body)
    return (*headers, ("webhook-signature", signature.decode())) if signature else headers


@lru_cache(maxsize=4096)
def _keys_of(secrets: tuple[str, ...]) -> tuple[bytes, ...]:
    try:
        return tuple(decode_secret(secret) for secret in secrets)
    except BadSecret as exc:
        raise Refused(f"the account's callback secret is unusable: {exc}") from None


FORMAT = Format(render, batches=True)
