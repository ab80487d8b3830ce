"""The admin verbs of customers' sessions: who is bound, ending a bind, who is locked out, ending a lock.

All of it is the running gateway's memory; on a stopped one there is nobody.

Deliberately not here: who may bind (gateway.smpp_server.gate), what their outboxes hold in full
(gateway.admin_deliveries), text for people (gateway.cli.binds).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import trio

from gateway.accounts import Accounts
from gateway.admin import AdminError, Execute, Nothing, Verb, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.admin_shapes import iso
from gateway.audit import entry
from gateway.orders import BANNED, LONGEST_S, Order, Orders, told
from gateway.previews import Preview, of
from gateway.smpp_server.bans import parts, subject
from gateway.smpp_server.networks import Networks
from store.backlog import waiting
from store.interface import SMPP_ORIGIN
from store.lmdb_store import LmdbStore

if TYPE_CHECKING:
    from gateway.smpp_server.connection import Connection
    from gateway.smpp_server.server import SmppServer

_SYSTEM_ID = re.compile(r"[!-~]{1,15}")

MOST_COUNTED = 10_000  # events of one outbox, for a list of binds


class BindsOf(msgspec.Struct, forbid_unknown_fields=True):
    """Of one account, or of all."""

    account: str = ""


class Drop(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    preview: bool = False


class Unlock(msgspec.Struct, forbid_unknown_fields=True):
    who: str  # an address, a network as `locks` shows it, or a system_id
    preview: bool = False


class Ban(msgspec.Struct, forbid_unknown_fields=True):
    """`address`: only from there, an address or a network; `for_s`: how long; 0: until it is unbanned."""

    system_id: Annotated[str, msgspec.Meta(min_length=1, max_length=15)]
    address: Annotated[str, msgspec.Meta(max_length=64)] = ""
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0
    preview: bool = False


class Unban(msgspec.Struct, forbid_unknown_fields=True):
    """`who`: a system_id, of which all bans end, or one ban as the locks show it."""

    who: str
    preview: bool = False


class BindVerbs:
    """The verbs as methods. `smpp` is None when no gateway runs."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        smpp: SmppServer | None,
        orders: Orders,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._smpp = smpp
        self._orders = orders

    def table(self) -> dict[str, Verb]:
        return {
            "binds.ban": typed(Ban, self.ban),
            "binds.unban": typed(Unban, self.unban),
            "binds.drop": typed(Drop, self.drop),
            "binds.list": typed(BindsOf, self.list_binds),
            "locks.list": typed(Nothing, self.list_locks),
            "locks.release": typed(Unlock, self.unlock),
        }

    async def list_binds(self, wish: BindsOf) -> object:
        """The longest bound first."""
        found = self._bound()
        if wish.account:
            with account_problems():
                chosen = self._accounts.named(wish.account).id
            found = [one for one in found if one.tenant.account.id == chosen]
        outboxes: dict[int, int] = {}
        views = []
        for connection in sorted(found, key=lambda one: one.number):
            account = connection.tenant.account.id
            if account not in outboxes:
                outboxes[account] = self._waiting(account)
                await trio.lowlevel.checkpoint()
            views.append(self._view(connection, outboxes[account]))
        return views

    async def drop(self, wish: Drop) -> object:
        """Ask the customer to leave; whoever does not answer is cut off by the response timer. What it
        submits until then is taken: it may bind again at once anyway, and a ban is what refuses it."""
        for connection in self._bound():
            if str(connection.number) == wish.id:
                view = self._view(connection, 0)
                if wish.preview:
                    return _dropped(view)
                await self._tell("bind.dropped", f"bind:{view['account']}:{view['system_id']}", after=view)
                connection.unbind("dropped by an operator")
                return {"id": wish.id, "account": view["account"], "system_id": view["system_id"]}
        raise AdminError("not_found", f"there is no bind {wish.id}", "signalbox binds lists them")

    async def list_locks(self, _: Nothing) -> object:
        """Who is banned, and who is locked out now, those for longest first."""
        bans = [self._ban_view(order) for order in self._orders.of(BANNED).values()] if self._smpp else []
        return [
            *bans,
            *(
                {
                    "network": lock.network,
                    "system_id": lock.system_id,
                    "failures": lock.failures,
                    "until": iso(self._wall_ms() + int(lock.left_s * 1000)),
                    "left_s": round(lock.left_s),
                    "banned_by": "",
                    "reason": "",
                }
                for lock in self._server().gate.status()
            ),
        ]

    def _ban_view(self, order: Order) -> dict[str, object]:
        system_id, address = parts(order.subject)
        return {
            "network": address,
            "system_id": system_id,
            "failures": 0,
            "until": iso(order.until_ms),
            "left_s": round(max(0, order.until_ms - self._wall_ms()) / 1000) if order.until_ms else 0,
            "banned_by": order.who,
            "reason": order.reason,
        }

    async def ban(self, wish: Ban) -> object:
        """Its binds take nothing more and end within 2 s; new ones are refused with ESME_RBINDFAIL, the
        password unseen."""
        if not _SYSTEM_ID.fullmatch(wish.system_id):
            raise bad_arguments(
                "system_id", f"{wish.system_id!r} is no system_id", "1 to 15 visible characters"
            )
        where = Networks((wish.address,)) if wish.address else None
        if where is not None and where.unreadable:
            raise bad_arguments(
                "address", f"{wish.address!r} is no address", "such as 192.0.2.7 or 192.0.2.0/24"
            )
        if wish.preview:
            return self._banned_preview(wish, self._bound_as(wish.system_id, where))
        with told():
            order = await self._orders.give(BANNED, subject(wish.system_id, wish.address), wish.for_s)
        bound = self._bound_as(wish.system_id, where)  # now that no more can come
        for connection in bound:
            connection.dismiss("banned by an operator")
        return {**self._ban_view(order), "dropped": len(bound)}

    def _bound_as(self, system_id: str, where: Networks | None) -> list[Connection]:
        """Sessions of a system_id, from there; None: from anywhere."""
        return [
            one
            for one in (self._bound() if self._smpp else [])
            if one.login == system_id and (where is None or one.peer.address in where)
        ]

    def _banned_preview(self, wish: Ban, bound: list[Connection]) -> Preview:
        whence = f" from {wish.address}" if wish.address else ""
        touches = [f"{wish.system_id} may not bind{whence}: it is answered ESME_RBINDFAIL"]
        if bound:
            flying = sum(one.unanswered + one.session.outstanding for one in bound)
            touches.append(f"{of(len(bound), 'session')} of it end; {flying} requests are in flight there")
        known = {login.system_id for account in self._accounts.by_id.values() for login in account.logins}
        warnings = [] if wish.system_id in known else [f"no account has system_id {wish.system_id}"]
        return Preview(touches, 0, warnings=warnings)

    async def unban(self, wish: Unban) -> object:
        bans = [one for one in self._orders.of(BANNED) if wish.who in (one, parts(one)[0])]
        if not bans:
            raise AdminError(
                "not_found", f"nobody is banned as {wish.who[:80]!r}", "signalbox locks lists who is"
            )
        if wish.preview:
            return Preview([f"{one} may bind again" for one in bans])
        for one in bans:
            await self._orders.end(BANNED, one)
        return {"who": wish.who, "ended": len(bans)}

    async def unlock(self, wish: Unlock) -> object:
        if not wish.who:
            raise bad_arguments("who", "say whose locks", "an address or a system_id")
        gate = self._server().gate
        locked = gate.locked(wish.who)
        if not locked:
            raise AdminError(
                "not_found", f"nothing is locked for {wish.who!r}", "signalbox locks lists what is"
            )
        if wish.preview:
            return Preview([f"{of(len(locked), 'lock')} of {wish.who} end: it may bind again at once"])
        await self._tell("lock.released", f"lock:{wish.who}", before={"locks": len(locked)})
        released = gate.unlock(wish.who)
        return {"who": wish.who, "released": released}

    async def _tell(self, act: str, subject: str, **changes: dict[str, object]) -> None:
        """What is only in memory is told first, so that nothing is done without a trace."""
        told = entry(self._wall_ms(), act, subject, **changes)
        await self._execute(lambda txn: txn.audit(told))

    def _server(self) -> SmppServer:
        if self._smpp is None:
            raise AdminError(
                "not_running",
                "the gateway is not running, so nobody is bound or locked out",
                "locks last as long as the process",
            )
        return self._smpp

    def _bound(self) -> list[Connection]:
        return [one for tenant in self._server().tenants.values() for one in tenant.connections]

    def _waiting(self, account: int) -> int:
        endpoints = self._store.outbox_endpoints().values()
        return sum(
            waiting(self._store, one.id, MOST_COUNTED)
            for one in endpoints
            if one.account == account and one.origin == SMPP_ORIGIN
        )

    def _view(self, connection: Connection, outbox: int) -> dict[str, object]:
        account = connection.tenant.account
        return {
            "id": str(connection.number),
            "account": account.name,
            "system_id": connection.login,
            "bind": connection.bind_type,
            "address": connection.peer.address,
            "tls": connection.peer.tls,
            "version": _version(connection.session.peer_version),
            "since": self._at(connection.bound_at),
            "last_active": self._at(connection.active_at),
            "submits": connection.submits,
            "unanswered": connection.unanswered,
            "window": account.window,
            "delivering": connection.session.outstanding,
            "outbox": outbox,
        }

    def _at(self, clock: float) -> str:
        return iso(self._wall_ms() - int((trio.current_time() - clock) * 1000))


def _dropped(view: dict[str, Any]) -> Preview:
    """What ending a bind touches."""
    who = f"{view['system_id']} ({view['account']}) from {view['address']}"
    touches = [f"the {view['bind']} of {who} is asked to leave"]
    if view["unanswered"]:
        touches.append(
            f"{of(view['unanswered'], 'submit')} that wait for their commit are answered before it"
        )
    if view["delivering"]:
        touches.append(f"{of(view['delivering'], 'event')} sent on it and not answered go out again")
    warnings = ["its customer may bind again at once: binds.ban keeps it out"]
    return Preview(touches, view["unanswered"] + view["delivering"], warnings=warnings)


def _version(number: int) -> str:
    """interface_version as people say it; below 0x33 all are 3.3 or older (3.4 section 5.2.4)."""
    return f"{number >> 4}.{number & 15}"
