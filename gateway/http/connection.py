"""One HTTP/1.1 connection: bytes in, handlers called, answers out in the order of the requests.

All complete requests of one read are handed to their handlers before anything is written, and all answers
that are ready leave in one send. A handler answers at once or later (after a commit); an answer that
comes later wakes the server's flusher, so that a commit's callbacks do no I/O themselves.

Invariants: at most max_pipelined requests are unanswered and at most max_unsent_bytes of answers untaken,
else reading pauses. After a refusal, `Connection: close` or end of input no further request is read.

Deliberately not here: which handler (routes.py), writing (answers.py), what a body or an answer of any length
is made of (streams.py), accepting (server.py), TLS (the stream does it).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Protocol

import structlog
import trio

from gateway.http.answer import Renderer
from gateway.http.answers import Answers, Interim
from gateway.http.chunked import Chunked
from gateway.http.head import Head, HeadReader, bad_request, head_too_large, target_too_long
from gateway.http.packed import unpacked
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request, fail
from gateway.http.routes import AsyncHandler, Streaming
from gateway.http.settings import HttpSettings
from gateway.http.streams import Inflow, Outflow

_READ_BYTES = 65_536
_LINGER_BYTES = 1_048_576
_STREAM_LOOK_S = 0.25  # a stream that has enough may want more by time alone: it is asked again so often

log = structlog.get_logger("http")


class Owner(Protocol):
    """The server, as a connection sees it."""

    settings: HttpSettings
    heads: HeadReader
    renderer: Renderer
    secured: Renderer  # for streams inside TLS

    def dirty(self, connection: Connection) -> None: ...
    def answered(self, endpoint: str, status: int, duration_s: float) -> None: ...


class Connection:
    """Serve one stream until it ends: `await run()`, once."""

    def __init__(self, owner: Owner, stream: trio.abc.Stream, peer: str) -> None:
        self.peer = peer
        self.marked = False  # in the server's list of connections to flush
        self._owner = owner
        self._settings = owner.settings
        self._known = owner.heads.known
        self._stream = stream
        self.secure = isinstance(stream, trio.SSLStream)
        self._renderer = owner.secured if self.secure else owner.renderer
        # A socket is read and written directly: no extra checkpoint, no failed first attempt.
        self._fd = stream.socket.fileno() if isinstance(stream, trio.SocketStream) else -1
        self._answers = Answers(stream, self._fd, owner.settings, self._peer_gone)
        self._queue = self._answers.queue
        self._rest = b""  # the beginning of a head, or requests held back
        self._held = False  # the latter
        self._partial = True  # the head's deadline runs (from the connect for the first one)
        self._scanned = 0  # of _rest, for the end of the head
        self._head: Head | None = None  # whose body is arriving
        self._body = bytearray()
        self._chunked: Chunked | None = None
        self._stream_in: Inflow | None = None  # until its answer is finished
        self._stream_out: Outflow | None = None
        self._stream_head = Head()  # of the same
        self._stream_since = 0.0
        self._feeding = False
        self._stopped_reading = False  # nothing more will be read as a request
        self._eof = False
        self._lingers = False
        self._now = trio.current_time()
        self._deadline = self._now + self._settings.head_timeout_s
        self._scope: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None

    # life

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._answers.open(nursery)
                await self._read_requests()
                await self._answer_rest()
                nursery.cancel_scope.cancel()
        finally:
            self._answers.close()
            self._fd = -1
            if self._stream_out is not None:
                self._stream_out.gone = True
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await trio.aclose_forcefully(self._stream)

    @property
    def idle_since(self) -> float | None:
        """When it was last heard of, if there is nothing to answer and no request has begun; else None."""
        if self._stopped_reading or self._head is not None or self._rest or not self._answers.done:
            return None
        return self._now

    def stop(self) -> None:
        """Read no further request; what was taken is still answered, then the connection closes."""
        self._stopped_reading = True
        self._lingers = not self._answers.done
        if self._stream_in is not None:
            self._stream_in.taker.cut(
                BadRequest(503, "shutting-down", "the gateway is shutting down; try again shortly")
            )
        if self._scope is not None:
            self._scope.cancel()

    async def _read_requests(self) -> None:
        while not self._stopped_reading:
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                while not self._stopped_reading:
                    if not self._answers.room or (self._stream_in is not None and not self._stream_on()):
                        with trio.move_on_after(_STREAM_LOOK_S if self._stream_in is not None else inf):
                            await self._answers.changed()
                        if self._stream_in is not None:  # it was us the peer was waiting for
                            self._deadline = trio.current_time() + self._settings.body_timeout_s
                        continue
                    if self._held:
                        self._held = False
                        self._feed(b"")
                        continue
                    data = await self._receive()
                    if not data:
                        self._ended()
                        return
                    self._now = trio.current_time()
                    self._feed(data)
            if self._scope.cancelled_caught and not self._stopped_reading:
                self._check_deadline()

    async def _receive(self) -> bytes:
        try:
            if self._fd < 0:
                return bytes(await self._stream.receive_some(_READ_BYTES))
            while True:
                await trio.lowlevel.wait_readable(self._fd)
                try:
                    return os.read(self._fd, _READ_BYTES)
                except BlockingIOError:
                    continue
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _ended(self) -> None:
        """The peer will send no more: cut short in the middle of a request, or just done."""
        self._eof = True
        self._stopped_reading = True
        if self._head is not None or self._rest.strip():
            self._refuse(bad_request("the connection ended in the middle of the request"))
            self.flush()

    def _check_deadline(self) -> None:
        """The read scope's deadline passed; the true one may have moved on since (it is set lazily)."""
        self._now = trio.current_time()
        if self._now < self._deadline:
            return
        if self._stream_in is not None and (self._stream_in.ended or not self._stream_in.taker.ready()):
            self._deadline = self._now + self._settings.body_timeout_s  # it is us the peer is waiting for
        elif self._head is not None or (self._partial and self._rest):
            what = "body" if self._head is not None else "header"
            allowed_s = self._settings.body_timeout_s if what == "body" else self._settings.head_timeout_s
            self._refuse(
                BadRequest(408, "timeout", f"the {what} of a request must arrive in {allowed_s:g} s")
            )
            self.flush()
        elif not self._answers.done:
            self._deadline = self._now + self._settings.idle_timeout_s  # it is us the peer is waiting for
        else:
            self._stopped_reading = True

    def _hurry(self, timeout_s: float) -> None:
        """A deadline that may be earlier than the running one."""
        self._deadline = self._now + timeout_s
        if self._scope is not None:
            self._scope.deadline = self._deadline

    async def _answer_rest(self) -> None:
        while not self._answers.done:
            await self._answers.changed()
        if self._eof or self._answers.dead or not self._lingers:
            return
        with trio.move_on_after(self._settings.linger_s):
            await self._linger()

    async def _linger(self) -> None:
        """Say we are done, and read past what the peer still sends: closing on it would reset our answer."""
        if isinstance(self._stream, trio.SSLStream):
            with suppress(OSError, ssl.SSLError, trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.unwrap()  # says so, and waits for the peer's word
            return
        if not isinstance(self._stream, trio.abc.HalfCloseableStream):
            return
        try:
            await self._stream.send_eof()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        taken = 0
        while taken < _LINGER_BYTES:
            data = await self._receive()
            if not data:
                return
            taken += len(data)

    # in

    def _feed(self, data: bytes) -> None:
        """Take what was read: dispatch every request that is complete, keep what is not."""
        self._lingers = True
        self._feeding = True
        try:
            position = 0
            if self._head is not None:
                position = self._feed_body(data, 0)
            elif self._rest:
                data = self._rest + data
                self._rest = b""
            if position >= 0:
                self._feed_heads(data, position)
        except BadRequest as refusal:
            self._refuse(refusal)
        finally:
            self._feeding = False
        self.flush()

    def _feed_heads(self, data: bytes, position: int) -> None:
        size = len(data)
        if self._stream_in is not None:
            self._rest, self._held = data[position:], position < size
            return
        known = self._known
        limit = self._settings.max_pipelined
        while position < size and not self._stopped_reading:
            if len(self._queue) >= limit:
                self._rest = data[position:]
                self._held = True
                return
            end = data.find(b"\r\n\r\n", position + self._scanned)
            self._scanned = 0
            if end < 0:
                self._keep_partial(data, position)
                return
            end += 4
            raw = data[position:end]
            head = known.get(raw)
            if head is None:
                if not raw.strip():  # empty lines before a request: RFC 9112 section 2.2
                    position = end
                    continue
                head = self._owner.heads.read(raw)
            length = head.length
            if head.whole and length <= size - end:
                position = end + length
                self._dispatch(head, data[end:position])
                continue
            self._begin_body(head)
            position = self._feed_body(data, end)
            if position < 0:
                return
            if self._stream_in is not None:
                self._rest, self._held = data[position:], position < size
                return
        if not self._stopped_reading:
            self._deadline = self._now + self._settings.idle_timeout_s

    def _keep_partial(self, data: bytes, position: int) -> None:
        """A head that has only begun. Errors: BadRequest, when it can become none."""
        settings = self._settings
        rest = data[position:]
        if not rest.strip(b"\r\n"):
            return  # a line end too many after a request
        if not 0x41 <= rest.lstrip(b"\r\n")[0] <= 0x5A:
            raise bad_request("this port speaks HTTP/1.1, and these bytes are something else (TLS, perhaps?)")
        if len(rest) > settings.max_head_bytes:
            in_target = b"\r\n" not in rest[: settings.max_target_bytes]
            raise target_too_long(settings) if in_target else head_too_large(settings)
        if not self._partial:
            self._partial = True
            self._hurry(settings.head_timeout_s)
        self._rest = rest
        self._scanned = max(0, len(rest) - 3)

    def _begin_body(self, head: Head) -> None:
        self._head = head
        self._partial = False
        self._hurry(self._settings.body_timeout_s)
        found = head.found
        assert found is not None
        if found.streaming is not None:
            self._open_stream(found.streaming, head)
            return
        self._body = bytearray()
        self._chunked = Chunked(self._settings.max_body_bytes) if head.length < 0 else None
        if head.expect_continue:
            self._queue.append(Interim())

    def _feed_body(self, data: bytes, position: int) -> int:
        """Take body bytes; the position after the body, or -1 for more. Errors: BadRequest."""
        head = self._head
        if head is None:  # a stream that was not opened: nothing more is read
            return -1
        if self._stream_in is not None:
            return self._feed_stream(self._stream_in, data, position)
        if self._chunked is not None:
            end = self._chunked.feed(data, position)
            if end < 0:
                return -1
            body = bytes(self._chunked.body)
        else:
            end = position + head.length - len(self._body)
            self._body += memoryview(data)[position:end]
            if len(self._body) < head.length:
                return -1
            body = bytes(self._body)
        self._head = None
        self._chunked = None
        self._body = bytearray()
        if head.gzip and body:
            body = unpacked(body, self._settings.max_body_bytes)
        self._dispatch(head, body)
        return end

    def _dispatch(self, head: Head, body: bytes) -> None:
        request = Request(self, head, body, self._now)
        self._queue.append(request)
        self._partial = False
        if not head.keep_alive:
            self._stopped_reading = True
        found = head.found
        assert found is not None
        if found.handler is None:
            assert found.slow is not None
            assert self._nursery is not None
            self._nursery.start_soon(self._run_slow, found.slow, request)
            return
        try:
            found.handler(request, request.respond)
        except Exception as error:
            fail(request, error, endpoint=found.endpoint)

    def later(self, request: Request, rest: Callable[[], Awaitable[None]]) -> None:
        """In a task, which may answer or leave that to a commit; its failure is the request's."""
        assert self._nursery is not None
        self._nursery.start_soon(self._run_rest, rest, request)

    async def _run_rest(self, rest: Callable[[], Awaitable[None]], request: Request) -> None:
        try:
            await rest()
        except Exception as error:
            fail(request, error)

    async def _run_slow(self, handler: AsyncHandler, request: Request) -> None:
        await self._run_rest(partial(handler, request, request.respond), request)
        if request.out is None:
            fail(request, RuntimeError("the handler ended without an answer"))

    # streams

    def _open_stream(self, streaming: Streaming, head: Head) -> None:
        """Its place in the queue is the last one until it is answered."""
        request = Request(self, head, b"", self._now)
        if head.gzip:
            raise BadRequest(415, "content-encoding", "a stream is sent as it is, without Content-Encoding")
        begin = partial(
            self._renderer.begin,
            200,
            streaming.headers,
            chunked=not head.http10,
            connection="" if head.keep_alive else "close",
        )
        outflow = Outflow(begin, not head.http10, self._stream_said)
        try:
            taker = streaming.open(request, outflow)
        except BadRequest as refusal:
            self._stopped_reading = True
            self._head = None
            self._queue.append(request)
            request.respond(*refusal.answer(request.path))
            return
        if head.expect_continue:
            self._queue.append(Interim())
        self._queue.append(outflow)
        self._stream_out, self._stream_head, self._stream_since = outflow, head, self._now
        self._stream_in = Inflow(head, taker)

    def _feed_stream(self, inflow: Inflow, data: bytes, position: int) -> int:
        taker = inflow.taker
        begun, units = taker.begun, taker.units
        end = inflow.feed(data, position)
        if inflow.ended:
            self._head = None
        if not taker.begun:
            self._deadline = self._now + self._settings.idle_timeout_s
        elif not begun or taker.units != units:
            self._hurry(self._settings.body_timeout_s)
        return end

    def _stream_on(self) -> bool:
        """Whether more is to be read now: no, while the stream has enough, or is still to be answered."""
        inflow = self._stream_in
        return inflow is None or (inflow.taker.ready() and not inflow.ended)

    def _stream_said(self) -> None:
        if not self._feeding:
            self._owner.dirty(self)

    def _flush_stream(self, outflow: Outflow) -> None:
        """Send what it has said, if it is its turn; forget it when that was all."""
        if not self._queue or self._queue[0] is not outflow:
            return
        if outflow.broken:
            self._peer_gone()
            return
        said = outflow.taken()
        if outflow.finished:
            outflow.out = said
            found = self._stream_head.found
            assert found is not None
            self._owner.answered(found.endpoint, 200, trio.current_time() - self._stream_since)
            inflow, self._stream_in, self._stream_out = self._stream_in, None, None
            if not self._stream_head.keep_alive or inflow is None or not inflow.ended:
                self._end_reading()
            self._answers.flush()
        elif said:
            self._answers.write(said)

    def _end_reading(self) -> None:
        self._stopped_reading = True
        self._head = None
        if self._scope is not None:
            self._scope.cancel()

    def _refuse(self, refusal: BadRequest) -> None:
        """Answer what cannot be read any further, after all that was read before it, and end."""
        self._stopped_reading = True
        self._rest = b""
        if self._stream_in is not None and not self._stream_in.ended:
            self._head = None
            self._stream_in.taker.cut(refusal)
            return
        self._chunked = None
        head = Head()
        head.found = self._head.found if self._head is not None else None
        self._head = None
        request = Request(self, head, b"", self._now)
        self._queue.append(request)
        request.respond(*refusal.answer())

    # out

    def answer(
        self, request: Request, head: Head, status: int, headers: Headers, body: bytes, since: float
    ) -> None:
        """One answer is ready. Outside of a read it leaves with the server's next flush."""
        if self._answers.dead:
            return
        connection = ""
        if not head.keep_alive or (self._stopped_reading and self._queue[-1] is request):
            connection = "close"
        elif head.http10:
            connection = "keep-alive"
        render = self._renderer.render
        try:
            request.out = render(status, headers, body, connection=connection, body_too=head.method != "HEAD")
        except ValueError:  # a handler's bug must not reach the commit that called it back
            log.exception("answer cannot be rendered", path=request.path)
            status = 500
            request.out = render(status, (), b"", connection=connection)
        found = head.found
        now = self._now if self._feeding else trio.current_time()
        self._owner.answered(found.endpoint if found is not None else "none", status, now - since)
        if not self._feeding:
            self._owner.dirty(self)

    def flush(self) -> None:
        """Write every answer that is ready and whose predecessors are."""
        self._answers.flush()
        if self._stream_out is not None:
            self._flush_stream(self._stream_out)

    def _peer_gone(self) -> None:
        """Nobody to answer any more."""
        if self._stream_out is not None:
            self._stream_out.gone = True
        self._stopped_reading = True
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
