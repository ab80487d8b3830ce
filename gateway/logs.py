"""Logs: structlog, one record for each fact, numbers masked and secrets left out by default.

Deliberately not here: what is logged; where it goes (stderr, for the service manager to keep).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_NUMBERS = frozenset({"to", "from", "source", "destination", "recipient", "number", "sender"})
_SECRETS = frozenset({"text", "password", "secret", "key", "authorization", "api_key", "data", "body"})


def mask_number(number: str) -> str:
    """447700900123 → 4477*****123: enough to compare, too little to call."""
    if len(number) < 7:
        return "*" * len(number)
    return number[:4] + "*" * (len(number) - 7) + number[-3:]


def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: numbers by key name are masked, texts and secrets never written."""
    for name, value in list(event.items()):
        if name in _SECRETS:
            event[name] = "[hidden]"
        elif name in _NUMBERS and isinstance(value, str | int):
            event[name] = mask_number(str(value))
    return event


def configure(json: bool, level: str = "info") -> None:
    """Once, at start. `json`: one object a line; else text for people."""
    renderer: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
