"""Where log lines go: a file that rotates, or stderr, written by a thread of its own.

Whoever logs only puts a line into a bounded queue, so a disk or a reader of stderr that stands still stops
neither the loop nor a message: what does not fit is dropped, counted, and told in a line of its own once
there is room again. A file that somebody moved away (logrotate) is opened anew by the next line; where a file
cannot be written, stderr says so and gets the lines meanwhile.

Invariants: `write` never waits; lines keep their order; at a stop all that waits is written, for at most
`CLOSE_S`.

Deliberately not here: what a line says (gateway.logs), deleting anything but the oldest renamed files.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from gateway.metrics import Metrics

CLOSE_S = 5.0
_MIB = 1 << 20

Writing = Callable[[str], None]  # errors: OSError


class LogFile:
    """A file that is renamed at `rotate_bytes` (0: never) and opened anew when it is not there any more.

    `keep`: how many renamed files stay. Errors: OSError.
    """

    def __init__(self, path: str, rotate_bytes: int = 0, keep: int = 10) -> None:
        self._handler = _Handler(path, maxBytes=rotate_bytes, backupCount=keep, encoding="utf-8")

    def write(self, line: str) -> None:
        if self._moved():
            self.reopen()
        self._handler.emit(logging.LogRecord("", logging.INFO, "", 0, line, None, None))

    def reopen(self) -> None:
        """The next line opens it again, by its name."""
        stream, self._handler.stream = self._handler.stream, None
        if stream is not None:
            stream.close()

    def close(self) -> None:
        self._handler.close()

    def _moved(self) -> bool:
        stream = self._handler.stream
        if stream is None:
            return False
        try:
            there = os.stat(self._handler.baseFilename)
        except FileNotFoundError:
            return True
        ours = os.fstat(stream.fileno())
        return (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev)


class _Handler(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            raise error


class LogSink:
    """`write` takes lines, a thread writes them. `dropped` and `failures` are counted since the start."""

    def __init__(self, file: LogFile | None, room: int, spare: Writing | None = None) -> None:
        """`file` None: to stderr. `spare` gets what the file does not take, stderr by default."""
        self.dropped = 0
        self.failures = 0
        self._file = file
        self._spare = spare or to_stderr
        self._room = room
        self._lines: SimpleQueue[str | Event | None] = SimpleQueue()
        self._told = 0  # of those dropped
        self._broken = False
        self._reopen = False
        self._thread = Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Never waits."""
        if self._lines.qsize() >= self._room:
            self.dropped += 1
        else:
            self._lines.put(line)

    def flush(self, within_s: float = CLOSE_S) -> None:
        """Wait until what was logged so far is written, for at most so long. Never on the loop."""
        written = Event()
        self._lines.put(written)
        written.wait(within_s)

    def reopen(self) -> None:
        """Before the next line the file is opened anew."""
        self._reopen = True

    def close(self, within_s: float = CLOSE_S) -> None:
        """Write what waits, for at most so long."""
        self._lines.put(None)
        self._thread.join(within_s)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            if isinstance(line, Event):
                line.set()
                continue
            self._put(line)
            if self.dropped > self._told:
                now = self.dropped
                self._put(_lost(now - self._told))
                self._told = now
        if self._file is not None:
            self._file.close()

    def _put(self, line: str) -> None:
        if self._file is not None:
            try:
                if self._reopen:
                    self._reopen = False
                    self._file.reopen()
                self._file.write(line)
            except (OSError, ValueError) as error:
                self.failures += 1
                if not self._broken:
                    self._broken = True
                    self._last_resort(f"the log file cannot be written, its lines are here: {error}")
            else:
                self._broken = False
                return
        self._last_resort(line)

    def _last_resort(self, line: str) -> None:
        try:
            self._spare(line)
        except (OSError, ValueError):  # nobody reads stderr any more
            self.failures += 1


def to_stderr(line: str) -> None:
    """Errors: OSError, ValueError where it is closed."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def log_sink(file: str, rotate_mb: float, keep: int, room: int) -> LogSink:
    """As `[log]` says. Errors: OSError where the file cannot be opened."""
    return LogSink(LogFile(file, int(rotate_mb * _MIB), keep) if file else None, room)


def add_log_measures(metrics: Metrics, sink: LogSink) -> None:
    """What was lost, for /metrics."""
    metrics.counter(
        "signalbox_log_dropped",
        "Log records that were dropped, as a disk or a reader of stderr was too slow.",
        (),
        lambda: (((), sink.dropped),),
    )
    metrics.counter(
        "signalbox_log_failures",
        "Log records that could not be written where they should.",
        (),
        lambda: (((), sink.failures),),
    )


def _lost(count: int) -> str:
    fact: dict[str, Any] = {"event": "log records dropped", "level": "warning", "count": count}
    return msgspec.json.encode(fact).decode()
