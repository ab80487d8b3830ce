"""Accounts in memory, as the store has them: who owns a number, who a key belongs to.

Accounts are few, so all of them are kept; every change goes through the committer first and is visible
only once it is durable. `changed` hooks let others (keys, pumps) rebuild what they derive.

Invariants: one change at a time, from reading what there is to the end of its commit, so that ids, names,
numbers and system_ids stay unique and no change undoes another; a change once handed to the committer is
waited for, even when its caller is cancelled, because it may be durable.

Deliberately not here: checking a key (gateway.http.auth), limits (gateway.door).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import trio

from gateway.committer import Committer
from gateway.http.auth import new_key
from router.nouns import Account
from store.interface import StoreError


class AccountProblem(Exception):
    """The account cannot be made or changed; says what to do."""


class Accounts:
    def __init__(self, committer: Committer, defaults: Mapping[str, object] | None = None) -> None:
        """`defaults`: fields of a new account that nobody gave."""
        self._defaults = dict(defaults or {})
        self._committer = committer
        self.changed: list[Callable[[], None]] = []
        self.by_id: dict[int, Account] = {}
        self.by_name: dict[str, Account] = {}
        self._by_number: dict[str, int] = {}
        self._one_at_a_time = trio.Lock()
        self.reload()

    def reload(self) -> None:
        """Take what the store has."""
        self.by_id = dict(self._committer.store.accounts())
        self.by_name = {account.name: account for account in self.by_id.values()}
        self._by_number = {
            number: account.id for account in self.by_id.values() for number in account.numbers
        }
        for hook in self.changed:
            hook()

    def owner_of(self, number: str) -> int:
        """The account that declared an inbound number, or 0."""
        return self._by_number.get(number, 0)

    async def create(self, name: str, now_ms: int, **settings: object) -> tuple[Account, str]:
        """A new account and its first API key, shown this once. Errors: AccountProblem, StoreError."""
        key, prefix, digest = new_key()
        async with self._one_at_a_time:
            if name in self.by_name:
                raise AccountProblem(f"account {name!r} exists; `signalbox account show {name}` shows it")
            account = Account(
                id=max(self.by_id, default=0) + 1,
                name=name,
                key_hashes=(digest,),
                key_prefixes=(prefix,),
                created_ms=now_ms,
            )
            for field, value in {**self._defaults, **settings}.items():
                if value is not None:
                    setattr(account, field, value)
            await self._put(account)
        return account, key

    async def rotate(self, name: str, keep_previous: bool = True) -> tuple[Account, str]:
        """A second key; the previous one stays valid until the next rotation unless told otherwise."""
        key, prefix, digest = new_key()
        async with self._one_at_a_time:
            account = msgspec.structs.replace(self.named(name))
            account.key_hashes = (digest, *account.key_hashes[: 1 if keep_previous else 0])
            account.key_prefixes = (prefix, *account.key_prefixes[: 1 if keep_previous else 0])
            await self._put(account)
        return account, key

    async def update(self, name: str, **settings: object) -> Account:
        """Change fields of an account. Errors: AccountProblem, StoreError."""
        async with self._one_at_a_time:
            account = msgspec.structs.replace(self.named(name), **settings)
            await self._put(account)
        return account

    def named(self, name: str) -> Account:
        account = self.by_name.get(name)
        if account is None:
            known = ", ".join(sorted(self.by_name)) or "none yet"
            raise AccountProblem(f"no account {name!r}; there are: {known}")
        return account

    async def _put(self, account: Account) -> None:
        self._check_unique(account)
        with trio.CancelScope(shield=True):
            await self._committer.execute(lambda txn: txn.put_account(account))
        self.reload()

    def _check_unique(self, account: Account) -> None:
        """What may belong to one account only. Errors: AccountProblem."""
        for number in account.numbers:
            owner = self._by_number.get(number, account.id)
            if owner != account.id:
                raise AccountProblem(f"number {number} belongs to account {self.by_id[owner].name!r} already")
        for other in self.by_id.values():
            shared = {login.system_id for login in account.logins} & {
                login.system_id for login in other.logins
            }
            if shared and other.id != account.id:
                raise AccountProblem(f"account {other.name!r} has system_id {min(shared)!r} already")


__all__ = ["AccountProblem", "Accounts", "StoreError"]
