"""Overview: what is wrong, first; how much is accepted, sent and delivered; what waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.responses import Response

from gateway.console.frame import Frame
from gateway.console.page import Page, Topic, Visit
from gateway.overview import problems

if TYPE_CHECKING:
    from gateway.app import Gateway


def show(visit: Visit) -> Response:
    return visit.render("overview.html", problems=problems(visit.gateway))


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    return {"problems": frame.shared("_problems.html", problems=problems(gateway))}


PAGES = (Page("/overview", "carriers.read", show, "Overview", "Overview", "o", "overview"),)
TOPICS = (Topic("overview", "carriers.read", parts),)
