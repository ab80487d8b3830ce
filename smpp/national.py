"""GSM 7-bit tables: the default alphabet and the national language shift tables of 3GPP TS 23.038 annex A.

`LOCKING[language]` maps a septet to its character, `SINGLE[language]` the septet after ESC. Language ids as
in 23.038 table 6.2.1.2.4: 0 default, 1 Turkish, 2 Spanish (single shift only), 3 Portuguese, 4 Bengali,
5 Gujarati, 6 Hindi, 7 Kannada, 8 Malayalam, 9 Oriya, 10 Punjabi, 11 Tamil, 12 Telugu, 13 Urdu.

The locking tables of the Indic scripts share one layout: a position is an offset into the script's Unicode
block, undefined where that block has no such letter. They are built from that layout and what differs.

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


# ---------------------------------------------------------------------------------------------- Latin scripts

_TURKISH: Final = {
    **{0x04: "€", 0x07: "ı", 0x0B: "Ğ", 0x0C: "ğ", 0x1C: "Ş", 0x1D: "ş", 0x40: "İ", 0x60: "ç"},
}
_TURKISH_EXTENSION: Final = {
    **{0x47: "Ğ", 0x49: "İ", 0x53: "Ş", 0x63: "ç", 0x67: "ğ", 0x69: "ı", 0x73: "ş"},
}
_SPANISH_EXTENSION: Final = {
    **{0x09: "ç", 0x41: "Á", 0x49: "Í", 0x4F: "Ó", 0x55: "Ú", 0x61: "á", 0x69: "í", 0x6F: "ó", 0x75: "ú"},
}
_PORTUGUESE: Final = {
    **{0x04: "ê", 0x06: "ú", 0x07: "í", 0x08: "ó", 0x09: "ç", 0x0B: "Ô", 0x0C: "ô", 0x0E: "Á", 0x0F: "á"},
    **{0x12: "ª", 0x13: "Ç", 0x14: "À", 0x15: "∞", 0x16: "^", 0x17: "\\", 0x18: "€", 0x19: "Ó", 0x1A: "|"},
    **{0x1C: "Â", 0x1D: "â", 0x1E: "Ê", 0x24: "º", 0x40: "Í", 0x5B: "Ã", 0x5C: "Õ", 0x5D: "Ú", 0x60: "~"},
    **{0x7B: "ã", 0x7C: "õ", 0x7D: "`"},
}
_PORTUGUESE_EXTENSION: Final = {
    **{0x05: "ê", 0x09: "ç", 0x0B: "Ô", 0x0C: "ô", 0x0E: "Á", 0x0F: "á", 0x12: "Φ", 0x13: "Γ", 0x15: "Ω"},
    **{0x16: "Π", 0x17: "Ψ", 0x18: "Σ", 0x19: "Θ", 0x1F: "Ê", 0x41: "À", 0x49: "Í", 0x4F: "Ó", 0x55: "Ú"},
    **{0x5B: "Ã", 0x5C: "Õ", 0x61: "Â", 0x69: "í", 0x6F: "ó", 0x75: "ú", 0x7B: "ã", 0x7C: "õ", 0x7F: "â"},
}

# ---------------------------------------------------------------------------------------------- Indic scripts


def _codes(ranges: str) -> list[int]:
    """ "05-07 0C" as numbers."""
    numbers: list[int] = []
    for one in ranges.split():
        first, _, last = one.partition("-")
        numbers.extend(range(int(first, 16), int(last or first, 16) + 1))
    return numbers


# What the locking tables of all other scripts share.
_COMMON: Final = {
    **{0x0A: "\n", 0x0D: "\r", 0x1B: "\x1b", 0x20: " ", 0x21: "!", 0x28: ")", 0x29: "(", 0x2C: ","},
    **{0x2E: ".", 0x3A: ":", 0x3B: ";", 0x3F: "?"},
    **{code: chr(code) for code in _codes("30-39 61-7A")},
}
# Positions of letters in the locking table, and the letters' offsets in the script's Unicode block.
_POSITIONS: Final = _codes("00-09 0B-0C 0E-1A 1C-1F 22-27 2A-2B 2D 2F 3C-3E 40-4D 4E-5F")
_OFFSETS: Final = _codes("01-03 05-0D 0E-1E 1F-24 25-26 27 28 29-2B 2C-39 3C-4D")
_LAST: Final = (0x60, 0x7B, 0x7C, 0x7D, 0x7E, 0x7F)

# Script → first code point of its block, positions without a letter, the six letters at the end.
_INDIC: Final = {
    4: (0x0980, "0C 0E 11-12 3C 45 47-49 57-58 5B-5C", "4E 57 5C 5D 70 71"),
    5: (0x0A80, "0E 12 3C 45 48 58 5C", "50 60 61 62 63 71"),
    6: (0x0900, "", "50 72 7B 7C 7E 7F"),
    7: (0x0C80, "00 0C 11 3C 48 57 5B", "55 56 60 61 62 63"),
    8: (0x0D00, "00 0C 11 3C 4E 57 5B", "57 60 61 62 63 79"),
    9: (0x0B00, "0C 0E 11-12 3C 45 48 57-58 5B-5C", "56 57 60 61 62 63"),
    10: (0x0A00, "09 0B-0C 0E 11-12 3C 45 48 4B 4F 55-58 5B-5C", "51 70 71 72 73 74"),
    11: (0x0B80, "00 09 0B-0C 11 16-18 1C 1E 23-25 2A-2B 2D 3E 40-41 4E-4F 55-57 5B", "50 57 70 71 72 79"),
    12: (0x0C00, "0C 11 3C 48 4E 57 5B", "55 56 60 61 62 63"),
}


def _indic_locking(block: int, undefined: str, last: str) -> dict[int, str]:
    missing = set(_codes(undefined))
    letters = [*zip(_POSITIONS, _OFFSETS, strict=True), *zip(_LAST, _codes(last), strict=True)]
    return _COMMON | {at: chr(block + offset) for at, offset in letters if at not in missing}


# What the single shift tables of all other scripts share.
_COMMON_EXTENSION: Final = {
    **dict(enumerate("@£$¥¿\"¤%&'\f*+\r-/<=>¡^¡_#*")),
    **{0x1B: "\x1b", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€"},
    **{code: chr(code) for code in _codes("41-5A")},
}
# The script's own characters come at these positions, in this order.
_OWN: Final = _codes("19-1A 1C-27 2A-2E 30-3B 3F")
_INDIC_EXTENSION: Final = {
    4: "09E6-09EF 09DF-09E3 09F2-09FA",
    5: "0964-0965 0AE6-0AEF",
    6: "0964-0965 0966-096F 0951-0954 0958-095F 0960-0963 0970-0971",
    7: "0964-0965 0CE6-0CEF 0CDE 0CF1-0CF2",
    8: "0964-0965 0D66-0D6F 0D70-0D75 0D7A-0D7F",
    9: "0964-0965 0B66-0B6F 0B5C-0B5D 0B5F 0B70-0B71",
    10: "0964-0965 0A66-0A6F 0A59-0A5C 0A5E 0A75",
    11: "0964-0965 0BE6-0BEF 0BF3-0BF8 0BFA",
    12: "0C66-0C6F 0C58-0C59 0C78-0C7F",
    13: "0600-0601 06F0-06F9 060C-060F 0610-0614 061B 061F 0640 0652 0658 066B-066C 0672-0673 06CD 06D4",
}


def _own_extension(language: int) -> dict[int, str]:
    positions = _OWN[2:] if language == 12 else _OWN  # Telugu has no dandas
    return _COMMON_EXTENSION | {
        at: chr(code) for at, code in zip(positions, _codes(_INDIC_EXTENSION[language]), strict=False)
    }


# ---------------------------------------------------------------------------------------------- Urdu

_URDU: Final = (
    "0627 0622 0628 067B 0680 067E 06A6 062A 06C2 067F 0679 067D 067A 067C 062B 062C 0681 0684 0683 0685 0686"
    " 0687 062D 062E 062F 068C 0688 0689 068A 068F 068D 0630 0631 0691 0693 0699 0632 0696 0698 069A 0633"
    " 0634 0635-0639 0641 0642 06A9-06AB 06AF 06B3 06B1 0644-0646 06BA-06BC 0648 06C4 06D5 06C1 06BE 0621"
    " 06CC 06D0 06D2 064D 0650 064F 0657 0654 0655 0651 0653 0656 0670"
)
_URDU_LETTERS: Final = [code for code in range(128) if code not in _COMMON]


# ---------------------------------------------------------------------------------------------- the tables

LANGUAGES: Final = {
    "turkish": 1,
    "spanish": 2,
    "portuguese": 3,
    "bengali": 4,
    "gujarati": 5,
    "hindi": 6,
    "kannada": 7,
    "malayalam": 8,
    "oriya": 9,
    "punjabi": 10,
    "tamil": 11,
    "telugu": 12,
    "urdu": 13,
}

_BASIC: Final = dict(enumerate(_DEFAULT))

LOCKING: Final[dict[int, dict[int, str]]] = {
    0: _BASIC,
    1: _BASIC | _TURKISH,
    3: _BASIC | _PORTUGUESE,
    **{language: _indic_locking(*script) for language, script in _INDIC.items()},
    13: _COMMON | {at: chr(code) for at, code in zip(_URDU_LETTERS, _codes(_URDU), strict=True)},
}
SINGLE: Final[dict[int, dict[int, str]]] = {
    0: _EXTENSION,
    1: _EXTENSION | _TURKISH_EXTENSION,
    2: _EXTENSION | _SPANISH_EXTENSION,
    3: _EXTENSION | _PORTUGUESE_EXTENSION,
    **{language: _own_extension(language) for language in _INDIC_EXTENSION},
}
