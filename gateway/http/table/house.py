"""The endpoints of the house itself: what there is, alive, ready, metrics."""

from __future__ import annotations

import msgspec

from gateway.http.endpoint import Answer, Endpoint


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
    answers={200: Answer(IndexOut, "Names and paths")},
)
HEALTH = Endpoint(
    method="GET",
    path="/healthz",
    id="getHealth",
    tag="House",
    summary="Whether the process serves",
    answers={200: Answer(bytes, "It does", "ok\n", _TEXT)},
)
READY = Endpoint(
    method="GET",
    path="/readyz",
    id="getReadiness",
    tag="House",
    summary="Whether messages are taken",
    answers={
        200: Answer(bytes, "They are", "ready\n", _TEXT),
        503: Answer(bytes, "They are not, and why", "no carrier is bound\n", _TEXT),
    },
)
METRICS = Endpoint(
    method="GET",
    path="/metrics",
    id="getMetrics",
    tag="House",
    summary="Figures for Prometheus",
    answers={200: Answer(bytes, "The exposition format", None, _TEXT)},
)

ENDPOINTS = (INDEX, HEALTH, READY, METRICS)
