"""Where log lines go, and that nobody waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog

from gateway import logs
from gateway.log_sink import LogFile, LogSink, add_log_measures
from gateway.metrics import Counts, Metrics


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logs.set_level("info")


class Disk(LogFile):
    """A file that stands still, or is full, when the test says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.free = threading.Event()
        self.free.set()
        self.waits = threading.Event()
        self.full = False

    def write(self, line: str) -> None:
        self.waits.set()
        self.free.wait(30)
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(line)


def test_lines_come_into_the_file_in_order_and_all_of_them_before_it_is_closed(tmp_path: Path) -> None:
    sink = LogSink(LogFile(str(tmp_path / "log")), 1_000)
    for number in range(500):
        sink.write(f"line {number}")
    sink.close()
    assert (tmp_path / "log").read_text().splitlines() == [f"line {number}" for number in range(500)]


def test_what_must_be_told_before_going_on_is_written_when_flush_returns(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "log")
    sink = LogSink(disk, 100)
    for number in range(50):
        sink.write(f"line {number}")
    sink.flush(30)
    assert (tmp_path / "log").read_text().splitlines()[-1] == "line 49"
    disk.free.clear()
    sink.write("late")
    sink.flush(0.01)  # a disk that stands still does not keep it for ever
    disk.free.set()
    sink.close()


def test_a_file_is_renamed_at_its_size_and_only_so_many_are_kept(tmp_path: Path) -> None:
    sink = LogSink(LogFile(str(tmp_path / "log"), 100, 2), 1_000)
    for number in range(40):
        sink.write(f"{number:019}")
    sink.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    kept = [(tmp_path / name).read_text().splitlines() for name in ("log.2", "log.1", "log")]
    lines = [line for file in kept for line in file]
    assert lines == [f"{number:019}" for number in range(40 - len(lines), 40)]
    assert all(file.stat().st_size <= 100 for file in tmp_path.iterdir())


@pytest.mark.parametrize("rotate_bytes", [0, 1_000])
def test_a_file_that_was_moved_away_is_opened_anew_without_a_signal(
    tmp_path: Path, rotate_bytes: int
) -> None:
    file = LogFile(str(tmp_path / "log"), rotate_bytes)
    file.write("before")
    (tmp_path / "log").rename(tmp_path / "moved")
    file.write("after")
    (tmp_path / "log").unlink()
    file.write("later")
    file.close()
    assert (tmp_path / "moved").read_text() == "before\n"
    assert (tmp_path / "log").read_text() == "later\n"


def test_a_disk_that_stands_still_stops_nobody_and_what_is_lost_is_counted_and_told(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "log")
    disk.free.clear()
    sink = LogSink(disk, 10)
    metrics = Metrics(Counts())
    add_log_measures(metrics, sink)
    sink.write("first")
    assert disk.waits.wait(30)  # the thread has it, and stands
    for number in range(15):
        sink.write(f"line {number}")
    assert sink.dropped == 5
    disk.free.set()
    sink.close(30)
    lines = (tmp_path / "log").read_text().splitlines()
    told = [line for line in lines if "dropped" in line]
    assert [msgspec.json.decode(line) for line in told] == [
        {"event": "log records dropped", "level": "warning", "count": 5}
    ]
    assert [line for line in lines if line not in told] == ["first", *(f"line {n}" for n in range(10))]
    assert b"signalbox_log_dropped_total 5.0" in metrics.render()


def test_a_full_disk_is_told_once_and_its_lines_go_to_stderr_until_it_has_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "log")
    spare: list[str] = []
    sink = LogSink(disk, 100, spare.append)
    disk.full = True
    sink.write("one")
    sink.write("two")
    while sink.failures < 2:
        disk.waits.wait(1)
    disk.full = False
    sink.write("three")
    sink.close(30)
    assert spare == [
        "the log file cannot be written, its lines are here: [Errno 28] No space left on device",
        "one",
        "two",
    ]
    assert (tmp_path / "log").read_text() == "three\n"


def test_nobody_who_reads_stderr_is_no_reason_to_stop(tmp_path: Path) -> None:
    def closed(_: str) -> None:
        raise BrokenPipeError

    sink = LogSink(None, 100, closed)
    sink.write("one")
    sink.close(30)
    assert sink.failures == 1


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LogFile(str(tmp_path / "nowhere" / "log"))


def said(component: str, level: str) -> None:
    """Through a logger that nobody has used before, so that it writes here."""
    logger = structlog.get_logger(component)
    getattr(logger, level)("said", level_asked=level)


def test_a_part_of_the_gateway_has_a_level_of_its_own() -> None:
    lines: list[str] = []
    logs.configure(json=True, level="warning", levels={"carrier": "debug"}, write=lines.append)
    for component in ("carrier", "http"):
        for level in ("debug", "info", "warning"):
            said(component, level)
    shown = [(one["component"], one["level"]) for one in map(msgspec.json.decode, lines)]
    assert shown == [("carrier", "debug"), ("carrier", "info"), ("carrier", "warning"), ("http", "warning")]
    lines.clear()
    logs.set_level("error")
    said("carrier", "warning")
    assert lines == []
