"""Traces as whoever may start them asks for them: what a wish means, and the verbs of the admin socket.

`trace.start`, `trace.read` (waits up to a second for something new), `trace.stop`. Each start is in the audit
trail before anything is shown, with what it may show; one with texts is told as a view of texts, too.

Invariant: who asks gets texts and numbers only by `Sight`: over HTTP that follows from the key's scopes, on
the admin socket, whose user may read the store anyway, from what was asked for.

Deliberately not here: taps and rings (gateway.tracing), the stream over HTTP (gateway.http.trace).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import trio

from gateway.admin import AdminError, Verb, bad_arguments, typed
from gateway.audit import entry
from gateway.logs import mask_number
from gateway.pdu_view import Sight
from gateway.tracing import MOST, MOST_S, Filter, Target, TooManyTraces, Trace, TraceRecord
from smpp.constants import CommandId
from smpp.status import Status
from store.interface import AuditEntry

if TYPE_CHECKING:
    from gateway.app import Gateway

FOR_S = 60.0
_FEWEST_DIGITS = 5
_MOST_AT_ONCE = 500
_COMMANDS = {one.name.lower(): int(one) for one in CommandId}
_STATUSES = {name: int(status) for name, status in Status.__members__.items()}

Seconds = Annotated[float, msgspec.Meta(ge=1, le=MOST_S)]
Name = Annotated[str, msgspec.Meta(max_length=64)]


class TraceWish(msgspec.Struct, forbid_unknown_fields=True):
    """What to trace: a carrier, one bind (a link as north/1, or a number of `signalbox binds`), an account's
    binds, or, with none of them, all; and what of it."""

    carrier: Name = ""
    bind: Name = ""
    account: Name = ""
    number: Name = ""
    commands: Annotated[list[Name], msgspec.Meta(max_length=20)] = []
    statuses: Annotated[list[Name], msgspec.Meta(max_length=20)] = []
    errors: bool = False
    direction: Literal["", "in", "out"] = ""
    for_s: Seconds = FOR_S
    text: bool = False
    numbers: bool = False


class ReadWish(msgspec.Struct, forbid_unknown_fields=True):
    """Records behind the `after`th, which are let go of."""

    trace: int
    after: int = 0
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=_MOST_AT_ONCE)] = _MOST_AT_ONCE


class StopWish(msgspec.Struct, forbid_unknown_fields=True):
    trace: int


class Started(msgspec.Struct):
    """`sessions`: those that are traced now; others are as they come."""

    trace: int
    sessions: list[str]
    for_s: float


class Reading(msgspec.Struct):
    """`dropped`: PDUs so far that were too many to look at. `ended`: why, "" while it runs."""

    records: list[TraceRecord]
    dropped: int
    waiting: int
    sessions: int
    left_s: float
    ended: str


class TraceVerbs:
    """The verbs as methods. `gateway` is None when none runs."""

    def __init__(self, gateway: Gateway | None) -> None:
        self._gateway = gateway

    def table(self) -> dict[str, Verb]:
        return {
            "trace.read": typed(ReadWish, self.read),
            "trace.start": typed(TraceWish, self.start),
            "trace.stop": typed(StopWish, self.stop),
        }

    async def start(self, wish: TraceWish) -> Started:
        """Errors: WrongArguments, AdminError not_found, busy."""
        self.check(wish)
        sight = Sight(wish.text, wish.numbers)
        told = self.told(wish, sight)

        def tell(txn: object) -> None:
            for one in told:
                txn.audit(one)  # type: ignore[attr-defined]

        await self._running().committer.execute(tell)
        trace = self.begin(wish, sight)
        return Started(trace.id, sorted(tap.session for _, tap in trace.taps.values()), wish.for_s)

    async def read(self, wish: ReadWish) -> Reading:
        trace = self._found(wish.trace)
        records = await self._running().traces.read(trace, wish.after, wish.limit, wish.wait_s)
        return reading(trace, records)

    async def stop(self, wish: StopWish) -> Reading:
        """Its last figures."""
        trace = self._found(wish.trace)
        self._running().traces.stop(trace, "stopped")
        return reading(trace, [])

    # for both edges

    def check(self, wish: TraceWish) -> None:
        """Whether there is such a thing to trace. Errors: WrongArguments, AdminError not_found."""
        gateway = self._running()
        if len(gateway.traces.running) >= MOST:
            raise _busy()
        chosen = [name for name in ("carrier", "bind", "account") if getattr(wish, name)]
        if len(chosen) > 1:
            raise bad_arguments(chosen[1], "trace one of a carrier, a bind and an account")
        if not chosen and not wish.number:
            raise bad_arguments("carrier", "say what to trace", "a carrier, a bind, an account or a number")
        self._filter(wish)
        if wish.carrier and all(one.name != wish.carrier for one in gateway.carriers):
            names = ", ".join(sorted(one.name for one in gateway.carriers)) or "none yet"
            raise AdminError("not_found", f"no carrier {wish.carrier!r}", f"one of: {names}")
        if wish.account and wish.account not in gateway.accounts.by_name:
            raise AdminError("not_found", f"no account {wish.account!r}", "signalbox accounts lists them")
        if wish.bind and not any(True for _ in targets(gateway, wish)):
            raise AdminError(
                "not_found",
                f"no bind {wish.bind!r}",
                "a carrier's as north/1 (signalbox status), a customer's by its number (signalbox binds)",
            )

    def told(self, wish: TraceWish, sight: Sight) -> Sequence[AuditEntry]:
        """What the audit trail says of it, before it begins."""
        now_ms = self._running().world.wall_ms()
        number = mask_number(digits_of(wish.number))
        about = next(
            (f"{kind}:{name}" for kind, name in (
                ("carrier", wish.carrier), ("bind", wish.bind), ("account", wish.account),
            ) if name),
            "all",
        )  # fmt: skip
        what = {
            "number": number,
            "commands": list(wish.commands),
            "for_s": wish.for_s,
            "texts": sight.texts,
            "numbers": sight.numbers,
        }
        begun = entry(now_ms, "trace.started", f"trace:{about}", after=what)
        if not sight.texts:
            return [begun]
        return [begun, entry(now_ms, "message.viewed", f"trace:{about}", after=what)]

    def begin(self, wish: TraceWish, sight: Sight) -> Trace:
        """Errors: AdminError busy."""
        gateway = self._running()
        try:
            return gateway.traces.start(
                lambda: targets(gateway, wish), self._filter(wish), sight, min(wish.for_s, MOST_S)
            )
        except TooManyTraces:
            raise _busy() from None

    def _filter(self, wish: TraceWish) -> Filter:
        number = digits_of(wish.number)
        if wish.number and len(number) < _FEWEST_DIGITS:
            raise bad_arguments(
                "number", f"{wish.number!r} is no number", "write it with its country code, as +447700900123"
            )
        return Filter(
            commands=frozenset(_named(_COMMANDS, name, "commands") for name in wish.commands),
            statuses=frozenset(_status(name) for name in wish.statuses),
            only_errors=wish.errors,
            direction=wish.direction,
            number=number,
        )

    def _found(self, id: int) -> Trace:
        trace = self._running().traces.find(id)
        if trace is None:
            raise AdminError("not_found", f"no trace {id}", "it has ended; start another")
        return trace

    def _running(self) -> Gateway:
        if self._gateway is None:
            raise AdminError("not_running", "the gateway is not running, so nothing passes", "signalbox run")
        return self._gateway


def targets(gateway: Gateway, wish: TraceWish) -> Iterator[Target]:
    """The sessions that a wish means, as they are now."""
    of_carriers = not wish.account and (not wish.bind or "/" in wish.bind)
    of_customers = not wish.carrier and "/" not in wish.bind
    if of_carriers:
        for carrier in gateway.carriers:
            if wish.carrier in ("", carrier.name):
                for link in carrier.links:
                    if wish.bind in ("", link.name):
                        yield Target(link, "carrier", carrier.name, link.name)
    if of_customers:
        for tenant in gateway.smpp.tenants.values():
            if wish.account in ("", tenant.account.name):
                for connection in tenant.connections:
                    if wish.bind in ("", str(connection.number)):
                        name = str(connection.number)
                        yield Target(connection, "customer", tenant.account.name, name)


def reading(trace: Trace, records: list[TraceRecord]) -> Reading:
    left_s = 0.0 if trace.ended else max(0.0, trace.until - trio.current_time())
    return Reading(records, trace.dropped, trace.waiting, len(trace.taps), round(left_s, 1), trace.ended)


def digits_of(number: str) -> str:
    return "".join(character for character in number if character.isdigit())


def _busy() -> AdminError:
    return AdminError("busy", f"{MOST} traces run already", "each ends by itself; try again later")


def _named(table: dict[str, int], name: str, field: str) -> int:
    found = table.get(name.lower())
    if found is None:
        raise bad_arguments(field, f"{name!r} is no command of SMPP", "as submit_sm or deliver_sm_resp")
    return found


def _status(name: str) -> int:
    """By name (ESME_RTHROTTLED, RTHROTTLED) or number (88, 0x58)."""
    upper = name.upper()
    found = _STATUSES.get(upper, _STATUSES.get(f"ESME_{upper}"))
    if found is not None:
        return found
    try:
        return int(name, 0)
    except ValueError:
        raise bad_arguments(
            "statuses", f"{name!r} is no command_status", "a name as ESME_RTHROTTLED, or 0x58"
        ) from None
