"""A carrier's rules for senders, `[[carriers.senders]]`: which address a message leaves with.

Countries differ in what they let through: names only, no names at all, registered ones, short codes of one
carrier. A rule says for which recipients and senders it is, and what becomes of the sender: another one,
other TON and NPI, or that this carrier must not have the message. The first rule that fits decides; none
fitting, the sender stays.

Compiled once; a carrier without rules has none of this (None).

Deliberately not here: which senders an account may use (router.policy), reading the rules (config).
"""

from __future__ import annotations

from collections.abc import Sequence

from config.model import SenderRule
from router.numbers import NPI_UNKNOWN, sender_of
from router.plans import facts
from router.rules import sender_type
from smpp.alphabet import TextError


class SenderRefused(TextError):
    """This carrier must not have the message: the next one of its lane may."""


class _Rule:
    __slots__ = ("countries", "kinds", "names", "npi", "prefixes", "refuse", "said", "starts", "ton", "use")

    def __init__(self, rule: SenderRule) -> None:
        self.prefixes = tuple(prefix.lstrip("+") for prefix in rule.prefix)
        self.countries = frozenset(rule.country)
        self.kinds = frozenset(rule.sender_type)
        senders = [one.lstrip("+") for one in rule.sender]  # messages have numbers without it
        self.names = frozenset(one for one in senders if not one.endswith("*"))
        self.starts = tuple(one[:-1] for one in senders if one.endswith("*"))
        self.use = sender_of(rule.use) if rule.use else None
        self.ton, self.npi, self.refuse = rule.ton, rule.npi, rule.refuse
        self.said = ", ".join((*rule.country, *rule.prefix)) or "anywhere"

    def fits(self, source: str, ton: int, destination: str, country: str) -> bool:
        if self.prefixes and not destination.startswith(self.prefixes):
            return False
        if (self.names or self.starts) and source not in self.names and not source.startswith(self.starts):
            return False
        if self.kinds and sender_type(source, ton) not in self.kinds:
            return False
        return not self.countries or country in self.countries


class Senders:
    """The rules of one carrier, and its own TON and NPI of senders (None = as the message has them).

    `originals`: what stands for one sender of ours and nothing else → that sender, so that what the carrier
    sends back to it, receipts and replies, is known as the customer's.
    """

    def __init__(self, rules: Sequence[SenderRule], ton: int | None, npi: int | None) -> None:
        self._rules = [_Rule(rule) for rule in rules]
        self.originals = _originals(self._rules)
        self._by_country = any(rule.countries for rule in self._rules)
        self._ton = ton
        self._npi = npi

    def of(self, source: str, ton: int, npi: int, destination: str) -> tuple[str, int, int]:
        """The sender with TON and NPI for a recipient in E.164 digits. Raises SenderRefused."""
        country = facts(destination).country if self._by_country else ""
        for rule in self._rules:
            if rule.fits(source, ton, destination, country):
                if rule.refuse:
                    raise SenderRefused(f"the carrier must not send as {source!r} to {rule.said}")
                if rule.use is not None:
                    source, ton, npi = rule.use
                return (
                    source,
                    _first(rule.ton, self._ton, ton),
                    _first(rule.npi, self._npi, npi),
                )
        return source, _first(self._ton, ton), _first(self._npi, npi)


def _originals(rules: Sequence[_Rule]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for rule in rules:
        if rule.use is not None:
            whole = rule.names if rule.names and not rule.starts else {"", rule.use[0]}  # not just one
            found.setdefault(rule.use[0], set()).update(whole)
    return {use: next(iter(senders)) for use, senders in found.items() if len(senders) == 1}


def _first(*given: int | None) -> int:
    return next((one for one in given if one is not None), NPI_UNKNOWN)
