"""The one dialog in which everything is done that an operator does: what it is, what it would touch, why.

`/act/<verb>?name=…` shows the act's fields (made of its argument struct), filled in from the query, and, once
what must be given is there, its preview. The same form posts it: with a reason, and an end where the act can
have one. By htmx it is a dialog on the page it came from, without scripts a page of its own.

Invariants: nothing is done that was not asked for by POST with a reason; its scope says who may.

Deliberately not here: which acts there are (gateway.acts), what they do (the admin verbs).
"""

from __future__ import annotations

import typing
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union

import msgspec
from starlette.responses import Response

from gateway.acts import BY_VERB, Act, Preview
from gateway.admin import AdminError
from gateway.audit import LONGEST_REASON
from gateway.console.page import ANYBODY, Page, Refusal, Topic, Visit

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 2_000
_OURS = frozenset({"preview", "for_s"})
_SPANS = (
    ("0", "until somebody ends it"),
    ("900", "15 minutes"),
    ("1800", "30 minutes"),
    ("3600", "1 hour"),
    ("14400", "4 hours"),
    ("86400", "1 day"),
    ("604800", "7 days"),
)


class Field(NamedTuple):
    """One argument as a form shows it. `kind`: text, number, choice, yes, list, map."""

    name: str
    kind: str
    needed: bool
    value: str
    choices: tuple[str, ...] = ()


async def show(visit: Visit) -> Response:
    act = _act(visit)
    given = {name: visit.query(name, longest=_LONGEST) for name in act.arguments.__struct_encode_fields__}
    given = {name: value for name, value in given.items() if value}
    return await _dialog(visit, act, given)


async def do(visit: Visit) -> Response:
    act = _act(visit)
    given = {
        name: visit.form.text(name.encode())[:_LONGEST].strip()
        for name in act.arguments.__struct_encode_fields__
    }
    given = {name: value for name, value in given.items() if value}
    reason = visit.form.text(b"reason").strip()
    if visit.form.text(b"step") != "do":
        return await _dialog(visit, act, given, reason)
    if not reason or not reason.isprintable() or len(reason) > LONGEST_REASON:
        wrong = f"Say why: 1 to {LONGEST_REASON} printable characters. It goes into the audit trail."
        return await _dialog(visit, act, given, reason, wrong)
    try:
        result = await visit.ask(act.verb, **_arguments(act, given))
    except (AdminError, msgspec.ValidationError) as error:
        return await _dialog(visit, act, given, reason, _said(error))
    facts = {"act": act, "result": _shown(result), "back": _back(visit)}
    return _answer(visit, "_done.html", "done.html", facts)


async def _dialog(
    visit: Visit, act: Act, given: Mapping[str, str], reason: str = "", wrong: str = ""
) -> Response:
    fields = [one for one in _fields(act, given) if one.name not in _OURS]
    preview = None
    if all(given.get(one.name) for one in fields if one.needed):
        try:
            told = await visit.ask(act.verb, **_arguments(act, given), preview=True)
            preview = told if isinstance(told, Preview) else msgspec.convert(told, Preview)
        except (AdminError, msgspec.ValidationError) as error:
            wrong = wrong or _said(error)
    facts = {
        "act": act,
        "fields": fields,
        "given": given,
        "spans": _SPANS,
        "preview": preview,
        "reason": reason,
        "wrong": wrong,
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


def _back(visit: Visit) -> str:
    """The page that it was asked from, a path of the console's."""
    back = visit.form.text(b"back") or visit.request.headers.get("referer", "")
    path = "/" + back.split("://", 1)[-1].partition("/")[2] if "://" in back else back
    inside = path.startswith("/console/") and "/console/act/" not in path and "\\" not in path
    return path[:_LONGEST] if inside else "/console/overview"


def _fields(act: Act, given: Mapping[str, str]) -> list[Field]:
    types = typing.get_type_hints(act.arguments)
    return [
        _field(one.encode_name, types[one.name], one.required, given.get(one.encode_name, ""))
        for one in msgspec.structs.fields(act.arguments)
    ]


def _field(name: str, kind: Any, needed: bool, value: str) -> Field:
    kind = _bare(kind)
    if typing.get_origin(kind) is Literal:
        return Field(name, "choice", needed, value, tuple(str(one) for one in typing.get_args(kind)))
    if kind is bool:
        return Field(name, "yes", needed, value)
    if kind in (int, float):
        return Field(name, "number", needed, value)
    if typing.get_origin(kind) in (list, tuple):
        return Field(name, "list", needed, value)
    if typing.get_origin(kind) is dict:
        return Field(name, "map", needed, value)
    return Field(name, "text", needed, value)


def _bare(kind: Any) -> Any:
    """Annotated[int, …] → int; str | None → str"""
    while typing.get_origin(kind) in (typing.Annotated, Union, UnionType):
        kind = next(one for one in typing.get_args(kind) if one is not type(None))
    return kind


def _arguments(act: Act, given: Mapping[str, str]) -> dict[str, Any]:
    """What was written, as the verb's argument struct takes it. Errors: msgspec.ValidationError."""
    raw: dict[str, Any] = {}
    for one in _fields(act, given):
        if not one.value or one.name == "preview":
            continue
        if one.kind == "list":
            raw[one.name] = [part.strip() for part in one.value.split(",") if part.strip()]
        elif one.kind == "map":
            raw[one.name] = dict(_pair(part) for part in one.value.split(",") if part.strip())
        else:
            raw[one.name] = one.value == "yes" if one.kind == "yes" else one.value
    found: dict[str, Any] = msgspec.to_builtins(msgspec.convert(raw, act.arguments, strict=False))
    return {name: value for name, value in found.items() if name in raw}


def _pair(text: str) -> tuple[str, str]:
    """`north: 70` → its name and its value."""
    name, _, value = text.rpartition(":")
    return name.strip(), value.strip()


def _said(error: AdminError | msgspec.ValidationError) -> str:
    if isinstance(error, msgspec.ValidationError):
        return f"{error}"
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _shown(result: object) -> list[tuple[str, str]]:
    """What a verb answered, in lines: plain values, and how often what was the case."""
    if not isinstance(result, dict):
        return []
    lines = [
        (name.replace("_", " "), _counted(value) if isinstance(value, dict) else str(value))
        for name, value in result.items()
        if isinstance(value, str | int | float | dict) and value != "" and not isinstance(value, bool)
    ]
    return [line for line in lines if line[1]][:20]


def _counted(value: dict[str, Any]) -> str:
    """`12: too long; 1: …` of a dictionary of counts, else nothing."""
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in value.values()):
        return ""
    return "; ".join(f"{count:,}: {what}" for what, count in value.items())


PAGES = (
    Page("/act/{verb}", ANYBODY, show, "Act"),
    Page("/act/{verb}", ANYBODY, do, "Act", method="POST"),
)
TOPICS: tuple[Topic, ...] = ()
