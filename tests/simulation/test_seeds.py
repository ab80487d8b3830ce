"""Fifty seeds of the whole gateway in a rough world; `bin/simtest` runs more, and replays one."""

from __future__ import annotations

import pytest

from tests.simulation.run import simulate


@pytest.mark.parametrize("seed", range(50))
def test_a_seed_keeps_every_law(seed: int) -> None:
    simulate(seed)


def test_a_seed_replays_exactly() -> None:
    assert simulate(3) == simulate(3)
