"""Sign-ins that were refused, as the audit trail tells of them: all of them counted, few of them written.

The first refusal of an operator from a network is told at once, further ones of the same kind together, once
an hour. At most MOST_AN_HOUR entries an hour are written whatever is tried; how many refusals were told of in
none is said by the next one.

A lock that guessing caused is told in the event log as a warning, at once, and of the same name or network
once an hour.

Invariants: guessing cannot fill the trail, the event log, nor memory; a name that is no operator's is not
written down: people type passwords there.

Deliberately not here: what is refused (gateway.sign_in).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from gateway.audit import Actor, acting, entry
from gateway.key_use import Tell
from store.interface import AuditEntry

TELL_AGAIN_MS = 3_600_000
MOST_AN_HOUR = 60
MOST_WARNINGS = 20  # an hour
NOBODY = "nobody"

_KINDS = 4_096

_Kind = tuple[str, str, str]


class Refusals:
    """`note` each; `locked` what was locked by it. `warn` is the event log (HealthWatch.tell)."""

    def __init__(self, wall_ms: Callable[[], int], tell: Callable[[AuditEntry], None]) -> None:
        self._wall_ms = wall_ms
        self._tell = tell
        self.warn: Tell = lambda *_, **__: None
        self._warned_ms: OrderedDict[str, int] = OrderedDict()
        self._told_ms: OrderedDict[_Kind, int] = OrderedDict()
        self._since: dict[_Kind, int] = {}  # how often since then
        self._hour = 0
        self._written = 0
        self._untold = 0
        self.count = 0  # ever

    def note(self, name: str, where: str, why: str) -> None:
        """`name`: an operator's, "" for nobody's; `where`: the network; `why` in words of ours."""
        self.count += 1
        now_ms = self._wall_ms()
        kind = (name, where, why)
        times = self._since.get(kind, 0) + 1
        last_ms = self._told_ms.get(kind)
        if last_ms is not None and 0 <= now_ms - last_ms < TELL_AGAIN_MS:
            self._since[kind] = times
            return
        hour = now_ms // TELL_AGAIN_MS
        if hour != self._hour:
            self._hour, self._written = hour, 0
        if self._written >= MOST_AN_HOUR:
            self._untold += 1
            return
        self._written += 1
        self._remember(kind, now_ms)
        after: dict[str, object] = {"address": where, "why": why, "times": times}
        if self._untold:
            after["others_not_told"] = self._untold
            self._untold = 0
        with acting(Actor(NOBODY, "console")):
            self._tell(
                entry(now_ms, "session.refused", f"operator:{name}" if name else "operator", None, after)
            )

    def locked(self, subject: str, text: str, where: str) -> None:
        """`subject`: operator:NAME, or address:NETWORK."""
        now_ms = self._wall_ms()
        recent = [at_ms for at_ms in self._warned_ms.values() if 0 <= now_ms - at_ms < TELL_AGAIN_MS]
        last_ms = self._warned_ms.get(subject)
        if len(recent) >= MOST_WARNINGS or (last_ms is not None and 0 <= now_ms - last_ms < TELL_AGAIN_MS):
            return
        self._warned_ms[subject] = now_ms
        self._warned_ms.move_to_end(subject)
        if len(self._warned_ms) > MOST_WARNINGS:
            self._warned_ms.popitem(last=False)
        self.warn("sign_in.locked", subject, text, {"address": where}, warning=True)

    def _remember(self, kind: _Kind, now_ms: int) -> None:
        self._since.pop(kind, None)
        self._told_ms[kind] = now_ms
        self._told_ms.move_to_end(kind)
        if len(self._told_ms) > _KINDS:
            oldest, _ = self._told_ms.popitem(last=False)
            self._since.pop(oldest, None)
