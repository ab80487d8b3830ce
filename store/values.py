"""How every value is stored: `version u8 | crc32(key + payload) u32 | payload`.

The CRC covers the key too, so a row found under a wrong key is as damaged as a flipped bit. LMDB has no
checksums of its own: without this, bit rot would be read as data. It is zlib's CRC, by a faster routine.

Not here: what a payload means (records.py), what happens to a damaged row (batch.py quarantines it).
"""

from __future__ import annotations

from struct import Struct

from isal.isal_zlib import crc32

VALUE_VERSION = 1
HEAD = Struct(">BI")
pack_head = HEAD.pack
unpack_head = HEAD.unpack_from
HEAD_SIZE = HEAD.size


class Damaged(Exception):
    """A value that does not carry its own CRC: `args` = (key, value)."""


def seal(key: bytes, payload: bytes) -> bytes:
    return pack_head(VALUE_VERSION, crc32(key + payload)) + payload


def unseal(key: bytes, value: bytes) -> bytes:
    """The payload, or Damaged."""
    if len(value) < HEAD_SIZE:
        raise Damaged(key, value)
    version, crc = unpack_head(value)
    payload = value[HEAD_SIZE:]
    if version != VALUE_VERSION or crc != crc32(key + payload):
        raise Damaged(key, value)
    return payload
