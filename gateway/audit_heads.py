"""The newest entry's number and hash, noted outside the store once a day and at every stop.

Whoever can write the store's file can write the whole trail anew, so that it agrees with itself; what was
noted before then tells all the same, wherever it is kept. A line is `TIME NUMBER:HASH`, as `audit verify`
prints it, and the file only ever grows. By default it is beside the store; `[audit] head_file` puts it where
another machine or another user keeps it.

Invariants: a line is written only for an entry that is durable; a note that cannot be written stops nothing,
is told, and tried again.

Deliberately not here: the chain (store.audit), signatures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog
import trio

from gateway.admin_shapes import iso

log = structlog.get_logger("audit")

NAME = "audit.heads"  # in the data directory
_DAY_MS = 86_400_000
_LOOK_S = 600.0
_LONGEST_LINE = 200
_MOST_LINES = 100_000  # two centuries of days; a file with more is cut at its begin
_LINE = re.compile(r"\S+ ([1-9][0-9]{0,17}):([0-9a-f]{64})")

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Heading(Protocol):
    """A store, as far as it is asked."""

    def audit_head(self) -> tuple[int, str]: ...


class AuditHeads:
    """`run` notes until it is cancelled, `note` once."""

    def __init__(
        self,
        store: Heading,
        path: Path,
        wall_ms: Callable[[], int],
        in_thread: InThread = trio.to_thread.run_sync,
    ) -> None:
        self.path = path
        self.in_thread = in_thread
        self._store = store
        self._wall_ms = wall_ms
        self._noted = (0, "")
        self._day = -1  # of the last note
        self._is_well = True

    async def run(self) -> None:
        """The newest entry of each day, if the trail has grown since the last note."""
        while True:
            if self._wall_ms() // _DAY_MS != self._day:
                await self.note()
            await trio.sleep(_LOOK_S)

    async def note(self) -> bool:
        """Write down the newest entry; False: the file takes nothing."""
        head, now_ms = self._store.audit_head(), self._wall_ms()
        if head[0] and head != self._noted:
            line = f"{iso(now_ms)} {head[0]}:{head[1]}\n"
            try:
                with trio.CancelScope(shield=True):
                    await self.in_thread(partial(_append, self.path, line))
            except OSError as error:
                if self._is_well:
                    hint = "make it possible to append to it, or give another [audit] head_file"
                    log.error("audit head not noted", file=str(self.path), error=str(error), hint=hint)
                self._is_well = False
                return False
            self._noted, self._is_well = head, True
        self._day = now_ms // _DAY_MS
        return True


def noted_in(path: Path) -> tuple[list[tuple[int, str]], int]:
    """(numbers with their hashes, how many lines are none). No file: nothing. Errors: OSError."""
    try:
        with path.open("rb") as file:
            lines = [line.decode("ascii", "replace").strip() for line in file.readlines()[-_MOST_LINES:]]
    except FileNotFoundError:
        return [], 0
    found = [_LINE.fullmatch(line[:_LONGEST_LINE]) for line in lines]
    return [(int(one[1]), one[2]) for one in found if one is not None], found.count(None)


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
