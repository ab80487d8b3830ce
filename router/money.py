"""What a message costs its account: whether it can be paid, and what of it is owed in the end.

Money is whole micro-units (a millionth of the currency's unit), as prices are (router.rates). A wallet is
what an account has: `balance` is what may still be spent, so that credited - charged - reserved = balance at
all times. A message reserves price × segments when it is accepted; when it ends, what is owed by the
account's rule is charged and the rest comes back. The canonical encoding's segments are what is billed,
whatever a carrier makes of them.

Invariants: nothing here rounds in the gateway's favour; with the same message and the same end, the same is
owed; a refusal changes nothing.

Deliberately not here: prices (rates), keeping wallets and the ledger (store.wallets), zones' files (`zone`
is an argument).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

from router.nouns import Account, Charge, Message, MessageState, Part, Progress, Reason
from router.rates import MICRO

INSUFFICIENT = "insufficient-balance"
DAY_CAP, MONTH_CAP = "daily-cap-reached", "monthly-cap-reached"
DAY_QUOTA, MONTH_QUOTA = "daily-quota-reached", "monthly-quota-reached"
UNPAID = frozenset({INSUFFICIENT, DAY_CAP, MONTH_CAP, DAY_QUOTA, MONTH_QUOTA})
BILLINGS = ("off", "prepaid", "postpaid")
MOST = 10**15 * MICRO  # of one amount; sums of thousands of them still fit into 64 bits

_AMOUNT = re.compile(r"([+-]?)([0-9]{1,12})(?:\.([0-9]{1,6}))?")
_TAKEN = frozenset(map(int, (MessageState.ENROUTE, MessageState.ACCEPTED, MessageState.DELIVERED)))
_REFUSED = frozenset(map(int, (MessageState.REJECTED, MessageState.UNDELIVERABLE, MessageState.SKIPPED)))
_DELIVERED = int(MessageState.DELIVERED)


class Wallet(msgspec.Struct, array_like=True):
    """One account's money, and how far its caps and quotas are used. Stored: fields are only appended.

    `day` is YYYYMMDD and `month` YYYYMM in the account's zone; what is spent in them is what was reserved for
    messages accepted then, less what came back. `low`: the account was told that its balance is low.
    """

    balance: int = 0
    credited: int = 0
    charged: int = 0
    reserved: int = 0
    day: int = 0
    day_spent: int = 0
    day_messages: int = 0
    month: int = 0
    month_spent: int = 0
    month_messages: int = 0
    low: bool = False
    entries: int = 0  # number of the newest row of the ledger


class LedgerEntry(msgspec.Struct, array_like=True):
    """Money that an operator put in or took out. Stored: fields are only appended."""

    at_ms: int
    amount: int  # micro-units; below 0: taken out
    currency: str
    reason: str
    who: str  # as in the audit trail
    balance: int = 0  # after it
    number: int = 0  # from 1 on, for each account


def metered(account: Account) -> bool:
    """Whether anything is counted when it submits."""
    return account.billing != "off" or bool(account.quota_per_day or account.quota_per_month)


def period(at_ms: int, zone: tzinfo = UTC) -> tuple[int, int]:
    """(YYYYMMDD, YYYYMM) of that moment there."""
    at = datetime.fromtimestamp(at_ms / 1000, zone)
    month = at.year * 100 + at.month
    return month * 100 + at.day, month


def period_ends_ms(at_ms: int, zone: tzinfo = UTC, *, whole_month: bool = False) -> int:
    """When the day, or the month, of that moment is over there."""
    at = datetime.fromtimestamp(at_ms / 1000, zone)
    first = at.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if whole_month:
        first = first.replace(year=at.year + at.month // 12, month=at.month % 12 + 1, day=1)
    else:
        first += timedelta(days=1)  # by the clock on the wall there
    return int(first.timestamp() * 1000)


def turn(wallet: Wallet, day: int, month: int) -> None:
    """Begin the day and the month, unless it is the same, or an earlier one (a clock that was set back)."""
    if day > wallet.day:
        wallet.day, wallet.day_spent, wallet.day_messages = day, 0, 0
    if month > wallet.month:
        wallet.month, wallet.month_spent, wallet.month_messages = month, 0, 0


def why_not(wallet: Wallet, account: Account, cost: int) -> str:
    """Why a message of that cost is not taken now, one of the words above; "": it is.

    The wallet's day and month are those of the message (`turn`).
    """
    if account.quota_per_day and wallet.day_messages >= account.quota_per_day:
        return DAY_QUOTA
    if account.quota_per_month and wallet.month_messages >= account.quota_per_month:
        return MONTH_QUOTA
    if not cost or account.billing == "off":
        return ""
    limit = account.overdraft_limit
    if (limit or account.billing == "prepaid") and wallet.balance - cost < -limit:
        return INSUFFICIENT
    if account.cap_per_day and wallet.day_spent + cost > account.cap_per_day:
        return DAY_CAP
    if account.cap_per_month and wallet.month_spent + cost > account.cap_per_month:
        return MONTH_CAP
    return ""


def reserve(wallet: Wallet, cost: int) -> None:
    """Take a message that `why_not` has nothing against."""
    wallet.balance -= cost
    wallet.reserved += cost
    wallet.day_spent += cost
    wallet.month_spent += cost
    wallet.day_messages += 1
    wallet.month_messages += 1


def settle(wallet: Wallet, reserved: int, charged: int, day: int, month: int) -> None:
    """A message accepted in that day and month has ended: what is not charged comes back."""
    back = reserved - charged
    wallet.reserved -= reserved
    wallet.charged += charged
    wallet.balance += back
    if day == wallet.day:
        wallet.day_spent -= back
    if month == wallet.month:
        wallet.month_spent -= back


def credit(wallet: Wallet, amount: int) -> None:
    """Put in, or take out where it is below 0."""
    wallet.credited += amount
    wallet.balance += amount


def owed(message: Message, progress: Progress) -> int:
    """What a message that has ended costs, in micro-units; at most what was reserved for it."""
    bill = message.bill
    if bill is None or not bill.price:
        return 0
    return bill.price * segments_owed(message, progress, bill.rule)


def segments_owed(message: Message, progress: Progress, rule: int) -> int:
    """Of the message's segments those that are billed by the rule (Charge).

    ACCEPTED: all, unless it was refused before any carrier took a part of it. SENT: those that a carrier
    took. DELIVERED: those that were delivered; of a message whose receipt nobody asked for, those taken.
    """
    whole, parts = message.segments, progress.parts
    if rule == Charge.DELIVERED and progress.reason != Reason.NO_RECEIPT_WANTED:
        if progress.state == _DELIVERED:
            return whole
        count = sum(part.state == _DELIVERED for part in parts)
    elif progress.passed_on:  # a carrier had taken all of it before
        return whole
    else:
        count = sum(map(_was_taken, parts))
        if rule == Charge.ACCEPTED:
            return 0 if not count and progress.state in _REFUSED else whole
    if not count or len(parts) == whole:
        return count
    return whole * count // len(parts)


def _was_taken(part: Part) -> bool:
    return bool(part.carrier_message_id) or part.state in _TAKEN


def text(amount: int) -> str:
    """`-12.5`, exact, without zeros at the end."""
    whole, part = divmod(abs(amount), MICRO)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{part:06d}".rstrip("0").rstrip(".")


def micro(written: str) -> int:
    """`-12.5` as -12500000. ValueError, in words: it is no amount, or not a whole number of micro-units."""
    found = _AMOUNT.fullmatch(written.strip())
    if found is None:
        raise ValueError(f"{written[:40]!r} is no amount; write it as 12.50, with at most 6 decimals")
    sign, whole, part = found.groups()
    amount = int(whole) * MICRO + int((part or "").ljust(6, "0"))
    return -amount if sign == "-" else amount


def low(wallet: Wallet, account: Account) -> bool:
    """Whether its balance has just become low: true once, until it has recovered."""
    if not account.low_balance or account.billing == "off":
        wallet.low = False
        return False
    if wallet.balance < account.low_balance:
        told, wallet.low = wallet.low, True
        return not told
    if wallet.balance >= account.low_balance + account.low_balance // 10:
        wallet.low = False
    return False
