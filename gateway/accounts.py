"""Accounts in memory, as the store has them: who owns a number, who a key belongs to.

Accounts are few, so all of them are kept; every change goes through the committer first and is visible
only once it is durable. `changed` hooks let others (keys, pumps) rebuild what they derive.

Invariants: one change at a time, from reading what there is to the end of its commit, so that ids, names,
numbers and system_ids stay unique and no change undoes another; a change once handed to the committer is
waited for, even when its caller is cancelled, because it may be durable; the audit trail tells of each in the
same transaction, and whoever asks for it with `in_the_same_commit` writes what it must know of it there, too.

Deliberately not here: checking a key (gateway.http.auth), limits (gateway.door).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec
import trio

from gateway.account_settings import check_together
from gateway.audit import account_entry
from gateway.committer import Committer
from gateway.keys import new_key
from gateway.world import RealWorld
from router.nouns import Account, Login
from store.interface import AuditEntry, StoreError, Transaction

PROBES = "probes"  # the account of test messages (gateway.probes), never a customer's
MOST_LOGINS = 1_000  # of one account
MOST_CALLBACK_SECRETS = 5  # that sign at a time: each makes every callback longer
_LONGEST_KEYWORD = 200  # characters of a text that are searched
_SHOWN = 20  # names in a message


class AccountProblem(Exception):
    """The account cannot be made or changed; says what to do. `field`: what of it another account has."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NoSuchAccount(AccountProblem):
    """There is no account of that name."""


class NoSuchLogin(AccountProblem):
    """The account has no such system_id."""


_also: ContextVar[Callable[[Transaction], None] | None] = ContextVar("also", default=None)


@contextmanager
def in_the_same_commit(write: Callable[[Transaction], None]) -> Iterator[None]:
    """Every change of an account or an operator in the block writes this with it."""
    before = _also.set(write)
    try:
        yield
    finally:
        _also.reset(before)


def in_my_commit() -> Callable[[Transaction], None] | None:
    """What whoever asked wants written with the change."""
    return _also.get()


class Accounts:
    def __init__(
        self,
        committer: Committer,
        defaults: Mapping[str, object] | None = None,
        fallback: str = "",
        wall_ms: Callable[[], int] | None = None,
    ) -> None:
        """`defaults`: fields of a new account that nobody gave. `fallback`: the name of the account that gets
        inbound messages that are nobody's."""
        self._defaults = dict(defaults or {})
        self._committer = committer
        self._wall_ms = wall_ms or RealWorld().wall_ms
        self.changed: list[Callable[[], None]] = []
        self.by_id: dict[int, Account] = {}
        self.by_name: dict[str, Account] = {}
        self._by_number: dict[str, int] = {}
        self._by_keyword: dict[str, list[tuple[str, int]]] = {}  # number → (keyword, account), longest first
        self._fallback = fallback
        self._one_at_a_time = trio.Lock()
        self.reload()

    def reload(self) -> None:
        """Take what the store has."""
        self.by_id = dict(self._committer.store.accounts())
        self.by_name = {account.name: account for account in self.by_id.values()}
        self._by_number = {
            number: account.id for account in self.by_id.values() for number in account.numbers
        }
        self._by_keyword = {}
        for account in self.by_id.values():
            for number, word in map(_number_and_word, account.keywords):
                self._by_keyword.setdefault(number, []).append((word, account.id))
        for words in self._by_keyword.values():
            words.sort(key=lambda pair: -len(pair[0]))
        for hook in self.changed:
            hook()

    def change(self, defaults: Mapping[str, object], fallback: str) -> None:
        """What the next new account starts with, and who gets what is nobody's."""
        self._defaults, self._fallback = dict(defaults), fallback

    def owner_of(self, number: str, text: str = "") -> int:
        """The account that has the number with a keyword that `text` begins with, else the one that has the
        number; 0: nobody. The longest keyword wins; case and the blanks between words do not matter."""
        keywords = self._by_keyword.get(number)
        if keywords and text:
            said = _folded(text[:_LONGEST_KEYWORD])
            for word, account in keywords:
                if said.startswith(word) and not said[len(word) : len(word) + 1].isalnum():
                    return account
        return self._by_number.get(number, 0)

    @property
    def fallback(self) -> int:
        """The account that gets what is nobody's, or 0."""
        account = self.by_name.get(self._fallback)
        return 0 if account is None or account.closed else account.id

    async def create(self, name: str, now_ms: int, **settings: object) -> tuple[Account, str]:
        """A new account and its first API key, shown this once. Errors: AccountProblem, StoreError."""
        key, prefix, digest = new_key()
        async with self._one_at_a_time:
            if name in self.by_name:
                raise AccountProblem(
                    f"account {name!r} exists; `signalbox account show {name}` shows it", "name"
                )
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
            await self._put(account, None, "account.created", f"account:{name}")
        return account, key

    async def rotate(self, name: str, keep_previous: bool = True) -> tuple[Account, str]:
        """A second key; the previous one stays valid until the next rotation unless told otherwise."""
        key, prefix, digest = new_key()

        def change(account: Account) -> None:
            account.key_hashes = (digest, *account.key_hashes[: 1 if keep_previous else 0])
            account.key_prefixes = (prefix, *account.key_prefixes[: 1 if keep_previous else 0])

        return await self._change(name, change, "account.key_rotated"), key

    async def rotate_callback_secret(self, name: str, secret: str, older_until_ms: int) -> Account:
        """A new secret for callbacks; those that sign now do so until that time, 0 = no more.

        All of them: who has not learnt the last one yet, or never heard of it, has an older one.
        """

        def change(account: Account) -> None:
            older: tuple[str, ...] = ()
            if older_until_ms:
                known_until_ms = account.callback_secrets_until_ms
                still = MOST_CALLBACK_SECRETS - 1 if self._wall_ms() < known_until_ms else 1
                older = account.callback_secrets[:still]
            account.callback_secrets = (secret, *older)
            account.callback_secrets_until_ms = older_until_ms if older else 0

        return await self._change(name, change, "account.callback_secret_rotated")

    async def update(self, name: str, **settings: object) -> Account:
        """Change fields of an account. A URL for callbacks that is set, also as it was, is called again.

        Errors: AccountProblem, WrongSettings, StoreError.
        """

        def change(account: Account) -> None:
            if "callback_url" in settings or "mo_url" in settings:
                account.callbacks_gone = ()
            for field, value in settings.items():
                setattr(account, field, value)

        return await self._change(name, change)

    async def gone(self, name: str, url: str) -> Account:
        """One of its URLs for callbacks is not called any more: it answered 410."""

        def change(account: Account) -> None:
            if url in (account.callback_url, account.mo_url):  # else it has been changed meanwhile
                account.callbacks_gone = (*(one for one in account.callbacks_gone if one != url), url)

        return await self._change(name, change)

    async def close(self, name: str) -> Account:
        """For good: it binds and submits no more. Its numbers are free again; name, ids and logins stay."""

        def change(account: Account) -> None:
            account.closed = True
            account.numbers = account.keywords = ()

        return await self._change(name, change, "account.closed")

    # logins

    async def add_login(self, name: str, system_id: str, hashed: str) -> Account:
        """A system_id that may bind, with the hash of its password."""

        def change(account: Account) -> None:
            if any(login.system_id == system_id for login in account.logins):
                raise AccountProblem(f"account {name!r} has system_id {system_id!r} already", "system_id")
            if len(account.logins) >= MOST_LOGINS:
                raise AccountProblem(f"account {name!r} has {MOST_LOGINS} logins, and no account has more")
            account.logins = (*account.logins, Login(system_id, (hashed,)))

        return await self._change(name, change, "login.added", f"login:{name}:{system_id}")

    async def rotate_login(
        self, name: str, system_id: str, hashed: str, keep_previous: bool = True
    ) -> Account:
        """A new password; the previous one stays valid until the next rotation unless told otherwise.

        `hashed` "": no new password, the newest stays.
        """

        def change(account: Account) -> None:
            old = _login(account, system_id)
            hashes = (hashed, *old.hashes) if hashed else old.hashes
            new = Login(system_id, hashes[: 2 if keep_previous else 1])
            account.logins = tuple(new if login is old else login for login in account.logins)

        return await self._change(name, change, "login.rotated", f"login:{name}:{system_id}")

    async def remove_login(self, name: str, system_id: str) -> Account:
        """It binds no more, and may be given to another account."""

        def change(account: Account) -> None:
            gone = _login(account, system_id)
            account.logins = tuple(login for login in account.logins if login is not gone)

        return await self._change(name, change, "login.removed", f"login:{name}:{system_id}")

    async def change_keys(
        self, name: str, change: Callable[[Account], tuple[Account, AuditEntry]]
    ) -> Account:
        """Its keys (gateway.keys): `change` makes the account as it is to be, and tells it to the trail."""
        async with self._one_at_a_time:
            before = self.named(name)
            if before.closed:
                raise AccountProblem(f"account {name!r} was closed for good; make another one")
            account, told = change(before)
            await self._put(account, before, told.act, told.subject, told)
        return account

    # apps that speak other APIs (gateway.http.apps)

    async def set_app_login(
        self, name: str, user: str, hashed: str, keep_previous: bool = True
    ) -> tuple[Account, bool]:
        """A name and password of an app, or another password of one that is there; whether it is new."""
        added = True

        def change(account: Account) -> None:
            nonlocal added
            others = tuple(login for login in account.app_logins if login.system_id != user)
            old = [login for login in account.app_logins if login.system_id == user]
            if len(others) >= MOST_LOGINS:
                raise AccountProblem(f"account {name!r} has {MOST_LOGINS} apps, and no account has more")
            before = old[0].hashes[: 1 if keep_previous else 0] if old else ()
            added = not old
            account.app_logins = (*others, Login(user, (hashed, *before)))

        return await self._change(name, change, "app.password_set", f"app:{name}:{user}"), added

    async def remove_app_login(self, name: str, user: str) -> Account:
        """It submits no more, and the name may be given to another account."""

        def change(account: Account) -> None:
            left = tuple(login for login in account.app_logins if login.system_id != user)
            if len(left) == len(account.app_logins):
                known = _some(login.system_id for login in account.app_logins)
                raise NoSuchLogin(f"account {name!r} has no app {user!r}; it has: {known}")
            account.app_logins = left

        return await self._change(name, change, "app.removed", f"app:{name}:{user}")

    def named(self, name: str) -> Account:
        account = self.by_name.get(name)
        if account is None:
            raise NoSuchAccount(f"no account {name!r}; there are: {_some(self.by_name)}")
        return account

    async def _change(
        self, name: str, change: Callable[[Account], None], act: str = "", subject: str = ""
    ) -> Account:
        """One change, from what there is now to the end of its commit; `act`, `subject` as in the trail."""
        async with self._one_at_a_time:
            account = msgspec.structs.replace(self.named(name))
            if account.closed:
                raise AccountProblem(f"account {name!r} was closed for good; make another one")
            change(account)
            await self._put(account, self.by_name[name], act, subject or f"account:{name}")
        return account

    async def _put(
        self,
        account: Account,
        before: Account | None,
        act: str,
        subject: str,
        told: AuditEntry | None = None,
    ) -> None:
        check_together(account)
        self._check_unique(account)
        told = told or account_entry(self._wall_ms(), act, subject, before, account)
        also = in_my_commit()

        def put(txn: Transaction) -> None:
            txn.put_account(account)
            if told is not None:
                txn.audit(told)
            if before is not None and before.suspended != account.suspended:
                what = "suspended" if account.suspended else "resumed"
                data = msgspec.json.encode({"account": account.name})
                txn.tell_account(account.id, what, data, self._wall_ms())
            if also is not None:
                also(txn)

        with trio.CancelScope(shield=True):
            await self._committer.execute(put)
        self.reload()

    def _check_unique(self, account: Account) -> None:
        """What may belong to one account only. Errors: AccountProblem."""
        for number in account.numbers:
            owner = self._by_number.get(number, account.id)
            if owner != account.id:
                raise AccountProblem(
                    f"number {number} belongs to account {self.by_id[owner].name!r} already", "numbers"
                )
        keywords = {_number_and_word(one): one for one in account.keywords}
        for other in self.by_id.values():
            taken = keywords.keys() & set(map(_number_and_word, other.keywords))
            if taken and other.id != account.id:
                keyword = keywords[min(taken)]
                raise AccountProblem(
                    f"keyword {keyword!r} belongs to account {other.name!r} already", "keywords"
                )
            shared = {login.system_id for login in account.logins} & {
                login.system_id for login in other.logins
            }
            if shared and other.id != account.id:
                raise AccountProblem(
                    f"account {other.name!r} has system_id {min(shared)!r} already", "system_id"
                )
            shared = {login.system_id for login in account.app_logins} & {
                login.system_id for login in other.app_logins
            }
            if shared and other.id != account.id:
                raise AccountProblem(f"account {other.name!r} has the app {min(shared)!r} already", "user")


def _number_and_word(keyword: str) -> tuple[str, str]:
    """ "12345 Stop" → ("12345", "stop")"""
    number, _, word = keyword.partition(" ")
    return number, _folded(word)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _login(account: Account, system_id: str) -> Login:
    """Errors: NoSuchLogin."""
    for login in account.logins:
        if login.system_id == system_id:
            return login
    known = _some(login.system_id for login in account.logins)
    raise NoSuchLogin(f"account {account.name!r} has no system_id {system_id!r}; it has: {known}")


def _some(names: Iterable[str]) -> str:
    """For a message that says what there is, however many that are."""
    known = sorted(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more or "none yet"


__all__ = ["AccountProblem", "Accounts", "NoSuchAccount", "NoSuchLogin", "StoreError"]
