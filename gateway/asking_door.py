"""The door of a gateway that asks a web service for the networks of numbers.

What is submitted is planned once to see whether a route asks for a network that is not known. If so it waits
for the answers, at most for the look-up's deadline, and then goes through the door as everything does, with
what is known by then and as its account is by then. Who may not submit asks nothing. Nothing else waits, and
a gateway without a look-up has the plain door.

Deliberately not here: asking (gateway.lookup), any other decision about a message (gateway.door).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.committer import Before
from gateway.door import Door, Keep, Request, SubmitDone, one_by_one
from gateway.lookup import Lookup
from router.nouns import Account
from router.policy import Policy


class AskingDoor(Door):
    lookup: Lookup  # set before anything is submitted
    current: Callable[[Account], Account]  # the account as it is now; set, too

    def close(self) -> None:
        """Who waits is refused, as everybody from now on."""
        super().close()
        self.lookup.end_all()

    def submit(
        self,
        account: Account,
        requests: Sequence[Request],
        done: SubmitDone,
        before: Before = None,
        keep: Keep = None,
    ) -> None:
        """As Door.submit; `done` may come later by the look-up's deadline."""
        enter = super().submit
        missing = self._missing(account, requests)
        if missing:
            self.lookup.ask(missing, lambda: enter(self.current(account), requests, done, before, keep))
        else:
            enter(account, requests, done, before, keep)

    def _missing(self, account: Account, requests: Sequence[Request]) -> list[str]:
        """The numbers that routes asked for and nobody remembers."""
        missing = self.lookup.missing
        missing.clear()
        if self._policy(account) is not None:
            return []
        policy = Policy(account, self.house)
        now_ms = self._world.wall_ms()
        for request in one_by_one(requests):
            self._plan(policy, request, 0, now_ms)
        return list(missing)
