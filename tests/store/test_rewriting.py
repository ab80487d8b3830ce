"""Texts leave the archive by age, bytes and all; whoever reads or writes the day meanwhile loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from router.nouns import Phase, Step
from store import rewriting
from store.lmdb_store import LmdbStore
from store.rewriting import AsItIs, Rewriting
from tests.store.records_for_tests import DAY_MS, Clock, commit, lane_of, message, open_store, with_account

HOUR_MS = 3_600_000


def ended(store: LmdbStore, count: int, text: str, **fields: Any) -> list[int]:
    """Ids of messages that were cancelled, still in the hot store."""
    lane = lane_of(store, "a")
    made = [message(store, lane, text=f"{text} {number}", **fields) for number in range(count)]
    commit(store, lambda txn: txn.accept(made))
    commit(store, lambda txn: [txn.cancel(1, one.id, store.options.clock()) for one in made])
    return [one.id for one in made]


def archive(store: LmdbStore, now_ms: int) -> None:
    """Everything that has ended by then."""
    while rows := store.pick_finished(now_ms, 100):
        store.write_finished(rows)
        commit(store, lambda txn, rows=rows: txn.forget(rows))  # type: ignore[misc]


def archived(path: Path, clock: Clock, count: int = 30, **options: object) -> tuple[LmdbStore, list[int]]:
    """A store whose messages, of one day, are in the archive."""
    store = open_store(path, clock, archive_after_s=0, **options)
    with_account(store)
    ids = ended(store, count, "a secret of number")
    archive(store, clock.now_ms + 2000)
    return store, ids


def held_in(directory: Path, what: bytes) -> list[str]:
    files = directory.rglob("*.mdb")
    return sorted(str(one.relative_to(directory)) for one in files if what in one.read_bytes())


def rewrite(store: LmdbStore, now_ms: int) -> list[str]:
    days = store.days_with_old_texts(now_ms)
    for day in days:
        anew = store.without_texts(day, now_ms)
        while anew.step(7):
            pass
        assert anew.finish()
    return days


def test_texts_of_a_day_go_when_all_of_it_is_old_enough_and_its_facts_stay(ram_path: Path) -> None:
    clock = Clock()
    store, ids = archived(ram_path, clock, texts_ms=24 * HOUR_MS)
    day = store.archive.days()[0]
    assert rewrite(store, clock.now_ms + 24 * HOUR_MS) == []  # the day is not over for long enough
    assert rewrite(store, clock.now_ms + 2 * DAY_MS) == [day]
    assert held_in(store.path / "archive", b"a secret of number") == []
    for id in ids:
        found = store.find(1, id)
        assert found is not None
        kept, progress = found
        assert (kept.text, kept.id) == ("", id)
        assert kept.destination
        assert [event[1] for event in progress.events][-1] == Step.REDACTED
        assert store.latest_to(kept.destination, "TEST", clock.now_ms - DAY_MS) == (1, id)
    assert store.check() == []
    assert rewrite(store, clock.now_ms + 3 * DAY_MS) == []  # it is not done again
    store.close()


def test_what_is_old_enough_already_is_archived_without_its_text(ram_path: Path) -> None:
    clock = Clock()
    store = open_store(ram_path, clock, archive_after_s=0, texts_ms=HOUR_MS)
    with_account(store)
    (id,) = ended(store, 1, "a secret of number")
    clock.now_ms += 2 * HOUR_MS
    archive(store, clock.now_ms)
    found = store.find(1, id)
    assert found is not None
    assert (found[0].text, found[1].phase) == ("", Phase.FINAL)
    assert held_in(store.path / "archive", b"a secret of number") == []
    store.close()


def test_texts_stay_as_long_as_their_messages_where_nothing_else_is_said(ram_path: Path) -> None:
    clock = Clock()
    store, ids = archived(ram_path, clock)
    assert rewrite(store, clock.now_ms + 20 * DAY_MS) == []
    found = store.find(1, ids[0])
    assert found is not None
    assert found[0].text == "a secret of number 0"
    store.close()


def test_what_is_archived_while_its_day_is_rewritten_is_in_the_new_file(ram_path: Path) -> None:
    clock = Clock()
    store, ids = archived(ram_path, clock)
    late = ended(store, 3, "late")
    anew = Rewriting(store.archive, store.archive.days()[0], AsItIs())
    while anew.step(5):
        if late and store.pick_finished(clock.now_ms + 2000, 1):
            archive(store, clock.now_ms + 2000)
    assert anew.finish()
    for id in ids + late:
        found = store.archive.find(id)
        assert found is not None
        assert store.latest_to(found[0].destination, "TEST", clock.now_ms - DAY_MS) == (1, id)
    store.close()


READER = """
import sys
from pathlib import Path
from typing import Any
from store.archive import Archive
from store.options import StoreOptions
archive = Archive(Path(sys.argv[1]), StoreOptions(archive_map_size=64 << 20), readonly=True)
for line in sys.stdin:
    if line.strip() == "refresh":
        archive.refresh()
        print("refreshed", flush=True)
        continue
    found = archive.find(int(line))
    print("none" if found is None else repr(found[0].text), flush=True)
"""


class Reader:
    """Another process that has the archive open, as the one that searches has."""

    def __init__(self, store: LmdbStore) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", READER, str(store.path / "archive")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def ask(self, what: object) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def test_a_reader_of_the_old_file_is_unharmed_and_finds_the_new_one_when_it_looks_again(
    ram_path: Path,
) -> None:
    clock = Clock()
    store, ids = archived(ram_path, clock, texts_ms=HOUR_MS)
    walk = store.archive.forward(-1, ids[-1])
    assert next(walk)[1] is not None
    with Reader(store) as reader:
        assert reader.ask(ids[0]) == "'a secret of number 0'"
        rewrite(store, clock.now_ms + 2 * DAY_MS)
        texts = [pair[0].text for _, pair in walk if pair is not None]
        assert texts == [f"a secret of number {number}" for number in range(1, len(ids))]
        assert reader.ask(ids[1]) == "'a secret of number 1'"
        reader.ask("refresh")
        assert reader.ask(ids[1]) == "''"
    store.close()


def test_what_is_written_after_a_rewriting_is_there_after_the_next_start(ram_path: Path) -> None:
    """A file that took another's place must not be written by what LMDB's lock said of that other one."""
    clock = Clock()
    store, ids = archived(ram_path, clock, texts_ms=HOUR_MS)
    with Reader(store) as reader:
        assert reader.ask(ids[0]) == "'a secret of number 0'"  # it has the old file, and its lock, open
        for _ in range(3):
            anew = Rewriting(store.archive, store.archive.days()[0], AsItIs())
            while anew.step():
                pass
            assert anew.finish()
            ids += ended(store, 2, "more")
            archive(store, clock.now_ms + 2000)
    store.close()
    store = open_store(ram_path, clock)
    assert all(store.archive.find(id) is not None for id in ids)
    store.close()


def test_a_day_that_is_dropped_meanwhile_stays_dropped(ram_path: Path) -> None:
    clock = Clock()
    store, ids = archived(ram_path, clock)
    anew = Rewriting(store.archive, store.archive.days()[0], AsItIs())
    anew.step(5)
    store.drop_old(clock.now_ms + 60 * DAY_MS, 30)
    assert not anew.finish()
    assert store.archive.days() == []
    assert store.archive.find(ids[0]) is None
    store.close()


@pytest.mark.parametrize("state", ["half written", "between two names", "old one left"])
def test_a_crash_in_the_middle_leaves_the_day_whole(ram_path: Path, state: str) -> None:
    clock = Clock()
    store, ids = archived(ram_path, clock)
    day = store.archive.days()[0]
    store.close()
    directory = ram_path / "store" / "archive"
    new, old = directory / (day + rewriting.NEW), directory / (day + rewriting.OLD)
    new.mkdir()
    if state == "half written":
        (new / "data.mdb").write_bytes(b"half")
    elif state == "between two names":
        new.rmdir()
        (directory / day).rename(new)
        old.mkdir()
    else:
        (new / "data.mdb").write_bytes(b"the old one")
    store = open_store(ram_path, clock)
    assert all(store.archive.find(id) is not None for id in ids)
    assert [one.name for one in directory.iterdir()] == [day]
    store.close()


def test_a_file_system_that_cannot_exchange_names_takes_three_steps(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "_renameat2", None)
    clock = Clock()
    store, ids = archived(ram_path, clock, texts_ms=HOUR_MS)
    rewrite(store, clock.now_ms + 2 * DAY_MS)
    found = store.find(1, ids[0])
    assert found is not None
    assert found[0].text == ""
    assert [one.name for one in (store.path / "archive").iterdir()] == store.archive.days()
    store.close()
