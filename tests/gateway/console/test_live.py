"""What moves: one rendering for all who watch, nothing for nobody, and no viewer in another's way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import trio
import trio.testing

from gateway.console.live import COOKIE, MOST_OF_ONE, Live
from gateway.console.page import Topic
from tests.gateway.console.house import Known, Visitor, console
from tests.gateway.house import MemoryWorld, Running
from tests.trio_case import trio_test


class Counter:
    """A topic that counts how often it is rendered, and shows what it is told."""

    def __init__(self) -> None:
        self.rendered = 0
        self.shown = {"first": "0", "second": "still"}

    def parts(self, *_: object) -> Mapping[str, str]:
        self.rendered += 1
        return dict(self.shown)


def watched(house: Running, counter: Counter, scope: str = "carriers.read") -> Live:
    console = house.gateway.console
    live = console.live
    made = Live(
        house.gateway, console.frame, lambda: console.whois(), (Topic("count", scope, counter.parts),)
    )
    live._topics = made._topics
    return live


def broken(*_: object) -> Mapping[str, str]:
    raise RuntimeError("a page's bug")


async def read(stream: trio.abc.Stream, wanted: str) -> str:
    """What came, up to and with `wanted`."""
    got = ""
    with trio.fail_after(60):
        while wanted not in got:
            part = bytes(await stream.receive_some(65536))
            assert part, f"ended before {wanted!r}: {got!r}"
            got += part.decode()
    return got


@trio_test(mock_clock=True)
async def test_a_viewer_gets_the_whole_first_and_then_what_changed(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        counter = Counter()
        watched(house, counter)
        async with await Visitor(house).stream("GET", "/console/live/count", b"", {}) as stream:
            first = await read(stream, "still")
            assert "text/event-stream" in first
            assert '<hx-partial hx-target="#first" hx-swap="innerMorph">0</hx-partial>' in first
            counter.shown["first"] = "1"
            second = await read(stream, ">1<")
            assert "still" not in second


@trio_test(mock_clock=True)
async def test_ten_viewers_cost_what_one_does_and_none_costs_nothing(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        counter = Counter()
        live = watched(house, counter)
        await trio.sleep(5)
        assert counter.rendered == 0
        streams = [await Visitor(house).stream("GET", "/console/live/count", b"", {}) for _ in range(10)]
        for stream in streams:
            await read(stream, "still")
        before = counter.rendered
        await trio.sleep(10)
        assert 9 <= counter.rendered - before <= 11
        assert live.viewers == 10
        for stream in streams:
            await stream.aclose()
        counter.shown["first"] = "2"
        await trio.sleep(3)
        counter.shown["first"] = "3"
        await trio.sleep(3)
        rendered = counter.rendered
        await trio.sleep(5)
        assert (counter.rendered, live.viewers) == (rendered, 0)


@trio_test(mock_clock=True)
async def test_a_viewer_that_does_not_read_is_cut_off_and_the_others_go_on(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        counter = Counter()
        live = watched(house, counter)
        ours, theirs = trio.testing.lockstep_stream_pair()  # takes nothing that is not read
        assert isinstance(house.world, MemoryWorld)
        house.world.ports[house.http_port].send.send_nowait(theirs)
        cookie = f"Cookie: {COOKIE}=owner"
        await ours.send_all(f"GET /console/live/count HTTP/1.1\r\nHost: t\r\n{cookie}\r\n\r\n".encode())
        async with await Visitor(house).stream("GET", "/console/live/count", b"", {}) as reading:
            await read(reading, "still")
            assert live.viewers == 2
            for number in range(60):
                counter.shown["first"] = f"{number:08}"
                await read(reading, f"{number:08}<")
            assert live.viewers == 1


@trio_test(mock_clock=True)
async def test_what_says_nothing_new_says_that_it_is_alive(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        watched(house, Counter())
        async with await Visitor(house).stream("GET", "/console/live/count", b"", {}) as stream:
            await read(stream, "still")
            await read(stream, ": alive")


@trio_test(mock_clock=True)
async def test_a_session_that_ended_sees_nothing_more(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        watched(house, Counter())
        known = Known()
        house.gateway.console.whois = lambda: known
        async with await Visitor(house).stream("GET", "/console/live/count", b"", {}) as stream:
            await read(stream, "still")
            known.people.clear()
            await read(stream, "0\r\n\r\n")


@trio_test(mock_clock=True)
async def test_nobody_and_those_without_the_scope_are_refused(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        watched(house, Counter(), "store.write")
        for role in ("", "support", "made-up"):
            assert (await Visitor(house, role).get("/console/live/count")).status == 403
        assert (await Visitor(house).get("/console/live/nothing")).status == 404


@trio_test(mock_clock=True)
async def test_who_is_not_signed_in_does_not_learn_which_names_there_are(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for name in ("overview", "carrier/north", "carrier/nowhere", "nothing"):
            assert (await Visitor(house, "").get(f"/console/live/{name}")).status == 403, name


@trio_test(mock_clock=True)
async def test_one_session_does_not_take_all_the_room_for_viewers(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        watched(house, Counter())
        async with trio.open_nursery() as nursery:
            for _ in range(MOST_OF_ONE):
                stream = await Visitor(house, "auditor").stream("GET", "/console/live/count", b"", {})
                nursery.start_soon(read, stream, "still")
        assert (await Visitor(house, "auditor").get("/console/live/count")).status == 503
        async with await Visitor(house).stream("GET", "/console/live/count", b"", {}) as stream:
            await read(stream, "still")


@trio_test(mock_clock=True)
async def test_a_topic_that_breaks_ends_no_stream(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        counter = Counter()
        live = watched(house, counter)
        async with await Visitor(house).stream("GET", "/console/live/count", b"", {}) as stream:
            await read(stream, "still")
            good, live._topics["count"].topic = (
                live._topics["count"].topic,
                Topic("count", "carriers.read", broken),
            )
            await trio.sleep(3)
            live._topics["count"].topic = good
            counter.shown["first"] = "again"
            await read(stream, "again")


@trio_test(mock_clock=True)
async def test_a_gateway_that_stops_ends_the_streams_at_once(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        stream = await Visitor(house).stream("GET", "/console/live/overview", b"", {})
        await read(stream, "hx-partial")
        began = trio.current_time()
        house.gateway.stopping.set()
        with trio.fail_after(60):
            await house.gateway.finished.wait()
        assert trio.current_time() - began < 8
        await stream.aclose()
