"""What of a message somebody may see: numbers are masked and texts left out without the scopes for them.

`number(who, "447700900123")` is the number, or 4477*****123 without messages.numbers; a sender's name calls
nobody and stays. `text(who, text)` is the text, or None without messages.text: whoever shows texts tells the
audit trail first (gateway.http.views, gateway.audit).

Invariant: `who` None, which is nobody, sees neither.

Deliberately not here: who has which scope (router.roles), telling the trail.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from gateway.logs import mask_address

NUMBERS = "messages.numbers"
TEXT = "messages.text"


class Scoped(Protocol):
    """Somebody signed in (gateway.sessions.SignedIn), or the holder of a key (gateway.http.auth.Caller)."""

    @property
    def scopes(self) -> Collection[str]: ...


def number(who: Scoped | None, address: str) -> str:
    """A recipient or sender as `who` may see it."""
    return address if who is not None and NUMBERS in who.scopes else mask_address(address)


def text(who: Scoped | None, said: str) -> str | None:
    """What a message says; None: `who` may not see it."""
    return said if who is not None and TEXT in who.scopes else None
