"""What waits and what is wrong, for operators: queues by lane, priority and account, and a list of problems.

Both say what `signalbox status` says, from the same facts (gateway.admin_status, router.waiting); the queues
say it further down, the problems without what is well.

Invariants: nothing here changes anything; at most COUNTED rows are counted for one answer, so that asking
costs some milliseconds, however much waits.

Deliberately not here: JSON over HTTP (gateway.http.overview), figures over time (/metrics).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import trio

from gateway.admin_shapes import iso
from gateway.admin_status import carrier_facts
from gateway.measures import lane_name
from gateway.watchdog import lane_facts
from router.nouns import Phase
from router.waiting import Wait, why_lane

if TYPE_CHECKING:
    from gateway.app import Gateway
    from store.interface import ReadyQueue

COUNTED = 20_000
COUNTED_EACH = 1_000
CRITICAL, WARNING = "critical", "warning"

_CERTIFICATE_DAYS = 14
_NEAR_FULL = 0.85  # of what new messages may fill
_STANDING = {  # what keeps a lane's messages for longer than traffic does
    Wait.NO_BIND,
    Wait.SUSPENDED,
    Wait.MAINTENANCE,
    Wait.CIRCUIT_OPEN,
    Wait.COUNTRY_OUT,
    Wait.LANE_GONE,
    Wait.HAD_BEFORE,
    Wait.DRAINS,
}


class QueueView(msgspec.Struct):
    """Ready messages of one account and priority. `more`: there are more than `depth`, which was counted."""

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


class Trouble(msgspec.Struct):
    """`subject` is kind:name; `todo` what an operator can do."""

    severity: str
    subject: str
    what: str
    todo: str = ""


def queues(gateway: Gateway) -> list[LaneView]:
    """Every lane with anything in it, and why it does not move, those with the oldest messages first."""
    now, now_ms = trio.current_time(), gateway.world.wall_ms()
    carriers = {carrier.id: carrier.facts(now) for carrier in gateway.carriers}
    by_lane: dict[int, list[ReadyQueue]] = {}
    for queue in gateway.store.waiting_queues(COUNTED_EACH, COUNTED):
        by_lane.setdefault(queue.lane, []).append(queue)
    views = []
    for lane, counts in gateway.store.lane_totals().items():
        if not any(counts):
            continue
        facts = lane_facts(gateway, lane, carriers, now, now_ms)
        why = why_lane(facts, now)
        below = [_queue(gateway, one, why.reason, now_ms) for one in by_lane.get(lane, [])]
        named = [one.name if one is not None else "(gone)" for one in facts.carriers]
        views.append(
            LaneView(
                lane=lane_name(gateway, lane),
                reason=why.reason.name.lower(),
                detail=why.reason.value,
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


def _queue(gateway: Gateway, queue: ReadyQueue, why: Wait, now_ms: int) -> QueueView:
    account = gateway.accounts.by_id.get(queue.account)
    if account is not None and account.suspended:
        why = Wait.ACCOUNT_SUSPENDED
    return QueueView(
        account.name if account is not None else str(queue.account),
        queue.priority,
        queue.count,
        queue.more,
        round(max(0, now_ms - queue.oldest_ms) / 1000, 1),
        why.name.lower(),
        why.value,
    )


def problems(gateway: Gateway) -> list[Trouble]:
    """What is not well, the worst first."""
    found = [
        *_of_gateway(gateway),
        *_of_carriers(gateway),
        *_of_lanes(gateway),
        *_of_messages(gateway),
        *_of_store(gateway),
        *_of_certificates(gateway),
    ]
    return sorted(found, key=lambda one: one.severity != CRITICAL)


def _of_gateway(gateway: Gateway) -> Iterator[Trouble]:
    why = gateway.not_ready()
    if why:
        yield Trouble(CRITICAL, "gateway:", f"is not ready: {why}")
    for stall in gateway.watchdog.stalls.values():
        yield Trouble(
            CRITICAL,
            f"{stall.part}:{stall.name}",
            f"stands still since {iso(stall.since_ms)}: {stall.waiting} wait, {stall.reason}",
            "a fault of the gateway: keep its log; a restart loses nothing",
        )
    state = gateway.reload.state()
    if state["differs_from_file"]:
        yield Trouble(
            WARNING,
            "config:",
            f"what is in force differs from {state['file']}: {state['differs_from_file']}",
            "signalbox reload --dry-run shows how",
        )


def _of_carriers(gateway: Gateway) -> Iterator[Trouble]:
    for name, facts in carrier_facts(gateway).items():
        subject = f"carrier:{name}"
        order, out, links = facts["order"], facts["out"], facts["links"]
        if isinstance(order, dict):
            end = f" until {order['until']}" if order["until"] else ""
            reason = f": {order['reason']}" if order["reason"] else ""
            yield Trouble(
                WARNING,
                subject,
                f"suspended{end} by {order['by']}{reason}",
                f"signalbox carrier resume {name}",
            )
        elif isinstance(out, dict):
            yield Trouble(WARNING, subject, f"takes nothing: {out['why']}, {out['reason']}")
        elif not facts["able"] and isinstance(links, dict):
            errors = {one["last_error"] for one in links.values() if one["last_error"]}
            yield Trouble(
                CRITICAL,
                subject,
                "no bind" + (f": {'; '.join(sorted(errors))}" if errors else ""),
                "its address, system_id and password, and what its operator says",
            )
        elif facts["slowed"]:
            yield Trouble(WARNING, subject, f"slowed down: {facts['slowed']}")
        health = facts["health"]
        if isinstance(health, dict) and health["bad"]:
            what = f"goes on taking messages, but {health['bad']}"
            yield Trouble(WARNING, subject, what, f"signalbox events --subject {subject}")


def _of_lanes(gateway: Gateway) -> Iterator[Trouble]:
    now, now_ms = trio.current_time(), gateway.world.wall_ms()
    carriers = {carrier.id: carrier.facts(now) for carrier in gateway.carriers}
    for lane, counts in gateway.store.lane_totals().items():
        if not counts[Phase.READY]:
            continue
        why = why_lane(lane_facts(gateway, lane, carriers, now, now_ms), now).reason
        if why in _STANDING:
            what = f"{counts[Phase.READY]} messages wait: {why.value}"
            yield Trouble(WARNING, f"lane:{lane_name(gateway, lane)}", what, "GET /v1/queues says more")


def _of_messages(gateway: Gateway) -> Iterator[Trouble]:
    totals = gateway.store.totals().messages
    if totals[Phase.HELD]:
        yield Trouble(
            WARNING,
            "messages:held",
            f"{totals[Phase.HELD]} are held until they are released",
            "signalbox store release",
        )
    if totals[Phase.UNKNOWN]:
        yield Trouble(
            WARNING,
            "messages:unknown",
            f"of {totals[Phase.UNKNOWN]} nobody knows whether they were sent: links broke before the answer",
            "they end by their carriers' unknown rules",
        )
    given_up = gateway.store.given_up_count()
    if given_up:
        yield Trouble(
            WARNING,
            "events:given_up",
            f"{given_up} events were taken by nobody",
            "signalbox callbacks, to replay them",
        )


def _of_store(gateway: Gateway) -> Iterator[Trouble]:
    usage, options = gateway.store.usage(), gateway.store.options
    share = usage["used_bytes"] / usage["map_bytes"]
    if share > options.accept_watermark * _NEAR_FULL:
        yield Trouble(
            WARNING,
            "store:",
            f"{share:.0%} full; new messages are refused at {options.accept_watermark:.0%}",
            "[store] map_size_gb, or archive_after_s",
        )
    free = usage["free_disk_bytes"]
    if free < 2 * options.min_free_disk:
        yield Trouble(
            WARNING,
            "disk:",
            f"{free >> 20} MB free; new messages are refused below {options.min_free_disk >> 20} MB",
            "free space on the data directory's disk",
        )
    if usage["quarantined"]:
        yield Trouble(
            WARNING,
            "store:quarantine",
            f"{usage['quarantined']} damaged records were set aside",
            "signalbox store check",
        )


def _of_certificates(gateway: Gateway) -> Iterator[Trouble]:
    now_s = gateway.world.wall_ms() / 1000
    for section, ends in (
        ("http", gateway.http_certificates.expires_at),
        ("smpp", gateway.smpp.listeners.certificate_expires_at),
    ):
        if ends is not None and ends - now_s < _CERTIFICATE_DAYS * 86_400:
            severity = CRITICAL if ends < now_s else WARNING
            yield Trouble(
                severity,
                f"certificate:{section}",
                f"the certificate of [{section}] listen_tls ends at {iso(int(ends * 1000))}",
                "write a new one over it: it is read again",
            )
