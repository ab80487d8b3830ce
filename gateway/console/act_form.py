"""The form of an act: a field for each argument, with a label in words, what may be written, what there is.

`form_of` makes the fields of an act's argument struct and of WORDS; `todo` says what has to be filled in
before the act can be previewed; `arguments` turns what was written into what the verb takes. What is wrong is
said for people, beside the field that it is about: Wrong's `problems`, by field, "" for the act as a whole.

Invariant: every argument of every act has a field, but `preview` and `after`, which are a program's.

Deliberately not here: pages (pages/acts.py), doing an act, what is true then (act_told.py).
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from datetime import datetime
from types import UnionType
from typing import Any, Final, Literal, NamedTuple, Union

import msgspec

from gateway.acts import Act
from gateway.admin import AdminError, WrongArguments
from gateway.ends import WRITTEN, seconds_until
from gateway.orders import LONGEST_S

NOT_OURS: Final = frozenset({"preview", "after"})
END: Final = "end"  # a field of the form's own: when it ends, in words

SPANS: Final = (
    ("0", "until somebody ends it"),
    ("900", "15 minutes"),
    ("1800", "30 minutes"),
    ("3600", "1 hour"),
    ("14400", "4 hours"),
    ("86400", "1 day"),
    ("604800", "7 days"),
)


class Word(NamedTuple):
    """`what`: what may be written, as it is said beside the field and when something else was; `among`: which
    list is offered (pages.acts); `rare`: folded away."""

    label: str
    what: str = ""
    among: str = ""
    rare: bool = False


_SECONDS = "a number of seconds, as 600"
_TIME = "a day or a time in UTC, as 2030-01-31 or 2030-01-31T09:30:00Z"

# by argument, or verb.argument where one word means different things
WORDS: Final[Mapping[str, Word]] = {
    "account": Word("Account", among="accounts"),
    "address": Word(
        "Only from this address or network", "as 192.0.2.7 or 192.0.2.0/24; empty: from anywhere"
    ),
    "all": Word("All that there is"),
    "also": Word("Other spellings of the number", "one or more, with commas between them"),
    "abandon": Word("Give up a replay that was cut off, and begin this one", rare=True),
    "cancel_unfinished": Word("Cancel messages that have not ended"),
    "carrier": Word("Carrier", among="carriers"),
    "country": Word("Country of the recipient", "two letters, as GB", "countries", rare=True),
    "endpoint": Word("Endpoint", "its number, as the list of callbacks shows it"),
    "first_id": Word("From the message with this id", "digits, as a message's page shows them", rare=True),
    "for_s": Word("How long", "seconds, at most 366 days"),
    "held_as": Word("Why they are held"),
    "id": Word("Message id", "digits, as a message's page shows them"),
    "kind": Word("What to tell again"),
    "lane": Word("Lane", "as the queues show it", "lanes"),
    "last_id": Word("Up to the message with this id", "digits, as a message's page shows them", rare=True),
    "now": Word("Drop events that wait for their receivers"),
    "number": Word("Number", "with its country code, as +447700900123"),
    "older_than_s": Word("Older than (seconds)", _SECONDS),
    "partial": Word("Leave out what needs a restart"),
    "phase": Word("How they wait", rare=True),
    "prefix": Word("Recipients that begin with", "digits, as +44 or 4477", rare=True),
    "priority": Word("Priority", "0, 1, 2 or 3", "priorities", rare=True),
    "resume": Word("Go on with a replay that was cut off", rare=True),
    "route": Word("Route that they came by", among="routes"),
    "since": Word("Accepted since", _TIME),
    "state": Word("Told as"),
    "system_id": Word("system_id", "1 to 15 characters"),
    "to": Word("To the route", among="routes"),
    "to_carrier": Word("Or to this carrier alone", among="carriers"),
    "tps": Word("Rate (segments a second)", "a number, as 50 or 0.5; 0: as configured"),
    "until": Word("Accepted until", _TIME),
    "weights": Word("Weights", "carriers with whole numbers, as north=70 south=30; empty: as configured"),
    "who": Word("Who"),
    "binds.drop.id": Word("Bind", "its number, as the list of binds shows it"),
    "binds.unban.who": Word("Who", "a system_id, or a ban as the list shows it", "bans"),
    "config.rollback.number": Word("Revision", "its number, as the list shows it"),
    "deliveries.move.to": Word("To"),
    "deliveries.replay.id": Word("One message alone", "its id, in digits"),
    "deliveries.replay.state": Word(
        "Only those that ended as", "a final state, as delivered or undeliverable", rare=True
    ),
    "held.release.carrier": Word("Only with the carrier", among="carriers"),
    "locks.release.who": Word("Who", "an address, a network or a system_id"),
    "message.force.carrier": Word("By the carrier", "empty: the one that could take it soonest", "carriers"),
    "queue.bounce.state": Word("Their senders are told", rare=True),
    "queue.bounce.all": Word("All that waits"),
    "queue.move.all": Word("All that waits"),
}
_NAMES = {
    "account": Word("Account", among="accounts"),
    "carrier": Word("Carrier", among="carriers"),
    "link": Word("Bind", "as north/1", "links"),
    "route": Word("Route", among="routes"),
}
_CARRIER_OR_BIND = Word("Carrier, or one of its binds", "as north or north/1", "links")

_FILTER = (
    "carrier", "route", "account", "older_than_s", "lane", "prefix", "country", "priority", "phase",
    "first_id", "last_id", "all",
)  # fmt: skip
_WHICH = (_FILTER, "which messages: anything that they have in common, or all that waits")
_WHERE = (("to", "to_carrier"), "where to: a route, or one carrier")

# of these arguments one at least must be given
_ONE_OF: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "queue.move": (_WHICH, _WHERE),
    "queue.bounce": (_WHICH,),
    "message.reroute": (_WHERE,),
    "callbacks.replay": (
        (("account", "endpoint", "all"), "which events: of an account, an endpoint, or all"),
    ),
    "deliveries.replay": (
        (
            ("since", "until", "id", "state", "resume"),
            "what to tell again: since when, until when, or one id",
        ),
    ),
}


class Field(NamedTuple):
    """One argument as a form shows it. `kind`: text, number, choice, yes, list, map; `offered`: what there is
    (a list's name, pages.acts)."""

    name: str
    kind: str
    needed: bool
    value: str
    choices: tuple[str, ...] = ()
    word: Word = Word("")


class Wrong(Exception):
    """What was written that cannot be: `problems`, sentences by field; "": about the act as a whole."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


def form_of(act: Act, given: Mapping[str, str]) -> list[Field]:
    """Its fields, as the struct has them; `for_s` among them."""
    types = typing.get_type_hints(act.arguments)
    return [
        _field(act, one, types[one.name], given.get(one.encode_name, ""))
        for one in msgspec.structs.fields(act.arguments)
        if one.encode_name not in NOT_OURS
    ]


def word_of(act: Act, name: str) -> Word:
    """How an argument is called. What WORDS has not is called by its name."""
    if name == "name":
        return _CARRIER_OR_BIND if act.verb == "carrier.rebind" else _NAMES.get(act.subject, Word("Name"))
    found = WORDS.get(f"{act.verb}.{name}") or WORDS.get(name)
    return found or Word(name.replace("_", " ").capitalize())


def _field(act: Act, one: msgspec.structs.FieldInfo, kind: Any, value: str) -> Field:
    kind = _bare(kind)
    word = word_of(act, one.encode_name)
    if typing.get_origin(kind) is Literal:
        choices = tuple(str(choice) for choice in typing.get_args(kind) if choice != "")
        default = "" if one.required or not isinstance(one.default, str) else one.default
        return Field(one.encode_name, "choice", one.required, value or default, choices, word)
    shape = "text"
    if kind is bool:
        shape = "yes"
    elif kind in (int, float):
        shape = "number"
    elif typing.get_origin(kind) in (list, tuple):
        shape = "list"
    elif typing.get_origin(kind) is dict:
        shape = "map"  # an empty one says something, too
    return Field(one.encode_name, shape, one.required and shape != "map", value, (), word)


def _bare(kind: Any) -> Any:
    """Annotated[int, …] → int; str | None → str"""
    while typing.get_origin(kind) in (typing.Annotated, Union, UnionType):
        kind = next(one for one in typing.get_args(kind) if one is not type(None))
    return kind


def todo(act: Act, given: Mapping[str, str]) -> dict[str, str]:
    """What has to be filled in yet: in words, by the field that begins it."""
    left = {
        one.name: _noun(one.word) for one in form_of(act, given) if one.needed and not given.get(one.name)
    }
    for names, words in _ONE_OF.get(act.verb, ()):
        if not any(given.get(name) for name in names):
            left[names[0]] = words
    return left


def arguments(act: Act, given: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """What was written, as the verb takes it; `end` becomes `for_s`. Errors: Wrong."""
    raw: dict[str, Any] = {}
    for one in form_of(act, given):
        if one.kind == "map":
            raw[one.name] = _pairs(one)
        elif not one.value:
            continue
        elif one.kind == "list":
            raw[one.name] = [part.strip() for part in one.value.split(",") if part.strip()]
        else:
            raw[one.name] = one.value == "yes" if one.kind == "yes" else one.value
    if act.ends and given.get(END):
        if given.get("for_s", "0") not in ("", "0"):
            raise Wrong({END: "Choose how long, or write an end: not both"})
        raw["for_s"] = _span(given[END], now)
    if raw.get("to") and raw.get("to_carrier"):
        raise Wrong({"to_carrier": "Give a route or one carrier: not both"})
    try:
        found: dict[str, Any] = msgspec.to_builtins(msgspec.convert(raw, act.arguments, strict=False))
    except msgspec.ValidationError as error:
        raise Wrong(problems_of(act, error)) from None
    return {name: value for name, value in found.items() if name in raw}


def _pairs(field: Field) -> dict[str, str]:
    """`north=70 south=30`, as the command line has it, or `north: 70, south: 30`. Errors: Wrong."""
    found: dict[str, str] = {}
    for part in re.sub(r"\s*[=:]\s*", "=", field.value).replace(",", " ").split():
        name, _, value = part.rpartition("=")
        if not name or not (value.isascii() and value.isdigit()):
            raise Wrong({field.name: f"{field.word.label}: {field.word.what}; {part[:40]!r} is neither"})
        found[name] = value
    return found


def _span(text: str, now: datetime) -> float:
    """Seconds, from minutes or an end. Errors: Wrong."""
    minutes = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(?:m|min|minutes?)?", text)
    if minutes is not None:
        left = float(minutes[1]) * 60
    else:
        try:
            left = seconds_until(text, now)
        except ValueError:
            raise Wrong({END: f"End: minutes, as 45, or {WRITTEN}; to come, in 366 days at most"}) from None
    if not 0 < left <= LONGEST_S:
        raise Wrong({END: "End: more than 0 minutes and at most 366 days from now"})
    return left


def problems_of(act: Act, error: AdminError | msgspec.ValidationError) -> dict[str, str]:
    """What is wrong, by the field that it is about; "": by none."""
    names = {one.name for one in form_of(act, {})}
    if isinstance(error, msgspec.ValidationError):
        about = re.search(r"(?:at `\$\.(\w+)|field `(\w+)`)", str(error))
        name = next((one for one in about.groups() if one), "") if about else ""
        if name not in names:
            return {"": f"This cannot be done so: {error}"}
        field = next(one for one in form_of(act, {}) if one.name == name)
        what = field.word.what or (f"one of {', '.join(field.choices)}" if field.choices else f"{error}")
        return {name: f"{_noun(field.word)}: {what}"}
    if isinstance(error, WrongArguments):
        return {
            name if name in names else "": f"{_noun(word_of(act, name))}: {words}" if name in names else words
            for name, words in error.problems.items()
        }
    return {"": f"{error.message}; {error.hint}" if error.hint else error.message}


def _noun(word: Word) -> str:
    """Rate (segments a second) → Rate"""
    return word.label.partition(" (")[0]
