"""The admin verbs of operators: create, list, set, rotate, remove.

Invariant: no key or hash leaves except the key made by that very call.

Deliberately not here: keeping them (gateway.operators), their further keys (gateway.admin_keys), what each
role may (router.roles).
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from gateway.admin import AdminError, Named, Nothing, Verb, bad_arguments, typed
from gateway.admin_shapes import iso
from gateway.keys import role_of
from gateway.operators import OVERLAP_S, NoSuchOperator, Operator, OperatorProblem, Operators
from router.roles import HOUSE, Role

LONGEST_OVERLAP_S = 30 * 86_400
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_NAME_HINT = "up to 64 of A-Z a-z 0-9 . _ @ -"


class NewOperator(msgspec.Struct, forbid_unknown_fields=True):
    """`role`: of router.roles, one of the house."""

    name: str
    role: str = Role.OPERATOR.value


class RoleOf(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    role: str


class KeyRotation(msgspec.Struct, forbid_unknown_fields=True):
    """`overlap_s`: how much longer the key that is replaced works."""

    name: str
    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_OVERLAP_S)] = OVERLAP_S


class OperatorVerbs:
    """The verbs as methods."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    def table(self) -> dict[str, Verb]:
        return {
            "operator.create": typed(NewOperator, self.operator_create),
            "operator.list": typed(Nothing, self.operator_list),
            "operator.remove": typed(Named, self.operator_remove),
            "operator.rotate": typed(KeyRotation, self.operator_rotate),
            "operator.set": typed(RoleOf, self.operator_set),
        }

    async def operator_create(self, wish: NewOperator) -> object:
        """The new operator's view, with `operator_key`: this once."""
        if name_problem(wish.name):
            raise bad_arguments("name", f"{wish.name!r} is no operator's name", _NAME_HINT)
        try:
            operator, key = await self._operators.create(wish.name, _role(wish.role))
        except OperatorProblem as problem:
            raise AdminError("operator", str(problem)) from None
        return {**_view(operator), "operator_key": key}

    async def operator_list(self, _: Nothing) -> object:
        return [_view(operator) for _, operator in sorted(self._operators.by_name.items())]

    async def operator_set(self, wish: RoleOf) -> object:
        """Another role, from its next request on."""
        try:
            return _view(await self._operators.change_role(wish.name, _role(wish.role)))
        except NoSuchOperator as problem:
            raise AdminError("not_found", str(problem)) from None
        except OperatorProblem as problem:
            raise AdminError("operator", str(problem)) from None

    async def operator_rotate(self, wish: KeyRotation) -> object:
        """The operator's view, with its new `operator_key`: this once."""
        try:
            operator, key = await self._operators.rotate(wish.name, wish.overlap_s)
        except NoSuchOperator as problem:
            raise AdminError("not_found", str(problem)) from None
        return {**_view(operator), "operator_key": key}

    async def operator_remove(self, wish: Named) -> object:
        try:
            return _view(await self._operators.remove(wish.name))
        except NoSuchOperator as problem:
            raise AdminError("not_found", str(problem)) from None
        except OperatorProblem as problem:
            raise AdminError("operator", str(problem)) from None


def name_problem(name: str) -> str:
    """Why it can be no operator's name; "" where it can."""
    return "" if _NAME.fullmatch(name) else f"an operator's name has {_NAME_HINT}"


def signs_in_by(operator: Operator) -> str:
    """password, provider, or "": it does not sign in to the console."""
    return "password" if operator.password else "provider" if operator.subject else ""


def _role(name: str) -> Role:
    """Errors: WrongArguments."""
    if name not in HOUSE:
        raise bad_arguments("role", f"{name[:64]!r} is no role of the house", f"one of: {', '.join(HOUSE)}")
    return Role(name)


def _view(operator: Operator) -> dict[str, object]:
    return {
        "name": operator.name,
        "role": role_of(operator),
        "created_at": iso(operator.created_ms),
        "signs_in_by": signs_in_by(operator),
        "second_factor": bool(operator.totp),
        "key_prefix": operator.key_prefix,
        "previous_prefix": operator.previous_prefix,
        "previous_until": iso(operator.previous_until_ms),
    }
