"""Searching messages: a query finds what a look at every message would find, however far the index is."""

from __future__ import annotations

import os
import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.nouns import Message, MessageState, Progress
from store import search_build, search_files
from store.interface import StoreBusy
from store.layout import DATA
from store.lmdb_store import LmdbStore
from store.search import Page, Query, Search
from store.search_files import day_of
from tests.store import records_for_tests as made

HOUR_MS = 3_600_000
TO = ("447700900001", "447700900002", "33612345678")
FROM = ("Shop", "12345", "447700900999")
REFS = ("", "order-1", "order-2")
TAGS = ((), ("a",), ("a", "b"))


class Subject:
    """A store with its search, runs of four messages, and a look at every message to compare with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = made.Clock()
        self.store = made.open_store(path, self.clock)
        self.lane = made.lane_of(self.store, "a")
        self.messages: list[Message] = []
        for account in (1, 2):
            made.with_account(self.store, account)
        self.search = Search.of(self.store, run=4)

    def close(self) -> None:
        self.search.close()
        self.store.close()

    def reopen(self) -> None:
        """As after a crash: nothing was said to the index before it ended."""
        self.search.close()
        self.search = Search.of(self.store, run=4)

    def accept(self, account: int = 1, to: str = TO[0], **fields: object) -> Message:
        message = made.message(self.store, self.lane, account, destination=to, **fields)
        made.commit(self.store, lambda txn: txn.accept([message]))
        self.messages.append(message)
        return message

    def end(self, message: Message) -> None:
        made.commit(self.store, lambda txn: txn.cancel(message.account, message.id, self.clock.now_ms))

    def archive(self) -> None:
        self.clock.now_ms += 2 * HOUR_MS
        rows = self.store.pick_finished(self.clock.now_ms, 1_000)
        self.store.write_finished(rows)
        made.commit(self.store, lambda txn: txn.forget(rows))

    def follow(self) -> None:
        self.search.builder.follow(self.store.newest_id())

    def build(self) -> None:
        self.follow()
        while self.search.builder.step():
            pass

    def find(self, **query: object) -> list[int]:
        """All pages of it."""
        return [hit.id for page in self.pages(**query) for hit in page.hits]

    def pages(self, **fields: object) -> Iterator[Page]:
        query = Query(**fields)  # type: ignore[arg-type]
        while True:
            page = self.search.find(query)
            assert page.looked_at <= query.look
            assert len(page.hits) <= query.limit
            yield page
            if not page.before:
                return
            assert page.before < query.before
            query = msgspec.structs.replace(query, before=page.before)

    def expected(self, query: Query) -> list[int]:
        return sorted((one.id for one in self.messages if self._fits(one, query)), reverse=True)

    def _fits(self, message: Message, query: Query) -> bool:
        found = self.store.find(message.account, message.id)
        if found is None:
            return False
        progress: Progress = found[1]
        at_ms = message.id >> 20
        return (
            (not query.to or message.destination in query.to)
            and (not query.sender or message.source in query.sender)
            and (not query.accounts or message.account in query.accounts)
            and query.client_ref in ("", message.client_ref)
            and (not query.tag or query.tag in message.tags)
            and (not query.states or progress.state in query.states)
            and at_ms >= query.since_ms
            and (not query.until_ms or at_ms < query.until_ms)
            and message.id < query.before
        )


@pytest.fixture
def subject(ram_path: Path) -> Iterator[Subject]:
    subject = Subject(ram_path)
    yield subject
    subject.close()


QUERIES = st.builds(
    Query,
    to=st.sampled_from([(), TO[:1], TO[1:2], TO[:2], ("999",)]),
    sender=st.sampled_from([(), FROM[:1], FROM[1:]]),
    accounts=st.sampled_from([(), (1,), (2,), (1, 2), (3,)]),
    client_ref=st.sampled_from(REFS),
    tag=st.sampled_from(["", "a", "b", "c"]),
    states=st.sampled_from([(), (MessageState.DELETED,), (MessageState.ENROUTE, MessageState.SCHEDULED)]),
    since_ms=st.sampled_from([0, made.NOW_MS, made.NOW_MS + HOUR_MS, made.NOW_MS + 30 * HOUR_MS]),
    until_ms=st.sampled_from([0, made.NOW_MS + HOUR_MS, made.NOW_MS + 26 * HOUR_MS]),
    limit=st.integers(1, 5),
    look=st.integers(1, 30),
)
ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("accept"),
            st.sampled_from((1, 2)),
            st.sampled_from(TO),
            st.sampled_from(FROM),
            st.sampled_from(REFS),
            st.sampled_from(TAGS),
        ),
        st.tuples(st.just("end"), st.integers(0, 50)),
        st.tuples(st.just("wait"), st.sampled_from((1, HOUR_MS, 11 * HOUR_MS, 24 * HOUR_MS))),
        st.sampled_from([("step",), ("follow",), ("archive",), ("reopen",), ("discard",)]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS, queries=st.lists(QUERIES, min_size=1, max_size=4))
def test_a_search_finds_what_a_look_at_every_message_finds(
    ram_path: Path, acts: list[tuple[object, ...]], queries: list[Query]
) -> None:
    subject = Subject(ram_path / str(os.urandom(8).hex()))
    try:
        for act in acts:
            perform(subject, act)
        for query in queries:
            fields = msgspec.structs.asdict(query)
            assert subject.find(**fields) == subject.expected(query)
        subject.build()
        for query in queries:
            assert subject.find(**msgspec.structs.asdict(query)) == subject.expected(query)
    finally:
        subject.close()


def perform(subject: Subject, act: tuple[object, ...]) -> None:
    match act:
        case ("accept", account, to, sender, ref, tags):
            subject.accept(account, to, source=sender, client_ref=ref, tags=tags)  # type: ignore[arg-type]
        case ("end", int(index)) if subject.messages:
            subject.end(subject.messages[index % len(subject.messages)])
        case ("wait", int(ms)):
            subject.clock.now_ms += ms
        case ("step",):
            subject.search.builder.step()
        case ("follow",):
            subject.follow()
        case ("archive",):
            subject.archive()
        case ("reopen",):
            subject.reopen()
        case ("discard",):
            for day in subject.search.builder.days()[:1]:
                subject.search.builder.discard(day)


def test_an_index_built_in_pieces_over_restarts_equals_one_built_at_once(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_build, "PORTION", 3)
    dice = random.Random(7)
    for place in range(30):
        subject.accept(1 + place % 2, TO[place % 3], client_ref=f"order-{place % 7}")
        if place == 15:
            subject.clock.now_ms += 24 * HOUR_MS
    pieces = 0
    while True:
        subject.follow()
        if not subject.search.builder.step():
            break
        pieces += 1
        if dice.random() < 0.4:
            subject.reopen()  # in the middle of a run, and after it was written
    assert pieces > 20
    built = contents(subject)
    subject.search.close()
    for path in (subject.store.path / "search").glob("*/*"):
        path.unlink()
    subject.search = Search.of(subject.store, run=4)
    subject.build()
    assert contents(subject) == built


def contents(subject: Subject) -> dict[str, list[list[tuple[int, int]]]]:
    """(id, account) by day and run."""
    files = subject.search._files
    found = {}
    for day in files.days():
        with files.runs(day, search_files.last_of(day)) as runs:
            found[day] = [list(zip(run.ids, run.accounts, strict=True)) for _, run in runs]
    return found


def test_a_look_up_reads_what_it_names_and_not_the_others(subject: Subject) -> None:
    for _ in range(40):
        subject.accept(1, TO[0])
    wanted = subject.accept(1, TO[1])
    for _ in range(39):
        subject.accept(2, TO[0])
    subject.build()
    (page,) = subject.pages(to=TO[1:2])
    assert [hit.id for hit in page.hits] == [wanted.id]
    assert page.looked_at <= 1 + 80 // 4  # itself, and a look into each run
    (page,) = subject.pages(to=TO[:1], accounts=(2,), limit=50)
    assert len(page.hits) == 39
    assert page.looked_at <= 39 + 80 // 4
    first = next(subject.pages(accounts=(1,), limit=5))
    assert first.looked_at <= 5 + 40 // 4 + 1  # the runs before it are not looked into


def test_a_page_that_ends_for_its_cost_says_so_and_goes_on(subject: Subject) -> None:
    messages = [subject.accept() for _ in range(20)]
    subject.end(messages[0])
    subject.build()
    pages = list(subject.pages(states=(MessageState.DELETED,), look=6))
    assert len(pages) > 2
    assert all(page.short for page in pages[:-1])
    assert [hit.id for page in pages for hit in page.hits] == [messages[0].id]


@pytest.mark.parametrize("size", [0, 1, 2, 5, 3_000, 70_000])
def test_a_hash_is_found_where_a_binary_search_finds_it(size: int) -> None:
    dice = random.Random(size)
    for most in (1 << 32, 1_000, 3):
        hashes = sorted(dice.randrange(most) for _ in range(size))
        asked = [dice.randrange(most) for _ in range(50)] + dice.sample(hashes, min(50, size)) + [0, most - 1]
        for one in asked:
            assert search_files._find(hashes, one) == bisect_left(hashes, one)


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_file_is_built_again_and_costs_no_answer(subject: Subject, harm: str) -> None:
    messages = [subject.accept(1, TO[place % 2]) for place in range(20)]
    subject.build()
    subject.search.close()
    path = subject.store.path / "search" / day_of(messages[0].id) / DATA
    raw = bytearray(path.read_bytes())
    if harm == "cut":
        raw = raw[: len(raw) // 2]
    elif harm == "flip":
        hash = search_files.term(TO[1]).to_bytes(4, "little")
        at = raw.index(hash)
        raw[at] ^= 0xFF
    else:
        raw = bytearray(b"" if harm == "empty" else b"not a database" * 1_000)
    path.write_bytes(raw)
    subject.search = Search.of(subject.store, run=4)
    wanted = [message.id for message in reversed(messages[1::2])]
    if harm == "flip":
        assert set(subject.find(to=TO[1:2])) <= set(wanted)  # the builder finds it when it has time
    else:
        assert subject.find(to=TO[1:2]) == wanted
    for _ in range(5):  # a run at a time is looked after
        subject.build()
    assert subject.find(to=TO[1:2]) == wanted
    page = next(subject.pages(to=("999",)))
    assert page.looked_at <= 6


def test_a_day_goes_from_the_index_when_it_goes_from_the_archive(subject: Subject) -> None:
    old = subject.accept()
    subject.end(old)
    subject.archive()
    subject.clock.now_ms += 40 * 24 * HOUR_MS
    new = subject.accept()
    subject.build()
    assert subject.search.builder.days() == [day_of(old.id), day_of(new.id)]
    subject.store.drop_old(subject.clock.now_ms, 30)
    subject.search.keep(subject.clock.now_ms, 30)
    assert subject.search.builder.days() == [day_of(new.id)]
    assert subject.find() == [new.id]
    assert not (subject.store.path / "search" / day_of(old.id)).exists()


def test_the_newest_day_comes_first_where_several_are_to_be_built(subject: Subject) -> None:
    for _ in range(3):
        subject.accept()
        subject.clock.now_ms += 24 * HOUR_MS
    newest = subject.accept()
    subject.follow()
    days = sorted({day_of(message.id) for message in subject.messages})
    assert list(subject.search.facts().waiting) == days[:-1]
    subject.search.builder.step()
    assert subject.search.builder.days() == [day_of(newest.id)]
    assert subject.search.facts().indexed == newest.id
    subject.build()
    assert subject.search.facts().waiting == ()
    assert subject.search.builder.days() == days


def test_the_index_waits_while_the_disk_is_nearly_full(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.search.close()
    subject.store.options = replace(subject.store.options, min_free_disk=1 << 30)
    subject.search = Search.of(subject.store, run=4)
    messages = [subject.accept() for _ in range(9)]
    free = 1 << 20
    monkeypatch.setattr(search_files, "free_disk", lambda path: free)
    subject.build()
    assert "nearly full" in subject.search.facts().problem
    assert subject.find() == [message.id for message in reversed(messages)]
    free = 1 << 40
    subject.build()
    assert not subject.search.facts().problem
    assert subject.search.facts().indexed == messages[-1].id


def test_two_processes_cannot_build_one_index(subject: Subject) -> None:
    with pytest.raises(StoreBusy):
        Search.of(subject.store)


def test_a_message_that_came_late_with_an_older_id_is_found_once_its_commit_ended(subject: Subject) -> None:
    late = made.message(subject.store, subject.lane)
    settled = late.id - 1  # what the gateway may call settled while it is not committed
    newer = subject.accept()
    subject.search.builder.follow(settled)
    subject.search.builder.step()
    made.commit(subject.store, lambda txn: txn.accept([late]))
    assert subject.find() == [newer.id, late.id]
    subject.messages.append(late)
    subject.build()
    assert subject.find() == [newer.id, late.id]


def test_a_search_writes_no_files(subject: Subject) -> None:
    message = subject.accept()
    subject.build()
    assert subject.find() == [message.id]
    assert list((subject.store.path / "search").glob("*/*")) == []


def test_a_hit_says_nothing_of_what_a_message_says(subject: Subject) -> None:
    subject.accept(text="a secret", data=b"a secret", udh=b"a secret")
    (page,) = subject.pages()
    assert b"secret" not in msgspec.msgpack.encode(page)


def test_numbers_whose_hashes_are_the_same_are_told_apart(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.search_files.term", lambda text: 7)
    monkeypatch.setattr("store.search.term", lambda text: 7)
    one = subject.accept(to=TO[0])
    subject.accept(to=TO[1])
    subject.build()
    assert subject.find(to=TO[:1]) == [one.id]


def test_another_process_searches_beside_the_one_that_writes(ram_path: Path) -> None:
    """The same code on a second environment of the store, opened to read; here by a process of its own."""
    import subprocess
    import sys

    store = LmdbStore(ram_path / "store", replace(made.open_store(ram_path / "other").options))
    made.with_account(store, 1)
    lane = made.lane_of(store, "a")
    messages = [made.message(store, lane, destination=TO[place % 2]) for place in range(10)]
    made.commit(store, lambda txn: txn.accept(messages))
    made.commit(store, lambda txn: txn.cancel(1, messages[1].id, store.options.clock()))
    rows = store.pick_finished(store.options.clock() + 10 * HOUR_MS, 10)
    store.write_finished(rows)
    made.commit(store, lambda txn: txn.forget(rows))
    program = f"""
from pathlib import Path
from store.options import StoreOptions
from store.search import Query, Search
options = StoreOptions(map_size=256 << 20, min_free_disk=0, archive_map_size=64 << 20)
search = Search.beside(Path({str(store.path)!r}), options)
search.builder.follow({store.newest_id()})
while search.builder.step():
    pass
print([hit.id for hit in search.find(Query(to=({TO[1]!r},))).hits])
search.close()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stderr == ""
    assert ran.stdout.strip() == str([message.id for message in reversed(messages[1::2])])
    store.close()
