"""Why a message was not delivered, in our own words, and what carriers mean by their codes.

A carrier says why by command_status, by the receipt's err or by network_error_code. Each of these becomes one
`Cause`: by the carrier's own map where it has one, else by the tables here, which follow the specifications
and what most SMSCs send. `python -m router.causes` prints them.

Invariants: any code at all gets a cause, UNKNOWN at worst; what was delivered has none (""). Causes are
stored and told by their words: never rename one.

Deliberately not here: what happens to the message (router.judge), the codes a customer expects (its account).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from router.nouns import MessageState, Reason
from smpp.status import Status


class Cause(StrEnum):
    ABSENT_SUBSCRIBER = "absent_subscriber"
    HANDSET_BUSY = "handset_busy"
    MEMORY_FULL = "memory_full"
    HANDSET_ERROR = "handset_error"
    UNKNOWN_SUBSCRIBER = "unknown_subscriber"
    BARRED = "barred"
    OPTED_OUT = "opted_out"
    SPAM = "spam"
    CONTENT_REJECTED = "content_rejected"
    NO_CREDIT = "no_credit"
    INVALID_NUMBER = "invalid_number"
    INVALID_SENDER = "invalid_sender"
    INVALID_MESSAGE = "invalid_message"
    NOT_ALLOWED = "not_allowed"
    NO_ROUTE = "no_route"
    NETWORK_ERROR = "network_error"
    THROTTLED = "throttled"
    SYSTEM_ERROR = "system_error"
    REJECTED = "rejected"
    EXPIRED = "expired"
    NO_RECEIPT = "no_receipt"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


# Permanent: the same message to the same number fails again until somebody changes something.
_MEANINGS: dict[Cause, tuple[bool, str]] = {
    Cause.ABSENT_SUBSCRIBER: (False, "the handset is off or out of coverage"),
    Cause.HANDSET_BUSY: (False, "the handset was busy with another message or call"),
    Cause.MEMORY_FULL: (False, "the handset or its SIM has no room for messages"),
    Cause.HANDSET_ERROR: (True, "the handset cannot take such a message"),
    Cause.UNKNOWN_SUBSCRIBER: (True, "nobody has this number"),
    Cause.BARRED: (True, "the network bars messages to this subscriber, or the service is not part of it"),
    Cause.OPTED_OUT: (True, "the recipient does not want it: an opt-out, a do-not-disturb list"),
    Cause.SPAM: (True, "a filter took it for spam"),
    Cause.CONTENT_REJECTED: (True, "the text is not allowed, or is no approved template"),
    Cause.NO_CREDIT: (False, "the recipient's, or our, credit with the carrier is used up"),
    Cause.INVALID_NUMBER: (True, "the recipient is no number that the carrier can reach"),
    Cause.INVALID_SENDER: (True, "the sender is not allowed, not registered, or in a wrong form"),
    Cause.INVALID_MESSAGE: (True, "length, coding, a TLV or another field of the message"),
    Cause.NOT_ALLOWED: (True, "we may not send this, there, over this carrier"),
    Cause.NO_ROUTE: (True, "the carrier has no way to this network"),
    Cause.NETWORK_ERROR: (False, "a failure in the recipient's network"),
    Cause.THROTTLED: (False, "too many messages at a time, or the carrier's queue is full"),
    Cause.SYSTEM_ERROR: (False, "a failure of the carrier, or of our binds to it"),
    Cause.REJECTED: (True, "rejected, and the carrier did not say why"),
    Cause.EXPIRED: (False, "its validity ended first"),
    Cause.NO_RECEIPT: (False, "a carrier took it, and no receipt came"),
    Cause.CANCELLED: (True, "cancelled, or deleted by the carrier"),
    Cause.INCOMPLETE: (True, "the other parts of the long message never came"),
    Cause.UNKNOWN: (False, "nobody said why, or by a code that nobody knows"),
}

_STATUSES_OF: dict[Cause, tuple[Status, ...]] = {
    Cause.INVALID_NUMBER: (
        Status.ESME_RINVDSTADR,
        Status.ESME_RINVNUMDESTS,
        Status.ESME_RINVDLNAME,
        Status.ESME_RINVDESTFLAG,
        Status.ESME_RINVDSTTON,
        Status.ESME_RINVDSTNPI,
        Status.ESME_RINVDSTADDRSUBUNIT,
    ),
    Cause.INVALID_SENDER: (
        Status.ESME_RINVSRCADR,
        Status.ESME_RINVSRCTON,
        Status.ESME_RINVSRCNPI,
        Status.ESME_RINVSRCADDRSUBUNIT,
    ),
    Cause.NOT_ALLOWED: (
        Status.ESME_RCNTSUBDL,
        Status.ESME_RSERTYPUNAUTH,
        Status.ESME_RPROHIBITED,
        Status.ESME_RSERTYPDENIED,
    ),
    Cause.NETWORK_ERROR: (Status.ESME_RDELIVERYFAILURE,),
    Cause.THROTTLED: (Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL),
    Cause.SYSTEM_ERROR: (
        Status.ESME_RINVCMDLEN,
        Status.ESME_RINVCMDID,
        Status.ESME_RINVBNDSTS,
        Status.ESME_RALYBND,
        Status.ESME_RSYSERR,
        Status.ESME_RINVMSGID,
        Status.ESME_RBINDFAIL,
        Status.ESME_RINVPASWD,
        Status.ESME_RINVSYSID,
        Status.ESME_RSUBMITFAIL,
        Status.ESME_RINVSYSTYP,
        Status.ESME_RX_T_APPN,
        Status.ESME_RSERTYPUNAVAIL,
    ),
    Cause.REJECTED: (Status.ESME_RX_P_APPN, Status.ESME_RX_R_APPN),
    Cause.UNKNOWN: (Status.ESME_RUNKNOWNERR,),
}
# Every other status that a specification names blames a field of the PDU.
_BY_STATUS: dict[int, Cause] = {
    **{int(status): Cause.INVALID_MESSAGE for status in Status if status is not Status.ESME_ROK},
    **{int(status): cause for cause, statuses in _STATUSES_OF.items() for status in statuses},
}

# err of receipts, and network_error_code of type 3: the errors of GSM MAP (3GPP TS 29.002 section 17.6.6) up
# to 36, TP-Failure-Cause (23.040 section 9.2.3.22) from 208 on, and what many SMSCs add between and after.
_CODES_OF: dict[Cause, tuple[int, ...]] = {
    Cause.UNKNOWN_SUBSCRIBER: (1, 2, 5),
    Cause.ABSENT_SUBSCRIBER: (6, 27, 33, 60, 61, 62, 63, 64, 65),
    Cause.BARRED: (8, 9, 10, 11, 12, 13, 14, 15),
    Cause.HANDSET_BUSY: (31, 45, 53, 212),
    Cause.MEMORY_FULL: (40, 49, 50, 52, 208, 211, 256),
    Cause.HANDSET_ERROR: (7, 28, 41, 42, 43, 46, 47, 48, 54, 55, 209, 210, 213, 257, 258),
    Cause.NETWORK_ERROR: (3, 21, 25, 26, 32, 34, 35, 36, 259, 260),
}
_BY_CODE: dict[int, Cause] = {code: cause for cause, codes in _CODES_OF.items() for code in codes}

_BY_STATE: dict[int, Cause] = {
    MessageState.EXPIRED: Cause.EXPIRED,
    MessageState.DELETED: Cause.CANCELLED,
    MessageState.REJECTED: Cause.REJECTED,
    MessageState.SKIPPED: Cause.REJECTED,
}
_BY_REASON: dict[int, Cause] = {
    Reason.EXPIRED_IN_QUEUE: Cause.EXPIRED,
    Reason.NO_RECEIPT: Cause.NO_RECEIPT,
    Reason.CANCELLED: Cause.CANCELLED,
    Reason.BOUNCED: Cause.CANCELLED,
    Reason.PARTS: Cause.INCOMPLETE,
    Reason.NO_ROUTE: Cause.NO_ROUTE,
    Reason.LANE_GONE: Cause.NO_ROUTE,
    Reason.DAMAGED: Cause.SYSTEM_ERROR,
}
_GOOD: frozenset[int] = frozenset({MessageState.DELIVERED, MessageState.ACCEPTED})
_ON_ITS_WAY: frozenset[int] = frozenset({MessageState.SCHEDULED, MessageState.ENROUTE})
_GSM, _SMPP = 3, 7  # types of network_error_code (3.4 section 5.3.2.31, 5.0 section 4.8.4.42)


class Causes(msgspec.Struct, frozen=True):
    """What one carrier means by its codes: its own map before the tables.

    `errors` by `plain_error`, `networks` by (type, code) of network_error_code.
    """

    statuses: Mapping[int, str] = {}
    errors: Mapping[str, str] = {}
    networks: Mapping[tuple[int, int], str] = {}

    def of_status(self, status: int) -> str:
        """Of a command_status other than ESME_ROK."""
        return self.statuses.get(status) or str(_BY_STATUS.get(status, Cause.UNKNOWN))

    def of_receipt(self, state: int, err: str, network: str = "") -> str:
        """Of a receipt that says a MessageState, err and network_error_code ("3:21", or three digits).

        "" for what was delivered, and for what is on its way without a code that means something.
        """
        if state in _GOOD:
            return ""
        said = self._own(err, network) or self._usual(err, network)
        if said or state in _ON_ITS_WAY:
            return said
        return str(_BY_STATE.get(state, Cause.UNKNOWN))

    def _own(self, err: str, network: str) -> str:
        kind_and_code = _type_and_code(network)
        if kind_and_code is not None and kind_and_code in self.networks:
            return self.networks[kind_and_code]
        if self.errors:
            for text in (err, network):
                found = self.errors.get(plain_error(text)) if text else None
                if found is not None:
                    return found
        return ""

    def _usual(self, err: str, network: str) -> str:
        kind_and_code = _type_and_code(network)
        if kind_and_code is not None:
            kind, code = kind_and_code
            if kind == _SMPP and code:
                return self.of_status(code)
            if kind == _GSM and code in _BY_CODE:
                return str(_BY_CODE[code])
        for text in (err, network):
            if text.isdecimal() and text.isascii() and int(text[:9]) in _BY_CODE:
                return str(_BY_CODE[int(text[:9])])
        return ""


def plain_error(err: str) -> str:
    """An err as a key: `012` and `12` are one, `00b` and `B` another."""
    return err.lstrip("0").upper() or "0"


def _type_and_code(network: str) -> tuple[int, int] | None:
    kind, colon, code = network.partition(":")
    return (int(kind), int(code)) if colon else None


def meaning(cause: str) -> str:
    """What a cause's word means, in a few more; "" for one that a newer version stored."""
    return _MEANINGS[Cause(cause)][1] if cause in Cause._value2member_map_ else ""


def of_ending(state: int, reason: int, said: str) -> str:
    """The cause to keep of a message that ends so, `said` by the carrier or ""."""
    if state in _GOOD:
        return ""
    return said or str(_BY_REASON.get(reason, Cause.UNKNOWN))


# the table, for people


def markdown() -> str:
    """Causes with the codes that mean them unless a carrier's `error_map` says otherwise."""
    lines = [
        "| cause | | what it means | command_status | err, and network_error_code of type 3 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cause, (permanent, means) in _MEANINGS.items():
        statuses = ", ".join(f"`0x{int(one):02X}`" for one in sorted(_STATUSES_OF.get(cause, ())))
        if cause is Cause.INVALID_MESSAGE:
            statuses = "every other one that SMPP 3.4 or 5.0 names"
        elif cause is Cause.UNKNOWN:
            statuses += ", and all that nobody names"
        codes = ", ".join(map(str, sorted(_CODES_OF.get(cause, ()))))
        kind = "permanent" if permanent else "temporary"
        lines.append(f"| `{cause}` | {kind} | {means} | {statuses} | {codes} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
