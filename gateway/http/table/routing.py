"""The endpoints of routes: what there are, and what would become of a message (preview, explain)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.http.endpoint import Answer, Endpoint
from gateway.http.fields import (
    Encoding,
    Hex,
    Instant,
    MessageClass,
    Number,
    Priority,
    Receipt,
    Reference,
    Seconds,
    Tags,
    Text,
    Url,
)
from gateway.http.table.messages import OF_A_MESSAGE
from gateway.http.table.types import Cursor, Next, Time

PAGE = 50
MOST_OF_A_PAGE = 200
SHOWN = 20  # entries of a list of conditions

AccountName = Annotated[str, Meta(description="for operators: whom it is asked for")]


class PreviewIn(
    msgspec.Struct, forbid_unknown_fields=True, rename={"sender": "from", "message_class": "class"}
):
    """The fields of a message; `to` and `from` may be left out."""

    text: Text | None = None
    data: Hex | None = None
    to: Number | UnsetType = UNSET
    sender: Number | UnsetType = UNSET
    encoding: Encoding | None = None
    validity_s: Seconds | None = None
    send_at: Instant | None = None
    priority: Priority | None = None
    message_class: MessageClass | None = None
    tags: Tags | None = None
    callback_url: Url | None = None
    client_ref: Reference | None = None
    receipt: Receipt | None = None
    smart_encoding: bool | None = None
    account: AccountName | None = None


class ExplainIn(
    msgspec.Struct, forbid_unknown_fields=True, rename={"sender": "from", "message_class": "class"}
):
    """The fields of a message; text and data may be left out. `at`: at another time than now."""

    to: Number
    sender: Number
    text: Text | None = None
    data: Hex | None = None
    encoding: Encoding | None = None
    validity_s: Seconds | None = None
    send_at: Instant | None = None
    priority: Priority | None = None
    message_class: MessageClass | None = None
    tags: Tags | None = None
    callback_url: Url | None = None
    client_ref: Reference | None = None
    receipt: Receipt | None = None
    smart_encoding: bool | None = None
    account: AccountName | None = None
    at: Instant | None = None


class Cost(msgspec.Struct):
    """Of a segment, and of all; exact decimal numbers as text."""

    price: str
    total: str
    currency: str
    by: str
    rate_card: str


class Forcing(msgspec.Struct):
    """A character that the GSM alphabet lacks. `position` counts characters from 0."""

    position: int
    character: str
    code_point: str
    likeness: str


class PreviewOut(msgspec.Struct):
    """What a text costs. `unit`: septet, utf-16 unit or octet."""

    encoding: str
    parts: int
    unit: str
    units: int
    units_in_a_part: int
    used_in_last_part: int
    left_in_last_part: int
    forces_ucs2: list[Forcing]
    parts_with_smart_encoding: int | None
    text_sent: str | None
    cost: Cost | None


class NumberOut(msgspec.Struct):
    country: str | None
    type: str
    mcc_mnc: str | None
    ported: bool


class RuleOut(msgspec.Struct):
    route: str | None
    matches: bool
    why_not: str | None


class MarginOut(msgspec.Struct):
    left_out: bool
    costs: str | None
    account_pays: str


class Choice(msgspec.Struct, rename={"sender": "from"}):
    """A carrier of the lane. `order`: when it would be tried now; null: it cannot take it, for `reason`."""

    carrier: str
    weight: int | None
    order: int | None
    reason: str
    detail: str
    parts: int
    cost: Cost | None
    margin: MarginOut | None
    encoding: str | None
    tables: Any
    sender: str | None
    text_sent: str | None


class RefusedOut(msgspec.Struct):
    """What a submit would be answered."""

    status: int
    code: str
    field: str | None
    detail: str


class ExplainOut(msgspec.Struct, rename={"sender": "from", "message_class": "class"}):
    """The way of a message, and why."""

    to: str
    sender: str
    account: str | None
    message_class: str
    at: Time
    number: NumberOut
    route: str | None
    rules: list[RuleOut]
    rules_left_out: int
    lane: list[str]
    carriers: list[Choice]
    encoding: str
    parts: int
    refused: RefusedOut | None
    running: bool
    cost: Cost | None


class LaneOut(msgspec.Struct):
    """A carrier of a route's lane. `weight` null: the lane is in order of preference; 0: it drains."""

    carrier: str
    weight: int | None


class RouteOut(msgspec.Struct):
    """A route, with the keys of [[routes]]. `able`: a carrier of its lane takes messages now."""

    name: str
    match: Annotated[
        dict[str, Any],
        Meta(description=f"what it asks for, empty: all that are left; the first {SHOWN} of each list"),
    ]
    counts: Annotated[
        dict[str, int], Meta(description="of the lists that are cut (prefix, not.account): their entries")
    ]
    lane: list[LaneOut]
    choose: str
    tps: float
    max_queue_age_s: int
    when_down: str
    able: bool


class RoutesOut(msgspec.Struct):
    """In the order in which they are asked."""

    routes: list[RouteOut]
    next: Next


class RoutesQuery(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


_PROBLEMS = ("no-such-account", "operator-key-needed", "too-many-questions", *OF_A_MESSAGE)

PREVIEW = Endpoint(
    method="POST",
    path="/v1/preview",
    id="previewMessage",
    tag="Routes",
    summary="Encoding, parts and room of a text, without sending it",
    access="messages.preview",
    body=PreviewIn,
    example={"text": "Zoë, your table is ready"},
    answers={200: Answer(PreviewOut, "What the text takes")},
    problems=_PROBLEMS,
)

EXPLAIN = Endpoint(
    method="POST",
    path="/v1/routes/explain",
    id="explainRoute",
    tag="Routes",
    summary="Which way a message would go, and why, without sending it",
    description="For accounts only where `[http] explain_to_accounts` is on.",
    access="routes.explain",
    body=ExplainIn,
    example={"to": "+447700900123", "from": "ACME", "class": "otp", "at": "2030-01-31T03:00:00Z"},
    answers={200: Answer(ExplainOut, "The way it would go, also where it would be refused")},
    problems=_PROBLEMS,
)

ROUTES = Endpoint(
    method="GET",
    path="/v1/routes",
    id="listRoutes",
    tag="Routes",
    summary="List routes in their order: what each asks for, its lane, whether a carrier is able",
    access="routes.read",
    query=RoutesQuery,
    answers={200: Answer(RoutesOut, "A page of the configuration in force", headers=("Link",))},
    problems=("operator-key-needed",),
)

ENDPOINTS = (PREVIEW, EXPLAIN, ROUTES)
