"""One's own account: what one may, password, second factor, sessions, keys.

A second factor is begun and ended only after the password was shown a moment ago (sign_in.to_confirm), as its
secret is on the page then: once, in the answer to a POST, and in no URL.

Deliberately not here: other people's accounts (people.py), what is right (gateway.sign_in).
"""

from __future__ import annotations

import io

import segno
from markupsafe import Markup
from starlette.responses import Response

from gateway.admin_keys import KeyPage
from gateway.audit import Actor, acting
from gateway.console.page import ANYBODY, Page, Refusal, Topic, Visit
from gateway.console.pages.sign_in import (
    address_of,
    agent_of,
    away,
    me,
    sessions,
    sign_ins,
    to_confirm,
    with_session,
)
from gateway.sign_in import NewFactor, Refused
from router.roles import SCOPES

_LONGEST = 1_000


async def show(visit: Visit) -> Response:
    return await _account(visit)


async def _account(visit: Visit, refused: Refused | None = None, done: str = "") -> Response:
    who, gateway = me(visit), visit.gateway
    operator = gateway.operators.by_name.get(who.name)
    keys = await gateway.verbs.of_keys.key_list(KeyPage(operator=who.name)) if operator is not None else []
    return visit.render(
        "me.html",
        status=refused.status if refused is not None else 200,
        refused=refused,
        done=done,
        operator=operator,
        sessions=sessions(visit).of(who.name),
        this=who.session,
        keys=keys,
        may_do=[(scope, what) for scope, what in SCOPES.items() if scope in who.scopes],
    )


async def password(visit: Visit) -> Response:
    new = visit.form.text(b"password")[:_LONGEST]
    if new != visit.form.text(b"again")[:_LONGEST]:
        return await _account(visit, Refused(422, "The two passwords are not the same."))
    outcome = await sign_ins(visit).change_password(
        me(visit), visit.form.text(b"old")[:_LONGEST], new, address_of(visit), agent_of(visit)
    )
    if isinstance(outcome, Refused):
        return await _account(visit, outcome)
    return with_session(visit, away("/console/me"), outcome)


# the second factor


async def factor(visit: Visit) -> Response:
    """A new secret, on this page and never again."""
    if (first := to_confirm(visit, "/me")) is not None:
        return first
    if me(visit).name not in visit.gateway.operators.by_name:
        raise Refusal(409, "Only operators have a second factor.")
    return _shown(visit, sign_ins(visit).begin_factor(me(visit), address_of(visit)))


def _shown(visit: Visit, new: NewFactor) -> Response:
    picture = io.BytesIO()
    segno.make(new.uri, micro=False, error="m").save(
        picture, kind="svg", xmldecl=False, svgns=False, scale=5, light="#fff", svgclass="qr", title="QR code"
    )
    return visit.render(
        "me_factor.html", ticket=new.ticket, secret=new.secret, picture=Markup(picture.getvalue().decode())
    )


async def factor_shown(visit: Visit) -> Response:
    """Its first code: from now on it is asked for."""
    outcome = await sign_ins(visit).finish_factor(
        me(visit), visit.form.text(b"ticket")[:_LONGEST], visit.form.text(b"code")[:20], address_of(visit)
    )
    if isinstance(outcome, Refused):
        return await _account(visit, outcome)
    return visit.render("me_codes.html", codes=outcome)


async def factor_off(visit: Visit) -> Response:
    if (first := to_confirm(visit, "/me")) is not None:
        return first
    await sign_ins(visit).drop_factor(me(visit).name)
    return away("/console/me")


# sessions


async def end(visit: Visit) -> Response:
    """One of one's own sessions, or all but this one."""
    who, id = me(visit), visit.form.text(b"session")[:64]
    with acting(Actor(who.name, "console")):
        if not id:
            ended = await sessions(visit).end_all(who.name, "ended by its owner", who.session)
            return await _account(visit, done=f"{ended} other session{'' if ended == 1 else 's'} ended.")
        if id not in {one.id for one in sessions(visit).of(who.name)}:
            raise Refusal(404, "You have no such session (any more).")
        await sessions(visit).end(id, "ended by its owner")
    return away("/console/me")


PAGES = (
    Page("/me", ANYBODY, show, "Your account"),
    Page("/me/password", ANYBODY, password, "Your account", method="POST"),
    Page("/me/factor", ANYBODY, factor, "Your second factor", method="POST"),
    Page("/me/factor/code", ANYBODY, factor_shown, "Your recovery codes", method="POST"),
    Page("/me/factor/off", ANYBODY, factor_off, "Your account", method="POST"),
    Page("/me/sessions/end", ANYBODY, end, "Your account", method="POST"),
)
TOPICS: tuple[Topic, ...] = ()
