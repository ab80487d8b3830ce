"""What the store's tests share.

`ram_path` is for tests with hundreds of commits: a store there costs no fsync. What must survive is proved in
tests/crash, on a disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ram_path() -> Iterator[Path]:
    """An empty directory in memory, where the machine has such."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as directory:
        yield Path(directory)
