"""`POST /v1/config/reload`, for operators' keys: the same reload as `signalbox reload`.

Only the file that the gateway was started with can be read from here, never another one.

Deliberately not here: what a reload does (gateway.reload), who is let in (access.py).
"""

from __future__ import annotations

import msgspec

from gateway.admin import AdminError
from gateway.admin_config import ConfigVerbs, Take
from gateway.http.operated import PRIVATE, handler
from gateway.http.problems import BadRequest
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Routes
from gateway.http.table import operations as table
from gateway.http.typed import read_body


class ConfigApi:
    """The handler over the verbs; `add_to` puts it into a table."""

    def __init__(self, verbs: ConfigVerbs) -> None:
        self._verbs = verbs

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.RELOAD, handler(self._take, _refused))

    async def _take(self, request: Request) -> Answered:
        wish = read_body(request, table.ReloadIn, may_be_empty=True)
        done = await self._verbs.take(Take("", bool(wish.dry_run), bool(wish.partial)))
        return Answered(200, PRIVATE, msgspec.json.encode(done))


def _refused(error: AdminError) -> BadRequest:
    status = 422 if error.code == "bad_config" else 409
    detail = f"{error.message}; {error.hint}" if error.hint else error.message
    return BadRequest(status, error.code.replace("_", "-"), detail)
