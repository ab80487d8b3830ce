"""Events that their receiver never took: kept, found, put back, forgotten by age."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from router.nouns import Event, EventKind
from store.backlog import Backlog, BacklogWalk
from store.backup import backup, restore
from store.check import check
from store.interface import OutboxRow
from store.lmdb_store import LmdbStore
from store.options import StoreOptions
from store.outbox import tell
from store.salvage import salvage
from tests.store.records_for_tests import DAY_MS, NOW_MS, commit, open_store, with_account


def told(store: LmdbStore, account: int, count: int, url: str = "") -> int:
    """Queue this many events; their endpoint."""
    known = store.accounts()[account]
    events = [
        Event(EventKind.RECEIPT, account, 100 + number, NOW_MS + number, "a", "b", 2, url=url)
        for number in range(count)
    ]
    commit(store, lambda txn: [tell(txn.batch, event) for event in events])
    return store.endpoint_for(account, url or known.callback_url)


def give_up(store: LmdbStore, endpoint: int, at_ms: int, count: int = 100) -> list[OutboxRow]:
    rows = store.outbox_page(endpoint, 0, count)
    for row in rows:
        row.event.attempts, row.event.last_error = 11, "HTTP 500"
    commit(store, lambda txn: txn.outbox_give_up(rows, at_ms))
    return rows


def ids(rows: list[OutboxRow]) -> list[int]:
    return [row.event.message_id for row in rows]


def test_what_is_given_up_leaves_the_outbox_and_is_listed_last_first(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    with_account(store, 2)
    one, two = told(store, 1, 3), told(store, 2, 1)
    give_up(store, one, NOW_MS + 1, 2)
    give_up(store, two, NOW_MS + 2)
    give_up(store, one, NOW_MS + 3)
    assert (store.outbox_backlog(), store.given_up_count()) == (0, 4)
    listed = store.given_up([one, two])
    assert [(row.endpoint, row.given_up_ms - NOW_MS) for row in listed] == [
        (one, 3),
        (two, 2),
        (one, 1),
        (one, 1),
    ]
    assert [row.event.message_id for row in store.given_up([one], 2)] == [102, 101]
    assert (listed[0].event.attempts, listed[0].event.last_error) == (11, "HTTP 500")
    assert check(store) == []
    store.close()


def test_what_is_put_back_has_all_its_attempts_before_it_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    with_account(store, 2)
    one, two = told(store, 1, 5), told(store, 2, 2)
    give_up(store, one, NOW_MS)
    give_up(store, two, NOW_MS)
    assert commit(store, lambda txn: txn.replay_given_up([one], NOW_MS + 1, 3)) == [3]
    assert commit(store, lambda txn: txn.replay_given_up([one], NOW_MS + 1, 3)) == [2]
    back = store.outbox_page(one, 0, 100)
    assert ids(back) == [100, 101, 102, 103, 104]
    assert {(row.event.attempts, row.event.last_error) for row in back} == {(0, "")}
    assert store.given_up_count() == 2
    assert commit(store, lambda txn: txn.replay_given_up([two], NOW_MS, 100)) == [0]
    assert commit(store, lambda txn: txn.replay_given_up([one, two], NOW_MS + 1, 100)) == [2]
    store.close()


def test_what_is_put_back_goes_where_the_account_wants_it_now(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    account = with_account(store)
    old, own = told(store, 1, 1), told(store, 1, 1, "https://own.example/x")
    give_up(store, old, NOW_MS)
    give_up(store, own, NOW_MS)
    moved = replace(account, callback_url="https://new.example/sms")
    commit(store, lambda txn: txn.put_account(moved))
    commit(store, lambda txn: txn.replay_given_up([old, own], NOW_MS + 1, 100))
    new = store.endpoint_for(1, moved.callback_url)
    assert [len(store.outbox_page(endpoint, 0, 10)) for endpoint in (old, own, new)] == [0, 1, 1]
    store.close()


def test_without_a_place_to_go_to_what_is_put_back_waits_where_it_was(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    account = with_account(store)
    endpoint = told(store, 1, 1)
    give_up(store, endpoint, NOW_MS)
    commit(store, lambda txn: txn.put_account(replace(account, callback_url="")))
    assert commit(store, lambda txn: txn.replay_given_up([endpoint], NOW_MS + 1, 100)) == [1]
    assert len(store.outbox_page(endpoint, 0, 10)) == 1
    store.close()


def test_age_takes_the_oldest_of_every_endpoint(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    endpoints = []
    for account in (1, 2, 3):
        with_account(store, account)
        endpoints.append(told(store, account, 4))
        give_up(store, endpoints[-1], NOW_MS - 40 * DAY_MS, 3)
        give_up(store, endpoints[-1], NOW_MS)
    before_ms = NOW_MS - 30 * DAY_MS
    assert commit(store, lambda txn: txn.drop_given_up(before_ms, 5)) == [5]
    assert commit(store, lambda txn: txn.drop_given_up(before_ms, 5)) == [4]
    assert commit(store, lambda txn: txn.drop_given_up(before_ms, 5)) == [0]
    assert [len(store.given_up([endpoint])) for endpoint in endpoints] == [1, 1, 1]
    store.close()


def test_a_walk_counts_each_endpoint_whatever_the_size_of_its_pages(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    with_account(store, 2)
    one, two = told(store, 1, 1100), told(store, 2, 3)
    give_up(store, one, NOW_MS, 50)
    late = store.outbox_page(one, 0, 10)
    for row in late:
        row.event.attempts, row.event.last_error = 1, "HTTP 503"
    commit(store, lambda txn: txn.outbox_retry(late, NOW_MS + 5000))
    walk = BacklogWalk(store)
    pages = 0
    while walk.step():
        pages += 1
    assert pages == 5
    assert walk.found[two] == Backlog(ready=3, oldest_ms=NOW_MS)
    found = walk.found[one]
    assert (found.ready, found.retrying, found.given_up) == (1040, 10, 50)
    assert (found.oldest_ms, found.last_error) == (NOW_MS, "HTTP 503")
    store.close()


def test_what_is_given_up_is_in_a_backup_and_is_salvaged(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with_account(store)
    give_up(store, told(store, 1, 3), NOW_MS)
    backup(store, tmp_path / "copy")
    store.close()
    options = StoreOptions(map_size=256 << 20, min_free_disk=0)
    restore(tmp_path / "copy", tmp_path / "restored", options)
    assert salvage(tmp_path / "store", tmp_path / "saved")["given_up"] == 3
    for name in ("restored", "saved"):
        again = LmdbStore(tmp_path / name, options)
        assert again.given_up_count() == 3
        again.close()
