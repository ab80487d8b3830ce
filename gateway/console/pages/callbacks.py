"""Callbacks and customers' sessions as endpoints: what each has not taken, how it fails, and replaying it.

Invariant: for a page, and each second while somebody watches, at most MOST endpoints are looked at (those in
trouble, then those for which events wait), COUNTED events of each kind of one, and COUNTED_IN_ALL of all:
that is done on the loop, and traffic waits for it. A page of one endpoint counts that one.

Deliberately not here: sending (gateway.callbacks), moving between channels (the acts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import trio
from starlette.responses import Response

from gateway.callbacks.endpoint import EndpointState, Health
from gateway.console.frame import Frame
from gateway.console.page import Page, Refusal, Topic, Visit
from store.backlog import given_up, retrying, waiting, with_waiting
from store.interface import SMPP_ORIGIN, Endpoint
from store.names import origin_of
from store.undelivered import STATES

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST = 200
COUNTED = 1_000
COUNTED_IN_ALL = 40_000


class EndpointRow(NamedTuple):
    """`health` in words; `severity`: warning, good, or "" where nothing is wrong and nothing goes. `waiting`
    and `given_up` are counted up to `counted`."""

    id: int
    account: str
    where: str
    smpp: bool
    health: str
    severity: str
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
    rows.sort(key=lambda one: (one.severity != "warning", -one.waiting, -one.given_up, one.account))
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
    events = waiting(gateway.store, endpoint.id, most) + later
    health, severity = _of_sessions(gateway, endpoint, events) if smpp else _of_url(gateway, endpoint, state)
    return EndpointRow(
        endpoint.id,
        account.name if account is not None else str(endpoint.account),
        "SMPP sessions" if smpp else endpoint.origin,
        smpp,
        health,
        severity,
        state.last_error if state is not None else "",
        events,
        given_up(gateway.store, endpoint.id, most),
        most,
    )


def _of_sessions(gateway: Gateway, endpoint: Endpoint, events: int) -> tuple[str, str]:
    """How an account's sessions take their events, in words, and how bad that is."""
    why = gateway.troubles.behind.why_account(endpoint.account)
    if not why:
        return "working", "good"
    if why.startswith("not bound"):
        by = why.partition(":")[2]  # whose order keeps it out
        told = "not bound, and events wait" if events else "not bound"
        return told + (f":{by}" if by else ""), "warning" if events else ""
    return why.removeprefix("bound, and "), "warning"


def _of_url(gateway: Gateway, endpoint: Endpoint, state: EndpointState | None) -> tuple[str, str]:
    """The same of a callback endpoint."""
    account = gateway.accounts.by_id.get(endpoint.account)
    gone = account.callbacks_gone if account is not None else ()
    health = state.health if state is not None else Health.GOOD
    if health is Health.DISABLED or any(origin_of(url) == endpoint.origin for url in gone):
        return "wants no more events: it said 410", "warning"
    if state is not None and state.held:
        return "waits while its events are moved", "warning"
    if state is None or health is Health.GOOD:
        return "working", "good"
    answers = "answers with errors" if state.last_error.startswith("HTTP ") else "does not answer"
    if health is Health.FAILING:
        return answers, "warning"
    return (
        f"{'asked for a pause' if health is Health.PAUSED else answers}, {_next_try(gateway, state)}",
        "warning",
    )


def _next_try(gateway: Gateway, state: EndpointState) -> str:
    left_s = state.resume_at - trio.current_time()
    if left_s <= 0:
        return "next try now"
    at = datetime.fromtimestamp(gateway.world.wall_ms() / 1000 + left_s, UTC)
    return f"next try {at:%H:%M} UTC"


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
    account = visit.gateway.accounts.by_id.get(endpoint.account)
    _, ends = visit.gateway.troubles.behind.kept_out(account) if account is not None else ("", "")
    return visit.render(
        "endpoint.html",
        row=row,
        ends=ends,  # what lets the account bind again
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
