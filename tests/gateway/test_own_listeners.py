"""Where a callback may not go is told when it is asked for: our own sockets, addresses of the inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.callbacks.guard import Refused
from tests.gateway.house import running
from tests.trio_case import trio_test

EVERY_LISTENER = """
[smpp]
listen = ["127.0.0.1:2775"]

[[simulators]]
name = "sim"
listen = "127.0.0.1:2790"
system_id = "sim"
password = "simpass"

[[carriers]]
name = "sim"
host = "127.0.0.1"
port = 2790
system_id = "sim"
password = "simpass"
outbind_listen = "127.0.0.1:2799"

[[routes]]
name = "all"
lane = ["sim"]
"""


@trio_test(mock_clock=True)
async def test_no_callback_reaches_a_listener_of_ours(tmp_path: Path) -> None:
    async with running(tmp_path, EVERY_LISTENER) as house:
        for port in (8080, 2775, 2790, 2799):
            with pytest.raises(Refused, match="one of the gateway's own listeners"):
                house.gateway.pump.guard.check(["127.0.0.1"], port, True)
        assert house.gateway.pump.guard.check(["127.0.0.1"], 9000, True) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("url", "allowed", "why"),
    [
        ("http://169.254.169.254/latest", True, "a link-local or metadata address is never called"),
        ("http://[fe80::1]/", True, "a link-local address is never called"),
        ("http://127.0.0.1:8080/", True, "this is one of the gateway's own listeners"),
        ("http://10.0.0.1/", False, "a loopback or private address is called only where the account allows"),
        ("http://[::ffff:10.0.0.1]/", False, "a loopback or private address is called only where the acc"),
        ("http://10.0.0.1/", True, ""),
        ("http://93.184.216.34/", False, ""),
        ("http://inside.example/", False, ""),  # a name is judged by what it resolves to when it is called
    ],
)
@trio_test(mock_clock=True)
async def test_a_callback_url_with_an_address_that_is_never_called_is_refused_at_the_door(
    tmp_path: Path, url: str, allowed: bool, why: str
) -> None:
    async with running(tmp_path, EVERY_LISTENER, private_callbacks=allowed) as house:
        message = {"to": "447700900123", "from": "447700900001", "text": "Hello", "callback_url": url}
        status, answer = await house.http("POST", "/v1/messages", message)
        assert isinstance(answer, dict)
        if why:
            assert (status, answer["type"]) == (422, "urn:signalbox:problem:bad-callback-url")
            assert why in str(answer["errors"])
        else:
            assert status == 202
