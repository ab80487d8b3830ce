"""A small HTTP/1.1 client for callbacks: one POST at a time on one kept-alive connection.

Every read and write has the caller's cancel scope around it (the deadline), an answer is limited in bytes,
redirects are not followed, and the body of the answer is read and thrown away unless it is asked for.
httptools parses; httpx cost 2.6 ms a POST where this costs some 30 us (docs of the benchmark), which is why
it exists.

Endings are values: `post` returns a `Reply` or raises `NotDelivered`; nothing else escapes. A kept-alive
connection that the peer had already closed raises `Stale`: nothing was answered, so the caller may try
again at once on a fresh one.

Deliberately not here: retries, signatures, which addresses are allowed (guard), cookies, proxies, pipelining.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Protocol

import httptools
import trio

from gateway.callbacks.guard import Guard, Refused, Resolver, Target

_READ_BYTES = 16 * 1024


class NotDelivered(Exception):
    """No usable answer. The text is for the account's owner."""


class Stale(NotDelivered):
    """A kept-alive connection was closed before any byte of an answer."""


class Tls(Protocol):
    """As gateway.world.Tls."""

    @property
    def context(self) -> ssl.SSLContext: ...
    @property
    def server_name(self) -> str: ...


class Dialer(Resolver, Protocol):
    """The part of `gateway.world.World` that makes connections."""

    async def connect(
        self,
        host: str,
        port: int,
        *,
        local_address: str = "",
        tls: Tls | None = None,
        user_timeout_s: float = 0,
    ) -> trio.abc.Stream: ...


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Check the certificate against the URL's own host, whatever address is connected to."""

    context: ssl.SSLContext
    server_name: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint answered. `retry_after` is the header as sent, "" without one.

    `body` is there where the connection was opened `with_body`, as far as it came.
    """

    status: int
    retry_after: str = ""
    body: bytes = b""


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """TLS 1.2 or newer, certificate and name checked. Errors: OSError, ssl.SSLError for a bad `ca_file`."""
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def retry_after_s(value: str, now_s: float) -> float:
    """`Retry-After` as seconds from `now_s`: a number or an HTTP date (RFC 9110 §10.2.3); 0 unreadable."""
    value = value.strip()
    if not value:
        return 0
    if value.isascii() and value.isdigit():
        return float(value) if len(value) < 10 else 1e9
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0


class _Answer:
    """httptools' callbacks for one final answer; interim ones (100, 102, 103) are skipped."""

    __slots__ = ("complete", "extra", "keep_alive", "parser", "retry_after", "status")

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.reset()

    def reset(self) -> None:
        self.status = 0  # set once the head of the final answer is whole
        self.retry_after = b""
        self.complete = False
        self.keep_alive = False
        self.extra = False

    def on_message_begin(self) -> None:
        if self.complete:
            self.extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 11 and name.lower() == b"retry-after" and not self.complete:
            self.retry_after = value

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200 and not self.complete:
            self.status = status

    def on_message_complete(self) -> None:
        if self.status and not self.complete:
            self.complete = True
            # Asked here because llhttp has forgotten it once the call of feed_data is over.
            self.keep_alive = self.parser.should_keep_alive()


class _AnswerWithBody(_Answer):
    """The same, and what it says."""

    __slots__ = ("body",)

    def reset(self) -> None:
        super().reset()
        self.body = b""

    def on_body(self, body: bytes) -> None:
        if self.status and not self.complete:
            self.body += body


class Connection:
    """One connection to one origin. One `post` at a time; closed after any error."""

    __slots__ = ("_answer", "_stream", "alive", "max_answer_bytes", "posts")

    def __init__(
        self, stream: trio.abc.Stream, max_answer_bytes: int = 64 * 1024, with_body: bool = False
    ) -> None:
        self._stream = stream
        self._answer = _AnswerWithBody() if with_body else _Answer()
        self.max_answer_bytes = max_answer_bytes
        self.alive = True
        self.posts = 0

    async def post(self, request: bytes) -> Reply:
        """Send one complete request and read its answer. Errors: NotDelivered, Stale. Deadline: the caller's.

        Cancelled in the middle, the connection must not be used again: `alive` is False then.
        """
        self.alive = False
        fresh = self.posts == 0
        self.posts += 1
        self._answer.reset()
        try:
            await self._stream.send_all(request)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError) as exc:
            # A peer may answer (413, 408) and close without reading: look for that answer first.
            if not fresh:
                raise Stale("the endpoint had closed the connection") from exc
        return await self._read(fresh)

    async def _read(self, fresh: bool) -> Reply:
        answer = self._answer
        received = 0
        while True:
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError) as exc:
                if received == 0 and not fresh:
                    raise Stale("the endpoint had closed the connection") from exc
                if answer.status:
                    return self._reply()
                raise NotDelivered("the connection broke before an answer") from exc
            if not data:
                return self._ended(received, fresh)
            received += len(data)
            self._feed(bytes(data))
            if answer.complete:
                self.alive = answer.keep_alive and not answer.extra
                return self._reply()
            if received > self.max_answer_bytes:
                if answer.status:
                    return self._reply()
                raise NotDelivered(f"the answer's head has more than {self.max_answer_bytes} bytes")

    def _feed(self, data: bytes) -> None:
        try:
            self._answer.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise NotDelivered("the endpoint wants another protocol") from None
        except httptools.HttpParserError:
            if not self._answer.complete:
                raise NotDelivered("the answer is not HTTP/1.1") from None
            self._answer.extra = True

    def _ended(self, received: int, fresh: bool) -> Reply:
        if received == 0 and not fresh:
            raise Stale("the endpoint had closed the connection")
        if not self._answer.status:
            raise NotDelivered("the endpoint closed the connection without an answer")
        return self._reply()

    def _reply(self) -> Reply:
        retry_after = self._answer.retry_after
        body = self._answer.body if isinstance(self._answer, _AnswerWithBody) else b""
        return Reply(self._answer.status, retry_after.decode("latin-1") if retry_after else "", body)

    async def aclose(self) -> None:
        """Close without ceremony: everything that matters was answered."""
        self.alive = False
        await trio.aclose_forcefully(self._stream)


async def open_connection(
    world: Dialer,
    guard: Guard,
    target: Target,
    allow_private: bool,
    context: ssl.SSLContext | None,
    max_answer_bytes: int = 64 * 1024,
    with_body: bool = False,
) -> Connection:
    """Resolve, check, connect to a checked address. Errors: Refused (guard), NotDelivered.

    Addresses are tried in order; the caller's deadline is over all of them.
    """
    try:
        addresses = await guard.addresses(world, target, allow_private)
    except (OSError, UnicodeError) as exc:
        raise NotDelivered("the host name cannot be resolved") from exc
    tls = None
    if target.scheme == "https":
        if context is None:
            raise NotDelivered("TLS is not configured")
        tls = ServerTls(context, target.host)
    failure = "no address"
    for address in addresses:
        try:
            stream = await world.connect(address, target.port, tls=tls)
        except ssl.SSLCertVerificationError as exc:
            failure = f"the certificate is not accepted: {exc.verify_message}"
            continue
        except (OSError, ssl.SSLError, trio.BrokenResourceError) as exc:
            failure = f"cannot connect: {_reason(exc)}"
            continue
        if guard.is_own_port(target.port) and _is_this_machine(stream):
            await trio.aclose_forcefully(stream)
            raise Refused("this is one of the gateway's own listeners")
        return Connection(stream, max_answer_bytes, with_body)
    raise NotDelivered(failure)


def _reason(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(error, trio.BrokenResourceError) and isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {cause.verify_message}"
    if isinstance(error, trio.BrokenResourceError) and cause is not None:
        return _reason(cause)
    if isinstance(cause, BaseExceptionGroup):
        return _reason(cause.exceptions[0])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _is_this_machine(stream: trio.abc.Stream) -> bool:
    """Do both ends have the same address? A listener on all addresses is ours whatever name led here."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if not isinstance(stream, trio.SocketStream):
        return False
    return bool(stream.socket.getsockname()[0] == stream.socket.getpeername()[0])
