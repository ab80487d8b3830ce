"""What the gateway may ask of a store: domain verbs, batch-first, never keys or cursors.

A second engine implements `Store` and `Transaction` and passes tests/store/conformance. Every verb of
`Transaction` runs synchronously inside one write transaction; nothing is durable, and no in-memory count
has changed, until `commit` returned. Reads (`Store.find`…) see the last commit.

Deliberately not here: trio, tasks, batching policy (gateway.committer), decisions (router).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from router.nouns import (
    Account,
    Event,
    InboundMessage,
    LaneSpec,
    Leased,
    Message,
    Outcome,
    Progress,
    ReceiptFate,
    ReceiptIn,
)

SMPP_ORIGIN = "smpp:"  # the origin of an account's endpoint that is its own bound sessions


class StoreError(Exception):
    """Base of what a store raises; `hint` tells an operator what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StoreFull(StoreError):
    """Above a watermark: new work is refused, state changes go on."""


class StoreDamaged(StoreError):
    """The tree itself is damaged: start-up must refuse."""


class StoreFormat(StoreError):
    """Written by a newer Signalbox, or not a Signalbox store."""


class StoreBusy(StoreError):
    """Another process has the store open."""


class Claim(msgspec.Struct, gc=False):
    """A carrier asks for work: up to `segments` from these (lane id, index of the carrier in the lane)."""

    carrier: int
    lanes: tuple[tuple[int, int, int], ...]  # (lane id, carrier index in lane, max segments from this lane)
    segments: int
    now_ms: int
    # lane id → (mask of carriers, most): of what one of them has not had yet, at most so many segments
    reserved: dict[int, tuple[int, int]] = {}


class ClaimResult(msgspec.Struct, gc=False):
    leased: list[Leased]
    expired: int = 0  # found past validity on the way: finished as EXPIRED in the same transaction


class ReceiptResult(msgspec.Struct, gc=False):
    fate: ReceiptFate
    account: int = 0
    message_id: int = 0
    matched_id: str = ""  # which of ids/variants hit: the gateway learns the form from it
    final: bool = False
    state: int = 0


class Released(msgspec.Struct, gc=False):
    """A portion of `release_held`: how many went back to their queues, and where the next portion begins."""

    count: int
    after: tuple[int, int] | None  # (account, id) of the last row looked at; None = the walk is over


class Replanned(msgspec.Struct, gc=False):
    """A portion of `replan`: how many messages left the lane, and for where."""

    moved: int = 0  # to another lane
    held: int = 0  # no route takes them: HELD with Reason.LANE_GONE
    lost: int = 0  # their records are damaged

    @property
    def handled(self) -> int:
        return self.moved + self.held + self.lost


class Replacement(msgspec.Struct, gc=False):
    """What replace_sm changes in a message that waits; times of 0 leave what was."""

    encoding: int
    segments: int
    text: str
    data: bytes
    send_at_ms: int = 0
    expires_ms: int = 0


class OutboxRow(msgspec.Struct, gc=False):
    endpoint: int
    seq: int
    event: Event


class GivenUp(msgspec.Struct, gc=False):
    """An event that its receiver never took."""

    endpoint: int
    given_up_ms: int
    event: Event


class Endpoint(msgspec.Struct, frozen=True):
    """Where events of one account go: one origin, so that a dead one delays nobody else."""

    id: int
    account: int
    origin: str


class MoPart(msgspec.Struct, array_like=True, gc=False):
    """One part of a concatenated MO, keyed by (source, destination, reference, total)."""

    carrier: int
    source: str
    destination: str
    reference: int
    total: int
    index: int  # 1-based
    encoding: int
    data: bytes  # user data without the UDH
    received_ms: int


class Totals(msgspec.Struct):
    """The conservation counters, in messages and in segments; index = Phase."""

    accepted: int = 0
    accepted_segments: int = 0
    messages: list[int] = msgspec.field(default_factory=lambda: [0] * 8)
    segments: list[int] = msgspec.field(default_factory=lambda: [0] * 8)


class Finding(msgspec.Struct):
    """One thing `store check` found."""

    where: str
    what: str


class Transaction(Protocol):
    """One write transaction. Verbs are applied in the order of architecture §2: D, B, C, A, L."""

    # D
    def outbox_done(self, rows: Sequence[OutboxRow]) -> None: ...
    def outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None: ...
    def outbox_give_up(self, rows: Sequence[OutboxRow], now_ms: int) -> None: ...
    # B
    def settle(self, outcomes: Sequence[Outcome], now_ms: int) -> None: ...
    # C
    def receipts(self, receipts: Sequence[ReceiptIn], now_ms: int) -> list[ReceiptResult]: ...
    def inbound(self, messages: Sequence[InboundMessage], now_ms: int) -> None: ...
    def inbound_parts(self, parts: Sequence[MoPart], now_ms: int) -> list[list[MoPart] | None]: ...
    # A
    def accept(self, messages: Sequence[Message]) -> None: ...
    # L
    def claim(self, claims: Sequence[Claim]) -> list[ClaimResult]: ...
    # the slow verbs, a few hundred rows each, lowest claim on the writer
    def move_due(self, now_ms: int, limit: int) -> int: ...
    def expire(self, now_ms: int, limit: int, grace_ms: int) -> int: ...
    def release_held(
        self, reason: int, limit: int, after: tuple[int, int] = (0, 0), carrier: int = 0
    ) -> Released: ...
    def cancel(self, account: int, id: int, now_ms: int) -> str: ...
    def replan(self, lane: int, decide: Callable[[Message], int], limit: int) -> Replanned: ...
    def replan_held(
        self, decide: Callable[[Message], int], after: tuple[int, int], limit: int
    ) -> Released: ...
    def release_groups(self, before_ms: int, now_ms: int, limit: int) -> int: ...
    def replace(self, account: int, id: int, replacement: Replacement, now_ms: int) -> str: ...
    def take_stale_parts(self, before_ms: int, limit: int) -> list[list[MoPart]]: ...
    def housekeep(self, now_ms: int, limit: int) -> int: ...
    def replay_given_up(self, endpoints: Sequence[int], before_ms: int, limit: int) -> int: ...
    def drop_given_up(self, before_ms: int, limit: int) -> int: ...
    def drop_unmatched(self, before_ms: int, limit: int) -> int: ...
    def forget(self, rows: Sequence[Any]) -> int: ...
    def put_account(self, account: Account) -> None: ...
    def put_meta(self, name: str, value: bytes) -> None: ...


class Store(Protocol):
    """An open store. `begin`/`commit`/`abort` may be called from one dedicated thread, verbs from another."""

    def begin(self) -> Transaction: ...
    def commit(self, txn: Any) -> None: ...  # what this store's own `begin` returned
    def abort(self, txn: Any) -> None: ...
    def close(self) -> None: ...

    # names, kept for ever
    def carrier_id(self, name: str) -> int: ...
    def carrier_name(self, id: int) -> str: ...
    def lane_id(self, spec: LaneSpec) -> int: ...
    def lane(self, id: int) -> LaneSpec: ...

    # reads of the last commit
    def find(self, account: int, id: int) -> tuple[Message, Progress] | None: ...
    def find_any(self, id: int) -> tuple[Message, Progress] | None: ...
    def find_waiting(
        self, account: int, source: str, destination: str, service_type: str
    ) -> list[int]: ...
    def find_alias(self, account: int, alias: int) -> int: ...
    def latest_to(
        self, recipient: str, sender: str, since_ms: int, reference: int = -1
    ) -> tuple[int, int] | None: ...
    def accounts(self) -> dict[int, Account]: ...
    def totals(self) -> Totals: ...
    def queued(self, account: int) -> int: ...
    def ready_lanes(self) -> set[int]: ...
    def oldest_ready_ms(self, lane: int, unseen_by: int = 0) -> int | None: ...
    def next_due_ms(self) -> int | None: ...
    def outbox_page(self, endpoint: int, after_seq: int, limit: int) -> list[OutboxRow]: ...
    def watch_events(self) -> None: ...
    def take_fresh_events(self) -> list[OutboxRow]: ...
    def outbox_endpoints(self) -> dict[int, Endpoint]: ...
