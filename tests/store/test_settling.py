"""COMMIT B's commonest case is written out; it leaves what the general way leaves, octet for octet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.judge import OnReceipt
from router.nouns import CallbackChoice, Leased, MessageState, Outcome, Phase, ReceiptWish, Settle, Taken
from store import parked, receipts
from store.awaiting import MOST, Awaiting
from store.batch import Batch
from store.lmdb_store import LmdbStore
from store.records import RECIPIENT, encode
from store.settle import settle, settle_one
from store.values import unseal
from tests.store import records_for_tests as made
from tests.store.records_for_tests import NOW_MS

Answers = Sequence[Outcome | Taken]
Verb = Callable[[Batch, Answers, int], None]

DESTINATIONS = ("447700900001", "447700900001", "4" * 18, "4" * 19, "+447700900002", "", "٤٤٧", "ALERTS")
IDS = ("c1", "c2", "00c1", "", "x" * 200, "x" * 201, "é" * 101)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LmdbStore, list[Leased]]]:
    """What two carriers have in their hands: usual and unusual messages, and receipts that came early."""
    store = made.open_store(tmp_path_factory.mktemp("settling"))
    for account in (1, 2):
        made.with_account(store, account)
    lanes = [made.lane_of(store, "a", "b"), made.lane_of(store, "b")]
    new = [
        made.message(store, lanes[at % 2], account=1 + at % 3 // 2, destination=destination)
        for at, destination in enumerate(DESTINATIONS)
    ]
    new += [
        made.message(store, lanes[0], segments=2),
        made.message(store, lanes[0], route="watched"),
        made.message(store, lanes[0], callback=CallbackChoice(0), callback_url="http://127.0.0.1/"),
        made.message(
            store, lanes[0], callback=CallbackChoice(0, tells_sent=True), callback_url="http://127.0.0.1/"
        ),
        made.message(store, lanes[0], receipt=ReceiptWish.NONE),
        made.message(store, lanes[0]),
    ]
    claims = [made.claim(store, lane, "b", 6) for lane in lanes] + [made.claim(store, lanes[0], "a")]
    results = made.commit(store, lambda txn: txn.accept(new), lambda txn: txn.claim(claims))[1]
    leased = sorted((one for result in results for one in result.leased), key=lambda one: one.message.id)
    assert len(leased) == len(new)
    made.commit(store, lambda txn: txn.cancel(1, new[-1].id, NOW_MS))  # a wish: it has a progress now
    early = [made.receipt(store, "a", cid, new[0].destination) for cid in ("c1", "nobody's")]
    made.receive(store, early)
    store.fail_over({"watched": OnReceipt(no_receipt_s=60)})
    yield store, leased
    store.close()


def one_by_one(batch: Batch, outcomes: Answers, now_ms: int) -> None:
    """The general way alone."""
    for outcome in each_of(outcomes):
        settle_one(batch, outcome, now_ms)
        if outcome.settle == Settle.SENT and parked.waiting(batch, outcome.group):
            receipts.claim_parked(batch, outcome, now_ms)


def each_of(outcomes: Answers) -> Iterator[Outcome]:
    for one in outcomes:
        if isinstance(one, Taken):
            yield from map(one.outcome, range(len(one.ids)))
        else:
            yield one


def left_by(store: LmdbStore, verb: Verb, outcomes: Answers) -> dict[str, Any]:
    """Every row as it is written, and what memory would know; the transaction is dropped after that."""
    txn: Any = store.begin()
    batch = txn.batch
    try:
        verb(batch, outcomes, NOW_MS)
        awaiting = batch.memory.awaiting
        at_hand = {
            key: (one.sending.group, one.cid, encode(one.message), encode(one.progress), one.sending.sent_ms)
            for key, one in awaiting.by_key.items()
        }
        named = {(group, cid): sent.key for group, of in awaiting.by_name.items() for cid, sent in of.items()}
        ended = [(message.id, encode(progress)) for message, progress, _ in batch.ended]
        txn.finish()
        rows = {}
        for table in store.tables.all:
            with batch.tx.cursor(table.handle) as cursor:
                rows[table.name] = list(cursor.iternext())
        settled = {lease: ids for lease, ids in batch.settled.items() if ids}
        return {
            **rows, "settled": settled, "parked": batch.parked, "ended": ended,
            "claimed": batch.claimed_parked, "at hand": at_hand, "named": named,
        }  # fmt: skip
    finally:
        store.abort(txn)


def in_any_order(left: dict[str, Any]) -> dict[str, Any]:
    """A commit's record of recipients is not sorted: it is told by the rows in it."""
    found = {}
    for key, value in left["recipient"]:
        rows = unseal(key, value)
        found[key] = sorted(rows[at : at + RECIPIENT.size] for at in range(0, len(rows), RECIPIENT.size))
    return {**left, "recipient": found}


answers = st.lists(
    st.tuples(
        st.integers(0, len(DESTINATIONS) + 5),  # which message
        st.sampled_from([Settle.SENT] * 6 + [Settle.FINAL, Settle.RETRY, Settle.UNKNOWN_HOLD]),
        st.sampled_from(IDS),
        st.sampled_from([NOW_MS, NOW_MS + 1, NOW_MS - 6 * 3_600_000]),
        st.sampled_from([(0, 1)] * 6 + [(0, 2), (1, 2)]),  # part, total
        st.sampled_from([True] * 5 + [False]),  # receipt expected; where it is sent whole: told in columns
        st.sampled_from([0] * 5 + [1]),  # of a later lease than there is
        st.sampled_from("ab"),
    ),
    max_size=20,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers)
def test_what_is_settled_together_is_written_as_one_by_one(
    house: tuple[LmdbStore, list[Leased]], answers: list[Any]
) -> None:
    store, leased = house
    outcomes: list[Outcome | Taken] = []
    seen: set[int] = set()
    for which, kind, cid, sent_ms, (part, total), expected, later, carrier in answers:
        if kind == Settle.SENT and total == 1 and expected and not later:
            taken = outcomes[-1] if outcomes else None
            if not isinstance(taken, Taken) or taken.carrier != store.carrier_id(carrier):
                outcomes.append(taken := Taken(store.carrier_id(carrier), store.group_id(carrier), [], []))
            again = leased[which] if which not in seen else msgspec.structs.replace(leased[which])
            again.sent_ms = sent_ms
            taken.leased.append(again)
            taken.ids.append(cid)
            seen.add(which)
            continue
        one = made.outcome(
            store, leased[which], carrier, kind, carrier_message_id=cid if kind == Settle.SENT else "",
            sent_ms=sent_ms, part=part, total=total, receipt_expected=expected, until_ms=NOW_MS + 1000,
        )  # fmt: skip
        one.lease += later << 20
        if kind == Settle.FINAL:
            one.state = MessageState.REJECTED
        outcomes.append(one)
    together, apart = left_by(store, settle, outcomes), left_by(store, one_by_one, outcomes)
    assert in_any_order(together) == in_any_order(apart)


def test_the_usual_answers_of_all_are_written_as_one_by_one(house: tuple[LmdbStore, list[Leased]]) -> None:
    store, leased = house
    outcomes = [taken_whole(store, leased)]
    together, apart = left_by(store, settle, outcomes), left_by(store, one_by_one, outcomes)
    assert in_any_order(together) == in_any_order(apart)
    assert together["lease"] == []
    assert len(together["at hand"]) == len(leased) - 1  # no receipt is awaited of one
    assert len(together["silence"]) == 1


def taken_whole(store: LmdbStore, leased: Sequence[Leased]) -> Taken:
    for one in leased:
        one.sent_ms = NOW_MS
    ids = [f"id-{at}" for at in range(len(leased))]
    return Taken(store.carrier_id("a"), store.group_id("a"), list(leased), ids)


def test_the_usual_answers_take_the_short_way(
    house: tuple[LmdbStore, list[Leased]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, leased = house
    monkeypatch.delattr("store.settle.settle_one")
    usual = [one for one in leased[:-1] if one.message.receipt != ReceiptWish.NONE]
    assert len(left_by(store, settle, [taken_whole(store, usual)])["at hand"]) == len(usual)


class Listening:
    """A tap: the rows that whoever replays what it is told ends up with."""

    def __init__(self, rows: dict[tuple[int, bytes], bytes]) -> None:
        self.rows = rows

    def __call__(self, table: int, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.rows.pop((table, key), None)
        else:
            self.rows[table, key] = value

    def ended(self, committed: bool) -> None:
        assert not committed


def test_a_tap_is_told_of_every_row_and_of_none_that_was_not_written(
    house: tuple[LmdbStore, list[Leased]],
) -> None:
    store, leased = house
    outcomes = [taken_whole(store, leased)]
    outcomes[0].ids = [f"id-{at // 2}" for at in range(len(leased))]
    before = left_by(store, lambda batch, outcomes, now_ms: None, [])
    numbered = {table.name: table.index for table in store.tables.all}
    tap = Listening({(numbered[name], key): value for name in numbered for key, value in before[name]})
    store.core.taps.append(tap)
    try:
        after = left_by(store, settle, outcomes + outcomes)
    finally:
        store.core.taps.remove(tap)
    assert tap.rows == {(numbered[name], key): value for name in numbered for key, value in after[name]}


def test_what_awaits_receipts_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    store = made.open_store(tmp_path)
    made.with_account(store)
    _, (one,) = made.submitted(store, made.lane_of(store, "a"))
    made.settle(store, made.sent(store, one, "a", "c0"))
    (progress,) = (sent.progress for sent in store.memory.awaiting.by_key.values())
    awaiting = Awaiting()
    for at in range(MOST):
        awaiting.make_room(1)
        awaiting.add(b"%d" % at, made.sent(store, one, "a", "same" if at else "first"), one.message, progress)
    assert (len(awaiting), len(awaiting.by_name[1])) == (MOST, 2)
    awaiting.make_room(2)
    assert len(awaiting) == MOST - 2
    assert awaiting.find(1, "first") is None
    newest = awaiting.find(1, "same")
    assert newest is not None
    assert newest.key == b"%d" % (MOST - 1)
    awaiting.forget(b"2")
    assert awaiting.find(1, "same") is newest
    awaiting.forget(newest.key)
    assert awaiting.find(1, "same") is None
    assert store.totals().messages[Phase.AWAITING_RECEIPT] == 1
    store.close()
