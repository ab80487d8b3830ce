"""Parameters of a query or a form, as the octets they are.

Other APIs put octets into parameters that are no text in any one charset (UTF-16BE beside UTF-8), so names
and values are percent-decoded to bytes and never by way of str. Names repeat, order counts, and the first one
wins where only one is asked for. Limits: MOST parameters; the body's length is the server's limit.

Deliberately not here: what parameters mean, JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from multipart import MultipartError, PushMultipartParser, parse_options_header

from gateway.http.problems import BadRequest

MOST = 1_000
URLENCODED = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data"

Pairs = list[tuple[bytes, bytes]]


class Parameters:
    """Pairs of name and value, in the order in which they came."""

    __slots__ = ("_first", "pairs")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.pairs = list(pairs)
        self._first: dict[bytes, bytes] = {}
        for name, value in self.pairs:
            self._first.setdefault(name, value)

    def first(self, *names: bytes) -> bytes | None:
        """The value of the first of `names` that is there; None: none is."""
        for name in names:
            value = self._first.get(name)
            if value is not None:
                return value
        return None

    def text(self, *names: bytes, default: str = "") -> str:
        """The same as text: UTF-8, what is none replaced."""
        value = self.first(*names)
        return default if value is None else value.decode("utf-8", "replace")

    @property
    def names(self) -> tuple[bytes, ...]:
        return tuple(self._first)


def of_query(query: str) -> Parameters:
    """Of a request target's query. Errors: BadRequest."""
    return Parameters(_decoded(query.encode("latin-1")))


def of_body(content_type: bytes | None, body: bytes) -> Parameters | None:
    """Of a form, urlencoded or multipart; None: it is neither. Errors: BadRequest."""
    media = media_of(content_type)
    if media == URLENCODED:
        return Parameters(_decoded(body))
    if media == MULTIPART:
        return Parameters(_parts((content_type or b"").decode("latin-1"), body))
    return None


def media_of(content_type: bytes | None) -> bytes:
    """`text/plain` of `Text/Plain; charset=x`; empty where there is none."""
    return (content_type or b"").split(b";", 1)[0].strip().lower()


def _decoded(text: bytes) -> Pairs:
    if not text:
        return []
    pieces = text.split(b"&", MOST)
    if len(pieces) > MOST:
        raise _too_many()
    pairs = []
    for piece in pieces:
        if piece:
            name, _, value = piece.partition(b"=")
            pairs.append((_plain(name), _plain(value)))
    return pairs


def _plain(text: bytes) -> bytes:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text


def _parts(content_type: str, body: bytes) -> Pairs:
    _, options = parse_options_header(content_type)
    pairs: Pairs = []
    name, value = b"", b""
    try:
        with PushMultipartParser(
            options.get("boundary", ""), max_segment_count=MOST, header_charset="latin-1"
        ) as parser:
            for event in parser.parse(body):
                if event is None:
                    pairs.append((name, value))
                elif isinstance(event, (bytes, bytearray)):
                    value += event
                else:
                    name, value = event.name.encode("latin-1"), b""
            for _ in parser.parse(b""):
                pass
    except (MultipartError, ValueError) as error:
        raise BadRequest(400, "bad-request", f"the multipart body cannot be read: {error}") from None
    return pairs


def _too_many() -> BadRequest:
    return BadRequest(400, "bad-request", f"a request has at most {MOST:,} parameters")
