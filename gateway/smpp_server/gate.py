"""Who may bind to us: addresses, password, locks, bind types, number of binds, in that order.

What the peer is told (3.4 section 5.1.3), chosen by what clients do with it:

- ESME_RINVPASWD for an unknown system_id, a wrong password and an address that is not allowed, all three
  after the same time, so that nobody learns which it was. Kannel gives up for good on it, and on
  ESME_RINVSYSID, so it is never the answer to a right password that was not looked at.
- ESME_RBINDFAIL while locked out or banned, and after the right password for an account that is suspended,
  closed, not meant for this bind type or at its max_binds, as Jasmin's server does. Not ESME_RALYBND for that
  last one: Kannel takes it for a success. Clients try again later.
- ESME_RSYSERR when too many verifications wait: try again.

A peer is spared locks where it is trusted_from, at an address that the account lists, or where this account
showed a right password within
30 days: failing from elsewhere, or for another system_id behind the same address, locks no customer out.

Invariants: an address that is not allowed costs no hashing; `admit` looks at accounts and bans as they are
when it answers; what it admitted is counted only by `bound`, which the caller calls before it waits again.

Networks that never ask for a bind are shut out (strikes), but for addresses in trusted_from, networks that
were good for some account, and addresses that some account lists in an entry for few peers
(Networks.small_ones). A wider entry speaks for nobody until the account has bound from there.

Deliberately not here: hashing and its queue (passwords), counting failures (locks), sockets, logging.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

import msgspec
import trio

from config.model import SmppConfig
from gateway.passwords import MOST_VALID, NoLongerWanted, Passwords, TooBusy
from gateway.smpp_server.addresses import canonical, network_of
from gateway.smpp_server.bans import Bans
from gateway.smpp_server.locks import GoodNetworks, Lock, Locks
from gateway.smpp_server.networks import Networks
from router.nouns import Account
from smpp.status import Status

_AGAIN_S = 1.0  # before an answer that makes a client try again at once


class AccountsInMemory(Protocol):
    """What the gate needs of gateway.accounts.Accounts."""

    @property
    def by_id(self) -> Mapping[int, Account]: ...
    @property
    def changed(self) -> list[Callable[[], None]]: ...


class BindAsked(msgspec.Struct, frozen=True):
    """A bind request. `address`: the customer's, behind any proxy; `bind_type` as in Account.bind_types."""

    address: str
    system_id: bytes
    password: bytes
    bind_type: str
    version: int
    tls: bool


class Admitted(msgspec.Struct, frozen=True):
    """`takeover`: the account has max_binds already, and the caller ends the stalest of them."""

    account: Account
    login: str
    takeover: bool


class BindRefusal(msgspec.Struct, frozen=True):
    """`status` to answer after `wait_s` seconds; `reason` is for the log, never for the peer."""

    status: int
    reason: str
    wait_s: float


class _Entry(msgspec.Struct, frozen=True):
    """A system_id. `allowed` None = from anywhere."""

    account: Account
    hashes: tuple[str, ...]
    allowed: Networks | None

    def allows(self, address: str) -> bool:
        return self.allowed is None or address in self.allowed


class Gate:
    """`admit` for each bind request; `bound` and `unbound` as binds come and go."""

    def __init__(
        self,
        accounts: AccountsInMemory,
        settings: SmppConfig,
        now: Callable[[], float] = trio.current_time,
        passwords: Passwords | None = None,
        wall_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`now` is monotonic, `wall_s` seconds since the epoch."""
        self._wall_s = wall_s
        self.bans: Bans | None = None
        self.passwords = passwords or Passwords()
        self._accounts = accounts
        self._settings = settings
        self._locks = Locks(
            now,
            pair_failures=settings.lock_failures,
            network_failures=settings.lock_address_failures,
            lock_s=settings.lock_s,
        )
        self._good = GoodNetworks(now)
        self._trusted = Networks(settings.trusted_from)
        self._named = Networks(())  # small networks that accounts list
        self._binds: dict[int, int] = {}
        self._entries: dict[str, _Entry] = {}
        self._allowed: dict[tuple[str, ...], Networks] = {}
        self._rounds = 1
        self._rebuild()
        accounts.changed.append(self._rebuild)

    def _rebuild(self) -> None:
        """Accounts changed."""
        accounts = self._accounts.by_id
        compiled: dict[tuple[str, ...], Networks] = {}
        self._entries = {}
        for account in accounts.values():
            texts = account.allowed_addresses
            if texts and texts not in compiled:
                compiled[texts] = self._allowed.get(texts) or Networks(texts)
            for login in account.logins:
                entry = _Entry(account, login.hashes[:MOST_VALID], compiled.get(texts))
                self._entries.setdefault(login.system_id, entry)
        self._allowed = compiled
        open_ones = {account.allowed_addresses for account in accounts.values() if not account.closed}
        self._named = Networks.small_ones(one for texts, one in compiled.items() if texts in open_ones)
        # as many for a failure as for the login with most, so that its time says nothing about the login
        self._rounds = max((len(entry.hashes) for entry in self._entries.values()), default=1) or 1
        self.passwords.keep({hashed for entry in self._entries.values() for hashed in entry.hashes})
        self._good.keep(accounts.keys())

    # binds

    def bound(self, account_id: int) -> None:
        self._binds[account_id] = self.binds(account_id) + 1

    def unbound(self, account_id: int, address: str = "") -> None:
        """`address`, when given, counts as good from now on: that bind may have lasted for months."""
        left = self.binds(account_id) - 1
        if left > 0:
            self._binds[account_id] = left
        else:
            self._binds.pop(account_id, None)
        if address and account_id in self._accounts.by_id:
            self._good.add(account_id, _network(address))

    def binds(self, account_id: int) -> int:
        return self._binds.get(account_id, 0)

    # over a restart

    def remembered(self) -> bytes:
        """From where accounts bound well, for `remember` of the next process."""
        rows = [(id, network, self._wall_s() - since_s) for id, network, since_s in self._good.remembered()]
        return msgspec.json.encode(rows)

    def remember(self, written: bytes) -> None:
        """What an earlier process `remembered`; what cannot be read is left."""
        with suppress(msgspec.MsgspecError):
            rows = msgspec.json.decode(written, type=list[tuple[int, str, float]])
            now = self._wall_s()
            self._good.remember((id, network, max(0.0, now - seen)) for id, network, seen in rows)

    # those who do not even ask

    def shut_out_s(self, address: str, network: str) -> float:
        """Seconds for which connections of this canonical address, of this network, are closed at once."""
        left_s = self._locks.strikes.left_s(network)
        return 0.0 if left_s and self._known(address) else left_s

    def _known(self, address: str) -> bool:
        return address in self._trusted or address in self._named

    def never_asked(self, address: str, network: str) -> None:
        """A connection ended without a bind request. Known addresses and good networks are spared."""
        if self._known(address) or not self._locks.strikes.count(network):
            return
        if self._good.any_has(network):
            self._locks.strikes.forget(network)
        else:
            self._locks.strikes.shut_out(network)

    # for operators

    def status(self) -> list[Lock]:
        """Who is locked out now, those for longest first."""
        return self._locks.status()

    def lock_counts(self) -> dict[str, tuple[int, int]]:
        """By kind (locks.KINDS): locks there are now, locks there have been."""
        return self._locks.counts()

    def locked(self, address_or_system_id: str) -> list[Lock]:
        """The locks that `unlock` would end."""
        who = _network(address_or_system_id)
        return [lock for lock in self._locks.status() if who in (lock.network, lock.system_id)]

    def unlock(self, address_or_system_id: str) -> int:
        """End the locks of an address (or network as `status` shows it) or a system_id. Returns how many."""
        return self._locks.release(_network(address_or_system_id))

    # binding

    async def admit(self, request: BindAsked) -> Admitted | BindRefusal:
        """Whether this bind may be. Takes as long as the password takes."""
        await trio.lowlevel.checkpoint()
        attempt = _Attempt(request)
        address, network, system_id = attempt.address, attempt.network, attempt.system_id
        banned = self._banned(attempt)
        if banned is not None:
            return banned
        entry = self._entries.get(system_id)
        spared = address in self._trusted or (
            entry is not None
            and (
                self._good.has(entry.account.id, network)
                or (entry.allowed is not None and address in entry.allowed)
            )
        )

        def wanted() -> bool:
            return spared or not self._locks.left_s(network, system_id)

        if not wanted():
            return self._locked(attempt)
        first = spared and not self._locks.crowded(network, system_id)
        matched, spent_s = None, 0.0
        try:
            if entry is not None and not entry.allows(address):
                spent_s = await self.passwords.pretend(first=first)
            else:
                matched = await self.passwords.check(
                    request.system_id,
                    request.password,
                    entry.hashes if entry is not None else (),
                    rounds=self._rounds,
                    first=first,
                    wanted=wanted,
                )
        except TooBusy:
            reason = "too many binds wait for their passwords to be verified"
            return BindRefusal(Status.ESME_RSYSERR, reason, _AGAIN_S)
        except NoLongerWanted:
            return self._locked(attempt)
        banned = self._banned(attempt)  # this and the entry may have changed while we waited
        if banned is not None:
            return banned
        entry = self._entries.get(system_id)
        if entry is None or matched not in entry.hashes or not entry.allows(address):
            return self._failed(attempt, entry, spared, spent_s)
        self._locks.succeeded(network, system_id)
        self._good.add(entry.account.id, network)
        return self._judge(entry.account, system_id, request.bind_type)

    def _banned(self, attempt: _Attempt) -> BindRefusal | None:
        why = self.bans.why(attempt.system_id, attempt.address) if self.bans is not None else ""
        return BindRefusal(Status.ESME_RBINDFAIL, why, _AGAIN_S) if why else None

    def _judge(self, account: Account, system_id: str, bind_type: str) -> Admitted | BindRefusal:
        """The password is right."""
        binds = self.binds(account.id)
        takeover = False
        reason = ""
        if account.closed:
            reason = f"account {account.name!r} is closed"
        elif account.suspended:
            reason = f"account {account.name!r} is suspended"
        elif bind_type not in account.bind_types:
            allowed = ", ".join(account.bind_types) or "none"
            reason = f"account {account.name!r} may not bind as {bind_type}; its bind types: {allowed}"
        elif binds >= account.max_binds:
            takeover = binds > 0 and account.when_binds_full == "takeover"
            if not takeover:
                reason = f"account {account.name!r} has {binds} binds, and max_binds is {account.max_binds}"
        if reason:
            return BindRefusal(Status.ESME_RBINDFAIL, reason, _AGAIN_S)
        return Admitted(account, system_id, takeover)

    def _failed(self, attempt: _Attempt, entry: _Entry | None, spared: bool, spent_s: float) -> BindRefusal:
        wait_s, locked = self._locks.failed(attempt.network, attempt.system_id, spared=spared)
        reason = _why(attempt, entry)
        if locked:
            reason += f"; that was one failure too many: locked for {self._settings.lock_s:g} s"
        return BindRefusal(Status.ESME_RINVPASWD, reason, wait_s + spent_s)

    def _locked(self, attempt: _Attempt) -> BindRefusal:
        left_s = self._locks.left_s(attempt.network, attempt.system_id)
        reason = (
            f"locked out for {left_s:.0f} s more after wrong passwords from {attempt.network}; "
            "the password was not looked at"
        )
        return BindRefusal(Status.ESME_RBINDFAIL, reason, _AGAIN_S)


class _Attempt:
    """Whose request, as tables and logs have it."""

    __slots__ = ("address", "network", "system_id")

    def __init__(self, request: BindAsked) -> None:
        self.address = request.address
        self.network = _network(request.address)
        self.system_id = request.system_id.decode("latin-1")


def _why(attempt: _Attempt, entry: _Entry | None) -> str:
    if entry is None:
        return f"no account has system_id {attempt.system_id!r}"
    name = entry.account.name
    if entry.allowed is not None and not entry.allows(attempt.address):
        unreadable = "".join(f"; {text!r} is no network" for text in entry.allowed.unreadable)
        return f"{attempt.address} is not among the allowed addresses of account {name!r}{unreadable}"
    if not entry.hashes:
        return f"system_id {attempt.system_id!r} of account {name!r} has no password yet"
    return f"wrong password for system_id {attempt.system_id!r} of account {name!r}"


def _network(address: str) -> str:
    """What counts as one peer; what is no address stands for itself."""
    try:
        return network_of(canonical(address))
    except ValueError:
        return address
