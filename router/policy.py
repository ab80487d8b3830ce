"""What one account may submit: senders, destinations, number types, priority, validity. Compiled once each.

Deliberately not here: rates, queue limits and the duplicate guard (they need memory), consent.
"""

from __future__ import annotations

from router.money import metered
from router.nouns import Account
from router.numbers import Sender
from router.plans import facts, kinds_of

_SENDERS_CACHED = 2_000


class House:
    """What the configuration says for every account. `senders`: as they are written → as they are sent."""

    def __init__(self, region: str = "", number_types: tuple[str, ...] = ()) -> None:
        self.region = region
        self.number_types = number_types
        self.senders: dict[str, Sender] = {}


class Policy:
    """`account` as it was when this was made; accounts change as a whole, so compare by identity.

    `house` is what an account without own choices has. `region` is for numbers without country code,
    `kinds` the number types it may send to, None = all; `metered`: it is billed, or has a quota;
    `any_number`: nothing here asks what number a message goes to; `senders` remembers senders that were read
    by region.
    """

    __slots__ = (
        "_any_destination", "_any_sender", "_exact", "_prefixes", "_senders", "_starts",
        "account", "any_number", "kinds", "metered", "region", "senders",
    )  # fmt: skip

    def __init__(self, account: Account, house: House) -> None:
        self.account = account
        self.metered = metered(account)
        self.region = account.default_region or house.region
        self.kinds = kinds_of(account.allowed_number_types or house.number_types)
        self.senders = house.senders if self.region == house.region else {}
        self._any_sender = not account.senders
        self._exact = frozenset(one for one in account.senders if not one.endswith("*"))
        self._starts = tuple(one[:-1] for one in account.senders if one.endswith("*"))
        self._senders: dict[str, bool] = {}
        self._any_destination = not account.destinations
        self._prefixes = tuple(account.destinations)
        self.any_number = self._any_destination and self.kinds is None and not self.metered

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

    def kind_refused(self, digits: str) -> str:
        """The number's type where it is not among `kinds`, else ""."""
        kind = facts(digits).kind
        return "" if self.kinds is None or kind in self.kinds else kind

    def priority(self, wanted: int) -> int:
        return min(wanted, self.account.max_priority)

    def validity_s(self, default_s: int, most_s: int) -> tuple[int, int]:
        """(default, most) in seconds: the account's own where it has any, within the configuration's."""
        if not (self.account.validity_default_s or self.account.validity_max_s):
            return min(default_s, most_s), most_s
        most_s = min(self.account.validity_max_s or most_s, most_s)
        return min(self.account.validity_default_s or default_s, most_s), most_s
