"""One message's way through the store, in all the ways it can go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.nouns import (
    Leased,
    Message,
    MessageState,
    Outcome,
    Phase,
    Progress,
    Reason,
    ReceiptFate,
    ReceiptIn,
    Settle,
)
from store.check import check
from store.interface import ReceiptResult, StoreBusy
from store.lmdb_store import LmdbStore
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


def conserved(store: LmdbStore) -> bool:
    totals = store.totals()
    return totals.accepted == sum(totals.messages) and totals.accepted_segments == sum(totals.segments)


def receive(store: LmdbStore, arrived: list[ReceiptIn]) -> list[ReceiptResult]:
    results: list[ReceiptResult] = commit(store, lambda txn: txn.receipts(arrived, NOW_MS))[0]
    return results


def settle(store: LmdbStore, one: Outcome) -> None:
    commit(store, lambda txn: txn.settle([one], NOW_MS))


def submitted(
    store: LmdbStore, lane: int, carrier: str = "a", count: int = 1, **fields: Any
) -> tuple[list[Message], list[Leased]]:
    made = [message(store, lane, **fields) for _ in range(count)]
    commit(store, lambda txn: txn.accept(made))
    return made, commit(store, lambda txn: txn.claim([claim(store, lane, carrier)]))[0][0].leased


def test_a_message_is_accepted_leased_sent_receipted_and_told_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    made, leased = submitted(store, lane)
    assert [one.message.id for one in leased] == [made[0].id]
    assert store.totals().messages[Phase.LEASED] == 1
    commit(store, lambda txn: txn.settle([sent(store, leased[0], "a", "c1")], NOW_MS))
    assert store.totals().messages[Phase.AWAITING_RECEIPT] == 1
    results = commit(
        store, lambda txn: txn.receipts([receipt(store, "a", "c1", made[0].destination)], NOW_MS)
    )[0]
    assert results[0].fate == ReceiptFate.MATCHED
    assert results[0].final
    found = store.find(1, made[0].id)
    assert found is not None
    assert found[1].state == MessageState.DELIVERED
    (endpoint,) = store.outbox_endpoints()
    rows = store.outbox_page(endpoint, 0, 10)
    assert [row.event.message_id for row in rows] == [made[0].id]
    commit(store, lambda txn: txn.outbox_done(rows))
    assert store.outbox_page(endpoint, 0, 10) == []
    assert conserved(store)
    store.close()


def test_fm13_a_repeated_or_contradicting_receipt_is_recorded_and_not_told(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"))
    commit(store, lambda txn: txn.settle([sent(store, leased[0], "a", "c1")], NOW_MS))
    to = made[0].destination
    fates = [receive(store, [receipt(store, "a", "c1", to, state)])[0].fate for state in (1, 2, 2, 5, 1)]
    assert fates == [
        ReceiptFate.MATCHED,
        ReceiptFate.MATCHED,
        ReceiptFate.REPEATED,
        ReceiptFate.CONTRADICTS,
        ReceiptFate.REPEATED,
    ]
    (endpoint,) = store.outbox_endpoints()
    assert len(store.outbox_page(endpoint, 0, 10)) == 1
    assert conserved(store)
    store.close()


def test_fm14_another_form_of_the_id_matches_only_with_the_same_recipient(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    made, leased = submitted(store, lane, count=2)
    settle(store, sent(store, leased[0], "a", "20000001"))
    settle(store, sent(store, leased[1], "a", "1312D01"))  # what 20000001 is in hexadecimal
    stranger = receive(store, [receipt(store, "a", "01312d02", made[0].destination)])[0]
    assert stranger.fate == ReceiptFate.PARKED
    wrong = receive(store, [receipt(store, "a", "0x1312D01", "447700999999")])[0]
    assert wrong.fate == ReceiptFate.PARKED
    right = receive(store, [receipt(store, "a", "001312d01", made[1].destination)])[0]
    assert (right.fate, right.message_id) == (ReceiptFate.MATCHED, made[1].id)
    store.close()


def test_fm14_a_receipt_in_hex_finds_a_decimal_id(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"))
    settle(store, sent(store, leased[0], "a", "305419896"))
    result = receive(store, [receipt(store, "a", "12345678", made[0].destination)])[0]
    assert (result.fate, result.matched_id) == (ReceiptFate.MATCHED, "305419896")
    store.close()


def test_a_receipt_known_by_its_text_alone_needs_the_recipient(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"))
    settle(store, sent(store, leased[0], "a", "c1"))
    forged = receive(store, [receipt(store, "a", "c1", "447700999999", flagged=False)])[0]
    assert forged.fate == ReceiptFate.PARKED
    honest = receive(store, [receipt(store, "a", "c1", made[0].destination, flagged=False)])[0]
    assert honest.fate == ReceiptFate.MATCHED
    store.close()


def test_fm10_a_receipt_before_the_response_waits_and_is_claimed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"))
    early = commit(store, lambda txn: txn.receipts([receipt(store, "a", "c1", made[0].destination)], NOW_MS))[
        0
    ][0]
    assert early.fate == ReceiptFate.PARKED
    commit(store, lambda txn: txn.settle([sent(store, leased[0], "a", "c1")], NOW_MS))
    found = store.find(1, made[0].id)
    assert found is not None
    assert found[1].phase == Phase.FINAL
    assert found[1].state == MessageState.DELIVERED
    assert conserved(store)
    store.close()


def test_fm12_a_receipt_for_nobody_ends_on_the_unmatched_list(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    commit(store, lambda txn: txn.receipts([receipt(store, "a", "nobody", "447700900001")], clock.now_ms))
    clock.now_ms += 600_000
    commit(store, lambda txn: txn.housekeep(clock.now_ms, 100))
    assert [row.ids for row in store.unmatched()] == [("nobody",)]
    store.close()


def test_a_retry_waits_in_the_due_index_and_comes_back(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    _, leased = submitted(store, lane)
    later = clock.now_ms + 5000
    commit(
        store,
        lambda txn: txn.settle(
            [outcome(store, leased[0], "a", Settle.RETRY, until_ms=later, reason=Reason.RETRY)], clock.now_ms
        ),
    )
    assert store.totals().messages[Phase.DEFERRED] == 1
    assert store.next_due_ms() == later
    assert commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased == []
    clock.now_ms = later
    commit(store, lambda txn: txn.move_due(clock.now_ms, 100))
    again = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    assert [one.attempts for one in again] == [1]
    assert conserved(store)
    store.close()


def test_a_tried_carrier_does_not_see_the_message_again_but_the_next_one_does(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a", "b")
    _, leased = submitted(store, lane)
    refused = outcome(store, leased[0], "a", Settle.RETRY, until_ms=0, mark_tried=True)
    commit(store, lambda txn: txn.settle([refused], store.options.clock()))
    assert commit(store, lambda txn: txn.claim([claim(store, lane, "a", index=0)]))[0][0].leased == []
    assert len(commit(store, lambda txn: txn.claim([claim(store, lane, "b", index=1)]))[0][0].leased) == 1
    store.close()


def test_parts_of_a_long_message_are_answered_one_by_one_and_end_together(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"), segments=3)
    for part in range(3):
        assert store.totals().messages[Phase.LEASED] == 1
        answer = sent(store, leased[0], "a", f"c{part}", part, 3)
        settle(store, answer)
    assert store.totals().segments[Phase.AWAITING_RECEIPT] == 3
    finals = []
    for part in (2, 0, 1):
        arrived = [receipt(store, "a", f"c{part}", made[0].destination)]
        finals.append(receive(store, arrived)[0].final)
    assert finals == [False, False, True]
    assert conserved(store)
    store.close()


def test_a_window_of_one_takes_a_long_message_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane, segments=5)]))
    assert len(commit(store, lambda txn: txn.claim([claim(store, lane, "a", 1)]))[0][0].leased) == 1
    store.close()


def test_fm30_what_was_leased_when_the_process_died_has_an_unknown_outcome(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    made, leased = submitted(store, lane, count=3)
    commit(store, lambda txn: txn.settle([sent(store, leased[0], "a", "c1")], NOW_MS))
    store.close()
    store = open_store(tmp_path, clock)
    assert store.leased_at_start() == 3

    def decide(one: Message, progress: Progress | None, carrier: int) -> Outcome:
        return Outcome(1, one.id, 0, carrier, 1, 0, 1, Settle.UNKNOWN_RESEND, until_ms=clock.now_ms + 60_000)

    assert store.recover(decide, clock.now_ms) == 2
    assert store.totals().messages[Phase.DEFERRED] == 2
    assert store.totals().messages[Phase.LEASED] == 0
    assert conserved(store)
    found = store.find(1, made[1].id)
    assert found is not None
    assert found[1].possible_duplicate
    store.close()


def test_an_expired_message_ends_with_a_final_event_whether_claimed_or_swept(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane), message(store, lane)]))
    clock.now_ms += DAY_MS + 120_000
    one = claim(store, lane, "a")
    assert commit(store, lambda txn: txn.claim([one]))[0][0].expired == 2
    commit(store, lambda txn: txn.accept([message(store, lane, expires_ms=clock.now_ms + 60_000)]))
    clock.now_ms += 240_000
    commit(store, lambda txn: txn.expire(clock.now_ms, 100, 0))
    assert store.totals().messages[Phase.FINAL] == 3
    (endpoint,) = store.outbox_endpoints()
    assert {row.event.state for row in store.outbox_page(endpoint, 0, 10)} == {MessageState.EXPIRED}
    assert conserved(store)
    store.close()


def test_without_a_receipt_one_synthetic_final_follows_validity_and_grace(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    _, leased = submitted(store, lane_of(store, "a"))
    commit(store, lambda txn: txn.settle([sent(store, leased[0], "a", "c1")], NOW_MS))
    clock.now_ms += DAY_MS + 120_000
    commit(store, lambda txn: txn.expire(clock.now_ms, 100, 3_600_000))
    assert store.totals().messages[Phase.AWAITING_RECEIPT] == 1
    clock.now_ms += 3_720_000
    commit(store, lambda txn: txn.expire(clock.now_ms, 100, 3_600_000))
    commit(store, lambda txn: txn.expire(clock.now_ms, 100, 3_600_000))
    (endpoint,) = store.outbox_endpoints()
    assert len(store.outbox_page(endpoint, 0, 10)) == 1
    assert conserved(store)
    store.close()


def test_a_cancelled_message_is_deleted_and_a_leased_one_is_not_sent_again(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    waiting = message(store, lane)
    commit(store, lambda txn: txn.accept([waiting]))
    assert commit(store, lambda txn: txn.cancel(1, waiting.id, clock.now_ms)) == ["cancelled"]
    made, leased = submitted(store, lane)
    assert commit(store, lambda txn: txn.cancel(1, made[0].id, clock.now_ms)) == ["leased"]
    back = outcome(store, leased[0], "a", Settle.RETRY, until_ms=clock.now_ms + 1000)
    commit(store, lambda txn: txn.settle([back], clock.now_ms))
    found = store.find(1, made[0].id)
    assert found is not None
    assert found[1].state == MessageState.DELETED
    assert conserved(store)
    store.close()


def test_scheduled_messages_are_not_claimed_before_their_time(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane, send_at_ms=clock.now_ms + 10_000)]))
    assert store.totals().messages[Phase.SCHEDULED] == 1
    assert commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased == []
    clock.now_ms += 10_000
    assert commit(store, lambda txn: txn.move_due(clock.now_ms, 10)) == [1]
    assert len(commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased) == 1
    store.close()


def test_an_aborted_transaction_leaves_everything_as_it_was(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    commit(store, lambda txn: txn.accept([message(store, lane)]))
    before = store.totals()
    txn = store.begin()
    txn.accept([message(store, lane)])
    txn.claim([claim(store, lane, "a")])
    store.abort(txn)
    assert store.totals() == before
    assert len(commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased) == 1
    store.close()


def test_finished_messages_move_to_their_day_and_are_still_found(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"))
    commit(store, lambda txn: txn.settle([sent(store, leased[0], "a", "c1")], NOW_MS))
    commit(store, lambda txn: txn.receipts([receipt(store, "a", "c1", made[0].destination)], clock.now_ms))
    clock.now_ms += 7_200_000
    rows = store.pick_finished(clock.now_ms, 10)
    store.archive.write(rows)
    store.archive.write(rows)
    commit(store, lambda txn: txn.forget(rows))
    assert store.pick_finished(clock.now_ms, 10) == []
    found = store.find(1, made[0].id)
    assert found is not None
    assert found[1].state == MessageState.DELIVERED
    assert store.find(2, made[0].id) is None
    assert store.latest_to(made[0].destination, "TEST", clock.now_ms - DAY_MS) == (1, made[0].id)
    assert store.drop_old(clock.now_ms + 40 * DAY_MS, 30) != []
    assert store.find(1, made[0].id) is None
    assert conserved(store)
    store.close()


def test_an_mo_finds_the_latest_message_it_can_answer(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    for number in range(80):
        _, leased = submitted(store, lane, destination="447700900001")
        settle(store, sent(store, leased[0], "a", f"c{number}"))
    last = leased[0].message.id
    assert store.latest_to("447700900001", "TEST", 0) == (1, last)
    commit(store, lambda txn: txn.housekeep(0, 10))
    assert store.latest_to("447700900001", "TEST", 0) == (1, last)
    assert store.latest_to("447700900001", "OTHER", 0) is None
    assert store.latest_to("447700900002", "TEST", 0) is None
    store.close()


def test_a_second_process_is_told_that_the_store_is_open(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(StoreBusy, match="open in another process"):
        open_store(tmp_path)
    store.close()


def test_fm11_a_receipt_may_come_on_any_carrier_of_its_group(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    made, leased = submitted(store, lane_of(store, "a"))
    shared = store.group_id("together")
    answer = sent(store, leased[0], "a", "c1")
    answer.group = shared
    settle(store, answer)
    elsewhere = receipt(store, "b", "c1", made[0].destination)
    elsewhere.group = shared
    assert receive(store, [elsewhere])[0].fate == ReceiptFate.MATCHED
    assert receive(store, [receipt(store, "b", "c1", made[0].destination)])[0].fate == ReceiptFate.PARKED
    store.close()


def test_fm15_an_id_used_again_means_the_newest_message(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    made, leased = submitted(store, lane, destination="447700900001")
    settle(store, sent(store, leased[0], "a", "7"))
    clock.now_ms += 8 * 3_600_000
    again, leased = submitted(store, lane, destination="447700900001")
    settle(store, sent(store, leased[0], "a", "7"))
    arrived = [receipt(store, "a", "7", "447700900001")]
    result = commit(store, lambda txn: txn.receipts(arrived, clock.now_ms))[0][0]
    assert result.message_id == again[0].id != made[0].id
    store.close()


def test_fm32_opening_a_store_reads_groups_and_not_its_backlog(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    for _ in range(20):
        commit(store, lambda txn: txn.accept([message(store, lane) for _ in range(500)]))
    store.close()
    store = open_store(tmp_path)
    assert len(store.memory.active.groups) == 1
    assert store.memory.leases == {}
    assert len(commit(store, lambda txn: txn.claim([claim(store, lane, "a", 5)]))[0][0].leased) == 5
    store.close()


def test_fm30_a_message_settled_and_leased_again_is_recovered_once(tmp_path: Path) -> None:
    """Its first lease record is still there, because a sibling in it never settled."""
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    _, leased = submitted(store, lane, count=2)
    settle(store, outcome(store, leased[0], "a", Settle.RETRY, until_ms=NOW_MS))
    again = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    settle(store, sent(store, again[0], "a", "c1"))
    store.close()
    store = open_store(tmp_path, clock)

    def decide(one: Message, progress: Progress | None, carrier: int) -> Outcome:
        return Outcome(1, one.id, 0, carrier, 1, 0, 1, Settle.UNKNOWN_RESEND, until_ms=clock.now_ms + 60_000)

    assert store.recover(decide, clock.now_ms) == 1
    totals = store.totals()
    assert (totals.messages[Phase.AWAITING_RECEIPT], totals.messages[Phase.DEFERRED]) == (1, 1)
    assert conserved(store)
    store.close()


def test_a_leased_message_past_its_validity_keeps_its_expiry_row(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    _, leased = submitted(store, lane_of(store, "a"), expires_ms=NOW_MS + 60_000)
    clock.now_ms += 300_000
    commit(store, lambda txn: txn.expire(clock.now_ms, 100, 60_000))
    settle(store, sent(store, leased[0], "a", "c1"))
    assert check(store) == []
    store.close()


def test_fm30_a_half_answered_long_message_is_recovered_whole(tmp_path: Path) -> None:
    """The unanswered part came first, the answered one last: that is what left it leased for ever."""
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    _, leased = submitted(store, lane_of(store, "a"), segments=3)
    settle(store, sent(store, leased[0], "a", "c2", 2, 3))
    store.close()
    store = open_store(tmp_path, clock)

    def decide(one: Message, progress: Progress | None, carrier: int) -> Outcome:
        return Outcome(1, one.id, 0, carrier, 1, 0, 3, Settle.UNKNOWN_RESEND, until_ms=clock.now_ms + 60_000)

    assert store.recover(decide, clock.now_ms) == 1
    assert store.totals().messages[Phase.LEASED] == 0
    assert check(store) == []
    store.close()


def test_fm30_parts_answered_in_two_leases_are_not_left_leased(tmp_path: Path) -> None:
    """Every part has an id, the last from an earlier lease: still one of them concludes the message."""
    clock = Clock()
    store = open_store(tmp_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    _, leased = submitted(store, lane, segments=3)
    settle(store, sent(store, leased[0], "a", "c0", 0, 3))
    settle(store, outcome(store, leased[0], "a", Settle.UNKNOWN_RESEND, part=1, total=3, until_ms=NOW_MS))
    settle(store, sent(store, leased[0], "a", "c2", 2, 3))
    again = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    assert [one.first_part for one in again] == [1]
    settle(store, sent(store, again[0], "a", "c1", 1, 3))
    store.close()
    store = open_store(tmp_path, clock)

    def decide(one: Message, progress: Progress | None, carrier: int) -> Outcome:
        return Outcome(1, one.id, 0, carrier, 1, 0, 3, Settle.UNKNOWN_RESEND, until_ms=clock.now_ms + 60_000)

    store.recover(decide, clock.now_ms)
    assert store.totals().messages[Phase.LEASED] == 0
    assert check(store) == []
    store.close()
