"""The carriers that run: built from the configuration, started, changed, drained, one at a time.

What of a carrier's settings needs another bind is `config.diff.REBINDS`; all else is applied to the binds
there are. A bind that must go takes nothing new, waits for its window, unbinds; what is not answered by then
is unknown, as always. The next bind begins when the old ones of its carrier are gone, because carriers count
them. A carrier that leaves keeps its place until it is drained; one that comes back before that only rebinds.

Invariants: the links of one carrier are changed by one task at a time; a carrier that did not change keeps
its link objects; the TPS of a carrier holds over its rebinding.

Deliberately not here: what is to change (config.diff), lanes (gateway.carriers.lanes), sending (carrier.py).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
import trio

from config.model import Address, CarrierConfig
from gateway.carriers.carrier import Carrier, make_back_off
from gateway.carriers.inbound import Inbound
from gateway.carriers.lanes import LaneBoard
from gateway.carriers.limits import EachSender
from gateway.carriers.link import Link, Target
from gateway.carriers.tlvs import AccountOf
from gateway.committer import Committer
from gateway.metrics import Counts
from gateway.spent import Spent
from gateway.world import World, listen_on
from router.correlate import FormLearner
from router.throttle import Throttle
from smpp.session import SessionSettings
from store.interface import Store, StoreError, Transaction

log = structlog.get_logger("carrier")

Listeners = Sequence[trio.abc.Listener[trio.abc.Stream]]
_BACK = "back in the configuration"
_GONE = "no longer in the configuration"
_NO_MAKE = -1  # of a link that is to be replaced alone


@dataclass(frozen=True)
class ClientTls:
    """gateway.world.Tls."""

    context: ssl.SSLContext
    server_name: str


class Berth:
    """One carrier and what runs for it."""

    __slots__ = (
        "carrier",
        "configured",
        "leaving",
        "listeners",
        "make",
        "nursery",
        "one_at_a_time",
        "outbinds",
        "started",
        "tls",
    )

    def __init__(self, carrier: Carrier, tls: ClientTls | None, listeners: Listeners) -> None:
        self.carrier = carrier
        self.configured = carrier.settings  # without what operators ordered
        self.tls = tls
        self.listeners = listeners  # for the carrier's outbind
        self.make = 0  # links of an older one are to be replaced
        self.leaving = False
        self.started = trio.Event()  # there is a nursery
        self.nursery: trio.Nursery | None = None
        self.outbinds: trio.CancelScope | None = None
        self.one_at_a_time = trio.Lock()


class Fleet:
    """`carriers` is in the order of joining. Before `run`, `add` only builds; from then on it also starts."""

    def __init__(
        self,
        world: World,
        store: Store,
        committer: Committer,
        board: LaneBoard,
        inbound: Inbound,
        counts: Counts,
        spent: Spent,
    ) -> None:
        self.carriers: list[Carrier] = []
        self.drain_timeout_s = 20.0
        self.account_of: AccountOf = lambda id: None  # for what carriers are sent of an account's
        self._rates: Mapping[str, float] = {}  # carrier → segments a second, by an operator's order
        self._drained: Collection[str] = ()  # carriers that are to have no bind
        self._suspended: Collection[str] = ()  # links
        self._berths: dict[str, Berth] = {}
        self._world = world
        self._store = store
        self._committer = committer
        self._board = board
        self._inbound = inbound
        self._counts = counts
        self._spent = spent
        self._nursery: trio.Nursery | None = None
        self._busy = 0
        self._idle = trio.Event()

    # building

    def add(
        self, settings: CarrierConfig, tls: ClientTls | None = None, listeners: Listeners = ()
    ) -> Carrier:
        """Take a carrier in; one that is on its way out comes back with these settings."""
        berth = self._berths.get(settings.name)
        if berth is not None:
            self._come_back(berth, settings, tls, listeners)
            return berth.carrier
        carrier = Carrier(
            self._ordered(settings),
            self._store.carrier_id(settings.name),
            self._store.group_id(settings.group_name),
            self._world,
            self._committer,
            self._board,
            self._inbound,
            self._counts,
        )
        carrier.renderer.account_of = lambda id: self.account_of(id)
        persisted = self._store.meta(f"learner:{settings.name}") or b""
        self._inbound.learners[carrier.id] = FormLearner(persisted.decode(), _configured(settings))
        berth = self._berths[settings.name] = Berth(carrier, tls, listeners)
        berth.configured = settings
        carrier.links.extend(self._made(berth, self._wanted(settings)))
        self.carriers.append(carrier)
        self._committer.claimers.append(carrier)
        self._board.join(carrier)
        self._follow_limits()
        if self._nursery is not None:
            self._nursery.start_soon(self._run, berth)
        return carrier

    def _wanted(self, settings: CarrierConfig) -> dict[str, tuple[str, tuple[Address, ...]]]:
        """Link name → bind, addresses."""
        wanted: dict[str, tuple[str, tuple[Address, ...]]] = {}
        if settings.name in self._drained:
            return wanted
        for number in range(1, settings.sessions + 1):
            for bind, addresses in (one for one in _binds(settings) if one[1]):
                suffix = {"transmitter": "-tx", "receiver": "-rx"}.get(bind, "")
                wanted[f"{settings.name}/{number}{suffix}"] = bind, addresses
        return wanted

    def _made(self, berth: Berth, wanted: Mapping[str, tuple[str, tuple[Address, ...]]]) -> list[Link]:
        return [self._link(berth, name, bind, addresses) for name, (bind, addresses) in wanted.items()]

    def _link(self, berth: Berth, name: str, bind: str, addresses: Iterable[Address]) -> Link:
        carrier, settings = berth.carrier, berth.carrier.settings
        link = Link(
            name,
            carrier,
            self._world,
            target_of(settings, bind, addresses, berth.tls),
            session_settings(settings),
            carrier.throttle_of_a_link(),
            make_back_off(settings),
            settings.unbind_pause_s,
        )
        link.make = berth.make
        link.suspend(name in self._suspended)
        return link

    # running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; started once every link tries to bind. Errors: OSError where an address for a
        carrier's outbind is taken."""
        for berth in self._berths.values():
            berth.listeners = await self.listen(berth.carrier.settings)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for berth in list(self._berths.values()):
                await nursery.start(self._run, berth)
            task_status.started()
            await trio.sleep_forever()

    async def listen(self, settings: CarrierConfig) -> Listeners:
        """For the carrier's outbind, where it has one. Errors: OSError."""
        address = settings.outbind_address
        if address is None:
            return ()
        return await listen_on(
            self._world, address.host, address.port, f"[[carriers]] {settings.name} outbind_listen"
        )

    async def _run(
        self, berth: Berth, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with trio.open_nursery() as nursery:
            berth.nursery = nursery
            berth.started.set()
            nursery.start_soon(berth.carrier.pace)
            for link in list(berth.carrier.links):
                await nursery.start(link.run)
            nursery.start_soon(self._await_outbinds, berth)
            task_status.started()

    async def _await_outbinds(self, berth: Berth) -> None:
        """The carrier connects to us and asks us to bind (SMPP 3.4 section 2.2.1)."""
        with trio.CancelScope() as berth.outbinds:
            async with trio.open_nursery() as nursery:
                for listener in berth.listeners:
                    nursery.start_soon(self._accept_outbinds, berth, listener)

    async def _accept_outbinds(self, berth: Berth, listener: trio.abc.Listener[trio.abc.Stream]) -> None:
        carrier = berth.carrier
        async with listener:
            while True:
                stream = await listener.accept()
                settings = carrier.settings
                if len(carrier.links) >= settings.sessions * 2 + 8 or carrier.name in self._drained:
                    await trio.aclose_forcefully(stream)
                    continue
                bind = "receiver" if settings.bind != "transceiver" else "transceiver"
                suffix = "-rx" if bind == "receiver" else ""
                name = f"{settings.name}/{len(carrier.links) + 1}{suffix}"
                link = self._link(berth, name, bind, settings.targets)
                assert berth.nursery is not None
                berth.nursery.start_soon(self._carry_outbind, carrier, link, stream)

    async def _carry_outbind(self, carrier: Carrier, link: Link, stream: trio.abc.Stream) -> None:
        carrier.links.append(link)
        try:
            await link.carry_outbind(stream)
        finally:
            carrier.links.remove(link)

    # changing

    def change(
        self,
        settings: CarrierConfig,
        *,
        rebinds: bool,
        tls: ClientTls | None = None,
        listeners: Listeners | None = None,
    ) -> None:
        """Other settings for a carrier. `listeners`: new ones for its outbind, where that changed."""
        berth = self._berths[settings.name]
        if rebinds:
            berth.tls = tls
            berth.make += 1
        berth.configured = settings
        self._apply(berth, self._ordered(settings))
        if listeners is not None:
            self._start(self._outbinds_anew, berth, listeners)
        if rebinds or self._names(berth) != self._wanted(settings).keys():
            self._shape(berth)

    def _shape(self, berth: Berth) -> None:
        """Links that are not wanted as they are take nothing new, end, and others come instead."""
        for link in self._surplus(berth):
            link.take_nothing_new()
        berth.carrier.give_back_without_a_link("its binds are being replaced")
        self._start(self._reshape, berth)

    def under(self, rates: Mapping[str, float], drained: Collection[str], suspended: Collection[str]) -> None:
        """What operators ordered (gateway.orders), from now on and over changes of settings: carriers' rates,
        carriers that are to have no bind, links that take nothing new."""
        self._rates, self._drained, self._suspended = rates, drained, suspended
        for berth in self._berths.values():
            carrier = berth.carrier
            self._apply(berth, self._ordered(berth.configured))
            for link in carrier.links:
                if link.suspended != (link.name in suspended):
                    link.suspend(not link.suspended)
            carrier.give_back_without_a_link("its bind is suspended")
            if self._nursery is None or berth.leaving:
                continue
            if carrier.name in drained and any(link.outbound for link in carrier.links):
                berth.make += 1
            if self._surplus(berth) or self._names(berth) != self._wanted(carrier.settings).keys():
                self._shape(berth)
        self._committer.wake()

    def rebind(self, name: str, link: str = "") -> None:
        """All binds of a carrier, or one: finished and unbound, and bound again at once."""
        berth = self._berths[name]
        if link:
            for one in berth.carrier.links:
                if one.name == link:
                    one.make = _NO_MAKE
        else:
            berth.make += 1
        self._shape(berth)

    def _ordered(self, settings: CarrierConfig) -> CarrierConfig:
        rate = self._rates.get(settings.name)
        return replace(settings, tps=rate) if rate else settings

    def remove(self, name: str) -> None:
        """Drain it, then let it go; what was leased and not sent returns to its lane at once."""
        berth = self._berths[name]
        berth.leaving = True
        berth.carrier.give_back_all(_GONE)
        self._start(self._leave, berth)

    async def settled(self) -> None:
        """Return once no bind is being drained or replaced."""
        while self._busy:
            await self._idle.wait()

    def is_leaving(self, name: str) -> bool:
        berth = self._berths.get(name)
        return berth is not None and berth.leaving

    def _apply(self, berth: Berth, settings: CarrierConfig) -> None:
        carrier, before = berth.carrier, berth.carrier.settings
        carrier.change(settings, self._store.group_id(settings.group_name))
        self._follow_limits()
        if settings.receipt_id != before.receipt_id:
            learner = self._inbound.learners[carrier.id]
            self._inbound.learners[carrier.id] = FormLearner(str(learner), _configured(settings))
        if settings == before:
            return
        addresses = dict(_binds(settings))
        for link in carrier.links:
            if link.make == berth.make:
                target = target_of(settings, link.bind, addresses.get(link.bind, settings.targets), berth.tls)
                link.change(
                    target, session_settings(settings), make_back_off(settings), settings.unbind_pause_s
                )

    def _come_back(
        self, berth: Berth, settings: CarrierConfig, tls: ClientTls | None, listeners: Listeners
    ) -> None:
        berth.leaving = False
        berth.carrier.take_work_again()
        log.info(_BACK, carrier=settings.name)
        self.change(settings, rebinds=True, tls=tls, listeners=listeners)

    def _follow_limits(self) -> None:
        """Limits per minute and longer outlive a restart, of whichever carriers and binds there are."""
        carriers: dict[str, Throttle] = {}
        binds: dict[str, Throttle] = {}
        for carrier in self.carriers:
            if carrier.settings.throttle_scope == "carrier":
                carriers[f"carrier:{carrier.name}"] = carrier.throttle
            else:
                binds |= {f"bind:{link.name}": link.throttle for link in carrier.links if not link.outbound}
            for limit in carrier.some.limits if carrier.some is not None else ():
                if not isinstance(limit, EachSender):
                    carriers[f"carrier:{carrier.name}:{limit.name}"] = limit.throttle
        self._spent.follow("carrier:", carriers)
        self._spent.follow("bind:", binds)

    def _names(self, berth: Berth) -> set[str]:
        return {link.name for link in berth.carrier.links if not link.outbound}

    def _surplus(self, berth: Berth) -> list[Link]:
        """Links that are not as the settings want them."""
        wanted = self._wanted(berth.carrier.settings)
        return [
            link
            for link in berth.carrier.links
            if link.make != berth.make or (not link.outbound and link.name not in wanted)
        ]

    def _start(self, job: Callable[..., object], berth: Berth, *arguments: object) -> None:
        assert self._nursery is not None, "only while it runs"
        self._busy += 1
        self._nursery.start_soon(self._do, job, berth, *arguments)

    async def _do(self, job: Callable[..., object], berth: Berth, *arguments: object) -> None:
        try:
            await berth.started.wait()
            async with berth.one_at_a_time:
                await job(berth, *arguments)  # type: ignore[misc]
        except Exception:  # a bug of one carrier's: the others go on
            hint = "restart the gateway when it suits you, and report this"
            log.exception("a carrier was not changed as asked", carrier=berth.carrier.name, hint=hint)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()
                self._idle = trio.Event()

    def _is_gone(self, berth: Berth) -> bool:
        """It left while this job waited for its turn; nothing runs for it any more."""
        return self._berths.get(berth.carrier.name) is not berth

    def _is_to_leave(self, berth: Berth) -> bool:
        """False: it came back, or an earlier job has seen it off already."""
        return berth.leaving and not self._is_gone(berth)

    async def _reshape(self, berth: Berth) -> None:
        """End the links that are not wanted as they are; start those that are missing."""
        carrier = berth.carrier
        await self._retire(berth, self._surplus(berth))
        if berth.leaving:
            return
        names = self._names(berth)
        missing = {name: one for name, one in self._wanted(carrier.settings).items() if name not in names}
        links = self._made(berth, missing)
        carrier.links.extend(links)
        self._follow_limits()
        assert berth.nursery is not None
        for link in links:
            await berth.nursery.start(link.run)

    async def _retire(self, berth: Berth, links: Sequence[Link]) -> None:
        async with trio.open_nursery() as nursery:
            for link in links:
                nursery.start_soon(link.retire, self.drain_timeout_s)
        for link in links:
            if link in berth.carrier.links:
                berth.carrier.links.remove(link)

    async def _outbinds_anew(self, berth: Berth, listeners: Listeners) -> None:
        if self._is_gone(berth):
            for listener in listeners:
                await listener.aclose()
            return
        if berth.outbinds is not None:
            berth.outbinds.cancel()
        berth.listeners = listeners
        assert berth.nursery is not None
        berth.nursery.start_soon(self._await_outbinds, berth)

    async def _leave(self, berth: Berth) -> None:
        carrier = berth.carrier
        if not self._is_to_leave(berth):
            return
        if berth.outbinds is not None:
            berth.outbinds.cancel()
        for link in carrier.links:
            link.take_nothing_new()
        await self._retire(berth, list(carrier.links))
        if not self._is_to_leave(berth):
            return
        await self._save([carrier])
        if not self._is_to_leave(berth):  # it came back meanwhile, and waits to bind
            return
        assert berth.nursery is not None
        berth.nursery.cancel_scope.cancel()
        del self._berths[carrier.name]
        self.carriers.remove(carrier)
        self._committer.claimers.remove(carrier)
        self._board.leave(carrier)
        self._follow_limits()
        log.info("drained and gone", carrier=carrier.name)

    # ending

    async def drain(self, within_s: float) -> None:
        """For the end of the gateway: take nothing new, answer what is in flight, unbind."""
        async with trio.open_nursery() as nursery:
            for carrier in self.carriers:
                carrier.give_back_all("shutting down")
                for link in carrier.links:
                    nursery.start_soon(link.drain, within_s)

    async def save(self) -> None:
        """For the end: what was learnt of the carriers, what their limits have spent."""
        await self._save(self.carriers, at_end=True)

    async def _save(self, carriers: Sequence[Carrier], *, at_end: bool = False) -> None:
        def save(txn: Transaction) -> None:
            if at_end:
                self._spent.save(txn)
            for carrier in carriers:
                txn.put_meta(f"learner:{carrier.name}", str(self._inbound.learners[carrier.id]).encode())

        try:
            await self._committer.execute(save)
        except StoreError as error:
            log.warning("what was learnt of carriers' ids is not kept", error=str(error), hint=error.hint)


# settings, as the parts want them


def _configured(settings: CarrierConfig) -> str:
    return "exact" if settings.receipt_id == "same" else settings.receipt_id


def _binds(settings: CarrierConfig) -> list[tuple[str, tuple[Address, ...]]]:
    if settings.bind == "transmitter+receiver":
        return [("transmitter", settings.tx_targets), ("receiver", settings.rx_targets)]
    return [(settings.bind, settings.targets)]


def target_of(
    settings: CarrierConfig, bind: str, addresses: Iterable[Address], tls: ClientTls | None
) -> Target:
    return Target(
        [(address.host, address.port) for address in addresses],
        bind,
        bind_fields(settings),
        local_address=settings.local_address,
        tls=tls,
        connect_timeout_s=settings.connect_timeout_s,
        user_timeout_s=settings.write_timeout_s,
    )


def bind_fields(settings: CarrierConfig) -> dict[str, bytes | int]:
    """The bind PDU's fields."""
    return {
        "system_id": settings.system_id.encode(),
        "password": settings.password.encode(),
        "system_type": settings.system_type.encode(),
        "interface_version": settings.version,
        "addr_ton": settings.addr_ton,
        "addr_npi": settings.addr_npi,
        "address_range": settings.address_range.encode(),
    }


def session_settings(settings: CarrierConfig) -> SessionSettings:
    return SessionSettings(
        window=settings.window,
        session_init_timeout_s=settings.bind_timeout_s,
        enquire_link_s=settings.enquire_link_s,
        response_timeout_s=settings.response_timeout_s,
        late_response_grace_s=settings.late_response_grace_s,
        max_pdu_before_bind=65_552,  # the carrier is chosen by the operator; its bind_resp may carry TLVs
        version=settings.version,
    )


def client_tls(settings: CarrierConfig) -> ClientTls | None:
    """TLS 1.2 or later with certificate and name checks, unless the operator turned them off; None: no TLS.

    Without tls_server_name each of the carrier's hosts is checked by its own name. Errors: OSError (also
    ssl.SSLError) from the files.
    """
    if not settings.tls:
        return None
    context = ssl.create_default_context(cafile=settings.tls_ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.tls_cert_file:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file or None)
    return ClientTls(context, settings.tls_server_name)
