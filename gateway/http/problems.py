"""Errors as application/problem+json (RFC 9457): what is wrong, and what to do about it.

A problem's `type` is `urn:signalbox:problem:<code>`; the codes are stable and listed in docs/http-api.md.
`errors` names each offending field with what is allowed there.

Deliberately not here: which problem applies (the callers know), tracebacks (the log has them).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

Headers = Sequence[tuple[str, str]]

PROBLEM_HEADERS: Headers = (("Content-Type", "application/problem+json"), ("Cache-Control", "no-store"))
TYPE = "urn:signalbox:problem:"


class FieldError(msgspec.Struct, frozen=True):
    """One field of the request that cannot be taken. `detail` says what is allowed."""

    field: str
    detail: str


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of an error answer, RFC 9457 section 3.1."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    errors: Sequence[FieldError] = ()


class BadRequest(Exception):
    """A request that is refused before it reaches a handler's subject; becomes a problem answer."""

    def __init__(
        self, status: int, code: str, detail: str, errors: Sequence[FieldError] = (), headers: Headers = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers

    def answer(self, instance: str = "") -> tuple[int, Headers, bytes]:
        """Arguments for `respond`."""
        body = problem_json(self.status, self.code, self.detail, instance, self.errors)
        return self.status, (*PROBLEM_HEADERS, *self.headers), body


def problem(
    status: int, code: str, detail: str, instance: str = "", errors: Sequence[FieldError] = ()
) -> Problem:
    """A problem whose title is its code in words."""
    return Problem(TYPE + code, code.replace("-", " ").capitalize(), status, detail, instance, errors)


def problem_json(
    status: int, code: str, detail: str, instance: str = "", errors: Sequence[FieldError] = ()
) -> bytes:
    """The same, rendered."""
    return msgspec.json.encode(problem(status, code, detail, instance, errors))
