"""Sent messages whose receipt is awaited, decoded: a receipt that comes soon reads nothing.

Each entry is a copy of what the transaction under way, or the last commit, says of one message of one part.
Whatever else writes or removes a message's records makes its copy go (Batch.put_progress, Batch.delete), and
when a transaction is dropped all of them go, because its verbs have changed them. Bounded: the oldest go
first, so memory follows `MOST`, never how many receipts are missing.

Deliberately not here: what a receipt does (receipts.py), ids in other forms and older ones (correlation.py).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from router.nouns import Message, Progress

if TYPE_CHECKING:
    from router.nouns import Outcome

MOST = 16_384  # about 25 MiB


class Sent(msgspec.Struct, gc=False):
    """One message: its key in the message and progress tables, the id its carrier gave it, its records."""

    key: bytes
    group: int  # of receipts
    cid: str
    message: Message
    progress: Progress
    sent_ms: int


class Awaiting:
    """By receipt group and carrier id, and by key. Of two with the same carrier id the newer is known by it.
    Invariant: what `by_name` has is the very object that `by_key` has under its key; whoever takes it out of
    one takes it out of the other.

    COMMIT B adds what it has written to both (`settle`, after it has made room, and `add`).
    """

    __slots__ = ("by_key", "by_name")

    def __init__(self) -> None:
        self.by_name: dict[int, dict[str, Sent]] = {}
        self.by_key: dict[bytes, Sent] = {}

    def make_room(self, count: int) -> None:
        """The oldest go, where `count` more are too many."""
        for key in list(islice(self.by_key, max(0, len(self.by_key) + count - MOST))):
            self.forget(key)

    def add(self, key: bytes, outcome: Outcome, message: Message, progress: Progress) -> None:
        """COMMIT B has written these records."""
        self.make_room(1)
        group, cid = outcome.group, outcome.carrier_message_id
        sent = Sent(key, group, cid, message, progress, outcome.sent_ms)
        self.by_key[key] = self.of_group(group)[cid] = sent

    def of_group(self, group: int) -> dict[str, Sent]:
        """By carrier id."""
        named = self.by_name.get(group)
        if named is None:
            named = self.by_name[group] = {}
        return named

    def find(self, group: int, cid: str) -> Sent | None:
        """The newest message that was given this id, if it is still known here."""
        return self.of_group(group).get(cid)

    def forget(self, key: bytes) -> None:
        """Its records are written, or gone, otherwise."""
        sent = self.by_key.pop(key, None)
        if sent is not None and self.find(sent.group, sent.cid) is sent:
            del self.by_name[sent.group][sent.cid]

    def clear(self) -> None:
        """What is here may never have been committed."""
        self.by_name.clear()
        self.by_key.clear()

    def __len__(self) -> int:
        return len(self.by_key)
