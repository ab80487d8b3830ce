"""The store under test, its clock, and sentences of a few verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from router.nouns import Event, Leased, Message, Outcome, Phase, Progress, ReceiptIn, Settle
from store.interface import ReceiptResult, Store
from store.options import StoreOptions
from tests.store import records_for_tests as made
from tests.store.conformance.engines import Engine

DAY_MS = made.DAY_MS


class Subject:
    """`reopening`: closed and opened again after each commit, while no message is leased."""

    def __init__(self, engine: Engine, directory: Path, reopening: bool) -> None:
        self.engine = engine
        self.directory = directory
        self.reopening = reopening
        self.clock = made.Clock()
        self.options = StoreOptions(
            map_size=256 << 20, min_free_disk=0, archive_map_size=64 << 20, clock=self.clock
        )
        self.store: Store = engine.open(directory / "store", self.options)
        self.account()

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms

    def wait(self, ms: int) -> None:
        self.clock.now_ms += ms

    # transactions

    def do(self, *verbs: Callable[[Any], Any]) -> Any:
        """Commit these; what the last one returned."""
        results = made.commit(self.store, *verbs)
        if self.reopening and not self.store.totals().messages[Phase.LEASED]:
            self.reopen()
        return results[-1]

    def reopen(self, **options: Any) -> None:
        """Close and open again, with other options if given."""
        self.options = replace(self.options, **options)
        self.store.close()
        self.store = self.engine.open(self.directory / "store", self.options)

    def recover(self, settle: Settle, **fields: Any) -> int:
        """After a reopening: every unknown outcome is settled like this."""

        def decide(message: Message, progress: Progress | None, carrier: int) -> Outcome:
            group = self.store.group_id(self.store.carrier_name(carrier))
            outcome = Outcome(message.account, message.id, 0, carrier, group, 0, message.segments, settle)
            for name, value in fields.items():
                setattr(outcome, name, value)
            return outcome

        return self.store.recover(decide, self.now_ms)

    # messages

    def account(self, id: int = 1, **fields: Any) -> None:
        account = made.account(id, **fields)
        self.do(lambda txn: txn.put_account(account))

    def lane(self, *carriers: str) -> int:
        return made.lane_of(self.store, *carriers)

    def accept(self, lane: int, count: int = 1, account: int = 1, **fields: Any) -> list[Message]:
        messages = [made.message(self.store, lane, account, **fields) for _ in range(count)]
        self.do(lambda txn: txn.accept(messages))
        return messages

    def claim(self, lane: int, carrier: str = "a", segments: int = 100, index: int = 0) -> list[Leased]:
        claim = made.claim(self.store, lane, carrier, segments, index)
        leased: list[Leased] = self.do(lambda txn: txn.claim([claim]))[0].leased
        return leased

    def leased(self, lane: int, carrier: str = "a", count: int = 1, **fields: Any) -> list[Leased]:
        """Accept and claim."""
        self.accept(lane, count, **fields)
        return self.claim(lane, carrier)

    def settle(self, *outcomes: Outcome) -> None:
        self.do(lambda txn: txn.settle(outcomes, self.now_ms))

    def outcome(self, leased: Leased, settle: Settle, carrier: str = "a", **fields: Any) -> Outcome:
        return made.outcome(self.store, leased, carrier, settle, **fields)

    def sent(self, leased: Leased, cid: str, carrier: str = "a", part: int = 0, total: int = 1) -> Outcome:
        return made.sent(self.store, leased, carrier, cid, part, total)

    def send(self, lane: int, cid: str, carrier: str = "a", **fields: Any) -> Message:
        """Accept, claim, and have it accepted by the carrier under `cid`."""
        (leased,) = self.leased(lane, carrier, **fields)
        self.settle(self.sent(leased, cid, carrier))
        return leased.message

    def receipt(self, cid: str, to: str, state: int = 2, carrier: str = "a", **fields: Any) -> ReceiptIn:
        return made.receipt(self.store, carrier, cid, to, state, **fields)

    def receive(self, *receipts: ReceiptIn) -> list[ReceiptResult]:
        results: list[ReceiptResult] = self.do(lambda txn: txn.receipts(receipts, self.now_ms))
        return results

    # what there is

    def found(self, message: Message) -> Progress:
        """How far it came; its record must be the one that was accepted."""
        found = self.store.find(message.account, message.id)
        assert found is not None
        assert found[0] == message
        return found[1]

    def phase(self, message: Message) -> Phase:
        return Phase(self.found(message).phase)

    def counts(self) -> dict[str, int]:
        """Messages by phase, without the empty ones."""
        totals = self.store.totals().messages
        return {phase.name: totals[phase] for phase in Phase if totals[phase]}

    def events(self, account: int = 1) -> list[Event]:
        """Everything that waits to be told to an account, by endpoint, oldest first."""
        endpoints = self.store.outbox_endpoints().values()
        return [
            row.event
            for endpoint in sorted(endpoints, key=lambda one: one.id)
            if endpoint.account == account
            for row in self.store.outbox_page(endpoint.id, 0, 1_000)
        ]

    def told(self, account: int = 1) -> list[tuple[int, int]]:
        """(message id, state) of its events."""
        return [(event.message_id, event.state) for event in self.events(account)]

    def sound(self) -> None:
        """The conservation law holds and `check` has nothing to say."""
        totals = self.store.totals()
        assert totals.accepted == sum(totals.messages)
        assert totals.accepted_segments == sum(totals.segments)
        assert min(totals.messages) >= 0
        assert min(totals.segments) >= 0
        assert self.store.check() == []


def ids(messages: Sequence[Message | Leased]) -> list[int]:
    return [one.message.id if isinstance(one, Leased) else one.id for one in messages]
