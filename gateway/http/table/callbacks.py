"""The endpoints of callbacks: what is behind, what became of it, a test, a replay, another secret.

An account's key is about its own callbacks alone; an operator's says whose.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.admin_accounts import LONGEST_OVERLAP_S, OVERLAP_S
from gateway.http.endpoint import Answer, Endpoint
from gateway.http.table.types import Cursor, Id, Next, Time

PAGE = 100
MOST_OF_A_PAGE = 1_000

Whose = Annotated[str, Meta(max_length=64, description="the account's name; an account's key leaves it out")]
Place = Annotated[int, Meta(ge=0, le=1 << 32)]
Number = Annotated[int, Meta(ge=1, le=0xFFFFFFFF, description="an endpoint's number")]


class EndpointOut(msgspec.Struct):
    """One account's callbacks to one origin.

    `state`: good, failing, open (only probed after many failures), paused (it said Retry-After), disabled (it
    said 410; without `tried_again_at` until it is enabled), or "" where nothing was sent since the start.
    `reason`: why what waits does not go, in one line.
    """

    endpoint: int
    account: str
    origin: str
    state: str
    tried_again_at: Time | None
    backlog: int
    retrying: int
    given_up: int
    oldest_at: Time | None
    last_error: str
    reason: str


class EndpointsOut(msgspec.Struct):
    """Most behind first."""

    endpoints: list[EndpointOut]
    next: Next


class EndpointsQuery(msgspec.Struct, forbid_unknown_fields=True):
    account: Whose = ""
    all: Annotated[bool, Meta(description="also endpoints that are up to date")] = False
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


class UndeliveredOut(msgspec.Struct):
    """`id` is its webhook-id; `state` a receipt's."""

    id: str
    type: str
    at: Time
    message_id: Id | None
    state: str
    attempts: int
    last_error: str
    due_at: Time | None
    given_up_at: Time | None


class UndeliveredsOut(msgspec.Struct):
    """Oldest first. A page may be short, or empty, and have a next one all the same."""

    events: list[UndeliveredOut]
    next: Next


class UndeliveredQuery(msgspec.Struct, forbid_unknown_fields=True):
    state: Annotated[
        Literal["ready", "retrying", "given_up"], Meta(description="which of those that were not taken")
    ] = "ready"
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


class AttemptOut(msgspec.Struct):
    """`outcome`: delivered, failed, refused (by our guard), timeout, gone (410) or unreachable."""

    at: Time
    message_id: Id
    events: int
    outcome: str
    error: str
    duration_s: float


class AttemptsOut(msgspec.Struct):
    """The last ones since the gateway started, newest first."""

    attempts: list[AttemptOut]


class TestIn(msgspec.Struct, forbid_unknown_fields=True):
    account: Whose | None = None
    kind: Annotated[Literal["receipt", "received"], Meta(description="of which kind")] | None = None


class RequestOut(msgspec.Struct):
    method: str
    url: str
    headers: dict[str, str]
    body: str


class TestOut(msgspec.Struct):
    """`status` 0: no answer; `answer` is its beginning."""

    account: str
    taken: bool
    error: str
    status: int
    answer: str
    duration_s: float
    request: RequestOut


class ReplayIn(msgspec.Struct, forbid_unknown_fields=True):
    """Given-up events (`given_up`); or receipts of finished messages, or inbound messages (`kind`), by id or
    by time, receipts by state, too."""

    account: Whose | None = None
    given_up: Annotated[bool, Meta(description="those that are not tried any more")] | None = None
    endpoint: Number | None = None
    id: Annotated[str, Meta(max_length=20, description="a message's")] | None = None
    since: Annotated[str, Meta(max_length=40, description="accepted from then on")] | None = None
    until: Annotated[str, Meta(max_length=40, description="accepted before")] | None = None
    state: Annotated[str, Meta(max_length=20, description="which they ended in, as DELIVERED")] | None = None
    kind: (
        Annotated[Literal["receipts", "received"], Meta(description="received: inbound messages")] | None
    ) = None
    resume: Annotated[bool, Meta(description="go on with a replay that was cut off")] | None = None
    abandon: Annotated[bool, Meta(description="forget one that was cut off, begin this one")] | None = None


class ReplayOut(msgspec.Struct):
    account: str
    events: int


class EnableIn(msgspec.Struct, forbid_unknown_fields=True):
    account: Whose | None = None
    endpoint: Number | None = None


class EnableOut(msgspec.Struct):
    """The origins that were shut."""

    enabled: list[str]


class RotateIn(msgspec.Struct, forbid_unknown_fields=True):
    account: Whose | None = None
    overlap_s: (
        Annotated[
            float, Meta(ge=0, le=LONGEST_OVERLAP_S, description="how long the secret until now signs, too")
        ]
        | None
    ) = None


class RotateOut(msgspec.Struct):
    """`callback_secret` is in this answer, and never again."""

    account: str
    callback_secret: str
    callback_secrets: int
    until: Time | None


_ONE = "/v1/callbacks/{endpoint}"
_NAMED = {"endpoint": "its number, as the list has it"}
_KEPT = ("store-full", "store-failed")
_OF_AN_ACCOUNT = ("no-such-account", "callbacks-conflict", *_KEPT)

LIST = Endpoint(
    method="GET",
    path="/v1/callbacks",
    id="listCallbacks",
    tag="Callbacks",
    summary="List endpoints that are behind, shut, or have given-up events",
    access="callbacks.read",
    query=EndpointsQuery,
    answers={200: Answer(EndpointsOut, "A page of endpoints", headers=("Link",))},
    problems=("no-such-account",),
)
EVENTS = Endpoint(
    method="GET",
    path=_ONE + "/events",
    id="listUndeliveredEvents",
    tag="Callbacks",
    summary="List an endpoint's events that it has not taken",
    access="callbacks.read",
    params=_NAMED,
    query=UndeliveredQuery,
    answers={200: Answer(UndeliveredsOut, "A page of events", headers=("Link",))},
    problems=("no-such-endpoint",),
)
ATTEMPTS = Endpoint(
    method="GET",
    path=_ONE + "/attempts",
    id="listCallbackAttempts",
    tag="Callbacks",
    summary="List how the last requests to an endpoint ended",
    access="callbacks.read",
    params=_NAMED,
    answers={200: Answer(AttemptsOut, "The last attempts")},
    problems=("no-such-endpoint",),
)
TEST = Endpoint(
    method="POST",
    path="/v1/callbacks/test",
    id="testCallbacks",
    tag="Callbacks",
    summary="Send one made-up event, signed, and see what comes back",
    description="To the account's own URL for such events. It is sent once, and nothing of it is kept.",
    access="callbacks.write",
    body=TestIn,
    body_may_be_empty=True,
    example={"kind": "receipt"},
    answers={200: Answer(TestOut, "What was sent and what came back; look at `taken`")},
    problems=_OF_AN_ACCOUNT,
    idempotency="kept",
    audited=True,
)
REPLAY = Endpoint(
    method="POST",
    path="/v1/callbacks/replay",
    id="replayCallbacks",
    tag="Callbacks",
    summary="Send given-up events, or receipts that were told before, once more",
    description=(
        "The answer comes when all of them are due; they leave as any event. Ids of given-up events stay the "
        "same. A replay that is cut off goes on with `resume`."
    ),
    access="callbacks.write",
    body=ReplayIn,
    example={"since": "2030-01-31T00:00:00Z", "until": "2030-02-01T00:00:00Z", "state": "DELIVERED"},
    answers={200: Answer(ReplayOut, "How many were put back")},
    problems=(*_OF_AN_ACCOUNT, "no-such-endpoint", "no-such-message"),
    idempotency="kept",
    audited=True,
)
ENABLE = Endpoint(
    method="POST",
    path="/v1/callbacks/enable",
    id="enableCallbacks",
    tag="Callbacks",
    summary="Try endpoints now that are disabled, paused or open",
    access="callbacks.write",
    body=EnableIn,
    body_may_be_empty=True,
    answers={200: Answer(EnableOut, "Which were shut")},
    problems=(*_OF_AN_ACCOUNT, "no-such-endpoint"),
    idempotency="kept",
    audited=True,
)
ROTATE = Endpoint(
    method="POST",
    path="/v1/callbacks/rotate-secret",
    id="rotateCallbackSecret",
    tag="Callbacks",
    summary="Give an account another secret for its callbacks",
    description=f"Both sign while they overlap, {OVERLAP_S / 3600:g} h unless said otherwise.",
    access="callbacks.write",
    body=RotateIn,
    body_may_be_empty=True,
    example={"overlap_s": 86_400},
    answers={200: Answer(RotateOut, "The new secret, this once")},
    problems=_OF_AN_ACCOUNT,
    idempotency="told-once",
    audited=True,
)

ENDPOINTS = (LIST, EVENTS, ATTEMPTS, TEST, REPLAY, ENABLE, ROTATE)
