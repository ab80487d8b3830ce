"""One request's head: the request line and the header fields, parsed by llhttp (httptools), checked here.

Parsing a head is a pure function of its bytes, and a client that keeps its connection sends the same bytes
over and over; so `HeadReader` remembers what it parsed, by the exact bytes, within a bound. That is most
of the server's speed. RFC 9112 sections 2.2, 3, 5, 6.

Deliberately not here: bodies, connections, waiting.
"""

from __future__ import annotations

from urllib.parse import unquote

import httptools

from gateway.http.problems import BadRequest
from gateway.http.routes import Found, Routes
from gateway.http.settings import HttpSettings

_REMEMBERED = 1024
_REMEMBERED_BYTES = 2048


class Head:
    """What the bytes before the body say. `length` is the body's size, -1 when it is chunked; `whole`: it
    is handed over as soon as all of it is there."""

    __slots__ = (
        "expect_continue",
        "found",
        "gzip",
        "headers",
        "http10",
        "keep_alive",
        "length",
        "method",
        "path",
        "query",
        "whole",
    )

    def __init__(self) -> None:
        self.method = ""
        self.path = ""
        self.query = ""
        self.headers: dict[bytes, bytes] = {}  # names in lower case, repeats joined with ", "
        self.http10 = False
        self.keep_alive = True
        self.length = 0
        self.expect_continue = False
        self.gzip = False
        self.whole = True
        self.found: Found | None = None


class _Parsed:
    """llhttp's callbacks."""

    __slots__ = (
        "begun",
        "complete",
        "count",
        "headers",
        "keep_alive",
        "max_headers",
        "overrun",
        "parser",
        "repeated",
        "url",
    )

    def __init__(self, max_headers: int) -> None:
        self.max_headers = max_headers
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.count = 0
        self.begun = 0
        self.complete = False
        self.overrun = False
        self.repeated: set[bytes] = set()
        self.keep_alive = False
        self.parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.count += 1
        if self.count > self.max_headers:
            return
        name = name.lower()
        if name in self.headers:
            self.repeated.add(name)
            self.headers[name] += b", " + value
        else:
            self.headers[name] = value

    def on_headers_complete(self) -> None:
        self.complete = True
        if self.parser is not None:
            self.keep_alive = self.parser.should_keep_alive()  # forgotten when the message ends

    def on_body(self, body: bytes) -> None:
        self.overrun = True


class HeadReader:
    """Heads by their bytes. One per server; `routes` must not change once requests arrive."""

    def __init__(self, settings: HttpSettings, routes: Routes) -> None:
        self._settings = settings
        self._routes = routes
        self.known: dict[bytes, Head] = {}  # connections look here first

    def read(self, raw: bytes) -> Head:
        """The head in `raw`, which ends with an empty line. Errors: BadRequest."""
        head = self._parse(raw)
        usual = len(raw) <= _REMEMBERED_BYTES and head.whole
        if usual and b"idempotency-key" not in head.headers:  # with one it never comes again
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[raw] = head
        return head

    def _parse(self, raw: bytes) -> Head:
        if len(raw) > self._settings.max_head_bytes:
            raise head_too_large(self._settings)
        parsed = _Parsed(self._settings.max_headers)
        parser = parsed.parser
        assert parser is not None
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # nothing to upgrade to: answered as the plain request it also is
        except httptools.HttpParserError as error:
            raise bad_request(f"this is not HTTP/1.1: {error}") from None
        parsed.parser = None  # or the two would keep each other
        if not parsed.complete or parsed.overrun or parsed.begun != 1:
            raise bad_request("the header must end with an empty line, lines with CR LF")
        if parsed.count > self._settings.max_headers:
            raise BadRequest(
                431, "too-many-headers", f"send at most {self._settings.max_headers} header fields"
            )
        head = Head()
        head.method = parser.get_method().decode("ascii")
        head.headers = parsed.headers
        head.http10 = parser.get_http_version() != "1.1"
        head.keep_alive = parsed.keep_alive
        self._check_version(parser.get_http_version())
        self._host(head, parsed)
        self._target(head, parsed.url)
        head.found = self._routes.find(head.method, head.path)
        self._framing(head, parsed)
        head.whole = (
            head.length >= 0 and not head.expect_continue and not head.gzip and head.found.streaming is None
        )
        return head

    def _check_version(self, version: str) -> None:
        if version not in ("1.0", "1.1"):
            raise BadRequest(505, "http-version", f"HTTP/{version} is not spoken here; use HTTP/1.1")

    def _host(self, head: Head, parsed: _Parsed) -> None:
        if b"host" in parsed.repeated:
            raise bad_request("send one Host header, not several")
        if not head.http10 and b"host" not in head.headers:
            raise bad_request("HTTP/1.1 needs a Host header")

    def _target(self, head: Head, url: bytes) -> None:
        if len(url) > self._settings.max_target_bytes:
            raise target_too_long(self._settings)
        target = url.decode("latin-1")
        if not target.startswith("/") and "://" in target:  # absolute-form
            _, _, rest = target.partition("://")
            end = next((at for at, one in enumerate(rest) if one in "/?"), len(rest))
            target = rest[end:] if rest[end : end + 1] == "/" else "/" + rest[end:]
        target, _, head.query = target.partition("?")
        head.path = unquote(target) if "%" in target else target

    def _framing(self, head: Head, parsed: _Parsed) -> None:
        coding = head.headers.get(b"transfer-encoding")
        length = head.headers.get(b"content-length")
        if coding is not None:
            if length is not None or head.http10:
                raise bad_request("Transfer-Encoding goes neither with Content-Length nor with HTTP/1.0")
            if coding.strip().lower() != b"chunked":
                raise BadRequest(501, "transfer-encoding", "the only Transfer-Encoding taken is chunked")
            head.length = -1
        elif length is not None:
            if not length.isdigit() or len(length) > 15:
                raise bad_request("Content-Length must be one decimal number")
            head.length = int(length)
            assert head.found is not None
            if head.length > self._settings.max_body_bytes and head.found.streaming is None:
                raise body_too_large(self._settings)
        if b"content-encoding" in head.headers:
            content_coding = head.headers[b"content-encoding"].strip().lower()
            head.gzip = content_coding in (b"gzip", b"x-gzip")
            if not head.gzip and content_coding != b"identity":
                raise BadRequest(415, "content-encoding", "send the body as it is, or with gzip once")
        expect = head.headers.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                raise BadRequest(417, "expectation", "the only expectation met is 100-continue")
            head.expect_continue = not head.http10 and head.length != 0


def bad_request(detail: str) -> BadRequest:
    return BadRequest(400, "bad-request", detail)


def head_too_large(settings: HttpSettings) -> BadRequest:
    return BadRequest(
        431, "header-too-large", f"request line and headers may have {settings.max_head_bytes} bytes in all"
    )


def target_too_long(settings: HttpSettings) -> BadRequest:
    return BadRequest(
        414, "target-too-long", f"the request target may have {settings.max_target_bytes} bytes"
    )


def body_too_large(settings: HttpSettings) -> BadRequest:
    return BadRequest(
        413,
        "body-too-large",
        f"the body may have {settings.max_body_bytes} bytes; send fewer messages in one request",
    )
