"""A configuration's routes as router.routes decides by them.

Deliberately not here: what is wrong with them (config.conditions, config.rules), lanes as the store numbers
them.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.model import Config
from router.knowledge import Knowledge
from router.routes import Route, RouteTable


def table_of(config: Config, lanes: Sequence[int], numbers: Knowledge) -> RouteTable:
    """The routes in order; `lanes` parallel to them, by the store's ids."""
    return RouteTable(
        [
            Route(
                one.name,
                lane,
                one.rule,
                one.reject_when_down,
                one.tps,
                one.burst,
                one.max_queue_age_s,
            )
            for one, lane in zip(config.routes, lanes, strict=True)
        ],
        numbers,
    )


def accounts_named(config: Config) -> set[str]:
    """All accounts that a rule asks for or leaves out: whether there are any only the store knows."""
    named: set[str] = set()
    for one in config.routes:
        named.update(one.rule.accounts)
        if one.rule.none_of is not None:
            named.update(one.rule.none_of.accounts)
    return named
