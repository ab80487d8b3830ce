"""The admin verbs of money: put money into an account or take it out, its balance, its ledger, its prices.

Invariants: money moves only with a reason, in one commit with its row of the ledger and its entry of the
audit trail; amounts are exact text here, whole micro-units behind it.

Deliberately not here: what messages cost (gateway.door), what is owed (router.money), settings
(account_settings).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import msgspec
import trio

from gateway.account_settings import Wrong, WrongSettings
from gateway.accounts import Accounts
from gateway.admin import AdminError, Execute, Named, Verb, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.admin_shapes import iso
from gateway.audit import LONGEST_REASON, actor_now, entry
from router import money
from router.money import LedgerEntry
from router.nouns import Account
from router.numbers import NumberProblem, normalise
from router.rates import Priced
from store.interface import NO_ID, Transaction
from store.lmdb_store import LmdbStore
from store.tables import Tables
from store.wallets import zone_of

_MOST_EVER = 4 * 10**18  # micro-units; with a margin to what 64 bits hold


class Credit(msgspec.Struct, forbid_unknown_fields=True):
    """`amount` as text, "100" or "-12.50"; `reason`: what for, such as an invoice's number."""

    name: str
    amount: str
    reason: str


class Ledger(msgspec.Struct, forbid_unknown_fields=True):
    """Newest first, numbered below `before`; 0: all."""

    name: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    before: Annotated[int, msgspec.Meta(ge=0)] = 0


class Rates(msgspec.Struct, forbid_unknown_fields=True):
    """What a segment to a number costs; without one, which card it is."""

    name: str
    to: str = ""


class Tariff(Protocol):
    """gateway.known, as far as it is asked."""

    def price(self, card: str, digits: str, at_ms: int) -> Priced | None: ...
    def mcc_mnc(self, digits: str) -> str: ...


class MoneyVerbs:
    """The verbs as methods. `tariff` None: no gateway runs, and nobody knows prices."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        tables: Tables,
        tariff: Tariff | None = None,
        default_region: Callable[[], str] = lambda: "",
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._tables = tables
        self._tariff = tariff
        self._default_region = default_region

    def table(self) -> dict[str, Verb]:
        return {
            "account.balance": typed(Named, self.account_balance),
            "account.credit": typed(Credit, self.account_credit),
            "account.ledger": typed(Ledger, self.account_ledger),
            "account.rates": typed(Rates, self.account_rates),
        }

    async def account_credit(self, wish: Credit) -> dict[str, object]:
        """The new row of the ledger, with the balance after it."""
        account = self._named(wish.name)
        if not account.currency:
            raise bad_arguments(
                "name",
                f"account {account.name!r} has no currency",
                "set one first: account set --currency EUR",
            )
        try:
            amount = money.micro(wish.amount)
        except ValueError as problem:
            raise bad_arguments("amount", str(problem)) from None
        reason = wish.reason.strip()
        if not reason or len(reason) > LONGEST_REASON or not reason.isprintable():
            raise bad_arguments(
                "reason", "money moves only with a reason", f"1 to {LONGEST_REASON} printable characters"
            )
        wallet = self._store.wallet(account.id)
        if not amount or max(abs(wallet.credited + amount), abs(wallet.balance + amount)) > _MOST_EVER:
            raise bad_arguments("amount", f"{wish.amount!r} is nothing, or more than can be kept")
        at_ms = self._wall_ms()
        made = LedgerEntry(at_ms, amount, account.currency, reason, actor_now().who)
        told = entry(
            at_ms,
            "account.credited",
            f"account:{account.name}",
            {},
            {"amount": money.text(amount), "currency": account.currency, "for": reason},
        )

        def put(txn: Transaction) -> LedgerEntry:
            row = txn.credit(account.id, made)
            txn.audit(told)
            return row

        with trio.CancelScope(shield=True):
            row: LedgerEntry = await self._execute(put)
        return {"account": account.name, **_row_view(row)}

    async def account_balance(self, wish: Named) -> dict[str, object]:
        return self.balance_view(self._named(wish.name))

    def balance_view(self, account: Account) -> dict[str, object]:
        """Money as exact text. `available`: what may still be reserved, null where there is no end to it."""
        wallet = msgspec.structs.replace(self._store.wallet(account.id))
        zone, now_ms = zone_of(account.billing_zone), self._wall_ms()
        money.turn(wallet, *money.period(now_ms, zone))
        endless = account.billing == "postpaid" and not account.overdraft_limit
        return {
            "account": account.name,
            "billing": account.billing,
            "currency": account.currency or None,
            "balance": money.text(wallet.balance),
            "reserved": money.text(wallet.reserved),
            "credited": money.text(wallet.credited),
            "charged": money.text(wallet.charged),
            "overdraft_limit": money.text(account.overdraft_limit) if account.overdraft_limit else None,
            "available": None if endless else money.text(max(0, wallet.balance + account.overdraft_limit)),
            "low": wallet.low,
            "day": _used(
                wallet.day_spent,
                account.cap_per_day,
                wallet.day_messages,
                account.quota_per_day,
                money.period_ends_ms(now_ms, zone),
            ),
            "month": _used(
                wallet.month_spent,
                account.cap_per_month,
                wallet.month_messages,
                account.quota_per_month,
                money.period_ends_ms(now_ms, zone, whole_month=True),
            ),
        }

    async def account_ledger(self, wish: Ledger) -> list[dict[str, object]]:
        return self.ledger_view(self._named(wish.name), wish.limit, wish.before)

    def ledger_view(self, account: Account, limit: int, before: int) -> list[dict[str, object]]:
        """Newest first, numbered below `before`; 0: all."""
        return [_row_view(row) for row in self._store.ledger(account.id, limit, before or NO_ID)]

    async def account_rates(self, wish: Rates) -> dict[str, object]:
        return self.rates_view(self._named(wish.name), wish.to)

    def rates_view(self, account: Account, to: str) -> dict[str, object]:
        """Errors: AdminError, for what is no number."""
        facts = self._tables.facts(account.rate_card) if account.rate_card else None
        view: dict[str, object] = {
            "account": account.name,
            "rate_card": account.rate_card or None,
            "currency": account.currency or None,
            "rows": facts.rows if facts is not None else None,
            "imported_at": iso(facts.version) if facts is not None else None,
        }
        if not to:
            return view
        try:
            digits = normalise(to, account.default_region or self._default_region())
        except NumberProblem as problem:
            raise bad_arguments("to", str(problem)) from None
        tariff, now_ms = self._tariff, self._wall_ms()
        found = tariff.price(account.rate_card, digits, now_ms) if tariff and account.rate_card else None
        return {
            **view,
            "to": digits,
            "mcc_mnc": (tariff.mcc_mnc(digits) if tariff is not None else "") or None,
            "price": money.text(found.rate.price) if found is not None else None,
            "by": found.by if found is not None else None,
            "valid_from": iso(found.rate.from_ms) if found is not None and found.rate.from_ms else None,
        }

    def _named(self, name: str) -> Account:
        """Errors: AdminError."""
        with account_problems():
            return self._accounts.named(name)


class Assignments:
    """Whether an account and its rate card go together: asked where either changes."""

    def __init__(self, accounts: Accounts, store: LmdbStore, tables: Tables) -> None:
        self._accounts = accounts
        self._store = store
        self._tables = tables

    def of_account(self, before: Account | None, after: Account) -> None:
        """Errors: WrongSettings."""
        wallet = self._store.wallet(after.id) if before is not None else None
        if before is not None and wallet is not None and before.currency not in ("", after.currency):
            kept = {"balance": wallet.balance, "reserved": wallet.reserved}
            left = ", ".join(f"{what} {money.text(amount)}" for what, amount in kept.items() if amount)
            if left:
                raise WrongSettings(
                    {"currency": f"there is money in {before.currency} ({left}): take it out first"}
                )
        if after.billing == "off" or not after.rate_card:
            return
        try:
            currencies = self._currencies(after.rate_card)
        except Wrong as wrong:
            raise WrongSettings({"rate_card": str(wrong)}) from None
        others = sorted(currencies - {after.currency})
        if others:
            raise WrongSettings(
                {
                    "rate_card": f"{after.rate_card!r} has prices in {', '.join(others)}, "
                    f"but the account pays in {after.currency}"
                }
            )

    def of_card(self, name: str, currencies: frozenset[str]) -> None:
        """Before another version of a table is used. Errors: AdminError."""
        for account in self._accounts.by_name.values():
            if account.rate_card != name or account.billing == "off" or account.closed:
                continue
            others = sorted(currencies - {account.currency})
            if others:
                raise AdminError(
                    "conflict",
                    f"account {account.name!r} pays in {account.currency} by {name!r}, "
                    f"and the file has prices in {', '.join(others)}",
                    "correct the file, or import it under another name; the table in use stays",
                )

    def _currencies(self, card: str) -> frozenset[str]:
        """Errors: Wrong."""
        table = self._tables.get(card)
        if table is None or table.facts.kind != "rates":
            raise Wrong(f"there is no table of rates {card!r}: signalbox table import rates {card} FILE")
        return table.currencies()


def _used(spent: int, cap: int, messages: int, quota: int, ends_ms: int) -> dict[str, object]:
    return {
        "spent": money.text(spent),
        "cap": money.text(cap) if cap else None,
        "messages": messages,
        "quota": quota or None,
        "ends_at": iso(ends_ms),
    }


def _row_view(row: LedgerEntry) -> dict[str, object]:
    return {
        "number": str(row.number),
        "at": iso(row.at_ms),
        "amount": money.text(row.amount),
        "currency": row.currency,
        "reason": row.reason,
        "by": row.who,
        "balance": money.text(row.balance),
    }
