"""Submits that repeat an earlier one: for accounts with a duplicate guard, at the door.

What repeats a message gets that message's answer and nothing is stored. While the message's own commit is
under way, the answer waits for it; should the message be refused there, so is what repeats it.

Invariants: an account without a guard costs nothing here; an id is only answered after its fsync. Commits end
in the order in which they were handed in (gateway.committer), so whoever has messages of its own to commit
has nothing else to wait for.

Deliberately not here: what the same is, and for how long (router.duplicates).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from router.duplicates import MOST, Guard, key_of
from router.nouns import Account, Message, MessageState, Progress
from store.interface import StoreError

Find = Callable[[int, int], tuple[Message, Progress] | None]


class Submit:
    """What one submit of a guarded account came to: messages to commit, and earlier ones repeated."""

    __slots__ = ("ended", "error", "messages", "newest", "refused", "repeated", "waiting")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.repeated: dict[int, Message] = {}  # place among the requests → the earlier message
        self.waiting: dict[int, Submit] = {}  # place → whose commit is under way
        self.newest: Submit | None = None  # of those, the one that ends last
        self.error: StoreError | None = None
        self.refused: dict[int, str] = {}  # of the messages, by id: no money or quota for them, and why
        self.ended: list[Callable[[], None]] = []

    def failed(self, place: int) -> StoreError | None:
        """Why an earlier message was not stored after all."""
        other = self.waiting.get(place)
        return other.error if other is not None else None

    def unpaid(self, place: int, id: int) -> str:
        """Why this message, its own or an earlier one repeated there, was not paid for; "": it was."""
        return self.waiting.get(place, self).refused.get(id, "")


class _Account:
    """Its guard, and its messages whose commit is under way."""

    __slots__ = ("guard", "pending")

    def __init__(self) -> None:
        self.guard = Guard()
        self.pending: dict[int, tuple[Message, Submit]] = {}


class Repeats:
    """`find` gives a committed message by account and id."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._accounts: dict[int, _Account] = {}

    def recall(self, account: Account, messages: Sequence[Message]) -> None:
        """What it submitted lately, from the store, oldest first."""
        guard = self._of(account).guard
        for message in messages:
            guard.remember(key_of(message), message.id, account.duplicate_guard_s)

    @property
    def most(self) -> int:
        """How many messages are worth recalling."""
        return MOST // 2

    def keep(self, accounts: Mapping[int, Account]) -> None:
        """Accounts have changed: forget what nobody guards any more."""
        for id in list(self._accounts):
            account = accounts.get(id)
            if account is None or not account.duplicate_guard_s:
                del self._accounts[id]

    def sort(self, account: Account, planned: Mapping[int, Message], now_ms: int, anew: bool) -> Submit:
        """Tell new messages from repeated ones; `planned` by place. `anew`: all are new, come what may."""
        known = self._of(account)
        guard, window_s = known.guard, account.duplicate_guard_s
        submit = Submit()
        for place, message in planned.items():
            key = key_of(message)
            id = 0 if anew else guard.find(key, now_ms, window_s)
            earlier = self._earlier(known, account.id, id) if id else None
            if earlier is None:
                guard.remember(key, message.id, window_s)
                known.pending[message.id] = message, submit
                submit.messages.append(message)
                continue
            submit.repeated[place] = earlier
            _, under_way = known.pending.get(id, (None, submit))
            if under_way is not submit:
                submit.waiting[place] = under_way
                if submit.newest is None or id > submit.newest.messages[-1].id:
                    submit.newest = under_way
        return submit

    def end(self, account: Account, submit: Submit, error: StoreError | None) -> None:
        """Its commit has ended; the caller answers its own and calls each of `ended`."""
        submit.error = error
        known = self._of(account)
        for message in submit.messages:
            known.pending.pop(message.id, None)
            if error is not None or message.id in submit.refused:
                known.guard.forget(key_of(message), message.id)

    def shown(self, earlier: Message) -> Message:
        """The message whose id its submitter was given: of a submit_multi that is the first one's."""
        id = earlier.relay.shown if earlier.relay is not None else 0
        if not id:
            return earlier
        known = self._accounts.get(earlier.account)
        pending = known.pending.get(id) if known is not None else None
        if pending is not None:
            return pending[0]
        found = self._find(earlier.account, id)
        return earlier if found is None else found[0]

    def _of(self, account: Account) -> _Account:
        known = self._accounts.get(account.id)
        if known is None:
            known = self._accounts[account.id] = _Account()
        return known

    def _earlier(self, known: _Account, account: int, id: int) -> Message | None:
        """Not one that was cancelled: who says the same again after that wants it sent."""
        pending = known.pending.get(id)
        if pending is not None:
            return pending[0]
        found = self._find(account, id)
        return None if found is None or found[1].state == MessageState.DELETED else found[0]
