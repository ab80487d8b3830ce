"""What a page of the console is: an entry of a table, a function from a visit to an answer.

A module of pages/ declares `PAGES` (what it serves) and `TOPICS` (what of it changes each second). The scope
of each is a scope of router.roles, ANYBODY (whoever is signed in) or router.roles.PUBLIC (sign-in itself).

Deliberately not here: asking who comes and checking scopes (app.py), sending topics (live.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.frame import Frame
from gateway.http.forms import Parameters

if TYPE_CHECKING:
    from gateway.app import Gateway

ANYBODY = "signed-in"


class SignedIn(Protocol):
    """Who comes (gateway.sessions): `csrf` must come back with every form."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def scopes(self) -> frozenset[str]: ...
    @property
    def csrf(self) -> str: ...
    @property
    def session(self) -> str: ...


class Refusal(Exception):
    """A page that cannot be shown, or an act that is not done: what happened, and what to do."""

    def __init__(self, status: int, what: str, todo: str = "") -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.todo = todo


class Visit:
    """One request for a page. `who` is None on PUBLIC pages; `form` is what a POST brought."""

    def __init__(
        self,
        gateway: Gateway,
        frame: Frame,
        request: Request,
        page: Page,
        who: SignedIn | None,
        form: Parameters,
    ) -> None:
        self.gateway = gateway
        self.request = request
        self.page = page
        self.who = who
        self.form = form
        self._frame = frame

    def may(self, scope: str) -> bool:
        """Whether whoever comes has the scope."""
        return self.who is not None and scope in self.who.scopes

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters of the path."""
        return self.request.path_params

    def query(self, name: str, default: str = "", longest: int = 200) -> str:
        """A parameter of the query, without spaces around it; what is too long is cut."""
        return str(self.request.query_params.get(name, default))[:longest].strip()

    async def ask(self, verb: str, **arguments: Any) -> Any:
        """What an admin verb answers. Errors: AdminError, StoreError."""
        return await self.gateway.verbs.table()[verb](arguments)

    def render(self, template: str, *, status: int = 200, **facts: Any) -> Response:
        """The template in the frame: navigation, who is signed in, live connection."""
        return Response(
            self._frame.page(template, self, facts), status, media_type="text/html", headers=_PRIVATE
        )

    def fragment(self, template: str, **facts: Any) -> Response:
        """The template alone, for htmx to swap in."""
        return Response(self._frame.part(template, self, facts), media_type="text/html", headers=_PRIVATE)

    @property
    def frame(self) -> Frame:
        """What renders, for what a page shares with its topic."""
        return self._frame

    @property
    def by_htmx(self) -> bool:
        """Whether a fragment is wanted, and no whole page."""
        return "hx-request" in self.request.headers

    def go(self, path: str) -> Response:
        """See Other, to a path of the console's own: `/carriers`."""
        return RedirectResponse("/console" + path, 303, headers=_PRIVATE)


_PRIVATE = {"Cache-Control": "no-store"}

Show = Callable[[Visit], Response | Awaitable[Response]]


class Page(NamedTuple):
    """`path` is below /console; `title` its heading; `nav` its word in the navigation, "": not in it; `key`:
    the letter that goes there after `g`, and does nothing by itself (static/console.js); `topic`: what of it
    changes each second."""

    path: str
    scope: str
    show: Show
    title: str = ""
    nav: str = ""
    key: str = ""
    topic: str = ""
    method: str = "GET"


class Topic(NamedTuple):
    """What changes on a page. `parts` gives fragment id → HTML, `figures` rows for charts (JSON); neither has
    texts or whole numbers in it, as everybody with the scope gets the same bytes."""

    name: str
    scope: str
    parts: Callable[[Gateway, Frame], Mapping[str, str]]
    figures: Callable[[Gateway], object] | None = None


class Topics(NamedTuple):
    """A topic for each thing of a kind, `carrier/north`: `of` gives the one of a name, None: there is no such
    thing. It is kept while somebody watches. A page says which by `render(topic=one_of(…))`."""

    name: str
    scope: str
    of: Callable[[Gateway, str], Topic | None]


def one_of(kind: str, name: str) -> str:
    """The topic of one thing, as a page names it."""
    return f"{kind}/{quote(name, safe='')}"
