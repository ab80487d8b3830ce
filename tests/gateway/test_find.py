"""`message.find` on a running gateway: what became of the messages to a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.admin import AdminError
from tests.gateway.house import Running, carrier, route, running, simulator
from tests.trio_case import trio_test


async def find(house: Running, to: str, **args: object) -> list[dict[str, Any]]:
    answer: Any = await house.gateway.verbs.table()["message.find"]({"to": to, **args})
    assert answer["complete"]
    return list(answer["messages"])


@trio_test(mock_clock=True)
async def test_a_message_is_found_by_its_number_while_it_waits_and_when_it_was_sent(tmp_path: Path) -> None:
    async with running(tmp_path, carrier("sim", 2776) + route("sim") + simulator("sim", 2776)) as house:
        sent = await house.submit("447700900123")
        await house.until(lambda: house.gateway.carriers[0].able())
        await house.final(sent)
        waiting = await house.submit("447700900123", send_at="2026-09-22T14:13:00Z")
        await house.submit("447700900999")
        newest, oldest = await find(house, "+44 7700 900123")
        assert (newest["id"], newest["phase"]) == (waiting, "scheduled")
        assert (oldest["id"], oldest["state"], oldest["carriers"]) == (sent, "DELIVERED", ["sim"])
        assert oldest["account"] == "acme"
        assert "text" not in oldest
        assert [one["id"] for one in await find(house, "447700900123", limit=1)] == [waiting]
        await trio.sleep(5)
        assert await find(house, "447700900123", since_s=1.0, account="acme") == []
        with pytest.raises(AdminError):
            await find(house, "447700900123", account="nobody")
        with pytest.raises(AdminError):
            await find(house, "+")
