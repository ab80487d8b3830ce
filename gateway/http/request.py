"""A request as a handler gets it, and the way back for its answer.

Deliberately not here: the order of answers (answers.py), reading (connection.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import structlog

from gateway.http.head import Head
from gateway.http.problems import BadRequest, Headers
from gateway.traces import request_id_of

if TYPE_CHECKING:
    from gateway.http.auth import Caller

log = structlog.get_logger("http")


class Asker(Protocol):
    """The connection, as its requests see it."""

    peer: str
    secure: bool  # inside TLS

    def answer(
        self, request: Request, head: Head, status: int, headers: Headers, body: bytes, since: float
    ) -> None: ...

    def later(self, request: Request, rest: Callable[[], Awaitable[None]]) -> None: ...


class Request:
    """One request. `headers` has lower-case names and must not be changed; `peer` is the address.

    `caller`: who asks, where the endpoint needs a key (access.py).
    """

    __slots__ = ("_asker", "_head", "_since", "body", "caller", "headers", "method", "out", "path")
    caller: Caller

    def __init__(self, asker: Asker, head: Head, body: bytes, since: float) -> None:
        self.method = head.method
        self.path = head.path
        self.headers: Mapping[bytes, bytes] = head.headers
        self.body = body
        self.out: bytes | None = None
        self._head = head
        self._asker = asker
        self._since = since

    @property
    def query(self) -> str:
        return self._head.query

    @property
    def params(self) -> Mapping[str, str]:
        """The path's parameters, by the names in the route's pattern."""
        return self._head.found.params if self._head.found is not None else {}

    @property
    def peer(self) -> str:
        return self._asker.peer

    @property
    def secure(self) -> bool:
        """Whether it came by TLS to this server itself."""
        return self._asker.secure

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer, now or later, once. For a peer that has gone it does nothing."""
        if self.out is not None:
            log.error("answered twice", path=self.path, status=status)
            return
        self._asker.answer(self, self._head, status, headers, body, self._since)

    def later(self, rest: Callable[[], Awaitable[None]]) -> None:
        """Go on in a task of the connection's, for what has to wait before it can answer."""
        self._asker.later(self, rest)


def fail(request: Request, error: BaseException, **facts: object) -> None:
    """A handler failed: the log says why, under an id that the answer has, too. 500, if nothing was said."""
    id = request_id_of(request.headers.get(b"x-request-id"))
    about = {"method": request.method, "path": request.path, "peer": request.peer, **facts}
    log.error("request failed", request_id=id, exc_info=error, **about)
    if request.out is None:
        detail = (
            f"the gateway failed to answer this request; its log says why, as request_id {id}; "
            "it may have taken effect"
        )
        refusal = BadRequest(500, "internal", detail, headers=(("X-Request-Id", id),))
        request.respond(*refusal.answer(request.path))
