"""Whose number is it, and what kind: phonenumbers' metadata as automata that read a number once.

`facts("447400123456")` is ("GB", "mobile"): the region by ISO 3166 and the type, both as phonenumbers says
them (`region_code_for_number`, `number_type`), in 0.5 us of CPU where the library takes 35. The library's
patterns of all regions of a calling code and of all types become one automaton, whose places and steps are
worked out when the first number needs them. So nothing is compiled at start; the first number of a calling
code costs some milliseconds (+1, the largest: 13), each new beginning some microseconds, and memory is
bounded by the number plans, not by traffic.

Invariants: every string of digits gets an answer; one that is no number of its country is of kind "unknown";
nothing here depends on which numbers came before.

Deliberately not here: reading numbers as people write them, possible lengths (router.numbers), whose network
a number belongs to (router.knowledge).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from phonenumbers.phonemetadata import PhoneMetadata

WORLD = "001"  # phonenumbers' region of numbers that are no country's, as +800 and +883 (UN M.49)
KINDS = (
    "mobile",
    "fixed",
    "fixed_or_mobile",  # where mobile and fixed numbers look alike, as in +1
    "toll_free",
    "premium",
    "shared",
    "voip",
    "personal",
    "pager",
    "uan",
    "voicemail",
    "unknown",  # of no type: not a valid number there
)

# In the order in which phonenumbers asks (phonenumberutil._number_type_helper); fixed and mobile come last.
_SPECIAL = {
    "premium_rate": "premium",
    "toll_free": "toll_free",
    "shared_cost": "shared",
    "voip": "voip",
    "personal_number": "personal",
    "pager": "pager",
    "uan": "uan",
    "voicemail": "voicemail",
}
_DESCRIPTIONS = ("general_desc", *_SPECIAL, "fixed_line", "mobile")
_LEADING = "leading_digits"
VALID = "valid"  # every kind but unknown
_DIGITS = "0123456789"
_NOWHERE: frozenset[int] = frozenset()


class Facts(NamedTuple):
    """`country`: two letters, "001" of numbers that are no country's, "" of no calling code. One of KINDS."""

    country: str
    kind: str


NOTHING = Facts("", "unknown")


def facts(digits: str) -> Facts:
    """Of a number in E.164 digits without +. Errors: none for ASCII digits.

    Where several countries share a calling code and the number is valid in none of them, its country is the
    one that the code is mainly used by.
    """
    node = _root
    for digit in digits:
        node = node[digit]
    found: Facts = node[len(digits)]
    return found


def kinds_of(words: Iterable[str]) -> frozenset[str] | None:
    """What `allowed_number_types` allows: KINDS and "valid"; None where that is every number."""
    found = frozenset(words)
    if VALID in found:
        found |= frozenset(KINDS) - {"unknown"}
    found &= frozenset(KINDS)
    return None if not found or len(found) == len(KINDS) else found


class _Node(dict[Any, Any]):
    """After some digits: the next digit → the next node, a number's whole length → its Facts."""

    __slots__ = ("places", "plan")

    def __init__(self, plan: _Plan, places: frozenset[int]) -> None:
        super().__init__()
        self.plan = plan
        self.places = places

    def __missing__(self, key: str | int) -> Any:
        if isinstance(key, int):
            found: object = self.plan.judge(self.places, key)
        else:
            found = self.plan.after(self.places, key)
        self[key] = found
        return found


class _Code(dict[Any, Any]):
    """Inside a calling code."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code

    def __missing__(self, key: str | int) -> Any:
        if isinstance(key, int):
            return NOTHING
        code = self.code + key
        known = code in _CODES
        found: object = _Plan(code).start() if known else _Code(code) if code in _BEGINNINGS else _nowhere
        self[key] = found
        return found


class _Nowhere(dict[Any, Any]):
    """No country has numbers that begin so."""

    def __missing__(self, key: str | int) -> Any:
        return NOTHING if isinstance(key, int) else self


class _Region:
    """One region of a calling code: what the metadata says beyond the patterns."""

    def __init__(self, code: str, name: str) -> None:
        self.name = name
        metadata: Any = metadata_of(int(code), name)
        self.patterns: dict[str, str] = {}
        self.lengths: dict[str, frozenset[int]] = {}
        for description in _DESCRIPTIONS:
            said = getattr(metadata, description)
            if said is not None and said.national_number_pattern:
                self.patterns[description] = said.national_number_pattern
                self.lengths[description] = frozenset(said.possible_length)
        self.leading = metadata.leading_digits is not None
        if self.leading:
            self.patterns[_LEADING] = metadata.leading_digits
        self.alike = bool(metadata.same_mobile_and_fixed_line_pattern)

    def kind(self, matched: set[str]) -> str:
        """By the descriptions that a number matches (phonenumberutil._number_type_helper)."""
        if "general_desc" not in matched:
            return "unknown"
        for description, kind in _SPECIAL.items():
            if description in matched:
                return kind
        if "fixed_line" in matched:
            return "fixed_or_mobile" if self.alike or "mobile" in matched else "fixed"
        return "mobile" if "mobile" in matched and not self.alike else "unknown"


class _Plan:
    """The numbers of one calling code. A place is where one pattern may stand; a node is all of them."""

    def __init__(self, code: str) -> None:
        self._regions = [_Region(code, name) for name in COUNTRY_CODE_TO_REGION_CODE[int(code)]]
        self._code_length = len(code)
        self._steps: list[dict[str, set[int]]] = []  # place → digit → places
        self._ends: dict[int, tuple[int, str]] = {}  # place where a pattern ends → region, description
        self._nodes: dict[frozenset[int], _Node] = {}
        self._facts: dict[tuple[str, str], Facts] = {}
        first: set[int] = set()
        for number, region in enumerate(self._regions):
            for description, pattern in region.patterns.items():
                end = self._place()
                self._ends[end] = (number, description)
                if description == _LEADING:  # whatever follows
                    self._steps[end] = {digit: {end} for digit in _DIGITS}
                first |= _Pattern(pattern, self).before({end})
        self._first = frozenset(first)

    def start(self) -> _Node:
        return self._node(self._first)

    def after(self, places: frozenset[int], digit: str) -> _Node:
        following: set[int] = set()
        for place in places:
            following |= self._steps[place].get(digit, _NOWHERE)
        return self._node(frozenset(following))

    def judge(self, places: frozenset[int], length: int) -> Facts:
        """Of a number that ends here, `length` digits with its calling code."""
        length -= self._code_length
        matched: list[set[str]] = [set() for _ in self._regions]
        for place in places:
            if place in self._ends:
                number, description = self._ends[place]
                lengths = self._regions[number].lengths.get(description)
                if not lengths or length in lengths:
                    matched[number].add(description)
        kinds = [region.kind(one) for region, one in zip(self._regions, matched, strict=True)]
        chosen = 0
        for number, region in enumerate(self._regions if len(self._regions) > 1 else ()):
            if _LEADING in matched[number] if region.leading else kinds[number] != "unknown":
                chosen = number
                break
        found = self._regions[chosen].name, kinds[chosen]
        return self._facts.setdefault(found, Facts(*found))

    def _node(self, places: frozenset[int]) -> _Node:
        node = self._nodes.get(places)
        if node is None:
            node = self._nodes[places] = _Node(self, places)
        return node

    # what _Pattern builds with

    def _place(self) -> int:
        self._steps.append({})
        return len(self._steps) - 1

    def step(self, digits: Iterable[str], following: set[int]) -> int:
        """A place from where each of the digits leads to the places of `following`."""
        place = self._place()
        self._steps[place] = dict.fromkeys(digits, following)
        return place


class _Pattern:
    """A regular expression of the metadata: digits, \\d, [0-9], (?:…), |, ?, {n} and {n,m}.

    `before(following)` is the places from where it leads to `following`. Errors: ValueError, where the
    metadata use something else (a test compiles all of them).
    """

    def __init__(self, text: str, plan: _Plan) -> None:
        self._plan = plan
        self._text = text
        self._at = 0
        self._branches = self._alternatives()
        if self._at != len(text):
            raise ValueError(f"cannot read the pattern {text!r} at {self._at}")

    def before(self, following: set[int]) -> set[int]:
        return self._of_branches(self._branches, following)

    # reading: a piece is (what, least, most), what is digits or branches, branches are lists of pieces

    def _alternatives(self) -> list[list[Any]]:
        branches: list[list[Any]] = [[]]
        while self._at < len(self._text) and self._text[self._at] != ")":
            if self._text[self._at] == "|":
                self._at += 1
                branches.append([])
            else:
                branches[-1].append(self._piece())
        return branches

    def _piece(self) -> tuple[Any, int, int]:
        text, at = self._text, self._at
        what: Any
        if text.startswith("(?:", at):
            self._at = at + 3
            what = self._alternatives()
            self._at += 1
        elif text.startswith("\\d", at):
            what, self._at = _DIGITS, at + 2
        elif text[at] == "[":
            end = text.index("]", at)
            what, self._at = _class(text[at + 1 : end]), end + 1
        elif text[at] in _DIGITS:
            what, self._at = text[at], at + 1
        else:
            raise ValueError(f"cannot read the pattern {text!r} at {at}")
        return (what, *self._times())

    def _times(self) -> tuple[int, int]:
        text, at = self._text, self._at
        if text.startswith("?", at):
            self._at += 1
            return 0, 1
        if text.startswith("{", at):
            end = text.index("}", at)
            least, _, most = text[at + 1 : end].partition(",")
            self._at = end + 1
            return int(least), int(most or least)
        return 1, 1

    # building, from the end to the beginning

    def _of_branches(self, branches: list[list[Any]], following: set[int]) -> set[int]:
        found: set[int] = set()
        for branch in branches:
            after = following
            for what, least, most in reversed(branch):
                after = self._repeated(what, least, most, after)
            found |= after
        return found

    def _repeated(self, what: Any, least: int, most: int, following: set[int]) -> set[int]:
        after = following
        for count in range(most, 0, -1):
            once = {self._plan.step(what, after)} if isinstance(what, str) else self._of_branches(what, after)
            after = once | following if count > least else once
        return after


def _class(text: str) -> str:
    """The digits of `0-58` between its brackets."""
    found, at = "", 0
    while at < len(text):
        if text[at + 1 : at + 2] == "-":
            found += _DIGITS[int(text[at]) : int(text[at + 2]) + 1]
            at += 3
        else:
            found += _DIGITS[int(text[at])]
            at += 1
    return found


def metadata_of(code: int, region: str) -> PhoneMetadata | None:
    """phonenumbers' metadata of a region of a calling code."""
    if region == WORLD:
        return PhoneMetadata.metadata_for_nongeo_region(code, None)
    return PhoneMetadata.metadata_for_region(region, None)


_CODES = frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE))
_BEGINNINGS = frozenset(code[:n] for code in _CODES for n in (1, 2))
_nowhere = _Nowhere()
_root: dict[Any, Any] = _Code("")
