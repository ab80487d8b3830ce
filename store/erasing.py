"""Taking one phone number out of the store: row by row, each as its kind allows (`person.KINDS`).

A message stays without its numbers and without what it said, so that counts, money and ids stay right; its
timeline says when it was erased. An inbound message stays likewise. Receipts that found no message, events
that nobody took, look-up rows and answers go whole.

Invariants: a message that has not ended, or whose record (CDR) is not written, is left as it is and counted;
the row of a carrier's id stays, without its recipient, so that a late receipt still finds its message; no
count of the conservation law changes.

Deliberately not here: finding rows (person), the archive's files (rewriting), the bytes that LMDB keeps of
what was here (backup.compact).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from router.nouns import InboundMessage, Message, MessageState, Phase, Progress, Reason, Step
from store import parked
from store.correlation import hits
from store.ending import finalize
from store.finished import is_followed
from store.person import WAITING_EVENTS, Number, about, archived, rows_of
from store.queues import locate
from store.records import (
    CORRELATION,
    GROUP_KEY,
    MESSAGE_KEY,
    RECIPIENT,
    TIME_KEY,
    decode_inbound,
    decode_parked_list,
    encode,
)
from store.timed import cancel
from store.timeline import note
from store.values import seal

if TYPE_CHECKING:
    from store.batch import Batch
    from store.layout import Table

UNFINISHED = "unfinished"  # left: it has not ended
UNRECORDED = "unrecorded"  # left: its call detail record is not written yet
WAITING = "waiting"  # left: an event that is still to be delivered


class Erased(NamedTuple):
    """What became of a portion: rows by kind, rows that were left by why, ids of messages that changed."""

    done: Counter[str]
    left: Counter[str]
    ids: list[int]


def erase(
    batch: Batch, rows: Sequence[tuple[str, bytes]], number: Number, now_ms: int, drop_events: bool
) -> Erased:
    """Rows, as (kind, key), that `person.look` found. `drop_events`: also those that wait for delivery."""
    result = Erased(Counter(), Counter(), [])
    for kind, key in rows:
        if kind in WAITING_EVENTS and not drop_events:
            result.left[WAITING] += 1
        elif kind == "message":
            _message(batch, key, number, now_ms, result)
        elif _ROWS[kind](batch, key, number, now_ms):
            result.done[kind] += 1
    return result


def emptied(message: Message, progress: Progress, number: Number, now_ms: int) -> tuple[Message, Progress]:
    """The message without this number and what was said, and a timeline that says so."""
    relay = message.relay
    if relay is not None:
        relay = msgspec.structs.replace(relay, tlvs=(), udh=b"", group=0)
    changed: Message = msgspec.structs.replace(
        message,
        source="" if number.is_it(message.source) else message.source,
        destination="" if number.is_it(message.destination) else message.destination,
        text="",
        data=b"",
        udh=b"",
        client_ref=number.starred(message.client_ref),
        tags=tuple(number.starred(tag) for tag in message.tags),
        callback_url="",
        callback=None,
        relay=relay,
    )
    told = msgspec.structs.replace(
        progress,
        events=[(at_ms, step, by, number.starred(detail)) for at_ms, step, by, detail in progress.events],
        parts=[
            msgspec.structs.replace(part, carrier_message_id=number.starred(part.carrier_message_id))
            for part in progress.parts
        ],
    )
    note(told, now_ms, Step.ERASED, 0, "")
    return changed, told


def emptied_inbound(message: InboundMessage, number: Number, now_ms: int) -> InboundMessage:
    changed: InboundMessage = msgspec.structs.replace(
        message,
        source="" if number.is_it(message.source) else message.source,
        destination="" if number.is_it(message.destination) else message.destination,
        text="",
        data=b"",
        udh=b"",
        relay=None,
        erased_ms=now_ms,
    )
    return changed


class OutOfArchive:
    """rewriting.Change: a day's messages without this number. Rows with it that nobody can read go."""

    def __init__(self, number: Number, now_ms: int) -> None:
        self._number = number
        self._now_ms = now_ms

    def row(self, key: bytes, value: bytes) -> bytes | None:
        if not self._number.is_in(value):
            return value
        what = archived(self._number, key, value)
        if what is None:
            return value
        return (
            seal(key, encode(emptied(*what, self._number, self._now_ms))) if isinstance(what, tuple) else None
        )

    def keeps(self, recipient: bytes) -> bool:
        return recipient[:8] not in self._number.packed


def end(batch: Batch, account: int, id: int, now_ms: int) -> str:
    """Let a message end now, whose number is to be erased: `ended`, `leased` (a carrier has it just now; it
    is not sent again) or `final`. What a carrier has taken ends as UNKNOWN: nobody waits for its receipt."""
    message = batch.message(account, id)
    progress = batch.progress(MESSAGE_KEY.pack(account, id))
    if message is None:
        return "final"
    phase, _, _ = locate(batch.has, batch.tables, message, progress)
    if phase == Phase.AWAITING_RECEIPT and progress is not None:
        finalize(batch, message, progress, phase, MessageState.UNKNOWN, Reason.OPERATOR, now_ms)
        return "ended"
    found = cancel(batch, account, id, now_ms)
    return "ended" if found == "cancelled" else found


def _message(batch: Batch, key: bytes, number: Number, now_ms: int, result: Erased) -> None:
    account, id = MESSAGE_KEY.unpack(key)
    message, progress = batch.message(account, id), batch.progress(key)
    if message is None or not number.is_it(message.source, message.destination):
        return
    if progress is None or progress.phase != Phase.FINAL:
        result.left[UNFINISHED] += 1
        return
    if not is_followed(batch, progress.finished_ms // 1000, key):
        result.left[UNRECORDED] += 1
        return
    changed, told = emptied(message, progress, number, now_ms)
    batch.put(batch.tables.message, key, encode(changed))
    batch.put_progress(key, told)
    result.done["message"] += 1
    result.ids.append(id)


def _inbound(batch: Batch, key: bytes, number: Number, now_ms: int) -> bool:
    payload = batch.get(batch.tables.inbound, key)
    if payload is None:
        return False
    batch.put(batch.tables.inbound, key, encode(emptied_inbound(decode_inbound(payload), number, now_ms)))
    return True


def _parked(batch: Batch, key: bytes, number: Number, now_ms: int) -> bool:
    table = batch.tables.parked
    payload = batch.get(table, key)
    if payload is None:
        return False
    rows = decode_parked_list(payload)
    left = [row for row in rows if not about(number, row)]
    parked.drop(batch, key, rows)
    if left:
        group = GROUP_KEY.unpack_from(key)[0]
        batch.parked[group] = batch.parked.get(group, 0) + 1
        batch.put(table, key, encode(left))
        batch.put(batch.tables.parked_time, TIME_KEY.pack(left[0].parked_ms) + key, b"")
    return True


def _correlation(batch: Batch, key: bytes, number: Number, now_ms: int) -> bool:
    table = batch.tables.correlation
    payload = batch.get(table, key)
    if payload is None:
        return False
    if number.is_in(key):  # a carrier whose ids have the number in them
        return batch.delete(table, key)
    packed = b""
    for hit in hits(payload):
        recipient = b"" if number.is_it(hit.recipient.decode(errors="replace")) else hit.recipient
        packed += CORRELATION.pack(hit.account, hit.id, hit.part, hit.total, len(recipient)) + recipient
    batch.put(table, key, packed)
    return True


def _recipient(batch: Batch, key: bytes, number: Number, now_ms: int) -> bool:
    table = batch.tables.recipient
    payload = batch.get(table, key)
    if payload is None:
        return False
    gone = set(rows_of(number, payload))
    width = RECIPIENT.size
    rows = (payload[at : at + width] for at in range(0, len(payload), width))
    left = b"".join(row for row in rows if row not in gone)
    if left:
        batch.put(table, key, left)
    else:
        batch.delete(table, key)
    return True


def _notice(batch: Batch, key: bytes, number: Number, now_ms: int) -> bool:
    payload = batch.get(batch.tables.notice, key)
    if payload is not None:
        batch.put(batch.tables.notice, key, number.starred_bytes(payload))
    return payload is not None


def _damaged(batch: Batch, key: bytes, number: Number, now_ms: int) -> bool:
    gone = batch.delete(batch.tables.quarantine, key)
    batch.quarantined -= gone
    return gone


def _gone(table: Callable[[Batch], Table]) -> Callable[[Batch, bytes, Number, int], bool]:
    """Of kinds whose rows go whole."""

    def delete(batch: Batch, key: bytes, number: Number, now_ms: int) -> bool:
        return batch.delete(table(batch), key)

    return delete


_ROWS: dict[str, Callable[[Batch, bytes, Number, int], bool]] = {
    "inbound": _inbound,
    "inbound_part": _gone(lambda batch: batch.tables.part),
    "inbound_part_time": _gone(lambda batch: batch.tables.part_time),
    "waiting_receipt": _parked,
    "unmatched_receipt": _gone(lambda batch: batch.tables.unmatched),
    "waiting_event": _gone(lambda batch: batch.tables.outbox),
    "event_to_retry": _gone(lambda batch: batch.tables.outbox_due),
    "given_up_event": _gone(lambda batch: batch.tables.given_up),
    "carrier_message_id": _correlation,
    "unknown_outcome": lambda batch, key, number, now_ms: False,  # goes when its message ends
    "written_to": _recipient,
    "answered_request": _gone(lambda batch: batch.tables.once),
    "notice": _notice,
    "damaged": _damaged,
}
