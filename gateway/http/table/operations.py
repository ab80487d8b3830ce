"""The endpoints of operations, for operators: carriers, the event log, the configuration."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.http.endpoint import Answer, Endpoint
from gateway.http.table.types import Cursor, Id, Next, Nothing, Time
from gateway.orders import LONGEST_S

PAGE = 100
MOST_OF_A_PAGE = 1_000


class Order(msgspec.Struct):
    """An operator's order. `until` null: until somebody ends it; `value`: a rate."""

    by: str
    reason: str
    since: Time
    until: Time | None
    value: str


class Out(msgspec.Struct):
    """Taken out by the gateway itself."""

    why: str
    reason: str
    since: Time | None
    until: Time | None


class Health(msgspec.Struct):
    """A figure is null while there is too little to tell."""

    circuit: str
    submits: int
    error_ratio: float | None
    response_mean_s: float | None
    response_p90_s: float | None
    receipts: int
    receipts_blameless: Annotated[
        int, Meta(description="failures that no carrier can help, in no ratio; if all fail, they count, too")
    ]
    delivered_ratio: float | None
    receipt_p50_s: float | None
    looks_false: Annotated[str, Meta(description="why its receipts look made up; empty: they do not")]
    bad: Annotated[str, Meta(description="why it would be out; empty: it is well, or out: see `out`")]
    countries: list[dict[str, Any]]


class Limit(msgspec.Struct):
    spent: int
    limit: int


class LinkOut(msgspec.Struct):
    state: str
    bind: str
    host: str
    last_error: str
    suspended: bool


class CarrierOut(msgspec.Struct):
    """A carrier. `able`: it takes messages; else `order`, `out` or `links` say why."""

    name: str
    able: bool
    suspended: bool
    drained: bool
    order: Order | None
    rate_order: Order | None
    out: Out | None
    health: Health
    in_flight: int
    window: int
    window_used: int
    tps: float
    rate: float
    slowed: str
    limits: dict[str, dict[str, Limit]]
    paused_until: Time | None
    links: dict[str, LinkOut]


class CarriersOut(msgspec.Struct):
    """By name."""

    carriers: list[CarrierOut]
    next: Next


class CarriersQuery(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


class SuspendIn(msgspec.Struct, forbid_unknown_fields=True):
    for_s: (
        Annotated[
            float,
            Meta(ge=0, le=LONGEST_S, description=f"seconds, 0 (until resumed) to {LONGEST_S}"),
        ]
        | None
    ) = None


class EventOut(msgspec.Struct):
    """`subject` is kind:name, as carrier:north."""

    number: Id
    at: Time
    kind: str
    subject: str
    warning: bool
    text: str
    figures: dict[str, Any]


class EventsOut(msgspec.Struct):
    """Newest first."""

    events: list[EventOut]
    next: Next


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True):
    subject: Annotated[str, Meta(max_length=128, description="a carrier or a route")] = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


class ReloadIn(msgspec.Struct, forbid_unknown_fields=True):
    dry_run: Annotated[bool, Meta(description="only show what would change")] | None = None
    partial: Annotated[bool, Meta(description="leave out what needs a restart")] | None = None


class KeyChange(msgspec.Struct):
    """Secrets are not shown."""

    key: str
    old: Any
    new: Any


class SectionChange(msgspec.Struct):
    section: str
    name: str
    what: str
    rebinds: bool
    keys: list[KeyChange]


class LaneTouched(msgspec.Struct):
    """Messages wait in it, and a carrier or a route of it changes or goes."""

    lane: str
    messages: int
    planned_anew: Annotated[bool, Meta(description="the lane goes; else they stay in it")]
    gone: Annotated[list[str], Meta(description="its carriers that go away")]
    asked: Annotated[int, Meta(description="of a dry run: how many messages were asked for their way")]
    goes_to: Annotated[dict[str, int], Meta(description="of these, by route and carriers; empty: no route")]


class ReloadOut(msgspec.Struct):
    applied: bool
    file: str
    revision: int
    changes: list[SectionChange]
    needs_restart: list[str]
    warnings: list[str]
    waiting: Annotated[list[LaneTouched], Meta(description="the fullest lanes that the change touches")]
    planned_anew: Annotated[int, Meta(description="messages whose lane goes: they go by the new routes")]


_ONE = "/v1/carriers/{name}"
_NAMED = {"name": "of the carrier"}
_OF_OPERATORS = ("operator-key-needed",)
_FOUND = ("operator-key-needed", "no-such-carrier")
_SHOWN = {200: Answer(CarrierOut, "The carrier as it is now")}
_CHANGES = (*_FOUND, "carrier-conflict", "store-full", "store-failed")

CARRIERS = Endpoint(
    method="GET",
    path="/v1/carriers",
    id="listCarriers",
    tag="Operations",
    summary="List carriers: whether each takes work, else why not, its binds, its health",
    access="carriers.read",
    query=CarriersQuery,
    answers={200: Answer(CarriersOut, "A page of the configuration in force", headers=("Link",))},
    problems=_OF_OPERATORS,
)
CARRIER = Endpoint(
    method="GET",
    path=_ONE,
    id="getCarrier",
    tag="Operations",
    summary="Look at a carrier",
    access="carriers.read",
    params=_NAMED,
    answers=_SHOWN,
    problems=_FOUND,
)
SUSPEND = Endpoint(
    method="POST",
    path=_ONE + "/suspend",
    id="suspendCarrier",
    tag="Operations",
    summary="Give a carrier nothing new",
    description="Its binds stay, and receipts go on coming. Again: the new end.",
    access="carriers.write",
    params=_NAMED,
    body=SuspendIn,
    body_may_be_empty=True,
    example={"for_s": 7200},
    answers=_SHOWN,
    problems=_CHANGES,
    idempotency="kept",
    audited=True,
)
RESUME = Endpoint(
    method="POST",
    path=_ONE + "/resume",
    id="resumeCarrier",
    tag="Operations",
    summary="Give a carrier messages again",
    description="Also one that its circuit breaker took out. Again changes nothing.",
    access="carriers.write",
    params=_NAMED,
    body=Nothing,
    body_may_be_empty=True,
    answers=_SHOWN,
    problems=_CHANGES,
    idempotency="kept",
    audited=True,
)
EVENTS = Endpoint(
    method="GET",
    path="/v1/events",
    id="listEvents",
    tag="Operations",
    summary="What the gateway decided by itself and noticed, newest first",
    access="events.read",
    query=EventsQuery,
    answers={200: Answer(EventsOut, "A page of events", headers=("Link",))},
    problems=_OF_OPERATORS,
)
RELOAD = Endpoint(
    method="POST",
    path="/v1/config/reload",
    id="reloadConfig",
    tag="Operations",
    summary="Read the gateway's file again, and apply it",
    description="dry_run only shows the changes; partial leaves out what needs a restart.",
    access="config.write",
    body=ReloadIn,
    body_may_be_empty=True,
    example={"dry_run": True},
    answers={200: Answer(ReloadOut, "What changed, or would")},
    problems=("operator-key-needed", "bad-config", "needs-restart", "store-full", "store-failed"),
    idempotency="kept",
    audited=True,
)

ENDPOINTS = (CARRIERS, CARRIER, SUSPEND, RESUME, EVENTS, RELOAD)
