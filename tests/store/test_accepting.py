"""COMMIT A counts and groups a whole list at once; it leaves what its messages leave one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.nouns import ALIAS_WANTED, Message, Phase, Relay
from store.accept import accept
from store.lmdb_store import LmdbStore
from store.queues import expiry_key
from store.records import decode_message, encode
from store.values import unseal
from store.young import VALIDITY_MS, rows_of
from tests.store import records_for_tests as made
from tests.store.records_for_tests import DAY_MS, NOW_MS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LmdbStore:
    store = made.open_store(tmp_path_factory.mktemp("accepting"))
    for account in (1, 2):
        made.with_account(store, account)
    return store


def left_by(store: LmdbStore, lists: list[list[Message]]) -> dict[str, Any]:
    """Every row, what is fresh in which queue, and the counters; the transaction is dropped after that."""
    txn: Any = store.begin()
    batch = txn.batch
    try:
        for messages in lists:
            accept(batch, [decode_message(encode(one)) for one in messages])
        fresh = {prefix: [encode(one) for one in queue] for prefix, queue in batch.fresh.items()}
        txn.finish()
        rows = {}
        for table in store.tables.all:
            with batch.tx.cursor(table.handle) as cursor:
                rows[table.name] = list(cursor.iternext())
        return {
            **rows, "fresh": fresh, "accepted": (batch.accepted, batch.accepted_segments),
            "messages": batch.messages, "segments": batch.segments,
            "accounts": batch.accounts,
        }  # fmt: skip
    finally:
        store.abort(txn)


kinds = st.fixed_dictionaries(
    {
        "account": st.sampled_from((1, 1, 2)),
        "lane": st.sampled_from((1, 1, 2)),
        "segments": st.sampled_from((1, 1, 3)),
        "priority": st.sampled_from((2, 2, 0)),
        "send_at_ms": st.sampled_from((0, 0, NOW_MS, NOW_MS + 1, NOW_MS + 90_000)),
        "expires_ms": st.sampled_from(
            (NOW_MS, NOW_MS + 60_000, NOW_MS + VALIDITY_MS, NOW_MS + VALIDITY_MS + 1, NOW_MS + DAY_MS)
        ),
        "alias": st.sampled_from((0, 0, ALIAS_WANTED)),
        "relay": st.sampled_from(
            (None, None, Relay(), *(Relay(reference=7, total=2, index=at) for at in (1, 2)))
        ),
    }
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(kinds, max_size=12))
def test_what_is_accepted_together_is_written_as_one_by_one(
    store: LmdbStore, told: list[dict[str, Any]]
) -> None:
    lanes = {1: made.lane_of(store, "a"), 2: made.lane_of(store, "a", "b")}
    messages = [
        made.message(store, **{**fields, "lane": lanes[fields["lane"]]}, destination="447700900123")
        for fields in told
    ]
    left = left_by(store, [messages])
    assert left == left_by(store, [[one] for one in messages])
    young = {one.id for one in messages if one.expires_ms > NOW_MS + VALIDITY_MS and one.send_at_ms <= NOW_MS}
    assert [row for key, value in left["young"] for row in rows_of(unseal(key, value))] == [
        expiry_key(one, None) for one in messages if one.id in young
    ]
    assert [key for key, _ in left["expiry"]] == sorted(
        expiry_key(one, None) for one in messages if one.id not in young
    )
    assert left["accepted"] == (len(messages), sum(one.segments for one in messages))
    where = {Phase.READY: "ready", Phase.SCHEDULED: "due", Phase.HELD: "held"}
    assert {phase: left["messages"][phase] for phase in where} == {
        phase: len(left[table]) for phase, table in where.items()
    }
    accounts = Counter(one.account for one in messages)
    assert left["accounts"] == {account: [count, count] for account, count in accounts.items()}
    assert sum(left["segments"]) == left["accepted"][1]
    for key, value in left["message"]:
        stored = decode_message(unseal(key, value))
        scheduled = stored.send_at_ms > NOW_MS
        assert stored.alias != ALIAS_WANTED
        if stored.relay is not None:
            assert bool(stored.relay.group) == (stored.relay.total > 1 and not scheduled)
