"""What operators did to live traffic: carriers that are suspended, by whom, why and until when.

They are few: all of them are one small value of the store, written whole by each change, so that they survive
a restart; an order with an end ends by itself. `changed` hooks let others (carriers) do what it says.

Invariants: one change at a time, waited for to the end of its commit even when its caller is cancelled; the
audit trail tells of each in the same transaction, of those that end by themselves as well.

Deliberately not here: what a suspended carrier does (gateway.carriers.carrier), what the gateway decides by
itself (gateway.health).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import structlog
import trio

from gateway.admin_shapes import iso
from gateway.audit import Actor, acting, actor_now, entry
from gateway.committer import Committing
from gateway.notices import notice
from store.interface import Transaction
from store.values import Damaged

_ROW = "orders"
_OVER = Actor("signalbox", "gateway", "the time that was given is over")

log = structlog.get_logger("orders")


class CarrierOrder(msgspec.Struct, frozen=True, array_like=True):
    """A carrier takes nothing new. Only grows at the end."""

    carrier: str
    who: str
    reason: str
    since_ms: int
    until_ms: int = 0  # 0 = until somebody resumes it


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


class Orders:
    def __init__(self, committer: Committing, wall_ms: Callable[[], int]) -> None:
        self._committer = committer
        self._wall_ms = wall_ms
        self._one_at_a_time = trio.Lock()
        self.changed: list[Callable[[], None]] = []
        self.by_carrier: dict[str, CarrierOrder] = {}
        self.reload()

    def reload(self) -> None:
        """Take what the store has; a damaged value is as none, and said. Errors: StoreError."""
        try:
            row = self._committer.store.meta(_ROW)
            kept = msgspec.msgpack.decode(row, type=list[CarrierOrder]) if row else []
        except (Damaged, msgspec.DecodeError):
            log.error("the store's list of suspended carriers is damaged: suspend them again")
            kept = []
        self.by_carrier = {order.carrier: order for order in kept}
        for hook in self.changed:
            hook()

    def in_force(self) -> list[InForce]:
        """All of them, the newest first."""
        found = [
            InForce(
                "carrier.suspended",
                f"carrier:{one.carrier}",
                one.who,
                one.reason,
                one.since_ms,
                one.until_ms,
                "",
                "carrier.resume",
                {"name": one.carrier},
            )
            for one in self.by_carrier.values()
        ]
        return sorted(found, key=lambda one: -one.since_ms)

    async def suspend(self, carrier: str, for_s: float = 0) -> CarrierOrder:
        """From now on, for `for_s` seconds (0: until resumed). Once more: with the new end and reason.

        Errors: StoreError.
        """
        async with self._one_at_a_time:
            now_ms = self._wall_ms()
            before = self.by_carrier.get(carrier)
            actor = actor_now()
            order = CarrierOrder(
                carrier,
                actor.who,
                actor.reason,
                now_ms if before is None else before.since_ms,
                now_ms + int(for_s * 1000) if for_s else 0,
            )
            shown = {"suspended": True, "until": iso(order.until_ms)}
            told = entry(now_ms, "carrier.suspended", f"carrier:{carrier}", _shown(before), shown)

            def put(txn: Transaction) -> None:
                txn.put_meta(_ROW, self._row(carrier, order))
                txn.audit(told)

            await self._commit(put)
            return order

    async def resume(self, carrier: str) -> CarrierOrder | None:
        """The order that ends; None where there was none. Errors: StoreError."""
        async with self._one_at_a_time:
            before = self.by_carrier.get(carrier)
            if before is not None:
                await self._end(before)
            return before

    async def end_old(self) -> None:
        """Those whose time is over; to be called about once a second. Errors: StoreError."""
        now_ms = self._wall_ms()
        if not any(0 < order.until_ms <= now_ms for order in self.by_carrier.values()):
            return
        async with self._one_at_a_time:
            with acting(_OVER):
                for order in list(self.by_carrier.values()):
                    if 0 < order.until_ms <= now_ms:
                        await self._end(order, by_itself=True)

    async def _end(self, order: CarrierOrder, *, by_itself: bool = False) -> None:
        now_ms, subject = self._wall_ms(), f"carrier:{order.carrier}"
        told = entry(now_ms, "carrier.resumed", subject, _shown(order), {"suspended": False})
        noticed = notice(
            now_ms,
            "carrier.resumed",
            subject,
            f"takes messages again: the time for which {order.who} suspended it is over",
            {"suspended_at": iso(order.since_ms)},
        )

        def put(txn: Transaction) -> None:
            txn.put_meta(_ROW, self._row(order.carrier, None))
            txn.audit(told)
            if by_itself:
                txn.notice([noticed])

        await self._commit(put)

    def _row(self, carrier: str, order: CarrierOrder | None) -> bytes:
        """All orders, with this one instead of the carrier's present one."""
        others = [one for name, one in self.by_carrier.items() if name != carrier]
        return msgspec.msgpack.encode(others if order is None else [*others, order])

    async def _commit(self, put: Callable[[Transaction], None]) -> None:
        with trio.CancelScope(shield=True):
            await self._committer.execute(put)
        self.reload()


def _shown(order: CarrierOrder | None) -> dict[str, object]:
    return {"suspended": False} if order is None else {"suspended": True, "until": iso(order.until_ms)}
