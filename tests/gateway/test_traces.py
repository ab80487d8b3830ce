"""What holds records together: traces of messages, ids of requests that failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gateway import logs
from gateway.door import Door
from gateway.traces import parent_of, request_id_of, span_id_of, trace_id_of
from tests.gateway.house import NUMBER, carrier, route, running
from tests.trio_case import trio_test

ONE = carrier("north", 2790) + route("north")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_message_has_one_trace_id_wherever_it_is_made() -> None:
    assert trace_id_of(4611686018427387905) == trace_id_of(4611686018427387905)
    assert len({trace_id_of(id) for id in range(1, 1000)}) == 999
    assert len(trace_id_of(7)) == 32
    assert (len(span_id_of(7)), span_id_of(7) == span_id_of(7, "queued")) == (16, False)


@pytest.mark.parametrize(
    ("header", "is_taken"),
    [
        (PARENT, True),
        (f"01-{TRACE}-{SPAN}-01-more", True),  # a later version
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (PARENT.upper(), False),
        ("rubbish", False),
        ("00-" + "a" * 10_000, False),
    ],
)
def test_a_traceparent_is_taken_as_w3c_says_or_passed_over(header: str, is_taken: bool) -> None:
    found = parent_of(header.encode())
    assert found == (bytes.fromhex(TRACE + SPAN + "01") if is_taken else None)


def test_a_requests_id_is_its_own_where_that_is_harmless() -> None:
    assert request_id_of(b"abc-1") == "abc-1"
    for bad in (None, b"", b"a b", b"x" * 65, b"\x1b[2J"):
        assert len(request_id_of(bad)) == 32


def test_records_about_a_message_have_its_trace_id() -> None:
    lines: list[str] = []
    logs.configure(json=True, write=lines.append)
    log = structlog.get_logger("callbacks")
    log.error("callback given up", message_id=4611686018427387905)
    log.error("callback given up", message_id="4611686018427387905")
    log.error("something else", endpoint=7)
    first, second, third = map(json.loads, lines)
    assert first["trace_id"] == second["trace_id"] == trace_id_of(4611686018427387905)
    assert "trace_id" not in third


async def post(house: object, path: str, body: object, **headers: str) -> tuple[int, dict[str, str], bytes]:
    stream = await house.world.connect("127.0.0.1", 8080)  # type: ignore[attr-defined]
    payload = json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with stream:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAuthorization: Bearer {house.key}\r\n"  # type: ignore[attr-defined]
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n{more}\r\n"
        )
        await stream.send_all(head.encode() + payload)
        wire = b"".join([part async for part in stream])
    start, _, rest = wire.partition(b"\r\n\r\n")
    first, *lines = start.decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in pairs}, rest


@trio_test(mock_clock=True)
async def test_a_customers_trace_is_kept_with_its_message_and_answered(tmp_path: Path) -> None:
    message = {"to": "447700900123", "from": NUMBER, "text": "Hello"}
    async with running(tmp_path, ONE) as house:
        status, headers, body = await post(house, "/v1/messages", message, traceparent=PARENT)
        id = int(json.loads(body)["id"])
        assert (status, headers["traceresponse"]) == (202, f"00-{TRACE}-{span_id_of(id)}-01")
        found = house.gateway.store.find_any(id)
        assert found is not None
        assert found[0].trace == bytes.fromhex(TRACE + SPAN + "01")
        for given in ({}, {"traceparent": "rubbish"}):
            status, headers, body = await post(house, "/v1/messages", message, **given)
            assert (status, headers.get("traceresponse")) == (202, None)
            found = house.gateway.store.find_any(int(json.loads(body)["id"]))
            assert found is not None
            assert found[0].trace is None
        two = {"messages": [message, message]}
        status, _, body = await post(house, "/v1/messages/batch", two, traceparent=PARENT)
        for one in json.loads(body)["results"]:
            found = house.gateway.store.find_any(int(one["id"]))
            assert found is not None
            assert found[0].trace is not None


@trio_test(mock_clock=True)
async def test_a_request_that_fails_has_an_id_in_its_answer_and_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of 447700900123")

    async with running(tmp_path, ONE) as house:
        monkeypatch.setattr(Door, "submit", broken)
        lines: list[str] = []
        logs.configure(json=True, write=lines.append)
        message = {"to": "447700900123", "from": NUMBER, "text": "Hello"}
        status, headers, body = await post(house, "/v1/messages", message, **{"X-Request-Id": "mine-7"})
        assert (status, headers["x-request-id"]) == (500, "mine-7")
        assert "request_id mine-7" in json.loads(body)["detail"]
        assert "447700900123" not in "".join(lines)
