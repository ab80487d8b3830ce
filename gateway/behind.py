"""Customers that are behind: bound and silent, not bound though events wait, callback endpoints that fail.

Looked at once a second by gateway.troubles, from what deliveries and the pump have in memory; events are
counted so far, and only of those that are in trouble.

Deliberately not here: what people are told of it (gateway.troubles), all backlogs (gateway.admin_deliveries).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from gateway.callbacks.endpoint import EndpointState, Health
from gateway.orders import ACCOUNT
from gateway.smpp_server.bans import parts
from store.backlog import retrying, waiting
from store.interface import SMPP_ORIGIN

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.smpp_server.deliveries import Port
    from router.nouns import Account

_SILENT_S = 5.0  # of a customer that has something to answer
_AWAY_S = 60.0  # events wait for an account that is not bound
_FAILURES = 3  # of an endpoint, in a row
_COUNTED = 1_000  # events of one account or endpoint
_COUNTED_EACH_LOOK = 10  # accounts and endpoints whose events are counted
_ENDPOINTS_A_LOOK = 100


class Quiet(NamedTuple):
    """An account that is bound, or was, and has not answered what it was sent."""

    progress: int
    silent: int  # timed out until then
    since: float  # monotonic seconds
    since_ms: int


class Behind:
    """`quiet`: accounts by id; `away`, `failing`, `counts`: by endpoint."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.quiet: dict[int, Quiet] = {}
        self.away: dict[int, int] = {}  # sessions of an account that is not bound → its oldest event (UTC ms)
        self.failing: dict[int, int] = {}  # callback endpoint → since (UTC ms)
        self.counts: dict[int, int] = {}  # events that wait, counted so far
        self._endpoint = 0  # where the last look at accounts' sessions ended

    def look(self, now: float, now_ms: int) -> None:
        """Once at all ports and endpoints, and at some of those that wait for a bind."""
        self._look_at_sessions(now, now_ms)
        self._look_at_endpoints(now_ms)
        self._count_events()

    def why_account(self, account: int) -> str:
        """Why what waits for an account's sessions does not go, in one line; "" when nothing keeps it."""
        port = self._gateway.smpp.deliveries.ports.get(account)
        if port is None or not port.receivers:
            known = self._gateway.accounts.by_id.get(account)
            why, _ = self.kept_out(known) if known is not None else ("", "")
            return "not bound as a receiver or transceiver" + (f": {why}" if why else "")
        now = trio.current_time()
        quiet = self.quiet.get(account)
        if quiet is not None and now - quiet.since >= _SILENT_S:
            return f"bound, and does not read: no answer for {lasted(int(now - quiet.since) * 1000)}"
        if now < port.paused_until:
            return "paused: it did not take the last events"
        return ""

    def kept_out(self, account: Account) -> tuple[str, str]:
        """By whose order it cannot bind, until when and why, and what ends that; "" and "" where by none."""
        gateway = self._gateway
        if account.suspended:
            order = gateway.orders.find(ACCOUNT, account.name)
            why = f"suspended {order.told}" if order is not None else "suspended by an operator"
            return why, f"signalbox account resume {account.name}"
        logins = [login.system_id for login in account.logins]
        bans = gateway.smpp.gate.bans.of(logins) if gateway.smpp.gate.bans is not None else []
        if not bans:
            return "", ""
        first = min(bans, key=lambda one: " " in one.subject)  # from everywhere before from some addresses
        more = f" (one of {len(bans)} bans)" if len(bans) > 1 else ""
        todo = f"signalbox binds unban {parts(first.subject)[0]}"
        if not {one.subject for one in bans}.issuperset(logins):
            todo += "; or ask the customer to bind with a system_id, or from where, it may"
        return f"{first.subject}{more} is banned {first.told}", todo

    def why_endpoint(self, endpoint: int) -> str:
        """The same for a callback endpoint."""
        pump = self._gateway.pump
        state = next((one for one in pump.endpoints() if one.id == endpoint), None)
        why, _ = pump.why(endpoint, trio.current_time())
        if state is None or not is_failing(state):
            return why
        return f"it fails: {state.last_error}, {state.failures} times in a row; tried again from time to time"

    def not_reading(self) -> list[tuple[int, Port]]:
        """(account, port), the one that is silent for longest first."""
        now, ports = trio.current_time(), self._gateway.smpp.deliveries.ports
        silent = sorted(self.quiet.items(), key=lambda one: one[1].since)
        return [(id, ports[id]) for id, quiet in silent if now - quiet.since >= _SILENT_S and id in ports]

    def _look_at_sessions(self, now: float, now_ms: int) -> None:
        deliveries, store = self._gateway.smpp.deliveries, self._gateway.store
        for account, port in deliveries.ports.items():
            progress = port.delivered + port.refused + port.retried - port.silent
            quiet = self.quiet.get(account)
            stands = quiet is not None and quiet.progress == progress
            timed_out = stands and quiet is not None and port.silent > quiet.silent
            if not port.receivers or not (port.in_flight or timed_out):
                self.quiet.pop(account, None)  # gone, or nothing that it should answer
            elif not stands:
                self.quiet[account] = Quiet(progress, port.silent, now, now_ms)
        endpoints = store.outbox_endpoints()
        ids = sorted(id for id, endpoint in endpoints.items() if endpoint.origin == SMPP_ORIGIN)
        turn = [id for id in ids if id > self._endpoint] + [id for id in ids if id <= self._endpoint]
        for id in turn[:_ENDPOINTS_A_LOOK]:
            self._endpoint = id
            away = deliveries.ports.get(endpoints[id].account)
            page = [] if away is not None and away.receivers else store.outbox_page(id, 0, 1)
            if page and now_ms - page[0].event.at_ms >= _AWAY_S * 1000:
                self.away[id] = page[0].event.at_ms
            else:
                self.away.pop(id, None)
        for id in [id for id in self.away if id not in endpoints]:
            del self.away[id]

    def _look_at_endpoints(self, now_ms: int) -> None:
        failing = [state.id for state in self._gateway.pump.endpoints() if state.failures]
        self.failing = {id: self.failing.get(id, now_ms) for id in failing}

    def _count_events(self) -> None:
        """Of some accounts and endpoints that are in trouble."""
        store = self._gateway.store
        wanted = [port.endpoint for _, port in self.not_reading() if port.endpoint]
        wanted += [*self.away, *(state.id for state in self._gateway.pump.endpoints() if is_failing(state))]
        if not wanted:
            self.counts = {}
            return
        later = retrying(store, _COUNTED)
        self.counts = {
            id: waiting(store, id, _COUNTED) + later.get(id, 0) for id in wanted[:_COUNTED_EACH_LOOK]
        }


def is_failing(state: EndpointState) -> bool:
    """Not once, but in a row, or shut altogether."""
    return state.failures >= _FAILURES or state.health in (Health.OPEN, Health.DISABLED)


def so_many(events: int) -> str:
    """1 event, 7 events, more than 1,000 events."""
    if events >= _COUNTED:
        return f"more than {_COUNTED:,} events"
    return "1 event" if events == 1 else f"{events:,} events"


def lasted(ms: int) -> str:
    """12 s, 12 min, 3 h, 4 d: as one looks at a clock."""
    seconds = max(0, ms) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
