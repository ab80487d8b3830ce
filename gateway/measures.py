"""What /metrics shows of a running gateway: gauges and counters read at scrape time, nothing on the hot path.

Label values come from the configuration and from enums. Deliberately not here: formats (gateway.metrics).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from router.nouns import Phase

if TYPE_CHECKING:
    from gateway.app import Gateway

Rows = Iterable[tuple[tuple[str, ...], float]]
_QUEUE_PHASES = (Phase.READY, Phase.LEASED, Phase.DEFERRED, Phase.HELD)


def add_measures(gateway: Gateway) -> None:
    """Register everything once."""
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
        totals = store.totals()
        for phase in _QUEUE_PHASES:
            yield (phase.name.lower(),), totals.messages[phase]

    def oldest() -> Rows:
        now_ms = gateway.world.wall_ms()
        for lane in sorted(store.ready_lanes()):
            oldest_ms = store.oldest_ready_ms(lane)
            if oldest_ms is not None:
                yield (lane_name(gateway, lane),), max(0, now_ms - oldest_ms) / 1000

    def sessions() -> Rows:
        for carrier in gateway.carriers:
            bound = sum(link.bound for link in carrier.links)
            yield ("carrier", carrier.name, carrier.settings.bind, "bound"), bound
            yield ("carrier", carrier.name, carrier.settings.bind, "down"), len(carrier.links) - bound

    def per_carrier(value: str) -> Rows:
        for carrier in gateway.carriers:
            yield (carrier.name,), float(getattr(carrier, value))

    gauge = metrics.gauge
    gauge(
        "signalbox_messages_by_state", "The conservation terms, in messages.", ("state",), messages_by_state
    )
    gauge(
        "signalbox_segments_by_state", "The conservation terms, in segments.", ("state",), segments_by_state
    )
    gauge("signalbox_queue_messages", "Messages waiting, by queue state.", ("state",), queue_messages)
    gauge("signalbox_queue_oldest_message_age_seconds", "Age of the oldest ready message.", ("lane",), oldest)
    gauge("signalbox_smpp_sessions", "Binds by state.", ("side", "peer", "mode", "state"), sessions)
    gauge(
        "signalbox_smpp_window_inflight",
        "Unanswered submits.",
        ("carrier",),
        lambda: per_carrier("in_flight"),
    )
    gauge(
        "signalbox_smpp_window_size",
        "Window over all binds.",
        ("carrier",),
        lambda: (((c.name,), float(c.settings.window * len(c.links))) for c in gateway.carriers),
    )
    gauge(
        "signalbox_carrier_tps_limit",
        "Segments a second, 0 = none.",
        ("carrier",),
        lambda: (((c.name,), c.settings.tps) for c in gateway.carriers),
    )
    gauge(
        "signalbox_outcome_unknown",
        "Submits whose outcome was unknown, since start.",
        ("carrier",),
        lambda: per_carrier("unknown"),
    )
    usage = store.usage
    for name, help_ in (
        ("used_bytes", "Pages in use."),
        ("map_bytes", "Size of the map."),
        ("readers", "Reader slots in use."),
        ("quarantined", "Damaged values set aside."),
    ):
        gauge(
            f"signalbox_store_{name}",
            help_,
            (),
            lambda name=name: (((), float(usage()[name])),),  # type: ignore[misc]
        )
    gauge(
        "signalbox_callback_backlog", "Events not delivered yet.", (), lambda: (((), store.outbox_backlog()),)
    )


def lane_name(gateway: Gateway, lane: int) -> str:
    """A lane's carriers in order, as `sim-a>sim-b`."""
    spec = gateway.store.lane(lane)
    return ">".join(gateway.store.carrier_name(carrier) for carrier in spec.carriers)
