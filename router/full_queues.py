"""Whose queue is full: ESME_RMSGQFUL (SMPP 3.4 section 5.1.3) may mean the recipient's, or the whole SMSC's.

A recipient's queue (a handset that is off has so many messages waiting there) is nobody else's concern. It is
the carrier's when `RECIPIENTS` different ones are refused so with no more messages accepted in between than
that, within `WITHIN_S`: half of the answers, whatever the rate.

Invariant: no more than `RECIPIENTS` are remembered, and only what was refused so costs anything.

Deliberately not here: what follows of it (router.judge, router.adaptive), a clock.
"""

from __future__ import annotations

RECIPIENTS = 3
WITHIN_S = 10.0


class FullQueues:
    """Of one carrier."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}  # recipient → (when, accepted by then), oldest first

    def refused(self, now: float, recipient: str, accepted: int) -> bool:
        """A message to this number got ESME_RMSGQFUL. `accepted`: a running total of the messages that the
        carrier has accepted. True: its own queue is full."""
        seen = self._seen
        seen.pop(recipient, None)
        seen[recipient] = now, accepted
        for known, (at, before) in list(seen.items()):
            if at <= now - WITHIN_S or accepted - before > RECIPIENTS or len(seen) > RECIPIENTS:
                del seen[known]
        return len(seen) >= RECIPIENTS

    @property
    def known(self) -> int:
        """How many recipients are remembered."""
        return len(self._seen)
