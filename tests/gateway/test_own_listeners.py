"""Which sockets are the gateway's own: a callback reaches none of them."""

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
