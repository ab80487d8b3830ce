"""Our own listeners: one in use is named; callbacks reach none of them, nor the network inside."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio

from gateway.callbacks.guard import Refused
from gateway.cli.failure import FAILED
from gateway.cli.run import failure_of, only_leaf
from tests.gateway.house import MemoryWorld, running
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


class Occupied(MemoryWorld):
    """Somebody else has one port."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.taken = port

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
        if port == self.taken:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return await super().listen(host, port)


@pytest.mark.parametrize(
    ("port", "key"),
    [
        (8080, "[http] listen"),
        (2775, "[smpp] listen"),
        (2790, "[[simulators]] sim"),
        (2799, "[[carriers]] sim outbind_listen"),
    ],
)
@trio_test(mock_clock=True)
async def test_an_address_in_use_is_named_with_its_place_in_the_configuration(
    tmp_path: Path, port: int, key: str
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with running(tmp_path, EVERY_LISTENER, Occupied(port)):
            await trio.sleep(1)
    failure = failure_of(only_leaf(caught.value))
    assert failure is not None
    assert failure.exit_code == FAILED
    assert failure.message == f"cannot start: Address already in use (127.0.0.1:{port}, {key})"
