"""The PROXY protocol, versions 1 and 2: where a connection that came through a proxy really began.

Sections are those of haproxy's doc/proxy-protocol.txt (2020/03/05). Sans-I/O: octets in, `ProxyHeader` out.

Invariants: `wants` octets certainly belong to the header, so a reader that asks for no more leaves all that
follows in the stream, for TLS or SMPP to read; what does not match is refused at the first octet that shows
it (section 2.1), with ProxyError and nothing else; never more than 536 octets are taken (section 2: a header
fits into the smallest TCP segment).

Deliberately not here: who may send a header, which only the configuration says (sections 2 and 5), and the
TLVs, which may be skipped (section 2.2), their checksum with them.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

import msgspec

from gateway.smpp_server.addresses import canonical

MAX_V1_OCTETS = 107
MAX_V2_OCTETS = 536

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_SHORTEST = len(b"PROXY UNKNOWN\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(| .*)")
_V1_SPACES = 5
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_V2_HEAD = 16
_LOCAL, _PROXY = 0, 1
_TCP4, _TCP6 = 0x11, 0x21
_LAST_FAMILY, _LAST_TRANSPORT = 3, 2


class ProxyError(Exception):
    """These octets are no PROXY header that we take; says why."""


class ProxyHeader(msgspec.Struct, frozen=True):
    """The client's address, canonical, and port.

    "" and 0 when the header names none (LOCAL, UNKNOWN, UNSPEC, not TCP): then the connection's own count.
    """

    address: str = ""
    port: int = 0


class HeaderParser:
    """One header, from as many pieces as it comes in. Useless after it gave a header or an error."""

    __slots__ = ("_data", "wants")

    def __init__(self) -> None:
        self._data = b""
        self.wants = _SHORTEST

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._data)

    def receive(self, data: bytes | bytearray) -> ProxyHeader | None:
        """Take up to `wants` octets; None until the header is complete. Errors: ProxyError."""
        if len(data) > self.wants:
            raise ProxyError("more octets came than were asked for")
        self._data += data
        if self._data[:1] == _V2[:1]:
            return self._binary()
        return self._line()

    def _line(self) -> ProxyHeader | None:
        """Version 1, section 2.1."""
        data = self._data
        _must_begin(data, _V1)
        complete = data.endswith(b"\r\n")
        text = data[:-2] if complete else data.removesuffix(b"\r")
        if b"\r" in text or b"\n" in text:
            raise ProxyError("the line has a CR or LF before its end, or fields are missing")
        if complete:
            return _parse_line(text)
        if len(data) >= MAX_V1_OCTETS:
            raise ProxyError(f"no end of line in {MAX_V1_OCTETS} octets")
        self.wants = _least_left(data)
        return None

    def _binary(self) -> ProxyHeader | None:
        """Version 2, section 2.2."""
        data = self._data
        _must_begin(data, _V2)
        if len(data) > 12 and data[12] >> 4 != 2:
            raise ProxyError(f"version {data[12] >> 4} after the signature of version 2")
        if len(data) > 12 and data[12] & 15 not in (_LOCAL, _PROXY):
            raise ProxyError(f"command {data[12] & 15} is neither LOCAL nor PROXY")
        total = _V2_HEAD
        if len(data) >= _V2_HEAD:
            total += int.from_bytes(data[14:16], "big")
            if total > MAX_V2_OCTETS:
                raise ProxyError(f"a header of {total} octets; at most {MAX_V2_OCTETS} are taken")
        if len(data) < total:
            self.wants = total - len(data)
            return None
        return _parse_block(data)


def _must_begin(data: bytes, beginning: bytes) -> None:
    if data[: len(beginning)] != beginning[: len(data)]:
        raise ProxyError(f"begins with {data[:12].hex(' ')}, as neither version of the PROXY protocol does")


def _least_left(data: bytes) -> int:
    """How many octets of a line are missing at least, when every field left is one octet long."""
    if len(data) < _SHORTEST:
        return _SHORTEST - len(data)
    if data.endswith(b"\r"):
        return 1
    if data.startswith(b"PROXY UNKNOWN"):
        return 2
    return 2 * max(0, _V1_SPACES - data.count(b" ")) + 2


def _parse_line(line: bytes) -> ProxyHeader:
    """A line without its CRLF."""
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader()
    if not line.isascii():
        raise ProxyError("the line is not ASCII")
    fields = line.decode("ascii").split(" ")
    if len(fields) != _V1_SPACES + 1:
        raise ProxyError(f"the line has {len(fields)} fields, not {_V1_SPACES + 1}")
    _, family, source, destination, source_port, destination_port = fields
    kinds: dict[str, type[IPv4Address | IPv6Address]] = {"TCP4": IPv4Address, "TCP6": IPv6Address}
    if family not in kinds:
        raise ProxyError(f"family {family!r} is neither TCP4, TCP6 nor UNKNOWN")
    address = _address(source, kinds[family])
    _address(destination, kinds[family])
    _port(destination_port)
    return ProxyHeader(address, _port(source_port))


def _address(text: str, kind: type[IPv4Address | IPv6Address]) -> str:
    try:
        if "%" in text:
            raise ValueError("zones mean nothing here")
        return canonical(str(kind(text)))
    except ValueError:
        raise ProxyError(f"{text!r} is no {kind.__name__[:4]} address") from None


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise ProxyError(f"{text!r} is no port")
    return int(text)


def _parse_block(data: bytes) -> ProxyHeader:
    """A whole header of version 2. Of a LOCAL one nothing but its length counts."""
    if data[12] & 15 == _LOCAL:
        return ProxyHeader()
    kind = data[13]
    if kind >> 4 > _LAST_FAMILY or kind & 15 > _LAST_TRANSPORT:
        raise ProxyError(f"family and transport 0x{kind:02x} do not exist")
    if kind not in (_TCP4, _TCP6):
        return ProxyHeader()
    size = 4 if kind == _TCP4 else 16
    block = data[_V2_HEAD:]
    if len(block) < 2 * size + 4:
        raise ProxyError(f"{len(block)} octets hold no two {'IPv4' if size == 4 else 'IPv6'} addresses")
    source = IPv4Address(block[:4]) if size == 4 else IPv6Address(block[:16])
    return ProxyHeader(canonical(str(source)), int.from_bytes(block[2 * size : 2 * size + 2], "big"))
