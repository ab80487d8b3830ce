"""TLVs that a carrier's rules add to its submit_sm, `[[carriers.tlvs]]`: fixed values, or ones that come from
the message's tags or its account, as India's DLT entity and template ids.

Of several rules with one tag the first that fits and finds a value decides; a rule that finds none adds
nothing. What a customer's own submit_sm brought under the same tag goes before it (render).

Compiled once; a carrier without rules has none of this (None).

Deliberately not here: TLVs of long messages and references (render, smpp.segment), what values mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config.model import CLASSES, TlvRule
from router.nouns import Account, Message
from router.plans import facts

AccountOf = Callable[[int], Account | None]


class _Rule:
    __slots__ = (
        "accounts", "classes", "countries", "from_account", "from_tag",
        "prefixes", "tag", "terminator", "value",
    )  # fmt: skip

    def __init__(self, rule: TlvRule) -> None:
        self.tag = rule.tag
        self.prefixes = tuple(prefix.lstrip("+") for prefix in rule.prefix)
        self.countries = frozenset(rule.country)
        self.classes = frozenset(map(CLASSES.index, rule.class_))
        self.accounts = frozenset(rule.account)
        self.from_tag = f"{rule.from_tag}:" if rule.from_tag else ""
        self.from_account = rule.from_account
        self.terminator = b"\0" if rule.terminated else b""
        self.value = fixed_value(rule)

    def fits(self, message: Message, account: Account | None, country: str) -> bool:
        if self.classes and message.message_class not in self.classes:
            return False
        if self.accounts and (account is None or account.name not in self.accounts):
            return False
        if self.prefixes and not message.destination.startswith(self.prefixes):
            return False
        return not self.countries or country in self.countries

    def value_for(self, message: Message, account: Account | None) -> bytes | None:
        if self.value is not None:
            return self.value
        text = ""
        if self.from_tag:
            found = (tag for tag in message.tags if tag.startswith(self.from_tag))
            text = next(found, "")[len(self.from_tag) :]
        elif account is not None:
            text = account.tlv_values.get(self.from_account, "")
        return text.encode() + self.terminator if text else None


class Tlvs:
    """The rules of one carrier. `account_of` finds an account by its id."""

    def __init__(self, rules: Sequence[TlvRule], account_of: AccountOf) -> None:
        self._rules = [_Rule(rule) for rule in rules]
        self._by_country = any(rule.countries for rule in self._rules)
        self._account_of = account_of

    def of(self, message: Message) -> tuple[tuple[int, bytes], ...]:
        """(tag, value) for each of its submit_sm, in the order of the rules."""
        account = self._account_of(message.account)
        country = facts(message.destination).country if self._by_country else ""
        found: dict[int, bytes] = {}
        for rule in self._rules:
            if rule.tag not in found and rule.fits(message, account, country):
                value = rule.value_for(message, account)
                if value is not None:
                    found[rule.tag] = value
        return tuple(found.items())


def fixed_value(rule: TlvRule) -> bytes | None:
    """What `text`, `hex` or `number` write; None for a value that comes from elsewhere."""
    if rule.number is not None:
        return rule.number.to_bytes(rule.octets or octets_of(rule.number), "big")
    if rule.hex:
        return bytes.fromhex(rule.hex)
    if rule.text:
        return rule.text.encode() + (b"\0" if rule.terminated else b"")
    return None


def octets_of(number: int) -> int:
    """The fewest of 1, 2 and 4 octets that hold it."""
    return 1 if number < 1 << 8 else 2 if number < 1 << 16 else 4
