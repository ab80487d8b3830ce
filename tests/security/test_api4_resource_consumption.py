"""API4:2023 Unrestricted resource consumption: an end to sizes, numbers, rates and times, whoever asks.

Limits of the server's connections are test_room.py's and test_torture.py's; here are those that a customer
with a good key meets.
"""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import msgspec
import pytest
import trio

from gateway.admin_keys import MOST_KEYS
from gateway.door import Refusal, Submission, content_of
from gateway.http.apps.content import put_text
from gateway.http.table import ENDPOINTS
from router.nouns import Account
from tests.security.house import MESSAGE, staffed
from tests.trio_case import trio_test

# As long as the configuration, and the last few attempts.
WHOLE = {"listCarriers", "listCallbackAttempts"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b" " * 1_100_000, 413),
        (json.dumps([MESSAGE] * 1001).encode(), 422),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000, 400),
        (b'{"to":' + b"9" * 400_000 + b"}", 422),
        (json.dumps({"messages": []}).encode(), 422),
    ],
    ids=["long", "many", "deep lists", "deep objects", "a long number", "none"],
)
@trio_test(mock_clock=True)
async def test_a_body_has_an_end(tmp_path: Path, body: bytes, status: int) -> None:
    async with staffed(tmp_path) as home:
        before = home.changes()
        answer = await home.ask("account", "POST", "/v1/messages/batch", body)
        assert answer.status == status, answer.raw[:200]
        assert home.changes() == before


@trio_test(mock_clock=True)
async def test_a_small_body_that_unpacks_to_a_large_one_is_refused(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        bomb = gzip.compress(b" " * 50_000_000)
        assert len(bomb) < 100_000
        answer = await home.ask("account", "POST", "/v1/messages", bomb, content_encoding="gzip")
        assert answer.status in (413, 415), answer.raw


def test_every_list_has_pages_and_every_page_an_end() -> None:
    lists = [one for one in ENDPOINTS if one.id.startswith("list") and one.id not in WHOLE]
    assert len(lists) > 5
    for endpoint in lists:
        assert endpoint.query is not None, endpoint.id
        fields = {one.encode_name: one for one in msgspec.structs.fields(endpoint.query)}
        if "limit" in fields:
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({"limit": 1_000_000}, endpoint.query)
        else:
            assert {"account"} <= set(fields), f"{endpoint.id} has no end"


@trio_test(mock_clock=True)
async def test_keys_and_questions_have_an_end(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        statuses = [(await home.ask("rival", "POST", "/v1/keys", {})).status for _ in range(MOST_KEYS + 1)]
        assert statuses == [201] * MOST_KEYS + [409]
        asked = [await home.ask("rival", "POST", "/v1/preview", {"text": "x"}) for _ in range(30)]
        refused = [one for one in asked if one.status == 429]
        assert refused
        assert all(int(one.headers["retry-after"]) > 0 for one in refused)


@trio_test(mock_clock=True)
async def test_an_account_submits_no_faster_than_its_limit(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        await home.house.gateway.accounts.update("rival", tps=5.0, burst=5)
        answers = [await home.ask("rival", "POST", "/v1/messages", MESSAGE) for _ in range(10)]
        assert sum(one.status == 202 for one in answers) <= 6
        refused = next(one for one in answers if one.status != 202)
        assert (refused.status, int(refused.headers["retry-after"]) > 0) == (429, True)
        assert (await home.ask("account", "POST", "/v1/messages", MESSAGE)).status == 202


@trio_test(mock_clock=True)
async def test_a_request_that_does_not_come_to_an_end_is_cut_off(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        stream = await home.house.world.connect("127.0.0.1", home.house.http_port)
        async with stream:
            await stream.send_all(b"POST /v1/messages HTTP/1.1\r\nHost: test\r\n")
            with trio.fail_after(60):
                assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 408")


def test_a_text_that_is_too_long_is_refused_at_once_for_each_of_a_thousand_receivers() -> None:
    text, account = "€" * 100_000, Account(id=7, name="acme")
    began = time.process_time()
    for _ in range(1_000):
        one = Submission("447700900123", "ACME")
        put_text(one, text)
        found = content_of(one, account, 10)
        assert isinstance(found, Refusal)
        assert found.code == "too-long"
    assert time.process_time() - began < 2  # not 20
