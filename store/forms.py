"""Records of which all but a few fields are the same again and again: encoded once, cut where those stand.

A field that is left open has `OPEN` for its value. What is filled in between the pieces is encoded by itself.
They are made of whole records, so that a field that is added needs nothing here.

Deliberately not here: which records (settle.py, receipts.py), the seal of a row (values.py).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from store.records import encode

# No text holds these octets, as they are no UTF-8, and no number is as long.
_MARK: Final = bytes(range(0xF8, 0x100)) * 2
OPEN: Final[Any] = msgspec.Raw(_MARK)


def pieces_of(record: msgspec.Struct) -> list[bytes]:
    """The record as it is stored, but for its open fields: what is before, between and after them."""
    return encode(record).split(_MARK)
