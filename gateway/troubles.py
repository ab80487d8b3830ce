"""What is wrong, for people and for alerts: looked at once a second, the worst first.

Each trouble has a code of CODES, which is the same in the console, on the command line, over HTTP, in
`signalbox_problem_since_timestamp_seconds` and, in camel case, as the name of its alert and of its page under
docs/runbooks. It stands from the look that found it first (`since`) until a look does not find it any more.

Order: critical before warning; what is a mere consequence of others after them; then by how many accounts and
messages are hurt.

Cost: a look reads counters and what is in memory, some rows of the outbox for accounts and endpoints that are
in trouble, and nothing for a message. Memory follows carriers, and accounts that are in trouble.

Deliberately not here: customers that are behind (gateway.behind), reasons of lanes (router.waiting), what
stands still without one (gateway.watchdog), alert rules (ops/prometheus), deciding anything.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import structlog
import trio

from gateway.admin_shapes import iso
from gateway.behind import Behind, is_failing, lasted, so_many
from gateway.held import Held
from gateway.measures import lane_name
from gateway.watchdog import lane_facts
from router.nouns import Account, Phase
from router.waiting import CarrierFacts, Wait, why_lane
from smpp.status import Status

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.callbacks.endpoint import EndpointState
    from gateway.carriers.carrier import Carrier
    from gateway.metrics import Metrics, Rows

LOOK_S = 1.0
CRITICAL, WARNING = "critical", "warning"
_RANK = {CRITICAL: 0, WARNING: 1}

CODES = {  # code → what it is, for documentation
    "account-away": "an account's events wait for it to bind",
    "account-not-reading": "an account is bound and does not answer what it is sent",
    "callback-down": "a callback endpoint fails",
    "carrier-bad": "a carrier's health is bad, and it goes on taking messages",
    "carrier-bind-missing": "some of a carrier's binds are down",
    "carrier-no-bind": "a carrier has no bind that can submit",
    "carrier-out": "a carrier is taken out by its circuit breaker or a maintenance window",
    "carrier-slowed": "a carrier is sent less than configured, because of how it answers",
    "carrier-suspended": "a carrier is suspended by an operator",
    "carrier-throttled": "a carrier answers that it is sent too much",
    "certificate-ends": "a TLS certificate ends soon, or has ended",
    "config-differs": "what is in force differs from the configuration file",
    "disk-nearly-full": "the data disk is nearly full, or so full that new messages are refused",
    "events-given-up": "events were taken by nobody",
    "lane-limited": "a lane's messages wait long for a limit, ours or one by which its carrier throttles",
    "lane-stands": "a lane's messages wait for longer than traffic makes them",
    "messages-held": "messages are held until somebody releases them",
    "not-ready": "new messages are refused, or stay where they are",
    "outcome-unknown": "of some messages nobody knows whether they were sent",
    "records-damaged": "damaged records were set aside",
    "stalled": "something stands still without a reason: a fault of the gateway",
    "store-nearly-full": "the store is nearly full, or so full that new messages are refused",
}
_CONSEQUENCES = frozenset({"not-ready", "lane-stands"})

_CERTIFICATE_DAYS = 14
_NEAR_FULL = 0.85  # of what new messages may fill
_STANDING = {  # what keeps a lane's messages for longer than traffic does
    Wait.NO_BIND,
    Wait.SUSPENDED,
    Wait.ROUTE_SUSPENDED,
    Wait.MAINTENANCE,
    Wait.CIRCUIT_OPEN,
    Wait.COUNTRY_OUT,
    Wait.LANE_GONE,
    Wait.HAD_BEFORE,
    Wait.DRAINS,
}
_OLD_S = 60.0  # from then on what waits for a limit is told
_LIMITED_LANES = 10  # that are told one by one
_WINDOW_S = 10.0  # answers are looked at together
_THROTTLED_SHARE = 0.05
_FEW_ANSWERS = 20
_MOSTLY = 0.5  # of so few
_ASK_TO_BIND = "ask the customer to bind as a transceiver or receiver"
_FILE_S = 5.0  # between two looks at the configuration file
_SHOWN = 200  # series of metrics

log = structlog.get_logger("troubles")


class Trouble(msgspec.Struct):
    """`subject` is kind:name; `todo` what an operator can do; `since` ISO 8601, None: from now on.

    `messages` wait because of it, of so many `accounts`; 0 where nobody counts.
    """

    severity: str
    subject: str
    what: str
    todo: str = ""
    code: str = ""
    since: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})] | None = None
    messages: int = 0
    accounts: int = 0

    @property
    def sentence(self) -> str:
        """As one line: "carrier north: no bind: …"."""
        named = self.subject.replace(":", " ", 1).strip()
        return f"{named}: {self.what}" if named else self.what


def alert_name(code: str) -> str:
    """carrier-no-bind → CarrierNoBind, also the name of its page under docs/runbooks."""
    return "".join(word.capitalize() for word in code.split("-"))


class _Answers(NamedTuple):
    """Of one carrier, since the start."""

    at: float
    answers: int
    refused: int  # RTHROTTLED and RMSGQFUL
    full: int  # RMSGQFUL alone


class Throttled(NamedTuple):
    """What a carrier answered lately."""

    answers: int
    refused: int
    name: str  # of the status that came most then

    @property
    def share(self) -> float:
        return self.refused / self.answers if self.answers else 0.0


class Troubles:
    """`run` looks once a second; `listed` says what is wrong now."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.latest: list[Trouble] = []  # of the last look, the worst first
        self._since_ms: dict[tuple[str, str], int] = {}  # (code, subject) → when it was seen first
        self._answers: dict[str, deque[_Answers]] = {}  # by carrier
        self.behind = Behind(gateway)
        self.held = Held(gateway)
        self._file: dict[str, object] = {}  # how the configuration in force differs from it
        self._file_read_at, self._file_of = -math.inf, 0

    async def run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                # Whoever watches must not be what falls over.
                log.exception("cannot look for what is wrong")
            await trio.sleep(LOOK_S)

    def look(self) -> None:
        """Once at everything: from now on it is known since when what is wrong stands."""
        now, now_ms = trio.current_time(), self._gateway.world.wall_ms()
        self._look_at_answers(now)
        self.behind.look(now, now_ms)
        found = list(self._found(now, now_ms, names=True))
        keys = [(one.code, subject) for one, subject in found]
        self._since_ms = {key: self._since_ms.get(key, now_ms) for key in keys}
        self.latest = self._ranked(found)

    def listed(self, *, names: bool = True) -> list[Trouble]:
        """What is not well, the worst first. `names`: of accounts, too, and of their callback URLs."""
        now, now_ms = trio.current_time(), self._gateway.world.wall_ms()
        return self._ranked(self._found(now, now_ms, names=names))

    def _ranked(self, found: Iterable[tuple[Trouble, str]]) -> list[Trouble]:
        ranked = []
        for one, subject in found:
            since_ms = self._since_ms.get((one.code, subject), 0)
            one.since = one.since or (iso(since_ms) if since_ms else None)
            ranked.append(one)
        return sorted(ranked, key=_rank)

    def throttled(self, carrier: str) -> Throttled:
        """What it answered in the last seconds."""
        samples = self._answers.get(carrier)
        if not samples:
            return Throttled(0, 0, "")
        first, last = samples[0], samples[-1]
        refused, full = last.refused - first.refused, last.full - first.full
        most = Status.ESME_RMSGQFUL if 2 * full > refused else Status.ESME_RTHROTTLED
        return Throttled(last.answers - first.answers, refused, most.name)

    def names(self) -> list[str]:
        """Of carriers that run."""
        return [carrier.name for carrier in self._gateway.carriers]

    def carriers(self, now: float) -> dict[int, CarrierFacts]:
        """Every carrier's facts with its trouble in words, for router.waiting."""
        now_ms, waits = self._gateway.world.wall_ms(), self._waits()
        return {
            carrier.id: msgspec.structs.replace(
                carrier.facts(now), trouble=self._trouble_of(carrier, waits.get(carrier.id, 0), now, now_ms)
            )
            for carrier in self._gateway.carriers
        }

    # looking

    def _look_at_answers(self, now: float) -> None:
        names = set()
        for carrier in self._gateway.carriers:
            names.add(carrier.name)
            samples = self._answers.setdefault(carrier.name, deque())
            statuses = carrier.counts.statuses
            full = statuses.get(Status.ESME_RMSGQFUL, 0)
            samples.append(_Answers(now, sum(statuses.values()), carrier.counts.throttled, full))
            while len(samples) > 1 and samples[1].at <= now - _WINDOW_S:
                samples.popleft()
        for gone in set(self._answers) - names:
            del self._answers[gone]

    # finding: (what is shown, the subject by which it is known)

    def _found(self, now: float, now_ms: int, *, names: bool) -> Iterator[tuple[Trouble, str]]:
        shown = [
            *self._of_store(),
            *self._of_carriers(now, now_ms),
            *self._of_watchdog(),
            *self._of_lanes(now, now_ms),
            *self._of_messages(),
            *self._of_config(now_ms),
        ]
        told = {one.code for one in shown}
        why = self._gateway.not_ready()
        if why and not (told & {"disk-nearly-full", "store-nearly-full"} and self._gateway.store.admission()):
            waiting_for = sum(self._gateway.store.totals().messages[phase] for phase in _WAITING)
            shown.append(
                Trouble(CRITICAL, "gateway:", f"is not ready: {why}", code="not-ready", messages=waiting_for)
            )
        yield from ((one, one.subject) for one in shown)
        yield from self._of_sessions(now_ms, names)
        yield from self._of_callbacks(names)

    def _of_store(self) -> Iterator[Trouble]:
        gateway = self._gateway
        usage, options = gateway.store.usage(), gateway.store.options
        accounts = len(gateway.accounts.by_id)
        share = usage["used_bytes"] / usage["map_bytes"]
        if share > options.accept_watermark * _NEAR_FULL:
            full = share > options.accept_watermark
            yield Trouble(
                CRITICAL if full else WARNING,
                "store:",
                f"{share:.0%} full; new messages are refused at {options.accept_watermark:.0%}",
                "[store] map_size_gb, or archive_after_s",
                "store-nearly-full",
                accounts=accounts,
            )
        free = usage["free_disk_bytes"]
        if free < 2 * options.min_free_disk:
            full = free < options.min_free_disk
            least = f"{options.min_free_disk >> 20:,} MB"
            yield Trouble(
                CRITICAL if full else WARNING,
                "disk:",
                f"full: {free >> 20:,} MB free, new messages are refused until there are {least}"
                if full
                else f"nearly full: {free >> 20:,} MB free; new messages are refused below {least}",
                "free space on the data directory's disk",
                "disk-nearly-full",
                accounts=accounts,
            )
        if usage["quarantined"]:
            yield Trouble(
                WARNING,
                "store:quarantine",
                f"{usage['quarantined']} damaged records were set aside",
                "signalbox store check",
                "records-damaged",
            )

    def _of_carriers(self, now: float, now_ms: int) -> Iterator[Trouble]:
        waits = self._waits()
        for carrier in self._gateway.carriers:
            one = self._of_carrier(carrier, waits.get(carrier.id, 0), now, now_ms)
            if one is not None:
                yield one
            bad = self._gateway.health.bad(carrier.name)
            if bad:
                subject = f"carrier:{carrier.name}"
                yield Trouble(
                    WARNING,
                    subject,
                    f"goes on taking messages, but {bad}",
                    f"signalbox events --subject {subject}",
                    "carrier-bad",
                )

    def _of_carrier(self, carrier: Carrier, waits: int, now: float, now_ms: int) -> Trouble | None:
        gateway, facts = self._gateway, carrier.facts(now)
        subject = f"carrier:{carrier.name}"
        order = gateway.orders.by_carrier.get(carrier.name)
        if order is not None:
            end = f" until {iso(order.until_ms)}" if order.until_ms else ""
            reason = f": {order.reason}" if order.reason else ""
            what = f"suspended{end} by {order.who}{reason}"
            todo = f"signalbox carrier resume {carrier.name}"
            since = iso(order.since_ms)
            return Trouble(WARNING, subject, what, todo, "carrier-suspended", since, waits)
        if carrier.out is not None or carrier.trial <= 0:
            out = gateway.health.view(carrier, now_ms)["out"]
            if isinstance(out, dict):
                what = f"takes nothing: {out['why']}, {out['reason']}"
                todo = f"signalbox carrier {carrier.name}"
                return Trouble(WARNING, subject, what, todo, "carrier-out", str(out["since"]) or None, waits)
        if not facts.bound and not facts.stopping:
            what = self._no_bind(carrier, now_ms) + (f"; {_so_many_messages(waits)}" if waits else "")
            todo = "its address, system_id and password, and what its operator says"
            return Trouble(CRITICAL, subject, what, todo, "carrier-no-bind", messages=waits)
        slow = self._slow(carrier, now, waits)
        if slow is not None:
            code, what = slow
            todo = "its contract's TPS against [[carriers]] tps; another carrier for the route"
            return Trouble(WARNING, subject, what, todo, code, messages=waits)
        down = [link for link in carrier.links if not link.bound]
        if down and not facts.stopping:
            error = next((link.last_error for link in down if link.last_error), "")
            what = f"{len(down)} of {len(carrier.links)} binds are down" + (f": {error}" if error else "")
            todo = "how many binds its operator allows, and what it says"
            return Trouble(WARNING, subject, what, todo, "carrier-bind-missing", messages=waits)
        return None

    def _no_bind(self, carrier: Carrier, now_ms: int) -> str:
        since_ms = self._since_ms.get(("carrier-no-bind", f"carrier:{carrier.name}"), now_ms)
        errors = sorted({link.last_error for link in carrier.links if link.last_error})
        why = f": {'; '.join(errors)}" if errors else ""
        return f"no bind since {lasted(now_ms - since_ms)}{why}"

    def _slow(self, carrier: Carrier, now: float, waits: int) -> tuple[str, str] | None:
        """(code, in words) of a carrier that is sent less than is configured."""
        lately, slowed = self.throttled(carrier.name), carrier.pacing.reason(now)
        if lately.share >= (_THROTTLED_SHARE if lately.answers >= _FEW_ANSWERS else _MOSTLY):
            what = f"throttles: {lately.share:.0%} of its last {lately.answers:,} answers are {lately.name}"
            return "carrier-throttled", f"{what}; {slowed}" if slowed else what
        if not slowed or not (waits or carrier.pacing.lowered_lately(now)):
            return None
        if carrier.pacing.throttled:
            return "carrier-throttled", f"throttled lately: {slowed}"
        return "carrier-slowed", f"slowed down: {slowed}"

    def slowed(self, carrier: Carrier, now: float) -> str:
        """How it throttles, or why it is sent less than is configured; "" where it is not."""
        slow = self._slow(carrier, now, 1)
        return slow[1] if slow is not None else ""

    def _trouble_of(self, carrier: Carrier, waits: int, now: float, now_ms: int) -> str:
        """For the line that says why a lane does not move."""
        one = self._of_carrier(carrier, waits, now, now_ms)
        if one is None or one.code == "carrier-bind-missing":
            return ""
        return self._no_bind(carrier, now_ms) if one.code == "carrier-no-bind" else one.what

    def _waits(self) -> dict[int, int]:
        """By carrier: messages in the lanes that name it, and those that it has."""
        store = self._gateway.store
        found: dict[int, int] = {}
        for lane, counts in store.lane_totals().items():
            count = counts[Phase.READY] + counts[Phase.LEASED]
            if count:
                for carrier in store.lane(lane).carriers:
                    found[carrier] = found.get(carrier, 0) + count
        return found

    def _of_sessions(self, now_ms: int, names: bool) -> Iterator[tuple[Trouble, str]]:
        """Accounts that are bound and do not read, and accounts that are not bound."""
        for id, port in self.behind.not_reading():
            subject = f"account:{port.account.name}"
            page = self._gateway.store.outbox_page(port.endpoint, 0, 1) if port.endpoint else []
            quiet = self.behind.quiet[id]
            oldest_ms = page[0].event.at_ms if page else quiet.since_ms
            events = max(port.in_flight, self.behind.counts.get(port.endpoint, 0))
            what = (
                f"does not read: {so_many(events)} wait, oldest {lasted(now_ms - oldest_ms)}; "
                f"no answer since {iso(quiet.since_ms)}"
            )
            yield (
                Trouble(
                    WARNING,
                    subject if names else "account:",
                    what,
                    "ask the customer: its program does not answer deliver_sm; see signalbox binds",
                    "account-not-reading",
                    iso(quiet.since_ms),
                    events,
                    1,
                ),
                subject,
            )
        endpoints = self._gateway.store.outbox_endpoints()
        for id, oldest_ms in self.behind.away.items():
            account = self._account(endpoints[id].account) if id in endpoints else None
            if account is None:
                continue
            events, subject = self.behind.counts.get(id, 1), f"account:{account.name}"
            what = f"is not bound: {so_many(events)} wait for it, oldest {lasted(now_ms - oldest_ms)}"
            why, ends = self.behind.kept_out(account)
            todo = f"{ends or _ASK_TO_BIND}; signalbox deliveries move"
            if why:
                what += f"; {why}" if names else "; an operator keeps it out"
                todo = todo if names else "signalbox locks; signalbox account list"
            yield (
                Trouble(
                    WARNING,
                    subject if names else "account:",
                    what,
                    todo,
                    "account-away",
                    messages=events,
                    accounts=1,
                ),
                subject,
            )

    def _of_callbacks(self, names: bool) -> Iterator[tuple[Trouble, str]]:
        """One for each account: its endpoint that fails for longest."""
        failing: dict[int, list[EndpointState]] = {}
        for state in self._gateway.pump.endpoints():
            if is_failing(state):
                failing.setdefault(state.account, []).append(state)
        for id, states in failing.items():
            account = self._account(id)
            if account is None:
                continue
            states.sort(key=lambda state: self.behind.failing.get(state.id, 0))
            events = sum(self.behind.counts.get(state.id, 0) for state in states)
            first = states[0]
            where = first.endpoint.origin if names else ""
            more = f", and {len(states) - 1} more of its endpoints" if len(states) > 1 else ""
            what = (
                f"callback endpoint {where} fails".replace("  ", " ")
                + f": {first.last_error}; {so_many(events)} wait{more}"
            )
            since_ms = self.behind.failing.get(first.id, 0)
            subject = f"account:{account.name}"
            yield (
                Trouble(
                    WARNING,
                    subject if names else "account:",
                    what,
                    "ask the customer; signalbox callbacks list, then callbacks test and callbacks enable",
                    "callback-down",
                    iso(since_ms) if since_ms else None,
                    events,
                    1,
                ),
                subject,
            )

    def _account(self, id: int) -> Account | None:
        return self._gateway.accounts.by_id.get(id)

    def _of_watchdog(self) -> Iterator[Trouble]:
        for stall in self._gateway.watchdog.stalls.values():
            yield Trouble(
                CRITICAL,
                f"{stall.part}:{stall.name}",
                f"stands still since {iso(stall.since_ms)}: {stall.waiting} wait, {stall.reason}",
                "a fault of the gateway: keep its log; a restart loses nothing",
                "stalled",
                iso(stall.since_ms),
                stall.waiting,
            )

    def _of_lanes(self, now: float, now_ms: int) -> Iterator[Trouble]:
        gateway, totals = self._gateway, self._gateway.store.lane_totals()
        carriers: dict[int, CarrierFacts] | None = None
        old: list[tuple[int, int, float]] = []  # (ready, lane, age) that wait for a limit
        self.held.begin(totals.keys())
        for lane, counts in totals.items():
            if not counts[Phase.READY]:
                continue
            if carriers is None:
                carriers = {carrier.id: carrier.facts(now) for carrier in gateway.carriers}
            facts = lane_facts(gateway, lane, carriers, now, now_ms)
            why = why_lane(facts, now)
            age_s = self.held.saw(lane, facts, why, now)
            if why.reason in _STANDING:
                yield Trouble(
                    WARNING,
                    f"lane:{lane_name(gateway, lane)}",
                    f"{_so_many_messages(counts[Phase.READY])}: {why.reason.value}",
                    "GET /v1/queues says more",
                    "lane-stands",
                    messages=counts[Phase.READY],
                )
            elif age_s >= _OLD_S and self.held.wait(lane, now) is not None:
                old.append((counts[Phase.READY], lane, age_s))
        if old:
            yield from self._limited(sorted(old, reverse=True), now)

    def _limited(self, old: list[tuple[int, int, float]], now: float) -> Iterator[Trouble]:
        """Lanes with old messages that wait for a limit: those with most one by one, the others together."""
        told = 0
        for place, (ready, lane, age_s) in enumerate(old):
            if told >= _LIMITED_LANES:
                more, waiting = old[place:], sum(count for count, _, _ in old[place:])
                oldest = lasted(int(max(age for _, _, age in more) * 1000))
                what = f"and {len(more):,} more wait for limits:"
                what += f" {_so_many_messages(waiting)}, oldest {oldest}"
                # Without a count of its own, so that it comes after those that it adds to.
                yield Trouble(WARNING, "lane:", what, "GET /v1/queues says more", "lane-limited")
                return
            limit = self.held.limit(lane, now)
            if limit is None:
                continue
            told += 1
            side = "our limit" if limit.side == "ours" else "the carrier's limit"
            yield Trouble(
                WARNING,
                f"lane:{lane_name(self._gateway, lane)}",
                f"{_so_many_messages(ready)}, oldest {lasted(int(age_s * 1000))}; {side}: {limit.words}",
                limit.todo,
                "lane-limited",
                messages=ready,
            )

    def _of_messages(self) -> Iterator[Trouble]:
        store = self._gateway.store
        totals = store.totals().messages
        if totals[Phase.HELD]:
            yield Trouble(
                WARNING,
                "messages:held",
                f"{totals[Phase.HELD]} are held until they are released",
                "signalbox store release",
                "messages-held",
                messages=totals[Phase.HELD],
            )
        if totals[Phase.UNKNOWN]:
            yield Trouble(
                WARNING,
                "messages:unknown",
                f"of {totals[Phase.UNKNOWN]} nobody knows whether they were sent: no answer came",
                "they end by their carriers' unknown rules",
                "outcome-unknown",
                messages=totals[Phase.UNKNOWN],
            )
        given_up = store.given_up_count()
        if given_up:
            yield Trouble(
                WARNING,
                "events:given_up",
                f"{given_up} events were taken by nobody",
                "signalbox callbacks, to replay them",
                "events-given-up",
                messages=given_up,
            )

    def _of_config(self, now_ms: int) -> Iterator[Trouble]:
        gateway = self._gateway
        if (
            trio.current_time() >= self._file_read_at + _FILE_S
            or gateway.reload.counts["applied"] != self._file_of
        ):
            self._file_read_at, self._file_of = trio.current_time(), gateway.reload.counts["applied"]
            self._file = gateway.reload.state()
        if self._file["differs_from_file"]:
            yield Trouble(
                WARNING,
                "config:",
                f"what is in force differs from {self._file['file']}: {self._file['differs_from_file']}",
                "signalbox reload --preview shows how",
                "config-differs",
            )
        for section, ends in (
            ("http", gateway.http_certificates.expires_at),
            ("smpp", gateway.smpp.listeners.certificate_expires_at),
        ):
            if ends is not None and ends - now_ms / 1000 < _CERTIFICATE_DAYS * 86_400:
                yield Trouble(
                    CRITICAL if ends < now_ms / 1000 else WARNING,
                    f"certificate:{section}",
                    f"the certificate of [{section}] listen_tls ends at {iso(int(ends * 1000))}",
                    "write a new one over it: it is read again",
                    "certificate-ends",
                )

    # metrics

    def since(self) -> Rows:
        """(code, severity, subject) → UTC seconds, the worst first, a bounded number of them."""
        for one, _ in zip(self.listed(), range(_SHOWN), strict=False):
            at_ms = self._since_ms.get((one.code, one.subject))
            if at_ms is not None:
                yield (one.code, one.severity, one.subject), at_ms / 1000


_WAITING = (Phase.READY, Phase.DEFERRED, Phase.LEASED)


def add_trouble_measures(metrics: Metrics, troubles: Troubles) -> None:
    """Register them once."""
    metrics.gauge(
        "signalbox_problem_since_timestamp_seconds",
        "When what is wrong was seen first; a row for each problem that there is, the worst 200.",
        ("code", "severity", "subject"),
        troubles.since,
    )
    metrics.gauge(
        "signalbox_carrier_throttled_ratio",
        "Share of a carrier's answers of the last ten seconds that were ESME_RTHROTTLED or ESME_RMSGQFUL.",
        ("carrier",),
        lambda: (((name,), troubles.throttled(name).share) for name in troubles.names()),
    )


def _rank(one: Trouble) -> tuple[int, bool, int, int, str, str]:
    return (
        _RANK[one.severity],
        one.code in _CONSEQUENCES,
        -one.accounts,
        -one.messages,
        one.code,
        one.subject,
    )


def _so_many_messages(count: int) -> str:
    return "1 message waits" if count == 1 else f"{count:,} messages wait"
