"""Whatever bytes arrive, in whatever pieces: the same answers, no escape, nothing kept without a bound."""

from __future__ import annotations

import contextlib
import re

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import HttpConfig
from gateway.http.chunked import Chunked
from gateway.http.head import HeadReader
from gateway.http.problems import BadRequest
from gateway.http.routes import Routes
from gateway.http.settings import HttpSettings, settings_of
from tests.gateway.http.wire import echo, request, serving

PIPELINE = (
    request("/echo", b"one")
    + request("/nowhere?x=1")
    + request(
        "/echo",
        b"4\r\nwiki\r\n5;x\r\npedia\r\n0\r\n\r\n",
        headers=("Transfer-Encoding: chunked",),
        length=False,
    )
    + request("/echo", b"", method="PUT")
    + b"POST /echo HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nend"
)
SMALL = HttpSettings(max_head_bytes=1000, max_target_bytes=300, max_body_bytes=500, max_pipelined=4)


def everything_said(pieces: list[bytes]) -> bytes:
    """All that the server says to these pieces, to their end and its own."""
    said = bytearray()

    async def talk() -> None:
        routes = Routes()
        routes.add("POST", "/echo", echo)
        async with serving(routes, SMALL) as house, trio.open_nursery() as nursery:
            stream = house.listener.connect()

            async def say() -> None:
                try:
                    for piece in pieces:
                        await stream.send_all(piece)
                    await stream.send_eof()
                except trio.BrokenResourceError:
                    return

            nursery.start_soon(say)
            try:
                while data := await stream.receive_some(65_536):
                    said.extend(data)
            except trio.BrokenResourceError:
                pass
            neighbour = house.client()
            assert (await neighbour.ask(request("/nowhere"))).status == 404
            await stream.aclose()

    trio.run(talk, clock=trio.testing.MockClock(autojump_threshold=0))
    return bytes(said)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]


WHOLE = everything_said([PIPELINE])


def test_heads_met_before_are_understood_as_at_first() -> None:
    assert everything_said([PIPELINE, PIPELINE, PIPELINE]).count(b"wikipedia") == 3


def test_the_pipeline_is_understood_whole() -> None:
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", WHOLE)]
    assert statuses == [200, 404, 200, 405, 100, 200]
    assert WHOLE.endswith(b"end")
    assert b"wikipedia" in WHOLE


@settings(max_examples=100)
@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_fm18_any_split_of_a_pipeline_gives_the_same_answers(places: list[int]) -> None:
    assert everything_said(cut(PIPELINE, places)) == WHOLE


@settings(max_examples=500)
@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4
    ),
    st.lists(st.integers(0, 10_000), max_size=5),
)
def test_damaged_requests_end_in_answers_and_never_in_silence_or_a_traceback(
    damage: list[tuple[int, bytes, int]], places: list[int]
) -> None:
    data = PIPELINE
    for where, what, dropped in damage:
        where %= len(data)
        data = data[:where] + what + data[where + dropped :]
    said = everything_said(cut(data, places))
    assert said.startswith(b"HTTP/1.1 ")
    assert b"Traceback" not in said
    assert b"HTTP/1.1 500" not in said


@settings(max_examples=100)
@given(st.binary(min_size=1, max_size=300))
def test_fm19_any_garbage_ends_the_connection(data: bytes) -> None:
    said = everything_said([data])
    assert said == b"" or said.startswith(b"HTTP/1.1 ")


def test_any_split_of_a_chunked_body_gives_the_same_body() -> None:
    coded = b"4\r\nwiki\r\n5;x=y\r\npedia\r\n000\r\nTrailer: t\r\n\r\nNEXT"
    for size in range(1, len(coded) + 1):
        decoder = Chunked(100)
        for start in range(0, len(coded), size):
            piece = coded[start : start + size]
            end = decoder.feed(piece)
            if end >= 0:
                assert coded[start + end :] == b"NEXT"
                break
        assert decoder.body == b"wikipedia"


def test_remembered_heads_are_bounded_and_refused_ones_forgotten() -> None:
    reader = HeadReader(HttpSettings(), Routes())
    for number in range(5000):
        reader.read(request(f"/{number}"))
    assert len(reader.known) <= 1024
    reader.known.clear()
    for raw in (request("/x", headers=("X: " + "y" * 4000,)), b"POST / HTTP/1.1\r\n\r\n"):
        with contextlib.suppress(BadRequest):
            reader.read(raw)
    assert not reader.known


def test_the_configured_limits_are_the_servers() -> None:
    limits = settings_of(HttpConfig(max_connections=5, head_timeout_s=2.5))
    assert (limits.max_connections, limits.head_timeout_s) == (5, 2.5)
    assert settings_of(HttpConfig()) == HttpSettings()
