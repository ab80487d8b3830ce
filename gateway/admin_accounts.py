"""The admin verbs of accounts: create, show, list, set, rotate, close, and their logins.

Invariants: no key, hash or secret leaves except the ones made by that very call; a password comes here only
as its hash; what may belong to only one account is checked where accounts are kept (gateway.accounts).

Deliberately not here: what settings there are (gateway.account_settings), text for people
(gateway.cli.account), messages and callbacks.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
import trio

from gateway.account_settings import WrongSettings, read_settings, secrets_of, view_of
from gateway.accounts import (
    PROBES,
    AccountProblem,
    Accounts,
    NoSuchAccount,
    NoSuchLogin,
    in_the_same_commit,
)
from gateway.admin import AdminError, Named, Verb, WrongArguments, bad_arguments, typed
from gateway.admin_shapes import iso
from gateway.callbacks.signature import encode_secret
from gateway.callbacks.terms import secrets_in_force
from gateway.orders import ACCOUNT, LONGEST_S, Order, Orders, told
from gateway.previews import Previews
from gateway.smpp_server.bans import Bans
from router.nouns import Account, Login
from store.interface import Transaction
from store.lmdb_store import LmdbStore

OVERLAP_S = 86_400.0
LONGEST_OVERLAP_S = 2_592_000.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MONEY = frozenset({"billing", "currency", "rate_card"})
_SYSTEM_ID = re.compile(r"[!-~]{1,15}")
_APP = re.compile(r"[!-9;-~]{1,64}")
_HASH = re.compile(
    r"(md5\+)?\$argon2id\$v=19\$m=\d{1,7},t=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    keep_previous: bool = True


class SecretRotation(msgspec.Struct, forbid_unknown_fields=True):
    """`overlap_s`: how long the secret until now goes on signing beside the new one; 0: not at all."""

    name: str
    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_OVERLAP_S)] = OVERLAP_S


class NewLogin(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    system_id: str
    password_hash: str


class LoginRotation(msgspec.Struct, forbid_unknown_fields=True):
    """Without a `password_hash` the newest password stays, and only the previous one may go."""

    name: str
    system_id: str
    password_hash: str = ""
    keep_previous: bool = True


class LoginOf(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    system_id: str


class AppPassword(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    user: str
    password_hash: str
    keep_previous: bool = True


class AppOf(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    user: str


class NewAccount(NamedTuple):
    """What `account.create` makes; `settings` are fields of an Account."""

    name: str
    system_id: str
    password_hash: str
    settings: dict[str, object]


class Page(msgspec.Struct, forbid_unknown_fields=True):
    """By name; those behind `after`, at most `limit` of them; 0: all."""

    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0


class AccountSuspension(msgspec.Struct, forbid_unknown_fields=True):
    """`for_s`: how long; 0: until it is resumed."""

    name: str
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0
    preview: bool = False


class AccountResumption(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    preview: bool = False


class Taken(AdminError):
    """What there is already, or cannot be changed any more. `field`: which argument says it, if one does."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__("account", message)
        self.field = field


class AccountVerbs:
    """The verbs as methods."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        wall_ms: Callable[[], int],
        fits: Callable[[Account | None, Account], None] = lambda before, after: None,
        previews: Previews | None = None,
        orders: Orders | None = None,
    ) -> None:
        """`fits`: what an account would be, before and after a change. Errors: WrongSettings."""
        self._fits = fits
        self._previews = previews or Previews()
        self._orders = orders
        self._bans = Bans(orders) if orders is not None else None
        if orders is not None:
            orders.ending[ACCOUNT] = self._suspension_over
        self._accounts = accounts
        self._store = store
        self._wall_ms = wall_ms

    def table(self) -> dict[str, Verb]:
        return {
            "account.close": typed(Named, self.account_close),
            "account.create": self.account_create,
            "account.list": typed(Page, self.account_list),
            "account.login.add": typed(NewLogin, self.login_add),
            "account.login.remove": typed(LoginOf, self.login_remove),
            "account.login.rotate": typed(LoginRotation, self.login_rotate),
            "account.app.set": typed(AppPassword, self.app_set),
            "account.app.remove": typed(AppOf, self.app_remove),
            "account.resume": typed(AccountResumption, self.account_resume),
            "account.rotate": typed(Rotation, self.account_rotate),
            "account.rotate_callback_secret": typed(SecretRotation, self.rotate_callback_secret),
            "account.set": self.account_set,
            "account.show": typed(Named, self.account_show),
            "account.suspend": typed(AccountSuspension, self.account_suspend),
        }

    async def account_create(self, args: dict[str, Any]) -> dict[str, object]:
        """`name`, `system_id` with `password_hash`, and any settings; None stands for what is not given.

        The new account's view, with `api_key` and `callback_secret`: this once.
        """
        new = read_new(args)
        if bool(new.system_id) != bool(new.password_hash):
            raise bad_arguments(
                "system_id", "a system_id and a password belong together", "give both or neither"
            )
        if new.password_hash:
            check_hash(new.password_hash)
        secret = encode_secret(secrets.token_bytes(32))
        with account_problems():
            self._fits(None, _as(Account(0, new.name), new.settings))
            account, key = await self._accounts.create(
                new.name,
                self._wall_ms(),
                callback_secrets=(secret,),
                logins=(Login(new.system_id, (new.password_hash,)),) if new.system_id else (),
                **new.settings,
            )
        return {**self.view(account), "api_key": key, "callback_secret": secret}

    async def account_rotate(self, wish: Rotation) -> dict[str, object]:
        """A new key; the previous one goes on working until the next rotation unless told otherwise."""
        with account_problems():
            account, key = await self._accounts.rotate(wish.name, wish.keep_previous)
        return {**self.view(account), "api_key": key}

    async def rotate_callback_secret(self, wish: SecretRotation) -> dict[str, object]:
        """A new secret for callbacks, in the answer this once; both sign while they overlap."""
        secret = encode_secret(secrets.token_bytes(32))
        until_ms = self._wall_ms() + int(wish.overlap_s * 1000) if wish.overlap_s else 0
        with account_problems():
            account = await self._accounts.rotate_callback_secret(wish.name, secret, until_ms)
        return {**self.view(account), "callback_secret": secret}

    async def account_set(self, args: dict[str, Any], for_s: float = 0) -> dict[str, object]:
        """`name`, any settings, `suspended`, if so for `for_s` seconds; None leaves a setting as it is."""
        given = {field: value for field, value in args.items() if value is not None}
        name = _text(given, "name")
        suspended = given.pop("suspended", None)
        settings: dict[str, object] = {} if suspended is None else {"suspended": suspended}
        problems: dict[str, str] = {}
        if suspended is not None and type(suspended) is not bool:
            problems["suspended"] = f"{suspended!r} is neither true nor false"
        try:
            settings |= read_settings(given)
        except WrongSettings as wrong:
            problems |= wrong.problems
        if problems:
            raise WrongArguments(problems)
        with account_problems():
            known = self._accounts.named(name)
            if _MONEY & settings.keys():
                self._fits(known, _as(known, settings))
            if suspended is None or self._orders is None:
                return self.view(await self._accounts.update(name, **settings))
            with told():
                orders, kind = self._orders, ACCOUNT
                order = orders.giving(kind, name, for_s) if suspended else orders.dropping(kind, name)
                async with order as written:
                    with in_the_same_commit(written):
                        account = await self._accounts.update(name, **settings)
                return self.view(account)

    async def _suspension_over(self, order: Order, put: Callable[[Transaction], None]) -> bool:
        """The time is over. An account that is gone or not suspended any more is left as it is."""
        account = self._accounts.by_name.get(order.subject)
        if account is None or account.closed or not account.suspended:
            return False
        with in_the_same_commit(put):
            await self._accounts.update(order.subject, suspended=False)
        return True

    async def account_suspend(self, wish: AccountSuspension) -> object:
        """Nothing is taken from it, its sessions end, and what waits of it stands still."""
        if wish.preview:
            with account_problems():
                account = self._accounts.named(wish.name)
            return self._previews.account_suspended(account, self._store.queued(account.id))
        return await self.account_set({"name": wish.name, "suspended": True}, wish.for_s)

    async def account_resume(self, wish: AccountResumption) -> object:
        """Again changes nothing."""
        if wish.preview:
            with account_problems():
                account = self._accounts.named(wish.name)
            return self._previews.account_resumed(account, self._store.queued(account.id))
        return await self.account_set({"name": wish.name, "suspended": False})

    async def account_close(self, wish: Named) -> dict[str, object]:
        """For good. A suspension for a time ends with it: nobody is told later that it may bind again."""
        with account_problems():
            if self._orders is None:
                return self.view(await self._accounts.close(wish.name))
            async with self._orders.dropping(ACCOUNT, wish.name) as written:
                with in_the_same_commit(written):
                    return self.view(await self._accounts.close(wish.name))

    async def account_show(self, wish: Named) -> dict[str, object]:
        with account_problems():
            return self.view(self._accounts.named(wish.name))

    async def account_list(self, wish: Page) -> list[dict[str, object]]:
        """Views by name. Other tasks have their turns in between: a view of long lists takes its time."""
        names = sorted(name for name in self._accounts.by_name if name > wish.after)
        views = []
        for name in names[: wish.limit] if wish.limit else names:
            await trio.lowlevel.checkpoint()
            views.append(self.view(self._accounts.by_name[name]))
        return views

    async def login_add(self, wish: NewLogin) -> dict[str, object]:
        check_login(wish.system_id, wish.password_hash)
        with account_problems():
            return self.view(await self._accounts.add_login(wish.name, wish.system_id, wish.password_hash))

    async def login_rotate(self, wish: LoginRotation) -> dict[str, object]:
        if wish.password_hash:
            check_login(wish.system_id, wish.password_hash)
        elif wish.keep_previous:
            raise bad_arguments(
                "password_hash", "there is neither a new password, nor is the previous one to go"
            )
        with account_problems():
            return self.view(
                await self._accounts.rotate_login(
                    wish.name, wish.system_id, wish.password_hash, wish.keep_previous
                )
            )

    async def login_remove(self, wish: LoginOf) -> dict[str, object]:
        with account_problems():
            return self.view(await self._accounts.remove_login(wish.name, wish.system_id))

    async def app_set(self, wish: AppPassword) -> dict[str, object]:
        check_app(wish.user)
        check_hash(wish.password_hash)
        with account_problems():
            account, added = await self._accounts.set_app_login(
                wish.name, wish.user, wish.password_hash, wish.keep_previous
            )
        return {**self.view(account), "added": added}

    async def app_remove(self, wish: AppOf) -> dict[str, object]:
        with account_problems():
            return self.view(await self._accounts.remove_app_login(wish.name, wish.user))

    def _told_order(self, account: Account) -> str:
        """By whom, until when and why; "" where nobody knows, or it is not."""
        order = self._orders.find(ACCOUNT, account.name) if self._orders is not None else None
        return order.told if order is not None and account.suspended else ""

    def _told_bans(self, account: Account) -> list[str]:
        """Which of its logins may not bind, by whom, until when and why."""
        bans = self._bans.of(_logins(account)) if self._bans is not None else []
        return [f"{one.subject} {one.told}" for one in bans]

    def view(self, account: Account) -> dict[str, object]:
        """What an operator may see: no hashes, no secrets."""
        return {
            "id": str(account.id),
            "name": account.name,
            "created_at": iso(account.created_ms),
            "suspended": account.suspended,
            "suspended_by": self._told_order(account),
            "banned": self._told_bans(account),
            "closed": account.closed,
            "queued": self._store.queued(account.id),
            "key_prefixes": list(account.key_prefixes),
            "system_ids": _logins(account),
            "passwords": {login.system_id: len(login.hashes) for login in account.logins},
            "apps": {login.system_id: len(login.hashes) for login in account.app_logins},
            **view_of(account),
            "callback_secrets": len(secrets_in_force(account, self._wall_ms())),
            "callback_secrets_until": iso(account.callback_secrets_until_ms),
            "callbacks_gone": list(account.callbacks_gone),
            "secrets": secrets_of(account),
        }


def _logins(account: Account) -> list[str]:
    return [login.system_id for login in account.logins]


def _as(account: Account, settings: Mapping[str, object]) -> Account:
    return msgspec.structs.replace(account, **settings)


def read_new(args: Mapping[str, Any]) -> NewAccount:
    """What `account.create` was given. Errors: WrongArguments, with everything that is wrong."""
    given = {field: value for field, value in args.items() if value is not None}
    problems: dict[str, str] = {}
    texts: dict[str, str] = {}
    for field, check in (("name", check_name), ("system_id", check_system_id), ("password_hash", None)):
        try:
            texts[field] = _text(given, field)
            if check is not None and (texts[field] or field == "name"):
                check(texts[field])
        except WrongArguments as wrong:
            problems |= wrong.problems
    settings: dict[str, object] = {}
    try:
        settings = read_settings(given)
    except WrongSettings as wrong:
        problems |= wrong.problems
    if problems:
        raise WrongArguments(problems)
    return NewAccount(texts["name"], texts["system_id"], texts["password_hash"], settings)


def check_name(name: str) -> None:
    """One that a customer's account may have. Errors: WrongArguments."""
    if not _NAME.fullmatch(name):
        raise bad_arguments("name", f"{name!r} is no account name", "up to 64 of A-Z a-z 0-9 . _ -")
    if name == PROBES:
        raise bad_arguments("name", f"{name!r} is reserved for test messages", "take another name")


def check_system_id(system_id: str) -> None:
    """One that SMPP can carry. Errors: WrongArguments."""
    if not _SYSTEM_ID.fullmatch(system_id):
        raise bad_arguments(
            "system_id", f"{system_id!r} is no system_id", "1 to 15 visible ASCII characters, SMPP 3.4 §5.2.1"
        )


def check_app(user: str) -> None:
    """A name that an app can log in with. Errors: WrongArguments."""
    if not _APP.fullmatch(user):
        raise bad_arguments("user", f"{user!r} is no app's name", "1 to 64 visible ASCII characters but ':'")


def check_login(system_id: str, hashed: str) -> None:
    """A system_id that SMPP can carry, and what is surely a hash. Errors: WrongArguments."""
    check_system_id(system_id)
    check_hash(hashed)


def check_hash(hashed: str) -> None:
    """Surely no password. Errors: WrongArguments."""
    if not _HASH.fullmatch(hashed):
        raise bad_arguments(
            "password_hash", "this is no argon2id hash", "passwords never come here as they are"
        )


def _text(given: dict[str, Any], field: str) -> str:
    """Taken out of `given`; "" where it is not there."""
    value = given.pop(field, "")
    if not isinstance(value, str):
        raise bad_arguments(field, f"{value!r} is no text")
    return value


@contextlib.contextmanager
def account_problems() -> Iterator[None]:
    """Turn what gateway.accounts and the settings refuse into an answer for the caller."""
    try:
        yield
    except WrongSettings as wrong:
        raise WrongArguments(wrong.problems) from None
    except (NoSuchAccount, NoSuchLogin) as problem:
        raise AdminError("not_found", str(problem)) from None
    except AccountProblem as problem:
        raise Taken(str(problem), problem.field) from None
