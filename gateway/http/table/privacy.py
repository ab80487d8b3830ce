"""The endpoint of privacy: everything that is kept about one number.

Erasing a number is an act (`POST /v1/acts/privacy.erase`).

Deliberately not here: what is told of each kind (gateway.privacy).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.http.endpoint import Answer, Endpoint
from gateway.http.problems import Problem

Spelling = Annotated[str, Meta(min_length=3, max_length=20, pattern="^[+0-9]+$")]


class NumberIn(msgspec.Struct, forbid_unknown_fields=True):
    """One number."""

    number: Annotated[str, Meta(min_length=3, max_length=40, description="a number, with its country code")]
    also: Annotated[
        tuple[Spelling, ...],
        Meta(max_length=10, description="further spellings that carriers may have used, as a national form"),
    ] = ()


class End(msgspec.Struct, tag="end", tag_field="kind", omit_defaults=True):
    """The last line of an export; with a problem: it could not begin."""

    records: int
    problem: Problem | None = None


EXPORT = Endpoint(
    method="POST",
    path="/v1/privacy/export",
    id="exportNumber",
    tag="Privacy",
    summary="Everything that is kept about a number, streamed",
    description=(
        "As recipient or sender: messages with their timelines, also archived ones, inbound messages, "
        "receipts, events, call detail records, entries of the audit trail. One JSON object a line, what it "
        'is in `kind`; the last line is `{"kind": "end", "records": N}`, with a `problem` where the body was '
        "not understood. A connection that ends without it has not sent all. The audit trail hears of it, "
        "without the number."
    ),
    access="store.write",
    body=NumberIn,
    example={"number": "+447700900123"},
    answers={200: Answer(bytes, "A line for each record, and a last one", None, "application/x-ndjson")},
    problems=("operator-key-needed", "invalid-fields", "too-many-questions", "search-unavailable"),
    audited=True,
)

ENDPOINTS = (EXPORT,)
