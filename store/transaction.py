"""The verbs of one write transaction, each a function over its Batch, with lmdb's errors as ours.

Deliberately not here: what verbs do (accept, claim, settle, receipts, timed, inbound, outbox, archive).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import lmdb

from store import accept as accepting
from store import (
    again,
    audit,
    customer,
    erasing,
    fail_over,
    given_up,
    moving,
    notices,
    once,
    parked,
    recipients,
    retention,
    timed,
    wallets,
)
from store import claim as claiming
from store import finished as finishing
from store import inbound as inbounding
from store import outbox as outgoing
from store import receipts as receiving
from store import replan as replanning
from store import settle as settling
from store.layout import translated

if TYPE_CHECKING:
    from router.money import LedgerEntry
    from router.nouns import (
        Account,
        InboundMessage,
        Message,
        Outcome,
        Progress,
        ReceiptIn,
        ReceiptsIn,
        Taken,
    )
    from store.batch import Batch
    from store.erasing import Erased
    from store.interface import (
        Acted,
        AuditEntry,
        Claim,
        ClaimResult,
        FreshRow,
        MoPart,
        Moved,
        Notice,
        OutboxRow,
        ReceiptResult,
        Released,
        Remembered,
        Replacement,
        Replanned,
        Which,
    )
    from store.person import Number

F = TypeVar("F", bound=Callable[..., Any])


def _verb(function: F) -> F:
    """A verb whose lmdb errors are the store's: map full, disk full, damaged.

    All but `accept` and `claim` find what has just been accepted or claimed in its rows.
    """
    needs_rows = function.__name__ not in ("accept", "claim")
    looks = function.__name__ == "claim"

    @wraps(function)
    def verb(self: LmdbTransaction, *args: object) -> object:
        batch = self.batch
        try:
            if needs_rows and (batch.fresh or batch.taken):
                batch.store_fresh()
                batch.store_leases()
            worked, batch.worked = batch.worked, True
            result = function(self, *args)
            if looks and not worked and not batch.taken and not batch.moves:
                batch.worked = False
            return result
        except lmdb.Error as error:
            raise translated(error, self.path) from error

    return cast("F", verb)


class LmdbTransaction:
    """store.interface.Transaction over one LMDB write transaction."""

    def __init__(self, batch: Batch, path: Path) -> None:
        self.batch = batch
        self.path = path

    @_verb
    def finish(self) -> None:
        self.batch.finish()

    @_verb
    def outbox_done(self, rows: Sequence[FreshRow]) -> None:
        outgoing.outbox_done(self.batch, rows)

    @_verb
    def outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None:
        outgoing.outbox_retry(self.batch, rows, due_ms)

    @_verb
    def outbox_give_up(self, rows: Sequence[OutboxRow], now_ms: int) -> None:
        given_up.give_up(self.batch, rows, now_ms)

    @_verb
    def settle(self, outcomes: Sequence[Outcome | Taken], now_ms: int) -> None:
        settling.settle(self.batch, outcomes, now_ms)

    @_verb
    def receipts(self, receipts: Sequence[ReceiptIn | ReceiptsIn], now_ms: int) -> list[ReceiptResult | None]:
        return receiving.receipts(self.batch, receipts, now_ms)

    @_verb
    def inbound(self, messages: Sequence[InboundMessage], now_ms: int) -> None:
        inbounding.inbound(self.batch, messages)

    @_verb
    def inbound_parts(self, parts: Sequence[MoPart], now_ms: int) -> list[list[MoPart] | None]:
        return inbounding.inbound_parts(self.batch, parts)

    @_verb
    def reserve(self, messages: Sequence[Message], refused: dict[int, str]) -> list[Message]:
        return wallets.reserve(self.batch, messages, refused)

    @_verb
    def credit(self, account: int, entry: LedgerEntry) -> LedgerEntry:
        return wallets.credit(self.batch, account, entry)

    @_verb
    def accept(self, messages: Sequence[Message]) -> None:
        accepting.accept(self.batch, messages)

    @_verb
    def claim(self, claims: Sequence[Claim]) -> list[ClaimResult]:
        return claiming.claim(self.batch, claims)

    @_verb
    def move_due(self, now_ms: int, limit: int) -> int:
        return timed.move_due(self.batch, now_ms, limit)

    @_verb
    def expire(self, now_ms: int, limit: int, grace_ms: int) -> int:
        return timed.expire(self.batch, now_ms, limit, grace_ms)

    @_verb
    def after_silence(self, now_ms: int, limit: int) -> int:
        return fail_over.after_silence(self.batch, now_ms, limit)

    @_verb
    def release_held(
        self, reason: int, limit: int, after: tuple[int, int] = (0, 0), carrier: int = 0
    ) -> Released:
        return timed.release_held(self.batch, reason, limit, after, carrier)

    @_verb
    def cancel(self, account: int, id: int, now_ms: int) -> str:
        return timed.cancel(self.batch, account, id, now_ms)

    @_verb
    def replace(self, account: int, id: int, replacement: Replacement, now_ms: int) -> str:
        return customer.replace(self.batch, account, id, replacement, now_ms)

    @_verb
    def redact(self, account: int, id: int, now_ms: int, detail: str = "") -> str:
        return customer.redact(self.batch, account, id, now_ms, detail)

    @_verb
    def replan(
        self, lane: int, decide: Callable[[Message], int], limit: int, after: bytes = b""
    ) -> Replanned:
        return replanning.replan(self.batch, lane, decide, limit, after)

    @_verb
    def replan_held(self, decide: Callable[[Message], int], after: tuple[int, int], limit: int) -> Released:
        return replanning.replan_held(self.batch, decide, after, limit)

    @_verb
    def move(
        self, which: Which, decide: Callable[[Message], int | str], said: str, limit: int, after: bytes = b""
    ) -> Acted:
        return moving.move(self.batch, which, decide, said, limit, after)

    @_verb
    def bounce(
        self, which: Which, state: int, now_ms: int, said: str, limit: int, after: bytes = b""
    ) -> Acted:
        return moving.bounce(self.batch, which, state, now_ms, said, limit, after)

    @_verb
    def reroute(self, account: int, id: int, lane: int, said: str) -> str:
        return moving.reroute(self.batch, account, id, lane, said)

    @_verb
    def force(self, account: int, id: int, carrier: int, now_ms: int, said: str) -> str:
        return moving.force(self.batch, account, id, carrier, now_ms, said)

    @_verb
    def release_groups(self, before_ms: int, now_ms: int, limit: int) -> int:
        return timed.release_groups(self.batch, before_ms, now_ms, limit)

    @_verb
    def take_stale_parts(self, before_ms: int, limit: int) -> list[list[MoPart]]:
        return inbounding.take_stale_parts(self.batch, before_ms, limit)

    @_verb
    def housekeep(self, now_ms: int, limit: int) -> int:
        """Receipts that nobody claimed become unmatched; recipients are merged; what is too old goes."""
        moved = parked.give_up(self.batch, now_ms, limit)
        recipients.merge(self.batch)
        return moved + retention.drop_old(self.batch, now_ms, limit)

    @_verb
    def seal_finished(self, until_ms: int) -> None:
        finishing.seal_finished(self.batch, until_ms)

    @_verb
    def forget(self, rows: Sequence[finishing.Finished]) -> int:
        """The third step of an archive batch."""
        return finishing.forget(self.batch, rows)

    @_verb
    def put_account(self, account: Account) -> None:
        customer.put_account(self.batch, account)

    @_verb
    def resume_paced(self, accounts: Sequence[int]) -> None:
        for account in accounts:
            self.batch.memory.active.unpause(account)

    @_verb
    def remember(self, account: int, key: bytes, row: Remembered) -> None:
        once.remember(self.batch, account, key, row)

    def put_meta(self, name: str, value: bytes) -> None:
        self.batch.put(self.batch.tables.meta, b"m:" + name.encode(), value)

    @_verb
    def tell_account(self, account: int, what: str, data: bytes, at_ms: int) -> bool:
        return outgoing.tell_account(self.batch, account, what, data, at_ms)

    @_verb
    def audit(self, entry: AuditEntry) -> int:
        return audit.append(self.batch, entry)

    @_verb
    def notice(self, rows: Sequence[Notice]) -> int:
        return notices.append(self.batch, rows)

    @_verb
    def replay_given_up(self, endpoints: Sequence[int], before_ms: int, limit: int) -> int:
        return given_up.replay(self.batch, endpoints, before_ms, limit)

    @_verb
    def tell_again(self, pairs: Sequence[tuple[Message, Progress]], now_ms: int) -> int:
        return again.tell_again(self.batch, pairs, now_ms)

    @_verb
    def tell_inbound_again(self, messages: Sequence[InboundMessage], now_ms: int) -> int:
        return again.tell_inbound_again(self.batch, messages, now_ms)

    @_verb
    def move_events(
        self,
        source: int,
        url: str,
        skip: Collection[int],
        now_ms: int,
        limit: int,
        after: bytes = b"",
    ) -> Moved:
        return again.move_events(self.batch, source, url, skip, now_ms, limit, after)

    @_verb
    def drop_given_up(self, before_ms: int, limit: int) -> int:
        return given_up.drop(self.batch, before_ms, limit)

    @_verb
    def erase(
        self, rows: Sequence[tuple[str, bytes]], number: Number, now_ms: int, drop_events: bool
    ) -> Erased:
        return erasing.erase(self.batch, rows, number, now_ms, drop_events)

    @_verb
    def end_for_erasing(self, account: int, id: int, now_ms: int) -> str:
        return erasing.end(self.batch, account, id, now_ms)

    @_verb
    def drop_unmatched(self, before_ms: int, limit: int) -> int:
        return parked.drop_unmatched(self.batch, before_ms, limit)
