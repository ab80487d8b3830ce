"""Young messages: whoever has no row in the expiry index ends all the same, whatever happens meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.nouns import Leased, Message, MessageState, Outcome, Phase, Reason, ReceiptWish, Settle
from store import young, young_left
from store.backup import backup, restore
from store.check import check
from store.holding import in_one_commit
from store.interface import Claim, Replacement
from store.lmdb_store import LmdbStore
from store.queues import expiry_key
from store.reads import find
from store.records import MESSAGE_KEY, TIME_KEY
from store.salvage import salvage
from store.values import unseal
from store.young import AGE_MS, CHUNK, VALIDITY_MS, rows_of
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

Way = Callable[[LmdbStore, Message], None]


@pytest.fixture
def store(ram_path: Path) -> LmdbStore:
    store = open_store(ram_path)
    with_account(store, 1)
    with_account(store, 2)
    return store


def accept(store: LmdbStore, count: int = 1, **fields: Any) -> list[Message]:
    made = [message(store, lane_of(store, "a"), **fields) for _ in range(count)]
    commit(store, lambda txn: txn.accept(made))
    return made


def expire(store: LmdbStore, now_ms: int, limit: int = 1_000, grace_ms: int = 0) -> int:
    (count,) = commit(store, lambda txn: txn.expire(now_ms, limit, grace_ms))
    return int(count)


def rows(store: LmdbStore, table: str) -> dict[bytes, bytes]:
    with store.reading() as tx, tx.cursor(getattr(store.tables, table).handle) as cursor:
        return dict(cursor.iternext())


def state(store: LmdbStore, one: Message) -> tuple[int, int]:
    """(phase, state)"""
    found = store.find(one.account, one.id)
    assert found is not None
    return found[1].phase, found[1].state


def key_of(one: Message) -> bytes:
    return MESSAGE_KEY.pack(one.account, one.id)


def agrees(store: LmdbStore) -> None:
    """Memory and rows say the same, and whoever has not ended is in a chunk or has its row: one of them."""
    assert check(store) == []
    known, expiry = store.memory.young, rows(store, "expiry")
    chunks = {
        TIME_KEY.unpack(key)[0]: rows_of(unseal(key, value)) for key, value in rows(store, "young").items()
    }
    assert set(chunks) == set(known.chunks)
    assert {number: chunk.left for number, chunk in known.chunks.items()} == Counter(known.chunk_of.values())
    with store.reading() as tx:
        for key in rows(store, "message"):
            found = find(tx, store.tables, *MESSAGE_KEY.unpack(key))
            assert found is not None
            row, number = expiry_key(*found), known.chunk_of.get(key)
            if found[1].phase == Phase.FINAL:
                assert (row in expiry, number) == (False, None)
            else:
                assert (row in expiry) == (number is None)
                assert number is None or row in chunks[number]


def all_expire(store: LmdbStore, messages: list[Message], now_ms: int = NOW_MS + 3 * DAY_MS) -> None:
    agrees(store)
    while expire(store, now_ms):
        agrees(store)
    assert [state(store, one) for one in messages] == [(Phase.FINAL, MessageState.EXPIRED)] * len(messages)
    assert (rows(store, "young"), rows(store, "expiry")) == ({}, {})
    assert store.memory.young.chunk_of == {}


# by age


def test_what_is_accepted_has_no_row_until_it_is_half_a_minute_old(store: LmdbStore) -> None:
    made = accept(store, 3)
    assert (len(rows(store, "young")), rows(store, "expiry")) == (1, {})
    assert expire(store, NOW_MS + AGE_MS - 1) == 0
    assert rows(store, "expiry") == {}
    agrees(store)
    assert expire(store, NOW_MS + AGE_MS) == 3
    assert sorted(rows(store, "expiry")) == [expiry_key(one, None) for one in made]
    assert rows(store, "young") == {}
    all_expire(store, made)
    store.close()


def test_it_is_written_out_in_portions(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(young, "CHUNK", 4)
    made = accept(store, 11)
    assert len(rows(store, "young")) == 3
    for written in (3, 6, 9):
        assert expire(store, NOW_MS + AGE_MS, limit=3) == 3
        assert len(rows(store, "expiry")) == written
        assert len(rows(store, "young")) == 3 - written // 4
        agrees(store)
    assert expire(store, NOW_MS + AGE_MS, limit=3) == 2
    all_expire(store, made)
    store.close()


def test_written_out_and_due_at_once_it_ends_in_the_same_commit(store: LmdbStore) -> None:
    made = accept(store, 2)
    assert expire(store, NOW_MS + DAY_MS + 60_000) == 4
    assert [state(store, one)[1] for one in made] == [MessageState.EXPIRED] * 2
    agrees(store)
    store.close()


def test_a_clock_that_jumps_ahead_ends_what_is_due_by_it(store: LmdbStore) -> None:
    made = accept(store, 2)
    later = accept(store, 1, accepted_ms=NOW_MS + 2 * DAY_MS, expires_ms=NOW_MS + 3 * DAY_MS)
    expire(store, NOW_MS + 2 * DAY_MS)
    agrees(store)
    assert [state(store, one)[0] for one in [*made, *later]] == [Phase.FINAL, Phase.FINAL, Phase.READY]
    assert rows(store, "expiry") == {}  # it is still young
    all_expire(store, made + later, NOW_MS + 4 * DAY_MS)
    store.close()


def test_a_clock_that_is_set_back_keeps_nobody_young(store: LmdbStore) -> None:
    """Nor hides who was accepted after that behind those from before, if it is put right again."""
    before = accept(store, 1, accepted_ms=NOW_MS + DAY_MS, expires_ms=NOW_MS + 2 * DAY_MS)
    after = accept(store, 1, expires_ms=NOW_MS + VALIDITY_MS + 1)
    expire(store, NOW_MS + DAY_MS + 1_000)
    agrees(store)
    assert [state(store, one)[0] for one in (*before, *after)] == [Phase.READY, Phase.FINAL]
    assert sorted(rows(store, "expiry")) == [expiry_key(before[0], None)]
    made = accept(store, 1, accepted_ms=NOW_MS, expires_ms=NOW_MS + DAY_MS)
    assert expire(store, NOW_MS - DAY_MS) == 1
    assert rows(store, "young") == {}
    all_expire(store, [*before, *made])
    store.close()


def test_what_is_valid_for_a_short_time_or_scheduled_has_its_row_at_once(store: LmdbStore) -> None:
    short = accept(store, 1, expires_ms=NOW_MS + VALIDITY_MS)
    scheduled = accept(store, 1, send_at_ms=NOW_MS + 1_000)
    assert sorted(rows(store, "expiry")) == [expiry_key(one, None) for one in (*short, *scheduled)]
    assert rows(store, "young") == {}
    assert expire(store, NOW_MS + VALIDITY_MS + 60_000) == 1
    all_expire(store, [*short, *scheduled])
    store.close()


def test_where_there_is_no_room_rows_are_put_at_once(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(young, "MOST", 5)
    made = accept(store, 3) + accept(store, 3)
    assert (len(store.memory.young.chunk_of), len(rows(store, "expiry"))) == (3, 3)
    ends(store, made[0])
    more = [message(store, lane_of(store, "a")) for _ in range(4)]
    commit(store, *(lambda txn, one=one: txn.accept([one]) for one in more))
    assert (len(store.memory.young.chunk_of), len(rows(store, "expiry"))) == (5, 4)
    all_expire(store, made[1:] + more)
    store.close()


def test_many_of_one_commit_take_a_page_for_each_chunk(store: LmdbStore) -> None:
    made = accept(store, 2 * CHUNK + 1)
    assert len(rows(store, "young")) == 3
    with store.reading() as tx:
        assert tx.stat(store.tables.young.handle)["overflow_pages"] == 2
    all_expire(store, made)
    store.close()


# who leaves


def ends(store: LmdbStore, one: Message) -> None:
    """Bounced where it waits."""
    commit(store, lambda txn: txn.cancel(one.account, one.id, NOW_MS))


def carried(store: LmdbStore, one: Message) -> Leased:
    (leased,) = commit(store, lambda txn: txn.claim([claim(store, one.lane, "a", 1)]))[0][0].leased
    assert leased.message.id == one.id
    return leased  # type: ignore[no-any-return]


def delivered(store: LmdbStore, one: Message) -> None:
    leased = carried(store, one)
    commit(store, lambda txn: txn.settle([sent(store, leased, "a", f"c{one.id}")], NOW_MS))
    commit(store, lambda txn: txn.receipts([receipt(store, "a", f"c{one.id}", one.destination)], NOW_MS))


def delivered_by_the_long_way(store: LmdbStore, one: Message) -> None:
    leased = carried(store, one)
    commit(store, lambda txn: txn.settle([sent(store, leased, "a", f"c{one.id}")], NOW_MS))
    store.memory.awaiting.clear()
    commit(
        store, lambda txn: txn.receipts([receipt(store, "a", f"c{one.id}", "+" + one.destination)], NOW_MS)
    )


def refused(store: LmdbStore, one: Message) -> None:
    answer = outcome(store, carried(store, one), "a", Settle.FINAL, state=5, reason=Reason.REFUSED_BY_CARRIER)
    commit(store, lambda txn: txn.settle([answer], NOW_MS))


def all_in_one_commit(store: LmdbStore, one: Message) -> None:
    """Who was accepted by it leaves no trace either."""
    other = message(store, one.lane)
    commit(
        store,
        lambda txn: txn.accept([other]),
        lambda txn: txn.cancel(other.account, other.id, NOW_MS),
        lambda txn: txn.cancel(one.account, one.id, NOW_MS),
    )


def written_out_and_ended(store: LmdbStore, one: Message) -> None:
    commit(
        store,
        lambda txn: txn.expire(NOW_MS + AGE_MS, 1, 0),
        lambda txn: txn.cancel(one.account, one.id, NOW_MS),
        lambda txn: txn.expire(NOW_MS + AGE_MS, 0, 0),
    )


@pytest.mark.parametrize(
    "way", [ends, delivered, delivered_by_the_long_way, refused, all_in_one_commit, written_out_and_ended]
)
@pytest.mark.parametrize("receipt_wish", [ReceiptWish.FINAL, ReceiptWish.NONE])
def test_who_ends_leaves_its_chunk_and_the_last_takes_it_away(
    store: LmdbStore, way: Way, receipt_wish: int
) -> None:
    first, second = accept(store, 2, receipt=receipt_wish)
    way(store, first)
    assert state(store, first)[0] == Phase.FINAL
    agrees(store)
    assert (len(rows(store, "young")), rows(store, "expiry")) == (1, {})
    way(store, second)
    agrees(store)
    assert [rows(store, "young"), rows(store, "expiry"), store.memory.young.chunk_of] == [{}, {}, {}]
    store.close()


def test_whoever_comes_and_ends_in_one_commit_was_never_young(store: LmdbStore) -> None:
    one, lane = message(store, lane_of(store, "a")), lane_of(store, "a")
    txn = store.begin()
    txn.accept([one])
    (leased,) = txn.claim([claim(store, lane, "a")])[0].leased
    txn.move_due(NOW_MS, 1)  # whatever is not a claim needs the leases to be written
    txn.settle([sent(store, leased, "a", "c1")], NOW_MS)
    txn.receipts([receipt(store, "a", "c1", one.destination)], NOW_MS)
    store.commit(txn)
    assert state(store, one) == (Phase.FINAL, MessageState.DELIVERED)
    assert [rows(store, "young"), rows(store, "expiry"), store.memory.young.chunk_of] == [{}, {}, {}]
    agrees(store)
    store.close()


def test_who_is_found_expired_by_a_claim_leaves_too(store: LmdbStore) -> None:
    one, other = accept(store, 2)
    asked = Claim(store.carrier_id("a"), ((one.lane, 0, 1),), 1, one.expires_ms + 1)
    assert commit(store, lambda txn: txn.claim([asked]))[0][0].expired == 2
    assert state(store, other) == (Phase.FINAL, MessageState.EXPIRED)
    agrees(store)
    assert [rows(store, "young"), rows(store, "expiry")] == [{}, {}]
    store.close()


def test_a_new_validity_is_a_row_of_its_own(store: LmdbStore) -> None:
    first, second = accept(store, 2)
    wish = Replacement(text="new", data=b"", encoding=0, segments=1, expires_ms=NOW_MS + 700_000)
    assert commit(store, lambda txn: txn.replace(1, first.id, wish, NOW_MS)) == ["replaced"]
    agrees(store)
    assert list(store.memory.young.chunk_of) == [key_of(second)]
    assert expire(store, NOW_MS + 760_000) == 2
    assert [state(store, one)[0] for one in (first, second)] == [Phase.FINAL, Phase.READY]
    all_expire(store, [first, second])
    store.close()


def test_a_new_validity_holds_after_a_crash(store: LmdbStore, ram_path: Path) -> None:
    """The chunk still names it under its old one."""
    first, second = accept(store, 2)
    wish = Replacement(text="new", data=b"", encoding=0, segments=1, expires_ms=NOW_MS + 2 * DAY_MS)
    commit(store, lambda txn: txn.replace(1, first.id, wish, NOW_MS))
    store.close()
    store = open_store(ram_path)
    agrees(store)
    assert len(rows(store, "expiry")) == 2
    expire(store, NOW_MS + DAY_MS + 60_000)
    assert [state(store, one)[0] for one in (first, second)] == [Phase.READY, Phase.FINAL]
    all_expire(store, [first, second])
    store.close()


def test_a_dropped_transaction_leaves_everybody_where_they_were(store: LmdbStore) -> None:
    made = accept(store, 3)
    txn = store.begin()
    txn.accept([message(store, made[0].lane)])
    txn.cancel(1, made[0].id, NOW_MS)
    txn.expire(NOW_MS + AGE_MS, 1, 0)
    txn.finish()
    store.abort(txn)
    agrees(store)
    assert (len(store.memory.young.chunk_of), rows(store, "expiry")) == (3, {})
    ends(store, made[0])
    all_expire(store, made[1:])
    store.close()


# crashes and damage


def test_whoever_was_young_when_the_gateway_died_expires_in_the_end(store: LmdbStore, ram_path: Path) -> None:
    made = accept(store, 3)
    ends(store, made[0])
    unanswered = carried(store, made[1]).message
    store.close()
    store = open_store(ram_path)
    assert rows(store, "young") == {}
    assert sorted(rows(store, "expiry")) == [expiry_key(one, None) for one in made[1:]]

    def decide(one: Message, *_: Any) -> Outcome:
        return Outcome(one.account, one.id, 0, 1, 1, 0, 1, Settle.UNKNOWN_HOLD, detail="crash")

    store.recover(decide, NOW_MS)
    agrees(store)
    expire(store, NOW_MS + DAY_MS + 60_000)
    assert state(store, unanswered) == (Phase.FINAL, MessageState.UNKNOWN)
    assert rows(store, "expiry") == {}
    agrees(store)
    store.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_crash_while_a_store_is_opened_only_repeats_work(
    store: LmdbStore, ram_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    made = [one for _ in range(7) for one in accept(store, 2)]
    if damaged:
        flip_a_bit(store)
    store.close()
    monkeypatch.setattr(young_left, "_CHUNKS", 2)
    monkeypatch.setattr(young_left, "_MESSAGES", 5)
    usual = in_one_commit
    for dies_at in (1, 0, 2, 1):
        left = [dies_at]

        def dying(store: LmdbStore, function: Any, left: list[int] = left) -> int:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return usual(store, function)

        monkeypatch.setattr(young_left, "in_one_commit", dying)
        with pytest.raises(KeyboardInterrupt):
            open_store(ram_path, announce=lambda line: None)
    monkeypatch.setattr(young_left, "in_one_commit", usual)
    store = open_store(ram_path, announce=lambda line: None)
    assert len(rows(store, "expiry")) == len(made)
    all_expire(store, made)
    store.close()


def flip_a_bit(store: LmdbStore) -> None:
    """In the first chunk."""
    with store._env.begin(write=True) as tx, tx.cursor(store.tables.young.handle) as cursor:
        assert cursor.first()
        key, value = cursor.item()
        cursor.put(key, value[:-1] + bytes((value[-1] ^ 1,)))


def test_a_damaged_chunk_keeps_no_store_from_opening_and_nobody_from_ending(
    store: LmdbStore, ram_path: Path
) -> None:
    ended, *made = accept(store, 3)
    ends(store, ended)
    made += accept(store, 2, account=2)
    flip_a_bit(store)
    assert {finding.where.partition(" ")[0] for finding in check(store)} == {"young", "message"}
    store.close()
    said: list[str] = []
    store = open_store(ram_path, announce=said.append)
    (line,) = said
    assert "damaged row of messages that were accepted just before" in line
    assert store.usage()["quarantined"] == 1
    assert len(rows(store, "expiry")) == 4
    all_expire(store, made)
    store.close()
    open_store(ram_path, announce=said.append).close()
    assert len(said) == 1


def test_when_each_message_is_looked_at_those_that_have_a_row_get_no_other(
    store: LmdbStore, ram_path: Path
) -> None:
    """One waits for its receipt beyond its validity: its row has moved."""
    (late,) = accept(store)
    leased = carried(store, late)
    commit(store, lambda txn: txn.settle([sent(store, leased, "a", "c1")], NOW_MS))
    assert expire(store, late.expires_ms + 60_000, grace_ms=DAY_MS) == 2
    accept(store, accepted_ms=NOW_MS + DAY_MS, expires_ms=NOW_MS + 3 * DAY_MS)
    before = rows(store, "expiry")
    assert len(before) == 1
    flip_a_bit(store)
    store.close()
    store = open_store(ram_path, announce=lambda line: None)
    after = rows(store, "expiry")
    assert before.keys() < after.keys()
    assert len(after) == 2
    agrees(store)
    store.close()


def test_a_chunk_that_is_damaged_under_an_open_store_is_written_out_from_memory_at_once(
    store: LmdbStore, ram_path: Path
) -> None:
    """Its row is set aside: who was left over would have no end where the gateway dies before the next
    portion."""
    made = accept(store, 4)
    ends(store, made[0])
    flip_a_bit(store)
    assert expire(store, NOW_MS + AGE_MS, limit=1) == 3
    assert not store.memory.young.chunk_of
    assert store.usage()["quarantined"] == 1
    store.close()
    store = open_store(ram_path)
    all_expire(store, made[1:])
    store.close()


def test_a_backup_taken_while_messages_are_young_ends_them(store: LmdbStore, tmp_path: Path) -> None:
    made = accept(store, 2)
    backup(store, tmp_path / "copy")
    store.close()
    clock = Clock()
    restore(tmp_path / "copy", tmp_path / "store", store.options)
    store = open_store(tmp_path, clock)
    all_expire(store, made)
    store.close()


def test_a_salvage_ends_who_was_young_in_a_chunk_that_is_damaged(
    store: LmdbStore, ram_path: Path, tmp_path: Path
) -> None:
    made = accept(store, 2) + accept(store, 2)
    flip_a_bit(store)
    store.close()
    report = salvage(ram_path / "store", tmp_path / "store", store.options)
    assert (report["damaged"], report["held"], report["findings"]) == (1, 4, 0)
    store = open_store(tmp_path)
    all_expire(store, made)
    store.close()


def test_a_store_without_the_table_opens(store: LmdbStore, ram_path: Path) -> None:
    """As older releases left it: everybody has a row."""
    made = accept(store, 2)
    expire(store, NOW_MS + AGE_MS)
    with store._env.begin(write=True) as tx:
        tx.drop(store.tables.young.handle, delete=True)
    store.close()
    store = open_store(ram_path)
    all_expire(store, made)
    store.close()


# looking on


def test_who_should_have_ended_is_told_though_nobody_wrote_it_out(store: LmdbStore) -> None:
    first, second = accept(store, 2, expires_ms=NOW_MS + VALIDITY_MS + 60_000)
    third, short = accept(store), accept(store, expires_ms=NOW_MS + 60_000)
    ends(store, first)
    overdue_ms = NOW_MS + VALIDITY_MS + 120_000
    assert [id for _, id in store.expired_rows(overdue_ms, 10)] == [short[0].id, second.id]
    assert [id for _, id in store.expired_rows(overdue_ms, 1)] == [short[0].id]
    assert store.expired_rows(NOW_MS, 10) == []
    assert [id for _, id in store.expired_rows(NOW_MS + 2 * DAY_MS, 10)][-1] == third[0].id
    store.close()


class Traffic:
    """Whatever may happen to messages, in any order, some of it in transactions that are dropped."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.chance = random.Random(seed)
        self.clock = Clock()
        self.store = open_store(path, self.clock)
        for account in (1, 2):
            with_account(self.store, account)
        self.lane = lane_of(self.store, "a")
        self.waits: list[tuple[str, str]] = []
        self.accepted: list[Message] = []

    def step(self) -> None:
        store, chance = self.store, self.chance
        self.clock.now_ms += chance.choice((0, 1_000, 12_000, 12_000, 700_000, -50_000))
        made = [self._message() for _ in range(chance.randrange(1, 6))]
        verbs = self._verbs(made)
        if chance.random() < 0.2:
            txn = store.begin()
            for verb in verbs:
                verb(txn)
            store.abort(txn)
        else:
            commit(store, *verbs)
        self.accepted += [one for one in made if store.find(one.account, one.id)]
        self._send()
        if chance.random() < 0.05:
            store.close()
            self.store = open_store(self.path, self.clock)

    def _message(self) -> Message:
        now_ms, chance = self.clock.now_ms, self.chance
        return message(
            self.store, self.lane, chance.choice((1, 2)),
            expires_ms=now_ms + chance.choice((60_000, VALIDITY_MS + 1, DAY_MS)),
            send_at_ms=chance.choice((0, 0, 0, now_ms + 1_000)),
        )  # fmt: skip

    def _verbs(self, made: list[Message]) -> list[Callable[[Any], Any]]:
        now_ms, chance, known = self.clock.now_ms, self.chance, self.accepted + made
        one, other, changed = (chance.choice(known) for _ in range(3))
        wish = Replacement(text="n", data=b"", encoding=0, segments=1, expires_ms=now_ms + 2 * VALIDITY_MS)
        arrived = [receipt(self.store, "a", *sent) for sent in self.waits if chance.random() < 0.5]
        verbs: list[Callable[[Any], Any]] = [
            lambda txn: txn.accept(made),
            lambda txn: txn.cancel(one.account, one.id, now_ms),
            lambda txn: txn.cancel(other.account, other.id, now_ms),
            lambda txn: txn.replace(changed.account, changed.id, wish, now_ms),
            lambda txn: txn.receipts(arrived, now_ms),
            lambda txn: txn.expire(now_ms, chance.choice((2, 50)), 60_000),
            lambda txn: txn.move_due(now_ms, 50),
        ]
        chance.shuffle(verbs)
        return verbs[: chance.randrange(1, len(verbs) + 1)]

    def _send(self) -> None:
        store, asked = self.store, claim(self.store, self.lane, "a", 4)
        leased = commit(store, lambda txn: txn.claim([asked]))[0][0].leased
        answers = [sent(store, one, "a", f"c{one.message.id}") for one in leased]
        commit(store, lambda txn: txn.settle(answers, self.clock.now_ms))
        self.waits += [(f"c{one.message.id}", one.message.destination) for one in leased]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_memory_and_rows_agree(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(young, "CHUNK", 3)
    monkeypatch.setattr(young, "MOST", 20)
    traffic = Traffic(ram_path, seed)
    for _ in range(120):
        traffic.step()
        agrees(traffic.store)
    for _ in range(3):
        traffic.clock.now_ms += 4 * DAY_MS
        while expire(traffic.store, traffic.clock.now_ms):
            pass
    assert {state(traffic.store, one)[0] for one in traffic.accepted} == {Phase.FINAL}
    agrees(traffic.store)
    traffic.store.close()
