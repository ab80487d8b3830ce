"""How the gateway is, as `ping` answers and `signalbox status` shows it: carriers, customers, lanes, backlog.

Invariant: it reads counters and what is in memory, never messages, so that asking often costs little.

Deliberately not here: why a lane waits (gateway.watchdog), the exit code, columns for people (gateway.cli).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from gateway.admin_carriers import order_view
from gateway.admin_shapes import iso
from gateway.orders import DRAINED
from gateway.watchdog import lane_waits
from router.nouns import Phase

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier
    from gateway.carriers.limits import Senders
    from gateway.carriers.link import Link

_HORIZONS = {60.0: "per_minute", 3_600.0: "per_hour", 86_400.0: "per_day"}


def status_facts(gateway: Gateway) -> dict[str, object]:
    """Plain JSON values; times ISO 8601 UTC, "" for none; windows and TPS in segments, 0 TPS = no limit."""
    return {
        "carriers": carrier_facts(gateway),
        "customers": _customers(gateway),
        "lanes": lane_waits(gateway),
        "backlog": {
            **waiting_messages(gateway),
            "events": gateway.store.outbox_backlog(),  # callbacks and deliveries to binds
        },
        "stalled": [
            {
                "part": stall.part,
                "name": stall.name,
                "waiting": stall.waiting,
                "since": iso(stall.since_ms),
                "reason": stall.reason,
            }
            for stall in gateway.watchdog.stalls.values()
        ],
        "search": gateway.searching.view(),
        "config": gateway.reload.state(),
        "not_ready": gateway.not_ready(),
    }


def carrier_facts(gateway: Gateway) -> dict[str, dict[str, object]]:
    """Every carrier of the configuration in force, by name: as in `status_facts`, and its health."""
    now, now_ms = trio.current_time(), gateway.world.wall_ms()
    return {carrier.name: _carrier(gateway, carrier, now, now_ms) for carrier in gateway.carriers}


def _carrier(gateway: Gateway, carrier: Carrier, now: float, now_ms: int) -> dict[str, object]:
    bound = [link for link in carrier.links if link.can_submit]
    until = carrier.facts(now).paused_until
    return {
        "able": carrier.able(),
        "suspended": carrier.suspended,
        "drained": gateway.orders.find(DRAINED, carrier.name) is not None,
        "order": order_view(gateway.orders.by_carrier.get(carrier.name)),
        **gateway.health.view(carrier, now_ms),
        "in_flight": carrier.in_flight,
        "window": carrier.settings.window * len(bound),
        "window_used": sum(_used(link, carrier.settings.window) for link in bound),
        "tps": carrier.settings.tps,
        "rate": round(carrier.pacing.rate_per_s, 1),
        "slowed": carrier.pacing.reason(now),
        "limits": _limits(carrier, gateway.board.senders, now),
        "paused_until": iso(now_ms + int((until - now) * 1000)) if until > now else "",
        "links": {
            link.name: {
                "state": "bound" if link.bound else "connecting",
                "bind": link.bind,
                "host": link.host,
                "last_error": link.last_error,
                "suspended": link.suspended,
            }
            for link in carrier.links
        },
    }


def _limits(carrier: Carrier, senders: Senders, now: float) -> dict[str, object]:
    """What limits per minute, hour and day have spent: "all", and the others by whom they concern."""
    throttles = {} if carrier.settings.throttle_scope == "bind" else {"all": carrier.throttle}
    if carrier.some is not None:
        throttles |= {name: one.throttle for name, one in carrier.some.each(senders)}
    return {
        name: {
            _HORIZONS[one.length_s]: {"spent": one.taken(now), "limit": one.most} for one in throttle.horizons
        }
        for name, throttle in throttles.items()
        if throttle.horizons
    }


def _used(link: Link, window: int) -> int:
    return window - link.session.window_free if link.session is not None else 0


def _customers(gateway: Gateway) -> dict[str, object]:
    """Accounts with binds: how many, of how many allowed, by what they bound as."""
    customers: dict[str, object] = {}
    for tenant in gateway.smpp.tenants.values():
        kinds: dict[str, int] = {}
        for connection in tenant.connections:
            kinds[connection.bind_type] = kinds.get(connection.bind_type, 0) + 1
        if kinds:
            account = tenant.account
            customers[account.name] = {"binds": sum(kinds.values()), "max_binds": account.max_binds, **kinds}
    return dict(sorted(customers.items()))


def waiting_messages(gateway: Gateway) -> dict[str, int]:
    """Messages that have not ended, by phase."""
    messages = gateway.store.totals().messages
    return {phase.name.lower(): messages[phase] for phase in Phase if phase is not Phase.FINAL}
