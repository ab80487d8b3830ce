"""The admin verbs of accounts: create, show, list, set, rotate.

Invariants: no key, hash or secret leaves except the ones made by that very call; what may belong to only one
account is checked where accounts are kept (gateway.accounts).

Deliberately not here: text for people (gateway.cli.account), messages and callbacks.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec

from gateway.accounts import AccountProblem, Accounts
from gateway.admin import AdminError, Verb, bad_arguments, typed
from gateway.admin_shapes import iso
from gateway.callbacks.guard import Refused, parse_url
from gateway.callbacks.signature import encode_secret
from router.nouns import Account, Login
from store.lmdb_store import LmdbStore

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SYSTEM_ID = re.compile(r"[!-~]{1,15}")

Batch = Annotated[int, msgspec.Meta(ge=1, le=100)]


class NewAccount(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    callback_url: str = ""
    system_id: str = ""
    password_hash: str = ""  # $argon2id$…: the password itself never comes here
    numbers: list[str] = []
    weight: int = 1
    private_callbacks: bool = False
    callback_batch: Batch = 1


class AccountChange(msgspec.Struct, forbid_unknown_fields=True):
    """None leaves a setting as it is."""

    name: str
    callback_url: str | None = None
    numbers: list[str] | None = None
    weight: int | None = None
    private_callbacks: bool | None = None
    callback_batch: Batch | None = None
    suspended: bool | None = None


class Named(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    keep_previous: bool = True


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class AccountVerbs:
    """The verbs as methods."""

    def __init__(self, accounts: Accounts, store: LmdbStore, wall_ms: Callable[[], int]) -> None:
        self._accounts = accounts
        self._store = store
        self._wall_ms = wall_ms

    def table(self) -> dict[str, Verb]:
        return {
            "account.create": typed(NewAccount, self.account_create),
            "account.list": typed(Nothing, self.account_list),
            "account.rotate": typed(Rotation, self.account_rotate),
            "account.set": typed(AccountChange, self.account_set),
            "account.show": typed(Named, self.account_show),
        }

    async def account_create(self, wish: NewAccount) -> object:
        """The new account's view, with `api_key` and `callback_secret`: this once."""
        if not _NAME.fullmatch(wish.name):
            raise bad_arguments("name", f"{wish.name!r} is no account name", "up to 64 of A-Z a-z 0-9 . _ -")
        check_callback_url(wish.callback_url)
        check_weight(wish.weight)
        secret = encode_secret(secrets.token_bytes(32))
        check_system_id(wish)
        with account_problems():
            account, key = await self._accounts.create(
                wish.name,
                self._wall_ms(),
                callback_url=wish.callback_url,
                callback_secrets=(secret,),
                numbers=check_numbers(wish.numbers),
                weight=wish.weight,
                private_callbacks=wish.private_callbacks,
                callback_batch=wish.callback_batch,
                logins=(Login(wish.system_id, (wish.password_hash,)),) if wish.system_id else (),
            )
        return {**self._view(account), "api_key": key, "callback_secret": secret}

    async def account_rotate(self, wish: Rotation) -> object:
        """A new key; the previous one goes on working until the next rotation unless told otherwise."""
        with account_problems():
            account, key = await self._accounts.rotate(wish.name, wish.keep_previous)
        return {**self._view(account), "api_key": key}

    async def account_set(self, wish: AccountChange) -> object:
        settings: dict[str, object] = {
            field: value
            for field in ("callback_url", "weight", "private_callbacks", "callback_batch", "suspended")
            if (value := getattr(wish, field)) is not None
        }
        if wish.numbers is not None:
            settings["numbers"] = check_numbers(wish.numbers)
        check_callback_url(wish.callback_url or "")
        check_weight(1 if wish.weight is None else wish.weight)
        with account_problems():
            return self._view(await self._accounts.update(wish.name, **settings))

    async def account_show(self, wish: Named) -> object:
        with account_problems():
            return self._view(self._accounts.named(wish.name))

    async def account_list(self, _: Nothing) -> object:
        return [self._view(account) for _, account in sorted(self._accounts.by_name.items())]

    def _view(self, account: Account) -> dict[str, object]:
        """What an operator may see: no hashes, no secrets."""
        return {
            "id": account.id,
            "name": account.name,
            "key_prefixes": list(account.key_prefixes),
            "callback_url": account.callback_url,
            "private_callbacks": account.private_callbacks,
            "callback_batch": account.callback_batch,
            "numbers": list(account.numbers),
            "system_ids": [login.system_id for login in account.logins],
            "weight": account.weight,
            "max_queued": account.max_queued,
            "queued": self._store.queued(account.id),
            "suspended": account.suspended,
            "created_at": iso(account.created_ms),
        }


def check_callback_url(url: str) -> None:
    """The form that a callback must have to be sent; where the name leads is judged when it is called."""
    if not url:
        return
    try:
        parse_url(url)
    except Refused as refused:
        raise bad_arguments("callback_url", f"{url[:80]!r}: {refused}", "write https://host/path") from None


def check_system_id(wish: NewAccount) -> None:
    """A system_id has a password, and is one that SMPP can carry."""
    if bool(wish.system_id) != bool(wish.password_hash):
        raise bad_arguments("system_id", "a system_id and a password belong together", "give both or neither")
    if wish.system_id and not _SYSTEM_ID.fullmatch(wish.system_id):
        raise bad_arguments(
            "system_id", "a system_id has 1 to 15 visible ASCII characters", "SMPP 3.4 §5.2.1"
        )


def check_numbers(numbers: list[str]) -> tuple[str, ...]:
    """Numbers an account owns, as MOs carry them: digits (a short code, or E.164 without +)."""
    cleaned = tuple(number.lstrip("+").replace(" ", "") for number in numbers)
    for number, given in zip(cleaned, numbers, strict=True):
        if not (number.isascii() and number.isdigit() and 2 <= len(number) <= 20):
            raise bad_arguments(
                "numbers", f"{given!r} is no number", "digits: a short code, or E.164 such as 447700900123"
            )
    return cleaned


def check_weight(weight: int) -> None:
    if not 1 <= weight <= 1000:
        raise bad_arguments("weight", f"{weight} is no weight", "1 to 1000")


@contextlib.contextmanager
def account_problems() -> Iterator[None]:
    """Turn what gateway.accounts refuses into an answer for the caller."""
    try:
        yield
    except AccountProblem as problem:
        raise AdminError("account", str(problem)) from None
