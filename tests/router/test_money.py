"""What a message costs: amounts as text, who is refused, what is owed in the end by each rule."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from router import money
from router.money import Wallet
from router.nouns import Account, Bill, Charge, Message, MessageState, Part, Phase, Progress, Reason

DELIVERED, ENROUTE = MessageState.DELIVERED, MessageState.ENROUTE
SCHEDULED, UNKNOWN = MessageState.SCHEDULED, MessageState.UNKNOWN
REJECTED, UNDELIVERABLE = MessageState.REJECTED, MessageState.UNDELIVERABLE
EXPIRED, DELETED, ACCEPTED = MessageState.EXPIRED, MessageState.DELETED, MessageState.ACCEPTED
DAY_MS = 86_400_000


def account(**fields: Any) -> Account:
    made = Account(1, "acme", billing="prepaid", currency="EUR")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def message(segments: int = 1, price: int = 100, rule: int = Charge.SENT) -> Message:
    return Message(
        1, 1, 0, "A", 5, 0, "447700900123", 0, "x", b"", segments, 1, 2, 1, 0, DAY_MS, 1, "r",
        bill=Bill(price, "EUR", rule),
    )  # fmt: skip


def ended(state: int, *parts: Part, **fields: Any) -> Progress:
    made = Progress(Phase.FINAL, state, parts=list(parts))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def taken(state: int = ENROUTE) -> Part:
    return Part(1, "id", state)


@pytest.mark.parametrize(
    ("written", "amount"),
    [("12.5", 12_500_000), ("0", 0), ("-0.000001", -1), ("+3", 3_000_000), (" 7.10 ", 7_100_000)],
)
def test_an_amount_is_read_and_told_exactly(written: str, amount: int) -> None:
    assert money.micro(written) == amount
    assert money.micro(money.text(amount)) == amount


@pytest.mark.parametrize("written", ["", "1,5", "1e3", "0.0000001", "١", "1.", ".5", "9" * 13, "NaN"])
def test_what_is_no_amount_is_refused_in_words(written: str) -> None:
    with pytest.raises(ValueError, match="is no amount"):
        money.micro(written)


@pytest.mark.parametrize(
    ("fields", "balance", "cost", "why"),
    [
        ({}, 10, 10, ""),
        ({}, 9, 10, money.INSUFFICIENT),
        ({"overdraft_limit": 5}, 5, 10, ""),
        ({"overdraft_limit": 5}, 4, 10, money.INSUFFICIENT),
        ({"billing": "postpaid"}, -10_000, 10, ""),
        ({"billing": "postpaid", "overdraft_limit": 100}, -91, 10, money.INSUFFICIENT),
        ({"billing": "postpaid", "overdraft_limit": 100}, -90, 10, ""),
        ({"billing": "off"}, -5, 10, ""),
        ({}, -5, 0, ""),
        ({"cap_per_day": 59}, 100, 10, money.DAY_CAP),
        ({"cap_per_day": 60}, 100, 10, ""),
        ({"cap_per_month": 509}, 100, 10, money.MONTH_CAP),
        ({"quota_per_day": 5}, 100, 10, money.DAY_QUOTA),
        ({"quota_per_day": 6}, 100, 10, ""),
        ({"billing": "off", "quota_per_month": 50}, 0, 0, money.MONTH_QUOTA),
    ],
)
def test_who_has_no_money_or_quota_is_refused(
    fields: dict[str, Any], balance: int, cost: int, why: str
) -> None:
    wallet = Wallet(balance, day_spent=50, day_messages=5, month_spent=500, month_messages=50)
    assert money.why_not(wallet, account(**fields), cost) == why


def test_a_day_begins_at_midnight_in_the_accounts_zone() -> None:
    before, after = 1_782_943_199_000, 1_782_943_200_000  # 2026-07-01 23:59:59 and 24:00 in Berlin, UTC+2
    berlin = ZoneInfo("Europe/Berlin")
    assert money.period(before, berlin) == (20260701, 202607)
    assert money.period(after, berlin) == (20260702, 202607)
    assert money.period(after, UTC) == (20260701, 202607)
    assert money.period_ends_ms(before, berlin) == after
    assert money.period(money.period_ends_ms(after, berlin, whole_month=True), berlin) == (20260801, 202608)


def test_a_day_of_23_hours_ends_at_its_midnight() -> None:
    noon = 1_774_782_000_000  # 2026-03-29 11:00 UTC, the day summer time begins
    berlin = ZoneInfo("Europe/Berlin")
    ends = money.period_ends_ms(noon, berlin)
    assert money.period(ends, berlin)[0] == 20260330
    assert money.period(ends - 1, berlin)[0] == 20260329


def test_a_new_day_begins_with_nothing_spent_and_a_clock_set_back_begins_none() -> None:
    wallet = Wallet(100)
    money.turn(wallet, 20260131, 202601)
    money.reserve(wallet, 40)
    money.turn(wallet, 20260201, 202602)
    assert (wallet.day_spent, wallet.day_messages, wallet.month_spent, wallet.month_messages) == (0, 0, 0, 0)
    money.reserve(wallet, 10)
    money.turn(wallet, 20260131, 202601)
    assert (wallet.day, wallet.day_spent, wallet.month) == (20260201, 10, 202602)


def test_what_comes_back_counts_for_the_day_it_was_reserved_in_alone() -> None:
    wallet = Wallet(100)
    money.turn(wallet, 20260131, 202601)
    money.reserve(wallet, 40)
    money.turn(wallet, 20260201, 202602)
    money.reserve(wallet, 30)
    money.settle(wallet, 40, 0, 20260131, 202601)
    assert (wallet.balance, wallet.reserved, wallet.day_spent) == (70, 30, 30)
    money.settle(wallet, 30, 10, 20260201, 202602)
    assert (wallet.balance, wallet.reserved, wallet.charged, wallet.day_spent) == (90, 0, 10, 10)


@pytest.mark.parametrize(
    ("rule", "segments", "progress", "owed"),
    [
        (Charge.SENT, 1, ended(DELIVERED, taken(DELIVERED)), 1),
        (Charge.SENT, 1, ended(UNDELIVERABLE, taken(UNDELIVERABLE)), 1),
        (Charge.SENT, 1, ended(EXPIRED), 0),
        (Charge.SENT, 1, ended(REJECTED, Part(1, "", REJECTED, "ESME_RINVDSTADR")), 0),
        (Charge.SENT, 1, ended(UNKNOWN, Part(1, "", UNKNOWN, "link lost")), 0),
        (Charge.SENT, 1, ended(ACCEPTED, Part(1, "", ENROUTE), reason=Reason.NO_RECEIPT_WANTED), 1),
        (Charge.SENT, 3, ended(REJECTED, taken(), taken(), Part(1, "", REJECTED)), 2),
        (Charge.SENT, 3, ended(EXPIRED, taken(), Part(1, "", SCHEDULED), Part(1, "", SCHEDULED)), 1),
        (Charge.SENT, 3, ended(DELIVERED, taken(DELIVERED), taken(DELIVERED)), 3),
        (Charge.SENT, 2, ended(EXPIRED, passed_on=1), 2),
        (Charge.DELIVERED, 1, ended(DELIVERED, taken(DELIVERED)), 1),
        (Charge.DELIVERED, 1, ended(UNDELIVERABLE, taken(UNDELIVERABLE)), 0),
        (Charge.DELIVERED, 1, ended(EXPIRED, taken(), reason=Reason.NO_RECEIPT), 0),
        (Charge.DELIVERED, 2, ended(UNDELIVERABLE, taken(DELIVERED), taken(UNDELIVERABLE)), 1),
        (Charge.DELIVERED, 1, ended(ACCEPTED, taken(), reason=Reason.NO_RECEIPT_WANTED), 1),
        (Charge.ACCEPTED, 2, ended(DELIVERED, taken(DELIVERED)), 2),
        (Charge.ACCEPTED, 2, ended(EXPIRED), 2),
        (Charge.ACCEPTED, 2, ended(DELETED), 2),
        (Charge.ACCEPTED, 1, ended(REJECTED, Part(1, "", REJECTED)), 0),
        (Charge.ACCEPTED, 1, ended(UNDELIVERABLE), 0),
        (Charge.ACCEPTED, 1, ended(UNDELIVERABLE, taken(UNDELIVERABLE)), 1),
    ],
)  # fmt: skip
def test_what_is_owed_follows_the_rule(rule: int, segments: int, progress: Progress, owed: int) -> None:
    assert money.owed(message(segments, 100, rule), progress) == owed * 100


def test_a_carrier_that_cuts_otherwise_changes_nothing_for_the_account() -> None:
    """Three segments as they are billed, sent as four; three of those were taken: two whole segments."""
    progress = ended(REJECTED, taken(), taken(), taken(), Part(1, "", REJECTED))
    assert money.owed(message(3, 100), progress) == 200


def test_a_low_balance_is_told_once_until_it_has_recovered() -> None:
    one = account(low_balance=100)
    wallet = Wallet(100)
    assert not money.low(wallet, one)
    wallet.balance = 99
    assert money.low(wallet, one)
    wallet.balance = 100  # a refund or two
    assert not money.low(wallet, one)
    wallet.balance = 98
    assert not money.low(wallet, one)
    wallet.balance = 110
    assert not money.low(wallet, one)
    wallet.balance = 99
    assert money.low(wallet, one)
