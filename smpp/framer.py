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
        if self.error is not None:
            return []
        pending = self._pending
        if pending:
            pending += data
            if len(pending) < self._needed:
                return []
            data = bytes(pending)
            pending.clear()
        return self._cut(bytes(data))

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        unpack = HEADER.unpack_from
        position, size = 0, len(data)
        while size - position >= HEADER_OCTETS:
            length, command_id, status, sequence_number = unpack(data, position)
            if not HEADER_OCTETS <= length <= self.max_pdu_octets:
                self._refuse(length)
                return frames
            end = position + length
            if end > size:
                self._keep(data, position, length)
                return frames
            frames.append((command_id, status, sequence_number, data[position:end]))
            position = end
        if size - position >= _LENGTH_OCTETS:
            length = int.from_bytes(data[position : position + _LENGTH_OCTETS], "big")
            if not HEADER_OCTETS <= length <= self.max_pdu_octets:
                self._refuse(length)
            else:
                self._keep(data, position, length)
        elif position != size:
            self._keep(data, position, _LENGTH_OCTETS)
        return frames

    def _keep(self, data: bytes, position: int, needed: int) -> None:
        self._pending += memoryview(data)[position:]
        self._needed = needed

    def _refuse(self, length: int) -> None:
        self._pending.clear()
        self.error = FramingError(
            f"command_length is {length}, {HEADER_OCTETS} to {self.max_pdu_octets} allowed"
        )
