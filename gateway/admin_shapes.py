"""How records look in an admin answer: plain JSON values, ids as decimal strings, times as ISO 8601 UTC.

Deliberately not here: reading them, columns for people (gateway.cli).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from gateway.callbacks.formats.standard import event_id
from gateway.http.timeline import erased_ms, not_counted, part_state, waiting_until_ms
from router.nouns import (
    Encoding,
    InboundMessage,
    Message,
    MessageClass,
    MessageState,
    Phase,
    Progress,
    Reason,
    ReceiptWish,
    Step,
)
from store.interface import GivenUp
from store.records import Parked


def message_view(
    message: Message, progress: Progress, account: str, carrier_name: Callable[[int], str]
) -> dict[str, object]:
    """A message and everything that happened to it, in words."""
    return {
        "id": str(message.id),
        "account": account,
        "from": message.source,
        "to": message.destination,
        "text": message.text,
        "data": message.data.hex(),
        "encoding": Encoding(message.encoding).name.lower(),
        "segments": message.segments,
        "class": MessageClass(message.message_class).name.lower(),
        "priority": message.priority,
        "receipt": ReceiptWish(message.receipt).name.lower(),
        "route": message.route,
        "tags": list(message.tags),
        "client_ref": message.client_ref,
        "accepted_at": iso(message.accepted_ms),
        "send_at": iso(message.send_at_ms),
        "expires_at": iso(message.expires_ms),
        "phase": Phase(progress.phase).name,
        "state": MessageState(progress.state).name,
        "reason": Reason(progress.reason).name,
        "cause": progress.cause,
        "until": iso(waiting_until_ms(progress)),
        "finished_at": iso(progress.finished_ms),
        "attempts": progress.attempts,
        "not_counted": not_counted(progress),
        "possible_duplicate": progress.possible_duplicate,
        "erased_at": iso(erased_ms(progress)),
        "parts": [
            {
                "carrier": carrier_name(part.carrier),
                "carrier_message_id": part.carrier_message_id,
                "state": part_state(part),
                "error": part.error,
                "cause": part.cause,
            }
            for part in progress.parts
        ],
        "timeline": [
            {
                "at": iso(at_ms),
                "step": Step(step).name,
                "carrier": carrier_name(carrier) if carrier else "",
                "detail": detail,
            }
            for at_ms, step, carrier, detail in progress.events
        ],
    }


def inbound_view(
    message: InboundMessage, account: str, carrier_name: Callable[[int], str], with_text: bool
) -> dict[str, object]:
    """An inbound message; `account` is "" where nobody owns the number."""
    view = {
        "id": str(message.id),
        "account": account,
        "carrier": carrier_name(message.carrier),
        "received_at": iso(message.received_ms),
        "from": message.source,
        "to": message.destination,
        "encoding": Encoding(message.encoding).name.lower(),
        "parts": message.parts,
        "complete": message.complete,
        "in_reply_to": str(message.in_reply_to) if message.in_reply_to else "",
        "erased_at": iso(message.erased_ms),
    }
    return {**view, "text": message.text, "data": message.data.hex()} if with_text else view


def receipt_view(
    receipt: Parked, waiting: bool, carrier_name: Callable[[int], str], with_text: bool
) -> dict[str, object]:
    """A receipt that no message has claimed; `waiting` while one still may. `text` is the carrier's own."""
    view = {
        "carrier": carrier_name(receipt.carrier),
        "ids": list(receipt.ids),
        "recipient": receipt.recipient,
        "sender": receipt.sender,
        "state": MessageState(receipt.state).name,
        "error": receipt.error,
        "received_at": iso(receipt.parked_ms),
        "waiting": waiting,
    }
    return {**view, "text": receipt.raw.decode("latin-1")} if with_text else view


def given_up_view(row: GivenUp, account: str, origin: str) -> dict[str, object]:
    """An event that nobody took; `id` is the one that its receiver knows it by."""
    event = row.event
    return {
        "id": event_id(event),
        "account": account,
        "endpoint": row.endpoint,
        "origin": origin,
        "message_id": str(event.message_id),
        "state": MessageState(event.state).name,
        "happened_at": iso(event.at_ms),
        "given_up_at": iso(row.given_up_ms),
        "attempts": event.attempts,
        "last_error": event.last_error,
    }


def iso(at_ms: int) -> str:
    """UTC milliseconds as ISO 8601; "" for 0, which everywhere means "none"."""
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
