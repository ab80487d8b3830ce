"""What another configuration does to messages that wait, and what cannot be undone: told before and after it.

A lane stays while some route has it, or the one that it is a variant of, and all its carriers are there. What
waits in one that goes is planned anew by the new routes (gateway.replan). For a preview the first few of them
are asked where they would go; nobody counts the rest.

Invariants: nothing here changes anything or numbers a lane; what waits is taken from counts in memory, and
at most `LOOKED_AT` messages of `MOST_LANES` lanes are read.

Deliberately not here: applying a configuration (gateway.reload), what differs (config.diff).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from config.diff import Diff
from config.kept import Place, kept_out, secrets_of
from config.model import Config
from config.routing import table_of
from gateway.carriers.lanes import ONLY
from gateway.measures import name_of_lane
from gateway.previews import named, of
from router.nouns import Phase
from router.routes import RouteTable
from smpp.segment import MAX_PARTS
from store.interface import Which

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST_LANES = 10  # that are told one by one
LOOKED_AT = 200  # messages of one lane
_WAITING = (Phase.READY, Phase.DEFERRED)
_READY = frozenset({int(Phase.READY)})


class LaneEffect(msgspec.Struct, frozen=True):
    """One lane in which messages wait. `planned_anew`: it goes, and they are planned anew by the new routes;
    else they stay in it. `gone`: its carriers that go away. `goes_to`: of `asked` messages, how many go
    by which route, as `all (north>south)`; "": by none, so they are held."""

    lane: str
    messages: int
    planned_anew: bool
    gone: tuple[str, ...] = ()
    asked: int = 0
    goes_to: dict[str, int] = {}

    def __str__(self) -> str:
        count = of(self.messages, "message")
        wait = "waits" if self.messages == 1 else "wait"
        if not self.planned_anew:
            return f"lane {self.lane}: {count} {wait}, and {'stays' if self.messages == 1 else 'stay'} there"
        if self.gone:
            goes = "goes away" if len(self.gone) == 1 else "go away"
            carriers = "carrier" if len(self.gone) == 1 else "carriers"
            begin = f"{carriers} {', '.join(self.gone)} {goes}: {count} {wait} in lane {self.lane}"
        else:
            begin = f"no route has lane {self.lane} any more: {count} {wait} in it"
        return f"{begin}, planned anew by the new routes{self._where()}"

    def _where(self) -> str:
        if not self.asked:
            return ""
        ways = [
            f"{number:,} {'has' if number == 1 else 'have'} no route and would be held"
            if not way
            else f"{number:,} would go by route {way}"
            for way, number in self.goes_to.items()
        ]
        return f"; of {self.asked:,} looked at {', '.join(ways)}"


class Effects(NamedTuple):
    """`lanes`: those that the change touches, the fullest first; `others` counts what waits in more of them.
    `planned_anew`: messages in all lanes that go."""

    lanes: tuple[LaneEffect, ...] = ()
    others: int = 0
    planned_anew: int = 0

    @property
    def messages(self) -> int:
        """That wait in all lanes which the change touches."""
        return self.others + sum(one.messages for one in self.lanes)

    def stay(self) -> list[str]:
        """Sentences about lanes that stay."""
        return [str(one) for one in self.lanes if not one.planned_anew]

    def warnings(self) -> list[str]:
        """Sentences about lanes that go."""
        found = [str(one) for one in self.lanes if one.planned_anew]
        if self.others:
            found.append(f"{of(self.others, 'message')} more wait in other lanes that the change touches")
        return found


class _Spec(NamedTuple):
    """A lane by names."""

    carriers: tuple[str, ...]
    weights: tuple[int, ...]
    route: str


class _Lanes:
    """Which lanes a configuration has, by names."""

    def __init__(self, gateway: Gateway, config: Config, only: Iterable[str] | None = None) -> None:
        """`only`: of these routes alone."""
        self._carriers = {one.name for one in config.carriers}
        self._short = {one.name for one in config.carriers if one.max_parts < MAX_PARTS}
        self._of_queue: dict[str, list[_Spec]] = defaultdict(list)
        self._choosing: set[_Spec] = set()
        chosen = None if only is None else {*only}
        for one in config.routes:
            if chosen is not None and one.name not in chosen:
                continue
            spec = _Spec(one.carriers, one.weights, one.name if gateway.terms.apart(one) else "")
            self._of_queue[spec.route].append(spec)
            if one.choose in ("cheapest", "best"):
                self._choosing.add(spec)
        self._known: dict[_Spec, bool] = {}

    def has(self, spec: _Spec) -> bool:
        """Whether a lane is one of them, or a variant of one."""
        found = self._known.get(spec)
        if found is None:
            found = self._known[spec] = self._carriers.issuperset(spec.carriers) and (
                spec.route.startswith(ONLY)
                or any(self._is_of(spec, base) for base in self._of_queue.get(spec.route, ()))
            )
        return found

    def _is_of(self, spec: _Spec, base: _Spec) -> bool:
        if spec == base:
            return True
        if base in self._choosing:  # an order of its own
            return {*spec.carriers} <= {*base.carriers}
        left = [at for at, name in enumerate(base.carriers) if name in spec.carriers]
        out = {*base.carriers} - {*spec.carriers}
        return (
            out <= self._short  # for messages that are too long for these
            and tuple(base.carriers[at] for at in left) == spec.carriers
            and (tuple(base.weights[at] for at in left) if base.weights else ()) == spec.weights
        )


async def effects(gateway: Gateway, config: Config, found: Diff, *, look: bool) -> Effects:
    """Of `config` on what waits now. `look`: ask some messages where they would go."""
    carriers = {one.name for one in found.changes if one.section == "carriers" and one.what != "added"}
    routes = {one.name for one in found.changes if one.section == "routes" and one.what != "added"}
    if not carriers and not routes:
        return Effects()
    waiting = _waiting(gateway)
    if not waiting:
        return Effects()
    before, after = _Lanes(gateway, gateway.config, routes), _Lanes(gateway, config)

    def touched() -> list[tuple[int, int, bool]]:
        """(messages, lane, whether it stays), the fullest first."""
        rows = []
        for lane, (spec, count) in waiting.items():
            stays = after.has(spec)
            if not stays or not carriers.isdisjoint(spec.carriers) or before.has(spec):
                rows.append((count, lane, stays))
        return sorted(rows, key=lambda row: (row[2], -row[0], row[1]))

    rows: list[tuple[int, int, bool]] = await gateway.reload.in_thread(touched)
    table = await _table(gateway, config) if look and rows and not rows[0][2] else None
    kept = {one.name for one in config.carriers}
    lanes = []
    for count, lane, stays in rows[:MOST_LANES]:
        gone = tuple(name for name in waiting[lane][0].carriers if name not in kept)
        looked, ways = _asked(gateway, config, table, lane) if table is not None and not stays else (0, {})
        name = name_of_lane(gateway.store, lane)
        lanes.append(LaneEffect(name, count, not stays, () if stays else gone, looked, ways))
    others = sum(count for count, _, _ in rows[MOST_LANES:])
    return Effects(tuple(lanes), others, sum(count for count, _, stays in rows if not stays))


def _waiting(gateway: Gateway) -> Mapping[int, tuple[_Spec, int]]:
    """By lane in force: what it is, and how many wait in it, if any do."""
    store, found = gateway.store, {}
    totals = store.lane_totals()
    for lane in gateway.board.lanes():
        counts = totals.get(lane)
        count = sum(counts[phase] for phase in _WAITING) if counts else 0
        if count:
            spec = store.lane(lane)
            names = tuple(store.carrier_name(one) for one in spec.carriers)
            found[lane] = _Spec(names, tuple(spec.weights), spec.route), count
    return found


async def _table(gateway: Gateway, config: Config) -> RouteTable | None:
    """The new routes, each with its place as its lane; None where they cannot be compiled."""
    ordered = gateway.terms.ordered(config)
    try:
        table: RouteTable = await gateway.reload.in_thread(
            lambda: table_of(ordered, range(len(ordered.routes)), gateway.known)
        )
    except ValueError:
        return None
    return table


def _asked(gateway: Gateway, config: Config, table: RouteTable, lane: int) -> tuple[int, dict[str, int]]:
    """(how many messages of a lane were asked, how many of them go where)."""
    page = gateway.store.waiting_page(Which(phases=_READY, lanes=frozenset({lane})), b"", LOOKED_AT)
    ways: Counter[str] = Counter()
    for one in page.found:
        route = gateway.replan.route_in(table, one.message)
        ways["" if route is None else _way(config, route.lane)] += 1
    return len(page.found), dict(ways.most_common(MOST_LANES))


def _way(config: Config, at: int) -> str:
    route = config.routes[at]
    return f"{route.name} ({('+' if route.weights else '>').join(route.carriers)})"


def lost_secrets(old: Config, new: Config) -> list[str]:
    """Sentences on secrets that were written out in the old file and that nothing has after the change: a
    roll-back takes them from what is in force, and finds none. Reads the whole text: from a thread."""
    have = {place for place, value in secrets_of(new).items() if value}
    tables: dict[Place, list[str]] = defaultdict(list)
    for *table, key in sorted(kept_out(old.source) - have):
        tables[tuple(table)].append(key)
    found = [_lost(table, keys) for table, keys in tables.items()]
    more = len(found) - MOST_LANES
    return found[:MOST_LANES] + ([f"and so are secrets of {more:,} more tables"] if more > 0 else [])


def _lost(table: Sequence[str], keys: list[str]) -> str:
    were = "was" if len(keys) == 1 else "were"
    if len(table) == 2 and table[0] == "carriers":
        begin = f"carrier {table[1]} is removed, and its {named(keys)} {were} written in the file"
    else:
        begin = f"{'.'.join(table)} loses its {named(keys)}, which {were} written in the file"
    return f"{begin}: config rollback cannot bring it back; keep the file, or use ${{env:NAME}}" + (
        " or password_file" if "password" in keys else ""
    )
