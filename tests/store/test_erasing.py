"""One number leaves the store: nobody finds it any more, what has to add up does, and its bytes are gone."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from router.nouns import (
    Event,
    EventKind,
    InboundMessage,
    MessageState,
    Phase,
    ReceiptFate,
    Relay,
    Step,
)
from smpp.alphabet import pack
from store import person
from store.backup import backup, compact
from store.interface import MoPart, Notice, Remembered
from store.lmdb_store import LmdbStore
from store.outbox import put_event, tell
from store.person import KINDS, Answers, Held, Number
from store.records import encode
from store.search import DIRECTORY, Query, Search
from store.search_files import term
from tests.store.records_for_tests import (
    DAY_MS,
    NOW_MS,
    Clock,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    receipt,
    sent,
    settle,
    with_account,
)

WHO = "447700900123"
OTHER = "447700900777"
SAID = "meet me at the blue door"
ME = Number(WHO)
ANSWERS = Answers(lambda answer: WHO.encode() in answer)


def forms(said: str) -> list[bytes]:
    """A text, or a number, as it could lie in a file."""
    return [said.encode(), said.encode("utf-16-be"), said.encode("utf-16-le"), pack(said.encode())]


def packed() -> list[bytes]:
    value = int(WHO)
    return [value.to_bytes(8, "big"), value.to_bytes(5, "big"), value.to_bytes(5, "little")]


def traces(directory: Path) -> list[str]:
    """Files under a directory with the number, or with what was said, in any form."""
    wanted = [*forms(WHO), *forms(SAID), *packed()]
    files = [one for one in sorted(directory.rglob("*")) if one.is_file()]
    assert files
    return [
        str(one.relative_to(directory)) for one in files if any(form in one.read_bytes() for form in wanted)
    ]


def send(store: LmdbStore, cid: str, **fields: Any) -> int:
    """Accepted, and taken by its carrier under this id; its own."""
    lane = lane_of(store, "a")
    made = message(store, lane, **fields)
    commit(store, lambda txn: txn.accept([made]))
    (leased,) = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    settle(store, sent(store, leased, "a", cid))
    return made.id


def ended(store: LmdbStore, cid: str, **fields: Any) -> int:
    """The same, and its receipt came."""
    id = send(store, cid, **fields)
    arrived = [receipt(store, "a", cid, str(fields.get("destination", "")), done_ms=NOW_MS)]
    commit(store, lambda txn: txn.receipts(arrived, store.options.clock()))
    return id


def archive(store: LmdbStore) -> None:
    while rows := store.pick_finished(store.options.clock() + 2000, 100):
        store.write_finished(rows)
        commit(store, lambda txn, rows=rows: txn.forget(rows))  # type: ignore[misc]


def inbound(store: LmdbStore, **fields: Any) -> InboundMessage:
    made = InboundMessage(store.next_ids(1), 1, 1, NOW_MS, WHO, "12345", 0, SAID, b"")
    for name, value in fields.items():
        setattr(made, name, value)
    commit(store, lambda txn: txn.inbound([made], NOW_MS))
    return made


def filled(path: Path, clock: Clock | None = None) -> LmdbStore:
    """A store with everything that can be kept about a number, between other people's data."""
    store = open_store(path, clock or Clock(), archive_after_s=0, park_s=10)
    with_account(store, callback_url="")
    for number in range(40):
        ended(store, f"x{number}", destination=OTHER, text=f"of somebody else {number}")
        if number % 4 == 0:
            ended(store, f"a{number}", destination=WHO, text=SAID, client_ref=f"order-{WHO}", tags=(WHO,))
    archive(store)
    with_account(store)
    for number in range(20):
        ended(store, f"y{number}", destination=OTHER, text="of somebody else")
        ended(store, f"b{number}", destination=WHO, text=f"{SAID} {number}", callback_url=f"http://x/?{WHO}")
    ended(store, "c1", source=WHO, source_ton=1, destination=OTHER, text=SAID)
    ended(
        store, "c2", destination=WHO, encoding=3, text="", data=SAID.encode("utf-16-be"), udh=b"\5\0\3\1\2\1"
    )
    ended(store, f"id-{WHO}", destination=WHO, relay=Relay(tlvs=((0x1400, WHO.encode()),)))
    inbound(store)
    inbound(store, account=0, data=SAID.encode("utf-16-be"), text="", encoding=3)
    inbound(store, source=OTHER, text="of somebody else")
    parts = [MoPart(1, WHO, "12345", 7, 3, index, 0, pack(SAID.encode()), NOW_MS) for index in (1, 2)]
    commit(store, lambda txn: txn.inbound_parts(parts, NOW_MS))
    early = [receipt(store, "a", "early", WHO, text=SAID, raw=f"id:early text:{SAID} {WHO}".encode())]
    commit(store, lambda txn: txn.receipts(early, NOW_MS))
    commit(store, lambda txn: txn.receipts([receipt(store, "a", "both", OTHER)], NOW_MS))
    commit(store, lambda txn: txn.receipts([receipt(store, "a", "both", WHO)], NOW_MS + 1))
    stray = [receipt(store, "a", "stray", WHO, raw=WHO.encode())]
    commit(store, lambda txn: txn.receipts(stray, NOW_MS - DAY_MS))
    commit(store, lambda txn: txn.housekeep(NOW_MS, 100))
    told = Event(EventKind.RECEIPT, 1, 5, NOW_MS, "TEST", WHO, 2, text=SAID)
    commit(store, lambda txn: tell(txn.batch, told))
    commit(store, lambda txn: put_event(txn.batch, 2, encode(told)))
    waiting = store.outbox_page(2, 0, 10)
    commit(store, lambda txn: txn.outbox_retry(waiting, NOW_MS + DAY_MS))
    rows = [row for row in store.outbox_page(1, 0, 200) if row.event.destination == WHO]
    commit(store, lambda txn: txn.outbox_give_up(rows[:2], NOW_MS))
    commit(store, lambda txn: txn.remember(1, b"key", Remembered(b"r", NOW_MS, f'"to":"{WHO}"'.encode())))
    commit(store, lambda txn: txn.remember(1, b"other", Remembered(b"r", NOW_MS, b"other")))
    commit(
        store, lambda txn: txn.notice([Notice(NOW_MS, "probe.failed", "carrier:a", f"nothing from {WHO}")])
    )
    with store._env.begin(write=True) as tx:
        tx.put(b"\1damaged", f"?{WHO}?".encode(), db=store.tables.quarantine.handle)
        tx.put(b"\0\0\0\1" + bytes(8), f"?{WHO}?".encode(), db=store.tables.inbound.handle)
    return store


def held(store: LmdbStore, number: Number = ME) -> list[Held]:
    """Everything there is, looked at in small portions."""
    found: list[Held] = []
    for kind in KINDS:
        after: bytes | None = b""
        while after is not None:
            with store.reading() as tx:
                looked = person.look(tx, store.tables, number, kind, after, ANSWERS, limit=7)
            found += looked.found
            after = looked.after
    for day in store.archive.days():
        after = b""
        while after is not None:
            looked = store.look_at_archive(number, day, after)
            found += looked.found
            after = looked.after
    return found


def erase(store: LmdbStore, number: Number = ME, drop_events: bool = True) -> Counter[str]:
    """As a gateway does it; what was left, by why."""
    left: Counter[str] = Counter()
    for kind in KINDS:
        rows = [(one.kind, one.key) for one in held(store, number) if one.kind == kind.name]
        (result,) = commit(
            store,
            lambda txn, rows=rows: txn.erase(rows, number, NOW_MS + 5, drop_events),  # type: ignore[misc]
        )
        left += result.left
    for day in store.archive.days():
        anew = store.without_number(day, number, NOW_MS + 5)
        while anew.step():
            pass
        assert anew.finish()
    return left


def test_every_kind_is_found(ram_path: Path) -> None:
    store = filled(ram_path)
    kinds = Counter(one.kind for one in held(store))
    assert set(kinds) == {kind.name for kind in KINDS} - {"unknown_outcome"} | {person.ARCHIVED}
    assert (kinds["message"], kinds[person.ARCHIVED], kinds["given_up_event"]) == (23, 10, 2)
    nobody = [one for one in held(store, Number("447700900999")) if one.kind != "answered_request"]
    assert nobody == []
    store.close()


def test_after_erasing_and_compacting_no_byte_is_left_anywhere(ram_path: Path) -> None:
    store = filled(ram_path)
    before = store.totals()
    assert erase(store) == Counter()
    assert held(store) == []
    backup(store, ram_path / "copy")
    assert traces(ram_path / "copy") == []
    assert traces(store.path / "archive") == []
    store.close()
    assert traces(ram_path / "store") == ["data.mdb"]  # in free pages, and between rows
    compact(ram_path / "store", NOW_MS)
    assert traces(ram_path) == []
    store = open_store(ram_path)
    assert store.check() == []
    assert store.totals() == before
    assert store.meta("compacted") == b"%d" % NOW_MS
    store.close()
    assert traces(ram_path) == []


def test_the_index_of_a_day_that_was_thrown_away_has_no_hash_of_it_when_it_is_built_again(
    ram_path: Path,
) -> None:
    store = filled(ram_path)
    search = Search.of(store, run=8)
    hashed = term(WHO).to_bytes(4, sys.byteorder)

    def files() -> list[bytes]:
        search.builder.follow(store.newest_id())
        while search.builder.step():
            pass
        return [one.read_bytes() for one in (store.path / DIRECTORY).rglob("data.mdb")]

    assert any(hashed in one for one in files())
    assert len(search.find(Query(to=(WHO,))).hits) == 32
    erase(store)
    for day in search.builder.days():
        search.builder.discard(day)
    assert not any(hashed in one for one in files())
    assert search.find(Query(to=(WHO,))).hits == []
    erased = [hit for hit in search.find(Query()).hits if hit.erased_ms]
    assert len(erased) == 33
    assert {hit.erased_ms for hit in erased} == {NOW_MS + 5}
    search.close()
    store.close()


def test_compacting_leaves_nothing_between_rows_as_that_of_lmdb_does(ram_path: Path) -> None:
    """Pages that were changed more than once in a commit have old rows in their gaps."""
    store, dice = open_store(ram_path), Random(1)
    tables = [store.tables.given_up, store.tables.unmatched, store.tables.quarantine]
    for _ in range(80):
        with store._env.begin(write=True) as tx:
            for _ in range(dice.randrange(1, 30)):
                key, table = b"%03d" % dice.randrange(600), dice.choice(tables)
                said = dice.choice((SAID.encode(), b"of somebody else", b""))
                if said:
                    tx.put(key, said * dice.choice((1, 5, 400)), db=table.handle)
                else:
                    tx.delete(key, db=table.handle)
    with store._env.begin(write=True) as tx:
        for table in tables:
            with tx.cursor(table.handle) as cursor:
                keys = [key for key, value in cursor if SAID.encode() in value]
            for key in keys:
                if dice.random() < 0.5:
                    tx.delete(key, db=table.handle)
                else:
                    tx.put(key, b"x" * dice.randrange(10, 3000), db=table.handle)
    (ram_path / "lmdb").mkdir()
    store._env.copy(str(ram_path / "lmdb"), compact=True)
    assert traces(ram_path / "lmdb") == ["data.mdb"]
    store.close()
    compact(store.path, NOW_MS)
    assert traces(store.path) == []


def test_facts_stay_and_others_are_as_they_were(ram_path: Path) -> None:
    store = filled(ram_path)
    ids = [one.what[0].id for one in held(store) if one.kind in ("message", person.ARCHIVED)]
    others = held(store, Number(OTHER))
    erase(store)
    for id in ids:
        found = store.find(1, id)
        assert found is not None
        kept, progress = found
        assert (kept.text, kept.data, kept.udh, kept.callback_url) == ("", b"", b"", "")
        assert WHO not in (kept.source, kept.destination)
        assert (progress.phase, progress.state) == (Phase.FINAL, MessageState.DELIVERED)
        assert progress.events[-1][:2] == (NOW_MS + 5, Step.ERASED)
    kinds = ("message", person.ARCHIVED, "inbound", "unmatched_receipt", "waiting_receipt")
    mine = {one.key for one in others if one.kind == "message" and one.what[0].source == WHO}
    now, then = (
        [one for one in found if one.kind in kinds and one.key not in mine]
        for found in (held(store, Number(OTHER)), others)
    )
    assert now == then
    mos = [one for one in store.inbox((0, 1)) if not one.source]
    assert [(one.text, one.data, one.destination, one.erased_ms) for one in mos] == [
        ("", b"", "12345", NOW_MS + 5)
    ] * 2
    store.close()


def test_what_was_erased_is_not_told_again(ram_path: Path) -> None:
    store = filled(ram_path)
    erase(store)
    mos = [one for one in store.inbound_page(1, -1).messages if one.erased_ms]
    pairs = [pair for pair in store.finished_page(1, -1).pairs if not pair[0].destination]
    assert mos
    assert pairs
    assert commit(store, lambda txn: txn.tell_inbound_again(mos, NOW_MS)) == [0]
    assert commit(store, lambda txn: txn.tell_again(pairs, NOW_MS)) == [0]
    store.close()


def test_a_late_receipt_still_finds_its_message(ram_path: Path) -> None:
    store = filled(ram_path)
    erase(store)
    arrived = [receipt(store, "a", "b3", WHO, state=5)]
    (result,) = commit(store, lambda txn: txn.receipts(arrived, NOW_MS + 9))[0]
    assert result.fate in (ReceiptFate.REPEATED, ReceiptFate.CONTRADICTS)
    store.close()


def test_what_has_not_ended_is_left_and_told(ram_path: Path) -> None:
    store = open_store(ram_path)
    with_account(store)
    taken = send(store, "c1", destination=WHO, text=SAID)
    waiting = message(store, lane_of(store, "a"), destination=WHO, text=SAID)
    commit(store, lambda txn: txn.accept([waiting]))
    assert erase(store) == Counter(unfinished=2)
    found = store.find(1, taken)
    assert found is not None
    assert found[0].text == SAID
    store.close()


@pytest.mark.parametrize("phase", ["ready", "held", "leased", "awaiting"])
def test_what_has_not_ended_can_be_ended(ram_path: Path, phase: str) -> None:
    store = open_store(ram_path)
    with_account(store)
    lane = lane_of(store, "a")
    if phase == "awaiting":
        id = send(store, "c1", destination=WHO, text=SAID)
    else:
        made = message(store, lane, destination=WHO, text=SAID)
        id = made.id
        commit(store, lambda txn: txn.accept([made]))
    leased = []
    if phase == "leased":
        leased = commit(store, lambda txn: txn.claim([claim(store, lane, "a")]))[0][0].leased
    (told,) = commit(store, lambda txn: txn.end_for_erasing(1, id, NOW_MS))
    assert told == ("leased" if leased else "ended")
    if leased:
        settle(store, sent(store, leased[0], "a", "c1"))
        assert commit(store, lambda txn: txn.end_for_erasing(1, id, NOW_MS)) == ["ended"]
    assert erase(store) == Counter()
    assert held(store) == []
    assert store.check() == []
    store.close()


def test_a_message_whose_record_is_not_written_yet_is_left(ram_path: Path) -> None:
    store = open_store(ram_path)
    with_account(store)
    store.follow_finished(bytes(16))
    ended(store, "c1", destination=WHO, text=SAID)
    assert erase(store) == Counter(unrecorded=1)
    store.follow_finished(b"\xff" * 16)
    assert erase(store) == Counter()
    store.close()


def test_events_that_wait_are_left_unless_they_are_to_go(ram_path: Path) -> None:
    store = filled(ram_path)
    left = erase(store, drop_events=False)
    assert left["waiting"] > 0
    assert {one.kind for one in held(store)} == {"waiting_event", "event_to_retry"}
    assert erase(store) == Counter()
    assert held(store) == []
    store.close()


def test_other_spellings_are_erased_where_they_are_named(ram_path: Path) -> None:
    store = open_store(ram_path)
    with_account(store)
    for spelling in ("+" + WHO, "00" + WHO, "07700900123"):
        inbound(store, source=spelling)
    kinds = [one.kind for one in held(store)]
    assert kinds.count("inbound") == 2
    number = Number(WHO, ("07700900123",))
    kinds = [one.kind for one in held(store, number)]
    assert kinds.count("inbound") == 3
    erase(store, number)
    assert [one.source for one in store.inbox(1)] == [""] * 3
    store.close()
