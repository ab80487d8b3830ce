"""Rows of what has ended, many messages each: read, followed, archived and mended beside rows of one."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.nouns import Message, MessageState, Phase, Step
from store.batch import FINISHED_CHUNK
from store.check import check
from store.finished import Finished, is_followed
from store.lmdb_store import LmdbStore
from store.mend import mend
from store.records import MESSAGE_KEY, NO_ACCOUNT, TIMED_KEY, ended_in_row
from store.values import seal, unseal
from tests.store.records_for_tests import (
    NOW_MS,
    Clock,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    receipt,
    sent,
    with_account,
)

BEHIND_S = 1 << 31


class House:
    """A store, its clock, and what has ended in it."""

    def __init__(self, path: Path, accounts: int = 2) -> None:
        self.path = path
        self.clock = Clock()
        self.store = self._opened()
        for account in range(1, accounts + 1):
            with_account(self.store, account)
        self.accounts = accounts
        self.ended: list[int] = []

    def _opened(self) -> LmdbStore:
        return open_store(self.path, self.clock, archive_after_s=10, map_size=64 << 20)

    def reopen(self) -> None:
        self.store.close()
        self.store = self._opened()

    def do(self, *verbs: Any) -> Any:
        return commit(self.store, *verbs)[-1]

    def sent(self, count: int) -> list[Message]:
        """Messages of all accounts that carriers have, each under its id."""
        store, lane = self.store, lane_of(self.store, "a")
        made = [message(store, lane, 1 + at % self.accounts) for at in range(count)]
        self.do(lambda txn: txn.accept(made))
        leased = self.do(lambda txn: txn.claim([claim(store, lane, "a", count)]))[0].leased
        answers = [sent(store, one, "a", f"c{one.message.id}") for one in leased]
        self.do(lambda txn: txn.settle(answers, self.clock.now_ms))
        return made

    def receive(self, messages: Iterable[Message]) -> None:
        """Receipts for all of them, in one commit."""
        arrived = [receipt(self.store, "a", f"c{one.id}", one.destination) for one in messages]
        self.do(lambda txn: txn.receipts(arrived, self.clock.now_ms))

    def end(self, count: int) -> list[int]:
        """As many end in one commit."""
        made = self.sent(count)
        self.receive(made)
        self.ended += [one.id for one in made]
        return [one.id for one in made]

    def rows(self) -> dict[bytes, list[int]]:
        """Ids by row."""
        with self.store.reading() as tx, tx.cursor(self.store.tables.finished.handle) as cursor:
            return {
                key: [MESSAGE_KEY.unpack(one)[1] for one in ended_in_row(key, unseal(key, value))]
                for key, value in cursor.iternext()
            }

    def as_older(self, keys: Iterable[bytes]) -> None:
        """Write these rows as older releases did: one for each message."""
        with self.store._env.begin(write=True) as tx:
            table = self.store.tables.finished.handle
            for key in keys:
                value = tx.pop(key, db=table) or b""
                for one in ended_in_row(key, unseal(key, value)):
                    tx.put(key[:4] + one, seal(key[:4] + one, b""), db=table)

    def follow(self, key: bytes = b"", limit: int = 1_000) -> list[Finished]:
        return list(self.store.finished_after(key, BEHIND_S, limit))

    def archive(self, limit: int = 1_000) -> int:
        """One portion."""
        picked = self.store.pick_finished(self.clock.now_ms, limit)
        self.store.write_finished(picked)
        return int(self.do(lambda txn: txn.forget(picked)))

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def house(ram_path: Path) -> House:
    return House(ram_path)


def ids(rows: Iterable[Finished]) -> list[int]:
    return [row.message.id for row in rows if row.message is not None]


def test_what_ends_in_one_commit_is_in_rows_of_no_account_of_bounded_length(house: House) -> None:
    made = house.end(2 * FINISHED_CHUNK + 1)
    rows = house.rows()
    assert [len(row) for row in rows.values()] == [FINISHED_CHUNK, FINISHED_CHUNK, 1]
    assert [TIMED_KEY.unpack(key) for key in rows] == [
        (NOW_MS // 1000, NO_ACCOUNT, row[0]) for row in rows.values()
    ]
    assert [id for row in rows.values() for id in row] == made
    assert check(house.store) == []
    house.close()


def test_commits_in_the_same_second_and_after_a_restart_leave_each_others_rows_alone(house: House) -> None:
    late = house.sent(3)
    for _ in range(3):
        house.end(2)
        house.reopen()
    house.receive(late)  # its row stands before the others
    rows = house.rows()
    assert len(rows) == 4
    assert sorted(ids(house.follow())) == sorted([*house.ended, *(one.id for one in late)])
    house.close()


def test_what_ends_at_two_times_in_one_transaction_is_in_the_rows_of_both(house: House) -> None:
    first, second, third = house.sent(3)

    def arrived(one: Message) -> Any:
        return [receipt(house.store, "a", f"c{one.id}", one.destination)]

    house.do(
        lambda txn: txn.receipts(arrived(first), NOW_MS),
        lambda txn: txn.receipts(arrived(second), NOW_MS + 1_000),
        lambda txn: txn.receipts(arrived(third), NOW_MS),
    )
    assert sorted(house.rows().values()) == [[first.id, third.id], [second.id]]
    assert check(house.store) == []
    house.close()


def test_a_transaction_that_is_dropped_leaves_no_row(house: House) -> None:
    made = house.sent(2)
    txn: Any = house.store.begin()
    arrived = [receipt(house.store, "a", f"c{one.id}", one.destination) for one in made]
    txn.receipts(arrived, NOW_MS)
    txn.finish()
    house.store.abort(txn)
    assert house.rows() == {}
    house.receive(made)
    assert list(house.rows().values()) == [[one.id for one in made]]
    assert check(house.store) == []
    house.close()


def test_a_row_that_is_there_already_gets_longer_and_loses_nothing(house: House) -> None:
    """Only damage lets a message end twice: its second end must not hide whoever ended with it at first."""
    first, second = house.end(2)
    house.do(lambda txn: txn.batch.ends_at(NOW_MS).append(MESSAGE_KEY.pack(1, first)))
    assert list(house.rows().values()) == [[first, second, first]]
    house.clock.now_ms += 60_000
    house.archive()
    assert house.rows() == {}
    assert all(house.store.archive.find(id) is not None for id in (first, second))
    house.close()


def mixed(house: House) -> None:
    """Rows of both kinds, in three seconds, some of them beside each other."""
    for count, older in ((3, False), (2, True), (1, False), (4, True), (5, False), (1, True)):
        before = set(house.rows())
        house.end(count)
        if older:
            house.as_older(set(house.rows()) - before)
        if count in (1, 4):
            house.clock.now_ms += 1_000


def test_a_reader_may_stop_and_go_on_at_every_row(house: House) -> None:
    mixed(house)
    rows = house.rows()
    everything = house.follow()
    assert sorted(ids(everything)) == sorted(house.ended)
    assert [row.key for row in everything] == [key for key, row in rows.items() for _ in row]
    for limit in range(1, len(house.ended) + 1):
        key = b""
        found: list[Finished] = []
        while portion := house.follow(key, limit):
            key = portion[-1].key
            assert limit <= len(portion) < limit + 5 or found + portion == everything
            found += portion
        assert found == everything
    keys = list(rows)
    for at, key in enumerate(keys):
        behind = [id for one in keys[at + 1 :] for id in rows[one]]
        assert ids(house.follow(key)) == behind
        assert [id for _, _, id in house.store.finished_keys(key, BEHIND_S, 1_000)] == behind
        house.store.follow_finished(key)
        up_to = [id for one in keys[: at + 1] for id in rows[one]]
        assert ids(house.store.pick_finished(house.clock.now_ms + 60_000, 1_000)) == up_to
    assert ids(house.store.finished_after(b"", NOW_MS // 1000, 1_000)) == [
        id for key in keys if TIMED_KEY.unpack(key)[0] == NOW_MS // 1000 for id in rows[key]
    ]
    house.close()


def test_a_message_that_a_late_receipt_changed_stays_in_its_row_and_the_row_in_its_place(
    house: House,
) -> None:
    first, second, third = house.end(3)
    (key,) = house.rows()
    house.clock.now_ms += 60_000
    picked = house.store.pick_finished(house.clock.now_ms, 10)
    house.store.write_finished(picked)
    late = next(one.message for one in picked if one.message is not None and one.message.id == second)
    house.do(
        lambda txn: txn.receipts(
            [receipt(house.store, "a", f"c{second}", late.destination)], house.clock.now_ms
        )
    )
    assert house.do(lambda txn: txn.forget(picked)) == 2
    assert house.rows() == {key: [second]}
    assert check(house.store) == []
    assert ids(house.follow()) == [second]
    assert house.follow(key) == []
    house.reopen()
    assert house.archive() == 1
    assert house.rows() == {}
    for id in (first, second, third):
        found = house.store.find_any(id)
        assert found is not None
        assert (found[1].events[-1][1] == Step.RECEIPT_REPEATED) == (id == second)
    assert check(house.store) == []
    house.close()


@pytest.mark.parametrize("picked", [0, 1, 2])
def test_of_a_row_that_was_picked_in_part_only_that_part_leaves(house: House, picked: int) -> None:
    made = house.end(3)
    house.clock.now_ms += 60_000
    rows = house.store.pick_finished(house.clock.now_ms, 1)
    assert ids(rows) == made
    house.store.write_finished(rows[:picked])
    for _ in range(2):  # repeating it changes nothing
        house.do(lambda txn: txn.forget(rows[:picked]))
        assert list(house.rows().values()) == [made[picked:]]
    assert check(house.store) == []
    house.close()


# damage


def damage(house: House, key: bytes) -> None:
    with house.store._env.begin(write=True) as tx:
        table = house.store.tables.finished.handle
        value = tx.get(key, db=table) or b""
        tx.put(key, value[:-1] + bytes((value[-1] ^ 1,)), db=table)


@pytest.mark.parametrize("limit", [1, 100])
def test_a_damaged_row_is_set_aside_stops_nobody_and_is_made_anew_by_mending(
    house: House, limit: int
) -> None:
    for count in (2, 3, 2):
        house.end(count)
        house.clock.now_ms += 1_000
    before, lost, _ = house.rows()
    left = house.ended[:2] + house.ended[5:]
    damage(house, lost)
    said = {(one.where, one.what) for one in check(house.store)}
    assert (f"finished {lost.hex()}", "the value does not carry its checksum") in said
    assert {where for where, what in said if "archiver" in what} == {
        f"message {id}" for id in house.ended[2:5]
    }
    assert ids(house.follow()) == left
    assert ids(house.follow(before)) == house.ended[5:]
    house.clock.now_ms += 60_000
    assert sum(house.archive(limit) for _ in range(5)) == 4
    assert house.store.pick_finished(house.clock.now_ms, 100) == []
    assert house.store.memory.quarantined == 1
    assert [one.what for one in check(house.store)] == ["is final, but the archiver will not find it"] * 3
    mend(house.store)
    house.reopen()
    assert check(house.store) == []
    assert sorted(ids(house.follow())) == house.ended[2:5]
    mended = house.rows()
    mend(house.store)
    house.reopen()
    assert house.rows() == mended
    assert house.archive(limit) >= 1
    house.close()


def change(house: House, table: str, key: bytes, value: bytes | None) -> None:
    with house.store._env.begin(write=True) as tx:
        handle = getattr(house.store.tables, table).handle
        if value is None:
            tx.delete(key, db=handle)
        else:
            tx.put(key, seal(key, value), db=handle)


def test_check_and_mending_know_each_message_of_a_row(house: House) -> None:
    lost, left_out, fine = house.end(3)
    (waiting,) = house.sent(1)
    (key,) = house.rows()
    change(house, "message", MESSAGE_KEY.pack(1, lost), None)
    change(house, "progress", MESSAGE_KEY.pack(1, lost), None)
    named = ((1, lost), (1, waiting.id), (1, fine))
    change(house, "finished", key, b"".join(MESSAGE_KEY.pack(*one) for one in named))
    said = {(one.where, one.what) for one in check(house.store)}
    assert (f"finished {lost}", "names a message that is not there") in said
    assert (f"finished {waiting.id}", "names a message that has not ended") in said
    assert (f"message {left_out}", "is final, but the archiver will not find it") in said
    mend(house.store)
    house.reopen()
    assert check(house.store) == []
    assert sorted(house.rows().values()) == [[left_out], [fine]]
    house.close()


def test_how_a_message_ended_may_be_lost_but_not_that_it_did(house: House) -> None:
    first, second = house.end(2)
    change(house, "progress", MESSAGE_KEY.pack(1, first), None)
    mend(house.store)
    house.reopen()
    found = house.store.find(1, first)
    assert found is not None
    assert (found[1].phase, found[1].state) == (Phase.FINAL, MessageState.UNKNOWN)
    assert list(house.rows().values()) == [[first, second]]
    assert check(house.store) == []
    house.close()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_whatever_rows_are_lost_a_mended_store_is_sound_and_archives_all_that_has_ended(
    house: House, share: float
) -> None:
    mixed(house)
    house.sent(4)
    chance = random.Random(share)
    with house.store._env.begin(write=True) as tx:
        for name in ("message", "progress", "finished", "expiry"):
            table = getattr(house.store.tables, name).handle
            with tx.cursor(table) as cursor:
                keys = [key for key in cursor.iternext(values=False) if chance.random() < share]
            for key in keys:
                tx.delete(key, db=table)
    house.reopen()
    mend(house.store)
    house.reopen()
    assert check(house.store) == []
    there = [id for id in house.ended if house.store.find_any(id) is not None]
    house.clock.now_ms += 60_000
    while house.archive(3):
        pass
    with house.store.reading() as tx, tx.cursor(house.store.tables.message.handle) as cursor:
        waiting = {MESSAGE_KEY.unpack(key)[1] for key in cursor.iternext(values=False)}
    assert all(house.store.archive.find(id) is not None for id in there if id not in waiting)
    assert house.store.totals().messages[Phase.FINAL] >= len(set(there) - waiting)
    assert check(house.store) == []
    house.close()


# who has read of it


def test_a_message_is_followed_once_the_reader_is_at_its_row_or_behind(house: House) -> None:
    mixed(house)
    rows = house.rows()
    places = [bytes(16), *rows, (BEHIND_S).to_bytes(4, "big") + b"\xff" * 12, b""]
    for place in places:
        house.store.follow_finished(place)
        txn: Any = house.store.begin()
        for key, ended in rows.items():
            for id in ended:
                account = next(a for a in (1, 2) if house.store.find(a, id) is not None)
                asked = is_followed(txn.batch, TIMED_KEY.unpack(key)[0], MESSAGE_KEY.pack(account, id))
                assert asked == (key <= place)
        house.store.abort(txn)
    house.store.follow_finished(next(iter(rows)))
    (new,) = house.sent(1)
    house.clock.now_ms = NOW_MS
    txn = house.store.begin()
    txn.receipts([receipt(house.store, "a", f"c{new.id}", new.destination)], NOW_MS)
    assert not is_followed(txn.batch, NOW_MS // 1000, MESSAGE_KEY.pack(1, new.id))  # of this transaction
    house.store.follow_finished(None)
    assert is_followed(txn.batch, NOW_MS // 1000, MESSAGE_KEY.pack(1, new.id))
    house.store.abort(txn)
    house.close()


# all of it, in any order

steps = st.lists(
    st.one_of(
        st.tuples(st.just("end"), st.integers(1, 5)),
        st.tuples(st.just("end"), st.sampled_from([FINISHED_CHUNK + 1])),
        st.tuples(st.just("end older"), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.sampled_from([0, 400, 1_000, 15_000, -700])),
        st.tuples(st.just("follow"), st.integers(1, 7)),
        st.tuples(st.just("archive"), st.integers(1, 7)),
        st.tuples(st.just("archive"), st.sampled_from([3, 1_000])),
        st.tuples(st.just("late"), st.integers(0, 20)),
        st.tuples(st.just("drop"), st.integers(1, 3)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    min_size=1,
    max_size=14,
)


class Following(House):
    """With a reader as gateway.cdrs is one, and an archiver that a receipt may surprise."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.store.follow_finished(b"")
        self.mark = b""
        self.read: list[int] = []
        self.late = -1

    def step(self, what: str, number: Any) -> None:
        if what == "end":
            self.end(number)
        elif what == "end older":
            before = set(self.rows())
            self.end(number)
            self.as_older(set(self.rows()) - before)
        elif what == "wait":
            self.clock.now_ms += number
        elif what == "follow":
            self.go_on(number)
        elif what == "archive":
            self.copy(number)
        elif what == "late":
            self.late = number
        elif what == "drop":
            made = self.sent(number)
            txn: Any = self.store.begin()
            txn.receipts([receipt(self.store, "a", f"c{one.id}", one.destination) for one in made], NOW_MS)
            self.store.abort(txn)
            self.receive(made)
            self.ended += [one.id for one in made]
        else:
            self.reopen()
            self.store.follow_finished(self.mark)

    def go_on(self, limit: int) -> None:
        """One portion of the seconds that are over."""
        until_s = self.clock.now_ms // 1000 - 1
        self.do(lambda txn: txn.seal_finished((until_s + 1) * 1000))
        portion = self.store.finished_after(self.mark, until_s, limit)
        if portion:
            self.mark = portion[-1].key
            self.read += ids(portion)
        self.store.follow_finished(self.mark)

    def copy(self, limit: int) -> None:
        picked = self.store.pick_finished(self.clock.now_ms, limit)
        assert set(ids(picked)) <= set(self.read)
        self.store.write_finished(picked)
        if picked and self.late >= 0:
            message = picked[self.late % len(picked)].message
            assert message is not None
            self.receive([message])
            self.late = -1
        self.do(lambda txn: txn.forget(picked))

    def run_out(self) -> None:
        self.late = -1
        self.clock.now_ms += 60_000
        for _ in range(10_000):
            if sorted(self.read) == sorted(self.ended):
                break
            self.go_on(5)
        while self.store.pick_finished(self.clock.now_ms, 1):
            self.copy(5)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_happens_each_message_is_followed_once_and_archived(steps: list[Any]) -> None:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as directory:
        house = Following(Path(directory))
        for what, number in steps:
            house.step(what, number)
        assert check(house.store) == []
        house.run_out()
        assert sorted(house.read) == sorted(house.ended)
        assert house.rows() == {}
        assert all(house.store.archive.find(id) is not None for id in house.ended)
        assert house.store.totals().messages[Phase.FINAL] == len(house.ended)
        assert check(house.store) == []
        house.close()
