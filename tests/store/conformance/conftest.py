"""`subject`: a fresh store of each engine, left open or opened again and again; sound at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.conformance.engines import ENGINES, Engine
from tests.store.conformance.subject import Subject


@pytest.fixture(params=ENGINES, ids=lambda engine: str(engine.name))
def engine(request: pytest.FixtureRequest) -> Engine:
    chosen: Engine = request.param
    return chosen


@pytest.fixture(params=[False, True], ids=["open", "reopened"])
def subject(request: pytest.FixtureRequest, engine: Engine, ram_path: Path) -> Iterator[Subject]:
    made = Subject(engine, ram_path, request.param)
    yield made
    made.sound()
    made.store.close()


@pytest.fixture
def steady(engine: Engine, ram_path: Path) -> Iterator[Subject]:
    """A subject that stays open, for what lives in memory only and for tests that reopen themselves."""
    made = Subject(engine, ram_path, reopening=False)
    yield made
    made.sound()
    made.store.close()
