"""Requests that other servers and proxies have read in two ways: here they are refused, or read in one.

A request that is refused ends the connection, so that nothing behind it is taken for a request of its own.
"""

from __future__ import annotations

import gzip
import re
import time
import zlib

import pytest
import trio
import trio.testing

from gateway.http.packed import unpacked
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.settings import HttpSettings
from tests.gateway.http.wire import JSON, request, serving
from tests.trio_case import trio_test

LIMITS = HttpSettings(max_head_bytes=4_000, max_target_bytes=1_000, max_headers=20, max_body_bytes=10_000)
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: g\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: g\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def talked(data: bytes, piece: int = 0) -> tuple[list[int], list[bytes], list[str]]:
    """The statuses of all answers until the server closed (or fell silent), their bodies, what was asked."""
    asked: list[str] = []

    def told(request: Request, respond: Respond) -> None:
        asked.append(request.path)
        respond(200, JSON, request.body)

    routes = Routes()
    for path in ("/echo", "/smuggled"):
        for method in ("GET", "POST"):
            routes.add(method, path, told)
    async with serving(routes, LIMITS) as house:
        client = house.client()
        try:
            for start in range(0, len(data), piece or len(data)):
                await client.send(data[start : start + (piece or len(data))])
                await trio.testing.wait_all_tasks_blocked()
            assert isinstance(client.stream, trio.abc.HalfCloseableStream)
            await client.stream.send_eof()
        except trio.BrokenResourceError:
            pass
        said = b""
        while True:
            try:
                more = await client.stream.receive_some(65_536)
            except trio.BrokenResourceError:
                break
            if not more:
                break
            said += more
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]
    bodies = re.split(rb"HTTP/1\.1 \d{3} [^\r]*\r\n.*?\r\n\r\n", said, flags=re.S)[1:]
    return statuses, bodies, asked


REFUSED = {
    "both a length and chunks": (
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks and then a length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 0\r\nContent-Length: 35\r\n\r\n", 400),
    "the same length twice": (POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
    "a list of lengths": (POST + b"Content-Length: 0, 35\r\n\r\n", 400),
    "a length with a sign": (POST + b"Content-Length: +0\r\n\r\n", 400),
    "a length below nothing": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a length in hexadecimal": (POST + b"Content-Length: 0x0\r\n\r\n", 400),
    "a length with an underscore": (POST + b"Content-Length: 0_0\r\n\r\n", 400),
    "a length that is empty": (POST + b"Content-Length:\r\n\r\n", 400),
    "a length beyond all": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "a body that is too large": (POST + b"Content-Length: 10001\r\n\r\n", 413),
    "a blank before the colon": (POST + b"Content-Length : 0\r\n\r\n", 400),
    "a folded line": (POST + b"Content-Length: 0\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
    "a folded value": (POST + b"X: a\r\n\tb\r\nContent-Length: 0\r\n\r\n", 400),
    "a line without a colon": (POST + b"Nothing\r\n\r\n", 400),
    "a field without a name": (POST + b": x\r\n\r\n", 400),
    "a bare LF after a field": (POST + b"X: y\nContent-Length: 0\r\n\r\n", 400),
    "a bare CR in a field": (POST + b"X: y\rContent-Length: 0\r\n\r\n", 400),
    "a bare LF after the request line": (b"POST /echo HTTP/1.1\nHost: g\r\n\r\n", 400),
    "a NUL in a field": (POST + b"X: a\0b\r\n\r\n", 400),
    "a NUL in a name": (POST + b"X\0: a\r\n\r\n", 400),
    "a NUL in the target": (b"GET /echo\0 HTTP/1.1\r\nHost: g\r\n\r\n", 400),
    "a blank in the target": (b"GET /ec ho HTTP/1.1\r\nHost: g\r\n\r\n", 400),
    "two hosts": (POST + b"Host: h\r\n\r\n", 400),
    "no host": (b"GET /echo HTTP/1.1\r\n\r\n", 400),
    "another coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "a coding that is not quite chunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunks to HTTP/1.0": (
        b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a version to come": (b"GET /echo HTTP/1.2\r\nHost: g\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), 400),
    "a method of its own": (b"GE\x01 /echo HTTP/1.1\r\nHost: g\r\n\r\n", 400),
    "a long target": (b"GET /" + b"x" * 1_001 + b" HTTP/1.1\r\nHost: g\r\n\r\n", 414),
    "a long field": (POST + b"X: " + b"y" * 4_001 + b"\r\n\r\n", 431),
    "many fields": (POST + b"".join(b"X%d: y\r\n" % one for one in range(30)) + b"\r\n", 431),
    "an expectation of its own": (POST + b"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n", 417),
    "a coding of the content": (POST + b"Content-Encoding: br\r\nContent-Length: 0\r\n\r\n", 415),
    "two codings of the content": (POST + b"Content-Encoding: gzip, gzip\r\nContent-Length: 0\r\n\r\n", 415),
    "a chunk size that is none": (CHUNKED + b"g\r\n\r\n0\r\n\r\n", 400),
    "a chunk size with a sign": (CHUNKED + b"+1\r\nx\r\n0\r\n\r\n", 400),
    "a chunk size in C": (CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n", 400),
    "a chunk size with blanks before": (CHUNKED + b" 1\r\nx\r\n0\r\n\r\n", 400),
    "a chunk size beyond all": (CHUNKED + b"ffffffffffffffff0\r\n", 400),
    "chunks that are too large": (CHUNKED + b"2711\r\n", 413),
    "chunks that become too large": (CHUNKED + b"2700\r\n" + b"x" * 0x2700 + b"\r\n100\r\n", 413),
    "a chunk line with a bare LF": (CHUNKED + b"1\nx\r\n0\r\n\r\n", 400),
    "a chunk longer than it says": (CHUNKED + b"1\r\nxy\r\n0\r\n\r\n", 400),
    "a chunk without its end": (CHUNKED + b"1\r\nx0\r\n\r\n", 400),
    "an extension with a bare CR": (CHUNKED + b"1;a\rb\r\nx\r\n0\r\n\r\n", 400),
    "a NUL in an extension": (CHUNKED + b"1;a\0\r\nx\r\n0\r\n\r\n", 400),
    "a huge extension": (CHUNKED + b"1;" + b"x" * 5_000 + b"\r\nx\r\n0\r\n\r\n", 400),
    "many extensions": (CHUNKED + (b"1;" + b"y" * 3_000 + b"\r\nx\r\n") * 10 + b"0\r\n\r\n", 400),
    "huge trailers": (CHUNKED + b"0\r\n" + b"T: x\r\n" * 3_000 + b"\r\n", 431),
    "an end too early": (POST + b"Content-Length: 9\r\n\r\nshort", 400),
}


@pytest.mark.parametrize("piece", [0, 1], ids=["whole", "octet by octet"])
@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(
    data: bytes, status: int, piece: int
) -> None:
    async def run() -> None:
        behind = b"" if "short" in str(data) else SMUGGLED
        statuses, _, asked = await talked(data + behind, piece)
        assert statuses[-1:] == [status], statuses
        assert len(statuses) == 1
        assert "/smuggled" not in asked

    trio.run(run)


READ = {
    "absolute-form": (b"GET http://other.example/echo?x=1 HTTP/1.1\r\nHost: g\r\n\r\n", b""),
    "absolute-form without a path": (b"GET http://g HTTP/1.1\r\nHost: g\r\n\r\n", None),
    "extensions and trailers": (
        CHUNKED + b'2;a=b;c="d e"\r\nhe\r\n0003 ;x\r\nllo\r\n000\r\nTrailer: t\r\n\r\n',
        b"hello",
    ),
    "a coding in capitals": (POST + b"transfer-encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", b"x"),
    "empty lines before": (b"\r\n\r\n" + POST + b"Content-Length: 1\r\n\r\nx", b"x"),
    "blanks around a value": (POST + b"X:  \ty \t\r\nContent-Length: 1\r\n\r\nx", b"x"),
    "octets beyond ASCII in a value": (POST + b"X: \xff\xfe\r\nContent-Length: 1\r\n\r\nx", b"x"),
}


@pytest.mark.parametrize("piece", [0, 1], ids=["whole", "octet by octet"])
@pytest.mark.parametrize(("data", "body"), READ.values(), ids=READ)
def test_what_is_only_unusual_is_read_and_the_next_request_after_it(
    data: bytes, body: bytes | None, piece: int
) -> None:
    async def run() -> None:
        statuses, bodies, asked = await talked(data + SMUGGLED, piece)
        assert statuses == [200 if body is not None else 404, 200]
        assert asked[-1] == "/smuggled"
        if body is not None:
            assert bodies[0] == body

    trio.run(run)


@trio_test
async def test_http_1_0_closes_unless_it_is_asked_not_to() -> None:
    asks = b"GET /echo HTTP/1.0\r\n\r\n"
    assert (await talked(asks + SMUGGLED))[0] == [200]
    kept = b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert (await talked(kept + SMUGGLED))[0] == [200, 200]


@trio_test
async def test_100_continue_is_said_once_to_who_waits_for_it_and_not_to_http_1_0() -> None:
    head = POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    assert (await talked(head + b"x"))[0] == [100, 200]
    assert (await talked(head.replace(b"Length: 1", b"Length: 0")))[0] == [200]
    assert (await talked(head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"x"))[0] == [200]


# gzip


def packed(body: bytes, *more: str, target: str = "/echo") -> bytes:
    return request(target, body, headers=("Content-Encoding: gzip", *more))


def test_many_empty_members_cost_no_more_than_their_bytes() -> None:
    body = gzip.compress(b"") * 200_000
    began = time.process_time()
    assert unpacked(body, 1_000) == b""
    assert time.process_time() - began < 10  # each copied all that followed


@pytest.mark.parametrize("piece", [0, 1])
def test_a_gzip_body_is_what_was_packed(piece: int) -> None:
    async def run() -> None:
        one, two = gzip.compress(b"Hello "), gzip.compress(b"there")
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(one), one)
        chunked = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: x-gzip\r\n\r\n") + chunks
        for data, body in (
            (packed(one), b"Hello "),
            (packed(one + two), b"Hello there"),
            (chunked, b"Hello "),
        ):
            statuses, bodies, asked = await talked(data + SMUGGLED, piece)
            assert (statuses, bodies[0], asked[-1]) == ([200, 200], body, "/smuggled")

    trio.run(run)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(b"x" * 10_001), 413),
        (gzip.compress(gzip.compress(bytes(5_000_000))), 200),  # only the outer one is ours to undo
        (gzip.compress(bytes(9_000)) * 2, 413),
        (gzip.compress(b"hello")[:-4], 400),
        (gzip.compress(b"hello") + b"more", 400),
        (gzip.compress(b"hello")[:-8] + bytes(8), 400),
        (zlib.compress(b"hello"), 400),
        (b"hello", 400),
        (b"\x1f\x8b", 400),
    ],
)
def test_a_gzip_body_that_is_too_large_or_none_is_refused_in_little_memory(body: bytes, status: int) -> None:
    async def run() -> None:
        statuses, _, asked = await talked(packed(body) + SMUGGLED)
        assert statuses[0] == status
        assert len(asked) <= 2

    trio.run(run)


@trio_test
async def test_an_empty_body_needs_no_gzip() -> None:
    head = POST + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    assert (await talked(head))[0] == [200]
