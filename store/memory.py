"""What an open store keeps in memory: small, bounded, and always equal to the last commit.

Sizes follow accounts, carriers, groups and windows, never the backlog. It changes only when a commit has
succeeded (`Batch.apply`); the active set, which a claim must see changed inside its own transaction, is
rebuilt from the table when a commit fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.judge import OnReceipt
from router.money import Wallet
from router.nouns import Account, Leased, Message, Outcome
from router.turns import Turns
from store import lanes
from store.active import Active
from store.awaiting import Awaiting
from store.interface import FreshRow, OtherLimits, Totals
from store.records import (
    ACCOUNT_KEY,
    COUNTER,
    GROUP_KEY,
    STATE,
    decode_account,
    decode_unknown,
    decode_wallet,
)
from store.tallies import Tallies
from store.values import Damaged, unseal
from store.young import Young

if TYPE_CHECKING:
    import lmdb

    from store.layout import Tables


class Lease:
    """A chunk of claimed messages; `left` shrinks as they settle, `outcomes` holds part-by-part answers."""

    __slots__ = ("carrier", "left", "outcomes")

    def __init__(self, carrier: int, left: dict[int, Leased]) -> None:
        self.carrier = carrier
        self.left = left
        self.outcomes: dict[int, list[Outcome]] = {}


class Memory:
    """Counters, accounts, the active set, open leases."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.accounts: dict[int, Account] = {}
        self.weights: dict[int, int] = {}
        self.counts: dict[int, tuple[int, int]] = {}  # account → (accepted, queued)
        self.wallets: dict[int, Wallet] = {}  # accounts that were ever billed or counted
        self.lanes: lanes.Lanes = {}
        self.active = Active(self)
        self.lane_turns: dict[int, Turns] = {}  # carrier → whose turn it is of its lanes
        self.passed_over: dict[bytes, bytes] = {}  # ready group → where a claim stopped looking
        self.awaiting = Awaiting()
        self.recent: dict[bytes, Message] = {}  # ready messages as they were accepted, by MESSAGE_KEY
        self.young = Young()
        self.leases: dict[int, Lease] = {}
        self.parked: dict[int, int] = {}  # receipt group → rows waiting
        self.unknown: dict[int, int] = {}  # receipt group → messages held with an unknown outcome
        self.unknown_of: dict[int, int] = {}  # the same by carrier
        self.tallies = Tallies()
        self.on_receipt: dict[str, OnReceipt] = {}  # by route, of those that fail over by receipts
        self.watches_silence = False  # whether one of them does so without a receipt
        self.other_limits: OtherLimits | None = None  # what older messages of some lanes are under now
        self.sealed_ms = 0  # messages do not end before it: who follows those that ended was there
        self.followed: bytes | None = (
            None  # row of `finished` up to which somebody has read; None: nobody does
        )
        self.epoch = 0
        self.lease_seq = 0
        self.outbox_seq = 0
        self.recipient_seq = 0
        self.last_id = 0
        self.quarantined = 0
        self.fresh_events: dict[int, list[FreshRow]] | None = None  # as `take_fresh_events` has them

    def next_lease(self) -> int:
        self.lease_seq += 1
        return self.epoch << 32 | self.lease_seq

    def load_state(self, payload: bytes) -> None:
        numbers = STATE.unpack(payload)
        self.totals = Totals(numbers[0], numbers[1], list(numbers[2:10]), list(numbers[10:18]))
        self.last_id, self.outbox_seq, self.recipient_seq = numbers[18:21]

    def load(self, tx: lmdb.Transaction[bytes], tables: Tables) -> None:
        """Everything but names, from the last commit."""
        with tx.cursor(tables.account.handle) as cursor:
            for key, value in cursor.iternext():
                self.know_account(decode_account(unseal(key, value)))
        with tx.cursor(tables.counter.handle) as cursor:
            for key, value in cursor.iternext():
                self.counts[ACCOUNT_KEY.unpack(key)[0]] = COUNTER.unpack(unseal(key, value))
        with tx.cursor(tables.wallet.handle) as cursor:
            for key, value in cursor.iternext():
                self.wallets[ACCOUNT_KEY.unpack(key)[0]] = decode_wallet(unseal(key, value))
        self.lanes = lanes.load(tx, tables, self.totals)
        self.parked = _by_group(tx, tables.parked.handle)
        self.unknown = _by_group(tx, tables.unknown.handle)
        self.unknown_of = _unknown_of(tx, tables.unknown.handle)
        self.quarantined = tx.stat(tables.quarantine.handle)["entries"]
        with tx.cursor(tables.ready.handle) as cursor:
            self.active.rebuild(cursor)

    def know_account(self, account: Account) -> None:
        self.accounts[account.id] = account
        self.weights[account.id] = max(1, account.weight)


def pack_state(totals: Totals, last_id: int, outbox_seq: int, recipient_seq: int) -> bytes:
    """The meta row "state": what every commit brings up to date.

    After damage a message may leave a phase twice: what would be below 0 is 0, and `store check` tells of it.
    """
    return STATE.pack(
        totals.accepted,
        totals.accepted_segments,
        *(max(0, count) for count in totals.messages),
        *(max(0, count) for count in totals.segments),
        last_id,
        outbox_seq,
        recipient_seq,
    )


def _unknown_of(tx: lmdb.Transaction[bytes], handle: lmdb._Database) -> dict[int, int]:
    counts: dict[int, int] = {}
    with tx.cursor(handle) as cursor:
        for key, value in cursor.iternext():
            try:
                carrier = decode_unknown(unseal(key, value)).carrier
            except Damaged:
                continue  # set aside when it is next asked for
            counts[carrier] = counts.get(carrier, 0) + 1
    return counts


def _by_group(tx: lmdb.Transaction[bytes], handle: lmdb._Database) -> dict[int, int]:
    counts: dict[int, int] = {}
    with tx.cursor(handle) as cursor:
        for key in cursor.iternext(values=False):
            group = GROUP_KEY.unpack_from(key)[0]
            counts[group] = counts.get(group, 0) + 1
    return counts
