"""command_status: the names of SMPP 3.4 section 5.1.3 and 5.0 section 4.7.6, and words for an operator.

Invariants: any 32-bit number is a legal status and stays readable as itself; descriptions are smpplib's
where it has one. Deliberately not here: what a status does to a message (router.judge).
"""

from __future__ import annotations

from enum import IntEnum

from smpplib.consts import DESCRIPTIONS


class Status(IntEnum):
    """Every status that a specification names. 5.0's names for 0xC0-0xC4 are aliases of 3.4's."""

    ESME_ROK = 0x00
    ESME_RINVMSGLEN = 0x01
    ESME_RINVCMDLEN = 0x02
    ESME_RINVCMDID = 0x03
    ESME_RINVBNDSTS = 0x04
    ESME_RALYBND = 0x05
    ESME_RINVPRTFLG = 0x06
    ESME_RINVREGDLVFLG = 0x07
    ESME_RSYSERR = 0x08
    ESME_RINVSRCADR = 0x0A
    ESME_RINVDSTADR = 0x0B
    ESME_RINVMSGID = 0x0C
    ESME_RBINDFAIL = 0x0D
    ESME_RINVPASWD = 0x0E
    ESME_RINVSYSID = 0x0F
    ESME_RCANCELFAIL = 0x11
    ESME_RREPLACEFAIL = 0x13
    ESME_RMSGQFUL = 0x14
    ESME_RINVSERTYP = 0x15
    ESME_RINVNUMDESTS = 0x33
    ESME_RINVDLNAME = 0x34
    ESME_RINVDESTFLAG = 0x40
    ESME_RINVSUBREP = 0x42
    ESME_RINVESMCLASS = 0x43
    ESME_RCNTSUBDL = 0x44
    ESME_RSUBMITFAIL = 0x45
    ESME_RINVSRCTON = 0x48
    ESME_RINVSRCNPI = 0x49
    ESME_RINVDSTTON = 0x50
    ESME_RINVDSTNPI = 0x51
    ESME_RINVSYSTYP = 0x53
    ESME_RINVREPFLAG = 0x54
    ESME_RINVNUMMSGS = 0x55
    ESME_RTHROTTLED = 0x58
    ESME_RINVSCHED = 0x61
    ESME_RINVEXPIRY = 0x62
    ESME_RINVDFTMSGID = 0x63
    ESME_RX_T_APPN = 0x64
    ESME_RX_P_APPN = 0x65
    ESME_RX_R_APPN = 0x66
    ESME_RQUERYFAIL = 0x67
    ESME_RINVOPTPARSTREAM = 0xC0
    ESME_ROPTPARNOTALLWD = 0xC1
    ESME_RINVPARLEN = 0xC2
    ESME_RMISSINGOPTPARAM = 0xC3
    ESME_RINVOPTPARAMVAL = 0xC4
    ESME_RDELIVERYFAILURE = 0xFE
    ESME_RUNKNOWNERR = 0xFF
    ESME_RSERTYPUNAUTH = 0x100
    ESME_RPROHIBITED = 0x101
    ESME_RSERTYPUNAVAIL = 0x102
    ESME_RSERTYPDENIED = 0x103
    ESME_RINVDCS = 0x104
    ESME_RINVSRCADDRSUBUNIT = 0x105
    ESME_RINVDSTADDRSUBUNIT = 0x106
    ESME_RINVBCASTFREQINT = 0x107
    ESME_RINVBCASTALIAS_NAME = 0x108
    ESME_RINVBCASTAREAFMT = 0x109
    ESME_RINVNUMBCAST_AREAS = 0x10A
    ESME_RINVBCASTCNTTYPE = 0x10B
    ESME_RINVBCASTMSGCLASS = 0x10C
    ESME_RBCASTFAIL = 0x10D
    ESME_RBCASTQUERYFAIL = 0x10E
    ESME_RBCASTCANCELFAIL = 0x10F
    ESME_RINVBCAST_REP = 0x110
    ESME_RINVBCASTSRVGRP = 0x111
    ESME_RINVBCASTCHANIND = 0x112

    ESME_RINVTLVSTREAM = 0xC0
    ESME_RTLVNOTALLWD = 0xC1
    ESME_RINVTLVLEN = 0xC2
    ESME_RMISSINGTLV = 0xC3
    ESME_RINVTLVVAL = 0xC4

    @staticmethod
    def name_of(status: int) -> str:
        """`ESME_RTHROTTLED`, or `0x00000420` where no specification names it."""
        return _NAMES.get(status) or f"0x{status:08x}"


VENDOR_FIRST = 0x400
VENDOR_LAST = 0x4FF

# What smpplib lacks: one description, and the statuses that 5.0 added.
_OUR_DESCRIPTIONS = {
    Status.ESME_RINVREGDLVFLG: "Invalid registered_delivery flag",
    Status.ESME_RSERTYPUNAUTH: "ESME not authorised to use the specified service_type",
    Status.ESME_RPROHIBITED: "ESME prohibited from using the specified operation",
    Status.ESME_RSERTYPUNAVAIL: "Specified service_type is unavailable",
    Status.ESME_RSERTYPDENIED: "Specified service_type denied",
    Status.ESME_RINVDCS: "Invalid data coding scheme",
    Status.ESME_RINVSRCADDRSUBUNIT: "Invalid source address subunit",
    Status.ESME_RINVDSTADDRSUBUNIT: "Invalid destination address subunit",
    Status.ESME_RINVBCASTFREQINT: "Invalid broadcast frequency interval",
    Status.ESME_RINVBCASTALIAS_NAME: "Invalid broadcast alias name",
    Status.ESME_RINVBCASTAREAFMT: "Invalid broadcast area format",
    Status.ESME_RINVNUMBCAST_AREAS: "Invalid number of broadcast areas",
    Status.ESME_RINVBCASTCNTTYPE: "Invalid broadcast content type",
    Status.ESME_RINVBCASTMSGCLASS: "Invalid broadcast message class",
    Status.ESME_RBCASTFAIL: "broadcast_sm operation failed",
    Status.ESME_RBCASTQUERYFAIL: "query_broadcast_sm failed",
    Status.ESME_RBCASTCANCELFAIL: "cancel_broadcast_sm failed",
    Status.ESME_RINVBCAST_REP: "Invalid number of repeated broadcasts",
    Status.ESME_RINVBCASTSRVGRP: "Invalid broadcast service group",
    Status.ESME_RINVBCASTCHANIND: "Invalid broadcast channel indicator",
}

_NAMES = {int(status): status.name for status in Status}
_DESCRIBED = {
    int(status): f"{status.name} ({_OUR_DESCRIPTIONS.get(status) or DESCRIPTIONS[int(status)]})"
    for status in Status
}


def describe(status: int) -> str:
    """`ESME_RTHROTTLED (Throttling error ...)`; `0x00000420 (vendor specific)`, `0x00000009 (reserved)`."""
    described = _DESCRIBED.get(status)
    if described is not None:
        return described
    kind = "vendor specific" if VENDOR_FIRST <= status <= VENDOR_LAST else "reserved"
    return f"0x{status:08x} ({kind})"
