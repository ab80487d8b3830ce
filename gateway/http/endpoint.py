"""What the API says of one endpoint: the type of the table's entries (gateway.http.table).

An entry is said once and used by everybody: Routes serve it, the OpenAPI document and /docs describe it, keys
are checked against its `access`, tests hold answers to it. Types are the msgspec types that validate; the
entry only points to them, so that it costs nothing while requests are answered.

Deliberately not here: handlers, the document (openapi.py), what problems mean (codes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from router.roles import PUBLIC

JSON = "application/json"

# Problems that any request can meet before its endpoint is asked, and those that come with what it declares.
OF_ANY = (
    "bad-request", "timeout", "target-too-long", "header-too-large", "too-many-headers", "expectation",
    "transfer-encoding", "http-version", "too-many-connections", "internal",
)  # fmt: skip
OF_A_KEY = ("not-authenticated", "scope-needed", "too-many-failures")
OF_A_BODY = (
    "malformed-json",
    "not-json",
    "invalid-fields",
    "body-too-large",
    "content-encoding",
    "bad-chunk",
    "bad-gzip",
)
OF_A_QUERY = ("invalid-fields",)
OF_AN_IDEMPOTENCY_KEY = (
    "idempotency-key-needed", "idempotency-key-reused", "still-running", "already-done",
)  # fmt: skip


class Answer(msgspec.Struct, frozen=True):
    """One good answer. `type`: what its body decodes as; None: there is no body, bytes: it is no JSON."""

    type: Any
    description: str
    example: Any = None
    media: str = JSON
    headers: tuple[str, ...] = ()  # of openapi.HEADERS


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is the operation's name, as clients call it; `tag` the heading it stands under.

    `problems` are the codes beyond those that follow from the rest (`codes`). `params` explains parameters of
    the path. `idempotency`: whether an Idempotency-Key is taken, or must be there; "kept" and "told-once":
    it is taken by repeatable.py, the handler knows nothing of it.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    id: str
    tag: str
    summary: str
    access: str  # a scope of router.roles, or PUBLIC
    description: str = ""
    query: type[msgspec.Struct] | None = None
    body: Any = None
    body_media: str = JSON
    body_may_be_empty: bool = False
    example: Any = None  # of a body
    params: Mapping[str, str] = {}
    answers: Mapping[int, Answer]
    problems: tuple[str, ...] = ()
    idempotency: Literal["", "may", "must", "kept", "must-kept", "told-once"] = ""
    shows_text: bool = False  # of messages, to people of the house, too: each view is in the audit trail
    audited: bool = False  # a change by an operator: takes a header Audit-Reason

    @property
    def codes(self) -> tuple[str, ...]:
        """Every problem it can answer."""
        found = [*OF_ANY, *self.problems]
        if self.access != PUBLIC:
            found += OF_A_KEY
        if self.body is not None:
            found += OF_A_BODY
        if self.query is not None or self.audited:
            found += OF_A_QUERY
        if self.idempotency:
            found += OF_AN_IDEMPOTENCY_KEY
        return tuple(dict.fromkeys(found))
