"""bench.scenarios_routing: the table that traffic is sent beside is one that a gateway takes."""

from __future__ import annotations

from pathlib import Path

from bench import scenarios_routing as scenarios
from bench.rig import CONFIG, routes_toml
from bench.scenarios_smpp import ONE_CARRIER
from config.load import parse


def test_the_large_table_is_a_configuration_with_as_many_rules_prefixes_and_carriers_as_it_says() -> None:
    carriers = (*ONE_CARRIER, *scenarios.FAR)
    text = CONFIG.format(data="var", http=18080, more="") + scenarios.large_table()
    text += "".join(carrier.toml() for carrier in carriers) + routes_toml(carriers)
    config = parse(text, Path("gateway.toml"))
    ruled = [route for route in config.routes if route.name.startswith("rule")]
    assert len(ruled) == scenarios.RULES
    assert sum(len(route.match.prefix) for route in ruled) == scenarios.PREFIXES
    assert len(config.carriers) == scenarios.CARRIERS
