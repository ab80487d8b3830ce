"""The endpoints of inbound messages (MOs): list them, look at one."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.http.endpoint import Answer, Endpoint
from gateway.http.fields import Instant
from gateway.http.table.types import Cursor, Id, Next, Time

PAGE = 50
MOST_OF_A_PAGE = 500

Number = Annotated[str, Meta(max_length=32, description="as it came, with or without +")]


class MoOut(msgspec.Struct, omit_defaults=True, rename={"source": "from"}):
    """`account` and `carrier` are shown to operators. `in_reply_to`: the message that it answers."""

    id: Id
    received_at: Time
    source: str
    to: str
    encoding: str
    parts: int
    complete: bool
    text: str | None = None
    data: str | None = None
    in_reply_to: str = ""
    account: str | None = None
    carrier: str = ""
    erased_at: Time | None = None


class MosOut(msgspec.Struct):
    """Newest first. A page may be shorter than asked for, though `next` has more."""

    mos: list[MoOut]
    next: Next


class MosQuery(msgspec.Struct, forbid_unknown_fields=True, rename={"source": "from"}):
    source: Number = ""
    to: Number = ""
    since: Annotated[Instant | None, Meta(description="received at that time, or later")] = None
    until: Annotated[Instant | None, Meta(description="received before that time")] = None
    account: Annotated[str, Meta(max_length=64, description="for operators: of this account")] = ""
    unrouted: Annotated[bool, Meta(description="for operators: those that no account owns")] = False
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


MOS = Endpoint(
    method="GET",
    path="/v1/mos",
    id="listInboundMessages",
    tag="Inbound",
    summary="List inbound messages, newest first",
    description="An account sees those of its own numbers and keywords; they are kept for retention_days.",
    access="inbound.read",
    shows_text=True,
    query=MosQuery,
    answers={200: Answer(MosOut, "A page of them", headers=("Link",))},
    problems=("no-such-account", "invalid-fields", "store-full", "store-failed"),
)
MO = Endpoint(
    method="GET",
    path="/v1/mos/{id}",
    id="getInboundMessage",
    tag="Inbound",
    summary="Look at an inbound message",
    access="inbound.read",
    shows_text=True,
    params={"id": "as a list or an event has it"},
    answers={200: Answer(MoOut, "The message")},
    problems=("no-such-mo", "invalid-fields", "store-full", "store-failed"),
)

ENDPOINTS = (MOS, MO)
