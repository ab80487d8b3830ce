"""The configuration: what is in force, how it differs from the file, and the revisions that were.

Deliberately not here: applying one (the acts config.reload and config.rollback); secrets, which none has.
"""

from __future__ import annotations

from starlette.responses import Response

from gateway.admin import AdminError
from gateway.console.page import Page, Topic, Visit

_SHOWN = 50


async def show(visit: Visit) -> Response:
    revisions = await visit.ask("config.revisions")
    waiting, wrong = None, ""
    if visit.query("compare") == "file":
        try:
            waiting = await visit.ask("config.reload", dry_run=True)
        except AdminError as error:
            wrong = error.message
    return visit.render(
        "configuration.html",
        state=visit.gateway.reload.state(),
        revisions=revisions[:_SHOWN],
        waiting=waiting,
        wrong=wrong,
    )


async def revision(visit: Visit) -> Response:
    number = visit.params["number"]
    wish = int(number) if number.isdecimal() and len(number) < 12 else 0
    one = await visit.ask("config.show", number=wish)
    diff = await visit.ask("config.diff", older=wish) if one["has_text"] else None
    return visit.render("revision.html", one=one, diff=diff)


PAGES = (
    Page("/config", "config.read", show, "Configuration", "Configuration", "s"),
    Page("/config/{number}", "config.read", revision, "Revision"),
)
TOPICS: tuple[Topic, ...] = ()
