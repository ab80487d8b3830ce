"""Callbacks and customers' sessions as endpoints: what each has not taken, how it fails, and replaying it.

Invariant: at most MOST endpoints and COUNTED events of each are counted for a page.

Deliberately not here: sending (gateway.callbacks), moving between channels (the acts).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import Response

from gateway.console.frame import Frame
from gateway.console.page import Page, Refusal, Topic, Visit
from store.backlog import waiting
from store.interface import SMPP_ORIGIN
from store.undelivered import STATES

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST = 200
COUNTED = 1_000
_ORDER = {"good": 1}


class EndpointRow(NamedTuple):
    """`waiting` and `given_up` are counted up to COUNTED."""

    id: int
    account: str
    where: str
    smpp: bool
    health: str
    last_error: str
    waiting: int
    given_up: int


def rows_of(gateway: Gateway) -> list[EndpointRow]:
    """Those with trouble first, then those with most to take."""
    states = {state.id: state for state in gateway.pump.endpoints()}
    rows = []
    for endpoint in list(gateway.store.outbox_endpoints().values())[:MOST]:
        account = gateway.accounts.by_id.get(endpoint.account)
        state = states.get(endpoint.id)
        smpp = endpoint.origin == SMPP_ORIGIN
        rows.append(
            EndpointRow(
                endpoint.id,
                account.name if account is not None else str(endpoint.account),
                "SMPP sessions" if smpp else endpoint.origin,
                smpp,
                state.health.name.lower() if state is not None else "good",
                state.last_error if state is not None else "",
                waiting(gateway.store, endpoint.id, COUNTED),
                len(gateway.store.given_up([endpoint.id], COUNTED)),
            )
        )
    return sorted(rows, key=lambda one: (_ORDER.get(one.health, 0), -one.waiting, -one.given_up, one.account))


def listed(visit: Visit) -> Response:
    return visit.render("callbacks.html", endpoints=rows_of(visit.gateway), counted=COUNTED)


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    return {"endpoints": frame.shared("_endpoints.html", endpoints=rows_of(gateway), counted=COUNTED)}


async def show(visit: Visit) -> Response:
    given = visit.params["id"]
    row = next((one for one in rows_of(visit.gateway) if str(one.id) == given), None)
    if row is None:
        raise Refusal(404, f"There is no endpoint {given[:20]!r}.")
    state = visit.query("state", "ready")
    state = state if state in STATES else "ready"
    after = visit.query("after")
    found = await visit.ask("callbacks.events", endpoint=row.id, state=state, after=after, limit=50)
    attempts = await visit.ask("callbacks.attempts", endpoint=row.id)
    return visit.render(
        "endpoint.html",
        row=row,
        state=state,
        states=STATES,
        events=found["events"],
        after=found["after"],
        attempts=attempts,
        counted=COUNTED,
    )


PAGES = (
    Page("/callbacks", "callbacks.read", listed, "Callbacks and sessions", "Callbacks", "b", "callbacks"),
    Page("/callbacks/{id}", "callbacks.read", show, "Endpoint"),
)
TOPICS = (Topic("callbacks", "callbacks.read", parts),)
