"""Bearer API keys: made once, stored as a hash, found by that hash.

A key is `sbk_<prefix>_<secret>` (of an account) or `sbo_<prefix>_<secret>` (of an operator) with a 256-bit
random secret; only its SHA-256 is kept (in `Account.key_hashes`, `Operator.key_hash`), a fast hash because
there is nothing to guess. The prefix names a key to people. Neither kind opens what the other kind does.
Failures from one address are slowed down: beyond a few they are answered 429 instead of 401. A valid key
is never held up by the failures of its neighbours, so one bad client behind a proxy locks out nobody.

Deliberately not here: storing keys (gateway.accounts, gateway.operators), what an account may do
(gateway.door).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from gateway.http.problems import BadRequest
from router.nouns import Account

if TYPE_CHECKING:
    from gateway.operators import Operator

ACCOUNT_KEY = "sbk"
OPERATOR_KEY = "sbo"

T = TypeVar("T")

_PREFIX_BYTES = 4
_SECRET_BYTES = 32
_FREE_FAILURES = 10
_LONGEST_WAIT_S = 60.0
_FORGET_S = 300.0
_ADDRESSES = 4096
_LONGEST_HEADER = 256

_HOW = (
    "send the header 'Authorization: Bearer sbk_…' with a key of your account; "
    "`signalbox account create NAME` prints one"
)
_HOW_OPERATOR = (
    "send the header 'Authorization: Bearer sbo_…' with an operator's key; "
    "`signalbox operator create NAME` prints one"
)


def new_key(kind: str = ACCOUNT_KEY) -> tuple[str, str, str]:
    """(key, prefix, sha256 hex). Show the key once; store the other two."""
    prefix = secrets.token_hex(_PREFIX_BYTES)
    key = f"{kind}_{prefix}_{secrets.token_hex(_SECRET_BYTES)}"
    return key, prefix, key_hash(key)


def key_hash(key: str) -> str:
    """What is stored of a key: SHA-256, hex."""
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    """Who a key belongs to. `rebuild` whenever accounts change, `rebuild_operators` whenever they do.

    `clock` is monotonic seconds, `wall_ms` the time of day by which rotated keys of operators end.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        clock: Callable[[], float],
        wall_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._clock = clock
        self._wall_ms = wall_ms
        self._by_hash: dict[str, tuple[str, Account]] = {}
        self._operators: dict[str, tuple[str, Operator]] = {}
        self._failures: dict[str, tuple[int, float]] = {}  # address → (failures, time of the last)
        self.rebuild(accounts)

    def rebuild(self, accounts: Iterable[Account]) -> None:
        """Take the accounts as they are now; keys that are gone stop working at once."""
        self._by_hash = {digest: (digest, account) for account in accounts for digest in account.key_hashes}

    def rebuild_operators(self, operators: Iterable[Operator]) -> None:
        """The same for operators."""
        self._operators = {
            digest: (digest, operator)
            for operator in operators
            for digest in (operator.previous_hash, operator.key_hash)
            if digest
        }

    def authenticate(self, authorization: bytes | None, address: str) -> Account:
        """The account of an Authorization header's key. Errors: BadRequest 401 (many: 429), 403."""
        if authorization is not None and authorization[:7] in (b"Bearer ", b"bearer "):
            if len(authorization) <= _LONGEST_HEADER:
                digest = hashlib.sha256(authorization[7:].strip()).hexdigest()
                found = self._by_hash.get(digest)
                if found is not None and hmac.compare_digest(found[0], digest):
                    return found[1]
                if self._operator_with(digest) is not None:
                    detail = f"this is an operator's key, which only changes accounts; for messages {_HOW}"
                    raise BadRequest(403, "account-key-needed", detail)
            raise self._failed(address, f"this API key is not known (any more); {_HOW}", "invalid_token")
        raise self._failed(address, f"an API key is needed: {_HOW}", "")

    def operator(self, authorization: bytes | None, address: str) -> Operator:
        """The operator of an Authorization header's key. Errors: BadRequest 401 (many: 429), 403."""
        if authorization is None or authorization[:7] not in (b"Bearer ", b"bearer "):
            raise self._failed(address, f"an operator's key is needed: {_HOW_OPERATOR}", "")
        if len(authorization) <= _LONGEST_HEADER:
            digest = hashlib.sha256(authorization[7:].strip()).hexdigest()
            operator = self._operator_with(digest)
            if operator is not None:
                return operator
            account = _known(self._by_hash, digest)
            if account is not None:
                detail = (
                    f"this is a key of the account {account.name!r}, and accounts are changed by operators; "
                    + _HOW_OPERATOR
                )
                raise BadRequest(403, "operator-key-needed", detail)
        raise self._failed(address, f"this key is not known (any more); {_HOW_OPERATOR}", "invalid_token")

    def either(self, authorization: bytes | None, address: str) -> Account | Operator:
        """Whose key it is, for what both may ask. Errors: BadRequest 401 (many: 429)."""
        if authorization is None or authorization[:7] not in (b"Bearer ", b"bearer "):
            raise self._failed(address, f"an API key is needed: {_HOW}", "")
        if len(authorization) <= _LONGEST_HEADER:
            digest = hashlib.sha256(authorization[7:].strip()).hexdigest()
            owner = _known(self._by_hash, digest) or self._operator_with(digest)
            if owner is not None:
                return owner
        raise self._failed(address, f"this API key is not known (any more); {_HOW}", "invalid_token")

    def _operator_with(self, digest: str) -> Operator | None:
        operator = _known(self._operators, digest)
        if operator is not None and digest != operator.key_hash:  # its previous key
            return operator if self._wall_ms() < operator.previous_until_ms else None
        return operator

    def _failed(self, address: str, detail: str, error: str) -> BadRequest:
        now = self._clock()
        where = _network(address)
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


def _known(owners: dict[str, tuple[str, T]], digest: str) -> T | None:
    """Whose hash this is, compared in constant time."""
    found = owners.get(digest)
    return found[1] if found is not None and hmac.compare_digest(found[0], digest) else None


def _network(address: str) -> str:
    """An IPv6 peer counts by its /64: it owns all of it."""
    if ":" not in address or address.startswith("::ffff:"):
        return address
    return ":".join(address.split(":")[:4])
