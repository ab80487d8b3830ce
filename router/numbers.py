"""Recipients and senders as people write them, to what SMPP carries.

`normalise` gives E.164 digits without +. A number is accepted when its country calling code exists and its
length is possible there; the lengths are compiled at import from phonenumbers' metadata (some 50 ms, no
geocoder). That is a shape check: whether the number is in use only the carrier knows.

Invariants: every refusal is a NumberProblem that says what is allowed; what is accepted is 7 to 15 ASCII
digits; a sender of digits and a name never mix up.

Deliberately not here: number portability, carriers' number formats (gateway.carriers.render), routes.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from phonenumbers.phonemetadata import PhoneMetadata

from router.plans import metadata_of

Sender = tuple[str, int, int]  # text, TON, NPI

LONGEST = 15
START = 3  # digits that tell its country
SHORT_CODE = 8  # a sender of up to so many digits, without +, is a short code
NAME_LONGEST = 11
TON_INTERNATIONAL, TON_NETWORK, TON_ALPHANUMERIC = 1, 3, 5
NPI_UNKNOWN, NPI_ISDN = 0, 1

_DROPPED = {ord(letter): None for letter in " -./()\t\u00a0\u2009\u202f\u2010\u2011\u2012\u2013\u200b\u2060"}
_TRUNK_ZERO = re.compile(r"\(0\)")
# GSM 03.38's basic alphabet as far as Latin-1 carries it too; no control characters.
_NAME_LETTERS = frozenset(
    "@£$¥èéùìòÇØøÅåÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà_"
)


class NumberProblem(ValueError):
    """`code` is a stable word: no-number, not-a-number, unknown-country, impossible-length, bad-sender."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _lengths() -> dict[str, int]:
    """Country calling code → bit mask of the possible lengths of whole numbers."""
    plan: dict[str, int] = {}
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        text, mask = str(code), 0
        for region in regions:
            metadata = metadata_of(code, region)
            general = metadata.general_desc if metadata is not None else None
            for length in general.possible_length if general is not None else ():
                if 0 < length <= LONGEST - len(text):
                    mask |= 1 << (length + len(text))
        plan[text] = mask
    return plan


_PLAN = _lengths()
# A number's first three digits → the same bit mask: no country calling code begins as another one.
_BY_START = {
    start: _PLAN.get(start[:1]) or _PLAN.get(start[:2]) or _PLAN.get(start, 0)
    for start in map("{:03}".format, range(1000))
}


def normalise(text: str, default_region: str = "") -> str:
    """E.164 digits of a recipient. `default_region` ("GB", "" = none) is for numbers without country code.

    With a region, a number without + or 00 is first read as one of that country, then as an international
    one. Raises NumberProblem.
    """
    digits = text.removeprefix("+")
    if not digits.isascii() or not digits.isdigit():
        return _normalise_written(text, default_region)
    if digits is text:
        if default_region:
            return _without_plus(digits, default_region)
        digits = digits.removeprefix("00")
    if _BY_START.get(digits[:START], 0) >> len(digits) & 1:
        return digits
    return _corrected(digits)


def lengths_of(digits: str) -> int:
    """How long a number that begins like this can be, in E.164 digits, as a bit mask."""
    return _BY_START.get(digits[:START], 0)


def sender_of(text: str, default_region: str = "") -> Sender:
    """A sender with its TON and NPI: a number, a short code, or a name of up to 11 characters.

    Raises NumberProblem.
    """
    text = text.strip()
    if not text:
        raise NumberProblem(
            "bad-sender", "the sender is empty: give a number or a name of up to 11 characters"
        )
    digits = text.translate(_DROPPED)
    if digits.isascii() and digits.isdigit() and len(digits) <= SHORT_CODE and digits[0] != "0":
        return digits, TON_NETWORK, NPI_UNKNOWN
    if digits.lstrip("+").isdecimal():
        try:
            return normalise(text, default_region), TON_INTERNATIONAL, NPI_ISDN
        except NumberProblem as problem:
            raise NumberProblem("bad-sender", f"the sender looks like a number, but {problem}") from None
    return _name(text), TON_ALPHANUMERIC, NPI_UNKNOWN


def _name(text: str) -> str:
    strange = sorted({letter for letter in text if letter not in _NAME_LETTERS})
    if strange:
        shown = " ".join(letter if letter.isprintable() else f"U+{ord(letter):04X}" for letter in strange[:5])
        raise NumberProblem(
            "bad-sender",
            f"a sender's name may hold letters, digits and signs of the GSM alphabet, not {shown}",
        )
    if not any(letter.isalnum() for letter in text):
        raise NumberProblem("bad-sender", "a sender's name needs at least one letter or digit")
    if len(text) > NAME_LONGEST:
        raise NumberProblem(
            "bad-sender", f"a sender's name may have {NAME_LONGEST} characters, this one has {len(text)}"
        )
    return text


def _normalise_written(text: str, region: str) -> str:
    """The slow path: spaces, brackets, digits of other scripts."""
    plain = _TRUNK_ZERO.sub("", text.replace("＋", "+")).translate(_DROPPED)
    international = plain[:1] == "+"
    digits = plain[1:] if international else plain
    if not digits:
        raise NumberProblem("no-number", "the number is empty; write it as +447700900123")
    if not digits.isdecimal():
        strange = next(letter for letter in digits if not letter.isdecimal())
        raise NumberProblem(
            "not-a-number", f"{strange!r} does not belong in a number; write it as +447700900123"
        )
    ascii_digits = "".join(str(unicodedata.decimal(letter)) for letter in digits)
    return normalise("+" + ascii_digits if international else ascii_digits, region)


def _possible(digits: str) -> bool:
    return bool(lengths_of(digits) >> len(digits) & 1)


def _corrected(digits: str) -> str:
    """+44 0 7700 900123, as often written, without the trunk zero; else the refusal."""
    code = country_code(digits)
    if not code:
        raise NumberProblem(
            "unknown-country", f"no country has the code {digits[:3]}…; write the number as +447700900123"
        )
    national = digits[len(code) :]
    if national[:1] == "0" and _possible(code + national[1:]):
        return code + national[1:]
    allowed = [length for length in range(LONGEST + 1) if _PLAN[code] >> length & 1]
    raise NumberProblem(
        "impossible-length",
        f"a number of +{code} has {_said(allowed)} digits with the country code, this one has {len(digits)}",
    )


def country_code(digits: str) -> str:
    """The country calling code a number begins with, or ""."""
    return next((digits[:n] for n in (1, 2, 3) if digits[:n] in _PLAN), "")


def _said(lengths: list[int]) -> str:
    if len(lengths) > 2 and lengths[-1] - lengths[0] == len(lengths) - 1:
        return f"{lengths[0]} to {lengths[-1]}"
    return " or ".join(str(length) for length in lengths)


# numbers without a country code


class _Region:
    """How a country writes its own numbers."""

    def __init__(self, name: str) -> None:
        metadata = PhoneMetadata.metadata_for_region(name, None)
        if metadata is None or metadata.general_desc is None:
            raise ValueError(f"{name!r} is no region; use two letters as GB")
        self.code = str(metadata.country_code)
        self.abroad = re.compile(metadata.international_prefix or "00")
        self._trunk = re.compile(metadata.national_prefix_for_parsing or "(?!)")
        self._rewritten = metadata.national_prefix_transform_rule
        self._national = re.compile(str(metadata.general_desc.national_number_pattern))

    def fits(self, national: str) -> bool:
        return self._national.fullmatch(national) is not None and _possible(self.code + national)

    def without_trunk(self, digits: str) -> str:
        """Without the prefix that calls inside the country begin with."""
        found = self._trunk.match(digits)
        if found is None:
            return digits
        if self._rewritten and found.lastindex:
            return self._trunk.sub(self._rewritten, digits, count=1)
        return digits[found.end() :]


def known_region(name: str) -> bool:
    """Whether `default_region` may be this."""
    return PhoneMetadata.metadata_for_region(name, None) is not None


@cache
def _region(name: str) -> _Region:
    return _Region(name)


def _without_plus(digits: str, region_name: str) -> str:
    region = _region(region_name)
    national = region.without_trunk(digits)
    for candidate in (digits, national):
        if region.fits(candidate):
            return region.code + candidate
    abroad = region.abroad.match(digits)
    if abroad is not None and abroad.end():
        digits = digits[abroad.end() :]
    elif national != digits:
        return _corrected(region.code + national)
    return digits if _possible(digits) else _corrected(digits)
