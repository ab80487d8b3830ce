"""Callbacks and customers' sessions as endpoints: what each has not taken, how it fails, and replaying it.

Invariant: for a page, and each second while somebody watches, at most MOST endpoints are looked at (those in
trouble, then those for which events wait), COUNTED events of each kind of one, and COUNTED_IN_ALL of all:
that is done on the loop, and traffic waits for it. A page of one endpoint counts that one.

Deliberately not here: sending (gateway.callbacks), moving between channels (the acts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import Response

from gateway.callbacks.endpoint import EndpointState, Health
from gateway.console.frame import Frame
from gateway.console.page import Page, Refusal, Topic, Visit
from store.backlog import given_up, retrying, waiting, with_waiting
from store.interface import SMPP_ORIGIN, Endpoint
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


class EndpointRows(NamedTuple):
    """`more`: endpoints that are not among the rows."""

    rows: list[EndpointRow]
    more: int


def rows_of(gateway: Gateway, account_id: int = 0) -> EndpointRows:
    """Those with trouble first, then those with most to take. `account_id` 0: of all accounts."""
    every = gateway.store.outbox_endpoints()
    if account_id:
        every = {id: one for id, one in every.items() if one.account == account_id}
    first = [id for id in _those_first(gateway) if id in every]
    chosen = list(islice(dict.fromkeys(chain(first, every)), MOST))
    most = min(COUNTED, COUNTED_IN_ALL // (2 * max(1, len(chosen))))
    rows = _rows(gateway, [every[id] for id in chosen], most)
    rows.sort(key=lambda one: (_ORDER.get(one.health, 0), -one.waiting, -one.given_up, one.account))
    return EndpointRows(rows, len(every) - len(chosen))


def _those_first(gateway: Gateway) -> Iterator[int]:
    """By id: those that fail, whose customer is away or does not read, then those for which events wait."""
    behind = gateway.troubles.behind
    yield from (state.id for state in gateway.pump.endpoints() if state.health is not Health.GOOD)
    yield from (port.endpoint for _, port in behind.not_reading())
    yield from sorted(behind.away, key=behind.away.__getitem__)
    yield from with_waiting(gateway.store, MOST)


def _rows(gateway: Gateway, endpoints: Sequence[Endpoint], most: int) -> list[EndpointRow]:
    """Events are counted up to `most` of each kind."""
    states = {state.id: state for state in gateway.pump.endpoints()}
    later = retrying(gateway.store, COUNTED)
    return [_row(gateway, one, states.get(one.id), later.get(one.id, 0), most) for one in endpoints]


def _row(
    gateway: Gateway, endpoint: Endpoint, state: EndpointState | None, later: int, most: int
) -> EndpointRow:
    account = gateway.accounts.by_id.get(endpoint.account)
    smpp = endpoint.origin == SMPP_ORIGIN
    return EndpointRow(
        endpoint.id,
        account.name if account is not None else str(endpoint.account),
        "SMPP sessions" if smpp else endpoint.origin,
        smpp,
        state.health.name.lower() if state is not None else "good",
        state.last_error if state is not None else "",
        waiting(gateway.store, endpoint.id, most) + later,
        given_up(gateway.store, endpoint.id, most),
        most,
    )


def listed(visit: Visit) -> Response:
    found = rows_of(visit.gateway)
    return visit.render("callbacks.html", endpoints=found.rows, more=found.more)


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    found = rows_of(gateway)
    return {"endpoints": frame.shared("_endpoints.html", endpoints=found.rows, more=found.more)}


async def show(visit: Visit) -> Response:
    given = visit.params["id"]
    id = int(given) if re.fullmatch(r"[0-9]{1,10}", given) else 0
    endpoint = visit.gateway.store.outbox_endpoints().get(id)
    if endpoint is None:
        raise Refusal(404, f"There is no endpoint {given[:20]!r}.")
    (row,) = _rows(visit.gateway, [endpoint], COUNTED)
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
