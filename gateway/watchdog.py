"""A watchdog on progress: accepted work that stops moving without a reason is said aloud (failure mode 27).

Every few seconds it looks at each lane with ready messages, each carrier with leases, the committer, the
callbacks that could go, the events for customers that are bound, what is due, what should have expired, the
records (CDRs) and the search index. Each has a mark that changes when it moves. Where the mark stays for
`patience_s`, something waits and nothing explains the wait (router.waiting), one error record says what
stands, how much of it, since when and what was looked at; `signalbox_stalled` is 1 until it moves again.

It only tells. Waiting with a reason (no bind, paused, throttled, window full, suspended…) is no stall, long
as it may be: other metrics show it. A loop that is blocked altogether is the service manager's business.

Deliberately not here: the reasons (router.waiting), repairing anything, liveness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from gateway.admin_shapes import iso
from gateway.measures import lane_name
from gateway.orders import ROUTE
from router.nouns import Phase
from router.waiting import CarrierFacts, LaneFacts, LaneWait, Queue, Wait, line_of, why_lane, why_leases
from store.interface import SMPP_ORIGIN

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier
    from gateway.cdrs import Cdrs
    from gateway.smpp_server.deliveries import Port

log = structlog.get_logger("watchdog")

_LOOKS = 6  # while patience lasts
_MOST_OFTEN_S = 1.0
_LEAST_OFTEN_S = 10.0
_ENDPOINTS_A_LOOK = 200
_COUNTED_ROWS = 1000
_MOST_EXPIRED = 1000
_EXPIRY_SLACK_MS = 120_000  # they end by the minute
_RECORDS_SLACK_S = 5
_TIMER_SLACK_S = 5.0

Key = tuple[str, str]  # part, name


class Sight(msgspec.Struct, frozen=True):
    """One thing as it is now. `waiting`: how much of it waits, 0 = nothing. `mark` changes when it moves."""

    part: str  # one of Watchdog.PARTS
    name: str
    waiting: int
    mark: object
    wait: Wait = Wait.FREE
    looked_at: dict[str, object] = {}
    patience_s: float = 0.0  # on top of the usual


class Stall(msgspec.Struct, frozen=True):
    """Something that should have moved since `since_ms`."""

    part: str
    name: str
    waiting: int
    since_ms: int
    reason: str
    looked_at: dict[str, object]


class Watchdog:
    """`stalls` is what stands still now. `patience_s` 0: it never looks."""

    PARTS = (
        "lane",
        "carrier",
        "lease",
        "commit",
        "callback",
        "delivery",
        "due",
        "expiry",
        "records",
        "search",
    )

    def __init__(self, gateway: Gateway, patience_s: float) -> None:
        self.stalls: dict[Key, Stall] = {}
        self._gateway = gateway
        self._patience_s = patience_s
        self._changed = trio.Event()
        self._since: dict[Key, tuple[object, float, int]] = {}  # mark, seen first at (s, UTC ms)
        self._endpoint = 0  # where the last look at callbacks ended
        self._newest_lease = 0  # at the last look

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changed = self._changed
            with trio.move_on_after(self._period_s()):
                await changed.wait()
                continue
            try:
                self.look()
            except Exception:
                # Whoever watches must not be what falls over.
                log.exception("the watchdog could not look")

    def change(self, patience_s: float) -> None:
        """0: from now on it does not look, and says of nothing that it stands still."""
        self._patience_s = patience_s
        if not patience_s:
            self.stalls.clear()
            self._since.clear()
        self._changed.set()
        self._changed = trio.Event()

    def _period_s(self) -> float:
        if not self._patience_s:
            return math.inf
        return min(_LEAST_OFTEN_S, max(_MOST_OFTEN_S, self._patience_s / _LOOKS))

    def look(self) -> None:
        """Once at everything."""
        now, now_ms = trio.current_time(), self._gateway.world.wall_ms()
        seen: set[Key] = set()
        for sight in self._sights(now, now_ms):
            seen.add((sight.part, sight.name))
            self._judge(sight, now, now_ms)
        for key in [key for key in self._since if key not in seen and key[0] != "callback"]:
            self._moves(key)

    def _judge(self, sight: Sight, now: float, now_ms: int) -> None:
        key = sight.part, sight.name
        if not sight.waiting or sight.wait.explains:
            self._moves(key)
            return
        mark, since, since_ms = self._since.get(key, (None, now, now_ms))
        if mark != sight.mark:
            self._moves(key)
            self._since[key] = sight.mark, now, now_ms
        elif key not in self.stalls and now - since >= self._patience_s + sight.patience_s:
            self._stands(key, sight, since_ms, now - since)

    def _stands(self, key: Key, sight: Sight, since_ms: int, for_s: float) -> None:
        stall = Stall(sight.part, sight.name, sight.waiting, since_ms, sight.wait.value, sight.looked_at)
        self.stalls[key] = stall
        log.error(
            "stalled",
            part=stall.part,
            name=stall.name,
            waiting=stall.waiting,
            since=iso(since_ms),
            for_s=round(for_s, 1),
            reason=stall.reason,
            looked_at=stall.looked_at,
            hint="a fault of the gateway: keep this line and the log around it; a restart loses nothing",
        )

    def _moves(self, key: Key) -> None:
        """It moves, or waits for a reason, or is gone."""
        self._since.pop(key, None)
        stall = self.stalls.pop(key, None)
        if stall is not None:
            log.warning("moves again", part=stall.part, name=stall.name, stood_since=iso(stall.since_ms))

    # what it looks at

    def _sights(self, now: float, now_ms: int) -> Iterator[Sight]:
        carriers = {carrier.id: carrier.facts(now) for carrier in self._gateway.carriers}
        yield from self._lanes(carriers, now, now_ms)
        for carrier in self._gateway.carriers:
            yield _carrier(carrier, carriers[carrier.id], now)
        yield from self._leases()
        yield self._commits()
        yield from self._callbacks(now)
        yield from self._due(now_ms)
        commit = self._since.get(("commit", ""))
        if commit is not None and commit[1] < now:
            return  # the commit stands still, and all that waits for it
        yield from self._deliveries(now)
        yield self._expiry(now_ms)
        if self._gateway.cdrs is not None:
            yield self._records(self._gateway.cdrs, now_ms)
        yield self._search()

    def _lanes(self, carriers: dict[int, CarrierFacts], now: float, now_ms: int) -> Iterator[Sight]:
        gateway = self._gateway
        for lane, counts in gateway.store.lane_totals().items():
            ready = counts[Phase.READY]
            if not ready:
                continue
            facts = lane_facts(gateway, lane, carriers, now, now_ms)
            why = why_lane(facts, now)
            # Nobody takes from a lane that is gone: its messages are planned anew, and so become fewer.
            mark = gateway.board.taken(lane) if gateway.board.in_force(lane) else -ready
            yield Sight(
                "lane", lane_name(gateway, lane), ready, mark, why.reason, _lane_looked_at(facts, why)
            )

    def _leases(self) -> Iterator[Sight]:
        """Messages that the store has leased to a carrier, and the carrier knows nothing of.

        Only leases that were there at the last look: a younger one may be on its way from here to there.
        """
        gateway = self._gateway
        old: dict[int, list[tuple[int, int]]] = {}
        newest = self._newest_lease
        for carrier_id, lease, message_id in gateway.store.leases():
            newest = max(newest, lease)
            if lease <= self._newest_lease:
                old.setdefault(carrier_id, []).append((lease, message_id))
        self._newest_lease = newest
        for carrier in gateway.carriers:
            leased = old.get(carrier.id, [])
            lost = sorted(set(leased) - carrier.holds()) if leased else []
            first = lost[0] if lost else None
            looked_at: dict[str, object] = {
                "leased": len(leased),
                "message_id": str(first[1]) if first else "",
            }
            yield Sight("lease", carrier.name, len(lost), first, Wait.LEASE_LOST, looked_at)

    def _commits(self) -> Sight:
        committer = self._gateway.committer
        refusal = self._gateway.store.admission()
        looked_at: dict[str, object] = {
            "commits_refused": committer.failures,
            "store": "" if refusal is None else f"{refusal}. {refusal.hint}",
        }
        return Sight("commit", "", int(committer.pending), committer.ticks, looked_at=looked_at)

    def _callbacks(self, now: float) -> Iterator[Sight]:
        """Some endpoints, each time from where the last look ended."""
        gateway = self._gateway
        endpoints = gateway.store.outbox_endpoints()
        ids = sorted(id for id, endpoint in endpoints.items() if endpoint.origin != SMPP_ORIGIN)
        turn = [id for id in ids if id > self._endpoint] + [id for id in ids if id <= self._endpoint]
        for id in turn[:_ENDPOINTS_A_LOOK]:
            self._endpoint = id
            page = gateway.store.outbox_page(id, 0, 1)
            why, mark = gateway.pump.why(id, now)
            looked_at: dict[str, object] = {"endpoint": id, "origin": endpoints[id].origin, "pump": why}
            yield Sight(
                "callback",
                str(id),
                self._rows(id) if page else 0,
                (page[0].seq if page else 0, mark),
                Wait.PAUSED if why else Wait.FREE,
                looked_at,
                gateway.pump.longest_s,
            )
        for key in [key for key in self._since if key[0] == "callback" and int(key[1]) not in endpoints]:
            self._moves(key)

    def _rows(self, endpoint: int) -> int:
        """How many rows, once it matters: counting reads them."""
        if not any(key[0] == "callback" and key[1] == str(endpoint) for key in self._since):
            return 1
        return len(self._gateway.store.outbox_page(endpoint, 0, _COUNTED_ROWS))

    def _deliveries(self, now: float) -> Iterator[Sight]:
        """Events for accounts that are bound, over their sessions."""
        store, deliveries = self._gateway.store, self._gateway.smpp.deliveries
        for endpoint in store.outbox_endpoints().values():
            port = deliveries.ports.get(endpoint.account) if endpoint.origin == SMPP_ORIGIN else None
            if port is None or not port.receivers:
                continue  # a wait that its customer ends
            page = store.outbox_page(endpoint.id, 0, 1)
            looked_at: dict[str, object] = {
                "receivers": len(port.receivers),
                "in_flight": port.in_flight,
                "ready": len(port.ready),
                "behind": port.behind,
            }
            yield Sight(
                "delivery",
                port.account.name,
                max(len(page), len(port.ready)),
                (page[0].seq if page else 0, port.delivered, port.refused, port.retried, port.expired),
                _why_port(port, now),
                looked_at,
            )

    def _due(self, now_ms: int) -> Iterator[Sight]:
        store = self._gateway.store
        due_ms, rows = store.next_due_ms(), store.due_rows()
        overdue = due_ms is not None and due_ms < now_ms
        looked_at: dict[str, object] = {"first_due": iso(due_ms or 0), "rows": rows}
        yield Sight("due", "", rows if overdue else 0, (due_ms, rows), looked_at=looked_at)
        silent_ms = store.next_silence_ms()
        overdue = silent_ms is not None and silent_ms < now_ms
        looked_at = {"first_due": iso(silent_ms or 0)}
        yield Sight("due", "overdue receipts", int(overdue), silent_ms, looked_at=looked_at)

    def _expiry(self, now_ms: int) -> Sight:
        """What outlived its validity ends within a minute or two, unless a carrier has it in its hands."""
        store = self._gateway.store
        leased = min(store.totals().messages[Phase.LEASED], _MOST_EXPIRED)
        rows = store.expired_rows(now_ms - _EXPIRY_SLACK_MS, leased + 1)
        first = rows[0] if rows else None
        looked_at: dict[str, object] = {"message_id": str(first[1]) if first else "", "leased": leased}
        return Sight("expiry", "", int(len(rows) > leased), first, looked_at=looked_at)

    def _records(self, cdrs: Cdrs, now_ms: int) -> Sight:
        """A disk that cannot be written to is a reason, and is told as it is tried again."""
        key = cdrs.key
        rows = self._gateway.store.finished_keys(key, now_ms // 1000 - _RECORDS_SLACK_S, 1)
        looked_at: dict[str, object] = {"lines": cdrs.lines, "failures": cdrs.failures}
        return Sight("records", "", int(bool(rows)), (key, cdrs.failures), looked_at=looked_at)

    def _search(self) -> Sight:
        """Its own process: also gone for good, or ended and started again without getting on."""
        searching = self._gateway.searching
        facts, newest = searching.facts, self._gateway.store.newest_id()
        indexed = facts.indexed if facts is not None else -1
        looked_at: dict[str, object] = {"indexed": indexed, "newest": newest, **searching.view()}
        why = Wait.PAUSED if facts is not None and facts.problem else Wait.FREE
        mark = (indexed, facts.built, facts.bytes, facts.waiting) if facts is not None else (indexed,)
        is_behind = newest > 0 and (facts is None or indexed < newest or bool(facts.waiting))
        return Sight("search", "", int(is_behind), mark, why, looked_at)


def _why_port(port: Port, now: float) -> Wait:
    """Why an account's sessions are sent nothing more."""
    if now < port.paused_until:
        return Wait.PAUSED
    if port.account.deliver_rate and port.throttle.available(now) < 1:
        return Wait.THROTTLED
    due = [one.session.response_due for one in port.receivers]
    answers_come = any(at is not None and now < at + _TIMER_SLACK_S for at in due)
    if port.in_flight and not (port.ready or port.behind):
        return Wait.RESPONSE_PENDING if answers_come else Wait.WINDOW_STUCK
    if any(one.session.window_free > 0 for one in port.receivers):
        return Wait.FREE
    return Wait.WINDOW_FULL if answers_come else Wait.WINDOW_STUCK


# --- facts, also for others --------------------------------------------------------------------------------


def lane_facts(
    gateway: Gateway, lane: int, carriers: dict[int, CarrierFacts], now: float, now_ms: int
) -> LaneFacts:
    """One lane, for router.waiting.why_lane."""
    store, board = gateway.store, gateway.board
    spec, counts = store.lane(lane), store.lane_totals().get(lane, [0] * len(Phase))
    in_force = board.in_force(lane)
    queues = store.ready_queues(lane) if counts[Phase.READY] else {}
    return LaneFacts(
        carriers=tuple(
            _under_limits(gateway, lane, carriers.get(carrier), carrier, now) if in_force else None
            for carrier in spec.carriers
        ),
        ready=counts[Phase.READY],
        queues=tuple(Queue(tried, max(0, now_ms - oldest_ms) / 1000) for tried, oldest_ms in queues.items()),
        suspended=not queues and any(account.suspended for account in store.accounts().values()),
        paced=gateway.sending.waiting,
        weighted=bool(spec.weights),
        drains=board.drains_of(lane),
        overflow_after_s=board.overflow_after_s,
        tokens=board.tokens(lane, now),
        scheduled=counts[Phase.SCHEDULED],
        deferred=counts[Phase.DEFERRED],
        held=counts[Phase.HELD],
        unknown=counts[Phase.UNKNOWN],
        route_suspended=_suspended(gateway, spec.route) if board.is_suspended(lane) else "",
    )


def _suspended(gateway: Gateway, route: str) -> str:
    """By whom, until when and why."""
    order = gateway.orders.find(ROUTE, route)
    return f"route {route}: suspended {order.told}" if order is not None else f"route {route}: suspended"


def _under_limits(
    gateway: Gateway, lane: int, facts: CarrierFacts | None, carrier: int, now: float
) -> CarrierFacts | None:
    """A carrier as the messages of a lane see it that are under limits of their own, or for one country."""
    limits = gateway.board.some_limits(lane, carrier)
    if facts is not None and facts.out is None:
        facts = msgspec.structs.replace(facts, out=gateway.board.out_in(lane, carrier))
    if facts is None or not limits:
        return facts
    room = min(limit.room(now) for limit in limits)
    return msgspec.structs.replace(facts, tokens=max(0, min(facts.tokens, room)))


def lane_waits(gateway: Gateway) -> dict[str, object]:
    """Every lane with anything in it: how much, and why it does not move, for people and programs."""
    now, now_ms = trio.current_time(), gateway.world.wall_ms()
    carriers = gateway.troubles.carriers(now)
    waits: dict[str, object] = {}
    for lane, counts in sorted(gateway.store.lane_totals().items()):
        if not any(counts):
            continue
        facts = lane_facts(gateway, lane, carriers, now, now_ms)
        why = why_lane(facts, now)
        waits[lane_name(gateway, lane)] = {
            **{phase.name.lower(): counts[phase] for phase in Phase if counts[phase]},
            "reason": why.reason.name.lower(),
            "line": line_of(facts, why),
            "carriers": _by_name(facts, why),
        }
    return waits


def _carrier(carrier: Carrier, facts: CarrierFacts, now: float) -> Sight:
    looked_at: dict[str, object] = {
        "buffered": facts.buffered,
        "in_flight": facts.in_flight,
        "slots": facts.way,
        "tokens": facts.way_tokens,
        "paused_for_s": round(max(0.0, facts.paused_until - now), 1),
    }
    waiting = facts.buffered + facts.in_flight
    return Sight("carrier", carrier.name, waiting, carrier.progress(), why_leases(facts, now), looked_at)


def _lane_looked_at(facts: LaneFacts, why: LaneWait) -> dict[str, object]:
    return {
        "oldest_s": round(max((queue.age_s for queue in facts.queues), default=0.0), 1),
        "queues": len(facts.queues),
        "route_tokens": facts.tokens,
        "carriers": _by_name(facts, why),
    }


def _by_name(facts: LaneFacts, why: LaneWait) -> dict[str, str]:
    named = [one.name if one is not None else "(gone)" for one in facts.carriers]
    return {name: wait.name.lower() for name, wait in zip(named, why.carriers, strict=True)}
