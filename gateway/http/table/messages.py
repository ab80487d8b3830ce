"""The endpoints of messages: submit one, submit many, look at one."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.http.endpoint import Answer, Endpoint
from gateway.http.fields import BATCH_MAX, ChangeIn, MessageIn
from gateway.http.problems import Problem
from gateway.http.table.types import Cursor, Id, Next, Nothing, Time
from gateway.http.timeline import MessageOut
from router.nouns import MessageState
from store.search import MOST_ROWS

# What the door may say to one message, and what it says to an account or of itself.
OF_A_MESSAGE = (
    "no-number", "not-a-number", "unknown-country", "impossible-length", "number-type-not-allowed",
    "bad-sender", "sender-not-allowed", "destination-not-allowed", "no-route", "no-margin", "no-price",
    "too-long", "unencodable", "no-content", "bad-encoding", "bad-validity", "too-far-ahead",
    "bad-callback-url", "route-down",
)  # fmt: skip
OF_A_CHANGE = ("with-a-carrier", "already-sent", "already-final", "store-full", "store-failed")
OF_AN_ACCOUNT = (
    "account-key-needed", "account-suspended", "account-closed", "queue-full", "too-many-submits",
    "store-full", "shutting-down", "insufficient-balance", "daily-cap-reached", "monthly-cap-reached",
    "daily-quota-reached", "monthly-quota-reached",
)  # fmt: skip


class AcceptedOut(msgspec.Struct, omit_defaults=True, gc=False, rename={"sender": "from"}):
    """The answer to an accepted message; `status` only inside a batch."""

    id: Id
    state: str
    segments: int
    encoding: str
    to: str
    sender: str
    expires_at: Time
    send_at: Time = ""
    client_ref: str = ""
    status: int = 0
    smart_encoding: bool = False


# A union of two structs without a tag is nothing that msgspec decodes; it is only answered.
BatchResult = Annotated[
    Any,
    Meta(
        extra_json_schema={
            "anyOf": [{"$ref": "#/components/schemas/AcceptedOut"}, {"$ref": "#/components/schemas/Problem"}]
        }
    ),
]


class BatchOut(msgspec.Struct, gc=False):
    """One result for each message, in order."""

    accepted: int
    refused: int
    results: list[BatchResult]


class BatchIn(msgspec.Struct, forbid_unknown_fields=True):
    """The list may also be the body itself."""

    messages: Annotated[list[MessageIn], Meta(min_length=1, max_length=BATCH_MAX)]


class CancelOut(msgspec.Struct):
    id: Id
    state: str
    phase: str


class StreamEnd(msgspec.Struct):
    """The last line of a stream's answer; `done` false: what followed `lines` was not taken, and why."""

    done: bool
    lines: int
    accepted: int
    refused: int
    problem: Problem | None = None


RATE = ("RateLimit-Policy", "RateLimit")  # where the account has a tps

ANSWERED_ALONG: tuple[Any, ...] = (AcceptedOut, Problem)  # what BatchResult refers to

_NAMED = {"id": "as a submit answered it"}
_ONE = {"to": "447700900123", "from": "ACME", "text": "Your code is 123456", "class": "otp"}
_ACCEPTED = {
    "id": "4611686018427387905", "state": "ENROUTE", "segments": 1, "encoding": "gsm7",
    "to": "447700900123", "from": "ACME", "expires_at": "2030-01-31T09:30:00.000Z",
}  # fmt: skip

SEND = Endpoint(
    method="POST",
    path="/v1/messages",
    id="sendMessage",
    tag="Messages",
    summary="Submit one message",
    description="202 means that the message is on disk. Any other status means that nothing was stored.",
    access="messages.send",
    body=MessageIn,
    example=_ONE,
    answers={
        202: Answer(
            AcceptedOut, "Accepted, and on disk", _ACCEPTED, headers=("Location", "traceresponse", *RATE)
        )
    },
    problems=(*OF_AN_ACCOUNT, *OF_A_MESSAGE),
    idempotency="may",
)

SEND_BATCH = Endpoint(
    method="POST",
    path="/v1/messages/batch",
    id="sendMessages",
    tag="Messages",
    summary="Submit up to 1,000 messages",
    description=(
        "Each message is answered on its own and in order: look at each result's `status`, 202 or a "
        "problem's. What concerns the account or the gateway as a whole is answered as one problem."
    ),
    access="messages.send",
    body=BatchIn | list[MessageIn],
    example=[_ONE],
    answers={
        200: Answer(
            BatchOut,
            "Every result is final",
            {"accepted": 1, "refused": 0, "results": [{**_ACCEPTED, "status": 202}]},
            headers=RATE,
        )
    },
    problems=OF_AN_ACCOUNT,
    idempotency="may",
)

SEND_STREAM = Endpoint(
    method="POST",
    path="/v1/messages/stream",
    id="streamMessages",
    tag="Messages",
    summary="Submit any number of messages, one a line",
    description=(
        "The body is one message a line, of any length, sent with a length or in chunks. The answer has a "
        "line for each: its number in `line`, with what a submit or a problem answers, as soon as it is on "
        "disk; read it while you send. A bad line does not end the stream. The last line is a StreamEnd. An "
        "Idempotency-Key counts for each line by its number: the same stream sent again takes no line twice."
    ),
    access="messages.send",
    body=MessageIn,
    body_media="application/x-ndjson",
    body_may_be_empty=True,
    answers={200: Answer(bytes, "A line for each message, and a last one", None, "application/x-ndjson")},
    problems=("account-key-needed", "not-ndjson", "line-too-long"),
    idempotency="may",
)

SHOW = Endpoint(
    method="GET",
    path="/v1/messages/{id}",
    id="getMessage",
    tag="Messages",
    summary="Look at a message and its timeline",
    description=(
        "An account sees its own messages; another's id is answered 404, as an unknown one is. Operators see "
        "all, without text and with masked numbers where their role may not see them; each view of a text by "
        "one is in the audit trail."
    ),
    access="messages.read",
    shows_text=True,
    params=_NAMED,
    answers={200: Answer(MessageOut, "The message, its state, and all that happened to it")},
    problems=("no-such-message", "invalid-fields", "store-full", "store-failed"),
)

CANCEL = Endpoint(
    method="POST",
    path="/v1/messages/{id}/cancel",
    id="cancelMessage",
    tag="Messages",
    summary="Cancel a message that no carrier has yet",
    description=(
        "200 means that it is not sent. A message that a carrier has in hand at this moment is answered 409 "
        "`with-a-carrier`; the wish is kept, so that it ends DELETED should it come back unsent."
    ),
    access="messages.cancel",
    params=_NAMED,
    body=Nothing,
    body_may_be_empty=True,
    answers={
        200: Answer(
            CancelOut, "It is not sent", {"id": "4611686018427387905", "state": "DELETED", "phase": "final"}
        )
    },
    problems=("no-such-message", *OF_A_CHANGE),
    idempotency="may",
)

CHANGE = Endpoint(
    method="PATCH",
    path="/v1/messages/{id}",
    id="changeMessage",
    tag="Messages",
    summary="Change what a message says, or when, while it waits",
    description=(
        "What is left out, or null, stays. Encoding, segments, route and carriers are planned anew. A "
        "message that a carrier has, or has had, stays as it is."
    ),
    access="messages.send",
    params=_NAMED,
    body=ChangeIn,
    example={"text": "Your table is ready at 8"},
    answers={200: Answer(MessageOut, "The message as it is now")},
    problems=(
        "account-key-needed", "account-suspended", "account-closed", "shutting-down", "no-such-message",
        *OF_A_CHANGE, *OF_A_MESSAGE,
    ),
)  # fmt: skip


STATES = ", ".join(state.name for state in MessageState)
PAGE = 100
MOST_EXPORTED = 1_000_000

_Number = Meta(max_length=64, description="a number in any usual form: +44…, 0044…, or national")
_At = Meta(max_length=40, description="RFC 3339 with a zone, or an age such as 90s, 30m, 2h, 7d")


class Filters(msgspec.Struct, forbid_unknown_fields=True, rename={"sender": "from"}):
    """A message fits if all do; empty: anything."""

    to: Annotated[str, _Number] = ""
    sender: Annotated[str, Meta(max_length=64, description="a number, a short code, or a name")] = ""
    account: Annotated[
        str, Meta(max_length=2048, description="for operators: one name, or several with commas between")
    ] = ""
    state: Annotated[
        str, Meta(max_length=128, description=f"one or several, with commas between, of {STATES}")
    ] = ""
    client_ref: Annotated[str, Meta(max_length=64)] = ""
    tag: Annotated[str, Meta(max_length=64)] = ""
    since: Annotated[str, _At] = ""
    until: Annotated[str, _At] = ""


class MessagesQuery(Filters, forbid_unknown_fields=True, rename={"sender": "from"}):
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = PAGE
    cursor: Cursor = ""


class ExportQuery(Filters, forbid_unknown_fields=True, rename={"sender": "from"}):
    limit: Annotated[int, Meta(ge=1, le=MOST_EXPORTED)] = MOST_EXPORTED


class MessageRow(msgspec.Struct, omit_defaults=True, rename={"sender": "from", "message_class": "class"}):
    """A message in a listing, under the names of GET /v1/messages/{id}; never what it says."""

    id: Id
    state: str
    phase: str
    final: bool
    to: str
    sender: str
    encoding: str
    segments: int
    message_class: str
    route: str
    accepted_at: Time
    attempts: int
    account: str = ""  # for operators
    reason: str = ""
    cause: str = ""
    send_at: Time | None = None
    finished_at: Time | None = None
    done_at: Time | None = None
    carriers: list[str] = []
    client_ref: str = ""
    tags: tuple[str, ...] = ()
    erased_at: Time | None = None


class MessagesOut(msgspec.Struct):
    """A page of messages, the newest first, without what they say."""

    messages: list[MessageRow]
    next: Next
    complete: Annotated[
        bool, Meta(description="false: the page ended early, for its cost; `next` goes on behind it")
    ]
    indexed_until: Annotated[
        Time | None,
        Meta(description="what was accepted before then is indexed; what came later is found all the same"),
    ]


_FILTERS = (
    "Give any of the filters; a message fits if all do. `since` (from then on) and `until` (before then) are "
    "about when it was accepted."
)
LIST = Endpoint(
    method="GET",
    path="/v1/messages",
    id="listMessages",
    tag="Messages",
    summary="Search messages, the newest first",
    description=(
        f"{_FILTERS} An account sees its own messages. A row never has the text: look at the message itself. "
        "A page looks at a bounded number of messages; where that ends it early, it is `complete: false`."
    ),
    access="messages.read",
    query=MessagesQuery,
    answers={200: Answer(MessagesOut, "A page of messages", headers=("Link",))},
    problems=("no-such-account", "scope-needed", "too-many-questions", "search-unavailable"),
)

EXPORT = Endpoint(
    method="GET",
    path="/v1/messages/export.csv",
    id="exportMessages",
    tag="Messages",
    summary="The same as CSV, streamed",
    description=(
        f"{_FILTERS} RFC 4180 in UTF-8, the newest first: the names of the columns, then a line for each "
        "message; a cell that a spreadsheet would run as a formula has an apostrophe in front. At most "
        "`limit` rows: a file with as many goes on with `until`. A connection that ends without the last "
        "chunk has not sent all."
    ),
    access="messages.read",
    query=ExportQuery,
    answers={200: Answer(bytes, "A line for each message", None, "text/csv")},
    problems=("no-such-account", "scope-needed", "too-many-questions", "search-unavailable"),
)

ENDPOINTS = (SEND, SEND_BATCH, SEND_STREAM, LIST, EXPORT, SHOW, CANCEL, CHANGE)
