"""Stores written by earlier versions: opened, found sound, read word by word, and every message finished.

Each file in tests/store/golden is what lies on some customer's disk. A test that fails here means that an
upgrade of theirs would fail: put the reading right, or write a step (store/upgrade.py).
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router.nouns import (
    EventKind,
    Leased,
    Message,
    MessageState,
    Outcome,
    Phase,
    Progress,
    ReceiptFate,
    Settle,
)
from store.interface import Claim, MoPart, Store
from store.layout import TABLES, open_environment
from tests.store.golden.build import TO
from tests.store.golden.words import agrees, words_of
from tests.store.records_for_tests import DAY_MS, Clock, claim, commit, open_store, receipt, sent

GOLDEN = Path(__file__).parent / "golden"
HOUR_MS = 3_600_000
NAMES = sorted(path.name.removesuffix(".tar.xz") for path in GOLDEN.glob("*.tar.xz"))


class Golden:
    """One of them, unpacked and open at the time at which it was left."""

    def __init__(self, name: str, directory: Path) -> None:
        self.words: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
        with tarfile.open(GOLDEN / f"{name}.tar.xz") as archive:
            archive.extractall(directory / "store", filter="data")
        self.filled = filled_tables(directory / "store")
        self.clock = Clock()
        self.clock.now_ms = self.words["now_ms"]
        self.store = open_store(directory, self.clock, announce=lambda line: None)
        self.ids = [int(id) for id in self.words["messages"]]

    def do(self, *verbs: Any) -> Any:
        return commit(self.store, *verbs)[-1]


def filled_tables(directory: Path) -> set[str]:
    """As they lie there: opening a store empties some."""
    env = open_environment(directory, map_size=1 << 30, readonly=True, lock=False)
    with env, env.begin() as names, names.cursor() as cursor:
        there = [key.decode() for key in cursor.iternext(values=False)]
    with open_environment(directory, map_size=1 << 30, readonly=True, lock=False) as env:
        handles = {name: env.open_db(name.encode(), create=False) for name in there}
        with env.begin() as tx:
            return {name for name, handle in handles.items() if tx.stat(handle)["entries"]}


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest, ram_path: Path) -> Golden:
    return Golden(request.param, ram_path)


def test_there_is_a_golden_store_with_a_row_in_each_table_of_today(tmp_path: Path) -> None:
    """Whoever adds a table teaches tests/store/golden/build.py to fill it, and adds a store."""
    filled = set()
    for name in NAMES:
        golden = Golden(name, tmp_path / name)
        filled |= golden.filled
        golden.store.close()
    assert filled == set(TABLES)


def test_it_is_read_word_by_word_and_found_sound(golden: Golden) -> None:
    now = json.loads(json.dumps(words_of(golden.store, golden.ids)))
    for name, was in golden.words.items():
        if name != "now_ms":
            assert agrees(was, now[name]), (name, was, now[name])
    assert golden.store.check() == []
    golden.store.close()


def test_every_message_in_it_ends_and_is_told_once(golden: Golden) -> None:
    store, clock = golden.store, golden.clock
    receive_what_was_sent(golden)
    recover(golden)
    complete_the_answer(golden)
    golden.do(lambda txn: txn.replay_given_up(list(store.outbox_endpoints()), clock.now_ms + 1, 100))
    golden.do(lambda txn: txn.replan_held(lambda message: min(store.lanes()), (0, 0), 100))
    for _ in range(30):
        clock.now_ms += HOUR_MS
        golden.do(
            lambda txn: txn.move_due(clock.now_ms, 100),
            lambda txn: txn.release_groups(clock.now_ms, clock.now_ms, 100),
        )
        for leased in claim_all(store):
            send(golden, leased)
    assert store.totals().accepted == store.totals().messages[Phase.FINAL]
    assert store.check() == []
    told = Counter(
        row.event.message_id
        for endpoint in store.outbox_endpoints()
        for row in store.outbox_page(endpoint, 0, 1_000)
        if row.event.kind == EventKind.RECEIPT and row.event.final
    )
    for id, was in golden.words["messages"].items():
        if was is None:
            continue  # in quarantine
        found = store.find_any(int(id))
        assert found is not None
        assert (found[1].phase, found[1].state) == (Phase.FINAL, MessageState.DELIVERED), found
        assert told[int(id)] == 1, found
    store.close()


def test_what_is_in_it_leaves_by_age(golden: Golden) -> None:
    store, clock = golden.store, golden.clock
    clock.now_ms += 100 * DAY_MS
    later = clock.now_ms
    recover(golden, Settle.UNKNOWN_HOLD)
    golden.do(lambda txn: txn.take_stale_parts(later, 100), lambda txn: txn.release_groups(later, later, 100))
    for _ in range(3):
        golden.do(
            lambda txn: txn.expire(clock.now_ms, 100, 60_000),
            lambda txn: txn.move_due(clock.now_ms, 100),
            lambda txn: txn.housekeep(clock.now_ms, 100),
        )
        clock.now_ms += HOUR_MS
    golden.do(lambda txn: txn.drop_unmatched(later, 100), lambda txn: txn.drop_given_up(later, 100))
    rows = store.pick_finished(clock.now_ms, 100)
    store.write_finished(rows)
    golden.do(lambda txn: txn.forget(rows))
    assert store.totals().accepted == store.totals().messages[Phase.FINAL]
    assert store.check() == []
    assert (store.inbox((0, 1)), store.parked(), store.unmatched(), store.given_up_count()) == ([], [], [], 0)
    assert len(store.drop_old(clock.now_ms, 30)) >= 1
    assert all(store.find_any(id) is None for id in golden.ids)
    store.close()


def receive_what_was_sent(golden: Golden) -> None:
    """Receipts for all that carriers have accepted, and for the one whose outcome is unknown."""
    store = golden.store
    for was in filter(None, golden.words["messages"].values()):
        message, progress = was
        to = message["destination"]
        if progress["phase"] == Phase.AWAITING_RECEIPT:
            waiting = [part for part in progress["parts"] if part["state"] == MessageState.ENROUTE]
            arrived = [receipt(store, "a", part["carrier_message_id"], to) for part in waiting]
            results = golden.do(lambda txn, arrived=arrived: txn.receipts(arrived, golden.clock.now_ms))
            assert [result.fate for result in results] == [ReceiptFate.MATCHED] * len(waiting)
        elif progress["phase"] == Phase.UNKNOWN:
            claiming = receipt(store, "a", "claiming", to, text=message["text"])
            (result,) = golden.do(lambda txn, one=claiming: txn.receipts([one], golden.clock.now_ms))
            assert result.fate == ReceiptFate.CLAIMED


def recover(golden: Golden, settle: Settle = Settle.UNKNOWN_RESEND) -> None:
    store, now_ms = golden.store, golden.clock.now_ms

    def decide(message: Message, progress: Progress | None, carrier: int) -> Outcome:
        group = store.group_id(store.carrier_name(carrier))
        total = message.segments
        return Outcome(message.account, message.id, 0, carrier, group, 0, total, settle, until_ms=now_ms)

    phases = [was[1]["phase"] for was in golden.words["messages"].values() if was]
    assert store.recover(decide, now_ms) == phases.count(Phase.LEASED)


def complete_the_answer(golden: Golden) -> None:
    """The second part of an MO whose first one waits."""
    part = MoPart(1, TO, "12345", 7, 2, 2, 0, b"second half", golden.clock.now_ms)
    (whole,) = golden.do(lambda txn: txn.inbound_parts([part], golden.clock.now_ms))
    assert [one.data for one in whole] == [b"first half", b"second half"]


def claim_all(store: Store) -> Iterator[tuple[str, Leased]]:
    """(carrier, what it took): every carrier of every lane, until nothing is left."""
    for id, lane in store.lanes().items():
        for index, carrier in enumerate(lane.carriers):
            name = store.carrier_name(carrier)
            while leased := take(store, claim(store, id, name, 100, index)):
                yield from ((name, one) for one in leased)


def take(store: Store, asked: Claim) -> list[Leased]:
    leased: list[Leased] = commit(store, lambda txn: txn.claim([asked]))[0][0].leased
    return leased


def send(golden: Golden, taken: tuple[str, Leased]) -> None:
    """The carrier takes every part and delivers it; one receipt has been waiting since before."""
    store, now_ms = golden.store, golden.clock.now_ms
    carrier, leased = taken
    total = leased.message.segments
    for part in range(leased.first_part, total):
        early = leased.message.text == "in a carrier's hands"
        cid = "early" if early else f"now-{leased.message.id}-{part}"
        answer = sent(store, leased, carrier, cid, part, total)
        golden.do(lambda txn, answer=answer: txn.settle([answer], now_ms))
        if not early:
            arrived = [receipt(store, carrier, cid, leased.message.destination)]
            golden.do(lambda txn, arrived=arrived: txn.receipts(arrived, now_ms))
