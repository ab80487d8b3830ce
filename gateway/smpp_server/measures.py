"""What /metrics shows of the SMSC side. Peers are accounts, capped; the rest are closed sets.

Deliberately not here: accepted and refused messages (the door counts them), the outbox (the store knows it).
"""

from __future__ import annotations

from collections import Counter

from gateway.metrics import Metrics, Rows
from gateway.smpp_server.server import SmppServer
from smpp.status import Status

_MOST_PEERS = 500
_OTHER = "other"


def add_smpp_measures(metrics: Metrics, server: SmppServer) -> None:
    """Register the server's counts. Once."""

    def peers() -> dict[int, str]:
        """Account id → label value."""
        names = {id: tenant.account.name for id, tenant in server.tenants.items()}
        return {id: name if at < _MOST_PEERS else _OTHER for at, (id, name) in enumerate(names.items())}

    def sessions() -> Rows:
        names = peers()
        count: Counter[tuple[str, str]] = Counter()
        for id, tenant in server.tenants.items():
            for mode in ("transceiver", "transmitter", "receiver"):
                count[names[id], mode] += sum(one.bind_type == mode for one in tenant.connections)
        return [(("esme", peer, mode, "bound"), number) for (peer, mode), number in count.items()]

    def pdus() -> Rows:
        names = peers()
        count: Counter[tuple[str, str, str, str]] = Counter()
        for id, tenant in server.tenants.items():
            for status, number in tenant.answers.items():
                count["esme", names[id], "submit_sm", Status.name_of(status)] += number
        for id, port in server.deliveries.ports.items():
            peer = names.get(id, _OTHER)
            count["esme", peer, "deliver_sm", "ESME_ROK"] += port.delivered
        return list(count.items())

    def deliveries() -> Rows:
        names = peers()
        count: Counter[tuple[str, str]] = Counter()
        for id, port in server.deliveries.ports.items():
            peer = names.get(id, _OTHER)
            for fate in ("delivered", "retried", "refused", "expired"):
                count[peer, fate] += getattr(port, fate)
        return list(count.items())

    def unanswered() -> Rows:
        names = peers()
        count: Counter[tuple[str]] = Counter()
        for id, port in server.deliveries.ports.items():
            count[names.get(id, _OTHER),] += port.in_flight
        return list(count.items())

    listeners = server.listeners
    metrics.gauge("signalbox_smpp_sessions", "Binds by state.", ("side", "peer", "mode", "state"), sessions)
    metrics.counter(
        "signalbox_smpp_pdus",
        "Answered requests, by the status of the answer.",
        ("side", "peer", "command", "status"),
        pdus,
    )
    metrics.counter(
        "signalbox_smpp_deliveries",
        "Events over customers' sessions, by what became of them.",
        ("peer", "fate"),
        deliveries,
    )
    metrics.gauge(
        "signalbox_smpp_deliveries_unanswered",
        "Events sent over customers' sessions and not answered yet.",
        ("peer",),
        unanswered,
    )
    metrics.gauge(
        "signalbox_smpp_connections",
        "Customers' connections, bound and not bound yet.",
        ("state",),
        lambda: (
            (("bound",), listeners.counts.open - listeners.counts.unbound),
            (("unbound",), listeners.counts.unbound),
        ),
    )
    metrics.counter(
        "signalbox_smpp_connections_refused",
        "Customers' connections that were turned away.",
        ("reason",),
        lambda: (((reason,), number) for reason, number in listeners.counts.refused.items()),
    )
    metrics.gauge(
        "signalbox_smpp_lockouts_active",
        "Locks there are now.",
        ("kind",),
        lambda: (((kind,), now) for kind, (now, _) in server.gate.lock_counts().items()),
    )
    metrics.counter(
        "signalbox_smpp_lockouts",
        "Locks there have been.",
        ("kind",),
        lambda: (((kind,), ever) for kind, (_, ever) in server.gate.lock_counts().items()),
    )
    metrics.gauge(
        "signalbox_smpp_certificate_expiry_timestamp_seconds",
        "When the certificate that customers are shown ends.",
        (),
        lambda: (((), at) for at in (listeners.certificate_expires_at,) if at is not None),
    )
    metrics.counter(
        "signalbox_smpp_violations",
        "What customers sent that is not SMPP, or not allowed then.",
        (),
        lambda: (((), server.violations),),
    )
