"""The carrier side against an SMSC that nobody here wrote: npm's smpp package, in a process of its own.

Submit, response, receipt as text and as TLV, MO matched back, enquire_link, unbind, cut. Needs node and
`npm ci` in this folder (.ci/run does it); skipped without them unless CI is set.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from config.load import parse
from gateway.app import Gateway, store_options
from gateway.door import Accepted, Refusal, Submission
from gateway.world import RealWorld
from gateway.writer import SplitWriter
from router.nouns import MessageState
from store.lmdb_store import LmdbStore
from tests.interop.house import free_port
from tests.trio_case import trio_test

HERE = Path(__file__).resolve().parent
HAVE_NODE = shutil.which("node") is not None and (HERE / "node_modules" / "smpp").is_dir()
pytestmark = pytest.mark.skipif(
    not HAVE_NODE and not os.environ.get("CI"), reason="needs node and npm ci in tests/interop"
)
CONFIG = """
[gateway]
data_dir = "{path}"
[http]
listen = ["127.0.0.1:{http}"]
[store]
min_free_disk_mb = 0
[[carriers]]
name = "node"
host = "127.0.0.1"
port = {port}
system_id = "signalbox"
password = "secret"
enquire_link_s = 0.2
reconnect_min_s = 0.1
reconnect_max_s = 1
unbind_pause_s = 0.05
[[routes]]
name = "default"
lane = ["node"]
"""


class Peer:
    """The node process: what it said, and what it is told."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.said: list[str] = []
        self._news = trio.Event()

    async def listen(self) -> None:
        rest = b""
        assert self._process.stdout is not None
        async for data in self._process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            self.said += [line.decode() for line in lines]
            self._news.set()
            self._news = trio.Event()

    async def until(self, word: str, times: int = 1) -> None:
        while sum(line.startswith(word) for line in self.said) < times:
            await self._news.wait()

    async def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line.encode() + b"\n")


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[Gateway, Peer]]:
    """A gateway bound to the foreign SMSC; ends with a polite stop."""
    assert HAVE_NODE, "CI is set, but node or tests/interop/node_modules is missing"
    port = free_port()
    config = parse(CONFIG.format(path=path, http=free_port(), port=port), path / "gateway.toml")
    world = RealWorld()
    world.rng = random.Random(1)
    store = LmdbStore(path / "store", store_options(config, world.wall_ms))
    process: trio.Process | None = None
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                process = await trio.lowlevel.open_process(
                    ["node", "server.js", str(port)], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                peer = Peer(process)
                nursery.start_soon(peer.listen)
                await peer.until("listening")
                gateway = Gateway(config, store, SplitWriter(store), world)
                await nursery.start(gateway.run)
                await gateway.accounts.create("shop", world.wall_ms(), numbers=("12345",))
                await peer.until("bound")
                yield gateway, peer
                gateway.stop()
                await gateway.finished.wait()
                nursery.cancel_scope.cancel()
    finally:
        store.close()
        if process is not None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        await pipe.aclose()


async def submit(gateway: Gateway, text: str) -> int:
    answered: list[Accepted | Refusal] = []
    done = trio.Event()

    def answer(results: list[Accepted | Refusal]) -> None:
        answered.extend(results)
        done.set()

    request = Submission("+447700900123", "12345", text)
    gateway.door.submit(gateway.accounts.named("shop"), [request], answer)
    await done.wait()
    assert isinstance(answered[0], Accepted), answered[0]
    return answered[0].id


async def commits_until(gateway: Gateway, holds: Callable[[], bool]) -> None:
    """Look after each commit."""
    news = trio.Event()
    hook = news.set
    while not holds():
        news = trio.Event()
        hook = news.set
        gateway.committer.on_commit.append(hook)
        if not holds():
            await news.wait()
        gateway.committer.on_commit.remove(hook)


def delivered(gateway: Gateway, id: int) -> bool:
    found = gateway.store.find_any(id)
    return found is not None and found[1].state == MessageState.DELIVERED


@trio_test
async def test_receipts_come_back_as_text_and_as_tlv(tmp_path: Path) -> None:
    async with connected(tmp_path) as (gateway, peer):
        for text in ("first", "second"):
            id = await submit(gateway, text)
            await commits_until(gateway, lambda id=id: delivered(gateway, id))  # type: ignore[misc]
        await peer.until("acked", 2)
        assert [line for line in peer.said if line.startswith("submit")] == [
            'submit 447700900123 "first"',
            'submit 447700900123 "second"',
        ]


@trio_test
async def test_an_mo_is_stored_and_matched_to_what_it_answers(tmp_path: Path) -> None:
    async with connected(tmp_path) as (gateway, peer):
        id = await submit(gateway, "question?")
        await commits_until(gateway, lambda: delivered(gateway, id))
        await peer.tell("mo 447700900123 12345 Yes please")
        await peer.until("mo 0")
        (message,) = gateway.store.inbox(gateway.accounts.named("shop").id)
        assert (message.text, message.in_reply_to) == ("Yes please", id)


@trio_test
async def test_enquire_link_unbind_and_a_cut_are_survived(tmp_path: Path) -> None:
    async with connected(tmp_path) as (gateway, peer):
        await peer.until("enquire_link", 2)
        await peer.tell("unbind")
        await peer.until("bound", 2)
        await peer.tell("cut")
        await peer.until("bound", 3)
        id = await submit(gateway, "after all that")
        await commits_until(gateway, lambda: delivered(gateway, id))
    assert any(line == "unbind" for line in peer.said)
