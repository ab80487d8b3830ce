"""A cheaper way for one carrier to carry a text that would be UCS-2: national language shift tables (3GPP TS
23.038 annex A) and likenesses of GSM 03.38, as far as the carrier's configuration allows either.

A text under a national table is septets with a user data header that names the table (23.040 sections
9.2.3.24.15 single shift, IEI 0x24, and 9.2.3.24.16 locking shift, 0x25): 155 septets alone and 149 in a part
with one of the two, 152 and 146 with both. So a table is worth its header only where it saves a segment, and
UCS-2, which every handset reads, is kept where nothing does.

Invariants: what is found needs fewer segments than UCS-2; of several the fewest segments, then the fewest
characters changed, then the shortest header. Nothing is found for a text that GSM 7-bit carries.

Deliberately not here: the tables (national), the likenesses (transliterate), cutting (segment), whose choice
it is (config, gateway.carriers.render).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from smpp import alphabet, national
from smpp.alphabet import GSM7, UCS2, TextError, Unencodable
from smpp.segment import IEI_LOCKING_SHIFT, IEI_SINGLE_SHIFT, carries, count
from smpp.transliterate import transliterate


class Tables(NamedTuple):
    """Language ids of the two tables in force; 0 = the default one."""

    locking: int = 0
    single: int = 0

    @property
    def header(self) -> bytes:
        """The user data header that says so, with its length octet; b"" for the default tables."""
        elements = b""
        if self.single:
            elements += bytes((IEI_SINGLE_SHIFT, 1, self.single))
        if self.locking:
            elements += bytes((IEI_LOCKING_SHIFT, 1, self.locking))
        return bytes((len(elements),)) + elements if elements else b""

    @property
    def said(self) -> str:
        """In words; "" for the default tables."""
        tables = (("locking", self.locking), ("single", self.single))
        return ", ".join(f"{_NAMES[language]} {kind} shift" for kind, language in tables if language)


_NAMES: Final = {language: name for name, language in national.LANGUAGES.items()}


class Way(NamedTuple):
    """`text` as it is sent, `septets` unpacked, under the header of `tables`; `changed`: characters of the
    original that were given up for their likenesses."""

    segments: int
    changed: int
    tables: Tables
    text: str
    septets: bytes


class Allowed(NamedTuple):
    """What a carrier may be sent instead of UCS-2. `own`: the characters of GSM 7-bit that its data_coding 0
    has; `lockings` and `singles`: ids of shift tables; `likenesses`: of what it has not."""

    own: frozenset[str]
    lockings: tuple[int, ...] = ()
    singles: tuple[int, ...] = ()
    likenesses: bool = False


def allowed(
    shift: str, languages: Sequence[str] = (), likenesses: bool = False, carrier_alphabet: str = "gsm7"
) -> Allowed | None:
    """`shift`: none, single, locking or both; `languages`: names of national.LANGUAGES, none = all.

    None where nothing is allowed.
    """
    ids = sorted(national.LANGUAGES[one] for one in languages) or list(national.LANGUAGES.values())
    lockings = tuple(one for one in ids if one in national.LOCKING) if shift in ("locking", "both") else ()
    singles = tuple(one for one in ids if one in national.SINGLE) if shift in ("single", "both") else ()
    if not (lockings or singles or likenesses):
        return None
    own = frozenset(one for one in alphabet.GSM7_CHARACTERS if carries(carrier_alphabet, one))
    return Allowed(own, lockings, singles, likenesses)


@lru_cache(maxsize=512)  # the segments of a text are counted at accept and made when it is sent
def cheaper(text: str, may: Allowed, method: str = "udh8") -> Way | None:
    """The best way for a text that is UCS-2 otherwise; None where none needs fewer segments than that.

    Some 50 us for a text of 100 characters; texts that were asked for lately are remembered.
    """
    outside = set(text) - may.own
    if not outside:
        return None
    try:
        most = count(text, UCS2, method=method)
    except Unencodable:
        return None
    if most == 1:
        return None
    alone = {one for one in outside if not may.likenesses or transliterate(one, may.own) == one}
    ways = []
    for tables in _pairs(may, outside):
        table = alphabet.encoder(*tables).keys()
        if alone <= table:  # what has no likeness
            whole = text if outside <= table and set(text) <= table else None
            if whole is None and may.likenesses:
                whole = transliterate(text, table)
            if whole is not None:
                ways.append(_way(text, whole, tables, method))
    if may.likenesses and not alone:
        alike = transliterate(text, may.own)
        if set(alike) <= may.own:
            ways.append(_way(text, alike, Tables(), method))
    return min((way for way in ways if way is not None and way.segments < most), key=_dear, default=None)


def _pairs(may: Allowed, outside: set[str]) -> Iterator[Tables]:
    """Tables that have any of the characters that the default ones lack."""
    lockings = [one for one in may.lockings if not outside.isdisjoint(_LOCKED[one])]
    singles = [one for one in may.singles if not outside.isdisjoint(_SHIFTED[one])]
    for locking in (0, *lockings):
        for single in (0, *singles):
            if locking or single:
                yield Tables(locking, single)


_LOCKED: Final = {language: frozenset(table.values()) for language, table in national.LOCKING.items()}
_SHIFTED: Final = {language: frozenset(table.values()) for language, table in national.SINGLE.items()}


def _dear(way: Way) -> tuple[int, int, int, bool, int]:
    tables = way.tables
    mixed = bool(tables.locking and tables.single and tables.locking != tables.single)
    return way.segments, way.changed, len(tables.header), mixed, len(way.septets)


def _way(original: str, text: str, tables: Tables, method: str) -> Way | None:
    table = alphabet.encoder(*tables)
    if not set(text) <= table.keys():
        return None
    septets = alphabet.national_encode(text, *tables)
    changed = 0 if text == original else sum(one not in table for one in original)
    try:
        return Way(count(septets, GSM7, method=method, udh=tables.header), changed, tables, text, septets)
    except TextError:  # its header leaves no room
        return None


__all__ = ["Allowed", "Tables", "Way", "allowed", "cheaper"]
