"""What can go wrong with bytes and with PDUs: the protocol's own errors, and nothing else.

Invariants: `decode` and `Framer` let no other exception escape. Every ProtocolError says whether the byte
stream is still in step (`recoverable`: answer `command_status` and keep the session) or not (close that
connection only), and carries whatever could be read, so that a response can still be correlated.

Deliberately not here: what to answer with (smpp.session decides), and statuses as refusals of a well-formed
request, which are values and not errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smpp.status import Status

if TYPE_CHECKING:
    from smpp.pdu import Pdu


class EncodeError(ValueError):
    """A PDU of ours cannot be written: a field is too long, out of range, of a wrong type or has a NUL."""

    def __init__(self, command: str, field: str, detail: str) -> None:
        super().__init__(f"{command}.{field}: {detail}")
        self.command = command
        self.field = field
        self.detail = detail


class ProtocolError(Exception):
    """The peer sent something that is not the PDU it claims to be. The peer's fault, never ours.

    recoverable      the PDU's borders are known and the next one can be read
    command_status   what to answer (in the xxx_resp of a known request, otherwise in a generic_nack)
    command_id       as received, 0 when the header was not readable
    sequence_number  as received, 0 when the header was not readable
    pdu              header and fields read before the damage, the rest defaults; None without a header
    """

    recoverable = True

    def __init__(
        self,
        detail: str,
        *,
        command_status: int,
        command_id: int = 0,
        sequence_number: int = 0,
        pdu: Pdu | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.command_status = command_status
        self.command_id = command_id
        self.sequence_number = sequence_number
        self.pdu = pdu

    def __str__(self) -> str:
        where = f"command_id 0x{self.command_id:08x} sequence_number {self.sequence_number}"
        verdict = "recoverable" if self.recoverable else "close"
        return f"{self.detail} ({where}, {verdict})"


class FramingError(ProtocolError):
    """command_length is impossible: where the next PDU begins is unknown. Not recoverable."""

    recoverable = False

    def __init__(self, detail: str, *, command_id: int = 0, sequence_number: int = 0) -> None:
        super().__init__(
            detail,
            command_status=Status.ESME_RINVCMDLEN,
            command_id=command_id,
            sequence_number=sequence_number,
        )


class LengthMismatch(ProtocolError):
    """`decode` was given more or fewer octets than command_length says. A Framer never lets this happen."""


class UnknownCommand(ProtocolError):
    """No such command_id in SMPP 3.4 or 5.0: generic_nack with ESME_RINVCMDID, and go on."""


class MalformedBody(ProtocolError):
    """A mandatory field is truncated or has no NUL, or sm_length does not fit: ESME_RINVMSGLEN."""


class MalformedTlv(ProtocolError):
    """A TLV runs past the end (ESME_RINVPARLEN), or stray octets follow the last one (ESME_RINVOPTPARSTREAM).

    `pdu` holds every mandatory field and the whole TLVs before the damage: enough to act on a receipt.
    """
