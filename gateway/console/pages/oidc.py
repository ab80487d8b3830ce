"""Signing in through an OpenID provider: to it, and back.

The cookie that binds the way back to this browser is SameSite=Lax, as it comes back from another site; that
of the session, which begins then, is Strict, so the last step is a page of ours that goes on by itself.

Deliberately not here: what is asked of a provider and what of it is believed (gateway.oidc).
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie

from starlette.responses import Response

from gateway.console.page import Page, Refusal, Topic, Visit
from gateway.console.pages.sign_in import (
    address_of,
    agent_of,
    answer,
    away,
    back_to_itself,
    next_of,
    secure,
    sign_ins,
    with_session,
)
from gateway.sign_in import Refused, Started
from gateway.vouched import TICKET_S, NotVouched, Vouching
from router.roles import PUBLIC

COOKIE = "signalbox_provider"

_PATH = "/console/sign-in"
_TODO = "Go back to the sign-in page, and try again."


async def to_provider(visit: Visit) -> Response:
    provider = _provider(visit)
    try:
        address, browser = await provider.begin(next_of(visit.query("next", longest=2_000)))
    except NotVouched as refused:
        raise Refusal(refused.status, refused.why, _TODO) from None
    gone = away(address)
    gone.set_cookie(
        COOKIE,
        browser,
        max_age=int(TICKET_S),
        path=_PATH,
        httponly=True,
        samesite="lax",
        secure=secure(visit),
    )
    return gone


async def back(visit: Visit) -> Response:
    provider = _provider(visit)
    try:
        vouched = await provider.finish(visit.request.query_params, _browser(visit))
        outcome = await sign_ins(visit).by_provider(vouched, address_of(visit), agent_of(visit))
    except NotVouched as refused:
        sign_ins(visit).refused_by_provider(address_of(visit), refused.why)
        raise Refusal(refused.status, refused.why, _TODO) from None
    if isinstance(outcome, Refused):
        raise Refusal(outcome.status, outcome.text, _TODO)
    if isinstance(outcome, Started):
        response = with_session(visit, back_to_itself(vouched.to), outcome)
    else:
        response = answer(visit, outcome, vouched.to)
    response.delete_cookie(COOKIE, path=_PATH)
    return response


def _provider(visit: Visit) -> Vouching:
    provider = visit.gateway.provider
    if provider is None:
        raise Refusal(404, "No OpenID provider is configured.", "[console.oidc] issuer (docs/console.md)")
    return provider


def _browser(visit: Visit) -> str:
    cookie: SimpleCookie = SimpleCookie()
    try:
        cookie.load(visit.request.headers.get("cookie", "")[:8_192])
    except CookieError:
        return ""
    found = cookie.get(COOKIE)
    return found.value if found is not None else ""


PAGES = (
    Page("/sign-in/provider", PUBLIC, to_provider, "Sign in"),
    Page("/sign-in/back", PUBLIC, back, "Sign in"),
)
TOPICS: tuple[Topic, ...] = ()
