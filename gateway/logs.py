"""Logs: structlog, one record for each fact, numbers masked and secrets left out by default.

Invariant: a record for people is of printable characters, one for programs is JSON; a value that looks like a
telephone number or a secret is hidden whatever its key is called.

Deliberately not here: what is logged; files, and what a slow disk does (gateway.log_sink).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import structlog

from gateway.traces import name_trace

HIDDEN = "[hidden]"

_least = [logging.INFO]
_least_of: dict[str, int] = {}  # by component
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
# A number in the middle of words: E.164 without its ids' 16 to 19 digits
_NUMBER_VALUE = re.compile(r"(?<![\w.])[0-9]{9,15}(?!\w|\.[0-9])")
_IDS = frozenset({"message_id", "id", "trace_id", "timestamp", "revision"})
_DEEPEST = 4


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
    """structlog processor: numbers are masked, texts and secrets never written."""
    for name, value in list(event.items()):
        event[name] = _masked(name, value, _DEEPEST)
    return event


def _masked(name: str, value: object, depth: int) -> object:
    if name in _TEXTS or any(word in name.lower() for word in _SECRET_WORDS):
        return HIDDEN
    if name in _NUMBERS and isinstance(value, str | int):
        return mask_number(str(value))
    if isinstance(value, str):
        return _searched(value) if name not in _IDS else value
    if isinstance(value, Mapping):
        inner = {str(key): _masked(str(key), one, depth - 1) for key, one in value.items()}
        return inner if depth else HIDDEN
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(name, one, depth - 1) for one in value] if depth else HIDDEN
    return value


def _searched(value: str) -> str:
    """Numbers and secrets that slipped into words, say an exception's."""
    return _NUMBER_VALUE.sub(lambda found: mask_number(found[0]), _SECRET_VALUE.sub(HIDDEN, value))


def escape(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: what strangers wrote cannot steer a terminal; a traceback keeps its lines."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if name == "exception" else [value]
            event[name] = "\n".join("".join(map(_printable, line)) for line in lines)
    return event


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


class Lines:
    """What structlog writes to: a line goes where `write` says; `component` is its logger's name."""

    __slots__ = ("_write", "component")

    def __init__(self, component: str, write: Callable[[str], object]) -> None:
        self.component = component
        self._write = write

    def msg(self, line: str) -> None:
        self._write(line)

    log = debug = info = warning = warn = error = critical = fatal = exception = failure = err = msg


def set_level(level: str, levels: Mapping[str, str] | None = None) -> None:
    """debug, info, warning or error, from now on; `levels`: others, by component."""
    numbers = logging.getLevelNamesMapping()
    _least[0] = numbers[level.upper()]
    _least_of.clear()
    _least_of.update({name: numbers[one.upper()] for name, one in (levels or {}).items()})


def by_level(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: loggers keep the class they were made with, so the level is asked here."""
    least = _least_of.get(logger.component, _least[0]) if _least_of else _least[0]
    if _LEVELS.get(method, logging.ERROR) < least:
        raise structlog.DropEvent
    return event


def name_component(logger: Any, _: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: which part of the gateway says it."""
    if logger.component:
        event["component"] = logger.component
    return event


def configure(
    json: bool,
    level: str = "info",
    levels: Mapping[str, str] | None = None,
    write: Callable[[str], object] | None = None,
) -> None:
    """Once, at start. `json`: one object a line; else text for people. `write` gets each line, without its
    end; None: to stderr at once, which waits for whoever reads it.
    """
    renderers: list[Any] = [structlog.processors.JSONRenderer()]
    if not json:
        renderers = [escape, structlog.dev.ConsoleRenderer(colors=write is None and sys.stderr.isatty())]
    set_level(level, levels)
    put = write or _to_stderr
    structlog.configure(
        processors=[
            by_level,
            structlog.contextvars.merge_contextvars,
            name_component,
            name_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *names: Lines(names[0] if names else "", put),
        cache_logger_on_first_use=True,
    )


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
