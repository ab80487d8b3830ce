"""The OpenAPI 3.1 document, made of the table of endpoints and the types that they name.

Every answer is in it: the good ones as declared, problems by status with the codes that may come. Types are
described by msgspec (JSON Schema 2020-12), so that what is told is what is checked.

Deliberately not here: the table (gateway.http.table), serving it (documents.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.audit import LONGEST_REASON
from gateway.http.codes import CODES
from gateway.http.endpoint import Answer, Endpoint
from gateway.http.fields import ALLOWED
from gateway.http.problems import TYPE, Problem
from gateway.http.table.messages import ANSWERED_ALONG
from router.roles import PUBLIC, SCOPES

PROBLEM = "application/problem+json"
NDJSON = "application/x-ndjson"
_REFS = "#/components/schemas/{name}"
_KEY = "key"

HEADERS: Mapping[str, tuple[str, Any]] = {
    "Allow": ("the methods that go", "GET, HEAD, OPTIONS"),
    "ETag": ("what If-None-Match takes", '"5c0ffee5"'),
    "Link": ('the next page, as rel="next"', '</v1/accounts?limit=50&cursor=c2hvcA>; rel="next"'),
    "Location": ("where what was made is shown", "/v1/messages/4611686018427387905"),
    "RateLimit": ("what is left of the account's tps: r submits, t seconds to more", '"tps";r=49;t=1'),
    "RateLimit-Policy": ("the account's tps, where it has one: q submits in w seconds", '"tps";q=50;w=1'),
    "Retry-After": ("seconds to wait before the next attempt", 1),
    "traceresponse": (
        "where the request had a good traceparent: the same trace, and the message's span in it",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    "WWW-Authenticate": ("how to authenticate", 'Bearer realm="signalbox"'),
}
_OF_PROBLEMS = {
    401: ("WWW-Authenticate",),
    402: ("Retry-After",),
    409: ("Retry-After",),
    429: ("Retry-After", "RateLimit-Policy", "RateLimit"),
    503: ("Retry-After",),
}

_OF_A_MESSAGE = frozenset({"MessageIn", "PreviewIn", "ExplainIn"})

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "new for each request, the same when one is repeated: it is then carried out once",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
_AUDIT_REASON = {
    "name": "Audit-Reason",
    "in": "header",
    "description": "why it is done, for the audit trail",
    "schema": {"type": "string", "maxLength": LONGEST_REASON, "pattern": "^[ -~]*$"},
    "example": "their maintenance",
}


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """Plain JSON values."""
    shapes = _Shapes(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, shapes)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Signalbox",
            "version": version,
            "summary": "A self-hosted SMPP gateway with a durable queue",
            "description": (
                "Times are RFC 3339 in UTC with milliseconds, ids are decimal numbers as text. Errors are "
                "problems (RFC 9457) that name each wrong field. Lists have pages: follow `next`, or the "
                "header Link, until it is null."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(one.tag for one in endpoints)],
        "paths": paths,
        "components": {
            "schemas": shapes.components,
            "responses": shapes.responses,
            "securitySchemes": {
                _KEY: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "sbk_… of an account (`signalbox account create`), sbo_… of an operator "
                    "(`signalbox operator create`). An endpoint names the scope that the key must have.",
                }
            },
            "headers": {
                name: {"description": what, "schema": _header_schema(example), "example": example}
                for name, (what, example) in HEADERS.items()
            },
        },
    }


class _Shapes:
    """Schemas of all types that the endpoints name; `of` is the one of a type."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        types: list[Any] = [*ANSWERED_ALONG]
        for one in endpoints:
            types += [one.body] if one.body not in (None, bytes) else []
            types += [answer.type for answer in one.answers.values() if answer.type not in (None, bytes)]
        schemas, self.components = msgspec.json.schema_components(types, ref_template=_REFS)
        self._of = list(zip(types, schemas, strict=True))
        self.responses: dict[str, dict[str, Any]] = {}
        for name, one in self.components.items():
            _tidy(one)
            if name in _OF_A_MESSAGE:
                for field, schema in one["properties"].items():
                    schema.setdefault("description", ALLOWED.get(field, ""))

    def of(self, wanted: Any) -> dict[str, Any]:
        return next(schema for known, schema in self._of if known is wanted)

    def shared(self, status: int, response: dict[str, Any]) -> dict[str, Any]:
        """A response that others have, too, by its name."""
        same = (name for name, known in self.responses.items() if known == response)
        name = next(same, f"Problem{status}_{len(self.responses)}")
        self.responses[name] = response
        return {"$ref": f"#/components/responses/{name}"}


def _tidy(schema: Any) -> None:
    """Without defaults of None, which mean leaving out; with patterns that are not only Python's."""
    if isinstance(schema, dict):
        if schema.get("default", 0) is None:
            del schema["default"]
        if isinstance(pattern := schema.get("pattern"), str):
            schema["pattern"] = pattern.replace(r"\Z", "$")
    for one in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _tidy(one)


def _operation(one: Endpoint, shapes: _Shapes) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": one.id,
        "tags": [one.tag],
        "summary": one.summary,
        "responses": _responses(one, shapes),
    }
    if one.description:
        told["description"] = one.description
    if one.access != PUBLIC:
        told["security"] = [{_KEY: [one.access]}]
        told["x-scope"] = {"name": one.access, "allows": SCOPES[one.access]}
    parameters = [*_path_parameters(one), *_query_parameters(one)]
    if one.idempotency:
        parameters.append({**_IDEMPOTENCY_KEY, "required": one.idempotency in ("must", "must-kept")})
    if one.audited:
        parameters.append(_AUDIT_REASON)
    if parameters:
        told["parameters"] = parameters
    if one.body is not None:
        media: dict[str, Any] = {"schema": _body_schema(one, shapes)}
        if one.example is not None:
            media["example"] = one.example
        told["requestBody"] = {"content": {one.body_media: media}, "required": not one.body_may_be_empty}
    return told


def _body_schema(one: Endpoint, shapes: _Shapes) -> dict[str, Any]:
    """Lines of a type are text to those who look at the whole body."""
    if one.body is bytes:
        return {"type": "string"}
    schema = shapes.of(one.body)
    if one.body_media != NDJSON:
        return schema
    return {"type": "string", "description": f"one a line: {_name(schema)}"}


def _name(schema: Mapping[str, Any]) -> str:
    """The name of a type."""
    return str(schema.get("$ref", schema.get("type", "value"))).rpartition("/")[2]


def _path_parameters(one: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": what,
            "schema": {"type": "string", "minLength": 1},
        }
        for name, what in one.params.items()
    ]


def _query_parameters(one: Endpoint) -> list[dict[str, Any]]:
    if one.query is None:
        return []
    (_,), components = msgspec.json.schema_components([one.query], ref_template=_REFS)
    (shape,) = components.values()
    required = shape.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in shape["properties"].items()
    ]


def _responses(one: Endpoint, shapes: _Shapes) -> dict[str, Any]:
    told: dict[str, Any] = {str(status): _good(answer, shapes) for status, answer in one.answers.items()}
    by_status: dict[int, list[str]] = {}
    for code in one.codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        problem = _problem(status, codes)
        if str(status) in told:  # as /readyz, whose 503 is no problem
            told[str(status)]["content"] |= problem["content"]
        else:
            told[str(status)] = shapes.shared(status, problem)
    return told


def _good(answer: Answer, shapes: _Shapes) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.description}
    if answer.type is not None:
        schema = {"type": "string"} if answer.type is bytes else shapes.of(answer.type)
        media: dict[str, Any] = {"schema": schema}
        if answer.example is not None:
            media["example"] = answer.example
        told["content"] = {answer.media: media}
    if answer.headers:
        told["headers"] = _headers(answer.headers)
    return told


def _problem(status: int, codes: Sequence[str]) -> dict[str, Any]:
    """An answer that is refused so; its `type` is one of these."""
    first = codes[0]
    names = ", ".join(f"`{code}`" for code in codes)
    example = {
        "type": TYPE + first,
        "title": first.replace("-", " ").capitalize(),
        "status": status,
        "detail": "…",
    }
    told: dict[str, Any] = {
        "description": f"{names}: {CODES[first].todo}",
        "content": {
            PROBLEM: {
                "schema": {
                    "allOf": [{"$ref": _REFS.format(name=Problem.__name__)}],
                    "properties": {"type": {"enum": [TYPE + code for code in codes]}},
                },
                "example": example,
            }
        },
    }
    if status in _OF_PROBLEMS:
        told["headers"] = _headers(_OF_PROBLEMS[status])
    return told


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _header_schema(example: object) -> dict[str, str]:
    return {"type": "integer" if isinstance(example, int) else "string"}
