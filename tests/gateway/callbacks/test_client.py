"""The HTTP client against a peer that answers in every way, in memory; TLS and our own ports over sockets."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.callbacks.client import (
    Connection,
    NotDelivered,
    Reply,
    Stale,
    open_connection,
    retry_after_s,
    tls_context,
)
from gateway.callbacks.guard import Guard, Refused, parse_url
from gateway.world import RealWorld
from tests.trio_case import trio_test

REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
NO_BODY = b"Content-Length: 0\r\n\r\n"


async def ask(chunks: Sequence[bytes], close: bool = False, limit: int = 65536) -> tuple[Reply | str, bool]:
    """What the client makes of an answer in these pieces, and whether it keeps the connection."""
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(ours, limit)

    async def peer() -> None:
        await theirs.receive_some(65536)
        for chunk in chunks:
            try:
                await theirs.send_all(chunk)
            except trio.BrokenResourceError:
                return
            await trio.testing.wait_all_tasks_blocked()
        if close:
            await theirs.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer)
        reply: Reply | str
        try:
            with trio.fail_after(5):
                reply = await connection.post(REQUEST)
        except NotDelivered as exc:
            reply = f"stale: {exc}" if isinstance(exc, Stale) else str(exc)
        nursery.cancel_scope.cancel()
    return reply, connection.alive


ANSWERS = [
    (b"HTTP/1.1 200 OK\r\n" + NO_BODY, False, Reply(200), True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", False, Reply(204), True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", False, Reply(200), True),
    (
        b"HTTP/1.1 202 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
        False,
        Reply(202),
        True,
    ),
    (b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + NO_BODY, False, Reply(200), False),
    (b"HTTP/1.0 200 OK\r\n" + NO_BODY, False, Reply(200), False),
    (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", True, Reply(200), False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut", True, Reply(200), False),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 X\r\n" + NO_BODY, False, Reply(201), True),
    (
        b"HTTP/1.1 103 Early\r\nRetry-After: 1\r\n\r\nHTTP/1.1 503 X\r\nretry-AFTER: 7\r\n" + NO_BODY,
        False,
        Reply(503, "7"),
        True,
    ),
    (b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1/\r\n" + NO_BODY, False, Reply(302), True),
    (b"HTTP/1.1 429 X\r\nRetry-After: 120\r\n" + NO_BODY, False, Reply(429, "120"), True),
]


@pytest.mark.parametrize(("answer", "close", "reply", "kept"), ANSWERS)
@pytest.mark.parametrize("size", [1, 7, 100_000])
@trio_test
async def test_an_answer_is_understood_in_any_pieces(
    answer: bytes, close: bool, reply: Reply, kept: bool, size: int
) -> None:
    chunks = [answer[at : at + size] for at in range(0, len(answer), size)]
    assert await ask(chunks, close) == (reply, kept)


@trio_test
async def test_more_than_one_answer_ends_the_connection_but_the_first_counts() -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + NO_BODY
    assert await ask([answer + answer.replace(b"200", b"500")]) == (Reply(200), False)
    assert await ask([answer + b"garbage"]) == (Reply(200), False)


@pytest.mark.parametrize(
    ("answer", "close", "why"),
    [
        (b"", True, "without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: ", True, "without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "not HTTP"),
        (b"\x00" * 16, False, "not HTTP"),
        (
            b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
            False,
            "another protocol",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n", True, "without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, False, "head has more than"),
    ],
)
@trio_test
async def test_what_is_no_answer_is_not_delivered(answer: bytes, close: bool, why: str) -> None:
    reason, kept = await ask([answer], close)
    assert why in str(reason)
    assert "stale" not in str(reason)
    assert not kept


@trio_test
async def test_an_endless_body_is_cut_at_the_limit() -> None:
    chunks = [b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", *([b"x" * 1000] * 100)]
    assert await ask(chunks, limit=10_000) == (Reply(200), False)


@trio_test
async def test_a_kept_connection_that_was_closed_is_stale_and_a_fresh_one_is_not() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.post, REQUEST)
        await theirs.receive_some(65536)
        await theirs.send_all(b"HTTP/1.1 200 OK\r\n" + NO_BODY)
    assert connection.alive
    await theirs.aclose()
    with pytest.raises(Stale):
        await connection.post(REQUEST)
    assert not connection.alive


@trio_test(mock_clock=True)
async def test_a_connection_cancelled_in_the_middle_is_not_used_again() -> None:
    ours, _theirs = trio.testing.memory_stream_pair()
    connection = Connection(ours)
    with trio.move_on_after(3) as scope:
        await connection.post(REQUEST)
    assert scope.cancelled_caught
    assert not connection.alive


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", 0),
        ("120", 120),
        (" 5 ", 5),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("9" * 30, 1e9),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
        ("Thu, 99 Jan 1970 00:00:01 GMT", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float) -> None:
    assert retry_after_s(value, 1000) == seconds


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) for localhost, signed by itself, made now so that no key is in the repository."""
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-out", str(made[0]), "-keyout", str(made[1])]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not installed")
    return made


class Local(RealWorld):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]


async def serve_one(listener: trio.SocketListener, context: ssl.SSLContext) -> None:
    stream: trio.abc.Stream = trio.SSLStream(await listener.accept(), context, server_side=True)
    try:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n" + NO_BODY)
    except trio.BrokenResourceError:
        pass
    await trio.aclose_forcefully(stream)


async def post_tls(
    url_host: str, certificate: tuple[Path, Path], ca: str, newest: ssl.TLSVersion | None = None
) -> Reply | str:
    """What a POST to `url_host` on a TLS server of ours gives, or why nothing."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    if newest is not None:
        server.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        server.maximum_version = newest
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_one, listener, server)
        reply: Reply | str
        try:
            with trio.fail_after(10):
                target = parse_url(f"https://{url_host}:{port}/")
                connection = await open_connection(Local(), Guard(), target, True, tls_context(ca))
                reply = await connection.post(REQUEST)
                await connection.aclose()
        except NotDelivered as exc:
            reply = str(exc)
        nursery.cancel_scope.cancel()
    await listener.aclose()
    return reply


@trio_test
async def test_tls_checks_the_name_of_the_url_not_the_address(certificate: tuple[Path, Path]) -> None:
    assert await post_tls("localhost", certificate, str(certificate[0])) == Reply(200)


@pytest.mark.parametrize(("host", "trusted"), [("other.example", True), ("localhost", False)])
@trio_test
async def test_a_certificate_of_another_name_or_signer_is_refused(
    certificate: tuple[Path, Path], host: str, trusted: bool
) -> None:
    why = await post_tls(host, certificate, str(certificate[0]) if trusted else "")
    assert "certificate is not accepted" in str(why)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@trio_test
async def test_tls_1_1_is_refused(certificate: tuple[Path, Path]) -> None:
    why = await post_tls("localhost", certificate, str(certificate[0]), ssl.TLSVersion.TLSv1_1)
    assert "cannot connect" in str(why)


@trio_test
async def test_a_listener_of_ours_on_all_addresses_is_refused_by_whatever_address() -> None:
    [listener, *_] = await trio.open_tcp_listeners(0, host="0.0.0.0")
    port = listener.socket.getsockname()[1]
    guard = Guard()
    guard.own_listeners([("192.0.2.1", port)])
    with pytest.raises(Refused, match="own listeners"):
        await open_connection(Local(), guard, parse_url(f"http://localhost:{port}/"), True, None)
    await listener.aclose()


@trio_test
async def test_nobody_listening_is_said_in_words() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(NotDelivered, match="Connection refused"):
        await open_connection(Local(), Guard(), parse_url(f"http://localhost:{port}/"), True, None)
