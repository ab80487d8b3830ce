"""What one account may submit: senders, destinations, priority, validity. Compiled once for each account.

Deliberately not here: rates, queue limits and the duplicate guard (they need memory), consent.
"""

from __future__ import annotations

from router.nouns import Account

_SENDERS_CACHED = 2_000


class Policy:
    """`account` as it was when this was made; accounts change as a whole, so compare by identity."""

    __slots__ = ("_any_destination", "_any_sender", "_exact", "_prefixes", "_senders", "_starts", "account")

    def __init__(self, account: Account) -> None:
        self.account = account
        self._any_sender = not account.senders
        self._exact = frozenset(one for one in account.senders if not one.endswith("*"))
        self._starts = tuple(one[:-1] for one in account.senders if one.endswith("*"))
        self._senders: dict[str, bool] = {}
        self._any_destination = not account.destinations
        self._prefixes = tuple(account.destinations)

    def sender_allowed(self, source: str) -> bool:
        if self._any_sender:
            return True
        allowed = self._senders.get(source)
        if allowed is None:
            if len(self._senders) >= _SENDERS_CACHED:
                self._senders.clear()
            allowed = self._senders[source] = source in self._exact or source.startswith(self._starts)
        return allowed

    def destination_allowed(self, digits: str) -> bool:
        return self._any_destination or digits.startswith(self._prefixes)

    def priority(self, wanted: int) -> int:
        return min(wanted, self.account.max_priority)

    def validity_s(self, default_s: int, most_s: int) -> tuple[int, int]:
        """(default, most) in seconds: the account's own where it has any, within the configuration's."""
        if not (self.account.validity_default_s or self.account.validity_max_s):
            return min(default_s, most_s), most_s
        most_s = min(self.account.validity_max_s or most_s, most_s)
        return min(self.account.validity_default_s or default_s, most_s), most_s
