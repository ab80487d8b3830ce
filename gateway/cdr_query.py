"""Asking for call detail records: by time, account, carrier, number, message; in pages, from the files.

Records are read as they lie in the files, oldest first; there is no index. What a page costs has an end
(MOST_READ): a page may be short, or empty, and still have a cursor. From a thread, or a command of its own.

Deliberately not here: who may see what (gateway.http.cdrs), writing (cdrs).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.admin_shapes import iso
from gateway.cdr_lines import Line
from store.cdr_files import BEGINNING, Place, read

MOST_READ = 32 << 20  # octets of files for one page

_decode = msgspec.json.Decoder(Line).decode


class Wish(msgspec.Struct, frozen=True):
    """What is wanted; 0 and "" = any. Times are UTC milliseconds of the record: since <= at < until."""

    since_ms: int = 0
    until_ms: int = 0
    account: str = ""
    carrier: str = ""
    to: str = ""  # digits; a beginning is enough
    message_id: str = ""
    type: str = ""


class Found(NamedTuple):
    """`place` None: that was all there is now."""

    lines: list[Line]
    place: Place | None


def matcher(wish: Wish) -> Callable[[Line], bool]:
    """Whether a record is one that is wanted."""
    since = iso(wish.since_ms) if wish.since_ms else ""
    until = iso(wish.until_ms) if wish.until_ms else ""

    def matches(line: Line) -> bool:
        return (
            (not since or line.at >= since)
            and (not until or line.at < until)
            and (not wish.account or line.account == wish.account)
            and (not wish.carrier or line.carrier == wish.carrier)
            and (not wish.type or line.type == wish.type)
            and (not wish.to or line.to.startswith(wish.to))
            and (not wish.message_id or line.message_id == wish.message_id)
        )

    return matches


def find(
    directory: Path, wish: Wish, limit: int, place: Place = BEGINNING, most_read: int = MOST_READ
) -> Found:
    """At most `limit` records behind `place`, oldest first. Errors: OSError."""
    matches, needle = matcher(wish), _needle(wish)
    found: list[Line] = []
    looked = 0
    for behind, raw in read(directory, wish.since_ms, place):
        looked += len(raw)
        if needle in raw:  # most others need no decoding
            try:
                line = _decode(raw)
            except msgspec.DecodeError:
                line = None
            if line is not None and matches(line):
                found.append(line)
        if len(found) >= limit or looked >= most_read:
            return Found(found, behind)
    return Found(found, None)


def _needle(wish: Wish) -> bytes:
    """What a record that is wanted surely has in it."""
    wanted = (("message_id", wish.message_id), ("account", wish.account), ("carrier", wish.carrier))
    return next(
        (b'"%s":%s' % (name.encode(), msgspec.json.encode(value)) for name, value in wanted if value), b""
    )
