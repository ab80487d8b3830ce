"""What an operator looks through: newest first, bounded, each once."""

from __future__ import annotations

from pathlib import Path

from router.nouns import InboundMessage
from store.lmdb_store import LmdbStore
from tests.store.records_for_tests import NOW_MS, Clock, commit, open_store, receipt, with_account


def mo(store: LmdbStore, account: int, text: str = "hi") -> InboundMessage:
    made = InboundMessage(
        store.next_ids(1), account, store.carrier_id("a"), NOW_MS, "447700900123", "12345", 0, text, b""
    )
    commit(store, lambda txn: txn.inbound([made], NOW_MS))
    return made


def test_an_inbox_is_read_newest_first_and_page_by_page(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for account in (1, 2):
        with_account(store, account)
    made = [mo(store, account) for account in (0, 1, 2, 1, 0, 2, 2)]
    ids = [message.id for message in made]
    assert [message.id for message in store.inbox(2)] == [ids[6], ids[5], ids[2]]
    assert [message.id for message in store.inbox(0)] == [ids[4], ids[0]]
    assert [message.id for message in store.inbox([0, 1, 2])] == ids[::-1]
    first = store.inbox([0, 1, 2], 3)
    rest = store.inbox([0, 1, 2], 100, first[-1].id)
    assert [message.id for message in first + rest] == ids[::-1]
    assert store.inbox([]) == store.inbox(3) == store.inbox(2, 100, ids[2]) == []
    store.close()


def test_the_inbox_of_the_last_account_of_all_has_an_end(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store, 0xFFFFFFFF)
    made = mo(store, 0xFFFFFFFF)
    assert [message.id for message in store.inbox(0xFFFFFFFF)] == [made.id]
    store.close()


def test_a_damaged_message_does_not_hide_the_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    made = [mo(store, 0) for _ in range(3)]
    with store._env.begin(write=True) as tx, tx.cursor(store.tables.inbound.handle) as cursor:
        assert cursor.first()
        assert cursor.next()
        key, value = cursor.item()
        cursor.put(key, value[:-1] + bytes((value[-1] ^ 1,)))
    assert [message.id for message in store.inbox(0)] == [made[2].id, made[0].id]
    store.close()


def test_receipts_without_a_message_are_listed_once_while_they_wait_and_after(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    for number in range(3):
        clock.now_ms += 1000
        arrived = receipt(store, "a", f"c{number}", "447700900123", ids=(f"c{number}", f"form-{number}"))
        commit(store, lambda txn, arrived=arrived: txn.receipts([arrived], clock.now_ms))  # type: ignore[misc]
    assert [row.ids[0] for row in store.parked()] == ["c2", "c1", "c0"]
    assert [row.ids[0] for row in store.parked(2)] == ["c2", "c1"]
    assert store.unmatched() == []
    clock.now_ms += 1_000_000
    commit(store, lambda txn: txn.housekeep(clock.now_ms, 100))
    assert [row.ids[0] for row in store.unmatched()] == ["c2", "c1", "c0"]
    assert [row.ids[0] for row in store.unmatched(2)] == ["c2", "c1"]
    assert store.parked() == []
    store.close()
