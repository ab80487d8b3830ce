"""What every test shares: warnings are errors, generated tests repeat, the vectors are found.

SIGNALBOX_VECTORS names the folder of public test vectors. Outside CI it is found beside the clone when it
is there; in CI (`CI` set) it must be given, so that no run passes by skipping them.

Deliberately not here: fixtures of one package; those live beside its tests.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ROOT.parent / "shared" / "vectors"

# No deadline: a slow machine is not a bug. In CI the same examples every time.
hypothesis.settings.register_profile("signalbox", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("signalbox")

if "SIGNALBOX_VECTORS" not in os.environ and not os.environ.get("CI") and BESIDE.is_dir():
    os.environ["SIGNALBOX_VECTORS"] = str(BESIDE)


def pytest_configure(config: pytest.Config) -> None:
    given = os.environ.get("SIGNALBOX_VECTORS", "")
    if os.environ.get("CI") and not Path(given or "/nowhere").is_dir():
        raise pytest.UsageError("CI runs need SIGNALBOX_VECTORS, the folder of the public test vectors")


@pytest.fixture
def ram_path() -> Iterator[Path]:
    """An empty directory in memory, where the machine has such: a store there costs no fsync. For tests with
    hundreds of commits; what must survive is proved in tests/crash, on a disk."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of public vectors; the test is skipped where there is none (never in CI)."""
    given = os.environ.get("SIGNALBOX_VECTORS", "")
    if not given:
        pytest.skip("SIGNALBOX_VECTORS is not set")
    return Path(given)
