"""HTTP inside TLS, on real sockets: requests, renewed certificates, peers that are no TLS clients."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trustme

from config.model import HttpConfig
from gateway.certificates import Certificates
from gateway.http.routes import Routes
from gateway.http.secured import SecureListener, for_http
from gateway.http.server import HttpServer
from gateway.http.settings import HttpSettings
from tests.gateway.http.wire import WALL_MS, Client, echo, request
from tests.gateway.smpp_server.listening import NAME, Files
from tests.trio_case import trio_test


class House:
    def __init__(self, files: Files, *, mutual: bool = False, **limits: float) -> None:
        self.files = files
        self.certificates = Certificates(
            HttpConfig(**files.settings(mutual=mutual)),  # type: ignore[arg-type]
            "[http]",
            for_http,
        )
        self.certificates.load()
        routes = Routes()
        routes.add("POST", "/echo", echo)
        self.server = HttpServer(routes, HttpSettings(**limits), lambda: WALL_MS)  # type: ignore[arg-type]
        self.port = 0
        self.opened: list[trio.SocketStream] = []

    async def plain(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.opened.append(stream)
        return stream

    async def client(self, context: ssl.SSLContext | None = None) -> Client:
        """One connection, its handshake done."""
        stream = trio.SSLStream(
            await self.plain(), context or self.files.client(), server_hostname=NAME, https_compatible=True
        )
        await stream.do_handshake()
        return Client(stream)


@asynccontextmanager
async def house(directory: Path, *, mutual: bool = False, **limits: float) -> AsyncIterator[House]:
    at = House(Files(directory), mutual=mutual, **limits)
    (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    at.port = plain.socket.getsockname()[1]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(at.server.serve, [SecureListener(plain, at.certificates)])
            yield at
            for stream in at.opened:
                await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


@trio_test
async def test_requests_are_answered_inside_tls_large_ones_too(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        client = await at.client()
        for body in (b"one", b"x" * 900_000, b"two"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, request("/echo", body))
                assert (await client.answer()).body == body
        assert at.server.counts.connections == 1


@trio_test
async def test_answers_ask_for_tls_alone_from_now_on(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        client = await at.client()
        for _ in range(2):
            answer = await client.ask(request("/echo", b"x"))
            assert answer.headers["strict-transport-security"] == "max-age=31536000"


@trio_test
async def test_the_last_answer_arrives_whole_and_the_end_is_said(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        client = await at.client()
        await client.send(request("/echo", b"x" * 200_000, headers=("Connection: close",)))
        assert len((await client.answer()).body) == 200_000
        assert await client.closed()  # a close_notify: without it this raises


@trio_test
async def test_http_1_1_is_what_alpn_agrees_on(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        context = at.files.client()
        context.set_alpn_protocols(["h2", "http/1.1"])
        stream = (await at.client(context)).stream
        assert isinstance(stream, trio.SSLStream)
        assert stream.selected_alpn_protocol() == "http/1.1"


@trio_test
async def test_a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        old = await at.client()
        renewed = at.files.renew()
        assert at.certificates.reload()
        new = await at.client()
        shown = [client.stream.getpeercert(binary_form=True) for client in (old, new)]  # type: ignore[attr-defined]
        assert (shown[0] != renewed, shown[1] == renewed) == (True, True)
        for client in (old, new):
            assert (await client.ask(request("/echo", b"still"))).body == b"still"
        at.files.certificate.write_text("no certificate")
        assert not at.certificates.reload()
        assert (await (await at.client()).ask(request("/echo", b"x"))).status == 200


@trio_test
async def test_clients_without_a_certificate_are_not_let_in_where_one_is_asked_for(tmp_path: Path) -> None:
    async with house(tmp_path, mutual=True) as at:
        own = at.files.authority.issue_cert("client.example")
        client = await at.client(at.files.client(own))
        assert (await client.ask(request("/echo", b"x"))).status == 200
        stranger = trustme.CA().issue_cert("client.example")
        for context in (at.files.client(), at.files.client(stranger)):
            try:
                client = await at.client(context)
                await client.send(request("/echo", b"x"))
                assert not await client.stream.receive_some(100)
            except trio.BrokenResourceError:
                pass
        assert at.server.counts.endpoints["/echo"].by_status == {200: 1}


@trio_test
async def test_who_speaks_no_tls_or_nothing_is_cut_and_others_are_served(tmp_path: Path) -> None:
    async with house(tmp_path, head_timeout_s=0.2) as at:
        for said in (request("/echo", b"x"), b"\x16\x03\x01", b""):
            stream = await at.plain()
            if said:
                await stream.send_all(said)
            left = b"".join([part async for part in stream])
            assert b"HTTP/1.1 200" not in left
        assert (await (await at.client()).ask(request("/echo", b"x"))).status == 200
