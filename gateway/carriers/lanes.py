"""Which lanes a carrier may pull from right now, and how much from each.

Architecture §3: order with overflow, or weights. The queue itself is the store's; this board only knows
which carriers share a lane and who is able.

Deliberately not here: fairness inside a lane (router.turns, inside the claim), sending.
"""

from __future__ import annotations

from typing import Protocol

from router.lanes import LaneShares
from router.nouns import LaneSpec, Message
from router.throttle import Throttle
from store.interface import Store


class Member(Protocol):
    """A carrier, as a lane sees it."""

    id: int

    def able(self) -> bool: ...
    def stalled(self, now: float) -> bool: ...


class _Lane:
    __slots__ = ("id", "index_of", "members", "shares", "spec", "throttle")

    def __init__(self, identity: int, spec: LaneSpec, throttle: Throttle | None) -> None:
        self.id = identity
        self.spec = spec
        self.shares = LaneShares(spec)
        self.members: list[Member | None] = [None] * len(spec.carriers)
        self.index_of = {carrier: index for index, carrier in enumerate(spec.carriers)}
        self.throttle = throttle

    def able_mask(self, now: float) -> int:
        mask = 0
        for index, member in enumerate(self.members):
            if member is not None and member.able() and not (self.spec.weights and member.stalled(now)):
                mask |= 1 << index
        return mask


class LaneBoard:
    """All lanes in force. `overflow_after_s`: how long a lower choice waits for a higher one."""

    def __init__(self, store: Store, overflow_after_s: float) -> None:
        self._store = store
        self._overflow_after_s = overflow_after_s
        self._lanes: dict[int, _Lane] = {}
        self._of_carrier: dict[int, list[_Lane]] = {}

    def add(self, identity: int, spec: LaneSpec, throttle: Throttle | None = None) -> None:
        """Put a lane in force; `throttle` is the route's own TPS, if it has one."""
        if identity in self._lanes:
            return
        lane = _Lane(identity, spec, throttle)
        self._lanes[identity] = lane
        for carrier in spec.carriers:
            self._of_carrier.setdefault(carrier, []).append(lane)

    def join(self, member: Member) -> None:
        """A carrier takes its place in every lane that names it."""
        for lane in self._of_carrier.get(member.id, ()):
            lane.members[lane.index_of[member.id]] = member

    def able(self, lane: int) -> bool:
        """Whether any carrier of the lane could take a message."""
        found = self._lanes.get(lane)
        return found is not None and any(member is not None and member.able() for member in found.members)

    def eligible(
        self, member: Member, budget: int, now: float, now_ms: int
    ) -> tuple[tuple[int, int, int], ...]:
        """(lane id, index, at most so many segments) for every lane this carrier may pull from now."""
        ready = self._store.ready_lanes()
        lanes: list[tuple[int, int, int]] = []
        for lane in self._of_carrier.get(member.id, ()):
            if lane.id in ready:
                most = self._allowance(lane, member, budget, now, now_ms)
                if most > 0:
                    lanes.append((lane.id, lane.index_of[member.id], most))
        return tuple(lanes)

    def _allowance(self, lane: _Lane, member: Member, budget: int, now: float, now_ms: int) -> int:
        index = lane.index_of[member.id]
        most = budget
        if len(lane.members) > 1:
            mask = lane.able_mask(now)
            if lane.spec.weights:
                most = lane.shares.allowance(index, budget, mask)
            elif index > 0:
                oldest_ms = self._store.oldest_ready_ms(lane.id)
                age_s = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000
                if not lane.shares.eligible(index, mask, age_s, self._overflow_after_s):
                    return 0
        if lane.throttle is not None:
            most = min(most, lane.throttle.available(now))
        return most

    def took(self, carrier: int, message: Message, now: float) -> None:
        """Account for a claimed message in the lane's shares and the route's TPS."""
        lane = self._lanes.get(message.lane)
        if lane is None:
            return
        if lane.spec.weights:
            lane.shares.took(lane.index_of[carrier], message.segments)
        if lane.throttle is not None:
            lane.throttle.take(message.segments, now)
