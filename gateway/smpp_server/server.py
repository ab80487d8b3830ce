"""Our SMSC side put together: listeners, connections, and what the binds of one account share.

One task sweeps the timers of all connections, so that an idle bind costs two parked tasks and nothing else.

Deliberately not here: a connection's life (connection), bytes, decisions about messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
import trio

from config.model import SmppConfig
from gateway.accounts import Accounts
from gateway.committer import Committer
from gateway.door import Accepted, Door, Refusal, Request
from gateway.smpp_server.connection import Connection
from gateway.smpp_server.deliveries import Deliveries, Port
from gateway.smpp_server.gate import Gate
from gateway.smpp_server.listener import Peer, SmppListeners
from gateway.smpp_server.operations import Operations
from gateway.smpp_server.outbind import Outbinds
from gateway.submit_rates import SubmitRates
from gateway.world import World
from router.nouns import Account
from smpp.pdu import AlertNotification
from smpp.session import SessionSettings
from smpp.states import WrongState
from store.interface import Store, StoreError

log = structlog.get_logger("smpp")

_SWEEP_S = 0.5
_WRITE_DOWN_S = 60.0
_GOOD = "smpp:good"
_ANSWER_S = 5.0  # at shutdown, for answers that are due on either side
_UNBIND_S = 5.0  # and for customers to answer our unbind
_STOPPING = "the gateway is shutting down"
_BEFORE_BIND = 4096


class Tenant:
    """What the binds of one account share: its settings as they are now, and its rate."""

    __slots__ = ("account", "answers", "connections", "throttle")

    def __init__(self, account: Account, rates: SubmitRates) -> None:
        self.account = account
        self.connections: list[Connection] = []
        self.throttle = rates.of(account)
        self.answers: dict[int, int] = {}  # submits answered, by status

    def answered(self, status: int, submits: int) -> None:
        self.answers[status] = self.answers.get(status, 0) + submits

    def change(self, account: Account, rates: SubmitRates) -> None:
        self.throttle = rates.of(account)
        self.account = account


class SmppServer:
    """`run` serves until cancelled; `drain` first asks everybody to leave."""

    def __init__(
        self,
        settings: SmppConfig,
        world: World,
        committer: Committer,
        store: Store,
        accounts: Accounts,
        door: Door,
    ) -> None:
        self.settings = settings
        self.world = world
        self.session_settings = SessionSettings(
            window=100,
            session_init_timeout_s=settings.bind_timeout_s,
            enquire_link_s=settings.enquire_link_s,
            response_timeout_s=settings.response_timeout_s,
            inactivity_timeout_s=settings.inactivity_timeout_s,
            max_pdu=settings.max_pdu_bytes,
            max_pdu_before_bind=_BEFORE_BIND,
            version=settings.version,
        )
        self.gate = Gate(accounts, settings, wall_s=lambda: world.wall_ms() / 1000)
        self.gate.remember(store.meta(_GOOD) or b"[]")
        self.deliveries = Deliveries(committer, world, lambda id: accounts.by_id.get(id))
        self.operations = Operations(self, committer, store)
        self.outbinds = Outbinds(self, store)
        self.listeners = SmppListeners(settings, world, self._serve, self.gate)
        self.connections: set[Connection] = set()
        self.tenants: dict[int, Tenant] = {}
        self.violations = 0
        self.joined: Callable[[], None] = lambda: None  # told of each new bind
        self.lost: Callable[[Account, str], None] = lambda account, words: None  # ended by time-out or error
        self._binds = 0  # how many there have been
        self._accounts = accounts
        self._committer = committer
        self.door = door
        accounts.changed.append(self._accounts_changed)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.deliveries.run)
            nursery.start_soon(self._sweep)
            nursery.start_soon(self.operations.run)
            nursery.start_soon(self._write_down)
            nursery.start_soon(self.outbinds.run)
            await nursery.start(self.listeners.run)
            task_status.started()

    async def _serve(self, peer: Peer) -> None:
        await self.serve(Connection(peer, self))

    async def serve(self, connection: Connection) -> None:
        """Carry a connection to its end; the caller closes its stream."""
        self.connections.add(connection)
        await connection.serve()

    def accounts_by_id(self) -> dict[int, Account]:
        return self._accounts.by_id

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(_SWEEP_S)
            now = trio.current_time()
            for connection in [one for one in self.connections if one.check_at <= now]:
                connection.tick(now)

    async def _write_down(self) -> None:
        """From where customers bound well: a restart must not make strangers of them."""
        written = self.gate.remembered()
        while True:
            await trio.sleep(_WRITE_DOWN_S)
            remembered = self.gate.remembered()
            if remembered != written:
                with suppress(StoreError):  # the next minute tries again
                    await self._committer.execute(lambda txn: txn.put_meta(_GOOD, self.gate.remembered()))
                    written = remembered

    async def drain(self, within_s: float) -> None:
        """Take no more connections, unbind each customer once both sides have answered what is under way,
        wait until they are gone. At most `within_s`, and some seconds only for who answers nothing."""
        self.listeners.stop()
        self.deliveries.stop()
        staying = set(self.connections)
        with trio.move_on_after(min(within_s / 2, _ANSWER_S)):
            while staying:
                for connection in [one for one in staying if not one.busy]:
                    staying.discard(connection)
                    connection.unbind(_STOPPING)
                staying &= self.connections
                await trio.sleep(0.02)
        for connection in staying:
            connection.unbind(_STOPPING)
        with trio.move_on_after(min(within_s / 2, _UNBIND_S)):
            while self.connections:
                await trio.sleep(0.05)

    # connections

    def join(self, connection: Connection, account: Account, *, takeover: bool) -> Tenant:
        """A bind is admitted."""
        tenant = self.tenants.get(account.id)
        if tenant is None:
            tenant = self.tenants[account.id] = Tenant(account, self.door.rates)
        if takeover and tenant.connections:
            stalest = min(tenant.connections, key=lambda one: one.active_at)
            stalest.close("taken over by a newer bind")
            self._leave_tenant(stalest)
        self._binds += 1
        connection.number = self._binds
        tenant.connections.append(connection)
        self.gate.bound(account.id)
        self.listeners.bound(connection.peer)
        self.joined()
        return tenant

    def left(self, connection: Connection, port: Port | None, unanswered: Sequence[object]) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if port is not None:
            self.deliveries.leave(port, connection, unanswered)
        self._leave_tenant(connection)

    def _leave_tenant(self, connection: Connection) -> None:
        if connection.bound and connection in connection.tenant.connections:
            connection.tenant.connections.remove(connection)
            self.gate.unbound(connection.tenant.account.id, connection.peer.address)

    def _accounts_changed(self) -> None:
        for id, tenant in self.tenants.items():
            account = self._accounts.by_id.get(id)
            if account is None or account is tenant.account:
                continue
            tenant.change(account, self.door.rates)
            self.deliveries.change(account)
            if account.suspended or account.closed:
                for connection in list(tenant.connections):
                    connection.dismiss(
                        "the account is suspended" if account.suspended else "the account is closed"
                    )
                continue
            logins = {login.system_id for login in account.logins}
            for connection in [one for one in tenant.connections if one.login not in logins]:
                connection.dismiss("its system_id is no login of the account any more")

    def alert(self, account: int, pdu: AlertNotification) -> int:
        """Pass an alert_notification on to the account's receivers; how many got it. It is not kept for
        those who are not there, and takes no room in a window: nobody answers it (3.4 section 4.12)."""
        tenant = self.tenants.get(account)
        told = 0
        for connection in tenant.connections if tenant is not None else ():
            if connection.receives:
                with suppress(WrongState):  # it is about to leave
                    connection.session.request(pdu, trio.current_time())
                    connection.flush()
                    told += 1
        return told

    # submits

    def submit(
        self,
        account: Account,
        requests: Sequence[Request],
        done: Callable[[Sequence[Accepted | Refusal]], None],
    ) -> None:
        """Through the door."""
        self.door.submit(account, requests, done)
