"""Whose carrier id is this: `group | 6-hour bucket | carrier id` → account, id, part, total, recipient.

Buckets keep the inserts of one day close together and make "newest first" the order of the walk. An id that
a carrier uses again (after a wrap, or for all parts of one message) adds a hit in front of the old one. Rows
stay after the final receipt, so that repeats and contradictions find their message; the archiver removes
them with the message, and age removes what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from router.correlate import reference_of
from store.outbox import USER_MESSAGE_REFERENCE
from store.records import (
    BUCKET_MS,
    CORRELATION,
    CORRELATION_KEY,
    GROUP_KEY,
    MESSAGE_KEY,
    decode_unknown,
    id_bytes,
)

if TYPE_CHECKING:
    from router.nouns import Message, Outcome, ReceiptIn
    from store.batch import Batch
    from store.records import UnknownHeld

MAX_HITS = 300  # of one id in one bucket: all parts of a message may share theirs


class Hit(NamedTuple):
    account: int
    id: int
    part: int
    total: int
    recipient: bytes


def put(batch: Batch, outcome: Outcome, message: Message) -> None:
    """Remember an accepted part under the id its carrier gave it."""
    key = CORRELATION_KEY.pack(outcome.group, outcome.sent_ms // BUCKET_MS) + id_bytes(
        outcome.carrier_message_id
    )
    recipient = message.destination.encode()
    payload = (
        CORRELATION.pack(message.account, message.id, outcome.part, outcome.total, len(recipient)) + recipient
    )
    put_before(batch, key, payload)


def put_before(batch: Batch, key: bytes, payload: bytes) -> None:
    """One hit more, in front of those that are there."""
    table = batch.tables.correlation
    older = batch.get(table, key) or b""
    batch.put(table, key, payload + older[: MAX_HITS * len(payload)])


def hits(payload: bytes) -> list[Hit]:
    """All hits of one row, newest first."""
    found = []
    offset, end = 0, len(payload)
    while offset + CORRELATION.size <= end:
        account, id, part, total, length = CORRELATION.unpack_from(payload, offset)
        offset += CORRELATION.size
        found.append(Hit(account, id, part, total, payload[offset : offset + length]))
        offset += length
    return found


def find(batch: Batch, group: int, cid: str, now_ms: int, recipient: str) -> Hit | None:
    """The newest hit with this recipient; when no recipient agrees (carriers rewrite numbers), the newest."""
    key = id_bytes(cid)
    if not key:
        return None
    get = batch.get
    table = batch.tables.correlation
    pack = CORRELATION_KEY.pack
    newest = now_ms // BUCKET_MS
    first: Hit | None = None
    for bucket in range(newest + 1, oldest_bucket(batch, now_ms) - 1, -1):
        payload = get(table, pack(group, bucket) + key)
        if payload is None:
            continue
        for hit in hits(payload):
            if same_number(hit.recipient.decode(), recipient):
                return hit
            if first is None:
                first = hit
    return first


def oldest_bucket(batch: Batch, now_ms: int) -> int:
    """The first bucket whose ids receipts can still name."""
    return max(0, (now_ms - batch.options.window_h * 3_600_000) // BUCKET_MS)


def forget(batch: Batch, group: int, bucket: int, cid: str, id: int) -> None:
    """Take one message's hits out of a row."""
    key = CORRELATION_KEY.pack(group, bucket) + id_bytes(cid)
    payload = batch.get(batch.tables.correlation, key)
    if payload is None:
        return
    left = [hit for hit in hits(payload) if hit.id != id]
    if not left:
        batch.delete(batch.tables.correlation, key)
        return
    packed = b"".join(
        CORRELATION.pack(hit.account, hit.id, hit.part, hit.total, len(hit.recipient)) + hit.recipient
        for hit in left
    )
    batch.put(batch.tables.correlation, key, packed)


def drop_before(batch: Batch, before_ms: int, limit: int) -> int:
    """What `forget` has left: ids of earlier attempts, given by carriers before `before_ms`."""
    dropped = 0
    for group in batch.core.names.group_ids():
        start, end = CORRELATION_KEY.pack(group, 0), CORRELATION_KEY.pack(group, before_ms // BUCKET_MS)
        dropped += batch.delete_range(batch.tables.correlation, start, end, limit - dropped)
    return dropped


def same_number(one: str, other: str) -> bool:
    """Whether two spellings (+, 00, national) can be one number: equal, or the shorter ends the longer."""
    one, other = one.lstrip("+0"), other.lstrip("+0")
    if one == other:
        return bool(one)
    if len(one) > len(other):
        one, other = other, one
    return len(one) >= 7 and other.endswith(one)


# messages with an unknown outcome, held


def unknown_key(group: int, message: Message) -> bytes:
    return unknown_prefix(group, message.destination) + MESSAGE_KEY.pack(message.account, message.id)


def unknown_prefix(group: int, recipient: str) -> bytes:
    return GROUP_KEY.pack(group) + recipient.encode("utf-8", "replace") + b"\0"


def drop_unknown(batch: Batch, group: int, message: Message) -> None:
    """This message is not held as unknown any more."""
    table, key = batch.tables.unknown, unknown_key(group, message)
    if batch.has(table, key):
        payload = batch.get(table, key)
        batch.delete(table, key)
        count_unknown(batch, group, 0 if payload is None else decode_unknown(payload).carrier, -1)


def count_unknown(batch: Batch, group: int, carrier: int, change: int) -> None:
    """One message more, or less, is held with an unknown outcome."""
    batch.unknown[group] = batch.unknown.get(group, 0) + change
    batch.unknown_of[carrier] = batch.unknown_of.get(carrier, 0) + change


def find_unknown(batch: Batch, receipt: ReceiptIn) -> tuple[int, int] | None:
    """The one held message this receipt can only belong to: (account, id)."""
    group = receipt.group
    if batch.memory.unknown.get(group, 0) + batch.unknown.get(group, 0) <= 0 or not receipt.recipient:
        return None
    prefix = unknown_prefix(group, receipt.recipient)
    candidates = []
    for key, payload in batch.scan(batch.tables.unknown, prefix, 100, prefix):
        account, id = MESSAGE_KEY.unpack(key[len(prefix) :])
        if agrees(decode_unknown(payload), id, receipt, batch.options.claim_window_ms):
            candidates.append((account, id))
    return candidates[0] if len(candidates) == 1 else None


def customer_reference(message: Message) -> int:
    """The user_message_reference that its customer gave it and its carriers see; -1 = none."""
    tlvs = message.relay.tlvs if message.relay is not None else ()
    return next((int.from_bytes(value, "big") for tag, value in tlvs if tag == USER_MESSAGE_REFERENCE), -1)


def agrees(held: UnknownHeld, id: int, receipt: ReceiptIn, window_ms: int) -> bool:
    """Carrier group and recipient agree already; so must the sender, the time, and the text or the reference.

    The reference is what the customer put in user_message_reference, else what the gateway puts there for
    carriers that want it.
    """
    if held.sender != receipt.sender and not same_number(held.sender, receipt.sender):
        return False
    if not held.sent_ms - 60_000 <= receipt.at_ms <= held.sent_ms + window_ms:
        return False
    if receipt.user_message_reference >= 0:
        sent = held.reference if held.reference >= 0 else reference_of(id)
        return receipt.user_message_reference == sent
    shorter = min(len(held.text), len(receipt.text))
    return shorter > 0 and held.text[:shorter] == receipt.text[:shorter]
