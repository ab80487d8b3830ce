"""What /metrics shows of a running gateway: gauges and counters read at scrape time, nothing on the hot path.

Label values come from the configuration and from enums. Deliberately not here: formats (gateway.metrics).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gateway.carriers.lanes import ONLY
from gateway.cli import VERSION
from gateway.http.counts import BUCKETS_S
from gateway.metrics import MOST_ACCOUNTS, Histogram, state_name
from gateway.notices import KINDS
from router.health import State
from router.nouns import Phase
from router.waiting import Wait
from store.parked import UNMATCHED
from store.tables import TableFacts
from store.tallies import DELAYS_S

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier
    from gateway.carriers.link import Link
    from store.interface import Store

Rows = Iterable[tuple[tuple[str, ...], float]]
_QUEUE_PHASES = (Phase.READY, Phase.LEASED, Phase.DEFERRED, Phase.HELD)


def add_measures(gateway: Gateway) -> None:
    """Register everything once."""
    _add_process(gateway)
    _add_http(gateway)
    _add_traffic(gateway)
    _add_endings(gateway)
    _add_stalls(gateway)
    _add_tables(gateway)
    _add_health(gateway)
    gateway.metrics.counter(
        "signalbox_key_refusals",
        "Requests whose API key was not taken, by cause.",
        ("cause",),
        lambda: (((cause,), count) for cause, count in gateway.keys.use.refusals.items()),
    )


def _add_traffic(gateway: Gateway) -> None:
    metrics, store = gateway.metrics, gateway.store

    def messages_by_state() -> Rows:
        totals = store.totals()
        yield ("accepted",), totals.accepted
        for phase in Phase:
            yield (phase.name.lower(),), totals.messages[phase]

    def segments_by_state() -> Rows:
        totals = store.totals()
        yield ("accepted",), totals.accepted_segments
        for phase in Phase:
            yield (phase.name.lower(),), totals.segments[phase]

    def queue_messages() -> Rows:
        for lane, counts in sorted(store.lane_totals().items()):
            if any(counts) or gateway.board.in_force(lane):
                for phase in _QUEUE_PHASES:
                    yield (lane_name(gateway, lane), phase.name.lower()), counts[phase]

    def oldest() -> Rows:
        now_ms = gateway.world.wall_ms()
        for lane in sorted(store.ready_lanes()):
            oldest_ms = store.oldest_ready_ms(lane)
            if oldest_ms is not None:
                yield (lane_name(gateway, lane),), max(0, now_ms - oldest_ms) / 1000

    def sessions() -> Rows:
        """One row for each mode and state: a carrier's pairs are binds of two modes."""
        for carrier in gateway.carriers:
            for mode in dict.fromkeys(link.bind for link in carrier.links):
                links = [link for link in carrier.links if link.bind == mode]
                bound = sum(link.bound for link in links)
                yield ("carrier", carrier.name, mode, "bound"), bound
                yield ("carrier", carrier.name, mode, "down"), len(links) - bound

    def per_carrier(read: Callable[[Carrier], float]) -> Callable[[], Rows]:
        return lambda: (((carrier.name,), read(carrier)) for carrier in gateway.carriers)

    gauge = metrics.gauge
    gauge(
        "signalbox_messages_by_state", "The conservation terms, in messages.", ("state",), messages_by_state
    )
    gauge(
        "signalbox_segments_by_state", "The conservation terms, in segments.", ("state",), segments_by_state
    )
    gauge(
        "signalbox_queue_messages",
        "Messages of each lane, by queue state.",
        ("lane", "state"),
        queue_messages,
    )
    gauge("signalbox_queue_oldest_message_age_seconds", "Age of the oldest ready message.", ("lane",), oldest)
    gauge("signalbox_smpp_sessions", "Binds by state.", ("side", "peer", "mode", "state"), sessions)
    gauge(
        "signalbox_smpp_window_inflight",
        "Unanswered submits.",
        ("carrier",),
        per_carrier(lambda carrier: carrier.in_flight),
    )
    gauge(
        "signalbox_smpp_window_size",
        "Unanswered submits that all binds together may have.",
        ("carrier",),
        per_carrier(lambda carrier: carrier.settings.window * len(_submitting(carrier))),
    )
    gauge(
        "signalbox_carrier_tps_limit",
        "Segments a second over all binds, 0 = no limit.",
        ("carrier",),
        per_carrier(_tps_limit),
    )
    gauge(
        "signalbox_carrier_rate",
        "Segments a second that the carrier, or each of its binds, is sent at most now; 0 = no limit.",
        ("carrier",),
        per_carrier(lambda carrier: carrier.pacing.rate_per_s),
    )
    gauge(
        "signalbox_route_tps_limit",
        "Segments a second of the route's own limit, 0 = none.",
        ("route",),
        lambda: (((route.name,), route.tps) for route in gateway.routes.routes),
    )
    metrics.counter(
        "signalbox_outcomes_unknown",
        "Submits whose outcome was unknown: the link was lost, or no response came in time.",
        ("carrier",),
        per_carrier(lambda carrier: carrier.unknown),
    )
    usage = store.usage
    for name, help_ in (
        ("used_bytes", "Pages in use."),
        ("map_bytes", "Size of the map."),
        ("readers", "Reader slots in use."),
    ):
        gauge(
            f"signalbox_store_{name}",
            help_,
            (),
            lambda name=name: (((), float(usage()[name])),),  # type: ignore[misc]
        )
    options = store.options
    for name, help_, read in (
        ("store_disk_free_bytes", "Free on the data directory's disk.", lambda: usage()["free_disk_bytes"]),
        (
            "store_disk_reserve_bytes",
            "New messages are refused while less is free.",
            lambda: options.min_free_disk,
        ),
        (
            "store_accept_watermark_ratio",
            "New messages are refused while more of the map is used.",
            lambda: options.accept_watermark,
        ),
        (
            "accepting",
            "1: new messages are taken; 0: they are refused, as /readyz says.",
            lambda: not gateway.takes_nothing(),
        ),
    ):
        gauge("signalbox_" + name, help_, (), lambda read=read: (((), float(read())),))  # type: ignore[misc]
    gauge(
        "signalbox_account_queued_messages",
        "Messages of an account that count against its max_queued.",
        ("account",),
        lambda: _by_account(gateway),
    )
    metrics.counter(
        "signalbox_store_quarantined",
        "Damaged values set aside, over restarts.",
        (),
        lambda: (((), usage()["quarantined"]),),
    )
    gauge(
        "signalbox_callback_backlog", "Events not delivered yet.", (), lambda: (((), store.outbox_backlog()),)
    )
    gauge(
        "signalbox_callback_given_up",
        "Events that nobody took, kept until an operator puts them back or they are too old.",
        (),
        lambda: (((), store.given_up_count()),),
    )


def _by_account(gateway: Gateway) -> Rows:
    """The first accounts by themselves, the others together."""
    others = 0
    for at, account in enumerate(list(gateway.accounts.by_id.values())):
        queued = gateway.store.queued(account.id)
        if at < MOST_ACCOUNTS:
            yield (account.name,), queued
        else:
            others += queued
    if others or len(gateway.accounts.by_id) > MOST_ACCOUNTS:
        yield ("other",), others


def _add_process(gateway: Gateway) -> None:
    metrics = gateway.metrics
    reload = gateway.reload
    metrics.gauge(
        "signalbox_build_info", "The running version; always 1.", ("version",), lambda: (((VERSION,), 1),)
    )
    metrics.gauge(
        "signalbox_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was loaded.",
        (),
        lambda: (((), reload.loaded_ms / 1000),),
    )
    metrics.gauge(
        "signalbox_config_last_reload_successful",
        "0: the last reload was refused, and the configuration is as it was.",
        (),
        lambda: (((), reload.succeeded),),
    )
    metrics.counter(
        "signalbox_config_reloads",
        "Reloads and roll-backs that were asked for; trials do not count.",
        ("result",),
        lambda: (((result,), count) for result, count in reload.counts.items()),
    )


def _add_http(gateway: Gateway) -> None:
    metrics, counts, certificates = gateway.metrics, gateway.http.counts, gateway.http_certificates
    metrics.counter(
        "signalbox_http_requests",
        "Answered requests by endpoint and status.",
        ("endpoint", "code"),
        lambda: (
            ((endpoint, str(code)), count)
            for endpoint, one in counts.endpoints.items()
            for code, count in one.by_status.items()
        ),
    )
    metrics.histogram(
        "signalbox_http_request_duration_seconds",
        "From a request's last byte to its answer; a submit includes its commit.",
        ("endpoint",),
        lambda: (
            ((endpoint,), Histogram.of(BUCKETS_S, one.buckets, one.seconds))
            for endpoint, one in counts.endpoints.items()
        ),
    )
    metrics.gauge(
        "signalbox_http_certificate_expiry_timestamp_seconds",
        "When the certificate of [http] listen_tls ends.",
        (),
        lambda: (((), at) for at in (certificates.expires_at,) if at is not None),
    )
    metrics.gauge(
        "signalbox_http_connections", "Open HTTP connections.", (), lambda: (((), counts.connections),)
    )
    metrics.counter(
        "signalbox_http_connections_refused",
        "Connections turned away, and idle ones ended for new ones.",
        ("reason",),
        lambda: (((reason,), number) for reason, number in counts.connections_refused.items()),
    )


def _add_endings(gateway: Gateway) -> None:
    """How messages ended, and receipts that no message claimed: the store counts them, once a commit."""
    metrics, store = gateway.metrics, gateway.store
    tallies = store.tallies()

    def name_of(carrier: int) -> str:
        return store.carrier_name(carrier) if carrier else ""

    def unmatched() -> Rows:
        seen = {
            (carrier.name, reason): tallies.unmatched.get((carrier.id, reason), 0)
            for carrier in gateway.carriers
            for reason in UNMATCHED
        }
        for (carrier, reason), count in tallies.unmatched.items():
            seen[name_of(carrier), reason] = count
        return seen.items()

    metrics.counter(
        "signalbox_messages_finished",
        "Messages that ended, by the carrier that had them last (empty: none had) and final state.",
        ("carrier", "state"),
        lambda: (
            ((name_of(carrier), state_name(state)), count)
            for (carrier, state), count in tallies.finished.items()
        ),
    )
    metrics.histogram(
        "signalbox_message_delivery_duration_seconds",
        "From accept, or send_at, to the final receipt.",
        ("carrier",),
        lambda: (
            ((name_of(carrier),), Histogram.of(DELAYS_S, delays.counts, delays.total_ms / 1000))
            for carrier, delays in tallies.delivery.items()
        ),
    )
    metrics.counter(
        "signalbox_receipts_unmatched",
        "Receipts that matched no message to the end; unmatched ones can be listed.",
        ("carrier", "reason"),
        unmatched,
    )
    metrics.gauge(
        "signalbox_outcome_unknown",
        "Messages held because nobody knows whether the carrier has them.",
        ("carrier",),
        lambda: (
            ((carrier.name,), store.outcome_unknown().get(carrier.id, 0)) for carrier in gateway.carriers
        ),
    )


def _add_stalls(gateway: Gateway) -> None:
    def stalled() -> Rows:
        stalls = gateway.watchdog.stalls
        for lane, counts in sorted(gateway.store.lane_totals().items()):
            if any(counts) or gateway.board.in_force(lane):
                name = lane_name(gateway, lane)
                yield ("lane", name, ""), ("lane", name) in stalls
        for carrier in gateway.carriers:
            for part in ("carrier", "lease"):
                yield (part, "", carrier.name), (part, carrier.name) in stalls
        for part in gateway.watchdog.PARTS[3:]:
            yield (part, "", ""), sum(key[0] == part for key in stalls)

    gateway.metrics.gauge(
        "signalbox_stalled",
        "What stands still without a reason; the log says since when and what was looked at.",
        ("part", "lane", "carrier"),
        stalled,
    )


def _add_health(gateway: Gateway) -> None:
    metrics, health = gateway.metrics, gateway.health

    def states() -> Rows:
        """One of a carrier's rows is 1."""
        circuits = dict(health.states())
        for carrier in gateway.carriers:
            stands = circuits[carrier.name].value
            if carrier.suspended:
                stands = "suspended"
            elif carrier.out is Wait.MAINTENANCE:
                stands = "maintenance"
            for state in (*(one.value for one in State), "suspended", "maintenance"):
                yield (carrier.name, state), state == stands

    def figure(name: str, unit: float) -> Callable[[], Rows]:
        return lambda: (
            ((carrier,), figures[name] / unit) for carrier, figures in health.figures() if figures[name] >= 0
        )

    metrics.gauge(
        "signalbox_carrier_state",
        "1 for how a carrier stands: its circuit breaker, or what goes before it.",
        ("carrier", "state"),
        states,
    )
    metrics.counter(
        "signalbox_carrier_circuit_opened",
        "How often it was taken out by itself.",
        ("carrier", "reason"),
        lambda: (((carrier, fault.value), count) for carrier, fault, count in health.opened()),
    )
    metrics.counter(
        "signalbox_carrier_country_circuit_opened",
        "How often it was left out for one country by itself.",
        ("carrier", "reason"),
        lambda: (((carrier, fault.value), count) for carrier, fault, count in health.opened_for()),
    )
    metrics.gauge(
        "signalbox_carrier_country_out",
        "1 for a country (calling code) that it is out for, or on trial in; others have no row.",
        ("carrier", "country", "state"),
        lambda: (((carrier, str(one.code), one.state.value), 1) for carrier, one in health.out_for()),
    )
    for name, help_, column, unit in (
        ("error_ratio", "Share of submits that failed or were not answered, lately.", "error_permille", 1000),
        ("delivered_ratio", "Share delivered of what was delivered or failed.", "delivered_permille", 1000),
        ("response_p90_seconds", "Nine of ten answers came sooner.", "response_p90_ms", 1000),
        ("receipt_p50_seconds", "Half of the receipts came sooner.", "receipt_p50_ms", 1000),
    ):
        metrics.gauge(f"signalbox_carrier_{name}", help_, ("carrier",), figure(column, unit))
    metrics.counter(
        "signalbox_events",
        "What the gateway decided by itself and noticed, as `signalbox events` lists it.",
        ("kind",),
        lambda: (((kind,), health.told.get(kind, 0)) for kind in KINDS),
    )


def _submitting(carrier: Carrier) -> list[Link]:
    return [link for link in carrier.links if link.bind != "receiver"]


def _tps_limit(carrier: Carrier) -> float:
    """As it is now: over binds that each have their own, their sum."""
    if carrier.settings.throttle_scope == "bind":
        return sum(link.throttle.rate_per_s for link in _submitting(carrier))
    return carrier.throttle.rate_per_s


def lane_name(gateway: Gateway, lane: int) -> str:
    """A lane's carriers in order, as `north>south` or `north:70+south:30`, of one route as `uk/north>south`,
    of messages under limits of their own as `north>south under north:44`, to a country that one of them is or
    was out for as `north>south to +44`.

    Unique, as lanes are: two routes with the same carriers and rule share theirs. What operators sent to one
    carrier alone: `@north`.
    """
    return name_of_lane(gateway.store, lane)


def name_of_lane(store: Store, lane: int, *, plain: bool = False) -> str:
    """The same without a gateway. `plain`: without the limits and the country of a variant."""
    spec = store.lane(lane)
    names = [store.carrier_name(carrier) for carrier in spec.carriers]
    if spec.weights:
        text = "+".join(f"{name}:{weight}" for name, weight in zip(names, spec.weights, strict=True))
    else:
        text = ">".join(names)
    if spec.route:
        text = spec.route if spec.route.startswith(ONLY) else f"{spec.route}/{text}"
    if plain:
        return text
    limits = [f"{store.carrier_name(carrier)}:{name}" for carrier, name in spec.limits]
    text = f"{text} under {' '.join(limits)}" if limits else text
    return f"{text} to +{spec.country}" if spec.country else text


def _add_tables(gateway: Gateway) -> None:
    """Tables of numbers that look-ups use: how many rows, and from when."""

    def in_use() -> Iterable[TableFacts]:
        return (table.facts for _, table in sorted(gateway.tables.opened()))

    gateway.metrics.gauge(
        "signalbox_table_rows",
        "Rows of the tables of numbers in use.",
        ("table", "kind"),
        lambda: (((facts.name, facts.kind), facts.rows) for facts in in_use()),
    )
    gateway.metrics.gauge(
        "signalbox_table_imported_timestamp_seconds",
        "When the version in use was imported.",
        ("table", "kind"),
        lambda: (((facts.name, facts.kind), facts.version / 1000) for facts in in_use()),
    )
