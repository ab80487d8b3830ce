"""How the carriers of one lane share its queue: by weights, or in order with overflow.

Weights: a running balance for each carrier, its due share minus what it took, in segments. A carrier may
take until it is `SLACK` segments ahead of its share or another one would be `SLACK` behind, so over any
1,000 segments with the same carriers able, shares stay within 2 % (20 segments) of the weights, whatever
the size of single claims. Whoever is furthest behind may always take: nobody waits for ever. When the
set of able carriers changes, the balances start over: no carrier pays back what it missed while away.
Balances are exact integers, in segments times the sum of the able weights. What all of them are given at one
time in the proportion of their weights (store.claim) leaves the balances as they are, however much it is.
Weight 0 drains: such a carrier is
never able here, whoever asks.

Order: a lower choice may pull only when no higher one is able, or when the oldest ready message has waited
longer than `overflow_after_s` (architecture §3).

Both concern what a carrier that comes first (`ahead_of`) has not had yet. A message that those have refused
waits for nobody and belongs to no share.

Deliberately not here: who is able, the queue, and turns among accounts (router.turns).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from router.nouns import LaneSpec

SLACK = 7
MAX_CARRIERS = 16
_NEVER = 1 << 62


def preferred(key: str, carriers: Sequence[int], weights: Sequence[int]) -> int:
    """The index of the carrier that this key prefers: always the same one, over many keys in the proportion
    of the weights. When a carrier comes or goes, only its own keys change (weighted rendezvous hashing)."""
    best, least = 0, math.inf
    for index, (carrier, weight) in enumerate(zip(carriers, weights, strict=True)):
        if not weight:  # it drains
            continue
        digest = blake2b(f"{carrier}:{key}".encode(), digest_size=7).digest()
        cost = -math.log((int.from_bytes(digest, "big") + 1) / (1 << 56)) / weight
        if cost < least:
            best, least = index, cost
    return best


class LaneShares:
    """Sharing state of one lane. A bit of a mask stands for an index into `spec.carriers`."""

    __slots__ = ("_able", "_all", "_mask", "_most", "_taken", "_total", "_weights")

    def __init__(self, spec: LaneSpec) -> None:
        if not 1 <= len(spec.carriers) <= MAX_CARRIERS:
            raise ValueError(f"a lane has 1 to {MAX_CARRIERS} carriers, not {len(spec.carriers)}")
        if spec.weights and (len(spec.weights) != len(spec.carriers) or min(spec.weights) < 0):
            raise ValueError("weights must be one for each carrier, none below 0")
        self._weights = spec.weights
        self._taken = [0] * len(spec.carriers)  # segments, since the able ones are these
        self._set_able((1 << len(spec.carriers)) - 1 & ~drains(spec))

    def allowance(self, index: int, want: int, able: int) -> int:
        """How many of `want` segments carrier `index` may take now, 0..want.

        `able`: the mask of carriers that could take work now; `index` itself counts as able only by its bit.
        A message of several segments may overdraw by what it has beyond the allowance.
        """
        if want <= 0 or not able >> index & 1:
            return 0
        if not self._weights:
            return want
        if self._mask != able:
            self._set_able(able)
        if len(self._able) < 2:
            return want
        return min(want, self._room(index))

    def took(self, index: int, segments: int) -> None:
        """Carrier `index` claimed so many segments."""
        if not self._weights or not self._mask >> index & 1:
            return
        self._all += segments
        self._taken[index] = taken = self._taken[index] + segments
        self._most[index] = (taken + SLACK) * self._total // self._weights[index]

    def eligible(self, index: int, able: int, oldest_ready_age_s: float, overflow_after_s: float) -> bool:
        """Whether carrier `index` may pull at all. With weights: whenever it is able."""
        if not able >> index & 1:
            return False
        if self._weights or not able & ((1 << index) - 1):
            return True
        return oldest_ready_age_s > overflow_after_s

    def ahead_of(self, index: int, able: int) -> int:
        """The able carriers that come before carrier `index`: higher choices; with weights, all others."""
        return able & ~(1 << index) if self._weights else able & ((1 << index) - 1)

    def order(self, able: int) -> list[int]:
        """The able carriers in the order in which they come for the next message: the lane's; with weights
        whoever is furthest behind its share first."""
        able_ones = [index for index in range(len(self._taken)) if able >> index & 1]
        if not self._weights:
            return able_ones
        start_over = self._mask != able
        return sorted(
            able_ones,
            key=lambda index: (0 if start_over else -self._balance(index), -self._weights[index]),
        )

    def is_over(self, index: int, able: int) -> bool:
        """Whether a carrier has taken so much that the others come first."""
        if not self._weights or len(self._able) < 2 or index not in self._able or self._mask != able:
            return False
        return self._room(index) < 1

    def _room(self, index: int) -> int:
        most, balance = self._most, self._balance(index)
        own, most[index] = most[index], _NEVER
        until_others_wait = min(most) - self._all
        most[index] = own
        room = (balance + SLACK * self._total) // (self._total - self._weights[index])
        room = min(room, until_others_wait)
        if room < 1 and balance == max(map(self._balance, self._able)):
            return 1
        return max(0, room)

    def _balance(self, index: int) -> int:
        return self._all * self._weights[index] - self._taken[index] * self._total

    def _set_able(self, able: int) -> None:
        weights, count = self._weights, len(self._taken)
        self._mask = able
        self._able = tuple(index for index in range(count) if able >> index & 1)
        self._taken = [0] * count
        self._all = 0  # what all of them took
        self._total = sum(weights[index] for index in self._able) if weights else 0
        self._most = [_NEVER] * count  # how much all may take before this one is `SLACK` behind
        for index in self._able if weights else ():
            self._most[index] = SLACK * self._total // weights[index]


def all_had(mask: int, spec: LaneSpec) -> bool:
    """Whether a mask has every carrier of the lane that may take something new."""
    return mask | drains(spec) == (1 << len(spec.carriers)) - 1


def drains(spec: LaneSpec) -> int:
    """The mask of the carriers that take nothing new: those of weight 0."""
    return sum(1 << index for index, weight in enumerate(spec.weights) if not weight)
