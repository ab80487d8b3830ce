"""The one dialog in which everything is done that an operator does: what it is, what it would touch, why.

`/act/<verb>?name=…` shows the act's fields (gateway.console.act_form), filled in from the query, and, once
what must be given is there, its preview; before that, what is to be filled in. The same form posts it: with a
reason, and an end where the act can have one. Then it says what is true now. By htmx it is a dialog on the
page it came from, without scripts a page of its own.

Invariants: nothing is done that was not asked for by POST with a reason; its scope says who may; what is
wrong is said beside the field that it is about, and not before something was written.

Deliberately not here: which acts there are (gateway.acts), what they do (the admin verbs), fields and their
words (act_form.py), what is true afterwards (act_told.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from phonenumbers import SUPPORTED_REGIONS
from starlette.responses import Response

from gateway.acts import BY_VERB, Act, Preview
from gateway.admin import AdminError
from gateway.audit import LONGEST_REASON
from gateway.console.act_form import END, NOT_OURS, SPANS, Wrong, arguments, form_of, problems_of, todo
from gateway.console.act_told import details, sentence, warnings
from gateway.console.page import ANYBODY, Page, Refusal, Topic, Visit
from gateway.measures import name_of_lane
from gateway.orders import BANNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.app import Gateway

_LONGEST = 2_000
_MOST_OFFERED = 500  # of a list: who has more of them writes the name


async def show(visit: Visit) -> Response:
    act = _act(visit)
    given = {name: visit.query(name, longest=_LONGEST) for name in _names(act)}
    return await _dialog(visit, act, {name: value for name, value in given.items() if value})


async def do(visit: Visit) -> Response:
    act = _act(visit)
    written = {name: visit.form.text(name.encode())[:_LONGEST].strip() for name in _names(act)}
    given = {name: value for name, value in written.items() if value}
    reason = visit.form.text(b"reason").strip()
    missing = {name: f"This is missing: {words}" for name, words in todo(act, given).items()}
    if missing or visit.form.text(b"step") != "do":
        return await _dialog(visit, act, given, reason, missing)
    if not reason or not reason.isprintable() or len(reason) > LONGEST_REASON:
        wrong = f"Say why: 1 to {LONGEST_REASON} printable characters. It goes into the audit trail."
        return await _dialog(visit, act, given, reason, {"reason": wrong})
    try:
        wish = arguments(act, given, _now(visit))
        result = await visit.ask(act.verb, **wish)
    except Wrong as wrong:
        return await _dialog(visit, act, given, reason, wrong.problems)
    except (AdminError, msgspec.ValidationError) as error:
        return await _dialog(visit, act, given, reason, problems_of(act, error))
    facts = {
        "act": act,
        "told": sentence(act, wish, result, visit.gateway.orders, _now(visit)),
        "warnings": warnings(result),
        "details": details(act, result),
        "back": _back(visit),
    }
    return _answer(visit, "_done.html", "done.html", facts)


async def _dialog(
    visit: Visit,
    act: Act,
    given: Mapping[str, str],
    reason: str = "",
    problems: Mapping[str, str] | None = None,
) -> Response:
    fields = [one for one in form_of(act, given) if one.name != "for_s"]
    missing, problems = todo(act, given), dict(problems or {})
    preview = None
    if not missing:
        try:
            told = await visit.ask(act.verb, **arguments(act, given, _now(visit)), preview=True)
            preview = told if isinstance(told, Preview) else msgspec.convert(told, Preview)
        except Wrong as wrong:
            problems = problems or wrong.problems
        except (AdminError, msgspec.ValidationError) as error:
            problems = problems or problems_of(act, error)
    wanted = [*problems, *missing, "reason"]
    facts = {
        "act": act,
        "fields": [one for one in fields if not one.word.rare],
        "rare": [one for one in fields if one.word.rare],
        "open": any(one.word.rare and (one.name in problems or given.get(one.name)) for one in fields),
        "lists": {one.word.among: _offered(visit, one.word.among) for one in fields if one.word.among},
        "given": given,
        "spans": SPANS,
        "preview": preview,
        "reason": reason,
        "problems": problems,
        "missing": [] if problems else [*missing.values()],
        "focus": next(name for name in wanted if name),
        "back": _back(visit),
        "longest": LONGEST_REASON,
    }
    return _answer(visit, "_act.html", "act.html", facts)


def _answer(visit: Visit, part: str, page: str, facts: dict[str, Any]) -> Response:
    return visit.fragment(part, **facts) if visit.by_htmx else visit.render(page, **facts)


def _act(visit: Visit) -> Act:
    act = BY_VERB.get(visit.params["verb"])
    if act is None:
        raise Refusal(
            404, f"There is no act {visit.params['verb'][:64]!r}.", "The lists show what may be done."
        )
    if not visit.may(act.scope):
        role = "" if visit.who is None else visit.who.role
        raise Refusal(403, f"{act.title} needs {act.scope}, which the role {role} has not.")
    return act


def _names(act: Act) -> list[str]:
    """The fields that its form has."""
    names = [name for name in act.arguments.__struct_encode_fields__ if name not in NOT_OURS]
    return [*names, END] if act.ends else names


def _now(visit: Visit) -> datetime:
    return datetime.fromtimestamp(visit.gateway.world.wall_ms() / 1000, UTC)


def _back(visit: Visit) -> str:
    """The page that it was asked from, a path of the console's."""
    back = visit.form.text(b"back") or visit.request.headers.get("referer", "")
    path = "/" + back.split("://", 1)[-1].partition("/")[2] if "://" in back else back
    inside = path.startswith("/console/") and "/console/act/" not in path and "\\" not in path
    return path[:_LONGEST] if inside else "/console/overview"


def _lanes(gateway: Gateway) -> Iterable[str]:
    """Those in which something waits."""
    store = gateway.store
    return (name_of_lane(store, lane) for lane, counts in store.lane_totals().items() if any(counts))


# list → the scope that may see it
_LISTS = {
    "accounts": "accounts.read",
    "bans": "binds.read",
    "carriers": "carriers.read",
    "countries": "queues.read",
    "lanes": "queues.read",
    "links": "carriers.read",
    "priorities": "queues.read",
    "routes": "routes.read",
}


def _known(gateway: Gateway, among: str) -> Iterable[str]:
    """What there is of a list."""
    match among:
        case "accounts":
            return (one.name for one in gateway.accounts.by_id.values())
        case "bans":
            return gateway.orders.of(BANNED)
        case "carriers":
            return (one.name for one in gateway.config.carriers)
        case "countries":
            return SUPPORTED_REGIONS
        case "lanes":
            return _lanes(gateway)
        case "links":
            return (link.name for carrier in gateway.carriers for link in carrier.links)
        case "routes":
            return (one.name for one in gateway.config.routes)
    return "0123"


def _offered(visit: Visit, among: str) -> list[str]:
    """What there is, for whoever may see it; the first of them, by name, where there are very many."""
    return sorted(set(_known(visit.gateway, among)))[:_MOST_OFFERED] if visit.may(_LISTS[among]) else []


PAGES = (
    Page("/act/{verb}", ANYBODY, show, "Act"),
    Page("/act/{verb}", ANYBODY, do, "Act", method="POST"),
)
TOPICS: tuple[Topic, ...] = ()
