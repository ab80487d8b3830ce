"""Our message ids in the forms of other APIs: a UUID (Jasmin, Kannel), a SID (Twilio), hexadecimal (Vonage).

Each form holds the whole id, so that there is no index: what made it reads it back, and what nobody here made
is None. Accounts have a SID, too.

Deliberately not here: the forms over SMPP (gateway.smpp_server.translate), making ids (store.ids).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID

_MARK = 0x7369676E616C62  # "signalb": the last 56 bits of every UUID of ours
_VERSION, _VARIANT = 8, 0b10  # RFC 9562 section 5.8: contents of one's own
_MOST = (1 << 63) - 1
_SID = re.compile(r"(SM|AC)([0-9a-fA-F]{32})")
_HEX = re.compile(r"[0-9a-fA-F]{16}")


def uuid_of(id: int) -> str:
    """`0199c7d2-…-8…`, RFC 9562 version 8: the id's first 48 bits, its next 12, its last 3, and our mark."""
    number = id >> 15 << 80 | _VERSION << 76 | (id >> 3 & 0xFFF) << 64
    return str(UUID(int=number | _VARIANT << 62 | (id & 7) << 59 | _MARK))


def id_of_uuid(text: str) -> int | None:
    """None for what is no UUID of ours."""
    if len(text) > 40:
        return None
    try:
        number = UUID(text).int
    except ValueError:
        return None
    id = number >> 80 << 15 | (number >> 64 & 0xFFF) << 3 | number >> 59 & 7
    return id if id <= _MOST and UUID(uuid_of(id)).int == number else None


def sid_of(id: int) -> str:
    """`SM` and 32 hexadecimal digits."""
    return f"SM{id:032x}"


def account_sid_of(account: int) -> str:
    """`AC` and 32 hexadecimal digits."""
    return f"AC{account:032x}"


def account_sid_among(names: Iterable[str]) -> str:
    """The first that has the form of an account's SID, whoever made it; "" without one."""
    return next((name for name in names if name.startswith("AC") and _SID.fullmatch(name)), "")


def id_of_sid(text: str) -> int | None:
    """The message (SM…) or account (AC…); None for what is no SID of ours."""
    found = _SID.fullmatch(text)
    id = int(found[2], 16) if found is not None else -1
    return id if 0 < id <= _MOST else None


def hex_of(id: int) -> str:
    """16 hexadecimal digits, upper case."""
    return f"{id:016X}"


def id_of_hex(text: str) -> int | None:
    """None for what is no such number."""
    id = int(text, 16) if _HEX.fullmatch(text) else -1
    return id if 0 < id <= _MOST else None
