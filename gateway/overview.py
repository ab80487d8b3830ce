"""What waits and what is wrong, for operators: queues by lane, priority and account, and a list of problems.

The queues say what `signalbox status` says, from the same facts (router.waiting), and say it further down;
what is wrong, gateway.troubles finds.

Invariants: nothing here changes anything; at most COUNTED rows are counted for one answer, so that asking
costs some milliseconds, however much waits.

Deliberately not here: finding what is wrong (gateway.troubles), JSON over HTTP (gateway.http.overview),
figures over time (/metrics).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import msgspec
import trio

from gateway.admin_shapes import iso
from gateway.measures import lane_name
from gateway.troubles import CRITICAL, WARNING, Trouble
from gateway.watchdog import lane_facts
from router.nouns import Phase
from router.waiting import LaneFacts, Wait, line_of, why_lane

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.figures import CarrierFigures
    from gateway.orders import InForce
    from store.interface import ReadyQueue

COUNTED = 20_000
COUNTED_EACH = 1_000
_MOST_NAMED = 4  # carriers in one line


class QueueView(msgspec.Struct):
    """Ready messages of one account and priority. `more`: there are more than `depth`, which was counted.
    `detail` says why in words, by whom and until when where somebody did it."""

    account: str
    priority: int
    depth: int
    more: bool
    oldest_age_s: float
    reason: str
    detail: str


class LaneView(msgspec.Struct):
    """A lane with anything in it; `carriers` are each one's reason."""

    lane: str
    reason: str
    detail: str
    ready: int
    leased: int
    deferred: int
    scheduled: int
    held: int
    unknown: int
    oldest_age_s: float
    carriers: dict[str, str]
    queues: list[QueueView]


def queues(gateway: Gateway, each: int = COUNTED_EACH, most: int = COUNTED) -> list[LaneView]:
    """Every lane with anything in it, and why it does not move, those with the oldest messages first. Counts
    `each` messages of a queue and `most` in all; what is left of its lane's count is the last one's."""
    waiting = Waiting(gateway, each, most)
    return [waiting.view(lane) for lane in waiting.lanes]


class Waiting:
    """What waits at one moment. To list it costs little; why a lane does not move is worked out when somebody
    asks for its view, once. `lanes`: those with anything in them, the one with the oldest message first."""

    def __init__(self, gateway: Gateway, each: int = COUNTED_EACH, most: int = COUNTED) -> None:
        self._gateway = gateway
        self._now, self._now_ms = trio.current_time(), gateway.world.wall_ms()
        self._carriers = gateway.troubles.carriers(self._now)
        self._orders = {one.subject: one for one in gateway.orders.in_force()}
        self._views: dict[int, LaneView] = {}
        self._slow: dict[str, CarrierFigures] | None = None
        self._counts = {lane: counts for lane, counts in gateway.store.lane_totals().items() if any(counts)}
        self.queues: dict[int, list[ReadyQueue]] = {}
        for queue in gateway.store.waiting_queues(each, most):
            self.queues.setdefault(queue.lane, []).append(queue)
        for lane, below in self.queues.items():
            _count_the_last(below, self._counts[lane][Phase.READY] if lane in self._counts else 0)
        self.lanes = sorted(self._counts, key=lambda lane: (self.oldest_ms(lane), lane))

    def oldest_ms(self, lane: int) -> int:
        """When its oldest ready message was due; now, if there is none."""
        return min((one.oldest_ms for one in self.queues.get(lane, ())), default=self._now_ms)

    @property
    def known(self) -> Collection[int]:
        """`lanes`, to look one up in."""
        return self._counts.keys()

    def view(self, lane: int) -> LaneView:
        """One lane of `lanes`."""
        found = self._views.get(lane)
        if found is None:
            found = self._views[lane] = self._view(lane)
        return found

    def _view(self, lane: int) -> LaneView:
        gateway, counts = self._gateway, self._counts[lane]
        facts = lane_facts(gateway, lane, self._carriers, self._now, self._now_ms)
        why = why_lane(facts, self._now)
        reason, line = self._over_a_second(facts, why.reason, line_of(facts, why))
        below = [
            _queue(gateway, one, reason, line, self._orders, self._now_ms)
            for one in self.queues.get(lane, [])
        ]
        named = [one.name if one is not None else "(gone)" for one in facts.carriers]
        return LaneView(
            lane=lane_name(gateway, lane),
            reason=reason.name.lower(),
            detail=line,
            ready=counts[Phase.READY],
            leased=counts[Phase.LEASED],
            deferred=counts[Phase.DEFERRED],
            scheduled=counts[Phase.SCHEDULED],
            held=counts[Phase.HELD],
            unknown=counts[Phase.UNKNOWN],
            oldest_age_s=max((one.oldest_age_s for one in below), default=0.0),
            carriers={name: wait.name.lower() for name, wait in zip(named, why.carriers, strict=True)},
            queues=below,
        )

    def _over_a_second(self, facts: LaneFacts, reason: Wait, line: str) -> tuple[Wait, str]:
        """A lane that moves at this moment may be as slow, over a second, as its carriers' limits and windows
        let it: then that is the reason."""
        if not facts.ready or reason not in (Wait.FREE, Wait.BUSY):
            return reason, line
        if self._slow is None:
            carriers = self._gateway.figures.snapshot().carriers
            self._slow = {one.name: one for one in carriers if one.why in ("throttled", "window_full")}
        slow = [self._slow[one.name] for one in facts.carriers if one is not None and one.name in self._slow]
        if not slow:
            return reason, line
        said = "; ".join(f"carrier {one.name}: {one.detail}" for one in slow[:_MOST_NAMED] if one.detail)
        return Wait[slow[0].why.upper()], said or line


def _count_the_last(queues: list[ReadyQueue], ready: int) -> None:
    """Where one queue alone was not counted to its end."""
    longer = [one for one in queues if one.more]
    if len(longer) == 1:
        others = sum(one.count for one in queues if not one.more)
        longer[0].count, longer[0].more = max(longer[0].count, ready - others), False


def _queue(
    gateway: Gateway, queue: ReadyQueue, why: Wait, line: str, orders: Mapping[str, InForce], now_ms: int
) -> QueueView:
    account = gateway.accounts.by_id.get(queue.account)
    if account is not None and account.suspended:
        why = Wait.ACCOUNT_SUSPENDED
        order = orders.get(f"account:{account.name}")
        line = why.value if order is None else f"account {account.name}: {suspended(order)}"
    return QueueView(
        account.name if account is not None else str(queue.account),
        queue.priority,
        queue.count,
        queue.more,
        round(max(0, now_ms - queue.oldest_ms) / 1000, 1),
        why.name.lower(),
        line,
    )


def suspended(order: InForce) -> str:
    """By whom, until when, why."""
    end = f" until {iso(order.until_ms)}" if order.until_ms else ""
    return f"suspended{end} by {order.who}" + (f": {order.reason}" if order.reason else "")


def problems(gateway: Gateway, *, names: bool = True) -> list[Trouble]:
    """What is not well, the worst first. `names`: also of accounts, for those who may see them."""
    return gateway.troubles.listed(names=names)


__all__ = [
    "CRITICAL",
    "WARNING",
    "LaneView",
    "QueueView",
    "Trouble",
    "Waiting",
    "problems",
    "queues",
    "suspended",
]
