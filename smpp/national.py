"""GSM 7-bit tables: the default alphabet and the national language shift tables of 3GPP TS 23.038 annex A.

`LOCKING[language]` maps a septet to its character, `SINGLE[language]` the septet after ESC. Language ids as
in 23.038 table 6.2.1.2.4: 0 default, 1 Turkish, 2 Spanish (single shift only), 3 Portuguese, 4 Bengali,
5 Gujarati, 6 Hindi, 7 Kannada, 8 Malayalam, 9 Oriya, 10 Punjabi, 11 Tamil, 12 Telugu, 13 Urdu.

The tables of the Indic scripts share one layout: each position is an offset into the script's Unicode block,
and stays undefined where that block has no such letter. So they are built from one layout here, with each
script's own letters beside it.

Deliberately not here: encoding and decoding (alphabet), reading the shift elements of a header (segment).
"""

from __future__ import annotations

from typing import Final

_DEFAULT: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)

# 0x0D after ESC is reserved (CR2); handsets show a line break.
_EXTENSION: Final = {
    0x0A: "\f",
    0x0D: "\n",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}


def _table(characters: str) -> dict[int, str]:
    return dict(enumerate(characters))


def _changed(base: dict[int, str], changes: dict[int, str]) -> dict[int, str]:
    return {**base, **changes}


LOCKING: Final[dict[int, dict[int, str]]] = {0: _table(_DEFAULT)}
SINGLE: Final[dict[int, dict[int, str]]] = {0: _EXTENSION}
