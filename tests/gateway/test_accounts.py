"""Accounts under changes that overlap: every await of one is a chance for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import pytest
import trio
import trio.testing

from gateway.accounts import AccountProblem, Accounts
from gateway.committer import Committer
from router.nouns import Account, Login
from store.interface import AuditEntry, Transaction
from tests.trio_case import trio_test

T = TypeVar("T")


class SlowCommits:
    """A committer and its store: what `execute` puts is there only after everybody else had a turn."""

    def __init__(self) -> None:
        self.store = self
        self.kept: dict[int, Account] = {}
        self.puts = 0
        self.told: list[AuditEntry] = []
        self.asked = trio.Event()

    def accounts(self) -> dict[int, Account]:
        return dict(self.kept)

    def put_account(self, account: Account) -> None:
        self.puts += 1
        self.kept[account.id] = account

    def audit(self, entry: AuditEntry) -> None:
        self.told.append(entry)

    async def execute(self, function: Callable[[Transaction], T]) -> T:
        self.asked.set()
        try:
            await trio.testing.wait_all_tasks_blocked()
        finally:  # what was handed in is written, whoever waits for it
            result = function(cast(Transaction, self))
        return result


def some_accounts() -> tuple[Accounts, SlowCommits]:
    commits = SlowCommits()
    return Accounts(cast(Committer, commits)), commits


async def together(*changes: Callable[[], object]) -> list[str]:
    """Run them at once; what each refused of them said."""
    refused: list[str] = []

    async def one(change: Callable[[], object]) -> None:
        try:
            await change()  # type: ignore[misc]
        except AccountProblem as problem:
            refused.append(str(problem))

    async with trio.open_nursery() as nursery:
        for change in changes:
            nursery.start_soon(one, change)
    return refused


@trio_test
async def test_accounts_made_at_once_have_ids_of_their_own() -> None:
    accounts, commits = some_accounts()
    assert await together(*(lambda n=n: accounts.create(f"shop-{n}", 0) for n in range(5))) == []
    assert sorted(commits.kept) == [1, 2, 3, 4, 5]
    assert sorted(accounts.by_name) == [f"shop-{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ({"name": "shop"}, {"name": "shop"}, "exists"),
        ({"name": "a", "numbers": ("12345",)}, {"name": "b", "numbers": ("12345",)}, "12345"),
        ({"name": "a", "logins": (Login("esme"),)}, {"name": "b", "logins": (Login("esme"),)}, "esme"),
    ],
)
@trio_test
async def test_of_two_accounts_made_at_once_only_one_gets_a_name_a_number_a_system_id(
    first: dict[str, object], second: dict[str, object], word: str
) -> None:
    accounts, commits = some_accounts()
    (refused,) = await together(
        lambda: accounts.create(now_ms=0, **first),  # type: ignore[arg-type]
        lambda: accounts.create(now_ms=0, **second),  # type: ignore[arg-type]
    )
    assert word in refused
    assert len(commits.kept) == commits.puts == 1


@trio_test
async def test_changes_of_one_account_at_once_all_stay() -> None:
    accounts, _ = some_accounts()
    await accounts.create("shop", 0)
    refused = await together(
        lambda: accounts.update("shop", weight=7),
        lambda: accounts.rotate("shop"),
        lambda: accounts.update("shop", callback_url="https://shop.example/"),
    )
    shop = accounts.named("shop")
    assert refused == []
    assert (shop.weight, len(shop.key_hashes), shop.callback_url) == (7, 2, "https://shop.example/")


@trio_test
async def test_a_number_that_another_account_gets_meanwhile_is_not_taken_twice() -> None:
    accounts, _ = some_accounts()
    for name in ("a", "b"):
        await accounts.create(name, 0)
    (refused,) = await together(
        lambda: accounts.update("a", numbers=("12345",)), lambda: accounts.update("b", numbers=("12345",))
    )
    assert "belongs to account" in refused
    assert accounts.owner_of("12345") in (1, 2)


@trio_test
async def test_a_system_id_that_two_accounts_are_given_at_once_belongs_to_one() -> None:
    accounts, commits = some_accounts()
    for name in ("a", "b", "c"):
        await accounts.create(name, 0)
    refused = await together(
        *(lambda name=name: accounts.add_login(name, "esme", "hash") for name in ("a", "b", "c", "a"))
    )
    assert len(refused) == 3
    assert all("system_id 'esme' already" in why for why in refused)
    assert sum(len(account.logins) for account in commits.kept.values()) == 1


@trio_test
async def test_logins_that_are_added_and_rotated_at_once_all_stay() -> None:
    accounts, _ = some_accounts()
    await accounts.create("shop", 0, logins=(Login("one", ("first",)), Login("gone", ("hash",))))
    refused = await together(
        *(lambda n=n: accounts.add_login("shop", f"more-{n}", "hash") for n in range(5)),
        lambda: accounts.rotate_login("shop", "one", "second"),
        lambda: accounts.remove_login("shop", "gone"),
    )
    assert refused == []
    logins = {login.system_id: login.hashes for login in accounts.named("shop").logins}
    assert logins.pop("one") == ("second", "first")
    assert sorted(logins) == [f"more-{n}" for n in range(5)]


@trio_test
async def test_a_login_that_was_removed_may_be_given_to_another_account() -> None:
    accounts, _ = some_accounts()
    await accounts.create("a", 0, logins=(Login("esme", ("hash",)),))
    await accounts.create("b", 0)
    assert await together(lambda: accounts.remove_login("a", "esme")) == []
    assert await together(lambda: accounts.add_login("b", "esme", "other")) == []
    (refused,) = await together(lambda: accounts.remove_login("a", "esme"))
    assert "it has: none yet" in refused


@trio_test
async def test_a_caller_that_stops_waiting_leaves_no_id_to_be_given_twice() -> None:
    accounts, commits = some_accounts()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.create, "impatient", 0)
        await commits.asked.wait()
        nursery.cancel_scope.cancel()
    await accounts.create("next", 0)
    assert {account.name: id for id, account in commits.kept.items()} == {"impatient": 1, "next": 2}
