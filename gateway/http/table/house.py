"""The endpoints of the house itself: what there is, alive, ready, metrics."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.http.endpoint import Answer, Endpoint
from router.roles import PUBLIC


class IndexOut(msgspec.Struct):
    name: str
    links: dict[str, str]


_TEXT = "text/plain"

INDEX = Endpoint(
    method="GET",
    path="/",
    id="getIndex",
    tag="House",
    summary="What there is",
    access=PUBLIC,
    answers={200: Answer(IndexOut, "Names and paths")},
)
HEALTH = Endpoint(
    method="GET",
    path="/healthz",
    id="getHealth",
    tag="House",
    summary="Whether the process serves",
    access=PUBLIC,
    answers={200: Answer(bytes, "It does", "ok\n", _TEXT)},
)
READY = Endpoint(
    method="GET",
    path="/readyz",
    id="getReadiness",
    tag="House",
    summary="Whether messages are taken",
    access=PUBLIC,
    answers={
        200: Answer(bytes, "They are", "ready\n", _TEXT),
        503: Answer(bytes, "They are not, and why", "shutting down\n", _TEXT),
    },
)
METRICS = Endpoint(
    method="GET",
    path="/metrics",
    id="getMetrics",
    tag="House",
    summary="Figures for Prometheus",
    access=PUBLIC,
    answers={200: Answer(bytes, "The exposition format", None, _TEXT)},
)
OPENAPI = Endpoint(
    method="GET",
    path="/openapi.json",
    id="getOpenapi",
    tag="House",
    summary="This API as an OpenAPI 3.1 document",
    access=PUBLIC,
    answers={
        200: Answer(dict[str, Any], "The document", headers=("ETag",)),
        304: Answer(None, "It is what If-None-Match says", headers=("ETag",)),
    },
)
DOCS = Endpoint(
    method="GET",
    path="/docs",
    id="getDocs",
    tag="House",
    summary="The same as a page",
    access=PUBLIC,
    answers={
        200: Answer(bytes, "HTML", media="text/html", headers=("ETag",)),
        304: Answer(None, "It is what If-None-Match says", headers=("ETag",)),
    },
)
DOCS_STYLE = Endpoint(
    method="GET",
    path="/docs/style.css",
    id="getDocsStyle",
    tag="House",
    summary="How that page looks",
    access=PUBLIC,
    answers={
        200: Answer(bytes, "CSS", media="text/css", headers=("ETag",)),
        304: Answer(None, "It is what If-None-Match says", headers=("ETag",)),
    },
)

ENDPOINTS = (INDEX, HEALTH, READY, METRICS, OPENAPI, DOCS, DOCS_STYLE)
