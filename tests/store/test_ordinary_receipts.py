"""The short way of a receipt against the general one: the same rows, results, events and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.judge import OnReceipt
from router.nouns import (
    Bill,
    CallbackChoice,
    Charge,
    Login,
    ReceiptFate,
    ReceiptIn,
    ReceiptsIn,
    ReceiptWish,
    Relay,
    Said,
    Via,
)
from store import correlation, receipts
from store.check import check
from store.interface import ReceiptResult
from store.lmdb_store import LmdbStore
from store.receipts import take_receipt
from store.records import BUCKET_MS
from store.timeline import MAX_EVENTS
from tests.store.records_for_tests import (
    DAY_MS,
    NOW_MS,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    receipt,
    sent,
    with_account,
)

LOGIN = (Login("acme"),)
Arrived = Sequence[ReceiptIn | ReceiptsIn]
Results = list[ReceiptResult | None]
Receive = Callable[[Any, Arrived, int], Results]


def each_of(arrived: Arrived) -> list[ReceiptIn]:
    found: list[ReceiptIn] = []
    for one in arrived:
        found += map(one.one, range(len(one.ids))) if isinstance(one, ReceiptsIn) else [one]
    return found


def shortly(txn: Any, arrived: Arrived, now_ms: int) -> Results:
    results: Results = txn.receipts(arrived, now_ms)
    for one in arrived:
        assert isinstance(one, ReceiptsIn) or None not in results
    return results


def at_length(txn: Any, arrived: Arrived, now_ms: int) -> Results:
    oldest_ms = correlation.oldest_bucket(txn.batch, now_ms) * BUCKET_MS
    return [take_receipt(txn.batch, one, now_ms, oldest_ms) for one in each_of(arrived)]


def in_full(result: ReceiptResult | None, receipt: ReceiptIn) -> tuple[object, ...]:
    if result is None:
        return ReceiptFate.MATCHED, receipt.ids[0], True, receipt.state
    return result.fate, result.matched_id, result.final, result.state


def in_columns(receipts: Sequence[ReceiptIn]) -> Arrived:
    """Alike ones in a row together."""
    arrived: list[ReceiptsIn] = []
    kinds = [(one.group, one.carrier, one.at_ms, len(one.ids) == 1) for one in receipts]
    for at, one in enumerate(receipts):
        if not at or kinds[at] != kinds[at - 1]:
            arrived.append(ReceiptsIn(one.group, one.carrier, one.at_ms, [], [], [], [], []))
        said = Said(one.sender, one.state, one.error, one.done_ms, b" err:0 Text:", cause=one.cause)
        columns = (one.ids[0] if one.ids else "", one.recipient, b"Hi", said, one.ids)
        of_read = arrived[-1]
        for column, value in zip(
            (of_read.ids, of_read.recipients, of_read.texts, of_read.said, of_read.forms),
            columns,
            strict=True,
        ):
            column.append(value)  # type: ignore[attr-defined]
    for of_read in arrived:
        if set(map(len, of_read.forms)) == {1}:
            of_read.forms = ()
    return arrived


class Rows:
    """What one transaction has written: a tap of the store."""

    def __init__(self) -> None:
        self.written: dict[tuple[int, bytes], bytes | None] = {}

    def __call__(self, table: int, key: bytes, value: bytes | None) -> None:
        self.written[table, key] = value

    def ended(self, committed: bool) -> None:
        pass


class Side:
    """A store that takes receipts in one of the two ways, and what can be seen of it."""

    def __init__(self, directory: Path, receive: Receive) -> None:
        directory.mkdir()
        self.store: LmdbStore = open_store(directory)
        self.store.watch_events()
        self.receive = receive
        self.lane = lane_of(self.store, "a", "b")
        lane_of(self.store, "a")

    def run(
        self,
        accounts: list[dict[str, Any]],
        messages: list[dict[str, Any]],
        progress: list[dict[str, Any]],
        receipts: list[dict[str, Any]],
        sealed_ms: int,
        passing_on: bool,
        ages: Sequence[int] = (),
        together: bool = True,
    ) -> object:
        store, lane = self.store, self.lane
        store.fail_over({"r": OnReceipt(undelivered=True)} if passing_on else {})
        store.memory.sealed_ms = sealed_ms
        for account, fields in enumerate(accounts, 1):
            with_account(store, account, **fields)
        made = [message(store, lane, **one) for one in messages]
        for account in (1, 2):
            paid = [one for one in made if one.account == account and one.bill is not None]
            commit(store, lambda txn, paid=paid: paid and txn.reserve(paid, {}))  # type: ignore[misc]
        commit(store, lambda txn: txn.accept(made), lambda txn: txn.move_due(NOW_MS, 100))
        leased = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
        first = len(store.memory.awaiting)
        outcomes = [sent(store, one, "a", f"c{one.message.id}") for one in leased]
        for outcome, ago_ms in zip(outcomes, ages, strict=False):
            outcome.sent_ms -= ago_ms
        commit(store, lambda txn: txn.settle(outcomes, NOW_MS))
        assert len(store.memory.awaiting) == first + len(made)
        for one, changes in zip(made, progress, strict=False):
            known = store.memory.awaiting.find(store.group_id("a"), f"c{one.id}")
            assert known is not None
            if changes != USUAL_PROGRESS:
                known.own = known.progress
            for name, value in changes.items():
                setattr(known.progress, name, [(1, 1, 1, "")] * value if name == "events" else value)
        arrived = []
        for wish in receipts:
            about = made[wish["about"] % len(made)]
            id, number = f"c{about.id}", about.destination
            ids = {"exact": (id,), "second": ("x", id), "none": (), "other": ("y",)}[wish["form"]]
            to = {"same": number, "plus": "+" + number, "": ""}[wish["to"]]
            rest = {name: value for name, value in wish.items() if name not in ("about", "form", "to")}
            arrived.append(receipt(store, "a", id, to, ids=ids))
            for name, value in rest.items():
                setattr(arrived[-1], name, value)
        rows = Rows()
        store.core.taps.append(rows)
        came = in_columns(arrived) if together else arrived
        results = commit(store, lambda txn: self.receive(txn, came, NOW_MS + 1_000))[0]
        store.core.taps.remove(rows)
        tallies = store.tallies()
        told = [in_full(result, one) for result, one in zip(results, each_of(came), strict=True)]
        return (
            told if together else results,
            rows.written,
            [(at, [row.whole() for row in rows]) for at, rows in sorted(store.take_fresh_events().items())],
            store.totals(),
            store.memory.lanes,
            store.memory.wallets,
            {name: getattr(tallies, name) for name in ("finished", "cells", "unmatched")},
            {carrier: (delays.counts, delays.total_ms) for carrier, delays in tallies.delivery.items()},
            len(store.memory.awaiting),
        )


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    path = tmp_path_factory.mktemp("ordinary")
    both = Side(path / "short", shortly), Side(path / "long", at_length)
    yield both
    for side in both:
        assert check(side.store) == []
        side.store.close()


def mostly(usual: object, *others: object) -> st.SearchStrategy[Any]:
    return st.sampled_from([*[usual] * 3 * len(others), *others])


ACCOUNTS = st.fixed_dictionaries(
    {
        "callback_url": st.sampled_from(["", "https://a.example/cb"]),
        "logins": st.sampled_from([(), LOGIN]),
        "receipts_via": st.sampled_from(["same", "smpp", "http"]),
        "correction_events": st.booleans(),
        "billing": st.just("postpaid"),
    }
)
MESSAGES = st.fixed_dictionaries(
    {
        "account": mostly(1, 2),
        "source": mostly("ACME", "447700900001"),
        "destination": mostly("447700900123", "15550100", ""),
        "receipt": mostly(ReceiptWish.FINAL, *ReceiptWish),
        "via": st.sampled_from([int(Via.HTTP), int(Via.SMPP)]),
        "callback_url": mostly("", "https://b.example:8443/x", "https://b.example:8443/y"),
        "accepted_ms": mostly(NOW_MS, NOW_MS - 2 * DAY_MS),
        "send_at_ms": mostly(0, NOW_MS),
        "relay": mostly(None, Relay(tlvs=((0x0204, b"\0\7"),)), Relay(shown=9)),
        "callback": mostly(None, CallbackChoice(0)),
        "bill": mostly(None, Bill(0), Bill(5, "EUR", Charge.DELIVERED)),
        "source_ton": st.integers(0, 5),
        "segments": mostly(1, 3),
    },
    optional={
        "client_ref": st.just("order 7"),
        "tags": st.just(("spring", "sale")),
        "text": st.text(max_size=30),
        "destination_type": st.just(0x21),
        "alias": st.just(7),
        "expires_ms": st.integers(NOW_MS + 60_000, NOW_MS + 2 * DAY_MS),
        "trace": st.just(b"trace"),
    },
)
PROGRESS = st.fixed_dictionaries(
    {
        "done_ms": mostly(0, NOW_MS - 5),
        "lane": mostly(0, 2),
        "passed_on": mostly(0, 1),
        "events": mostly(1, MAX_EVENTS - 2, MAX_EVENTS),
    }
)
USUAL_PROGRESS = {"done_ms": 0, "lane": 0, "passed_on": 0, "events": 1}
RECEIPTS = st.fixed_dictionaries(
    {
        "about": st.integers(0, 5),
        "carrier": st.sampled_from([1, 2]),  # a's number, and b's, whose receipts come in the same group
        "form": mostly("exact", "second", "none", "other"),
        "to": mostly("same", "plus", ""),
        "state": mostly(2, 5, 8, 3, 1, 6, 77),
        "error": st.sampled_from(["", "000", "034"]),
        "cause": st.sampled_from(["", "absent_subscriber"]),
        "at_ms": st.integers(NOW_MS, NOW_MS + 1_000),
        "done_ms": st.sampled_from([0, NOW_MS - 1, NOW_MS + 2_000, NOW_MS + DAY_MS, NOW_MS - 2 * DAY_MS, 1]),
        "flagged": mostly(True, False),
    }
)


@settings(deadline=None, max_examples=400)
@given(
    st.tuples(
        st.lists(ACCOUNTS, min_size=2, max_size=2),
        st.lists(MESSAGES, min_size=1, max_size=4),
        st.lists(PROGRESS, max_size=4),
        st.lists(RECEIPTS, min_size=1, max_size=6),
        mostly(0, NOW_MS + 5_000),
        mostly(False, True),
        st.lists(mostly(0, 90 * DAY_MS), max_size=4),
        st.booleans(),
    )
)
def test_both_ways_come_to_the_same(sides: tuple[Side, Side], drawn: tuple[Any, ...]) -> None:
    short, long = (side.run(*drawn) for side in sides)
    assert short == long


@pytest.mark.parametrize("state", [2, 5])
@pytest.mark.parametrize("wish", [ReceiptWish.NONE, ReceiptWish.FINAL, ReceiptWish.FAILURE])
def test_an_ordinary_receipt_takes_the_short_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: int, wish: int
) -> None:
    side = Side(tmp_path / "one", shortly)
    monkeypatch.delattr(receipts, "take_receipt")
    about = {"about": 0, "form": "exact", "to": "same", "state": state, "done_ms": NOW_MS}
    for together in (True, False):
        side.run(
            [{"logins": LOGIN}],
            [{"receipt": wish, "via": int(Via.SMPP)}],
            [],
            [about],
            0,
            False,
            (),
            together,
        )
    assert check(side.store) == []
    side.store.close()


def test_what_one_message_wishes_of_its_end_says_nothing_of_another(tmp_path: Path) -> None:
    side = Side(tmp_path / "one", shortly)
    abouts = [
        {"about": at, "form": "exact", "to": "same", "state": state} for at, state in enumerate((2, 5, 2))
    ]
    wish = {"receipt": ReceiptWish.FAILURE}
    side.run([{}], [wish] * 3, [], abouts, 0, False)
    (endpoint,) = side.store.outbox_endpoints()
    assert [row.event.state for row in side.store.outbox_page(endpoint, 0, 10)] == [5]
    side.store.close()


def test_receipts_that_end_alike_keep_what_is_their_own(tmp_path: Path) -> None:
    side = Side(tmp_path / "one", shortly)
    messages = [
        {
            "via": int(Via.SMPP),
            "source": f"sender{at}",
            "destination": f"44770090012{at}",
            "client_ref": f"order {at}",
            "tags": (f"tag{at}",),
            "text": f"text {at}",
            "accepted_ms": NOW_MS - at,
            "alias": at,
        }
        for at in range(3)
    ]
    abouts = [
        {"about": at, "form": "exact", "to": "same", "state": 2, "done_ms": NOW_MS - at, "at_ms": NOW_MS}
        for at in range(3)
    ]
    told: Any = side.run([{"logins": LOGIN}], messages, [], abouts, 0, False)
    ((endpoint, handed_over),) = told[2]
    assert [row.event.source for row in handed_over] == ["sender0", "sender1", "sender2"]
    assert handed_over == side.store.outbox_page(endpoint, 0, 10)
    side.store.close()
