"""The search process: it follows, answers, is started again when it dies, and ends with its gateway."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.search_child import Find, Frames, Told, decode_asked, frame
from gateway.searching import Aside, Searching, SearchUnavailable
from gateway.world import RealWorld
from router.nouns import Message
from store.lmdb_store import LmdbStore
from store.search import Facts, Query
from store.search_files import day_of
from tests.gateway.house import carrier, route, running, simulator
from tests.store import records_for_tests as made
from tests.trio_case import trio_test

PATIENCE_S = 60.0


class Direct:
    """A committer without a loop; `commits` counts."""

    def __init__(self, store: LmdbStore) -> None:
        self.store = store
        self.commits = 0

    async def execute(self, function):  # type: ignore[no-untyped-def]
        await trio.lowlevel.checkpoint()
        self.commits += 1
        return made.commit(self.store, function)[0]


class Subject:
    def __init__(self, store: LmdbStore) -> None:
        self.store = store
        self.committer = Direct(store)
        self.lane = made.lane_of(store, "a")
        made.with_account(store, 1)
        self.searching = Searching(store, self.committer, RealWorld(), 10_000)
        self.searching.in_a_process()

    def accept(self, count: int = 1) -> list[Message]:
        messages = [made.message(self.store, self.lane) for _ in range(count)]
        made.commit(self.store, lambda txn: txn.accept(messages))
        return messages

    @property
    def aside(self) -> Aside:
        assert isinstance(self.searching.engine, Aside)
        return self.searching.engine

    async def find(self) -> list[int]:
        """As soon as somebody answers."""
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    return [hit.id for hit in (await self.searching.find(Query())).hits]
                except SearchUnavailable:
                    await trio.sleep(0.05)

    async def indexed(self, id: int) -> Facts:
        with trio.fail_after(PATIENCE_S):
            while (facts := self.searching.facts) is None or facts.indexed < id:
                await trio.sleep(0.05)
        return facts


@asynccontextmanager
async def searched(path: Path) -> AsyncIterator[Subject]:
    store = made.open_store(path)
    subject = Subject(store)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(subject.searching.run)
            yield subject
            nursery.cancel_scope.cancel()
    finally:
        store.close()


def pid_of(subject: Subject) -> int:
    process = subject.aside._process
    assert process is not None
    return process.pid


@trio_test
async def test_messages_are_found_at_once_and_indexed_soon(ram_path: Path) -> None:
    async with searched(ram_path) as subject:
        first = subject.accept()[0]
        assert await subject.find() == [first.id]
        facts = await subject.indexed(first.id)
        assert (facts.built, facts.problem, facts.waiting) == (1, "", ())
        second = subject.accept()[0]
        assert await subject.find() == [second.id, first.id]
        pid = pid_of(subject)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@trio_test
async def test_a_search_process_that_dies_is_started_again(ram_path: Path) -> None:
    async with searched(ram_path) as subject:
        messages = subject.accept(20)
        wanted = [message.id for message in reversed(messages)]
        await subject.indexed(messages[-1].id)
        pid = pid_of(subject)
        os.kill(pid, signal.SIGKILL)
        assert await subject.find() == wanted
        assert subject.aside.starts >= 1
        await subject.indexed(messages[-1].id)
        assert pid_of(subject) != pid
        assert subject.store.usage()["readers"] <= 3


@trio_test
async def test_a_day_is_thrown_away_and_built_again(ram_path: Path) -> None:
    async with searched(ram_path) as subject:
        messages = subject.accept(20)
        await subject.indexed(messages[-1].id)
        with trio.fail_after(PATIENCE_S):
            await subject.searching.anew([day_of(messages[-1].id)])
            while subject.searching.facts is None or subject.searching.facts.built < 40:
                await trio.sleep(0.05)
        await subject.indexed(messages[-1].id)
        assert await subject.find() == [message.id for message in reversed(messages)]


@trio_test
async def test_who_waits_for_a_process_that_dies_is_told(ram_path: Path) -> None:
    async with searched(ram_path) as subject:
        await subject.find()
        os.kill(pid_of(subject), signal.SIGSTOP)
        asked = trio.Event()

        async def ask() -> None:
            with pytest.raises(SearchUnavailable):
                await subject.searching.find(Query())
            asked.set()

        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                os.kill(pid_of(subject), signal.SIGKILL)
        assert asked.is_set()


@trio_test(mock_clock=True)
async def test_a_gateway_that_nobody_sends_to_commits_nothing_for_the_index(tmp_path: Path) -> None:
    toml = carrier("sim", 2776) + route("sim") + simulator("sim", 2776)
    async with running(tmp_path, toml) as house:
        id = await house.submit("447700900123")
        await house.final(id)
        await house.until(lambda: house.gateway.searching._settled == int(id))
        house.gateway.searching._committer = direct = Direct(house.gateway.store)
        await trio.sleep(100)
        assert direct.commits == 0
        assert house.gateway.searching._settled == int(id)
        assert house.gateway.searching.lag_s() < 2
        status, text = await house.http("GET", "/metrics")
        assert status == 200
        assert "signalbox_search_lag_seconds 0" in text or "signalbox_search_lag_seconds 1" in text


@trio_test(mock_clock=True)
async def test_pages_beside_traffic_have_every_message_once(tmp_path: Path) -> None:
    """While messages are accepted, sent, ended, archived and indexed."""
    toml = carrier("sim", 2776) + route("sim") + simulator("sim", 2776)
    async with running(tmp_path, toml) as house:
        house.gateway.store.options = replace(house.gateway.store.options, archive_after_s=1)
        sent: list[str] = []
        done = trio.Event()

        async def submit() -> None:
            for place in range(120):
                sent.append(await house.submit("447700900123", tags=["a"] if place % 3 else []))
                await trio.sleep(0.3)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            while not done.is_set():
                known, path, seen = list(sent), "/v1/messages?limit=7&tag=a", []
                while path:
                    status, answer = await house.http("GET", path)
                    assert status == 200
                    seen += [int(one["id"]) for one in answer["messages"]]
                    path = answer["next"]
                    await trio.sleep(0.2)
                assert seen == sorted(set(seen), reverse=True)
                assert {int(id) for place, id in enumerate(known) if place % 3} <= set(seen)
        assert house.gateway.store.archive.days()
        assert house.gateway.searching.facts is not None


def test_frames_are_found_however_the_bytes_come() -> None:
    sent = [frame(Find(number, Query(to=("1" * number,)))) for number in range(5)]
    whole = b"".join(sent)
    for size in (1, 3, 7, 1_000):
        frames = Frames()
        found = [
            decode_asked(raw)
            for at in range(0, len(whole), size)
            for raw in frames.feed(whole[at : at + size])
        ]
        assert [one.number for one in found if isinstance(one, Find)] == list(range(5))
    with pytest.raises(ValueError, match="too long"):
        list(Frames().feed(b"\xff\xff\xff\xff"))
    assert Told(Facts(0, 0, (), 0, 0, "")).facts.problem == ""
