"""What operators ordered for live traffic: what is suspended, at another rate, banned, by whom, until when.

They are few: two small values of the store have them all, written whole by each change, so that they
survive a restart; an order with an end ends by itself. `changed` hooks let others do what it says at
once, `after` those that take their time. `KINDS` is the closed list of what can be ordered.

Invariants: one change at a time, waited for to the end of its commit even when its caller is cancelled; the
audit trail tells of each in the same transaction, of those that end by themselves as well.

Deliberately not here: doing what they say (gateway.terms, gateway.health, the gate), what the gateway decides
by itself (gateway.health).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog
import trio

from gateway.admin_client import AdminError
from gateway.admin_shapes import iso
from gateway.audit import Actor, acting, actor_now, entry
from gateway.committer import Committing
from gateway.notices import notice
from store.interface import StoreError, Transaction
from store.values import Damaged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST = 10_000  # orders
LONGEST_S = 366 * 86_400

_CARRIERS = "orders"  # as versions wrote it that knew no other orders
_OTHERS = "orders.others"
_OVER = Actor("signalbox", "gateway", "the time that was given is over")

log = structlog.get_logger("orders")

CARRIER: Final = "carrier.suspended"
DRAINED: Final = "carrier.drained"
RATE: Final = "carrier.rate"
LINK: Final = "link.suspended"
ROUTE: Final = "route.suspended"
ROUTE_RATE: Final = "route.rate"
WEIGHTS: Final = "route.weights"
ACCOUNT: Final = "account.suspended"
BANNED: Final = "bind.banned"


class Kind(NamedTuple):
    """`noun`: of the subject, as in carrier:north; `begun`, `ended`: in the audit trail; `ended_by`: the verb
    that ends it, whose argument `names` is the subject; `over`: what is so again when it has ended."""

    noun: str
    begun: str
    ended: str
    ended_by: str
    over: str
    names: str = "name"
    others: Mapping[str, object] = {}


KINDS: Final[Mapping[str, Kind]] = {
    CARRIER: Kind("carrier", CARRIER, "carrier.resumed", "carrier.resume", "takes messages again"),
    DRAINED: Kind(
        "carrier", DRAINED, "carrier.resumed", "carrier.resume", "binds and takes messages again"
    ),
    RATE: Kind(
        "carrier", "carrier.rate_set", "carrier.rate_restored", "carrier.rate",
        "has its configured rate again",
        others={"tps": 0},
    ),
    LINK: Kind("link", LINK, "link.resumed", "link.resume", "takes messages again"),
    ROUTE: Kind("route", ROUTE, "route.resumed", "route.resume", "its messages go again"),
    ROUTE_RATE: Kind(
        "route", "route.rate_set", "route.rate_restored", "route.rate", "has its configured rate again",
        others={"tps": 0},
    ),
    WEIGHTS: Kind(
        "route", "route.weights_set", "route.weights_restored", "route.weights",
        "has its configured weights again", others={"weights": {}},
    ),
    ACCOUNT: Kind(
        "account", "account.suspended_until", "account.resumed", "account.resume",
        "may submit and bind again",
    ),
    BANNED: Kind("login", BANNED, "bind.unbanned", "binds.unban", "may bind again", "who"),
}  # fmt: skip

Value = float | dict[str, int] | None


class Order(msgspec.Struct, frozen=True, array_like=True):
    """`kind` is of KINDS, `subject` the name of what it is about. Only grows at the end."""

    kind: str
    subject: str
    who: str
    reason: str
    since_ms: int
    until_ms: int = 0  # 0 = until somebody ends it
    value: Value = None  # a rate, or weights by carrier

    @property
    def told(self) -> str:
        """By whom, until when and why, for people."""
        end = f" until {iso(self.until_ms)}" if self.until_ms else ""
        return f"by {self.who}{end}" + (f": {self.reason}" if self.reason else "")


class CarrierOrder(msgspec.Struct, frozen=True, array_like=True):
    """A carrier that takes nothing new, as it is stored. Only grows at the end."""

    carrier: str
    who: str
    reason: str
    since_ms: int
    until_ms: int = 0


class InForce(NamedTuple):
    """An order as operators see it. `subject` is kind:name; `ended_by` with `arguments` ends it."""

    kind: str
    subject: str
    who: str
    reason: str
    since_ms: int
    until_ms: int
    value: str
    ended_by: str
    arguments: dict[str, object]


# what else ends with an order; it writes what it is given, in the same commit. False: nothing did
Ending = Callable[["Order", Callable[[Transaction], None]], Awaitable[bool]]


class TooMany(Exception):
    """There are MOST orders."""


@contextmanager
def told() -> Iterator[None]:
    """What cannot be ordered, as an answer for the caller."""
    try:
        yield
    except TooMany as problem:
        raise AdminError("too_many", str(problem), "GET /v1/acts lists them; end some") from None


class Orders:
    def __init__(self, committer: Committing, wall_ms: Callable[[], int]) -> None:
        self._committer = committer
        self._wall_ms = wall_ms
        self._one_at_a_time = trio.Lock()
        self.changed: list[Callable[[], None]] = []
        self.after: list[Callable[[], Awaitable[None]]] = []
        self.ending: dict[str, Ending] = {}  # kinds whose end does more
        self._of: dict[str, dict[str, Order]] = {}
        self._stuck: list[Order] = []  # over, and do not end
        self._unknown: list[Order] = []  # a later version's, kept as they are
        self.by_carrier: dict[str, Order] = {}  # that take nothing new
        self.reload()

    def reload(self) -> None:
        """Take what the store has; a damaged value is as none, and said. Errors: StoreError."""
        self._of = {kind: {} for kind in KINDS}
        self._unknown = []
        for order in (*self._carriers_kept(), *self._others_kept()):
            if order.kind in KINDS:
                self._of[order.kind][order.subject] = order
            else:
                self._unknown.append(order)
        self.by_carrier = {**self._of[CARRIER], **self._of[DRAINED]}
        for hook in self.changed:
            hook()

    def _carriers_kept(self) -> Iterator[Order]:
        try:
            row = self._committer.store.meta(_CARRIERS)
            kept = msgspec.msgpack.decode(row, type=list[CarrierOrder]) if row else []
        except (Damaged, msgspec.DecodeError):
            log.error("the store's list of suspended carriers is damaged: suspend them again")
            kept = []
        for one in kept:
            yield Order(CARRIER, one.carrier, one.who, one.reason, one.since_ms, one.until_ms)

    def _others_kept(self) -> list[Order]:
        try:
            row = self._committer.store.meta(_OTHERS)
            return msgspec.msgpack.decode(row, type=list[Order]) if row else []
        except (Damaged, msgspec.DecodeError):
            log.error("the store's list of operators' orders is damaged: give them again")
            return []

    # asking

    def of(self, kind: str) -> Mapping[str, Order]:
        """Those of a kind, by subject."""
        return self._of[kind]

    def find(self, kind: str, subject: str) -> Order | None:
        """None: there is none."""
        return self._of[kind].get(subject)

    def in_force(self) -> list[InForce]:
        """All of them, the newest first."""
        found = [_in_force(order) for orders in self._of.values() for order in orders.values()]
        return sorted(found, key=lambda one: -one.since_ms)

    # ordering

    async def suspend(self, carrier: str, for_s: float = 0) -> Order:
        """A carrier, from now on, for `for_s` seconds (0: until resumed). Once more: with the new end and
        reason. Errors: StoreError, TooMany."""
        return await self.give(CARRIER, carrier, for_s, instead_of=(DRAINED,))

    async def resume(self, carrier: str) -> Order | None:
        """The order that ends; None where there was none. Errors: StoreError."""
        drained = await self.end(DRAINED, carrier)
        return await self.end(CARRIER, carrier) or drained

    async def give(
        self, kind: str, subject: str, for_s: float = 0, value: Value = None, instead_of: Sequence[str] = ()
    ) -> Order:
        """An order from now on; `instead_of`: kinds of which the subject has none any more.

        Errors: StoreError, TooMany.
        """
        async with self._one_at_a_time:
            order, put = self._given(kind, subject, for_s, value, instead_of)
            await self._commit(put)
            return order

    @asynccontextmanager
    async def giving(
        self, kind: str, subject: str, for_s: float
    ) -> AsyncIterator[Callable[[Transaction], None]]:
        """The same, for whoever makes the commit: what is yielded goes into it. Errors: TooMany."""
        async with self._one_at_a_time:
            yield self._given(kind, subject, for_s, None, ())[1]
            self.reload()

    @asynccontextmanager
    async def dropping(self, kind: str, subject: str) -> AsyncIterator[Callable[[Transaction], None]]:
        """The end of an order, if there is one, for whoever makes the commit."""
        async with self._one_at_a_time:
            before = self.find(kind, subject)
            yield (lambda txn: None) if before is None else self._ended(before, by_itself=False)
            self.reload()

    async def end(self, kind: str, subject: str) -> Order | None:
        """The order that ends; None where there was none. Errors: StoreError."""
        async with self._one_at_a_time:
            before = self.find(kind, subject)
            if before is not None:
                await self._commit(self._ended(before, by_itself=False))
            return before

    async def end_old(self) -> None:
        """Those whose time is over; to be called about once a second. Errors: StoreError.

        One that cannot be ended because of a bug is said once, and tried again the next time; the others end.
        """
        now_ms = self._wall_ms()
        over = [
            order for orders in self._of.values() for order in orders.values() if 0 < order.until_ms <= now_ms
        ]
        self._stuck = [one for one in self._stuck if one in over]
        for order in over:
            async with self._one_at_a_time:
                if self.find(order.kind, order.subject) is not order:
                    continue
                put, ending = self._ended(order, by_itself=True), self.ending.get(order.kind)
                try:
                    with acting(_OVER), trio.CancelScope(shield=True):
                        if ending is not None and await ending(order, put):
                            self.reload()
                        else:
                            await self._commit(put)
                except StoreError:
                    raise
                except Exception:  # a bug of one order's: the others end
                    self._does_not_end(order)

    def _does_not_end(self, order: Order) -> None:
        """Say so, once."""
        if order not in self._stuck:
            self._stuck.append(order)
            one = _in_force(order)
            log.exception(
                "an order whose time is over does not end",
                kind=one.kind,
                subject=one.subject,
                hint=f"{one.ended_by} ends it by hand; report this",
            )

    def _given(
        self, kind: str, subject: str, for_s: float, value: Value, instead_of: Sequence[str]
    ) -> tuple[Order, Callable[[Transaction], None]]:
        now_ms, actor, before = self._wall_ms(), actor_now(), self.find(kind, subject)
        if before is None and sum(map(len, self._of.values())) >= MOST:
            raise TooMany(f"there are {MOST:,} orders")
        order = Order(
            kind,
            subject,
            actor.who,
            actor.reason,
            now_ms if before is None else before.since_ms,
            now_ms + int(for_s * 1000) if for_s else 0,
            value,
        )
        about = KINDS[kind]
        told = entry(
            now_ms, about.begun, f"{about.noun}:{subject}", _shown(kind, before), _shown(kind, order)
        )

        def put(txn: Transaction) -> None:
            self._put(txn, order, instead_of=instead_of)
            if kind != ACCOUNT or order.until_ms:  # an account's being suspended is told by itself
                txn.audit(told)

        return order, put

    def _ended(self, order: Order, *, by_itself: bool) -> Callable[[Transaction], None]:
        about, now_ms = KINDS[order.kind], self._wall_ms()
        subject = f"{about.noun}:{order.subject}"
        told = entry(now_ms, about.ended, subject, _shown(order.kind, order), _shown(order.kind, None))
        noticed = notice(
            now_ms,
            "carrier.resumed" if order.kind == CARRIER else "order.ended",
            subject,
            f"{about.over}: the time for which {order.who} ordered otherwise is over",
            {"since": iso(order.since_ms)},
        )

        def put(txn: Transaction) -> None:
            self._put(txn, order, gone=True)
            if order.kind != ACCOUNT:
                txn.audit(told)
            if by_itself:
                txn.notice([noticed])

        return put

    def _put(
        self, txn: Transaction, order: Order, *, gone: bool = False, instead_of: Sequence[str] = ()
    ) -> None:
        """All orders, with this one instead of its subject's present one."""
        left = {(order.kind, order.subject), *((kind, order.subject) for kind in instead_of)}
        kept = [
            one
            for orders in self._of.values()
            for one in orders.values()
            if (one.kind, one.subject) not in left
        ]
        kept += [] if gone else [order]
        carriers = [
            CarrierOrder(one.subject, one.who, one.reason, one.since_ms, one.until_ms)
            for one in kept
            if one.kind == CARRIER
        ]
        txn.put_meta(_CARRIERS, msgspec.msgpack.encode(carriers))
        others = [one for one in kept if one.kind != CARRIER]
        txn.put_meta(_OTHERS, msgspec.msgpack.encode([*others, *self._unknown]))

    async def _commit(self, put: Callable[[Transaction], None]) -> None:
        with trio.CancelScope(shield=True):
            await self._committer.execute(put)
            self.reload()
            for follow in self.after:
                await follow()


def _in_force(order: Order) -> InForce:
    about = KINDS[order.kind]
    return InForce(
        order.kind,
        f"{about.noun}:{order.subject}",
        order.who,
        order.reason,
        order.since_ms,
        order.until_ms,
        shown_value(order.value),
        about.ended_by,
        {about.names: order.subject, **about.others},
    )


def shown_value(value: Value) -> str:
    """A rate or weights for people."""
    if isinstance(value, dict):
        return "+".join(f"{name}:{weight}" for name, weight in value.items())
    return "" if value is None else f"{value:g}/s"


def _shown(kind: str, order: Order | None) -> dict[str, object]:
    """For the audit trail."""
    shown: dict[str, object] = (
        {"suspended": order is not None} if kind in (CARRIER, DRAINED, LINK, ROUTE) else {}
    )
    if order is None:
        return shown
    if order.value is not None:
        shown["value"] = shown_value(order.value)
    return {**shown, "until": iso(order.until_ms)}
