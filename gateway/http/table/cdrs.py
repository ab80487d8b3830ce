"""The endpoint of call detail records."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.cdr_lines import COLUMNS
from gateway.http.endpoint import Answer, Endpoint
from gateway.http.fields import Instant
from gateway.http.table.types import Cursor, Next

PAGE = 100
MOST_OF_A_PAGE = 1_000


class CdrsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Times are of the record: since <= at < until."""

    since: Instant | None = None
    until: Instant | None = None
    account: Annotated[str, Meta(max_length=64, description="for operators")] = ""
    carrier: Annotated[str, Meta(max_length=64, description="for operators")] = ""
    to: Annotated[str, Meta(max_length=20, pattern="^[0-9]*$", description="how the number begins")] = ""
    message_id: Annotated[str, Meta(max_length=20, pattern="^[0-9]*$")] = ""
    type: Literal["", "attempt", "final"] = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


Record = Annotated[
    dict[str, Any],
    Meta(
        description="as in the files; carriers and what they cost only for operators",
        extra_json_schema={"properties": {name: {} for name in COLUMNS}},
    ),
]


class CdrsOut(msgspec.Struct):
    """Oldest first. A page may be short, or empty, and still have a `next`: a look has an end."""

    cdrs: list[Record]
    next: Next


CDRS = Endpoint(
    method="GET",
    path="/v1/cdrs",
    id="listCdrs",
    tag="Money",
    summary="Records of attempts and of final states",
    description="An account's key gets the final ones of its own messages, without carriers.",
    access="balance.read",
    query=CdrsQuery,
    answers={200: Answer(CdrsOut, "A page of records", headers=("Link",))},
    problems=("scope-needed", "no-such-account", "too-many-questions"),
)

ENDPOINTS = (CDRS,)
