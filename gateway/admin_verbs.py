"""What the admin socket can be asked: the whole table, and the verbs of the store.

`AdminVerbs.table` is what gateway.admin serves; the CLI runs the same functions on a store it opened itself
when no gateway runs. Results are plain JSON values; ids are decimal strings, times ISO 8601 UTC.

Deliberately not here: the socket (gateway.admin), accounts (gateway.admin_accounts), operators
(gateway.admin_operators), how they sign in (gateway.admin_people), keys of both (gateway.admin_keys),
carriers (gateway.admin_carriers), messages (gateway.admin_traffic), callbacks (gateway.admin_callbacks),
sessions (gateway.admin_binds, gateway.admin_deliveries), what passes and waits (gateway.admin_figures,
gateway.admin_trace), tables (gateway.admin_tables), the audit trail (gateway.admin_audit), configurations
(gateway.admin_config), text for people (gateway.cli).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec
import trio

from gateway.accounts import Accounts
from gateway.admin import Execute, Nothing, Verb, bad_arguments, typed
from gateway.admin_accounts import AccountVerbs
from gateway.admin_audit import AuditVerbs
from gateway.admin_binds import BindVerbs
from gateway.admin_callbacks import CallbackVerbs, Pump
from gateway.admin_carriers import CarrierVerbs
from gateway.admin_carriers import Facts as CarrierFacts
from gateway.admin_config import ConfigVerbs
from gateway.admin_deliveries import DeliveryVerbs
from gateway.admin_figures import FigureVerbs
from gateway.admin_held import HeldRelease
from gateway.admin_keys import KeyVerbs
from gateway.admin_money import Assignments, MoneyVerbs, Tariff
from gateway.admin_operators import OperatorVerbs
from gateway.admin_people import PeopleVerbs
from gateway.admin_privacy import PrivacyVerbs
from gateway.admin_queues import QueueVerbs
from gateway.admin_routes import Explainer, RouteVerbs
from gateway.admin_tables import TableVerbs
from gateway.admin_trace import TraceVerbs
from gateway.admin_traffic import Submitter, TrafficVerbs
from gateway.audit import entry
from gateway.audit_heads import NAME as HEADS
from gateway.cli import VERSION
from gateway.http.auth import Keys
from gateway.operators import Operators
from gateway.orders import Orders
from gateway.previews import Preview, Previews, of
from gateway.privacy import Privacy
from gateway.revisions import Revisions
from gateway.sign_in import SignIns, sign_ins_of_a_store
from router.nouns import Phase, Reason
from store.interface import AuditEntry, Released, Transaction
from store.lmdb_store import LmdbStore
from store.search import Page, Query
from store.tables import DIRECTORY, Tables

if TYPE_CHECKING:
    from config.model import RouteConfig
    from gateway.app import Gateway
    from gateway.committer import Committing
    from gateway.figures import Figures
    from gateway.overview import LaneView
    from gateway.reload import Reload
    from gateway.smpp_server.server import SmppServer

_LONG_S = 6 * 3600.0
TIMEOUTS_S = {
    "audit.verify": _LONG_S,
    "callbacks.list": _LONG_S,
    "callbacks.replay": _LONG_S,
    "deliveries.list": _LONG_S,
    "deliveries.move": _LONG_S,
    "deliveries.replay": _LONG_S,
    "privacy.erase": _LONG_S,
    "privacy.export": 600.0,
    "store.backup": _LONG_S,
    "store.check": _LONG_S,
    "held.release": _LONG_S,
    "store.release": _LONG_S,
    "table.drop": 600.0,
    "table.use": 600.0,
    "config.reload": 120.0,
    "config.rollback": 120.0,
}

RELEASABLE = {
    "restored": Reason.RESTORED,
    "unknown": Reason.OUTCOME_UNKNOWN,
    "suspect": Reason.SUSPECT,
    "refused": Reason.REFUSED_HELD,
}
_RELEASE_PORTION = 500


class Backup(msgspec.Struct, forbid_unknown_fields=True):
    target: str  # an absolute path, as the gateway sees it


class Release(msgspec.Struct, forbid_unknown_fields=True):
    reason: Literal["restored", "unknown", "suspect", "refused"] = "restored"
    carrier: str = ""  # only what is unknown with this one


class _Executing(NamedTuple):
    """A committer, for those who keep small values."""

    store: LmdbStore
    execute: Execute[Any]


class AdminVerbs:
    """All verbs. `door`, `pump`, `smpp`, `reload` are None when no gateway runs; `facts` adds to `ping`."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        *,
        operators: Operators,
        orders: Orders,
        sign_ins: SignIns | None = None,
        door: Submitter | None = None,
        pump: Pump | None = None,
        smpp: SmppServer | None = None,
        explainer: Explainer | None = None,
        reload: Reload | None = None,
        facts: Callable[[], dict[str, object]] | None = None,
        carrier_facts: CarrierFacts | None = None,
        tables: Tables | None = None,
        where_used: Callable[[str], str] = lambda table: "",
        close_circuit: Callable[[str], None] = lambda name: None,
        search: Callable[[Query], Awaitable[Page]] | None = None,
        region: Callable[[], str] = lambda: "",
        keys: Keys | None = None,
        tariff: Tariff | None = None,
        default_region: Callable[[], str] = lambda: "",
        figures: Figures | None = None,
        queues: Callable[[], list[LaneView]] | None = None,
        previews: Previews | None = None,
        heads: Path | None = None,
        gateway: Gateway | None = None,
        rebind: Callable[[str, str], None] | None = None,
        privacy: Privacy | None = None,
        routes: Callable[[], Sequence[RouteConfig]] | None = None,
    ) -> None:
        previews = previews or Previews()
        self._accounts = accounts
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._facts = facts
        self.tables = tables or Tables(store.path.parent / DIRECTORY)
        assignments = Assignments(accounts, store, self.tables)
        self.of_accounts = AccountVerbs(accounts, store, wall_ms, assignments.of_account, previews, orders)
        self.of_money = MoneyVerbs(accounts, store, execute, wall_ms, self.tables, tariff, default_region)
        self._of_operators = OperatorVerbs(operators)
        self.of_people = PeopleVerbs(
            (lambda: sign_ins)
            if sign_ins is not None
            else partial(
                sign_ins_of_a_store,
                cast("Committing", _Executing(store, execute)),
                operators,
                store.path.parent,
                wall_ms,
            )
        )
        self.of_keys = KeyVerbs(
            accounts, operators, keys or keys_of_a_store(accounts, operators, store, wall_ms), wall_ms
        )
        self.of_carriers = CarrierVerbs(
            store, orders, carrier_facts, close_circuit, previews, rebind, execute, wall_ms
        )
        self._of_traffic = TrafficVerbs(accounts, store, execute, wall_ms, door, search, region, gateway)
        self._of_queues = QueueVerbs(accounts, store, execute, wall_ms, self._of_traffic.found, gateway)
        self.of_callbacks = CallbackVerbs(accounts, store, execute, wall_ms, pump)
        self._of_routes = RouteVerbs(accounts, wall_ms, explainer, orders, previews, routes)
        self._of_binds = BindVerbs(accounts, store, execute, wall_ms, smpp, orders)
        self._of_audit = AuditVerbs(store, heads or store.path.parent / HEADS)
        self._of_tables = TableVerbs(self.tables, execute, wall_ms, where_used, assignments.of_card)
        self.of_config = ConfigVerbs(Revisions(store, execute, wall_ms), reload)
        self.of_traces = TraceVerbs(gateway)
        self._of_figures = FigureVerbs(accounts, store, figures, queues)
        self.of_privacy = PrivacyVerbs(
            privacy or Privacy(store, execute, wall_ms, lambda: accounts.by_id), region
        )
        self.of_deliveries = DeliveryVerbs(accounts, store, execute, wall_ms, smpp, pump)

    def table(self) -> dict[str, Verb]:
        return {
            "ping": typed(Nothing, self.ping),
            "held.release": typed(HeldRelease, self.held_release),
            "store.backup": typed(Backup, self.store_backup),
            "store.check": typed(Nothing, self.store_check),
            "store.release": typed(Release, self.store_release),
            "store.stats": typed(Nothing, self.store_stats),
            **self.of_accounts.table(),
            **self.of_money.table(),
            **self._of_operators.table(),
            **self.of_people.table(),
            **self.of_keys.table(),
            **self.of_carriers.table(),
            **self._of_traffic.table(),
            **self._of_queues.table(),
            **self.of_callbacks.table(),
            **self._of_routes.table(),
            **self._of_binds.table(),
            **self._of_audit.table(),
            **self.of_config.table(),
            **self.of_deliveries.table(),
            **self.of_privacy.table(),
            **self._of_tables.table(),
            **self._of_figures.table(),
            **self.of_traces.table(),
        }

    async def ping(self, _: Nothing) -> object:
        facts = self._facts() if self._facts else {}
        return {"version": VERSION, "pid": os.getpid(), **facts}

    async def store_stats(self, _: Nothing) -> object:
        totals = self._store.totals()
        phases = {phase.name.lower(): phase for phase in Phase}
        return {
            "accepted": {"messages": totals.accepted, "segments": totals.accepted_segments},
            "phases": {
                name: {"messages": totals.messages[phase], "segments": totals.segments[phase]}
                for name, phase in phases.items()
            },
            "conserved": totals.accepted == sum(totals.messages)
            and totals.accepted_segments == sum(totals.segments),
            "accounts": len(self._accounts.by_id),
            "ready_lanes": len(self._store.ready_lanes()),
            "outbox_endpoints": len(self._store.outbox_endpoints()),
            "usage": self._store.usage(),
        }

    async def store_check(self, _: Nothing) -> object:
        """Every record, index and counter; reads in a thread beside the traffic."""
        from store.check import check

        return await trio.to_thread.run_sync(check, self._store)

    async def store_backup(self, wish: Backup) -> object:
        from store.backup import backup

        if not os.path.isabs(wish.target):
            raise bad_arguments("target", f"{wish.target!r} is not an absolute path")
        told = entry(self._wall_ms(), "store.backed_up", "store:", after={"target": wish.target})
        await self._execute(partial(_tell, told))  # a copy has every text: told before it is made
        await trio.to_thread.run_sync(backup, self._store, Path(wish.target))
        return {"target": wish.target}

    async def store_release(self, wish: Release) -> object:
        """What was held for this reason becomes ready, a few hundred a transaction, each message once."""
        carrier = self._carrier(wish)
        reason = RELEASABLE[wish.reason]
        released = 0
        after: tuple[int, int] | None = (0, 0)
        while after is not None:
            told = partial(
                entry, self._wall_ms(), "held.released", f"held:{wish.reason}:{wish.carrier}".strip(":")
            )
            portion = await self._execute(partial(_release, reason, after, carrier, released, told))
            released += portion.count
            after = portion.after
        return {"released": released, "reason": wish.reason, "carrier": wish.carrier}

    async def held_release(self, wish: HeldRelease) -> object:
        """The same as an act: its reason is why it is done."""
        given = Release(wish.held_as, wish.carrier)
        if not wish.preview:
            return await self.store_release(given)
        carrier = self._carrier(given)
        totals = self._store.totals().messages
        if wish.held_as == "unknown":
            unknown = self._store.outcome_unknown()
            count = unknown.get(carrier, 0) if carrier else totals[Phase.UNKNOWN]
            touches = [f"{of(count, 'message')} with an unknown outcome are sent again"]
            return Preview(touches, count, warnings=["each of them may arrive twice"] if count else [])
        count = totals[Phase.HELD]
        touches = [f"of {of(count, 'held message')} those that are held as {wish.held_as} are sent"]
        return Preview(touches, count)

    def _carrier(self, wish: Release) -> int:
        """The id of the carrier asked for, 0 = any."""
        if not wish.carrier:
            return 0
        if wish.reason in ("restored", "refused"):
            raise bad_arguments(
                "carrier",
                f"what is held as {wish.reason} waits for no carrier",
                "leave --carrier out, or give --reason unknown or suspect",
            )
        known = self._store.carriers()
        if wish.carrier not in known:
            raise bad_arguments(
                "carrier",
                f"no carrier {wish.carrier!r} was ever known here",
                f"one of: {', '.join(sorted(known)) or 'none yet'}",
            )
        return known[wish.carrier]


def keys_of_a_store(
    accounts: Accounts, operators: Operators, store: LmdbStore, wall_ms: Callable[[], int]
) -> Keys:
    """All keys as they are kept, following every change."""
    keys = Keys(accounts.by_id.values(), trio.current_time, wall_ms)
    accounts.changed.append(lambda: keys.rebuild(accounts.by_id.values()))
    operators.changed.append(lambda: keys.rebuild_operators(operators.by_name.values()))
    keys.rebuild_operators(operators.by_name.values())
    keys.use.load(store)
    return keys


def _tell(told: AuditEntry, txn: Transaction) -> None:
    txn.audit(told)


def _release(
    reason: Reason,
    after: tuple[int, int],
    carrier: int,
    before: int,
    told: Callable[..., AuditEntry],
    txn: Transaction,
) -> Released:
    """One portion behind `before` others; the trail tells of the first and of the whole."""
    portion = txn.release_held(reason, _RELEASE_PORTION, after, carrier)
    released = before + portion.count
    if released and (not before or portion.after is None):
        txn.audit(told(after={"released": released, "complete": portion.after is None}))
    return portion
