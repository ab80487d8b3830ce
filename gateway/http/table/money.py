"""The endpoints of money: balances, credits, the ledger, prices."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.audit import LONGEST_REASON
from gateway.http.endpoint import Answer, Endpoint
from gateway.http.table.types import Cursor, Id, Next, Time

PAGE = 100
MOST_OF_A_PAGE = 1_000

Amount = Annotated[
    str,
    Meta(
        description="an exact decimal number as text, with at most 6 decimals",
        pattern=r"^-?[0-9]{1,19}(\.[0-9]{1,6})?$",
        examples=["12.5"],
    ),
]
AmountIn = Annotated[
    str,
    Meta(
        description="an exact decimal number as text; below 0: taken out",
        pattern=r"^[+-]?[0-9]{1,12}(\.[0-9]{1,6})?$",
    ),
]


class Used(msgspec.Struct):
    """Of a day or a month in the account's zone; `cap` and `quota` null: there is none."""

    spent: Amount
    cap: Amount | None
    messages: int
    quota: int | None
    ends_at: Time


class BalanceOut(msgspec.Struct):
    """`credited` - `charged` - `reserved` = `balance`. `available` null: there is no end to it."""

    account: str
    billing: str
    currency: str | None
    balance: Amount
    reserved: Amount
    credited: Amount
    charged: Amount
    overdraft_limit: Amount | None
    available: Amount | None
    low: bool
    day: Used
    month: Used


class RatesOut(msgspec.Struct, omit_defaults=True):
    """The account's rate card; with `to` the price of a segment to that number, null: it has none."""

    account: str
    rate_card: str | None
    currency: str | None
    rows: int | None
    imported_at: Time | None
    to: str = ""
    mcc_mnc: str | None = None
    price: Amount | None = None
    by: str | None = None
    valid_from: Time | None = None


class RatesQuery(msgspec.Struct, forbid_unknown_fields=True):
    to: Annotated[str, Meta(max_length=64, description="a number")] = ""


class CreditIn(msgspec.Struct, forbid_unknown_fields=True):
    amount: AmountIn
    reason: Annotated[
        str, Meta(min_length=1, max_length=LONGEST_REASON, description="what for: an invoice, a payment")
    ]


class CreditOut(msgspec.Struct, omit_defaults=True):
    """A row of the ledger; `balance` is what there was after it."""

    number: Id
    at: Time
    amount: Amount
    currency: str
    reason: str
    by: str
    balance: Amount
    account: str = ""


class CreditsOut(msgspec.Struct):
    """Newest first."""

    credits: list[CreditOut]
    next: Next


class CreditsQuery(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


_NAMED = {"name": "of the account"}
_ONE = "/v1/accounts/{name}"
_BALANCE = {200: Answer(BalanceOut, "The balance now, and what of caps and quotas is used")}

BALANCE = Endpoint(
    method="GET",
    path="/v1/balance",
    id="getBalance",
    tag="Money",
    summary="The balance of the key's own account",
    access="balance.read",
    answers=_BALANCE,
    problems=("account-key-needed", "scope-needed"),
)
RATES = Endpoint(
    method="GET",
    path="/v1/rates",
    id="getRates",
    tag="Money",
    summary="What the key's own account pays",
    access="balance.read",
    query=RatesQuery,
    answers={200: Answer(RatesOut, "The rate card, and the price to a number")},
    problems=("account-key-needed", "scope-needed"),
)
BALANCE_OF = Endpoint(
    method="GET",
    path=_ONE + "/balance",
    id="getBalanceOf",
    tag="Money",
    summary="The balance of an account",
    access="balance.read",
    params=_NAMED,
    answers=_BALANCE,
    problems=("no-such-account", "scope-needed"),
)
CREDITS = Endpoint(
    method="GET",
    path=_ONE + "/credits",
    id="listCredits",
    tag="Money",
    summary="What was put into an account, and taken out",
    access="balance.read",
    params=_NAMED,
    query=CreditsQuery,
    answers={200: Answer(CreditsOut, "A page of the ledger", headers=("Link",))},
    problems=("no-such-account", "scope-needed"),
)
CREDIT = Endpoint(
    method="POST",
    path=_ONE + "/credits",
    id="creditAccount",
    tag="Money",
    summary="Put money into an account, or take it out",
    description="A repetition with the same Idempotency-Key is done once, and answered alike for a day.",
    access="balance.write",
    params=_NAMED,
    body=CreditIn,
    example={"amount": "250.00", "reason": "bank transfer 2026-118"},
    answers={201: Answer(CreditOut, "The row of the ledger")},
    problems=("operator-key-needed", "no-such-account", "scope-needed", "store-full", "store-failed"),
    idempotency="must-kept",
    audited=True,
)

ENDPOINTS = (BALANCE, RATES, BALANCE_OF, CREDITS, CREDIT)
