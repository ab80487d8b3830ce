"""The recorded process: a store under its real committer and writer thread, and all that happens to one.

`python -m tests.crash.traffic ROOT ROUNDS SEED`: three lives, each ended without a word while messages are in
carriers' hands, over several days of a clock that jumps. Each promise to somebody outside is a line of
ROOT/marks, written right after the commit that covers it, as the gateway answers; marks.py reads them back.

Deliberately not here: recording (images.c), what must be found afterwards (judge.py).
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from gateway.committer import Committer
from gateway.recovery import decider
from gateway.world import RealWorld
from gateway.writer import SplitWriter
from router.nouns import (
    EventKind,
    InboundMessage,
    Leased,
    Message,
    MessageState,
    Outcome,
    Reason,
    ReceiptFate,
    ReceiptIn,
    Settle,
)
from store.finished import Finished
from store.interface import Claim, ClaimResult, MoPart, OutboxRow, ReceiptResult, StoreError, Transaction
from store.lmdb_store import LmdbStore
from tests.crash.marks import GRACE_MS, LANES, MINUTE_MS, OPTIONS, RETENTION_DAYS
from tests.store.records_for_tests import (
    DAY_MS,
    Clock,
    lane_of,
    message,
    open_store,
    outcome,
    receipt,
    with_account,
)

LIVES = 3
WINDOW = 12
_SETTLES = (
    *[Settle.SENT] * 12,
    Settle.RETRY,
    Settle.FINAL,
    Settle.UNKNOWN_HOLD,
    Settle.UNKNOWN_RESEND,
    Settle.RETURNED,
)


class World(RealWorld):
    """The committer's clock is the store's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wall_ms(self) -> int:
        return self._clock.now_ms


class Hands:
    """A carrier: takes what its window has room for and keeps it until the traffic has it answered."""

    def __init__(self, store: LmdbStore, name: str) -> None:
        self.name = name
        self.held: list[Leased] = []
        self._claimed = 0
        self._id = store.carrier_id(name)
        self._lanes = [
            (lane_of(store, *carriers), carriers.index(name)) for carriers in LANES if name in carriers
        ]

    def want(self, now_ms: int, seen: dict[int, int]) -> Claim | None:
        room = WINDOW - self._claimed - sum(one.message.segments for one in self.held)
        if room <= 0:
            return None
        return Claim(self._id, tuple((lane, index, room) for lane, index in self._lanes), room, now_ms)

    def claimed(self, result: ClaimResult) -> None:
        self._claimed += sum(one.message.segments for one in result.leased)

    def unclaimed(self, result: ClaimResult) -> None:
        self._claimed -= sum(one.message.segments for one in result.leased)

    def leased(self, result: ClaimResult) -> None:
        self.unclaimed(result)
        self.held.extend(result.leased)


class Outside:
    """What survives the process: the clock, the seed, the marks, what carriers accepted."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.clock = Clock()
        self.rng = random.Random(seed)
        self.sent: list[tuple[str, str, Message]] = []  # carrier, its id, the message; no receipt yet
        self.number = 0
        self._marks = os.open(root / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, *lines: str) -> None:
        os.write(self._marks, "".join(line + "\n" for line in lines).encode())

    def next(self) -> int:
        self.number += 1
        return self.number


class Traffic:
    """One life of the process."""

    def __init__(self, store: LmdbStore, committer: Committer, outside: Outside) -> None:
        self._store = store
        self._committer = committer
        self._outside = outside
        self._clock = outside.clock
        self._rng = outside.rng
        self._lanes = [lane_of(store, *carriers) for carriers in LANES]
        self._hands = [Hands(store, name) for name in sorted({name for lane in LANES for name in lane})]
        self._accepted: list[Message] = []
        self._parts: list[MoPart] = []
        self._archiving = False
        committer.claimers.extend(self._hands)

    async def run(self, rounds: int, nursery: trio.Nursery) -> None:
        for number in range(rounds):
            jump_ms = DAY_MS // 2 if number % 10 == 9 else self._rng.randrange(3 * MINUTE_MS)
            self._clock.now_ms += jump_ms
            self._outside.say(f"now {self._clock.now_ms}")
            self._answer()
            self._receive()
            self._accept()
            if not self._archiving:
                self._archiving = True
                nursery.start_soon(self._archive)
            await self._rarer(number)
            await self._tick()
        self._accept()

    async def _rarer(self, number: int) -> None:
        if number % 3 == 0:
            await self._deliver()
        if number % 4 == 0:
            await self._hear()
        if number % 5 == 0:
            await self._cancel()
        if number % 10 == 9:
            self._drop_days()

    async def _tick(self) -> None:
        now_ms = self._clock.now_ms

        def work(txn: Transaction) -> None:
            txn.move_due(now_ms, 100)
            txn.expire(now_ms, 100, GRACE_MS)
            txn.housekeep(now_ms, 100)

        await self._committer.execute(work)

    # A

    def _accept(self) -> None:
        for _ in range(self._rng.randrange(3)):
            batch = [self._message() for _ in range(self._rng.choice((1, 1, 2, 6)))]
            self._committer.submit_accept(batch, partial(self._answered, batch))

    def _message(self) -> Message:
        now_ms, rng = self._clock.now_ms, self._rng
        send_at_ms = now_ms + rng.randrange(DAY_MS) if rng.random() < 0.1 else 0
        return message(
            self._store,
            rng.choice(self._lanes),
            rng.choice((1, 2)),
            segments=rng.choice((1, 1, 1, 3)),
            text="x" * rng.choice((10, 160, 1500)),
            priority=rng.randrange(4),
            send_at_ms=send_at_ms,
            expires_ms=(send_at_ms or now_ms) + rng.choice((10 * MINUTE_MS, DAY_MS, DAY_MS)),
        )

    def _answered(self, batch: list[Message], error: StoreError | None) -> None:
        assert error is None, error
        self._outside.say(*[f"accepted {one.id} {one.account}" for one in batch])
        self._accepted.extend(batch)

    # B

    def _answer(self) -> None:
        outcomes: list[Outcome] = []
        for hands in self._hands:
            for leased in list(hands.held):
                if self._rng.random() < 0.8:
                    hands.held.remove(leased)
                    outcomes.extend(self._outcomes(hands.name, leased))
        self._committer.add_outcomes(outcomes)

    def _outcomes(self, carrier: str, leased: Leased) -> list[Outcome]:
        total = leased.message.segments
        last = self._rng.choice(_SETTLES)
        return [
            self._outcome(carrier, leased, last if part == total - 1 else Settle.SENT, part, total)
            for part in range(leased.first_part, total)
        ]

    def _outcome(self, carrier: str, leased: Leased, kind: Settle, part: int, total: int) -> Outcome:
        one = outcome(self._store, leased, carrier, kind, part=part, total=total)
        if kind == Settle.SENT:
            one.carrier_message_id = f"c{self._outside.next()}"
            self._outside.sent.append((carrier, one.carrier_message_id, leased.message))
        elif kind == Settle.FINAL:
            one.state, one.reason = MessageState.UNDELIVERABLE, Reason.REFUSED_BY_CARRIER
        else:
            one.until_ms = self._clock.now_ms + MINUTE_MS
            one.mark_tried = kind == Settle.RETRY
        return one

    # C

    def _receive(self) -> None:
        """Receipts in another order than the submits, some twice, some before their submit_sm_resp."""
        sent, self._outside.sent = self._outside.sent, []
        self._rng.shuffle(sent)
        arrived: list[ReceiptIn] = []
        ids: list[int] = []
        for carrier, cid, one in sent:
            if self._rng.random() < 0.7:
                state = self._rng.choice((MessageState.DELIVERED,) * 4 + (MessageState.UNDELIVERABLE,))
                times = self._rng.choice((1, 1, 1, 2))
                arrived += [receipt(self._store, carrier, cid, one.destination, state)] * times
                ids += [one.id] * times
            else:
                self._outside.sent.append((carrier, cid, one))
        if self._rng.random() < 0.3:
            arrived.append(receipt(self._store, "a", f"stranger{self._outside.next()}", "447700900000"))
            ids.append(0)
        if arrived:
            self._committer.add_receipts(arrived, partial(self._received, arrived, ids))

    def _received(self, arrived: list[ReceiptIn], ids: list[int], results: Sequence[ReceiptResult]) -> None:
        lines = []
        for one, id, result in zip(arrived, ids, results, strict=True):
            lines.append(f"kept {one.ids[0]} {id}")
            if result.final and result.fate == ReceiptFate.MATCHED:
                lines.append(f"final {result.message_id} {result.state}")
        self._outside.say(*lines)

    async def _hear(self) -> None:
        """MOs: a whole one, and a long one whose second part comes some rounds after its first."""
        now_ms, mo = self._clock.now_ms, self._mo("whole")
        await self._committer.execute(lambda txn: txn.inbound([mo], now_ms))
        self._outside.say(f"mo {mo.id}")
        if not self._parts:
            part = MoPart(1, "447700900009", "12345", self._outside.next(), 2, 1, 0, b"one", now_ms)
            self._parts.append(part)
            await self._committer.execute(lambda txn: txn.inbound_parts([part], now_ms))
            self._outside.say(f"part {part.reference}")
            return
        first = self._parts.pop()
        second = MoPart(1, "447700900009", "12345", first.reference, 2, 2, 0, b"two", now_ms)
        joined = self._mo(f"joined {first.reference}")

        def join(txn: Transaction) -> None:
            if txn.inbound_parts([second], now_ms)[0] is not None:
                txn.inbound([joined], now_ms)

        await self._committer.execute(join)
        self._outside.say(f"mo {joined.id}")

    def _mo(self, text: str) -> InboundMessage:
        id = self._store.next_ids(1)
        return InboundMessage(id, 1, 1, self._clock.now_ms, "447700900009", "12345", 0, text, b"")

    # D

    async def _deliver(self) -> None:
        for endpoint in list(self._store.outbox_endpoints()):
            rows = self._store.outbox_page(endpoint, 0, 40)
            done = [row for row in rows if self._rng.random() < 0.9]
            again = [row for row in rows if row not in done]
            self._outside.say(*[f"telling {id}" for id in _finals(done)])
            if again:
                self._committer.add_outbox_retry(again, self._clock.now_ms + MINUTE_MS)
            await self._committer.execute(partial(_outbox_done, done))
            self._outside.say(*[f"told {id}" for id in _finals(done)])

    # by hand, by time

    async def _cancel(self) -> None:
        if not self._accepted:
            return
        one, now_ms = self._rng.choice(self._accepted), self._clock.now_ms
        if await self._committer.execute(lambda txn: txn.cancel(one.account, one.id, now_ms)) == "cancelled":
            self._outside.say(f"final {one.id} {int(MessageState.DELETED)}")

    async def _archive(self) -> None:
        """As gateway.timers does it: read, write in a thread, forget."""
        while rows := self._store.pick_finished(self._clock.now_ms, 25):
            await trio.to_thread.run_sync(self._store.archive.write, rows)
            await self._committer.execute(partial(_forget, rows))
        self._archiving = False

    def _drop_days(self) -> None:
        self._outside.say(f"dropping {self._clock.now_ms}")
        self._store.drop_old(self._clock.now_ms, RETENTION_DAYS)


def _finals(rows: Sequence[OutboxRow]) -> list[int]:
    return [row.event.message_id for row in rows if row.event.kind == EventKind.RECEIPT and row.event.final]


def _outbox_done(rows: Sequence[OutboxRow], txn: Transaction) -> None:
    txn.outbox_done(rows)


def _forget(rows: Sequence[Finished], txn: Transaction) -> int:
    return txn.forget(rows)


async def live(outside: Outside, rounds: int) -> None:
    """Open, recover, traffic; then everything stops where it is."""
    store = open_store(outside.root, outside.clock, **OPTIONS)
    if not store.accounts():
        with_account(store, 1)
        with_account(store, 2)
    store.recover(decider({}, {}, outside.rng, outside.clock.now_ms), outside.clock.now_ms)
    committer = Committer(store, SplitWriter(store), World(outside.clock))
    traffic = Traffic(store, committer, outside)
    async with trio.open_nursery() as nursery:
        await nursery.start(committer.run)
        await traffic.run(rounds, nursery)
        nursery.cancel_scope.cancel()
    store.close()


def main(root: Path, rounds: int, seed: int) -> None:
    outside = Outside(root, seed)
    for _ in range(LIVES):
        trio.run(live, outside, rounds // LIVES)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
