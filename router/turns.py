"""Whose turn it is inside one queue: four priority levels, accounts in turns inside each.

One `Turns` belongs to one queue, (lane, tried mask). It knows only which (priority, account) pairs have
work, never the messages, and it remembers across claims, so that a small claim does not start over with
the same account.

Levels: the highest level with work is served first, but every level below it that has work is owed one
segment for each `FLOOR` segments the queue gives out (5 %), and what is owed goes first.
Inside a level: deficit round robin in segments. An account at the head gets `weight x quantum` more
segments, keeps its turn until they are used up, and then goes to the tail; a long message may overdraw,
which is paid back in later rounds. The quantum shrinks as accounts grow in number (16 segments shared
among them, at least 1), so that a newcomer waits about one message of each of the others. A claim that has
room for whole rounds gets them in one step (`rounds`).

Invariants: memory only for pairs with work; `next` changes nothing a second `next` would not also answer;
each call is O(1) (`next` and `rounds` amortised over the segments served).

Deliberately not here: which messages, their order by id, expiry, and lanes (router.lanes).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

LEVELS = 4
FLOOR = 20  # each level below the top is owed one segment in so many: 5 %
_QUANTUM = 16  # segments shared by the accounts of a level in one round
_OWED_MAX = 64 * FLOOR  # what can pile up for a level while nobody claims it

Turn = tuple[int, int, int]  # priority, account, segments it may take now
# priority, and in order: account, segments it may take now, segments of these in each round
Rounds = tuple[int, list[tuple[int, int, int]]]


class Turns:
    """Turns of one queue. `weights`: account → weight ≥ 1, read live; an absent account weighs 1."""

    __slots__ = ("_levels", "_owed", "_top", "_weights", "_with_work")

    def __init__(self, weights: Mapping[int, int]) -> None:
        self._weights = weights
        self._levels: tuple[OrderedDict[int, int], ...] = tuple(OrderedDict() for _ in range(LEVELS))
        self._owed = [0] * LEVELS  # in 1/FLOOR segments
        self._top = -1
        self._with_work = 0  # levels

    def __bool__(self) -> bool:
        return self._top >= 0

    def add(self, priority: int, account: int) -> None:
        """This pair has work now. Again for a known pair: no effect."""
        level = self._levels[priority]
        if not level:
            self._with_work += 1
        level.setdefault(account, 0)
        if priority > self._top:
            self._top = priority

    def discard(self, priority: int, account: int) -> None:
        """This pair's last message went. For an unknown pair: no effect."""
        level = self._levels[priority]
        if level.pop(account, None) is not None and not level:
            self._with_work -= 1
            self._owed[priority] = min(0, self._owed[priority])
            while self._top >= 0 and not self._levels[self._top]:
                self._top -= 1

    def only(self, wanted: Mapping[int, int]) -> None:
        """Just these, account → priority, have work now; who had it before keeps its place."""
        for priority, level in enumerate(self._levels):
            for account in [account for account in level if wanted.get(account) != priority]:
                self.discard(priority, account)
        for account, priority in wanted.items():
            self.add(priority, account)

    @property
    def top(self) -> int:
        """The highest level with work; -1 without any."""
        return self._top

    def next(self) -> Turn | None:
        """Whose turn it is and how many segments it may take, ≥ 1; None when nobody has work."""
        top = self._top
        if top < 0:
            return None
        priority, most = top, 0
        if self._with_work > 1:
            for lower in range(top - 1, -1, -1):
                owed = self._owed[lower]
                if owed >= FLOOR and owed > most and self._levels[lower]:
                    priority, most = lower, owed
        account, left = self._head(self._levels[priority])
        return priority, account, min(left, most // FLOOR) if most else left

    def took(self, priority: int, account: int, segments: int) -> None:
        """So many segments of this pair were claimed, before or after `discard`.

        0 = its next message did not fit into what was left of a claim: it keeps its turn, so that the next
        claim begins with it and long messages are not passed over for ever.
        """
        if self._with_work > 1 or priority != self._top:
            self._owe(priority, segments)
        else:
            self._owed[priority] = 0
        level = self._levels[priority]
        left = level.get(account)
        if left is None:
            return
        left -= segments
        level[account] = left
        if left <= 0:
            level.move_to_end(account)

    def after(self, priority: int, account: int, segments: int) -> Turn | None:
        """`took`, then `next`: the hot path."""
        if self._with_work != 1 or priority != self._top:
            self.took(priority, account, segments)
            return self.next()
        self._owed[priority] = 0
        level = self._levels[priority]
        left = level.get(account)
        if left is not None:
            level[account] = left = left - segments
            if left <= 0:
                level.move_to_end(account)
        for first in level:
            left = level[first] or max(1, _QUANTUM // len(level)) * self._weights.get(first, 1)
            if left > 0:
                level[first] = left
                return priority, first, left
            break
        return (priority, *self._head(level))

    def rounds(self, most: int) -> Rounds | None:
        """As many whole rounds as `most` segments allow, all taken in one step; None where there is not one,
        or where more than one level has work. Whose turn it is afterwards is whose turn it was. What an
        account cannot take it has to `give_back`, unless it is discarded."""
        level = self._levels[self._top]
        if self._with_work != 1 or len(level) > most:
            return None
        quantum, weight_of = max(1, _QUANTUM // len(level)), self._weights.get
        sizes = [quantum * weight_of(account, 1) for account in level]
        count = most // sum(sizes)
        if not count:
            return None
        self._owed[self._top] = 0
        shares = [(account, count * size, size) for account, size in zip(level, sizes, strict=True)]
        for at, (account, segments, size) in enumerate(shares):
            left = level[account]
            if left < 0:  # overdrawn: paid back now
                level[account] = min(0, left + segments)
                shares[at] = account, max(0, left + segments), size
        return self._top, shares

    def give_back(self, account: int, segments: int) -> None:
        """Of what `rounds` gave an account, so much was not taken: its turns last longer by it."""
        self._levels[self._top][account] += segments

    def _owe(self, served: int, segments: int) -> None:
        owed = self._owed
        top = self._top
        for level in range(top):
            if self._levels[level]:
                owed[level] = min(_OWED_MAX, owed[level] + segments)
        if served < top:
            owed[served] -= FLOOR * segments
        elif top >= 0:
            owed[top] = 0

    def _head(self, level: OrderedDict[int, int]) -> tuple[int, int]:
        """The account whose turn it is, with what it has left; gives out rounds until someone has."""
        while True:
            account = next(iter(level))
            left = level[account]
            if left > 0:
                return account, left
            left += max(1, _QUANTUM // len(level)) * self._weights.get(account, 1)
            level[account] = left
            if left > 0:
                return account, left
            level.move_to_end(account)
