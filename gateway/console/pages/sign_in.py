"""Signing in and out: name and password, second factor, a password that is due, one-time links, confirming.

The session's cookie is HttpOnly, SameSite=Strict, and Secure where TLS is in front of us. A Strict cookie is
not sent when a link elsewhere (an alert's, a provider's) leads here: then the page comes back to itself once,
by a Refresh of its own, and finds who is signed in.

Invariants: a token is drawn anew at each sign-in, whatever cookie came with it; after signing in one is led
to a path of the console and nowhere else; nothing that opens something is in a URL that is sent.

Deliberately not here: what is right (gateway.sign_in), OpenID providers (oidc.py), one's own account (me.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.live import COOKIE
from gateway.console.page import ANYBODY, Page, Refusal, Topic, Visit
from gateway.sessions import SignedIn
from gateway.sign_in import CodeNeeded, Outcome, PasswordNeeded, Refused, Started
from gateway.sign_in_links import FIRST_OWNER
from router.roles import PUBLIC

if TYPE_CHECKING:
    from gateway.sessions import Sessions
    from gateway.sign_in import SignIns

HOME = "/console/overview"

_LONGEST_NEXT = 2_000
_LONGEST = 1_000  # of a field


def show(visit: Visit) -> Response:
    """The form, or on to where somebody who is signed in wanted to go."""
    to = next_of(visit.query("next", longest=_LONGEST_NEXT))
    if visit.who is not None:
        return away(to)
    if visit.request.headers.get("sec-fetch-site") == "cross-site" and not visit.query("here"):
        return back_to_itself(f"/console/sign-in?here=1&next={quote(to, safe='')}")
    return _form(visit, to)


def _form(visit: Visit, to: str, refused: Refused | None = None, name: str = "") -> Response:
    provider = visit.gateway.config.console.oidc.issuer
    return _with_wait(
        visit.render(
            "sign_in.html",
            status=refused.status if refused is not None else 200,
            refused=refused,
            next=to,
            name=name,
            nobody_yet=sign_ins(visit).nobody_yet,
            provider=provider.partition("://")[2],
        ),
        refused,
    )


async def sign_in(visit: Visit) -> Response:
    to, name = _next(visit), _field(visit, b"name")
    outcome = await sign_ins(visit).with_password(
        name, _field(visit, b"password"), address_of(visit), agent_of(visit)
    )
    if isinstance(outcome, Refused):
        return _form(visit, to, outcome, name)
    return answer(visit, outcome, to)


async def code(visit: Visit) -> Response:
    to, ticket = _next(visit), _field(visit, b"ticket")
    outcome = await sign_ins(visit).with_code(
        ticket, _field(visit, b"code"), address_of(visit), agent_of(visit)
    )
    if isinstance(outcome, Refused):
        return _with_wait(
            visit.render("sign_in_code.html", status=outcome.status, refused=outcome, ticket=ticket, next=to),
            outcome,
        )
    return answer(visit, outcome, to)


async def new_password(visit: Visit) -> Response:
    to, ticket, name = _next(visit), _field(visit, b"ticket"), _field(visit, b"name")
    password = _field(visit, b"password")
    if password != _field(visit, b"again"):
        return _choose(visit, ticket, name, to, Refused(422, "The two passwords are not the same."))
    outcome = await sign_ins(visit).with_new_password(ticket, password, address_of(visit), agent_of(visit))
    if isinstance(outcome, Refused):
        return _choose(visit, ticket, name, to, outcome)
    return answer(visit, outcome, to)


def _choose(visit: Visit, ticket: str, name: str, to: str, refused: Refused | None = None) -> Response:
    return visit.render(
        "sign_in_password.html",
        status=refused.status if refused is not None else 200,
        refused=refused,
        ticket=ticket,
        name=name,
        next=to,
    )


def answer(visit: Visit, outcome: Outcome, to: str) -> Response:
    """What follows a question that was not refused."""
    if isinstance(outcome, Started):
        return with_session(visit, away(to), outcome)
    if isinstance(outcome, CodeNeeded):
        return visit.render("sign_in_code.html", refused=None, ticket=outcome.ticket, next=to)
    if isinstance(outcome, PasswordNeeded):
        return _choose(visit, outcome.ticket, outcome.name, to)
    raise Refusal(outcome.status, outcome.text)


# one-time links


def welcome(visit: Visit) -> Response:
    """The link's token is behind the #, which no browser sends: the page's script puts it into the form."""
    return visit.render("welcome.html", refused=None)


async def opened(visit: Visit) -> Response:
    """A link's token, and once the form was filled in, a password."""
    token = _field(visit, b"link").rpartition("#")[2].strip()
    name = _field(visit, b"name").strip()
    whose = sign_ins(visit).whose_link(token)
    refused: Refused | None = None
    if visit.form.first(b"password") is not None or whose is None:
        password = _field(visit, b"password")
        if password != _field(visit, b"again"):
            refused = Refused(422, "The two passwords are not the same.")
        else:
            outcome = await sign_ins(visit).with_link(
                token, password, address_of(visit), agent_of(visit), name
            )
            if not isinstance(outcome, Refused):
                return answer(visit, outcome, HOME)
            refused = outcome
    if whose is None:
        assert refused is not None
        return _with_wait(visit.render("welcome.html", status=refused.status, refused=refused), refused)
    return visit.render(
        "welcome_choose.html",
        status=refused.status if refused is not None else 200,
        refused=refused,
        token=token,
        first=whose == FIRST_OWNER,
        name=name or whose,
    )


# out, and once more


async def sign_out(visit: Visit) -> Response:
    await sessions(visit).end(me(visit).session, "signed out")
    gone = visit.go("/sign-in")
    gone.delete_cookie(COOKIE, path="/console", httponly=True, samesite="strict", secure=secure(visit))
    return gone


def confirm_form(visit: Visit) -> Response:
    to = next_of(visit.query("next", longest=_LONGEST_NEXT))
    return visit.render("confirm.html", refused=None, next=to)


async def confirm(visit: Visit) -> Response:
    to = _next(visit)
    refused = await sign_ins(visit).confirm(me(visit), _field(visit, b"given"), address_of(visit))
    if refused is None:
        return away(to)
    return _with_wait(visit.render("confirm.html", status=refused.status, refused=refused, next=to), refused)


def to_confirm(visit: Visit, back: str) -> Response | None:
    """To the page that asks for the password once more, unless it was asked a moment ago; `back`: a path of
    the console to come back to. For pages that show secrets, or make and change operators."""
    if sessions(visit).confirmed(me(visit)):
        return None
    return visit.go(f"/confirm?next={quote('/console' + back, safe='')}")


# what they share


def with_session(visit: Visit, response: Response, started: Started) -> Response:
    """The response, with the cookie of a session that began."""
    response.set_cookie(
        COOKIE, started.token, path="/console", httponly=True, samesite="strict", secure=secure(visit)
    )
    return response


def next_of(wanted: str) -> str:
    """Where to go on: a path of the console, HOME for whatever is none."""
    own = wanted.startswith("/console/") and not wanted.startswith("/console/sign-")
    if not own or "\\" in wanted or ".." in wanted or not wanted.isascii() or not wanted.isprintable():
        return HOME
    return wanted


def away(to: str) -> Response:
    return RedirectResponse(to, 303, headers={"Cache-Control": "no-store"})


def back_to_itself(path: str) -> Response:
    """A page whose only content is the way to another of ours, so that the browser comes from here."""
    return Response(
        "<!doctype html><title>Signalbox</title>",
        media_type="text/html",
        headers={"Refresh": f"0; url={path}", "Cache-Control": "no-store"},
    )


def sign_ins(visit: Visit) -> SignIns:
    return visit.gateway.sign_ins


def sessions(visit: Visit) -> Sessions:
    return visit.gateway.sessions


def me(visit: Visit) -> SignedIn:
    """Whose session it is, on pages for whoever is signed in."""
    who = visit.who
    assert who is not None
    return SignedIn(who.name, who.role, who.scopes, who.csrf, who.session)


def address_of(visit: Visit) -> str:
    return visit.request.client.host if visit.request.client is not None else ""


def agent_of(visit: Visit) -> str:
    return visit.request.headers.get("user-agent", "")


def secure(visit: Visit) -> bool:
    """Whether cookies go over TLS only."""
    console = visit.gateway.config.console
    return _is_tls(visit.request) or console.secure_cookies or console.public_url.startswith("https://")


def _is_tls(request: Request) -> bool:
    return request.url.scheme == "https"


def _next(visit: Visit) -> str:
    return next_of(visit.form.text(b"next")[:_LONGEST_NEXT])


def _field(visit: Visit, name: bytes) -> str:
    return visit.form.text(name)[:_LONGEST]


def _with_wait(response: Response, refused: Refused | None) -> Response:
    if refused is not None and refused.wait_s:
        response.headers["Retry-After"] = str(refused.wait_s)
    return response


PAGES = (
    Page("/sign-in", PUBLIC, show, "Sign in"),
    Page("/sign-in", PUBLIC, sign_in, "Sign in", method="POST"),
    Page("/sign-in/code", PUBLIC, code, "Second factor", method="POST"),
    Page("/sign-in/password", PUBLIC, new_password, "Choose a password", method="POST"),
    Page("/welcome", PUBLIC, welcome, "Welcome"),
    Page("/welcome", PUBLIC, opened, "Welcome", method="POST"),
    Page("/sign-out", ANYBODY, sign_out, "Sign out", method="POST"),
    Page("/confirm", ANYBODY, confirm_form, "Confirm that it is you"),
    Page("/confirm", ANYBODY, confirm, "Confirm that it is you", method="POST"),
)
TOPICS: tuple[Topic, ...] = ()
