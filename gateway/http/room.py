"""Room for connections: so many in all, so many of one address, idle ones making way for new ones.

Whoever is over a limit gets the place of the connection that has been idle for longest: of the same address
where that one has its share (IPv6: one /64), else of all. Where nobody is idle a few spare places are left,
for one request each: it is answered if it is a probe, else told that there is no room.

Invariant: a connection with a request under way is never ended for another one.

Deliberately not here: accepting and closing (server.py), HTTP (connection.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import trio

from gateway.http.connection import Connection, Owner
from gateway.http.head import Head
from gateway.http.problems import BadRequest
from gateway.http.settings import HttpSettings
from gateway.smpp_server.addresses import canonical, network_of

PROBES = frozenset({"/healthz", "/readyz"})
SPARE = 32
SPARE_PER_NETWORK = 8
SPARE_TIMEOUT_S = 1.0

Refused = Literal["full", "per_address"]


class Room:
    """`make` before a connection is served, `enter` it, and `leave` when it has ended."""

    def __init__(self, settings: HttpSettings) -> None:
        self.evicted = 0
        self._settings = settings
        self._by_network: dict[str, dict[Connection, None]] = {}
        self._taken = 0
        self._spare: Counter[str] = Counter()

    def __len__(self) -> int:
        """Connections open now, those in spare places too."""
        return self._taken + self._spare.total()

    def connections(self) -> list[Connection]:
        return [connection for those in self._by_network.values() for connection in those]

    def make(self, network: str) -> Refused | None:
        """Room for one more of this network, if need be by ending an idle one; else why there is none."""
        own = self._by_network.get(network, {})
        share = sum(not isinstance(one, Spare) for one in own) if self._spare[network] else len(own)
        if share >= self._settings.max_connections_per_address:
            return None if self._evict(own) else "per_address"
        if self._taken >= self._settings.max_connections:
            return None if self._evict(self.connections()) else "full"
        return None

    def has_spare(self, network: str) -> bool:
        """Whether a connection that there is no room for may ask one thing."""
        return self._spare.total() < SPARE and self._spare[network] < SPARE_PER_NETWORK

    def enter(self, connection: Connection, network: str) -> None:
        self._by_network.setdefault(network, {})[connection] = None
        if isinstance(connection, Spare):
            self._spare[network] += 1
        else:
            self._taken += 1

    def leave(self, connection: Connection) -> None:
        """It has ended, or is about to; a second time does nothing."""
        network = network_named(connection.peer)
        there = self._by_network.get(network, {})
        if connection not in there:
            return
        del there[connection]
        if not there:
            del self._by_network[network]
        if isinstance(connection, Spare):
            self._spare[network] -= 1
            self._spare += Counter()  # forget those at 0
        else:
            self._taken -= 1

    def _evict(self, connections: Iterable[Connection]) -> bool:
        """End the one that has been idle for longest."""
        idle = [(since, one) for one in connections if (since := one.idle_since) is not None]
        if not idle:
            return False
        _, longest = min(idle, key=lambda pair: pair[0])
        self.evicted += 1
        longest.stop()
        self.leave(longest)
        return True


class Spare(Connection):
    """In a spare place: one request, at once. Probes are answered, all else is told why not."""

    def __init__(self, owner: Owner, stream: trio.abc.Stream, peer: str, refusal: BadRequest) -> None:
        super().__init__(owner, stream, peer)
        self._refusal = refusal
        self._deadline = self._now + SPARE_TIMEOUT_S

    @property
    def idle_since(self) -> float | None:
        return None

    def _hurry(self, timeout_s: float) -> None:
        """However slowly it comes: the first deadline stays."""

    def _check_deadline(self) -> None:
        self._refuse(self._refusal)
        self.flush()

    def _begin_body(self, head: Head) -> None:
        raise self._refusal

    def _dispatch(self, head: Head, body: bytes) -> None:
        self._stopped_reading = True
        if head.found is None or head.found.endpoint not in PROBES:
            raise self._refusal
        super()._dispatch(head, body)


def network_named(peer: str) -> str:
    """What counts as one address; what is none (a memory stream's "local") stands for itself."""
    try:
        return network_of(canonical(peer))
    except ValueError:
        return peer


def no_room(why: Refused, settings: HttpSettings) -> BadRequest:
    """503, in words."""
    if why == "full":
        detail = f"all {settings.max_connections} connections are taken; reuse one, or try later"
    else:
        most = settings.max_connections_per_address
        detail = (
            f"your address has {most} busy connections, and more it may not have; reuse one, or try later"
        )
    return BadRequest(503, "too-many-connections", detail, headers=(("Retry-After", "1"),))
