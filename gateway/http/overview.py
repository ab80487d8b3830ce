"""GET /v1/queues, GET /v1/health and GET /v1/top, for operators.

Deliberately not here: the facts (gateway.overview, gateway.figures), whether the process serves (/healthz,
house.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from gateway.figures import Figures
from gateway.http.operated import PRIVATE
from gateway.http.problems import BadRequest
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.table import overview as table
from gateway.http.typed import read_query
from gateway.overview import CRITICAL, LaneView, Trouble

_encode = msgspec.json.Encoder().encode


class OverviewApi:
    """Handlers over three questions to the gateway; `add_to` puts them into a table."""

    def __init__(
        self,
        queues: Callable[[], list[LaneView]],
        problems: Callable[..., list[Trouble]],
        backlog: Callable[[], Mapping[str, int]],
        version: str,
        figures: Figures,
    ) -> None:
        self._queues = queues
        self._problems = problems
        self._backlog = backlog
        self._version = version
        self._figures = figures

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.QUEUES, self.queues)
        routes.serve(table.HEALTH, self.health)
        routes.serve(table.TOP, self.top)

    def queues(self, request: Request, respond: Respond) -> None:
        """GET /v1/queues: what waits, and why it does not move."""
        try:
            query = read_query(request.query, table.QueuesQuery)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return
        lanes = [one for one in self._queues() if not query.lane or one.lane == query.lane]
        if query.account:
            for lane in lanes:
                lane.queues = [one for one in lane.queues if one.account == query.account]
            lanes = [lane for lane in lanes if lane.queues]
        respond(200, PRIVATE, _encode(table.QueuesOut(lanes)))

    def health(self, request: Request, respond: Respond) -> None:
        """GET /v1/health: what is wrong, the worst first; accounts' names for those who may see accounts."""
        found = self._problems(names="accounts.read" in request.caller.scopes)
        worst = "ok" if not found else "failing" if found[0].severity == CRITICAL else "degraded"
        shown = table.HealthOut(worst, found, dict(self._backlog()), self._version)
        respond(200, PRIVATE, _encode(shown))

    def top(self, request: Request, respond: Respond) -> None:
        """GET /v1/top: what passes a second, and what is wrong; only what the key may see."""
        try:
            query = read_query(request.query, table.TopQuery)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
            return
        scopes = request.caller.scopes
        shown = self._figures.snapshot()
        if "queues.read" not in scopes:
            shown = replace(shown, problems=[], status="")
        if "accounts.read" not in scopes:
            shown = replace(shown, accounts=None, more_accounts=0)
        if query.history:
            shown = replace(shown, history=self._figures.history())
        respond(200, PRIVATE, _encode(shown))
