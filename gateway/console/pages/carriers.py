"""Carriers: all of them with their figures, and whose business it is where one does not move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.responses import Response

from gateway.console.frame import Frame
from gateway.console.page import Page, Topic, Visit
from gateway.console.verdicts import rows

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST = 100


def show(visit: Visit) -> Response:
    return visit.render("carriers.html", parts=parts(visit.gateway, visit.frame))


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    found = rows(gateway)
    shown = frame.shared("_carriers.html", rows=found[:MOST], more=max(0, len(found) - MOST))
    return {"carriers": shown}


PAGES = (Page("/carriers", "carriers.read", show, "Carriers", "Carriers", "c", "carriers"),)
TOPICS = (Topic("carriers", "carriers.read", parts),)
