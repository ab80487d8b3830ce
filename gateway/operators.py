"""Operators in memory, as the store has them: people and programs of the house, whose keys open it over HTTP.

An operator is a name, a role (router.roles), its API keys, of which only hashes are kept (gateway.keys), and,
where it is a person, what it signs in to the console with (gateway.sign_in): a hash of its password, the
sealed secret of its second factor, hashes of recovery codes, or whom an OpenID provider knows it as.
They are few: all of them are one small value of the store, written whole by each change, which is visible
only once it is durable. `changed` hooks let others (the keys) rebuild what they derive.

Invariants: one change at a time, waited for to the end of its commit even when its caller is cancelled; the
audit trail tells of each in the same transaction; a key, once shown, is nowhere. A rotated key works
until its overlap ends, and no longer than to the next rotation. The last owner who can sign in is not
removed, and stays an owner who can sign in, whoever asks (but an OpenID provider: it makes owners again).

Deliberately not here: checking a key (gateway.http.auth) or a password (gateway.sign_in), what operators may
do (router.roles).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import trio

from gateway.accounts import in_my_commit
from gateway.audit import entry
from gateway.committer import Committing
from gateway.keys import OPERATOR_KEY, new_key, role_of
from router.nouns import ApiKey
from router.roles import Role
from store.interface import AuditEntry, StoreError, Transaction
from store.values import Damaged

MOST_OPERATORS = 1_000
OVERLAP_S = 3_600.0

_ROW = "operators"


class Operator(msgspec.Struct, frozen=True, array_like=True):
    """Somebody, or some program, of this house. Only grows at the end."""

    name: str
    key_hash: str  # sha256 hex
    key_prefix: str
    created_ms: int
    previous_hash: str = ""  # of the key before the last rotation
    previous_prefix: str = ""
    previous_until_ms: int = 0  # when that one stops working
    role: str = ""  # of router.roles; "" = owner, as all were before there were roles
    keys: tuple[ApiKey, ...] = ()  # beside this one
    password: str = ""  # its argon2id hash; "" = none
    password_ms: int = 0  # when it was chosen
    password_due: bool = False  # another must be chosen when it is next used
    totp: bytes = b""  # the second factor's secret, sealed; b"" = none
    recovery: tuple[str, ...] = ()  # sha256 hex of codes that stand in for it, each once
    subject: str = ""  # "issuer subject" of an OpenID provider

    def __repr__(self) -> str:
        return f"Operator({self.name!r}, {role_of(self)!r})"  # no hashes in anybody's log


class OperatorProblem(Exception):
    """The operator cannot be made or removed; says what to do."""


class NoSuchOperator(OperatorProblem):
    """There is no operator of that name."""


class LastOwner(OperatorProblem):
    """It is the last owner who can sign in; another must be there first."""


class Operators:
    def __init__(self, committer: Committing, wall_ms: Callable[[], int]) -> None:
        self._committer = committer
        self._wall_ms = wall_ms
        self._one_at_a_time = trio.Lock()
        self.changed: list[Callable[[], None]] = []
        self.by_name: dict[str, Operator] = {}
        self.damaged = False  # the store's value cannot be read: nobody is an operator until one is made anew
        self.reload()

    def reload(self) -> None:
        """Take what the store has. Errors: StoreError."""
        try:
            row = self._committer.store.meta(_ROW)
            kept = msgspec.msgpack.decode(row, type=list[Operator]) if row else []
            self.damaged = False
        except (Damaged, msgspec.DecodeError):
            kept = []
            self.damaged = True
        self.by_name = {operator.name: operator for operator in kept}
        for hook in self.changed:
            hook()

    async def create(self, name: str, role: Role = Role.OPERATOR) -> tuple[Operator, str]:
        """A new operator and its key, shown this once. Errors: OperatorProblem, StoreError."""
        key, prefix, digest = new_key(OPERATOR_KEY)
        async with self._one_at_a_time:
            self._check_new(name)
            operator = Operator(name, digest, prefix, self._wall_ms(), role=role.value)
            await self._put({**self.by_name, name: operator}, "operator.created", operator)
        return operator, key

    async def rotate(self, name: str, overlap_s: float = OVERLAP_S) -> tuple[Operator, str]:
        """Another key, shown this once; the one before it works `overlap_s` seconds longer, and the one
        before that no more. Errors: OperatorProblem, StoreError."""
        key, prefix, digest = new_key(OPERATOR_KEY)
        async with self._one_at_a_time:
            old = self.named(name)
            operator = msgspec.structs.replace(
                old,
                key_hash=digest,
                key_prefix=prefix,
                previous_hash=old.key_hash if overlap_s else "",
                previous_prefix=old.key_prefix if overlap_s else "",
                previous_until_ms=self._wall_ms() + int(overlap_s * 1000) if overlap_s else 0,
            )
            await self._put({**self.by_name, name: operator}, "operator.key_rotated", operator, old)
        return operator, key

    async def change_role(self, name: str, role: Role, *, by_provider: bool = False) -> Operator:
        """Its keys may what that role may, from the next request on. `by_provider`: an OpenID provider says
        so, and may take the role of the last owner, too. Errors: OperatorProblem, StoreError."""
        async with self._one_at_a_time:
            old = self.named(name)
            operator = msgspec.structs.replace(old, role=role.value)
            if not by_provider:
                self._check_owned(old, operator)
            await self._put({**self.by_name, name: operator}, "operator.role_changed", operator, old)
        return operator

    async def admit(
        self, name: str, role: Role, *, password: str = "", password_ms: int = 0, subject: str = ""
    ) -> Operator:
        """A person without a key; `password`: its hash. Errors: OperatorProblem, StoreError."""
        async with self._one_at_a_time:
            self._check_new(name)
            operator = Operator(
                name,
                "",
                "",
                self._wall_ms(),
                role=role.value,
                password=password,
                password_ms=password_ms,
                subject=subject,
            )
            await self._put({**self.by_name, name: operator}, "operator.created", operator)
        return operator

    async def change(self, name: str, change: Callable[[Operator], tuple[Operator, AuditEntry]]) -> Operator:
        """What it signs in with, or its keys: `change` makes the operator as it is to be, and says it for the
        trail.

        Errors: OperatorProblem, StoreError, and what `change` raises.
        """
        async with self._one_at_a_time:
            old = self.named(name)
            operator, told = change(old)
            self._check_owned(old, operator)
            await self._write({**self.by_name, name: operator}, told)
        return operator

    async def remove(self, name: str) -> Operator:
        """Its keys stop working at once. Errors: OperatorProblem, StoreError."""
        async with self._one_at_a_time:
            gone = self.named(name)
            self._check_owned(gone, None)
            stay = {one: operator for one, operator in self.by_name.items() if operator is not gone}
            await self._put(stay, "operator.removed", None, gone)
        return gone

    def _check_new(self, name: str) -> None:
        if name in self.by_name:
            raise OperatorProblem(
                f"operator {name!r} exists; `signalbox operator remove {name}` makes room for another"
            )
        if len(self.by_name) >= MOST_OPERATORS:
            raise OperatorProblem(f"there are {MOST_OPERATORS} operators, and there may not be more")

    def _check_owned(self, old: Operator, new: Operator | None) -> None:
        """Errors: LastOwner. Asked by whoever holds the lock, so that two who ask at once are told apart."""
        if not _owns(old) or (new is not None and _owns(new)):
            return
        if not any(_owns(other) for other in self.by_name.values() if other is not old):
            raise LastOwner(
                f"{old.name} is the last owner who can sign in; "
                "make another owner first, and let them sign in"
            )

    def named(self, name: str) -> Operator:
        operator = self.by_name.get(name)
        if operator is None:
            known = ", ".join(sorted(self.by_name)) or "none yet"
            raise NoSuchOperator(f"no operator {name!r}; there are: {known}")
        return operator

    async def _put(
        self, operators: dict[str, Operator], act: str, after: Operator | None, before: Operator | None = None
    ) -> None:
        concerned = after or before
        assert concerned is not None
        told = entry(
            self._wall_ms(),
            act,
            f"operator:{concerned.name}",
            {} if before is None else _told(before, after),
            {"key_prefix": ""} if after is None else _told(after, before),
        )
        await self._write(operators, told)

    async def _write(self, operators: dict[str, Operator], told: AuditEntry) -> None:
        row = msgspec.msgpack.encode(list(operators.values()))
        also = in_my_commit()

        def put(txn: Transaction) -> None:
            txn.put_meta(_ROW, row)
            txn.audit(told)
            if also is not None:
                also(txn)

        with trio.CancelScope(shield=True):
            await self._committer.execute(put)
        self.reload()


def _owns(operator: Operator) -> bool:
    """Whether it is an owner who can sign in; one with keys alone cannot invite anybody to the console."""
    return role_of(operator) == Role.OWNER and bool(operator.password or operator.subject)


def _told(operator: Operator, other: Operator | None) -> dict[str, str]:
    """What the trail says of it, beside what it was or is to be."""
    shown = {"key_prefix": operator.key_prefix}
    if operator.subject:
        shown["subject"] = operator.subject
    if other is None or role_of(other) != role_of(operator):
        shown["role"] = role_of(operator)
    return shown


__all__ = ["LastOwner", "NoSuchOperator", "Operator", "OperatorProblem", "Operators", "StoreError"]
