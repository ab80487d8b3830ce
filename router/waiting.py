"""Why work does not move: one answer for the watchdog, the console and the command line.

What holds one message back is stored with it (deferred until, held by a rule); what holds a lane or a carrier
back is worked out here, from facts that somebody else collected. A reason *explains* when the wait ends by
itself or by an operator's act. What is left over, work that nothing keeps from moving and that does not move,
is a fault of ours, and the watchdog's business (failure mode 27).

Deliberately not here: who watches and for how long (gateway.watchdog), what is allowed to move
(gateway.carriers.lanes, which decides by the same rules and on its own).
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from router.throttle import UNLIMITED

Side: TypeAlias = Literal["ours", "theirs", ""]


class Wait(Enum):
    """Why something waits. The values are for people; the names, in lower case, for labels and programs."""

    # a lane without ready messages
    NOTHING = "nothing waits"
    SCHEDULED = "scheduled for later"
    DEFERRED = "deferred until the next attempt"
    HELD = "held until released"
    OUTCOME_UNKNOWN = "held: the outcome is unknown"
    # a lane with ready messages
    ACCOUNT_SUSPENDED = "the account is suspended"
    ACCOUNT_THROTTLED = "the accounts are at their own limits"
    ROUTE_THROTTLED = "the route is at its limit"
    ROUTE_SUSPENDED = "the route is suspended by an operator"
    # a carrier
    STOPPING = "shutting down"
    SUSPENDED = "suspended by an operator"
    MAINTENANCE = "in a maintenance window"
    CIRCUIT_OPEN = "taken out by its circuit breaker"
    TRIAL = "half-open: its trial messages are not judged yet"
    NO_BIND = "no bind"
    PAUSED = "paused after a refusal"
    WINDOW_FULL = "window full, responses pending"
    THROTTLED = "the carrier is at its limit"
    BUSY = "sends first what it has leased"
    RESPONSE_PENDING = "sent, responses pending"
    # a carrier in a lane
    COUNTRY_OUT = "taken out for this country by its circuit breaker"
    COUNTRY_TRIAL = "half-open for this country: its trial messages are not judged yet"
    REFUSED_BEFORE = "had these messages before: the others come first"
    HAD_BEFORE = "had these messages before, and is given again only what no carrier has accepted"
    OVERFLOW_WAIT = "a higher choice comes first"
    SHARE_WAIT = "another carrier is behind its share"
    DRAINS = "weight 0: takes nothing new"
    # no explanation
    LANE_GONE = "the lane is gone, and its messages were not planned anew"
    WINDOW_STUCK = "sent, and no response can time out"
    LEASE_LOST = "leased, and nobody works on it"
    FREE = "nothing is in the way"

    @property
    def explains(self) -> bool:
        """False: it should move, and a watchdog may say so."""
        return self not in _UNEXPLAINED

    @property
    def side(self) -> Side:
        """Whose business it is: the carrier's, ours (operators, limits, accounts), or "" nobody's."""
        return "theirs" if self in _THEIRS else "ours" if self in _OURS else ""


_THEIRS = frozenset(
    {
        Wait.CIRCUIT_OPEN,
        Wait.TRIAL,
        Wait.MAINTENANCE,
        Wait.NO_BIND,
        Wait.PAUSED,
        Wait.WINDOW_FULL,
        Wait.RESPONSE_PENDING,
        Wait.COUNTRY_OUT,
        Wait.COUNTRY_TRIAL,
    }
)
_OURS = frozenset(
    {
        Wait.ACCOUNT_SUSPENDED,
        Wait.ACCOUNT_THROTTLED,
        Wait.ROUTE_THROTTLED,
        Wait.ROUTE_SUSPENDED,
        Wait.STOPPING,
        Wait.SUSPENDED,
        Wait.THROTTLED,
        Wait.DRAINS,
        Wait.LANE_GONE,
        Wait.WINDOW_STUCK,
        Wait.LEASE_LOST,
    }
)
_UNEXPLAINED = frozenset({Wait.LANE_GONE, Wait.WINDOW_STUCK, Wait.LEASE_LOST, Wait.FREE})
_NEAREST = (  # of several carriers' reasons, the one that ends first speaks for the lane
    Wait.FREE,
    Wait.BUSY,
    Wait.THROTTLED,
    Wait.WINDOW_FULL,
    Wait.PAUSED,
    Wait.OVERFLOW_WAIT,
    Wait.SHARE_WAIT,
    Wait.WINDOW_STUCK,
    Wait.COUNTRY_TRIAL,
    Wait.COUNTRY_OUT,
    Wait.TRIAL,
    Wait.CIRCUIT_OPEN,
    Wait.MAINTENANCE,
    Wait.SUSPENDED,
    Wait.NO_BIND,
    Wait.STOPPING,
    Wait.REFUSED_BEFORE,
    Wait.HAD_BEFORE,
    Wait.DRAINS,
    Wait.LANE_GONE,
)
_RANK = {wait: rank for rank, wait in enumerate(_NEAREST)}
_ABLE = frozenset({Wait.FREE, Wait.BUSY, Wait.THROTTLED, Wait.WINDOW_FULL, Wait.WINDOW_STUCK, Wait.PAUSED})
_MOST_NAMED = 4  # carriers in one line
_TIMER_SLACK_S = 5.0  # a session's timers run about once a second


class CarrierFacts(msgspec.Struct, frozen=True):
    """One carrier at one moment. Times are monotonic seconds."""

    name: str
    bound: bool = True  # with a bind that may submit
    suspended: bool = False
    stopping: bool = False
    paused_until: float = 0.0  # of the carrier, or of all its binds
    room: int = 1  # free slots over all binds that are not paused
    appetite: int = 1  # segments it would lease now, tokens apart: what is leased already comes first
    way: int = 1  # free slots for what is leased: the rest of a long message has to leave on its own bind
    response_due: float = -math.inf  # when the last of its binds' oldest submits times out
    tokens: int = UNLIMITED  # segments its TPS allows now
    way_tokens: int = UNLIMITED  # the same for what is leased
    buffered: int = 0  # segments leased and not sent
    in_flight: int = 0  # segments sent and not answered
    out: Wait | None = (
        None  # why the gateway itself gives it nothing new: MAINTENANCE, CIRCUIT_OPEN, TRIAL, COUNTRY_…
    )
    trouble: str = ""  # what is wrong with it, in words, where somebody found out


class Queue(NamedTuple):
    """One ready queue of a lane that has turns."""

    tried: int  # mask of the carriers that had its messages: again only while no other one may have them
    age_s: float  # of its oldest message


class LaneFacts(msgspec.Struct, frozen=True):
    """One lane at one moment. `carriers` in the lane's order, None for one that is gone."""

    carriers: tuple[CarrierFacts | None, ...]
    ready: int = 0
    queues: tuple[Queue, ...] = ()
    suspended: bool = False  # some account is, whose messages have no turn; asked for without `queues`
    paced: bool = False  # some account is at a limit of its own, and has no turn for a while
    weighted: bool = False
    drains: int = 0  # mask of the carriers with weight 0
    overflow_after_s: float = 0.0
    tokens: int = UNLIMITED  # segments the route's own TPS allows now
    scheduled: int = 0
    deferred: int = 0
    held: int = 0
    unknown: int = 0
    route_suspended: str = ""  # which route, by whom, until when: none of its messages goes


class LaneWait(msgspec.Struct, frozen=True):
    """Why a lane does not move, and each of its carriers, in the lane's order."""

    reason: Wait
    carriers: tuple[Wait, ...] = ()


def line_of(facts: LaneFacts, why: LaneWait) -> str:
    """Why a lane does not move, in one line: the reason, and what is wrong with its carriers, or what they
    wait for where there are several.

    "carrier north: no bind since 12 s: connection refused" or "paused after a refusal (carrier north:
    throttles: 83% of …)".
    """
    reason = why.reason.value
    if why.reason is Wait.ROUTE_SUSPENDED:
        return facts.route_suspended
    each = facts.ready and len(facts.carriers) > 1 and why.reason in _RANK and why.reason is not Wait.FREE
    waits = why.carriers if each else ()
    told = [
        (one.name, one.trouble or (waits[at].value if waits else ""))
        for at, one in enumerate(facts.carriers)
        if one is not None and (one.trouble or waits)
    ]
    if not told or not facts.ready + facts.deferred:
        return reason
    said = "; ".join(f"carrier {name}: {words}" for name, words in told[:_MOST_NAMED])
    if len(told) > _MOST_NAMED:
        said += f"; and {len(told) - _MOST_NAMED} more"
    first, _, _ = reason.partition(" ")
    is_said = len(told) == len(facts.carriers) and all(words.split(" ")[0] == first for _, words in told)
    return said if is_said else f"{reason} ({said})"


def why_carrier(facts: CarrierFacts, now: float) -> Wait:
    """Why this carrier takes no more work."""
    held_back = _held_back(facts, now)
    if held_back is not None:
        return held_back
    if facts.room <= 0:
        return Wait.WINDOW_FULL if _answers_come(facts, now) else Wait.WINDOW_STUCK
    if facts.tokens <= 0:
        return Wait.THROTTLED
    return Wait.FREE if facts.appetite > 0 else Wait.BUSY


def why_leases(facts: CarrierFacts, now: float) -> Wait:
    """Why what this carrier has leased is not sent, or has no answer yet."""
    if facts.buffered:
        held_back = _held_back(facts, now)
        if held_back is not None:
            return held_back
        if facts.way <= 0:
            return Wait.WINDOW_FULL if _answers_come(facts, now) else Wait.WINDOW_STUCK
        return Wait.FREE if facts.way_tokens > 0 else Wait.THROTTLED
    if facts.in_flight:
        return Wait.RESPONSE_PENDING if _answers_come(facts, now) else Wait.WINDOW_STUCK
    return Wait.NOTHING


def _held_back(facts: CarrierFacts, now: float) -> Wait | None:
    """What concerns the carrier as a whole."""
    if facts.stopping:
        return Wait.STOPPING
    if facts.suspended:
        return Wait.SUSPENDED
    if facts.out is not None:
        return facts.out
    if not facts.bound:
        return Wait.NO_BIND
    return Wait.PAUSED if now < facts.paused_until else None


def _answers_come(facts: CarrierFacts, now: float) -> bool:
    """Or time out: either way slots become free."""
    return now < facts.response_due + _TIMER_SLACK_S


def why_lane(facts: LaneFacts, now: float) -> LaneWait:
    """Why no message of this lane is taken."""
    own = tuple(Wait.LANE_GONE if one is None else why_carrier(one, now) for one in facts.carriers)
    if not facts.ready:
        return LaneWait(_not_ready(facts), own)
    if all(wait is Wait.LANE_GONE for wait in own):
        return LaneWait(Wait.LANE_GONE, own)
    if facts.route_suspended:
        return LaneWait(Wait.ROUTE_SUSPENDED, own)
    if not facts.queues and facts.paced:
        return LaneWait(Wait.ACCOUNT_THROTTLED, own)
    if not facts.queues:
        return LaneWait(Wait.ACCOUNT_SUSPENDED if facts.suspended else Wait.FREE, own)
    if facts.tokens <= 0:
        return LaneWait(Wait.ROUTE_THROTTLED, own)
    by_queue = [_why_queue(facts, own, queue) for queue in facts.queues]
    carriers = tuple(
        min((waits[index] for waits in by_queue), key=_RANK.__getitem__) for index in range(len(own))
    )
    return LaneWait(min(carriers, key=_RANK.__getitem__), carriers)


def _not_ready(facts: LaneFacts) -> Wait:
    for count, wait in (
        (facts.deferred, Wait.DEFERRED),
        (facts.scheduled, Wait.SCHEDULED),
        (facts.held, Wait.HELD),
        (facts.unknown, Wait.OUTCOME_UNKNOWN),
    ):
        if count:
            return wait
    return Wait.NOTHING


def _why_queue(facts: LaneFacts, own: tuple[Wait, ...], queue: Queue) -> list[Wait]:
    """Each carrier's reason not to take from one queue."""
    waits: list[Wait] = []
    # carriers that messages may wait for: while there is one, nobody is given them again (store.claim)
    others = any(
        wait in _ABLE and not (queue.tried | facts.drains) >> one & 1 for one, wait in enumerate(own)
    )
    for index, wait in enumerate(own):
        if facts.drains >> index & 1:
            waits.append(Wait.DRAINS)
        elif queue.tried >> index & 1:
            waits.append(Wait.REFUSED_BEFORE if others else Wait.HAD_BEFORE if wait is Wait.FREE else wait)
        elif wait is not Wait.FREE:
            waits.append(wait)
        elif facts.weighted:
            waits.append(_why_share(own, index, queue))
        else:
            waits.append(_why_order(facts, own, index, queue))
    return waits


def _why_order(facts: LaneFacts, own: tuple[Wait, ...], index: int, queue: Queue) -> Wait:
    """A lower choice waits a while for able higher ones that have not refused the message."""
    higher = any(own[one] in _ABLE and not queue.tried >> one & 1 for one in range(index))
    return Wait.OVERFLOW_WAIT if higher and queue.age_s <= facts.overflow_after_s else Wait.FREE


def _why_share(own: tuple[Wait, ...], index: int, queue: Queue) -> Wait:
    """With weights a carrier waits for another one's share only while that one is held up for a moment."""
    behind = any(
        wait in _ABLE and wait is not Wait.FREE and not queue.tried >> one & 1
        for one, wait in enumerate(own)
        if one != index
    )
    return Wait.SHARE_WAIT if behind else Wait.FREE
