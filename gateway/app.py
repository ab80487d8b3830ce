"""The gateway put together: open, recover, start everything in nurseries, stop politely.

Lifetimes: the committer outlives everything that hands it work; carriers, HTTP, callbacks and timers live in
an inner nursery. SIGTERM closes the door, answers what is in flight, drains the windows, unbinds, writes the
last commit and closes the store.

Deliberately not here: any decision about a message.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import ssl
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import structlog
import trio

import gateway.logs as logs
from config.expect import failures
from config.load import ConfigErrors, load
from config.model import Address, Config, LogConfig, SimulatorConfig
from config.routing import accounts_named, table_of
from gateway.accounts import AccountProblem, Accounts, in_the_same_commit
from gateway.admin import AdminServer
from gateway.admin_status import carrier_facts, status_facts, waiting_messages
from gateway.admin_verbs import TIMEOUTS_S, AdminVerbs, keys_of_a_store
from gateway.asking_door import AskingDoor
from gateway.audit_heads import NAME as HEADS
from gateway.audit_heads import AuditHeads
from gateway.callbacks.guard import Guard, Refused, parse_url
from gateway.callbacks.measures import add_callback_measures
from gateway.callbacks.pump import CallbackPump
from gateway.callbacks.replies import Replies
from gateway.callbacks.settings import CallbackSettings
from gateway.carriers.carrier import Carrier
from gateway.carriers.choices import Choices
from gateway.carriers.fleet import Fleet, client_tls
from gateway.carriers.inbound import Inbound
from gateway.carriers.lanes import LaneBoard, Wish
from gateway.cdrs import Cdrs, Names, add_cdr_measures
from gateway.certificates import Certificates
from gateway.cli import VERSION
from gateway.committer import Committer
from gateway.console.app import Console
from gateway.door import Door, Limits
from gateway.explain import explain, previewed
from gateway.figures import Figures
from gateway.health import HealthWatch
from gateway.http.access import Access
from gateway.http.accounts import AccountApi
from gateway.http.acts import ActApi
from gateway.http.apps.jasmin import JasminApi
from gateway.http.apps.kannel import KannelApi
from gateway.http.apps.kannel_status import KannelStatus
from gateway.http.apps.postback import AlertmanagerApi, ListmonkApi
from gateway.http.apps.serving import Api, AppServers, Both
from gateway.http.apps.twilio import TwilioApi
from gateway.http.apps.vonage import VonageApi
from gateway.http.apps.who import Apps
from gateway.http.callbacks import CallbackApi
from gateway.http.carriers import CarrierApi
from gateway.http.cdrs import CdrApi
from gateway.http.changes import Changes
from gateway.http.config import ConfigApi
from gateway.http.documents import add_documents
from gateway.http.explain import ExplainApi
from gateway.http.house import add_house
from gateway.http.keys import KeyApi
from gateway.http.messages import MessageApi
from gateway.http.money import MoneyApi
from gateway.http.mos import Mos
from gateway.http.once import Once
from gateway.http.overview import OverviewApi
from gateway.http.privacy import PrivacyApi
from gateway.http.repeatable import Repeatable
from gateway.http.retries import Retries
from gateway.http.route_list import RouteListApi
from gateway.http.routes import Routes
from gateway.http.search import SearchApi
from gateway.http.secured import SecureListener, for_http
from gateway.http.senders import SenderApi
from gateway.http.server import HttpServer
from gateway.http.settings import HttpSettings
from gateway.http.stream import MessageStream
from gateway.http.table import messages
from gateway.http.trace import TraceApi
from gateway.http.views import Views
from gateway.known import Known
from gateway.log_sink import LogSink, add_log_measures, log_sink
from gateway.lookup import Lookup, LookupSettings, add_lookup_measures
from gateway.measures import add_measures
from gateway.metrics import CONTENT_TYPE, Counts, Metrics
from gateway.notices import notice
from gateway.operators import Operators
from gateway.orders import Orders
from gateway.overview import problems, queues
from gateway.passwords import Passwords
from gateway.previews import Previews
from gateway.privacy import Privacy
from gateway.probes import Probes
from gateway.recovery import decider
from gateway.reload import Reload
from gateway.replan import Replan
from gateway.revisions import Revision, RevisionProblem, Revisions
from gateway.sealing import KEY_FILE, Seal
from gateway.searching import Searching, add_search_measures
from gateway.sending import Sending
from gateway.service import Service
from gateway.sessions import Sessions
from gateway.sign_in import SignIns
from gateway.sign_in_links import FIRST_OWNER, path_of
from gateway.sign_in_measures import add_sign_in_measures
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from gateway.smpp_server.bans import Bans
from gateway.smpp_server.measures import add_smpp_measures
from gateway.smpp_server.server import SmppServer
from gateway.spent import Spent
from gateway.telemetry import Telemetry, exporter_of
from gateway.terms import Terms
from gateway.timers import Clockwork, Retention
from gateway.tracing import Traces
from gateway.troubles import Troubles, add_trouble_measures
from gateway.vouched import Vouching
from gateway.watchdog import Watchdog
from gateway.whereabouts import waits
from gateway.world import RealWorld, World, listen_on
from gateway.writer import InlineWriter, SplitWriter, Writer
from router.nouns import Account, MessageState, ReceiptWish
from router.rates import MICRO
from router.routes import RouteTable
from store.cdr_files import DIRECTORY as CDRS
from store.interface import StoreError, Transaction
from store.lmdb_store import LmdbStore
from store.names import origin_of
from store.options import StoreOptions
from store.tables import DIRECTORY, Tables

log = structlog.get_logger("gateway")

DEMO_ACCOUNT = "demo"
STORE_DIRECTORY = "store"
_CALLBACK_STOP_S = 5.0
_SWITCH_INTERVAL_S = 0.0005
# Messages in flight are no garbage, but count as new objects: Python's own 700 make it look for cycles twenty
# times a commit, a tenth of all CPU; 5,000 still cost 1.7 us a message with as many in flight, to find 100
# objects in 50,000 messages. So many as these are a few MiB, whatever they are.
_COLLECT_AFTER = (50_000, 10, 100)


def store_options(config: Config, clock: Callable[[], int] | None = None) -> StoreOptions:
    """What the configuration says of the store."""
    chosen, kept = config.store, config.retention
    options: dict[str, object] = {
        "map_size": int(chosen.map_size_gb * (1 << 30)),
        "accept_watermark": chosen.accept_watermark,
        "min_free_disk": chosen.min_free_disk_mb << 20,
        "max_queued": chosen.max_queued,
        "window_h": config.receipts.window_h,
        "park_s": config.receipts.park_s,
        "archive_after_s": chosen.archive_after_s,
        "claim_window_ms": int(config.receipts.claim_window_h * 3_600_000),
        "retention_days": kept.mos_days or chosen.retention_days,
        "remembered_ms": int(kept.requests_h * 3_600_000),
        "texts_ms": int(kept.texts_h * 3_600_000),
        "mo_match_ms": int(config.messages.mo_match_days * 86_400_000),
        "announce": log.warning,
    }
    if clock is not None:
        options["clock"] = clock
    return StoreOptions(**options)  # type: ignore[arg-type]


def retention_of(config: Config) -> Retention:
    """What the clockwork drops by age."""
    days, kept = config.store.retention_days, config.retention
    return Retention(days, kept.given_up_days or days, kept.unmatched_days or days)


class Gateway:
    """One running gateway. Everything it needs from outside comes with `world`."""

    def __init__(self, config: Config, store: LmdbStore, writer: Writer, world: World) -> None:
        self.config = config
        self.store = store
        self.world = world
        self.counts = Counts()
        self.metrics = Metrics(self.counts)
        numbers = config.numbers
        self.tables = Tables(config.gateway.data_dir / DIRECTORY)
        self.lookup = lookup_of(config, world) if numbers.lookup.url else None
        self.known = Known(
            self.tables, numbers.prefix_table, numbers.mnp_table, self.lookup, rate_cards_of(config)
        )
        self.committer = Committer(store, writer, world)
        self.committer.observe = self.counts.observe_commit
        self.board = LaneBoard(store, config.gateway.overflow_after_s)
        self.board.rest_elsewhere_after_s = config.gateway.rest_elsewhere_after_s
        self.spent = Spent(store, self.committer, world)
        self.accounts = Accounts(
            self.committer, account_defaults(config), config.inbound.fallback_account, world.wall_ms
        )
        self.inbound = Inbound(
            self.committer,
            world,
            self.accounts,
            self.counts,
            config.messages.mo_match_days,
            lambda now_ms: store.next_ids(1),
        )
        self.fleet = Fleet(world, store, self.committer, self.board, self.inbound, self.counts, self.spent)
        self.fleet.account_of = lambda id: self.accounts.by_id.get(id)
        self.fleet.drain_timeout_s = config.gateway.drain_timeout_s
        self.orders = Orders(self.committer, world.wall_ms)
        self.lanes_taken: list[tuple[int, float]] = []
        self.terms = Terms(self, self.orders)
        for one in config.carriers:
            carrier = self.fleet.add(one, client_tls(one))
            if store.epoch > 1:
                carrier.pause_after_start()
        self.choices = Choices(self)
        self.routes, lanes = self.compiled(config)
        self.take_lanes(config, lanes)
        self.door = (Door if self.lookup is None else AskingDoor)(
            self.committer,
            store,
            world,
            self.routes,
            self.board,
            limits_of(config),
            self.check_url,
        )
        if isinstance(self.door, AskingDoor) and self.lookup is not None:
            self.door.lookup = self.lookup
            self.door.current = lambda account: self.accounts.by_id.get(account.id, account)
            add_lookup_measures(self.metrics, self.lookup)
        self.door.tariff = self.known
        self.door.accepted = self.counts.accepted
        self.door.refused = self.counts.refused
        self.door.repeated = self.counts.repeated
        self.accounts.changed.append(lambda: self.door.repeats.keep(self.accounts.by_id))
        self.pump = CallbackPump(self.committer, world, callback_settings(config))
        self.pump.guard.own_listeners((one.host, one.port) for one in own_addresses(config))
        self.pump.gone = self.callbacks_gone
        self.pump.answered = Replies(self.door, self.committer)
        self.replan = Replan(store, self.committer, self.board, self.routes, world.wall_ms)
        self.clockwork = Clockwork(
            store,
            self.committer,
            world,
            self.inbound,
            grace_s=config.receipts.grace_s,
            parts_wait_s=int(config.messages.mo_parts_timeout_s),
            retention=retention_of(config),
            replan=self.replan,
            groups_wait_s=config.smpp.parts_timeout_s,
        )
        self.smpp = SmppServer(config.smpp, world, self.committer, store, self.accounts, self.door)
        self.smpp.gate.bans = Bans(self.orders)
        self.inbound.alert = self.smpp.alert
        self.sending = Sending(self.accounts.by_id, self.committer, self.spent)
        self.accounts.changed.append(lambda: self.sending.rebuild(self.accounts.by_id))
        self.board.paced = self.sending
        self.operators = Operators(self.committer, world.wall_ms)
        self.keys = keys_of_a_store(self.accounts, self.operators, store, world.wall_ms)
        self.sessions = Sessions(
            self.committer,
            self.operators,
            world.wall_ms,
            idle_s=config.console.session_idle_s,
            longest_s=config.console.session_max_s,
        )
        self.sign_ins = SignIns(
            self.committer,
            self.operators,
            self.sessions,
            Seal(config.gateway.data_dir / KEY_FILE),
            world.wall_ms,
            trusted_from=config.console.trusted_from,
        )
        self.provider = provider_of(config, world)
        self.cdr_api = CdrApi(config.gateway.data_dir / CDRS)
        self.cdrs = (
            Cdrs(
                config.cdrs,
                store,
                self.committer,
                world,
                Names(store, self.known, lambda: self.config.carriers),
                config.gateway.data_dir,
            )
            if config.cdrs.enabled
            else None
        )
        self.searching = Searching(store, self.committer, world, config.store.retention_days)
        self.search_api = SearchApi(
            self.searching,
            lambda: self.accounts.by_id,
            store.carrier_name,
            lambda: self.config.gateway.default_region,
            world.wall_ms,
        )
        self.privacy = Privacy(
            store,
            self.committer.execute,
            world.wall_ms,
            lambda: self.accounts.by_id,
            archiver=lambda: self.clockwork.archiving,
            recorder=self.cdrs,
            index_anew=self.searching.anew,
        )
        self.health = HealthWatch(self)
        self.figures = Figures(self)
        self.traces = Traces(world.wall_ms)
        self.smpp.joined = self.traces.joined
        self.smpp.lost = self.health.noticing.session_lost
        self.keys.use.tell = self.health.tell
        self.sign_ins.refusals.warn = self.health.tell
        self.probes = Probes(self)
        self.rolled_back: Revision | None = None  # the configuration is that of a roll-back
        self.reload = Reload(self, Revisions(store, self.committer.execute, world.wall_ms))
        chosen_heads = config.audit.head_file
        self.audit_heads = AuditHeads(
            store, Path(chosen_heads) if chosen_heads else config.gateway.data_dir / HEADS, world.wall_ms
        )
        self.verbs = AdminVerbs(
            self.accounts,
            store,
            self.committer.execute,
            world.wall_ms,
            operators=self.operators,
            orders=self.orders,
            sign_ins=self.sign_ins,
            door=self.door,
            pump=self.pump,
            smpp=self.smpp,
            explainer=partial(explain, self),
            reload=self.reload,
            heads=self.audit_heads.path,
            privacy=self.privacy,
            facts=self.facts,
            carrier_facts=lambda: carrier_facts(self),
            tables=self.tables,
            where_used=self.where_used,
            close_circuit=self.health.close,
            search=self.searching.find,
            region=lambda: self.config.gateway.default_region,
            keys=self.keys,
            tariff=self.known,
            default_region=lambda: self.config.gateway.default_region,
            figures=self.figures,
            queues=partial(queues, self),
            previews=Previews(self),
            gateway=self,
            rebind=self.fleet.rebind,
            routes=lambda: self.config.routes,
        )
        retries = Retries(store, world.wall_ms)
        self.account_api = AccountApi(self.verbs.of_accounts, retries)
        of_keys = Retries(store, world.wall_ms, "idempotency_keys")
        self.key_api = KeyApi(self.verbs.of_keys, self.keys, of_keys)
        self.http_certificates = Certificates(config.http, "[http]", for_http)
        self.apps = AppServers(config.http, world, self._apis(), self.http_certificates)
        self.console = Console(self, lambda: self.sessions)
        self.http = HttpServer(self._http_routes(), http_settings(config), world.wall_ms)
        self.watchdog = Watchdog(self, config.gateway.watchdog_s)
        self.troubles = Troubles(self)
        self.verbs.of_deliveries.why = self.troubles.behind.why_account
        self.verbs.of_callbacks.why = self.troubles.behind.why_endpoint
        self.simulators: list[SimulatedSmsc] = []
        self.ready = False
        self.stopping = trio.Event()
        self.finished = trio.Event()
        add_measures(self)
        add_trouble_measures(self.metrics, self.troubles)
        if self.cdrs is not None:
            add_cdr_measures(self.metrics, self.cdrs)
        add_search_measures(self.metrics, self.searching)
        add_sign_in_measures(self.metrics, self.sign_ins)
        add_callback_measures(self.metrics, self.pump)
        add_smpp_measures(self.metrics, self.smpp)

    @property
    def carriers(self) -> list[Carrier]:
        """Those that run, also while they leave."""
        return self.fleet.carriers

    # building

    def compiled(self, config: Config) -> tuple[RouteTable, list[Wish]]:
        """Lanes interned in the store, routes compiled over them. Errors: ValueError, StoreError."""
        lanes = self.wishes(config)
        return table_of(self.terms.ordered(config), [lane.id for lane in lanes], self.known), lanes

    def wishes(self, config: Config) -> list[Wish]:
        """Its lanes, interned in the store, a lane for each route. Errors: StoreError."""
        lanes: list[Wish] = []
        for one in self.terms.ordered(config).routes:
            spec = self.terms.spec(one)
            lane = self.store.lane_id(spec)
            order = self.choices.order(one.choose, one.sticky, one.allow_loss)
            lanes.append(Wish(lane, spec, one.tps, one.burst, one.limits.horizons, order))
        return lanes

    def take_lanes(self, config: Config, lanes: Sequence[Wish]) -> None:
        """Exactly these are in force from now on."""
        self.board.swap(lanes)
        self.lanes_taken = [(one.id, one.tps) for one in lanes]
        policies = {one.name: one.on_receipt.policy for one in config.routes}
        self.store.fail_over({name: policy for name, policy in policies.items() if policy is not None})
        self.spent.follow("route:", {f"route:{name}": one for name, one in self.board.throttles().items()})

    def _http_routes(self) -> Routes:
        access = Access(self.keys, Views(self.committer, self.world.wall_ms))
        once = Once(self.store, self.world.wall_ms)
        repeatable = Repeatable(once, self.account_api.retries, self.committer)
        routes = Routes(lambda endpoint, act: access.guard(endpoint, repeatable.guard(endpoint, act)))
        MessageApi(self.door, self.store, once, rates=self.door.rates, waits=partial(waits, self)).add_to(
            routes
        )
        routes.serve(
            messages.SEND_STREAM, MessageStream(self.door, self.keys, once, self.door.rates).streaming
        )
        changes = Changes(self.store, self.committer, self.door, once, self.world.wall_ms)
        changes.add_to(routes)
        self.search_api.add_to(routes)
        Mos(self.store).add_to(routes)
        OverviewApi(
            partial(queues, self),
            partial(problems, self),
            partial(waiting_messages, self),
            VERSION,
            self.figures,
        ).add_to(routes)
        TraceApi(self.verbs.of_traces, self.traces, self.committer, self.world.wall_ms, self.keys).add_to(
            routes
        )
        self.account_api.add_to(routes)
        self.key_api.add_to(routes)
        ExplainApi(
            partial(explain, self),
            partial(previewed, self),
            lambda name: self.accounts.by_name.get(name),
            self.world.wall_ms,
            to_accounts=self.config.http.explain_to_accounts,
        ).add_to(routes)
        RouteListApi(lambda: (self.config, self.routes), self.board.able).add_to(routes)
        SenderApi(self.verbs.of_accounts, lambda name: self.accounts.by_name.get(name)).add_to(routes)
        CarrierApi(self.verbs.of_carriers).add_to(routes)
        CallbackApi(self.verbs).add_to(routes)
        MoneyApi(self.verbs.of_money, lambda name: self.accounts.by_name.get(name)).add_to(routes)
        self.cdr_api.add_to(routes)
        PrivacyApi(self.verbs.of_privacy, self.searching.start_soon).add_to(routes)
        ConfigApi(self.verbs.of_config).add_to(routes)
        ActApi(self.verbs.table(), self.orders.in_force).add_to(routes)
        add_house(
            routes,
            ready=self.takes_nothing,
            metrics=lambda: (CONTENT_TYPE, self.metrics.render()),
        )
        add_documents(routes, VERSION)
        self.apps.add_to(routes, self.config.http.apis)
        self.console.add_to(routes)
        return routes

    def balance(self, account: Account) -> float | None:
        """What is left to an account that pays beforehand, in its currency; None: it does not."""
        return self.store.wallet(account.id).balance / MICRO if account.billing == "prepaid" else None

    def _apis(self) -> dict[str, Api]:
        """Those of other gateways, by the name that the configuration has for them."""
        apps = Apps(self.accounts, self.keys, Passwords())
        return {
            "kannel": Both(
                KannelApi(self.door, apps, self.world.wall_ms, self.board.able), KannelStatus(self)
            ),
            "twilio": TwilioApi(
                self.door,
                apps,
                self.world.wall_ms,
                self.store,
                self.committer,
                self.searching.find,
                self.door.recipient,
            ),
            "vonage": VonageApi(self.door, apps, partial(previewed, self), self.balance),
            "listmonk": ListmonkApi(self.door, apps),
            "alertmanager": AlertmanagerApi(self.door, apps),
            "jasmin": JasminApi(
                self.door,
                apps,
                self.world.wall_ms,
                partial(previewed, self),
                self.balance,
                lambda: self.world.rng.getrandbits(128),
            ),
        }

    def change(self, config: Config, routes: RouteTable, callbacks: ssl.SSLContext) -> None:
        """Another configuration is in force; carriers and lanes have it already (gateway.reload)."""
        self.config = config
        self.terms.apply()
        self.board.overflow_after_s = config.gateway.overflow_after_s
        self.board.rest_elsewhere_after_s = config.gateway.rest_elsewhere_after_s
        self.known.change(config.numbers.prefix_table, config.numbers.mnp_table, rate_cards_of(config))
        self.change_routes(routes)
        self.accounts.change(account_defaults(config), config.inbound.fallback_account)
        self.pump.change(callback_settings(config), callbacks)
        self.pump.guard.own_listeners((one.host, one.port) for one in own_addresses(config))
        self.clockwork.change(
            grace_s=config.receipts.grace_s, parts_wait_s=int(config.messages.mo_parts_timeout_s)
        )
        self.watchdog.change(config.gateway.watchdog_s)
        self.health.settings_changed()

    def change_routes(self, routes: RouteTable) -> None:
        """Others are in force; their lanes are already."""
        self.routes = routes
        self.door.change(routes, limits_of(self.config))
        self.replan.change(routes)

    def check_url(self, url: str, account: Account) -> str:
        """What is wrong with a callback URL, or ""; what a name resolves to is judged when it is called."""
        try:
            self.pump.guard.check_literal(parse_url(url), account.private_callbacks)
        except Refused as refusal:
            return str(refusal)
        return ""

    async def callbacks_gone(self, account: Account, url: str) -> None:
        """A callback URL said 410: not called until it is set anew or enabled, and the event log says so."""
        told = notice(
            self.world.wall_ms(),
            "callbacks.gone",
            f"account:{account.name}",
            f"{origin_of(url)} said 410 Gone: nothing is sent there until its URL is set anew, or "
            f"`signalbox callbacks enable --account {account.name}`",
            warning=True,
        )

        def tell(txn: Transaction) -> None:
            txn.notice([told])

        try:
            with in_the_same_commit(tell):
                await self.accounts.gone(account.name, url)
        except (AccountProblem, StoreError) as problem:
            log.warning("callback URL is gone", account=account.name, error=str(problem))

    def where_used(self, table: str) -> str:
        """Which key of the configuration names a table of numbers, "" = none."""
        numbers = self.config.numbers
        named = {"[numbers] prefix_table": numbers.prefix_table, "[numbers] mnp_table": numbers.mnp_table}
        named.update({f"[[carriers]] {one.name} rate_card": one.rate_card for one in self.config.carriers})
        accounts = self.accounts.by_name.values()
        named.update({f"account {one.name} rate_card": one.rate_card for one in accounts if not one.closed})
        return ", ".join(key for key, name in named.items() if name == table)

    def takes_nothing(self) -> str:
        """Why new work would be refused; "" when it is taken."""
        if not self.ready:
            return "starting"
        if self.stopping.is_set():
            return "shutting down"
        refusal = self.store.admission()
        return "" if refusal is None else str(refusal)

    def not_ready(self) -> str:
        """Why new work would be refused or stay put; "" when all is well."""
        refused = self.takes_nothing()
        if refused:
            return refused
        if self.carriers and not any(carrier.able() for carrier in self.carriers):
            bound = any(link.can_submit for carrier in self.carriers for link in carrier.links)
            return "no carrier takes messages, though some are bound" if bound else "no carrier is bound"
        return ""

    # running

    def recover(self) -> int:
        """Settle what was leased when the last process died; says how many outcomes are unknown."""
        judgings = {carrier.id: carrier.settings.judging for carrier in self.carriers}
        groups = {carrier.id: carrier.group for carrier in self.carriers}
        now_ms = self.world.wall_ms()
        unknown = self.store.recover(decider(judgings, groups, self.world.rng, now_ms), now_ms)
        if unknown:
            log.warning("messages with an unknown outcome after the last stop", count=unknown)
        self._recall(now_ms)
        return unknown

    def _recall(self, now_ms: int) -> None:
        """What guarded accounts submitted lately, so that a repetition is known over a restart."""
        repeats = self.door.repeats
        for account in self.accounts.by_id.values():
            if account.duplicate_guard_s and not account.closed:
                since_ms = now_ms - account.duplicate_guard_s * 1000
                repeats.recall(account, self.store.accepted_since(account.id, since_ms, repeats.most))

    async def run(self, *, task_status: trio.TaskStatus[Gateway] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop`; returns when everything is written and closed."""
        async with trio.open_nursery() as outer:
            await outer.start(self.committer.run)
            async with trio.open_nursery() as inner:
                await self._start(inner)
                self.ready = True
                task_status.started(self)
                await self.stopping.wait()
                await self._drain()
                inner.cancel_scope.cancel()
            await self.fleet.save()
            await self.keys.use.save(self.committer)
            await self.sessions.finish()
            self.committer.stop()
        self.tables.close()
        self.finished.set()

    async def _start(self, nursery: trio.Nursery) -> None:
        await self.reload.started(self.rolled_back)
        fallback = self.config.inbound.fallback_account
        if fallback and not self.accounts.fallback:
            log.warning(
                "[inbound] fallback_account is no open account: make it, or name another", name=fallback
            )
        strangers = accounts_named(self.config) - set(self.accounts.by_name)
        if strangers:
            log.warning("[[routes]] match names accounts that do not exist", names=sorted(strangers)[:20])
        self.known.check()
        if self.operators.damaged:
            log.error("the store's list of operators is damaged: none of their keys works; make new ones")
        if self.lookup is not None:
            await nursery.start(self.lookup.run)
        for one in self.config.simulators:
            await nursery.start(self._simulate, one)
        await nursery.start(self.clockwork.run)
        await nursery.start(self.pump.run)
        await nursery.start(self.spent.run)
        if self.cdrs is not None:
            await nursery.start(self.cdrs.run)
        await nursery.start(self.sending.run)
        await nursery.start(self.keys.use.run, self.committer)
        await nursery.start(self.sessions.run)
        await nursery.start(self.fleet.run)
        listeners: list[trio.abc.Listener[trio.abc.Stream]] = []
        for address in self.config.http.listen:
            listeners.extend(await listen_on(self.world, address.host, address.port, "[http] listen"))
        if self.config.http.listen_tls or any(one.listen_tls for one in self.config.http.apps):
            self.http_certificates.load()
            nursery.start_soon(self.http_certificates.watch)
        for address in self.config.http.listen_tls:
            plain = await listen_on(self.world, address.host, address.port, "[http] listen_tls")
            listeners.extend(SecureListener(one, self.http_certificates) for one in plain)
        await nursery.start(self.http.serve, listeners)
        await nursery.start(self.console.live.run)
        await self.apps.run(nursery)
        await nursery.start(self.smpp.run)
        admin = AdminServer(self.config.admin_socket, self.verbs.table(), timeouts_s=TIMEOUTS_S)
        await nursery.start(admin.serve)
        await nursery.start(self.searching.run)
        await nursery.start(self.privacy.run)
        nursery.start_soon(self._keep_waking)
        nursery.start_soon(self.watchdog.run)
        nursery.start_soon(self.troubles.run)
        nursery.start_soon(self.health.run)
        nursery.start_soon(self.figures.run)
        nursery.start_soon(self.traces.run)
        nursery.start_soon(self.probes.run)

    async def _keep_waking(self) -> None:
        """Lanes may become eligible by time alone (overflow, pauses): ask again now and then."""
        while True:
            await trio.sleep(0.25)
            if self.store.ready_lanes():
                self.committer.wake()

    async def _simulate(
        self, settings: SimulatorConfig, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        behaviour = settings.behaviour
        for name in ("response_delay_s", "receipt_delay_s"):
            least, *most = behaviour[name]
            behaviour[name] = (least, most[0] if most else least)
        smsc = SimulatedSmsc(
            Behaviour(**behaviour),
            {settings.system_id: settings.password},
            self.world.rng,
            settings.name,
            self.world.wall_ms,
        )
        self.simulators.append(smsc)
        where = settings.listen
        listeners = await listen_on(self.world, where.host, where.port, f"[[simulators]] {settings.name}")
        await smsc.serve(listeners, task_status=task_status)

    def stop(self) -> None:
        """Begin the polite end."""
        self.stopping.set()

    async def _drain(self) -> None:
        deadline_s = self.config.gateway.drain_timeout_s
        log.info("stopping", drain_timeout_s=deadline_s)
        self.door.close()
        self.http.stop()
        self.apps.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fleet.drain, deadline_s)
            nursery.start_soon(self.pump.stop, _CALLBACK_STOP_S)
            nursery.start_soon(self.smpp.drain, deadline_s)

    def facts(self) -> dict[str, object]:
        """For `signalbox` commands that ask how it goes."""
        return status_facts(self)


# settings, each part's own from the configuration's


def own_addresses(config: Config) -> list[Address]:
    """Every address that we listen on ourselves."""
    outbinds = (one.outbind_address for one in config.carriers)
    return [
        *config.http.listen,
        *config.http.listen_tls,
        *(address for one in config.http.apps for address in (*one.listen, *one.listen_tls)),
        *config.smpp.listen,
        *config.smpp.listen_tls,
        *(address for address in outbinds if address is not None),
        *(one.listen for one in config.simulators),
    ]


def limits_of(config: Config) -> Limits:
    """The door's."""
    messages = config.messages
    return Limits(
        messages.max_parts,
        messages.validity_default_s,
        messages.max_validity_s,
        messages.max_schedule_s,
        config.gateway.default_region,
        config.numbers.allowed_types,
    )


def provider_of(config: Config, world: World) -> Vouching | None:
    """The OpenID provider that people may sign in through; None: none is configured."""
    if not config.console.oidc.issuer:
        return None
    from gateway.oidc import Provider  # its libraries take 5 MB, and few need them

    return Provider(config.console.oidc, config.console.public_url, world.wall_ms)


def account_defaults(config: Config) -> dict[str, object]:
    """`[accounts]`, as fields of an Account."""
    chosen = config.accounts
    return {
        "weight": chosen.weight,
        "max_queued": chosen.max_queued,
        "receipt_default": ReceiptWish[chosen.receipt_default.upper()],
        "no_receipt_state": MessageState[chosen.no_receipt_state.upper()],
    }


def http_settings(config: Config) -> HttpSettings:
    names = HttpSettings.__struct_fields__
    return HttpSettings(**{name: getattr(config.http, name) for name in names if hasattr(config.http, name)})


def rate_cards_of(config: Config) -> set[str]:
    """Tables of prices that the configuration names."""
    return {one.rate_card for one in config.carriers if one.rate_card}


def lookup_of(config: Config, world: World) -> Lookup:
    """Of `[numbers.lookup]`, whose keys have the names of its settings."""
    names = (field.name for field in dataclasses.fields(LookupSettings))
    settings = LookupSettings(**{name: getattr(config.numbers.lookup, name) for name in names})
    guard = Guard()
    guard.own_listeners((one.host, one.port) for one in own_addresses(config))
    return Lookup(settings, world, guard)


def callback_settings(config: Config) -> CallbackSettings:
    chosen = config.callbacks
    return CallbackSettings(
        concurrency_per_endpoint=chosen.concurrency_per_endpoint,
        connections=chosen.max_connections,
        connect_timeout_s=chosen.connect_timeout_s,
        timeout_s=chosen.timeout_s,
        retry_s=tuple(chosen.retry_s),
        jitter=chosen.jitter,
        retry_after_cap_s=chosen.retry_after_cap_s,
        breaker_failures=chosen.breaker_failures,
        allow_private=chosen.allow_private,
        ca_file=chosen.ca_file,
    )


# the process


def main(config_path: Path | str, data_dir: Path | str | None = None) -> int:
    """Run until SIGTERM or SIGINT. Errors: ConfigErrors, StoreError, AdminError, OSError."""
    config = _placed(load(config_path), data_dir)
    sink = _log_as(config.log)
    try:
        return _run(config, data_dir, sink)
    finally:
        sink.close()


def _log_as(chosen: LogConfig) -> LogSink:
    """From now on records go where `[log]` says. Errors: OSError where its file cannot be opened."""
    sink = log_sink(chosen.file, chosen.rotate_mb, chosen.keep_files, chosen.max_waiting)
    on_terminal = not chosen.file and sys.stderr.isatty()
    as_json = chosen.format == "json" or (chosen.format == "auto" and not on_terminal)
    logs.configure(as_json, chosen.level, chosen.levels, sink.write)
    return sink


def _run(config: Config, data_dir: Path | str | None, sink: LogSink) -> int:
    chosen = config.gateway
    sys.setswitchinterval(_SWITCH_INTERVAL_S)  # the writer thread must not wait 5 ms for a busy loop
    gc.set_threshold(*_COLLECT_AFTER)
    world = RealWorld()
    chosen.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = LmdbStore(chosen.data_dir / STORE_DIRECTORY, store_options(config, world.wall_ms))
    try:
        rolled_back = Revisions(store, None, world.wall_ms).pinned()
        if rolled_back is not None:
            config = _placed(_back_to(rolled_back, store, world, config), data_dir or chosen.data_dir)
            logs.set_level(config.log.level, config.log.levels)
            store.close()  # it may be told other things
            store = LmdbStore(chosen.data_dir / STORE_DIRECTORY, store_options(config, world.wall_ms))
        given = Path(data_dir) if data_dir is not None else None
        trio.run(_serve, config, store, world, rolled_back, given, sink)
    finally:
        store.close()
    return 0


def _placed(config: Config, data_dir: Path | str | None) -> Config:
    """With the data directory that was given on the command line, if one was."""
    if data_dir is None:
        return config
    return dataclasses.replace(config, gateway=dataclasses.replace(config.gateway, data_dir=Path(data_dir)))


def _back_to(revision: Revision, store: LmdbStore, world: World, config: Config) -> Config:
    """That revision's configuration, its secrets from the file's. Errors: RevisionProblem."""
    try:
        found = Revisions(store, None, world.wall_ms).config(revision, config)
    except (RevisionProblem, ConfigErrors) as problem:
        raise RevisionProblem(
            f"revision {revision.back_to} is in force by a roll-back, and cannot be used: {problem}"
        ) from None
    log.warning("the configuration is that of a roll-back, not the file's", revision=revision.back_to)
    return found


async def _serve(
    config: Config,
    store: LmdbStore,
    world: World,
    rolled_back: Revision | None,
    data_dir: Path | None,
    sink: LogSink,
) -> None:
    writer: Writer = InlineWriter(store) if config.store.writer == "inline" else SplitWriter(store)
    gateway = Gateway(config, store, writer, world)
    gateway.rolled_back, gateway.reload.data_dir = rolled_back, data_dir
    crash_at = os.environ.get("SIGNALBOX_CRASH_AT")
    if crash_at:
        gateway.committer.probe = _crasher(crash_at)
        gateway.committer.probe("startup-before-recovery")
    add_log_measures(gateway.metrics, sink)
    service = Service.of_environment(gateway, os.environ)
    gateway.searching.in_a_process()
    gateway.recover()
    sink.flush()  # what may be sent twice is told before it is
    if gateway.committer.probe is not None:
        gateway.committer.probe("startup-after-recovery")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_signals, gateway, service, sink)
        await nursery.start(gateway.run)
        gc.collect()
        gc.freeze()  # what start-up has made stays: no need to look through it again and again
        await _announce(gateway)
        nursery.start_soon(service.run)
        nursery.start_soon(gateway.audit_heads.run)
        if config.telemetry.otlp_endpoint:
            nursery.start_soon(_telemetry, gateway)
        await gateway.stopping.wait()
        nursery.cancel_scope.deadline = trio.current_time() + config.gateway.drain_timeout_s + 60
        await gateway.finished.wait()
        await gateway.audit_heads.note()
        nursery.cancel_scope.cancel()


def _crasher(wish: str) -> Callable[[str], None]:
    """`phase:n`: die by SIGKILL at the n-th passage of a phase. Only for the crash tests."""
    phase, _, count = wish.partition(":")
    left = [int(count or 1)]

    def probe(passed: str) -> None:
        if passed == phase:
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return probe


async def _telemetry(gateway: Gateway) -> None:
    settings = gateway.config.telemetry
    export = await trio.to_thread.run_sync(exporter_of, settings)
    await Telemetry(gateway, settings, export).run()


async def _signals(gateway: Gateway, service: Service, sink: LogSink) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async for number in received:
                if number == signal.SIGHUP:
                    sink.reopen()
                    nursery.start_soon(_reload, gateway, service)
                else:
                    gateway.stop()


async def _reload(gateway: Gateway, service: Service) -> None:
    async with service.reloading():
        await gateway.reload.by_signal()


async def _announce(gateway: Gateway) -> None:
    """Say where everything listens; make the demo account at the first start."""
    config = gateway.config
    lines = [f"Signalbox is running; data in {config.gateway.data_dir}"]
    url = f"http://{dialable(config.http.listen[0])}" if config.http.listen else ""
    if gateway.rolled_back is not None:
        lines.append(
            f"  warning   rolled back to revision {gateway.rolled_back.back_to}: the file is not in force"
        )
    lines += [f"  HTTP      http://{address}" for address in config.http.listen]
    lines += [f"  HTTP      https://{address}" for address in config.http.listen_tls]
    for one in config.http.apps:
        apis = ", ".join(one.apis)
        lines += [f"  apps      http://{address} ({apis})" for address in one.listen]
        lines += [f"  apps      https://{address} ({apis})" for address in one.listen_tls]
    lines += [f"  SMPP      {address}" for address in config.smpp.listen]
    lines += [f"  SMPP/TLS  {address}" for address in config.smpp.listen_tls]
    lines += [f"  simulator {one.name} on {one.listen}" for one in config.simulators]
    for carrier in gateway.carriers:
        where = ", ".join(str(address) for address in carrier.settings.targets)
        lines.append(
            f"  carrier   {carrier.name} at {where}: {len(carrier.links)} links, "
            f"window {carrier.settings.window}"
        )
    lines.append(f"  a crash can send at most {config.possible_duplicates} segments twice")
    failing = failures(config, gateway.world.wall_ms(), gateway.known)
    lines += [f"  warning   {warning}" for warning in (*config.warnings, *failing)]
    if gateway.sign_ins.nobody_yet:
        lines += await _first_link(gateway)
    if config.gateway.demo:
        key = await _demo_key(gateway)
        lines += [
            "",
            f"Send a message as the account {DEMO_ACCOUNT!r}:",
            "",
            f"  curl {url}/v1/messages -H 'Authorization: Bearer {key}' \\",
            "    -H 'Content-Type: application/json' \\",
            '    -d \'{"to": "+447700900123", "from": "Signalbox", "text": "Hello"}\'',
            "",
        ]
    print("\n".join(lines), flush=True)


async def _first_link(gateway: Gateway) -> list[str]:
    """A one-time link for the first owner; without one, where the store takes nothing now."""
    try:
        token = await gateway.sign_ins.make_link(FIRST_OWNER)
    except StoreError as error:
        return [f"  warning   no sign-in link: {error}; later: signalbox operator sign-in-link"]
    link = console_url(gateway.config) + path_of(token)
    return ["", "Open the console within an hour, and become its first owner:", "", f"  {link}"]


def console_url(config: Config) -> str:
    """Where browsers find the console, without its path: as configured, or on this machine."""
    if config.console.public_url:
        return config.console.public_url.rstrip("/")
    if config.http.listen:
        return f"http://{dialable(config.http.listen[0])}"
    return f"https://{dialable(config.http.listen_tls[0])}"


def dialable(address: Address) -> Address:
    """Where a client on this machine reaches what listens on `address`."""
    loopback = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
    return Address(loopback.get(address.host, address.host), address.port)


async def _demo_key(gateway: Gateway) -> str:
    """The demo account's key, kept in the data directory so that every start can print it."""
    path = gateway.config.gateway.data_dir / "demo.key"
    accounts = gateway.accounts
    if DEMO_ACCOUNT in accounts.by_name and path.exists():
        return path.read_text().strip()
    if DEMO_ACCOUNT in accounts.by_name:
        _, key = await accounts.rotate(DEMO_ACCOUNT)
    else:
        _, key = await accounts.create(
            DEMO_ACCOUNT, gateway.world.wall_ms(), private_callbacks=True, numbers=("12345",)
        )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
    return key


__all__ = ["Gateway", "main"]
