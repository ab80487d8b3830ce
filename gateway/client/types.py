"""What the API answers, as a client sees it. Fields that it does not know yet are ignored, so that a client
works with later gateways.

Times are RFC 3339 in UTC, as they come; ids are decimal numbers in strings.

Deliberately not here: what the fields mean (docs/http-api.md).
"""

from __future__ import annotations

import msgspec


class Field(msgspec.Struct, frozen=True):
    """A wrong field of a request. `detail` says what is allowed."""

    field: str = ""
    detail: str = ""


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457. `code` is what stands behind `urn:signalbox:problem:`."""

    type: str = ""
    title: str = ""
    status: int = 0
    detail: str = ""
    errors: tuple[Field, ...] = ()

    @property
    def code(self) -> str:
        return self.type.rpartition(":")[2]


class Accepted(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A message that is on disk."""

    id: str
    state: str
    segments: int
    encoding: str
    to: str
    sender: str
    expires_at: str = ""
    send_at: str = ""
    client_ref: str = ""


class Step(msgspec.Struct, frozen=True):
    at: str
    step: str
    carrier: str = ""
    detail: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from", "message_class": "class"}):
    """A message in a listing, without its text."""

    id: str
    state: str
    phase: str
    final: bool
    to: str
    sender: str
    segments: int
    message_class: str
    accepted_at: str
    reason: str = ""
    cause: str = ""
    send_at: str | None = None
    finished_at: str | None = None
    client_ref: str = ""
    tags: tuple[str, ...] = ()


class Message(Row, frozen=True, kw_only=True):
    """A message and all that happened to it."""

    timeline: tuple[Step, ...] = ()
    text: str | None = None
    data: str | None = None


class Inbound(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A message from a handset."""

    id: str
    sender: str
    to: str
    text: str | None = None
    data: str | None = None
    received_at: str = ""


class Preview(msgspec.Struct, frozen=True):
    """What a text costs. `cost`: price, total, currency; None where that is not known."""

    encoding: str
    parts: int
    units: int = 0
    left_in_last_part: int = 0
    cost: dict[str, str] | None = None


class Balance(msgspec.Struct, frozen=True):
    balance: str | None = None
    currency: str | None = None
    reserved: str | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of messages; `next`: path and query of the one behind it."""

    messages: list[Row]
    next: str | None = None


class InboundPage(msgspec.Struct, frozen=True):
    mos: list[Inbound]
    next: str | None = None


class Batch(msgspec.Struct, frozen=True):
    accepted: int
    refused: int
    results: list[msgspec.Raw]
