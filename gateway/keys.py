"""API keys as data: how one is drawn, which ones an owner has, and what another list of them looks like.

A key is `sbk_<prefix>_<secret>` (of an account) or `sbo_<prefix>_<secret>` (of an operator) with a 256-bit
random secret; only its SHA-256 is kept, a fast hash because there is nothing to guess. The prefix names a key
to people, its id to programs: the id stays when the key is rotated.

An owner has the keys that came with it ("main", in fields of their own since the first release) and any
number of further ones (`Account.keys`, `Operator.keys`) with scopes, an end and addresses. Here they all look
alike, so that every one of them can be listed, rotated and revoked.

Deliberately not here: checking a key (gateway.http.auth), keeping them (gateway.accounts, gateway.operators),
who may change them (gateway.admin_keys).
"""

from __future__ import annotations

import hashlib
import secrets
from itertools import zip_longest
from typing import TYPE_CHECKING

from msgspec.structs import replace

from router.nouns import Account, ApiKey
from router.roles import Role

if TYPE_CHECKING:
    from gateway.operators import Operator

ACCOUNT_KEY = "sbk"
OPERATOR_KEY = "sbo"
MAIN = "main"
MAIN_BEFORE = "main, before its last rotation"

_PREFIX_BYTES = 4
_SECRET_BYTES = 32
_ID_BYTES = 8


def new_key(kind: str = ACCOUNT_KEY) -> tuple[str, str, str]:
    """(key, prefix, sha256 hex). Show the key once; store the other two."""
    prefix = secrets.token_hex(_PREFIX_BYTES)
    key = f"{kind}_{prefix}_{secrets.token_hex(_SECRET_BYTES)}"
    return key, prefix, key_hash(key)


def key_hash(key: str) -> str:
    """What is stored of a key: SHA-256, hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_id() -> str:
    """Of a further key."""
    return "k" + secrets.token_hex(_ID_BYTES)


def role_of(owner: Account | Operator) -> str:
    """Of router.roles. Operators made before there were roles are owners; an unknown role may nothing."""
    if isinstance(owner, Account):
        return Role.ACCOUNT.value
    return owner.role or Role.OWNER.value


def who_of(owner: Account | Operator) -> str:
    """account:NAME or operator:NAME, for the trail."""
    return f"{'account' if isinstance(owner, Account) else 'operator'}:{owner.name}"


def kind_of(owner: Account | Operator) -> str:
    return ACCOUNT_KEY if isinstance(owner, Account) else OPERATOR_KEY


def keys_of(owner: Account | Operator) -> list[ApiKey]:
    """All keys of an account or an operator, the main ones first."""
    return [*_main_keys(owner), *owner.keys]


def _main_keys(owner: Account | Operator) -> list[ApiKey]:
    if isinstance(owner, Account):
        pairs = zip_longest(owner.key_hashes, owner.key_prefixes[: len(owner.key_hashes)], fillvalue="")
        return [
            ApiKey(_id_of(digest), digest, prefix, MAIN_BEFORE if later else MAIN)
            for later, (digest, prefix) in enumerate(pairs)
        ]
    if not owner.key_hash:
        return []
    return [
        ApiKey(
            _id_of(f"{owner.name} {owner.created_ms}"),
            owner.key_hash,
            owner.key_prefix,
            MAIN,
            created_ms=owner.created_ms,
            previous_hash=owner.previous_hash,
            previous_prefix=owner.previous_prefix,
            previous_until_ms=owner.previous_until_ms,
        )
    ]


def _id_of(said: str) -> str:
    """Of a main key, which has none of its own in the store. Tells nothing of what it is made from."""
    return "k" + hashlib.blake2b(said.encode(), digest_size=_ID_BYTES, person=b"key id").hexdigest()


def rotated(key: ApiKey, digest: str, prefix: str, now_ms: int, overlap_s: float) -> ApiKey:
    """The same key with another secret: the one before works `overlap_s` longer, earlier ones no more."""
    until_ms = now_ms + int(overlap_s * 1000)
    if key.expires_ms:
        until_ms = min(until_ms, key.expires_ms)
    keeps = overlap_s > 0
    return replace(
        key,
        hash=digest,
        prefix=prefix,
        previous_hash=key.hash if keeps else "",
        previous_prefix=key.prefix if keeps else "",
        previous_until_ms=until_ms if keeps else 0,
    )


def account_with(account: Account, old: ApiKey | None, new: ApiKey | None) -> Account:
    """A copy of the account with `new` instead of `old`. A main key becomes a further one."""
    keys = tuple(one for one in account.keys if old is None or one.id != old.id)
    pairs = list(zip_longest(account.key_hashes, account.key_prefixes, fillvalue=""))
    stay = [pair for pair in pairs if old is None or pair[0] != old.hash]
    return replace(
        account,
        key_hashes=tuple(digest for digest, _ in stay),
        key_prefixes=tuple(prefix for _, prefix in stay),
        keys=keys if new is None else (*keys, new),
    )


def operator_with(operator: Operator, old: ApiKey | None, new: ApiKey | None) -> Operator:
    """A copy of the operator with `new` instead of `old`; its main key stays the main one."""
    if old is not None and old.hash == operator.key_hash:
        main = new or ApiKey("", "", "")
        return replace(
            operator,
            key_hash=main.hash,
            key_prefix=main.prefix,
            previous_hash=main.previous_hash,
            previous_prefix=main.previous_prefix,
            previous_until_ms=main.previous_until_ms,
        )
    keys = tuple(one for one in operator.keys if old is None or one.id != old.id)
    return replace(operator, keys=keys if new is None else (*keys, new))
