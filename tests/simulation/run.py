"""One seed: a whole gateway, two carriers that misbehave, customers, a sink for callbacks, perhaps a crash,
in every fifth an operator who moves, bounces, forces and reroutes what waits, and in others one who suspends,
drains, slows down and bans for a time.

Time is MockClock's, the network memory, chance and scheduling come from the seed, so a failing seed replays
exactly. What must hold is checked while it runs and at the end (`Broken` says what did not).
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
import trio.testing

from config.load import parse
from gateway.admin import AdminError
from gateway.app import Gateway, store_options
from gateway.door import Accepted, Refusal, Submission
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from gateway.writer import InlineWriter
from router.nouns import Login, Step
from router.throttle import Throttle
from smpp.pdu import Pdu, SubmitSm
from store.check import check
from store.lmdb_store import LmdbStore
from tests.gateway.house import inline
from tests.gateway.smpp_server.esme import Esme
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.simulation.world import SimWorld

SINK = ("127.0.0.1", 9000)
CONFIG = """
[gateway]
data_dir = "{path}"
overflow_after_s = 2
drain_timeout_s = 5
watchdog_s = 10
[http]
listen = ["127.0.0.1:8080"]
[smpp]
listen = ["127.0.0.1:2775"]
enquire_link_s = 5
response_timeout_s = 5
[store]
map_size_gb = 0.1
min_free_disk_mb = 0
archive_after_s = 86400
[receipts]
grace_s = 60
[messages]
validity_default_s = 300
[callbacks]
allow_private = true
retry_s = [1, 5, 30, 60, 60, 60, 60, 60, 60, 60]
[unknown]
transactional = "{unknown}"
resend_after_s = 5
[[carriers]]
name = "a"
host = "127.0.0.1"
port = 2001
system_id = "u"
sessions = 2
window = {window}
tps = {tps}
response_timeout_s = 5
late_response_grace_s = 20
enquire_link_s = 10
reconnect_max_s = 5
unbind_pause_s = 1
[[carriers]]
name = "b"
host = "127.0.0.1"
port = 2002
system_id = "u"
window = 5
response_timeout_s = 5
reconnect_max_s = 5
[[routes]]
name = "order"
match = {{ prefix = ["44"] }}
lane = ["a", "b"]
on_receipt = {{ undelivered = "next", no_receipt_s = 30 }}
[[routes]]
name = "weights"
lane = [{{ carrier = "a", weight = 3 }}, {{ carrier = "b", weight = 1 }}]
"""


_CUT = (trio.BrokenResourceError, trio.ClosedResourceError, AssertionError)  # as an Esme tells of it


class Broken(AssertionError):
    """A law of the gateway did not hold; replay with the seed."""


class Noted:
    """A throttle that writes down when something was taken."""

    def __init__(self, inner: Throttle, taken: list[float]) -> None:
        self._inner = inner
        self._taken = taken

    def take(self, n: int, now: float) -> None:
        self._taken.extend([now] * n)
        self._inner.take(n, now)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


class Simulation:
    def __init__(self, seed: int, path: Path) -> None:
        self.seed = seed
        self.path = path
        self.rng = random.Random(seed)
        self.world = SimWorld(self.rng)
        self.tps = self.rng.choice((0, 5, 20, 50))
        self.config = parse(
            CONFIG.format(
                path=path,
                window=self.rng.choice((1, 3, 20)),
                tps=self.tps,
                unknown=self.rng.choice(("resend", "hold")),
            ),
            path / "config.toml",
        )
        self.accepted: dict[int, Accepted] = {}
        self.wanted: set[int] = set()
        self.passed_on = 0  # messages that failed over by receipts
        self.told: dict[int, set[str]] = {}
        self.answered_over_smpp: set[int] = set()
        self.told_over_smpp: dict[int, set[str]] = {}
        self.part: tuple[str, int, int] = ("", 0, 0)
        self.parts: dict[tuple[bytes, int], list[int]] = {}
        self.submits: list[float] = []  # to carrier a
        self.trace = hashlib.sha256()
        self.acts = random.Random(seed) if seed % 5 == 4 else None  # what an operator does, if there is one
        self.orders = random.Random(seed) if seed % 5 == 3 else None  # what another one orders for a time
        self.acted: dict[str, int] = {}  # verb → messages
        self.smscs = [self._smsc("a", early=True), self._smsc("b", early=False)]

    def _smsc(self, name: str, early: bool) -> SimulatedSmsc:
        rng = self.rng
        behaviour = Behaviour(
            response_delay_s=(0.0, rng.choice((0.0, 0.3))),
            receipt_delay_s=(0.0, rng.choice((0.5, 20.0))),
            states={"DELIVRD": 0.8, "UNDELIV": 0.1, "EXPIRED": 0.05, "ENROUTE": 0.05},
            submit_errors={0x58: rng.choice((0.0, 0.1)), 0x08: 0.05, 0x0B: 0.03},
            no_response=rng.choice((0.0, 0.03)),
            no_receipt=0.05,
            early_receipts=0.2 if early else 0.0,
            duplicate_receipts=0.2,
            receipts_on=rng.choice(("same", "other")),
            receipt_as=rng.choice(("text", "tlv", "both")),
            id_form=rng.choice(("dec", "hex")),
            cut_every=rng.choice((0, 0, 25)),
        )
        smsc = SimulatedSmsc(behaviour, rng=rng, name=name, wall_ms=self.world.wall_ms)
        smsc.on_submit = self._submitted
        return smsc

    def _submitted(self, pdu: SubmitSm, message_id: bytes) -> None:
        self.trace.update(b"%d %b %b;" % (int(trio.current_time() * 1000), pdu.destination_addr, message_id))
        if pdu.esm_class & 0x40:
            header = pdu.short_message[:6]
            self.parts.setdefault((pdu.destination_addr, header[3]), []).append(header[5])

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for port, smsc in zip((2001, 2002), self.smscs, strict=True):
                await nursery.start(smsc.serve, await self.world.listen("127.0.0.1", port))
            (listener,) = await self.world.listen(*SINK)
            nursery.start_soon(self._sink, listener, nursery)
            rough = trio.CancelScope()
            nursery.start_soon(self._rough, rough)
            for life in range(self.rng.choice((1, 2, 3))):
                await self._live(life, self.rng.uniform(2, 20), crash=True)
            rough.cancel()
            await self._live(99, 0, crash=False)
            nursery.cancel_scope.cancel()

    async def _rough(self, scope: trio.CancelScope) -> None:
        with scope:
            await self.world.cut_now_and_then(0.5, 15)

    async def _live(self, life: int, seconds: float, *, crash: bool) -> None:
        """One process: from opening the store to a crash, or to the end of all messages."""
        store = LmdbStore(self.path / "store", store_options(self.config, self.world.wall_ms))
        try:
            async with trio.open_nursery() as nursery:
                gateway = Gateway(self.config, store, InlineWriter(store), self.world)
                self._watch_rate(gateway)
                gateway.reload.in_thread = inline
                gateway.recover()
                await nursery.start(gateway.run)
                if not gateway.accounts.by_name:
                    for name in ("one", "two"):
                        await gateway.accounts.create(
                            name,
                            self.world.wall_ms(),
                            callback_url=f"http://{SINK[0]}:{SINK[1]}/{name}",
                            private_callbacks=True,
                            callback_batch=self.rng.choice((1, 10)),
                        )
                    await gateway.accounts.create(
                        "three",
                        self.world.wall_ms(),
                        logins=(Login("three", (hashed("pw"),)),),
                        window=self.rng.choice((1, 5, 50)),
                        deliver_expiry_s=100_000,
                    )
                gateway.smpp.gate.passwords = Hashing().passwords
                nursery.start_soon(self._esmes, crash)
                if crash:
                    nursery.start_soon(self._customers, gateway)
                    if self.acts is not None:
                        nursery.start_soon(self._operator, gateway, self.acts)
                    if self.orders is not None:
                        nursery.start_soon(self._orderer, gateway, self.orders)
                    await trio.sleep(seconds)
                else:
                    await self._until_all_is_final(gateway)
                    self._ended_once(store)
                self._conserved(store)
                nursery.cancel_scope.cancel()
            findings = check(store)
            if findings:
                raise Broken(f"store check: {findings[0]}")
        finally:
            store.close()

    def _watch_rate(self, gateway: Gateway) -> None:
        """Note each submit of carrier a as it is written: what the throttle promises, restarts included."""
        carrier = gateway.carriers[0]
        noted = Noted(carrier.throttle, self.submits)
        carrier.throttle = noted  # type: ignore[assignment]
        for link in carrier.links:
            link.throttle = noted  # type: ignore[assignment]

    async def _esmes(self, submitting: bool) -> None:
        """Two binds of the customer over SMPP, each again and again as long as this process lives."""
        async with trio.open_nursery() as nursery:
            for kind in ("transceiver", "receiver"):
                nursery.start_soon(self._esme, kind, submitting and kind == "transceiver")

    async def _esme(self, kind: str, submitting: bool) -> None:
        while True:
            with suppress(OSError):
                stream = await self.world.connect("127.0.0.1", 2775)
                try:
                    await self._bound(Esme(stream), kind, submitting)
                finally:
                    await trio.aclose_forcefully(stream)
            await trio.sleep(self.rng.uniform(0.2, 2))

    async def _bound(self, esme: Esme, kind: str, submitting: bool) -> None:
        esme.take = self._take_delivery
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with suppress(*_CUT):
                    await esme.run()
                nursery.cancel_scope.cancel()

            nursery.start_soon(run)
            with suppress(*_CUT):
                if (await esme.bind("three", "pw", kind)).command_status:
                    nursery.cancel_scope.cancel()
                while submitting:
                    await trio.sleep(self.rng.uniform(0, 0.3))
                    response = await esme.ask(self._submit_sm(esme))
                    if response.command_status == 0:
                        self.answered_over_smpp.add(int(response.message_id))
            await trio.sleep_forever()

    def _submit_sm(self, esme: Esme) -> SubmitSm:
        """A short one, or a part of a long one whose others may or may not come."""
        rng = self.rng
        to = rng.choice(("4477008", "4917621")) + str(rng.randint(10_000, 99_999))
        if rng.random() < 0.7:
            return esme.message(to, rng.choice((b"hello", b"x" * 200)))
        if not self.part[0] or rng.random() < 0.1:
            self.part = (to, rng.randint(0, 255), 0)
        to, reference, index = self.part
        index += 1
        self.part = (to, reference, index) if index < 3 else ("", 0, 0)
        if not to:
            return esme.message("447700812345")
        element = bytes((5, 0, 3, reference, 3, index))
        return esme.message(to, element + b"part", esm_class=0x40)

    def _take_delivery(self, pdu: Pdu) -> int | None:
        chance = self.rng.random()
        if chance < 0.05:
            return None
        if chance < 0.1:
            return 0x64
        text = getattr(pdu, "short_message", b"").decode("latin-1")
        if "stat:" not in text:  # an MO
            return 0
        id, stat = int(text.split()[0][3:]), text.split("stat:")[1].split()[0]
        self.told_over_smpp.setdefault(id, set()).add(stat)
        return 0

    async def _customers(self, gateway: Gateway) -> None:
        rng = self.rng
        while True:
            account = gateway.accounts.by_name[rng.choice(("one", "two"))]
            requests = [self._request() for _ in range(rng.randint(1, 4))]

            def done(
                results: list[Accepted | Refusal], requests: Sequence[Submission] = tuple(requests)
            ) -> None:
                for request, result in zip(requests, results, strict=True):
                    if isinstance(result, Accepted):
                        self.accepted[result.id] = result
                        if request.receipt != "none":
                            self.wanted.add(result.id)

            gateway.door.submit(account, requests, done)
            await trio.sleep(rng.uniform(0, 0.3))
            self._conserved(gateway.store)
            self._moving(gateway)

    async def _operator(self, gateway: Gateway, rng: random.Random) -> None:
        """Acts on queues, all the time; what cannot be done is refused and changes nothing."""
        verbs = gateway.verbs.table()
        while True:
            await trio.sleep(rng.uniform(0.1, 1.5))
            where = rng.choice(({"to": "order"}, {"to": "weights"}, {"to_carrier": "a"}, {"to_carrier": "b"}))
            which = rng.choice(
                ({"all": True}, {"account": "one"}, {"account": "three"}, {"prefix": "49"}, {"carrier": "a"})
            )
            one = {"id": str(rng.choice([*self.accepted, *self.answered_over_smpp, 1]))}
            verb, args = rng.choice(
                (
                    ("queue.move", {**which, **where}),
                    ("queue.move", {**which, **where, "preview": True}),
                    ("queue.bounce", {"account": "two", "older_than_s": 2}),
                    ("message.force", {**one, "carrier": rng.choice(("", "a", "b"))}),
                    ("message.reroute", {**one, **where}),
                )
            )
            with suppress(AdminError):
                done: Any = await verbs[verb](args)
                if not args.get("preview"):
                    count = done.get("moved", done.get("bounced", 1))
                    self.acted[verb] = self.acted.get(verb, 0) + count
            self._conserved(gateway.store)

    async def _orderer(self, gateway: Gateway, rng: random.Random) -> None:
        """Suspends, drains, slows down, all for a time: some of it over a crash."""
        verbs = gateway.verbs.table()
        while True:
            await trio.sleep(rng.uniform(0.1, 2))
            carrier, route = rng.choice("ab"), rng.choice(("order", "weights"))
            lasting = {"for_s": rng.uniform(0.5, 8)}
            verb, args = rng.choice(
                (
                    ("carrier.suspend", {"name": carrier, **lasting}),
                    ("carrier.resume", {"name": carrier}),
                    ("carrier.drain", {"name": carrier, **lasting}),
                    ("carrier.rebind", {"name": rng.choice(("a", "b", "a/1", "a/2"))}),
                    ("carrier.rate", {"name": carrier, "tps": rng.randint(1, self.tps or 50), **lasting}),
                    ("link.suspend", {"name": rng.choice(("a/1", "a/2", "b/1")), **lasting}),
                    ("route.suspend", {"name": route, **lasting}),
                    ("route.resume", {"name": route}),
                    ("route.rate", {"name": route, "tps": rng.randint(1, 30), **lasting}),
                    (
                        "route.weights",
                        {"name": "weights", "weights": {carrier: rng.randint(0, 9)}, **lasting},
                    ),
                    ("account.suspend", {"name": rng.choice(("one", "three")), **lasting}),
                    ("binds.ban", {"system_id": "three", **lasting}),
                )
            )
            with suppress(AdminError):
                await verbs[verb](args)
                self.acted[verb] = self.acted.get(verb, 0) + 1
            self._conserved(gateway.store)

    def _request(self) -> Submission:
        rng = self.rng
        return Submission(
            to=rng.choice(("+4477009", "+4917620")) + str(rng.randint(10_000, 99_999)),
            sender="SIM",
            text=rng.choice(("hello", "hello €", "grüße", "long " * rng.randint(30, 120), "привет " * 20)),
            message_class=rng.choice(("otp", "transactional", "bulk")),
            validity_s=rng.choice((None, None, 60)),
            send_at_ms=rng.choice((0, 0, 0, self.world.wall_ms() + 3000)),
            receipt=rng.choice((None, "none")),
        )

    async def _until_all_is_final(self, gateway: Gateway) -> None:
        for _ in range(3000):
            totals = gateway.store.totals()
            if totals.accepted == totals.messages[0] and not gateway.store.outbox_backlog():
                return
            self._moving(gateway)
            await trio.sleep(1)
        raise Broken(f"not everything ended: {gateway.store.totals()}")

    def _moving(self, gateway: Gateway) -> None:
        """Nothing stands still without a reason, whatever the carriers do."""
        for stall in gateway.watchdog.stalls.values():
            raise Broken(f"stalled: {stall}")

    def _conserved(self, store: LmdbStore) -> None:
        totals = store.totals()
        if totals.accepted != sum(totals.messages) or totals.accepted_segments != sum(totals.segments):
            raise Broken(f"conservation: {totals}")

    def _ended_once(self, store: LmdbStore) -> None:
        """One end each, and no carrier accepts one twice: unless it was unknown whether it had."""
        for account in store.accounts():
            for id in self.accepted.keys() | self.answered_over_smpp:
                message, progress = store.find(account, id) or (None, None)
                if message is None or progress is None:
                    continue
                steps = [step for _, step, _, _ in progress.events]
                if steps.count(Step.FINAL) != 1:
                    raise Broken(f"message {id} ended {steps.count(Step.FINAL)} times")
                by = [carrier for _, step, carrier, _ in progress.events if step == Step.SENT]
                if Step.OUTCOME_UNKNOWN in steps or message.segments > 1:
                    continue
                self.passed_on += Step.PASSED_ON in steps
                if len(by) != len(set(by)):
                    raise Broken(f"message {id} was accepted twice by one carrier: {progress.events}")

    # the customers' side of callbacks

    async def _sink(self, listener: trio.abc.Listener[trio.abc.Stream], nursery: trio.Nursery) -> None:
        while True:
            nursery.start_soon(self._receive, await listener.accept())

    async def _receive(self, stream: trio.abc.Stream) -> None:
        data = b""
        try:
            while piece := bytes(await stream.receive_some(65536)):
                data += piece
                while (end := data.find(b"\r\n\r\n")) >= 0:
                    head = data[:end].lower()
                    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                    if len(data) < end + 4 + length:
                        break
                    body, data = data[end + 4 : end + 4 + length], data[end + 4 + length :]
                    chance = self.rng.random()
                    if chance < 0.05:
                        return
                    if chance < 0.9:
                        self._note(body)
                    status = b"200 OK" if chance < 0.9 else b"503 Busy"
                    await stream.send_all(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    def _note(self, body: bytes) -> None:
        decoded = json.loads(body)
        for event in decoded.get("events", [decoded]):
            if "message_id" not in event["data"]:  # about the account
                continue
            told = self.told.setdefault(int(event["data"]["message_id"]), set())
            told.add(event["id"])  # stable over attempts: two ids are two final receipts

    # the laws, at the end

    def judge(self) -> None:
        missing = self.wanted - set(self.told)
        if missing:
            raise Broken(f"{len(missing)} messages never got their final receipt, e.g. {min(missing)}")
        twice = [id for id, states in self.told.items() if len(states) != 1]
        if twice:
            raise Broken(f"message {twice[0]} was told two final states: {self.told[twice[0]]}")
        missing = self.answered_over_smpp - set(self.told_over_smpp)
        if missing:
            raise Broken(f"{len(missing)} submit_sm never got their final receipt, e.g. {min(missing)}")
        for id, states in self.told_over_smpp.items():
            if len(states) != 1:
                raise Broken(f"submit_sm {id} was told two final states: {states}")
        strangers = set(self.told) - self.wanted
        if strangers & set(self.accepted):
            raise Broken(f"message {min(strangers)} wanted no receipt and got one")
        for first, last in zip(self.submits, self.submits[self.tps :], strict=False):
            if self.tps and last - first <= 1.0:
                raise Broken(f"more than {self.tps} a second were sent to carrier a at {first:.3f} s")


def simulate(seed: int) -> str:
    """Run one seed; returns a digest of everything the carriers saw. Raises Broken."""
    runner: Any = trio._core._run
    runner._ALLOW_DETERMINISTIC_SCHEDULING = True
    runner._r.seed(seed)
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    path = Path(tempfile.mkdtemp(prefix="signalbox-sim-", dir=base))
    try:
        simulation: list[Simulation] = []

        async def main() -> None:
            simulation.append(Simulation(seed, path))
            await simulation[0].run()

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        simulation[0].judge()
        return simulation[0].trace.hexdigest()
    finally:
        runner._ALLOW_DETERMINISTIC_SCHEDULING = False
        shutil.rmtree(path, ignore_errors=True)
