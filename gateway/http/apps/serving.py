"""Where the APIs of other gateways are served: beside ours on `[http] listen`, or on addresses of their own.

Deliberately not here: the APIs themselves, who may use them (who.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import trio

from config.model import AppsConfig, HttpConfig
from gateway.certificates import Certificates
from gateway.http.routes import Routes
from gateway.http.secured import SecureListener
from gateway.http.server import HttpServer
from gateway.http.settings import settings_of
from gateway.world import World, listen_on


class Api(Protocol):
    """One of another gateway's APIs."""

    def add_to(self, routes: Routes) -> None: ...


class Both:
    """Two that belong together under one name."""

    def __init__(self, *apis: Api) -> None:
        self._apis = apis

    def add_to(self, routes: Routes) -> None:
        for api in self._apis:
            api.add_to(routes)


class AppServers:
    """The servers of `[[http.apps]]`. `run` serves until `stop`, as an HttpServer does.

    `certificates` are those of `[http]`, loaded before `run` where one of them speaks TLS.
    """

    def __init__(
        self, config: HttpConfig, world: World, apis: dict[str, Api], certificates: Certificates
    ) -> None:
        self._world = world
        self._certificates = certificates
        self._apis = apis
        self._servers = [(one, self._server(one, config)) for one in config.apps]

    def add_to(self, routes: Routes, names: Iterable[str]) -> None:
        """Put those of these names into a table."""
        for name in names:
            self._apis[name].add_to(routes)

    async def run(self, nursery: trio.Nursery) -> None:
        """Start all of them. Errors: OSError from an address that cannot be had."""
        for one, server in self._servers:
            listeners: list[trio.abc.Listener[trio.abc.Stream]] = []
            for address in one.listen:
                listeners += await listen_on(self._world, address.host, address.port, "[[http.apps]] listen")
            for address in one.listen_tls:
                plain = await listen_on(self._world, address.host, address.port, "[[http.apps]] listen_tls")
                listeners += (SecureListener(each, self._certificates) for each in plain)
            await nursery.start(server.serve, listeners)

    def stop(self) -> None:
        """Stop politely, all of them."""
        for _, server in self._servers:
            server.stop()

    def _server(self, one: AppsConfig, config: HttpConfig) -> HttpServer:
        routes = Routes()
        self.add_to(routes, one.apis)
        return HttpServer(routes, settings_of(config), self._world.wall_ms)
