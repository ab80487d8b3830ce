"""Which networks keep connecting and never ask for a bind, and so are shut out for a while.

Each connection that ended without a bind request is a strike for its network (an IPv4 address, or the /64
of an IPv6 one); one strike is forgiven a second. MOST_STRIKES shut the network out for the length of a lock.
What knocks during it is not counted, so a lock always ends by itself.

A check that connects once a second, an address that sometimes fails: neither ever comes so far.

Invariants: a bind that was admitted, or an operator, forgets everything about its network; the table has an
end, where the network that struck longest ago goes first.

Deliberately not here: who is spared (gate), wrong passwords (locks), closing sockets (listener).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MOST_STRIKES = 50
_FORGIVEN_PER_S = 1.0
_ENTRIES = 16_384


class _Tally:
    __slots__ = ("at", "strikes", "until")

    def __init__(self, now: float) -> None:
        self.at = now
        self.strikes = 0.0  # as they were at `at`
        self.until = 0.0


class Strikes:
    """`count` after each connection without a bind, `left_s` before each."""

    def __init__(self, now: Callable[[], float], *, lock_s: float, entries: int = _ENTRIES) -> None:
        self._now = now
        self._lock_s = lock_s
        self._entries = entries
        self._by_network: OrderedDict[str, _Tally] = OrderedDict()
        self.shut_outs = 0  # ever

    def left_s(self, network: str) -> float:
        """Seconds for which it is shut out; 0 = it is not."""
        tally = self._by_network.get(network)
        return max(0.0, tally.until - self._now()) if tally is not None and tally.until else 0.0

    def count(self, network: str) -> bool:
        """A strike. True when there are so many that the network is to be shut out, or forgiven."""
        now = self._now()
        tally = self._by_network.get(network)
        if tally is None:
            if len(self._by_network) >= self._entries:
                self._by_network.popitem(last=False)
            tally = self._by_network[network] = _Tally(now)
        else:
            self._by_network.move_to_end(network)
        tally.strikes = max(0.0, tally.strikes - (now - tally.at) * _FORGIVEN_PER_S) + 1
        tally.at = now
        return tally.strikes >= MOST_STRIKES and tally.until <= now

    def shut_out(self, network: str) -> None:
        """From now for the length of a lock. A network that was not counted is not known here."""
        tally = self._by_network.get(network)
        if tally is not None:
            tally.until = self._now() + self._lock_s
            self.shut_outs += 1

    def forget(self, network: str) -> bool:
        """Start anew. Returns whether it was shut out."""
        shut_out = self.left_s(network) > 0
        self._by_network.pop(network, None)
        return shut_out

    def shut_out_now(self) -> list[tuple[str, int, float]]:
        """(network, strikes, seconds left) of each that is shut out."""
        now = self._now()
        return [
            (network, int(tally.strikes), tally.until - now)
            for network, tally in self._by_network.items()
            if tally.until > now
        ]
