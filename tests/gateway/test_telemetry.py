"""Spans of messages: what is in them, and that a real collector's eyes read them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import structlog.testing
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from config.load import ConfigErrors, load
from config.model import TelemetryConfig
from gateway.callbacks.endpoint import Attempt
from gateway.spans import Span, spans_of
from gateway.telemetry import Telemetry, exporter_of
from gateway.traces import span_id_of, trace_id_of
from router.nouns import Message, MessageState, Phase, Progress, Step
from smpp.pdu import SubmitSmResp
from tests.gateway.house import (
    NUMBER,
    Running,
    Script,
    carrier,
    inline,
    route,
    running,
    running_with,
    simulator,
    write_config,
)
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + simulator("sim", 2776) + route("sim")
TEXT = "Your code is 4711"
AT = 1_790_000_000_000


def message(**more: Any) -> Message:
    made = Message(7, 1, AT, NUMBER, 1, 1, "447700900123", 0, TEXT, b"", 1, 1, 1, 1, 0, AT + 60_000, 1, "uk")
    for name, value in more.items():
        setattr(made, name, value)
    return made


def ended(*events: tuple[int, int, int, str], state: int = MessageState.DELIVERED) -> Progress:
    return Progress(Phase.FINAL, state, attempts=2, finished_ms=AT + 5_000, events=list(events))


def spans(told: Message, progress: Progress, callbacks: Sequence[Attempt] = ()) -> list[Span]:
    return spans_of(told, progress, "shop", {1: "north", 2: "south"}.__getitem__, callbacks)


def test_a_messages_spans_are_one_tree_from_submit_to_callback() -> None:
    found = spans(
        message(),
        ended(
            (AT, Step.ACCEPTED, 0, ""),
            (AT + 100, Step.REFUSED, 1, "ESME_RTHROTTLED"),
            (AT + 100, Step.DEFERRED, 0, ""),
            (AT + 2_000, Step.SENT, 2, "abc"),
            (AT + 5_000, Step.RECEIPT, 2, "DELIVRD err=000"),
        ),
        [Attempt(AT + 5_400, 7, 1, "delivered", "", 0.25)],
    )
    assert [(one.name, one.start_ms - AT, one.end_ms - AT, one.error) for one in found] == [
        ("send uk", 0, 5_400, ""),
        ("submit_sm north", 0, 100, "ESME_RTHROTTLED"),
        ("submit_sm south", 100, 2_000, ""),
        ("await receipt south", 2_000, 5_000, ""),
        ("callback", 5_150, 5_400, ""),
    ]
    root, *below = found
    assert {one.trace for one in found} == {trace_id_of(7)}
    assert (root.id, root.parent, {one.parent for one in below}) == (span_id_of(7), "", {root.id})
    assert len({one.id for one in found}) == 5
    assert [one.name for one in root.events] == ["deferred"]
    assert [one.attributes for one in found[3].events] == [{"signalbox.receipt": "DELIVRD"}]
    assert (found[1].attributes["error.type"], found[2].attributes["messaging.destination.name"]) == (
        "ESME_RTHROTTLED",
        "south",
    )
    for secret in (TEXT, "447700900123", NUMBER, "abc"):
        assert secret not in repr(found)


def test_a_customers_span_is_the_parent() -> None:
    parent = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736" + "00f067aa0ba902b7" + "01")
    (root,) = spans(message(trace=parent), ended(state=MessageState.EXPIRED))
    assert (root.trace, root.parent, root.kind) == (parent[:16].hex(), parent[16:24].hex(), "server")
    assert (root.error, root.attributes["signalbox.trace_id"]) == ("EXPIRED", trace_id_of(7))


class Collector:
    """A collector that keeps what it is given. `status`: what it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], ExportTraceServiceRequest]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                decoded = ExportTraceServiceRequest()
                decoded.ParseFromString(body)
                outer.requests.append(({**self.headers, "path": self.path}, decoded))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = Collector()
    yield made
    made.close()


@trio_test(mock_clock=True)
async def test_a_collector_gets_the_spans_of_messages_that_ended(
    tmp_path: Path, collector: Collector
) -> None:
    settings = TelemetryConfig(otlp_endpoint=collector.endpoint, headers=("x-key=geheim",))
    async with running(tmp_path, ONE) as house, trio.open_nursery() as nursery:
        nursery.start_soon(Telemetry(house.gateway, settings, exporter_of(settings), inline).run)
        await house.bound()
        ids = {int(await house.submit("447700900123", TEXT)) for _ in range(3)}
        for id in ids:
            await house.final(str(id))
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    ((headers, request),) = [one for one in collector.requests if one[1].resource_spans]
    assert (headers["x-key"], headers["path"]) == ("geheim", "/v1/traces")
    (resource,) = request.resource_spans
    names = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert names["service.name"] == "signalbox"
    (scope,) = resource.scope_spans
    roots = [one for one in scope.spans if not one.parent_span_id]
    assert {one.trace_id.hex() for one in roots} == {trace_id_of(id) for id in ids}
    below = [one for one in scope.spans if one.parent_span_id == roots[0].span_id]
    assert {"submit_sm sim", "await receipt sim"} <= {one.name for one in below}
    assert all(one.end_time_unix_nano >= one.start_time_unix_nano > 0 for one in scope.spans)
    wire = request.SerializeToString()
    assert TEXT.encode() not in wire
    assert b"447700900123" not in wire


async def following(
    house: Running, settings: TelemetryConfig, took: list[Span], answers: list[bool]
) -> Telemetry:
    """Over messages that end at once, a second apart."""

    def export(spans: Sequence[Span]) -> bool:
        took.extend(spans)
        return answers.pop(0) if answers else True

    followed = Telemetry(house.gateway, settings, export, inline)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(followed.run)
        await house.bound()
        for _ in range(20):
            await house.submit("447700900123")
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    return followed


@trio_test(mock_clock=True)
async def test_a_share_is_sampled_by_the_messages_ids(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        took: list[Span] = []
        settings = TelemetryConfig(otlp_endpoint="http://x", sample=0.5)
        followed = await following(house, settings, took, [])
        roots = [one.trace for one in took if not one.parent]
        assert 0 < len(roots) == followed.exported < 20
        assert all(int(trace[18:], 16) < 1 << 55 for trace in roots)


@trio_test(mock_clock=True)
async def test_more_than_may_be_sent_and_what_is_not_taken_is_dropped_counted_and_told_once(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, ONE) as house:
        took: list[Span] = []
        settings = TelemetryConfig(otlp_endpoint="http://x", max_per_s=3)
        with structlog.testing.capture_logs() as logs:
            followed = await following(house, settings, took, [False])
        assert followed.exported + followed.dropped == 20
        assert followed.dropped >= 3
        events = [one["event"] for one in logs if "pan" in one["event"]]
        assert events in (["spans are dropped"], ["spans are dropped", "collector takes spans again"])
        shown = house.gateway.metrics.render().decode()
        assert f'signalbox_telemetry_messages_total{{outcome="dropped"}} {followed.dropped}.0' in shown


def refusing(script: Script, pdu: Any) -> Iterator[SubmitSmResp]:
    if pdu.command == "submit_sm":
        yield SubmitSmResp(command_status=0x0B, sequence_number=pdu.sequence_number)


@trio_test(mock_clock=True)
async def test_a_refused_message_has_the_carriers_status_as_its_error(tmp_path: Path) -> None:
    toml = carrier("north", 2790) + route("north")
    async with running_with(tmp_path, toml, Script(refusing)) as (house, _):
        took: list[Span] = []
        await following(house, TelemetryConfig(otlp_endpoint="http://x"), took, [])
        errors = {one.error for one in took if one.name == "submit_sm north"}
        assert errors == {"ESME_RINVDSTADR"}


def test_it_is_refused_in_words_where_the_packages_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = '[telemetry]\notlp_endpoint = "http://127.0.0.1:4318/v1/traces"\n'
    assert load(write_config(tmp_path, toml)).telemetry.otlp_endpoint.endswith("/v1/traces")
    monkeypatch.setattr("config.rules._can_import", lambda name: False)
    with pytest.raises(ConfigErrors, match=r"not installed[\s\S]*signalbox\[telemetry\]"):
        load(write_config(tmp_path, toml))
    load(write_config(tmp_path, ""))
    with pytest.raises(ConfigErrors):
        load(write_config(tmp_path, '[telemetry]\notlp_endpoint = "collector:4317"\n'))


def test_a_gateway_imports_nothing_of_it_until_it_is_asked_for() -> None:
    code = "import sys, gateway.app; print([one for one in sys.modules if 'opentelemetry' in one])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
