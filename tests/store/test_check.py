"""`store check`: it finds what is wrong, beside traffic too, and says nothing wrong of what is right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from router.nouns import Leased, Outcome, Phase, Settle
from store import check as checking
from store.check import check
from store.interface import Finding
from store.lmdb_store import LmdbStore
from store.records import MESSAGE_KEY, TIMED_KEY, expiry_minute
from store.young import AGE_MS
from tests.store.records_for_tests import (
    DAY_MS,
    NOW_MS,
    Clock,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    outcome,
    receipt,
    sent,
    with_account,
)


class Traffic:
    """Messages that come, go every way there is, and leave the hot store: its size stays about the same."""

    def __init__(self, path: Path) -> None:
        self.random = random.Random(7)
        self.clock = Clock()
        self.store = open_store(path, self.clock, archive_after_s=0)
        for account in (1, 2):
            with_account(self.store, account)
        self.lane = lane_of(self.store, "a", "b")
        self.number = 0

    def step(self) -> None:
        """Three messages in, what is there onward, one commit for each verb."""
        store, now_ms = self.store, self.clock.now_ms
        made = [
            message(
                store, self.lane, self.random.choice((1, 2)), segments=self.random.choice((1, 1, 2)),
                send_at_ms=self.random.choice((0, 0, now_ms + 3_000)), expires_ms=now_ms + 600_000,
            )
            for _ in range(3)
        ]  # fmt: skip
        commit(store, lambda txn: txn.accept(made))
        leased = commit(store, lambda txn: txn.claim([claim(store, self.lane, "a", 20)]))[0][0].leased
        answers = [one for each in leased for one in self._answers(each)]
        commit(store, lambda txn: txn.settle(answers, now_ms))
        self.clock.now_ms += 1_000
        now_ms = self.clock.now_ms
        commit(store, lambda txn: txn.move_due(now_ms, 50), lambda txn: txn.expire(now_ms, 50, 60_000))
        for endpoint in list(store.outbox_endpoints()):
            rows = store.outbox_page(endpoint, 0, 100)
            commit(store, lambda txn, rows=rows: txn.outbox_done(rows))  # type: ignore[misc]
        finished = store.pick_finished(now_ms, 100)
        store.archive.write(finished)
        commit(store, lambda txn: txn.forget(finished), lambda txn: txn.housekeep(now_ms, 100))

    def _answers(self, leased: Leased) -> Iterator[Outcome]:
        store, now_ms = self.store, self.clock.now_ms
        kind = self.random.choice((Settle.SENT, Settle.SENT, Settle.SENT, Settle.RETRY, Settle.UNKNOWN_HOLD))
        for part in range(leased.first_part, leased.message.segments):
            self.number += 1
            total = leased.message.segments
            if kind != Settle.SENT:
                until_ms = now_ms + 2_000
                yield outcome(store, leased, "a", kind, part=part, total=total, until_ms=until_ms)
                continue
            cid = f"c{self.number}"
            yield sent(store, leased, "a", cid, part, total)
            if self.random.random() < 0.9:
                arrived = [receipt(store, "a", cid, leased.message.destination)]
                commit(store, lambda txn, arrived=arrived: txn.receipts(arrived, now_ms))  # type: ignore[misc]


def between_chunks(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch, step: Callable[[], object]
) -> list[int]:
    """Run `step` before each read transaction but its own. Returns the pages of the file after each."""
    reading = store.reading
    pages: list[int] = []
    busy = False

    def hooked() -> AbstractContextManager[object]:
        nonlocal busy
        if not busy:
            busy = True
            assert readers_of(store) == 0
            step()
            pages.append(store._env.info()["last_pgno"])
            busy = False
        return reading()

    monkeypatch.setattr(store, "reading", hooked)
    return pages


def readers_of(store: LmdbStore) -> int:
    """How many read transactions are open."""
    slots = [line.split() for line in store._env.readers().splitlines()[1:]]
    return sum(slot[-1] != "-" for slot in slots if len(slot) == 3)


def test_a_check_between_whose_chunks_everything_changes_has_no_false_findings(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = Traffic(ram_path)
    for _ in range(40):
        traffic.step()
    monkeypatch.setattr(checking, "CHUNK_ROWS", 7)
    pages = between_chunks(traffic.store, monkeypatch, traffic.step)
    assert check(traffic.store) == []
    assert len(pages) > 60
    monkeypatch.undo()
    assert check(traffic.store) == []
    traffic.store.close()


def test_a_check_under_writes_holds_no_page_back(ram_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one read transaction over all of it, each of these commits would add some ten pages."""
    traffic = Traffic(ram_path)
    for _ in range(40):
        traffic.step()
    before = traffic.store._env.info()["last_pgno"]
    monkeypatch.setattr(checking, "CHUNK_ROWS", 7)
    pages = between_chunks(traffic.store, monkeypatch, traffic.step)
    check(traffic.store)
    assert pages[-1] - before < 2 * len(pages)
    monkeypatch.undo()
    traffic.store.close()


def test_a_long_table_is_left_and_taken_up_again_when_the_time_of_a_chunk_is_over(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = Traffic(ram_path)
    traffic.step()
    monkeypatch.setattr(checking, "CHUNK_S", -1.0)  # over before the first row
    chunks = between_chunks(traffic.store, monkeypatch, lambda: None)
    assert check(traffic.store) == []
    with traffic.store._env.begin() as tx:
        rows = sum(tx.stat(table.handle)["entries"] for table in traffic.store.tables.all)
    assert len(chunks) > rows
    monkeypatch.undo()
    traffic.store.close()


def test_a_check_in_a_thread_beside_a_writer_has_no_false_findings(ram_path: Path) -> None:
    traffic = Traffic(ram_path)
    for _ in range(20):
        traffic.step()
    rounds: list[list[Finding]] = []
    checker = threading.Thread(target=lambda: rounds.extend(check(traffic.store) for _ in range(20)))
    checker.start()
    while checker.is_alive():
        traffic.step()
    checker.join()
    assert rounds == [[]] * 20
    traffic.store.close()


def drop_expiry_row(store: LmdbStore) -> None:
    commit(store, lambda txn: txn.expire(NOW_MS + AGE_MS, 10, 0))
    with store._env.begin(write=True) as tx:
        row = TIMED_KEY.pack(expiry_minute(NOW_MS + DAY_MS), 1, last_id(store))
        assert tx.delete(row, db=store.tables.expiry.handle)


def drop_young_rows(store: LmdbStore) -> None:
    with store._env.begin(write=True) as tx:
        tx.drop(store.tables.young.handle, delete=False)


def drop_message(store: LmdbStore) -> None:
    with store._env.begin(write=True) as tx:
        assert tx.delete(MESSAGE_KEY.pack(1, last_id(store)), db=store.tables.message.handle)


def flip_a_bit(store: LmdbStore) -> None:
    with store._env.begin(write=True) as tx, tx.cursor(store.tables.message.handle) as cursor:
        assert cursor.last()
        key, value = cursor.item()
        cursor.put(key, value[:-1] + bytes((value[-1] ^ 1,)))


def count_one_too_many(store: LmdbStore) -> None:
    txn = store.begin()
    txn.batch.messages[Phase.READY] += 1
    store.commit(txn)


def last_id(store: LmdbStore) -> int:
    return store.core.ids.last


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (drop_expiry_row, "message"),
        (drop_young_rows, "message"),
        (drop_message, "ready"),
        (drop_message, "young"),
        (flip_a_bit, "message"),
        (count_one_too_many, "counter READY"),
    ],
)
def test_what_is_wrong_is_found_on_a_quiet_store_and_on_a_live_one(
    ram_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    live: bool,
    spoil: Callable[[LmdbStore], None],
    where: str,
) -> None:
    store = open_store(ram_path)
    with_account(store)
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane) for _ in range(3)]))
    spoil(store)
    if live:
        between_chunks(store, monkeypatch, lambda: commit(store, lambda txn: txn.put_meta("m", b"")))
    findings = check(store)
    assert any(finding.where.startswith(where) for finding in findings), findings
    monkeypatch.undo()
    store.close()


def test_only_a_quiet_store_is_told_that_segments_are_miscounted(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a live check cannot decide, the check of the stopped store does."""
    store = open_store(ram_path)
    with_account(store)
    commit(store, lambda txn: txn.accept([message(store, lane_of(store, "a"), segments=2)]))
    txn = store.begin()
    txn.batch.segments[Phase.READY] += 1
    txn.batch.accepted_segments += 1
    txn.batch.account_delta(1)[1] += 1
    store.commit(txn)
    assert {finding.where for finding in check(store)} == {"counter READY", "account 1"}
    between_chunks(store, monkeypatch, lambda: commit(store, lambda txn: txn.put_meta("m", b"")))
    assert check(store) == []
    monkeypatch.undo()
    store.close()
