"""Overview: what is wrong, first; how much is accepted, sent and delivered; what waits; us or the carrier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.responses import Response

from gateway.console.frame import Frame
from gateway.console.page import Page, Topic, Visit
from gateway.console.verdicts import rows, worst_first

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST_PROBLEMS = 20
MOST_CARRIERS = 20


def show(visit: Visit) -> Response:
    return visit.render("overview.html", parts=parts(visit.gateway, visit.frame))


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    now = gateway.figures.snapshot()
    carriers = worst_first(rows(gateway))
    return {
        "problems": frame.shared(
            "_problems.html",
            problems=now.problems[:MOST_PROBLEMS],
            more=max(0, len(now.problems) - MOST_PROBLEMS),
        ),
        "tiles": frame.shared("_tiles.html", now=now, search=gateway.searching.view()),
        "us-or-them": frame.shared(
            "_us_or_them.html",
            rows=carriers[:MOST_CARRIERS],
            more=max(0, len(carriers) - MOST_CARRIERS),
        ),
    }


def figures(gateway: Gateway) -> object:
    past = gateway.figures.history()
    return {
        "times": past.seconds,
        "charts": {
            "rates": {
                "labels": ["accepted", "sent", "delivered"],
                "rows": [past.accepted, past.sent, past.delivered],
            },
            "depth": {"labels": ["waiting"], "rows": [past.waiting]},
        },
    }


PAGES = (Page("/overview", "carriers.read", show, "Overview", "Overview", "o", "overview"),)
TOPICS = (Topic("overview", "carriers.read", parts, figures),)
