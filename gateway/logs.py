"""Logs: structlog, one record for each fact, numbers masked and secrets left out by default.

Invariant: a record for people is of printable characters, one for programs is JSON.

Deliberately not here: what is logged; where it goes (stderr, for the service manager to keep).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

HIDDEN = "[hidden]"

_least = [logging.INFO]
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_NUMBERS = frozenset(
    {"to", "from", "source", "destination", "recipient", "number", "sender", "msisdn", "source_addr"}
    | {"destination_addr"}
)
_TEXTS = frozenset({"text", "data", "body", "short_message", "message_payload", "key", "keys"})
_SECRET_WORDS = ("password", "secret", "token", "authorization", "api_key", "credential", "cookie")
# Secrets that slipped into another value, say an exception's text: callback secrets, API keys, bearer headers
_SECRET_VALUE = re.compile(
    r"whsec_[A-Za-z0-9+/=]+|sb[ko]_[A-Za-z0-9_-]+|(?<=[Bb]earer )\S+|(?<=://)[^/@\s]+(?=@)"
)


def mask_number(number: str) -> str:
    """447700900123 → 4477*****123: enough to compare, too little to call. Short ones show nothing."""
    if len(number) < 7:
        return "*" * len(number)
    head, tail = min(4, len(number) // 3), min(3, len(number) // 4)
    return number[:head] + "*" * (len(number) - head - tail) + number[-tail:]


def mask_address(address: str) -> str:
    """A number is masked, a sender's name is not: "ACME" calls nobody."""
    return mask_number(address) if address.lstrip("+").isdigit() else address


def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: numbers by key name are masked, texts and secrets never written."""
    for name, value in list(event.items()):
        if name in _TEXTS or any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = HIDDEN
        elif name in _NUMBERS and isinstance(value, str | int):
            event[name] = mask_number(str(value))
        elif isinstance(value, str):
            event[name] = _SECRET_VALUE.sub(HIDDEN, value)
    return event


def escape(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: what strangers wrote cannot steer a terminal; a traceback keeps its lines."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if name == "exception" else [value]
            event[name] = "\n".join("".join(map(_printable, line)) for line in lines)
    return event


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def set_level(level: str) -> None:
    """debug, info, warning or error, from now on."""
    _least[0] = logging.getLevelNamesMapping()[level.upper()]


def by_level(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: loggers keep the class they were made with, so the level is asked here."""
    if _LEVELS.get(method, logging.ERROR) < _least[0]:
        raise structlog.DropEvent
    return event


def configure(json: bool, level: str = "info") -> None:
    """Once, at start. `json`: one object a line; else text for people."""
    renderers: list[Any] = [structlog.processors.JSONRenderer()]
    if not json:
        renderers = [escape, structlog.dev.ConsoleRenderer()]
    set_level(level)
    structlog.configure(
        processors=[
            by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
