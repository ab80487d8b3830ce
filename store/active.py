"""Which queues have work: the set of non-empty (lane, tried, priority, account), kept in memory.

Rebuilt at open (and after a failed commit) by seeking from group to group, so its cost follows the number
of groups, never the backlog. A suspended account has no turn: its groups stay out until it is resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from router.turns import Turns
from store.records import READY_PREFIX, READY_PREFIX_SIZE

if TYPE_CHECKING:
    import lmdb

    from store.memory import Memory


class Active:
    """`groups` holds the 9-byte prefixes of ready keys that have rows and may have turns. `touched`: whether
    it has changed since the store last began a transaction."""

    __slots__ = ("_memory", "_paused", "_suspended", "groups", "queues", "touched")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._suspended: set[int] = set()
        self._paused: dict[int, set[bytes]] = {}  # accounts at their limit → what has no turn because of it
        self.touched = True
        self.groups: set[bytes] = set()
        self.queues: dict[int, dict[int, Turns]] = {}  # lane → tried mask → turns

    def add(self, prefix: bytes) -> bool:
        """A row was put under this prefix, which was not in `groups`. False: it has others already."""
        self.touched = True
        lane, tried, inverted, account = READY_PREFIX.unpack(prefix)
        if account in self._suspended:
            return True
        paused = self._paused.get(account)
        if paused is not None:
            known = prefix in paused
            paused.add(prefix)
            return not known
        self.groups.add(prefix)
        turns = self.queues.setdefault(lane, {}).get(tried)
        if turns is None:
            turns = self.queues[lane][tried] = Turns(self._memory.weights)
        turns.add(3 - inverted, account)
        return True

    def pause(self, prefix: bytes) -> None:
        """Its account is at a limit of its own: no turns until `unpause`, for this and what is added."""
        self.touched = True
        self._paused.setdefault(READY_PREFIX.unpack(prefix)[3], set()).add(prefix)
        self.discard(prefix)

    def unpause(self, account: int) -> None:
        self.touched = True
        for prefix in self._paused.pop(account, ()):
            if prefix not in self.groups:
                self.add(prefix)

    def discard(self, prefix: bytes) -> None:
        """The last row under this prefix went."""
        self.touched = True
        if prefix not in self.groups:
            return
        self.groups.discard(prefix)
        lane, tried, inverted, account = READY_PREFIX.unpack(prefix)
        turns = self.queues[lane][tried]
        turns.discard(3 - inverted, account)
        if not turns:
            del self.queues[lane][tried]
            if not self.queues[lane]:
                del self.queues[lane]

    def suspend(self, account: int) -> None:
        """No turns for this account from now on."""
        self.touched = True
        self._suspended.add(account)
        self._paused.pop(account, None)
        for prefix in [p for p in self.groups if READY_PREFIX.unpack(p)[3] == account]:
            self.discard(prefix)

    def resume(self, account: int, cursor: lmdb.Cursor[bytes]) -> None:
        """Turns again, for what is in the ready table."""
        self.touched = True
        self._suspended.discard(account)
        for prefix in ready_groups(cursor):
            if READY_PREFIX.unpack(prefix)[3] == account and prefix not in self.groups:
                self.add(prefix)

    def rebuild(self, cursor: lmdb.Cursor[bytes]) -> None:
        """Start over from the ready table and the accounts of the last commit."""
        self._suspended = {account.id for account in self._memory.accounts.values() if account.suspended}
        self._paused.clear()
        self.groups.clear()
        self.queues.clear()
        for prefix in ready_groups(cursor):
            self.add(prefix)


def ready_groups(cursor: lmdb.Cursor[bytes]) -> Iterator[bytes]:
    """The distinct prefixes of the ready table, by skip-seeks."""
    found = cursor.first()
    while found:
        prefix = cursor.key()[:READY_PREFIX_SIZE]
        yield prefix
        found = cursor.set_range(prefix + b"\xff" * 16)
