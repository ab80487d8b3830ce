"""What waits and what is wrong, for operators: queues by lane, priority and account, and a list of problems.

The queues say what `signalbox status` says, from the same facts (router.waiting), and say it further down;
what is wrong, gateway.troubles finds.

Invariants: nothing here changes anything; at most COUNTED rows are counted for one answer, so that asking
costs some milliseconds, however much waits.

Deliberately not here: finding what is wrong (gateway.troubles), JSON over HTTP (gateway.http.overview),
figures over time (/metrics).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import trio

from gateway.admin_shapes import iso
from gateway.measures import lane_name
from gateway.troubles import CRITICAL, WARNING, Trouble
from gateway.watchdog import lane_facts
from router.nouns import Phase
from router.waiting import Wait, line_of, why_lane

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.orders import InForce
    from store.interface import ReadyQueue

COUNTED = 20_000
COUNTED_EACH = 1_000


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
    now, now_ms = trio.current_time(), gateway.world.wall_ms()
    carriers = gateway.troubles.carriers(now)
    orders = {one.subject: one for one in gateway.orders.in_force()}
    by_lane: dict[int, list[ReadyQueue]] = {}
    for queue in gateway.store.waiting_queues(each, most):
        by_lane.setdefault(queue.lane, []).append(queue)
    views = []
    for lane, counts in gateway.store.lane_totals().items():
        if not any(counts):
            continue
        facts = lane_facts(gateway, lane, carriers, now, now_ms)
        why = why_lane(facts, now)
        line = line_of(facts, why)
        _count_the_last(by_lane.get(lane, []), counts[Phase.READY])
        below = [_queue(gateway, one, why.reason, line, orders, now_ms) for one in by_lane.get(lane, [])]
        named = [one.name if one is not None else "(gone)" for one in facts.carriers]
        views.append(
            LaneView(
                lane=lane_name(gateway, lane),
                reason=why.reason.name.lower(),
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
        )
    return sorted(views, key=lambda view: (-view.oldest_age_s, view.lane))


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


__all__ = ["CRITICAL", "WARNING", "LaneView", "QueueView", "Trouble", "problems", "queues"]
