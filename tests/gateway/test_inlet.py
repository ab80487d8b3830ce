"""The reading side of a stream: as trio's own, whatever the stream is."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trio
import trio.testing

from gateway.inlet import Inlet
from tests.trio_case import trio_test

Read = Callable[[trio.SocketStream], "Inlet | trio.SocketStream"]
READERS: list[Read] = [Inlet, lambda stream: stream]


def pair() -> tuple[socket.socket, trio.SocketStream]:
    """Two ends over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    near.setblocking(False)
    return far, trio.SocketStream(trio.socket.from_stdlib_socket(near))


@pytest.mark.parametrize("reader", READERS)
@trio_test
async def test_what_is_there_and_what_comes_later_is_read_up_to_the_end(reader: Read) -> None:
    far, stream = pair()
    inlet = reader(stream)
    far.sendall(b"one")
    assert await inlet.receive_some(2) == b"on"
    assert await inlet.receive_some(2) == b"e"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sent_later, far)
        assert await inlet.receive_some(100) == b"later"
    far.close()
    assert await inlet.receive_some(100) == b""
    await stream.aclose()


async def sent_later(far: socket.socket) -> None:
    await trio.testing.wait_all_tasks_blocked()
    far.sendall(b"later")


@pytest.mark.parametrize("reader", READERS)
@trio_test
async def test_a_read_lets_others_run_and_can_be_cancelled(reader: Read) -> None:
    far, stream = pair()
    inlet = reader(stream)
    far.sendall(b"there")
    with trio.testing.assert_checkpoints():
        assert await inlet.receive_some(5) == b"there"
    with trio.CancelScope() as scope:
        scope.cancel()
        far.sendall(b"not lost")
        await inlet.receive_some(100)
    assert scope.cancelled_caught
    assert await inlet.receive_some(100) == b"not lost"
    far.close()
    await stream.aclose()


@pytest.mark.parametrize("reader", READERS)
@trio_test
async def test_a_broken_and_a_closed_stream_are_told_apart(reader: Read) -> None:
    far, stream = pair()
    inlet = reader(stream)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()  # with a reset
    with pytest.raises(trio.BrokenResourceError) as broken:
        await inlet.receive_some(100)
    assert isinstance(broken.value.__cause__, ConnectionResetError)
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await inlet.receive_some(100)


@pytest.mark.parametrize("reader", READERS)
@trio_test
async def test_who_waits_is_told_that_the_stream_was_closed(reader: Read) -> None:
    far, stream = pair()
    inlet = reader(stream)
    with far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closed_later, stream)
            with pytest.raises(trio.ClosedResourceError):
                await inlet.receive_some(100)


async def closed_later(stream: trio.SocketStream) -> None:
    await trio.testing.wait_all_tasks_blocked()
    await stream.aclose()


@trio_test
async def test_any_other_stream_is_read_as_it_is() -> None:
    one, other = trio.testing.memory_stream_pair()
    await one.send_all(b"there")
    assert await Inlet(other).receive_some(100) == b"there"
