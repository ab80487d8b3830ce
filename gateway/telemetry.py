"""OpenTelemetry: spans of messages that have ended, sent to a collector, where `[telemetry]` asks for it.

Off the message path, as the records (gateway.cdrs) are: once a second the ids of messages that ended some
seconds ago are read; of those that are sampled, by a hash of their id, the timeline becomes spans
(gateway.spans), which a thread sends by OTLP over HTTP.

Best effort, and said so: nothing of it is kept over a restart; where the collector does not take them, or
more end than `max_per_s`, spans are dropped and counted. Messages never wait for it. OpenTelemetry's packages
are only imported here, and only when it is configured; nothing else goes out.

Deliberately not here: what is in a span (gateway.spans), metrics (they are scraped), logs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import structlog
import trio

from gateway.cli import VERSION
from gateway.spans import Span, spans_of
from gateway.traces import trace_id_of

if TYPE_CHECKING:
    from config.model import TelemetryConfig
    from gateway.app import Gateway

log = structlog.get_logger("telemetry")

_EVERY_S = 1.0
_BEHIND_S = 5  # so that callbacks of most are there
_PORTION = 2_000
_BATCH = 500  # spans in one request
_TAIL = 1 << 56

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Exporter(Protocol):
    """Sends spans, in a thread. False: the collector did not take them."""

    def __call__(self, spans: Sequence[Span]) -> bool: ...


class Telemetry:
    """`run` follows what ends until it is cancelled. `exported` and `dropped` count messages."""

    def __init__(
        self,
        gateway: Gateway,
        settings: TelemetryConfig,
        export: Exporter,
        in_thread: InThread | None = None,
    ) -> None:
        self.exported = 0
        self.dropped = 0
        self._gateway = gateway
        self._settings = settings
        self._export = export
        self._in_thread = in_thread or _in_thread
        self._is_well = True
        gateway.metrics.counter(
            "signalbox_telemetry_messages",
            "Sampled messages whose spans a collector took, or that were dropped.",
            ("outcome",),
            lambda: ((("exported",), self.exported), (("dropped",), self.dropped)),
        )

    async def run(self) -> None:
        """Of what ends from now on."""
        key = _behind(self._gateway.world.wall_ms() // 1000 - 1)
        while True:
            await trio.sleep(_EVERY_S)
            key = await self._follow(key)

    async def _follow(self, key: bytes) -> bytes:
        """What ended behind this row, some seconds ago; the row to go on behind."""
        until_s = self._gateway.world.wall_ms() // 1000 - _BEHIND_S
        room = self._settings.max_per_s
        batch: list[Span] = []
        messages = 0
        while rows := self._gateway.store.finished_keys(key, until_s, _PORTION):
            key = rows[-1][0]
            for _, account, id in rows:
                if not self._is_sampled(id):
                    continue
                if room <= 0:
                    self.dropped += 1
                    continue
                room -= 1
                messages += 1
                batch += self._spans(account, id)
                if len(batch) >= _BATCH:
                    await self._send(batch, messages)
                    batch, messages = [], 0
            await trio.lowlevel.checkpoint()
        if batch:
            await self._send(batch, messages)
        return key

    def _is_sampled(self, id: int) -> bool:
        ratio = self._settings.sample
        return ratio >= 1 or int(trace_id_of(id)[18:], 16) < ratio * _TAIL

    def _spans(self, account: int, id: int) -> list[Span]:
        found = self._gateway.store.find(account, id)
        if found is None:
            return []
        owner = self._gateway.accounts.by_id.get(account)
        return spans_of(
            *found,
            owner.name if owner is not None else "",
            self._gateway.store.carrier_name,
            self._callbacks(account, id),
        )

    def _callbacks(self, account: int, id: int) -> Iterator[Any]:
        for state in self._gateway.pump.endpoints():
            if state.endpoint.account == account:
                yield from (one for one in state.recent if one.message_id == id)

    async def _send(self, spans: Sequence[Span], messages: int) -> None:
        try:
            is_taken = await self._in_thread(partial(self._export, spans))
        except Exception as error:
            is_taken, why = False, str(error)
        else:
            why = "it refused them, or did not answer in time"
        if is_taken:
            self.exported += messages
        else:
            self.dropped += messages
        if is_taken != self._is_well:
            self._is_well = is_taken
            if is_taken:
                log.info("collector takes spans again")
            else:
                log.warning("spans are dropped", endpoint=self._settings.otlp_endpoint, why=why)


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Left alone where the gateway stops meanwhile."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def exporter_of(settings: TelemetryConfig) -> Exporter:
    """OTLP over HTTP with protobuf. Imports OpenTelemetry: some tenths of a second. Errors: ImportError."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    kinds = {one.name.lower(): one for one in SpanKind}
    resource = Resource({"service.name": settings.service_name, "service.version": VERSION})
    scope = InstrumentationScope("signalbox", VERSION)
    sender = OTLPSpanExporter(
        endpoint=settings.otlp_endpoint,
        headers=dict(one.split("=", 1) for one in settings.headers),
        certificate_file=settings.ca_file or None,
        timeout=settings.timeout_s,
    )
    sampled = TraceFlags(TraceFlags.SAMPLED)

    def context(trace: str, span: str, is_remote: bool) -> SpanContext:
        return SpanContext(int(trace, 16), int(span, 16), is_remote, sampled)

    def readable(span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context(span.trace, span.id, False),
            context(span.trace, span.parent, span.parent_is_remote) if span.parent else None,
            resource,
            span.attributes,
            [Event(one.name, one.attributes, one.at_ms * 1_000_000) for one in span.events],
            kind=kinds[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
            start_time=span.start_ms * 1_000_000,
            end_time=span.end_ms * 1_000_000,
            instrumentation_scope=scope,
        )

    def export(spans: Sequence[Span]) -> bool:
        return sender.export([readable(one) for one in spans]) is SpanExportResult.SUCCESS

    return export


def _behind(second: int) -> bytes:
    """A row of `finished` behind all of that second."""
    return second.to_bytes(4, "big") + b"\xff" * 12
