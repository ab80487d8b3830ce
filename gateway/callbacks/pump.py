"""The pump: rows of the outbox become requests, at least once, each account's in commit order as they start.

One task looks at all endpoints after a commit and starts workers where rows are ready; a worker owns one
connection to one endpoint and takes rows until none are left. What a POST ended as goes to the committer
(COMMIT D) and into plain counters.

- 2xx: done. Anything else: the rows' attempts and last_error are written and they come back after the next
  delay of the schedule, or what Retry-After said. After the last delay a row is given up: counted, logged
  and kept beside the outbox, where an operator finds it and can put it back.
- 410 of an account's own URL: it is not called any more, and its events are given up (and so kept), until
  somebody sets it anew or enables it; other URLs of the endpoint go on. 410 of a message's URL disables the
  endpoint for a day; its other rows stay where they are. Retry-After pauses it. A run of failures opens its
  circuit (endpoint.py). None of that touches another endpoint.
- The number of connections, of rows in memory and of rows waiting for their commit are all limited.

Deliberately not here: who gets which event (the store writes rows), how a request looks (formats), the
operator's listing of dead rows, what an answer to an inbound message starts (replies).
"""

from __future__ import annotations

import random
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog
import trio

from gateway.callbacks.client import (
    Connection,
    Dialer,
    NotDelivered,
    Reply,
    Stale,
    open_connection,
    retry_after_s,
    tls_context,
)
from gateway.callbacks.endpoint import Attempt, EndpointState, Health
from gateway.callbacks.formats import BY_NAME, Answer, Format, Outgoing
from gateway.callbacks.formats.standard import MAX_BATCH
from gateway.callbacks.guard import Guard, Refused, Target, parse_filled_url, parse_url
from gateway.callbacks.settings import CallbackSettings
from gateway.callbacks.terms import format_of, terms_of
from router.nouns import Account, Event, EventKind
from store.interface import SMPP_ORIGIN, Endpoint, OutboxRow
from store.outbox import account_url

_Origin = tuple[str, str, int, bool, bool]  # scheme, host, port, may be private, answers are read

log = structlog.get_logger("callbacks")

_SWEEP_SHARE = 20  # a sweep may take at most 1/20 of the time
_SWEEP_GAP_S = 0.001
_REWIND_S = 1.0
_IDLE_LOOK_S = 5.0
_NO_URL_S = 3600.0
_MIN_RETRY_AFTER_S = 1.0
_BATCHING = frozenset(name for name, form in BY_NAME.items() if form.batches)


class OutboxReads(Protocol):
    """The part of `store.interface.Store` that is read here."""

    def outbox_page(self, endpoint: int, after_seq: int, limit: int) -> list[OutboxRow]: ...
    def outbox_endpoints(self) -> dict[int, Endpoint]: ...
    def accounts(self) -> dict[int, Account]: ...


class Outbox(Protocol):
    """The part of `gateway.committer.Committer` that is used here."""

    on_commit: list[Callable[[], None]]

    @property
    def store(self) -> OutboxReads: ...
    def add_outbox_done(self, rows: Sequence[OutboxRow]) -> None: ...
    def add_outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None: ...
    def add_outbox_given_up(self, rows: Sequence[OutboxRow], now_ms: int) -> None: ...


class Outside(Dialer, Protocol):
    """The part of `gateway.world.World` that is used here."""

    rng: random.Random

    def wall_ms(self) -> int: ...


class Trial(NamedTuple):
    """One request that was made to see what comes back. `error` is "" where it was taken."""

    request: Outgoing
    status: int  # 0: no answer
    body: bytes
    error: str
    duration_s: float


# An account's URL said 410: keep that it is not called any more.
Gone = Callable[[Account, str], Awaitable[None]]
# An inbound message was answered with a body. `settled(True)` once what it starts and that the event is done
# are committed together, `settled(False)` where nothing is; returns False where it starts nothing.
Answered = Callable[[Account, OutboxRow, bytes, Callable[[bool], None]], bool]


class CallbackPump:
    """Call `run` in a nursery; `stop` ends it politely.

    `attempts` counts requests by outcome (OUTCOMES), `observe(seconds)` is called with each one's duration.
    """

    OUTCOMES = ("delivered", "failed", "refused", "timeout", "gone", "unreachable")

    def __init__(
        self, committer: Outbox, world: Outside, settings: CallbackSettings, guard: Guard | None = None
    ) -> None:
        self.guard = guard or Guard(settings.allow_private)
        self.attempts: Counter[str] = Counter()
        self.events_delivered = 0
        self.events_given_up = 0
        self.observe: Callable[[float], object] | None = None
        self.gone: Gone | None = None
        self.answered: Answered | None = None
        self._committer = committer
        self._store = committer.store
        self._world = world
        self._settings = settings
        self._states: dict[int, EndpointState] = {}
        self._connections = 0
        self._waiting = False  # somebody wanted a worker and there was no room
        self._doubtful = 0  # workers of endpoints not known to answer
        self._turn = 0
        self._accounts: dict[int, Account] = {}
        self._commits = 0
        self._settling: deque[tuple[int, EndpointState, Sequence[OutboxRow]]] = deque()
        self._unsettled = 0
        self._wake = trio.Event()
        self._stopping = False
        self._running = False
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        self._context: ssl.SSLContext | None = None
        self._nursery: trio.Nursery | None = None
        self._going: set[tuple[int, str]] = set()  # accounts' URLs that said 410, while that is being kept

    # what others see

    def endpoints(self) -> list[EndpointState]:
        """Every endpoint seen, for an operator's list. Read only."""
        return list(self._states.values())

    def health(self) -> Mapping[str, int]:
        """Endpoints by health, for a gauge."""
        count = Counter(state.health.value for state in self._states.values())
        return {health.value: count[health.value] for health in Health}

    @property
    def connections(self) -> int:
        return self._connections

    @property
    def longest_s(self) -> float:
        """How long one attempt may take."""
        return self._settings.connect_timeout_s + self._settings.timeout_s

    def why(self, endpoint: int, now: float) -> tuple[str, int]:
        """Why this endpoint's rows wait, "" if they should go; and what changes while others are served."""
        state = self._states.get(endpoint)
        if self._stopping:
            return "shutting down", 0
        if state is None:
            return "", 0
        account = self._accounts.get(state.account)
        if state.held:
            return "its events are being moved", 0
        if now < state.resume_at:
            return state.health.value, 0
        if not state.endpoint.origin and not _has_url(account):
            return "no callback URL", 0
        if self._unsettled > self._settings.max_unsettled:
            return "answers wait for their commit", 0
        in_line = not state.workers and not self._has_room(state)
        return "", self.attempts.total() if in_line else 0

    def enable(self, endpoint: int) -> bool:
        """Try a disabled, paused or open endpoint now. False when it is not known."""
        state = self._states.get(endpoint)
        if state is None:
            return False
        state.reopen()
        self._wake.set()
        return True

    def hold(self, endpoint: int) -> set[int]:
        """Send nothing more there until `release`; the numbers of the rows that are under way."""
        state = self._states.get(endpoint)
        if state is None:
            known = self._store.outbox_endpoints()[endpoint]
            state = self._states[endpoint] = EndpointState(known)
        state.held = True
        state.let_go()
        return set(state.taken)

    def release(self, endpoint: int) -> None:
        """As before `hold`."""
        state = self._states.get(endpoint)
        if state is not None:
            state.held = False
            self._wake.set()

    # settings

    def change(self, settings: CallbackSettings, context: ssl.SSLContext) -> None:
        """Others from the next attempt on; `context` is that of `settings.ca_file`."""
        self._settings, self._context = settings, context
        self.guard.allow_private = settings.allow_private

    # lifetime

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until `stop`. What is cancelled in the middle stays in the outbox and is sent again."""
        self._context = tls_context(self._settings.ca_file)
        self._committer.on_commit.append(self._on_commit)
        self._running = True
        task_status.started()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._look_after(nursery)
        finally:
            self._committer.on_commit.remove(self._on_commit)
            self._ended.set()

    async def stop(self, within_s: float) -> None:
        """Start nothing new, let POSTs under way end for `within_s`, then cut. Returns once `run` ended."""
        self._stopping = True
        self._scope.deadline = trio.current_time() + within_s
        for state in self._states.values():
            state.parked = 0
            state.parking.unpark_all()
        self._wake.set()
        if self._running:
            await self._ended.wait()

    def _on_commit(self) -> None:
        self._commits += 1
        self._wake.set()

    async def _look_after(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        while not self._stopping:
            self._wake = trio.Event()
            started = trio.current_time()
            look_at = self._sweep(nursery, started)
            now = trio.current_time()
            # However many endpoints there are, looking at them takes a small share of the loop.
            await trio.sleep(max(_SWEEP_GAP_S, (now - started) * _SWEEP_SHARE))
            with trio.move_on_at(look_at):
                await self._wake.wait()

    # deciding: everything from here to `_work` is synchronous

    def _sweep(self, nursery: trio.Nursery, now: float) -> float:
        """Start or wake workers where rows are ready; when to look again without a commit."""
        self._forget_settled()
        endpoints = self._store.outbox_endpoints()
        self._accounts = self._store.accounts()
        for id, endpoint in endpoints.items():
            if id not in self._states and endpoint.origin != SMPP_ORIGIN:
                self._states[id] = EndpointState(endpoint)
        self._doubtful = sum(state.workers for state in self._states.values() if not state.proven)
        look_at = now + _IDLE_LOOK_S
        for state in self._in_turn():
            if state.id not in endpoints and not state.workers and not state.taken:
                del self._states[state.id]
            elif state.resume_at > now:
                look_at = min(look_at, state.resume_at)
            else:
                self._staff(nursery, state, now)
        return look_at

    def _in_turn(self) -> list[EndpointState]:
        """All endpoints, each time from another one; healthy ones first if room is short."""
        states = list(self._states.values())
        self._turn = (self._turn + 1) % len(states) if states else 0
        states = states[self._turn :] + states[: self._turn]
        if self._waiting:
            states.sort(key=lambda state: (state.failures, state.workers))
        self._waiting = False
        return states

    def _staff(self, nursery: trio.Nursery, state: EndpointState, now: float) -> None:
        if state.closed(now) or self._unsettled > self._settings.max_unsettled:
            return
        account = self._accounts.get(state.account)
        if not state.endpoint.origin and not _has_url(account):
            return  # nowhere to send: the rows wait for a session or a URL
        batch = _batch_of(account)
        if len(state.ready) < batch:
            self._refill(state, batch, now)
        for _ in range(min(state.wanted(batch), state.allowed - state.workers + state.parked)):
            if state.parked:
                state.parked -= 1
                state.parking.unpark()
            elif self._has_room(state):
                state.workers += 1
                self._connections += 1
                self._doubtful += not state.proven
                nursery.start_soon(self._work, state)
            else:
                self._waiting = True
                self._evict(state)
                return

    def _has_room(self, state: EndpointState) -> bool:
        """Half of the connections are kept for endpoints that are known to answer."""
        if self._connections >= self._settings.connections:
            return False
        return state.proven or self._doubtful < max(1, self._settings.connections // 2)

    def _makes_way(self, state: EndpointState, since: float) -> bool:
        """Others wait: who fails gives its connection up at once, who is busy after its turn."""
        if not self._waiting:
            return False
        if state.failures and not state.proven:
            return True
        is_full = self._connections >= self._settings.connections
        return is_full and trio.current_time() - since > self._settings.turn_s

    def _evict(self, wanting: EndpointState) -> None:
        """Ask one idle worker of another endpoint to leave."""
        for state in self._states.values():
            if state is not wanting and state.parked:
                state.parked -= 1
                state.leaving += 1
                state.parking.unpark()
                return

    def _refill(self, state: EndpointState, batch: int, now: float) -> None:
        """Read on from the cursor; often enough from the start, for rows that came back behind it."""
        if not state.taken or now >= state.rewind_at:
            state.cursor = 0
            state.rewind_at = now + _REWIND_S
        limit = max(self._settings.page, batch) if state.proven else batch
        taken = state.taken
        while True:
            page = self._store.outbox_page(state.id, state.cursor, limit)
            if page:
                state.cursor = page[-1].seq
            fresh = [row for row in page if row.seq not in taken]
            taken.update(row.seq for row in fresh)
            state.ready.extend(fresh)
            if fresh or len(page) < limit:
                return

    def _take(self, state: EndpointState) -> tuple[list[OutboxRow], Account | None]:
        """The rows of the next POST: of one URL, in order; [] when there is nothing to do now."""
        now = trio.current_time()
        if self._stopping or state.closed(now) or self._unsettled > self._settings.max_unsettled:
            return [], None
        account = self._accounts.get(state.account)
        batch = _batch_of(account)
        ready = state.ready
        if len(ready) < batch:
            self._refill(state, batch, now)
        if not ready:
            return [], None
        state.trying()
        rows = [ready.popleft()]
        if batch > 1 and account is not None and not _goes_alone(rows[0]):
            url = _url_of(rows[0].event, account)
            while (
                ready
                and len(rows) < batch
                and not _goes_alone(ready[0])
                and _url_of(ready[0].event, account) == url
            ):
                rows.append(ready.popleft())
        return rows, account

    # delivering

    async def _work(self, state: EndpointState) -> None:
        """One worker: one connection to one endpoint, kept while there are rows."""
        line: _Line = _Line()
        started = trio.current_time()
        try:
            while True:
                rows, account = self._take(state)
                if rows:
                    await self._deliver(state, rows, account, line)
                elif not await self._rest(state):
                    return
                if self._makes_way(state, started):
                    return
        finally:
            state.workers -= 1
            self._connections -= 1
            self._wake.set()
            with trio.CancelScope(shield=True):
                await line.aclose()

    async def _rest(self, state: EndpointState) -> bool:
        """Wait for rows; False when the worker should end."""
        if self._stopping:
            return False
        state.parked += 1
        with trio.move_on_after(self._settings.idle_s):
            await state.parking.park()
            if state.leaving:
                state.leaving -= 1
                return False
            return not self._stopping
        state.parked -= 1
        return False

    async def _deliver(
        self, state: EndpointState, rows: list[OutboxRow], account: Account | None, line: _Line
    ) -> None:
        event = rows[0].event
        url = _url_of(event, account) if account is not None else ""
        if account is None or not url:
            self._retry_unchanged(state, rows, "no callback URL")
            return
        if account.callbacks_gone and not event.url and url in account.callbacks_gone:
            state.probing = False
            self._give_up_gone(state, rows)
            return
        started = trio.current_time()
        reply: Reply | None = None
        form = format_of(account, event)
        try:
            outgoing = self._rendered(form, rows, account, url)
            if outgoing is None:  # nothing that its receiver asked for
                state.probing = False
                self._settle(state, rows)
                self._committer.add_outbox_done(rows)
                return
            reply = await self._send(line, outgoing, account.private_callbacks, form.reads_answer)
            outcome = "delivered" if form.took(Answer(reply.status, reply.body)) else "failed"
            error = f"HTTP {reply.status}" + ("" if reply.status >= 300 else ", not what the format asks for")
        except Refused as exc:
            outcome, error = "refused", f"refused: {exc}"
        except trio.TooSlowError:
            outcome, error = "timeout", f"no answer within {self._settings.timeout_s:g} s"
        except NotDelivered as exc:
            outcome, error = "unreachable", str(exc)
        except trio.Cancelled:
            # Not known to have arrived, so it stays in the outbox and is sent again.
            state.taken.difference_update(row.seq for row in rows)
            raise
        except Exception:
            # One event that cannot be sent must not end all callbacks: it is retried and then given up.
            log.exception("callback broke", endpoint=state.id, message_id=event.message_id)
            outcome, error = "failed", "internal error"
        duration_s = trio.current_time() - started
        if self.observe is not None:
            self.observe(duration_s)
        told = "" if outcome == "delivered" else error
        if reply is not None and reply.status == 410:
            outcome = "gone"
        now_ms = self._world.wall_ms()
        state.recent.append(Attempt(now_ms, event.message_id, len(rows), outcome, told, duration_s))
        if outcome == "gone" and not event.url and self._close(account, url):
            self.attempts[outcome] += 1
            state.succeeded(self._settings.concurrency_per_endpoint)  # it answers, and is not to be probed
            self._give_up_gone(state, rows)
        elif outcome == "delivered":
            self._delivered(state, rows, account, reply.body if reply is not None else b"")
        else:
            await line.aclose()
            self._failed(state, rows, outcome, error, reply, form.early_s)

    def _rendered(self, form: Format, rows: list[OutboxRow], account: Account, url: str) -> Outgoing | None:
        chance = self._world.rng.getrandbits(128) if account.callback_signature else 0
        events = [row.event for row in rows]
        return form.render(events, terms_of(account, events[0], url, self._world.wall_ms(), chance))

    async def _send(self, line: _Line, outgoing: Outgoing, allow_private: bool, reads: bool) -> Reply:
        """Errors: Refused, NotDelivered, TooSlowError."""
        target = (parse_url if outgoing.body else parse_filled_url)(outgoing.url)
        return await self._post(line, target, self._request(target, outgoing), allow_private, reads)

    async def try_now(self, account: Account, event: Event, url: str) -> Trial:
        """This event, sent outside any queue, once, to see what the receiver makes of it.

        Errors: Refused, for an event that its format does not know, too.
        """
        form = format_of(account, event)
        outgoing = self._rendered(form, [OutboxRow(0, 0, event)], account, url)
        if outgoing is None:
            raise Refused("the account's format does not know such an event")
        line = _Line()
        started = trio.current_time()
        status, body, error = 0, b"", ""
        try:
            reply = await self._send(line, outgoing, account.private_callbacks, True)
            status, body = reply.status, reply.body
            if not form.took(Answer(status, body)):
                error = f"HTTP {status}" + ("" if status >= 300 else ", not what the format asks for")
        except Refused as exc:
            error = f"refused: {exc}"
        except trio.TooSlowError:
            error = f"no answer within {self._settings.timeout_s:g} s"
        except NotDelivered as exc:
            error = str(exc)
        finally:
            with trio.CancelScope(shield=True):
                await line.aclose()
        return Trial(outgoing, status, body, error, trio.current_time() - started)

    async def _post(
        self, line: _Line, target: Target, request: bytes, allow_private: bool, reads: bool
    ) -> Reply:
        """One request, on the line's connection if it works. Errors: Refused, NotDelivered, TooSlowError."""
        settings = self._settings
        origin = (target.scheme, target.host, target.port, allow_private, reads)
        connection = line.connection
        if connection is not None and connection.alive and line.fits(origin):
            try:
                with trio.fail_after(settings.timeout_s):
                    return await connection.post(request)
            except Stale:
                pass
        await line.aclose()
        try:
            with trio.fail_after(settings.connect_timeout_s):
                connection = await open_connection(
                    self._world,
                    self.guard,
                    target,
                    allow_private,
                    self._context,
                    settings.max_answer_bytes,
                    reads,
                )
        except trio.TooSlowError:
            raise NotDelivered(f"cannot connect within {settings.connect_timeout_s:g} s") from None
        line.hold(connection, origin, trio.current_time() + settings.connection_age_s)
        with trio.fail_after(settings.timeout_s):
            return await connection.post(request)

    def _request(self, target: Target, outgoing: Outgoing) -> bytes:
        fields = "".join(f"{name}: {value}\r\n" for name, value in outgoing.headers)
        body = outgoing.body
        if outgoing.method != "GET":
            fields += f"Content-Length: {len(body)}\r\n"
        return b"%b %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: %b\r\n%b\r\n%b" % (
            outgoing.method.encode(),
            target.path,
            target.host_header,
            self._settings.user_agent.encode(),
            fields.encode(),
            body,
        )

    # what a request ended as

    def _delivered(self, state: EndpointState, rows: list[OutboxRow], account: Account, body: bytes) -> None:
        self.attempts["delivered"] += 1
        self.events_delivered += len(rows)
        if state.failures or not state.proven or state.allowed < self._settings.concurrency_per_endpoint:
            if state.failures:
                log.info("endpoint answers again", endpoint=state.id, origin=state.endpoint.origin)
            state.succeeded(self._settings.concurrency_per_endpoint)
            self._wake.set()
        if body and self.answered is not None and rows[0].event.kind == EventKind.MO:

            def settled(kept: bool) -> None:
                """Not kept: it waits for its next attempt, and is answered again."""
                if kept:
                    self._settle(state, rows)
                else:
                    self._schedule(state, rows, "its answer was not kept", self._world.wall_ms(), 0.0, ())

            if self.answered(account, rows[0], body, settled):
                return
        self._settle(state, rows)
        self._committer.add_outbox_done(rows)

    def _failed(
        self,
        state: EndpointState,
        rows: list[OutboxRow],
        outcome: str,
        error: str,
        reply: Reply | None,
        early_s: Sequence[float] = (),
    ) -> None:
        settings = self._settings
        now, now_ms = trio.current_time(), self._world.wall_ms()
        pause_s = 0.0
        if reply is not None and reply.status == 410:
            outcome, error, pause_s = "gone", "HTTP 410: endpoint disabled", settings.gone_s
        elif reply is not None and reply.retry_after:
            asked_s = retry_after_s(reply.retry_after, now_ms / 1000)
            pause_s = min(settings.retry_after_cap_s, max(_MIN_RETRY_AFTER_S, asked_s))
        self.attempts[outcome] += 1
        state.failed(error, now, settings.breaker_failures, settings.probe_max_s, self._world.rng.random())
        if pause_s:
            state.shut(Health.DISABLED if outcome == "gone" else Health.PAUSED, now + pause_s)
        self._tell(state, error, len(rows))
        self._wake.set()
        self._schedule(state, rows, error, now_ms, pause_s, early_s)

    def _close(self, account: Account, url: str) -> bool:
        """Keep that an account's URL is not called any more; False where nobody keeps it."""
        if self.gone is None or self._nursery is None:
            return False
        if (account.id, url) not in self._going:
            self._going.add((account.id, url))
            self._nursery.start_soon(self._keep_gone, self.gone, account, url)
        return True

    async def _keep_gone(self, gone: Gone, account: Account, url: str) -> None:
        try:
            await gone(account, url)
        finally:
            self._going.discard((account.id, url))

    def _give_up_gone(self, state: EndpointState, rows: list[OutboxRow]) -> None:
        """Kept for whoever enables the URL again; the event log has one line for all of them."""
        for row in rows:
            row.event.last_error = "HTTP 410: the URL is not called any more"
        self.events_given_up += len(rows)
        self._settle(state, rows)
        self._committer.add_outbox_given_up(rows, self._world.wall_ms())

    def _tell(self, state: EndpointState, error: str, events: int) -> None:
        """A line for the first failure in a row and for each time the endpoint is shut, not for each POST."""
        if state.failures == 1 or state.resume_at:
            log.warning(
                "callback failed",
                endpoint=state.id,
                origin=state.endpoint.origin,
                error=error,
                events=events,
                health=state.health.value,
                in_a_row=state.failures,
            )

    def _schedule(
        self,
        state: EndpointState,
        rows: list[OutboxRow],
        error: str,
        now_ms: int,
        pause_s: float,
        early_s: Sequence[float],
    ) -> None:
        """Write the rows' next attempt; those of the same attempt share a due time."""
        by_due: dict[int, list[OutboxRow]] = {}
        delays: dict[int, int] = {}
        given_up: list[OutboxRow] = []
        for row in rows:
            attempts = row.event.attempts = row.event.attempts + 1
            row.event.last_error = error
            if attempts > len(self._settings.retry_s):
                self._give_up(row, state)
                given_up.append(row)
                continue
            due_ms = delays.get(attempts)
            if due_ms is None:
                due_ms = delays[attempts] = now_ms + int(self._delay_s(attempts, pause_s, early_s) * 1000)
            by_due.setdefault(due_ms, []).append(row)
        self._settle(state, rows)
        for due_ms, group in by_due.items():
            self._committer.add_outbox_retry(group, due_ms)
        if given_up:
            self._committer.add_outbox_given_up(given_up, now_ms)

    def _delay_s(self, attempts: int, pause_s: float, early_s: Sequence[float]) -> float:
        settings = self._settings
        spread = 1 + settings.jitter * (2 * self._world.rng.random() - 1)
        usual_s = early_s[attempts - 1] if attempts <= len(early_s) else settings.retry_s[attempts - 1]
        return max(pause_s, usual_s * spread)

    def _give_up(self, row: OutboxRow, state: EndpointState) -> None:
        self.events_given_up += 1
        log.error(
            "callback given up",
            endpoint=state.id,
            origin=state.endpoint.origin,
            message_id=row.event.message_id,
            attempts=row.event.attempts,
            error=row.event.last_error,
        )

    def _retry_unchanged(self, state: EndpointState, rows: list[OutboxRow], why: str) -> None:
        """Nobody to tell yet: later, without counting an attempt."""
        for row in rows:
            row.event.last_error = why
        state.probing = False
        self._settle(state, rows)
        self._committer.add_outbox_retry(rows, self._world.wall_ms() + int(_NO_URL_S * 1000))

    # rows between their answer and their commit

    def _settle(self, state: EndpointState, rows: Sequence[OutboxRow]) -> None:
        self._settling.append((self._commits, state, rows))
        self._unsettled += len(rows)

    def _forget_settled(self) -> None:
        """Two commits later the rows are gone from the outbox: the first may have been under way already."""
        settling, sure = self._settling, self._commits - 2
        while settling and settling[0][0] <= sure:
            _, state, rows = settling.popleft()
            state.taken.difference_update(row.seq for row in rows)
            self._unsettled -= len(rows)


class _Line:
    """A worker's connection, what it was made for and how long it is good."""

    __slots__ = ("connection", "good_until", "origin")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.origin: _Origin | None = None
        self.good_until = 0.0

    def hold(self, connection: Connection, origin: _Origin, good_until: float) -> None:
        self.connection, self.origin, self.good_until = connection, origin, good_until

    def fits(self, origin: _Origin) -> bool:
        """Was it made for this origin, under the same rights, and not so long ago that DNS may have moved?"""
        return self.origin == origin and trio.current_time() < self.good_until

    async def aclose(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.aclose()


def _batch_of(account: Account | None) -> int:
    if account is None or account.callback_batch < 2 or account.callback_format not in _BATCHING:
        return 1
    return min(MAX_BATCH, account.callback_batch)


def _goes_alone(row: OutboxRow) -> bool:
    """What has a format of its own; and a receiver that refused the content of a batch refuses perhaps one
    event of it: find out which."""
    return row.event.callback is not None or row.event.last_error.startswith("HTTP 4")


def _url_of(event: Event, account: Account) -> str:
    return event.url or account_url(account, event)


def _has_url(account: Account | None) -> bool:
    return account is not None and bool(account.callback_url or account.mo_url)
