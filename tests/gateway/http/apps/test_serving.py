"""Addresses of their own for other gateways' APIs, plain and with TLS: nothing else is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from config.model import Address, AppsConfig, HttpConfig
from gateway.certificates import Certificates
from gateway.http.apps.serving import AppServers
from gateway.http.routes import Respond, Routes
from gateway.http.secured import for_http
from gateway.world import RealWorld
from tests.gateway.house import free_ports
from tests.gateway.http.wire import Client, request
from tests.gateway.smpp_server.listening import NAME, Files
from tests.trio_case import trio_test


class Ping:
    def add_to(self, routes: Routes) -> None:
        def answer(asked: Any, respond: Respond) -> None:
            respond(200, (), b"pong")

        routes.add("GET", "/ping", answer)


@trio_test
async def test_apps_have_addresses_of_their_own_with_and_without_tls(tmp_path: Path) -> None:
    plain, secure = free_ports(2)
    files = Files(tmp_path)
    app = AppsConfig(
        listen=(Address("127.0.0.1", plain),), listen_tls=(Address("127.0.0.1", secure),), apis=("jasmin",)
    )
    config = HttpConfig(apps=(app,), **files.settings())  # type: ignore[arg-type]
    certificates = Certificates(config, "[http]", for_http)
    certificates.load()
    servers = AppServers(config, RealWorld(), {"jasmin": Ping()}, certificates)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await servers.run(nursery)
            stream = trio.SSLStream(
                await trio.open_tcp_stream("127.0.0.1", secure),
                files.client(),
                server_hostname=NAME,
                https_compatible=True,
            )
            for client in (Client(await trio.open_tcp_stream("127.0.0.1", plain)), Client(stream)):
                await client.send(request("/ping"))
                assert (await client.answer()).body == b"pong"
                await client.send(request("/v1/messages"))
                assert (await client.answer()).status == 404
                await client.stream.aclose()
            servers.stop()
            nursery.cancel_scope.cancel()
