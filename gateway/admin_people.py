"""The admin verbs of people who sign in: passwords, second factors, one-time links, sessions.

Invariant: what opens something (a link, a second factor's secret, recovery codes) leaves in the answer to the
very call that made it, and never again.

Deliberately not here: operators themselves and their keys (gateway.admin_operators), signing in
(gateway.sign_in).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TypeVar

import msgspec

from gateway.admin import AdminError, Verb, bad_arguments, typed
from gateway.admin_shapes import iso
from gateway.operators import NoSuchOperator, Operator, OperatorProblem
from gateway.passwords import person_password_problem
from gateway.sealing import SealProblem
from gateway.sessions import SessionView
from gateway.sign_in import SignIns
from gateway.sign_in_links import LASTS_S, path_of

T = TypeVar("T")


class PasswordOf(msgspec.Struct, forbid_unknown_fields=True):
    """`password` "": none any more; `due`: another must be chosen when it is first used."""

    name: str
    password: str
    due: bool = False

    def __repr__(self) -> str:
        return f"PasswordOf({self.name!r})"


class FactorOf(msgspec.Struct, forbid_unknown_fields=True):
    """`on`: a new one, in force at once; else none any more."""

    name: str
    on: bool


class LinkFor(msgspec.Struct, forbid_unknown_fields=True):
    """`name` "": for the first owner, while nobody has a password."""

    name: str = ""


class SessionsOf(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class EndOf(msgspec.Struct, forbid_unknown_fields=True):
    """`session`: that one alone."""

    name: str
    session: str = ""


class Unlocked(msgspec.Struct, forbid_unknown_fields=True):
    """The locks of a name, or of an address."""

    name_or_address: str


class PeopleVerbs:
    """The verbs as methods. `sign_ins` is asked when one is first used."""

    def __init__(self, sign_ins: Callable[[], SignIns]) -> None:
        self._made = sign_ins

    @cached_property
    def _sign_ins(self) -> SignIns:
        return self._made()

    def table(self) -> dict[str, Verb]:
        return {
            "operator.password": typed(PasswordOf, self.operator_password),
            "operator.totp": typed(FactorOf, self.operator_totp),
            "operator.sign_in_link": typed(LinkFor, self.operator_sign_in_link),
            "operator.sessions": typed(SessionsOf, self.operator_sessions),
            "operator.end_sessions": typed(EndOf, self.operator_end_sessions),
            "operator.unlock": typed(Unlocked, self.operator_unlock),
        }

    async def operator_password(self, wish: PasswordOf) -> dict[str, object]:
        """What it signs in with from now on; its sessions end."""
        problem = person_password_problem(wish.password, wish.name) if wish.password else ""
        if problem:
            raise bad_arguments("password", problem)
        ended = len(self._sign_ins.sessions.of(wish.name))
        if wish.password:
            made = await told(self._sign_ins.set_password(wish.name, wish.password, due=wish.due))
        else:
            made = await told(self._sign_ins.drop_password(wish.name))
        await self._sign_ins.sessions.save()
        return {**person_view(made), "sessions_ended": ended}

    async def operator_totp(self, wish: FactorOf) -> dict[str, object]:
        """On: with `secret`, `uri` and `recovery_codes`, this once."""
        if not wish.on:
            return person_view(await told(self._sign_ins.drop_factor(wish.name)))
        secret, uri, codes = await told(self._sign_ins.make_factor(wish.name))
        return {"name": wish.name, "totp": True, "secret": secret, "uri": uri, "recovery_codes": codes}

    async def operator_sign_in_link(self, wish: LinkFor) -> dict[str, object]:
        """`path`: what follows the console's address, this once."""
        token = await told(self._sign_ins.make_link(wish.name))
        return {"name": wish.name, "path": path_of(token), "lasts_s": LASTS_S}

    async def operator_sessions(self, wish: SessionsOf) -> list[dict[str, object]]:
        return [session_view(one) for one in self._sign_ins.sessions.of(self._named(wish.name).name)]

    async def operator_end_sessions(self, wish: EndOf) -> dict[str, object]:
        """All of them, or one."""
        sessions = self._sign_ins.sessions
        name = self._named(wish.name).name
        if not wish.session:
            return {"name": name, "ended": await sessions.end_all(name, "ended by an operator")}
        if wish.session not in {one.id for one in sessions.of(name)}:
            raise AdminError("not_found", f"{name!r} has no session {wish.session[:64]!r}")
        return {"name": name, "ended": int(await sessions.end(wish.session, "ended by an operator"))}

    async def operator_unlock(self, wish: Unlocked) -> dict[str, object]:
        return {"unlocked": self._sign_ins.unlock(wish.name_or_address)}

    def _named(self, name: str) -> Operator:
        try:
            return self._sign_ins.operator(name)
        except NoSuchOperator as problem:
            raise AdminError("not_found", str(problem)) from None


async def told(doing: Awaitable[T]) -> T:
    """Its result, or what is wrong as an AdminError."""
    try:
        return await doing
    except NoSuchOperator as problem:
        raise AdminError("not_found", str(problem)) from None
    except (OperatorProblem, SealProblem) as problem:
        raise AdminError("operator", str(problem)) from None


def person_view(operator: Operator) -> dict[str, object]:
    """What an operator signs in with; no part of it."""
    return {
        "name": operator.name,
        "password_set_at": iso(operator.password_ms) if operator.password else "",
        "password_due": operator.password_due,
        "totp": bool(operator.totp),
        "recovery_codes_left": len(operator.recovery),
        "provider": bool(operator.subject),
    }


def session_view(one: SessionView) -> dict[str, object]:
    return {
        "session": one.id,
        "how": one.how,
        "started_at": iso(one.started_ms),
        "last_used_at": iso(one.last_ms),
        "ends_at": iso(one.ends_ms),
        "address": one.address,
        "agent": one.agent,
    }
