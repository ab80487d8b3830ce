"""What the API says of itself: /openapi.json, and the same as a page for people at /docs.

Both are made once, when first asked for, of what the routes serve, and are the same bytes from then on, with
an ETag. The page is whole without scripts; its style is ours; nothing is fetched from anywhere else, and its
Content-Security-Policy says so.

Deliberately not here: the document (openapi.py), the page's words (pages/docs.html).
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.http.openapi import document
from gateway.http.problems import Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.table import house as table

PAGES = Path(__file__).parent / "pages"
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_OF_PAGES: Headers = (
    ("Content-Security-Policy", CSP),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_HTML = "text/html; charset=utf-8"
_CSS = "text/css; charset=utf-8"


def add_documents(routes: Routes, version: str) -> None:
    """Put /openapi.json and /docs into a table, of all that it serves when they are first asked for."""
    said = _Once(lambda: document(routes.served, version))
    routes.serve(table.OPENAPI, _Kept("application/json", lambda: msgspec.json.encode(said())).answer)
    routes.serve(table.DOCS, _Kept(_HTML, lambda: page(said()), _OF_PAGES).answer)
    routes.serve(table.DOCS_STYLE, _Kept(_CSS, (PAGES / "docs.css").read_bytes, _OF_PAGES).answer)


class _Once:
    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._made: dict[str, Any] | None = None

    def __call__(self) -> dict[str, Any]:
        if self._made is None:
            self._made = self._make()
        return self._made


class _Kept:
    """Bytes that are made once."""

    def __init__(self, kind: str, make: Callable[[], bytes], headers: Headers = ()) -> None:
        self._kind = kind
        self._make = make
        self._more = headers
        self._body = b""
        self._headers: Headers = ()

    def answer(self, request: Request, respond: Respond) -> None:
        if not self._body:
            self._body = self._make()
            tag = f'"{hashlib.sha256(self._body).hexdigest()[:16]}"'
            self._headers = (("ETag", tag), ("Cache-Control", "no-cache"), *self._more)
        known = request.headers.get(b"if-none-match", b"").decode("latin-1")
        if any(one.strip().removeprefix("W/") in ("*", self._headers[0][1]) for one in known.split(",")):
            respond(304, self._headers, b"")
            return
        respond(200, (("Content-Type", self._kind), *self._headers), self._body)


def page(said: Mapping[str, Any]) -> bytes:
    """The document as HTML."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"json": _json, "kind": kind}
    parts = said["components"]
    return (
        environment.get_template("docs.html")
        .render(
            info=said["info"],
            tags=[(tag["name"], list(_under(said, tag["name"]))) for tag in said["tags"]],
            schemas=parts["schemas"],
            headers=parts["headers"],
            security=parts["securitySchemes"],
        )
        .encode()
    )


def _under(said: Mapping[str, Any], tag: str) -> Any:
    for path, methods in said["paths"].items():
        for method, one in methods.items():
            if tag in one["tags"]:
                yield {
                    **one,
                    "method": method.upper(),
                    "path": path,
                    "answers": {
                        status: _resolved(said, answer) for status, answer in one["responses"].items()
                    },
                    "body": next(iter(one.get("requestBody", {}).get("content", {}).items()), None),
                    "curl": curl(method.upper(), path, one),
                }


def _resolved(said: Mapping[str, Any], one: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in one:
        return one
    found: Any = said
    for step in one["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def curl(method: str, path: str, one: Mapping[str, Any]) -> str:
    """The request on a command line, with $URL and $KEY, and $NAME for a parameter {name} of the path."""
    path = re.sub(r"\{(\w+)\}", lambda found: "$" + found[1].upper(), path)
    lines = [f'curl "$URL{path}"']
    content: Mapping[str, Any] = one.get("requestBody", {}).get("content", {})
    media = next(iter(content), "")
    body = content.get(media, {})
    has_body = "example" in body
    if method not in ("GET", "POST") or (method == "POST" and not has_body):
        lines[0] = f'curl -X {method} "$URL{path}"'
    if "security" in one:
        lines.append('-H "Authorization: Bearer $KEY"')
    if any(given["name"] == "Idempotency-Key" for given in one.get("parameters", ())):
        lines.append('-H "Idempotency-Key: $(uuidgen)"')
    if has_body:
        example = body["example"]
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
        lines += [f'-H "Content-Type: {media}"', f"-d {shlex.quote(text)}"]
    return " \\\n  ".join(lines)


def kind(schema: Mapping[str, Any]) -> str:
    """What a schema asks for, in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for how in ("anyOf", "oneOf", "allOf"):
        if how in schema:
            return " or ".join(dict.fromkeys(kind(one) for one in schema[how]))
    if "enum" in schema:
        return ", ".join(str(one) for one in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    found = schema.get("type", "anything")
    if found == "array":
        return f"list of {kind(schema.get('items', {}))}{_bounds(schema)}"
    if found == "object" and "additionalProperties" in schema and schema["additionalProperties"]:
        return f"object of {kind(schema['additionalProperties'])}"
    return f"{schema.get('format', found)}{_bounds(schema)}"


def _bounds(schema: Mapping[str, Any]) -> str:
    for low, high in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        if low in schema and high in schema:
            return f" ({schema[low]} to {schema[high]})"
        if low in schema or high in schema:
            return f" (at least {schema[low]})" if low in schema else f" (at most {schema[high]})"
    return ""


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
