"""Callbacks and customers' sessions as endpoints: what each has not taken, how it fails, and replaying it.

Invariant: for a page, and each second while somebody watches, at most MOST endpoints are looked at, COUNTED
events of each kind of one, and COUNTED_IN_ALL of all: that is done on the loop, and traffic waits for it.

Deliberately not here: sending (gateway.callbacks), moving between channels (the acts).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import Response

from gateway.console.frame import Frame
from gateway.console.page import Page, Refusal, Topic, Visit
from store.backlog import given_up, retrying, waiting
from store.interface import SMPP_ORIGIN
from store.undelivered import STATES

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST = 200
COUNTED = 1_000
COUNTED_IN_ALL = 40_000
_ORDER = {"good": 1}


class EndpointRow(NamedTuple):
    """`waiting` and `given_up` are counted up to `counted`."""

    id: int
    account: str
    where: str
    smpp: bool
    health: str
    last_error: str
    waiting: int
    given_up: int
    counted: int


def rows_of(gateway: Gateway, account_id: int = 0) -> list[EndpointRow]:
    """Those with trouble first, then those with most to take. `account_id` 0: of all accounts."""
    states = {state.id: state for state in gateway.pump.endpoints()}
    rows = []
    every = gateway.store.outbox_endpoints().values()
    endpoints = [one for one in every if account_id in (0, one.account)][:MOST]
    most = min(COUNTED, COUNTED_IN_ALL // (2 * max(1, len(endpoints))))
    later = retrying(gateway.store, COUNTED)
    for endpoint in endpoints:
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
                waiting(gateway.store, endpoint.id, most) + later.get(endpoint.id, 0),
                given_up(gateway.store, endpoint.id, most),
                most,
            )
        )
    return sorted(rows, key=lambda one: (_ORDER.get(one.health, 0), -one.waiting, -one.given_up, one.account))


def listed(visit: Visit) -> Response:
    return visit.render("callbacks.html", endpoints=rows_of(visit.gateway))


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    return {"endpoints": frame.shared("_endpoints.html", endpoints=rows_of(gateway))}


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
    )


PAGES = (
    Page("/callbacks", "callbacks.read", listed, "Callbacks and sessions", "Callbacks", "b", "callbacks"),
    Page("/callbacks/{id}", "callbacks.read", show, "Endpoint"),
)
TOPICS = (Topic("callbacks", "callbacks.read", parts),)
