"""Messages to one number, for whoever asks what became of them.

What a carrier accepted is in the recipient index for as long as replies are matched; what waits, and what
ended unsent, is found by walking back over the newest messages, at most MOST_LOOKED_AT of them.

Deliberately not here: the archive (archive.py has an index of its own).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from typing import TYPE_CHECKING

from store import reads, recipients
from store.ids import first_id_at
from store.interface import NO_ID
from store.records import MESSAGE_KEY, decode_message
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from router.nouns import Message, Progress
    from store.layout import Tables
    from store.reads import Read

MOST_LOOKED_AT = 300_000  # less than a second

Found = tuple["Message", "Progress"]


def hot_to(
    tx: Read, tables: Tables, accounts: Sequence[int], recipient: str, since_ms: int, limit: int
) -> tuple[list[Found], bool]:
    """The newest of these accounts' messages to a number, and whether none was left out for its cost."""
    walked, complete = _walked(tx, tables, accounts, recipient, since_ms, limit)
    indexed = recipients.sent_to(tx, tables, recipient, since_ms)
    pairs = walked | {pair for pair in indexed if pair[0] in accounts}
    found: list[Found] = []
    for account, id in sorted(pairs, key=lambda pair: -pair[1]):
        one = reads.find(tx, tables, account, id)
        if one is not None and one[0].destination == recipient:
            found.append(one)
            if len(found) >= limit:
                break
    return found, complete or len(found) >= limit


def _walked(
    tx: Read, tables: Tables, accounts: Sequence[int], recipient: str, since_ms: int, limit: int
) -> tuple[set[tuple[int, int]], bool]:
    """(account, id) of messages to a number; False when there were too many to look at all."""
    walks = [_newest_first(tx, tables, account, since_ms) for account in accounts]
    written = recipient.encode()  # as it stands in the record: most need no decoding
    found: set[tuple[int, int]] = set()
    for looked_at, (key, value) in enumerate(merge(*walks, key=_id_of, reverse=True)):
        if looked_at >= MOST_LOOKED_AT:
            return found, False
        if written in value and _is_to(key, value, recipient):
            account, id = MESSAGE_KEY.unpack(key)
            found.add((account, id))
            if len(found) >= limit:
                break
    return found, True


def _newest_first(tx: Read, tables: Tables, account: int, since_ms: int) -> Iterator[tuple[bytes, bytes]]:
    first, end = MESSAGE_KEY.pack(account, first_id_at(since_ms)), MESSAGE_KEY.pack(account, NO_ID)
    return reads.backward(tx, tables.message, first, end)


def _id_of(row: tuple[bytes, bytes]) -> int:
    return int(MESSAGE_KEY.unpack(row[0])[1])


def _is_to(key: bytes, value: bytes, recipient: str) -> bool:
    try:
        return decode_message(unseal(key, value)).destination == recipient
    except Damaged:
        return False
