"""The admin verb of routes: the way a message would go, explained, without sending it.

Deliberately not here: explaining (gateway.explain), text for people (gateway.cli).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from gateway.accounts import Accounts
from gateway.admin import AdminError, Verb, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.door import Refusal, Submission
from router.nouns import Account

Explainer = Callable[[Account | None, Submission, int], dict[str, Any] | Refusal]

LONGEST_TEXT = 39_015  # 255 parts of 153: beyond any configuration
MessageClass = Literal["otp", "transactional", "promotional", "bulk"]
Word = Annotated[str, msgspec.Meta(max_length=64)]


class Explain(msgspec.Struct, forbid_unknown_fields=True):
    """`account` "" = nobody in particular; `at_ms` 0 = now."""

    to: Word
    sender: Word
    text: Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)] = ""
    account: Word = ""
    message_class: MessageClass = "transactional"
    tags: Annotated[tuple[Word, ...], msgspec.Meta(max_length=10)] = ()
    at_ms: Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000)] = 0


class RouteVerbs:
    """`explainer` is None when no gateway runs: then nobody knows how carriers are."""

    def __init__(self, accounts: Accounts, wall_ms: Callable[[], int], explainer: Explainer | None) -> None:
        self._accounts = accounts
        self._wall_ms = wall_ms
        self._explainer = explainer

    def table(self) -> dict[str, Verb]:
        return {"route.explain": typed(Explain, self.explain)}

    async def explain(self, wish: Explain) -> object:
        if self._explainer is None:
            raise AdminError("not_running", "the gateway is not running", "start it: signalbox run")
        account: Account | None = None
        if wish.account:
            with account_problems():
                account = self._accounts.named(wish.account)
        told = self._explainer(account, submission_of(wish), wish.at_ms or self._wall_ms())
        if isinstance(told, Refusal):
            raise bad_arguments(told.field or "text", told.detail)
        return told


def submission_of(wish: Explain) -> Submission:
    return Submission(wish.to, wish.sender, wish.text, message_class=wish.message_class, tags=wish.tags)
