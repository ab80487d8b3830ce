"""docs/examples: each is run as it stands against a gateway, where its language is installed.

Deliberately not here: what else the API can do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.interop.house import PATIENCE_S, house, program, until
from tests.trio_case import trio_test

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
TEXT = "Your order 4711 is on its way"
COMMANDS = {
    "send.sh": ("sh",) if program("curl") else (),
    "send.mjs": ("node",),
    "send.php": ("php",),
    "Send.java": ("java",),
    "send.py": (sys.executable, "-P"),
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
@trio_test
async def test_an_example_sends_a_message_and_shows_it(tmp_path: Path, name: str) -> None:
    command = COMMANDS[name]
    if not command or not program(command[0]):
        pytest.skip(f"{name} needs what runs it")
    async with house(tmp_path / "gateway") as ours:
        key = await ours.account()
        environment = {
            **os.environ,
            "SIGNALBOX_URL": f"http://127.0.0.1:{ours.http}",
            "SIGNALBOX_KEY": key,
            "PYTHONPATH": str(EXAMPLES.parent.parent),
        }
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(
                [*command, EXAMPLES / name],
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
                env=environment,
                cwd=tmp_path,
            )
        said = done.stdout.decode()
        assert done.returncode == 0, said
        assert "accepted" in said
        await until(lambda: ours.texts() == [TEXT], "the carrier has it")


@trio_test
async def test_an_example_says_why_it_was_refused(tmp_path: Path) -> None:
    async with house(tmp_path / "gateway") as ours:
        environment = {
            **os.environ,
            "SIGNALBOX_URL": f"http://127.0.0.1:{ours.http}",
            "SIGNALBOX_KEY": "sbk_wrong",
            "PYTHONPATH": str(EXAMPLES.parent.parent),
        }
        for name, command in COMMANDS.items():
            if command and program(command[0]):
                done = await trio.run_process(
                    [*command, EXAMPLES / name],
                    capture_stdout=True,
                    stderr=subprocess.STDOUT,
                    check=False,
                    env=environment,
                    cwd=tmp_path,
                )
                assert done.returncode != 0, name
                assert "401" in done.stdout.decode(), name
