"""What can be known about a recipient's number before anything is sent to it: the vocabulary of routing.

`Knowledge` is what rules ask; each answer costs something, so a rule asks only for what it needs. `Plain`
knows what the number itself says; store.tables adds prefixes and ported numbers.

Deliberately not here: tables, web services, any memory of numbers seen.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from router.plans import facts


class Knowledge(Protocol):
    """Of a number in E.164 digits without +. Every method answers every number and raises nothing."""

    def country(self, digits: str) -> str:
        """ISO 3166, as "GB"; "001" of international services such as +800; "" of no country."""
        ...

    def number_type(self, digits: str) -> str:
        """One of router.plans.KINDS; "unknown" where it is not a valid number of its country."""
        ...

    def mcc_mnc(self, digits: str) -> str:
        """The network it is in, as "23430": MCC, then MNC of 2 or 3 digits; "" where that is not known."""
        ...

    def ported(self, digits: str) -> bool:
        """Whether it is known to have left the network that its prefix belongs to."""
        ...


class Plain:
    """Knowledge without tables: no network is known."""

    def country(self, digits: str) -> str:
        return facts(digits).country

    def number_type(self, digits: str) -> str:
        return facts(digits).kind

    def mcc_mnc(self, digits: str) -> str:
        return ""

    def ported(self, digits: str) -> bool:
        return False


PLAIN = Plain()


class Network(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a table of prefixes or of ported numbers says. Stored: fields are only appended."""

    mcc_mnc: str = ""  # "23430": MCC, then MNC of 2 or 3 digits
    operator: str = ""  # its name, for people
    routing: str = ""  # of a ported number: digits by which its network is found in the table of prefixes
