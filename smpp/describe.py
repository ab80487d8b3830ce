"""What a text costs, for people who write it: encoding, segments, characters left, and what makes it dear.

Deliberately not here: prices, routes, what one carrier makes of it (gateway.carriers.render).
"""

from __future__ import annotations

from typing import NamedTuple

from smpp import alphabet
from smpp.alphabet import AUTO, BINARY, GSM7, UCS2
from smpp.segment import count, room, split
from smpp.transliterate import transliterate


class Forcing(NamedTuple):
    """A character that GSM 7-bit lacks: where it is, and its likeness; "" = it has none."""

    position: int
    character: str
    likeness: str


class Described(NamedTuple):
    """`used` and `left` count units: septets, octets of Latin-1, or 16-bit units of UCS-2. `left` is what
    still fits without another segment, `each` what fits one segment of so many.

    `forcing` is at most the first 100. `smart_segments`: with smart encoding; 0 where that saves none.
    """

    encoding: int
    segments: int
    used: int
    left: int
    each: int
    forcing: tuple[Forcing, ...] = ()
    smart_segments: int = 0


def describe(content: str | bytes, encoding: int = AUTO) -> Described:
    """`encoding`: one of smpp.alphabet; octets are BINARY whatever it says. Raises Unencodable."""
    if isinstance(content, bytes):
        return _described(content, content, BINARY)
    forcing = tuple(Forcing(at, content[at], _likeness(content[at])) for at in alphabet.outside_gsm7(content))
    if encoding == AUTO:
        encoding = UCS2 if forcing else GSM7
    smart = smart_text(content) if encoding == UCS2 else None
    return _described(content, alphabet.encode(content, encoding), encoding)._replace(
        forcing=forcing, smart_segments=count(smart, GSM7) if smart is not None else 0
    )


def _described(content: str | bytes, octets: bytes, encoding: int) -> Described:
    width = 2 if encoding == UCS2 else 1
    segments = count(content, encoding)
    alone, each = room(encoding)
    last = len(octets)
    if segments > 1:
        one = split(content, encoding)[-1]
        last, alone = len(one.short_message) - len(one.udh), each
    return Described(encoding, segments, len(octets) // width, (alone - last) // width, alone // width)


def smart_text(text: str) -> str | None:
    """A text that is UCS-2 as it is, in GSM 7-bit by its likenesses, where that saves segments; None where it
    does not or where something has no likeness. Any text is taken."""
    if alphabet.is_gsm7(text):
        return None
    alike = transliterate(text)
    if not alphabet.is_gsm7(alike):
        return None
    return alike if count(alike, GSM7) < count(text, UCS2) else None


def _likeness(character: str) -> str:
    alike = transliterate(character)
    return alike if alphabet.is_gsm7(alike) else ""


__all__ = ["Described", "Forcing", "describe", "smart_text"]
