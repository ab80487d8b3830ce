"""One connection between accept and SMPP: what is known of it, its PROXY header, its TLS handshake.

Invariant: no octet after the header is read here, and none before the handshake, so whoever comes next finds
all of what is his.

Deliberately not here: room, counting, closing (listener.py), what a header looks like (proxy.py).
"""

from __future__ import annotations

import socket
import ssl

import trio

from gateway.certificates import subject_of
from gateway.smpp_server.proxy import HeaderParser, ProxyError


class Refused(Exception):
    """This connection is closed; `reason` is one of listener.REASONS, the text is for the operator."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class Left(Exception):
    """The peer left by itself, before it could be served; or nothing more is to be said of it."""


class Arrival:
    """A `socket` that is parked until something comes; then a `stream`, carried by a task in `scope`.

    `header` while a proxy owes one; `network` is "" while it counts for no address; `asked` once it has asked
    for a bind.
    """

    __slots__ = (
        "accepted_at",
        "address",
        "asked",
        "deadline",
        "header",
        "network",
        "port",
        "scope",
        "socket",
        "stream",
        "tls",
        "via_proxy",
        "within_s",
    )

    def __init__(self, address: str, port: int, *, tls: bool, within_s: float) -> None:
        self.address = address
        self.port = port
        self.tls = tls
        self.within_s = within_s
        self.accepted_at = trio.current_time()
        self.deadline = self.accepted_at + within_s
        self.socket: socket.socket | None = None
        self.stream: trio.abc.Stream | None = None
        self.scope: trio.CancelScope | None = None
        self.header: HeaderParser | None = None
        self.via_proxy = ""
        self.network = ""
        self.asked = False


def too_late(arrival: Arrival) -> Refused:
    """Its deadline has passed while it was silent."""
    if arrival.header is not None:
        return Refused("proxy_header", f"no header within {arrival.within_s:g} s")
    if arrival.tls:
        return Refused("tls", f"no handshake within {arrival.within_s:g} s")
    return Refused("silent", f"it said nothing within {arrival.within_s:g} s")


def read_header(arrival: Arrival, readable: socket.socket, parser: HeaderParser) -> None:
    """Until it is complete and `arrival` has the client's address.

    Errors: BlockingIOError when more of it must come; Refused; Left; OSError when the peer has gone.
    """
    header = None
    while header is None:
        data = readable.recv(parser.wants, socket.MSG_DONTWAIT)
        if not data:
            raise Refused("proxy_header", "the header ends in its middle") if parser.begun else Left
        try:
            header = parser.receive(data)
        except ProxyError as error:
            raise Refused("proxy_header", str(error)) from None
    arrival.header = None
    if header.address:
        arrival.address, arrival.port = header.address, header.port


async def shake_hands(
    arrival: Arrival, plain: trio.abc.Stream, context: ssl.SSLContext
) -> tuple[trio.abc.Stream, str]:
    """The stream inside TLS, and the subject of the client's certificate or "". Errors: Refused, Left."""
    stream = trio.SSLStream(plain, context, server_side=True)
    try:
        with trio.fail_at(arrival.deadline):
            await stream.do_handshake()
    except trio.TooSlowError:
        raise too_late(arrival) from None
    except trio.BrokenResourceError as error:
        raise Refused("tls", _why_no_tls(error.__cause__)) from None
    except OSError:
        raise Left from None
    return stream, subject_of(stream.getpeercert())


def _why_no_tls(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate: {error.verify_message}"
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return "the client left in the middle of the handshake; perhaps it does not trust our certificate"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "BAD_RECORD_TYPE"):
        return f"{reason}: probably no TLS client at all"
    return reason
