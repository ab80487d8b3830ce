"""Bearer API keys: found by their hash, within their scopes, their time and their addresses.

A key (gateway.keys) is found with one look by its SHA-256. Where it may be used from is looked at before
anything else: from elsewhere it is as unknown as any other. Failures from one address are slowed down:
beyond a few they are answered 429 instead of 401. A valid key is never held up by the failures of its
neighbours, so one bad client behind a proxy locks out nobody.

Invariants: what a key may is decided by its role's scopes (router.roles) and its own, and nothing else; a key
without limits of its own costs no more than the look; what is noted of a key's use costs nothing while it
comes from where it came from a moment ago.

Deliberately not here: keys as data (gateway.keys), keeping them (gateway.accounts, gateway.operators), when
each was used (gateway.key_use), what an account may do (gateway.door).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING

from gateway.admin_shapes import iso
from gateway.http.problems import BadRequest
from gateway.key_use import KeyUse, Noted, Use, network
from gateway.keys import (
    ACCOUNT_KEY,
    MAIN,
    MAIN_BEFORE,
    OPERATOR_KEY,
    key_hash,
    keys_of,
    new_key,
    role_of,
    who_of,
)
from gateway.smpp_server.networks import Networks
from router.nouns import Account, ApiKey
from router.roles import HOUSE, Role, allows, scopes_of

if TYPE_CHECKING:
    from gateway.operators import Operator

__all__ = ["ACCOUNT_KEY", "OPERATOR_KEY", "Caller", "Keys", "key_hash", "new_key", "operators_key"]

_FREE_FAILURES = 10
_LONGEST_WAIT_S = 60.0
_FORGET_S = 300.0
_ADDRESSES = 4096
_LONGEST_HEADER = 256
_MAINS = [MAIN, MAIN_BEFORE]

_HOW = (
    "send the header 'Authorization: Bearer sbk_…' with a key of your account; "
    "`signalbox account create NAME` prints one"
)
_HOW_OPERATOR = (
    "send the header 'Authorization: Bearer sbo_…' with an operator's key; "
    "`signalbox operator create NAME` prints one"
)


class Caller(Noted):
    """One secret of one key, and whose it is: made once, handed out with every request that it opens.

    `account` is whose it is, where that is a customer; `plain` the same for a key that may all that accounts
    may, from anywhere and at any time: nothing is left to look at. `name` is how the audit trail calls the
    owner, `key` what is kept of the key, `scopes` what it may.
    """

    __slots__ = (
        "account", "digest", "key", "name", "networks", "owner", "plain", "role", "scopes", "until_ms",
    )  # fmt: skip

    def __init__(self, digest: str, key: ApiKey, owner: Account | Operator, use: Use) -> None:
        super().__init__("", use)
        self.digest = digest
        self.key = key
        self.networks = Networks(key.addresses) if key.addresses else None
        ends = [key.expires_ms, key.previous_until_ms if digest != key.hash else 0]
        self.until_ms = min((end for end in ends if end), default=0)
        self.belongs_to(owner)

    def belongs_to(self, owner: Account | Operator) -> None:
        """The owner as it is now."""
        self.owner = owner
        self.role = role_of(owner)
        self.who = who_of(owner)
        self.name = self.who.removeprefix("operator:")
        self.scopes = scopes_of(self.role, self.key.scopes)
        self.account = owner if isinstance(owner, Account) else None
        self.plain = None if self.key.scopes or self.networks or self.until_ms else self.account


class Keys:
    """Who a key belongs to. `rebuild` whenever accounts change, `rebuild_operators` whenever they do.

    `clock` is monotonic seconds, `wall_ms` the time of day by which keys end; `use` is told of every one.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        clock: Callable[[], float],
        wall_ms: Callable[[], int] = lambda: 0,
        use: KeyUse | None = None,
    ) -> None:
        self._clock = clock
        self._wall_ms = wall_ms
        self.use = use or KeyUse(wall_ms, clock)
        self.by_id: dict[str, Caller] = {}  # by the key's id, its present secret
        self._by_hash: dict[str, Caller] = {}
        self._accounts: dict[str, Caller] = {}
        self._operators: dict[str, Caller] = {}
        self._failures: dict[str, tuple[int, float]] = {}  # address → (failures, time of the last)
        self.rebuild(accounts)

    def rebuild(self, accounts: Iterable[Account]) -> None:
        """Take the accounts as they are now; keys that are gone stop working at once."""
        self._accounts = self._callers(accounts, self._accounts)
        self._join()

    def rebuild_operators(self, operators: Iterable[Operator]) -> None:
        """The same for operators."""
        self._operators = self._callers(operators, self._operators)
        self._join()

    def _callers(
        self, owners: Iterable[Account] | Iterable[Operator], before: dict[str, Caller]
    ) -> dict[str, Caller]:
        found: dict[str, Caller] = {}
        for owner in owners:
            if not owner.keys and isinstance(owner, Account):
                known = [before.get(digest) for digest in owner.key_hashes]
                if [one.key.name for one in known if one is not None and one.plain] == _MAINS[: len(known)]:
                    for caller in known:  # nearly all accounts at nearly all times
                        assert caller is not None
                        caller.belongs_to(owner)
                        found[caller.digest] = caller
                    continue
            for key in keys_of(owner):
                for digest in (key.previous_hash, key.hash):
                    if digest:
                        found[digest] = self._for(digest, key, owner, before.get(digest))
        for digest in before.keys() - found.keys():
            self.use.gone(digest, before[digest].who, before[digest].use.id)
        return found

    def _for(self, digest: str, key: ApiKey, owner: Account | Operator, before: Caller | None) -> Caller:
        if before is not None and before.key == key:
            before.belongs_to(owner)
            return before
        return Caller(digest, key, owner, self.use.of(key.id))

    def _join(self) -> None:
        self._by_hash = {**self._operators, **self._accounts}
        self.by_id = {
            caller.key.id: caller for caller in self._by_hash.values() if caller.digest == caller.key.hash
        }
        self.use.keep(self.by_id)

    def of(self, owner: Account | Operator) -> list[Caller]:
        """The keys of one of those that it was told of, the main ones first."""
        return [self.by_id[key.id] for key in keys_of(owner)]

    def authenticate(
        self, authorization: bytes | None, address: str, scope: str = "messages.send"
    ) -> Account:
        """The account of an Authorization header's key. Errors: BadRequest 401 (many: 429), 403."""
        caller = self.admit(authorization, address, scope)
        if not isinstance(caller.owner, Account):
            raise self._operators_key(caller, address)
        return caller.owner

    def operator(self, authorization: bytes | None, address: str, scope: str = "accounts.write") -> Operator:
        """The operator of an Authorization header's key. Errors: BadRequest 401 (many: 429), 403."""
        caller = self.admit(authorization, address, scope)
        if isinstance(caller.owner, Account):
            raise self._accounts_key(caller, address)
        return caller.owner

    def admit(self, authorization: bytes | None, address: str, scope: str) -> Caller:
        """Who it is, if that key may. Errors: BadRequest 401 (many: 429), 403.

        On the message path: one look for a key without limits of its own.
        """
        if (
            authorization is not None
            and authorization[:7] in (b"Bearer ", b"bearer ")
            and len(authorization) <= _LONGEST_HEADER
        ):
            digest = sha256(authorization[7:].strip()).hexdigest()
            caller = self._by_hash.get(digest)
            if caller is not None and compare_digest(caller.digest, digest):
                if caller.plain is None:
                    self._checked(caller, address, _how(scope))
                elif caller.address != address:
                    self.use.seen(caller, address)
                if scope in caller.scopes:
                    return caller
                raise self._over_scope(caller, scope, address)
        raise self._unknown(authorization, address, _how(scope))

    def caller(self, authorization: bytes | None, address: str) -> Caller:
        """Whose key it is and what it may. Errors: BadRequest 401 (many: 429)."""
        if (
            authorization is not None
            and authorization[:7] in (b"Bearer ", b"bearer ")
            and len(authorization) <= _LONGEST_HEADER
        ):
            digest = sha256(authorization[7:].strip()).hexdigest()
            caller = self._by_hash.get(digest)
            if caller is not None and compare_digest(caller.digest, digest):
                return self._checked(caller, address, _HOW)
        raise self._unknown(authorization, address, _HOW)

    def require(self, caller: Caller, scope: str, address: str) -> None:
        """Nothing, where the key may. Errors: BadRequest 403."""
        if scope not in caller.scopes:
            raise self._over_scope(caller, scope, address)

    def may_still(self, caller: Caller, scopes: Collection[str]) -> bool:
        """Whether the key that came opens all of these still, for what lasts longer than a request; that is
        no use of it."""
        now = self._by_hash.get(caller.digest)
        if now is None or (now.until_ms and self._wall_ms() >= now.until_ms):
            return False
        return now.scopes.issuperset(scopes)

    def refused(self, address: str) -> BadRequest:
        """What a wrong name or password of an app is answered with, counted as a wrong key is."""
        detail = "the name or the password is not right, or its account may not use this API"
        return self._failed(address, detail, "")

    def _over_scope(self, caller: Caller, scope: str, address: str) -> BadRequest:
        if allows(caller.role, scope):
            detail = f"this key may not do that: it needs the scope {scope}"
        elif isinstance(caller.owner, Account):
            return self._accounts_key(caller, address)
        elif not any(allows(role, scope) for role in HOUSE):
            return self._operators_key(caller, address)
        else:
            detail = f"the role {caller.role!r} may not do that: it needs the scope {scope}"
        self.use.refused("scope", caller, address)
        return BadRequest(403, "scope-needed", detail)

    def _accounts_key(self, caller: Caller, address: str) -> BadRequest:
        self.use.refused("kind", caller, address)
        detail = f"this is a key of the account {caller.owner.name!r}, and this is for operators; "
        return BadRequest(403, "operator-key-needed", detail + _HOW_OPERATOR)

    def _operators_key(self, caller: Caller, address: str) -> BadRequest:
        self.use.refused("kind", caller, address)
        return operators_key()

    def _checked(self, caller: Caller, address: str, how: str = _HOW) -> Caller:
        """The caller, whose key is known, if it may be used from there and now. Errors: BadRequest."""
        if caller.networks is not None and address not in caller.networks:
            self.use.refused("address", caller, address)
            raise self._failed(address, f"this API key is not known (any more); {how}", "invalid_token")
        if caller.until_ms and self._wall_ms() >= caller.until_ms:
            self.use.refused("expired", caller, address)
            detail = (
                f"this API key ended at {iso(caller.until_ms)}; use the one that took its place, or {how}"
            )
            raise self._failed(address, detail, "invalid_token")
        if caller.address != address:
            self.use.seen(caller, address)
        return caller

    def _unknown(self, authorization: bytes | None, address: str, how: str) -> BadRequest:
        bearer = authorization is not None and authorization[:7] in (b"Bearer ", b"bearer ")
        if authorization is None or not bearer:
            self.use.unknown("", address)
            return self._failed(address, f"an API key is needed: {how}", "")
        self.use.unknown(sha256(authorization[7:_LONGEST_HEADER].strip()).hexdigest(), address)
        return self._failed(address, f"this API key is not known (any more); {how}", "invalid_token")

    def _failed(self, address: str, detail: str, error: str) -> BadRequest:
        now = self._clock()
        where = network(address)
        count, last = self._failures.pop(where, (0, now))
        if now - last > _FORGET_S:
            count = 0
        wait_s = (
            min(_LONGEST_WAIT_S, 2.0 ** min(count - _FREE_FAILURES, 10)) if count >= _FREE_FAILURES else 0.0
        )
        if now < last + wait_s:
            self._failures[where] = (count, last)
            retry = int(last + wait_s - now) + 1
            return BadRequest(
                429,
                "too-many-failures",
                f"too many requests without a valid key from {address}; wait {retry} s, then send one",
                headers=(("Retry-After", str(retry)),),
            )
        if len(self._failures) >= _ADDRESSES:
            del self._failures[next(iter(self._failures))]  # the one that failed longest ago
        self._failures[where] = (count + 1, now)
        challenge = 'Bearer realm="signalbox"' + (f', error="{error}"' if error else "")
        return BadRequest(401, "not-authenticated", detail, headers=(("WWW-Authenticate", challenge),))


def operators_key() -> BadRequest:
    """For what only an account's key opens."""
    detail = f"this is an operator's key, which sends no messages and speaks for no account; {_HOW}"
    return BadRequest(403, "account-key-needed", detail)


def _how(scope: str) -> str:
    """What to send for it."""
    return _HOW if allows(Role.ACCOUNT, scope) else _HOW_OPERATOR
