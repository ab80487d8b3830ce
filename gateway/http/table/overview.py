"""The endpoints that tell operators what waits, and what is wrong."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.figures import Snapshot
from gateway.http.endpoint import Answer, Endpoint
from gateway.overview import LaneView, Trouble
from gateway.tracing import MOST_S


class QueuesOut(msgspec.Struct):
    """Lanes with anything in them, the one with the oldest message first."""

    lanes: list[LaneView]


class QueuesQuery(msgspec.Struct, forbid_unknown_fields=True):
    lane: Annotated[str, Meta(max_length=256, description="only this one")] = ""
    account: Annotated[str, Meta(max_length=64, description="only queues of this account")] = ""


class HealthOut(msgspec.Struct):
    """`status`: ok, degraded (warnings) or failing (something critical). `backlog`: messages by phase."""

    status: str
    problems: list[Trouble]
    backlog: dict[str, int]
    version: str


class TopQuery(msgspec.Struct, forbid_unknown_fields=True):
    history: Annotated[bool, Meta(description="also each of the last 300 seconds")] = False


class TraceQuery(msgspec.Struct, forbid_unknown_fields=True):
    carrier: Annotated[str, Meta(max_length=64, description="all binds to it")] = ""
    bind: Annotated[
        str, Meta(max_length=64, description="a carrier's as north/1, a customer's by its number")
    ] = ""
    account: Annotated[str, Meta(max_length=64, description="all its SMPP binds")] = ""
    number: Annotated[str, Meta(max_length=64, description="PDUs that name it, and their answers")] = ""
    command: Annotated[
        str, Meta(max_length=512, description="names with commas; a request's means its answers, too")
    ] = ""
    status: Annotated[str, Meta(max_length=512, description="answers with these, names or numbers")] = ""
    errors: Annotated[bool, Meta(description="only answers that refuse")] = False
    direction: Annotated[Literal["", "in", "out"], Meta(description="as the gateway sees it")] = ""
    for_s: Annotated[float, Meta(ge=1, le=MOST_S, description="it ends after so long")] = 60
    text: Annotated[bool, Meta(description="with texts, which needs messages.text")] = False


class TraceState(msgspec.Struct):
    """How a trace is. `dropped`: PDUs that were too many to look at; `ended`: why, empty while it runs."""

    dropped: int
    waiting: int
    sessions: int
    left_s: float
    ended: str


QUEUES = Endpoint(
    method="GET",
    path="/v1/queues",
    id="listQueues",
    tag="Operations",
    summary="What waits, by lane, priority and account, and why it does not move",
    access="queues.read",
    query=QueuesQuery,
    answers={200: Answer(QueuesOut, "As it is now; depths are counted up to 1,000 each, or exact")},
    problems=("operator-key-needed",),
)
HEALTH = Endpoint(
    method="GET",
    path="/v1/health",
    id="getProblems",
    tag="Operations",
    summary="What is wrong, the worst first",
    description="Always 200, for programs that read it; /readyz tells a load balancer.",
    access="queues.read",
    answers={200: Answer(HealthOut, "As it is now")},
    problems=("operator-key-needed",),
)
TOP = Endpoint(
    method="GET",
    path="/v1/top",
    id="getTop",
    tag="Operations",
    summary="What passes a second: carriers and accounts by rate, queue and errors; problems first",
    description="Read once a second for all who ask. `accounts` is null for a key without accounts.read, "
    "`problems` is empty for one without queues.read.",
    access="carriers.read",
    query=TopQuery,
    answers={200: Answer(Snapshot, "As it is now")},
    problems=("operator-key-needed",),
)
TRACE = Endpoint(
    method="GET",
    path="/v1/trace",
    id="trace",
    tag="Operations",
    summary="PDUs of a carrier, a bind, an account or a number, as they pass",
    description=(
        "One JSON object a line, for as long as the trace lasts: a TraceRecord for each PDU, and once a "
        "second a TraceState; the last line has `ended`. Say one of `carrier`, `bind` and `account`, or only "
        "a `number`. Texts come with `text=true` and messages.text, and are told to the audit trail, as is "
        "each trace; numbers are masked without messages.numbers; passwords are never shown. A trace slows "
        "nothing down: what passes too fast to be looked at is counted in `dropped`."
    ),
    access="binds.read",
    query=TraceQuery,
    answers={200: Answer(bytes, "A line for each PDU", None, "application/x-ndjson")},
    problems=("operator-key-needed", "nothing-to-trace", "too-many-traces"),
)

ENDPOINTS = (QUEUES, HEALTH, TOP, TRACE)
