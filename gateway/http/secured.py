"""TLS before HTTP: streams of a listener inside TLS 1.2 or later, by the certificate that is in use just now.

The handshake is made by the connection's first read, so it has the time of a head, and a peer that never
shakes hands holds up nobody. HTTP/1.1 is what ALPN agrees on.

Deliberately not here: certificates and reading them again (gateway.certificates), accepting (server.py).
"""

from __future__ import annotations

import ssl

import trio

from gateway.certificates import Certificates

_TICKETS = 2  # OpenSSL's own default: clients that come again need no full handshake


def for_http(context: ssl.SSLContext) -> None:
    """What HTTP wants of a listener's context."""
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = _TICKETS


class SecureListener(trio.abc.Listener[trio.abc.Stream]):
    """`plain`'s streams, each in a TLS of its own."""

    def __init__(self, plain: trio.abc.Listener[trio.abc.Stream], certificates: Certificates) -> None:
        self._plain = plain
        self._certificates = certificates

    async def accept(self) -> trio.abc.Stream:
        """The next one, its handshake still to be made. Errors: those of `plain`."""
        stream = await self._plain.accept()
        return trio.SSLStream(stream, self._certificates.context, server_side=True, https_compatible=True)

    async def aclose(self) -> None:
        await self._plain.aclose()
