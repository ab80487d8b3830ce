"""Ids that hold records together: a trace for each message, an id for each HTTP request that failed.

A message's trace id is made of its id alone, so that nothing is kept and every process makes the same one;
where a customer's request had a `traceparent` (W3C Trace Context), its spans belong to the customer's trace.

Deliberately not here: spans (gateway.telemetry), logging.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

_PARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_REQUEST = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


def trace_id_of(message_id: int) -> str:
    """32 hexadecimal digits, as W3C Trace Context has them."""
    return _digest(message_id, "trace")[:16].hex()


def span_id_of(message_id: int, what: str = "message") -> str:
    """16 hexadecimal digits; `what` names the span among those of the message."""
    return _digest(message_id, what)[:8].hex()


def parent_of(header: bytes) -> bytes | None:
    """Of a `traceparent`: trace id, parent id and flags, 25 octets; None: it is none, and is passed over."""
    found = _PARENT.fullmatch(header.strip()) if len(header) <= 256 else None
    if found is None or header.strip()[:2] == b"ff":
        return None
    trace, span, flags = (bytes.fromhex(part.decode()) for part in found.groups())
    return None if trace == _NO_TRACE or span == _NO_SPAN else trace + span + flags


def response_of(parent: bytes, message_id: int) -> str:
    """`traceresponse`: the customer's trace, and the message's span in it."""
    return f"00-{parent[:16].hex()}-{span_id_of(message_id)}-{parent[24:].hex()}"


def request_id_of(given: bytes | None) -> str:
    """A request's `X-Request-Id` where it has a good one, else a new one."""
    if given is not None and _REQUEST.fullmatch(given):
        return given.decode()
    return uuid4().hex


def name_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: a record about a message has its trace id."""
    id = event.get("message_id")
    if id and "trace_id" not in event:
        number = int(id) if isinstance(id, int) or str(id).isdigit() else 0
        if number:
            event["trace_id"] = trace_id_of(number)
    return event


def _digest(message_id: int, what: str) -> bytes:
    return sha256(b"signalbox %d %s" % (message_id, what.encode())).digest()
