"""API1:2023 Broken object level authorization: no id, however it is written or found, opens another's thing.

The walk over every endpoint, role and object is test_every_endpoint.py; here is how one would try harder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.house import MESSAGE, staffed
from tests.trio_case import trio_test


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "0{}",
        "+{}",
        "%2B{}",
        "{}.0",
        "{}%00",
        " {}",
        "%20{}",
        "{},{}",
        "{}/",
        "-{}",
        "0x{:x}",
        "{}?account=rival",
    ],
)
@trio_test(mock_clock=True)
async def test_no_other_way_to_write_an_id_opens_it(tmp_path: Path, form: str) -> None:
    async with staffed(tmp_path) as home:
        foreign = int(home.objects["messages"].foreign)
        path = "/v1/messages/" + form.format(foreign, foreign).replace(" ", "%20")
        answer = await home.ask("account", "GET", path)
        assert answer.status in (400, 404), answer.raw
        assert b"4711" not in answer.raw


@trio_test(mock_clock=True)
async def test_counting_up_from_an_own_id_finds_nothing_of_others(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        own, foreign = int(home.objects["messages"].own), int(home.objects["messages"].foreign)
        assert abs(foreign - own) < 1 << 40, "ids are ordered by time, so they can be counted"
        near = [*range(own - 5, own + 6), *range(foreign - 5, foreign + 6)]
        found = [id for id in near if (await home.ask("account", "GET", f"/v1/messages/{id}")).status == 200]
        assert set(found) == {own}


@trio_test(mock_clock=True)
async def test_what_is_another_accounts_stays_as_it_was(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        thing = home.objects["messages"]
        before = (await home.ask("rival", "GET", f"/v1/messages/{thing.foreign}")).json
        for method, path, body in (
            ("POST", "/cancel", None),
            ("PATCH", "", {"text": "changed"}),
            ("PATCH", "", {"send_at": "2026-12-24T00:00:00Z"}),
        ):
            answer = await home.ask("account", method, f"/v1/messages/{thing.foreign}{path}", body)
            assert (answer.status, answer.code) == (404, "no-such-message")
        assert (await home.ask("rival", "GET", f"/v1/messages/{thing.foreign}")).json == before


@trio_test(mock_clock=True)
async def test_an_idempotency_key_of_another_account_answers_nothing_of_it(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        first = await home.ask("rival", "POST", "/v1/messages", MESSAGE, idempotency_key="same")
        second = await home.ask("account", "POST", "/v1/messages", MESSAGE, idempotency_key="same")
        assert (first.status, second.status) == (202, 202)
        assert first.json["id"] != second.json["id"]


@trio_test(mock_clock=True)
async def test_a_key_is_not_found_by_the_id_of_another_accounts_key(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        id = home.objects["keys"].foreign
        for method, path in (("GET", ""), ("POST", "/rotate"), ("DELETE", "")):
            answer = await home.ask("account", method, f"/v1/keys/{id}{path}", idempotency_key="x")
            assert (answer.status, answer.code) == (404, "no-such-key")
        assert (await home.ask("rival", "GET", f"/v1/keys/{id}")).status == 200
