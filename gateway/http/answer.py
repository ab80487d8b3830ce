"""An answer as bytes: status line, Date, the handler's headers, length, body (RFC 9110, 9112 section 6).

Deliberately not here: order between answers, sockets.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from gateway.http.ports import WallClock
from gateway.http.problems import Headers

# To clients that came by TLS: this name by nothing else, for a year (RFC 6797).
BY_TLS_ALONE = "Strict-Transport-Security: max-age=31536000\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_BODILESS = frozenset({204, 304})


class Renderer:
    """Renders answers, with the header lines `always`; remembers the Date for its second."""

    __slots__ = ("_always", "_date", "_second", "_wall_ms")

    def __init__(self, wall_ms: WallClock, always: str = "") -> None:
        self._wall_ms = wall_ms
        self._always = always
        self._second = -1
        self._date = ""

    def render(
        self, status: int, headers: Headers, body: bytes, *, connection: str = "", body_too: bool = True
    ) -> bytes:
        """`connection` is the Connection header, if any; `body_too` is False in answer to HEAD."""
        lines = self._head(status, headers, connection)
        if status in _BODILESS:
            return (lines + "\r\n").encode("latin-1", "replace")
        raw = f"{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1", "replace")
        return raw + body if body_too else raw

    def begin(self, status: int, headers: Headers, *, chunked: bool, connection: str = "") -> bytes:
        """The head of an answer whose length nobody knows yet; without chunks the connection ends with it."""
        lines = self._head(status, headers, connection)
        framing = "Transfer-Encoding: chunked\r\n" if chunked else ""
        return f"{lines}{framing}\r\n".encode("latin-1", "replace")

    def _head(self, status: int, headers: Headers, connection: str) -> str:
        """Without the line that says where the body ends, and the empty one."""
        second = self._wall_ms() // 1000
        if second != self._second:
            self._second = second
            self._date = f"Date: {formatdate(second, usegmt=True)}\r\n{self._always}"
        lines = _LINES.get(status, f"HTTP/1.1 {status} Status\r\n") + self._date
        for name, value in headers:
            if "\n" in value or "\r" in value:
                raise ValueError(f"a line break in header {name}")
            lines += f"{name}: {value}\r\n"
        if connection:
            lines += f"Connection: {connection}\r\n"
        return lines
