"""COMMIT A: messages enter. One row each in message, and one in ready or due where they wait.

They have one in expiry where their validity ends soon or they are scheduled; the others are young (young.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isal.isal_zlib import crc32

from router.nouns import ALIAS_WANTED, Phase
from store.customer import alias_of
from store.groups import group_of, hold_part
from store.queues import entry_of, put_due
from store.records import MESSAGE_KEY, MINUTE, READY_PREFIX, encode, expiry_minute
from store.values import VALUE_VERSION, pack_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Message
    from store.batch import Batch

_READY, _SCHEDULED = int(Phase.READY), int(Phase.SCHEDULED)


def accept(batch: Batch, messages: Sequence[Message]) -> None:
    """Queue new messages; each id must be new. The hot path: seal() is written out.

    What is ready at once gets its row at the end of the transaction, if it has not been leased by then.
    """
    if not messages:
        return
    tables = batch.tables
    put_message, put_expiry = batch.putter(tables.message), batch.putter(tables.expiry)
    message_key = MESSAGE_KEY.pack
    elsewhere: list[Message] = []  # those that are not ready
    queues: dict[tuple[int, int, int], list[Message]] = {}  # (lane, priority, account) → its fresh ones
    lane = priority = owner = -1  # of the message before that was ready
    add = elsewhere.append  # then to its queue
    begun: list[tuple[int, int, list[Message], int]] = []  # lane, account, these, and how many there were
    further = 0  # segments of those that are ready, beyond one each
    expires_ms, minute = -1, b""  # of the message before, and how its row begins
    young, lasting_ms = batch.young.new, batch.young.lasting_ms(messages)
    for message in messages:
        account, id = message.account, message.id
        if message.alias == ALIAS_WANTED:
            message.alias = alias_of(batch, message)
        relay = message.relay
        if relay is not None and relay.total > 1 and message.send_at_ms <= message.accepted_ms:
            relay.group = group_of(message)
        key = message_key(account, id)
        payload = encode(message)
        put_message(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)
        if message.expires_ms != expires_ms:
            expires_ms = message.expires_ms
            minute = MINUTE.pack(expiry_minute(expires_ms))
        scheduled = message.send_at_ms > message.accepted_ms
        if expires_ms > lasting_ms and not scheduled:
            young += minute, key
        else:
            row = minute + key
            put_expiry(row, pack_head(VALUE_VERSION, crc32(row)))
        if scheduled:
            put_due(batch, entry_of(message, None), message.send_at_ms, _SCHEDULED)
            batch.enter(message.lane, message.segments, _SCHEDULED)
            elsewhere.append(message)
        elif relay is not None and relay.total > 1 and hold_part(batch, message):
            elsewhere.append(message)
        else:
            if message.lane != lane or account != owner or message.priority != priority:
                lane, priority, owner = queue = (message.lane, message.priority, account)
                fresh = queues.get(queue)
                if fresh is None:
                    prefix = READY_PREFIX.pack(lane, 0, 3 - priority, account)
                    fresh = queues[queue] = batch.ready_soon(prefix)
                    begun.append((lane, account, fresh, len(fresh)))
                add = fresh.append
            add(message)
            if message.segments != 1:
                further += message.segments - 1
    for lane, account, fresh, before in begun:
        count = len(fresh) - before
        batch.enter(lane, 1, _READY, count)
        _count(batch, account, count)
    batch.segments[_READY] += further
    for message in elsewhere:
        _count(batch, message.account, 1)
    batch.accepted += len(messages)
    batch.accepted_segments += len(messages) + further + sum(one.segments - 1 for one in elsewhere)


def _count(batch: Batch, account: int, accepted: int) -> None:
    delta = batch.account_delta(account)
    delta[0] += accepted
    delta[1] += accepted
