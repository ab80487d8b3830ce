"""Cuts a byte stream into PDUs, however it was split on the way (failure modes 18, 19, 43).

Invariants: every octet is copied a bounded number of times, also when they come one by one; after each
`feed` fewer than `max_pdu_octets` octets are pending; a command_length below 16 or above the limit is refused
as soon as its four octets are in, before anything is waited for. Every turn of the loop consumes at least
16 octets or ends it.

Deliberately not here: time. How long a half PDU may stay pending is the session's deadline.
"""

from __future__ import annotations

from smpp.compiler import HEADER
from smpp.constants import HEADER_OCTETS, MAX_PDU_OCTETS
from smpp.errors import FramingError

# command_id, command_status, sequence_number, the whole PDU including its header
Frame = tuple[int, int, int, bytes]

_LENGTH_OCTETS = 4


class Framer:
    """Feed it what the socket gave; it returns whole frames.

    After an impossible command_length `error` is set for good: frames before it were still returned, later
    octets are ignored. `max_pdu_octets` may be changed at any time; it binds PDUs not yet begun.
    """

    __slots__ = ("_needed", "_pending", "error", "max_pdu_octets")

    def __init__(self, max_pdu_octets: int = MAX_PDU_OCTETS) -> None:
        self.max_pdu_octets = max_pdu_octets
        self.error: FramingError | None = None
        self._pending = bytearray()
        self._needed = _LENGTH_OCTETS  # pending octets with which there is something to do

    @property
    def pending(self) -> int:
        """Octets of a PDU that is not whole yet."""
        return len(self._pending)

    @property
    def rest(self) -> bytes:
        """These octets."""
        return bytes(self._pending)

    def feed(self, data: bytes | bytearray) -> list[Frame]:
        """All PDUs that `data` completes, in order. Never raises; look at `error` afterwards."""
        frames: list[Frame] = []
        data, most = self.join(data), self.max_pdu_octets
        start, size = 0, len(data)
        while size - start >= HEADER_OCTETS:
            length, command_id, status, sequence_number = HEADER.unpack_from(data, start)
            end = start + length
            if end > size or length < HEADER_OCTETS or length > most:
                break
            frames.append((command_id, status, sequence_number, data[start:end]))
            start = end
        self.keep(data, start)
        return frames

    # what `feed` is made of: the session's loop cuts and acts in one

    def join(self, data: bytes | bytearray) -> bytes:
        """What may be cut now: the octets that were kept, and these. Nothing when it is still too little."""
        if self.error is not None:
            return b""
        pending = self._pending
        if pending:
            pending += data
            if len(pending) < self._needed:
                return b""
            data = bytes(pending)
            pending.clear()
        return bytes(data)

    def keep(self, data: bytes, start: int) -> None:
        """What is left from `start` is no whole PDU of an allowed length: wait for its rest, or refuse it."""
        left = len(data) - start
        if not left:
            return
        length = int.from_bytes(data[start : start + _LENGTH_OCTETS], "big")
        if left < _LENGTH_OCTETS:
            length = _LENGTH_OCTETS
        elif not HEADER_OCTETS <= length <= self.max_pdu_octets:
            self.error = FramingError(
                f"command_length is {length}, {HEADER_OCTETS} to {self.max_pdu_octets} allowed"
            )
            return
        self._pending += memoryview(data)[start:]
        self._needed = length
