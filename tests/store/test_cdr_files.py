"""Files of records: each line once, whatever moment the process dies at; rotation, retention, reading."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from store.cdr_files import BEGINNING, Mark, Place, Writer, files, read

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000
COLUMNS = ("what", "number")


def lines(directory: Path, since_ms: int = 0, place: Place = BEGINNING) -> list[bytes]:
    return [line.strip() for _, line in read(directory, since_ms, place)]


def cells(directory: Path) -> list[list[str]]:
    rows: list[list[str]] = []
    for path in sorted(directory.glob("*.csv*")):
        with path.open(newline="") as file:
            headings, *found = csv.reader(file)
        assert tuple(headings) == COLUMNS
        rows += found
    return rows


def append(writer: Writer, *numbers: int, now_ms: int = NOW_MS) -> Mark:
    encoded = [b'{"number":%d}' % number for number in numbers]
    rows = [("line", number) for number in numbers]
    return writer.append(b"key%d" % numbers[-1], encoded, rows, now_ms)


def test_lines_are_appended_and_read_back_with_places(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "cdr", Mark(), columns=COLUMNS)
    append(writer, 1, 2)
    append(writer, 3)
    (only,) = files(tmp_path / "cdr")
    assert (only.path.name, only.whole) == ("cdr-20260921T141320Z-000001.jsonl.part", False)
    assert lines(tmp_path / "cdr") == [b'{"number":1}', b'{"number":2}', b'{"number":3}']
    places = [place for place, _ in read(tmp_path / "cdr")]
    assert lines(tmp_path / "cdr", place=places[1]) == [b'{"number":3}']
    assert cells(tmp_path / "cdr") == [["line", "1"], ["line", "2"], ["line", "3"]]


def test_what_was_written_behind_the_mark_that_was_kept_is_written_once(tmp_path: Path) -> None:
    directory = tmp_path / "cdr"
    kept = append(Writer(directory, Mark(), columns=COLUMNS), 1)
    append(Writer(directory, kept, columns=COLUMNS), 2, 3)  # and died before its mark was kept
    with next(directory.glob("*.jsonl.part")).open("ab") as file:
        file.write(b'{"numb')  # in the middle of a write
    again = Writer(directory, kept, columns=COLUMNS)
    append(again, 2, 3)
    assert lines(directory) == [b'{"number":1}', b'{"number":2}', b'{"number":3}']
    assert cells(directory) == [["line", "1"], ["line", "2"], ["line", "3"]]


@pytest.mark.parametrize("moment", ["renamed", "appended", "first csv only"])
def test_a_crash_around_a_rotation_loses_and_repeats_nothing(tmp_path: Path, moment: str) -> None:
    directory = tmp_path / "cdr"
    writer = Writer(directory, Mark(), columns=COLUMNS)
    kept = append(writer, 1)
    if moment == "first csv only":
        path = next(directory.glob("*.csv.part"))
        path.rename(path.with_name(path.name.removesuffix(".part")))
    else:
        writer.rotate()
    if moment == "appended":
        append(writer, 2, now_ms=NOW_MS + HOUR_MS)
    again = Writer(directory, kept, columns=COLUMNS)
    append(again, 2, now_ms=NOW_MS + HOUR_MS)
    assert lines(directory) == [b'{"number":1}', b'{"number":2}']
    assert cells(directory) == [["line", "1"], ["line", "2"]]


def test_a_file_that_somebody_took_away_is_not_gone_on_with(tmp_path: Path) -> None:
    directory = tmp_path / "cdr"
    kept = append(Writer(directory, Mark()), 1)
    next(directory.glob("*.part")).unlink()
    append(Writer(directory, kept), 2)
    assert lines(directory) == [b'{"number":2}']


def test_old_whole_files_go_and_files_before_a_time_are_not_read(tmp_path: Path) -> None:
    directory = tmp_path / "cdr"
    writer = Writer(directory, Mark(), columns=COLUMNS)
    for hour in range(4):
        append(writer, hour, now_ms=NOW_MS + hour * HOUR_MS)
        if hour < 3:
            writer.rotate()
    assert lines(directory, NOW_MS + 2 * HOUR_MS + 1) == [b'{"number":2}', b'{"number":3}']
    dropped = writer.drop_before(NOW_MS + 2 * HOUR_MS)
    assert dropped == ["cdr-20260921T141320Z-000001.jsonl"]
    assert lines(directory) == [b'{"number":1}', b'{"number":2}', b'{"number":3}']
    assert len(list(directory.glob("*.csv*"))) == 3
