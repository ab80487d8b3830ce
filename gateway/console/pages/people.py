"""People and programs of the house: who may sign in, in which role, from where; inviting, changing, removing.

Whoever changes one has shown a password or code within ten minutes (sign_in.to_confirm). A one-time link is
on the page that answers the form which made it, and nowhere else.

Deliberately not here: one's own account (me.py), keys of programs (`signalbox key`, /v1/keys), keeping the
last owner one (gateway.operators).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.responses import Response

from gateway.admin_operators import name_problem
from gateway.console.page import Page, Refusal, Topic, Visit
from gateway.console.pages.sign_in import me, sessions, sign_ins, to_confirm
from gateway.keys import keys_of, role_of
from gateway.operators import NoSuchOperator, Operator, OperatorProblem
from gateway.sign_in_links import LASTS_S, path_of
from router.roles import HOUSE, Role

T = TypeVar("T")

_LONGEST = 64

Act = Callable[[Visit, Operator], Awaitable[Response]]


def show(visit: Visit) -> Response:
    return _people(visit)


def _people(visit: Visit, *, done: str = "", link: str = "", whose: str = "", status: int = 200) -> Response:
    people = [
        {
            "name": one.name,
            "role": role_of(one),
            "by": _by(one),
            "factor": bool(one.totp),
            "keys": len(keys_of(one)),
            "sessions": sessions(visit).of(one.name),
            "created_ms": one.created_ms,
        }
        for _, one in sorted(visit.gateway.operators.by_name.items())
    ]
    return visit.render(
        "people.html",
        status=status,
        people=people,
        roles=[role.value for role in HOUSE],
        may_change=visit.may("operators.write"),
        done=done,
        link=link,
        whose=whose,
        lasts_min=LASTS_S // 60,
    )


def _by(one: Operator) -> str:
    """What it signs in with."""
    if one.password_due:
        return "password, to be changed"
    if one.password:
        return "password"
    return "provider" if one.subject else ""


async def invite(visit: Visit) -> Response:
    """A new person, and the link with which they choose a password."""
    if (first := to_confirm(visit, "/people")) is not None:
        return first
    name, role = visit.form.text(b"name").strip()[: _LONGEST + 1], _role(visit)
    if problem := name_problem(name):
        raise Refusal(422, problem, "Choose another name.")
    await _tried(visit.gateway.operators.admit(name, role))
    return await _linked(visit, name)


async def _linked(visit: Visit, name: str) -> Response:
    token = await _tried(sign_ins(visit).make_link(name))
    console = visit.gateway.config.console
    house = console.public_url.rstrip("/") or f"{visit.request.url.scheme}://{visit.request.headers['host']}"
    return _people(visit, link=house + path_of(token), whose=name)


async def link(visit: Visit, one: Operator) -> Response:
    return await _linked(visit, one.name)


async def role(visit: Visit, one: Operator) -> Response:
    wanted = _role(visit)
    await _tried(visit.gateway.operators.change_role(one.name, wanted))
    return _people(visit, done=f"{one.name} is {wanted} now; their sessions ended.")


async def end(visit: Visit, one: Operator) -> Response:
    ended = await sessions(visit).end_all(one.name, "ended by an operator", me(visit).session)
    return _people(visit, done=f"{ended} session{'' if ended == 1 else 's'} of {one.name} ended.")


async def factor_off(visit: Visit, one: Operator) -> Response:
    await _tried(sign_ins(visit).drop_factor(one.name))
    return _people(visit, done=f"{one.name} signs in without a second factor.")


async def remove(visit: Visit, one: Operator) -> Response:
    await _tried(visit.gateway.operators.remove(one.name))
    return _people(visit, done=f"{one.name} is no operator any more: no session and no key of theirs works.")


def _act(act: Act) -> Callable[[Visit], Awaitable[Response]]:
    """On the operator that the form names, by somebody who showed that it is them."""

    async def acted(visit: Visit) -> Response:
        if (first := to_confirm(visit, "/people")) is not None:
            return first
        try:
            one = visit.gateway.operators.named(visit.form.text(b"name")[:_LONGEST])
        except NoSuchOperator:
            raise Refusal(404, "There is no such operator (any more).", "Load the page again.") from None
        return await act(visit, one)

    return acted


async def _tried(doing: Awaitable[T]) -> T:
    try:
        return await doing
    except OperatorProblem as problem:
        raise Refusal(409, str(problem)) from None


def _role(visit: Visit) -> Role:
    wanted = visit.form.text(b"role")
    if wanted not in HOUSE:
        raise Refusal(422, "That is no role.", f"One of: {', '.join(HOUSE)}")
    return Role(wanted)


PAGES = (
    Page("/people", "operators.read", show, "People", "People", "p"),
    Page("/people/new", "operators.write", invite, "People", method="POST"),
    Page("/people/link", "operators.write", _act(link), "People", method="POST"),
    Page("/people/role", "operators.write", _act(role), "People", method="POST"),
    Page("/people/end", "operators.write", _act(end), "People", method="POST"),
    Page("/people/factor", "operators.write", _act(factor_off), "People", method="POST"),
    Page("/people/remove", "operators.write", _act(remove), "People", method="POST"),
)
TOPICS: tuple[Topic, ...] = ()
