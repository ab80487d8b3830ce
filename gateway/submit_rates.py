"""What each account may submit a second (`tps`, `burst`): one limit for all its edges together.

An account without one costs nothing here: nobody asks. Limits change in place with the account, and what was
taken still counts.

Deliberately not here: what becomes of a submit beyond it (gateway.door over HTTP, gateway.smpp_server over
SMPP), limits of what leaves (gateway.sending).
"""

from __future__ import annotations

from math import ceil

from router.nouns import Account
from router.throttle import Throttle


class SubmitRates:
    """A throttle for each account that has been asked for."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[float, int, Throttle]] = {}

    def of(self, account: Account) -> Throttle:
        """Its throttle, by its settings as they are in `account`."""
        tps, burst = account.tps, account.burst
        known = self._by_id.get(account.id)
        if known is not None and known[0] == tps and known[1] == burst:
            return known[2]
        # A second's worth where the account does not say: customers send what they have at once.
        most = burst or max(1, int(tps))
        if known is None:
            throttle = Throttle(tps, most)
        else:
            throttle = known[2]
            throttle.change(tps, most)
        self._by_id[account.id] = tps, burst, throttle
        return throttle

    def waits_s(self, account: Account, now: float) -> int:
        """Whole seconds, at least 1, after which it may submit one more, if it submits nothing before."""
        return max(1, ceil(self.of(account).next_at(1, now) - now))

    def fields(self, account: Account, now: float) -> tuple[tuple[str, str], tuple[str, str]]:
        """The limit and what is left of it, as HTTP says it (draft-ietf-httpapi-ratelimit-headers-10): `q`
        submits in `w` seconds; `r` are left, `t` seconds until there are more."""
        window_s = max(1, ceil(1 / account.tps))
        most = max(1, int(account.tps * window_s))
        left = max(0, self.of(account).available(now))
        return (
            ("RateLimit-Policy", f'"tps";q={most};w={window_s}'),
            ("RateLimit", f'"tps";r={left};t={self.waits_s(account, now) if left < 1 else window_s}'),
        )
