"""The store against a plain model, under any order of verbs and crashes (Hypothesis state machine).

The model knows one thing of each message: whether it has ended, and how often that was told. After every step
the counters must add up; at the end `store check` must find nothing and every ended message was told once.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.nouns import EventKind, Leased, Message, Outcome, Phase, Progress, Reason, ReceiptWish, Settle
from store.interface import Acted, Store, Which
from store.options import StoreOptions
from tests.store.conformance.engines import ENGINES, Engine
from tests.store.records_for_tests import (
    Clock,
    claim,
    commit,
    lane_of,
    message,
    outcome,
    receipt,
    with_account,
)


class StoreMachine(RuleBasedStateMachine):
    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.path = Path(tempfile.mkdtemp(dir=base))
        self.clock = Clock()
        self.store = self._open()
        with_account(self.store, 1)
        with_account(self.store, 2)
        self.lanes = [lane_of(self.store, "a", "b"), lane_of(self.store, "b")]
        self.accepted: dict[int, Message] = {}
        self.leased: list[tuple[str, Leased]] = []
        self.sent: list[tuple[str, str, str]] = []  # carrier, carrier id, recipient
        self.finals: dict[int, int] = {}
        self.number = 0

    def _open(self) -> Store:
        options = StoreOptions(
            map_size=256 << 20, min_free_disk=0, archive_map_size=64 << 20, clock=self.clock
        )
        return self.engine.open(self.path / "store", options)

    def teardown(self) -> None:
        findings = self.store.check()
        self.store.close()
        shutil.rmtree(self.path)
        assert findings == []
        assert all(count == 1 for count in self.finals.values())

    @rule(
        count=st.integers(1, 4),
        account=st.sampled_from([1, 2]),
        lane=st.integers(0, 1),
        segments=st.sampled_from([1, 1, 1, 3]),
        delay_s=st.sampled_from([0, 0, 0, 30]),
        validity_s=st.sampled_from([120, 86_400]),
        priority=st.integers(0, 3),
    )
    def accept(
        self, count: int, account: int, lane: int, segments: int, delay_s: int, validity_s: int, priority: int
    ) -> None:
        now_ms = self.clock.now_ms
        send_at_ms = now_ms + delay_s * 1000 if delay_s else 0
        made = [
            message(
                self.store,
                self.lanes[lane],
                account,
                segments=segments,
                priority=priority,
                send_at_ms=send_at_ms,
                expires_ms=(send_at_ms or now_ms) + validity_s * 1000,
                receipt=ReceiptWish.FINAL,
            )
            for _ in range(count)
        ]
        commit(self.store, lambda txn: txn.accept(made))
        self.accepted.update((one.id, one) for one in made)

    @rule(carrier=st.sampled_from(["a", "b"]), budget=st.integers(1, 6))
    def claim(self, carrier: str, budget: int) -> None:
        lane, index = (self.lanes[0], 0) if carrier == "a" else (self.lanes[budget % 2], 1 - budget % 2)
        asked = claim(self.store, lane, carrier, budget, index)
        result = commit(self.store, lambda txn: txn.claim([asked]))[0][0]
        self.leased.extend((carrier, one) for one in result.leased)

    @precondition(lambda self: self.leased)
    @rule(
        which=st.integers(0, 100),
        settle=st.sampled_from(
            [
                Settle.SENT,
                Settle.SENT,
                Settle.SENT,
                Settle.RETRY,
                Settle.FINAL,
                Settle.UNKNOWN_HOLD,
                Settle.UNKNOWN_RESEND,
                Settle.RETURNED,
            ]
        ),
        mark=st.booleans(),
    )
    def settle(self, which: int, settle: Settle, mark: bool) -> None:
        carrier, leased = self.leased.pop(which % len(self.leased))
        total = leased.message.segments
        outcomes = []
        for part in range(leased.first_part, total):
            self.number += 1
            kind = settle if part == total - 1 else Settle.SENT
            one = outcome(self.store, leased, carrier, kind, part=part, total=total)
            if kind == Settle.SENT:
                one.carrier_message_id = f"c{self.number}"
                self.sent.append((carrier, one.carrier_message_id, leased.message.destination))
            elif kind == Settle.FINAL:
                one.state, one.reason = 5, Reason.REFUSED_BY_CARRIER
            else:
                one.until_ms = self.clock.now_ms + 5_000
                one.mark_tried = mark and kind == Settle.RETRY
            outcomes.append(one)
        for one in outcomes:
            commit(self.store, lambda txn, one=one: txn.settle([one], self.clock.now_ms))  # type: ignore[misc]

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 100), state=st.sampled_from([1, 2, 2, 2, 5, 8]), repeat=st.booleans())
    def receive(self, which: int, state: int, repeat: bool) -> None:
        carrier, cid, recipient = self.sent[which % len(self.sent)]
        arrived = [receipt(self.store, carrier, cid, recipient, state)] * (2 if repeat else 1)
        commit(self.store, lambda txn: txn.receipts(arrived, self.clock.now_ms))

    @rule(seconds=st.sampled_from([1, 6, 40, 200]))
    def wait(self, seconds: int) -> None:
        self.clock.now_ms += seconds * 1000
        now_ms = self.clock.now_ms
        commit(self.store, lambda txn: txn.move_due(now_ms, 50), lambda txn: txn.expire(now_ms, 50, 60_000))

    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        if self.accepted:
            one = list(self.accepted.values())[which % len(self.accepted)]
            commit(self.store, lambda txn: txn.cancel(one.account, one.id, self.clock.now_ms))

    @rule(lane=st.integers(0, 1), to=st.integers(0, 2), limit=st.integers(1, 4))
    def replan(self, lane: int, to: int, limit: int) -> None:
        target = [*self.lanes, 0][to]
        commit(self.store, lambda txn: txn.replan(self.lanes[lane], lambda one: target, limit))

    @rule(to=st.integers(0, 1), limit=st.integers(1, 4))
    def replan_held(self, to: int, limit: int) -> None:
        commit(self.store, lambda txn: txn.replan_held(lambda one: self.lanes[to], (0, 0), limit))

    @rule(
        to=st.integers(0, 1),
        limit=st.integers(1, 4),
        only=st.sampled_from([0, 1, 2]),
        cut=st.booleans(),
        stays=st.integers(0, 5),
    )
    def move(self, to: int, limit: int, only: int, cut: bool, stays: int) -> None:
        """Where `cut`, one portion alone, as if the gateway had been stopped; messages of one length stay."""
        which = Which(accounts=frozenset({only} if only else ()))

        def decide(one: Message) -> int | str:
            return "too long" if one.segments == stays else self.lanes[to]

        self._in_portions(cut, lambda txn, after: txn.move(which, decide, "by ann: x", limit, after))

    @rule(limit=st.integers(1, 4), lane=st.integers(0, 1), cut=st.booleans())
    def bounce(self, limit: int, lane: int, cut: bool) -> None:
        which, now_ms = Which(lanes=frozenset({self.lanes[lane]})), self.clock.now_ms
        self._in_portions(cut, lambda txn, after: txn.bounce(which, 5, now_ms, "by ann: x", limit, after))

    def _in_portions(self, cut: bool, act: Callable[[Any, bytes], Acted]) -> None:
        after, portions = b"", 0
        while not portions or (after and not cut):
            (done,) = commit(self.store, partial(lambda at, txn: act(txn, at), after))
            after, portions = done.after, portions + 1

    @rule(which=st.integers(0, 100), carrier=st.sampled_from(["a", "b"]), to=st.integers(-1, 1))
    def force_or_reroute(self, which: int, carrier: str, to: int) -> None:
        if not self.accepted:
            return
        one = list(self.accepted.values())[which % len(self.accepted)]
        before = self.store.find(one.account, one.id)
        assert before is not None
        phase, id, now_ms = before[1].phase, self.store.carrier_id(carrier), self.clock.now_ms
        if to < 0:
            (answer,) = commit(
                self.store, lambda txn: txn.force(one.account, one.id, id, now_ms, "by ann: x")
            )
        else:
            (answer,) = commit(
                self.store, lambda txn: txn.reroute(one.account, one.id, self.lanes[to], "by ann: x")
            )
        after = self.store.find(one.account, one.id)
        assert after is not None
        if answer == "forced":
            assert after[1].phase == Phase.READY
        elif answer not in ("moved", "there", "had", "expired", "elsewhere"):
            words = {
                "leased": Phase.LEASED,
                "final": Phase.FINAL,
                "sent": Phase.AWAITING_RECEIPT,
                "outcome_unknown": Phase.UNKNOWN,
            }
            assert words[answer] == phase == after[1].phase

    @rule(portion=st.integers(1, 3), carrier=st.sampled_from(["", "a", "b"]))
    def release(self, portion: int, carrier: str) -> None:
        after: tuple[int, int] | None = (0, 0)
        only = self.store.carrier_id(carrier) if carrier else 0
        while after is not None:
            (released,) = commit(
                self.store,
                lambda txn, after=after: txn.release_held(Reason.OUTCOME_UNKNOWN, portion, after, only),  # type: ignore[misc]
            )
            after = released.after
        if not carrier:
            assert self.store.totals().messages[Phase.UNKNOWN] == 0

    @rule()
    def deliver_events(self) -> None:
        for endpoint in list(self.store.outbox_endpoints()):
            rows = self.store.outbox_page(endpoint, 0, 1000)
            for row in rows:
                if row.event.kind == EventKind.ACCOUNT:
                    continue
                assert row.event.final
                self.finals[row.event.message_id] = self.finals.get(row.event.message_id, 0) + 1
            commit(self.store, lambda txn, rows=rows: txn.outbox_done(rows))  # type: ignore[misc]

    @rule(hold=st.booleans())
    def crash(self, hold: bool) -> None:
        txn = self.store.begin()
        txn.accept([message(self.store, self.lanes[0])])
        self.store.abort(txn)
        self.store.close()
        self.store = self._open()
        self.leased.clear()
        group = self.store.group_id("a")

        def decide(one: Message, progress: Progress | None, carrier: int) -> Outcome:
            settle = Settle.UNKNOWN_HOLD if hold else Settle.UNKNOWN_RESEND
            return Outcome(
                one.account, one.id, 0, carrier, group, 0, one.segments, settle,
                until_ms=self.clock.now_ms + 5_000, detail="crash",
            )  # fmt: skip

        self.store.recover(decide, self.clock.now_ms)
        assert self.store.totals().messages[Phase.LEASED] == 0

    @invariant()
    def conserved(self) -> None:
        totals = self.store.totals()
        assert totals.accepted == len(self.accepted) == sum(totals.messages)
        assert totals.accepted_segments == sum(totals.segments)
        assert min(totals.messages) >= 0
        for phase in range(Phase.SCHEDULED, Phase.AWAITING_RECEIPT):
            by_lane = [counts[phase] for counts in self.store.lane_totals().values()]
            assert sum(by_lane) == totals.messages[phase]
            assert min(by_lane, default=0) >= 0
        assert min(totals.segments) >= 0

    @rule()
    def sound(self) -> None:
        assert self.store.check() == []


def against_a_model(engine: Engine) -> type:
    """A test case of this engine; pytest runs it as it runs any unittest.TestCase."""
    machine = type(f"StoreMachine_{engine.name}", (StoreMachine,), {"engine": engine})
    case: type = machine.TestCase  # type: ignore[attr-defined]
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=60, stateful_step_count=40, deadline=None
    )
    return case


globals().update({f"Test_{engine.name}_against_a_model": against_a_model(engine) for engine in ENGINES})
