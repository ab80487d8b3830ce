"""The admin socket: every request gets one answer, nobody else may connect, a dead gateway is no obstacle."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from gateway import admin
from gateway.admin import AdminServer, Verb, typed
from gateway.admin_client import AdminAbsent, AdminBroken, AdminClient, AdminError
from store.interface import StoreFull
from tests.trio_case import trio_test


class Greeting(msgspec.Struct, forbid_unknown_fields=True):
    name: str


async def greet(wish: Greeting) -> object:
    return {"text": f"hello {wish.name}"}


async def refuse(args: dict[str, Any]) -> object:
    raise AdminError("not_found", "no such thing", "look elsewhere")


async def full(args: dict[str, Any]) -> object:
    raise StoreFull("the store is full", "free some disk")


async def stumble(args: dict[str, Any]) -> object:
    raise RuntimeError("secret inner detail")


async def hang(args: dict[str, Any]) -> object:
    await trio.sleep_forever()
    return None


VERBS: dict[str, Verb] = {
    "greet": typed(Greeting, greet),
    "refuse": refuse,
    "full": full,
    "stumble": stumble,
    "hang": hang,
}


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Path]:
    async with trio.open_nursery() as nursery:
        await nursery.start(AdminServer(path, VERBS, timeouts_s={"hang": 0.01}).serve)
        yield path
        nursery.cancel_scope.cancel()


async def ask(path: Path, verb: str, **args: Any) -> Any:
    return await trio.to_thread.run_sync(partial(AdminClient(path).call, verb, **args))


async def raw(path: Path, *pieces: bytes) -> list[dict[str, Any]]:
    """Send pieces as they are, close the sending side, return every answer."""
    stream = await trio.open_unix_socket(path)
    async with stream:
        for piece in pieces:
            await stream.send_all(piece)
        await stream.send_eof()
        answer = b"".join([data async for data in stream])
    return [json.loads(line) for line in answer.splitlines()]


@trio_test
async def test_a_verb_is_answered_with_its_result(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        assert await ask(path, "greet", name="Ada") == {"text": "hello Ada"}


@trio_test
async def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@trio_test
async def test_a_refusal_carries_code_message_and_hint(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        with pytest.raises(AdminError, match="no such thing") as refused:
            await ask(path, "refuse")
    assert (refused.value.code, refused.value.hint) == ("not_found", "look elsewhere")


@trio_test
async def test_a_store_error_keeps_its_hint(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        with pytest.raises(AdminError, match="full") as refused:
            await ask(path, "full")
    assert refused.value.hint == "free some disk"


@trio_test
async def test_an_unknown_verb_is_told_which_there_are(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        with pytest.raises(AdminError) as refused:
            await ask(path, "great")
    assert refused.value.code == "unknown_verb"
    assert "greet" in refused.value.hint


@pytest.mark.parametrize("args", [{}, {"name": 1}, {"name": "x", "extra": 1}])
@trio_test
async def test_wrong_arguments_name_the_field(tmp_path: Path, args: dict[str, object]) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        with pytest.raises(AdminError) as refused:
            await ask(path, "greet", **args)
    assert refused.value.code == "bad_arguments"


@trio_test
async def test_a_bug_in_a_verb_tells_the_caller_nothing_and_hurts_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        with pytest.raises(AdminError) as refused:
            await ask(path, "stumble")
        assert refused.value.code == "internal"
        assert "secret" not in refused.value.message + refused.value.hint
        assert await ask(path, "greet", name="Bo") == {"text": "hello Bo"}


@trio_test
async def test_a_verb_that_hangs_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        with pytest.raises(AdminError) as refused:
            await ask(path, "hang")
    assert refused.value.code == "timeout"


@trio_test
async def test_requests_on_one_connection_are_answered_in_order(tmp_path: Path) -> None:
    lines = b'{"verb":"greet","args":{"name":"a"}}\n{"verb":"refuse"}\n{"verb":"greet","args":{"name":"b"}}\n'
    async with serving(tmp_path / "admin.sock") as path:
        together = await raw(path, lines)
        byte_by_byte = await raw(path, *(lines[i : i + 1] for i in range(len(lines))))
    assert [answer["ok"] for answer in together] == [True, False, True]
    assert byte_by_byte == together


@pytest.mark.parametrize("line", [b"\n", b"GET / HTTP/1.1\r\n", b"[]\n", b'{"verb":1}\n', b"\xff\xfe\n"])
@trio_test
async def test_what_is_no_request_is_refused_and_the_connection_stays(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        first, second = await raw(path, line, b'{"verb":"greet","args":{"name":"a"}}\n')
    assert first["error"]["code"] == "bad_request"
    assert second["ok"] is True


@trio_test
async def test_an_endless_line_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "MAX_REQUEST", 100)
    async with serving(tmp_path / "admin.sock") as path:
        (answer,) = await raw(path, b"x" * 101)
    assert answer["error"]["code"] == "too_long"


@trio_test
async def test_more_connections_than_allowed_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "MAX_CONNECTIONS", 1)
    request = b'{"verb":"greet","args":{"name":"a"}}\n'
    async with serving(tmp_path / "admin.sock") as path:
        async with await trio.open_unix_socket(path) as first:
            await first.send_all(request)
            await first.receive_some()
            (answer,) = await raw(path)
            assert answer["error"]["code"] == "busy"
        await trio.testing.wait_all_tasks_blocked(0.01)
        (answer,) = await raw(path, request)
    assert answer["ok"] is True


@trio_test
async def test_a_caller_that_leaves_in_the_middle_hurts_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        stream = await trio.open_unix_socket(path)
        await stream.send_all(b'{"verb":"gre')
        await stream.aclose()
        assert await ask(path, "greet", name="Cy") == {"text": "hello Cy"}


@trio_test
async def test_the_socket_goes_with_its_server(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        assert path.exists()
    assert not path.exists()


@trio_test
async def test_what_a_dead_gateway_left_behind_is_replaced(tmp_path: Path) -> None:
    leave_stale_socket(tmp_path / "admin.sock")
    async with serving(tmp_path / "admin.sock") as path:
        assert await ask(path, "greet", name="Di") == {"text": "hello Di"}


@trio_test
async def test_a_second_gateway_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path / "admin.sock") as path:
        with pytest.raises(AdminError, match="another gateway"):
            admin.bind(path)
        assert await ask(path, "greet", name="Ed") == {"text": "hello Ed"}


def test_a_file_in_the_way_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(AdminError, match="no socket"):
        admin.bind(path)
    assert path.read_text() == "precious"


@trio_test
async def test_a_deep_data_directory_works(tmp_path: Path) -> None:
    async with serving(tmp_path / ("d" * 100) / ("e" * 100) / "admin.sock") as path:
        assert await ask(path, "greet", name="Fi") == {"text": "hello Fi"}


# the client, against answers no server of ours gives


def test_no_socket_means_no_gateway(tmp_path: Path) -> None:
    with pytest.raises(AdminAbsent):
        AdminClient(tmp_path / "admin.sock").call("ping")
    with pytest.raises(AdminAbsent):
        AdminClient(tmp_path / "nowhere" / ("x" * 120) / "admin.sock").call("ping")


def test_a_stale_socket_means_no_gateway(tmp_path: Path) -> None:
    leave_stale_socket(tmp_path / "admin.sock")
    with pytest.raises(AdminAbsent):
        AdminClient(tmp_path / "admin.sock").call("ping")


@pytest.mark.parametrize("answer", [b"", b"{", b'{"ok":true}\n', b'{"ok":false,"error":1}\n', b"[]\n"])
@trio_test
async def test_a_broken_answer_is_named_as_one(tmp_path: Path, answer: bytes) -> None:
    async with answering(tmp_path / "fake.sock", answer) as path:
        with pytest.raises(AdminBroken, match="ping"):
            await ask(path, "ping")


@trio_test
async def test_a_silent_gateway_is_given_up(tmp_path: Path) -> None:
    listening = admin.bind(tmp_path / "fake.sock")
    try:
        call: Callable[[], Any] = partial(AdminClient(tmp_path / "fake.sock", timeout_s=0.01).call, "ping")
        with pytest.raises(AdminBroken, match="did not answer"):
            await trio.to_thread.run_sync(call)
    finally:
        listening.close()


@asynccontextmanager
async def answering(path: Path, answer: bytes) -> AsyncIterator[Path]:
    """A socket that reads one request and answers these bytes."""

    async def converse(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if answer:
                await stream.send_all(answer)

    listener = trio.SocketListener(trio.socket.from_stdlib_socket(admin.bind(path)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, [listener])
        yield path
        nursery.cancel_scope.cancel()


def leave_stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
