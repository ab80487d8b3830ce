"""GET and PUT /v1/senders: which senders an account may use.

A change is the verb `account.set` (gateway.admin_accounts), as with PATCH /v1/accounts: checked, kept and
audited by the same code.

Invariant: an account sees its own senders only, and nobody else's account exists for it.

Deliberately not here: who is let in (access.py), what a sender may look like (gateway.account_settings),
whether a message may have one (router.policy).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.admin import AdminError, WrongArguments
from gateway.admin_accounts import AccountVerbs
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE, handler
from gateway.http.problems import BadRequest, FieldError
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Routes
from gateway.http.table import senders as table
from gateway.http.typed import read_body, read_query
from router.nouns import Account
from router.rules import sender_type


class SenderApi:
    """`named` finds an account by its name, None = there is none."""

    def __init__(self, verbs: AccountVerbs, named: Callable[[str], Account | None]) -> None:
        self._verbs = verbs
        self._named = named

    def add_to(self, routes: Routes) -> None:
        routes.serve(table.LIST, handler(self._list, _refused))
        routes.serve(table.REPLACE, handler(self._replace, _refused))

    async def _list(self, request: Request) -> Answered:
        name = read_query(request.query, table.SendersQuery).account
        own = request.caller.account
        if own is not None:
            if name and name != own.name:
                raise _no_such(name)
            return _answer(own)
        if not name:
            raise invalid([FieldError("account", "required with an operator's key: an account's name")])
        return _answer(self._existing(name))

    async def _replace(self, request: Request) -> Answered:
        wish = read_body(request, table.SendersIn)
        name = self._existing(wish.account).name
        await self._verbs.account_set({"name": name, "senders": wish.senders})
        return _answer(self._existing(name))

    def _existing(self, name: str) -> Account:
        account = self._named(name)
        if account is None:
            raise _no_such(name)
        return account


def _answer(account: Account) -> Answered:
    told = table.SendersOut(
        account.name,
        not account.senders,
        [_told(one) for one in account.senders],
        next((one for one in account.senders if not one.endswith("*")), None),
    )
    return Answered(200, PRIVATE, msgspec.json.encode(told))


def _told(sender: str) -> table.SenderOut:
    pattern = sender.endswith("*")
    begin = sender.removesuffix("*")
    is_open = pattern and (not begin or begin.isdecimal())
    # sender_type tells by the digits alone where no TON is known.
    return table.SenderOut(sender, None if is_open else sender_type(begin, 0), pattern)


def _no_such(name: str) -> BadRequest:
    return BadRequest(404, "no-such-account", f"there is no account {name[:64]!r}, or it is not yours")


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    return BadRequest(409, "account-conflict", error.message)
