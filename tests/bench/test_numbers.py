"""bench.numbers: what is measured are look-ups that find something."""

from __future__ import annotations

from bench import numbers


def test_every_figure_is_there() -> None:
    found = numbers.knowledge(rows=500)
    assert set(found) >= {"normalise_us", "country_and_type_us", "mnp_us", "prefix_us", "rates_us"}
    assert all(figure > 0 for figure in found.values())
