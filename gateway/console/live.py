"""One stream for all who watch: each topic is rendered once a second, and all its viewers get the same bytes.

A server-sent event (HTML Living Standard, section 9.2) has what changed since the one before: fragments that
htmx puts in place, and an event `figures` for the charts. Whoever comes first gets the whole. Where nothing
changes, a comment each 15 s shows that the line is alive.

Invariants: a topic that nobody watches costs nothing; a viewer that does not read is cut off by the server
(write_timeout_s), and delays nobody; no task for a viewer; a session that ended sees no more after 10 s.

Deliberately not here: what topics show (pages/), reconnecting (htmx).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog
import trio

from gateway.console.forwarded import address_of
from gateway.console.frame import Frame
from gateway.console.page import SignedIn, Topic, Topics
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.routes import Streaming
from gateway.http.streams import Outflow, Taker
from gateway.smpp_server.networks import Networks

if TYPE_CHECKING:
    from gateway.app import Gateway

COOKIE = "signalbox_session"
EVENTS: Headers = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"))
MOST_VIEWERS = 200
MOST_OF_ONE = 20  # of one session
_HEARTBEAT_S = 15
_RECHECK_S = 10
_LONGEST_NAME = 600

log = structlog.get_logger("console")


class WhoIs(Protocol):
    """gateway.sessions."""

    def signed_in(self, token: str, address: str) -> SignedIn | None: ...


class _Nobody:
    """Nobody is signed in."""

    def signed_in(self, token: str, address: str) -> SignedIn | None:
        return None


NOBODY = _Nobody()


class _Viewer:
    __slots__ = ("address", "out", "token")

    def __init__(self, out: Outflow, token: str, address: str) -> None:
        self.out = out
        self.token = token
        self.address = address


class _Watched:
    """A topic, what it last looked like, and who watches."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.parts: Mapping[str, str] = {}
        self.figures = b""
        self.viewers: list[_Viewer] = []
        self.number = 0

    def render(self, gateway: Gateway, frame: Frame) -> bytes:
        """What changed since the last time, as an event; b"": nothing did."""
        parts = self.topic.parts(gateway, frame)
        changed = {name: html for name, html in parts.items() if self.parts.get(name) != html}
        self.parts = parts
        said = _event(changed)
        if self.topic.figures is not None:
            figures = msgspec.json.encode(self.topic.figures(gateway))
            if figures != self.figures:
                self.figures = figures
                said += _named(b"figures", figures)
        self.number += bool(said)
        return b"id: %d\n%b" % (self.number, said) if said else b""

    def whole(self) -> bytes:
        """All of it, for somebody who comes now."""
        return _event(self.parts) + (_named(b"figures", self.figures) if self.figures else b"")


class Live:
    """The hub. `streaming(name)` serves one topic; `run` beats once a second."""

    def __init__(
        self, gateway: Gateway, frame: Frame, whois: Callable[[], WhoIs], topics: tuple[Topic | Topics, ...]
    ) -> None:
        self._gateway = gateway
        self._frame = frame
        self._whois = whois
        self._proxies = Networks(gateway.config.console.proxy_from)
        self._topics = {topic.name: _Watched(topic) for topic in topics if isinstance(topic, Topic)}
        self._kinds = {topic.name: topic for topic in topics if isinstance(topic, Topics)}
        self._some: dict[str, _Watched] = {}  # of these, those that are watched
        self._beats = 0
        self.viewers = 0

    @property
    def streaming(self) -> Streaming:
        """What serves /console/live/{topic}."""
        return Streaming(self._open, EVENTS)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; then every stream ends."""
        task_status.started()
        next_at = trio.current_time()
        try:
            while True:
                next_at = max(next_at + 1, trio.current_time())
                await trio.sleep_until(next_at)
                self.beat()
        finally:
            for watched in (*self._topics.values(), *self._some.values()):
                for viewer in watched.viewers:
                    viewer.out.finish()
                watched.viewers = []

    def beat(self) -> None:
        """Tell everybody what changed."""
        self._beats += 1
        self.viewers = 0
        for watched in (*self._topics.values(), *self._some.values()):
            if watched.viewers:
                self._tell(watched)
            self.viewers += len(watched.viewers)
        if self._some:
            self._some = {name: watched for name, watched in self._some.items() if watched.viewers}

    def _tell(self, watched: _Watched) -> None:
        try:
            said = watched.render(self._gateway, self._frame)
        except Exception:  # a page's bug must not end the others' streams
            log.exception("topic failed", topic=watched.topic.name)
            said = b""
        if not said and self._beats % _HEARTBEAT_S == 0:
            said = b": alive\n\n"
        recheck = self._beats % _RECHECK_S == 0
        stay = []
        for viewer in watched.viewers:
            if viewer.out.gone or viewer.out.finished:
                continue
            if recheck and not self._may(viewer, watched.topic):
                viewer.out.finish()
                continue
            if said:
                viewer.out.write(said)
            stay.append(viewer)
        watched.viewers = stay

    def _may(self, viewer: _Viewer, topic: Topic) -> bool:
        who = self._whois().signed_in(viewer.token, viewer.address)
        return who is not None and topic.scope in who.scopes

    def _open(self, request: Request, out: Outflow) -> Taker:
        name = request.path.partition("/live/")[2]
        address = address_of(request.peer, request.headers.get(b"x-forwarded-for"), self._proxies)
        viewer = _Viewer(out, session_token(request.headers.get(b"cookie")), address)
        if self._whois().signed_in(viewer.token, viewer.address) is None:  # and learns no names
            raise _not_theirs()
        watched = self._topics.get(name) or self._some.get(name) or self._one(name)
        if watched is None or request.method != "GET":
            raise BadRequest(404, "not-found", "nothing of that name changes each second")
        if not self._may(viewer, watched.topic):
            raise _not_theirs()
        if self.viewers >= MOST_VIEWERS:
            raise BadRequest(503, "too-many-connections", f"{MOST_VIEWERS} pages are watched already")
        if self._of_one(viewer.token) >= MOST_OF_ONE:
            raise BadRequest(503, "too-many-connections", f"you watch {MOST_OF_ONE} pages already")
        if not watched.viewers:
            watched.render(self._gateway, self._frame)
        out.write(b"retry: 2000\n\n" + watched.whole())
        watched.viewers.append(viewer)
        self.viewers += 1
        if name not in self._topics:
            self._some[name] = watched
        return _Watching(out)

    def _of_one(self, token: str) -> int:
        """How many pages a session watches."""
        every = (*self._topics.values(), *self._some.values())
        return sum(one.token == token and not one.out.gone for watched in every for one in watched.viewers)

    def _one(self, name: str) -> _Watched | None:
        """Of `carrier/north` and the like; None: there is no such thing."""
        kind, _, item = name.partition("/")
        topics = self._kinds.get(kind)
        topic = topics.of(self._gateway, item[:_LONGEST_NAME]) if topics and item else None
        return None if topic is None else _Watched(topic)


def _not_theirs() -> BadRequest:
    return BadRequest(403, "scope-needed", "sign in at /console, as somebody who may see this")


class _Watching:
    """The taker of a request without a body; a server that stops ends the stream."""

    begun = False
    units = 0

    def __init__(self, out: Outflow) -> None:
        self._out = out

    def take(self, data: bytes) -> None:
        pass

    def ready(self) -> bool:
        return True

    def end(self) -> None:
        pass

    def cut(self, why: BadRequest) -> None:
        self._out.finish()


def session_token(cookies: bytes | None) -> str:
    """The session's token of a Cookie header; "": none."""
    try:
        found = SimpleCookie((cookies or b"")[:8192].decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _event(parts: Mapping[str, str]) -> bytes:
    """htmx's partials: each replaces the inside of its target, keeping what is the same."""
    if not parts:
        return b""
    html = "".join(
        f'<hx-partial hx-target="#{name}" hx-swap="innerMorph">{part}</hx-partial>'
        for name, part in parts.items()
    )
    return b"".join(b"data: %b\n" % line.encode() for line in html.splitlines()) + b"\n"


def _named(event: bytes, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event, data)
