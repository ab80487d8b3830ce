"""Keys and payloads of every table: one place that says what the bytes are.

Keys are big-endian, so that LMDB's order is the order of the fields. Payloads are msgpack of the array-like
structs where records vary, and packed structs for the small hot ones. Fields are only ever appended.

| table       | key                                              | payload                                   |
| ---         | ---                                              | ---                                       |
| message     | account u32, id u64                              | Message                                   |
| progress    | account u32, id u64                              | Progress                                  |
| ready       | lane u16, tried u16, 3-prio u8, account, due u64, id | ENTRY                                 |
| due         | due_ms u64, id u64                               | PLACE + ENTRY                             |
| held        | reason u8, account u32, id u64                   | PLACE + ENTRY                             |
| expiry      | minute u32, account u32, id u64                  | empty                                     |
| lease       | lease u64                                        | LEASE_HEAD + LEASE_ROW each               |
| correlation | group u16, bucket u32, carrier id                | CORRELATION + recipient, newest first     |
| parked      | group u16, carrier id                            | list of Parked                            |
| parked_time | at_ms u64, group u16, carrier id                 | empty                                     |
| unmatched   | at_ms u64, n u32                                 | Parked                                    |
| unknown     | group u16, recipient, 0, account u32, id u64     | UnknownHeld                               |
| finished    | done_s u32, 0 u32, id u64 of the first           | account u32, id u64 each (store.finished) |
| finished    | done_s u32, account u32, id u64                  | empty: one message (store.finished)       |
| counter     | account u32                                      | COUNTER                                   |
| outbox      | endpoint u32, seq u64                            | Event                                     |
| outbox_due  | due_ms u64, endpoint u32, seq u64                | Event                                     |
| inbound     | account u32, id u64                              | InboundMessage                            |
| part        | source, 0, destination, 0, reference u16, total u8, index u8 | MoPart                        |
| part_time   | received_ms u64, part key without index          | empty                                     |
| recipient   | level u8, seq u64                                | RECIPIENT rows: number u64, account, id   |
| account     | account u32                                      | Account                                   |
| name        | kind u8, id u32                                  | msgpack of the name                       |
| meta        | name                                             | bytes                                     |
| quarantine  | table u8, key                                    | the damaged value, as it was (no head)    |
| alias       | account u32, alias u32                           | id u64                                    |
| long        | group u64, index u8                              | account u32, id u64 (store.groups)        |
| long_time   | first_ms u64, group u64                          | empty                                     |
| train       | account u32, id u64 of the first                 | ids u64 of the others                     |
| given_up    | endpoint u32, given_up_ms u64, seq u64           | Event                                     |
| audit       | number u64                                       | AuditEntry (store.audit)                  |
| silence     | due_ms u64, account u32, id u64                  | lease u64 (store.fail_over)               |
| notice      | number u64                                       | Notice (store.notices)                    |
| once        | account u32, digest of the key                   | Remembered (store.once)                   |
| once_time   | at_ms u64, account u32, digest of the key        | empty                                     |
| wallet      | account u32                                      | Wallet (router.money)                     |
| ledger      | account u32, number u64                          | LedgerEntry (router.money)                |
| young       | number u64                                       | keys of expiry (store.young)              |
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

import msgspec

from router.money import LedgerEntry, Wallet
from router.nouns import Account, Event, InboundMessage, Message, Progress, ReceiptIn
from store.interface import MoPart, Remembered

MINUTE_MS = 60_000
BUCKET_MS = 6 * 3600 * 1000

MESSAGE_KEY = Struct(">IQ")
READY_KEY = Struct(">HHBIQQ")
READY_PREFIX = Struct(">HHBI")
LANE_KEY = Struct(">H")  # what a ready row's key begins with
DUE_KEY = Struct(">QQ")
HELD_KEY = Struct(">BIQ")
TIMED_KEY = Struct(">IIQ")  # expiry (minute), finished (second)
SECOND = Struct(">I")  # what a finished row's key begins with
MINUTE = Struct(">I")  # what an expiry row's key begins with; its MESSAGE_KEY follows
NO_ACCOUNT = 0  # no account has this number
LEASE_KEY = Struct(">Q")
CORRELATION_KEY = Struct(">HI")
OUTBOX_KEY = Struct(">IQ")
OUTBOX_DUE_KEY = Struct(">QIQ")
GIVEN_UP_KEY = Struct(">IQQ")
GROUP_KEY = Struct(">H")
TIME_KEY = Struct(">Q")
SILENCE_KEY = Struct(">QIQ")
UNMATCHED_KEY = Struct(">QI")
ACCOUNT_KEY = Struct(">I")
NAME_KEY = Struct(">BI")
RECIPIENT_KEY = Struct(">BQ")
LEDGER_KEY = Struct(">IQ")
ALIAS_KEY = Struct(">II")
LONG_KEY = Struct(">QB")
LONG_TIME_KEY = Struct(">QQ")

ENTRY = Struct(">HHBQB")  # segments, attempts, flags, expires_ms, first_part
PLACE = Struct(">IHHBB")  # account, lane, tried, priority, phase
LEASE_HEAD = Struct(">IHQ")  # epoch, carrier, leased_ms
LEASE_ROW = Struct(">IQHHHBB")  # account, id, segments, tried, attempts, flags, first_part
FRESH_LEASE_ROW = Struct(">IQH6x")  # the same of a message to which nothing has happened before
SILENCE = Struct(">Q")  # the lease by which it was sent
CORRELATION = Struct(">IQBBB")  # account, id, part, total, length of the recipient that follows
COUNTER = Struct(">QQ")  # accepted, queued
RECIPIENT = Struct(">QIQ")  # number, account, id
STATE = Struct(">2Q8Q8Q3Q")  # accepted ×2, messages, segments, last id, outbox seq, recipient seq

POSSIBLE_DUPLICATE = 1  # ENTRY flag
KEEPS_PLACE = 2  # the same, of due rows only: when it is ready it stands where it stood before
LOST = (
    4  # the flags' upper half: links in a row that ended while it was unanswered; always with the flag above
)
LOST_MOST = 15

READY_PREFIX_SIZE = READY_PREFIX.size


class Entry(NamedTuple):
    """A message's place in the queues, as the ready, due and held tables keep it."""

    account: int
    id: int
    lane: int
    tried: int
    priority: int
    segments: int
    attempts: int
    flags: int
    expires_ms: int
    first_part: int


class Parked(msgspec.Struct, array_like=True, gc=False):
    """A receipt without a message yet."""

    group: int
    carrier: int
    ids: tuple[str, ...]
    variants: tuple[str, ...]
    recipient: str
    sender: str
    state: int
    error: str
    at_ms: int
    done_ms: int
    raw: bytes = b""
    text: str = ""
    user_message_reference: int = -1
    parked_ms: int = 0
    cause: str = ""


class UnknownHeld(msgspec.Struct, array_like=True, gc=False):
    """What a receipt must agree with to claim a message whose outcome is unknown."""

    sender: str
    sent_ms: int
    text: str  # its first 20 characters
    carrier: int
    reference: int = -1  # the user_message_reference it was sent with; -1 = ours, if any


encoder = msgspec.msgpack.Encoder()
encode = encoder.encode
decode_message = msgspec.msgpack.Decoder(Message).decode
decode_progress = msgspec.msgpack.Decoder(Progress).decode
decode_pair = msgspec.msgpack.Decoder(tuple[Message, Progress]).decode  # of the archive
decode_event = msgspec.msgpack.Decoder(Event).decode
decode_inbound = msgspec.msgpack.Decoder(InboundMessage).decode
decode_part = msgspec.msgpack.Decoder(MoPart).decode
decode_account = msgspec.msgpack.Decoder(Account).decode
decode_parked = msgspec.msgpack.Decoder(Parked).decode
decode_parked_list = msgspec.msgpack.Decoder(list[Parked]).decode
decode_wallet = msgspec.msgpack.Decoder(Wallet).decode
decode_ledger = msgspec.msgpack.Decoder(LedgerEntry).decode
decode_unknown = msgspec.msgpack.Decoder(UnknownHeld).decode
decode_remembered = msgspec.msgpack.Decoder(Remembered).decode


def expiry_minute(expires_ms: int) -> int:
    """The first whole minute at which a message with this validity has surely expired."""
    return -(-expires_ms // MINUTE_MS)


def is_of_many(key: bytes) -> bool:
    """Whether this row of `finished` has its messages in its payload."""
    return not any(key[SECOND.size : SECOND.size + ACCOUNT_KEY.size])


def ended_in_row(key: bytes, payload: bytes) -> list[bytes]:
    """MESSAGE_KEYs of a row of `finished`."""
    if not is_of_many(key):
        return [key[SECOND.size :]]
    return [payload[at : at + MESSAGE_KEY.size] for at in range(0, len(payload), MESSAGE_KEY.size)]


def carrier_key(group: int, carrier_message_id: str) -> bytes:
    return GROUP_KEY.pack(group) + id_bytes(carrier_message_id)


def id_bytes(carrier_message_id: str) -> bytes:
    """A carrier's id as key bytes; absurdly long ones by their digest (LMDB keys end at 511 bytes)."""
    raw = carrier_message_id.encode("utf-8", "surrogatepass")
    return raw if len(raw) <= 200 else blake2b(raw, digest_size=32).digest()


def alias_name(account: int) -> bytes:
    """The meta row that says how far an account's aliases went."""
    return b"alias:%d" % account


def number_of(digits: str) -> int:
    """A phone number as u64: its own value where it is digits, else a digest."""
    if len(digits) <= 18 and digits.isdecimal() and digits.isascii():
        return int(digits)
    return int.from_bytes(blake2b(digits.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def recipients(messages: Iterable[Message]) -> bytes:
    """A RECIPIENT row for each."""
    pack = RECIPIENT.pack
    return b"".join([pack(number_of(one.destination), one.account, one.id) for one in messages])


def unparked(row: Parked) -> ReceiptIn:
    """The receipt as it came."""
    return ReceiptIn(
        row.group, row.carrier, row.ids, row.variants, row.recipient, row.sender, row.state, row.error,
        row.at_ms, row.done_ms, row.raw, row.text, row.user_message_reference, cause=row.cause,
    )  # fmt: skip
