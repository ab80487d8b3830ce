"""Jasmin's callbacks: receipts by dlr-level and dlr-method, inbound messages, answered with ACK/Jasmin.

Source: Jasmin's HTTP API documentation and its throwers. Level 1 tells of the carrier's submit_sm_resp by the
name of its status, level 2 of the receipt, level 3 of both; `level` in a callback is the one it belongs to.
What ended before any carrier took it is told on every level, so that each message has an end.

Text in GSM 7-bit is UTF-8 in `content`, UCS-2 and bytes are as they came; `binary` has the octets of the air
in hexadecimal. Carriers have no names here: `connector` is "signalbox".

Deliberately not here: batch callbacks (batchId, status, statusText), custom TLVs.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.callbacks.formats.outgoing import Answer, Format, Outgoing, Terms, by_get_or_form, method_of
from gateway.ids import uuid_of
from router.nouns import Encoding, Event, EventKind, MessageState, Reason
from smpp.alphabet import DATA_CODING, TextError
from smpp.alphabet import encode as encode_text
from smpp.receipt import STAT
from smpp.smpptime import format_receipt_date
from smpp.status import Status

SMSC, TERMINAL, BOTH = 1, 2, 3
CONNECTOR = "signalbox"

_BY_RECEIPT = frozenset(map(int, (Reason.RECEIPT, Reason.NO_RECEIPT)))

Fields = list[tuple[str, str | bytes]]


def render(events: Sequence[Event], terms: Terms) -> Outgoing | None:
    """None for what dlr-level does not ask for, and for what Jasmin does not know."""
    event = events[0]
    if event.kind == EventKind.ACCOUNT:
        return None
    fields = _inbound(event) if event.kind == EventKind.MO else _receipt(event, _level(terms))
    if fields is None:
        return None
    made = by_get_or_form(terms, fields, post=method_of(terms, "post") != "get")
    return made._replace(headers=(*made.headers, ("Accept", "text/plain")))


def _level(terms: Terms) -> int:
    return terms.choice.mask if terms.choice is not None else TERMINAL


def _receipt(event: Event, level: int) -> Fields | None:
    if event.kind == EventKind.SENT:
        return _head(event, SMSC, "ESME_ROK") if level != TERMINAL else None
    refused = event.final and event.reason not in _BY_RECEIPT and event.state != MessageState.DELIVERED
    if refused and event.state != MessageState.ACCEPTED and level != TERMINAL:
        status = event.error if event.error in Status.__members__ else "ESME_RSUBMITFAIL"
        return _head(event, SMSC, status)
    if level == SMSC:
        return None
    delivered = event.state == MessageState.DELIVERED
    parts = min(event.segments, 999)
    return [
        *_head(event, TERMINAL, STAT.get(event.state, "UNKNOWN")),
        ("id_smsc", event.carrier_message_id),
        ("sub", f"{parts:03d}"),
        ("dlvrd", f"{parts if delivered else 0:03d}"),
        ("subdate", format_receipt_date(event.accepted_ms)),
        ("donedate", format_receipt_date(event.done_ms or event.at_ms)),
        ("err", event.error or "000"),
        ("text", event.text[:20]),
    ]


def _head(event: Event, level: int, status: str) -> Fields:
    return [
        ("id", uuid_of(event.message_id)),
        ("level", str(level)),
        ("message_status", status),
        ("connector", CONNECTOR),
    ]


def _inbound(event: Event) -> Fields:
    relay = event.relay
    coding = relay.data_coding if relay is not None and relay.data_coding >= 0 else -1
    octets = _octets(event)
    is_plain = event.encoding in (Encoding.GSM7, Encoding.LATIN1)
    return [
        ("id", uuid_of(event.message_id)),
        ("from", event.source),
        ("to", event.destination),
        ("origin-connector", CONNECTOR),
        ("priority", str(relay.priority if relay is not None else 0)),
        ("coding", str(coding if coding >= 0 else DATA_CODING.get(event.encoding, 4))),
        ("content", event.text.encode("utf-8", "replace") if is_plain else octets),
        ("binary", octets.hex()),
    ]


def _octets(event: Event) -> bytes:
    if event.encoding == Encoding.BINARY:
        return event.data
    try:
        return encode_text(event.text, event.encoding)
    except TextError:  # it came by a national table
        return event.text.encode("utf-8", "replace")


def took(answer: Answer) -> bool:
    """200, and ACK/Jasmin: nothing else is a receipt of ours to it."""
    return answer.status == 200 and answer.body.strip() == b"ACK/Jasmin"


FORMAT = Format(render, took, reads_answer=True, early_s=(30, 30, 30))
