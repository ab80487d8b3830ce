"""What the tests of other APIs share: a server with one of them, an account that may use it, a door.

Deliberately not here: what any API is asked or answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from gateway.door import Accepted, Refusal, Submission
from gateway.http.apps.serving import Api
from gateway.http.apps.who import Apps
from gateway.http.auth import Keys, new_key
from gateway.http.routes import Routes
from router.nouns import Account, Login
from tests.gateway.house import accepted
from tests.gateway.http.wire import Client, serving
from tests.gateway.smpp_server.hashing import Hashing, hashed

FIRST_ID = 4_611_686_018_427_387_904
USER, PASSWORD = "alice", "geheim-geheim"
KEY, PREFIX, HASH = new_key()


class Door:
    """Accepts everything, or what `verdict` says."""

    def __init__(self) -> None:
        self.taken: list[Submission] = []
        self.verdict: Callable[[Submission], Refusal | None] = lambda submission: None
        self.waiting: list[Callable[[], None]] | None = None  # commits, where they are to wait

    def submit(
        self,
        account: Account,
        requests: Sequence[Submission],
        done: Callable[[list[Accepted | Refusal]], None],
        **_: object,
    ) -> None:
        results = [self.verdict(one) or self._accepted(one) for one in requests]
        if self.waiting is None:
            done(results)
        else:
            self.waiting.append(lambda: done(results))

    def _accepted(self, one: Submission) -> Accepted:
        self.taken.append(one)
        id = FIRST_ID + len(self.taken)
        return accepted(id, one.sender, one.to.lstrip("+"), one.text, one.send_at_ms)


class AccountsHere:
    def __init__(self, accounts: Iterable[Account]) -> None:
        self.by_id = {account.id: account for account in accounts}
        self.changed: list[Callable[[], None]] = []

    def change(self) -> None:
        for hook in self.changed:
            hook()


class House:
    """`client` makes a connection."""

    def __init__(
        self, client: Callable[[], Client], door: Door, accounts: AccountsHere, hashing: Hashing
    ) -> None:
        self.client = client
        self.door = door
        self.accounts = accounts
        self.hashing = hashing


def account(apis: Sequence[str], **settings: object) -> Account:
    made = Account(
        id=7,
        name="acme",
        key_hashes=(HASH,),
        key_prefixes=(PREFIX,),
        apis=tuple(apis),
        app_logins=(Login(USER, (hashed(PASSWORD),)),),
    )
    for name, value in settings.items():
        setattr(made, name, value)
    return made


@asynccontextmanager
async def speaking(
    api: Callable[[Door, Apps], Api],
    account: Account,
    *others: Account,
    clock: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[House]:
    """A server with nothing but this API."""
    accounts = AccountsHere((account, *others))
    door, hashing, routes = Door(), Hashing(), Routes()
    keys = Keys(accounts.by_id.values(), clock)
    api(door, Apps(accounts, keys, hashing.passwords)).add_to(routes)
    async with serving(routes) as server:
        yield House(server.client, door, accounts, hashing)
