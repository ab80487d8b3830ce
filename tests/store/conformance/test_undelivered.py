"""Pages of what an endpoint has not taken, in each state."""

from __future__ import annotations

from operator import methodcaller

import pytest

from router.nouns import Account
from store import undelivered
from store.lmdb_store import LmdbStore
from tests.store.conformance.subject import Subject


def told(subject: Subject, account: int, count: int) -> int:
    """That many events for an account; its endpoint."""
    url = f"http://sink{account}.example/"
    subject.do(lambda txn: txn.put_account(Account(account, f"a{account}", callback_url=url)))
    for number in range(count):
        subject.do(methodcaller("tell_account", account, f"n{number}", b"{}", number + 1))
    return next(one.id for one in subject.store.outbox_endpoints().values() if one.account == account)


def pages(store: LmdbStore, endpoint: int, state: str, limit: int) -> list[str]:
    found: list[str] = []
    after = b""
    while True:
        page = undelivered.page(store, endpoint, state, after, limit)
        assert len(page.rows) <= limit
        found += [row.event.error for row in page.rows]
        after = page.after
        if not after:
            return found


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_have_every_event_once_in_order(
    steady: Subject, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undelivered, "_LOOK", 2)
    subject, store = steady, steady.store
    assert isinstance(store, LmdbStore)
    mine, others = told(subject, 1, 7), told(subject, 2, 5)
    assert pages(store, mine, undelivered.READY, limit) == [f"n{number}" for number in range(7)]
    rows, foreign = store.outbox_page(mine, 0, 100), store.outbox_page(others, 0, 100)
    for number in range(3):
        subject.do(methodcaller("outbox_retry", [rows[number]], 10 + number))
        subject.do(methodcaller("outbox_retry", [foreign[number]], 10 + number))
    subject.do(lambda txn: txn.outbox_give_up(rows[3:5], 99))
    assert pages(store, mine, undelivered.READY, limit) == ["n5", "n6"]
    assert pages(store, mine, undelivered.RETRYING, limit) == ["n0", "n1", "n2"]
    assert pages(store, mine, undelivered.GIVEN_UP, limit) == ["n3", "n4"]
    assert [row.at_ms for row in undelivered.page(store, mine, undelivered.RETRYING, b"", 1).rows] in (
        [10],
        [],
    )
    assert undelivered.page(store, mine, undelivered.GIVEN_UP, b"", 9).rows[0].at_ms == 99
