"""Kannel's `/status.xml`, so that what monitors a bearerbox (kannel_exporter, Zabbix) monitors Signalbox.

Elements and their order are those of bearerbox 1.4.5. `password` is the key of an operator who may look at
carriers (`sbo_…`). Carriers are smscs: `sent` counts segments that one accepted, `failed` those it refused,
`queued` what waits in lanes that name it; rates are of the last minute, of the last five, and since the
start, as far as somebody asked in between. Accounts that are bound over SMPP are boxes.

Deliberately not here: status.txt and the HTML pages, bearerbox's commands.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

import trio

from gateway.cli import VERSION
from gateway.http.forms import of_query
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from router.nouns import Phase

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier

_TEXT: Headers = (("Content-Type", "text/plain"), ("Cache-Control", "no-store"))
_SAMPLES = 120
_BETWEEN_S = 5.0
_SPANS_S = (60.0, 300.0)
_WAITING = (Phase.READY, Phase.DEFERRED, Phase.HELD)


class _Sums(NamedTuple):
    received: int = 0  # MOs
    sent: int = 0  # segments that were accepted
    receipts: int = 0
    failed: int = 0

    def __add__(self, other: object) -> _Sums:
        assert isinstance(other, _Sums)
        return _Sums(*(one + two for one, two in zip(self, other, strict=True)))


class KannelStatus:
    """`add_to` puts it into a table."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._began = trio.current_time()
        self._samples: deque[tuple[float, dict[str, _Sums]]] = deque(maxlen=_SAMPLES)

    def add_to(self, routes: Routes) -> None:
        for path in ("/status.xml", "/cgi-bin/status.xml"):
            routes.add("GET", path, self.show)

    def show(self, request: Request, respond: Respond) -> None:
        try:
            password = of_query(request.query).first(b"password") or b""
            self._gateway.keys.operator(b"Bearer " + password, request.peer, "carriers.read")
        except BadRequest as refusal:
            respond(403 if refusal.status == 401 else refusal.status, _TEXT, b"Denied")
            return
        respond(200, _TEXT, self._render().encode())

    def _render(self) -> str:
        gateway, now = self._gateway, trio.current_time()
        sums = {carrier.name: _sums(gateway, carrier) for carrier in gateway.carriers}
        if not self._samples or now - self._samples[-1][0] >= _BETWEEN_S:
            self._samples.append((now, sums))
        total = sum(sums.values(), _Sums())
        phases = gateway.store.totals().messages
        waiting = sum(phases[phase] for phase in _WAITING)
        state = "running" if gateway.ready else "starting"
        if gateway.stopping.is_set():
            state = "shutdown"
        lines = [
            '<?xml version="1.0"?>',
            "<gateway>",
            f"<version>Signalbox {escape(VERSION)}</version>",
            f"<status>{state}, uptime {_uptime(now - self._began)}</status>",
            "\t<wdp>",
            "\t\t<received><total>0</total><queued>0</queued></received>",
            "\t\t<sent><total>0</total><queued>0</queued></sent>",
            "\t</wdp>",
            "\t<sms>",
            f"\t\t<received><total>{total.received}</total><queued>0</queued></received>",
            f"\t\t<sent><total>{total.sent}</total><queued>{waiting}</queued></sent>",
            f"\t\t<storesize>{waiting}</storesize>",
            f"\t\t<inbound>{self._rates(now, 0)}</inbound>",
            f"\t\t<outbound>{self._rates(now, 1)}</outbound>",
            "\t\t</sms>",
            "\t<dlr>",
            f"\t\t<received><total>{total.receipts}</total></received>",
            "\t\t<sent><total>0</total></sent>",
            f"\t\t<inbound>{self._rates(now, 2)}</inbound>",
            "\t\t<outbound>0.00,0.00,0.00</outbound>",
            f"\t\t<queued>{phases[Phase.AWAITING_RECEIPT]}</queued>",
            "\t\t<storage>lmdb</storage>",
            "\t</dlr>",
            "<boxes>",
            *self._boxes(),
            "</boxes>",
            f"<smscs><count>{len(gateway.carriers)}</count>",
        ]
        queued = self._queued()
        for carrier in gateway.carriers:
            lines += self._smsc(carrier, sums[carrier.name], queued.get(carrier.id, 0), now)
        return "\n".join([*lines, "</smscs>", "</gateway>", ""])

    def _boxes(self) -> list[str]:
        lines = []
        for tenant in self._gateway.smpp.tenants.values():
            for connection in tenant.connections:
                lines += [
                    "\t<box>",
                    "\t\t<type>smpp</type>",
                    f"\t\t<id>{escape(tenant.account.name)}</id>",
                    f"\t\t<IP>{escape(connection.peer.address)}</IP>",
                    "\t\t<queue>0</queue>",
                    "\t\t<status>on-line</status>",
                    "\t\t<ssl>no</ssl>",
                    "\t</box>",
                ]
        return lines

    def _smsc(self, carrier: Carrier, sums: _Sums, queued: int, now: float) -> list[str]:
        settings = carrier.settings
        name = f"SMPP:{settings.host}:{settings.port}/{settings.port}:{settings.system_id}:"
        bound = any(link.bound for link in carrier.links)
        status = "online" if bound and carrier.able() else "re-connecting" if not bound else "dead"
        return [
            "\t<smsc>",
            f"\t\t<name>{escape(name)}</name>",
            f"\t\t<admin-id>{escape(carrier.name)}</admin-id>",
            f"\t\t<id>{escape(carrier.name)}</id>",
            f"\t\t<status>{status} {int(now - self._began)}s</status>",
            f"\t\t<failed>{sums.failed}</failed>",
            f"\t\t<queued>{queued}</queued>",
            "\t\t<sms>",
            f"\t\t\t<received>{sums.received}</received>",
            f"\t\t\t<sent>{sums.sent}</sent>",
            f"\t\t\t<inbound>{self._rates(now, 0, carrier.name)}</inbound>",
            f"\t\t\t<outbound>{self._rates(now, 1, carrier.name)}</outbound>",
            "\t\t</sms>",
            "\t\t<dlr>",
            f"\t\t\t<received>{sums.receipts}</received>",
            "\t\t\t<sent>0</sent>",
            f"\t\t\t<inbound>{self._rates(now, 2, carrier.name)}</inbound>",
            "\t\t\t<outbound>0.00,0.00,0.00</outbound>",
            "\t\t</dlr>",
            "\t</smsc>",
        ]

    def _queued(self) -> dict[int, int]:
        """Of each carrier's id: messages that wait in lanes which name it."""
        store = self._gateway.store
        found: dict[int, int] = {}
        for lane, counts in store.lane_totals().items():
            for carrier in store.lane(lane).carriers:
                found[carrier] = found.get(carrier, 0) + sum(counts)
        return found

    def _rates(self, now: float, which: int, name: str = "") -> str:
        """A second, over the spans; `name` "": of all carriers."""
        last = self._of(len(self._samples) - 1, which, name)
        rates = []
        for span_s in _SPANS_S:
            at, first = next(
                (
                    (sample[0], self._of(index, which, name))
                    for index, sample in enumerate(self._samples)
                    if sample[0] >= now - span_s
                ),
                (now, last),
            )
            rates.append((last - first) / (now - at) if now > at else 0.0)
        rates.append(last / max(1.0, now - self._began))
        return ",".join(f"{rate:.2f}" for rate in rates)

    def _of(self, index: int, which: int, name: str) -> int:
        sums = self._samples[index][1]
        if name:
            return sums.get(name, _Sums())[which]
        return sum(one[which] for one in sums.values())


def _sums(gateway: Gateway, carrier: Carrier) -> _Sums:
    counts = gateway.counts.carrier(carrier.name)
    accepted = counts.statuses.get(0, 0)
    return _Sums(counts.mo, accepted, sum(counts.receipts.values()), sum(counts.statuses.values()) - accepted)


def _uptime(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h {minutes}m {rest}s"
