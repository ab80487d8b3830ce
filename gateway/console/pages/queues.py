"""Queues: what waits by lane, priority and account, and one line why each does not move.

The filters are the query; each choice of them that somebody watches is a topic of its own, of what was read
once in this second (gateway.figures).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlencode

import msgspec
import trio
from starlette.responses import Response

from gateway.acts import BY_VERB
from gateway.console.frame import Frame
from gateway.console.page import Page, Topic, Topics, Visit, one_of
from gateway.measures import lane_name
from gateway.overview import LaneView, Waiting
from router.waiting import Wait

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST_ROWS = 80
MOST_EXPORTED = 10_000
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
    ("held.release",),
)
_DANGEROUS = ("queue.bounce",)


class Choice(NamedTuple):
    """Only these; "" = all."""

    lane: str = ""
    account: str = ""
    why: str = ""

    @property
    def query(self) -> str:
        return urlencode({name: value for name, value in self._asdict().items() if value})


def chosen(gateway: Gateway, waiting: Waiting, choice: Choice, most: int) -> tuple[list[LaneView], int]:
    """Those that fit, each with those of its queues that fit, up to `most` rows; and how many rows more there
    are, at most: why a lane waits is not asked of all."""
    found: list[LaneView] = []
    rows = more = 0
    for lane, below in _asked_for(gateway, waiting, choice):
        if rows >= most:
            more += 1 + below
            continue
        view = _fitting(waiting.view(lane), choice)
        if view is not None:
            left = most - rows - 1
            more += max(0, len(view.queues) - left)
            found.append(msgspec.structs.replace(view, queues=view.queues[:left]))
            rows += 1 + len(found[-1].queues)
    return found, more


def _asked_for(gateway: Gateway, waiting: Waiting, choice: Choice) -> Iterator[tuple[int, int]]:
    """Lanes, each with how many of its queues fit, as far as both are known without asking why they wait."""
    for lane in waiting.lanes:
        below = waiting.queues.get(lane, [])
        if choice.account:
            below = [one for one in below if _account(gateway, one.account) == choice.account]
            if not below:
                continue
        if not choice.lane or lane_name(gateway, lane) == choice.lane:
            yield lane, len(below)


def _fitting(lane: LaneView, choice: Choice) -> LaneView | None:
    """The lane with the queues that were asked for; None: nothing of it was."""
    below = lane.queues
    if choice.account:
        below = [one for one in below if one.account == choice.account]
    if choice.why and lane.reason != choice.why:
        below = [one for one in below if one.reason == choice.why]
        if not below:
            return None
    return msgspec.structs.replace(lane, queues=below)


def _account(gateway: Gateway, id: int) -> str:
    account = gateway.accounts.by_id.get(id)
    return account.name if account is not None else str(id)


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


async def export(visit: Visit) -> Response:
    """Rows up to MOST_EXPORTED, each lane's own and those of its queues. Traffic goes on between lanes."""
    written = io.StringIO()
    out = csv.writer(written)
    out.writerow(_COLUMNS)
    waiting, choice = Waiting(visit.gateway), _choice_of(visit)
    for asked_for, _ in islice(_asked_for(visit.gateway, waiting, choice), MOST_EXPORTED):
        waiting.view(asked_for)
        await trio.lowlevel.checkpoint()
    for lane in chosen(visit.gateway, waiting, choice, MOST_EXPORTED)[0]:
        await trio.lowlevel.checkpoint()
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
    lanes, more = chosen(gateway, gateway.figures.queues(), choice, MOST_ROWS)
    shown = [(lane, severity(lane.reason)) for lane in lanes]
    return {"queues": frame.shared("_queues.html", lanes=shown, more=more, chosen=bool(choice.query))}


def severity(reason: str) -> str:
    """Of why a lane does not move, as a badge has it."""
    return "good" if reason in _WELL else "critical" if reason in _GRAVE else "warning"


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
