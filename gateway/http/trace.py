"""GET /v1/trace: PDUs as they pass, one a line of JSON, until the trace is over or the reader goes away.

A line is a record, or, now and then and at the end, how the trace is (`left_s`, `dropped`, `ended`). The
audit trail is told before the first line. What passed before the end comes after it, then one line with
`ended`, the last. Whoever reads too slowly gets fewer records, counted in `dropped`; one who has gone ends
the trace, as nobody reads it any more; so does a key that ends, or may no longer see what is shown.

Deliberately not here: taps, filters (gateway.tracing), what a wish means (gateway.admin_trace).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec
import trio

from gateway.admin import AdminError, WrongArguments
from gateway.admin_trace import TraceVerbs, TraceWish, reading
from gateway.audit import Actor, acting
from gateway.http.auth import Keys
from gateway.http.fields import invalid
from gateway.http.operated import reason_of
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.routes import Routes, Streaming
from gateway.http.streams import Outflow
from gateway.http.table import overview as table
from gateway.http.typed import read_query
from gateway.pdu_view import Sight
from gateway.tracing import Trace, Traces
from store.interface import AuditEntry, Transaction

_HEADERS: Headers = (("Content-Type", "application/x-ndjson"), ("Cache-Control", "no-store"))
_AT_ONCE = 100
_MOST_WAITING = 262_144  # octets that are not handed to the socket
_STATE_S = 1.0  # how often it says how the trace is

_encode = msgspec.json.Encoder().encode


class Calling(Protocol):
    """A committer, for verbs that somebody waits for."""

    def call_soon(
        self, function: Callable[[Transaction], Any], done: Callable[[Any], None], *, awaited: bool
    ) -> None: ...


class TraceApi:
    """`add_to` puts it into a table."""

    def __init__(
        self, verbs: TraceVerbs, traces: Traces, committer: Calling, wall_ms: Callable[[], int], keys: Keys
    ) -> None:
        self._keys = keys
        self._verbs = verbs
        self._traces = traces
        self._committer = committer
        self._wall_ms = wall_ms

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.TRACE, Streaming(self._open, _HEADERS))

    def _open(self, request: Request, out: Outflow) -> _Following:
        query = read_query(request.query, table.TraceQuery)
        scopes = request.caller.scopes
        if query.text and "messages.text" not in scopes:
            raise BadRequest(403, "scope-needed", "text=true needs a key with messages.text")
        if query.number and "messages.numbers" not in scopes:
            raise BadRequest(403, "scope-needed", "number=… needs a key with messages.numbers")
        wish = TraceWish(
            carrier=query.carrier,
            bind=query.bind,
            account=query.account,
            number=query.number,
            commands=_several(query.command),
            statuses=_several(query.status),
            errors=query.errors,
            direction=query.direction,
            for_s=query.for_s,
        )
        sight = Sight(query.text, "messages.numbers" in scopes)
        try:
            self._verbs.check(wish)
            with acting(Actor(request.caller.name, "http", reason_of(request.headers.get(b"audit-reason")))):
                told = self._verbs.told(wish, sight)
        except AdminError as error:
            raise _refused(error) from None
        shown = (("messages.text", sight.texts), ("messages.numbers", sight.numbers))
        needed = {table.TRACE.access, *(scope for scope, needs in shown if needs)}
        may = partial(self._keys.may_still, request.caller, needed)
        following = _Following(out, self._traces, self._wall_ms, may)
        self._committer.call_soon(
            partial(_tell, told), partial(self._begin, following, wish, sight), awaited=True
        )
        return following

    def _begin(self, following: _Following, wish: TraceWish, sight: Sight, call: Any) -> None:
        """The trail knows of it, or nothing is shown."""
        if call.error is not None:
            following.fail("the audit trail could not be told, so nothing is shown; see the gateway's log")
            return
        try:
            following.begin(self._verbs.begin(wish, sight))
        except AdminError as error:
            following.fail(f"{error.message}; {error.hint}")


class _Following:
    """streams.Taker of a request without a body: it only says something."""

    begun = False
    units = 0

    def __init__(
        self, out: Outflow, traces: Traces, wall_ms: Callable[[], int], may: Callable[[], bool]
    ) -> None:
        """`may`: whether whoever reads may still see it."""
        self._out = out
        self._may = may
        self._traces = traces
        self._wall_ms = wall_ms
        self._trace: Trace | None = None
        self._after = 0
        self._said_at = 0.0
        self._cut = False

    def begin(self, trace: Trace) -> None:
        self._trace = trace
        if self._cut or self._out.gone:
            self._traces.stop(trace, "the reader has gone")
            return
        self._state(trace)

    def fail(self, why: str) -> None:
        self._out.write(_encode({"ended": why}) + b"\n")
        self._out.finish()

    def ready(self) -> bool:
        """Asked several times a second: what is there to say."""
        trace, out = self._trace, self._out
        if trace is None or out.finished or out.waiting >= _MOST_WAITING:
            return False
        now = trio.current_time()
        if now - self._said_at >= _STATE_S and not self._may():
            trace.forget()
            trace.records.clear()
            self._traces.stop(trace, "its key may not see this any more")
        records = trace.take(self._after, _AT_ONCE, now, self._wall_ms())
        if records:
            self._after = records[-1].entry
            out.write(b"".join(_encode(one) + b"\n" for one in records))
        if trace.over and len(records) < _AT_ONCE:
            self._finish(trace)
        elif now - self._said_at >= _STATE_S:
            self._state(trace)
        return False

    def _state(self, trace: Trace, *, last: bool = False) -> None:
        self._said_at = trio.current_time()
        told = reading(trace, [])
        ended = told.ended if last else ""  # the line that says it is the last one
        state = table.TraceState(told.dropped, told.waiting, told.sessions, told.left_s, ended)
        self._out.write(_encode(state) + b"\n")

    def _finish(self, trace: Trace) -> None:
        self._state(trace, last=True)
        self._out.finish()

    def take(self, data: bytes) -> None:
        """A body is passed over."""

    def end(self) -> None:
        """There was none."""

    def cut(self, why: BadRequest) -> None:
        self._cut = True
        if self._trace is not None:
            self._traces.stop(self._trace, why.detail)
            self.ready()
            self._trace.forget()  # there is no time for the rest
            self._finish(self._trace)


def _tell(told: Sequence[AuditEntry], txn: Transaction) -> None:
    for one in told:
        txn.audit(one)


def _several(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word][:20]


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    if error.code == "busy":
        return BadRequest(429, "too-many-traces", f"{error.message}; {error.hint}")
    return BadRequest(404, "nothing-to-trace", f"{error.message}; {error.hint}")
