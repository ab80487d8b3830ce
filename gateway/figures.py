"""What passes a second, lately: the figures of `signalbox top`, GET /v1/top and the console.

Once a second the plain counters (gateway.metrics, store.tallies) are read and compared with those a second
ago: so every figure is the same for all who look, and looking often costs nothing more. The house's history
are the last SECONDS seconds; a carrier and an account have the last second and the mean of the last minute.
What is true only now (windows, queues, ages, problems) is read when somebody asks, once a second for all.

Invariants: memory is bounded by carriers, by MOST_ACCOUNTS accounts that do something, and by SECONDS;
nothing here is stored or decides anything; a look costs well below a millisecond.

Deliberately not here: figures over hours (/metrics), JSON (gateway.http.overview), columns (gateway.cli.top).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog
import trio

from gateway.admin_shapes import iso
from gateway.admin_status import waiting_messages
from gateway.http.timeline import Time
from gateway.metrics import SECONDS as RESPONSE_BOUNDS_S
from gateway.metrics import CarrierCounts
from gateway.overview import Trouble, Waiting
from router.nouns import MessageState, Phase
from router.waiting import Side, Wait, why_carrier
from store.backlog import retrying, waiting, with_waiting

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier
    from router.nouns import Account

SECONDS = 300  # of the house's history
MOST_ACCOUNTS = 500
SHOWN_ACCOUNTS = 200
COUNTED_EVENTS = 1_000  # of one account's backlog

MOST_LANES = 1_000

_MINUTE = 60
_STATUSES_S = 10  # how often answers are counted by their status
_LATELY = 10  # seconds of which response times are told
_BACKLOG_S = 5.0  # how often events that wait are counted
_COUNTED_ENDPOINTS = 400
_QUEUE_EACH, _QUEUE_ALL = 100, 500  # messages that are counted each second, while somebody watches
_AT_LIMIT = 0.9  # of its TPS: what waits, waits for that
_FULL = 0.75  # of its windows, the same
_OUR_LIMITS = frozenset({Wait.ROUTE_THROTTLED, Wait.ACCOUNT_THROTTLED})
_DELIVERED = int(MessageState.DELIVERED)
_FAILED = frozenset(
    int(state)
    for state in (
        MessageState.EXPIRED, MessageState.UNDELIVERABLE, MessageState.REJECTED, MessageState.UNKNOWN
    )
)  # fmt: skip
_HERE = frozenset({Phase.SCHEDULED, Phase.READY, Phase.DEFERRED, Phase.HELD, Phase.LEASED})

log = structlog.get_logger("figures")


class Passed(msgspec.Struct, kw_only=True):
    """What passed a second: in the last one, or as the mean of the last minute.

    `accepted` and `refused` are messages (`refused` at the door), `sent` segments (submit_sm to carriers),
    `delivered` and `failed` messages that ended so, `mo` inbound messages.
    """

    accepted: float = 0.0
    sent: float = 0.0
    delivered: float = 0.0
    failed: float = 0.0
    refused: float = 0.0
    mo: float = 0.0


class History(msgspec.Struct, kw_only=True):
    """One value for each second, oldest first, at most 300. `seconds`: when, since the Unix epoch; `waiting`:
    messages that no carrier has accepted yet."""

    seconds: list[int]
    accepted: list[int]
    sent: list[int]
    delivered: list[int]
    refused: list[int]
    waiting: list[int]


class CarrierFigures(msgspec.Struct, kw_only=True):
    """One carrier. `sent_per_s` is of the last second, `sent_mean` of the last minute, both in segments.

    `why`: a reason's name, "free" = nothing keeps it from sending; `detail` the same in words; `side`: whose
    business that is, "ours", "theirs" (the carrier's), or "".
    `response_p50_s`, `response_p90_s`: of the last 10 s, null: no answers. `errors_per_s`: refused for other
    reasons than throttling, or never answered. `waiting`: ready messages of all lanes that name it, whoever
    will get them.
    """

    name: str
    why: str
    detail: str
    side: Side
    binds: int
    binds_wanted: int
    sent_per_s: float
    sent_mean: float
    tps_limit: float
    window_used: int
    window: int
    response_p50_s: float | None
    response_p90_s: float | None
    throttled_per_s: float
    throttled_mean: float
    errors_per_s: float
    errors_mean: float
    receipts_per_s: float
    mo_per_s: float
    delivered_ratio: float | None
    waiting: int
    oldest_age_s: float
    tps_configured: float = 0.0  # as its configuration says, also while an operator ordered another rate


class AccountFigures(msgspec.Struct, kw_only=True):
    """One account that does something: submits, is bound, or has messages or events that wait.

    `waiting`: its messages that no carrier has accepted yet. `backlog`: events that it is to be told, counted
    up to 1,000 for each endpoint. `refused_for`: the code of its latest refusals, "" = none lately. `banned`:
    one of its system_ids may not bind, from somewhere at least.
    """

    name: str
    accepted_per_s: float
    accepted_mean: float
    refused_per_s: float
    refused_mean: float
    refused_for: str
    waiting: int
    backlog: int
    binds: int
    tps_limit: float
    suspended: bool
    banned: bool = False


class Snapshot(msgspec.Struct, kw_only=True):
    """Everything at one moment. `accounts` null: not for whoever asks; `history` null: not asked for.

    `delivered_ratio`: delivered of what was delivered or failed in the last minutes, null: nothing ended.
    `oldest_age_s`: of the messages that could be sent now.
    """

    at: Time
    status: str
    problems: list[Trouble]
    last_second: Passed
    last_minute: Passed
    delivered_ratio: float | None
    phases: dict[str, int]
    waiting: int
    oldest_age_s: float
    events: int
    carriers: list[CarrierFigures]
    accounts: list[AccountFigures] | None = None
    more_accounts: int = 0
    history: History | None = None


# --- looking ------------------------------------------------------------------------------------------------


class _Sums(NamedTuple):
    """Of the house, since the start."""

    accepted: int
    sent: int
    delivered: int
    failed: int
    refused: int
    mo: int


class _Second(NamedTuple):
    """One of the history."""

    at: int
    accepted: int
    sent: int
    delivered: int
    failed: int
    refused: int
    waiting: int


class _Carried(NamedTuple):
    """Of one carrier, since the start."""

    segments: int
    throttled: int
    errors: int
    receipts: int
    mo: int
    answers: tuple[int, ...]  # by bucket of RESPONSE_BOUNDS_S


class _Asked(NamedTuple):
    """Of one account, since the start."""

    accepted: int
    refused: int


class _Account:
    """One that submitted in the last minute."""

    __slots__ = ("asked", "code")

    def __init__(self) -> None:
        self.asked: deque[_Asked] = deque(maxlen=_MINUTE + 1)
        self.code = ""  # of the latest refusals


class _Course(NamedTuple):
    """What a carrier did in one second."""

    segments: int
    throttled: int
    errors: int


class CarrierHistory(msgspec.Struct, kw_only=True):
    """Of one carrier, as History. `errors`: refused for other reasons than throttling, or never answered."""

    seconds: list[int]
    sent: list[int]
    throttled: list[int]
    errors: list[int]


class Figures:
    """`run` looks once a second; `snapshot` is what there is to tell."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._at: deque[float] = deque(maxlen=_MINUTE + 1)  # when it looked; the others go along with it
        self._sums: deque[_Sums] = deque(maxlen=_MINUTE + 1)
        self._carriers: dict[str, deque[_Carried]] = {}
        self._courses: dict[str, deque[_Course]] = {}
        self._statuses: dict[str, deque[dict[int, int]]] = {}  # each _STATUSES_S, for SECONDS
        self._lanes: dict[int, deque[int]] = {}  # messages that carriers took
        self._looks = 0
        self._accounts: dict[str, _Account] = {}
        self._last: tuple[dict[str, _Asked], dict[str, dict[str, int]]] | None = None  # all, at the last look
        self._seconds: deque[_Second] = deque(maxlen=SECONDS)
        self._snapshot: tuple[float, Snapshot] | None = None
        self._queues: tuple[float, Waiting] | None = None
        self._backlogs: tuple[float, dict[int, int]] = (-_BACKLOG_S, {})

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self.look()
            except Exception:
                # Whoever counts must not be what falls over.
                log.exception("the figures could not be read")
            await trio.sleep(1)

    def look(self) -> None:
        """Once at all counters."""
        gateway, now = self._gateway, trio.current_time()
        before_at, before = (self._at[-1], self._sums[-1]) if self._at else (now, None)
        counts = gateway.counts
        accounts, codes = self._asked()
        for name, one in counts.carriers.items():
            self._carriers.setdefault(name, deque(maxlen=_MINUTE + 1)).append(_carried(one))
        for carrier in gateway.carriers:  # counted apart from the answers
            carried = self._carriers.get(carrier.name)
            if carried:
                carried[-1] = carried[-1]._replace(errors=carried[-1].errors + carrier.unknown)
        finished = gateway.store.tallies().finished
        sums = _Sums(
            accepted=sum(one.accepted for one in accounts.values()),
            sent=sum(one[-1].segments for one in self._carriers.values()),
            delivered=sum(count for (_, state), count in finished.items() if state == _DELIVERED),
            failed=sum(count for (_, state), count in finished.items() if state in _FAILED),
            refused=sum(one.refused for one in accounts.values()),
            mo=sum(one[-1].mo for one in self._carriers.values()),
        )
        self._follow(accounts, codes)
        self._follow_carriers(now - before_at)
        self._at.append(now)
        self._sums.append(sums)
        if before is not None and now > before_at:
            self._seconds.append(self._second(before, sums, now - before_at))

    def _second(self, before: _Sums, sums: _Sums, seconds: float) -> _Second:
        """Where the loop was late, the mean of the time that passed."""
        each = [round((one - then) / seconds) for one, then in zip(sums, before, strict=True)]
        accepted, sent, delivered, failed, refused, _ = each
        at = self._gateway.world.wall_ms() // 1000
        return _Second(at, accepted, sent, delivered, failed, refused, self._waiting())

    def _asked(self) -> tuple[dict[str, _Asked], dict[str, dict[str, int]]]:
        """What each account submitted, over all its edges; why it was refused."""
        counts = self._gateway.counts
        accepted: dict[str, int] = {}
        for (name, _), count in counts.accepted_messages.items():
            accepted[name] = accepted.get(name, 0) + count
        codes: dict[str, dict[str, int]] = {}
        for (name, _, code), count in counts.refusals.items():
            of_account = codes.setdefault(name, {})
            of_account[code] = of_account.get(code, 0) + count
        return {
            name: _Asked(accepted.get(name, 0), sum(codes.get(name, {}).values()))
            for name in accepted | codes
        }, codes

    def _follow(self, accounts: dict[str, _Asked], codes: dict[str, dict[str, int]]) -> None:
        """Accounts whose counts moved; those that stood still for a minute are let go of, and make room."""
        before, codes_before = self._last or (accounts, codes)
        self._last = accounts, codes
        for name, one in list(self._accounts.items()):
            asked = accounts.get(name)
            if asked is not None:
                one.asked.append(asked)
            if asked is None or (len(one.asked) > _MINUTE and one.asked[0] == asked):
                del self._accounts[name]
        for name, asked in accounts.items():
            followed = self._accounts.get(name)
            now, then = codes.get(name, {}), codes_before.get(name, {})
            if followed is None:
                known = before.get(
                    name, _Asked(0, 0)
                )  # an account that is new, or let go of: what it did since
                if asked == known or len(self._accounts) >= MOST_ACCOUNTS:
                    continue
                followed = self._accounts[name] = _Account()
                followed.asked += (known, asked)
            if now != then:
                followed.code = max(now, key=lambda code: now[code] - then.get(code, 0))

    def _follow_carriers(self, seconds: float) -> None:
        """Each one's course and statuses, and what was taken from lanes."""
        for name, looks in self._carriers.items():
            now, before = looks[-1], looks[-2] if len(looks) > 1 else looks[-1]
            each = (max(0, getattr(now, one) - getattr(before, one)) for one in _Course._fields)
            course = _Course(*(round(count / (seconds or 1)) for count in each))
            self._courses.setdefault(name, deque(maxlen=SECONDS)).append(course)
        if self._looks % _STATUSES_S == 0:
            for name, counts in self._gateway.counts.carriers.items():
                kept = self._statuses.setdefault(name, deque(maxlen=SECONDS // _STATUSES_S))
                kept.append(dict(counts.statuses))
        self._looks += 1
        board = self._gateway.board
        lanes = board.lanes()[:MOST_LANES]
        self._lanes = {lane: self._lanes.get(lane) or deque(maxlen=_MINUTE + 1) for lane in lanes}
        for lane, taken in self._lanes.items():
            taken.append(board.taken(lane))

    def _waiting(self) -> int:
        messages = self._gateway.store.totals().messages
        return sum(messages[phase] for phase in _HERE)

    # telling

    def snapshot(self) -> Snapshot:
        """Everything but the history, of this second: the same object for all who ask within it, unless a
        reload brought or took a carrier."""
        now = trio.current_time()
        if self._snapshot is not None and 0 <= now - self._snapshot[0] < 1:
            shown = self._snapshot[1]
            if [one.name for one in shown.carriers] == sorted(one.name for one in self._gateway.carriers):
                return shown
        self._snapshot = now, self._made(now)
        return self._snapshot[1]

    def history(self) -> History:
        """The last SECONDS seconds."""
        at, accepted, sent, delivered, _, refused, waiting_ = (
            map(list, zip(*self._seconds, strict=True)) if self._seconds else ([] for _ in _Second._fields)
        )
        return History(
            seconds=at,
            accepted=accepted,
            sent=sent,
            delivered=delivered,
            refused=refused,
            waiting=waiting_,
        )

    def queues(self) -> Waiting:
        """What waits and why, as of this second, counted less far than gateway.overview.queues does."""
        now = trio.current_time()
        if self._queues is None or not 0 <= now - self._queues[0] < 1:
            self._queues = now, Waiting(self._gateway, _QUEUE_EACH, _QUEUE_ALL)
        return self._queues[1]

    def carrier_history(self, name: str) -> CarrierHistory:
        """One carrier's last SECONDS seconds; zeros from before it was there."""
        at = [one.at for one in self._seconds]
        courses = list(self._courses.get(name, ()))[-len(at) :] if at else []
        courses = [_Course(0, 0, 0)] * (len(at) - len(courses)) + courses
        sent, throttled, errors = map(list, zip(*courses, strict=True)) if courses else ([], [], [])
        return CarrierHistory(seconds=at, sent=sent, throttled=throttled, errors=errors)

    def statuses(self, name: str) -> list[tuple[int, int]]:
        """(command_status, how many) of a carrier's answers to submit_sm in the last SECONDS seconds, the
        most frequent first; -1: others."""
        counts = self._gateway.counts.carriers.get(name)
        if counts is None:
            return []
        kept = self._statuses.get(name)
        then = kept[0] if kept is not None and len(kept) == kept.maxlen else {}
        added = ((status, count - then.get(status, 0)) for status, count in counts.statuses.items())
        return sorted((one for one in added if one[1] > 0), key=lambda one: -one[1])

    def taken_per_s(self, lane: int) -> float:
        """Messages that carriers took from a lane a second, as the mean of the last minute."""
        taken, took = self._lanes.get(lane), self._took(_MINUTE)
        return round((taken[-1] - taken[0]) / took, 1) if taken and took else 0.0

    def _made(self, now: float) -> Snapshot:
        gateway, now_ms = self._gateway, self._gateway.world.wall_ms()
        found = gateway.troubles.latest
        oldest = gateway.store.oldest_by_lane()
        accounts, more = self._accounts_now(now)
        return Snapshot(
            at=iso(now_ms),
            status="ok" if not found else "failing" if found[0].severity == "critical" else "degraded",
            problems=found,
            last_second=Passed(**self._passed(1)),
            last_minute=Passed(**self._passed(_MINUTE)),
            delivered_ratio=self._delivered_ratio(),
            phases=waiting_messages(gateway),
            waiting=self._waiting(),
            oldest_age_s=_age_s(oldest.values(), now_ms),
            events=gateway.store.outbox_backlog(),
            carriers=self._carriers_now(now, now_ms, oldest),
            accounts=accounts,
            more_accounts=more,
        )

    def _passed(self, seconds: int) -> dict[str, float]:
        sums, took = self._sums, self._took(seconds)
        if not took:
            return {}
        then = sums[max(0, len(sums) - 1 - seconds)]
        return {
            name: round((now - before) / took, 1)
            for name, now, before in zip(_Sums._fields, sums[-1], then, strict=True)
        }

    def _took(self, seconds: int) -> float:
        """How long ago the look was with which the last one is compared; 0: there is none."""
        at = self._at
        return at[-1] - at[max(0, len(at) - 1 - seconds)] if len(at) > 1 else 0.0

    def _delivered_ratio(self) -> float | None:
        delivered = sum(one.delivered for one in self._seconds)
        failed = sum(one.failed for one in self._seconds)
        return round(delivered / (delivered + failed), 4) if delivered + failed else None

    def _carriers_now(self, now: float, now_ms: int, oldest: dict[int, int]) -> list[CarrierFigures]:
        gateway = self._gateway
        troubles = {id: one.trouble for id, one in gateway.troubles.carriers(now).items()}
        ready: dict[int, int] = {}
        held: dict[int, list[tuple[int, int]]] = {}  # carrier → (messages, lane) that a limit of ours holds
        ages: dict[int, list[int]] = {}
        for lane, counts in gateway.store.lane_totals().items():
            if counts[Phase.READY]:
                by_us = gateway.troubles.held.wait(lane, now) in _OUR_LIMITS
                for carrier in gateway.store.lane(lane).carriers:
                    if by_us:
                        held.setdefault(carrier, []).append((counts[Phase.READY], lane))
                    ready[carrier] = ready.get(carrier, 0) + counts[Phase.READY]
                    if lane in oldest:
                        ages.setdefault(carrier, []).append(oldest[lane])
        return [
            self._carrier_now(
                one,
                now,
                now_ms,
                troubles[one.id],
                ready.get(one.id, 0),
                _age_s(ages.get(one.id, ()), now_ms),
                held.get(one.id, ()),
            )
            for one in sorted(gateway.carriers, key=lambda one: one.name)
        ]

    def _carrier_now(
        self,
        carrier: Carrier,
        now: float,
        now_ms: int,
        trouble: str,
        ready: int,
        oldest_age_s: float,
        held: Sequence[tuple[int, int]],
    ) -> CarrierFigures:
        looks = self._carriers.get(carrier.name) or deque([_NOTHING_CARRIED])
        second, minute = self._rates(looks, 1), self._rates(looks, _MINUTE)
        lately = looks[max(0, len(looks) - 1 - _LATELY)].answers
        answers = [count - before for count, before in zip(looks[-1].answers, lately, strict=True)]
        submitting = [link for link in carrier.links if link.bind != "receiver"]
        bound = [link for link in submitting if link.bound and link.session is not None]
        health = self._gateway.health.view(carrier, now_ms)["health"]
        assert isinstance(health, dict)
        why, detail = self._why(carrier, now, now_ms)
        limit = _tps_limit(carrier)
        detail, side = trouble or detail or str(health["bad"]), why.side
        if (detail and not side) or (why is Wait.THROTTLED and trouble):
            side = "theirs"  # it takes work, and answers badly
        if not detail and limit and second["segments"] >= _AT_LIMIT * limit:  # from one token to the next
            why, detail, side = Wait.THROTTLED, self._at_limit(carrier), Wait.THROTTLED.side
        size = carrier.settings.window
        used = sum(size - link.session.window_free for link in bound if link.session is not None)
        if not detail and ready and bound and used >= _FULL * size * len(bound):  # from answer to answer
            slow = _quantile(answers, 0.9)
            took = f"; nine of ten answers come within {slow:.3g} s" if slow is not None else ""
            why, side = Wait.WINDOW_FULL, Wait.WINDOW_FULL.side
            detail = f"window full or nearly so, {used} of {size * len(bound)} not answered{took}"
        if not detail and ready and 2 * sum(count for count, _ in held) > ready:
            brake = self._gateway.troubles.held.limit(max(held)[1], now)
            if brake is not None:
                why, detail, side = brake.wait, brake.words, brake.side
        return CarrierFigures(
            name=carrier.name,
            why=why.name.lower(),
            detail=detail,
            side=side,
            binds=sum(link.bound for link in carrier.links),
            binds_wanted=len(carrier.links),
            sent_per_s=second["segments"],
            sent_mean=minute["segments"],
            tps_limit=limit,
            window_used=used,
            window=size * len(submitting),
            response_p50_s=_quantile(answers, 0.5),
            response_p90_s=_quantile(answers, 0.9),
            throttled_per_s=second["throttled"],
            throttled_mean=minute["throttled"],
            errors_per_s=second["errors"],
            errors_mean=minute["errors"],
            receipts_per_s=second["receipts"],
            mo_per_s=second["mo"],
            delivered_ratio=health["delivered_ratio"],
            waiting=ready,
            oldest_age_s=oldest_age_s,
            tps_configured=self._tps_configured(carrier, len(submitting)),
        )

    def _tps_configured(self, carrier: Carrier, binds: int) -> float:
        """Over all binds, as `tps_limit` is."""
        configured = (one.tps for one in self._gateway.config.carriers if one.name == carrier.name)
        return next(configured, 0.0) * (binds if carrier.settings.throttle_scope == "bind" else 1)

    def _rates(self, looks: Sequence[_Carried | _Asked], seconds: int) -> dict[str, float]:
        """How much each count grew a second. What came later than the first look began with nothing."""
        last, took = looks[-1], self._took(seconds)
        then = looks[max(0, len(looks) - 1 - seconds)]
        return {
            name: round(max(0, now - before) / took, 1) if took else 0.0
            for name, now, before in zip(last._fields, last, then, strict=True)
            if isinstance(now, int) and isinstance(before, int)
        }

    def _why(self, carrier: Carrier, now: float, now_ms: int) -> tuple[Wait, str]:
        """Why it takes no more, and that in words for people; "" where it does."""
        why = why_carrier(carrier.facts(now), now)
        order = self._gateway.orders.by_carrier.get(carrier.name)
        slowed = carrier.pacing.reason(now)
        if why is Wait.SUSPENDED and order is not None:
            end = f" until {iso(order.until_ms)}" if order.until_ms else ""
            return why, f"suspended{end} by {order.who}" + (f": {order.reason}" if order.reason else "")
        if why is Wait.NO_BIND:
            errors = sorted({link.last_error for link in carrier.links if link.last_error})
            return why, "; ".join(["no bind", *errors]) if errors else "no bind yet"
        if why in (Wait.CIRCUIT_OPEN, Wait.TRIAL, Wait.MAINTENANCE):
            out = self._gateway.health.view(carrier, now_ms)["out"]
            told = f": {out['reason']}" if isinstance(out, dict) and out["reason"] else ""
            return why, f"{why.value}{told}"
        if why is Wait.THROTTLED:
            return why, slowed or self._at_limit(carrier)
        if why in (Wait.FREE, Wait.BUSY, Wait.WINDOW_FULL):
            return why, slowed
        return why, why.value

    def _at_limit(self, carrier: Carrier) -> str:
        return f"at {self._gateway.troubles.held.of_carrier(carrier.name, _tps_limit(carrier))}"

    # accounts

    def _accounts_now(self, now: float) -> tuple[list[AccountFigures], int]:
        """Those that do something, busiest first, and how many more there are."""
        gateway = self._gateway
        by_name, store = gateway.accounts.by_name, gateway.store
        binds = {id: len(one.connections) for id, one in gateway.smpp.tenants.items() if one.connections}
        names = {name for name, one in self._accounts.items() if one.asked[0] != one.asked[-1]}
        backlogs = self._backlogs_now(now)
        names |= {
            one.name
            for one in by_name.values()
            if one.id in binds or one.id in backlogs or store.queued(one.id)
        }
        rows = [self._account_now(name, by_name.get(name), binds, backlogs) for name in names]
        shown = rows
        if len(rows) > SHOWN_ACCOUNTS:  # the first by whatever somebody may sort them by
            few = SHOWN_ACCOUNTS // 5
            keys = ((_by_rate, 2 * few), (_by_waiting, few), (_by_backlog, few), (_by_refused, few))
            picked = {row.name: row for key, most in keys for row in nlargest(most, rows, key=key)}
            shown = list(picked.values())
        return sorted(shown, key=lambda row: (*(-one for one in _by_rate(row)), row.name)), len(rows) - len(
            shown
        )

    def _account_now(
        self, name: str, account: Account | None, binds: dict[int, int], backlogs: dict[int, int]
    ) -> AccountFigures:
        followed = self._accounts.get(name)
        looks = followed.asked if followed is not None else deque([_Asked(0, 0)])
        second, minute = self._rates(looks, 1), self._rates(looks, _MINUTE)
        return AccountFigures(
            name=name,
            accepted_per_s=second["accepted"],
            accepted_mean=minute["accepted"],
            refused_per_s=second["refused"],
            refused_mean=minute["refused"],
            refused_for=followed.code if followed is not None and minute["refused"] else "",
            waiting=self._gateway.store.queued(account.id) if account is not None else 0,
            backlog=backlogs.get(account.id, 0) if account is not None else 0,
            binds=binds.get(account.id, 0) if account is not None else 0,
            tps_limit=account.tps if account is not None else 0.0,
            suspended=account is not None and account.suspended,
            banned=account is not None and self._banned(account),
        )

    def _banned(self, account: Account) -> bool:
        bans = self._gateway.smpp.gate.bans
        return bans is not None and bool(bans.of(one.system_id for one in account.logins))

    def _backlogs_now(self, now: float) -> dict[int, int]:
        """Events that wait, by account, of those that have any: counted so far and no further, not each
        second, and of endpoints in trouble first."""
        at, known = self._backlogs
        if now - at < _BACKLOG_S:
            return known
        store, behind = self._gateway.store, self._gateway.troubles.behind
        found: dict[int, int] = {}
        if store.outbox_backlog():
            endpoints, later = store.outbox_endpoints(), retrying(store, COUNTED_EVENTS)
            some = [id for id in {*behind.away, *behind.failing, *later} if id in endpoints]
            some += [id for id in with_waiting(store, _COUNTED_ENDPOINTS) if id in endpoints]
            for id in list(dict.fromkeys(some))[:_COUNTED_ENDPOINTS]:
                count = waiting(store, id, COUNTED_EVENTS) + later.get(id, 0)
                if count:
                    account = endpoints[id].account
                    found[account] = found.get(account, 0) + count
        self._backlogs = now, found
        return found


def _carried(counts: CarrierCounts) -> _Carried:
    return _Carried(
        segments=counts.segments,
        throttled=counts.throttled,
        errors=sum(count for status, count in counts.statuses.items() if status) - counts.throttled,
        receipts=sum(counts.receipts.values()),
        mo=counts.mo,
        answers=tuple(counts.response_seconds.counts),
    )


_NOTHING_CARRIED = _Carried(0, 0, 0, 0, 0, (0,) * (len(RESPONSE_BOUNDS_S) + 1))


def _quantile(counts: Sequence[int], share: float) -> float | None:
    """Where it lies inside its bucket is guessed by proportion, as Prometheus does; None: nothing came."""
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for place, count in enumerate(counts):
        if below + count >= rank and count:
            if place == len(RESPONSE_BOUNDS_S):
                return RESPONSE_BOUNDS_S[-1]
            low = RESPONSE_BOUNDS_S[place - 1] if place else 0.0
            return round(low + (RESPONSE_BOUNDS_S[place] - low) * (rank - below) / count, 4)
        below += count
    return None


def _age_s(times_ms: Iterable[int], now_ms: int) -> float:
    return round(max(0, now_ms - min(times_ms, default=now_ms)) / 1000, 1)


def _tps_limit(carrier: Carrier) -> float:
    """As it is now, over all binds; 0 = no limit."""
    if carrier.settings.throttle_scope == "bind":
        return sum(link.throttle.rate_per_s for link in carrier.links if link.bind != "receiver")
    return carrier.throttle.rate_per_s


def _by_rate(row: AccountFigures) -> tuple[float, float]:
    return row.accepted_per_s + row.refused_per_s, row.accepted_mean + row.refused_mean


def _by_waiting(row: AccountFigures) -> tuple[float, float]:
    return row.waiting, 0


def _by_backlog(row: AccountFigures) -> tuple[float, float]:
    return row.backlog, 0


def _by_refused(row: AccountFigures) -> tuple[float, float]:
    return row.refused_per_s, row.refused_mean
