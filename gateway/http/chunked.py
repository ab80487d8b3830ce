"""The chunked transfer coding, decoded incrementally and strictly (RFC 9112 section 7.1).

Invariants: sizes are plain hexadecimal; every line ends with CR LF; extensions and trailers are read past
and bounded; the body never grows over its limit. What follows the last chunk is left to the caller.

Deliberately not here: trailers as values, other transfer codings.
"""

from __future__ import annotations

from gateway.http.problems import BadRequest

_LINE_BYTES = 4096
_TRAILER_BYTES = 8192
_EXTENSION_BYTES = 8192
_CONTROLS = frozenset((*range(9), *range(10, 32), 127))
_HEX = frozenset(b"0123456789abcdefABCDEF")


class Chunked:
    """Feed it bytes until `feed` returns a position: where the message ended in what was fed last."""

    __slots__ = (
        "_extension_bytes",
        "_in_trailers",
        "_left",
        "_line",
        "_max_bytes",
        "_trailer_bytes",
        "_want_crlf",
        "body",
    )

    def __init__(self, max_bytes: int) -> None:
        self.body = bytearray()
        self._max_bytes = max_bytes
        self._left = 0  # of the current chunk's data
        self._want_crlf = False  # after a chunk's data
        self._line = b""  # an incomplete line
        self._extension_bytes = 0
        self._in_trailers = False
        self._trailer_bytes = 0

    def feed(self, data: bytes, start: int = 0) -> int:
        """Take bytes from `start`; the position after the message, or -1 for more. Errors: BadRequest."""
        position = start
        size = len(data)
        while position < size:
            if self._left:
                take = min(self._left, size - position)
                self.body += memoryview(data)[position : position + take]
                self._left -= take
                position += take
                self._want_crlf = not self._left
                continue
            end = data.find(b"\n", position)
            piece = data[position : end + 1 if end >= 0 else size]
            if len(self._line) + len(piece) > _LINE_BYTES:
                raise BadRequest(
                    400, "bad-chunk", f"a chunk-size or trailer line is over {_LINE_BYTES} bytes"
                )
            self._line += piece
            position += len(piece)
            if end < 0:
                return -1
            line, self._line = self._line, b""
            if self._take_line(line):
                return position
        return -1

    def _take_line(self, line: bytes) -> bool:
        if not line.endswith(b"\r\n"):
            raise BadRequest(400, "bad-chunk", "lines of a chunked body end with CR LF")
        line = line[:-2]
        if self._want_crlf:
            if line:
                raise BadRequest(400, "bad-chunk", "a chunk is longer than its size says")
            self._want_crlf = False
        elif self._in_trailers:
            self._trailer_bytes += len(line) + 2
            if self._trailer_bytes > _TRAILER_BYTES:
                raise BadRequest(431, "header-too-large", f"trailers may have {_TRAILER_BYTES} bytes in all")
            return not line
        else:
            self._start_chunk(line)
        return False

    def _start_chunk(self, line: bytes) -> None:
        size, semicolon, extension = line.partition(b";")
        if semicolon:
            self._extension_bytes += len(extension)
            if self._extension_bytes > _EXTENSION_BYTES or _CONTROLS.intersection(extension):
                raise BadRequest(
                    400,
                    "bad-chunk",
                    f"chunk extensions are visible characters, {_EXTENSION_BYTES} bytes in all",
                )
        digits = size.rstrip(b" \t")
        if not digits or len(digits) > 15 or not _HEX.issuperset(digits):
            raise BadRequest(400, "bad-chunk", "a chunk starts with its size in hexadecimal")
        self._left = int(digits, 16)
        if len(self.body) + self._left > self._max_bytes:
            raise BadRequest(413, "body-too-large", f"the body may have {self._max_bytes} bytes")
        self._in_trailers = self._left == 0
