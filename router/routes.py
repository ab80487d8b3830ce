"""Which route a message takes: rules in order, the first that matches wins, by destination prefix.

Compiled once: each known prefix is given the first rule that any of its own beginnings would match, so the
longest known prefix of a number answers at once, with one dictionary look-up for each prefix length in use.

Deliberately not here: configuration types (config builds plain `Route`s), lanes as queues, carriers' state.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Route(msgspec.Struct, frozen=True):
    """One rule. `lane` is the store's lane id; `prefixes` are digits, () = every number."""

    name: str
    lane: int
    prefixes: tuple[str, ...] = ()
    reject_when_down: bool = False
    tps: float = 0.0  # 0 = no limit of its own
    burst: int = 1


class RouteTable:
    """Immutable; swapped as a whole on reload."""

    __slots__ = ("_by_prefix", "_lengths", "routes")

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        first: dict[str, int] = {}
        for order, route in enumerate(self.routes):
            for prefix in route.prefixes or ("",):
                if prefix and not (prefix.isascii() and prefix.isdigit()):
                    raise ValueError(f"route {route.name}: prefix {prefix!r} is not digits")
                first.setdefault(prefix, order)
        self._by_prefix = {
            prefix: self.routes[min(first[prefix[:n]] for n in range(len(prefix) + 1) if prefix[:n] in first)]
            for prefix in first
        }
        self._lengths = tuple(sorted({len(prefix) for prefix in first}, reverse=True))

    def match(self, destination: str) -> Route | None:
        """The route of a number (digits, E.164 without +), or None."""
        by_prefix = self._by_prefix
        for length in self._lengths:
            route = by_prefix.get(destination[:length])
            if route is not None:
                return route
        return None


def compile(routes: Sequence[Route]) -> RouteTable:
    """Rules in order as a table. ValueError: a prefix that is not digits."""
    return RouteTable(routes)
