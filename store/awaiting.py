"""Sent messages whose receipt is awaited, decoded: a receipt that comes soon reads nothing.

Each entry is a copy of what the transaction under way, or the last commit, says of one message of one part.
Whatever else writes or removes a message's records makes its copy go (Batch.put_progress, Batch.delete), and
when a transaction is dropped all of them go, because its verbs have changed them. Bounded: the oldest go
first, so memory follows `MOST`, never how many receipts are missing.

Deliberately not here: what a receipt does (receipts.py), ids in other forms and older ones (correlation.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.nouns import Message, Progress

MOST = 16_384  # about 25 MiB


class Sent:
    """One message: its key in the message and progress tables, its records, the id its carrier gave it."""

    __slots__ = ("key", "message", "name", "progress", "sent_ms")

    def __init__(
        self, key: bytes, name: tuple[int, str], message: Message, progress: Progress, sent_ms: int
    ) -> None:
        self.key = key
        self.name = name
        self.sent_ms = sent_ms
        self.message = message
        self.progress = progress


class Awaiting:
    """By (receipt group, carrier id), and by key. Of two with the same carrier id the newer is known."""

    __slots__ = ("_by_key", "_by_name")

    def __init__(self) -> None:
        self._by_name: dict[tuple[int, str], Sent] = {}
        self._by_key: dict[bytes, Sent] = {}

    def add(
        self, key: bytes, group: int, cid: str, message: Message, progress: Progress, sent_ms: int
    ) -> None:
        """COMMIT B has written these records."""
        name = (group, cid)
        by_name, by_key = self._by_name, self._by_key
        older = by_name.pop(name, None)
        if older is not None:
            by_key.pop(older.key, None)
        elif len(by_name) >= MOST:
            self.forget(by_name[next(iter(by_name))].key)
        by_key[key] = by_name[name] = Sent(key, name, message, progress, sent_ms)

    def find(self, group: int, cid: str) -> Sent | None:
        """The newest message that was given this id, if it is still known here."""
        return self._by_name.get((group, cid))

    def forget(self, key: bytes) -> None:
        """Its records are written, or gone, otherwise."""
        sent = self._by_key.pop(key, None)
        if sent is not None:
            del self._by_name[sent.name]

    def clear(self) -> None:
        """What is here may never have been committed."""
        self._by_name.clear()
        self._by_key.clear()

    def __len__(self) -> int:
        return len(self._by_key)
