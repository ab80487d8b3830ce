"""GET /v1/messages: who finds what, in which pages, and what is said of a question that cannot be taken."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from gateway.finding import COLUMNS, WishProblem, csv_line, cursor_of, query_of, row_of
from gateway.http.chunked import Chunked
from gateway.http.search import MOST_AT_ONCE, MOST_EXPORTS, Export
from gateway.http.streams import Outflow
from gateway.http.table.messages import Filters, MessageRow
from gateway.searching import SearchUnavailable
from router.roles import Role
from store.search import Hit, Page, Query
from tests.gateway.house import START_MS, Running, carrier, route, running, simulator
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim")
ONE_RUNS = ONE + simulator("sim", 2776)


async def found(house: Running, query: str = "", *, key: str | None = None) -> list[dict[str, Any]]:
    status, answer = await house.http("GET", f"/v1/messages{query}", key=key)
    assert status == 200, answer
    return list(answer["messages"])


async def ids(house: Running, query: str = "", *, key: str | None = None) -> list[str]:
    return [one["id"] for one in await found(house, query, key=key)]


@trio_test(mock_clock=True)
async def test_messages_are_found_before_and_after_they_are_indexed(tmp_path: Path) -> None:
    async with running(tmp_path, ONE_RUNS) as house:
        await house.bound()
        first = await house.submit("447700900123", client_ref="order-1", tags=["a", "b"])
        second = await house.submit("447700900999", client_ref="order-2", tags=["b"])
        for _ in range(2):
            assert await ids(house) == [second, first]
            assert await ids(house, "?to=447700900123") == [first]
            assert await ids(house, "?tag=b") == [second, first]
            assert await ids(house, "?tag=a") == [first]
            assert await ids(house, "?client_ref=order-2") == [second]
            assert await ids(house, "?from=12345&limit=1") == [second]
            assert await ids(house, "?from=nobody") == []
            await house.final(first)
            await house.final(second)
            await house.until(lambda: house.gateway.searching.lag_s() < 1)
        assert await ids(house, "?state=delivered,expired") == [second, first]
        assert await ids(house, "?state=expired") == []
        assert await ids(house, "?since=2h&until=2200-01-01T00:00:00Z") == [second, first]
        assert await ids(house, "?until=2h") == []


@trio_test(mock_clock=True)
async def test_a_row_is_what_the_message_says_of_itself_without_its_text(tmp_path: Path) -> None:
    async with running(tmp_path, ONE_RUNS) as house:
        id = await house.submit("447700900123", "a secret", client_ref="order-1", tags=["a"])
        whole = await house.final(id)
        (row,) = await found(house)
        assert {name: whole.get(name) for name in row if name != "carriers"} == {
            name: value for name, value in row.items() if name != "carriers"
        }
        assert row["carriers"] == ["sim"]
        assert "text" not in row
        assert set(row) <= set(MessageRow.__struct_encode_fields__)


@pytest.mark.parametrize("number", ["+44 7700 900123", "00447700900123", "07700900123", "447700900123"])
@trio_test(mock_clock=True)
async def test_a_number_is_taken_in_any_usual_form(tmp_path: Path, number: str) -> None:
    async with running(tmp_path, ONE, default_region="GB") as house:
        id = await house.submit("447700900123")
        assert await ids(house, f"?to={quote(number)}") == [id]


@trio_test(mock_clock=True)
async def test_pages_follow_each_other_and_end(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        sent = [await house.submit("447700900123", tags=["a"]) for _ in range(5)]
        path, seen = "/v1/messages?limit=2&tag=a", []
        pages = 0
        while path:
            status, answer = await house.http("GET", path)
            assert status == 200
            assert answer["complete"]
            seen += [one["id"] for one in answer["messages"]]
            pages += 1
            if pages == 1:
                await house.submit("447700900123", tags=["a"])  # what comes meanwhile moves nothing
                following = answer["next"]
            path = answer["next"]
        assert pages == 3
        assert seen == sent[::-1]
        status, answer = await house.http("GET", following.replace("tag=a", "tag=b"))
        assert status == 422
        assert answer["errors"][0]["field"] == "cursor"


@trio_test(mock_clock=True)
async def test_the_next_page_is_in_the_header_link_too(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        for _ in range(2):
            await house.submit("447700900123")
        stream = await house.world.connect("127.0.0.1", house.http_port)
        async with stream:
            ask = f"GET /v1/messages?limit=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {house.key}\r\n"
            await stream.send_all(f"{ask}Connection: close\r\n\r\n".encode())
            answer = b"".join([part async for part in stream]).decode()
        link = next(line for line in answer.split("\r\n") if line.startswith("Link: "))
        assert link.startswith("Link: </v1/messages?limit=1&cursor=")
        assert link.endswith('>; rel="next"')


@trio_test(mock_clock=True)
async def test_an_account_finds_its_own_and_an_operator_everybodys(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        _, other = await house.gateway.accounts.create("other", START_MS)
        mine = await house.submit("447700900123")
        status, answer = await house.http(
            "POST", "/v1/messages", {"to": "447700900123", "from": "12345", "text": "x"}, key=other
        )
        assert status == 202
        theirs = answer["id"]
        _, owner = await house.gateway.operators.create("ann")
        assert await ids(house) == [mine]
        assert await ids(house, "?account=acme") == [mine]
        assert await ids(house, key=other) == [theirs]
        assert await ids(house, "?to=447700900123", key=owner) == [theirs, mine]
        assert await ids(house, "?account=acme", key=owner) == [mine]
        assert await ids(house, "?account=acme,other", key=owner) == [theirs, mine]
        assert [one["account"] for one in await found(house, key=owner)] == ["other", "acme"]
        assert "account" not in (await found(house))[0]
        for key, name in ((house.key, "other"), (house.key, "nobody"), (owner, "nobody")):
            status, answer = await house.http("GET", f"/v1/messages?account={name}", key=key)
            assert (status, answer["type"]) == (404, "urn:signalbox:problem:no-such-account")
        status, _ = await house.http("GET", "/v1/messages", key="")
        assert status == 401


@trio_test(mock_clock=True)
async def test_whoever_may_not_see_numbers_sees_them_masked_and_searches_for_none(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await house.submit("447700900123", client_ref="order-1")
        _, auditor = await house.gateway.operators.create("ann", role=Role.AUDITOR)
        _, support = await house.gateway.operators.create("bob", role=Role.SUPPORT)
        (row,) = await found(house, "?client_ref=order-1", key=auditor)
        assert (row["to"], row["from"]) == ("4477*****123", "*****")
        for query in ("?to=447700900123", "?from=12345", "?from=12345)", "?from=%2B447700900123-"):
            status, answer = await house.http("GET", f"/v1/messages{query}", key=auditor)
            assert (status, answer["type"]) == (403, "urn:signalbox:problem:scope-needed")
        (row,) = await found(house, "?to=447700900123", key=support)
        assert row["to"] == "447700900123"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?too=1", "too"),
        ("?to=1&to=2", "to"),
        ("?to=letters", "to"),
        ("?to=%2B999123456", "to"),
        ("?state=lost", "state"),
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?limit=many", "limit"),
        ("?since=yesterday", "since"),
        ("?until=2026-01-01T00:00:00", "until"),
        ("?cursor=abc", "cursor"),
        ("?cursor=%F0%9F%98%80", "cursor"),
        ("?client_ref=" + "x" * 65, "client_ref"),
        ("?tag=%ff", "query"),
        ("?" + "&".join(f"a{n}=1" for n in range(60)), "query"),
    ],
)
@trio_test(mock_clock=True)
async def test_a_question_that_cannot_be_taken_is_named(tmp_path: Path, query: str, field: str) -> None:
    async with running(tmp_path, ONE) as house:
        status, answer = await house.http("GET", f"/v1/messages{query}")
        assert status == 422, answer
        assert field in [error["field"] for error in answer["errors"]]


class Slow:
    """A searcher that answers when it is told."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.indexed_until_ms = 0
        self.problem = ""

    def start_soon(self, work: Callable[[], Awaitable[None]]) -> None:
        raise SearchUnavailable(self.problem)

    async def find(self, query: Query) -> Page:
        await self.go.wait()
        if self.problem:
            raise SearchUnavailable(self.problem)
        return Page([], 0, False, 0)


@trio_test(mock_clock=True)
async def test_nobody_keeps_all_searches_for_himself(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        slow = Slow()
        house.gateway.search_api._searcher = slow
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await house.http("GET", "/v1/messages"))[0])

        async with trio.open_nursery() as nursery:
            for _ in range(MOST_AT_ONCE):
                nursery.start_soon(ask)
            await trio.sleep(1)
            status, answer = await house.http("GET", "/v1/messages")
            assert (status, answer["type"]) == (429, "urn:signalbox:problem:too-many-questions")
            slow.go.set()
        assert statuses == [200] * MOST_AT_ONCE
        slow.problem = "the search process is being started"
        status, answer = await house.http("GET", "/v1/messages")
        assert (status, answer["type"]) == (503, "urn:signalbox:problem:search-unavailable")


def test_a_cursor_goes_on_with_the_same_question_only() -> None:
    page = Page([], 77, False, 1)
    query = query_of(Filters(to="+447700900123", since="2h"), 9, "", START_MS, "", {})
    cursor = cursor_of(query, page)
    again = query_of(Filters(to="00447700900123", since="2h"), 9, cursor, START_MS + 9_000, "", {})
    assert again.before == 77
    with pytest.raises(WishProblem):
        query_of(Filters(to="+447700900124"), 9, cursor, START_MS, "", {})
    assert cursor_of(query, Page([], 0, False, 1)) == ""


# CSV


def a_hit(client_ref: str = "", tags: tuple[str, ...] = ()) -> Hit:
    return Hit(
        1, 1, START_MS, "Shop", "447700900123", 0, 1, 1, 0, "r", client_ref, tags, 2, 0, 0, "", 1, 0, 0, ()
    )  # fmt: skip


async def exported(house: Running, query: str = "", *, key: str | None = None) -> list[dict[str, str]]:
    stream = await house.world.connect("127.0.0.1", house.http_port)
    async with stream:
        await stream.send_all(ask_for_csv(house, query, key))
        answer = b"".join([part async for part in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer
    assert b"Content-Type: text/csv; charset=utf-8" in head
    chunked = Chunked(1 << 30)
    assert chunked.feed(body) == len(body)
    return list(csv.DictReader(io.StringIO(chunked.body.decode(), newline="")))


def ask_for_csv(house: Running, query: str, key: str | None = None) -> bytes:
    return (
        f"GET /v1/messages/export.csv{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Authorization: Bearer {key or house.key}\r\n\r\n"
    ).encode()


@trio_test(mock_clock=True)
async def test_an_export_has_what_the_pages_have(tmp_path: Path) -> None:
    async with running(tmp_path, ONE_RUNS) as house:
        for place in range(5):
            id = await house.submit(
                "447700900123", tags=["a", "b"] if place % 2 else [], client_ref=str(place)
            )
        await house.final(id)
        rows = await exported(house)
        listed = await found(house)
        assert [row["id"] for row in rows] == [one["id"] for one in listed]
        assert list(rows[0]) == list(COLUMNS)
        for row, one in zip(rows, listed, strict=True):
            assert row["account"] == "acme"
            for name in ("accepted_at", "from", "to", "state", "phase", "class", "route", "client_ref"):
                assert row[name] == one[name]
            assert row["tags"] == " ".join(one.get("tags", []))
        assert [row["client_ref"] for row in await exported(house, "?tag=b")] == ["3", "1"]
        assert [row["client_ref"] for row in await exported(house, "?limit=2")] == ["4", "3"]
        assert await exported(house, "?tag=none") == []
        status, answer = await house.http("GET", "/v1/messages/export.csv?tag=b&cursor=1")
        assert (status, answer["errors"][0]["field"]) == (422, "cursor")
        status, _ = await house.http("GET", "/v1/messages/export.csv", key="")
        assert status == 401


@trio_test(mock_clock=True)
async def test_an_export_of_an_operator_has_numbers_only_for_whom_may_see_them(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await house.submit("447700900123")
        _, auditor = await house.gateway.operators.create("ann", role=Role.AUDITOR)
        (row,) = await exported(house, key=auditor)
        assert (row["to"], row["account"]) == ("4477*****123", "acme")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(text: str) -> None:
    line = csv_line(row_of(a_hit(text, (text, 'a "b", c\n')), str))
    assert line.endswith("\r\n")
    (row,) = csv.reader(io.StringIO(line, newline=""))
    assert len(row) == len(COLUMNS)
    assert row[COLUMNS.index("client_ref")] == "'" + text
    assert row[COLUMNS.index("tags")] == "'" + text + ' a "b", c\n'


class Endless:
    """A searcher with more pages than anybody takes; it breaks after `most` of them."""

    indexed_until_ms = 0

    def __init__(self, house: Running, most: int = 1 << 30) -> None:
        self._searching = house.gateway.searching
        self.pages = 0
        self._most = most

    def start_soon(self, work: Callable[[], Awaitable[None]]) -> None:
        self._searching.start_soon(work)

    async def find(self, query: Query) -> Page:
        await trio.lowlevel.checkpoint()
        if self.pages >= self._most:
            raise SearchUnavailable("it is gone")
        self.pages += 1
        return Page([a_hit()] * query.limit, query.before - 1, False, 0)


class Reader:
    """What an export writes to: `take` is its reader taking what there is."""

    def __init__(self) -> None:
        self.head = b"HTTP/1.1 200 OK\r\n\r\n"
        self.out = Outflow(lambda: self.head, True, lambda: None)
        self.export = Export(self.out, Query(limit=1_000), 1_000_000)

    def take(self) -> None:
        self.out.taken()
        self.export.ready()


@trio_test(mock_clock=True)
async def test_an_export_goes_no_faster_than_its_reader_and_ends_with_it(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        endless, reader = Endless(house), Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.export.write, endless.find, lambda hit: "x" * 100)
            await trio.sleep(60)
            assert endless.pages == 1
            for pages in range(2, 10):
                reader.take()
                await trio.sleep(60)
                assert endless.pages == pages
            for _ in range(10):
                reader.export.ready()  # there is room, and answers before it are not written yet
                await trio.sleep(60)
            assert endless.pages < 15
            reader.out.gone = True
        assert endless.pages < 15
        assert not reader.out.finished


@trio_test(mock_clock=True)
async def test_an_export_that_cannot_go_on_is_cut_off_and_not_ended(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        house.gateway.search_api._searcher = Endless(house, most=3)
        stream = await house.world.connect("127.0.0.1", house.http_port)
        await stream.send_all(ask_for_csv(house, ""))
        got = bytearray()
        with suppress(trio.BrokenResourceError):
            async for part in stream:
                got += part
        chunked = Chunked(1 << 30)
        assert chunked.feed(bytes(got).partition(b"\r\n\r\n")[2]) < 0
        assert chunked.body.count(b"\r\n") == 3_001


@trio_test(mock_clock=True)
async def test_nobody_keeps_all_exports_for_himself(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        slow = Slow()
        slow.start_soon = house.gateway.searching.start_soon  # type: ignore[method-assign]
        house.gateway.search_api._searcher = slow
        streams = []
        for _ in range(MOST_EXPORTS):
            streams.append(await house.world.connect("127.0.0.1", house.http_port))
            await streams[-1].send_all(ask_for_csv(house, ""))
        await trio.sleep(1)
        status, answer = await house.http("GET", "/v1/messages/export.csv")
        assert (status, answer["type"]) == (429, "urn:signalbox:problem:too-many-questions")
        for stream in streams:
            await stream.aclose()
        slow.go.set()
        await house.until(lambda: not house.gateway.search_api._asking)
        slow.start_soon = Slow().start_soon  # type: ignore[method-assign]
        status, answer = await house.http("GET", "/v1/messages/export.csv")
        assert (status, answer["type"]) == (503, "urn:signalbox:problem:search-unavailable")


def test_a_hit_has_every_field_that_a_row_shows() -> None:
    assert "text" not in Hit.__struct_fields__
    assert "data" not in Hit.__struct_fields__
