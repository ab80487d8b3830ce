"""One Signalbox as the carrier of another: HTTP into the first, its carrier is the second's SMPP side.

    HTTP ──> first ──SMPP──> second ──SMPP──> simulated carrier
    callbacks <──            <──              receipts, MOs

Deliberately not here: what either does alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.interop.house import HANDSET, NUMBER, PASSWORD, House, Sink, house, post, until
from tests.trio_case import trio_test

FIRST = """
[gateway]
data_dir = "{directory}"
drain_timeout_s = {drain_timeout_s}
[http]
listen = ["127.0.0.1:{http}"]
[store]
min_free_disk_mb = 0
[callbacks]
retry_s = [0.2, 0.5, 1, 2, 5, 10]
[unknown]
resend_after_s = 1
[[carriers]]
name = "second"
host = "127.0.0.1"
port = {upstream}
system_id = "first"
password = "{password}"
window = {window}
sessions = {sessions}
interface_version = "{version}"
bind = "{bind}"
long_messages = "{long_messages}"
reconnect_min_s = 0.1
reconnect_max_s = 0.5
unbind_pause_s = 0.05
[carriers.retry]
first_s = 0.2
queue_full_pause_s = 0.2
throttled_pause_s = 0.05
[[routes]]
name = "default"
lane = ["second"]
"""
USUAL = {
    "password": PASSWORD,
    "window": 50,
    "sessions": 1,
    "version": "3.4",
    "bind": "transceiver",
    "long_messages": "udh8",
}
LONG = "".join(f"{number:03} the quick brown fox; " for number in range(17))
TEXTS = ("Grüße für 5 €: {@} [~]", "Привет, 世界 👋", LONG, "Я" * 150)


class Pair:
    """Both gateways, the web server of the first one's customer, and that customer's API key."""

    def __init__(self, first: House, second: House, sink: Sink, key: str) -> None:
        self.first = first
        self.second = second
        self.sink = sink
        self.key = key

    async def post(self, texts: list[str], to: str = HANDSET) -> list[str]:
        """Submit to the first over HTTP. Returns the ids."""
        batch = [{"to": to, "from": "ACME", "text": text} for text in texts]
        status, body = await post(self.first.http, "/v1/messages/batch", self.key, json.dumps(batch).encode())
        assert status == 200, body
        return [result["id"] for result in json.loads(body)["results"]]

    def events(self, kind: str) -> list[dict[str, Any]]:
        found = [json.loads(hit.body) for hit in self.sink.of("/events")]
        return [event["data"] for event in found if event["type"] == kind]

    async def delivered(self, ids: list[str]) -> None:
        """Each is told DELIVERED once, and nothing else is told."""
        await until(lambda: len(self.events("message.receipt")) >= len(ids), f"{len(ids)} callbacks")
        await until(lambda: not self.first.untold and not self.second.untold, "everything was told")
        states = Counter((event["message_id"], event["state"]) for event in self.events("message.receipt"))
        assert states == Counter((id, "DELIVERED") for id in ids)


@asynccontextmanager
async def pair(directory: Path, account: dict[str, Any] | None = None, **wish: object) -> AsyncIterator[Pair]:
    async with house(directory / "second") as second, trio.open_nursery() as nursery:
        sink = Sink()
        await nursery.start(sink.serve)
        await second.account("first", **(account or {}))
        async with house(directory / "first", FIRST, upstream=second.smpp, **{**USUAL, **wish}) as first:
            url = f"http://127.0.0.1:{sink.port}/events"
            key = await first.account("shop", logins=(), callback_url=url, private_callbacks=True)
            yield Pair(first, second, sink, key)
        nursery.cancel_scope.cancel()


@trio_test
async def test_five_hundred_messages_come_back_as_five_hundred_callbacks(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        texts = [f"message {number}" for number in range(500)]
        ids = await both.post(texts)
        await both.delivered(ids)
        assert sorted(both.second.texts()) == sorted(texts)


@pytest.mark.parametrize(
    ("version", "long_messages"),
    [("3.4", "udh8"), ("3.4", "udh16"), ("3.4", "sar"), ("5.0", "payload"), ("3.3", "udh8")],
)
@trio_test
async def test_every_alphabet_and_length_passes_through_both(
    version: str, long_messages: str, tmp_path: Path
) -> None:
    account = {"id_form": "short"} if version == "3.3" else {}
    wish = {"bind": "transmitter+receiver"} if version == "3.3" else {}
    async with pair(tmp_path, account, version=version, long_messages=long_messages, **wish) as both:
        ids = await both.post(list(TEXTS))
        await both.delivered(ids)
        assert sorted(both.second.texts()) == sorted(TEXTS)


@trio_test
async def test_a_failure_is_told_with_its_state_and_code(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        for number, (to, state) in enumerate(
            (("447700909901", "UNDELIVERABLE"), ("447700909902", "EXPIRED")), 1
        ):
            (id,) = await both.post(["nobody there"], to)
            await until(lambda number=number: len(both.events("message.receipt")) >= number)  # type: ignore[misc]
            told = both.events("message.receipt")[-1]
            assert (told["message_id"], told["state"], told["error"]) == (id, state, "001")


@trio_test
async def test_an_mo_passes_through_both_to_the_callback(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        for text in TEXTS:
            both.second.mo(text)
        await until(lambda: len(both.events("message.received")) >= len(TEXTS), "all are told")
        told = both.events("message.received")
        assert sorted(event["text"] for event in told) == sorted(TEXTS)
        assert {(event["from"], event["to"]) for event in told} == {(HANDSET, NUMBER)}


@trio_test
async def test_a_restart_of_the_carrier_loses_nothing_and_tells_nothing_twice(tmp_path: Path) -> None:
    async with pair(tmp_path, sessions=2) as both:
        texts = [f"message {number}" for number in range(500)]
        ids = await both.post(texts)
        await until(lambda: len(both.second.sent) >= 50, "some are through")
        await both.second.stop()
        await both.second.start()
        await both.delivered(ids)
        assert set(both.second.texts()) == set(texts)


@trio_test
async def test_a_window_smaller_than_the_other_s_and_a_rate_limit_only_slow_it_down(tmp_path: Path) -> None:
    async with pair(tmp_path, {"window": 5, "tps": 200.0}, window=100) as both:
        ids = await both.post([f"message {number}" for number in range(300)])
        await both.delivered(ids)
        assert len(both.second.sent) == 300


@trio_test
async def test_a_wrong_password_is_tried_again_now_and_then_until_it_is_right(tmp_path: Path) -> None:
    async with house(tmp_path / "second") as second, trio.open_nursery() as nursery:
        await second.account("other")
        first = House(tmp_path / "first", nursery, FIRST, upstream=second.smpp, **USUAL)
        nursery.start_soon(first.start)
        await until(lambda: any("RINVPASWD" in why for why in first.link_errors), "it is refused")
        await second.account("first", numbers=())
        await until(lambda: second.bound, "it is bound")
        await first.stop()
        nursery.cancel_scope.cancel()
