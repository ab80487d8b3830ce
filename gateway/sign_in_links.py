"""One-time sign-in links: who opens one within an hour chooses a password, once.

A link is `/console/welcome#TOKEN`: the part behind # is never sent, so that no proxy's log, no Referer and no
log of ours has it; the page hands it in with its form. The token has 256 random bits, of which the store
keeps a SHA-256. A link is for one operator, or, while nobody ever chose a password, for the first owner, who
chooses a name as well.

Invariants: a link works once, also when two use it at the same time, and no longer than LASTS_S; a newer one
for the same operator ends the older one; at most MOST at a time.

Deliberately not here: passwords (gateway.sign_in), printing (gateway.app, gateway.cli).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256

import msgspec
import structlog

from gateway.committer import Keeping
from store.interface import Transaction
from store.values import Damaged

PATH = "/console/welcome"
LASTS_S = 3_600
MOST = 100
FIRST_OWNER = ""  # the name that such a link has

_ROW = "sign_in_links"
_TOKEN_BYTES = 32
_LONGEST_TOKEN = 128

log = structlog.get_logger("sessions")


class Link(msgspec.Struct, frozen=True, array_like=True):
    """`name`: whose it is, FIRST_OWNER: of whoever comes first."""

    digest: str  # sha256 hex of the token
    name: str
    until_ms: int

    def __repr__(self) -> str:
        return f"Link({self.name!r})"


class Links:
    """Those there are. `with_new` and `without` are written by the caller, in its own commit."""

    def __init__(self, store: Keeping, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._links: tuple[Link, ...] = ()
        try:
            row = store.meta(_ROW)
            self._links = tuple(msgspec.msgpack.decode(row, type=list[Link])) if row else ()
        except (Damaged, msgspec.MsgspecError):
            log.error("the one-time sign-in links are unreadable: make new ones")

    def found(self, token: str) -> Link | None:
        """The link that has this token, if it works."""
        if not token or len(token) > _LONGEST_TOKEN:
            return None
        digest = sha256(token.encode("utf-8", "replace")).hexdigest()
        there = [link for link in self._links if hmac.compare_digest(link.digest, digest)]
        return there[0] if there and there[0].until_ms > self._wall_ms() else None

    def new(self, name: str) -> tuple[str, Link]:
        """(token, to be shown this once; what is kept of it)"""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        digest = sha256(token.encode()).hexdigest()
        return token, Link(digest, name, self._wall_ms() + LASTS_S * 1000)

    def take(self, link: Link) -> bool:
        """It is used now: nobody else can any more. False: somebody did."""
        there = link in self._links
        self._links = tuple(one for one in self._links if one != link)
        return there

    def give_back(self, link: Link) -> None:
        """It was not used after all."""
        self._links = (*self._links, link)

    def add(self, link: Link) -> None:
        now_ms = self._wall_ms()
        others = [one for one in self._links if one.name != link.name and one.until_ms > now_ms]
        self._links = (*others[-(MOST - 1) :], link)

    def forget(self, name: str) -> None:
        """Those of an operator who signed in otherwise, or is gone."""
        self._links = tuple(one for one in self._links if one.name != name)

    def put(self, txn: Transaction) -> None:
        """As they are now."""
        txn.put_meta(_ROW, msgspec.msgpack.encode(list(self._links)))


def path_of(token: str) -> str:
    """What follows the console's address."""
    return f"{PATH}#{token}"
