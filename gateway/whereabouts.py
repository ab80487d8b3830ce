"""Where one message waits, for operators: in which lane, why that lane does not move, how many go before it.

The words are those of Queues (gateway.overview), from the same facts. How many go before it is counted up to
COUNTED, as the store stands at this moment.

Deliberately not here: what all waits (gateway.overview), what happened to the message so far (its timeline).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.admin_shapes import iso
from gateway.http.timeline import WaitsOut
from gateway.measures import lane_name
from gateway.overview import Waiting
from router.nouns import Message, Phase, Progress, Reason
from store.interface import Before
from store.lanes import lane_of

if TYPE_CHECKING:
    from gateway.app import Gateway

COUNTED = 1_000
_WAITS = frozenset({Phase.READY, Phase.DEFERRED, Phase.SCHEDULED, Phase.HELD})
_HELD = {
    Reason.PARTS: "held until the other parts of its long message are here",
    Reason.LANE_GONE: "held, as its lane is gone from the configuration: signalbox message reroute",
}


def waits(gateway: Gateway, message: Message, progress: Progress) -> WaitsOut | None:
    """None: it does not wait here (a carrier has it, or it has ended)."""
    if progress.phase not in _WAITS:
        return None
    lane = lane_of(message, progress)
    waiting = Waiting(gateway, 1, 1)  # a look at each queue, and no counting
    name, why = lane_name(gateway, lane), ""
    if lane in waiting.known:
        view = waiting.view(lane)
        account = gateway.accounts.by_id.get(message.account)
        mine = account.name if account is not None else str(message.account)
        why = next((one.detail for one in view.queues if one.account == mine), view.detail)
    before = gateway.store.before(message.account, message.id, COUNTED)
    told = [_itself(progress), f"lane {name}: {why}" if why else f"lane {name}", _before(before)]
    counted, more = (None, False) if before is None else before
    return WaitsOut(name, why, "; ".join(filter(None, told)), counted, more)


def _itself(progress: Progress) -> str:
    """What it waits for before its lane matters."""
    if progress.phase == Phase.SCHEDULED:
        return f"scheduled for {iso(progress.until_ms)}"
    if progress.phase == Phase.DEFERRED:
        return f"tried again at {iso(progress.until_ms)}"
    if progress.phase == Phase.HELD:
        return _HELD.get(Reason(progress.reason), "held until somebody releases it")
    return ""


def _before(before: Before | None) -> str:
    """ "" where it is not ready."""
    if before is None:
        return ""
    if before.more:
        return f"more than {before.counted:,} before it"
    return f"about {before.counted:,} before it" if before.counted else "none before it: it is the next"
