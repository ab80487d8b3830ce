"""Who an app is: the account behind a username and a password, as other APIs send them with each request.

The password is that of an app of the account (`signalbox account app set`), checked as argon2id off the loop
and remembered (gateway.passwords), so that only the first request waits; or an API key of the account, under
the account's name or an app's, with the scopes that the same thing takes over our own API. Wrong ones are
answered alike, whatever is wrong. Wrong passwords lock a name for one network, and a network for all names,
for a minute (gateway.smpp_server.locks), but never one that was right before. Addresses are asked first.

Deliberately not here: how an API says who it is, what it is answered.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import trio

from gateway.http.auth import ACCOUNT_KEY, Keys
from gateway.http.problems import BadRequest
from gateway.http.request import Request
from gateway.passwords import NoLongerWanted, Passwords, TooBusy
from gateway.smpp_server.addresses import network_of
from gateway.smpp_server.locks import Locks
from gateway.smpp_server.networks import Networks
from router.nouns import Account

Known = Callable[[Account], None]
Unknown = Callable[[BadRequest], None]

SEND = ("messages.send",)

_KEY = f"{ACCOUNT_KEY}_".encode()
_LONGEST = 256
_ROUNDS = 2  # hashes computed for a failure, as many as an app may have
_PAIR_FAILURES, _NETWORK_FAILURES, _LOCK_S = 10, 50, 60.0
_BUSY = BadRequest(
    503,
    "too-many-questions",
    "too many logins at once; try again in a moment",
    headers=(("Retry-After", "1"),),
)


class AccountsInMemory(Protocol):
    changed: list[Callable[[], None]]

    @property
    def by_id(self) -> Mapping[int, Account]: ...


class _App(msgspec.Struct, frozen=True):
    account: int
    hashes: tuple[str, ...]


_NOBODY = _App(0, ())


class _Who(msgspec.Struct, frozen=True):
    """An account and where its apps may be; None: anywhere."""

    account: Account
    addresses: Networks | None


class Apps:
    """`ask` is the whole of it."""

    def __init__(
        self,
        accounts: AccountsInMemory,
        keys: Keys,
        passwords: Passwords,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        """`now`: monotonic seconds."""
        self._locks = Locks(
            now, pair_failures=_PAIR_FAILURES, network_failures=_NETWORK_FAILURES, lock_s=_LOCK_S
        )
        self._accounts = accounts
        self._keys = keys
        self._passwords = passwords
        self._apps: dict[bytes, _App] = {}
        self._who: dict[int, _Who] = {}
        accounts.changed.append(self._rebuild)
        self._rebuild()

    def _rebuild(self) -> None:
        accounts = self._accounts.by_id.values()
        self._apps = {
            login.system_id.encode(): _App(account.id, login.hashes)
            for account in accounts
            for login in account.app_logins
        }
        self._who = {
            account.id: _Who(
                account, Networks(account.allowed_addresses) if account.allowed_addresses else None
            )
            for account in accounts
            if account.apis and not account.closed
        }
        self._passwords.keep({hashed for app in self._apps.values() for hashed in app.hashes})

    def ask(
        self,
        request: Request,
        api: str,
        user: bytes,
        password: bytes,
        known: Known,
        unknown: Unknown,
        scopes: Sequence[str] = SEND,
    ) -> None:
        """Calls `known` with the account that may speak `api`, or `unknown` with what to answer; at once,
        or from a task where the password has to be hashed first. `scopes`: what an API key must have.
        """
        if not user or not password or len(user) > _LONGEST or len(password) > _LONGEST:
            unknown(self._keys.refused(request.peer))
        elif password.startswith(_KEY):
            self._by_key(request, api, user, password, known, unknown, scopes)
        else:
            self._by_password(request, api, user, password, known, unknown)

    def _by_key(
        self,
        request: Request,
        api: str,
        user: bytes,
        key: bytes,
        known: Known,
        unknown: Unknown,
        scopes: Sequence[str],
    ) -> None:
        first, *others = scopes
        try:
            account = self._keys.authenticate(b"Bearer " + key, request.peer, first)
            for scope in others:
                self._keys.authenticate(b"Bearer " + key, request.peer, scope)
        except BadRequest as refusal:
            unknown(refusal)
            return
        app = self._apps.get(user)
        if account.name.encode() == user or (app is not None and app.account == account.id):
            self._told(request, api, account.id, known, unknown)
        else:
            unknown(self._keys.refused(request.peer))

    def _by_password(
        self, request: Request, api: str, user: bytes, password: bytes, known: Known, unknown: Unknown
    ) -> None:
        app = self._apps.get(user, _NOBODY)
        if self._passwords.known(user, password, app.hashes):
            self._told(request, api, app.account, known, unknown)
            return
        where, name = network_of(request.peer), user.decode("latin-1")
        who = self._who.get(app.account)
        if who is not None and who.addresses is not None and request.peer not in who.addresses:
            unknown(self._keys.refused(request.peer))
            return

        def locked() -> bool:
            """Guesses have an end: of one name from one network, and of all names from it."""
            left_s = self._locks.left_s(where, name)
            if left_s:
                unknown(_locked(left_s))
            return bool(left_s)

        async def check() -> None:
            try:
                matched = await self._passwords.check(
                    user,
                    password,
                    app.hashes,
                    rounds=_ROUNDS,
                    wanted=lambda: not self._locks.left_s(where, name),
                )
            except TooBusy:
                unknown(_BUSY)
                return
            except NoLongerWanted:
                locked()
                return
            if matched is None:
                self._locks.failed(where, name, spared=False)
            else:
                self._locks.succeeded(where, name)
            self._told(request, api, app.account if matched is not None else 0, known, unknown)

        if not locked():
            request.later(check)

    def _told(self, request: Request, api: str, account: int, known: Known, unknown: Unknown) -> None:
        """The last word, by what the account is now."""
        who = self._who.get(account)
        if (
            who is not None
            and api in who.account.apis
            and (who.addresses is None or request.peer in who.addresses)
        ):
            known(who.account)
        else:
            unknown(self._keys.refused(request.peer))


def _locked(left_s: float) -> BadRequest:
    wait_s = str(int(left_s) + 1)
    return BadRequest(
        429,
        "too-many-failures",
        f"too many wrong passwords; wait {wait_s} s, then send the right one",
        headers=(("Retry-After", wait_s),),
    )


def basic_of(header: bytes | None) -> tuple[bytes, bytes]:
    """User and password of an Authorization header; empty where it is none (RFC 7617)."""
    if header is None or header[:6].lower() != b"basic ":
        return b"", b""
    try:
        user, _, password = b64decode(header[6:].strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"", b""
    return user, password
