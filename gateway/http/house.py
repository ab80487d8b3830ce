"""The endpoints of the house itself: what there is, alive, ready, metrics.

/healthz says that the process serves; /readyz that it takes messages now, or else why not. While no carrier
is bound they are taken, and wait, as /v1/health says. Neither these nor /metrics need a key, so bind them
where only operators reach them.

Deliberately not here: what makes it ready and what is measured: both are callables from the gateway.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.http.problems import Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.table import house as table

Ready = Callable[[], str]  # why not; "" = ready
Metrics = Callable[[], tuple[str, bytes]]  # (content type, exposition)

_JSON: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
_TEXT: Headers = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))
LINKS = {
    "submit": "/v1/messages",
    "batch": "/v1/messages/batch",
    "stream": "/v1/messages/stream",
    "mos": "/v1/mos",
    "queues": "/v1/queues",
    "preview": "/v1/preview",
    "explain": "/v1/routes/explain",
    "accounts": "/v1/accounts",
    "keys": "/v1/keys",
    "carriers": "/v1/carriers",
    "events": "/v1/events",
    "health": "/healthz",
    "ready": "/readyz",
    "metrics": "/metrics",
    "openapi": "/openapi.json",
    "docs": "/docs",
}


def add_house(routes: Routes, *, ready: Ready, metrics: Metrics) -> None:
    """Put /, /healthz, /readyz and /metrics into a table."""
    index = msgspec.json.encode({"name": "Signalbox", "links": LINKS})

    def show_index(request: Request, respond: Respond) -> None:
        respond(200, _JSON, index)

    def healthz(request: Request, respond: Respond) -> None:
        respond(200, _TEXT, b"ok\n")

    def readyz(request: Request, respond: Respond) -> None:
        why = ready()
        if why:
            respond(503, (*_TEXT, ("Retry-After", "1")), f"{why}\n".encode())
        else:
            respond(200, _TEXT, b"ready\n")

    def show_metrics(request: Request, respond: Respond) -> None:
        kind, text = metrics()
        respond(200, (("Content-Type", kind),), text)

    routes.serve(table.INDEX, show_index)
    routes.serve(table.HEALTH, healthz)
    routes.serve(table.READY, readyz)
    routes.serve(table.METRICS, show_metrics)
