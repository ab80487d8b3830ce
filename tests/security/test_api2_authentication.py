"""API2:2023 Broken authentication: keys that cannot be guessed, read, used after their end, or told apart."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from gateway.http.auth import key_hash
from gateway.keys import new_key
from tests.security.house import Staffed, staffed
from tests.trio_case import trio_test


def test_a_key_has_256_random_bits() -> None:
    keys = {new_key()[0] for _ in range(1000)}
    secrets = [re.fullmatch(r"sbk_[0-9a-f]{8}_([0-9a-f]{64})", key) for key in keys]
    assert len(keys) == 1000
    assert all(secrets)
    bits = Counter(bit for one in secrets if one for bit in f"{int(one[1], 16):0256b}")
    assert 0.49 < bits["1"] / 256_000 < 0.51


@trio_test(mock_clock=True)
async def test_no_key_is_in_the_files_of_the_store_and_only_hashes_are(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        keys = [*home.keys.values(), await home.narrowed("account", ["messages.read"])]
        files = b"".join(path.read_bytes() for path in (tmp_path / "var").rglob("*") if path.is_file())
    for key in keys:
        assert key.encode() not in files
        assert key.rpartition("_")[2].encode() not in files
    assert key_hash(keys[-1]).encode() in files


@pytest.mark.parametrize(
    "form",
    [
        "{key} ",
        "Basic {key}",
        "bearer{key}",
        "Bearer {key}x",
        "Bearer x{key}",
        "Bearer {cut}",
        "Bearer {upper}",
        "{key}",
    ],
)
@trio_test(mock_clock=True)
async def test_nothing_but_the_whole_key_opens(tmp_path: Path, form: str) -> None:
    async with staffed(tmp_path) as home:
        key = home.keys["account"]
        header = form.format(key=key, cut=key[:-1], upper=key.upper())
        answer = await home.ask("", "GET", "/v1/messages/1", authorization=header)
        assert (answer.status, answer.headers["www-authenticate"][:6]) == (401, "Bearer")


@trio_test(mock_clock=True)
async def test_a_key_is_not_taken_from_a_query_or_a_cookie(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        key = home.keys["account"]
        for path, headers in (
            (f"/v1/messages/1?key={key}", {}),
            (f"/v1/messages/1?access_token={key}", {}),
            ("/v1/messages/1", {"cookie": f"key={key}"}),
            ("/v1/messages/1", {"x_api_key": key}),
        ):
            assert (await home.ask("", "GET", path, **headers)).status == 401


@trio_test(mock_clock=True)
async def test_who_guesses_is_slowed_down_and_who_has_a_key_is_not(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        statuses = [(await home.ask(f"sbk_{at}", "GET", "/v1/messages/1")).status for at in range(20)]
        assert statuses == [401] * 10 + [429] * 10
        assert (await home.ask("account", "GET", "/v1/keys")).status == 200


@trio_test(mock_clock=True)
async def test_wrong_removed_and_elsewhere_bound_keys_cannot_be_told_apart(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        verbs = home.house.gateway.verbs.table()
        bound = await verbs["key.create"]({"account": "acme", "addresses": ["192.0.2.1"]})
        gone = await verbs["key.create"]({"account": "acme"})
        assert isinstance(bound, dict)
        assert isinstance(gone, dict)
        await verbs["key.revoke"]({"id": gone["id"]})
        answers = [
            await home.ask(key, "GET", "/v1/keys") for key in ("sbk_1_2", str(bound["key"]), str(gone["key"]))
        ]
        assert {(one.status, one.raw) for one in answers} == {(401, answers[0].raw)}


@trio_test(mock_clock=True)
async def test_a_key_that_is_revoked_ends_in_the_middle_of_a_connection(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        made = (await home.ask("account", "POST", "/v1/keys", {})).json
        stream = await home.house.world.connect("127.0.0.1", home.house.http_port)
        async with stream:
            said = (
                f"GET /v1/keys HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {made['key']}\r\n\r\n".encode()
            )
            await stream.send_all(said)
            assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 200")
            assert (await home.ask("account", "DELETE", f"/v1/keys/{made['id']}")).status == 204
            await stream.send_all(said)
            assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 401")


@trio_test(mock_clock=True)
async def test_uses_and_misuses_of_a_key_are_told(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        key = await home.narrowed("account", ["messages.read"])
        await home.ask(key, "POST", "/v1/messages", {})
        await home.house.until(lambda: _acts(home).count("key.used") > 0)
        events = home.house.gateway.store.notices
        await home.house.until(lambda: [one for one in events() if one.notice.kind == "key.over_scope"])


def _acts(home: Staffed) -> list[str]:
    return [row.entry.act for row in home.house.gateway.store.audit_log()]
