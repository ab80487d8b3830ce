"""PROXY protocol headers for tests, built apart from the parser that reads them."""

from __future__ import annotations

import socket
import struct

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
LOCAL, PROXY = 0x20, 0x21


def v1(source: str, port: int = 40_000, destination: str = "", destination_port: int = 2775) -> bytes:
    """Section 2.1."""
    family, own = ("TCP6", "2001:db8::1") if ":" in source else ("TCP4", "192.0.2.1")
    return f"PROXY {family} {source} {destination or own} {port} {destination_port}\r\n".encode()


def v2(source: str = "", port: int = 40_000, tlvs: bytes = b"", command: int = PROXY) -> bytes:
    """Section 2.2; without a source the family is UNSPEC."""
    if not source:
        return v2_block(0x00, tlvs, command)
    family, kind = (socket.AF_INET6, 0x21) if ":" in source else (socket.AF_INET, 0x11)
    own = "2001:db8::1" if ":" in source else "192.0.2.1"
    block = socket.inet_pton(family, source) + socket.inet_pton(family, own) + struct.pack("!HH", port, 2775)
    return v2_block(kind, block + tlvs, command)


def v2_block(kind: int, block: bytes, command: int = PROXY) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, kind, len(block)) + block
