"""Messages in lanes that the configuration has no more: planned anew, through the routes there are. Those
that other limits of a carrier are for than before, or whose country a carrier is out for, keep their lane, in
its variant for these.

A job with the lowest claim on the writer: a portion, a breath, the next one. It may be stopped anywhere and
goes on at the next start, because what is left to do is what still waits in such a lane. What has no route at
all is held, where operators see it, and asked for again at every start and whenever routes change.

Deliberately not here: moving the records (store.replan), which routes there are (gateway.reload).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
import trio

from gateway.carriers.lanes import LaneBoard
from gateway.committer import Committer
from router.nouns import Encoding, Message
from router.routes import Route, RouteTable
from store.interface import Replanned, Store, StoreError, Transaction

log = structlog.get_logger("replan")

_PORTION = 300
_LOOK_S = 1.0
_BREATH_S = 0.01


class Replan:
    def __init__(
        self,
        store: Store,
        committer: Committer,
        board: LaneBoard,
        routes: RouteTable,
        wall_ms: Callable[[], int],
        *,
        portion: int = _PORTION,
    ) -> None:
        self._store = store
        self._committer = committer
        self._board = board
        self._routes = routes
        self._wall_ms = wall_ms
        self._changed = trio.Event()
        self._portion = portion

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changed = self._changed
            await self._follow_limits()
            await self._ask_again()
            while changed is self._changed:
                await self._follow_limits()
                for lane in sorted(self._store.ready_lanes()):
                    if not self._board.in_force(lane) and not self._board.take_up(lane):
                        await self._empty(lane)
                with trio.move_on_after(_LOOK_S):
                    await changed.wait()

    def change(self, routes: RouteTable) -> None:
        """By these from now on; what was held for want of a route is asked for again."""
        self._routes = routes
        self._changed.set()
        self._changed = trio.Event()

    def decide(self, message: Message) -> int:
        """The lane that the message would get today, 0 for none."""
        route = self.route_in(self._routes, message)
        lane = self.lane_in(message, route.lane) if route is not None else 0
        return 0 if isinstance(lane, str) else lane

    def lane_in(self, message: Message, lane: int) -> int | str:
        """The lane that the message would get of a route's `lane`, or why it cannot go there."""
        total = message.relay.total if message.relay is not None else 0
        content = message.data if message.encoding == Encoding.BINARY else message.text
        if lane in self._board.choosing:
            account = self._store.accounts().get(message.account)
            pays = account.rate_card if account is not None else ""
            lane = self._board.chosen(lane, message.destination, message.source, pays)
            if not lane:  # the margin guard
                return "no carrier there leaves the margin"
        lane = self._board.lane_for(lane, message.encoding, message.segments, content, message.udh, total)
        if not lane:
            return "too long: more parts than the carriers there take"
        return self._board.lane_under(lane, message.destination, message.source)

    def route_named(self, name: str) -> Route | None:
        """A route that is in force."""
        return next((route for route in self._routes.routes if route.name == name), None)

    def route_in(self, routes: RouteTable, message: Message) -> Route | None:
        """The route that the message would get by these, in force or not."""
        total = message.relay.total if message.relay is not None else 0
        if routes.prefix_only:
            return routes.match(message.destination)
        account = self._store.accounts().get(message.account)
        return routes.decide(
            message.destination,
            message.source,
            message.source_ton,
            account.name if account is not None else "",
            account.group if account is not None else "",
            message.message_class,
            message.tags,
            "" if total > 1 else message.text,
            message.encoding,
            total if total > 1 else message.segments,
            max(message.send_at_ms, self._wall_ms()),
        )

    async def _empty(self, lane: int) -> None:
        moved = held = 0
        handled = self._portion
        while handled >= self._portion:
            try:
                done = await self._committer.execute(partial(self._portion_of, lane))
            except StoreError as error:
                log.error("planning anew postponed", error=str(error), hint=error.hint)
                break
            moved, held, handled = moved + done.moved, held + done.held, done.handled
            await trio.sleep(_BREATH_S)
        if moved or held:
            names = [self._store.carrier_name(carrier) for carrier in self._store.lane(lane).carriers]
            tell = log.warning if held else log.info
            tell(
                "messages waited in a lane that no route has any more, and were planned anew",
                carriers=names,
                planned_anew=moved,
                held_without_a_route=held,
            )

    def _portion_of(self, lane: int, txn: Transaction) -> Replanned:
        return txn.replan(lane, self.decide, self._portion)

    async def _follow_limits(self) -> None:
        """Carriers' limits on some messages are for others than they were, or one is out for a country."""
        board = self._board
        while board.to_plan:
            lane = board.to_plan.pop()
            if not board.in_force(lane) or lane not in self._store.ready_lanes():
                continue
            after, moved = b"", 0
            while True:
                try:
                    done = await self._committer.execute(partial(self._limited, lane, after))
                except StoreError as error:
                    log.error("planning anew postponed", error=str(error), hint=error.hint)
                    board.to_plan.add(lane)
                    return
                moved, after = moved + done.moved, done.after
                if not after:
                    break
                await trio.sleep(_BREATH_S)
            if moved:
                log.info(
                    "messages that wait stand under other limits, or with others to their country",
                    count=moved,
                )

    def _limited(self, lane: int, after: bytes, txn: Transaction) -> Replanned:
        """One portion, in the gateway's loop or the writer's thread: lanes may be others by now."""
        if not self._board.in_force(lane):
            return Replanned()
        return txn.replan(lane, partial(self._board.lane_now, lane), self._portion, after)

    async def _ask_again(self) -> None:
        """Routes may have appeared since messages were held for want of one."""
        after: tuple[int, int] | None = (0, 0)
        released = 0
        while after is not None:
            at = after
            try:
                portion = await self._committer.execute(
                    lambda txn, at=at: txn.replan_held(self.decide, at, self._portion)  # type: ignore[misc]
                )
            except StoreError as error:
                log.error("planning anew postponed", error=str(error), hint=error.hint)
                await trio.sleep(_LOOK_S)
                continue
            released, after = released + portion.count, portion.after
            await trio.sleep(_BREATH_S)
        if released:
            log.info("messages held for want of a route have one again", count=released)
