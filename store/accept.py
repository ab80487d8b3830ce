"""COMMIT A: messages enter. One row each in message, expiry, and ready or due."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from router.nouns import ALIAS_WANTED, Phase
from store.customer import alias_of
from store.groups import group_of, hold_part
from store.queues import activate
from store.records import (
    DUE_KEY,
    ENTRY,
    MESSAGE_KEY,
    MINUTE_MS,
    PLACE,
    READY_KEY,
    TIMED_KEY,
    encode,
)
from store.values import VALUE_VERSION, pack_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Message
    from store.batch import Batch


def accept(batch: Batch, messages: Sequence[Message]) -> None:
    """Queue new messages; each id must be new. The hot path: seal() is written out."""
    tables = batch.tables
    put_message = batch.putter(tables.message)
    put_expiry = batch.putter(tables.expiry)
    put_ready = batch.putter(tables.ready)
    for message in messages:
        account, id = message.account, message.id
        if message.alias == ALIAS_WANTED:
            message.alias = alias_of(batch, message)
        relay = message.relay
        is_part = relay is not None and relay.total > 1 and message.send_at_ms <= message.accepted_ms
        if is_part:
            assert relay is not None
            relay.group = group_of(message)
        key = MESSAGE_KEY.pack(account, id)
        payload = encode(message)
        put_message(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)
        expires_ms = message.expires_ms
        key = TIMED_KEY.pack(-(-expires_ms // MINUTE_MS), account, id)
        put_expiry(key, pack_head(VALUE_VERSION, crc32(key)))
        segments = message.segments
        payload = ENTRY.pack(segments, 0, 0, expires_ms, 0)
        if is_part and hold_part(batch, message):
            phase = -1
        elif message.send_at_ms > message.accepted_ms:
            phase = Phase.SCHEDULED
            key = DUE_KEY.pack(message.send_at_ms, id)
            batch.put(
                tables.due, key, PLACE.pack(account, message.lane, 0, message.priority, phase) + payload
            )
        else:
            phase = Phase.READY
            key = READY_KEY.pack(message.lane, 0, 3 - message.priority, account, message.accepted_ms, id)
            put_ready(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)
            activate(batch, key)
        if phase >= 0:
            batch.enter(message.lane, segments, phase)
        batch.accepted_segments += segments
        delta = batch.account_delta(account)
        delta[0] += 1
        delta[1] += 1
    batch.accepted += len(messages)
