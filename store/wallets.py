"""Accounts' money: reserved at COMMIT A, settled where a message ends, put in by operators.

A wallet is in memory as of the last commit; a transaction changes a copy, which is written once for each
account that it touched. Who is refused is decided here, inside the transaction and in its order, so that
submits in parallel never take more than there is.

Invariants: credited - charged - reserved = balance; reserved is the sum over the messages that have not
ended; credited is the sum of the ledger. `store check` compares all three.

Deliberately not here: what is owed, and why a message is refused (router.money), prices.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, tzinfo
from functools import cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from router import money
from store import notices
from store.interface import Notice
from store.outbox import tell_account
from store.records import LEDGER_KEY, decode_ledger, encode
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lmdb

    from router.money import LedgerEntry, Wallet
    from router.nouns import Account, Message, Progress
    from store.batch import Batch
    from store.layout import Tables

LOW_BALANCE = "account.low_balance"


def reserve(batch: Batch, messages: Sequence[Message], refused: dict[int, str]) -> list[Message]:
    """Those of one account's new messages that are paid for, in order; `refused` gets why of the others."""
    account = batch.memory.accounts[messages[0].account]
    account = batch.accounts_put.get(account.id, account)
    wallet = batch.wallet(account.id)
    money.turn(wallet, *money.period(messages[0].accepted_ms, zone_of(account.billing_zone)))
    taken: list[Message] = []
    shown = 0  # of one submit_multi: the first that is taken
    for message in messages:
        bill = message.bill
        assert bill is not None
        cost = bill.price * message.segments
        why = money.why_not(wallet, account, cost)
        if why:
            refused[message.id] = why
            continue
        money.reserve(wallet, cost)
        relay = message.relay
        if relay is not None and relay.shown in refused:
            shown = shown or message.id
            message.relay = msgspec.structs.replace(relay, shown=shown if shown != message.id else 0)
        taken.append(message)
    if money.low(wallet, account):
        _tell_low(batch, account, wallet, messages[0].accepted_ms)
    return taken


def settle(batch: Batch, message: Message, progress: Progress) -> None:
    """It has ended: charge what is owed, give the rest back."""
    bill = message.bill
    assert bill is not None
    reserved = bill.price * message.segments
    if not reserved:
        return
    account = batch.memory.accounts.get(message.account)
    wallet = batch.wallet(message.account)
    zone = zone_of(account.billing_zone if account is not None else "")
    money.settle(wallet, reserved, money.owed(message, progress), *money.period(message.accepted_ms, zone))
    if account is not None and wallet.low:
        money.low(wallet, account)


def change(batch: Batch, before: Message, after: Message, now_ms: int) -> bool:
    """Another text needs other segments: reserve more, or give back. False: there is not enough."""
    bill = before.bill
    account = batch.memory.accounts.get(before.account)
    if bill is None or account is None or before.segments == after.segments:
        return True
    more = bill.price * (after.segments - before.segments)
    wallet = batch.wallet(account.id)
    zone = zone_of(account.billing_zone)
    money.turn(wallet, *money.period(now_ms, zone))
    unlimited = msgspec.structs.replace(account, quota_per_day=0, quota_per_month=0)  # it counts already
    if more > 0 and money.why_not(wallet, unlimited, more):
        return False
    wallet.balance -= more
    wallet.reserved += more
    day, month = money.period(before.accepted_ms, zone)
    wallet.day_spent += more if day == wallet.day else 0
    wallet.month_spent += more if month == wallet.month else 0
    if money.low(wallet, account):
        _tell_low(batch, account, wallet, now_ms)
    return True


def credit(batch: Batch, account: int, entry: LedgerEntry) -> LedgerEntry:
    """Put money in, or take it out; returns the row of the ledger."""
    wallet = batch.wallet(account)
    known = batch.memory.accounts.get(account)
    money.credit(wallet, entry.amount)
    wallet.entries += 1
    row = msgspec.structs.replace(entry, balance=wallet.balance, number=wallet.entries)
    batch.put(batch.tables.ledger, LEDGER_KEY.pack(account, row.number), encode(row))
    if known is not None:
        if wallet.balance >= known.low_balance:
            wallet.low = False
        if money.low(wallet, known):
            _tell_low(batch, known, wallet, entry.at_ms)
    return row


def ledger(
    tx: lmdb.Transaction[bytes], tables: Tables, account: int, limit: int, before: int
) -> list[LedgerEntry]:
    """Of one account, newest first, numbered below `before`."""
    found: list[LedgerEntry] = []
    first = LEDGER_KEY.pack(account, 0)
    with tx.cursor(tables.ledger.handle) as cursor:
        there = cursor.prev() if cursor.set_range(LEDGER_KEY.pack(account, before)) else cursor.last()
        while there and len(found) < limit and cursor.key() >= first:
            key, value = bytes(cursor.key()), bytes(cursor.value())
            with suppress(Damaged, msgspec.DecodeError):
                found.append(decode_ledger(unseal(key, value)))
            there = cursor.prev()
    return found


@cache
def zone_of(name: str) -> tzinfo:
    """ "" is UTC; so is a zone that this machine does not know any more."""
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        return UTC


def _tell_low(batch: Batch, account: Account, wallet: Wallet, at_ms: int) -> None:
    """The account by a callback, operators by the event log."""
    balance, below = money.text(wallet.balance), money.text(account.low_balance)
    told = {"account": account.name, "balance": balance, "below": below, "currency": account.currency}
    tell_account(batch, account.id, "low_balance", msgspec.json.encode(told), at_ms)
    text = f"the balance is {balance} {account.currency}, below {below}"
    notices.append(batch, (Notice(at_ms, LOW_BALANCE, f"account:{account.name}", text, told, warning=True),))
