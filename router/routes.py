"""Which route a message takes: rules in order, the first that matches wins.

Compiled once. Where all rules ask for nothing but prefixes, each known prefix is given its route, so that the
longest known prefix of a number answers at once, with one dictionary look-up for each prefix length in use.

Else a set of rules is an integer with a bit for each, the first rule's the lowest. For each kind of condition
there is a table from a value to the set of rules that take it; `decide` intersects these sets, and what is
left is asked in order for the little that has no table (patterns of senders and texts). What has to be looked
up about a number is looked up when the first rule left over asks for it. So a decision costs about the same
with ten rules and with a thousand.

Invariants: immutable, but for remembered answers to pure questions; swapped as a whole on reload; `decide`
says what asking each rule by router.rules.why_not would.

Deliberately not here: configuration types (config.routing builds plain `Route`s), lanes as queues, carriers'
state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from router.knowledge import PLAIN, Knowledge
from router.rules import (
    ANY,
    Facts,
    Found,
    Match,
    Matchers,
    Window,
    folded_text,
    is_pattern,
    network_holds,
    pattern_head,
    sender_found,
    sender_type,
    text_found,
    why_not,
)

_MINUTE_MS = 60_000
_REMEMBERED = 4_096  # values of one kind


class Route(msgspec.Struct, frozen=True):
    """One rule. `lane` is the store's lane id."""

    name: str
    lane: int
    match: Match = ANY
    reject_when_down: bool = False
    tps: float = 0.0  # 0 = no limit of its own
    burst: int = 1
    max_queue_age_s: int = 0  # 0 = as long as it is valid


class Considered(NamedTuple):
    """One rule that was asked; `why_not` is "" for the one that takes the message."""

    route: Route
    why_not: str


class RouteTable:
    """`prefix_only`: `match` knows all that there is to ask; else ask `decide`."""

    __slots__ = ("_by_prefix", "_lengths", "_matchers", "_rules", "numbers", "prefix_only", "routes")

    def __init__(self, routes: Sequence[Route], numbers: Knowledge = PLAIN) -> None:
        self.routes = tuple(routes)
        self.numbers = numbers
        for route in self.routes:
            _check_prefixes(route)
        self.prefix_only = all(route.match.prefix_only for route in self.routes)
        self._by_prefix, self._lengths = _by_prefix(self.routes) if self.prefix_only else ({}, ())
        self._matchers = [Matchers(route.match) for route in self.routes]
        self._rules = None if self.prefix_only else _Rules(self.routes, self.numbers)

    @property
    def deciding(self) -> int:
        """How many of a number's digits `match` looks at."""
        return self._lengths[0] if self._lengths else 0

    def match(self, destination: str) -> Route | None:
        """The route of a number (digits, E.164 without +), or None. For a table that is `prefix_only`."""
        by_prefix = self._by_prefix
        for length in self._lengths:
            route = by_prefix.get(destination[:length])
            if route is not None:
                return route
        return None

    def decide(
        self,
        destination: str,
        source: str,
        source_ton: int,
        account: str,
        group: str,
        message_class: int,
        tags: tuple[str, ...],
        text: str,
        encoding: int,
        segments: int,
        at_ms: int,
    ) -> Route | None:
        """The route of a message, by the facts of router.rules.Facts, or None."""
        rules = self._rules
        if rules is None:
            return self.match(destination)
        index = rules.first(
            destination, source, source_ton, account, group, message_class, tags, text, encoding, segments,
            at_ms,
        )  # fmt: skip
        return None if index < 0 else self.routes[index]

    def explain(self, facts: Facts) -> list[Considered]:
        """Each rule that was asked, in order, up to the one that takes the message."""
        asked: list[Considered] = []
        prefixes = self._prefix_mask(facts.destination)
        for index, route in enumerate(self.routes):
            problem = why_not(
                route.match, facts, self.numbers, bool(prefixes >> index & 1), self._matchers[index]
            )
            asked.append(Considered(route, problem))
            if not problem:
                break
        return asked

    def _prefix_mask(self, destination: str) -> int:
        if self._rules is not None:
            return self._rules.of_prefix(destination)
        mask = 0
        for index, route in enumerate(self.routes):
            if not route.match.prefixes or destination.startswith(route.match.prefixes):
                mask |= 1 << index
        return mask


def compile(routes: Sequence[Route], numbers: Knowledge = PLAIN) -> RouteTable:
    """Rules in order as a table. ValueError: a prefix that is not digits."""
    return RouteTable(routes, numbers)


def _check_prefixes(route: Route) -> None:
    for prefix in (*route.match.prefixes, *route.match.left_out):
        if not (prefix.isascii() and prefix.isdigit()):
            raise ValueError(f"route {route.name}: prefix {prefix!r} is not digits")


def _by_prefix(routes: Sequence[Route]) -> tuple[dict[str, Route], tuple[int, ...]]:
    first: dict[str, int] = {}
    for order, route in enumerate(routes):
        for prefix in route.match.prefixes or ("",):
            first.setdefault(prefix, order)
    by_prefix = {
        prefix: routes[min(first[prefix[:n]] for n in range(len(prefix) + 1) if prefix[:n] in first)]
        for prefix in first
    }
    return by_prefix, _lengths(by_prefix)


def _lengths(prefixes: Iterable[str]) -> tuple[int, ...]:
    """Longest first."""
    return tuple(sorted({len(prefix) for prefix in prefixes}, reverse=True))


class _Sets:
    """One kind of condition: value → the rules that take it. `other`: those that take any other value."""

    __slots__ = ("by", "other", "rules")

    def __init__(self, rules: Sequence[Match], values: Callable[[Match], tuple[Any, ...]]) -> None:
        taken, left_out = _named(rules, values)
        self.other = sum(1 << index for index, match in enumerate(rules) if not values(match))
        self.by: dict[Any, int] = {
            value: (self.other | taken.get(value, 0)) & ~left_out.get(value, 0)
            for value in {**taken, **left_out}
        }
        self.rules = 0  # those that ask
        for mask in (*taken.values(), *left_out.values()):
            self.rules |= mask

    def of(self, value: object) -> int:
        return self.by.get(value, self.other)


class _Tags:
    """The same where a message has several values, any of which is enough."""

    __slots__ = ("left_out", "other", "rules", "taken")

    def __init__(self, rules: Sequence[Match]) -> None:
        self.taken, self.left_out = _named(rules, lambda match: match.tags)
        self.other = sum(1 << index for index, match in enumerate(rules) if not match.tags)
        self.rules = bool(self.taken or self.left_out)

    def of(self, tags: tuple[str, ...]) -> int:
        mask = self.other
        for tag in tags:
            mask |= self.taken.get(tag, 0)
        for tag in tags:
            mask &= ~self.left_out.get(tag, 0)
        return mask


class _Senders:
    """Senders: whole ones, and patterns by what stands before their first sign. A rule with patterns that is
    left over is asked for the rest of them (`_Rest`)."""

    __slots__ = ("_heads", "_left_out", "_lengths", "_other", "_whole", "rules")

    def __init__(self, rules: Sequence[Match]) -> None:
        named, self._left_out = _named(rules, lambda match: match.senders, _whole_senders_left_out)
        self._other = sum(1 << index for index, match in enumerate(rules) if not match.senders)
        self._whole: dict[str, int] = {}
        self._heads: dict[str, int] = {}
        for sender, mask in named.items():
            if is_pattern(sender):
                head = pattern_head(sender)
                self._heads[head] = self._heads.get(head, 0) | mask
            else:
                self._whole[sender] = mask
        self._lengths = _lengths(self._heads)
        self.rules = bool(named or self._left_out)

    def of(self, source: str) -> int:
        mask = self._other | self._whole.get(source, 0)
        for length in self._lengths:
            mask |= self._heads.get(source[:length], 0)
        return mask & ~self._left_out.get(source, 0)


def _whole_senders_left_out(match: Match) -> tuple[str, ...]:
    """Where there are patterns among them, `_Rest` asks for all of them."""
    senders = match.none_of.senders if match.none_of is not None else ()
    return () if any(map(is_pattern, senders)) else senders


class _Answers:
    """A kind of condition that is asked rule by rule, once for each value that comes up; there are few."""

    __slots__ = ("_all", "_asking", "_given", "_holds", "_known", "rules")

    def __init__(
        self, rules: Sequence[Match], given: Callable[[Match], bool], holds: Callable[[Match, Any], bool]
    ) -> None:
        self._asking = [(1 << index, match) for index, match in enumerate(rules) if _either(match, given)]
        self._all = (1 << len(rules)) - 1
        self._given = given
        self._holds = holds
        self._known: dict[object, int] = {}
        self.rules = sum(bit for bit, _ in self._asking)

    def of(self, value: object) -> int:
        mask = self._known.get(value)
        if mask is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            mask = self._known[value] = self._worked_out(value)
        return mask

    def _worked_out(self, value: object) -> int:
        mask = self._all
        for bit, match in self._asking:
            none_of = match.none_of
            if (self._given(match) and not self._holds(match, value)) or (
                none_of is not None and self._given(none_of) and self._holds(none_of, value)
            ):
                mask &= ~bit
        return mask


class _Rest(NamedTuple):
    """What has no table: patterns."""

    sender: Found | None
    not_sender: Found | None
    text: Found | None
    not_text: Found | None

    def holds(self, source: str, folded: str) -> bool:
        return (
            (self.sender is None or self.sender(source))
            and not (self.not_sender is not None and self.not_sender(source))
            and (self.text is None or self.text(folded))
            and not (self.not_text is not None and self.not_text(folded))
        )


class _Rules:
    """The compiled form of rules with more than prefixes."""

    def __init__(self, routes: Sequence[Route], numbers: Knowledge) -> None:
        rules = [route.match for route in routes]
        self._prefixes = _prefix_masks(rules)
        self._lengths = _lengths(self._prefixes)
        self._accounts = _Sets(rules, lambda match: match.accounts)
        self._groups = _Sets(rules, lambda match: match.groups)
        self._classes = _Sets(rules, lambda match: match.classes)
        self._encodings = _Sets(rules, lambda match: match.encodings)
        self._sender_types = _Sets(rules, lambda match: match.sender_types)
        self._senders = _Senders(rules)
        self._tags = _Tags(rules)
        self._segments = _Answers(rules, _sized, _fits)
        self._windows = _Windows(rules)
        countries = _Sets(rules, lambda match: match.countries)
        number_types = _Sets(rules, lambda match: match.number_types)
        networks = _Answers(
            rules,
            lambda match: bool(match.mcc_mncs),
            lambda match, one: network_holds(match.mcc_mncs, str(one)),
        )
        ported = _Sets(rules, lambda match: match.ported)
        self._unknown = tuple(
            fact
            for fact in (
                _Fact(countries.rules, lambda digits: countries.of(numbers.country(digits))),
                _Fact(number_types.rules, lambda digits: number_types.of(numbers.number_type(digits))),
                _Fact(networks.rules, lambda digits: networks.of(numbers.mcc_mnc(digits))),
                _Fact(ported.rules, lambda digits: ported.of(numbers.ported(digits))),
            )
            if fact.rules
        )
        self._asking = _union(self._unknown)
        self._rest = [_rest(match) for match in rules]

    def of_prefix(self, destination: str) -> int:
        """The rules that a number's beginning is right for."""
        prefixes = self._prefixes
        for length in self._lengths:
            mask = prefixes.get(destination[:length])
            if mask is not None:
                return mask
        return 0

    def first(
        self,
        destination: str,
        source: str,
        source_ton: int,
        account: str,
        group: str,
        message_class: int,
        tags: tuple[str, ...],
        text: str,
        encoding: int,
        segments: int,
        at_ms: int,
    ) -> int:
        """Which rule takes the message, -1 = none."""
        left = 0
        prefixes = self._prefixes
        for length in self._lengths:
            mask = prefixes.get(destination[:length])
            if mask is not None:
                left = mask
                break
        sets = self._accounts
        if sets.by:
            left &= sets.by.get(account, sets.other)
        sets = self._groups
        if sets.by:
            left &= sets.by.get(group, sets.other)
        sets = self._classes
        if sets.by:
            left &= sets.by.get(message_class, sets.other)
        sets = self._encodings
        if sets.by:
            left &= sets.by.get(encoding, sets.other)
        sets = self._sender_types
        if sets.by:
            left &= sets.by.get(sender_type(source, source_ton), sets.other)
        if self._senders.rules:
            left &= self._senders.of(source)
        if self._tags.rules:
            left &= self._tags.of(tags)
        if self._segments.rules:
            left &= self._segments.of(segments)
        if self._windows.rules:
            left &= self._windows.of(at_ms)
        rest, unknown, asking = self._rest, self._unknown, self._asking
        folded = ""
        while left:
            bit = left & -left
            if bit & asking:
                fact = next(one for one in unknown if one.rules & bit)
                left &= fact.of(destination)
                unknown = tuple(one for one in unknown if one is not fact)
                asking = _union(unknown)
                continue
            index = bit.bit_length() - 1
            one = rest[index]
            if one is None:
                return index
            if text and not folded:
                folded = folded_text(text)
            if one.holds(source, folded):
                return index
            left ^= bit
        return -1


class _Fact(NamedTuple):
    """Something about the number that some rules ask for: which rules, and digits → the rules that it lets
    be.
    """

    rules: int
    of: Callable[[str], int]


def _union(facts: tuple[_Fact, ...]) -> int:
    mask = 0
    for fact in facts:
        mask |= fact.rules
    return mask


class _Windows:
    """Times. They change by the minute, so which rules are open is worked out once for each minute."""

    __slots__ = ("_all", "_known", "_shut", "rules")

    def __init__(self, rules: Sequence[Match]) -> None:
        self._all = (1 << len(rules)) - 1
        # window → the rules that are shut when it does not hold, and when it does
        shut: dict[Window, tuple[int, int]] = {}
        for index, match in enumerate(rules):
            if match.window is not None:
                outside, inside = shut.get(match.window, (0, 0))
                shut[match.window] = outside | 1 << index, inside
            if match.none_of is not None and match.none_of.window is not None:
                outside, inside = shut.get(match.none_of.window, (0, 0))
                shut[match.none_of.window] = outside, inside | 1 << index
        self._shut = tuple((window, *masks) for window, masks in shut.items())
        self.rules = bool(shut)
        self._known: dict[int, int] = {}  # scheduled messages ask for many minutes at a time

    def of(self, at_ms: int) -> int:
        minute = at_ms // _MINUTE_MS
        mask = self._known.get(minute)
        if mask is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            mask = self._all
            for window, outside, inside in self._shut:
                mask &= ~(inside if window.holds(at_ms) else outside)
            self._known[minute] = mask
        return mask


def _prefix_masks(rules: Sequence[Match]) -> dict[str, int]:
    """Every prefix that a rule names → the rules that are right for numbers of which it is the longest one.

    Equal sets are one object: a hundred thousand prefixes have few different ones.
    """
    taken, left_out = _named(rules, lambda match: match.prefixes, lambda match: match.left_out)
    masks: dict[str, int] = {"": sum(1 << index for index, match in enumerate(rules) if not match.prefixes)}
    same: dict[
        tuple[int, int, int], int
    ] = {}  # (above, taken, left out), by identity: numbers are large here
    shorter: list[int] = []
    for prefix in sorted({*taken, *left_out} - {""}, key=len):
        if not shorter or shorter[0] != len(prefix):
            shorter.insert(0, len(prefix))
        above = masks[""]
        for length in shorter[1:]:
            known = masks.get(prefix[:length])
            if known is not None:
                above = known
                break
        bits, bits_out = taken.get(prefix, 0), left_out.get(prefix, 0)
        likeness = id(above), id(bits), id(bits_out)
        mask = same.get(likeness)
        if mask is None:
            mask = same[likeness] = (above | bits) & ~bits_out
        masks[prefix] = mask
    return masks


def _named(
    rules: Sequence[Match],
    values: Callable[[Match], tuple[Any, ...]],
    left_out: Callable[[Match], tuple[Any, ...]] | None = None,
) -> tuple[dict[Any, int], dict[Any, int]]:
    """(value → the rules that name it, value → those that leave it out)."""
    taken: dict[Any, int] = {}
    out: dict[Any, int] = {}
    for index, match in enumerate(rules):
        bit = 1 << index
        for value in values(match):
            known = taken.get(value)
            taken[value] = bit if known is None else known | bit
        if left_out is not None:
            not_taken = left_out(match)
        else:
            not_taken = values(match.none_of) if match.none_of is not None else ()
        for value in not_taken:
            known = out.get(value)
            out[value] = bit if known is None else known | bit
    return taken, out


def _either(match: Match, given: Callable[[Match], bool]) -> bool:
    return given(match) or (match.none_of is not None and given(match.none_of))


def _sized(match: Match) -> bool:
    return bool(match.min_segments or match.max_segments)


def _fits(match: Match, segments: Any) -> bool:
    return segments >= match.min_segments and not (match.max_segments and segments > match.max_segments)


def _rest(match: Match) -> _Rest | None:
    none_of = match.none_of or ANY
    rest = _Rest(
        sender_found(match.senders) if any(map(is_pattern, match.senders)) else None,
        sender_found(none_of.senders) if any(map(is_pattern, none_of.senders)) else None,
        text_found(match.texts) if match.texts else None,
        text_found(none_of.texts) if none_of.texts else None,
    )
    return rest if any(one is not None for one in rest) else None
