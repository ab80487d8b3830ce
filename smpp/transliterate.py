"""Smart encoding: characters outside GSM 03.38 as the ones of it that look or read alike.

Typographic quotes, dashes, spaces and ellipses become their plain forms, letters lose the accents that the
alphabet lacks, ligatures and signs are spelled out, and characters that show nothing go. What has no likeness
(another script, an emoji) is left as it is, so that the caller sees that the text still does not fit: nothing
is replaced by a question mark.

Invariants: what the alphabet has is never touched; only whole characters are replaced, in order.

Deliberately not here: whether to do it at all, which is always somebody's choice (smpp.cheaper,
gateway.door); romanising other scripts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Container
from functools import lru_cache
from typing import Final

from smpp.alphabet import GSM7_CHARACTERS, is_gsm7

_ALIKE: Final = {
    "'": "\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02bd\u00b4`\u2039\u203a\uff07",
    '"': "\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u02ba\u301d\u301e\uff02",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63\uff0d",
    " ": "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\t",
    "": "\u00ad\u061c\u200b\u200c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069"
    "\ufeff",
    "\n": "\u0085\u2028\u2029\u000b",
    "ss": "\u00df",
    "AE": "\u00c6",
    "ae": "\u00e6",
    "EUR": "\u20ac",
    "...": "\u2026",
    "..": "\u2025",
    ".": "\u2024\u3002\uff0e",
    ",": "\uff0c",
    "*": "\u2022\u2023\u2027\u25cf\u25aa\u00b7\u2217\u22c5",
    "/": "\u2044\u2215\u00f7",
    ":": "\u2236\uff1a",
    "!": "\u00a1\uff01",
    "?": "\u00bf\uff1f",
    "~": "\u223c\u02dc",
    "|": "\u00a6\u2223",
    "x": "\u00d7\u2715",
    "<=": "\u2264",
    ">=": "\u2265",
    "!=": "\u2260",
    "+-": "\u00b1",
    "->": "\u2192",
    "<-": "\u2190",
    "=>": "\u21d2",
    "(c)": "\u00a9",
    "(r)": "\u00ae",
    "(tm)": "\u2122",
    "deg": "\u00b0",
    "No.": "\u2116",
    "a": "\u00aa",
    "o": "\u00ba\u00f8",
    "u": "\u00b5",
    "d": "\u0111\u00f0",
    "D": "\u0110\u00d0",
    "h": "\u0127",
    "H": "\u0126",
    "i": "\u0131",
    "l": "\u0142\u0140",
    "L": "\u0141\u013f",
    "n": "\u014b",
    "N": "\u014a",
    "t": "\u0167",
    "T": "\u0166",
    "th": "\u00fe",
    "Th": "\u00de",
    "O": "\u00d8",
    "oe": "\u0153",
    "OE": "\u0152",
    "SS": "\u1e9e",
    "1/4": "\u00bc",
    "1/2": "\u00bd",
    "3/4": "\u00be",
}
_LIKENESS: Final = {strange: plain for plain, letters in _ALIKE.items() for strange in letters}
_MARKS: Final = ("Mn", "Me")


def transliterate(text: str, keep: Container[str] = GSM7_CHARACTERS) -> str:
    """`text` with each character that `keep` lacks replaced by its likeness, where it has one.

    `keep`: the characters of the tables that it shall fit. Accents written apart from their letter are joined
    with it first.
    """
    if keep is GSM7_CHARACTERS and is_gsm7(text):
        return text
    whole = unicodedata.normalize("NFC", text)
    return "".join([one if one in keep else _likeness(one) for one in whole])


@lru_cache(maxsize=4096)
def _likeness(character: str) -> str:
    known = _LIKENESS.get(character)
    if known is not None:
        return known
    apart = unicodedata.normalize("NFKD", character)
    if not all("LATIN" in unicodedata.name(one, "") or one.isascii() for one in apart if not _is_mark(one)):
        return character
    plain = "".join(one for one in apart if not _is_mark(one))
    if "\u0300" <= character <= "\u036f":
        return ""  # an accent for which there is no letter with it
    plain = "".join(_LIKENESS.get(one, one) for one in plain)
    return plain if plain and is_gsm7(plain) else character


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in _MARKS


__all__ = ["transliterate"]
