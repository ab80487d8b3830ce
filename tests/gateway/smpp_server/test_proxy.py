"""The PROXY protocol parser: rows from the specification, every split, and anything at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smpp_server.addresses import canonical, network_of
from gateway.smpp_server.proxy import MAX_V1_OCTETS, MAX_V2_OCTETS, HeaderParser, ProxyError, ProxyHeader
from tests.gateway.smpp_server.proxy_headers import LOCAL, SIGNATURE, v1, v2, v2_block

BIND = bytes.fromhex("0000002f000000090000000000000001")  # what follows: an SMPP header
NOBODY = ProxyHeader("", 0)


def parse(octets: bytes, most: Callable[[int], int] = lambda wants: wants) -> tuple[ProxyHeader, bytes]:
    """The header and what was left, read in pieces of most(wants) octets. Errors: ProxyError, EOFError."""
    stream = io.BytesIO(octets)
    parser = HeaderParser()
    while True:
        data = stream.read(most(parser.wants))
        if not data:
            raise EOFError
        header = parser.receive(data)
        if header is not None:
            return header, stream.read()


TAKEN = {
    "v1 over IPv4": (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", ProxyHeader("192.168.0.1", 56324)),
    "v1, longest IPv4": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ProxyHeader("255.255.255.255", 65535),
    ),
    "v1, shortest IPv4": (b"PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n", ProxyHeader("1.2.3.4", 0)),
    "v1 over IPv6": (b"PROXY TCP6 2001:DB8:0::7 ::1 1 2\r\n", ProxyHeader("2001:db8::7", 1)),
    "v1, shortest IPv6": (b"PROXY TCP6 :: :: 1 2\r\n", ProxyHeader("::", 1)),
    "v1, longest IPv6": (
        b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n",
        ProxyHeader("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    "v1, IPv4 in IPv6": (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 7 8\r\n", ProxyHeader("192.0.2.9", 7)),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", NOBODY),
    "v1 UNKNOWN, longest": (
        b"PROXY UNKNOWN " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n",
        NOBODY,
    ),
    "v1 UNKNOWN with anything": (b"PROXY UNKNOWN \xff\x00 what ever  it is\r\n", NOBODY),
    "v2 over IPv4": (v2("198.51.100.7", 4711), ProxyHeader("198.51.100.7", 4711)),
    "v2 over IPv6": (v2("2001:db8::7", 4711), ProxyHeader("2001:db8::7", 4711)),
    "v2, IPv4 in IPv6": (v2("::ffff:192.0.2.9", 1), ProxyHeader("192.0.2.9", 1)),
    "v2 with TLVs": (v2("198.51.100.7", 1, tlvs=b"\x04\x00\x03abc"), ProxyHeader("198.51.100.7", 1)),
    "v2 with TLVs that lie": (v2("198.51.100.7", 1, tlvs=b"\x04\xff\xff"), ProxyHeader("198.51.100.7", 1)),
    "v2, longest": (v2("198.51.100.7", 1, tlvs=bytes(508)), ProxyHeader("198.51.100.7", 1)),
    "v2 LOCAL": (v2(command=LOCAL), NOBODY),
    "v2 LOCAL with an address": (v2("198.51.100.7", 1, command=LOCAL), NOBODY),
    "v2 LOCAL of a family unheard of": (v2_block(0xFF, b"abc", LOCAL), NOBODY),
    "v2 UNSPEC": (v2(), NOBODY),
    "v2 UNSPEC with something": (v2(tlvs=bytes(30)), NOBODY),
    "v2 UDP": (v2_block(0x12, bytes(12)), NOBODY),
    "v2 unix": (v2_block(0x31, bytes(216)), NOBODY),
}

REFUSED = {
    "SMPP": BIND,
    "TLS": bytes.fromhex("1603010200010001fc0303"),
    "HTTP": b"GET / HTTP/1.1\r\n",
    "lower case": b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "two spaces": b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "a space too many at the end": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
    "no destination": b"PROXY TCP4 1.2.3.4 1 2\r\n" + bytes(40),
    "UDP": b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "UNKNOWN with a tail": b"PROXY UNKNOWNS\r\n" + bytes(40),
    "IPv6 as TCP4": b"PROXY TCP4 ::1 ::1 1 2\r\n" + bytes(40),
    "IPv4 as TCP6": b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    "IPv4 as destination of TCP6": b"PROXY TCP6 2001:db8::7 1.2.3.4 1 2\r\n",
    "leading zero in an address": b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
    "octet too large": b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
    "three octets": b"PROXY TCP4 1.2.3 1.2.3.4 10 20\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "a prefix": b"PROXY TCP6 fe80::/10 ::1 1 2\r\n",
    "leading zero in a port": b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
    "port too large": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
    "signed port": b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
    "no port": b"PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n",
    "not ASCII": "PROXY TCP4 1.2.3.٤ 1.2.3.4 1 2\r\n".encode(),
    "LF only": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n" + bytes(80),
    "CR only": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r" + bytes(80),
    "endless line": b"PROXY UNKNOWN " + b"x" * 200,
    "endless TCP6 line": b"PROXY TCP6 " + b"1" * 200,
    "a line of 108": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "version 1 in binary": SIGNATURE + bytes([0x11, 0x11, 0, 12]) + bytes(12),
    "version 3": SIGNATURE + bytes([0x31, 0x11, 0, 12]) + bytes(12),
    "command 2": v2("198.51.100.7", command=0x22),
    "family 4": v2_block(0x41, bytes(40)),
    "transport 3": v2_block(0x13, bytes(40)),
    "address block too short": v2_block(0x11, bytes(11)),
    "address block of IPv4 for IPv6": v2_block(0x21, bytes(12)),
    "longer than 536": v2("198.51.100.7", tlvs=bytes(509)),
    "longest there can be": SIGNATURE + bytes([0x21, 0x11, 255, 255]),
    "signature with a fault": SIGNATURE[:11] + b"\x0d" + bytes(40),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_header_is_read_and_what_follows_is_left(name: str) -> None:
    octets, header = TAKEN[name]
    assert parse(octets + BIND) == (header, BIND)


@pytest.mark.parametrize("name", TAKEN)
def test_a_header_may_come_octet_by_octet(name: str) -> None:
    octets, header = TAKEN[name]
    assert parse(octets + BIND, most=lambda _: 1) == (header, BIND)


@pytest.mark.parametrize("name", TAKEN)
def test_no_beginning_of_a_header_is_a_header(name: str) -> None:
    octets, _ = TAKEN[name]
    for length in range(len(octets)):
        with pytest.raises(EOFError):
            parse(octets[:length])


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(ProxyError):
        parse(REFUSED[name])
    with pytest.raises(ProxyError):
        parse(REFUSED[name], most=lambda _: 1)


@pytest.mark.parametrize("octets", [b"\x00", b"Q", b"PROXZ", b"\r\n\r\r", b"PROXY\x00"])
def test_a_wrong_beginning_is_refused_at_the_octet_that_shows_it(octets: bytes) -> None:
    """Section 2.1: abort as soon as possible."""
    with pytest.raises(ProxyError, match="begins with"):
        parse(octets)


def test_a_length_that_is_too_large_is_refused_before_anything_of_it_is_read() -> None:
    stream = SIGNATURE + bytes([0x21, 0x11, 2, 9])
    with pytest.raises(ProxyError, match="537 octets; at most 536"):
        parse(stream)


def test_a_refusal_says_what_was_wrong() -> None:
    with pytest.raises(ProxyError, match=r"'1\.2\.3\.256' is no IPv4 address"):
        parse(REFUSED["octet too large"])
    with pytest.raises(ProxyError, match="begins with 00 00 00 2f"):
        parse(BIND)


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(0, 65_535)


@given(ADDRESSES, PORTS, st.binary(max_size=60), st.booleans(), st.data())
def test_every_address_comes_through_whatever_the_pieces(
    address: IPv4Address | IPv6Address, port: int, rest: bytes, binary: bool, data: st.DataObject
) -> None:
    header = v2(str(address), port, data.draw(st.binary(max_size=100))) if binary else v1(str(address), port)
    wanted = ProxyHeader(canonical(str(address)), port)
    assert parse(header + rest, lambda wants: data.draw(st.integers(1, wants))) == (wanted, rest)


WHOLE = [octets for octets, _ in TAKEN.values()] + list(REFUSED.values())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A header with some octets replaced, put in or taken out."""
    octets = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(octets)))
        octets[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(octets)


@given(st.one_of(st.binary(max_size=700), damaged()), st.data())
def test_whatever_comes_the_answer_is_a_header_or_a_refusal_within_bounds(
    octets: bytes, data: st.DataObject
) -> None:
    whole = data.draw(st.booleans())
    try:
        header, rest = parse(octets, lambda wants: wants if whole else data.draw(st.integers(1, wants)))
    except (ProxyError, EOFError):
        return
    taken = len(octets) - len(rest)
    assert taken <= (MAX_V2_OCTETS if octets.startswith(SIGNATURE) else MAX_V1_OCTETS)
    assert header == NOBODY or canonical(header.address) == header.address
    assert 0 <= header.port <= 65_535


@given(st.one_of(st.binary(max_size=700), damaged()))
def test_the_pieces_do_not_change_the_answer(octets: bytes) -> None:
    def answer(most: Callable[[int], int]) -> object:
        try:
            return parse(octets, most)
        except ProxyError:
            return "refused"
        except EOFError:
            return "unfinished"

    assert answer(lambda wants: wants) == answer(lambda _: 1)


def test_more_octets_than_were_asked_for_are_refused() -> None:
    parser = HeaderParser()
    with pytest.raises(ProxyError, match="more octets"):
        parser.receive(bytes(parser.wants + 1))


@pytest.mark.parametrize(
    ("address", "written", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0:1:2:3:4", "2001:db8::1:2:3:4", "2001:db8::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("::1", "::1", "::/64"),
    ],
)
def test_one_host_has_one_spelling_and_one_network(address: str, written: str, network: str) -> None:
    assert canonical(address) == written
    assert network_of(canonical(address)) == network


def test_what_is_no_address_stands_for_itself() -> None:
    assert network_of("memory") == "memory"
    with pytest.raises(ValueError, match="memory"):
        canonical("memory")
