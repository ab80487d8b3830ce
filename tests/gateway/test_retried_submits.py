"""Submits that are sent again with their Idempotency-Key, over crashes, restarts and days."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.gateway import house as at
from tests.gateway.house import NUMBER, MemoryWorld, Running, running
from tests.trio_case import trio_test

QUIET = """
[[carriers]]
name = "north"
host = "127.0.0.1"
port = 2790
system_id = "u"
password = "p"
[[routes]]
name = "default"
lane = ["north"]
"""
MESSAGE = {"to": "447700900123", "from": NUMBER, "text": "Hello"}


async def post(house: Running, key: str, body: object, path: str = "/v1/messages") -> tuple[int, Any]:
    payload = json.dumps(body).encode()
    stream = await house.world.connect("127.0.0.1", house.http_port)
    async with stream:
        await stream.send_all(
            f"POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nIdempotency-Key: {key}\r\n"
            f"Authorization: Bearer {house.key}\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
            + payload
        )
        answer = b"".join([part async for part in stream])
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(rest)


@trio_test(mock_clock=True)
async def test_after_a_crash_a_retry_gets_the_ids_of_the_first_and_sends_nothing(ram_path: Path) -> None:
    """The second gateway runs on the files as they were a moment after the answer."""
    before, after = ram_path / "before", ram_path / "after"
    before.mkdir()
    after.mkdir()
    batch = [MESSAGE, {"to": "1", "from": NUMBER, "text": "no number"}, MESSAGE]
    async with running(before, QUIET) as house:
        single = await post(house, "one", MESSAGE)
        several = await post(house, "two", batch, "/v1/messages/batch")
        shutil.copytree(before / "var", after / "var", ignore=shutil.ignore_patterns("*.sock", "owner.lock"))
    async with running(after, QUIET, MemoryWorld()) as house:
        accepted = house.gateway.store.totals().accepted
        assert await post(house, "one", MESSAGE) == single
        assert await post(house, "two", batch, "/v1/messages/batch") == several
        assert house.gateway.store.totals().accepted == accepted == 3
        assert (await post(house, "one", {**MESSAGE, "text": "Other"}))[0] == 422


@trio_test(mock_clock=True)
async def test_for_a_day_and_then_the_key_is_free(ram_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(ram_path, QUIET) as house:
        first = await post(house, "one", MESSAGE)
        monkeypatch.setattr(at, "START_MS", at.START_MS + 86_340_000)  # the wall clock alone
        assert await post(house, "one", MESSAGE) == first
        await trio.sleep(120)
        status, answer = await post(house, "one", MESSAGE)
        assert (status, answer["id"] != first[1]["id"]) == (202, True)
        await trio.sleep(10)
        with house.gateway.store.reading() as tx:
            tables = house.gateway.store.tables
            rows = [tx.stat(table.handle)["entries"] for table in (tables.once, tables.once_time)]
        assert rows == [1, 1]


@trio_test(mock_clock=True)
async def test_a_repetition_that_the_guard_knows_is_remembered_too(ram_path: Path) -> None:
    """After the guard's seconds the retry would be a new message."""
    async with running(ram_path, QUIET, duplicate_guard_s=60) as house:
        first = await post(house, "one", MESSAGE)
        again = await post(house, "two", MESSAGE)
        assert again == first
        await trio.sleep(120)
        assert await post(house, "two", MESSAGE) == first
        assert house.gateway.store.totals().accepted == 1
