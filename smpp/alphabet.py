"""Alphabets of short messages: GSM 7-bit default (3GPP TS 23.038 6.2.1), Latin-1, UCS-2, packed septets.

Septets are *unpacked* everywhere (one per octet, as SMPP carries them) unless a name says packed. A character
of the extension table is two septets, ESC (0x1B) first. Text that an alphabet cannot carry raises
`Unencodable` with the positions of the characters; nothing is ever replaced silently.

Decoding is tolerant by default, since an inbound message must not be lost: what no table defines is shown as
3GPP asks (the basic character, or a space for a lone ESC); `strict=True` raises `Undecodable` instead.

Deliberately not here: how many segments a text needs (segment), the choice of a national table (cheaper).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Final

from smpp import national

# The same numbers as router.nouns.Encoding, which smpp must not import.
GSM7: Final = 0
LATIN1: Final = 1
UCS2: Final = 2
BINARY: Final = 3
AUTO: Final = -1

ESC: Final = 0x1B
ENCODING_NAMES: Final = {GSM7: "gsm7", LATIN1: "latin1", UCS2: "ucs2", BINARY: "binary"}


class TextError(ValueError):
    """Base of what this module and smpp.segment raise."""


class Unencodable(TextError):
    """`positions`: indexes into the text of the characters that `alphabet` lacks (the first 100 of them)."""

    def __init__(self, alphabet: str, text: str, positions: tuple[int, ...]) -> None:
        first = f"U+{ord(text[positions[0]]):04X} at position {positions[0]}" if positions else "?"
        super().__init__(f"{alphabet} cannot carry {first}")
        self.alphabet = alphabet
        self.positions = positions


class Undecodable(TextError):
    """Octets that no table of the alphabet defines (strict decoding only)."""


_BASIC: Final = national.LOCKING[0]
_EXTENSION: Final = national.SINGLE[0]


@cache
def encoder(locking: int, single: int) -> dict[str, str]:
    """Character → its one or two septets under these tables, as a string of code points below 128."""
    table = {character: f"\x1b{chr(code)}" for code, character in national.SINGLE[single].items()}
    table |= {character: chr(code) for code, character in national.LOCKING[locking].items() if code != ESC}
    table.pop("\x1b", None)
    return table


_ENCODE: Final = encoder(0, 0)
GSM7_CHARACTERS: Final = frozenset(_ENCODE)
_NOT_GSM7: Final = re.compile("[^" + "".join(map(re.escape, sorted(_ENCODE))) + "]")
_NOT_LATIN1: Final = re.compile("[^\x00-\xff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

# Latin-1 octet → septet; 0x80 marks "two septets, or none": one translate and one isascii() judge a text.
_FROM_LATIN1: Final = bytes(
    ord(_ENCODE[chr(code)]) if len(_ENCODE.get(chr(code), "")) == 1 else 0x80 for code in range(256)
)
# Septet → character. Octets above 0x7F are no septets at all; they are read as Latin-1 rather than lost.
_TO_TEXT: Final = "".join(_BASIC.get(code, chr(code)) for code in range(128)) + bytes(range(128, 256)).decode(
    "latin-1"
)
_AFTER_ESC: Final = {_BASIC[code]: character for code, character in _EXTENSION.items()}
_ESCAPED: Final = re.compile("\x1b(.?)", re.DOTALL)


def gsm7_encode(text: str) -> bytes:
    """`text` as unpacked septets. Raises Unencodable. About 0.5 us for 50 plain characters."""
    try:
        septets = text.encode("latin-1").translate(_FROM_LATIN1)
    except UnicodeEncodeError:
        return _gsm7_encode_any(text)
    return septets if septets.isascii() else _gsm7_encode_any(text)


def _gsm7_encode_any(text: str) -> bytes:
    try:
        return "".join([_ENCODE[character] for character in text]).encode("latin-1")
    except KeyError:
        raise _unencodable("gsm7", text, _NOT_GSM7) from None


def gsm7_decode(septets: bytes, *, strict: bool = False) -> str:
    """Unpacked septets as text. Raises Undecodable if strict."""
    if strict:
        _require_defined(septets, _BASIC, _EXTENSION)
    text = codecs.charmap_decode(septets, "strict", _TO_TEXT)[0]
    return _ESCAPED.sub(_unescape, text) if "\x1b" in text else text


def gsm7_exactly(septets: bytes) -> str | None:
    """Unpacked septets as text, if encoding it again gives the same octets; else None."""
    if not septets.isascii():
        return None
    if ESC in septets:
        text = gsm7_decode(septets)
        return text if gsm7_encode(text) == septets else None
    return codecs.charmap_decode(septets, "strict", _TO_TEXT)[0]


def gsm7_all_exactly(texts: Sequence[bytes]) -> list[str] | None:
    """`gsm7_exactly` of each, in one step; None where one of them needs a closer look."""
    septets = b"\x1b".join(texts)
    if not septets.isascii():
        return None
    decoded = codecs.charmap_decode(septets, "strict", _TO_TEXT)[0].split("\x1b")
    return decoded if len(decoded) == len(texts) else None


def _unescape(match: re.Match[str]) -> str:
    escaped = match[1]
    if escaped in ("", "\x1b"):
        return " "
    return _AFTER_ESC.get(escaped, escaped)


def national_encode(text: str, locking: int, single: int) -> bytes:
    """`text` as septets of the given national tables (language ids of 23.038 6.2.1.2.4; 0 default)."""
    table = encoder(locking, single)
    try:
        return "".join([table[character] for character in text]).encode("latin-1")
    except KeyError:
        positions = tuple(at for at, character in enumerate(text) if character not in table)
        raise Unencodable(f"gsm7 ({locking}, {single})", text, positions[:100]) from None


def national_decode(septets: bytes, locking: int, single: int, *, strict: bool = False) -> str:
    """Septets under national tables; an unknown language id means the default table (23.040 9.2.3.24.15)."""
    basic = national.LOCKING.get(locking, _BASIC)
    extension = national.SINGLE.get(single, _EXTENSION)
    if strict:
        _require_defined(septets, basic, extension)
    text: list[str] = []
    codes = iter(septets)
    for code in codes:
        if code != ESC:
            text.append(basic.get(code, " " if code < 128 else chr(code)))
            continue
        code = next(codes, ESC)
        text.append(" " if code == ESC else extension.get(code, basic.get(code, " ")))
    return "".join(text)


def _require_defined(septets: bytes, basic: Mapping[int, str], extension: Mapping[int, str]) -> None:
    codes = iter(septets)
    for code in codes:
        if code == ESC:
            code = next(codes, ESC)
            if code == ESC or code not in extension:
                raise Undecodable("an escape that no extension table defines")
        elif code not in basic:
            raise Undecodable(f"0x{code:02x} is no GSM 7-bit character")


def latin1_encode(text: str) -> bytes:
    """ISO 8859-1, data_coding 3. Raises Unencodable."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise _unencodable("latin1", text, _NOT_LATIN1) from None


def ucs2_encode(text: str) -> bytes:
    """UTF-16 big endian without a byte order mark, data_coding 8. Raises Unencodable for a lone surrogate."""
    try:
        return text.encode("utf-16-be")
    except UnicodeEncodeError:
        raise _unencodable("ucs2", text, _SURROGATE) from None


def ucs2_decode(octets: bytes, *, strict: bool = False) -> str:
    """UTF-16; big endian unless a byte order mark says otherwise.

    An odd length is a NUL too many, or the low NUL octet of a last character like U+4E00 taken off by a peer
    that strips NULs. Raises Undecodable if strict.
    """
    codec = "utf-16-be"
    if octets[:2] == b"\xff\xfe":
        octets, codec = octets[2:], "utf-16-le"
    elif octets[:2] == b"\xfe\xff":
        octets = octets[2:]
    if strict:
        try:
            return octets.decode(codec)
        except UnicodeDecodeError as error:
            raise Undecodable(str(error)) from None
    if len(octets) & 1:
        octets = octets[:-1] if octets[-1] == 0 else octets + b"\0"
    return octets.decode(codec, "replace")


def _unencodable(alphabet: str, text: str, wrong: re.Pattern[str]) -> Unencodable:
    positions = tuple(match.start() for match in wrong.finditer(text))
    return Unencodable(alphabet, text, positions[:100])


def cheapest(text: str) -> int:
    """GSM7 if every character is in the default or extension table, else UCS2. Latin-1 is never automatic."""
    if is_basic(text):
        return GSM7
    return UCS2 if _NOT_GSM7.search(text) else GSM7


def is_gsm7(text: str) -> bool:
    """Whether the default and extension tables have every character."""
    return is_basic(text) or not _NOT_GSM7.search(text)


def outside_gsm7(text: str) -> tuple[int, ...]:
    """Positions of the characters that force a text into UCS-2; the first 100 of them."""
    return tuple(match.start() for match in islice(_NOT_GSM7.finditer(text), 100))


def is_basic(text: str) -> bool:
    """Does one septet carry each character?"""
    try:
        return text.encode("latin-1").translate(_FROM_LATIN1).isascii()
    except UnicodeEncodeError:
        return False


def encode(text: str, encoding: int) -> bytes:
    """`text` under GSM7, LATIN1 or UCS2. Raises Unencodable."""
    if encoding == GSM7:
        return gsm7_encode(text)
    return ucs2_encode(text) if encoding == UCS2 else latin1_encode(text)


def decode(octets: bytes, encoding: int) -> str:
    """Octets of a peer as text, never raising. Octets above 0x7F: it was Latin-1 in truth."""
    if encoding == UCS2:
        return ucs2_decode(octets)
    if encoding == GSM7 and octets.isascii():
        return gsm7_decode(octets)
    return octets.decode("latin-1")


def encoding_of(data_coding: int, default: int = GSM7) -> int:
    """The encoding a data_coding names (SMPP 3.4 section 5.2.19, 3GPP TS 23.038 section 4).

    `default` is what the peer's SMSC default alphabet (data_coding 0) is. Character sets we do not read (JIS,
    Cyrillic, Hebrew, pictograms…) come out as BINARY: kept, not guessed.
    """
    if data_coding < 0x10:
        return _BY_DATA_CODING.get(data_coding, BINARY) if data_coding else default
    group = data_coding >> 4
    if group == 0xF:
        return BINARY if data_coding & 0x04 else GSM7
    if group == 0xE:
        return UCS2
    if group in (0xC, 0xD):
        return GSM7
    if group < 8:
        return (GSM7, BINARY, UCS2, BINARY)[data_coding >> 2 & 3]
    return BINARY


_BY_DATA_CODING: Final = {1: LATIN1, 2: BINARY, 3: LATIN1, 4: BINARY, 8: UCS2}
DATA_CODING: Final = {GSM7: 0, LATIN1: 3, UCS2: 8, BINARY: 4}


def pack(septets: bytes, *, fill_bits: int = 0) -> bytes:
    """Septets packed to octets (23.038 section 6.1.2.1), after `fill_bits` zero bits.

    Seven spare bits at the end are filled with a CR, which a receiver drops, and not with zeros, which it
    would show as "@" (section 6.1.2.3.1): SMPP carries no count of septets.
    """
    length = 7 * len(septets) + fill_bits
    if length % 8 == 1 and septets:
        septets, length = septets + b"\r", length + 7
    bits = 0
    for position, septet in enumerate(septets):
        bits |= (septet & 0x7F) << (7 * position)
    return (bits << fill_bits).to_bytes((length + 7) // 8, "little")


def unpack(octets: bytes, count: int | None = None, *, fill_bits: int = 0) -> bytes:
    """The septets in packed octets: `count` of them, or as many as fit.

    Without a count, seven spare bits at the end look like one more septet: a last 0x00 or CR that fills an
    octet border is taken for padding (23.038 section 6.1.2.3.1).
    """
    bits = int.from_bytes(octets, "little") >> fill_bits
    fit = (8 * len(octets) - fill_bits) // 7
    length = fit if count is None else min(count, fit)
    septets = bytes([bits >> (7 * position) & 0x7F for position in range(length)])
    exact = (8 * len(octets) - fill_bits) % 7 == 0
    if count is None and exact and septets[-1:] in (b"\0", b"\r"):
        return septets[:-1]
    return septets
