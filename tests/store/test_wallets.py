"""Wallets in the store: another text for a waiting message, periods, what check says and salvage mends."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import money
from router.money import LedgerEntry
from router.nouns import Bill, Message
from store.interface import Replacement, Store
from store.lmdb_store import LmdbStore
from store.options import StoreOptions
from store.records import ACCOUNT_KEY, encode
from store.salvage import salvage
from tests.store.records_for_tests import NOW_MS, Clock, commit, lane_of, message, open_store, with_account

PRICE = 10


@pytest.fixture
def store(ram_path: Path) -> LmdbStore:
    made = open_store(ram_path)
    with_account(made, billing="prepaid", currency="EUR")
    commit(made, lambda txn: txn.credit(1, LedgerEntry(NOW_MS, 45, "EUR", "test", "ann")))
    return made


def waiting(store: Store, segments: int = 1) -> Message:
    """A message of tomorrow."""
    made = message(
        store,
        lane_of(store, "a"),
        segments=segments,
        send_at_ms=NOW_MS + 3_600_000,
        expires_ms=NOW_MS + 7_200_000,
        bill=Bill(PRICE, "EUR"),
    )
    commit(store, lambda txn: txn.accept(txn.reserve([made], {})))
    return made


def replaced(store: Store, one: Message, segments: int) -> str:
    wish = Replacement(0, segments, "x" * segments, b"")
    result: str = commit(store, lambda txn: txn.replace(1, one.id, wish, NOW_MS))[0]
    return result


def has(store: Store) -> tuple[int, int, int]:
    wallet = store.wallet(1)
    return wallet.balance, wallet.reserved, wallet.day_spent


def test_another_text_reserves_what_it_needs_and_gives_back_what_it_does_not(store: LmdbStore) -> None:
    one = waiting(store)
    assert has(store) == (35, 10, 10)
    assert replaced(store, one, 3) == "replaced"
    assert has(store) == (15, 30, 30)
    assert replaced(store, one, 1) == "replaced"
    assert has(store) == (35, 10, 10)
    assert store.check() == []
    store.close()


def test_a_text_that_there_is_no_money_for_changes_nothing(store: LmdbStore) -> None:
    one = waiting(store)
    assert replaced(store, one, 9) == "unpaid"
    found = store.find(1, one.id)
    assert found is not None
    assert (found[0].segments, has(store)) == (1, (35, 10, 10))
    assert store.check() == []
    store.close()


def test_a_cancelled_message_gives_everything_back(store: LmdbStore) -> None:
    one = waiting(store, 4)
    assert has(store) == (5, 40, 40)
    commit(store, lambda txn: txn.cancel(1, one.id, NOW_MS))
    assert has(store) == (45, 0, 0)
    store.close()


def test_check_says_which_wallet_does_not_add_up(store: LmdbStore) -> None:
    waiting(store)
    wallet = store.wallet(1)
    wallet.balance += 5
    wallet.reserved -= 1
    commit(store, lambda txn: txn.batch.put(store.tables.wallet, ACCOUNT_KEY.pack(1), encode(wallet)))
    said = [finding.what for finding in store.check()]
    assert said == [
        "its balance is 0.00004, but credited - charged - reserved is 0.000036",
        "its wallet says 0.000009 reserved, there is 0.00001",
    ]
    store.close()


def test_salvage_works_out_anew_what_is_reserved(store: LmdbStore, tmp_path: Path) -> None:
    waiting(store, 2)
    lost = waiting(store)
    commit(store, lambda txn: txn.batch.delete(store.tables.message, _key(lost)))
    store.close()
    report = salvage(store.path, tmp_path / "saved", StoreOptions(map_size=256 << 20, min_free_disk=0))
    assert report["findings"] == 0
    saved = LmdbStore(tmp_path / "saved", StoreOptions(map_size=256 << 20, min_free_disk=0, clock=Clock()))
    wallet = saved.wallet(1)
    assert (wallet.credited, wallet.reserved, wallet.balance) == (45, 20, 25)
    assert [money.text(row.amount) for row in saved.ledger(1)] == ["0.000045"]
    saved.close()


def _key(one: Message) -> bytes:
    return one.account.to_bytes(4, "big") + one.id.to_bytes(8, "big")
