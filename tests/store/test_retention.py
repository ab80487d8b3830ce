"""What nobody may ask for any more leaves the hot store by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.nouns import InboundMessage, ReceiptFate
from store import recipients
from store.lmdb_store import LmdbStore
from tests.store.records_for_tests import (
    DAY_MS,
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


def entries(store: LmdbStore, table: str) -> int:
    with store.reading() as tx:
        return int(tx.stat(getattr(store.tables, table).handle)["entries"])


def send(store: LmdbStore, lane: int, cid: str, **fields: Any) -> int:
    """Accept, claim and send one message; its id."""
    made = message(store, lane, **fields)
    commit(store, lambda txn: txn.accept([made]))
    leased = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    commit(store, lambda txn: txn.settle([sent(store, leased[0], "a", cid)], store.options.clock()))
    return made.id


def test_mos_leave_after_the_retention_and_not_before(ram_path: Path) -> None:
    clock = Clock()
    store = open_store(ram_path, clock, retention_days=30)
    with_account(store)
    for account in (0, 1):
        mo = InboundMessage(
            store.next_ids(1), account, 1, clock.now_ms, "447700900001", "12345", 0, "hi", b""
        )
        commit(store, lambda txn, mo=mo: txn.inbound([mo], clock.now_ms))  # type: ignore[misc]
    for days, left in ((29, 2), (31, 0)):
        now_ms = clock.now_ms + days * DAY_MS
        commit(store, lambda txn, now_ms=now_ms: txn.housekeep(now_ms, 100))  # type: ignore[misc]
        assert entries(store, "inbound") == left
    store.close()


def test_carrier_ids_go_when_they_are_not_matchable_any_more(ram_path: Path) -> None:
    """The archiver takes out only those that a message ended with."""
    clock = Clock()
    store = open_store(ram_path, clock)
    with_account(store)
    send(store, lane_of(store, "a"), "c1")
    assert entries(store, "correlation") == 1
    clock.now_ms += 80 * 3_600_000
    commit(store, lambda txn: txn.housekeep(clock.now_ms, 100))
    assert entries(store, "correlation") == 0
    store.close()


def test_a_matchable_id_is_kept(ram_path: Path) -> None:
    clock = Clock()
    store = open_store(ram_path, clock)
    with_account(store)
    send(store, lane_of(store, "a"), "c1", destination="447700900001")
    clock.now_ms += 72 * 3_600_000
    commit(store, lambda txn: txn.housekeep(clock.now_ms, 100))
    arrived = [receipt(store, "a", "c1", "447700900001")]
    assert commit(store, lambda txn: txn.receipts(arrived, clock.now_ms))[0][0].fate == ReceiptFate.MATCHED
    store.close()


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of recipients from four commits on."""
    monkeypatch.setattr(recipients, "SMALL", 4)


@pytest.mark.usefixtures("small_runs")
def test_runs_of_recipients_go_when_no_mo_may_look_so_far_back(ram_path: Path) -> None:
    clock = Clock()
    store = open_store(ram_path, clock, mo_match_ms=3 * DAY_MS)
    with_account(store)
    lane = lane_of(store, "a")
    for day in range(6):
        for number in range(4):
            send(store, lane, f"{day}-{number}")
        commit(store, lambda txn: txn.housekeep(clock.now_ms, 100))
        clock.now_ms += DAY_MS
    assert 2 <= entries(store, "recipient") <= 4
    store.close()


@pytest.mark.usefixtures("small_runs")
def test_the_newest_message_is_found_in_whatever_run_it_is(ram_path: Path) -> None:
    clock = Clock()
    store = open_store(ram_path, clock)
    with_account(store)
    lane = lane_of(store, "a")
    newest = {}
    for number in range(30):
        to = f"44770090000{number % 5}"
        sender = "ONE" if number % 2 else "TWO"
        newest[(to, sender)] = send(store, lane, f"c{number}", destination=to, source=sender)
        clock.now_ms += 1000
        if number % 3 == 0:
            commit(store, lambda txn: txn.housekeep(clock.now_ms, 100))
    for (to, sender), id in newest.items():
        assert store.latest_to(to, sender, 0) == (1, id)
        assert store.latest_to(to, sender, (id >> 20) + 1) is None
    assert store.latest_to("447700900001", "THREE", 0) is None
    store.close()
