"""The admin verbs of API keys: create, list, show, rotate, revoke; of accounts and of operators.

Whoever makes or rotates a key by a key of the same kind gives no more than that key has: its scopes, its
addresses, its end (`within`). The command line is bound by none.

Invariants: no key or hash leaves except the key made by that very call; every change is in the audit trail
in its own transaction; limits on how many there are.

Deliberately not here: keeping them (gateway.accounts, gateway.operators), checking them (gateway.http.auth),
whose keys somebody may touch over HTTP (gateway.http.keys).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from ipaddress import ip_network
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from gateway.accounts import PROBES, AccountProblem, Accounts, NoSuchAccount
from gateway.admin import AdminError, Verb, WrongArguments, bad_arguments, typed
from gateway.admin_operators import LONGEST_OVERLAP_S
from gateway.admin_shapes import iso
from gateway.audit import actor_now, entry
from gateway.http.auth import Caller, Keys
from gateway.key_use import subject
from gateway.keys import account_with, kind_of, new_id, new_key, operator_with, role_of, rotated, who_of
from gateway.operators import OVERLAP_S, NoSuchOperator, Operator, Operators
from gateway.smpp_server.networks import Networks
from router.nouns import Account, ApiKey
from router.roles import SCOPES, beyond, scopes_of
from store.interface import AuditEntry

MOST_KEYS = 50  # of one account or operator, beside the main ones
MOST_ADDRESSES = 50
LONGEST_NAME = 64
LONGEST_MS = 10 * 366 * 86_400_000

_NO_TIME = 'a time in the future with its zone (RFC 3339), such as "2030-01-31T09:30:00Z"'


class Absent(AdminError):
    """not_found; `kind`: account, operator or key."""

    def __init__(self, message: str, kind: str, hint: str = "") -> None:
        super().__init__("not_found", message, hint)
        self.kind = kind


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """A key of `account` or `operator`. What is left out: all scopes of the role, from anywhere, no end."""

    account: str = ""
    operator: str = ""
    name: str = ""
    scopes: list[str] = []
    addresses: list[str] = []
    expires_at: str = ""


class KeyOf(msgspec.Struct, forbid_unknown_fields=True):
    """The key with that id."""

    id: str


class KeyRotation(msgspec.Struct, forbid_unknown_fields=True):
    """`overlap_s`: how much longer the secret that is replaced works."""

    id: str
    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_OVERLAP_S)] = OVERLAP_S


class KeyPage(msgspec.Struct, forbid_unknown_fields=True):
    """Of one account or operator, or of all; by id, those behind `after`, at most `limit` of them; 0: all."""

    account: str = ""
    operator: str = ""
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0


class KeyVerbs:
    """The verbs as methods. `giver`: the key by which it is done, None: by none."""

    def __init__(
        self, accounts: Accounts, operators: Operators, keys: Keys, wall_ms: Callable[[], int]
    ) -> None:
        self._accounts = accounts
        self._operators = operators
        self._keys = keys
        self._wall_ms = wall_ms

    def table(self) -> dict[str, Verb]:
        return {
            "key.create": typed(NewKey, self.key_create),
            "key.list": typed(KeyPage, self.key_list),
            "key.revoke": typed(KeyOf, self.key_revoke),
            "key.rotate": typed(KeyRotation, self.key_rotate),
            "key.show": typed(KeyOf, self.key_show),
        }

    async def key_create(self, wish: NewKey, giver: Caller | None = None) -> dict[str, object]:
        """The new key's view, with `key`: this once. Errors: AdminError, StoreError."""
        owner = self.owner_of(wish.account, wish.operator)
        made = self._read(wish, owner)
        if giver is not None:
            made = within(giver, made, owner)
        secret, prefix, digest = new_key(kind_of(owner))
        made = replace(made, hash=digest, prefix=prefix)

        def change(now: Account | Operator) -> tuple[Account | Operator, AuditEntry]:
            if len(now.keys) >= MOST_KEYS:
                raise AdminError(
                    "key_conflict", f"{now.name!r} has {MOST_KEYS} keys, and no one has more", "revoke one"
                )
            return _with(now, None, made), self._told("key.created", now, None, made)

        await self._change(owner, change)
        return {**self._view(made.id), "key": secret}

    async def key_list(self, wish: KeyPage) -> list[dict[str, object]]:
        """Views without the keys themselves. Errors: AdminError."""
        if wish.account or wish.operator:
            ids = [one.key.id for one in self._keys.of(self.owner_of(wish.account, wish.operator))]
        else:
            ids = list(self._keys.by_id)
        ids = sorted(id for id in ids if id > wish.after)
        return [self._view(id) for id in (ids[: wish.limit] if wish.limit else ids)]

    async def key_show(self, wish: KeyOf) -> dict[str, object]:
        self.found(wish.id)
        return self._view(wish.id)

    async def key_rotate(self, wish: KeyRotation, giver: Caller | None = None) -> dict[str, object]:
        """The key's view, with the new `key`: this once. Errors: AdminError, StoreError."""
        one = self.found(wish.id)
        if giver is not None:
            within(giver, one.key, one.owner)
        secret, prefix, digest = new_key(kind_of(one.owner))

        def change(now: Account | Operator) -> tuple[Account | Operator, AuditEntry]:
            old = self._still(now, wish.id)
            new = rotated(old, digest, prefix, self._wall_ms(), wish.overlap_s)
            return _with(now, old, new), self._told("key.rotated", now, old, new)

        await self._change(one.owner, change)
        return {**self._view(wish.id), "key": secret}

    async def key_revoke(self, wish: KeyOf) -> dict[str, object]:
        """The view of the key, of which no secret opens anything any more. Errors: AdminError, StoreError."""
        one = self.found(wish.id)
        view = self._view(wish.id)

        def change(now: Account | Operator) -> tuple[Account | Operator, AuditEntry]:
            old = self._still(now, wish.id)
            return _with(now, old, None), self._told("key.revoked", now, old, None)

        await self._change(one.owner, change)
        return view

    def found(self, id: str) -> Caller:
        """The key with that id. Errors: AdminError."""
        one = self._keys.by_id.get(id)
        if one is None:
            raise no_such_key(id)
        return one

    def owner_of(self, account: str, operator: str) -> Account | Operator:
        """Errors: AdminError, WrongArguments."""
        if bool(account) == bool(operator):
            raise bad_arguments("account", "whose key is it?", "name an account or an operator, and not both")
        if account == PROBES:
            raise bad_arguments("account", f"{account!r} is for test messages", "it has no keys")
        try:
            if account:
                return self._accounts.named(account)
            return self._operators.named(operator)
        except NoSuchAccount as problem:
            raise Absent(str(problem), "account") from None
        except NoSuchOperator as problem:
            raise Absent(str(problem), "operator") from None

    def _still(self, owner: Account | Operator, id: str) -> ApiKey:
        """As it is now, when its turn has come."""
        one = self._keys.by_id.get(id)
        if one is None or one.owner.name != owner.name:
            raise no_such_key(id)
        return one.key

    async def _change(
        self,
        owner: Account | Operator,
        change: Callable[[Any], tuple[Any, AuditEntry]],
    ) -> None:
        try:
            if isinstance(owner, Account):
                await self._accounts.change_keys(owner.name, change)
            else:
                await self._operators.change(owner.name, change)
        except NoSuchAccount as problem:
            raise Absent(str(problem), "account") from None
        except NoSuchOperator as problem:
            raise Absent(str(problem), "operator") from None
        except AccountProblem as problem:
            raise AdminError("key_conflict", str(problem)) from None

    def _read(self, wish: NewKey, owner: Account | Operator) -> ApiKey:
        """What was asked for, without its secret. Errors: WrongArguments, with everything that is wrong."""
        problems: dict[str, str] = {}
        if len(wish.name) > LONGEST_NAME or not wish.name.isprintable():
            problems["name"] = f"at most {LONGEST_NAME} printable characters"
        role = role_of(owner)
        strange = [scope[:64] for scope in wish.scopes if scope not in SCOPES]
        if strange:
            problems["scopes"] = f"{strange[0]!r} is no scope; there are: {', '.join(SCOPES)}"
        elif past := beyond(role, wish.scopes):
            allowed = ", ".join(one for one in SCOPES if one in scopes_of(role))
            problems["scopes"] = f"the role {role!r} has not {', '.join(past)}; it has: {allowed}"
        addresses = [one.strip() for one in wish.addresses]
        unreadable = Networks(addresses).unreadable
        if unreadable:
            problems["addresses"] = (
                f"{unreadable[0][:64]!r} is no address or network, "
                "such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48"
            )
        elif len(addresses) > MOST_ADDRESSES:
            problems["addresses"] = f"at most {MOST_ADDRESSES} addresses or networks"
        expires_ms = 0
        if wish.expires_at:
            now_ms = self._wall_ms()
            expires_ms = _ms_of(wish.expires_at)
            if not now_ms < expires_ms <= now_ms + LONGEST_MS:
                problems["expires_at"] = f"{_NO_TIME}, within ten years"
        if problems:
            raise WrongArguments(problems)
        return ApiKey(
            new_id(),
            "",
            "",
            wish.name,
            tuple(scope for scope in SCOPES if scope in wish.scopes),
            tuple(dict.fromkeys(addresses)),
            self._wall_ms(),
            actor_now().who,
            expires_ms,
        )

    def _told(
        self, act: str, owner: Account | Operator, before: ApiKey | None, after: ApiKey | None
    ) -> AuditEntry:
        concerned = after or before
        assert concerned is not None
        return entry(
            self._wall_ms(), act, subject(who_of(owner), concerned.id), _shown(before), _shown(after)
        )

    def _view(self, id: str) -> dict[str, object]:
        one = self._keys.by_id[id]
        key, owner = one.key, one.owner
        last_ms, last_from = self._keys.use.last(id)
        mark = kind_of(owner)
        return {
            "id": id,
            "account": owner.name if isinstance(owner, Account) else "",
            "operator": "" if isinstance(owner, Account) else owner.name,
            "role": one.role,
            "name": key.name,
            "prefix": f"{mark}_{key.prefix}",
            "scopes": [scope for scope in SCOPES if scope in one.scopes],
            "addresses": list(key.addresses),
            "created_at": iso(key.created_ms),
            "created_by": key.created_by,
            "expires_at": iso(key.expires_ms),
            "ended": bool(key.expires_ms) and key.expires_ms <= self._wall_ms(),
            "last_used_at": iso(last_ms),
            "last_used_from": last_from,
            "previous_prefix": f"{mark}_{key.previous_prefix}" if key.previous_prefix else "",
            "previous_until": iso(key.previous_until_ms),
        }


def no_such_key(id: str) -> Absent:
    return Absent(f"there is no key {id[:64]!r}", "key", "signalbox key list shows them")


def within(giver: Caller, key: ApiKey, owner: Account | Operator) -> ApiKey:
    """`key` for `owner`, with the giver's own limits where it says none. Errors: WrongArguments.

    An operator's key that may change accounts' keys is not bound by what accounts may: only keys of its own
    kind are compared with it.
    """
    if isinstance(owner, Account) != isinstance(giver.owner, Account):
        return key
    limits = giver.key
    problems: dict[str, str] = {}
    scopes = key.scopes or limits.scopes
    more = sorted(scopes_of(role_of(owner), scopes) - giver.scopes)
    if more:
        problems["scopes"] = f"the key that asks has not {', '.join(more)}, and cannot give them"
    addresses = key.addresses or limits.addresses
    if limits.addresses and not all(_inside(one, limits.addresses) for one in addresses):
        problems["addresses"] = (
            f"the key that asks is for {', '.join(limits.addresses)} only, and gives no more"
        )
    expires_ms = key.expires_ms or limits.expires_ms
    if limits.expires_ms and expires_ms > limits.expires_ms:
        problems["expires_at"] = (
            f"the key that asks ends at {iso(limits.expires_ms)}, and gives nothing longer"
        )
    if key.hash and (scopes, addresses, expires_ms) != (key.scopes, key.addresses, key.expires_ms):
        problems.setdefault("id", "this key may more than the key that asks, which cannot rotate it")
    if problems:
        raise WrongArguments(problems)
    return replace(key, scopes=scopes, addresses=addresses, expires_ms=expires_ms)


def _inside(text: str, networks: Iterable[str]) -> bool:
    one = ip_network(text.strip(), strict=False)
    for other in networks:
        whole = ip_network(other.strip(), strict=False)
        if one.version == whole.version and one.subnet_of(whole):  # type: ignore[arg-type]
            return True
    return False


def _with(owner: Any, old: ApiKey | None, new: ApiKey | None) -> Any:
    return (account_with if isinstance(owner, Account) else operator_with)(owner, old, new)


def _shown(key: ApiKey | None) -> dict[str, object]:
    """What the trail has of it: what differs from a key without limits."""
    if key is None:
        return {}
    shown: dict[str, object] = {
        "key_prefix": key.prefix,
        "name": key.name,
        "scopes": list(key.scopes),
        "addresses": list(key.addresses),
        "expires_at": iso(key.expires_ms),
        "previous_prefix": key.previous_prefix,
        "previous_until": iso(key.previous_until_ms),
    }
    return {name: value for name, value in shown.items() if value}


def _ms_of(text: str) -> int:
    """0 where it is no time."""
    try:
        at = datetime.fromisoformat(text) if len(text) <= 40 else None
        return round(at.timestamp() * 1000) if at is not None and at.tzinfo is not None else 0
    except (ValueError, OverflowError):
        return 0
