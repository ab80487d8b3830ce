"""What a routing rule asks of a message: its conditions as values, and which of them keeps a message out.

A `Match` holds when all its conditions hold; a condition is a tuple of what is allowed, () = anything. In
`none_of` each condition that is given leaves out what it names. Prefixes, those taken and those left out, are
decided together: the longest one that a number begins with speaks for the rule.

Texts are matched by globs found anywhere in them, not by regular expressions: Python's `re` backtracks
without a limit of time, so one careless pattern could stop the gateway for minutes. A glob's pieces are
looked for one after the other and never again, in the first TEXT_LOOKED_AT characters only: at worst pattern
× text steps.

Invariants: `why_not` is what the compiled table (router.routes) must agree with; a fact of the number that
nobody knows ("") is in no list. Deliberately not here: which rule wins, zones and files (config.routing makes
these values), what is known of numbers (router.knowledge).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property, lru_cache

import msgspec

from router.knowledge import Knowledge
from router.nouns import Encoding, MessageClass
from router.numbers import SHORT_CODE, TON_ALPHANUMERIC

TEXT_LOOKED_AT = 2_000  # characters from the beginning of a text
PATTERN_LONGEST = 200
PATTERN_STARS = 8
SENDER_TYPES = ("alphanumeric", "short_code", "long_code")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
LATEST_MS = 253_402_214_400_000  # UTC; the year 9999 has a day left: later there is no date in eastern zones

Found = Callable[[str], bool]


class Facts(msgspec.Struct, frozen=True):
    """One message as rules see it. `at_ms`: when it is to leave, UTC. `text` is "" for binary data."""

    destination: str
    source: str = ""
    source_ton: int = 0
    account: str = ""
    group: str = ""
    message_class: int = MessageClass.TRANSACTIONAL
    tags: tuple[str, ...] = ()
    text: str = ""
    encoding: int = Encoding.GSM7
    segments: int = 1
    at_ms: int = 0


class Window(msgspec.Struct, frozen=True):
    """Times of a zone. `hours` are minutes of the day, from ≤ minute < to; one that ends before it begins
    goes over midnight, and belongs to the day on which it began. `days`: 0 = Monday. `dates`: (first, last)
    as proleptic ordinals, last included. () = any.
    """

    zone: tzinfo = UTC
    zone_name: str = "UTC"
    hours: tuple[tuple[int, int], ...] = ()
    days: tuple[int, ...] = ()
    dates: tuple[tuple[int, int], ...] = ()

    def holds(self, at_ms: int) -> bool:
        """Whether this moment (UTC, before LATEST_MS) is inside."""
        local = datetime.fromtimestamp(at_ms // 1000, self.zone)
        today = local.toordinal()
        minute = local.hour * 60 + local.minute
        for begin, end in self.hours or ((0, DAY_MINUTES),):
            if begin < end:
                if begin <= minute < end and self._on(today):
                    return True
            elif (minute >= begin and self._on(today)) or (minute < end and self._on(today - 1)):
                return True
        return False

    def _on(self, ordinal: int) -> bool:
        if self.days and (ordinal - 1) % 7 not in self.days:
            return False
        return not self.dates or any(first <= ordinal <= last for first, last in self.dates)

    def said(self) -> str:
        """For people."""
        parts = [f"{_clock(begin)}-{_clock(end)}" for begin, end in self.hours]
        parts += [DAYS[day] for day in self.days]
        parts += [
            _date(first) if first == last else f"{_date(first)}..{_date(last)}" for first, last in self.dates
        ]
        return f"{', '.join(parts) or 'always'} ({self.zone_name})"

    def last_ms(self) -> int | None:
        """The end of its last date, UTC; None: it goes on for ever."""
        if not self.dates:
            return None
        end = datetime.fromordinal(max(last for _, last in self.dates)) + timedelta(days=2)
        return int(end.replace(tzinfo=self.zone).timestamp() * 1000)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _date(ordinal: int) -> str:
    return datetime.fromordinal(ordinal).date().isoformat()


class Match(msgspec.Struct, frozen=True):
    """The conditions of one rule. Prefixes are digits; `mcc_mncs` are MCCs (3 digits) or whole (5, 6).
    `none_of` has no prefixes and no `none_of` of its own."""

    prefixes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # prefixes
    countries: tuple[str, ...] = ()
    number_types: tuple[str, ...] = ()
    mcc_mncs: tuple[str, ...] = ()
    ported: tuple[bool, ...] = ()
    senders: tuple[str, ...] = ()  # exact, or globs for the whole sender
    sender_types: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()  # any of the message's
    texts: tuple[str, ...] = ()  # globs, found anywhere
    encodings: tuple[int, ...] = ()
    min_segments: int = 0  # 0 = any
    max_segments: int = 0
    window: Window | None = None
    none_of: Match | None = None

    @property
    def prefix_only(self) -> bool:
        """Nothing is asked for but the beginning of the number."""
        return self == Match(prefixes=self.prefixes)


ANY = Match()


# what is asked about a message


def sender_type(source: str, ton: int) -> str:
    """One of SENDER_TYPES."""
    if ton == TON_ALPHANUMERIC or not (source.isascii() and source.isdigit()):
        return "alphanumeric"
    return "short_code" if len(source) <= SHORT_CODE else "long_code"


def prefix_holds(match: Match, destination: str) -> bool:
    """By the longest beginning that the rule names."""
    for length in range(len(destination), -1, -1):
        if destination[:length] in match.left_out:
            return False
        if destination[:length] in match.prefixes:
            return True
    return not match.prefixes


def network_holds(wanted: Iterable[str], mcc_mnc: str) -> bool:
    """Whether a network is, or is of a country that is, among these."""
    return bool(mcc_mnc) and (mcc_mnc in wanted or mcc_mnc[:3] in wanted)


def is_pattern(text: str) -> bool:
    """Whether a sender is written as a glob."""
    return "*" in text or "?" in text or "#" in text


def pattern_head(text: str) -> str:
    """What every sender that fits begins with."""
    return re.split(r"[*?#]", text, maxsplit=1)[0]


def sender_found(patterns: Iterable[str]) -> Found:
    """Whether a whole sender is one of these: exact, or with `*`, `?` and `#`."""
    exact = frozenset(one for one in patterns if not is_pattern(one))
    pieces = [_Glob(one, whole=True) for one in patterns if is_pattern(one)]
    return lambda source: source in exact or any(one.found(source) for one in pieces)


def folded_text(text: str) -> str:
    """What `text_found` looks at: as much as is looked at, whatever the case."""
    return text[:TEXT_LOOKED_AT].casefold()


def text_found(patterns: Sequence[str]) -> Found:
    """Whether one of these globs is found in a `folded_text`. An empty one holds none."""
    words = [_longest_word(one.casefold()) for one in patterns]
    globs = [
        None if one.casefold() == word else _Glob(one.casefold(), whole=False)
        for one, word in zip(patterns, words, strict=True)
    ]
    asked = tuple(zip(words, globs, strict=True))

    def found(folded: str) -> bool:
        if not folded:
            return False
        return any(word in folded and (glob is None or glob.found(folded)) for word, glob in asked)

    return found


def _longest_word(pattern: str) -> str:
    """What every text in which it is found contains."""
    return max(re.split(r"[*?#]", pattern), key=len)


def pattern_problem(pattern: str) -> str:
    """What is wrong with a glob, "" = nothing."""
    if not pattern.strip("*"):
        return "it fits every text"
    if len(pattern) > PATTERN_LONGEST:
        return f"it has {len(pattern)} characters, at most {PATTERN_LONGEST}"
    if pattern.count("*") > PATTERN_STARS:
        return f"it has {pattern.count('*')} stars, at most {PATTERN_STARS}"
    return ""


class _Glob:
    """`*` any characters, `?` one, `#` one digit. Each piece between stars has a fixed length, so that
    looking for it once from the left, after the piece before it, is enough."""

    __slots__ = ("_last", "_pieces", "_whole")

    def __init__(self, pattern: str, *, whole: bool) -> None:
        self._whole = whole
        pieces = pattern.split("*")
        self._pieces = [re.compile(_fixed(piece), re.DOTALL) for piece in pieces]
        self._last = len(pieces[-1])

    def found(self, text: str) -> bool:
        first, *rest = self._pieces
        begun = first.match(text) if self._whole else first.search(text)
        if begun is None:
            return False
        at = begun.end()
        if not self._whole:
            return all((at := _after(piece, text, at)) >= 0 for piece in rest)
        if not rest:
            return at == len(text)
        *middle, last = rest
        if not all((at := _after(piece, text, at)) >= 0 for piece in middle):
            return False
        begin = len(text) - self._last
        return begin >= at and last.match(text, begin) is not None


def _fixed(piece: str) -> str:
    return "".join("." if one == "?" else "[0-9]" if one == "#" else re.escape(one) for one in piece)


def _after(piece: re.Pattern[str], text: str, at: int) -> int:
    found = piece.search(text, at)
    return -1 if found is None else found.end()


# why a rule does not take a message: the slow way, for people; router.routes is the fast one


class Matchers:
    """The patterns of one rule, each kind compiled when a message is first asked about it."""

    def __init__(self, match: Match) -> None:
        self._match = match

    @cached_property
    def sender(self) -> Found:
        return sender_found(self._match.senders)

    @cached_property
    def text(self) -> Found:
        """Of a whole text, as it is."""
        found = text_found(self._match.texts)
        return lambda text: found(_folded_once(text))

    @cached_property
    def none_of(self) -> Matchers:
        return Matchers(self._match.none_of or ANY)


_folded_once = lru_cache(maxsize=8)(folded_text)  # all rules ask about the same one


def why_not(
    match: Match, facts: Facts, numbers: Knowledge, prefix: bool | None = None, found: Matchers | None = None
) -> str:
    """The first condition that keeps the message out: its name, a colon, in words why; "" = it matches.

    `prefix`: whether the number's beginning is right, where that is known already. `found`: the rule's
    patterns, where they were asked before.
    """
    found = found or Matchers(match)
    if not (prefix_holds(match, facts.destination) if prefix is None else prefix):
        return f"prefix: {facts.destination} is not of its prefixes"
    for name, condition in _CONDITIONS.items():
        problem = condition(match, facts, numbers, found)
        if problem:
            return f"{name}: {problem}"
    if match.none_of is not None:
        for name, condition in _CONDITIONS.items():
            if _given(match.none_of, name) and not condition(match.none_of, facts, numbers, found.none_of):
                return f"not.{name}: it is one that the rule leaves out"
    return ""


def _one_of(value: str, wanted: tuple[str, ...], what: str) -> str:
    if not wanted or value in wanted:
        return ""
    return what or f"{value or 'unknown'}, and not {_listed(wanted)}"


def _listed(wanted: tuple[str, ...]) -> str:
    shown = ", ".join(wanted[:5])
    return f"{shown} and {len(wanted) - 5} more" if len(wanted) > 5 else shown


def _country(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    return _one_of(numbers.country(facts.destination), match.countries, "") if match.countries else ""


def _number_type(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if not match.number_types:
        return ""
    return _one_of(numbers.number_type(facts.destination), match.number_types, "")


def _mcc_mnc(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if not match.mcc_mncs:
        return ""
    network = numbers.mcc_mnc(facts.destination)
    if network_holds(match.mcc_mncs, network):
        return ""
    return f"{network or 'unknown'}, and not {_listed(match.mcc_mncs)}"


def _ported(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if not match.ported or numbers.ported(facts.destination) in match.ported:
        return ""
    return "it is not" if True in match.ported else "it is"


def _sender(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if not match.senders or found.sender(facts.source):
        return ""
    return f"{facts.source}, and not {_listed(match.senders)}"


def _sender_type(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    return _one_of(sender_type(facts.source, facts.source_ton), match.sender_types, "")


def _account(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    return _one_of(facts.account, match.accounts, f"{facts.account or 'none'} is not one of its accounts")


def _group(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    return _one_of(facts.group, match.groups, f"{facts.group or 'none'} is not one of its groups")


def _class(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if not match.classes or facts.message_class in match.classes:
        return ""
    wanted = tuple(MessageClass(one).name.lower() for one in match.classes)
    return f"{MessageClass(facts.message_class).name.lower()}, and not {_listed(wanted)}"


def _tag(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if not match.tags or any(tag in match.tags for tag in facts.tags):
        return ""
    return f"it has none of {_listed(match.tags)}"


def _text(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if not match.texts or found.text(facts.text):
        return ""
    return f"nothing in it is as {_listed(match.texts)}"


def _encoding(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if not match.encodings or facts.encoding in match.encodings:
        return ""
    wanted = tuple(Encoding(one).name.lower() for one in match.encodings)
    return f"{Encoding(facts.encoding).name.lower()}, and not {_listed(wanted)}"


def _segments(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if match.min_segments and facts.segments < match.min_segments:
        return f"{facts.segments}, and not at least {match.min_segments}"
    if match.max_segments and facts.segments > match.max_segments:
        return f"{facts.segments}, and not at most {match.max_segments}"
    return ""


def _window(match: Match, facts: Facts, numbers: Knowledge, found: Matchers) -> str:
    if match.window is None or match.window.holds(facts.at_ms):
        return ""
    local = datetime.fromtimestamp(facts.at_ms // 1000, match.window.zone)
    return f"{local:%a %Y-%m-%d %H:%M} there is not in {match.window.said()}"


_CONDITIONS: dict[str, Callable[[Match, Facts, Knowledge, Matchers], str]] = {
    "account": _account,
    "group": _group,
    "class": _class,
    "sender": _sender,
    "sender_type": _sender_type,
    "tag": _tag,
    "encoding": _encoding,
    "segments": _segments,
    "time": _window,
    "country": _country,
    "number_type": _number_type,
    "mcc_mnc": _mcc_mnc,
    "ported": _ported,
    "text": _text,
}
_FIELDS = {
    "account": "accounts",
    "group": "groups",
    "class": "classes",
    "sender": "senders",
    "sender_type": "sender_types",
    "tag": "tags",
    "encoding": "encodings",
    "segments": "min_segments",
    "time": "window",
    "country": "countries",
    "number_type": "number_types",
    "mcc_mnc": "mcc_mncs",
    "ported": "ported",
    "text": "texts",
}


def _given(match: Match, name: str) -> bool:
    if name == "segments":
        return bool(match.min_segments or match.max_segments)
    return bool(getattr(match, _FIELDS[name]))
