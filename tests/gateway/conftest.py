"""Fixtures that several tests of the gateway share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli import root

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command line on the data directory: its exit code and all that it printed."""

    def run(*line: str) -> tuple[int, str]:
        capsys.readouterr()
        code = root.run([*line, "--data-dir", str(tmp_path / "var")])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run
