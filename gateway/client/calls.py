"""Each call of the API as a value: what is asked, and how its answer is read. No I/O.

Deliberately not here: connections, waiting, trying again (clients.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from gateway.client.types import Accepted, Balance, Batch, InboundPage, Message, Page, Preview, Problem

T = TypeVar("T")
MOST_OF_A_BATCH = 1_000
Times = str | datetime | None

_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """The gateway said no, for good. `problem.code` is stable, `problem.errors` names the fields."""

    def __init__(self, status: int, problem: Problem) -> None:
        fields = "; ".join(f"{one.field}: {one.detail}" for one in problem.errors)
        super().__init__(f"{status} {problem.code or problem.title}: {problem.detail or fields}")
        self.status = status
        self.problem = problem


class Call(msgspec.Struct, Generic[T], frozen=True):
    """`once`: it takes an Idempotency-Key. `read`: the body of a good answer."""

    method: str
    path: str
    body: bytes
    read: Callable[[bytes], T]
    once: bool = False


def send(to: str, sender: str, text: str | None, given: Mapping[str, Any]) -> Call[Accepted]:
    return Call("POST", "/v1/messages", _encode(message(to, sender, text, given)), _reads(Accepted), True)


def send_many(messages: Sequence[Mapping[str, Any]]) -> Call[list[Accepted | Problem]]:
    return Call("POST", "/v1/messages/batch", _encode(list(messages)), _batch, True)


def get(id: str) -> Call[Message]:
    return Call("GET", f"/v1/messages/{quote(id, safe='')}", b"", _reads(Message))


def cancel(id: str) -> Call[None]:
    return Call("POST", f"/v1/messages/{quote(id, safe='')}/cancel", b"", _nothing, True)


def change(id: str, given: Mapping[str, Any]) -> Call[Message]:
    return Call("PATCH", f"/v1/messages/{quote(id, safe='')}", _encode(_said(given)), _reads(Message))


def messages(filters: Mapping[str, Any]) -> Call[Page]:
    return Call("GET", _path("/v1/messages", filters), b"", _reads(Page))


def inbound(filters: Mapping[str, Any]) -> Call[InboundPage]:
    return Call("GET", _path("/v1/mos", filters), b"", _reads(InboundPage))


def more(path: str, kind: type[T]) -> Call[T]:
    """The page that `next` of another one names."""
    return Call("GET", path, b"", _reads(kind))


def preview(text: str, given: Mapping[str, Any]) -> Call[Preview]:
    return Call("POST", "/v1/preview", _encode({"text": text, **_said(given)}), _reads(Preview))


def balance() -> Call[Balance]:
    return Call("GET", "/v1/balance", b"", _reads(Balance))


def message(to: str, sender: str, text: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a submit; what is None is left out."""
    return _said({"to": to, "from": sender, "text": text, **given})


def refusal(status: int, body: bytes) -> Refused:
    """What an answer of 400 and more says, whatever it is."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem("", "", status, body[:200].decode("utf-8", "replace"))
    return Refused(status, problem)


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    names = {"message_class": "class", "sender": "from"}
    return {names.get(name, name): _plain(value) for name, value in given.items() if value is not None}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs its zone, as datetime.now(UTC) has")
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return value


def _path(path: str, filters: Mapping[str, Any]) -> str:
    pairs = [
        (name, one)
        for name, value in _said(filters).items()
        for one in (value if isinstance(value, list | tuple) else [value])
    ]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _reads(kind: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(kind).decode


def _nothing(body: bytes) -> None:
    return None


def _batch(body: bytes) -> list[Accepted | Problem]:
    found = msgspec.json.decode(body, type=Batch)
    return [_result(bytes(one)) for one in found.results]


def _result(body: bytes) -> Accepted | Problem:
    status = msgspec.json.decode(body, type=Problem).status
    kind: type[Accepted | Problem] = Accepted if status == 202 else Problem
    return msgspec.json.decode(body, type=kind)


def portions(messages: Iterable[Mapping[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """As many as one request may have."""
    portion: list[dict[str, Any]] = []
    for one in messages:
        portion.append(_said(one))
        if len(portion) == MOST_OF_A_BATCH:
            yield portion
            portion = []
    if portion:
        yield portion
