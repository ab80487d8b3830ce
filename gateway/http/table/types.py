"""Types that several declarations share: times, ids, cursors.

Deliberately not here: types of one subject (the files beside this one).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.http.timeline import Time

__all__ = ["Cursor", "Id", "Next", "Nothing", "Time"]

Id = Annotated[
    str,
    Meta(
        description="a decimal number of 63 bits, as text",
        pattern="^[0-9]+$",
        examples=["4611686018427387905"],
    ),
]
Next = Annotated[
    str | None, Meta(description="path and query of the next page, as in the header Link; null: that was all")
]
Cursor = Annotated[str, Meta(max_length=512, description="from `next` of the page before; opaque")]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A body that says nothing: an empty object, or none at all."""
