"""Messages that one transaction accepts and leases: without ever having a row in the ready table."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from router.nouns import Leased, Message, Outcome, Phase, Progress, Relay, Settle
from store.check import check
from store.interface import Claim, ClaimResult, Transaction
from store.lmdb_store import LmdbStore
from store.records import MESSAGE_KEY
from tests.store.records_for_tests import (
    NOW_MS,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    outcome,
    receipt,
    sent,
    settle,
    with_account,
)


@pytest.fixture
def store(tmp_path: Path) -> LmdbStore:
    store = open_store(tmp_path)
    with_account(store)
    return store


def accept_and_claim(store: LmdbStore, messages: list[Message], segments: int = 100) -> list[Leased]:
    lane = messages[0].lane
    results: list[list[ClaimResult]] = commit(
        store, lambda txn: txn.accept(messages), lambda txn: txn.claim([claim(store, lane, "a", segments)])
    )
    return results[1][0].leased


def ready_rows(store: LmdbStore) -> int:
    with store.reading() as tx:
        return int(tx.stat(store.tables.ready.handle)["entries"])


def ids(leased: list[Leased]) -> list[int]:
    return [one.message.id for one in leased]


def test_what_a_carrier_has_room_for_leaves_by_the_commit_that_accepts_it(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    messages = [message(store, lane) for _ in range(50)]
    leased = accept_and_claim(store, messages)
    assert ids(leased) == [one.id for one in messages]
    assert all(one.fresh for one in leased)
    assert ready_rows(store) == 0
    assert store.ready_lanes() == set()
    assert store.totals().messages[Phase.LEASED] == 50
    assert check(store) == []


def test_what_it_has_no_room_for_waits_in_order(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    messages = [message(store, lane) for _ in range(30)]
    assert ids(accept_and_claim(store, messages, segments=20)) == [one.id for one in messages[:20]]
    assert ready_rows(store) == 10
    assert check(store) == []
    later = [message(store, lane) for _ in range(5)]
    taken = accept_and_claim(store, later)
    assert ids(taken) == [one.id for one in (*messages[20:], *later)]
    assert all(one.fresh for one in taken)
    assert not store.memory.recent
    assert check(store) == []


def _accept(messages: list[Message], txn: Transaction) -> None:
    txn.accept(messages)


def _claim(wishes: list[Claim], txn: Transaction) -> list[ClaimResult]:
    return txn.claim(wishes)


@pytest.mark.parametrize("seed", range(20))
def test_what_has_no_row_yet_is_taken_as_from_its_row(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    special = chance.choice([0, 0.1, 0.4])
    accounts = range(1, chance.choice([1, 3, 20]) + 1)
    kinds = [
        (
            chance.choice(accounts),
            chance.choice([1, 2]),  # priority
            3 if chance.random() < special else 1,  # segments
            chance.random() >= special / 2,  # alive
        )
        for _ in range(60)
    ]
    budgets = [(chance.randint(1, 30), chance.choice([4, 100])) for _ in range(5)]
    took: list[list[object]] = []
    for rows in (False, True):
        store = open_store(tmp_path / str(rows))
        for account in accounts:
            with_account(store, account)
        lane = lane_of(store, "a")
        messages = [
            message(store, lane, account, priority=priority, segments=segments, expires_ms=NOW_MS + alive)
            for account, priority, segments, alive in kinds
        ]
        wishes = [claim(store, lane, "a", budget) for budget, _ in budgets]
        for wish, (_, most) in zip(wishes, budgets, strict=True):
            wish.lanes = ((lane, 0, most),)
        if rows:
            commit(store, partial(_accept, messages))
            results = commit(store, partial(_claim, wishes))[0]
        else:
            results = commit(store, partial(_accept, messages), partial(_claim, wishes))[1]
        assert check(store) == []
        place = {one.id: at for at, one in enumerate(messages)}
        for result in results:
            taken = [place[one.message.id] for one in result.leased]
            assert result.segments == sum(kinds[at][2] for at in taken)
            assert result.queues == ({(lane, 0): [len(taken), result.segments]} if taken else {})
        took.append(
            [([place[one.message.id] for one in result.leased], result.expired) for result in results]
        )
    assert took[0] == took[1]


def test_lower_levels_keep_their_share_where_each_claim_takes_all_that_is_new_of_a_higher_one(
    store: LmdbStore,
) -> None:
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane, priority=1) for _ in range(50)]))
    taken: list[int] = []
    for _ in range(400):
        new = message(store, lane, priority=3)
        taken += [one.message.priority for one in accept_and_claim(store, [new], segments=1)]
    assert len(taken) == 400
    assert taken.count(1) == pytest.approx(20, abs=1)
    assert check(store) == []


def test_nobody_claims_what_a_suspended_account_submits(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    with_account(store, suspended=True)
    assert accept_and_claim(store, [message(store, lane)]) == []
    assert ready_rows(store) == 1
    with_account(store)
    assert len(accept_and_claim(store, [message(store, lane)])) == 2
    assert check(store) == []


def test_parts_of_a_long_message_are_not_left_behind_by_what_comes_with_them(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    relays = [Relay(reference=7, total=2, index=at) for at in (1, 2)]
    one, other = (message(store, lane, relay=relay, destination="447700900123") for relay in relays)
    plain = message(store, lane)
    taken = accept_and_claim(store, [plain, one, other])
    assert sorted(ids(taken)) == sorted([plain.id, one.id, other.id])
    assert check(store) == []


def test_a_verb_that_follows_finds_what_has_been_accepted(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    new = message(store, lane)
    answers = commit(
        store,
        lambda txn: txn.accept([new]),
        lambda txn: txn.cancel(1, new.id, NOW_MS),
        lambda txn: txn.claim([claim(store, lane, "a")]),
    )
    assert answers[1] == "cancelled"
    assert answers[2][0].leased == []
    assert check(store) == []


def test_a_transaction_that_fails_leaves_no_turn_behind(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    txn = store.begin()
    txn.accept([message(store, lane)])
    txn.claim([claim(store, lane, "a")])
    store.abort(txn)
    assert store.ready_lanes() == set()
    assert store.totals().accepted == 0
    assert len(accept_and_claim(store, [message(store, lane)])) == 1
    assert check(store) == []


def test_the_first_answer_needs_no_earlier_progress_and_finds_one_that_is_there(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    leased = accept_and_claim(store, [message(store, lane), message(store, lane)])
    commit(store, lambda txn: txn.cancel(1, leased[1].message.id, NOW_MS))  # leased: only a wish
    for at, one in enumerate(leased):
        settle(store, sent(store, one, "a", f"c{at}"))
        settle(store, sent(store, one, "a", f"c{at}"))
    assert store.totals().messages[Phase.AWAITING_RECEIPT] == 2
    found = store.find(1, leased[1].message.id)
    assert found is not None
    assert found[1].cancel_wished
    assert check(store) == []


def test_a_crash_finds_in_the_lease_what_had_no_row(store: LmdbStore, tmp_path: Path) -> None:
    lane = lane_of(store, "a")
    leased = accept_and_claim(store, [message(store, lane) for _ in range(3)])
    settle(store, sent(store, leased[0], "a", "c0"))
    store.close()
    again = open_store(tmp_path)
    asked: list[int] = []

    def decide(one: Message, progress: Progress | None, carrier: int) -> Outcome:
        asked.append(one.id)
        return outcome(again, Leased(one, 0, 0, False), "a", Settle.UNKNOWN_RESEND, until_ms=NOW_MS)

    assert again.recover(decide, NOW_MS) == 2
    assert asked == ids(leased[1:])
    assert check(again) == []
    again.close()


def test_a_crash_after_a_progress_was_damaged_leaves_a_store_that_opens_and_goes_on(
    store: LmdbStore, tmp_path: Path
) -> None:
    lane = lane_of(store, "a")
    leased = accept_and_claim(store, [message(store, lane) for _ in range(2)])
    settle(store, sent(store, leased[0], "a", "c0"))
    table, key = store.tables.progress, MESSAGE_KEY.pack(1, leased[0].message.id)
    commit(store, lambda txn: txn.batch.putter(table)(key, b"damaged"))
    store.close()
    again = open_store(tmp_path)

    def decide(one: Message, progress: Progress | None, carrier: int) -> Outcome:
        return outcome(again, Leased(one, 0, 0, False), "a", Settle.UNKNOWN_RESEND, until_ms=NOW_MS)

    assert again.recover(decide, NOW_MS) == 2
    assert again.totals().messages[Phase.LEASED] == 0
    taken = commit(again, lambda txn: txn.claim([claim(again, lane, "a")]))[0][0].leased
    for at, one in enumerate(taken):
        settle(again, sent(again, one, "a", f"d{at}"))
    arrived = [receipt(again, "a", f"d{at}", one.message.destination) for at, one in enumerate(taken)]
    results = commit(again, lambda txn: txn.receipts(arrived, NOW_MS))[0]
    assert [one.final for one in results] == [True, True]
    again.close()


# several carriers that share a lane


def wishes_of(
    store: LmdbStore, lane: int, weights: tuple[int, ...], sizes: list[int], alone: int = 7
) -> list[Claim]:
    """As a lane board makes them of carriers that are all able."""
    everybody = (1 << len(weights)) - 1
    made = []
    for index, (weight, size) in enumerate(zip(weights, sizes, strict=True)):
        one = claim(store, lane, f"c{index}", size, index)
        one.weight, one.sharers = weight, everybody
        if alone < size:
            one.reserved = {lane: (everybody & ~(1 << index), alone)}
        made.append(one)
    return made


@pytest.mark.parametrize("rows", [False, True])
def test_who_share_a_lane_and_all_ask_are_served_together_by_their_weights(
    store: LmdbStore, rows: bool
) -> None:
    for account in (2, 3, 4, 5):
        with_account(store, account)
    lane = lane_of(store, "c0", "c1", "c2", weights=(20, 10, 30))
    messages = [message(store, lane, account) for account in (1, 2, 3, 4, 5) for _ in range(200)]
    if rows:
        commit(store, lambda txn: txn.accept(messages))
        messages = []
    wishes = wishes_of(store, lane, (20, 10, 30), [100, 100, 300])
    results = commit(store, partial(_accept, messages), partial(_claim, wishes))[1]
    assert [len(result.leased) for result in results] == [100, 50, 150]
    assert [result.segments for result in results] == [100, 50, 150]
    for result in results:
        of = Counter(one.message.account for one in result.leased)
        assert max(of.values()) - min(of.values()) <= 3
        first = [one.message.account for one in result.leased[:15]]
        assert set(first) == {1, 2, 3, 4, 5}  # in turns, not account by account
    assert store.totals().messages[Phase.LEASED] == 300
    assert ready_rows(store) == 700
    assert check(store) == []


def test_one_that_has_less_room_holds_the_others_to_their_shares(store: LmdbStore) -> None:
    lane = lane_of(store, "c0", "c1", weights=(1, 1))
    messages = [message(store, lane) for _ in range(100)]
    wishes = wishes_of(store, lane, (1, 1), [50, 20])
    results = commit(store, partial(_accept, messages), partial(_claim, wishes))[1]
    assert [len(result.leased) for result in results] == [16, 16]  # whole rounds of 40


def test_where_one_who_is_able_does_not_ask_each_takes_what_it_may_alone(store: LmdbStore) -> None:
    lane = lane_of(store, "c0", "c1", "c2", weights=(1, 1, 1))
    messages = [message(store, lane) for _ in range(100)]
    wishes = wishes_of(store, lane, (1, 1, 1), [50, 50, 50])[:2]
    results = commit(store, partial(_accept, messages), partial(_claim, wishes))[1]
    assert [len(result.leased) for result in results] == [7, 7]


def test_what_is_over_when_the_queue_ends_goes_by_what_each_may_take_alone(store: LmdbStore) -> None:
    lane = lane_of(store, "c0", "c1", "c2", weights=(1, 1, 1))
    messages = [message(store, lane) for _ in range(32)]
    wishes = wishes_of(store, lane, (1, 1, 1), [50, 50, 50], alone=0)
    wishes[1].reserved[lane] = (0b101, 7)
    results = commit(store, partial(_accept, messages), partial(_claim, wishes))[1]
    assert [len(result.leased) for result in results] == [10, 12, 10]
    assert store.ready_lanes() == set()
    assert check(store) == []


@pytest.mark.parametrize("seed", range(10))
def test_together_they_get_every_message_once_whatever_stands_among_them(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = open_store(tmp_path)
    accounts = range(1, chance.choice([2, 7]))
    for account in accounts:
        with_account(store, account)
    lane = lane_of(store, "c0", "c1", weights=(2, 1))
    everything: set[int] = set()
    taken: list[int] = []
    for _ in range(12):
        messages = [
            message(
                store,
                lane,
                chance.choice(accounts),
                segments=chance.choice([1] * 9 + [3]),
                priority=chance.choice([2] * 30 + [3]),
            )
            for _ in range(chance.choice([0, 10, 100]))
        ]
        everything |= {one.id for one in messages}
        wishes = wishes_of(store, lane, (2, 1), [chance.randint(1, 60), chance.randint(1, 60)])
        results = commit(store, partial(_accept, messages), partial(_claim, wishes))[1]
        for wish, result in zip(wishes, results, strict=True):
            assert result.segments == sum(one.message.segments for one in result.leased)
            assert result.segments <= max(wish.segments, 3)
            taken += ids(result.leased)
        assert check(store) == []
    while store.ready_lanes():
        taken += ids(commit(store, lambda txn: txn.claim([claim(store, lane, "c0")]))[0][0].leased)
    assert len(taken) == len(set(taken))
    assert set(taken) == everything
    assert ready_rows(store) == 0
    assert check(store) == []


def test_a_row_that_is_damaged_stops_nobody(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    messages = [message(store, lane) for _ in range(40)]
    commit(store, lambda txn: txn.accept(messages))
    store.memory.recent.clear()
    table, key = store.tables.message, MESSAGE_KEY.pack(1, messages[5].id)
    commit(store, lambda txn: txn.batch.putter(table)(key, b"damaged"))
    taken = accept_and_claim(store, [message(store, lane)])
    assert len(taken) == 40
    assert store.ready_lanes() == set()
    assert ready_rows(store) == 0


def test_who_follows_the_changes_is_told_of_rows_that_whole_rounds_take(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane) for _ in range(40)]))
    gone: list[bytes] = []

    class Rows:
        def __call__(self, table: int, key: bytes, value: bytes | None) -> None:
            if table == store.tables.ready.index and value is None:
                gone.append(key)

        def ended(self, committed: bool) -> None:
            pass

    rows = Rows()
    store.core.taps.append(rows)
    try:
        assert len(commit(store, lambda txn: txn.claim([claim(store, lane, "a", 33)]))[0][0].leased) == 33
    finally:
        store.core.taps.remove(rows)
    assert len(set(gone)) == 33
    assert ready_rows(store) == 7


def test_a_look_that_finds_nothing_forgets_nothing(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    leased = accept_and_claim(store, [message(store, lane) for _ in range(3)], segments=1)
    settle(store, sent(store, leased[0], "a", "c0"))
    txn = store.begin()
    assert txn.claim([claim(store, lane, "a", 0)])[0].leased == []
    store.abort(txn)
    assert (len(store.memory.awaiting), len(store.memory.recent)) == (1, 2)
    txn = store.begin()
    assert len(txn.claim([claim(store, lane, "a", 1)])[0].leased) == 1
    store.abort(txn)
    assert (len(store.memory.awaiting), len(store.memory.recent)) == (0, 0)


# the receipt's short way


def final(store: LmdbStore, id: int) -> bool:
    found = store.find(1, id)
    return found is not None and found[1].phase == Phase.FINAL


def test_a_receipt_ends_what_was_just_sent_and_is_repeated_after_it(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    (leased,) = accept_and_claim(store, [message(store, lane)])
    settle(store, sent(store, leased, "a", "c0"))
    assert len(store.memory.awaiting) == 1
    arrived = receipt(store, "a", "c0", recipient=leased.message.destination)
    first, second = commit(store, lambda txn: txn.receipts([arrived, arrived], NOW_MS))[0]
    assert (first.fate.name, second.fate.name) == ("MATCHED", "REPEATED")
    assert len(store.memory.awaiting) == 0
    assert final(store, leased.message.id)
    assert check(store) == []


def test_what_a_failed_transaction_did_to_it_is_not_remembered(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    (leased,) = accept_and_claim(store, [message(store, lane)])
    settle(store, sent(store, leased, "a", "c0"))
    arrived = receipt(store, "a", "c0", recipient=leased.message.destination)
    txn = store.begin()
    (result,) = txn.receipts([arrived], NOW_MS)
    assert result is not None
    assert result.final
    store.abort(txn)
    assert not final(store, leased.message.id)
    assert commit(store, lambda txn: txn.receipts([arrived], NOW_MS))[0][0].final
    assert check(store) == []


def test_of_two_with_one_carrier_id_the_recipient_decides(store: LmdbStore) -> None:
    lane = lane_of(store, "a")
    one, other = accept_and_claim(
        store,
        [message(store, lane, destination="447700900001"), message(store, lane, destination="447700900002")],
    )
    settle(store, sent(store, one, "a", "same"))
    settle(store, sent(store, other, "a", "same"))
    arrived = receipt(store, "a", "same", recipient="447700900001")
    result = commit(store, lambda txn: txn.receipts([arrived], NOW_MS))[0][0]
    assert result.message_id == one.message.id
    assert final(store, one.message.id)
    assert not final(store, other.message.id)
    assert check(store) == []
