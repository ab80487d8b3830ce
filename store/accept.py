"""COMMIT A: messages enter. One row each in message and expiry, and one in ready or due where they wait."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from router.nouns import ALIAS_WANTED, Phase
from store.customer import alias_of
from store.groups import group_of, hold_part
from store.queues import entry_of, put_due
from store.records import MESSAGE_KEY, MINUTE_MS, READY_PREFIX, TIMED_KEY, encode
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
    tables = batch.tables
    put_message = batch.putter(tables.message)
    put_expiry = batch.putter(tables.expiry)
    queues: dict[tuple[int, int, int], list[Message]] = {}  # (lane, priority, account) → its fresh ones
    entered: dict[tuple[int, int, int], int] = {}  # (lane, segments, phase) → messages
    accounts: dict[int, int] = {}
    for message in messages:
        account, id, lane, segments = message.account, message.id, message.lane, message.segments
        relay = message.relay
        if message.alias == ALIAS_WANTED:
            message.alias = alias_of(batch, message)
        scheduled = message.send_at_ms > message.accepted_ms
        is_part = relay is not None and relay.total > 1 and not scheduled
        if is_part:
            assert relay is not None
            relay.group = group_of(message)
        key = MESSAGE_KEY.pack(account, id)
        payload = encode(message)
        put_message(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)
        key = TIMED_KEY.pack(-(-message.expires_ms // MINUTE_MS), account, id)
        put_expiry(key, pack_head(VALUE_VERSION, crc32(key)))
        if scheduled:
            put_due(batch, entry_of(message, None), message.send_at_ms, _SCHEDULED)
            step = (lane, segments, _SCHEDULED)
        elif is_part and hold_part(batch, message):
            step = (lane, segments, -1)
        else:
            step = (lane, segments, _READY)
            queue = (lane, message.priority, account)
            fresh = queues.get(queue)
            if fresh is None:
                prefix = READY_PREFIX.pack(lane, 0, 3 - message.priority, account)
                fresh = queues[queue] = batch.ready_soon(prefix)
            fresh.append(message)
        entered[step] = entered.get(step, 0) + 1
        accounts[account] = accounts.get(account, 0) + 1
    for (lane, segments, phase), count in entered.items():
        if phase >= 0:
            batch.enter(lane, segments, phase, count)
        batch.accepted_segments += segments * count
    for account, count in accounts.items():
        delta = batch.account_delta(account)
        delta[0] += count
        delta[1] += count
    batch.accepted += len(messages)
