"""How a simulated carrier behaves: one frozen value, and the magic numbers that override it per message.

Ratios are in [0, 1], delays in seconds as (least, most), drawn evenly.

Deliberately not here: sockets and sessions (smsc.py).
"""

from __future__ import annotations

import msgspec

from smpp.status import Status


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every knob of `signalbox simulate`; the defaults are a good carrier."""

    tps: float = 0  # more submits than this in a second are answered ESME_RTHROTTLED; 0 = never
    response_delay_s: tuple[float, float] = (0.0, 0.0)
    receipt_delay_s: tuple[float, float] = (0.2, 1.0)
    states: dict[str, float] = msgspec.field(
        default_factory=lambda: {"DELIVRD": 1.0}
    )  # receipt stat → weight
    submit_errors: dict[int, float] = {}  # command_status → ratio of submits refused with it
    no_response: float = 0.0
    no_receipt: float = 0.0
    early_receipts: float = 0.0  # sent before the submit_sm_resp
    duplicate_receipts: float = 0.0
    receipts_on: str = "same"  # same | other: another bind of the account, if there is one
    receipt_as: str = "text"  # text | tlv | both
    id_form: str = "dec"  # form of the id in submit_sm_resp: dec | hex | uuid
    receipt_id_form: str = "same"  # same | dec | hex | upper | padded
    cut_every: int = 0  # close the link without a word after so many submits
    half_open_after: int = 0  # after so many submits read on, but answer nothing
    mo_rate_per_s: float = 0.0
    mo_text: str = "Hello from a handset"
    mo_to: str = "12345"
    reply_ratio: float = 0.0  # MO answers to delivered messages
    reply_text: str = "Thanks"
    window: int = 1000  # unanswered deliver_sm on one bind


class Magic(msgspec.Struct, frozen=True):
    """What a destination's last four digits ask for."""

    meaning: str
    stat: str = "DELIVRD"
    status: int = 0
    first_only: bool = False  # the second attempt succeeds
    silent: bool = False  # accepted, no receipt
    no_response: bool = False
    reply: bool = False


MAGIC: dict[str, Magic] = {
    "9901": Magic("receipt UNDELIV", stat="UNDELIV"),
    "9902": Magic("receipt EXPIRED", stat="EXPIRED"),
    "9903": Magic("receipt REJECTD", stat="REJECTD"),
    "9904": Magic("throttled once, then delivered", status=Status.ESME_RTHROTTLED, first_only=True),
    "9905": Magic("accepted, but no receipt ever", silent=True),
    "9906": Magic("refused: invalid destination", status=Status.ESME_RINVDSTADR),
    "9907": Magic("no response to the submit", no_response=True),
    "9908": Magic("queue full once, then delivered", status=Status.ESME_RMSGQFUL, first_only=True),
    "9909": Magic("delivered, and the handset replies", reply=True),
}


def magic_table() -> str:
    """For --help and the README."""
    return "\n".join(f"  …{digits}  {magic.meaning}" for digits, magic in MAGIC.items())
