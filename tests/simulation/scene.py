"""A scene: a whole gateway on MockClock, carriers that write down what comes when, accounts that submit.

Everything is made of memory streams and one seed. What a carrier sees is a list of `Arrival`, what customers
are told is not looked at here (tests/simulation/run.py does).

Deliberately not here: what is expected (the tests say it).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from config.load import parse
from gateway.app import Gateway, store_options
from gateway.door import Accepted, Refusal, Submission
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import Peer, SimulatedSmsc
from gateway.writer import InlineWriter
from router.nouns import Account, Phase
from smpp.pdu import SubmitSm
from store.lmdb_store import LmdbStore
from tests.gateway.house import MemoryWorld

HEAD = """
[gateway]
data_dir = "{path}"
drain_timeout_s = 1
watchdog_s = 30
[http]
listen = ["127.0.0.1:8080"]
[store]
map_size_gb = 0.5
min_free_disk_mb = 0
"""
_PLAIN = 9_900  # of 10,000 numbers: those that do not end in 99xx
_WAITING = (Phase.SCHEDULED, Phase.READY, Phase.DEFERRED, Phase.HELD, Phase.LEASED, Phase.UNKNOWN)


class Arrival(NamedTuple):
    """One submit_sm as a carrier saw it. `at` in seconds of the test's clock."""

    at: float
    to: str
    sender: str
    accepted: bool


class WatchedSmsc(SimulatedSmsc):
    """A simulated carrier that writes down every submit, the refused ones, too."""

    def __init__(self, behaviour: Behaviour, name: str, world: MemoryWorld) -> None:
        super().__init__(behaviour, None, world.rng, name, world.wall_ms)
        self.arrivals: list[Arrival] = []

    def _submit(self, peer: Peer, pdu: SubmitSm) -> None:
        before = self.tally.accepted
        super()._submit(peer, pdu)
        self.arrivals.append(
            Arrival(
                trio.current_time(),
                pdu.destination_addr.decode(),
                pdu.source_addr.decode(),
                self.tally.accepted > before,
            )
        )

    def accepted(self, since: float = 0.0, until: float = float("inf")) -> list[Arrival]:
        return [one for one in self.arrivals if one.accepted and since <= one.at < until]

    def refused(self, since: float = 0.0, until: float = float("inf")) -> list[Arrival]:
        return [one for one in self.arrivals if not one.accepted and since <= one.at < until]


class Scene:
    def __init__(self, gateway: Gateway, world: MemoryWorld, carriers: Sequence[WatchedSmsc]) -> None:
        self.gateway = gateway
        self.world = world
        self.carriers = {carrier.name: carrier for carrier in carriers}
        self.refusals: list[Refusal] = []
        self.accepted: dict[int, float] = {}  # message id → when
        self._submitted = 0

    async def account(self, name: str, **settings: object) -> Account:
        made, _ = await self.gateway.accounts.create(name, self.world.wall_ms(), **settings)
        return made

    def submit(self, account: Account, to: Iterable[str], sender: str = "ACME", **fields: object) -> None:
        """One message to each; they are accepted by the next commit."""
        asked = [Submission(to=one, sender=sender, **{"text": "Hello", **fields}) for one in to]  # type: ignore[arg-type]
        self._submitted += len(asked)

        def done(results: list[Accepted | Refusal]) -> None:
            now = trio.current_time()
            for one in results:
                if isinstance(one, Accepted):
                    self.accepted[one.id] = now
                else:
                    self.refusals.append(one)

        account = self.gateway.accounts.by_id[account.id]
        self.gateway.door.submit(account, asked, done)

    def waiting(self) -> int:
        """Messages that no carrier has accepted yet."""
        totals = self.gateway.store.totals()
        under_way = self._submitted - len(self.accepted) - len(self.refusals)
        return under_way + sum(totals.messages[phase] for phase in _WAITING)

    async def until(self, is_so: Callable[[], object], patience_s: float = 600.0) -> None:
        with trio.fail_after(patience_s):
            while not is_so():
                await trio.sleep(0.05)

    async def bound(self) -> None:
        await self.until(lambda: all(carrier.able() for carrier in self.gateway.carriers), 60)


@asynccontextmanager
async def scene(
    directory: Path, toml: str, carriers: dict[str, Behaviour], seed: int = 1
) -> AsyncIterator[Scene]:
    """A gateway whose carriers are at ports 2001, 2002… in the order given."""
    world = MemoryWorld(seed)
    config = parse(HEAD.format(path=directory / "var") + toml, directory / "gateway.toml")
    (directory / "var").mkdir(exist_ok=True)
    store = LmdbStore(directory / "var" / "store", store_options(config, world.wall_ms))
    try:
        async with trio.open_nursery() as nursery:
            smscs = [WatchedSmsc(behaviour, name, world) for name, behaviour in carriers.items()]
            for offset, smsc in enumerate(smscs):
                nursery.start_soon(smsc.serve, await world.listen("127.0.0.1", 2001 + offset))
            gateway = Gateway(config, store, InlineWriter(store), world)
            gateway.recover()
            await nursery.start(gateway.run)
            stage = Scene(gateway, world, smscs)
            await stage.bound()
            yield stage
            gateway.stop()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 60):
                await gateway.finished.wait()
            nursery.cancel_scope.cancel()
    finally:
        store.close()


def carrier_toml(name: str, number: int, more: str = "") -> str:
    """A [[carriers]] table for the carrier at that place, from 1."""
    return (
        f'[[carriers]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {2000 + number}\nsystem_id = "x"\n'
        f"reconnect_min_s = 0.2\nunbind_pause_s = 0.2\n{more}\n"
    )


def route_toml(*carriers: str, more: str = "") -> str:
    names = ", ".join(f'"{one}"' for one in carriers)
    return f'[[routes]]\nname = "all"\nlane = [{names}]\n{more}\n'


def numbers(prefix: str, count: int, first: int = 0) -> list[str]:
    """Possible numbers of twelve digits that begin with the prefix, without those whose last four digits ask
    the simulator for something (gateway.simulator.behaviour.MAGIC: …9908 makes it wait for 15 s)."""
    plain = (one // _PLAIN * 10_000 + one % _PLAIN for one in range(first, first + count))
    return [f"{prefix}{one:0{12 - len(prefix)}}" for one in plain]


def most_in(seconds: float, times: Iterable[float]) -> int:
    """The highest count in any half-open sliding window of so many seconds."""
    seen = sorted(times)
    return max((bisect_left(seen, at + seconds) - first for first, at in enumerate(seen)), default=0)
