"""The endpoints of the house itself: what there is, alive, ready, metrics.

/healthz says that the process serves; /readyz that it takes messages now, or else why not; both and
/metrics need no key, so bind them where only operators reach them.

Deliberately not here: what makes it ready and what is measured: both are callables from the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes

Ready = Callable[[], Sequence[str]]  # why not; empty = ready
Metrics = Callable[[], tuple[str, bytes]]  # (content type, exposition)

_JSON: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
_LINKS = {
    "messages": "/v1/messages",
    "batch": "/v1/messages/batch",
    "message": "/v1/messages/{id}",
    "accounts": "/v1/accounts",
    "carriers": "/v1/carriers",
    "events": "/v1/events",
    "health": "/healthz",
    "ready": "/readyz",
    "metrics": "/metrics",
}


def add_house(routes: Routes, *, ready: Ready, metrics: Metrics, version: str) -> None:
    """Put /, /healthz, /readyz and /metrics into a table."""
    index = msgspec.json.encode({"name": "signalbox", "version": version, "links": _LINKS})

    def show_index(request: Request, respond: Respond) -> None:
        respond(200, _JSON, index)

    def healthz(request: Request, respond: Respond) -> None:
        respond(200, _JSON, b'{"status":"ok"}')

    def readyz(request: Request, respond: Respond) -> None:
        reasons = list(ready())
        if reasons:
            refusal = BadRequest(503, "not-ready", "; ".join(reasons), headers=(("Retry-After", "1"),))
            respond(*refusal.answer(request.path))
        else:
            respond(200, _JSON, b'{"status":"ready"}')

    def show_metrics(request: Request, respond: Respond) -> None:
        kind, text = metrics()
        respond(200, (("Content-Type", kind),), text)

    routes.add("GET", "/", show_index)
    routes.add("GET", "/healthz", healthz)
    routes.add("GET", "/readyz", readyz)
    routes.add("GET", "/metrics", show_metrics)
