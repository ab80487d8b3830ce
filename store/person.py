"""Whatever is kept about one phone number: the kinds there are, and how each is found, in portions.

A number is somebody's wherever it is the recipient or the sender of something. A text that only mentions it
is whoever's message it is in. Rows are first asked for the number's bytes, and read only where those are, so
that a walk over everything costs a microsecond a row.

Invariants: a portion looks at a bounded number of rows in one short read transaction; what is found is what
`erasing` takes out, kind by kind; rows that nobody can read count where they have the number's bytes.

Deliberately not here: taking anything out (erasing), files of records (cdr_files), how it is told
(gateway.privacy).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from store.correlation import hits
from store.records import (
    MESSAGE_KEY,
    RECIPIENT,
    decode_event,
    decode_inbound,
    decode_message,
    decode_pair,
    decode_parked,
    decode_parked_list,
    decode_part,
    decode_progress,
    decode_remembered,
    number_of,
)
from store.values import Damaged, unseal

if TYPE_CHECKING:
    import lmdb

    from router.nouns import Event, InboundMessage, Message, Progress
    from store.archive import Archive
    from store.interface import MoPart
    from store.layout import Tables
    from store.records import Parked

ARCHIVED = "archived_message"
LOOK = 5_000  # rows in one portion: some 5 ms


class Number:
    """One number in the spellings by which it is stored; `also`: further ones, as a national form."""

    def __init__(self, digits: str, also: Iterable[str] = ()) -> None:
        spellings = [digits, "+" + digits, "00" + digits, *also]
        self.spellings = frozenset(spellings)
        self._bytes = tuple(one.encode() for one in sorted({digits, *also}))
        self.packed = frozenset(number_of(one).to_bytes(8, "big") for one in spellings)

    def is_it(self, *addresses: str) -> bool:
        """Whether any of them is this number."""
        return any(one in self.spellings for one in addresses)

    def is_in(self, value: bytes) -> bool:
        """Whether its digits are anywhere in there."""
        return any(one in value for one in self._bytes)

    def starred(self, text: str) -> str:
        """With stars where its digits are; as long as before."""
        for one in self._bytes:
            text = text.replace(one.decode(), "*" * len(one))
        return text

    def starred_bytes(self, value: bytes) -> bytes:
        for one in self._bytes:
            value = value.replace(one, b"*" * len(one))
        return value


class Answers(NamedTuple):
    """What only the gateway can read: whether an answer that `once` keeps has the number."""

    mention: Callable[[bytes], bool] = lambda answer: False


class Held(NamedTuple):
    """Something that is kept: its kind, its row, and what is told of it; None: nobody can read the row."""

    kind: str
    key: bytes
    what: Any


class Looked(NamedTuple):
    """A portion: what it found, and the key behind which to go on; None: that was the last of the kind."""

    found: list[Held]
    after: bytes | None


class Kind(NamedTuple):
    """`table`: where it lies. `of`: what is told of a row where it is the number's, else None."""

    name: str
    table: str
    of: Callable[[Number, Look, bytes, bytes], Any]
    by_bytes: bool = True  # only rows that have the number's digits in them are asked


class Look:
    """One look at the store: a read transaction and its tables."""

    def __init__(self, tx: lmdb.Transaction[bytes], tables: Tables, answers: Answers) -> None:
        self.tx, self.tables, self.answers = tx, tables, answers

    def progress(self, key: bytes) -> Progress | None:
        value = self.tx.get(key, None, self.tables.progress.handle)
        try:
            return None if value is None else decode_progress(unseal(key, value))
        except Damaged:
            return None


def _message(
    number: Number, look: Look, key: bytes, payload: bytes
) -> tuple[Message, Progress | None] | None:
    message = decode_message(payload)
    if not number.is_it(message.destination, message.source):
        return None
    return message, look.progress(key)


def _inbound(number: Number, look: Look, key: bytes, payload: bytes) -> InboundMessage | None:
    message = decode_inbound(payload)
    return message if number.is_it(message.source, message.destination) else None


def _part(number: Number, look: Look, key: bytes, payload: bytes) -> MoPart | None:
    part = decode_part(payload)
    return part if number.is_it(part.source, part.destination) else None


def _part_time(number: Number, look: Look, key: bytes, payload: bytes) -> dict[str, str] | None:
    source, destination, _ = key[8:].split(b"\0", 2)
    return {} if number.is_it(source.decode(errors="replace"), destination.decode(errors="replace")) else None


def about(number: Number, row: Parked) -> bool:
    return number.is_it(row.recipient, row.sender)


def _parked(number: Number, look: Look, key: bytes, payload: bytes) -> list[Parked] | None:
    return [row for row in decode_parked_list(payload) if about(number, row)] or None


def _unmatched(number: Number, look: Look, key: bytes, payload: bytes) -> list[Parked] | None:
    row = decode_parked(payload)
    return [row] if about(number, row) else None


def _event(number: Number, look: Look, key: bytes, payload: bytes) -> Event | None:
    event = decode_event(payload)
    return event if number.is_it(event.source, event.destination) else None


def _correlation(number: Number, look: Look, key: bytes, payload: bytes) -> dict[str, Any] | None:
    own = [hit for hit in hits(payload) if number.is_it(hit.recipient.decode(errors="replace"))]
    cid = key[6:].decode(errors="replace")
    return {"carrier_message_id": cid, "message_ids": [str(hit.id) for hit in own]} if own else None


def rows_of(number: Number, payload: bytes) -> list[bytes]:
    """The RECIPIENT rows of this number in a run of them."""
    width = RECIPIENT.size
    return [
        payload[at : at + width]
        for at in range(0, len(payload), width)
        if payload[at : at + 8] in number.packed
    ]


def _recipient(number: Number, look: Look, key: bytes, payload: bytes) -> dict[str, Any] | None:
    if not any(one in payload for one in number.packed):
        return None
    own = rows_of(number, payload)
    return {"message_ids": [str(RECIPIENT.unpack(row)[2]) for row in own]} if own else None


def _unknown(number: Number, look: Look, key: bytes, payload: bytes) -> dict[str, Any] | None:
    recipient = key[2 : -MESSAGE_KEY.size - 1].decode(errors="replace")
    if not number.is_it(recipient):
        return None
    return {"message_id": str(MESSAGE_KEY.unpack(key[-MESSAGE_KEY.size :])[1])}


def _once(number: Number, look: Look, key: bytes, payload: bytes) -> dict[str, Any] | None:
    row = decode_remembered(payload)
    return {"at_ms": row.at_ms} if look.answers.mention(row.answer) else None


def _any(number: Number, look: Look, key: bytes, payload: bytes) -> dict[str, Any] | None:
    return {}


KINDS: Sequence[Kind] = (
    Kind("message", "message", _message),
    Kind("inbound", "inbound", _inbound),
    Kind("inbound_part", "part", _part),
    Kind("inbound_part_time", "part_time", _part_time),
    Kind("waiting_receipt", "parked", _parked),
    Kind("unmatched_receipt", "unmatched", _unmatched),
    Kind("waiting_event", "outbox", _event),
    Kind("event_to_retry", "outbox_due", _event),
    Kind("given_up_event", "given_up", _event),
    Kind("carrier_message_id", "correlation", _correlation),
    Kind("unknown_outcome", "unknown", _unknown),
    Kind("written_to", "recipient", _recipient, by_bytes=False),
    Kind("answered_request", "once", _once, by_bytes=False),
    Kind("notice", "notice", _any),
    Kind("damaged", "quarantine", _any),
)
BY_NAME = {one.name: one for one in KINDS}
WAITING_EVENTS = ("waiting_event", "event_to_retry")
INDEXES = (
    "carrier_message_id",
    "written_to",
    "inbound_part_time",
)  # nothing that a person would want to read


def look(
    tx: lmdb.Transaction[bytes],
    tables: Tables,
    number: Number,
    kind: Kind,
    after: bytes,
    answers: Answers,
    limit: int = LOOK,
) -> Looked:
    """What there is of one kind among `limit` rows behind `after` (b"": from the first)."""
    seen = Look(tx, tables, answers)
    table = getattr(tables, kind.table)
    plain = kind.table == "quarantine"  # has no heads
    found: list[Held] = []
    with tx.cursor(table.handle) as cursor:
        there = cursor.set_range(after + b"\0") if after else cursor.first()
        for _ in range(limit):
            if not there:
                return Looked(found, None)
            key, value = cursor.item()
            named = number.is_in(value) or number.is_in(key)
            if named and plain:
                found.append(Held(kind.name, key, None))
            elif named or not kind.by_bytes:
                found += _read(number, seen, kind, key, value, named)
            after = key
            there = cursor.next()
    return Looked(found, after if there else None)


def _read(number: Number, seen: Look, kind: Kind, key: bytes, value: bytes, named: bool) -> list[Held]:
    try:
        what = kind.of(number, seen, key, unseal(key, value))
    except (Damaged, msgspec.DecodeError):
        return [Held(kind.name, key, None)] if named else []
    return [Held(kind.name, key, what)] if what is not None else []


def look_at_archive(archive: Archive, number: Number, day: str, after: bytes, limit: int = LOOK) -> Looked:
    """The same of a day's archived messages. Errors: lmdb.Error."""
    env, messages, _ = archive.opened(day)
    found: list[Held] = []
    with env.begin() as tx, tx.cursor(messages) as cursor:
        there = cursor.set_range(after + b"\0") if after else cursor.first()
        for _ in range(limit):
            if not there:
                return Looked(found, None)
            key, value = cursor.item()
            if number.is_in(value):
                what = archived(number, key, value)
                if what is not None:
                    found.append(Held(ARCHIVED, key, what or None))
            after = key
            there = cursor.next()
    return Looked(found, after if there else None)


def archived(number: Number, key: bytes, value: bytes) -> tuple[Message, Progress] | dict[str, str] | None:
    """An archived message where it is the number's; {}: nobody can read the row, and it has the digits."""
    try:
        message, progress = decode_pair(unseal(key, value))
    except (Damaged, msgspec.DecodeError):
        return {}
    return (message, progress) if number.is_it(message.destination, message.source) else None
