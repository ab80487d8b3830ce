"""Whose an inbound message is, by number and keyword."""

from __future__ import annotations

import pytest

from gateway.accounts import AccountProblem, Accounts
from tests.gateway.test_accounts import some_accounts
from tests.trio_case import trio_test

SHOP, QUIZ, NEWS = 1, 2, 3


async def three() -> Accounts:
    """The shop owns 12345; the quiz and the news have keywords on it, and on the shared number 777."""
    accounts, _ = some_accounts()
    await accounts.create("shop", 0, numbers=("12345",))
    await accounts.create("quiz", 0, keywords=("12345 PLAY", "777 PLAY", "777 5*"))
    await accounts.create("news", 0, keywords=("12345 PLAY NEWS", "777 Straße"))
    return accounts


@trio_test
@pytest.mark.parametrize(
    ("number", "text", "owner"),
    [
        ("12345", "PLAY", QUIZ),
        ("12345", "play now", QUIZ),
        ("12345", "  Play\n", QUIZ),
        ("12345", "play: 7", QUIZ),
        ("12345", "play  news please", NEWS),  # the longest, whatever the blanks
        ("12345", "play newspapers", QUIZ),
        ("12345", "player", SHOP),
        ("12345", "I play", SHOP),
        ("12345", "", SHOP),
        ("777", "play", QUIZ),
        ("777", "5* please", QUIZ),
        ("777", "STRASSE", NEWS),
        ("777", "hello", 0),
        ("777", "", 0),
        ("778", "play", 0),
    ],
)
async def test_the_longest_keyword_comes_first_then_the_owner_of_the_number(
    number: str, text: str, owner: int
) -> None:
    assert (await three()).owner_of(number, text) == owner


@trio_test
async def test_a_keyword_on_a_number_is_one_accounts_only_however_it_is_written() -> None:
    accounts = await three()
    with pytest.raises(AccountProblem, match="'12345 play' belongs to account 'quiz' already"):
        await accounts.update("shop", keywords=("12345 hello", "12345 play"))
    await accounts.update("shop", keywords=("778 PLAY",))
    assert accounts.owner_of("778", "play") == SHOP


@trio_test
async def test_a_keyword_that_was_given_up_is_free_again() -> None:
    accounts = await three()
    await accounts.update("quiz", keywords=())
    assert accounts.owner_of("12345", "play") == SHOP
    await accounts.update("shop", keywords=("777 PLAY",))
    assert accounts.owner_of("777", "play") == SHOP


@trio_test
async def test_a_closed_account_gets_nothing_any_more_not_even_as_the_fallback() -> None:
    accounts, commits = some_accounts()
    accounts = Accounts(accounts._committer, fallback="rest")
    assert accounts.fallback == 0
    await accounts.create("rest", 0, keywords=("777 PLAY",))
    assert (accounts.fallback, accounts.owner_of("777", "play")) == (1, 1)
    await accounts.close("rest")
    assert (accounts.fallback, accounts.owner_of("777", "play")) == (0, 0)
    assert commits.kept[1].closed
