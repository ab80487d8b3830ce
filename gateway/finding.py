"""From what somebody asks for to a search, and from what was found to rows: for HTTP, commands and CSV.

Numbers are taken in any usual form: +44…, 00…, or national with a region. Rows never say what a message says,
and numbers in them are masked for whoever may not see them. A cursor is good for the question that it came
with and for no other.

Deliberately not here: whose key it is (gateway.http.search), the search itself (store.search).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from zlib import crc32

import msgspec

from gateway.http import paging
from gateway.http.problems import BadRequest
from gateway.http.table.messages import STATES, Filters, MessageRow
from gateway.http.timeline import encoding_name, rfc3339, state_name
from gateway.logs import mask_address
from router.nouns import MessageClass, MessageState, Phase, Reason
from router.numbers import NumberProblem, normalise, sender_of
from store.interface import NO_ID
from store.search import Hit, Page, Query

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LATEST_MS = 253_402_300_800_000  # the year 10000


class WishProblem(Exception):
    """What cannot be taken: by name, what may be given. `unknown`: an account that does not exist."""

    def __init__(self, problems: Mapping[str, str], unknown: str = "") -> None:
        super().__init__("; ".join(f"{name}: {what}" for name, what in problems.items()))
        self.problems = problems
        self.unknown = unknown


def query_of(
    wish: Filters,
    limit: int,
    cursor: str,
    now_ms: int,
    region: str,
    known: Mapping[str, int],
    own: Sequence[int] = (),
) -> Query:
    """The search. `known`: accounts' ids by name; `own`: the only ones that may be searched, () = all.

    Errors: WishProblem.
    """
    problems: dict[str, str] = {}
    names = [name.strip() for name in wish.account.split(",") if name.strip()]
    unknown = [name for name in names if name not in known or (own and known[name] not in own)]
    if unknown:
        raise WishProblem({"account": f"there is no account {unknown[0][:64]!r}"}, unknown[0][:64])
    accounts = tuple(known[name] for name in names) or tuple(own)
    since_ms = _time(wish.since, now_ms, "since", problems)
    until_ms = _time(wish.until, now_ms, "until", problems)
    query = Query(
        to=_recipients(wish.to, region, problems),
        sender=_senders(wish.sender, region),
        accounts=accounts,
        client_ref=wish.client_ref,
        tag=wish.tag,
        states=_states(wish.state, problems),
        since_ms=since_ms,
        until_ms=until_ms,
        limit=limit,
    )
    before = _before(cursor, query)
    if before is None:
        problems["cursor"] = "as `next` of the page before gave it, with the same filters"
    if problems:
        raise WishProblem(problems)
    return msgspec.structs.replace(query, before=before)


def cursor_of(query: Query, page: Page) -> str:
    """Where the next page begins; "": there is none."""
    if not page.before:
        return ""
    return paging.cursor((page.before, _mark(query)))


def _before(text: str, query: Query) -> int | None:
    """None for what is no cursor of this question."""
    try:
        before, mark = paging.after(text, tuple[int, int], (NO_ID, _mark(query)))
    except BadRequest:
        return None
    return before if mark == _mark(query) and 0 <= before <= NO_ID else None


def _mark(query: Query) -> int:
    """The same for all pages of a question; ages ("2h") move, so times are left out."""
    fields = query.to, query.sender, query.accounts, query.client_ref, query.tag, query.states
    return crc32(msgspec.msgpack.encode(fields))


def _recipients(text: str, region: str, problems: dict[str, str]) -> tuple[str, ...]:
    if not text.strip():
        return ()
    try:
        return (normalise(text.strip(), region),)
    except NumberProblem as problem:
        problems["to"] = str(problem)
        return ()


def _senders(text: str, region: str) -> tuple[str, ...]:
    """As it was written, and as the number that it may be."""
    text = text.strip()
    if not text:
        return ()
    try:
        return tuple(dict.fromkeys((text, sender_of(text, region)[0])))
    except NumberProblem:
        return (text,)


def _states(text: str, problems: dict[str, str]) -> tuple[int, ...]:
    found = []
    for name in text.split(","):
        if name.strip():
            try:
                found.append(int(MessageState[name.strip().upper()]))
            except KeyError:
                problems["state"] = f"of {STATES}; several with commas between"
    return tuple(sorted(set(found)))


def _time(text: str, now_ms: int, name: str, problems: dict[str, str]) -> int:
    """UTC milliseconds; 0 = not given."""
    if not text:
        return 0
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return max(1, now_ms - int(ago[1]) * _UNITS_MS[ago[2]])
    try:
        at = datetime.fromisoformat(text)
        at_ms = round(at.timestamp() * 1000) if at.tzinfo is not None else 0
    except (ValueError, OverflowError):
        at_ms = 0
    if not 0 < at_ms < _LATEST_MS:
        problems[name] = "a time with its zone (RFC 3339), such as 2030-01-31T09:30:00Z, or an age such as 2h"
        return 0
    return at_ms


# what was found


def row_of(
    hit: Hit, carrier_name: Callable[[int], str], account: str = "", *, masked: bool = False
) -> MessageRow:
    """`account`: its name, for operators. `masked`: for somebody who may not see numbers."""
    shown = mask_address if masked else str
    return MessageRow(
        str(hit.id),
        state_name(hit.state),
        _name(Phase, hit.phase),
        hit.phase == Phase.FINAL,
        shown(hit.destination),
        shown(hit.source) if hit.source.isdigit() else hit.source,
        encoding_name(hit.encoding),
        hit.segments,
        _name(MessageClass, hit.message_class),
        hit.route,
        rfc3339(hit.accepted_ms),
        hit.attempts,
        account,
        _name(Reason, hit.reason) if hit.reason else "",
        hit.cause,
        rfc3339(hit.send_at_ms) if hit.send_at_ms else None,
        rfc3339(hit.finished_ms) if hit.finished_ms else None,
        rfc3339(hit.done_ms) if hit.done_ms and hit.phase == Phase.FINAL else None,
        [carrier_name(carrier) for carrier in hit.carriers],
        hit.client_ref,
        hit.tags,
        rfc3339(hit.erased_ms) if hit.erased_ms else None,
    )


def _name(names: type[Phase] | type[MessageClass] | type[Reason], value: int) -> str:
    """In lower case; a value from a newer Signalbox stays a number."""
    try:
        return names(value).name.lower()
    except ValueError:
        return str(value)


# CSV (RFC 4180)

COLUMNS = (
    "id", "accepted_at", "account", "from", "to", "state", "phase", "reason", "cause", "segments", "encoding",
    "class", "route", "carriers", "attempts", "send_at", "finished_at", "done_at", "client_ref", "tags",
)  # fmt: skip
CSV_HEAD = ",".join(COLUMNS) + "\r\n"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet run a cell


def csv_line(row: MessageRow) -> str:
    """One line with its CR LF. A cell that a spreadsheet would run gets an apostrophe in front."""
    return csv_of(msgspec.to_builtins(row))


def csv_of(given: Mapping[str, object]) -> str:
    """The same of a row as JSON has it."""
    return ",".join(_cell(given.get(column, "")) for column in COLUMNS) + "\r\n"


def _cell(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if text.startswith(_FORMULA):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if set(text) & {'"', ",", "\r", "\n"} else text
