"""The endpoints that tell operators what waits, and what is wrong."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

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

ENDPOINTS = (QUEUES, HEALTH)
