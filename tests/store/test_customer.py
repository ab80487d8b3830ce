"""What customers do to messages of their own: long ones in parts, another text, short ids, search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router.nouns import (
    ALIAS_WANTED,
    Account,
    Leased,
    Message,
    MessageState,
    Phase,
    Reason,
    Relay,
)
from store.check import check
from store.interface import Replacement
from store.lmdb_store import LmdbStore
from tests.store.records_for_tests import (
    NOW_MS,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    sent,
    with_account,
)

TO = "447700900123"


def part(
    store: LmdbStore, lane: int, index: int, total: int = 3, reference: int = 7, **fields: Any
) -> Message:
    relay = Relay(reference=reference, total=total, index=index)
    return message(store, lane, relay=relay, text=f"part {index}", destination=TO, **fields)


def accept(store: LmdbStore, *messages: Message) -> None:
    commit(store, lambda txn: txn.accept(list(messages)))


def claimed(store: LmdbStore, lane: int) -> list[Leased]:
    leased: list[Leased] = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    return leased


def sound(store: LmdbStore) -> bool:
    totals = store.totals()
    return (
        totals.accepted == sum(totals.messages)
        and totals.accepted_segments == sum(totals.segments)
        and check(store) == []
    )


def test_parts_wait_for_each_other_and_leave_in_order_whatever_the_order_they_came_in(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    third, first, second = (part(store, lane, index) for index in (3, 1, 2))
    accept(store, third)
    accept(store, first)
    assert claimed(store, lane) == []
    assert store.totals().messages[Phase.HELD] == 2
    assert sound(store)
    accept(store, second)
    assert sound(store)
    leased = claimed(store, lane)
    assert [one.message.id for one in leased] == [first.id, second.id, third.id]
    assert store.totals().messages[Phase.LEASED] == 3
    assert sound(store)
    commit(
        store,
        lambda txn: txn.settle([sent(store, one, "a", f"c{at}") for at, one in enumerate(leased)], NOW_MS),
    )
    assert store.totals().messages[Phase.AWAITING_RECEIPT] == 3
    assert sound(store)
    store.close()


def test_all_parts_of_one_commit_go_together(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    parts = [part(store, lane, index) for index in (2, 3, 1)]
    accept(store, *parts)
    assert [one.message.text for one in claimed(store, lane)] == ["part 1", "part 2", "part 3"]
    assert sound(store)
    store.close()


def test_parts_whose_siblings_never_come_are_sent_when_the_wait_is_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    accept(store, part(store, lane, 3), part(store, lane, 1))
    assert commit(store, lambda txn: txn.release_groups(NOW_MS, NOW_MS, 10))[0] == 0
    assert commit(store, lambda txn: txn.release_groups(NOW_MS + 10_000, NOW_MS + 10_000, 10))[0] == 1
    assert [one.message.text for one in claimed(store, lane)] == ["part 1", "part 3"]
    assert sound(store)
    store.close()


def test_an_account_may_want_all_parts_or_none(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    account = Account(id=1, name="acme", callback_url="http://c.example/", parts_timeout="fail")
    commit(store, lambda txn: txn.put_account(account))
    lane = lane_of(store, "a")
    made = [part(store, lane, 1), part(store, lane, 2)]
    accept(store, *made)
    commit(store, lambda txn: txn.release_groups(NOW_MS + 10_000, NOW_MS + 10_000, 10))
    for one in made:
        found = store.find(1, one.id)
        assert found is not None
        assert (found[1].state, found[1].reason) == (MessageState.UNDELIVERABLE, Reason.PARTS)
    assert sound(store)
    store.close()


def test_a_repeated_part_goes_alone_and_the_group_goes_on_waiting(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    again = part(store, lane, 1)
    accept(store, part(store, lane, 1), again)
    assert [one.message.id for one in claimed(store, lane)] == [again.id]
    assert sound(store)
    store.close()


def test_when_the_first_part_is_cancelled_the_others_go_on(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    parts = [part(store, lane, index) for index in (1, 2, 3)]
    accept(store, *parts)
    assert commit(store, lambda txn: txn.cancel(1, parts[0].id, NOW_MS))[0] == "cancelled"
    assert sound(store)
    assert [one.message.text for one in claimed(store, lane)] == ["part 2", "part 3"]
    assert sound(store)
    store.close()


def test_parts_survive_a_restart_while_they_wait(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    accept(store, part(store, lane, 1), part(store, lane, 2))
    store.close()
    store = open_store(tmp_path)
    accept(store, part(store, lane, 3))
    assert [one.message.text for one in claimed(store, lane)] == ["part 1", "part 2", "part 3"]
    assert sound(store)
    store.close()


def test_a_replaced_message_carries_the_new_text_and_counts_its_new_segments(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    one = message(store, lane)
    accept(store, one)
    wish = Replacement(encoding=0, segments=2, text="new " * 50, data=b"")
    assert commit(store, lambda txn: txn.replace(1, one.id, wish, NOW_MS))[0] == "replaced"
    assert sound(store)
    assert store.totals().accepted_segments == 2
    (leased,) = claimed(store, lane)
    assert leased.message.text == "new " * 50
    assert commit(store, lambda txn: txn.replace(1, one.id, wish, NOW_MS))[0] == "leased"
    commit(store, lambda txn: txn.settle([sent(store, leased, "a", "c1")], NOW_MS))
    store.close()


def test_a_replacement_can_move_the_time_and_the_validity(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    one = message(store, lane, send_at_ms=NOW_MS + 60_000)
    accept(store, one)
    wish = Replacement(0, 1, "later", b"", send_at_ms=NOW_MS + 120_000, expires_ms=NOW_MS + 900_000)
    assert commit(store, lambda txn: txn.replace(1, one.id, wish, NOW_MS))[0] == "replaced"
    assert sound(store)
    found = store.find(1, one.id)
    assert found is not None
    assert found[1].phase == Phase.SCHEDULED
    assert found[0].expires_ms == NOW_MS + 900_000
    assert commit(store, lambda txn: txn.move_due(NOW_MS + 60_000, 10))[0] == 0
    assert commit(store, lambda txn: txn.move_due(NOW_MS + 120_000, 10))[0] == 1
    assert [one.message.text for one in claimed(store, lane)] == ["later"]
    assert sound(store)
    store.close()


def test_what_is_sent_or_over_or_not_there_is_not_replaced(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    one, other = message(store, lane), message(store, lane)
    accept(store, one, other)
    wish = Replacement(0, 1, "new", b"")
    leased = claimed(store, lane)
    commit(store, lambda txn: txn.settle([sent(store, leased[0], "a", "c1")], NOW_MS))
    assert commit(store, lambda txn: txn.replace(1, one.id, wish, NOW_MS))[0] == "sent"
    assert commit(store, lambda txn: txn.replace(1, 12345, wish, NOW_MS))[0] == "unknown"
    store.close()


def test_waiting_messages_are_found_by_address_wherever_they_wait(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    ready = message(store, lane, destination=TO)
    due = message(store, lane, send_at_ms=NOW_MS + 60_000, destination=TO)
    elsewhere = message(store, lane, destination="447700900999")
    typed = message(store, lane, relay=Relay(service_type="VMN"), destination=TO)
    held = part(store, lane, 1)
    accept(store, ready, due, elsewhere, typed, held)
    search = (1, ready.source, ready.destination)
    assert store.find_waiting(*search, "") == [ready.id, due.id, held.id]
    assert store.find_waiting(*search, "VMN") == [typed.id]
    assert store.find_waiting(*search, None) == [ready.id, due.id, typed.id, held.id]
    assert store.find_waiting(2, ready.source, ready.destination, "") == []
    claimed(store, lane)
    assert store.find_waiting(*search, None) == [ready.id, due.id, typed.id, held.id]
    store.close()


def test_an_alias_is_given_at_accept_and_leads_to_its_message(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    lane = lane_of(store, "a")
    made = [message(store, lane, alias=ALIAS_WANTED) for _ in range(3)]
    accept(store, *made)
    assert [one.alias for one in made] == [1, 2, 3]
    store.close()
    store = open_store(tmp_path)
    assert store.find_alias(1, 2) == made[1].id
    assert store.find_alias(1, 9) == store.find_alias(2, 2) == 0
    more = message(store, lane, alias=ALIAS_WANTED)
    accept(store, more)
    assert more.alias == 4
    found = store.find(1, more.id)
    assert found is not None
    assert found[0].alias == 4
    store.close()
