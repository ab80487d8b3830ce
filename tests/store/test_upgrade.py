"""Formats: older stores are brought up step by step, a crash between costs nothing, strangers are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import upgrade
from store.batch import scan
from store.check import check
from store.interface import StoreFormat
from store.layout import Tables
from store.lmdb_store import LmdbStore
from store.upgrade import Step
from tests.store.records_for_tests import commit, lane_of, message, open_store, with_account


class Crash(Exception):
    pass


class TagAccounts:
    """A step for tests: a new meta row for each account, two accounts a portion; dies before `dies_at`."""

    def __init__(self, tag: bytes, dies_at: int = -1) -> None:
        self.tag = tag
        self.dies_at = dies_at
        self.portions = 0
        self.seen: list[bytes] = []

    def __call__(self, tx, tables: Tables, mark: bytes) -> bytes | None:  # type: ignore[no-untyped-def]
        if self.portions == self.dies_at:
            raise Crash
        self.portions += 1
        with tx.cursor(tables.account.handle) as cursor:
            keys = [key for key, _ in scan(cursor, mark) if key != mark][:2]
        for key in keys:
            tx.put(b"m:" + self.tag + key, b"", db=tables.inbound.handle)
        self.seen += keys
        return keys[-1] if keys else None


def store_of_format(path: Path, number: int = 1) -> None:
    with pytest.MonkeyPatch.context() as patch:
        at_format(patch, number, {})
        store = open_store(path)
    for id in range(1, 6):
        with_account(store, id)
    commit(store, lambda txn: txn.accept([message(store, lane_of(store, "a"))]))
    store.close()


def at_format(monkeypatch: pytest.MonkeyPatch, number: int, steps: dict[int, Step]) -> None:
    """As if this release had format `number`, reached by `steps`."""
    monkeypatch.setattr(upgrade, "FORMAT", number)
    monkeypatch.setattr(upgrade, "STEPS", steps)


def written_format(store: LmdbStore) -> int | None:
    with store.reading() as tx:
        return upgrade.format_of(tx, store.tables, store.path)


def test_a_new_store_says_its_format(ram_path: Path) -> None:
    store = open_store(ram_path)
    assert written_format(store) == upgrade.FORMAT
    store.close()


def test_steps_run_in_order_each_once_and_are_announced(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of_format(ram_path)
    first, second = TagAccounts(b"first"), TagAccounts(b"second")
    at_format(monkeypatch, 3, {2: Step("tags again", second), 1: Step("accounts get tags", first)})
    said: list[str] = []
    store = open_store(ram_path, announce=said.append)
    assert written_format(store) == 3
    assert len(first.seen) == len(second.seen) == 5
    assert [line.partition("store in ")[2].partition("/store ")[2] for line in said] == [
        "goes from format 1 to 2: accounts get tags",
        "goes from format 2 to 3: tags again",
        "has format 3 now; older releases cannot open it any more",
    ]
    assert store.totals().accepted == 1
    store.close()
    said.clear()
    open_store(ram_path, announce=said.append).close()
    assert said == []


@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
def test_a_step_that_a_crash_interrupted_goes_on_where_it_was(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    store_of_format(ram_path)
    dying, going_on = TagAccounts(b"tag", dies_at), TagAccounts(b"tag")
    at_format(monkeypatch, 2, {1: Step("accounts get tags", dying)})
    with pytest.raises(Crash):
        open_store(ram_path, announce=lambda line: None)
    at_format(monkeypatch, 2, {1: Step("accounts get tags", going_on)})
    said: list[str] = []
    store = open_store(ram_path, announce=said.append)
    assert ("goes on from format 1" in said[0]) == (dies_at > 0)
    assert len(dying.seen) == min(2 * dies_at, 5)
    assert sorted(dying.seen + going_on.seen) == [id.to_bytes(4, "big") for id in range(1, 6)]
    assert written_format(store) == 2
    store.close()


def test_an_older_release_does_not_open_what_is_half_upgraded(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of_format(ram_path)
    at_format(monkeypatch, 2, {1: Step("accounts get tags", TagAccounts(b"tag", dies_at=1))})
    with pytest.raises(Crash):
        open_store(ram_path, announce=lambda line: None)
    at_format(monkeypatch, 1, {})
    with pytest.raises(StoreFormat, match="has format 2; this Signalbox knows formats up to 1"):
        open_store(ram_path)


def test_a_store_older_than_the_oldest_step_is_refused_with_a_hint_and_not_touched(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of_format(ram_path)
    step = TagAccounts(b"tag")
    at_format(monkeypatch, 4, {3: Step("", step), 2: Step("", step)})
    with pytest.raises(StoreFormat, match=r"has format 1; .* from format 2 on") as refused:
        open_store(ram_path)
    assert "knows formats 1 and 2" in refused.value.hint
    assert step.portions == 0
    monkeypatch.undo()
    store = open_store(ram_path, announce=lambda line: None)
    assert check(store) == []
    store.close()


def test_a_newer_format_is_refused_with_a_word(ram_path: Path) -> None:
    store_of_format(ram_path, 99)
    with pytest.raises(StoreFormat, match="has format 99") as refused:
        open_store(ram_path)
    assert "newer Signalbox" in refused.value.hint


def test_records_that_do_not_say_their_format_are_refused(ram_path: Path) -> None:
    store_of_format(ram_path)
    store = open_store(ram_path)
    with store._env.begin(write=True) as tx:
        tx.delete(upgrade.FORMAT_NAME, db=store.tables.meta.handle)
    store.close()
    with pytest.raises(StoreFormat, match="does not say in which format") as refused:
        open_store(ram_path)
    assert "salvage" in refused.value.hint
