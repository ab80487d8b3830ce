"""MOs: whole ones kept and queued for their account, parts kept until their siblings have come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.nouns import Event, EventKind, InboundMessage, MessageState
from store.ids import first_id_at
from store.interface import MoPart
from store.outbox import tell
from store.records import MESSAGE_KEY, TIME_KEY, decode_part, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.batch import Batch


def inbound(batch: Batch, messages: Sequence[InboundMessage]) -> None:
    """Keep each; tell the account that owns it, if it wants to hear."""
    for message in messages:
        batch.put(batch.tables.inbound, MESSAGE_KEY.pack(message.account, message.id), encode(message))
        if message.account:
            tell(batch, mo_event(message))


def mo_event(message: InboundMessage) -> Event:
    return Event(
        EventKind.MO,
        message.account,
        message.id,
        message.received_ms,
        message.source,
        message.destination,
        MessageState.DELIVERED,
        segments=message.parts,
        text=message.text,
        data=message.data,
        encoding=message.encoding,
        in_reply_to=message.in_reply_to,
        carrier=message.carrier,
        source_type=message.source_type,
        destination_type=message.destination_type,
        relay=message.relay,
    )


def group_key(part: MoPart) -> bytes:
    names = f"{part.source}\0{part.destination}\0".encode("utf-8", "replace")[:400]
    return names + part.reference.to_bytes(4, "big") + bytes((part.total,))


def inbound_parts(batch: Batch, parts: Sequence[MoPart]) -> list[list[MoPart] | None]:
    """Keep each part; the whole set with the last one, in order. A repeated part changes nothing."""
    results: list[list[MoPart] | None] = []
    for part in parts:
        group = group_key(part)
        key = group + bytes((part.index,))
        siblings = batch.scan(batch.tables.part, group, 256, group)
        if any(known == key for known, _ in siblings):
            results.append(None)
            continue
        if not siblings:
            batch.put(batch.tables.part_time, TIME_KEY.pack(part.received_ms) + group, b"")
        if len(siblings) + 1 < part.total:
            batch.put(batch.tables.part, key, encode(part))
            results.append(None)
            continue
        whole = [decode_part(payload) for _, payload in siblings]
        for known, _ in siblings:
            batch.delete(batch.tables.part, known)
        for other in whole:
            batch.delete(batch.tables.part_time, TIME_KEY.pack(other.received_ms) + group)
        results.append(sorted([*whole, part], key=lambda one: one.index))
    return results


def take_stale_parts(batch: Batch, before_ms: int, limit: int) -> list[list[MoPart]]:
    """Groups whose first part came before `before_ms`, taken out as they are."""
    groups: list[list[MoPart]] = []
    for key, _ in batch.scan(batch.tables.part_time, b"\0", limit):
        if TIME_KEY.unpack_from(key)[0] >= before_ms:
            break
        batch.delete(batch.tables.part_time, key)
        group = key[TIME_KEY.size :]
        rows = batch.scan(batch.tables.part, group, 256, group)
        for known, _ in rows:
            batch.delete(batch.tables.part, known)
        if rows:
            groups.append([decode_part(payload) for _, payload in rows])
    return groups


def drop_before(batch: Batch, before_ms: int, limit: int) -> int:
    """Retention of MOs, owned ones and others."""
    dropped = 0
    for account in (0, *batch.memory.accounts):
        start, end = MESSAGE_KEY.pack(account, 0), MESSAGE_KEY.pack(account, first_id_at(before_ms))
        dropped += batch.delete_range(batch.tables.inbound, start, end, limit - dropped)
    return dropped
