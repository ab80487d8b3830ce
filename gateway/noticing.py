"""What goes wrong outside, and ends, as events: carriers without a bind or slowed down, accounts' callback
endpoints that fail, sessions of customers that broke.

Carriers and endpoints are looked at once a second, and an event tells of a change: the same one about the
same subject at most once a minute. A state that changes more often is told as it is when the minute is over,
so the last event about a subject is soon true. Sessions are told as they end, later ones together.

Memory follows carriers and accounts in trouble. Deliberately not here: what is wrong now (gateway.troubles),
circuit breakers of carriers (gateway.health), keeping events (store.notices).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import trio

from gateway.callbacks.endpoint import EndpointState, Health

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier
    from router.nouns import Account

AGAIN_S = 60.0  # the same about the same subject
START_S = 30.0  # that a carrier has for its first bind
_MOST = 10_000  # subjects
_LONGEST = 200  # of an error that somebody else wrote


class _Lost(NamedTuple):
    """Sessions of an account that ended since it was told last. `words`: of the latest."""

    sessions: int
    words: str


class Noticing:
    """`tell` writes an event (gateway.health.HealthWatch.tell)."""

    def __init__(self, gateway: Gateway, tell: Callable[..., None]) -> None:
        self._gateway = gateway
        self._tell = tell
        self._begun: dict[str, float] = {}  # carrier → when it was seen first
        self._bad: set[tuple[str, str]] = set()  # (kind, subject) told, and not its end
        self._told: dict[tuple[str, str], float] = {}  # (kind, subject) → when
        self._lost: dict[str, _Lost] = {}  # by account

    def look(self) -> None:
        """Once at carriers and endpoints, and tell what has changed."""
        if self._gateway.stopping.is_set():
            return
        now = trio.current_time()
        self._told = {key: at for key, at in self._told.items() if now - at < AGAIN_S}
        names = {carrier.name for carrier in self._gateway.carriers}
        self._begun = {name: self._begun.get(name, now) for name in names}
        subjects = {f"carrier:{name}" for name in names}
        self._bad = {key for key in self._bad if key[1] in subjects or key[0] == "callbacks.failing"}
        for carrier in self._gateway.carriers:
            self._look_at(carrier, now)
        self._look_at_endpoints(now)
        for account in list(self._lost):
            self._tell_lost(account, now)

    def session_lost(self, account: Account, words: str) -> None:
        """A session of a customer ended by a time-out or an error."""
        before = self._lost.get(account.name)
        if before is None and len(self._lost) >= _MOST:
            return
        self._lost[account.name] = _Lost(1 + (before.sessions if before is not None else 0), words[:_LONGEST])

    def _look_at(self, carrier: Carrier, now: float) -> None:
        subject = f"carrier:{carrier.name}"
        bound = any(link.bound for link in carrier.links)
        if bound or ("carrier.no_bind", subject) in self._bad or now - self._begun[carrier.name] >= START_S:
            errors = sorted({link.last_error for link in carrier.links if link.last_error})
            why = f"no bind: {'; '.join(errors)}"[:_LONGEST] if errors else "no bind"
            if not carrier.links:
                why = "no bind: it is drained"
            text = why if not bound else f"bound again: {sum(link.bound for link in carrier.links)} binds"
            self._is(not bound, ("carrier.no_bind", "carrier.bound"), subject, text, now)
        if bound:
            self._begun[carrier.name] = now - START_S
            slowed = carrier.pacing.reason(now)
            text = f"slowed down: {slowed}" if slowed else "sent as much as is configured again"
            self._is(bool(slowed), ("carrier.slowed", "carrier.full_rate"), subject, text, now)

    def _look_at_endpoints(self, now: float) -> None:
        """By account, as one may have thousands."""
        shut: dict[int, list[EndpointState]] = {}
        for state in self._gateway.pump.endpoints():
            if state.health is Health.OPEN:
                shut.setdefault(state.account, []).append(state)
        failing = {}
        for id, states in shut.items():
            account = self._gateway.accounts.by_id.get(id)
            if account is not None:
                first = states[0]
                more = f", and {len(states) - 1} more of its endpoints" if len(states) > 1 else ""
                text = (
                    f"{first.endpoint.origin} is tried only now and then: {first.last_error[:_LONGEST]}{more}"
                )
                failing[f"account:{account.name}"] = text
        over = {subject for kind, subject in self._bad if kind == "callbacks.failing"} - failing.keys()
        kinds = "callbacks.failing", "callbacks.well"
        for subject, text in failing.items():
            self._is(True, kinds, subject, text, now)
        for subject in over:
            self._is(False, kinds, subject, "its callback endpoints take events again", now)

    def _is(self, bad: bool, kinds: tuple[str, str], subject: str, text: str, now: float) -> None:
        """Tell it, where it was told otherwise before. `kinds`: for bad, for good again."""
        key = kinds[0], subject
        if bad is (key in self._bad):
            return
        kind = kinds[0] if bad else kinds[1]
        if (kind, subject) in self._told or len(self._told) >= _MOST:
            return
        (self._bad.add if bad else self._bad.discard)(key)
        self._told[kind, subject] = now
        self._tell(kind, subject, text, {}, warning=bad)

    def _tell_lost(self, account: str, now: float) -> None:
        subject = f"account:{account}"
        if ("session.lost", subject) in self._told or len(self._told) >= _MOST:
            return
        lost = self._lost.pop(account)
        self._told["session.lost", subject] = now
        text = lost.words if lost.sessions == 1 else f"{lost.sessions:,} sessions, the latest: {lost.words}"
        self._tell("session.lost", subject, text, {"sessions": lost.sessions}, warning=True)
