"""What a store can be told when it is opened."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

GIB = 1 << 30


def wall_ms() -> int:
    """UTC milliseconds of the machine's clock."""
    return time.time_ns() // 1_000_000


def to_stderr(line: str) -> None:
    """Where a command tells what happens to its store, beside its own output."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class StoreOptions:
    """Sizes in bytes, times as their names say. The defaults suit production."""

    map_size: int = 256 * GIB  # address space, not disk
    max_readers: int = 1024
    accept_watermark: float = 0.8  # of map_size: above it new work is refused
    min_free_disk: int = 512 * 1024 * 1024
    max_queued: int = 50_000_000  # messages over all accounts
    window_h: int = 73  # how long a carrier's id stays matchable
    park_s: int = 300  # how long a receipt waits for its message
    archive_after_s: int = 3600
    archive_map_size: int = 64 * GIB
    max_endpoints: int = 100  # callback origins of one account
    claim_window_ms: int = 6 * 3600 * 1000  # receipts claim unknown outcomes sent within it
    retention_days: int = 30  # of MOs
    mo_match_ms: int = 3 * 86_400_000  # how far back an MO may look for the message it answers
    remembered_ms: int = 86_400_000  # how long requests that were carried out are known (Idempotency-Key)
    texts_ms: int = 0  # how long texts are kept of messages that have ended; 0: as long as the message
    clock: Callable[[], int] = wall_ms
    check_filesystem: bool = True  # refuse NFS and CIFS
    announce: Callable[[str], None] = to_stderr  # a format upgrade, while the store is opened
