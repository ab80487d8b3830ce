"""Lists in pages, one way for all: `limit`, an opaque `cursor`, `next` in the body and as a Link header.

A handler reads one row more than `limit` and gives them to `page`, with what identifies the last one shown;
`after` gives that back from the cursor of the next request. Cursors survive restarts: they say after which
row, not where in some list. Whoever takes one apart finds nothing that the rows did not show.

Deliberately not here: reading rows, which limits a list has (its query type).
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec

from gateway.http.fields import invalid
from gateway.http.problems import FieldError, Headers
from gateway.http.request import Request

T = TypeVar("T")
K = TypeVar("K")

LONGEST = 512


class Page(NamedTuple):
    """What is shown, the path of what comes after it (None: that was all), and the header that says so."""

    rows: Sequence[Any]
    next: str | None
    headers: Headers


def page(
    request: Request, query: msgspec.Struct, limit: int, rows: Sequence[T], key: Callable[[T], object]
) -> Page:
    """The first `limit` of `rows`, of which there may be one more. `query` is what was asked, whose other
    parameters the next page has, too; `key` is what `after` will give back."""
    if len(rows) <= limit:
        return Page(rows, None, ())
    asked = {name: value for name, value in msgspec.to_builtins(query).items() if value not in ("", None)}
    asked |= {"limit": limit, "cursor": cursor(key(rows[limit - 1]))}
    following = f"{request.path}?{urlencode(asked, doseq=True)}"
    return Page(rows[:limit], following, (("Link", f'<{following}>; rel="next"'),))


def cursor(key: object) -> str:
    """Opaque, and safe in a URL."""
    return urlsafe_b64encode(msgspec.msgpack.encode(key)).decode().rstrip("=")


def after(text: str, wanted: type[K], first: K) -> K:
    """What a cursor says; `first` where there is none. Errors: BadRequest, for what is no cursor of ours."""
    if not text:
        return first
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        return msgspec.msgpack.decode(raw, type=wanted, strict=True)
    except (ValueError, msgspec.DecodeError):
        raise invalid([FieldError("cursor", "as `next` of the page before gave it")]) from None
