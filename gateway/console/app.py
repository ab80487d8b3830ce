"""The console put together: which page answers, for whom; the headers that every answer has.

`Console(gateway, whois).add_to(routes)` mounts it at /console; `live.run` is to be started beside the server.

Invariants: whoever has not a page's scope does not see it, and a POST without its session's CSRF token, or
from another site, changes nothing; acts are done in the name of who is signed in, for the audit trail.

Deliberately not here: pages (pages/), sessions (gateway.sessions), HTTP (gateway.http).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route

from gateway.admin import AdminError
from gateway.audit import LONGEST_REASON, Actor, acting
from gateway.cli import VERSION
from gateway.console.assets import PREFIX, Assets
from gateway.console.forwarded import address_of
from gateway.console.frame import Frame
from gateway.console.live import Live, WhoIs, session_token
from gateway.console.page import ANYBODY, Page, Refusal, SignedIn, Topic, Topics, Visit
from gateway.console.pages import PAGES, TOPICS
from gateway.console.pages.sign_in import HOME
from gateway.http.asgi import Message, mounted
from gateway.http.forms import Parameters, of_body
from gateway.http.problems import BadRequest
from gateway.http.routes import Routes
from gateway.smpp_server.networks import Networks
from router.roles import PUBLIC, SCOPES
from store.interface import StoreError

if TYPE_CHECKING:
    from gateway.app import Gateway

MOUNT = "/console"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_SAFE = ("GET", "HEAD")

log = structlog.get_logger("console")


class Console:
    """`whois` is asked at each request, so that it may be made later."""

    def __init__(
        self,
        gateway: Gateway,
        whois: Callable[[], WhoIs],
        pages: tuple[Page, ...] = PAGES,
        topics: tuple[Topic | Topics, ...] = TOPICS,
    ) -> None:
        for scope in (*(page.scope for page in pages), *(topic.scope for topic in topics)):
            if scope not in (ANYBODY, PUBLIC, *SCOPES):
                raise ValueError(f"a page needs {scope!r}, which is no scope of router.roles")
        self._gateway = gateway
        self.whois = whois
        self._proxies = Networks(gateway.config.console.proxy_from)
        self._assets = Assets()
        self.pages = pages
        self.frame = Frame(self._assets, VERSION, pages)
        self.live = Live(gateway, self.frame, lambda: self.whois(), topics)
        self._app = Starlette(
            routes=[
                Route("/", self._home),
                Route("/static/{name:path}", self._asset),
                *[Route(page.path, self._served(page), methods=[page.method], name=None) for page in pages],
            ],
            exception_handlers={404: self._nothing_there, 405: self._nothing_there},
        )

    def add_to(self, routes: Routes) -> None:
        routes.mount(MOUNT, mounted(self._with_headers, MOUNT))
        routes.mount(MOUNT + "/live", self.live.streaming)

    async def _with_headers(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Those of every answer, those that Starlette makes of errors included. Who asks is the browser, not
        a proxy before us."""

        forwarded = dict(scope["headers"]).get(b"x-forwarded-for")
        scope["client"] = (address_of(scope["client"][0], forwarded, self._proxies), 0)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {bytes(name).lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *[
                        (name.encode(), value.encode())
                        for name, value in _HEADERS.items()
                        if name.lower().encode() not in known
                    ],
                ]
            await send(message)

        await self._app(scope, receive, sending)

    async def _home(self, request: Request) -> Response:
        return RedirectResponse(MOUNT + "/overview", 303)

    async def _asset(self, request: Request) -> Response:
        found = self._assets.find(request.path_params["name"])
        if found is None:
            return Response("no such file", 404, media_type="text/plain")
        kind, body = found
        return Response(
            body, headers={"Content-Type": kind, "Cache-Control": "public, max-age=31536000, immutable"}
        )

    async def _nothing_there(self, request: Request, error: Exception) -> Response:
        page = Page("", ANYBODY, _never, "Nothing here")
        who = self.whois().signed_in(_token(request), _address(request))
        visit = Visit(self._gateway, self.frame, request, page, who, Parameters([]))
        if who is None:
            return _to_sign_in(request)
        return visit.render(
            "refused.html", status=404, what=f"There is no page {request.url.path[:200]}.", todo=""
        )

    def _served(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            who = self.whois().signed_in(_token(request), _address(request))
            if who is None and page.scope != PUBLIC:
                return _to_sign_in(request)
            visit = Visit(self._gateway, self.frame, request, page, who, Parameters([]))
            try:
                if who is not None and page.scope not in (PUBLIC, ANYBODY, *who.scopes):
                    raise Refusal(
                        403,
                        f"This needs {page.scope} ({SCOPES[page.scope]}), which the role {who.role} has not.",
                        "Ask an owner to do it, or to give you another role.",
                    )
                if request.method not in _SAFE:
                    visit.form = await _form(request, who)
                return await self._show(page, visit, who)
            except Refusal as refusal:
                return visit.render(
                    "refused.html", status=refusal.status, what=refusal.what, todo=refusal.todo
                )
            except BadRequest as refusal:
                return visit.render("refused.html", status=refusal.status, what=refusal.detail, todo="")
            except AdminError as error:
                return visit.render("refused.html", status=409, what=error.message, todo=error.hint)
            except StoreError as error:
                log.error("page failed for the store", path=page.path, error=str(error))
                return visit.render(
                    "refused.html", status=503, what="The store refused this.", todo=error.hint
                )
            except Exception:
                log.exception("page failed", path=page.path)
                return visit.render(
                    "refused.html",
                    status=500,
                    what="This page failed inside the gateway; nothing else did.",
                    todo="Its log says why.",
                )

        return serve

    async def _show(self, page: Page, visit: Visit, who: SignedIn | None) -> Response:
        reason = visit.form.text(b"reason")[:LONGEST_REASON]
        with acting(Actor("" if who is None else who.name, "console", reason)):
            shown = page.show(visit)
            return await shown if inspect.isawaitable(shown) else shown


async def _form(request: Request, who: SignedIn | None) -> Parameters:
    """What a POST brought. Errors: Refusal, BadRequest."""
    if not _from_here(request):
        raise Refusal(403, "This form was sent from another site.", "Open the page here and send it again.")
    content_type = request.headers.get("content-type", "").encode("latin-1")
    form = of_body(content_type, await request.body()) or Parameters([])
    token = request.headers.get("x-csrf-token") or form.text(b"csrf")
    if who is not None and not compare_digest(token.encode(), who.csrf.encode()):
        raise Refusal(
            403,
            "This form is from before you signed in.",
            "Load the page again and repeat it; nothing was done.",
        )
    return form


def _from_here(request: Request) -> bool:
    """Fetch Metadata (W3C) where the browser says it, else the Origin."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def _to_sign_in(request: Request) -> Response:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method not in _SAFE:
        path = _came_from(request)
    to = f"{MOUNT}/sign-in?next={quote(path, safe='')}"
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": to})
    return RedirectResponse(to, 303)


def _came_from(request: Request) -> str:
    """The page of ours that a form stood on, as the browser says it (Referer); the overview: none."""
    try:
        said = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return HOME
    page = {"type": "http", "method": "GET", "root_path": MOUNT, "path": unquote(said.path), "headers": []}
    ours = said.netloc == request.headers.get("host", "") and said.path.startswith(MOUNT + "/")
    fits = (one.matches(page)[0] for one in request.app.routes)
    if not ours or next((one for one in fits if one is not Match.NONE), Match.NONE) is not Match.FULL:
        return HOME
    return said.path + (f"?{said.query}" if said.query else "")


def _token(request: Request) -> str:
    return session_token(request.headers.get("cookie", "").encode("latin-1"))


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _never(visit: Visit) -> Response:
    raise AssertionError("no page")


__all__ = ["MOUNT", "PREFIX", "Console"]
