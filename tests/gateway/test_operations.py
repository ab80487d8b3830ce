"""What an operator sees and does, on a running gateway and on a stopped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app import _announce
from tests.gateway.house import carrier, route, running, simulator
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim")


@trio_test(mock_clock=True)
async def test_start_up_tells_every_warning_of_the_configuration_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = ONE + carrier("idle", 2777) + simulator("sim", 2776) + "[callbacks]\nretry_s = []\n"
    async with running(tmp_path, toml) as house:
        await _announce(house.gateway)
    path = tmp_path / "gateway.toml"
    lines = path.read_text().splitlines()
    told = capsys.readouterr().out
    assert f"warning   {path}:{lines.index('retry_s = []') + 1}: callbacks.retry_s: is empty" in told
    idle = next(number for number, line in enumerate(lines, 1) if line == 'name = "idle"')
    assert f"{path}:{idle - 1}: carriers[1]: no route names the carrier idle" in told
