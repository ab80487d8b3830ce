"""Messages: finding them, and one message from its accept to what its customer was told.

The box at the top of every page takes an id, a number or a reference. What a message says is shown only when
somebody asks for it, and the audit trail is told first.

Deliberately not here: searching (gateway.searching), the timeline itself (gateway.http.timeline).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from gateway.audit import entry
from gateway.console.page import Page, Refusal, Topic, Visit
from gateway.finding import cursor_of
from gateway.http.problems import BadRequest
from gateway.http.search import Asker, each
from gateway.http.table.messages import STATES, MessagesQuery
from gateway.http.timeline import StepOut, message_out
from gateway.told import told
from gateway.whereabouts import waits
from router.causes import meaning
from router.nouns import Message, Phase, Progress, Via
from store.interface import Transaction

if TYPE_CHECKING:
    from gateway.http.auth import Caller

_PAGE = 50
_FILTERS = ("to", "from", "account", "state", "client_ref", "tag", "since", "until")
_ID_DIGITS = range(17, 20)
_PDUS = {
    "sent": ("→ submit_sm", "← submit_sm_resp ESME_ROK, message_id {0}"),
    "refused": ("→ submit_sm", "← submit_sm_resp {0}"),
    "receipt": ("← deliver_sm, a receipt: {0}", "→ deliver_sm_resp ESME_ROK"),
    "receipt_repeated": ("← deliver_sm, the same receipt again: {0}", "→ deliver_sm_resp ESME_ROK"),
    "receipt_contradicts": ("← deliver_sm, another receipt: {0}", "→ deliver_sm_resp ESME_ROK"),
    "outcome_unknown": ("→ submit_sm", "no submit_sm_resp came"),
    "resent": ("→ submit_sm, again",),
}


class StepShown(NamedTuple):
    """A step of the timeline, and the PDUs that it stands for."""

    at: str
    step: str
    carrier: str
    detail: str
    pdus: tuple[str, ...]


async def search(visit: Visit) -> Response:
    gateway = visit.gateway
    asked = visit.query("q")
    if (
        asked.isascii()
        and asked.isdigit()
        and len(asked) in _ID_DIGITS
        and gateway.store.find_any(int(asked))
    ):
        return visit.go(f"/messages/{asked}")
    given = {name: visit.query(name) for name in _FILTERS}
    given = {name: value for name, value in given.items() if value}
    if asked:
        number = asked.replace(" ", "")
        digits = number.removeprefix("+")
        is_number = digits.isascii() and digits.isdigit() and len(digits) < _ID_DIGITS.start
        given["to" if is_number else "client_ref"] = number if is_number else asked
    facts: dict[str, Any] = {
        "given": given, "rows": [], "next": "", "wrong": "", "complete": True, "indexed": 0,
        "states": STATES.split(", "), "asked": asked,
    }  # fmt: skip
    try:
        wish = msgspec.convert(
            {**given, "limit": _PAGE, "cursor": visit.query("cursor", longest=500)}, MessagesQuery
        )
        asker = _asker(visit)
        query = gateway.search_api.query(asker, wish, _PAGE, wish.cursor)
        page = await gateway.search_api.find(asker, query)
        facts["rows"] = await each(page.hits, gateway.search_api.row(asker))
        facts["complete"] = not page.short
        following = cursor_of(query, page)
        facts["next"] = urlencode({**given, "cursor": following}) if following else ""
    except BadRequest as refusal:
        facts["wrong"] = "; ".join(
            [refusal.detail, *(f"{one.field}: {one.detail}" for one in refusal.errors)]
        )
    except msgspec.ValidationError as error:
        facts["wrong"] = str(error)
    until_ms = gateway.searching.indexed_until_ms
    facts["behind_s"] = max(0.0, (gateway.world.wall_ms() - until_ms) / 1000) if until_ms else None
    return visit.render("messages.html", **facts)


def show(visit: Visit) -> Response:
    message, progress = _found(visit)
    return visit.render("message.html", **_facts(visit, message, progress))


async def show_text(visit: Visit) -> Response:
    """What it says, once the trail knows who looks."""
    message, progress = _found(visit)
    if not visit.may("messages.text"):
        raise Refusal(403, "What messages say needs messages.text, which your role has not.")
    seen = entry(visit.gateway.world.wall_ms(), "message.viewed", f"message:{message.id}")

    def tell(txn: Transaction) -> None:
        txn.audit(seen)

    await visit.gateway.committer.execute(tell)
    text = message.data.hex() if message.data else message.text
    return visit.render("message.html", **{**_facts(visit, message, progress), "text": text})


def _facts(visit: Visit, message: Message, progress: Progress) -> dict[str, Any]:
    gateway = visit.gateway
    assert visit.who is not None
    seen = visit.who.scopes - {"messages.text"}
    where = waits(gateway, message, progress)
    out = message_out(message, progress, gateway.store.carrier_name, seen, where)
    account = gateway.accounts.by_id.get(message.account)
    was_told = told(gateway, message)
    return {
        "message": out,
        "account": account.name if account is not None else f"number {message.account}, which is gone",
        "came": "submit_sm" if message.via == Via.SMPP else "HTTP",
        "steps": [_step(step) for step in out.timeline],
        "told": was_told,
        "told_in_words": was_told.in_words(progress),
        "meaning": meaning(progress.cause) if progress.cause else "",
        "waits": progress.phase != Phase.FINAL,
        "text": None,
    }


def _step(step: StepOut) -> StepShown:
    pdus = tuple(one.format(step.detail) for one in _PDUS.get(step.step, ()))
    return StepShown(step.at, step.step.replace("_", " "), step.carrier, step.detail, pdus)


def _found(visit: Visit) -> tuple[Message, Progress]:
    id = visit.params["id"]
    found = None
    if id.isascii() and id.isdigit() and len(id) < _ID_DIGITS.stop and int(id) < 1 << 63:
        found = visit.gateway.store.find_any(int(id))
    if found is None:
        raise Refusal(
            404,
            f"There is no message {id[:30]}.",
            "Finished messages go after the retention time; ids are the numbers that a submit answered.",
        )
    return found


def _asker(visit: Visit) -> Asker:
    assert visit.who is not None
    person = SimpleNamespace(account=None, who=f"operator:{visit.who.name}", scopes=visit.who.scopes)
    return Asker(cast("Caller", person))


PAGES = (
    Page("/messages", "messages.read", search, "Messages", "Messages", "m"),
    Page("/messages/{id}", "messages.read", show, "Message"),
    Page("/messages/{id}/text", "messages.read", show_text, "Message", method="POST"),
)
TOPICS: tuple[Topic, ...] = ()
