"""`message.list` on a running gateway and on a stopped one: what became of the messages that fit."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gateway.admin import AdminError
from gateway.cli import root
from gateway.cli.failure import OK
from tests.gateway.house import Running, carrier, route, running, simulator
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim") + simulator("sim", 2776)


async def find(house: Running, **args: object) -> list[dict[str, Any]]:
    answer: Any = await house.gateway.verbs.table()["message.list"](args)
    assert answer["complete"]
    return [msgspec.to_builtins(row) for row in answer["messages"]]


@trio_test(mock_clock=True)
async def test_a_message_is_found_by_its_number_while_it_waits_and_when_it_was_sent(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        sent = await house.submit("447700900123")
        await house.until(lambda: house.gateway.carriers[0].able())
        await house.final(sent)
        waiting = await house.submit("447700900123", send_at="2026-09-22T14:13:00Z")
        await house.submit("447700900999")
        newest, oldest = await find(house, to="+44 7700 900123")
        assert (newest["id"], newest["phase"]) == (waiting, "scheduled")
        assert (oldest["id"], oldest["state"], oldest["carriers"]) == (sent, "DELIVERED", ["sim"])
        assert oldest["account"] == "acme"
        assert "text" not in oldest
        assert [one["id"] for one in await find(house, to="447700900123", limit=1)] == [waiting]
        assert [one["id"] for one in await find(house, state="delivered")] == [sent]
        await trio.sleep(5)
        assert await find(house, to="447700900123", since="1s", account="acme") == []
        with pytest.raises(AdminError):
            await find(house, account="nobody")
        with pytest.raises(AdminError):
            await find(house, to="+")


def test_messages_of_a_stopped_gateway_are_listed_and_exported(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sent: list[str] = []

    @trio_test(mock_clock=True)
    async def some_messages() -> None:
        async with running(tmp_path, ONE) as house:
            sent.extend([await house.submit("447700900123", client_ref=ref) for ref in ("=1", "b", "c")])

    some_messages()
    config = ["--config", str(tmp_path / "gateway.toml")]
    assert root.run(["message", "list", "--to", "+447700900123", "--limit", "2", *config]) == OK
    out = capfdbinary.readouterr().out.decode()
    assert sent[2] in out
    assert sent[0] not in out
    assert "There may be more" in out
    assert root.run(["message", "find", "--account", "acme", "--csv", *config]) == OK
    out = capfdbinary.readouterr().out.decode()
    assert out.count("\r\n") == 4
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["id"] for row in rows] == sent[::-1]
    assert rows[2]["client_ref"] == "'=1"
