"""What its customer has been told of one message: what waits, what was given up, how tries ended.

The timeline is about carriers; events are rows of the outbox until their endpoint took them, so what is not
there any more was taken. Tries are those that callbacks still remember since the start.

Invariant: at most LOOKED rows of each of the account's endpoints are looked at, and some LOOKED_IN_ALL of
all, as traffic waits meanwhile; `Told.complete` says whether that was all of them.

Deliberately not here: sending events (callbacks/, smpp_server/), telling them again (store.again).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.callbacks.formats.standard import type_of
from router.nouns import EventKind, Message, Phase, Progress
from store import undelivered
from store.interface import SMPP_ORIGIN

if TYPE_CHECKING:
    from gateway.app import Gateway

LOOKED = 2_000
LOOKED_IN_ALL = 6_000
_PAGES = 4


class Waiting(NamedTuple):
    """One event that nobody has taken. `state`: ready, retrying (until `at_ms`) or given_up (at `at_ms`)."""

    what: str
    where: str
    state: str
    at_ms: int
    attempts: int
    error: str


class Try(NamedTuple):
    at_ms: int
    where: str
    outcome: str
    error: str


class Told(NamedTuple):
    """`endpoints`: its account's, by id, where the rest of what waits can be looked at."""

    waiting: list[Waiting]
    tries: list[Try]  # newest first
    complete: bool
    endpoints: dict[int, str]

    def in_words(self, progress: Progress) -> str:
        """One sentence."""
        if self.waiting:
            states = {one.state for one in self.waiting}
            if states == {undelivered.GIVEN_UP}:
                return "Its customer was not told: the event was given up. Replay it to try again."
            return f"Its customer is still to be told {len(self.waiting)} thing(s)."
        if not self.complete:
            much = "So much waits for this customer that not all of it was looked at"
            if progress.phase != Phase.FINAL:
                return f"It has not ended: it has no final receipt yet. {much}."
            return (
                f"{much}: its own receipt was not among the oldest that wait, so it is behind them, or taken."
            )
        if progress.phase != Phase.FINAL:
            return "Nothing waits to be told to its customer."
        return "Everything that its customer wanted to know was taken, or it wanted to know nothing."


def told(gateway: Gateway, message: Message) -> Told:
    """Of the endpoints of its account."""
    waiting: list[Waiting] = []
    tries: list[Try] = []
    endpoints: dict[int, str] = {}
    complete, left = True, LOOKED_IN_ALL
    remembered = {state.id: state.recent for state in gateway.pump.endpoints()}
    for endpoint in gateway.store.outbox_endpoints().values():
        if endpoint.account != message.account:
            continue
        where = "its SMPP sessions" if endpoint.origin == SMPP_ORIGIN else endpoint.origin
        endpoints[endpoint.id] = where
        for state in undelivered.STATES:
            found, all_of_it, looked = _waiting(gateway, endpoint.id, state, message.id, left)
            complete &= all_of_it
            left -= looked
            waiting += [
                Waiting(type_of(row.event), where, state, row.at_ms, row.event.attempts, row.event.last_error)
                for row in found
            ]
        tries += [
            Try(one.at_ms, where, one.outcome, one.error)
            for one in reversed(remembered.get(endpoint.id, ()))
            if one.message_id == message.id
        ]
    return Told(waiting, tries, complete, endpoints)


def _waiting(
    gateway: Gateway, endpoint: int, state: str, id: int, most: int
) -> tuple[list[undelivered.Undelivered], bool, int]:
    """The message's events, whether there are no others, and how many rows were looked at."""
    found: list[undelivered.Undelivered] = []
    after, looked = b"", 0
    for _ in range(_PAGES):
        if looked >= most:
            break
        page = undelivered.page(gateway.store, endpoint, state, after, LOOKED // _PAGES)
        looked += LOOKED // _PAGES if page.after else len(page.rows)
        found += [
            row for row in page.rows if row.event.kind != EventKind.ACCOUNT and row.event.message_id == id
        ]
        after = page.after
        if not after:
            return found, True, looked
    return found, False, looked
