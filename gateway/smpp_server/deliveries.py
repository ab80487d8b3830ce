"""What accounts are told over their own sessions: rows of the outbox become deliver_sm, at least once.

Each account has a Port: its bound sessions and what waits for them. Rows come as hints right after the commit
that queued them; a port that fell behind, or was away, reads pages of the outbox instead. A row goes to
whichever receiver has room; rows of one message go one after the other. Receipts that stand in a row go
together, in turns over the receivers. The parts of a long MO go over one session, as its window has room.

- ESME_ROK: done. ESME_RX_P_APPN and ESME_RX_R_APPN: the customer does not want it; given up, and kept with
  the callbacks that were given up. So is what the account's `deliver_expiry_s` ended.
- Any other status, and no answer in time: again later, with growing pauses (3.4 section 5.1.3 says so of
  ESME_RX_T_APPN), until the account's `deliver_expiry_s`; an intermediate state never after the final one.
- A lost session: what it had not answered goes to another one, or waits for the next bind.

A port holds at most `_READY_MOST` rows and a window for each session, so a slow customer costs no memory and
delays nobody else. What is too old is given up a page at a time, the next one after the commit of the last.
Deliberately not here: bytes (deliver), binds (gate), callbacks over HTTP.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat, zip_longest
from operator import itemgetter
from typing import Any, Protocol

import structlog
import trio

from gateway.smpp_server.deliver import bodies, command_of, receipts, short
from gateway.world import World
from router.nouns import Account
from router.throttle import Throttle
from smpp.events import Answer
from smpp.session import Session
from smpp.status import Status
from store.interface import SMPP_ORIGIN, Endpoint, FreshRow, OutboxRow, ReceiptRow

log = structlog.get_logger("smpp")

_READY_MOST = 1_000
_PAGE = 500
_RETRY_FIRST_S = 1.0
_RETRY_MOST_S = 300.0
_PAUSE_S = 1.0
_REFUSALS = 5  # in a row, before an account is left alone for a moment
_LATER_MOST = 10_000
_JANITOR_S = 60.0
_BREATH_S = 0.05  # between two pages of what is too old
_CONTEXT = itemgetter(0)  # of an Answer
_ROWS = frozenset({ReceiptRow, OutboxRow})
_REFUSED_FOR_GOOD = frozenset({int(Status.ESME_RX_P_APPN), int(Status.ESME_RX_R_APPN)})


class Receiver(Protocol):
    """A bound session that takes deliver_sm."""

    session: Session

    def flush(self) -> None: ...


class Outbox(Protocol):
    """The part of `gateway.committer.Committer` that is used here."""

    on_commit: list[Callable[[], None]]

    @property
    def store(self) -> OutboxReads: ...
    def add_outbox_done(self, rows: Sequence[FreshRow]) -> None: ...
    def add_outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None: ...
    def add_outbox_given_up(self, rows: Sequence[OutboxRow], now_ms: int) -> None: ...


class OutboxReads(Protocol):
    def outbox_page(self, endpoint: int, after_seq: int, limit: int) -> list[OutboxRow]: ...
    def outbox_endpoints(self) -> dict[int, Endpoint]: ...
    def has_event(self, row: FreshRow) -> bool: ...
    def watch_events(self) -> None: ...
    def take_fresh_events(self) -> dict[int, list[FreshRow]]: ...


class Sending:
    """A row of several parts under way on one session: how many are not answered yet (`left`), which of these
    are not even sent (`rest`), and the worst status so far."""

    __slots__ = ("command", "left", "rest", "row", "session", "status")

    def __init__(self, row: OutboxRow, session: Session, command: int, parts: Sequence[bytes]) -> None:
        self.row = row
        self.session = session
        self.command = command
        self.rest = deque(parts)
        self.left = len(parts)
        self.status = 0

    def send(self, now: float) -> bool:
        """What the window has room for. False when nothing is under way: the session takes no more."""
        while self.rest and self.session.window_free > 0:
            self.session.submit_raw(self.rest.popleft(), self.command, now, self)
        return self.left != len(self.rest)

    def skip_rest(self) -> None:
        """One part was refused, so all will be sent again or none."""
        self.left -= len(self.rest)
        self.rest.clear()


class Place:
    """A receiver, and what was chosen for it: rows of one part each, and these as `bodies`."""

    __slots__ = ("bodies", "rows", "session", "turn", "version")

    def __init__(self, receiver: Receiver, turn: int) -> None:
        self.session = receiver.session
        self.version = self.session.peer_version
        self.turn = turn  # the next one's
        self.bodies: list[bytes] = []
        self.rows: list[FreshRow] = []

    @property
    def room(self) -> int:
        return self.session.window_free - len(self.rows)


def _submit(places: Sequence[Place], command: int, now: float) -> None:
    for place in places:
        if place.rows:
            place.session.submit_all(place.bodies, command, now, place.rows)


def _deal(port: Port, rows: list[ReceiptRow], places: list[Place], turns: Iterator[Place]) -> None:
    """Receipts for which there is room, in turns."""
    takers = list(islice(turns, len(rows)))
    port.turn = takers[-1].turn
    for version in {place.version for place in places}:
        bodies = receipts(rows, port.account, version)
        if len(places) == 1:
            places[0].rows += rows
            places[0].bodies += bodies
            return
        for place, row, body in zip(takers, rows, bodies, strict=True):
            if place.version == version:
                place.rows.append(row)
                place.bodies.append(body)


class Port:
    """One account's receivers and what waits for them."""

    __slots__ = (
        "account", "behind", "busy", "cursor", "delivered", "ended", "endpoint", "expired", "later",
        "overtaken", "parked", "paused_until", "ready", "receivers", "refusals", "refused",
        "retried", "silent", "throttle", "timer", "turn",
    )  # fmt: skip

    def __init__(self, account: Account) -> None:
        self.account = account
        self.endpoint = 0
        self.receivers: list[Receiver] = []
        self.ready: deque[FreshRow] = deque()
        self.ended: OutboxRow | None = None  # the last that was given up as too old
        self.cursor = 0  # the highest seq taken
        self.behind = True  # rows after the cursor are to be read from the outbox
        self.busy: set[int] = set()  # messages with a row under way
        self.parked: dict[int, deque[OutboxRow]] = {}  # their further rows
        self.later: set[int] = set()  # messages with an intermediate row that waits for its next attempt
        self.overtaken: set[int] = set()  # those of them whose final row has been delivered
        self.refusals = 0  # in a row
        self.turn = 0
        self.throttle = Throttle(account.deliver_rate, max(1, int(account.deliver_rate / 50)))
        self.paused_until = -math.inf
        self.timer = math.inf  # when to look again
        self.delivered = self.refused = self.retried = self.expired = 0
        self.silent = 0  # of those retried: not answered in time

    @property
    def in_flight(self) -> int:
        """Rows under way."""
        return len(self.busy)

    def places(self) -> tuple[list[Place], Iterator[Place]]:
        """One for each receiver; and these in turns, each as often as its window has room now."""
        receivers, turn = self.receivers, self.turn % len(self.receivers)
        places = [Place(receiver, number) for number, receiver in enumerate(receivers, 1)]
        each = [repeat(place, place.session.window_free) for place in places[turn:] + places[:turn]]
        return places, each[0] if len(each) == 1 else filter(None, chain.from_iterable(zip_longest(*each)))

    def receipts(self, most: int, oldest_ms: int) -> list[ReceiptRow]:
        """Those in front that may all go now; they are under way then. None where the first needs a look of
        its own."""
        busy, rows = self.busy, []
        for row in islice(self.ready, most):
            if type(row) is not ReceiptRow or row.message_id in busy or row.like.at_ms < oldest_ms:
                break
            busy.add(row.message_id)
            rows.append(row)
        if len(rows) == len(self.ready):
            self.ready.clear()
        else:
            for _ in rows:
                self.ready.popleft()
        return rows

    def take_up(self, row: OutboxRow) -> None:
        """Back to the front: it was not delivered."""
        self.release(row.message_id)
        self.ready.appendleft(row)

    def release(self, message_id: int) -> None:
        """No row of this message is under way any more: its next one may go."""
        self.busy.discard(message_id)
        waiting = self.parked.pop(message_id, None)
        if waiting is not None:
            self.ready.extendleft(reversed(waiting))


class Deliveries:
    """All ports. `run` must be running."""

    def __init__(self, committer: Outbox, world: World, account_of: Callable[[int], Account | None]) -> None:
        self.ports: dict[int, Port] = {}
        self._committer = committer
        self._store = committer.store
        self._world = world
        self._account_of = account_of
        self._by_endpoint: dict[int, Port] = {}
        self._timed: set[Port] = set()
        self._wake = trio.Event()
        self._stopped = False
        self._store.watch_events()

    # binds

    def join(self, account: Account, receiver: Receiver) -> Port:
        """A receiver is bound: what waits for its account may go."""
        port = self.ports.get(account.id)
        if port is None:
            port = self.ports[account.id] = Port(account)
        self.change(account)
        port.receivers.append(receiver)
        self.pump(port)
        return port

    def leave(self, port: Port, receiver: Receiver, unanswered: Sequence[object]) -> None:
        """A receiver is gone: what it did not answer goes to another one, or waits."""
        if receiver in port.receivers:
            port.receivers.remove(receiver)
        for context in reversed(unanswered):
            if isinstance(context, Sending):
                if context.left <= 0:
                    continue
                context.left = 0
                context = context.row
            if isinstance(context, FreshRow):
                port.take_up(context.whole())
        self.pump(port)

    def change(self, account: Account) -> None:
        """The account's settings have changed."""
        port = self.ports.get(account.id)
        if port is not None and port.account is not account:
            if port.account.deliver_rate != account.deliver_rate:
                port.throttle.change(account.deliver_rate, max(1, int(account.deliver_rate / 50)))
            port.account = account

    def stop(self) -> None:
        """Hand over nothing more; what is under way can still be answered."""
        self._stopped = True

    def hold(self, account_id: int) -> set[int]:
        """Send this account nothing more until `release`; the numbers of the rows that are under way."""
        port = self.ports.get(account_id)
        if port is None:
            return set()
        port.paused_until = math.inf
        port.behind = True
        rows = [
            context.row if isinstance(context, Sending) else context
            for receiver in port.receivers
            for context in receiver.session.unanswered()
        ]
        return {row.seq for row in rows if isinstance(row, FreshRow)}

    def release(self, account_id: int) -> None:
        """As before `hold`; what left the outbox meanwhile is forgotten."""
        port = self.ports.get(account_id)
        if port is None:
            return
        there = self._store.has_event
        port.ready = deque(row for row in port.ready if there(row))
        for message_id, rows in list(port.parked.items()):
            port.parked[message_id] = deque(row for row in rows if there(row))
        port.paused_until = -math.inf
        self.pump(port)

    # rows

    def on_commit(self) -> None:
        """Take what the commit queued for sessions."""
        for endpoint, rows in self._store.take_fresh_events().items():
            port = self._by_endpoint.get(endpoint) or self._find(rows[0])
            if port is None:
                continue
            if not port.behind:
                if rows[0].seq <= port.cursor:
                    rows = [row for row in rows if row.seq > port.cursor]
                room = _READY_MOST - len(port.ready) if port.receivers else 0
                if len(rows) > room:
                    port.behind = True
                    rows = rows[: max(0, room)]
                if rows:
                    port.ready.extend(rows)
                    port.cursor = rows[-1].seq
            self.pump(port)

    def _find(self, row: FreshRow) -> Port | None:
        port = self.ports.get(row.whole().event.account)
        if port is not None:
            port.endpoint = row.endpoint
            self._by_endpoint[row.endpoint] = port
        return port

    def _refill(self, port: Port) -> bool:
        """Read on in the outbox; False when there is nothing."""
        if not port.endpoint:
            for endpoint in self._store.outbox_endpoints().values():
                if endpoint.account == port.account.id and endpoint.origin == SMPP_ORIGIN:
                    port.endpoint = endpoint.id
                    self._by_endpoint[endpoint.id] = port
        page = self._store.outbox_page(port.endpoint, port.cursor, _PAGE) if port.endpoint else []
        if page:
            port.cursor = page[-1].seq
            port.ready.extend(map(short, page))
        if len(page) < _PAGE:
            port.behind = False
        return bool(page)

    def pump(self, port: Port) -> None:
        """Send what windows, rate and pauses allow."""
        if not port.receivers or self._stopped:
            return
        now = trio.current_time()
        if now < port.paused_until:
            self._look_again(port, port.paused_until)
            return
        ready, busy = port.ready, port.busy
        if not ready and not port.behind:
            return
        expired: list[OutboxRow] = []
        account = port.account
        command = command_of(account)
        oldest_ms = self._world.wall_ms() - account.deliver_expiry_s * 1000
        throttle = port.throttle if account.deliver_rate else None
        places, turns = port.places()
        before = len(busy)
        while ready or (port.behind and self._refill(port)):
            first = ready[0]
            if type(first) is ReceiptRow and throttle is None:
                receipts = port.receipts(sum(place.room for place in places), oldest_ms)
                if receipts:
                    _deal(port, receipts, places, turns)
                    continue
            row = first.whole()
            event = row.event
            message_id = event.message_id
            if message_id in busy:
                port.parked.setdefault(message_id, deque()).append(row)
                ready.popleft()
                continue
            if port.overtaken and not event.final and message_id in port.overtaken:
                port.overtaken.discard(message_id)
                self._committer.add_outbox_done([row])
                ready.popleft()
                continue
            if (event.since_ms or event.at_ms) < oldest_ms:
                if len(expired) >= _PAGE or (not expired and self._is_ending(port)):
                    port.paused_until = now + _BREATH_S
                    self._look_again(port, port.paused_until)
                    break
                expired.append(row)
                ready.popleft()
                continue
            if throttle is not None and throttle.available(now) < 1:
                self._look_again(port, throttle.next_at(1, now))
                break
            place = next(turns, None)
            if place is None:
                break
            port.turn = place.turn
            ready.popleft()
            busy.add(message_id)
            if throttle is not None:
                throttle.take(1, now)
            body, *more = parts = bodies(event, account, place.version)
            if more:
                if throttle is not None:
                    throttle.take(len(more), now)
                _submit(places, command, now)
                Sending(row, place.session, command, parts).send(now)
                places, turns = port.places()
                continue
            place.bodies.append(body)
            place.rows.append(row)
        if len(busy) > before:
            _submit(places, command, now)
            for receiver in port.receivers:
                receiver.flush()
        self._expire(port, expired)

    def _expire(self, port: Port, rows: Sequence[OutboxRow]) -> None:
        if not rows:
            return
        port.ended = rows[-1]
        port.expired += len(rows)
        log.warning("not delivered in time", account=port.account.name, events=len(rows))
        for row in rows:
            row.event.last_error = row.event.last_error or "its customer was not there in time"
        self._give_up(rows)

    def _is_ending(self, port: Port) -> bool:
        """Whether the commit of what was too old is still to come."""
        return port.ended is not None and self._store.has_event(port.ended)

    def _give_up(self, rows: Sequence[OutboxRow]) -> None:
        """Not tried again, and kept where an operator finds it."""
        self._committer.add_outbox_given_up(rows, self._world.wall_ms())

    # answers

    def answered_all(self, port: Port, answers: Sequence[Answer], done: list[FreshRow]) -> None:
        """`answered` for those that accept, of one read."""
        taken: list[Any] = list(map(_CONTEXT, answers))
        ids: list[int] = []
        if _ROWS.issuperset(map(type, taken)):
            ids = [row.message_id for row in taken]
        if not ids or port.later or not port.parked.keys().isdisjoint(ids):
            for context in taken:
                self.answered(port, context, 0, done)
            return
        port.delivered += len(taken)
        port.refusals = 0
        port.busy.difference_update(ids)
        done += taken

    def answered(self, port: Port, context: object, status: int, done: list[FreshRow]) -> None:
        """The customer answered a deliver_sm; what is finished goes into `done` (see `finish`)."""
        if isinstance(context, FreshRow):
            row = context.whole()
        elif isinstance(context, Sending):
            context.left -= 1
            context.status = context.status or status
            if status and context.left > 0:
                context.skip_rest()
            if context.left != 0:
                if not context.send(trio.current_time()):  # its session is about to end
                    context.left = 0
                    port.take_up(context.row)
                return
            row, status = context.row, context.status
        else:
            return
        if status == 0:
            port.delivered += 1
            port.refusals = 0
            done.append(row)
            message_id = row.event.message_id
            if port.later and message_id in port.later:
                port.later.discard(message_id)
                if row.event.final:
                    port.overtaken.add(message_id)
            port.busy.discard(message_id)
            if message_id in port.parked:
                port.release(message_id)
        elif status in _REFUSED_FOR_GOOD:
            port.refused += 1
            row.event.attempts += 1
            row.event.last_error = Status.name_of(status)
            self._tell(port, row, row.event.last_error)
            port.release(row.event.message_id)
            self._give_up([row])
        else:
            self._again(port, row, Status.name_of(status))

    def timed_out(self, port: Port, context: object) -> None:
        """No answer in time."""
        row = context.row if isinstance(context, Sending) else context
        if isinstance(context, Sending):
            if context.left <= 0:
                return
            context.left = -1 << 30
            context.rest.clear()
        if isinstance(row, FreshRow):
            port.silent += 1
            self._again(port, row.whole(), "no answer in time")

    def finish(self, port: Port, done: Sequence[FreshRow]) -> None:
        """COMMIT D for what was delivered; more may go."""
        if done:
            self._committer.add_outbox_done(done)
        self.pump(port)

    def _again(self, port: Port, row: OutboxRow, why: str) -> None:
        event = row.event
        event.attempts += 1
        event.last_error = why
        port.retried += 1
        if event.attempts == 1:
            self._tell(port, row, why)
        port.refusals += 1
        if not event.final and not event.part:
            waiting = port.parked.get(event.message_id, ())
            if any(other.event.final for other in waiting):  # it would come after the final state
                self._committer.add_outbox_done([row])
                port.release(event.message_id)
                return
            if len(port.later) < _LATER_MOST:
                port.later.add(event.message_id)
        wait_s = min(_RETRY_MOST_S, _RETRY_FIRST_S * 2.0 ** min(event.attempts - 1, 20))
        self._committer.add_outbox_retry([row], self._world.wall_ms() + int(wait_s * 1000))
        port.release(event.message_id)
        if port.refusals >= _REFUSALS:  # it is not this event: the customer takes nothing now
            port.paused_until = max(port.paused_until, trio.current_time() + _PAUSE_S)
            self._look_again(port, port.paused_until)

    def _tell(self, port: Port, row: OutboxRow, why: str) -> None:
        log.warning(
            "customer did not take an event",
            account=port.account.name,
            message_id=row.event.message_id,
            why=why,
            attempts=row.event.attempts,
        )

    # time

    def _look_again(self, port: Port, at: float) -> None:
        if at < port.timer:
            port.timer = at
            self._timed.add(port)
            self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after pauses and rates, and after what nobody came for."""
        self._committer.on_commit.append(self.on_commit)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_clean)
                task_status.started()
                while True:
                    self._wake = trio.Event()
                    at = min((port.timer for port in self._timed), default=math.inf)
                    with trio.move_on_at(at):
                        await self._wake.wait()
                    now = trio.current_time()
                    for port in [port for port in self._timed if port.timer <= now]:
                        self._timed.discard(port)
                        port.timer = math.inf
                        self.pump(port)
        finally:
            self._committer.on_commit.remove(self.on_commit)

    async def _keep_clean(self) -> None:
        """End what was kept too long for accounts that are not here; a task of its own, so that no customer's
        rate or pause waits for it."""
        while True:
            await trio.sleep(_JANITOR_S)
            for endpoint in list(self._store.outbox_endpoints().values()):
                if endpoint.origin == SMPP_ORIGIN:
                    await self._end_old(endpoint)

    async def _end_old(self, endpoint: Endpoint) -> None:
        """A page at a time, on as long as a whole page was too old."""
        after = 0
        while True:
            account, port = self._account_of(endpoint.account), self.ports.get(endpoint.account)
            if account is None or (port is not None and port.receivers):
                return
            page = self._store.outbox_page(endpoint.id, after, _PAGE)
            oldest_ms = self._world.wall_ms() - account.deliver_expiry_s * 1000
            old = [row for row in page if (row.event.since_ms or row.event.at_ms) < oldest_ms]
            if old:
                port = port or self.ports.setdefault(account.id, Port(account))
                taken = {row.seq for row in port.ready}
                self._expire(port, [row for row in old if row.seq not in taken])
            await trio.sleep(_BREATH_S if old else 0)
            if port is None or len(old) < _PAGE:
                return
            while self._is_ending(port):
                await trio.sleep(_BREATH_S)
            after = page[-1].seq
