"""The endpoints that tell operators what waits, and what is wrong."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.figures import Snapshot
from gateway.http.endpoint import Answer, Endpoint
from gateway.overview import LaneView, Trouble


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


QUEUES = Endpoint(
    method="GET",
    path="/v1/queues",
    id="listQueues",
    tag="Operations",
    summary="What waits, by lane, priority and account, and why it does not move",
    access="queues.read",
    query=QueuesQuery,
    answers={200: Answer(QueuesOut, "As it is now; depths are counted up to 1,000 each")},
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

ENDPOINTS = (QUEUES, HEALTH, TOP)
