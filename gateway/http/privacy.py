"""POST /v1/privacy/export: everything that is kept about one number, a record a line.

Invariants: it goes as fast as its reader takes it, and there is one at a time; one that cannot go on ends its
connection, so that nobody takes it for whole; the audit trail hears of it before the first line.

Deliberately not here: what is kept (gateway.privacy), erasing (gateway.acts).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import structlog
import trio

from gateway.admin import WrongArguments
from gateway.admin_privacy import PrivacyVerbs
from gateway.audit import Actor, acting
from gateway.http.fields import invalid
from gateway.http.operated import reason_of
from gateway.http.problems import BadRequest, FieldError, Headers, Problem, problem
from gateway.http.request import Request
from gateway.http.routes import Routes, Streaming
from gateway.http.streams import Outflow
from gateway.http.table import privacy as table
from gateway.http.typed import read_body
from gateway.searching import SearchUnavailable
from store.interface import StoreError
from store.person import Number

_LINES: Headers = (("Content-Type", "application/x-ndjson"), ("Cache-Control", "no-store"))
_LONGEST = 4_096  # octets of the body
_MOST_WAITING = 262_144  # octets that are not handed to the socket
_LOOK_S = 0.25  # between two looks at a reader that is slow

log = structlog.get_logger("privacy")


class PrivacyApi:
    """`add_to` puts it into a table. `start_soon`: work that goes on by itself; errors: SearchUnavailable."""

    def __init__(
        self, verbs: PrivacyVerbs, start_soon: Callable[[Callable[[], Awaitable[None]]], None]
    ) -> None:
        self._verbs = verbs
        self._start_soon = start_soon
        self._under_way = False

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.EXPORT, Streaming(self.export, _LINES))

    def export(self, request: Request, out: Outflow) -> Export:
        """streams.Opener."""
        reason = reason_of(request.headers.get(b"audit-reason"))
        return Export(request, out, Actor(request.caller.name, "http", reason), self.begin)

    def begin(self, export: Export, wish: table.NumberIn) -> None:
        """Its body is there. Errors: BadRequest."""
        try:
            number = self._verbs.number(wish.number)
        except WrongArguments as wrong:
            raise invalid([FieldError(name, what) for name, what in wrong.problems.items()]) from None
        if self._under_way:
            raise BadRequest(429, "too-many-questions", "another export is under way; one at a time")

        async def write() -> None:
            try:
                await export.write(self._verbs, number, wish.also)
            finally:
                self._under_way = False

        try:
            self._start_soon(write)
        except SearchUnavailable as why:
            again = (("Retry-After", "1"),)
            raise BadRequest(503, "search-unavailable", f"{why}; try again", headers=again) from None
        self._under_way = True


class Export:
    """streams.Taker of one export."""

    begun = False
    units = 0

    def __init__(
        self,
        request: Request,
        out: Outflow,
        actor: Actor,
        begin: Callable[[Export, table.NumberIn], None],
    ) -> None:
        self._request = request
        self._out = out
        self._actor = actor
        self._begin = begin
        self._body = bytearray()

    def take(self, data: bytes) -> None:
        if len(self._body) <= _LONGEST:
            self._body += data

    def ready(self) -> bool:
        return True

    def end(self) -> None:
        self._request.body = bytes(self._body)
        try:
            if len(self._body) > _LONGEST:
                raise BadRequest(413, "body-too-large", f"at most {_LONGEST} bytes")
            self._begin(self, read_body(self._request, table.NumberIn))
        except BadRequest as refusal:
            self.cut(refusal)

    def cut(self, why: BadRequest) -> None:
        """The one line of what cannot begin; its status has been 200 since the head was read."""
        self._say_end(0, problem(why.status, why.code, why.detail, "", why.errors))

    def _say_end(self, records: int, why: Problem | None = None) -> None:
        self._out.write(msgspec.json.encode(table.End(records, why)) + b"\n")
        self._out.finish()

    async def write(self, verbs: PrivacyVerbs, number: str, also: tuple[str, ...]) -> None:
        """All lines."""
        one = Number(number, also)
        after, count = "", 0
        try:
            with acting(self._actor):
                await verbs.privacy.begin_export(number)
            while not self._out.gone:
                portion = await verbs.exported(one, after)
                lines = b"".join(msgspec.json.encode(record) + b"\n" for record in portion.records)
                count += len(portion.records)
                after = portion.after
                if lines:
                    self._out.write(lines)
                while self._out.waiting > _MOST_WAITING and not self._out.gone:
                    await trio.sleep(_LOOK_S)
                if not after:
                    self._say_end(count)
                    return
        except (StoreError, OSError) as error:
            log.error("an export was broken off", error=str(error))
            self._out.break_off()
