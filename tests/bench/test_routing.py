"""bench.routing: the table that is measured is one that decides, by many of its rules."""

from __future__ import annotations

from bench import routing


def test_the_measured_table_spreads_its_messages_over_its_rules() -> None:
    table = routing.mixed(rules=60, prefixes=2_000, carriers=5)
    assert len(table.routes) == 60
    assert not table.prefix_only
    taken = {routing.decide(table, one) for one in routing.messages(300)}
    assert len(taken) > 5
    assert None not in taken
