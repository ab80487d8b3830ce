"""Inbound messages (MOs), and receipts that belong to no message.

What an MO says is shown when somebody asks for it, and the audit trail is told first.

Deliberately not here: whose an MO is (gateway.carriers.inbound), matching receipts (router.correlate).
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.audit import entry
from gateway.console.page import Page, Refusal, Topic, Visit
from gateway.logs import mask_address
from store.interface import Transaction

_PAGE = 50
_NUMBERS = ("from", "to", "recipient", "sender")


async def mos(visit: Visit) -> Response:
    return await _mos(visit, False)


async def mos_with_texts(visit: Visit) -> Response:
    """A page with what they say, once the trail knows who looks."""
    if not visit.may("messages.text"):
        raise Refusal(403, "What messages say needs messages.text, which your role has not.")
    seen = entry(visit.gateway.world.wall_ms(), "message.viewed", "mo")

    def tell(txn: Transaction) -> None:
        txn.audit(seen)

    await visit.gateway.committer.execute(tell)
    return await _mos(visit, True)


async def _mos(visit: Visit, text: bool) -> Response:
    account, unowned = visit.query("account"), visit.query("unowned") == "yes"
    wish = {"account": account, "unowned": unowned, "before": visit.query("before"), "text": text}
    rows = await visit.ask("inbox", limit=_PAGE + 1, **wish)
    more = rows[_PAGE - 1]["id"] if len(rows) > _PAGE else ""
    return visit.render(
        "mos.html",
        rows=_masked(visit, rows[:_PAGE]),
        account=account,
        unowned=unowned,
        before=visit.query("before"),
        more=more,
        texts=text,
    )


async def unmatched(visit: Visit) -> Response:
    rows = await visit.ask("receipts.unmatched", limit=200)
    return visit.render("unmatched.html", rows=_masked(visit, rows))


def _masked(visit: Visit, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if visit.may("messages.numbers"):
        return rows
    return [
        {name: mask_address(value) if name in _NUMBERS else value for name, value in row.items()}
        for row in rows
    ]


PAGES = (
    Page("/mos", "inbound.read", mos, "Inbound messages", "Inbound", "i"),
    Page("/mos", "inbound.read", mos_with_texts, "Inbound messages", method="POST"),
    Page("/unmatched", "inbound.read", unmatched, "Receipts without a message", "Unmatched", "u"),
)
TOPICS: tuple[Topic, ...] = ()
