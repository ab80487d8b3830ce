"""An ASGI application (asgi.readthedocs.io, HTTP 3.0 scope) below a prefix of our own HTTP server.

For pages that people look at: the request is whole before the application is called, and its answer is whole
before it is sent. What streams goes past it (streams.py).

Invariants: an application that breaks before it answered gets its request answered with 500; nothing that it
says of the length or the date of its answer is believed, the server says both.

Deliberately not here: websockets, lifespan, answers of unbounded length.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.http.problems import BadRequest
from gateway.http.request import Request
from gateway.http.routes import AsyncHandler, Respond

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_OURS = frozenset({"content-length", "date", "connection", "transfer-encoding"})


def mounted(application: Application, prefix: str) -> AsyncHandler:
    """A handler for `routes.mount(prefix, …)`; the application sees `prefix` as its root_path."""

    async def handle(request: Request, respond: Respond) -> None:
        asked = iter([{"type": "http.request", "body": request.body, "more_body": False}])
        status, headers, body = 0, [], bytearray()

        async def receive() -> Message:
            return next(asked, {"type": "http.disconnect"})

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers.extend(_headers(message.get("headers", ())))
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))

        await application(_scope(request, prefix), receive, send)
        if status:
            respond(status, headers, bytes(body))
        else:
            respond(*BadRequest(500, "internal", "this page gave no answer").answer(request.path))

    return handle


def _scope(request: Request, prefix: str) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https" if request.secure else "http",
        "path": request.path,
        "raw_path": request.path.encode("utf-8", "surrogateescape"),
        "query_string": request.query.encode("latin-1"),
        "root_path": prefix,
        "headers": list(request.headers.items()),
        "client": (request.peer, 0),
        "server": None,
        "state": {},
    }


def _headers(raw: Any) -> list[tuple[str, str]]:
    decoded = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in raw]
    return [(name, value) for name, value in decoded if name.lower() not in _OURS]
