"""What an account submitted lately, so that the same message again is known by the earlier one's id.

The same is: source, destination, text or data with its header, and the submitter's reference (client_ref or
user_message_reference), and for a part of a long message its place in it. Times, priority and receipts do not
count: a client that repeats a submit may write those anew.

Invariants: memory is bounded by MOST messages an account, of which the newest MOST / 2 are always known; an
id is only told while it is not older than the window. Ids are time-ordered (`ms << 20 | n`), so an id is all
that is kept.

Deliberately not here: messages whose commit is under way (gateway.door), what is on disk (store).
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from router.nouns import Message

MOST = 200_000  # about 200 octets each

_USER_MESSAGE_REFERENCE = 0x0204  # TLV, SMPP 3.4 section 5.3.2.17
_encode = msgspec.msgpack.Encoder().encode


def key_of(message: Message) -> bytes:
    """16 octets that only the same message has."""
    relay = message.relay
    reference: list[bytes] = []
    place: tuple[int, ...] = ()
    if relay is not None:
        reference = [value for tag, value in relay.tlvs if tag == _USER_MESSAGE_REFERENCE]
        if relay.total > 1:
            place = (relay.reference, relay.total, relay.index)
    said = (
        message.source, message.destination, message.text, message.data, message.udh,
        message.client_ref, reference, place,
    )  # fmt: skip
    return blake2b(_encode(said), digest_size=16).digest()


class Guard:
    """One account's. Two generations: when the newer one spans a window, or is full, the older one goes."""

    __slots__ = ("_began_ms", "_most", "_new", "_old")

    def __init__(self, most: int = MOST) -> None:
        self._most = most // 2
        self._new: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._began_ms = 0

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def find(self, key: bytes, now_ms: int, window_s: int) -> int:
        """The id of the same message within the window, or 0."""
        id = self._new.get(key) or self._old.get(key, 0)
        return id if now_ms - (id >> 20) < window_s * 1000 else 0

    def remember(self, key: bytes, id: int, window_s: int) -> None:
        """A message is submitted, at the time that its id says; ids must grow."""
        at_ms = id >> 20
        if at_ms - self._began_ms >= window_s * 1000 or len(self._new) >= self._most:
            stale = at_ms - self._began_ms >= 2 * window_s * 1000
            self._old, self._new, self._began_ms = {} if stale else self._new, {}, at_ms
        self._new[key] = id

    def forget(self, key: bytes, id: int) -> None:
        """It was not stored after all."""
        for known in (self._new, self._old):
            if known.get(key) == id:
                del known[key]
