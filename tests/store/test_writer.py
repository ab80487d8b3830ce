"""Rows written and deleted through cursors are those that LMDB's own puts and deletes would leave."""

from __future__ import annotations

from collections.abc import Iterator

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.layout import Tables
from store.writer import Writer

Tap = list[tuple[int, bytes, bytes | None]]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lmdb.Environment]:
    path = tmp_path_factory.mktemp("writer")
    with lmdb.open(str(path), max_dbs=64, map_size=64 << 20, sync=False) as opened:
        yield opened


def key(number: int) -> bytes:
    return number.to_bytes(12, "big")


NUMBERS = st.integers(0, 400)  # several pages of rows
RUNS = st.lists(st.tuples(NUMBERS, st.integers(1, 150)), max_size=4)


def spread(runs: list[tuple[int, int]]) -> list[int]:
    return [number for first, count in runs for number in range(first, first + count)]


@settings(deadline=None, max_examples=150)
@given(
    before=RUNS,
    gone=RUNS,
    scattered=st.lists(NUMBERS, max_size=20),
    after=RUNS,
    again=RUNS,
    backwards=st.booleans(),
    tapped=st.booleans(),
)
def test_many_rows_are_deleted_as_one_by_one(
    env: lmdb.Environment,
    before: list[tuple[int, int]],
    gone: list[tuple[int, int]],
    scattered: list[int],
    after: list[tuple[int, int]],
    again: list[tuple[int, int]],
    backwards: bool,
    tapped: bool,
) -> None:
    tables = Tables(env)
    seen: Tap = []
    with env.begin(write=True) as tx:
        writer = Writer(tx, (lambda *change: seen.append(change)) if tapped else None)
        put, delete_all = writer.putter(tables.outbox), writer.delete_all
        left: dict[bytes, bytes] = {}
        told: Tap = []
        for puts, deletes in ((before, [*spread(gone), *scattered]), (after, spread(again))):
            for number in spread(puts):
                put(key(number), b"v" * (number % 200))
                left[key(number)] = b"v" * (number % 200)
                told.append((tables.outbox.index, key(number), left[key(number)]))
            keys = [key(number) for number in deletes]
            delete_all(tables.outbox, reversed(keys) if backwards else keys)
            for one in sorted(keys):
                left.pop(one, None)
                told.append((tables.outbox.index, one, None))
        assert list(tx.cursor(tables.outbox.handle)) == sorted(left.items())
        assert seen == (told if tapped else [])
        writer.close()
        tx.abort()


def test_no_row_beside_a_missing_one_is_deleted(env: lmdb.Environment) -> None:
    tables = Tables(env)
    with env.begin(write=True) as tx:
        writer = Writer(tx, None)
        for number in (1, 3, 4, 6):
            writer.putter(tables.outbox)(key(number), b"")
        writer.delete_all(tables.outbox, [key(number) for number in (2, 3, 5, 7)])
        assert [row for row, _ in tx.cursor(tables.outbox.handle)] == [key(1), key(4), key(6)]
        writer.close()
        tx.abort()
