"""Apps that say who they are with each request: whom it lets in, and what wrong ones learn."""

from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing

from gateway.http.apps.kannel import KannelApi
from router.nouns import Account, Login
from tests.gateway.http.apps.house import KEY, PASSWORD, USER, Door, House, account, speaking
from tests.gateway.http.wire import WALL_MS, Answer, request
from tests.gateway.smpp_server.hashing import hashed
from tests.trio_case import trio_test

RIVAL = Account(id=8, name="rival", apis=("kannel",), app_logins=(Login("bob", (hashed("other"),)),))


def kannel(door: Door, apps: object) -> KannelApi:
    return KannelApi(door, apps, lambda: WALL_MS)  # type: ignore[arg-type]


async def sent(house: House, user: str, password: str) -> Answer:
    client = house.client()
    await client.send(
        request(f"/cgi-bin/sendsms?username={user}&password={password}&from=A&to=447700900001&text=x")
    )
    return await client.answer()


@trio_test
async def test_an_app_says_its_name_and_password_or_a_key_of_its_account() -> None:
    async with speaking(kannel, account(["kannel"]), RIVAL) as house:
        for user, password in ((USER, PASSWORD), ("acme", KEY), (USER, KEY)):
            assert (await sent(house, user, password)).status == 202


@pytest.mark.parametrize(
    ("user", "password"),
    [(USER, "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), (USER, "other"), ("rival", KEY), ("bob", KEY),
     ("", PASSWORD), (USER, ""), (USER, "x" * 300), (USER, KEY + "0")],
)  # fmt: skip
@trio_test
async def test_wrong_ones_are_answered_alike(user: str, password: str) -> None:
    async with speaking(kannel, account(["kannel"]), RIVAL) as house:
        found = await sent(house, user, password)
        assert (found.status, found.body) == (403, b"Authorization failed for sendsms")
        assert not house.door.taken


@trio_test
async def test_an_account_speaks_the_apis_that_it_was_given() -> None:
    async with speaking(kannel, account(["twilio"])) as house:
        assert (await sent(house, USER, PASSWORD)).status == 403
        assert (await sent(house, "acme", KEY)).status == 403


@trio_test
async def test_a_closed_account_speaks_none() -> None:
    async with speaking(kannel, account(["kannel"], closed=True)) as house:
        assert (await sent(house, USER, PASSWORD)).status == 403


@trio_test
async def test_a_password_that_was_right_is_not_hashed_again() -> None:
    async with speaking(kannel, account(["kannel"])) as house:
        for _ in range(3):
            assert (await sent(house, USER, PASSWORD)).status == 202
        assert house.hashing.computed == 1


@trio_test
async def test_a_password_that_was_taken_away_is_wrong_at_once() -> None:
    mine = account(["kannel"])
    async with speaking(kannel, mine) as house:
        assert (await sent(house, USER, PASSWORD)).status == 202
        house.accounts.by_id[7] = msgspec.structs.replace(mine, app_logins=())
        house.accounts.change()
        assert (await sent(house, USER, PASSWORD)).status == 403


@trio_test
async def test_an_answer_comes_after_the_commit_also_when_the_password_had_to_be_hashed() -> None:
    async with speaking(kannel, account(["kannel"])) as house:
        house.door.waiting = []
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                answers: list[Answer] = []

                async def ask(into: list[Answer] = answers) -> None:
                    into.append(await sent(house, USER, PASSWORD))

                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                assert not answers
                house.door.waiting.pop()()
            assert answers[0].status == 202


@trio_test(mock_clock=True)
async def test_guesses_have_an_end_and_others_are_not_held_up() -> None:
    """A right password among the guesses is not found either, until the lock ends by itself."""
    async with speaking(kannel, account(["kannel"])) as house:
        statuses = [(await sent(house, USER, f"wrong{number}")).status for number in range(12)]
        assert statuses == [403] * 10 + [503] * 2
        assert house.hashing.computed == 20, "what is locked is not hashed"
        assert (await sent(house, USER, PASSWORD)).status == 503
        assert (await sent(house, "acme", KEY)).status == 202
        await trio.sleep(61)
        assert (await sent(house, USER, PASSWORD)).status == 202


@trio_test(mock_clock=True)
async def test_a_password_that_was_right_before_is_never_locked() -> None:
    async with speaking(kannel, account(["kannel"])) as house:
        assert (await sent(house, USER, PASSWORD)).status == 202
        for number in range(20):
            await sent(house, USER, f"wrong{number}")
        assert (await sent(house, USER, PASSWORD)).status == 202


@trio_test(mock_clock=True)
async def test_a_network_that_guesses_at_many_names_is_locked_for_all() -> None:
    async with speaking(kannel, account(["kannel"])) as house:
        for number in range(50):
            await sent(house, f"nobody{number}", PASSWORD)
        assert (await sent(house, USER, PASSWORD)).status == 503


@trio_test
async def test_a_password_outside_the_accounts_addresses_is_wrong() -> None:
    async with speaking(kannel, account(["kannel"], allowed_addresses=("192.0.2.0/24",))) as house:
        assert (await sent(house, USER, PASSWORD)).status == 403
        assert not house.hashing.computed, "the address is asked first"
        assert (await sent(house, USER, KEY)).status == 403
