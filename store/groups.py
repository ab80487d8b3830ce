"""Parts of a customer's long message: each is a message of its own, answered at its own commit, and waits
here for its siblings, so that all of them leave together, in order, over one session.

A waiting part is HELD with Reason.PARTS. When the last one comes, or the wait is over, the parts become a
train: the first one stands in the ready queue like any message and brings the others along when it is
claimed. Should it end before that, the others go on without it.

| table     | key                                  | payload                        |
| ---       | ---                                  | ---                            |
| long      | group u64, index u8                  | account u32, id u64            |
| long_time | first_ms u64, group u64              | empty                          |
| train     | account u32, id of the first u64     | ids u64 of the others, in order |
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from router.nouns import MessageState, Phase, Progress, Reason, Step
from store.queues import entry_of, first_due_ms, put_held, put_ready, unpack_place
from store.records import HELD_KEY, LONG_KEY, LONG_TIME_KEY, MESSAGE_KEY
from store.timeline import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Message
    from store.batch import Batch


def group_of(message: Message) -> int:
    """The same for all parts of one long message; 63 bits."""
    relay = message.relay
    assert relay is not None
    text = f"{message.account}\0{message.source}\0{message.destination}\0{relay.reference}\0{relay.total}"
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1


def hold_part(batch: Batch, message: Message) -> bool:
    """Let an accepted part wait, or go with its siblings if it is the last. False: it goes alone.

    A part whose index has come already is a repetition of its sender's and belongs to nobody.
    """
    relay = message.relay
    assert relay is not None
    table = batch.tables.long
    prefix = relay.group.to_bytes(8, "big")
    siblings = batch.scan(table, prefix, 256, prefix)
    key = LONG_KEY.pack(relay.group, relay.index)
    if any(known == key for known, _ in siblings):
        return False
    progress = Progress(Phase.HELD, MessageState.ENROUTE, Reason.PARTS)
    batch.put_progress(MESSAGE_KEY.pack(message.account, message.id), progress)
    put_held(batch, entry_of(message, None), Reason.PARTS, Phase.HELD)
    batch.enter(message.lane, message.segments, Phase.HELD)
    place = MESSAGE_KEY.pack(message.account, message.id)
    if len(siblings) + 1 < relay.total:
        batch.put(table, key, place)
        if not siblings:
            batch.put(batch.tables.long_time, LONG_TIME_KEY.pack(message.accepted_ms, relay.group), b"")
        return True
    rows = sorted([*siblings, (key, place)])
    couple(batch, [MESSAGE_KEY.unpack(payload) for _, payload in rows], message.accepted_ms)
    for known, _ in siblings:
        batch.delete(table, known)
    return True


def couple(batch: Batch, parts: Sequence[tuple[int, int]], now_ms: int) -> None:
    """Make a train of these (account, id), in order; those that have ended meanwhile are left out."""
    waiting = [(account, id) for account, id in parts if batch.has(batch.tables.held, held_key(account, id))]
    if not waiting:
        return
    account, first = waiting[0]
    if not go_alone(batch, account, first, now_ms):
        couple(batch, waiting[1:], now_ms)
        return
    if len(waiting) > 1:
        ids = b"".join(id.to_bytes(8, "big") for _, id in waiting[1:])
        batch.put(batch.tables.train, MESSAGE_KEY.pack(account, first), ids)


def go_alone(batch: Batch, account: int, id: int, now_ms: int) -> bool:
    """A held part becomes ready. False when it is not there any more."""
    key = held_key(account, id)
    payload = batch.get(batch.tables.held, key)
    message = batch.message(account, id)
    if payload is None or message is None:
        return False
    batch.delete(batch.tables.held, key)
    entry, phase = unpack_place(id, payload)
    message_key = MESSAGE_KEY.pack(account, id)
    progress = batch.progress(message_key) or Progress(phase, MessageState.ENROUTE)
    due_ms = first_due_ms(message)
    progress.phase, progress.reason, progress.until_ms = Phase.READY, Reason.NONE, due_ms
    note(progress, now_ms, Step.RELEASED, 0, Reason.PARTS.name)
    batch.put_progress(message_key, progress)
    put_ready(batch, entry, due_ms)
    batch.move(account, entry.lane, entry.segments, phase, Phase.READY)
    return True


def take_train(batch: Batch, message: Message) -> list[Message]:
    """The first part has been claimed: the others, in order, no longer held; the caller leases them."""
    key = MESSAGE_KEY.pack(message.account, message.id)
    payload = batch.get(batch.tables.train, key)
    if payload is None:
        return []
    batch.delete(batch.tables.train, key)
    others: list[Message] = []
    for at in range(0, len(payload), 8):
        id = int.from_bytes(payload[at : at + 8], "big")
        held = held_key(message.account, id)
        other = batch.message(message.account, id)
        if other is None or not batch.has(batch.tables.held, held):
            continue
        batch.delete(batch.tables.held, held)
        batch.delete(batch.tables.progress, MESSAGE_KEY.pack(message.account, id))
        batch.move(other.account, other.lane, other.segments, Phase.HELD, Phase.LEASED)
        others.append(other)
    return others


def uncouple(batch: Batch, message: Message, now_ms: int) -> None:
    """The first part has ended where it stood: the next one leads."""
    key = MESSAGE_KEY.pack(message.account, message.id)
    payload = batch.get(batch.tables.train, key)
    if payload is None:
        return
    batch.delete(batch.tables.train, key)
    ids = [int.from_bytes(payload[at : at + 8], "big") for at in range(0, len(payload), 8)]
    couple(batch, [(message.account, id) for id in ids], now_ms)


def held_key(account: int, id: int) -> bytes:
    """Where a waiting part stands."""
    return HELD_KEY.pack(Reason.PARTS, account, id)
