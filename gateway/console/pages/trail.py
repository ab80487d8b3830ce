"""Events (what the gateway decided by itself) and the audit trail (what people and keys did).

Deliberately not here: keeping either (store.notices, store.audit).
"""

from __future__ import annotations

from starlette.responses import Response

from gateway.console.page import Page, Topic, Visit
from store.interface import NO_ID

_PAGE = 100


async def events(visit: Visit) -> Response:
    rows, more, subject = await _page(visit, "events.list")
    return visit.render("events.html", rows=rows, more=more, subject=subject)


async def audit(visit: Visit) -> Response:
    rows, more, subject = await _page(visit, "audit.list")
    return visit.render("audit.html", rows=rows, more=more, subject=subject, state=None)


async def verify(visit: Visit) -> Response:
    """Walk the whole chain now."""
    state = await visit.ask("audit.verify", noted=visit.form.text(b"noted").strip())
    rows, more, subject = await _page(visit, "audit.list")
    return visit.render("audit.html", rows=rows, more=more, subject=subject, state=state)


async def _page(visit: Visit, verb: str) -> tuple[list[dict[str, object]], object, str]:
    subject, written = visit.query("subject"), visit.query("before")
    before = int(written) if written.isdecimal() else 0
    wish = {"subject": subject, "limit": _PAGE + 1, "before": before if before < NO_ID else 0}
    rows = await visit.ask(verb, **wish)
    return rows[:_PAGE], rows[_PAGE - 1]["number"] if len(rows) > _PAGE else "", subject


PAGES = (
    Page("/events", "events.read", events, "Events", "Events", "e"),
    Page("/audit", "audit.read", audit, "Audit trail", "Audit", "t"),
    Page("/audit", "audit.read", verify, "Audit trail", method="POST"),
)
TOPICS: tuple[Topic, ...] = ()
