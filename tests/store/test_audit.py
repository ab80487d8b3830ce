"""The audit trail under somebody who writes the store's file: what was altered, removed or moved is found.

Deliberately not here: what every engine must do (conformance/test_audit), what is told (tests/gateway).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.audit import HEAD_NAME
from store.interface import AuditEntry, Finding
from store.lmdb_store import LmdbStore
from store.salvage import salvage
from store.values import seal, unseal
from tests.store import records_for_tests as made


def key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def tell(store: LmdbStore, *subjects: str) -> None:
    for subject in subjects:
        entry = AuditEntry(1_000, "ann", "cli", "account.changed", subject, {"tps": 5}, {"tps": 10}, "asked")
        made.commit(store, partial(_write, entry))


def _write(entry: AuditEntry, txn: Any) -> None:
    txn.audit(entry)


@pytest.fixture
def store(ram_path: Path) -> Iterator[LmdbStore]:
    """With five entries."""
    opened = made.open_store(ram_path)
    tell(opened, *(f"account:{name}" for name in "abcde"))
    yield opened
    opened.close()


def tamper(store: LmdbStore, act: Callable[[Any, Any], None]) -> list[Finding]:
    """Write behind the store's back; what a verification finds then."""
    with store._env.begin(write=True) as tx:
        act(tx, store.tables)
    findings = store.audit_verify().findings
    assert [one for one in store.check() if one.where.startswith("audit")], "store check finds it, too"
    return findings


def rows(tx: Any, tables: Any) -> list[tuple[bytes, bytes]]:
    with tx.cursor(tables.audit.handle) as cursor:
        return list(cursor.iternext())


def test_a_whole_trail_is_whole(store: LmdbStore) -> None:
    state = store.audit_verify()
    assert (state.entries, state.last, state.findings) == (5, 5, [])
    assert store.check() == []


@pytest.mark.parametrize("number", [1, 3, 5])
def test_an_altered_entry_is_found_even_with_its_checksum_set_right(store: LmdbStore, number: int) -> None:
    def alter(tx: Any, tables: Any) -> None:
        payload = unseal(key(number), tx.get(key(number), None, tables.audit.handle))
        assert b"ann" in payload
        tx.put(key(number), seal(key(number), payload.replace(b"ann", b"bob")), db=tables.audit.handle)

    findings = tamper(store, alter)
    assert findings
    assert all(one.where in (f"audit {number}", f"audit {number + 1}") for one in findings)


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_removed_entry_is_found_also_the_newest(store: LmdbStore, number: int) -> None:
    findings = tamper(store, lambda tx, tables: tx.delete(key(number), db=tables.audit.handle))
    assert f"audit {number}" in [one.where for one in findings]
    assert "missing" in findings[0].what


def test_entries_that_were_swapped_are_found(store: LmdbStore) -> None:
    def swap(tx: Any, tables: Any) -> None:
        second, third = (unseal(key(n), tx.get(key(n), None, tables.audit.handle)) for n in (2, 3))
        tx.put(key(2), seal(key(2), third), db=tables.audit.handle)
        tx.put(key(3), seal(key(3), second), db=tables.audit.handle)

    assert {"audit 2", "audit 3"} <= {one.where for one in tamper(store, swap)}


def test_a_trail_whose_rest_was_numbered_anew_is_found(store: LmdbStore) -> None:
    def close_the_gap(tx: Any, tables: Any) -> None:
        kept = [unseal(*row) for row in rows(tx, tables)]
        del kept[2]
        for number, payload in enumerate(kept, 1):
            tx.put(key(number), seal(key(number), payload), db=tables.audit.handle)
        tx.delete(key(5), db=tables.audit.handle)

    assert tamper(store, close_the_gap)


def test_a_flipped_bit_is_found_and_the_entry_stays_where_it_is(store: LmdbStore) -> None:
    def flip(tx: Any, tables: Any) -> None:
        value = bytearray(tx.get(key(3), None, tables.audit.handle))
        value[-1] ^= 1
        tx.put(key(3), bytes(value), db=tables.audit.handle)

    assert [one.where for one in tamper(store, flip)] == ["audit 3", "audit 4"]
    assert [row.number for row in store.audit_log()] == [5, 4, 2, 1]
    tell(store, "account:f")
    assert store.audit_verify().last == 6
    assert store.usage()["quarantined"] == 0


def test_a_cut_end_is_found_and_is_not_hidden_by_what_comes_after(store: LmdbStore) -> None:
    def cut(tx: Any, tables: Any) -> None:
        for number in (4, 5):
            tx.delete(key(number), db=tables.audit.handle)

    assert "cut off" in tamper(store, cut)[0].what
    tell(store, "account:f")
    assert [row.number for row in store.audit_log(1)] == [6], (
        "the numbers of what is gone are not given again"
    )
    assert "missing, with all up to 5" in store.audit_verify().findings[0].what


def test_a_lost_note_of_the_newest_is_told_and_the_trail_goes_on(store: LmdbStore) -> None:
    findings = tamper(store, lambda tx, tables: tx.delete(HEAD_NAME, db=tables.meta.handle))
    assert "note of the newest entry" in findings[0].what
    tell(store, "account:f")
    assert store.audit_verify().findings == []


def test_a_trail_that_was_written_anew_from_some_entry_on_is_found_by_a_hash_noted_before(
    store: LmdbStore,
) -> None:
    noted = store.audit_verify()
    assert store.audit_verify([(noted.last, noted.digest)]).findings == []

    def rewrite(tx: Any, tables: Any) -> None:
        for number in range(1, 6):
            tx.delete(key(number), db=tables.audit.handle)
        tx.delete(HEAD_NAME, db=tables.meta.handle)

    with store._env.begin(write=True) as tx:
        rewrite(tx, store.tables)
    tell(store, *(f"account:{name}" for name in "abcdX"))
    assert store.audit_verify().findings == []
    (finding,) = store.audit_verify([(noted.last, noted.digest)]).findings
    assert finding.where == "audit 5"
    assert "missing" in store.audit_verify([(9, noted.digest)]).findings[0].what


def test_a_salvaged_store_says_which_entries_were_lost(ram_path: Path, tmp_path: Path) -> None:
    damaged = made.open_store(ram_path)
    tell(damaged, "account:a", "account:b", "account:c")
    with damaged._env.begin(write=True) as tx:
        tx.put(key(2), b"rubbish", db=damaged.tables.audit.handle)
    damaged.close()
    salvage(ram_path / "store", tmp_path / "store")
    saved = made.open_store(tmp_path)
    findings = saved.audit_verify().findings
    saved.close()
    assert (findings[0].where, findings[0].what) == ("audit 2", "missing, with all up to 2")


ACTS = ("alter", "remove", "swap", "truncate", "re-insert", "renumber")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(ACTS), st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=4)
)
def test_whatever_is_done_to_rows_is_found(ram_path: Path, acts: list[tuple[str, int, int]]) -> None:
    """Altered, removed, swapped, cut off, put back elsewhere or numbered anew, their checksums set right, and
    the note of the newest entry left alone."""
    shutil.rmtree(ram_path, ignore_errors=True)
    store = made.open_store(ram_path)
    tell(store, *(f"account:{name}" for name in "abcdefgh"))
    with store._env.begin(write=True) as tx:
        before = rows(tx, store.tables)
        trail = {int.from_bytes(number, "big"): unseal(number, value) for number, value in before}
        for act, first, second in acts:
            trail = _done(act, trail, first, second)
        for number, _ in before:
            tx.delete(number, db=store.tables.audit.handle)
        for place, payload in trail.items():
            tx.put(key(place), seal(key(place), payload), db=store.tables.audit.handle)
        is_changed = rows(tx, store.tables) != before
    assert bool(store.audit_verify().findings) == is_changed
    store.close()


def _done(act: str, trail: dict[int, bytes], first: int, second: int) -> dict[int, bytes]:
    numbers = sorted(trail)
    if not numbers:
        return trail
    one, other = numbers[first % len(numbers)], numbers[second % len(numbers)]
    if act == "alter":
        return {**trail, one: trail[one].replace(b"ann", b"bob")}
    if act == "remove":
        return {number: payload for number, payload in trail.items() if number != one}
    if act == "swap":
        return {**trail, one: trail[other], other: trail[one]}
    if act == "truncate":
        return {number: payload for number, payload in trail.items() if number < one}
    if act == "re-insert":
        return {**trail, numbers[-1] + second: trail[one]}
    return dict(enumerate((trail[number] for number in numbers if number != one), 1))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 6), st.integers(0, 3))
def test_a_tail_that_was_written_anew_in_good_order_is_found_by_a_head_noted_before(
    ram_path: Path, kept: int, more: int
) -> None:
    """The forger cuts the trail, sets the note of the newest right, and tells another story from there on."""
    shutil.rmtree(ram_path, ignore_errors=True)
    store = made.open_store(ram_path)
    tell(store, *(f"account:{name}" for name in "abcde"))
    heads = [store.audit_head()]
    tell(store, "account:f", "account:g")
    heads.append(store.audit_head())
    with store._env.begin(write=True) as tx:
        for number, _ in rows(tx, store.tables):
            if int.from_bytes(number, "big") > kept:
                tx.delete(number, db=store.tables.audit.handle)
        tx.delete(HEAD_NAME, db=store.tables.meta.handle)
    tell(store, *(f"account:other{number}" for number in range(more)))
    if more:
        assert store.audit_verify().findings == []  # it agrees with itself
    found = store.audit_verify(heads).findings
    assert found
    assert all(
        "was noted" in one.what or "its hash was" in one.what or "note of" in one.what for one in found
    )
    store.close()


def test_entries_are_read_from_the_oldest_on_and_a_damaged_one_is_named(store: LmdbStore) -> None:
    with store._env.begin(write=True) as tx:
        tx.put(key(3), b"rubbish", db=store.tables.audit.handle)
    assert [(number, row is not None) for number, row in store.audit_after(1, 3)] == [
        (2, True),
        (3, False),
        (4, True),
    ]
    assert store.audit_after(5) == []
