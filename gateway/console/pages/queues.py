"""Queues: what waits by lane, priority and account, and one line why each does not move.

The filters are the query; each choice of them that somebody watches is a topic of its own, of what was read
once in this second (gateway.figures).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlencode

import msgspec
from starlette.responses import Response

from gateway.acts import BY_VERB
from gateway.console.frame import Frame
from gateway.console.page import Page, Topic, Topics, Visit, one_of
from gateway.overview import LaneView, QueueView, queues
from router.waiting import Wait

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST_ROWS = 100
_WELL = frozenset({"nothing", "free", "busy", "response_pending", "scheduled"})
_GRAVE = frozenset({"no_bind", "circuit_open", "lane_gone", "window_stuck", "lease_lost"})
_COLUMNS = (
    "lane", "account", "priority", "reason", "detail", "ready", "more", "oldest_age_s",
    "leased", "deferred", "scheduled", "held", "unknown",
)  # fmt: skip
# acts on what is shown, by what names it
_ACTS = (
    ("queue.move", "lane", "account"),
    ("queue.bounce", "lane", "account"),
    ("messages.move", "lane", "account"),
    ("messages.bounce", "lane", "account"),
    ("held.release",),
)
_DANGEROUS = ("queue.bounce", "messages.bounce")


class Choice(NamedTuple):
    """Only these; "" = all."""

    lane: str = ""
    account: str = ""
    why: str = ""

    @property
    def query(self) -> str:
        return urlencode({name: value for name, value in self._asdict().items() if value})


class Shown(msgspec.Struct):
    """A lane as it is shown."""

    lane: str
    reason: str
    detail: str
    severity: str
    ready: int
    oldest_age_s: float
    leased: int
    deferred: int
    scheduled: int
    held: int
    unknown: int
    queues: list[QueueView]


def chosen(lanes: Iterable[LaneView], choice: Choice) -> list[LaneView]:
    """Those that fit, each with those of its queues that fit."""
    found = []
    for lane in lanes:
        below = lane.queues
        if (choice.lane and lane.lane != choice.lane) or (choice.account and not below):
            continue
        if choice.account:
            below = [one for one in below if one.account == choice.account]
        if choice.why and lane.reason != choice.why:
            below = [one for one in below if one.reason == choice.why]
        if below or not (choice.account or (choice.why and lane.reason != choice.why)):
            found.append(msgspec.structs.replace(lane, queues=below))
    return found


def show(visit: Visit) -> Response:
    choice = _choice_of(visit)
    of_choice = {"lane": choice.lane, "account": choice.account}
    return visit.render(
        "queues.html",
        parts=parts_of(visit.gateway, visit.frame, choice),
        topic=one_of("queues", choice.query) if choice.query else "queues",
        reasons=sorted(wait.name.lower() for wait in Wait),
        on_these=[
            (verb, {name: of_choice[name] for name in names if of_choice[name]})
            for verb, *names in _ACTS
            if verb in BY_VERB and (not names or choice.lane or choice.account)
        ],
        dangerous=_DANGEROUS,
        query=choice.query,
        **choice._asdict(),
    )


def export(visit: Visit) -> Response:
    """All rows, each queue's and each lane's own."""
    written = io.StringIO()
    out = csv.writer(written)
    out.writerow(_COLUMNS)
    for lane in chosen(queues(visit.gateway), _choice_of(visit)):
        out.writerow(
            (_cell(lane.lane), "", "", lane.reason, _cell(lane.detail), lane.ready, False, lane.oldest_age_s,
             lane.leased, lane.deferred, lane.scheduled, lane.held, lane.unknown)
        )  # fmt: skip
        for one in lane.queues:
            out.writerow(
                (_cell(lane.lane), _cell(one.account), one.priority, one.reason, _cell(one.detail), one.depth,
                 one.more, one.oldest_age_s, "", "", "", "", "")
            )  # fmt: skip
    headers = {"Content-Disposition": 'attachment; filename="queues.csv"', "Cache-Control": "no-store"}
    return Response(written.getvalue(), media_type="text/csv", headers=headers)


def _cell(text: str) -> str:
    """No spreadsheet takes it for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def parts_of(gateway: Gateway, frame: Frame, choice: Choice) -> Mapping[str, str]:
    found = chosen(gateway.figures.queues(), choice)
    lanes, left = [], MOST_ROWS
    for lane in found:
        if left <= 0:
            break
        lanes.append(_shown(lane, left - 1))
        left -= 1 + len(lanes[-1].queues)
    more = sum(1 + len(lane.queues) for lane in found) - (MOST_ROWS - left)
    return {"queues": frame.shared("_queues.html", lanes=lanes, more=more, chosen=bool(choice.query))}


def _shown(lane: LaneView, most: int) -> Shown:
    reason = lane.reason
    return Shown(
        lane.lane,
        reason,
        lane.detail,
        "good" if reason in _WELL else "critical" if reason in _GRAVE else "warning",
        lane.ready,
        lane.oldest_age_s,
        lane.leased,
        lane.deferred,
        lane.scheduled,
        lane.held,
        lane.unknown,
        lane.queues[:most],
    )


def _choice_of(visit: Visit) -> Choice:
    return Choice(visit.query("lane", longest=256), visit.query("account"), visit.query("why"))


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    return parts_of(gateway, frame, Choice())


def some(gateway: Gateway, query: str) -> Topic | None:
    """The topic of one choice of filters."""
    given = {name: values[0] for name, values in parse_qs(query).items() if name in Choice._fields}
    choice = Choice(**given)
    return Topic("queues", "queues.read", lambda gateway, frame: parts_of(gateway, frame, choice))


PAGES = (
    Page("/queues", "queues.read", show, "Queues", "Queues", "q", "queues"),
    Page("/queues.csv", "queues.read", export, "Queues"),
)
TOPICS = (Topic("queues", "queues.read", parts), Topics("queues", "queues.read", some))
