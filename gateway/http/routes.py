"""Which handler answers which method and path.

Paths are exact (`/healthz`), have one-segment parameters (`/v1/messages/{id}`), or are a mounted prefix
(`mount("/console", handler)` takes the prefix and all below). Exact beats parameters beats prefix. HEAD is
answered by GET's handler. The pattern itself is the endpoint's name in metrics: a closed set.

What the API declares (gateway.http.table) is put in by `serve`, which lets in only whom it declares; `add` is
for what is no part of it.

Deliberately not here: HTTP parsing, whom a key lets in (access.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from gateway.http.problems import BadRequest
from router.roles import PUBLIC

if TYPE_CHECKING:
    from gateway.http.endpoint import Endpoint
    from gateway.http.request import Request
    from gateway.http.streams import Opener

from gateway.http.problems import Headers

Respond = Callable[[int, Headers, bytes], None]
SyncHandler = Callable[["Request", Respond], None]
AsyncHandler = Callable[["Request", Respond], Awaitable[None]]
Handler: TypeAlias = "SyncHandler | AsyncHandler | Streaming"
Guard: TypeAlias = "Callable[[Endpoint, Handler], Handler]"

ANY = "*"


class Streaming(NamedTuple):
    """Serve an endpoint with this: it gets its body piece by piece (streams.py). `headers`: its answer's."""

    open: Opener
    headers: Headers


class Found:
    """A resolved route: exactly one of `handler`, `slow` and `streaming` is set."""

    __slots__ = ("endpoint", "handler", "params", "slow", "streaming")

    def __init__(self, handler: Handler, endpoint: str, params: dict[str, str]) -> None:
        self.handler: SyncHandler | None = None
        self.slow: AsyncHandler | None = None
        self.streaming: Streaming | None = None
        if isinstance(handler, Streaming):
            self.streaming = handler
        elif inspect.iscoroutinefunction(handler):
            self.slow = handler
        else:
            self.handler = cast(SyncHandler, handler)
        self.endpoint = endpoint
        self.params = params


class Routes:
    """The table. Fill it before the server starts."""

    def __init__(self, guard: Guard | None = None) -> None:
        """`guard` puts the handler of what needs a key behind the question for it (access.py)."""
        self._guard = guard
        self.served: list[Endpoint] = []  # what was declared, in the order it was put in
        self._exact: dict[str, dict[str, Handler]] = {}
        self._patterns: list[tuple[str, tuple[str, ...], dict[str, Handler]]] = []
        self._mounts: list[tuple[str, Handler]] = []

    def serve(self, endpoint: Endpoint, handler: Handler) -> None:
        """Answer what the table declares with its handler, for whom it declares.

        Errors: ValueError where it needs a key, and there is no guard who asks for it.
        """
        if self._guard is not None:
            handler = self._guard(endpoint, handler)
        elif endpoint.access != PUBLIC:
            raise ValueError(f"{endpoint.id} needs a key, and nobody asks for it: Routes(Access(keys).guard)")
        self.served.append(endpoint)
        self.add(endpoint.method, endpoint.path, handler)

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Answer `method path` with a handler: plain `(request, respond)`, or async for slow endpoints."""
        if "{" not in path:
            self._exact.setdefault(path, {})[method] = handler
            return
        segments = tuple(path.split("/"))
        for known, _, methods in self._patterns:
            if known == path:
                methods[method] = handler
                return
        self._patterns.append((path, segments, {method: handler}))

    def mount(self, prefix: str, handler: Handler) -> None:
        """Answer every method on `prefix` and every path below it."""
        self._mounts.append((prefix.rstrip("/"), handler))
        self._mounts.sort(key=lambda mount: -len(mount[0]))

    def find(self, method: str, path: str) -> Found:
        """The handler; where there is none, one that answers 404 or 405."""
        methods = self._exact.get(path)
        if methods is not None:
            return self._chosen(method, path, methods, {})
        segments = path.split("/")
        for pattern, wanted, methods in self._patterns:
            params = _match(wanted, segments)
            if params is not None:
                return self._chosen(method, pattern, methods, params)
        for prefix, handler in self._mounts:
            if path == prefix or path.startswith(prefix + "/"):
                return Found(handler, (prefix or "") + "/*", {})
        return Found(_not_found, "unknown", {})

    def _chosen(
        self, method: str, endpoint: str, methods: dict[str, Handler], params: dict[str, str]
    ) -> Found:
        handler = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
        if handler is None:
            allowed = sorted({*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS"})
            return Found(_only(allowed), endpoint, params)
        return Found(handler, endpoint, params)


def _match(wanted: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    if len(wanted) != len(segments):
        return None
    params: dict[str, str] = {}
    for want, have in zip(wanted, segments, strict=True):
        if want.startswith("{"):
            if not have:
                return None
            params[want[1:-1]] = have
        elif want != have:
            return None
    return params


def _not_found(request: Request, respond: Respond) -> None:
    respond(
        *BadRequest(
            404, "not-found", f"there is nothing at {request.path[:200]}; GET / lists what there is"
        ).answer(request.path)
    )


def _only(allowed: list[str]) -> SyncHandler:
    allow = ", ".join(allowed)

    def refuse(request: Request, respond: Respond) -> None:
        if request.method == "OPTIONS":
            respond(204, (("Allow", allow),), b"")
            return
        detail = f"{request.method} does not go here; use {allow}"
        respond(
            *BadRequest(405, "method-not-allowed", detail, headers=(("Allow", allow),)).answer(request.path)
        )

    return refuse
