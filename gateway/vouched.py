"""Signing in through a provider, for those who need not know how one is asked.

Deliberately not here: asking it, and what of its answers is believed (gateway.oidc).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from router.roles import Role

TICKET_S = 600.0  # how long somebody may be at the provider


class Vouched(msgspec.Struct, frozen=True):
    """For whom the provider vouches. `role` None: it gives none; `subject`: "issuer subject", theirs for
    ever; `to`: where they wanted to go."""

    name: str
    role: Role | None
    subject: str
    to: str


class NotVouched(Exception):
    """It does not, or cannot be asked. `why` is for the person and the trail, in words of ours."""

    def __init__(self, why: str, status: int = 401) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


class Vouching(Protocol):
    """A provider that is configured."""

    async def begin(self, to: str) -> tuple[str, str]:
        """(address to go to, secret for this browser's cookie). Errors: NotVouched."""
        ...

    async def finish(self, query: Mapping[str, str], browser: str) -> Vouched:
        """`query`: what came back; `browser`: the secret of its cookie. Errors: NotVouched."""
        ...
