"""API7:2023 Server side request forgery: no URL of a customer makes the gateway call its own network.

Every form of an address is test_guard.py's; here is what a customer can do with a key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.gateway.house import MemoryWorld
from tests.security.house import MESSAGE, staffed
from tests.trio_case import trio_test

INWARD = [
    "http://127.0.0.1/", "http://localhost.:8080/", "http://10.1.2.3/", "http://192.168.1.1/", "http://[::1]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::10.0.0.1]/", "http://2130706433/",
    "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://127.1/", "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://0.0.0.0/", "http://100.64.0.1/", "http://１２７.0.0.1/",
    "file:///etc/passwd", "gopher://127.0.0.1:25/", "ftp://127.0.0.1/", "http://user:pw@127.0.0.1/",
    "http://a.example@127.0.0.1/", "http://a.example\\@127.0.0.1/",
]  # fmt: skip


@pytest.mark.parametrize("url", INWARD)
@trio_test(mock_clock=True)
async def test_a_callback_url_that_leads_inward_is_refused_or_never_called(tmp_path: Path, url: str) -> None:
    async with staffed(tmp_path) as home:
        await home.house.gateway.accounts.update("rival", private_callbacks=False)
        answer = await home.ask("rival", "POST", "/v1/messages", {**MESSAGE, "callback_url": url})
        if answer.status == 202:  # a name: judged by what it resolves to, when it is called
            assert "localhost" in url
        else:
            assert (answer.status, answer.code) == (422, "bad-callback-url"), answer.raw


@pytest.mark.parametrize(
    "addresses", [["10.0.0.7"], ["93.184.216.34", "127.0.0.1"], ["::ffff:169.254.169.254"]]
)
@trio_test(mock_clock=True)
async def test_a_name_that_resolves_inward_is_not_connected_to(
    tmp_path: Path, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staffed(tmp_path) as home:
        world, dialled = home.house.world, []
        connect = world.connect

        async def resolve(host: str, port: int) -> list[str]:
            await trio.lowlevel.checkpoint()
            return addresses

        async def noted(host: str, port: int, **more: Any) -> trio.abc.Stream:
            dialled.append(host)
            return await connect(host, port, **more)

        await home.house.gateway.accounts.update(
            "rival", private_callbacks=False, callback_url="http://inward.example/hook"
        )
        monkeypatch.setattr(world, "resolve", resolve)
        monkeypatch.setattr(world, "connect", noted)
        answer = await home.ask("rival", "POST", "/v1/callbacks/test", {"kind": "receipt"})
        assert answer.status in (200, 409, 422), answer.raw
        await trio.sleep(5)
        assert set(dialled) <= {"127.0.0.1"}  # our own requests, to the gateway
        assert dialled.count("127.0.0.1") == 1


@trio_test(mock_clock=True)
async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        house = home.house
        house.customer.answer = (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:8080/v1/keys\r\nContent-Length: 0\r\n\r\n"
        )
        assert isinstance(house.world, MemoryWorld)
        before = len(house.world.dialled[8080])
        posts = len(house.customer.posts)
        await home.ask("account", "POST", "/v1/callbacks/test", {"kind": "receipt"})
        await house.until(lambda: len(house.customer.posts) > posts)
        await trio.sleep(5)
        assert len(house.world.dialled[8080]) == before + 1, "somebody else than us asked the gateway"
